//! What `/metrics` shows: a page made of what ingress, the journal, the books and the workers count by themselves, anew
//! for each scrape, so that its labels are those of the config in force. What the names mean is in `docs/metrics.md`.
//!
//! However often it is asked for, a page is made twice a second at most; where the ledger does not answer, the sinks
//! are shown as they were.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sink_api::Timestamp;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::books::Books;
use super::config_state::ConfigState;
use super::figures::Figures;
use super::store::Store;
use crate::admin::status::{ConfigState as State, SinkStatus};
use crate::deliver::{Budget, Condition, Memory};
use crate::ingress::counts::{ELSEWHERE_REASONS, SOURCE_REASONS};
use crate::ingress::{BudgetUse, Ingress, Reason, SourceCounts, SourceFacts};
use crate::journal::{Commits, Journal};
use crate::ledger::Counters;
use crate::metrics::{Labels, Page, add_process, labels};
use crate::outbox::Outbox;
use crate::route::Unmatched;
use crate::telemetry;
use crate::traces;
use crate::version::{COMMIT, VERSION};

/// How old a page may be that is given once more.
const KEPT: Duration = Duration::from_millis(500);
/// Longest wait for the ledger.
const PATIENCE: Duration = Duration::from_secs(2);

/// What may come of a call that has a message sent.
const CALL_OUTCOMES: [&str; 5] = ["sent", "not_sent", "unknown", "confirmed", "repeated"];

/// Where the page is read from.
pub(super) struct Scrape {
    journal: Arc<dyn Journal>,
    commits: Commits,
    disk_bounds: [u64; 2],
    ingress: Arc<Ingress>,
    books: Arc<Books>,
    figures: Arc<Figures>,
    config_state: Arc<ConfigState>,
    unmatched: Arc<Unmatched>,
    outbox: Outbox,
    budget: Arc<Budget>,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    page: Option<(Instant, Arc<Page>)>,
    sinks: BTreeMap<String, SinkStatus>,
}

impl Scrape {
    pub fn new(
        store: &Store,
        ingress: &Arc<Ingress>,
        books: &Arc<Books>,
        figures: &Arc<Figures>,
        config_state: &Arc<ConfigState>,
        unmatched: &Arc<Unmatched>,
    ) -> Self {
        Self {
            journal: Arc::clone(&store.storage.journal),
            commits: store.commits.clone(),
            disk_bounds: store.disk_bounds,
            ingress: Arc::clone(ingress),
            books: Arc::clone(books),
            figures: Arc::clone(figures),
            config_state: Arc::clone(config_state),
            unmatched: Arc::clone(unmatched),
            outbox: store.outbox.clone(),
            budget: Arc::clone(&store.budget),
            last: Mutex::default(),
        }
    }

    /// The page.
    pub async fn page(&self) -> Arc<Page> {
        let mut last = self.last.lock().await;
        if let Some((_, page)) = last.page.as_ref().filter(|(made, _)| made.elapsed() < KEPT) {
            return Arc::clone(page);
        }
        if let Ok(sinks) = timeout(PATIENCE, self.figures.sinks()).await {
            last.sinks = sinks;
        }
        let mut page = Page::default();
        self.add_sources(&mut page);
        self.add_feeds(&mut page);
        self.add_front(&mut page);
        self.add_journal(&mut page).await;
        self.add_routes(&mut page);
        self.add_deliveries(&mut page, &last.sinks);
        self.add_sinks(&mut page, &last.sinks);
        self.add_calls(&mut page);
        self.add_sending(&mut page);
        self.add_daemon(&mut page);
        add_process(&mut page);
        let page = Arc::new(page);
        last.page = Some((Instant::now(), Arc::clone(&page)));
        page
    }

    fn add_sources(&self, page: &mut Page) {
        let sources = self.ingress.source_counts();
        let each = |count: fn(&SourceCounts) -> u64| -> Vec<(Labels, u64)> {
            sources.iter().map(|(name, counts)| (labels([("source", name)]), count(counts))).collect()
        };
        page.counter(
            "hookrelay_webhooks_accepted_total",
            "Webhooks that were taken: on disk, or at risk.",
            each(|counts| counts.accepted.get()),
        );
        page.counter(
            "hookrelay_webhooks_duplicate_total",
            "Webhooks that repeated an earlier one and were answered with its id.",
            each(|counts| counts.duplicate.get()),
        );
        page.counter(
            "hookrelay_webhooks_answered_at_risk_total",
            "Webhooks that were answered with success before they were on disk.",
            each(|counts| counts.at_risk.get()),
        );
        let refused = |(name, counts): &(String, Arc<SourceCounts>)| {
            let by =
                |reason: &Reason| (labels([("source", name), ("reason", reason.word())]), counts.refused.get(*reason));
            SOURCE_REASONS.iter().map(by).collect::<Vec<_>>()
        };
        page.counter(
            "hookrelay_webhooks_refused_total",
            "Requests on a source's path that were not answered with success, by reason.",
            sources.iter().flat_map(refused).collect::<Vec<_>>(),
        );
        let metered = self.ingress.metered();
        page.gauge(
            "hookrelay_webhooks_at_risk",
            "Webhooks that were answered with success and are not on disk now.",
            metered.iter().map(|(name, metered)| (labels([("source", name)]), metered.at_risk.now())),
        );
        let answers = metered.iter().flat_map(|(name, metered)| {
            let by = |(status, histogram): (String, _)| (labels([("source", name), ("status", &status)]), histogram);
            metered.answers.all().into_iter().map(by).collect::<Vec<_>>()
        });
        page.histogram(
            "hookrelay_answer_seconds",
            "Time from a request's head to its answer, by status.",
            answers.collect::<Vec<_>>(),
        );
    }

    fn add_feeds(&self, page: &mut Page) {
        let feeds = self.ingress.sources_now();
        let last = |feed: &SourceFacts| Some((labels([("source", &feed.name)]), seconds_of(feed.last_accepted?)));
        page.gauge(
            "hookrelay_last_accepted_timestamp_seconds",
            "When the source's last webhook was taken, seconds since 1970; also before the daemon started.",
            feeds.iter().filter_map(last),
        );
        let used = |feed: &SourceFacts| {
            let BudgetUse { used, budget, .. } = feed.budget.as_ref()?;
            Some((labels([("source", &feed.name)]), *used as f64 / f64::from(budget.failures.max(1))))
        };
        page.gauge(
            "hookrelay_failure_budget_used_ratio",
            "How much of the failure budget is spent: at 1 the provider switches the feed off.",
            feeds.iter().filter_map(used),
        );
        let elsewhere = self.ingress.elsewhere().by_reason();
        let by = |reason: &Reason| (labels([("reason", reason.word())]), elsewhere.get(*reason));
        page.counter(
            "hookrelay_requests_elsewhere_total",
            "Requests that were refused at paths which no source has, by reason.",
            ELSEWHERE_REASONS.iter().map(by),
        );
    }

    fn add_front(&self, page: &mut Page) {
        let one = |number: usize| [(vec![], number as u64)];
        page.gauge("hookrelay_connections", "Connections that are open.", one(self.ingress.connections()));
        page.gauge(
            "hookrelay_inflight_bytes",
            "Memory that requests take up, of max_inflight_bytes.",
            one(self.ingress.inflight_bytes()),
        );
    }

    async fn add_journal(&self, page: &mut Page) {
        let one = |number: u64| [(vec![], number)];
        // A journal that cannot be read shows nothing of itself.
        let stat = self.journal.stat().await.unwrap_or_default();
        let (seconds, records) = (self.commits.seconds.clone(), self.commits.records.clone());
        page.histogram(
            "hookrelay_commit_seconds",
            "Time to write a batch of the journal and to flush it.",
            [(vec![], seconds)],
        );
        page.histogram("hookrelay_commit_records", "Events in a batch of the journal.", [(vec![], records)]);
        // What is not known is not shown.
        let known = |number: Option<u64>| number.map(|number| (vec![], number));
        page.gauge("hookrelay_journal_bytes", "Size of the journal's segments.", known(stat.bytes));
        page.gauge(
            "hookrelay_journal_owed_bytes",
            "Size of the segments with events that a sink is owed.",
            known(stat.owed_bytes),
        );
        page.gauge("hookrelay_journal_segments", "The journal's segments.", one(stat.segments as u64));
        page.gauge(
            "hookrelay_journal_oldest_timestamp_seconds",
            "When the oldest event in the journal was accepted, seconds since 1970.",
            stat.oldest_time
                .and_then(|time| Timestamp::from_microsecond(time).ok())
                .map(|time| (vec![], seconds_of(time))),
        );
        page.gauge(
            "hookrelay_journal_at_risk_bytes",
            "Events that wait in memory because the disk cannot be written, or on this machine while brokers are away.",
            one(self.journal.at_risk()),
        );
        let [min_free, max_size] = self.disk_bounds;
        page.gauge(
            "hookrelay_journal_max_bytes",
            "Most that the journal and the ledger take: max_size.",
            one(max_size),
        );
        page.gauge(
            "hookrelay_disk_min_free_bytes",
            "With less than this free the journal counts as full: min_free.",
            one(min_free),
        );
        page.gauge(
            "hookrelay_disk_free_bytes",
            "Free space on the journal's disk.",
            stat.free.map(|free| (vec![], free)),
        );
    }

    fn add_routes(&self, page: &mut Page) {
        let unmatched: u64 = self.unmatched.counts().into_iter().map(|(_, _, events)| events).sum();
        page.counter("hookrelay_events_unmatched_total", "Events that no route matched.", [(vec![], unmatched)]);
        let rules = Arc::clone(&self.books.now().rules);
        let routes = rules.route_names().zip(rules.counts()).flat_map(|(route, counts)| {
            let outcomes = [("matched", &counts.matched), ("filtered", &counts.filtered), ("failed", &counts.failed)];
            outcomes.map(|(outcome, counter)| (labels([("route", route), ("outcome", outcome)]), counter.get()))
        });
        page.counter(
            "hookrelay_route_events_total",
            "Events that a route's globs match, by what came of them.",
            routes.collect::<Vec<_>>(),
        );
    }

    fn add_deliveries(&self, page: &mut Page, sinks: &BTreeMap<String, SinkStatus>) {
        let books = self.books.now();
        let (mut deliveries, mut dead, mut attempts) = (Vec::new(), Vec::new(), Vec::new());
        for (name, sink) in sinks {
            let Some(book) = books.of(name).map(|book| &book.book) else { continue };
            let SinkStatus { delivered, filtered, dropped, .. } = *sink;
            let ended = Counters { delivered, filtered, dropped, ..Counters::default() };
            let since_the_start = book.since_the_start(&ended);
            // What several daemons count together begins at no start of one of them, so that all say the same.
            let now = match self.journal.is_shared() {
                true => Counters { dead: since_the_start.dead, ..ended },
                false => since_the_start,
            };
            for (outcome, count) in
                [("delivered", now.delivered), ("dead", now.dead), ("filtered", now.filtered), ("dropped", now.dropped)]
            {
                // What is not known is not shown: a counter that begins anew at 0 would be taken for a rate later.
                if !sink.unknown {
                    deliveries.push((labels([("sink", name), ("outcome", outcome)]), count));
                }
            }
            for (code, count) in book.vitals().given_up() {
                dead.push((labels([("sink", name), ("code", &code)]), count));
            }
            for (outcome, code, count) in book.vitals().attempts() {
                attempts.push((labels([("sink", name), ("outcome", outcome), ("code", &code)]), count));
            }
        }
        page.counter("hookrelay_deliveries_total", "Deliveries that ended, by how.", deliveries);
        page.counter(
            "hookrelay_dead_letters_total",
            "Deliveries that became dead letters, by the reason's code.",
            dead,
        );
        page.counter("hookrelay_attempts_total", "Deliveries that a sink was handed, by what it said.", attempts);
    }

    fn add_sinks(&self, page: &mut Page, sinks: &BTreeMap<String, SinkStatus>) {
        let each = |figure: fn(&SinkStatus) -> u64| -> Vec<(Labels, u64)> {
            sinks.iter().map(|(name, sink)| (labels([("sink", name)]), figure(sink))).collect()
        };
        // What is not known is not shown.
        let known = |figure: fn(&SinkStatus) -> f64| -> Vec<(Labels, f64)> {
            let known = sinks.iter().filter(|(_, sink)| !sink.unknown);
            known.map(|(name, sink)| (labels([("sink", name)]), figure(sink))).collect()
        };
        let Memory { all, held, .. } = self.budget.now();
        page.gauge(
            "hookrelay_delivery_memory_bytes",
            "Memory for events that sinks have read and not settled: [delivery] memory.",
            [(vec![], all)],
        );
        page.gauge("hookrelay_delivery_held_bytes", "How much of it is in use.", [(vec![], held)]);
        page.gauge("hookrelay_sink_pending", "Deliveries yet to be made.", known(|sink| sink.pending as f64));
        page.gauge(
            "hookrelay_sink_parked",
            "Of these, those that have failed and wait in the ledger for the next try.",
            each(|sink| sink.parked),
        );
        page.gauge("hookrelay_sink_dead", "Dead letters that are kept.", known(|sink| sink.dead as f64));
        page.gauge(
            "hookrelay_sink_oldest_pending_seconds",
            "Age of the oldest event with a delivery yet to be made; 0 where there is none.",
            known(|sink| sink.oldest_pending_s),
        );
        page.gauge(
            "hookrelay_sink_up",
            "Whether the sink takes deliveries: 0 while it is down, starting, paused or disabled.",
            each(|sink| u64::from(sink.state == Condition::Running.name())),
        );
        let states = sinks.iter().flat_map(|(name, sink)| {
            Condition::ALL.map(|condition| {
                let state = condition.name();
                (labels([("sink", name), ("state", state)]), sink.state == state)
            })
        });
        page.gauge("hookrelay_sink_state", "1 for the state that the sink is in.", states.collect::<Vec<_>>());
    }

    fn add_calls(&self, page: &mut Page) {
        let books = self.books.now();
        let (mut in_flight, mut seconds, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for sink in &books.sinks {
            let (own, vitals) = (labels([("sink", &sink.name)]), sink.book.vitals());
            in_flight.push((own.clone(), vitals.in_flight()));
            seconds.push((own.clone(), vitals.batch_seconds.clone()));
            events.push((own, vitals.batch_events.clone()));
        }
        page.gauge(
            "hookrelay_sink_in_flight",
            "Deliveries that the sink was handed and has not answered for.",
            in_flight,
        );
        page.histogram("hookrelay_batch_seconds", "Time that the sink's calls took.", seconds);
        page.histogram("hookrelay_batch_events", "Deliveries in a call.", events);
    }

    /// What was sent, and is to be sent again. A sink that sends shows every outcome from the start, a rule once there
    /// was a failure for it.
    fn add_sending(&self, page: &mut Page) {
        let counts = self.outbox.counts();
        let config = self.config_state.in_force();
        let senders = config.sinks.iter().filter(|sink| sink.kind.sends);
        let each = |sink: &str| CALL_OUTCOMES.map(|outcome| ((sink.to_owned(), outcome), 0));
        let mut calls: BTreeMap<_, u64> = senders.flat_map(|sink| each(&sink.name)).collect();
        calls.extend(counts.calls);
        let by = |name, own: &str, outcome, count| (labels([(name, own), ("outcome", outcome)]), count);
        page.counter(
            "hookrelay_calls_total",
            "Calls that have a message sent, by what came of them.",
            calls.iter().map(|((sink, outcome), count)| by("sink", sink, outcome, *count)).collect::<Vec<_>>(),
        );
        let resends = counts.resends.iter().map(|((rule, outcome), count)| by("rule", rule, outcome, *count));
        page.counter(
            "hookrelay_resends_total",
            "Messages that failed and have a [resend] rule, by what became of them.",
            resends.collect::<Vec<_>>(),
        );
        page.gauge(
            "hookrelay_resends_waiting",
            "Messages that wait to be sent again.",
            counts.waiting.iter().map(|(rule, count)| (labels([("rule", rule)]), *count)),
        );
    }

    fn add_daemon(&self, page: &mut Page) {
        let now = self.config_state.status().state;
        let states = [("same", State::Same), ("changed", State::Changed), ("refused", State::Refused)];
        page.gauge(
            "hookrelay_config_state",
            "1 for what the config file is to the config in force.",
            states.map(|(name, state)| (labels([("state", name)]), state == now)),
        );
        let [applied, refused] = &self.config_state.reloads;
        page.counter(
            "hookrelay_reloads_total",
            "Reloads of the config, by what came of them.",
            [("applied", applied), ("refused", refused)]
                .map(|(name, count)| (labels([("outcome", name)]), count.get())),
        );
        page.counter(
            "hookrelay_log_lines_left_out_total",
            "Lines of the log that nobody took.",
            [(vec![], telemetry::left_out())],
        );
        page.counter(
            "hookrelay_spans_left_out_total",
            "Spans that the collector did not take.",
            [(vec![], traces::left_out())],
        );
        page.info(
            "hookrelay_build_info",
            "What the daemon was built from.",
            labels([("version", VERSION), ("commit", COMMIT)]),
        );
    }
}

/// A time as Prometheus has it.
fn seconds_of(time: Timestamp) -> f64 {
    time.as_microsecond() as f64 / 1e6
}
