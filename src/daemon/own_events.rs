//! The daemon's own news on its way: what was told becomes events of the source `hookrelay` in the journal, counted
//! like all others. News that no route wants is written nowhere. What the journal does not take goes from memory to the
//! sinks that its routes name, once, and is not counted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use super::books::{Books, SinkBook};
use super::host::host;
use super::store::Store;
use super::told_down::ToldDown;
use crate::deliver::BreakerState;
use crate::event;
use crate::journal::{OnFailure, Progress, Record};
use crate::ledger::Storage;
use crate::news::{self, Desk, Item, Kind, News, Notice, SOURCE};
use crate::route::RuleSet;

/// How long the journal may take over such an event. After that it goes from memory; where the journal has it later on,
/// it comes once more, under the same id.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a stop waits for sinks to take the news of it.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often it looks whether they have.
const LOOK: Duration = Duration::from_millis(10);

/// Takes news out, and writes it.
pub(super) struct OwnEvents {
    desk: Desk,
    books: Arc<Books>,
    storage: Storage,
    told_down: Arc<ToldDown>,
}

impl OwnEvents {
    /// What makes events of what is told at that desk. What the rules in force want is told from now on. Sinks that
    /// were told to be down before this start are shown so in their books.
    pub fn new(books: &Arc<Books>, store: &Store, data_dir: &Path, desk: Desk) -> Arc<Self> {
        let told_down = Arc::new(ToldDown::read(data_dir));
        let own = Self { desk, books: Arc::clone(books), storage: store.storage.clone(), told_down };
        let books = own.books.now();
        own.follow(&books.rules);
        books.sinks.iter().for_each(|sink| sink.book.set_told_down(own.told_down.has(&sink.name)));
        Arc::new(own)
    }

    /// From now on these rules say what is wanted.
    pub fn follow(&self, rules: &RuleSet) {
        self.desk.want(|kind| rules.matched(SOURCE, kind.name()));
    }

    /// Writes what is told, when it is due, until this is dropped.
    pub async fn run(&self) {
        loop {
            let due = self.desk.next().await;
            let left = self.write(due).await;
            self.hand(&left);
        }
    }

    /// Writes what was told since the farewell. The sinks have stopped: the next start delivers it.
    pub async fn last_words(&self) {
        let left = self.write(self.desk.take_all()).await;
        if !left.is_empty() {
            warn!(events = left.len(), "the journal does not take the daemon's own events: they are lost");
        }
    }

    /// Tells that the daemon stops, and gives the sinks that are to hear of it, and run, a moment to do so.
    pub async fn farewell(&self, news: &News, reason: &str, runs: impl Fn(&str) -> bool) {
        let host = host();
        let text = format!("hookrelay on {host} stops: {reason}");
        let item = Item::new(Kind::DaemonStopped, host, text).reason(reason);
        news.tell(item.with("version", env!("CARGO_PKG_VERSION")));
        let left = self.write(self.desk.take_all()).await;
        self.hand(&left);
        let until = Instant::now() + FAREWELL;
        let books = self.books.now();
        let hears = |name: &str| runs(name) && books.rules.wants(name, SOURCE, Kind::DaemonStopped.name());
        let is_well = |sink: &SinkBook| sink.book.breaker() == BreakerState::Closed;
        for book in books.sinks.iter().filter(|book| hears(&book.name) && is_well(book)) {
            while Instant::now() < until && self.books.figures(&self.storage, book).await.pending > 0 {
                sleep(LOOK).await;
            }
        }
    }

    /// Writes these, and gives what the journal has not taken. Everything is handed to the journal before anything is
    /// waited for, so that whoever gives up loses nothing.
    async fn write(&self, notices: Vec<Notice>) -> Vec<Arc<Record>> {
        let handed: Vec<_> = notices.iter().filter_map(|notice| self.append(notice)).collect();
        let until = Instant::now() + PATIENCE;
        let changes = notices
            .iter()
            .filter(|Notice { item, .. }| item.subject != news::OTHER && self.told_down.note(item.kind, &item.subject))
            .count();
        if changes > 0 {
            let told_down = Arc::clone(&self.told_down);
            let kept = timeout_at(until, tokio::task::spawn_blocking(move || told_down.keep())).await;
            if let Ok(Ok(Err(error))) = kept {
                warn!(%error, "which sinks were told to be down is not kept for the next start");
            }
        }
        let mut left = Vec::new();
        for (record, outcome) in handed {
            if !matches!(timeout_at(until, outcome).await, Ok(Ok(true))) {
                left.push(record);
            }
        }
        left
    }

    /// Hands one to the journal, if it is wanted, and gives it with where it will be told whether it is on disk.
    fn append(&self, notice: &Notice) -> Option<(Arc<Record>, oneshot::Receiver<bool>)> {
        let event = event::own(notice.body().into());
        let (tally, wanted) = self.books.tally(SOURCE, &event.kind);
        if !wanted {
            return None;
        }
        let record = event::encode(&event, None, false);
        let kept = Arc::new(record.clone());
        let (sender, outcome) = oneshot::channel();
        let mut sender = Some(sender);
        let on_progress = Box::new(move |progress| {
            if let Progress::Durable(at) = progress {
                tally.durable(at);
            }
            // Where nobody waits any more, it went from memory.
            let _ = sender.take().map(|sender| sender.send(matches!(progress, Progress::Durable(_))));
        });
        self.storage.journal.append(record, OnFailure::GiveBack, on_progress);
        Some((kept, outcome))
    }

    /// Hands what the journal has not taken to the sinks that the rules name.
    fn hand(&self, left: &[Arc<Record>]) {
        if left.is_empty() {
            return;
        }
        let events = left.len();
        warn!(events, "the journal does not take the daemon's own events: they go to their sinks from memory, once");
        let books = self.books.now();
        for record in left {
            for sink in books.sinks.iter().filter(|sink| books.rules.wants(&sink.name, SOURCE, &record.kind)) {
                sink.book.aside.hand(Arc::clone(record));
            }
        }
    }
}

/// What is told of a start.
pub(super) fn started(sources: usize, sinks: usize) -> Item {
    let (host, version) = (host(), env!("CARGO_PKG_VERSION"));
    let text = format!("hookrelay {version} on {host} has started, with {sources} sources and {sinks} sinks");
    let item = Item::new(Kind::DaemonStarted, host, text);
    item.with("version", version).with("sources", sources).with("sinks", sinks)
}

/// What is told of a config that was read and refused.
pub(super) fn config_refused(file: &Path, why: &str, goes_on: &str) -> Item {
    let first = why.lines().next().unwrap_or_default();
    let text = format!("the config was refused, {goes_on}: {first}");
    Item::new(Kind::ConfigRefused, file.display().to_string(), text).with("detail", first)
}

/// What is told of deliveries that are not made.
pub(super) fn dropped(sink: &str, deliveries: u64, reason: &str, why: &str) -> Item {
    let text = format!("{deliveries} deliveries of sink {sink} are dropped: {why}");
    Item::new(Kind::EventsDropped, sink, text).reason(reason).times(deliveries)
}

/// Whether events of that type are the daemon's own: that one of them is gone is no news. (Nobody knows the source of a
/// dead letter without reading all of it, and no provider is known to use these types.)
pub(super) fn is_own(kind: &str) -> bool {
    news::NAMES.contains(&kind)
}
