//! What may fail in a journal.

use super::folder::FolderError;

/// A failure of those who keep something for the journal: the ledger's own error.
pub type CursorsError = Box<dyn std::error::Error + Send + Sync>;

/// A failure of the journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Reading or writing failed.
    #[error("{what}: {error}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Whoever keeps cursors and deleted stretches for the journal failed.
    #[error(transparent)]
    Cursors(CursorsError),
    /// Another process holds the journal.
    #[error("{path} is in use by {}", holder(*pid))]
    Locked {
        /// The folder, or the lock file.
        path: String,
        /// Its holder; 0 where unknown.
        pid: u32,
    },
    /// Closed although not all could be written: events that had been accepted are lost.
    #[error("{0} could not be written when the journal closed and are lost")]
    Lost(String),
    /// A folder that cannot be made, or is not ours alone.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Not a journal this build can read.
    #[error("{path}: {why}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Not as this journal needs it: what the config names, or what stands there.
    #[error("{0}")]
    Unfit(String),
    /// Kafka could not be asked, did not answer in time, or refused.
    #[error("{what}: {error}")]
    Kafka {
        /// What was tried.
        what: String,
        /// What librdkafka or a broker said.
        error: String,
    },
}

fn holder(pid: u32) -> String {
    if pid == 0 { "another process".into() } else { format!("process {pid}") }
}
