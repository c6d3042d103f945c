//! Ingress as the daemon opens it: its sources, the fingerprints that dedupe knows from earlier lives of the daemon,
//! who counts each event, and where it tells what is news and what becomes a span.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sink_api::Timestamp;
use tokio::time::timeout;
use tracing::info;

use super::books::Books;
use super::store::Store;
use crate::config::Config;
use crate::ingress::{Ingress, ServerConfig};
use crate::news::News;
use crate::route::Unmatched;

/// Most fingerprints that dedupe is given at the start.
const MAX_KNOWN: usize = 1_000_000;
/// Longest that a start waits for them where others have to be asked.
const PATIENCE: Duration = Duration::from_secs(3);

/// What goes on.
pub(super) type GoesOn = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Opens ingress. Every event is counted by `books`; an event that no route wants is noted in `unmatched`, and logged
/// the first time. `server` is the config's table, with no more connections than the system allows.
pub(super) fn open_ingress(
    config: &Config,
    server: &ServerConfig,
    store: &Store,
    unmatched: &Arc<Unmatched>,
    (books, news): (&Arc<Books>, &News),
) -> Arc<Ingress> {
    let ingress = Ingress::new(server, config.sources.clone(), Arc::clone(&store.storage.journal), vec![]);
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

/// Lets dedupe know the events of earlier lives. Where others keep them they are waited for a while if those have
/// answered by now (`is_ready`); what is left of it is given back, to go on beside all else.
pub(super) async fn recognise(
    config: &Config,
    store: &Store,
    ingress: &Arc<Ingress>,
    is_ready: bool,
) -> Option<GoesOn> {
    let (since, journal, ingress) = (dedupe_since(config), Arc::clone(&store.storage.journal), Arc::clone(ingress));
    let is_shared = journal.is_shared();
    let mut goes_on: GoesOn = Box::pin(async move {
        let known = journal.fingerprints(since, MAX_KNOWN).await;
        let events = known.len();
        ingress.remember(known);
        if is_shared {
            info!(events, "repeats of earlier events are recognised");
        }
    });
    if !is_shared {
        goes_on.await;
        return None;
    }
    let patience = if is_ready { PATIENCE } else { Duration::ZERO };
    timeout(patience, &mut goes_on).await.err().map(|_| goes_on)
}

/// Where the longest dedupe window of any source begins, in microseconds since 1970.
fn dedupe_since(config: &Config) -> i64 {
    let longest = config.sources.iter().map(|source| source.dedupe_window).max().unwrap_or_default();
    let micros = i64::try_from(longest.as_micros()).unwrap_or(i64::MAX);
    Timestamp::now().as_microsecond().saturating_sub(micros)
}
