//! The worker against a scripted sink and a journal in memory: order, retry, breaker, dead letters, cursor. Each test
//! runs over a journal with one shard, and over one with two.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sink_api::{BuildError, Defaults, DiskFloor, Outcome, Period, Reason, SinkConfig, SinkContext, code};
use sink_testkit::{Scripted, Step, event};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::config::{DeliveryKeys, Ordering, RetryKeys, StartAt};
use super::window::MAX_EVENTS;
use super::{Spec, first_cursors, run};
use crate::journal::{Gap, Journal, Marks, TypeCount};
use crate::ledger::{Counters, Settle};
use crate::route::{JqEval, RouteConfig, RuleSet};

#[path = "memory_journal.rs"]
mod memory;
use memory::{Memory, at};

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes two tests of each function: it is given the number of shards.
macro_rules! on_one_shard_and_on_two {
    ($($name:ident),* $(,)?) => {
        mod one_shard {
            $(#[tokio::test] async fn $name() { super::$name(1).await })*
        }
        mod two_shards {
            $(#[tokio::test] async fn $name() { super::$name(2).await })*
        }
    };
}

struct Running {
    journal: Arc<Memory>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) -> Arc<Memory> {
        self.stop.send_replace(true);
        tokio::time::timeout(PATIENCE, self.task).await.expect("stops").unwrap();
        self.journal
    }
}

fn keys() -> DeliveryKeys {
    let retry = RetryKeys { initial: Period::millis(1), max: Period::millis(4), ..RetryKeys::default() };
    let breaker = super::config::BreakerKeys { probe: Period::millis(2), probe_max: Period::millis(8) };
    DeliveryKeys { retry, breaker, timeout: Period::secs(10), ..DeliveryKeys::default() }
}

fn start(sink: &Scripted, journal: &Arc<Memory>, keys: DeliveryKeys, max_events: usize, concurrency: usize) -> Running {
    launch(spec(sink, journal, keys, max_events, concurrency), journal)
}

fn spec(sink: &Scripted, journal: &Arc<Memory>, keys: DeliveryKeys, max_events: usize, concurrency: usize) -> Spec {
    // The scripted sink touches no file.
    let state = std::path::PathBuf::from("/nonexistent");
    Spec {
        book: Arc::default(),
        storage: journal.of_sink(),
        budget: super::Budget::new(64 << 20),
        news: crate::news::News::default(),
        traces: Arc::default(),
        name: "crm".into(),
        config: Arc::from(sink.config()) as Arc<dyn SinkConfig>,
        keys,
        limits: Defaults { max_events, max_bytes: 1 << 20, linger: Duration::from_millis(1), concurrency, rate: None },
        context: SinkContext {
            name: "crm".into(),
            base_dir: state.clone(),
            state_dir: state,
            floor: DiskFloor::default(),
            outbox: Arc::new(sink_api::NoOutbox),
        },
    }
}

fn launch(spec: Spec, journal: &Arc<Memory>) -> Running {
    launch_with(spec, journal, Duration::from_millis(50))
}

fn launch_with(spec: Spec, journal: &Arc<Memory>, drain: Duration) -> Running {
    let (stop, stopped) = watch::channel(false);
    let journal = Arc::clone(journal);
    let task = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move {
            journal.begin().await;
            run(spec, watch::Sender::new(rules()).subscribe(), stopped, drain).await;
        }
    });
    Running { journal, stop, task }
}

/// Everything goes to `crm`, untouched.
fn rules() -> Arc<RuleSet> {
    let route = RouteConfig {
        name: None,
        globs: vec!["*".into()],
        source: None,
        condition: None,
        transform: None,
        to: vec!["crm".into()],
        is_final: false,
    };
    Arc::new(RuleSet::compile(&[route], &["crm"], &["interakt"], Arc::new(JqEval)).unwrap())
}

fn fill(journal: &Memory, n: usize, keys: usize) -> Vec<String> {
    fill_with(journal, n, |i| format!("k{}", i % keys))
}

fn fill_with(journal: &Memory, n: usize, key: impl Fn(usize) -> String) -> Vec<String> {
    (0..n)
        .map(|i| {
            let event = event("t").subject(&key(i)).build();
            journal.put(&event);
            event.id.to_string()
        })
        .collect()
}

fn ids_by_key(sink: &Scripted) -> HashMap<String, Vec<String>> {
    let mut by_key: HashMap<String, Vec<String>> = HashMap::new();
    for delivery in sink.delivered() {
        by_key.entry(delivery.key.to_string()).or_default().push(delivery.id.clone());
    }
    by_key
}

async fn first_cursors_are_written_at_once_or_not_at_all(shards: u32) {
    let journal = Memory::new(shards);
    fill(&journal, 3, 3);
    let sinks = [("old", StartAt::Beginning), ("new", StartAt::Now)];
    journal.failing.send_replace(true);
    let (oldest, now) = (journal.oldest().await.unwrap(), journal.known_ends());
    let first = async |lost| first_cursors(&*journal, sinks, [&oldest, &now], lost).await;
    first(false).await.unwrap_err();
    assert_eq!(*journal.refused.borrow(), 1, "one transaction");
    journal.failing.send_replace(false);
    assert_eq!(first(false).await.unwrap(), [oldest.clone(), now.clone()]);
    let written: Vec<_> = journal.settlements().into_iter().map(|s| (s.sink, s.cursor.unwrap())).collect();
    let of = |name: &str, marks: &Marks| marks.iter().map(|at| (name.to_owned(), at)).collect::<Vec<_>>();
    assert_eq!(written, [of("old", &oldest), of("new", &now)].concat());
    assert_eq!(now.iter().map(|end| end.offset).sum::<u64>(), 3);
    let owes_nothing_before = |step: &crate::ledger::Settlement| step.passed.from == Some(0);
    assert!(journal.settlements().iter().all(owes_nothing_before));
    let lost = [("older", StartAt::Beginning), ("newer", StartAt::Now)];
    let lost = first_cursors(&*journal, lost, [&oldest, &now], true).await.unwrap();
    assert_eq!(lost, [oldest.clone(), oldest], "a lost ledger: nobody is new");
}

async fn everything_arrives_once_and_the_cursor_follows(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let mut sent = fill(&journal, 1234, 50);
    let running = start(&sink, &journal, keys(), 100, 4);
    journal.wait_until("all settled", |j| j.passed() == 1234).await;
    sent.extend(fill(&journal, 10, 3));
    journal.wait_until("later ones settled", |j| j.passed() == 1244).await;
    running.stop().await;
    let (mut got, mut sent) = (sink.delivered_ids(), sent);
    got.sort();
    sent.sort();
    assert_eq!(got, sent);
    assert!(sink.batches().iter().all(|b| b.len() <= 100));
    assert!(sink.most_running() <= 4);
    assert_eq!(journal.totals(), Counters { accepted: 1244, delivered: 1244, ..Counters::default() });
    assert_eq!(sink.closes(), 1);
}

async fn what_was_deleted_before_the_sink_had_it_is_booked_once_with_the_cursor_that_passes_it(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    fill(&journal, 10, 10);
    let of = |source: &str, events| TypeCount { source: source.into(), kind: "t".into(), events };
    // What no route gives to this sink is none of its business; nor is what nobody knows the type of.
    let deleted = vec![of("hookrelay", 40), of("interakt", 3)];
    let lost = 7 / u64::from(shards);
    // Of what was deleted unread each route may have wanted it; there is one.
    journal.lose(Gap { from: at(0), to: at(lost), deleted, unknown: 2, lost: 4 });
    journal.failing.send_replace(true);
    let running = start(&sink, &journal, keys(), 10, 1);
    let mut refused = journal.refused.subscribe();
    tokio::time::timeout(PATIENCE, refused.wait_for(|n| *n >= 2)).await.expect("it tries").unwrap();
    journal.failing.send_replace(false);
    journal.wait_until("all settled", |j| j.passed() == 10).await;
    running.stop().await;
    assert_eq!(
        journal.totals(),
        Counters { accepted: 15 - lost, delivered: 10 - lost, dropped: 5, ..Counters::default() }
    );
    let books = journal.settlements().into_iter().find(|s| s.delta.dropped > 0).unwrap();
    assert!(
        books.cursor.is_some_and(|cursor| !Marks::from(at(lost)).is_past(cursor) && cursor.shard == 0),
        "{books:?}"
    );
}

async fn deliveries_of_a_key_keep_their_order_whatever_fails_between(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 600, 7);
    let tries: Mutex<HashMap<String, u32>> = Mutex::default();
    sink.judge(move |delivery| {
        let mut tries = tries.lock().unwrap();
        let tried = tries.entry(delivery.id.clone()).or_default();
        *tried += 1;
        let spread = delivery.event.id.as_bytes()[15];
        if spread % 3 == 0 && *tried <= u32::from(spread % 4) {
            Outcome::retry("x", "not yet")
        } else {
            Outcome::Delivered
        }
    });
    let running = start(&sink, &journal, keys(), 20, 5);
    journal.wait_until("all settled", |j| j.totals().delivered == 600).await;
    running.stop().await;
    let by_key = ids_by_key(&sink);
    for k in 0..7 {
        let expected: Vec<&String> = sent.iter().skip(k).step_by(7).collect();
        assert_eq!(by_key[&format!("k{k}")].iter().collect::<Vec<_>>(), expected, "key k{k}");
    }
    assert_eq!(sink.overlaps(), Vec::<Arc<str>>::new(), "a key was in two batches at once");
}

async fn a_rejected_delivery_is_a_dead_letter_and_the_others_go_on(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 30, 3);
    let poison = sent[4].clone();
    let bad = poison.clone();
    sink.judge(move |d| if d.id == bad { Outcome::reject("constraint", "no") } else { Outcome::Delivered });
    let running = start(&sink, &journal, keys(), 10, 2);
    journal.wait_until("all settled", |j| j.passed() == 30).await;
    running.stop().await;
    assert_eq!(journal.dead(), HashMap::from([(poison, "constraint".to_owned())]));
    assert_eq!(journal.totals(), Counters { accepted: 30, delivered: 29, dead: 1, ..Counters::default() });
    assert_eq!(sink.delivered().len(), 29);
}

async fn an_event_that_always_fails_ends_as_a_dead_letter_after_its_attempts(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 20, 20);
    let poison = sent[0].clone();
    let bad = poison.clone();
    sink.judge(move |d| if d.id == bad { Outcome::retry("http_5xx", "500") } else { Outcome::Delivered });
    let mut keys = keys();
    keys.retry.attempts = NonZeroU32::new(4);
    let running = start(&sink, &journal, keys, 5, 1);
    journal.wait_until("given up", |j| j.passed() == 20 && !j.dead().is_empty()).await;
    running.stop().await;
    assert_eq!(journal.dead(), HashMap::from([(poison.clone(), "http_5xx".to_owned())]));
    let tried = sink.batches().iter().flat_map(|b| b.deliveries.clone()).filter(|d| d.id == poison).count();
    assert_eq!(tried, 4);
}

async fn a_delivery_past_its_deadline_is_given_up(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    fill(&journal, 1, 1);
    sink.judge(|_| Outcome::retry("http_5xx", "500"));
    let mut keys = keys();
    keys.retry.deadline = Period::millis(20);
    let running = start(&sink, &journal, keys, 5, 1);
    journal.wait_until("given up", |j| j.totals().dead == 1).await;
    running.stop().await;
    assert_eq!(journal.totals().dead, 1);
}

async fn a_sink_that_is_down_is_probed_with_one_event_at_a_time_and_nothing_is_given_up(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    fill(&journal, 40, 40);
    let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    sink.judge(move |_| {
        if is_up.load(std::sync::atomic::Ordering::SeqCst) {
            Outcome::Delivered
        } else {
            Outcome::retry(code::CONNECT, "refused")
        }
    });
    let mut keys = keys();
    keys.retry.attempts = NonZeroU32::new(3);
    let running = start(&sink, &journal, keys, 40, 1);
    tokio::time::timeout(PATIENCE, sink.wait_until(|s| s.batches().len() >= 8)).await.expect("probes go on");
    let probes: Vec<_> = sink.batches().into_iter().skip(1).collect();
    assert!(probes.iter().all(|b| b.len() == 1), "only probes while it is open");
    let first: Vec<&String> = probes.iter().map(|b| &b.deliveries[0].id).take(5).collect();
    assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), 5, "another event each time");
    up.store(true, std::sync::atomic::Ordering::SeqCst);
    journal.wait_until("all settled", |j| j.passed() == 40).await;
    running.stop().await;
    assert_eq!(journal.totals(), Counters { accepted: 40, delivered: 40, ..Counters::default() });
}

async fn a_call_that_hangs_or_panics_or_says_nothing_is_tried_again(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    fill(&journal, 3, 3);
    sink.then(Step::Hang).then(Step::Unset);
    let panicked = std::sync::atomic::AtomicBool::new(false);
    sink.judge(move |_| {
        assert!(panicked.swap(true, std::sync::atomic::Ordering::SeqCst), "the sink breaks once");
        Outcome::Delivered
    });
    let mut keys = keys();
    keys.timeout = Period::millis(20);
    let running = start(&sink, &journal, keys, 5, 1);
    journal.wait_until("all settled", |j| j.passed() == 3).await;
    running.stop().await;
    assert_eq!(journal.totals().delivered, 3);
}

async fn a_stop_abandons_what_hangs_and_leaves_the_cursor_before_it(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    fill(&journal, 4, 4);
    sink.then(Step::All(Outcome::Delivered)).then(Step::Hang);
    let running = start(&sink, &journal, keys(), 2, 1);
    tokio::time::timeout(PATIENCE, sink.wait_until(|s| s.batches().len() == 2)).await.unwrap();
    let journal = running.stop().await;
    assert_eq!(journal.passed(), 2);
    assert_eq!(journal.totals(), Counters { accepted: 2, delivered: 2, ..Counters::default() });
}

async fn a_sink_that_cannot_be_opened_is_opened_later(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    fill(&journal, 4, 4);
    sink.refuse_build(BuildError::Refused("CREATE UNIQUE INDEX …".into()));
    sink.refuse_build(BuildError::Unavailable(Reason::new(code::CONNECT, "refused")));
    let running = start(&sink, &journal, keys(), 2, 1);
    journal.wait_until("all settled", |j| j.passed() == 4).await;
    running.stop().await;
    assert_eq!(sink.builds(), 3);
}

async fn what_waits_in_memory_is_bounded_by_the_window(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    sink.shut_gate();
    let total = MAX_EVENTS + 20_000;
    fill(&journal, total, 1000);
    let running = start(&sink, &journal, keys(), 500, 2);
    let mut furthest = journal.furthest();
    tokio::time::timeout(PATIENCE, furthest.wait_for(|f| *f >= MAX_EVENTS as u64)).await.unwrap().unwrap();
    let one_read = 10_000; // a chunk of 1 MiB of these small events
    tokio::task::yield_now().await;
    assert!(*journal.furthest().borrow() <= (MAX_EVENTS + one_read) as u64);
    sink.open_gate();
    journal.wait_until("all settled", |j| j.passed() == total as u64).await;
    running.stop().await;
}

async fn a_ledger_that_fails_keeps_the_cursor_and_loses_no_dead_letter(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    journal.failing.send_replace(true);
    let sent = fill(&journal, 5, 5);
    let bad = sent[0].clone();
    sink.judge(move |d| if d.id == bad { Outcome::reject("x", "y") } else { Outcome::Delivered });
    let running = start(&sink, &journal, keys(), 10, 1);
    tokio::time::timeout(PATIENCE, sink.wait_until(|s| s.delivered().len() == 4)).await.unwrap();
    let mut refused = journal.refused.subscribe();
    tokio::time::timeout(PATIENCE, refused.wait_for(|n| *n >= 2)).await.expect("it tries").unwrap();
    assert!(journal.settlements().is_empty());
    journal.failing.send_replace(false);
    journal.wait_until("settled after all", |j| j.passed() == 5).await;
    running.stop().await;
    assert_eq!(journal.dead().len(), 1);
    assert_eq!(journal.totals(), Counters { accepted: 5, delivered: 4, dead: 1, ..Counters::default() });
}

async fn without_order_a_failing_delivery_holds_up_no_other_of_its_key(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let sent = fill(&journal, 10, 1);
    let bad = sent[0].clone();
    let healed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ok = Arc::clone(&healed);
    sink.judge(move |d| {
        if d.id == bad && !ok.load(std::sync::atomic::Ordering::SeqCst) {
            Outcome::retry("http_5xx", "500")
        } else {
            Outcome::Delivered
        }
    });
    let mut keys = keys();
    keys.ordering = Ordering::None;
    let running = start(&sink, &journal, keys, 1, 1);
    tokio::time::timeout(PATIENCE, sink.wait_until(|s| s.delivered().len() == 9)).await.expect("the others arrive");
    healed.store(true, std::sync::atomic::Ordering::SeqCst);
    journal.wait_until("all settled", |j| j.passed() == 10).await;
    running.stop().await;
}

#[tokio::test]
async fn a_sink_that_is_behind_does_not_linger() {
    let (sink, journal) = (Scripted::new(), Memory::new(1));
    // One lane, of which each read brings less than a batch may have.
    let large = || event("t").subject("k").body(vec![b'x'; 600 << 10]).build();
    (0..4).for_each(|_| journal.put(&large()));
    let spec = spec(&sink, &journal, keys(), 10, 1);
    let limits = Defaults { linger: Duration::from_secs(3600), ..spec.limits };
    let running = launch(Spec { limits, ..spec }, &journal);
    let all = sink.wait_until(|sink| sink.delivered().len() == 4);
    tokio::time::timeout(PATIENCE, all).await.expect("nothing waits for what is there already");
    running.stop().await;
}

on_one_shard_and_on_two!(
    first_cursors_are_written_at_once_or_not_at_all,
    everything_arrives_once_and_the_cursor_follows,
    what_was_deleted_before_the_sink_had_it_is_booked_once_with_the_cursor_that_passes_it,
    deliveries_of_a_key_keep_their_order_whatever_fails_between,
    a_rejected_delivery_is_a_dead_letter_and_the_others_go_on,
    an_event_that_always_fails_ends_as_a_dead_letter_after_its_attempts,
    a_delivery_past_its_deadline_is_given_up,
    a_sink_that_is_down_is_probed_with_one_event_at_a_time_and_nothing_is_given_up,
    a_call_that_hangs_or_panics_or_says_nothing_is_tried_again,
    a_stop_abandons_what_hangs_and_leaves_the_cursor_before_it,
    a_sink_that_cannot_be_opened_is_opened_later,
    what_waits_in_memory_is_bounded_by_the_window,
    a_ledger_that_fails_keeps_the_cursor_and_loses_no_dead_letter,
    without_order_a_failing_delivery_holds_up_no_other_of_its_key,
);

#[path = "breaking_tests.rs"]
mod breaking;
#[path = "fates_tests.rs"]
mod fates;
#[path = "handover_tests.rs"]
mod handover;
#[path = "holding_tests.rs"]
mod holding;
#[path = "lease_tests.rs"]
mod lease;
#[path = "parking_tests.rs"]
mod parking;
#[path = "sharing_tests.rs"]
mod sharing;
#[path = "untried_tests.rs"]
mod untried;
