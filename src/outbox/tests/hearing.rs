//! What statuses say, in any order and however often.

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn a_failure_heard_after_a_delivery_plans_nothing() {
    for (delivered, failed) in [("delivered", "failed"), ("read", "failed")] {
        let house = House::new();
        house.hear([house.status(delivered, "m-1", None, "")]).await;
        house.hear([house.status(failed, "m-1", None, "131049")]).await;
        assert!(house.waits().await.is_empty(), "{delivered}");
    }
}

#[tokio::test]
async fn what_says_nothing_of_a_message_makes_no_file() {
    let house = House::new();
    let received = r#"{"type":"message_received","data":{"message":{"id":"c-1","message_status":"Read"}}}"#;
    let received = house.event("interakt", "message_received", Uuid::now_v7(), received.into());
    let long = house.status("failed", &"x".repeat(300), None, "131049");
    let bad = house.event("interakt", "message_api_failed", Uuid::now_v7(), "no".into());
    house.hear([received, long, bad]).await;
    assert!(house.waits().await.is_empty() && house.outbox.next_due().await.unwrap().is_none());
    assert!(!house.folder.path().join(FILE).exists());
}

#[tokio::test]
async fn the_request_that_was_sent_is_there_for_the_rules_until_the_message_is_delivered() {
    let house = House::new();
    let origin = house.send(&house.order(), "m-1").await;
    let request = || async {
        let call = origin.call;
        house.outbox.look(move |step| calls::request(step.connection, Some(call), "m-1")).await.unwrap()
    };
    assert!(request().await.is_some());
    house.hear([house.status("delivered", "m-1", Some(&text(&origin)), "")]).await;
    assert!(request().await.is_none());
    let sent = house.outbox.about("m-1").await.unwrap().call.unwrap();
    assert_eq!(sent.status, Some(crate::message::Status::Delivered));
}

/// Failures twice as often as the others.
const WORDS: [&str; 5] = ["sent", "failed", "failed", "delivered", "read"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// One message's statuses, some of them or all, each as often as you like, in batches.
    #[test]
    fn what_waits_in_the_end_does_not_depend_on_order_or_repeats(
        words in prop::collection::vec(prop::sample::select(&WORDS[..]), 1..8),
        cut in 0_usize..8,
        with_call in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::new();
            let origin = house.send(&house.order(), "m-1").await;
            let callback = text(&origin);
            let callback = with_call.then_some(callback.as_str());
            let statuses: Vec<_> =
                words.iter().map(|word| house.status(word, "m-1", callback, "131049")).collect();
            let (some, rest) = statuses.split_at(cut.min(statuses.len()));
            for part in [some, rest, some] {
                if !part.is_empty() {
                    house.hear(part.iter().cloned()).await;
                }
            }
            let is_there = words.iter().any(|word| matches!(*word, "delivered" | "read"));
            let wants = words.contains(&"failed") && !is_there;
            prop_assert_eq!(house.waits().await.len(), usize::from(wants));
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_text_of_ours_that_was_copied_makes_a_try_of_its_chain_and_says_nothing_of_the_message_it_was_of() {
    let house = House::new();
    let origin = house.send(&house.order(), "m-1").await;
    let ours = text(&origin);
    house.hear([house.status("failed", "m-1", Some(&ours), "131049")]).await;
    house.hear([house.status("delivered", "x-1", Some(&ours), "")]).await;
    assert_eq!(house.waits().await.len(), 1, "m-1 is not delivered for that");
    house.hear([house.status("failed", "x-2", Some(&ours), "131049")]).await;
    let waits: Vec<_> = house.waits().await.into_iter().map(|one| (one.failed, one.attempt)).collect();
    assert_eq!(waits, [("m-1".to_owned(), 1)]);
    assert_eq!(house.outbox.about("m-1").await.unwrap().call.unwrap().status, Some(Status::Failed));
    let answer = house.send(&house.status("failed", "x-3", Some(&ours), "1"), "a-1").await;
    assert_eq!((answer.of.as_str(), answer.attempt), ("m-1", 1));
}
