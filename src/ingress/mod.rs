//! Ingress: webhooks come in over HTTP, are verified, recognised, journaled and answered.
//!
//! Two rooms that do not know each other: [`http`] is what speaks HTTP, [`source`] what a source is. On top of both:
//! [`threads`] are the serving threads, `sources` the sources with their counts, `intake` is the way of a request,
//! `dedupe` recognises repeats, `append_batch` hands over to the journal, `throttle` keeps log lines from becoming a
//! flood.
//!
//! What is watched: `answered` is the one place that every answer passes; [`counts`] are what was counted,
//! [`elsewhere`] the same of paths that no source has (`paths`); `refusals` says which refusals are told in the log,
//! and when; [`guard`] watches each feed, whose failures are in `spending`; `recent` has its rate. Somebody has to call
//! [`Ingress::look_around`] every second. [`answer_seconds`] are for metrics, and so is [`at_risk`].
//!
//! Knows the journal only as something to append to. Knows no sinks and no rules. Spawns only connections.

pub mod answer_seconds;
mod answered;
mod append_batch;
pub mod at_risk;
pub mod counts;
mod dedupe;
pub mod elsewhere;
pub mod guard;
pub mod http;
mod intake;
pub mod latency;
mod paths;
mod recent;
mod refusals;
pub mod source;
mod sources;
mod spending;
#[cfg(test)]
mod tests;
pub mod threads;
mod throttle;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sink_api::Timestamp;
use tokio::task::JoinSet;

pub use self::answer_seconds::AnswerSeconds;
pub use self::at_risk::AtRisk;
pub use self::counts::{Counter, PreviousSecret, Reason, SourceCounts};
pub use self::elsewhere::Elsewhere;
pub use self::guard::BudgetUse;
pub use self::http::admission::MOST_LEAVING;
pub use self::http::config::ServerConfig;
pub use self::http::counts::ServerCounts;
pub use self::http::tls::Tls;
pub use self::http::{BindError, Bound, Listener, Listening, Pressed, bind};
pub use self::source::{SourceConfig, SourceKind, SourcePlan};
pub use self::sources::Metered;

use self::append_batch::AppendBatch;
use self::counts::Totals;
use self::dedupe::{Dedupe, Earlier};
use self::guard::Now;
use self::http::{Server, balance, listener};
use self::intake::Intake;
use self::refusals::{HeldBack, Refused};
use self::sources::{Source, Sources};
use crate::journal::{Fingerprint, Journal, OnFailure, Position};
use crate::news::{Item, Kind, News};
use crate::traces::Traces;

/// Counts the events of one source and type.
pub trait Tally: Send + Sync {
    /// One more event is on disk, at that position. Called on the journal's own thread: keep it short.
    fn durable(&self, at: Position);
}

/// Is called with source and type of every event that is handed to the journal, and gives what counts the event. It is
/// on the hot path: keep it short.
pub type OnAppend = Box<dyn Fn(&str, &str) -> Arc<dyn Tally> + Send + Sync>;

/// What is known of a source now.
pub struct SourceFacts {
    /// Its name.
    pub name: String,
    /// What it has counted, this life of the daemon and those before together.
    pub totals: Totals,
    /// When its last webhook was accepted, in this life or one before.
    pub last_accepted: Option<Timestamp>,
    /// How much of its failure budget is spent, where it has one.
    pub budget: Option<BudgetUse>,
    /// Since when it has been quiet, where it has gone quiet.
    pub silent_since: Option<Timestamp>,
    /// Events accepted a second, over the last minute.
    pub rate: f64,
}

/// All that takes webhooks in, shared by all listeners and runtimes.
pub struct Ingress {
    server: Arc<Server>,
    sources: RwLock<Arc<Sources>>,
    journal: Arc<dyn Journal>,
    dedupe: Dedupe,
    on_append: OnceLock<OnAppend>,
    elsewhere: Elsewhere,
    held_back: Mutex<HeldBack>,
    news: OnceLock<News>,
    traces: Arc<Traces>,
    is_stopping: AtomicBool,
}

impl Ingress {
    /// Takes webhooks for these sources and appends them to that journal. `known` are the webhooks of an earlier life,
    /// so that their repeats are recognised.
    pub fn new(
        server: &ServerConfig,
        plans: Vec<Arc<SourcePlan>>,
        journal: Arc<dyn Journal>,
        known: Vec<Fingerprint>,
    ) -> Arc<Self> {
        let dedupe = Dedupe::new(server.dedupe_max.as_usize());
        let sources = Sources::new(plans, &Sources::default(), |plan| dedupe.add(plan.dedupe_window));
        let ingress = Arc::new(Self {
            server: Arc::new(Server::new(server)),
            sources: RwLock::new(Arc::new(sources)),
            journal,
            dedupe,
            on_append: OnceLock::new(),
            elsewhere: Elsewhere::default(),
            held_back: Mutex::default(),
            news: OnceLock::new(),
            traces: Arc::default(),
            is_stopping: AtomicBool::new(false),
        });
        ingress.remember(known);
        ingress
    }

    /// Recognises repeats of these webhooks of earlier lives, too. Those that came since are what they are.
    pub fn remember(&self, mut known: Vec<Fingerprint>) {
        let (sources, now) = (self.sources(), Timestamp::now().as_microsecond());
        known.sort_by_key(|known| known.time);
        let of = |known: Fingerprint| {
            let source = sources.named(&known.source)?;
            Some((source.slot, Earlier { fingerprint: known.fingerprint, id: known.id, time: known.time }))
        };
        self.dedupe.remember(known.into_iter().filter_map(of), now);
    }

    /// Accepts from a listener until `stop`, then brings what has begun to its end, for at most `drain`: requests under
    /// way, and for 200 ms connections that have not said anything yet. Meanwhile new connections are let in, for one
    /// request each, but for the last 250 ms of that time; then those in the kernel's queue are the last. May be called
    /// for several listeners on any number of runtimes of either flavour; for several duplicates of one, each with one
    /// of their [`balance::members`], which spread its connections.
    pub async fn serve(self: &Arc<Self>, listener: Listener, member: balance::Member, stop: impl Future<Output = ()>) {
        let batch = Arc::new(AppendBatch::default());
        // Ends with this call: dropped, it is aborted.
        let mut carrier = JoinSet::new();
        carrier.spawn({
            let (batch, journal) = (Arc::clone(&batch), Arc::clone(&self.journal));
            async move { batch.run(&*journal).await }
        });
        let intake = Arc::new(Intake { ingress: Arc::clone(self), batch });
        listener::serve(&self.server, &intake, listener, member, stop).await;
    }

    /// From now on `on_append` hears of every event; a second call changes nothing.
    pub fn on_append(&self, on_append: OnAppend) {
        let _ = self.on_append.set(on_append);
    }

    /// From now on what is refused, and what becomes of the feeds, is told there; a second call changes nothing.
    pub fn set_news(&self, news: News) {
        let _ = self.news.set(news);
    }

    /// Where accepted webhooks are told as spans; off until a config that wants them is put in force there.
    pub fn traces(&self) -> &Arc<Traces> {
        &self.traces
    }

    /// From now on this is what handshakes at addresses with TLS need.
    pub fn set_tls(&self, tls: Option<Tls>) {
        self.server.tls.set(tls);
    }

    /// The daemon stops: whoever asks the health path is to send elsewhere, though webhooks are taken to the end.
    pub fn stopping(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// Whether the health path answers 200: a webhook sent now would be taken.
    fn is_healthy(&self) -> bool {
        !self.is_stopping.load(Ordering::Acquire) && !self.refuses(self.journal.refuses())
    }

    /// What the listeners counted.
    pub fn counts(&self) -> &ServerCounts {
        &self.server.counts
    }

    /// Whether, in the last ten seconds, more was sent than there is room for, so that a sender had to wait or to go.
    pub fn is_pressed(&self) -> bool {
        self.server.is_pressed()
    }

    /// What too many senders have cost since the start, and how many wait now.
    pub fn pressed(&self) -> Pressed {
        self.server.pressed()
    }

    /// From now on these are the sources. Requests under way go on with the source they came for. A source that keeps
    /// its name keeps its counts, and dedupe remembers its webhooks.
    pub fn replace_sources(&self, plans: Vec<Arc<SourcePlan>>) {
        let before = self.sources();
        let next = Sources::new(plans, &before, |plan| self.dedupe.add(plan.dedupe_window));
        for source in &next.list {
            self.dedupe.set_window(source.slot, source.plan.dedupe_window);
        }
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    fn sources(&self) -> Arc<Sources> {
        // Valid whoever panicked: it is replaced whole.
        Arc::clone(&self.sources.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a webhook sent now would be refused by a source. The two flags say whether the journal would give back
    /// an event of a source that refuses while it cannot write, and whether it takes none at all.
    pub fn refuses(&self, (gives_back, all): (bool, bool)) -> bool {
        all || (gives_back && self.sources().list.iter().any(|source| source.plan.on_failure == OnFailure::GiveBack))
    }

    /// What is known of each source now.
    pub fn sources_now(&self) -> Vec<SourceFacts> {
        let facts = |source: &Arc<Source>| {
            let silent_since = *source.guard.silent_since();
            SourceFacts {
                name: source.plan.name.to_string(),
                totals: source.counts.totals(),
                last_accepted: source.counts.last_ever_accepted(),
                budget: source.guard.budget(&source.plan),
                rate: source.recent.rate(source.counts.accepted.get(), Instant::now()),
                // Of a feed that never said anything in this life, what an earlier one has heard.
                silent_since: silent_since.map(|since| match source.counts.last_accepted.get() {
                    None => source.counts.last_ever_accepted().unwrap_or(since),
                    Some(_) => since,
                }),
            }
        };
        self.sources().list.iter().map(facts).collect()
    }

    /// What was refused at paths that no source has.
    pub fn elsewhere(&self) -> &Elsewhere {
        &self.elsewhere
    }

    /// Adds what earlier lives of the daemon have refused elsewhere, by path.
    pub fn continue_elsewhere(&self, before: &[(String, u64)]) {
        let sources = self.sources();
        self.elsewhere.continues(before, |path| sources.meant(path).is_some());
    }

    /// Tells what has become due to be told: refusals that were held back, budgets that have recovered, feeds that have
    /// gone quiet or come back. To be called every second.
    pub fn look_around(&self) {
        let now = Now::new();
        let due = self.held_back().due(now.0, false);
        due.into_iter().for_each(|refused| self.tell(&refused));
        for source in &self.sources().list {
            self.is_news(source.guard.look(&source.plan, source.counts.last_accepted.get(), now));
            source.recent.note(source.counts.accepted.get(), now.0);
        }
    }

    /// Tells all refusals that were held back: nobody will call [`Self::look_around`] any more.
    pub fn tell_rest(&self) {
        let rest = self.held_back().due(Instant::now(), true);
        rest.into_iter().for_each(|refused| self.tell(&refused));
    }

    /// A request was refused: it is told in the log, now or with others.
    fn told(&self, refused: Refused) {
        let told = self.held_back().note(refused, Instant::now());
        told.into_iter().for_each(|refused| self.tell(&refused));
    }

    fn tell(&self, refused: &Refused) {
        let Refused { source, path, status, remote, text, count, .. } = refused;
        let (source, path, remote, reason) = (source.as_deref(), &**path, &**remote, refused.reason.word());
        if *status == 503 {
            tracing::error!(source, path, status, reason, remote, count, "request refused: {text}");
        } else {
            tracing::warn!(source, path, status, reason, remote, count, "request refused: {text}");
        }
        if self.news.get().is_some_and(|news| news.wants(Kind::RequestRefused)) {
            self.is_news(Some(refused.as_news()));
        }
    }

    fn is_news(&self, item: Option<Item>) {
        if let Some((news, item)) = self.news.get().zip(item) {
            news.tell(item);
        }
    }

    fn held_back(&self) -> std::sync::MutexGuard<'_, HeldBack> {
        // Valid whoever panicked: what may be lost is a line.
        self.held_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each source counted, by name.
    pub fn source_counts(&self) -> Vec<(String, Arc<SourceCounts>)> {
        self.sources().list.iter().map(|s| (s.plan.name.to_string(), Arc::clone(&s.counts))).collect()
    }

    /// What metrics show of each source, by name.
    pub fn metered(&self) -> Vec<(String, Arc<Metered>)> {
        self.sources().list.iter().map(|s| (s.plan.name.to_string(), Arc::clone(&s.metered))).collect()
    }

    /// How many connections are open now.
    pub fn connections(&self) -> usize {
        self.server.admission.open()
    }

    /// How many bytes requests take up in memory now, of `max_inflight_bytes`.
    pub fn inflight_bytes(&self) -> usize {
        self.server.budget.used().iter().sum()
    }

    /// What is still proved with each source's previous secret, by name.
    pub fn previous_secrets(&self) -> Vec<(String, Arc<PreviousSecret>)> {
        self.sources().list.iter().map(|s| (s.plan.name.to_string(), Arc::clone(&s.previous))).collect()
    }

    /// For how long repeats of each source are really recognised: shorter than configured where `dedupe_max` did not
    /// suffice, zero where dedupe is off.
    pub fn dedupe_windows(&self) -> Vec<(String, Duration)> {
        let now = Timestamp::now().as_microsecond();
        let window = |s: &Arc<Source>| (s.plan.name.to_string(), self.dedupe.effective_window(s.slot, now));
        self.sources().list.iter().map(window).collect()
    }
}
