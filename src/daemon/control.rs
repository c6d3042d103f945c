//! What the admin listener asks of the daemon: figures and dead letters are read here and now, and what changes sinks,
//! replays or the config is sent to the main loop.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sink_api::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::books::{Books, SinkBook};
use super::config_state::ConfigState;
use super::dead_letters::{self, InForce};
use super::disk_watch::DiskTrouble;
use super::explaining::Explaining;
use super::figures::{self, Figures};
use super::found::{self, Found};
use super::history::History;
use super::probing;
use super::reasons::{Down, Seen, codes, reasons};
use super::refusals::{known_sink, sinks_not_started, unable};
use super::replay_outcome;
use super::replay_plan;
use super::requests::{Request, Requests};
use super::resends;
use super::scrape::Scrape;
use super::sending::Sending;
use super::shown_config;
use super::store::Store;
use crate::admin::dead::{Count, DeadAct, DeadAsk, DeadDone, DeadView, OutcomeView, OutcomesAsk};
use crate::admin::explain::{ExplainAsk, ExplainView};
use crate::admin::fates::{FatesAsk, FatesView};
use crate::admin::found::{CloudLine, EventAsk, EventView, EventsAsk, TailAsk, Tailed, TraceAsk, TraceView};
use crate::admin::history::{HistoryAsk, HistoryView};
use crate::admin::list::List;
use crate::admin::log::{LogAsk, LogLevels};
use crate::admin::reload::ReloadDone;
use crate::admin::replay::{
    ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled, ReplayOutcome, ReplayPlan, ReplayView,
};
use crate::admin::running::ConfigView;
use crate::admin::sending::{CancelAsk, CancelDone, ResendView, ResendsAsk, SendDone, ToSend};
use crate::admin::sink::{ProbeDone, SinkAct, SinkAsk, SinkDone};
use crate::admin::status::{
    BudgetStatus, ConfigStatus, DiskStatus, JournalStatus, PreviousSecretStatus, Reason, ResendsStatus, SourceStatus,
    State, TooLongStatus,
};
use crate::admin::{BoxStream, Control, Readiness, Refusal, Status};
use crate::deliver::Condition;
use crate::ingress::counts::{self, SOURCE_REASONS};
use crate::ingress::{BudgetUse, Ingress, PreviousSecret, SourceFacts};
use crate::ledger::Storage;
use crate::ledger::held::Held;
use crate::ledger::replays::Replay;
use crate::metrics::Format;
use crate::route::Unmatched;
use crate::telemetry::{self, config::Level, levels};
use crate::version::VERSION;

/// Longest that the journal is asked for its own figures: brokers may be away.
const STAT: Duration = Duration::from_secs(1);

/// The admin listener's way to the daemon. What only reads is answered here; what changes something is sent to the main
/// loop.
pub(super) struct DaemonControl {
    storage: Storage,
    ingress: Arc<Ingress>,
    books: Arc<Books>,
    figures: Arc<Figures>,
    found: Found,
    sending: Arc<Sending>,
    scrape: Scrape,
    history: Arc<History>,
    explaining: Explaining,
    unmatched: Arc<Unmatched>,
    started: Timestamp,
    /// `[journal] min_free` and `max_size`, bytes.
    disk_bounds: [u64; 2],
    disk_trouble: Arc<DiskTrouble>,
    requests: Requests,
    config_state: Arc<ConfigState>,
    stopping: AtomicBool,
}

#[async_trait]
impl Control for DaemonControl {
    fn readiness(&self) -> Readiness {
        let ready = self.is_ready();
        let reasons = codes(&self.reasons(&self.config_state.status()));
        Readiness { ready, at_risk: self.storage.journal.at_risk(), reasons }
    }

    async fn status(&self) -> Status {
        let config = self.config_state.status();
        let reasons = self.reasons(&config);
        // A journal that cannot be read shows nothing of itself.
        let stat = tokio::time::timeout(STAT, self.storage.journal.stat());
        let (stat, sinks, resends) = tokio::join!(stat, self.figures.sinks(), self.resends_status());
        let stat = stat.ok().and_then(Result::ok).unwrap_or_default();
        let oldest_time = stat.oldest_time.and_then(|time| Timestamp::from_microsecond(time).ok());
        let previous: HashMap<String, _> = self.ingress.previous_secrets().into_iter().collect();
        let source = |facts: SourceFacts| {
            let previous_secret = previous.get(&facts.name).map(|own| previous_secret(own)).unwrap_or_default();
            (facts.name.clone(), SourceStatus { previous_secret, ..source_status(&facts) })
        };
        let elsewhere = self.ingress.elsewhere().totals();
        let [min_free, max_size] = self.disk_bounds;
        Status {
            ready: self.is_ready(),
            state: match self.stopping.load(Ordering::Acquire) {
                true => State::Stopping,
                false if reasons.is_empty() => State::Ready,
                false => State::Degraded,
            },
            reasons,
            version: VERSION.to_owned(),
            started: figures::text(self.started),
            config,
            disk: DiskStatus { free: stat.free.unwrap_or_default(), min_free, max_size },
            journal: JournalStatus {
                events: stat.events,
                bytes: stat.bytes,
                oldest_time: oldest_time.map(|time| time.to_string()),
                at_risk: self.storage.journal.at_risk(),
            },
            unmatched: self.unmatched.counts().into_iter().map(|(_, _, events)| events).sum(),
            sources: self.ingress.sources_now().into_iter().map(source).collect(),
            refused_elsewhere: elsewhere.into_iter().map(|(path, count)| (path.to_string(), count)).collect(),
            sinks,
            resends,
            nodes: vec![],
        }
    }

    async fn metrics(&self, format: Format) -> String {
        self.scrape.page().await.write(format)
    }

    async fn dead(&self, ask: DeadAsk) -> Result<List<DeadView>, Refusal> {
        self.list(Held::Dead, ask).await
    }

    async fn pending(&self, ask: DeadAsk) -> Result<List<DeadView>, Refusal> {
        self.list(Held::Parked, ask).await
    }

    async fn dead_counts(&self, ask: DeadAsk) -> Result<List<Count>, Refusal> {
        self.counts(Held::Dead, ask).await
    }

    async fn pending_counts(&self, ask: DeadAsk) -> Result<List<Count>, Refusal> {
        self.counts(Held::Parked, ask).await
    }

    async fn outcomes(&self, ask: OutcomesAsk) -> Result<List<OutcomeView>, Refusal> {
        let ledger = Arc::clone(&self.storage.ledger);
        aside(async move { dead_letters::outcomes(&ledger, ask).await }).await
    }

    async fn probe(&self, sink: String) -> Result<ProbeDone, Refusal> {
        let books = self.books.now();
        known_sink(&sink, books.sinks.iter().map(|book| &book.name))?;
        let Some(book) = books.of(&sink) else { return Err(sinks_not_started()) };
        probing::probe(&sink, &book.book).await
    }

    async fn replay_plan(&self, ask: ReplayAsk) -> Result<ReplayPlan, Refusal> {
        replay_plan::plan(&self.config_state.in_force(), &*self.storage.journal, ask).await
    }

    async fn replay_outcome(&self, ask: ReplayCancel) -> Result<List<ReplayOutcome>, Refusal> {
        replay_outcome::outcome(&*self.storage.settle, ask.id).await
    }

    async fn change_dead(&self, ask: DeadAsk, act: DeadAct) -> Result<DeadDone, Refusal> {
        let (sinks, config) = (self.sinks(), self.config_state.in_force());
        let config = InForce { sinks: &sinks, zone: &config.timezone, masks: &config.masks };
        let done = dead_letters::change(&self.storage, ask, act, config).await;
        // The sinks' workers look for what is due now.
        self.books.now().sinks.iter().for_each(|book| book.book.notify());
        done
    }

    async fn send(&self, told: ToSend) -> Result<SendDone, Refusal> {
        let sending = Arc::clone(&self.sending);
        aside(async move { sending.send(told).await }).await
    }

    async fn resends(&self, ask: ResendsAsk) -> Result<List<ResendView>, Refusal> {
        resends::list(&self.found.outbox, &self.config_state.in_force().resends, ask).await
    }

    async fn cancel_resends(&self, ask: CancelAsk) -> Result<CancelDone, Refusal> {
        let found = self.found.clone();
        aside(async move { found.cancel_resends(ask).await }).await
    }

    async fn events(&self, ask: EventsAsk) -> Result<List<CloudLine>, Refusal> {
        let found = self.found.clone();
        aside(async move { found.events(ask).await }).await
    }

    async fn event(&self, ask: EventAsk) -> Result<EventView, Refusal> {
        let found = self.found.clone();
        aside(async move { found.event(ask).await }).await
    }

    async fn trace(&self, ask: TraceAsk) -> Result<TraceView, Refusal> {
        let found = self.found.clone();
        aside(async move { found.trace(ask).await }).await
    }

    async fn fates(&self, ask: FatesAsk) -> Result<FatesView, Refusal> {
        let found = self.found.clone();
        aside(async move { found.fates(ask).await }).await
    }

    async fn tail(&self, ask: TailAsk) -> Result<BoxStream<Tailed>, Refusal> {
        self.found.tail(ask).await
    }

    async fn sink(&self, ask: SinkAsk, act: SinkAct) -> Result<SinkDone, Refusal> {
        self.is_reachable()?;
        self.requests.ask(|reply| Request::Sink(ask, act, reply)).await
    }

    async fn replays(&self) -> Result<List<ReplayView>, Refusal> {
        self.is_reachable()?;
        let replays = self.figures.replays().await.map_err(unable)?;
        let view = |(Replay { id, sink, deliveries, .. }, done)| ReplayView { id, sink, done, deliveries };
        Ok(List::new(replays.into_iter().map(view).collect(), None))
    }

    async fn replay(&self, ask: ReplayAsk) -> Result<ReplayBegun, Refusal> {
        self.is_reachable()?;
        self.requests.ask(|reply| Request::Replay(ask, reply)).await
    }

    async fn cancel_replay(&self, ask: ReplayCancel) -> Result<ReplayCancelled, Refusal> {
        self.is_reachable()?;
        self.requests.ask(|reply| Request::CancelReplay(ask, reply)).await
    }

    fn log_levels(&self) -> LogLevels {
        LogLevels {
            levels: levels::now(),
            of_environment: levels::is_of_environment(),
            left_out: telemetry::left_out(),
        }
    }

    fn set_log_level(&self, ask: LogAsk) -> Result<LogLevels, Refusal> {
        let level = Level::of(&ask.level).map_err(Refusal::Question)?;
        levels::set(ask.room.as_deref(), level).map_err(Refusal::Question)?;
        tracing::info!(room = ask.room, level = level.name(), "the log level was changed, until a reload or restart");
        Ok(self.log_levels())
    }

    async fn reload(&self) -> Result<ReloadDone, Refusal> {
        self.requests.ask(Request::Reload).await
    }

    async fn config(&self) -> Result<ConfigView, Refusal> {
        shown_config::view(&self.config_state).await
    }

    async fn history(&self, ask: HistoryAsk) -> Result<HistoryView, Refusal> {
        Ok(self.history.view(ask.span))
    }

    async fn explain(&self, ask: ExplainAsk) -> Result<ExplainView, Refusal> {
        self.explaining.explain(ask).await
    }
}

impl DaemonControl {
    pub fn new(
        store: &Store,
        ingress: &Arc<Ingress>,
        books: &Arc<Books>,
        config_state: &Arc<ConfigState>,
        unmatched: &Arc<Unmatched>,
        requests: Requests,
    ) -> Self {
        let figures = Arc::new(Figures::new(store, books));
        Self {
            scrape: Scrape::new(store, ingress, books, &figures, config_state, unmatched),
            history: History::new(&config_state.in_force().data_dir, store, ingress, books),
            explaining: Explaining::new(config_state, &store.storage.journal),
            unmatched: Arc::clone(unmatched),
            started: Timestamp::now(),
            disk_bounds: store.disk_bounds,
            disk_trouble: Arc::clone(&store.disk_trouble),
            config_state: Arc::clone(config_state),
            storage: store.storage.clone(),
            found: Found {
                storage: store.storage.clone(),
                books: Arc::clone(books),
                config_state: Arc::clone(config_state),
                outbox: store.outbox.clone(),
                askers: Arc::new(Semaphore::new(found::ASKERS)),
            },
            sending: Arc::new(Sending::new(store, books, config_state)),
            ingress: Arc::clone(ingress),
            books: Arc::clone(books),
            figures,
            requests,
            stopping: AtomicBool::new(false),
        }
    }

    async fn list(&self, held: Held, ask: DeadAsk) -> Result<List<DeadView>, Refusal> {
        let (ledger, sinks) = (Arc::clone(&self.storage.ledger), self.sinks());
        let config = self.config_state.in_force();
        aside(async move {
            dead_letters::list(
                &ledger,
                held,
                ask,
                InForce { sinks: &sinks, zone: &config.timezone, masks: &config.masks },
            )
            .await
        })
        .await
    }

    async fn counts(&self, held: Held, ask: DeadAsk) -> Result<List<Count>, Refusal> {
        let (sinks, config) = (self.sinks(), self.config_state.in_force());
        let config = InForce { sinks: &sinks, zone: &config.timezone, masks: &config.masks };
        dead_letters::counts(&self.storage.ledger, held, ask, config).await
    }

    /// The sinks of the config.
    fn sinks(&self) -> Vec<String> {
        self.books.now().sinks.iter().map(|book| book.name.clone()).collect()
    }

    /// What waits to be sent again, where a sink of the config sends messages.
    async fn resends_status(&self) -> Option<ResendsStatus> {
        let sends = self.config_state.in_force().sinks.iter().any(|sink| sink.kind.sends);
        if sends { resends::status(&self.found.outbox).await } else { None }
    }

    /// Whether a webhook sent now would be taken.
    fn is_ready(&self) -> bool {
        !self.stopping.load(Ordering::Acquire) && !self.ingress.refuses(self.storage.journal.refuses())
    }

    /// Everything that is not as it should be. Answers at once.
    /// Refuses at once what would be waited for in vain: those who keep the journal are known not to answer.
    fn is_reachable(&self) -> Result<(), Refusal> {
        match self.storage.journal.trouble() {
            Some(trouble) => Err(Refusal::Unable(format!("the journal cannot be asked: {trouble}"))),
            None => Ok(()),
        }
    }

    fn reasons(&self, config: &ConfigStatus) -> Vec<Reason> {
        let (gives_back, takes_none) = self.storage.journal.refuses();
        let down = |book: &SinkBook| {
            let vitals = book.book.vitals();
            (vitals.condition() == Condition::Down).then(|| Down {
                sink: book.name.clone(),
                since: vitals.down_since(),
                last_error: vitals.last_error(),
            })
        };
        reasons(&Seen {
            is_failing: gives_back || takes_none,
            trouble: self.storage.journal.trouble(),
            at_risk: self.storage.journal.at_risk(),
            is_shared: self.storage.journal.is_shared(),
            disk: self.disk_trouble.text(),
            pressed: self.ingress.is_pressed().then(|| self.ingress.pressed()),
            config,
            down: &self.books.now().sinks.iter().filter_map(down).collect::<Vec<_>>(),
            sources: &self.ingress.sources_now(),
        })
    }

    /// Takes samples for the history until the task is ended.
    pub fn keep_history(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.history).run()
    }

    /// From now on a POST may be refused: the daemon shows as not ready.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether the watchdog is to spare a daemon that does not go on: what is at risk would be lost with it, and a stop
    /// has a time limit of its own.
    pub fn is_spared(&self) -> bool {
        self.stopping.load(Ordering::Acquire) || self.storage.journal.at_risk() > 0
    }
}

/// Does work that may take long on the daemon's own threads: the admin listener's only one answers `/healthz`
/// meanwhile.
/// Ends where nobody waits for it any more.
async fn aside<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    let cut = || Refusal::Unable("it was cut short".into());
    tasks.join_next().await.ok_or_else(cut)?.map_err(unable)?
}

fn source_status(facts: &SourceFacts) -> SourceStatus {
    let of = |what| counts::count_of(&facts.totals, what);
    let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let refused = SOURCE_REASONS.iter().map(|reason| (reason.word().to_owned(), of(reason.word())));
    let budget = facts.budget.as_ref().map(|BudgetUse { used, budget, .. }| BudgetStatus {
        used: *used as u64,
        of: budget.failures.into(),
        within_s: budget.within.0.as_secs(),
    });
    SourceStatus {
        accepted: of("accepted"),
        duplicate: of("duplicate"),
        rejected: SOURCE_REASONS.iter().map(|reason| of(reason.word())).sum(),
        refused: refused.collect(),
        late: of("late"),
        rate: (facts.rate * 100.0).round() / 100.0,
        last_accepted: text(facts.last_accepted),
        budget,
        silent_since: text(facts.silent_since),
        too_long: TooLongStatus { kind: of("long_type"), subject: of("long_subject") },
        previous_secret: PreviousSecretStatus::default(),
    }
}

fn previous_secret(previous: &PreviousSecret) -> PreviousSecretStatus {
    PreviousSecretStatus { count: previous.count.get(), last: previous.last().map(|time| time.to_string()) }
}
