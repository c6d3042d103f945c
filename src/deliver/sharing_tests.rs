//! Sixteen sinks of different speed under one bound on memory, and a replay that gets by with its share of it.

use super::*;
use crate::deliver::budget::charge;
use crate::deliver::replay::{Feed, feed};
use crate::deliver::{Budget, Memory as Held};
use crate::ledger::replays::Replay;

const SINKS: usize = 16;
const EVENTS: usize = 400;
const BODY: usize = 8 << 10;
/// Far less than all events of all sinks together, and than those of the sinks that take nothing.
const MEMORY: u64 = 8 << 20;

/// How a sink of that number behaves: two hang, two fail, two are down, two put everything off; the others are well,
/// with batches of different sizes.
fn behave(sink: &Scripted, number: usize) -> bool {
    match number {
        0 | 1 => {
            (0..1000).for_each(|_| {
                sink.then(Step::Hang);
            });
        }
        2 | 3 => {
            sink.judge(|_| Outcome::retry("http_5xx", "500"));
        }
        4 | 5 => {
            sink.judge(|_| Outcome::retry(code::CONNECT, "refused"));
        }
        6 | 7 => {
            let why = || Reason::new("quiet", "later");
            sink.judge(move |_| Outcome::Later { after: Duration::from_secs(60), why: why() });
        }
        _ => return true,
    }
    false
}

#[tokio::test]
async fn sixteen_sinks_of_different_speed_stay_within_one_memory_and_those_that_are_well_finish() {
    let budget = Budget::new(MEMORY);
    let mut all = Vec::new();
    for number in 0..SINKS {
        let (sink, journal) = (Scripted::new(), Memory::new(1));
        let is_well = behave(&sink, number);
        // What fails stays in memory: nothing of it may be parked.
        let keys = DeliveryKeys { parked_max: sink_api::Size(1), timeout: Period::secs(3600), ..keys() };
        let spec = Spec { budget: Arc::clone(&budget), ..spec(&sink, &journal, keys, 1 + 8 * number, 1 + number % 3) };
        all.push((is_well, sink, launch(spec, &journal)));
    }
    // Shares become smaller while sinks are added, and those that hold more settle first: that is another matter.
    let joined = async {
        while budget.parts() < SINKS {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, joined).await.expect("all have their share");
    for (number, (.., running)) in all.iter().enumerate() {
        for n in 0..EVENTS {
            let own = number * EVENTS + n;
            running.journal.put(&event("t").subject(&format!("k{}", own % 97)).body(vec![b'x'; BODY]).build());
        }
    }
    for (_, sink, running) in all.iter().filter(|(is_well, ..)| *is_well) {
        let done = sink.wait_until(|sink| sink.delivered().len() == EVENTS);
        tokio::time::timeout(PATIENCE, done).await.expect("a sink that is well finishes");
        running.journal.wait_until("all settled", |journal| journal.passed() == EVENTS as u64).await;
    }
    let Held { all: memory, held, most } = budget.now();
    // Each sink may hold one event more than there is room for, and what it makes of it.
    let beyond = SINKS as u64 * charge(BODY as u64 + 1024, 1);
    assert!(memory == MEMORY && most <= MEMORY + beyond, "{most} bytes were held");
    assert!(held > MEMORY / 4, "the sick ones use what they may: {held}");
    for (.., running) in all {
        running.stop().await;
    }
    assert_eq!(budget.now().held, 0, "who stops gives all of it back");
}

#[tokio::test]
async fn a_replay_comes_to_its_end_while_others_hold_all_that_is_not_its_own() {
    let (sink, journal) = (Scripted::new(), Memory::new(2));
    for n in 0..EVENTS {
        journal.put(&event("t").subject(&format!("k{n}")).body(vec![b'x'; BODY]).build());
    }
    let budget = Budget::new(MEMORY);
    let others: Vec<_> = (0..6).map(|_| budget.join()).collect();
    let mut replaying = spec(&sink, &journal, keys(), 20, 1);
    replaying.budget = Arc::clone(&budget);
    let (to, book) = (replaying.destination(), Arc::clone(&replaying.book));
    let running = launch(replaying, &journal);
    journal.wait_until("all settled", |journal| journal.passed() == EVENTS as u64).await;
    // Each has its share of eight, and together they have the half that is for all.
    others.iter().for_each(|other| other.holds(MEMORY / 16 + MEMORY / 12));
    assert!(MEMORY - budget.now().held <= 2 * (MEMORY / 16) + 8, "what is left are the shares of sink and replay");

    let (first, until) = (journal.oldest().await.unwrap(), journal.known_ends());
    let replay = Replay { sink: "crm".into(), first: first.clone(), at: first.clone(), ..Replay::default() };
    let id = journal.begin_replay(vec![Replay { until: until.clone(), ..replay }]).await.unwrap();
    let feeding = Feed {
        id,
        to,
        kind: None,
        subject: None,
        only_missing: false,
        rate: None,
        part: 1.0,
        until,
        book,
        storage: journal.of_sink(),
        budget: Arc::clone(&budget),
        news: crate::news::News::default(),
    };
    let (_never, stop) = watch::channel(false);
    let (rules, _sender) = {
        let sender = watch::Sender::new(rules());
        (sender.subscribe(), sender)
    };
    let fed = feed(feeding, first, rules, stop);
    tokio::time::timeout(PATIENCE, fed).await.expect("the replay comes to its end");
    tokio::time::timeout(PATIENCE, sink.wait_until(|sink| sink.delivered().len() == 2 * EVENTS)).await.expect("again");
    running.stop().await;
}
