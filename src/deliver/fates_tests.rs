//! What the ledger tells of each delivery is what its sink has seen of it, however it fared, and adds up to the totals.

use super::*;
use crate::ledger::fates::{DeliveryFate, FateKind, Rest};

/// How an event fares, by its number. Most go straight, and too few fail for the breaker to open: what fails while it
/// is open is no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fares {
    Straight,
    AtTheSecondTry,
    AtTheSixth,
    Rejected,
    InVain,
}

fn fares(n: usize) -> Fares {
    match n {
        3 | 143 | 243 => Fares::AtTheSecondTry,
        57 => Fares::AtTheSixth,
        11 | 311 => Fares::Rejected,
        95 => Fares::InVain,
        _ => Fares::Straight,
    }
}

async fn all_fates(journal: &Memory) -> HashMap<String, DeliveryFate> {
    let mut all = HashMap::new();
    for entry in journal.entries() {
        let mut told = journal.ledger.fates(entry.position, entry.record.id).await.unwrap();
        let told = told.pop().unwrap();
        assert_eq!((told.sink.as_str(), told.is_passed, told.rest), ("crm", true, Rest::Nothing));
        let [fate] = <[DeliveryFate; 1]>::try_from(told.deliveries).unwrap();
        all.insert(fate.id.clone(), fate);
    }
    all
}

async fn what_is_told_of_each_delivery_is_what_its_sink_has_seen(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    let began = sink_api::Timestamp::now().as_microsecond();
    let sent = fill(&journal, 400, 400);
    let tries: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let (counted, numbers) = (Arc::clone(&tries), sent.clone());
    sink.judge(move |delivery| {
        let n = numbers.iter().position(|id| *id == delivery.id).unwrap();
        let mut tries = counted.lock().unwrap();
        let tried = tries.entry(delivery.id.clone()).or_default();
        *tried += 1;
        let wanted = match fares(n) {
            Fares::Straight => 1,
            Fares::AtTheSecondTry => 2,
            Fares::AtTheSixth => 6,
            Fares::Rejected => return Outcome::reject("constraint", "no"),
            Fares::InVain => u32::MAX,
        };
        if *tried < wanted { Outcome::retry("http_5xx", format!("try {tried}")) } else { Outcome::Delivered }
    });
    let mut keys = keys();
    keys.retry.attempts = NonZeroU32::new(8);
    journal.failing.send_replace(true);
    let running = start(&sink, &journal, keys, 10, 3);
    let mut refused = journal.refused.subscribe();
    tokio::time::timeout(PATIENCE, refused.wait_for(|n| *n >= 2)).await.expect("it tries").unwrap();
    journal.failing.send_replace(false);
    let all = Counters { accepted: 400, delivered: 397, dead: 3, ..Counters::default() };
    journal.wait_until("all is over", |j| j.passed() == 400 && j.totals() == all).await;
    running.stop().await;
    let fates = all_fates(&journal).await;
    let tries = tries.lock().unwrap();
    for (n, id) in sent.iter().enumerate() {
        let (fate, tried) = (&fates[id], tries[id]);
        let (kind, code) = match fares(n) {
            Fares::Straight => (FateKind::Delivered, None),
            Fares::AtTheSecondTry | Fares::AtTheSixth => (FateKind::Delivered, Some("http_5xx")),
            Fares::Rejected => (FateKind::Dead, Some("constraint")),
            Fares::InVain => (FateKind::Dead, Some("http_5xx")),
        };
        assert_eq!((fate.kind, fate.attempts, fate.code.as_deref()), (kind, tried, code), "{n}: {fate:?}");
        assert!(fate.time.is_some_and(|time| time > began - 1_000_000), "{fate:?}");
        if kind == FateKind::Delivered {
            assert!(fate.took.is_some());
            let last = (tried > 1).then(|| format!("try {}", tried - 1));
            assert_eq!(fate.detail, last);
        }
    }
    assert_eq!(fates.len(), 400);
}

async fn events_that_were_deleted_before_the_sink_had_them_were_dropped(shards: u32) {
    let (sink, journal) = (Scripted::new(), Memory::new(shards));
    fill(&journal, 10, 10);
    let deleted = vec![TypeCount { source: "interakt".into(), kind: "t".into(), events: 3 }];
    journal.lose(Gap { from: at(0), to: at(3), deleted, unknown: 0, lost: 0 });
    let running = start(&sink, &journal, keys(), 10, 1);
    journal.wait_until("all settled", |j| j.passed() == 10).await;
    running.stop().await;
    for entry in journal.entries() {
        let told = journal.ledger.fates(entry.position, entry.record.id).await.unwrap();
        let is_gone = entry.position.shard == 0 && entry.position.offset < 3;
        assert_eq!(told[0].deliveries.len(), usize::from(!is_gone));
        assert_eq!(matches!(told[0].rest, Rest::Dropped { code: "max_size", .. }), is_gone, "{told:?}");
    }
}

on_one_shard_and_on_two!(
    what_is_told_of_each_delivery_is_what_its_sink_has_seen,
    events_that_were_deleted_before_the_sink_had_them_were_dropped,
);
