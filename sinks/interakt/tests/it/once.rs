//! That no call is made twice where that can be known: what the outbox is asked and told, and what follows from its
//! word.

use std::time::Duration;

use sink_api::outbox::{Begun, Bounds, End};
use sink_api::{CallId, Outcome, Reason};
use sink_testkit::interakt::{Fault, Options, StandIn};
use sink_testkit::outbox::Asked;
use sink_testkit::{batch, event, wait_until};

use crate::kit::{KEY, Open, body, message, open, retry};

/// The stand-in, and a sink that calls it.
async fn with_stand_in(more: &str) -> (StandIn, Open) {
    let stand_in = StandIn::start(Options { key: KEY.to_owned(), ..Options::default() }).await;
    let sink = open(&stand_in.url(), more).await;
    (stand_in, sink)
}

#[tokio::test]
async fn the_outbox_is_asked_before_the_call_and_told_after_it() {
    let (stand_in, sink) = with_stand_in("confirm = \"3m\"\nmax_attempts = 5\nmax_age = \"2d\"").await;
    let delivery = sink.delivery(message().delivery_id("d-1"));
    assert_eq!(sink.deliver(&delivery, None).await, Outcome::Delivered);
    let [begin, end] = sink.outbox.asked().try_into().unwrap();
    let bounds =
        Bounds { max_attempts: 5, max_age: Duration::from_secs(2 * 24 * 3600), confirm: Duration::from_secs(180) };
    let request = body("then_nothing", "own text").into();
    let (sink_name, phone) = ("whatsapp".to_owned(), Some("+919876543210".to_owned()));
    assert_eq!(begin, Asked::Begin { sink: sink_name, delivery: "d-1".to_owned(), request, phone, bounds });
    let message = Some(stand_in.taken()[0].id.to_string());
    assert_eq!(end, Asked::End(CallId::of("whatsapp", "d-1"), End::Sent { message }));
}

#[tokio::test]
async fn a_delivery_that_comes_again_makes_no_second_call() {
    let (stand_in, sink) = with_stand_in("").await;
    let delivery = sink.delivery(message());
    for _ in 0..3 {
        assert_eq!(sink.deliver(&delivery, None).await, Outcome::Delivered);
    }
    assert_eq!(stand_in.taken().len(), 1);
}

#[tokio::test]
async fn a_lost_answer_waits_for_confirm_and_a_status_settles_it() {
    let (stand_in, sink) = with_stand_in("confirm = \"1h\"").await;
    stand_in.set_faults(&[(Fault::Lost, 1)]);
    let delivery = sink.delivery(message());
    assert_eq!(retry(&sink.deliver(&delivery, None).await).code, "io");
    for _ in 0..3 {
        let Outcome::Later { after, why } = sink.deliver(&delivery, None).await else { panic!("expected Later") };
        assert!(why.code == "unconfirmed" && after > Duration::from_secs(3000), "{after:?} {why}");
    }
    sink.outbox.settle("m-1");
    assert_eq!(sink.deliver(&delivery, None).await, Outcome::Delivered);
    assert_eq!(stand_in.taken().len(), 1);
}

#[tokio::test]
async fn a_lost_answer_that_no_status_settles_is_sent_again_after_confirm() {
    let (stand_in, sink) = with_stand_in("confirm = \"1ms\"").await;
    stand_in.set_faults(&[(Fault::Lost, 1)]);
    let delivery = sink.delivery(message());
    assert_eq!(retry(&sink.deliver(&delivery, None).await).code, "io");
    stand_in.set_faults(&[]);
    sink_testkit::wait_until_async("sent again", async || sink.deliver(&delivery, None).await == Outcome::Delivered)
        .await;
    assert_eq!(stand_in.taken().len(), 2, "at least once is the promise");
}

#[tokio::test]
async fn what_the_api_did_not_take_is_sent_again_without_waiting_for_confirm() {
    for fault in [Fault::Broken(500), Fault::Broken(501)] {
        let (stand_in, sink) = with_stand_in("confirm = \"1h\"").await;
        stand_in.set_faults(&[(fault.clone(), 1)]);
        let delivery = sink.delivery(message());
        assert_eq!(sink.outbox.ends(), []);
        retry(&sink.deliver(&delivery, None).await);
        assert_eq!(sink.outbox.ends(), [End::NotSent], "{fault:?}");
        stand_in.set_faults(&[]);
        assert_eq!(sink.deliver(&delivery, None).await, Outcome::Delivered, "{fault:?}");
        assert_eq!(stand_in.taken().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn what_a_gateway_answered_waits_for_confirm_as_a_lost_answer_does() {
    for status in [201, 502, 503, 504] {
        let (stand_in, sink) = with_stand_in("confirm = \"1h\"").await;
        stand_in.set_faults(&[(Fault::Gateway(status), 1)]);
        let delivery = sink.delivery(message());
        retry(&sink.deliver(&delivery, None).await);
        stand_in.set_faults(&[]);
        let again = sink.deliver(&delivery, None).await;
        assert!(matches!(&again, Outcome::Later { why, .. } if why.code == "unconfirmed"), "{status}: {again:?}");
        sink.outbox.settle("m-1");
        assert_eq!(sink.deliver(&delivery, None).await, Outcome::Delivered, "{status}");
        assert_eq!(stand_in.taken().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_on_its_way_is_never_told_and_counts_as_lost() {
    let (stand_in, sink) = with_stand_in("confirm = \"1h\"").await;
    stand_in.set_faults(&[(Fault::Hangs, 1)]);
    let delivery = sink.delivery(message());
    {
        let batch = batch([delivery.clone()]);
        let mut call = std::pin::pin!(sink.sink.deliver(&batch));
        tokio::select! {
            _ = &mut call => panic!("the stand-in does not answer"),
            () = wait_until("the message is out", || !stand_in.taken().is_empty()) => {}
        }
    }
    assert_eq!(sink.outbox.ends(), []);
    stand_in.set_faults(&[]);
    let again = sink.deliver(&delivery, None).await;
    assert!(matches!(&again, Outcome::Later { .. }), "{again:?}");
    assert_eq!(stand_in.taken().len(), 1);
}

#[tokio::test]
async fn a_call_that_is_not_wanted_or_not_now_is_not_made() {
    let (stand_in, sink) = with_stand_in("").await;
    let why = |code| Reason::new(code, "as the outbox says");
    let after = Duration::from_secs(9);
    for (says, expected) in [
        (Begun::Sent { message: None }, Outcome::Delivered),
        (Begun::Later { after, why: why("quiet") }, Outcome::Later { after, why: why("quiet") }),
        (Begun::Unwanted(why("overtaken")), Outcome::Skipped { why: why("overtaken") }),
        (Begun::Never(why("exhausted")), Outcome::Reject { why: why("exhausted").local() }),
        (Begun::Unavailable(why("io")), Outcome::Retry { after: None, why: why("io") }),
    ] {
        sink.outbox.say(says);
        assert_eq!(sink.one(message()).await, expected);
    }
    assert_eq!((stand_in.answers().len(), sink.outbox.ends().len()), (0, 0));
}

#[tokio::test]
async fn a_payload_that_cannot_be_sent_asks_nobody() {
    let (stand_in, sink) = with_stand_in("").await;
    let long = body("then_nothing", &"x".repeat(417));
    for (payload, code) in [("{}".to_owned(), "bad_payload"), (long, "callback_too_long")] {
        let outcome = sink.one(event("t").json(payload)).await;
        let Outcome::Reject { why } = outcome else { panic!("expected Reject, got {outcome:?}") };
        assert_eq!(why.code, code);
    }
    let webhook = sink.one(event("message_received")).await;
    assert!(matches!(webhook, Outcome::Reject { .. }), "a body without a transform: {webhook:?}");
    assert_eq!((stand_in.answers().len(), sink.outbox.asked().len()), (0, 0));
}
