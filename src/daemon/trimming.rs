//! Lets the ledger forget what it noted of events that the journal has deleted, and the outbox what is too old.

use std::time::Duration;

use tokio::time::sleep;

use crate::ledger::Storage;
use crate::outbox::Outbox;

/// How often the daemon looks.
const EVERY: Duration = Duration::from_secs(60);
/// The pause between two parts, in which settlements are written.
const PAUSE: Duration = Duration::from_millis(50);

/// Goes on until this task is dropped. Where one of them does not answer, it is asked again later.
pub(super) async fn run(storage: Storage, outbox: Outbox) {
    loop {
        while has_more(&storage).await {
            sleep(PAUSE).await;
        }
        while outbox.trim().await.unwrap_or_default() {
            sleep(PAUSE).await;
        }
        sleep(EVERY).await;
    }
}

async fn has_more(storage: &Storage) -> bool {
    let Ok(oldest) = storage.journal.oldest().await else { return false };
    storage.ledger.trim(oldest).await.unwrap_or_default()
}
