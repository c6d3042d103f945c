//! Ingress as the daemon opens it: its sources, the fingerprints that dedupe knows from earlier lives of the daemon,
//! who counts each event, and where it tells what is news and what becomes a span.

use std::sync::Arc;

use sink_api::Timestamp;
use tracing::info;

use super::books::Books;
use super::store::Store;
use crate::config::Config;
use crate::ingress::{Ingress, ServerConfig};
use crate::news::News;
use crate::route::Unmatched;

/// Most fingerprints that dedupe is given at the start.
const MAX_KNOWN: usize = 1_000_000;

/// Opens ingress. Every event is counted by `books`; an event that no route wants is noted in `unmatched`, and logged
/// the first time. `server` is the config's table, with no more connections than the system allows.
pub(super) fn open_ingress(
    config: &Config,
    server: &ServerConfig,
    store: &Store,
    unmatched: &Arc<Unmatched>,
    (books, news): (&Arc<Books>, &News),
) -> Arc<Ingress> {
    let journal = &store.storage.journal;
    let known = journal.fingerprints(dedupe_since(config), MAX_KNOWN);
    let ingress = Ingress::new(server, config.sources.clone(), Arc::clone(journal), known);
    ingress.set_tls(config.tls.clone());
    ingress.set_news(news.clone());
    ingress.traces().put_in_force(&config.tracing);
    let (books, counted) = (Arc::clone(books), Arc::clone(unmatched));
    ingress.on_append(Box::new(move |source, kind| {
        let (tally, wanted) = books.tally(source, kind);
        if !wanted && counted.note(source, kind) {
            info!(source, kind, "no route matches this type: its events are kept, and go nowhere");
        }
        tally
    }));
    ingress
}

/// Where the longest dedupe window of any source begins, in microseconds since 1970.
fn dedupe_since(config: &Config) -> i64 {
    let longest = config.sources.iter().map(|source| source.dedupe_window).max().unwrap_or_default();
    let micros = i64::try_from(longest.as_micros()).unwrap_or(i64::MAX);
    Timestamp::now().as_microsecond().saturating_sub(micros)
}
