//! How far the follower has read: whoever is about to send a message again waits until all statuses that were accepted
//! by then were heard.
//!
//! What the ledger says of the follower is enough: its cursor passes an event only when the event was heard, given up,
//! or is held to be tried again, and its totals say how many are held. Both are of one transaction. So a yes is never
//! given too early, over restarts as well; a no may be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::async_trait;
use tokio::sync::Mutex;

use super::books::Books;
use super::store::Store;
use crate::deliver::Condition;
use crate::journal::Marks;
use crate::ledger::{SinkState, Storage};
use crate::outbox::{FOLLOWER, Progress};

/// Nobody waits longer: who sends asks again later.
const PATIENCE: Duration = Duration::from_secs(3);
/// The ledger is looked at so often, however many wait.
const LOOK: Duration = Duration::from_millis(50);

/// What is known of the follower.
pub(super) struct CaughtUp {
    storage: Storage,
    books: Arc<Books>,
    patience: Duration,
    seen: Mutex<Seen>,
}

/// The last look into the ledger, which all who wait share.
#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    state: Option<SinkState>,
}

impl Seen {
    /// Whether everything before these marks was heard, by that look.
    fn has_reached(&self, ends: &Marks) -> bool {
        self.state.as_ref().is_some_and(|SinkState { cursors, counters: c }| {
            cursors.reaches(ends) && c.accepted <= c.delivered + c.dead + c.filtered + c.dropped
        })
    }
}

/// Has the outbox of the store know how far statuses were read.
pub(super) fn tell(store: &Store, books: &Arc<Books>) {
    store.outbox.know_progress(Arc::new(CaughtUp::new(store.storage.clone(), Arc::clone(books))));
}

impl CaughtUp {
    /// Knows what stands in that ledger, and by the books whether there is a follower.
    pub fn new(storage: Storage, books: Arc<Books>) -> Self {
        Self { storage, books, patience: PATIENCE, seen: Mutex::default() }
    }

    async fn has_reached(&self, ends: &Marks) -> bool {
        let mut seen = self.seen.lock().await;
        // A cursor only moves on: what reached these marks before has reached them still.
        if !seen.has_reached(ends) && seen.at.is_none_or(|at| at.elapsed() >= LOOK) {
            seen.state = self.storage.settle.load(FOLLOWER).await.ok().flatten();
            seen.at = Some(Instant::now());
        }
        seen.has_reached(ends)
    }

    async fn reaches(&self, ends: &Marks) -> bool {
        loop {
            let Some(book) = self.books.now().of(FOLLOWER).map(|sink| Arc::clone(&sink.book)) else {
                // No route says what statuses are, or nothing is sent: there is nothing to hear of.
                return true;
            };
            if self.has_reached(ends).await {
                return true;
            }
            if matches!(book.vitals().condition(), Condition::Paused | Condition::Disabled | Condition::Down) {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[async_trait]
impl Progress for CaughtUp {
    async fn caught_up(&self) -> bool {
        let journal = &self.storage.journal;
        // What was accepted and is in memory alone has no place yet, and the follower cannot have heard of it.
        if journal.at_risk() > 0 && self.books.now().of(FOLLOWER).is_some() {
            return false;
        }
        let ends = journal.known_ends();
        tokio::time::timeout(self.patience, self.reaches(&ends)).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use sink_api::Size;

    use super::*;
    use crate::journal::{JournalConfig, LocalJournal, OnFailure, Position, Record};
    use crate::ledger::held::Change;
    use crate::ledger::replays::{Replay, ReplayCounts, UnderWay};
    use crate::ledger::{Counters, Dead, Ledger, LocalSettle, Orders, Settle, SettleError, Settlement};
    use crate::route::{JqEval, RuleSet};

    /// No test waits longer for what must come.
    const LONG: Duration = Duration::from_secs(60);

    /// The ledger, and how often it was asked.
    struct Counted(LocalSettle, AtomicUsize);

    #[async_trait]
    impl Settle for Counted {
        async fn load(&self, sink: &str) -> Result<Option<SinkState>, SettleError> {
            self.1.fetch_add(1, SeqCst);
            self.0.load(sink).await
        }

        async fn settle(&self, steps: Vec<Settlement>) -> Result<(), SettleError> {
            self.0.settle(steps).await
        }

        async fn change_dead(&self, sink: &str, ids: Vec<String>, change: Change) -> Result<Dead, SettleError> {
            self.0.change_dead(sink, ids, change).await
        }

        async fn pause(&self, sink: &str, paused: bool) -> Result<(), SettleError> {
            self.0.pause(sink, paused).await
        }

        async fn is_paused(&self, sink: &str) -> Result<bool, SettleError> {
            self.0.is_paused(sink).await
        }

        async fn begin_replay(&self, replays: Vec<Replay>) -> Result<i64, SettleError> {
            self.0.begin_replay(replays).await
        }

        async fn cancel_replay(&self, id: i64) -> Result<usize, SettleError> {
            self.0.cancel_replay(id).await
        }

        async fn replays(&self) -> Result<Vec<UnderWay>, SettleError> {
            self.0.replays().await
        }

        async fn replay_counts(&self, id: i64) -> Result<Vec<ReplayCounts>, SettleError> {
            self.0.replay_counts(id).await
        }

        async fn orders(&self) -> Result<Orders, SettleError> {
            self.0.orders().await
        }
    }

    struct World {
        progress: Arc<CaughtUp>,
        books: Arc<Books>,
        storage: Storage,
        settle: Arc<Counted>,
        folder: tempfile::TempDir,
    }

    fn rules(sinks: &[&str]) -> Arc<RuleSet> {
        Arc::new(RuleSet::compile(&[], sinks, &["interakt"], Arc::new(JqEval)).unwrap())
    }

    /// A journal and a ledger, which is not open yet, and these sinks.
    fn world(sinks: &[&str], patience: Duration) -> World {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::bounded(u64::MAX));
        let config = JournalConfig { min_free: Size(0), ..JournalConfig::default() };
        let dir = folder.path().join("journal");
        let (journal, _) = LocalJournal::open(&dir, &config, |_| None, ledger.clone(), Box::new(|| 0)).unwrap();
        let journal = Arc::new(journal);
        let settle = Arc::new(Counted(LocalSettle::new(Arc::clone(&ledger), journal.clone()), AtomicUsize::new(0)));
        let storage = Storage { retention: journal.clone(), journal, settle: settle.clone(), ledger };
        let names = sinks.iter().map(|name| (*name).to_owned()).collect();
        let books = Arc::new(Books::new(&rules(sinks), names, &storage.journal.known_ends()));
        let progress = CaughtUp { patience, ..CaughtUp::new(storage.clone(), Arc::clone(&books)) };
        World { progress: Arc::new(progress), books, storage, settle, folder }
    }

    impl World {
        fn open_ledger(&self) {
            self.storage.ledger.attach(&self.folder.path().join("ledger.db")).unwrap();
        }

        /// Accepts an event; the place behind it.
        async fn accept(&self) -> Position {
            let (durable, position) = tokio::sync::oneshot::channel();
            let (source, kind, key) = ("interakt".into(), "t".into(), "k".into());
            let (payload, made) = ("{}".into(), Default::default());
            let record = Record { id: [7; 16], time: 0, source, kind, key, fingerprint: None, payload, made };
            let told = move |progress| durable.send(progress).unwrap();
            let told = std::sync::Mutex::new(Some(told));
            let report = move |progress| {
                if let Some(told) = told.lock().unwrap().take() {
                    told(progress);
                }
            };
            self.storage.journal.append(record, OnFailure::Keep, Box::new(report));
            let crate::journal::Progress::Durable(position) = position.await.unwrap() else { panic!() };
            position.behind()
        }

        /// The follower's cursor moves there, with these totals.
        async fn settle(&self, to: Position, delta: Counters) {
            let step = Settlement { delta, ..Settlement::to(FOLLOWER, to) };
            self.storage.settle.settle(vec![step]).await.unwrap();
        }

        async fn says(&self) -> bool {
            tokio::time::timeout(LONG, self.progress.caught_up()).await.expect("it answers")
        }
    }

    fn heard(delivered: u64) -> Counters {
        Counters { accepted: delivered, delivered, ..Counters::default() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_is_caught_up_when_its_cursor_is_past_all_and_nothing_is_held() {
        let world = world(&["crm", FOLLOWER], LOOK * 3);
        let first = world.accept().await;
        assert!(!world.says().await, "the ledger is not open");
        world.open_ledger();
        assert!(!world.says().await, "it never began");
        world.settle(first, heard(1)).await;
        assert!(world.says().await);
        let second = world.accept().await;
        assert!(!world.says().await, "there is another one");
        world.settle(second, Counters { accepted: 1, ..Counters::default() }).await;
        assert!(!world.says().await, "it is parked");
        world.settle(second, Counters { delivered: 1, ..Counters::default() }).await;
        assert!(world.says().await);
        let third = world.accept().await;
        world.settle(third, Counters { accepted: 2, dead: 1, filtered: 1, ..Counters::default() }).await;
        assert!(world.says().await, "what was given up is over");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_hears_of_it_and_waits_for_nothing_that_came_later_and_all_share_one_look() {
        let world = world(&[FOLLOWER], LONG);
        world.open_ledger();
        let first = world.accept().await;
        let ask = || {
            let progress = Arc::clone(&world.progress);
            tokio::spawn(async move { progress.caught_up().await })
        };
        let began = Instant::now();
        let waiting: Vec<_> = (0..100).map(|_| ask()).collect();
        while world.settle.1.load(SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        assert!(waiting.iter().all(|waits| !waits.is_finished()));
        world.accept().await;
        let asked = ask();
        world.settle(first, heard(1)).await;
        for waits in waiting {
            assert!(tokio::time::timeout(LONG, waits).await.expect("it hears of it").unwrap());
        }
        assert!(!asked.is_finished(), "that one was asked after the second event");
        let most = began.elapsed().as_millis() / LOOK.as_millis() + 2;
        assert!(world.settle.1.load(SeqCst) as u128 <= most, "{most} looks");
        asked.abort();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_follower_nothing_is_waited_for_and_one_that_reads_nothing_is_not_waited_for_either() {
        let none = world(&["crm"], LONG);
        none.accept().await;
        assert!(none.says().await);
        let world = world(&[FOLLOWER], LONG);
        world.open_ledger();
        world.accept().await;
        let book = Arc::clone(&world.books.now().of(FOLLOWER).unwrap().book);
        book.vitals().set_paused(true);
        assert!(!world.says().await, "nobody knows for how long");
        book.vitals().set_paused(false);
        let waits = tokio::spawn({
            let progress = Arc::clone(&world.progress);
            async move { progress.caught_up().await }
        });
        let (next, _) = world.books.switch(&rules(&[]), vec![], &*world.storage.journal);
        world.books.replace(next);
        assert!(tokio::time::timeout(LONG, waits).await.expect("a reload took it away").unwrap());
    }
}
