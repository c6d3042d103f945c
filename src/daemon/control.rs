//! What the admin listener asks of the daemon: figures and dead letters are read here and now, and what changes sinks,
//! replays or the config is sent to the main loop.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sink_api::Timestamp;

use super::books::Books;
use super::config_state::ConfigState;
use super::dead_letters;
use super::figures::{self, Figures};
use super::refusals::unable;
use super::requests::{Request, Requests};
use super::scrape::Scrape;
use super::store::Store;
use crate::admin::dead::{DeadAct, DeadAsk, DeadDone, DeadPage};
use crate::admin::log::{LogAsk, LogLevels};
use crate::admin::reload::ReloadDone;
use crate::admin::replay::{ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled, ReplayView};
use crate::admin::sink::{SinkAct, SinkAsk, SinkDone};
use crate::admin::status::{
    BudgetStatus, CONFIG_REFUSED, ConfigState as State, ConfigStatus, DiskStatus, FRONT_PRESSED, JournalStatus,
    PreviousSecretStatus, Reason, SourceStatus, TooLongStatus,
};
use crate::admin::{Control, Readiness, Refusal, Status};
use crate::ingress::counts::{self, SOURCE_REASONS};
use crate::ingress::{BudgetUse, Ingress, Pressed, PreviousSecret, SourceFacts};
use crate::ledger::Storage;
use crate::ledger::replays::Replay;
use crate::metrics::Page;
use crate::route::Unmatched;
use crate::telemetry::{self, config::Level, levels};
use crate::version::VERSION;

/// The admin listener's way to the daemon. What only reads is answered here; what changes something is sent to the main
/// loop.
pub(super) struct DaemonControl {
    storage: Storage,
    ingress: Arc<Ingress>,
    books: Arc<Books>,
    figures: Arc<Figures>,
    scrape: Scrape,
    unmatched: Arc<Unmatched>,
    started: Timestamp,
    /// `[journal] min_free` and `max_size`, bytes.
    disk_bounds: [u64; 2],
    requests: Requests,
    config_state: Arc<ConfigState>,
    stopping: AtomicBool,
}

#[async_trait]
impl Control for DaemonControl {
    fn readiness(&self) -> Readiness {
        let at_risk = self.storage.journal.at_risk();
        let refuses = self.ingress.refuses(self.storage.journal.refuses());
        let ready = !self.stopping.load(Ordering::Acquire) && !refuses;
        let (is_pressed, is_config_refused) = (self.ingress.is_pressed(), self.config_state.is_refused());
        Readiness { ready, at_risk, is_pressed, is_config_refused }
    }

    async fn status(&self) -> Status {
        let Readiness { ready, at_risk, is_pressed, .. } = self.readiness();
        let config = self.config_state.status();
        // A journal that cannot be read shows nothing of itself.
        let stat = self.storage.journal.stat().await.unwrap_or_default();
        let oldest_time = stat.oldest_time.and_then(|time| Timestamp::from_microsecond(time).ok());
        let previous: HashMap<String, _> = self.ingress.previous_secrets().into_iter().collect();
        let source = |facts: SourceFacts| {
            let previous_secret = previous.get(&facts.name).map(|own| previous_secret(own)).unwrap_or_default();
            (facts.name.clone(), SourceStatus { previous_secret, ..source_status(&facts) })
        };
        let elsewhere = self.ingress.elsewhere().totals();
        let [min_free, max_size] = self.disk_bounds;
        let reasons = is_pressed.then(|| pressed(&self.ingress)).into_iter().chain(refused(&config)).collect();
        Status {
            ready,
            reasons,
            version: VERSION.to_owned(),
            started: figures::text(self.started),
            config,
            disk: DiskStatus { free: stat.free.unwrap_or_default(), min_free, max_size },
            journal: JournalStatus {
                events: stat.events,
                bytes: stat.bytes,
                oldest_time: oldest_time.map(|time| time.to_string()),
                at_risk,
            },
            unmatched: self.unmatched.counts().into_iter().map(|(_, _, events)| events).sum(),
            sources: self.ingress.sources_now().into_iter().map(source).collect(),
            refused_elsewhere: elsewhere.into_iter().map(|(path, count)| (path.to_string(), count)).collect(),
            sinks: self.figures.sinks().await,
        }
    }

    async fn metrics(&self) -> Arc<Page> {
        self.scrape.page().await
    }

    async fn dead(&self, ask: DeadAsk) -> Result<DeadPage, Refusal> {
        dead_letters::list(&self.storage.ledger, ask).await
    }

    async fn change_dead(&self, ask: DeadAsk, act: DeadAct) -> Result<DeadDone, Refusal> {
        let books = self.books.now();
        let sinks: Vec<String> = books.sinks.iter().map(|book| book.name.clone()).collect();
        let done = dead_letters::change(&self.storage, ask, act, &sinks).await;
        // The sinks' workers look for what is due now.
        books.sinks.iter().for_each(|book| book.book.notify());
        done
    }

    async fn sink(&self, ask: SinkAsk, act: SinkAct) -> Result<SinkDone, Refusal> {
        self.requests.ask(|reply| Request::Sink(ask, act, reply)).await
    }

    async fn replays(&self) -> Result<Vec<ReplayView>, Refusal> {
        let replays = self.figures.replays().await.map_err(unable)?;
        let view = |(Replay { id, sink, deliveries, .. }, done)| ReplayView { id, sink, done, deliveries };
        Ok(replays.into_iter().map(view).collect())
    }

    async fn replay(&self, ask: ReplayAsk) -> Result<ReplayBegun, Refusal> {
        self.requests.ask(|reply| Request::Replay(ask, reply)).await
    }

    async fn cancel_replay(&self, ask: ReplayCancel) -> Result<ReplayCancelled, Refusal> {
        self.requests.ask(|reply| Request::CancelReplay(ask, reply)).await
    }

    fn log_levels(&self) -> LogLevels {
        LogLevels { levels: levels::now(), left_out: telemetry::left_out() }
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
            unmatched: Arc::clone(unmatched),
            started: Timestamp::now(),
            disk_bounds: store.disk_bounds,
            config_state: Arc::clone(config_state),
            storage: store.storage.clone(),
            ingress: Arc::clone(ingress),
            books: Arc::clone(books),
            figures,
            requests,
            stopping: AtomicBool::new(false),
        }
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

/// Why the status names [`CONFIG_REFUSED`], where it does.
fn refused(config: &ConfigStatus) -> Option<Reason> {
    let ConfigStatus { state: State::Refused, path, since, fault } = config else { return None };
    let fault = fault.as_deref().unwrap_or("its faults are in the log");
    let text = format!(
        "the config file was refused at {since}, and another config is in force: {fault}; once it is mended, or a \
         restart is done that it takes, `hookrelay reload` puts it in force (`hookrelay check` tells all faults)"
    );
    Some(Reason { code: CONFIG_REFUSED.to_owned(), subject: path.clone(), text })
}

fn source_status(facts: &SourceFacts) -> SourceStatus {
    let of = |what| counts::count_of(&facts.totals, what);
    let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let refused = SOURCE_REASONS.iter().map(|reason| (reason.word().to_owned(), of(reason.word())));
    let budget = facts.budget.map(|BudgetUse { used, budget }| BudgetStatus {
        used: used as u64,
        of: budget.failures.into(),
        within_s: budget.within.0.as_secs(),
    });
    SourceStatus {
        accepted: of("accepted"),
        duplicate: of("duplicate"),
        rejected: SOURCE_REASONS.iter().map(|reason| of(reason.word())).sum(),
        refused: refused.collect(),
        late: of("late"),
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

/// Why the status names [`FRONT_PRESSED`].
fn pressed(ingress: &Ingress) -> Reason {
    let Pressed { connections_cut, requests_cut, waiting } = ingress.pressed();
    let text = format!(
        "more is sent than [server] has room for (max_connections, max_inflight_bytes): {waiting} requests wait; since \
         the start {connections_cut} connections and {requests_cut} slow requests had to go"
    );
    Reason { code: FRONT_PRESSED.to_owned(), subject: String::new(), text }
}
