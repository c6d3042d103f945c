//! The front: its sources, what dedupe remembers of earlier lives, and who hears of every event.

use std::sync::Arc;

use sink_api::Timestamp;
use tracing::info;

use super::books::Books;
use super::error::DaemonError;
use super::store::Store;
use crate::config::Config;
use crate::ingress::{Ingress, ServerConfig};
use crate::route::Unmatched;

/// Most fingerprints dedupe is given at start.
const MAX_KNOWN: usize = 1_000_000;

/// The front, which tells `unmatched` of what no route wants. `server` is the config's, as it fits the system's limits.
pub(super) fn open(
    config: &Config,
    server: &ServerConfig,
    store: &Store,
    unmatched: &Arc<Unmatched>,
    books: &Arc<Books>,
) -> Result<Arc<Ingress>, DaemonError> {
    let known = store.journal.fingerprints(dedupe_since(config), MAX_KNOWN);
    let sources = config.sources.iter().map(|s| (s.name.clone(), s.config.clone())).collect();
    let front = Ingress::new(server, sources, store.journal.clone(), known)?;
    let (books, counted) = (Arc::clone(books), Arc::clone(unmatched));
    front.on_append(Box::new(move |source, kind| {
        let (tally, wanted) = books.tally(source, kind);
        if !wanted && counted.note(source, kind) {
            info!(source, kind, "no route matches this type: its events are kept, and go nowhere");
        }
        tally
    }));
    Ok(front)
}

/// The longest window of any source, back from now, in microseconds.
fn dedupe_since(config: &Config) -> i64 {
    let longest = config.sources.iter().map(|s| s.config.dedupe_window()).max().unwrap_or_default();
    let micros = i64::try_from(longest.as_micros()).unwrap_or(i64::MAX);
    Timestamp::now().as_microsecond().saturating_sub(micros)
}
