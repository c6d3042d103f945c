//! The scripted sink does what it is told and remembers what it was handed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::time::Duration;

use sink_api::{Outcome, Reason, Sink as _, code};
use sink_testkit::{Scripted, Step, batch, event};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn steps_come_first_then_the_judge() {
    let script = Scripted::new();
    let retry = Outcome::retry(code::IO, "later");
    script.then(Step::All(retry.clone())).then(Step::Unset).judge(|d| match &*d.event.kind {
        "bad" => Outcome::reject(code::BAD_PAYLOAD, "no"),
        _ => Outcome::Delivered,
    });
    let owed = batch([event("good").delivery(), event("bad").delivery()]);
    let sink = script.sink();
    assert_eq!(sink.deliver(&owed).await.into_slots(), [Some(retry.clone()), Some(retry)]);
    assert_eq!(sink.deliver(&owed).await.into_slots(), [None, None]);
    let slots = sink.deliver(&owed).await.into_slots();
    assert_eq!(slots, [Some(Outcome::Delivered), Some(Outcome::reject(code::BAD_PAYLOAD, "no"))]);
    assert_eq!(script.delivered_ids(), [owed.deliveries[0].id.clone()]);
    assert_eq!(script.batches().len(), 3);
}

#[tokio::test]
async fn a_key_stops_behind_what_is_put_off_and_goes_on_behind_what_is_skipped() {
    let script = Scripted::new();
    let why = Reason::new("quiet", "it is night there");
    let (later, skipped) = (Outcome::Later { after: PATIENCE, why: why.clone() }, Outcome::Skipped { why });
    let answers = vec![later.clone(), skipped.clone()];
    script.then(Step::Each(answers));
    let of = |key: &str| event("t").key(key).delivery();
    let owed = batch([of("a"), of("b"), of("a"), of("b"), of("c")]);
    let slots = script.sink().deliver(&owed).await.into_slots();
    let there = Some(Outcome::Delivered);
    assert_eq!(slots, [Some(later), Some(skipped), None, there.clone(), there]);
    assert_eq!(script.delivered_ids(), [&owed.deliveries[3], &owed.deliveries[4]].map(|d| d.id.clone()));
}

#[tokio::test]
async fn a_shut_gate_holds_calls_and_shows_them_running() {
    let script = Scripted::new();
    script.shut_gate();
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let sink = script.sink();
            tokio::spawn(async move { sink.deliver(&batch([event("t").key("same").delivery()])).await })
        })
        .collect();
    timeout(PATIENCE, script.wait_until(|s| s.running() == 2)).await.unwrap();
    assert!(script.delivered().is_empty());
    assert_eq!(script.overlaps(), ["same".into()]);
    script.open_gate();
    for call in calls {
        assert_eq!(call.await.unwrap().into_slots(), [Some(Outcome::Delivered)]);
    }
    assert_eq!((script.running(), script.most_running()), (0, 2));
}

#[tokio::test]
async fn a_hanging_call_ends_by_being_dropped() {
    let script = Scripted::new();
    script.then(Step::Hang);
    let owed = batch([event("t").delivery()]);
    assert!(timeout(Duration::from_millis(1), script.deliver(&owed)).await.is_err());
    assert_eq!(script.running(), 0);
    assert!(script.delivered().is_empty());
}
