//! Why the daemon does not start, or does not end well.

use std::io;

use crate::database::DatabaseError;
use crate::ingress;
use crate::journal::JournalError;
use crate::journal::folder::FolderError;
use crate::ledger::SettleError;
use crate::sockets::inherited::InheritedError;

/// Why the daemon did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The system gives no runtime, or lets nobody listen for signals.
    #[error("the system refuses: {0}")]
    Runtime(io::Error),
    /// The system does not give all the threads that the daemon needs.
    #[error(
        "the system gives {had} of the {needed} threads that the daemon needs: {error}\n  help: raise the limit of \
         processes and threads: TasksMax= or LimitNPROC= of the service, `ulimit -u`, the container's pids limit"
    )]
    Threads {
        /// How many threads it gave.
        had: usize,
        /// How many threads are needed.
        needed: usize,
        /// What the system said.
        error: io::Error,
    },
    /// A folder cannot be made, or is not ours alone.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The ledger cannot be opened.
    #[error("{}", no_ledger(.0))]
    Ledger(#[from] DatabaseError),
    /// The journal, or its lock.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The ledger is open, and does not do what it is asked for.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// A listen address cannot be taken.
    #[error(transparent)]
    Bind(#[from] ingress::BindError),
    /// What systemd passes cannot be taken.
    #[error(transparent)]
    Inherited(#[from] InheritedError),
}

impl DaemonError {
    /// Whether a folder, or a file in it, is not ours alone.
    pub fn is_not_ours(&self) -> bool {
        let (Self::Folder(error)
        | Self::Journal(JournalError::Folder(error))
        | Self::Ledger(DatabaseError::Folder(error))) = self
        else {
            return false;
        };
        matches!(error, FolderError::Refused { .. })
    }

    /// Whether the config and what systemd passes do not fit together.
    pub fn is_of_config(&self) -> bool {
        match self {
            Self::Bind(error) => error.is_of_config(),
            Self::Inherited(_) | Self::Journal(JournalError::Unfit(_)) => true,
            _ => false,
        }
    }

    /// Whether the system refuses what the daemon cannot start without: threads, signals, the ledger's file.
    pub fn is_refused_by_system(&self) -> bool {
        match self {
            Self::Runtime(_) | Self::Threads { .. } => true,
            Self::Ledger(error) => matches!(error, DatabaseError::Io { .. } | DatabaseError::Sqlite { .. }),
            Self::Folder(_) | Self::Journal(_) | Self::Settle(_) | Self::Bind(_) | Self::Inherited(_) => false,
        }
    }

    /// Whether the error may pass while one waits: the disk is full or failing. What an open ledger answers always may:
    /// writes to it are tried again for as long as the daemon runs, and so they are before the sinks have started.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Ledger(error) => error.is_disk_trouble(),
            Self::Settle(_) | Self::Journal(JournalError::Cursors(_) | JournalError::Kafka { .. }) => true,
            Self::Runtime(_) | Self::Threads { .. } | Self::Folder(_) | Self::Journal(_) => false,
            Self::Bind(_) | Self::Inherited(_) => false,
        }
    }
}

/// Why the ledger cannot be opened, and the mend where it is known.
fn no_ledger(error: &DatabaseError) -> String {
    match error {
        DatabaseError::Io { .. } | DatabaseError::Sqlite { .. } => format!("the ledger cannot be opened: {error}"),
        DatabaseError::Folder(_) | DatabaseError::Version { .. } => error.to_string(),
    }
}
