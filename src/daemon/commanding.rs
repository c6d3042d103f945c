//! Commands on their way into the journal: a message that is to be sent is an event first (`message.send`,
//! `message.resend`), and goes the way of all events from there. It is in the journal, or it is refused: no command
//! goes from memory, so that none is carried out that nobody could find again.

use std::sync::Arc;
use std::time::Duration;

use sink_api::Event;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::books::Books;
use crate::event;
use crate::journal::{OnFailure, Progress};
use crate::ledger::Storage;

/// How long the journal may take over a command.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a command is not known to be in the journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommandError {
    /// It is not, and will not be.
    #[error("the journal does not take it: {0}")]
    Refused(String),
    /// It may be, or come to be. Appended again under the same id it is the same command.
    #[error("the journal has not said within {} s whether it has it", PATIENCE.as_secs())]
    Unknown,
}

/// Where commands are handed in. Cheap to clone.
#[derive(Clone)]
pub(super) struct Commands {
    books: Arc<Books>,
    storage: Storage,
}

impl Commands {
    /// Commands go into this journal, and are counted in these books.
    pub fn new(books: &Arc<Books>, storage: &Storage) -> Self {
        Self { books: Arc::clone(books), storage: storage.clone() }
    }

    /// Appends a command: a body of [`outbox::Command`](crate::outbox::Command) as an event ([`event::own_as`]). It is
    /// on disk when this returns.
    ///
    /// # Errors
    /// It is not, or nobody knows.
    pub async fn append(&self, command: &Event) -> Result<(), CommandError> {
        let (tally, _) = self.books.tally(&command.source, &command.kind);
        let record = event::encode(command, None, false);
        let (sender, outcome) = oneshot::channel();
        let mut sender = Some(sender);
        let on_progress = Box::new(move |progress| {
            let outcome = match progress {
                Progress::Durable(at) => {
                    tally.durable(at);
                    Ok(())
                }
                Progress::Failed(why) => Err(CommandError::Refused(why.to_string())),
                Progress::AtRisk => return,
            };
            // Where nobody waits any more, it is found in the journal.
            let _ = sender.take().map(|sender| sender.send(outcome));
        });
        self.storage.journal.append(record, OnFailure::GiveBack, on_progress);
        match timeout(PATIENCE, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(CommandError::Unknown),
        }
    }
}
