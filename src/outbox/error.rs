//! Why what is remembered cannot be read or written.

use std::path::Path;
use std::sync::Arc;

use sink_api::{Reason, code};

use crate::database::{DatabaseError, is_damage};

/// Why what is remembered cannot be read or written. All who share a transaction are told the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutboxError {
    /// The daemon is stopping.
    #[error("the outbox is closed: the daemon is stopping")]
    Closed,
    /// The system gives it no thread.
    #[error("no thread for the outbox: {0}")]
    Thread(Arc<std::io::Error>),
    /// The file cannot be opened, read or written.
    #[error("the outbox cannot be used: {0}")]
    File(Arc<DatabaseError>),
}

impl OutboxError {
    /// What SQLite said of that file.
    pub(super) fn of(path: &Path, error: rusqlite::Error) -> Self {
        Self::File(Arc::new(DatabaseError::Sqlite { path: path.to_owned(), error }))
    }

    /// Whether the file is damaged, so that it is to be opened anew, and set aside.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::File(error) if matches!(&**error, DatabaseError::Sqlite { error, .. } if is_damage(error)))
    }

    /// The same as a sink's reason.
    pub fn reason(&self) -> Reason {
        let code = match self {
            Self::Closed => code::BUSY,
            Self::File(error) if error.is_full() => code::DISK_FULL,
            _ if self.is_damage() => code::CORRUPT,
            Self::Thread(_) | Self::File(_) => code::IO,
        };
        Reason::new(code, self.to_string())
    }
}
