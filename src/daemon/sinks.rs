//! The sinks' workers. They start together, once the ledger says where each sink goes on, which a full or failing disk
//! may put off; they stop together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::{DiskFloor, SinkContext};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::books::Books;
use super::error::DaemonError;
use super::own_events;
use super::store::{Store, UNKNOWN};
use crate::config::{Config, SinkEntry};
use crate::deliver::config::StartAt;
use crate::deliver::{self, Book, Spec};
use crate::journal::{Journal, JournalError, Reads};
use crate::ledger::{SettleError, Storage};
use crate::news::{News, SOURCE};
use crate::route::RuleSet;
use crate::traces::Traces;

/// How long a sink that is stopped may take to finish the deliveries under way.
const DRAIN: Duration = Duration::from_secs(5);
/// Longest that a stop waits for the sinks, which is longer than their last write takes unless nobody takes it. The
/// whole stop is to be over before a service manager kills (`TimeoutStopSec=30s` in the unit).
const STOP: Duration = DRAIN.saturating_add(Duration::from_secs(7));
/// Longest that a start waits for others to answer, where they keep the journal. Where nobody listens at all that is
/// known at once.
const ANSWER: Duration = Duration::from_secs(5);
/// Pause before the second try to start the sinks, and the longest pause; it doubles in between.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often it is told why they have not started yet.
const TELL: Duration = Duration::from_secs(30);

/// Who reads the journal under this config.
pub(super) fn readers(config: &Config) -> Vec<Reads> {
    let of = |sink: &SinkEntry| Reads { name: sink.name.clone(), timeout: sink.keys.timeout.0 };
    config.sinks.iter().map(of).collect()
}

/// The sinks' workers, and whether they have started.
pub struct Sinks {
    running: HashMap<String, Running>,
    rules: watch::Sender<Arc<RuleSet>>,
    news: News,
    traces: Arc<Traces>,
    started: bool,
    /// Whether [`Self::keep_trying`] has said so to its caller.
    announced: bool,
    /// Why the journal is refused, as it was said last.
    refused: String,
    /// When it was told last why no sink can start.
    told: Option<Instant>,
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Sinks {
    /// No worker runs yet. What workers tell goes to `news` and `traces`.
    pub fn new(rules: &Arc<RuleSet>, news: News, traces: &Arc<Traces>) -> Self {
        let (rules, traces) = (watch::Sender::new(Arc::clone(rules)), Arc::clone(traces));
        let (running, refused) = (HashMap::new(), String::new());
        Self { running, rules, news, traces, started: false, announced: false, refused, told: None }
    }

    /// Starts the sinks, unless the disk is full or failing, or others who keep the journal do not answer: then
    /// [`Self::keep_trying`] will, and until then every sink holds the whole journal.
    ///
    /// # Errors
    /// An error that does not pass while one waits.
    pub async fn start_if_possible(
        &mut self,
        config: &Config,
        store: &mut Store,
        books: &Books,
    ) -> Result<(), DaemonError> {
        let started = match store.open_ledger().await {
            Ok(()) if store.storage.journal.is_shared() => {
                let silent = |_| Err(SettleError::Unavailable("no answer in time".into()).into());
                timeout(ANSWER, self.start(config, store, books)).await.unwrap_or_else(silent)
            }
            Ok(()) => self.start(config, store, books).await,
            Err(error) => Err(error),
        };
        match started {
            Err(reason) if reason.may_pass() => {
                error!(%reason, "no sink can start: webhooks are taken meanwhile, and it is tried again");
                self.told = Some(Instant::now());
                Ok(store.hold_everything(config).await?)
            }
            done => done,
        }
    }

    /// Returns when all sinks have started, which is at once where they have already. Cancel-safe.
    ///
    /// # Errors
    /// An error that does not pass while one waits. That what others keep is not fit for its purpose is none any more:
    /// webhooks are taken by now, and whoever mends it there should not have to start anything here.
    pub async fn keep_trying(&mut self, config: &Config, store: &mut Store, books: &Books) -> Result<(), DaemonError> {
        let (mut pause, is_shared) = (PAUSES.0, store.storage.journal.is_shared());
        while !self.started {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
            match self.start(config, store, books).await {
                Err(reason) if reason.may_pass() => {
                    let is_due = self.told.is_none_or(|told| told.elapsed() >= TELL);
                    if is_due {
                        warn!(%reason, "no sink has started yet");
                        self.told = Some(Instant::now());
                    }
                }
                Err(DaemonError::Journal(JournalError::Unfit(why))) if is_shared => {
                    if why != self.refused {
                        error!(%why, "the journal is refused: webhooks are taken meanwhile, and it is tried again");
                        self.refused = why;
                    }
                }
                Err(error) => return Err(error),
                Ok(()) => info!("the ledger can be used: the sinks have started"),
            }
        }
        self.announced = true;
        Ok(())
    }

    /// Starts all sinks or none. Their first cursors are durable before anything is delivered.
    async fn start(&mut self, config: &Config, store: &mut Store, books: &Books) -> Result<(), DaemonError> {
        store.open_ledger().await?;
        let start = |sink: &SinkEntry| if store.all_now { StartAt::Now } else { sink.keys.start };
        let named = config.sinks.iter().map(|sink| (sink.name.as_str(), start(sink)));
        let storage = &store.storage;
        let Storage { journal, retention, settle, ledger } = storage;
        journal.prepare(&readers(config)).await?;
        for (name, cursors) in ledger.present(config.sink_names().collect()).await? {
            retention.leave(&name, &cursors);
        }
        let begun = store.begun();
        let begins = [&journal.oldest().await?, &begun];
        let cursors = deliver::first_cursors(&**settle, named, begins, store.lost == Some(true)).await?;
        let books = books.now();
        let (mut ready, mut begins) = (Vec::with_capacity(config.sinks.len()), Vec::new());
        for ((sink, cursors), book) in config.sinks.iter().zip(cursors).zip(&books.sinks) {
            let book = &book.book;
            book_missed(store, &config.rules, &sink.name, &self.news).await?;
            let state = settle.load(&sink.name).await?;
            let stood = journal.owed(&cursors, &begun).await?;
            let owed = deliver::owed(&config.rules, &sink.name, &stood.known);
            info!(sink = %sink.name, from = %cursors, owed, "goes on");
            begins.push((book, state, owed));
            let is_paused = settle.is_paused(&sink.name).await?;
            book.vitals().set_enabled(sink.keys.enabled);
            book.vitals().set_paused(is_paused);
            let runs = sink.keys.enabled && !is_paused;
            ready.push((sink, cursors, runs.then(|| self.spec(config, sink, book, store))));
        }
        for replay in ledger.replays().await? {
            storage.hold_replay(replay.id, &replay.sink, &replay.at);
        }
        // From here on nothing fails and nothing waits.
        begins.into_iter().for_each(|(book, state, owed)| book.begin(state, owed));
        for (sink, cursors, spec) in ready {
            retention.hold(&sink.name, &cursors);
            match spec {
                Some(spec) => self.spawn(spec),
                None => info!(sink = %sink.name, "not enabled, or paused: its cursor stays"),
            }
        }
        // Every sink holds what it is owed: only now may anything be deleted.
        retention.release(UNKNOWN);
        retention.begin();
        self.started = true;
        Ok(())
    }

    /// Whether [`Self::keep_trying`] has returned, so that nobody needs to call it again.
    pub fn is_ready(&self) -> bool {
        self.announced
    }

    /// Whether the sinks have started.
    pub fn has_started(&self) -> bool {
        self.started
    }

    /// The rules in force; the receiver sees those of later reloads, too.
    pub fn rules(&self) -> watch::Receiver<Arc<RuleSet>> {
        self.rules.subscribe()
    }

    /// Whether the worker of that sink runs.
    pub fn is_running(&self, name: &str) -> bool {
        self.running.contains_key(name)
    }

    /// From now on, what the workers have not read yet is routed by these rules.
    pub fn set_rules(&self, rules: &Arc<RuleSet>) {
        self.rules.send_replace(Arc::clone(rules));
    }

    /// Starts a sink where its cursor stands, unless it runs, is not enabled, or is paused.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn launch(
        &mut self,
        config: &Config,
        sink: &SinkEntry,
        book: &Arc<Book>,
        store: &Store,
    ) -> Result<(), DaemonError> {
        let name = &sink.name;
        let is_paused = store.storage.settle.is_paused(name).await?;
        book.vitals().set_enabled(sink.keys.enabled);
        book.vitals().set_paused(is_paused);
        if self.is_running(name) || !sink.keys.enabled || is_paused {
            return Ok(());
        }
        if store.storage.settle.load(name).await?.is_none() {
            return Err(SettleError::NoCursor(name.clone()).into());
        }
        self.spawn(self.spec(config, sink, book, store));
        Ok(())
    }

    fn spec(&self, config: &Config, sink: &SinkEntry, book: &Arc<Book>, store: &Store) -> Spec {
        let context = SinkContext {
            name: sink.name.clone(),
            base_dir: config.base_dir.clone(),
            state_dir: config.data_dir.join("sinks").join(&sink.name),
            floor: DiskFloor { min_free: config.journal.min_free.0 },
            outbox: Arc::new(store.outbox.clone()),
        };
        Spec {
            name: sink.name.clone(),
            config: Arc::clone(&sink.config),
            keys: sink.keys.clone(),
            limits: sink.limits,
            context,
            book: Arc::clone(book),
            storage: store.storage.of(&sink.name),
            budget: Arc::clone(&store.budget),
            news: self.news.clone(),
            traces: Arc::clone(&self.traces),
        }
    }

    fn spawn(&mut self, spec: Spec) {
        let (stop, stopped) = watch::channel(false);
        let name = spec.name.clone();
        let task = tokio::spawn(deliver::run(spec, self.rules.subscribe(), stopped, DRAIN));
        self.running.insert(name, Running { stop, task });
    }

    /// Stops the workers of these sinks, all at the same time; each finishes what is under way, within [`DRAIN`].
    pub async fn halt(&mut self, names: impl Iterator<Item = &str>) {
        let halted: Vec<Running> = names.filter_map(|name| self.running.remove(name)).collect();
        for running in &halted {
            running.stop.send_replace(true);
        }
        for running in halted {
            // A panic was reported on stderr; what the worker held is delivered again.
            let _ = running.task.await;
        }
    }

    /// Stops all workers, for good: one whose last write is not taken within [`STOP`] is left behind. Then nobody reads
    /// the journal for them any more.
    pub async fn stop(&mut self, journal: &dyn Journal) {
        let names: Vec<String> = self.running.keys().cloned().collect();
        if timeout(STOP, self.halt(names.iter().map(String::as_str))).await.is_err() {
            warn!("what sinks have delivered is not settled in time before the end: some of it is delivered again");
        }
        journal.end_readers().await;
    }
}

/// Books, for a sink that is back in the config, what was deleted while it was not: as far as the rules in force now
/// would have owed those events to the sink, they count as dropped.
pub(super) async fn book_missed(store: &Store, rules: &RuleSet, sink: &str, news: &News) -> Result<(), SettleError> {
    let mut missed = store.storage.ledger.missed(sink).await?;
    if missed.is_empty() {
        return Ok(());
    }
    let dropped = deliver::owed(rules, sink, &missed);
    store.storage.ledger.book_missed(sink, dropped).await?;
    if dropped > 0 {
        warn!(
            sink,
            dropped,
            reason = "sink_removed",
            "deliveries are dropped: the journal let them go while the sink was \
            not in the config"
        );
    }
    // That the daemon's own news is gone is no news.
    missed.retain(|stood| *stood.source != *SOURCE);
    let dropped = deliver::owed(rules, sink, &missed);
    if dropped > 0 {
        let why = "the journal let them go while the sink was not in the config";
        news.tell(own_events::dropped(sink, dropped, "sink_removed", why));
    }
    Ok(())
}
