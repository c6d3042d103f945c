//! Whether a call may be made.

use super::*;

#[tokio::test]
async fn a_call_is_made_once_and_then_known_by_its_message_also_after_a_restart() {
    let mut house = House::new();
    let order = house.order();
    let origin = house.send(&order, "m-1").await;
    assert_eq!((origin.attempt, origin.of.as_str(), origin.since), (0, "", house.now().as_second()));
    assert_eq!(origin.call, CallId::of(SINK, &order.id));
    house.reopen();
    assert_eq!(word(&house.begin(&order).await), "sent m-1");
    assert_eq!(house.outbox.outcome(origin.call).await.unwrap().unwrap().message.as_deref(), Some("m-1"));
}

#[tokio::test]
async fn a_call_that_was_not_taken_is_made_again_at_once() {
    let house = House::new();
    let order = house.order();
    for _ in 0..3 {
        let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
        house.outbox.end(origin.call, End::NotSent).await;
    }
    assert_eq!((house.count_of_calls("not_sent"), house.count_of_calls("repeated")), (3, 0));
}

#[tokio::test]
async fn a_lost_answer_waits_for_confirm_and_is_asked_about_ever_more_seldom() {
    for killed in [false, true] {
        let mut house = House::new();
        let order = house.order();
        let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
        if killed {
            house.reopen();
        } else {
            house.outbox.end(origin.call, End::Unknown).await;
        }
        let mut waits = Vec::new();
        loop {
            match house.begin(&order).await {
                Begun::Later { after, why } => {
                    assert_eq!(why.code, "unconfirmed");
                    waits.push(after.as_secs());
                    house.pass(i64::try_from(after.as_secs()).unwrap());
                }
                other => break assert_eq!(word(&other), "call 0", "{waits:?}"),
            }
        }
        assert_eq!(waits.iter().sum::<u64>(), 120, "{waits:?}");
        assert!(waits.first() == Some(&1) && waits.iter().max() == Some(&15), "{waits:?}");
        assert_eq!(house.count_of_calls("repeated"), 1);
    }
}

#[tokio::test]
async fn a_status_settles_a_lost_answer_within_confirm_and_after_it() {
    for late in [false, true] {
        let mut house = House::new();
        let order = house.order();
        let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
        house.reopen();
        house.hear([house.status("sent", "m-1", Some(&text(&origin)), "")]).await;
        house.pass(if late { 500 } else { 1 });
        assert_eq!(word(&house.begin(&order).await), "sent m-1");
        assert_eq!((house.count_of_calls("confirmed"), house.count_of_calls("repeated")), (1, 0));
    }
}

#[tokio::test]
async fn a_status_that_stands_in_the_journal_settles_a_lost_answer_before_it_is_repeated() {
    let house = House::new();
    let order = house.order();
    let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
    house.outbox.end(origin.call, End::Unknown).await;
    house.pass(121);
    house.reading.journal.lock().unwrap().push(house.status("failed", "m-1", Some(&text(&origin)), "131026"));
    assert_eq!(word(&house.begin(&order).await), "sent m-1");
}

#[tokio::test]
async fn while_statuses_are_not_read_up_to_now_nothing_is_repeated() {
    let house = House::new();
    let order = house.order();
    let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
    house.outbox.end(origin.call, End::Unknown).await;
    house.pass(121);
    house.reading.fails.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(word(&house.begin(&order).await), "later behind");
    }
    house.reading.fails.store(false, Ordering::SeqCst);
    assert_eq!(word(&house.begin(&order).await), "call 0");
}

#[tokio::test]
async fn a_call_that_was_lost_once_is_asked_about_even_after_another_try_was_refused() {
    let house = House::new();
    let order = house.order();
    let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
    house.outbox.end(origin.call, End::Unknown).await;
    house.pass(121);
    let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
    house.outbox.end(origin.call, End::NotSent).await;
    house.reading.journal.lock().unwrap().push(house.status("sent", "m-1", Some(&text(&origin)), ""));
    assert_eq!(word(&house.begin(&order).await), "sent m-1");
}

#[tokio::test]
async fn of_two_who_begin_at_once_one_calls() {
    let house = House::new();
    let order = house.order();
    let (one, other) = tokio::join!(house.begin(&order), house.begin(&order));
    let mut words = [word(&one), word(&other)];
    words.sort();
    assert_eq!(words, ["call 0", "later unconfirmed"]);
}

#[tokio::test]
async fn what_is_sent_for_a_status_is_the_next_try_of_the_first_message() {
    let house = House::new();
    let since = house.now().as_second();
    let first = house.send(&house.order(), "m-1").await;
    house.pass(60);
    let second = house.send(&house.status("read", "m-1", Some(&text(&first)), ""), "m-2").await;
    assert_eq!((second.attempt, second.of.as_str(), second.since), (1, "m-1", since));
    house.pass(60);
    // An echo that does not carry what we wrote is known by its id.
    let third = house.send(&house.status("sent", "m-2", None, ""), "m-3").await;
    assert_eq!((third.attempt, third.of.as_str(), third.since), (2, "m-1", since));
    let fourth = house.send(&house.status("clicked", "m-3", Some(&text(&third)), ""), "m-4").await;
    assert_eq!((fourth.attempt, fourth.of.as_str(), fourth.since), (3, "m-1", since));
    let event = house.status("delivered", "m-4", Some(&text(&fourth)), "");
    assert_eq!(word(&house.begin(&event).await), "never exhausted");
}

#[tokio::test]
async fn a_status_of_somebodys_message_is_a_first_try_and_a_customers_message_none() {
    let house = House::new();
    let failed = house.send(&house.status("failed", "theirs", None, "131049"), "m-1").await;
    assert_eq!((failed.attempt, failed.of.as_str()), (1, "theirs"));
    let long = "x".repeat(100);
    let Begun::Call(long) = house.begin(&house.status("failed", &long, None, "1")).await else { panic!("no call") };
    assert!(long.attempt == 1 && Origin::may_name(&long.of) && !long.of.is_empty(), "{long:?}");
    let received = r#"{"type":"message_received","data":{"message":{"id":"c-1","message_status":"Sent"}}}"#;
    let received = house.event("interakt", "message_received", Uuid::now_v7(), received.into());
    assert_eq!(house.send(&received, "m-2").await.attempt, 0);
}

#[tokio::test]
async fn what_is_too_old_is_not_sent_and_a_providers_clock_that_is_ahead_keeps_nothing_alive() {
    let house = House::new();
    let order = house.order();
    house.pass(7 * 24 * 3600 + 1);
    assert_eq!(word(&house.begin(&order).await), "never too_old");
    let order = house.order();
    house.pass(3600);
    let bounds = Bounds { max_age: Duration::from_secs(3599), ..BOUNDS };
    assert_eq!(word(&house.begin_within(&order, bounds).await), "never too_old");
    let body = r#"{"data":{"message":{"id":"m-9","message_status":"Failed","received_at_utc":"2999-01-01T00:00:00"}}}"#;
    let ahead = house.event("interakt", "message_api_failed", Uuid::now_v7(), body.into());
    assert_eq!(house.send(&ahead, "m-1").await.since, house.now().as_second());
}

#[tokio::test]
async fn however_many_statuses_have_something_sent_there_are_no_more_for_one_message_than_the_sink_allows() {
    let mut house = House::new();
    let first = house.status("sent", "theirs", None, "");
    let mut to_answer = vec![(house.send(&first, "m-0").await, "m-0".to_owned())];
    let mut made = 1;
    while let Some((origin, message)) = to_answer.pop() {
        house.reopen();
        for said in ["sent", "delivered", "read"] {
            let status = house.status(said, &message, Some(&text(&origin)), "");
            match house.begin(&status).await {
                Begun::Call(origin) => {
                    let message = format!("m-{made}");
                    house.outbox.end(origin.call, End::Sent { message: Some(message.clone()) }).await;
                    to_answer.push((origin, message));
                    made += 1;
                }
                other => assert_eq!(word(&other), "never exhausted"),
            }
        }
    }
    assert_eq!(made, BOUNDS.max_attempts);
}

#[tokio::test]
async fn the_bounds_of_the_sink_hold_for_what_a_rule_has_sent_again_too() {
    let house = House::new();
    let origin = house.send(&house.order(), "m-1").await;
    house.hear([house.status("failed", "m-1", Some(&text(&origin)), "131049")]).await;
    let command = house.hand_over().await;
    let none = Bounds { max_attempts: 0, ..BOUNDS };
    assert_eq!(word(&house.begin_within(&command, none).await), "never exhausted");

    let origin = house.send(&house.order(), "m-2").await;
    house.hear([house.status("failed", "m-2", Some(&text(&origin)), "131049")]).await;
    let command = house.hand_over().await;
    let short = Bounds { max_age: Duration::from_secs(60), ..BOUNDS };
    assert_eq!(word(&house.begin_within(&command, short).await), "never too_old");
}

#[tokio::test]
async fn what_was_handed_over_keeps_to_quiet_hours_that_have_begun_since() {
    let mut house = House::new();
    let origin = house.send(&house.order(), "m-1").await;
    house.hear([house.status("failed", "m-1", Some(&text(&origin)), "131049")]).await;
    let command = house.hand_over().await;
    let second = house.now().as_second().rem_euclid(24 * 3600);
    let at = |second: i64| format!("{:02}:{:02}", second / 3600 % 24, second / 60 % 60);
    let hours = format!("{}-{}", at(second), at(second + 2 * 3600));
    let rule = format!("{RULE}quiet = {{ hours = \"{hours}\", timezone = \"UTC\" }}\n");
    let keys: ResendKeys = toml::from_str(&rule).unwrap();
    let zone = "UTC".parse().unwrap();
    house.rules = Arc::new(Rules::new([("retry".to_owned(), keys, SINK.to_owned())], &zone));
    house.outbox.put_in_force(Arc::clone(&house.rules));
    assert_eq!(word(&house.begin(&command).await), "later quiet");
    house.pass(2 * 3600);
    assert_eq!(word(&house.begin(&command).await), "call 1");
}

#[tokio::test]
async fn what_goes_to_another_sink_than_was_planned_can_still_be_cancelled_and_counts_for_its_chain() {
    for cancels in [false, true] {
        let house = House::new();
        let origin = house.send(&house.order(), "m-1").await;
        house.hear([house.status("failed", "m-1", Some(&text(&origin)), "131049")]).await;
        // As after a reload that gave the rule another sink, and that sink the place of ours.
        assert_eq!(house.outbox.follow("retry", "former").await.unwrap(), 1);
        assert_eq!(house.waits().await[0].to, "former");
        assert_eq!(house.outbox.follow("retry", SINK).await.unwrap(), 1);
        let command = house.hand_over().await;
        assert_eq!(house.outbox.follow("retry", "late").await.unwrap(), 0, "it is on its way");
        if cancels {
            assert_eq!(house.outbox.cancel("m-1", &[]).await.unwrap().len(), 1);
            assert_eq!(word(&house.begin(&command).await), "unwanted cancelled");
            continue;
        }
        let again = house.send(&command, "m-2").await;
        assert_eq!(house.outbox.about("m-1").await.unwrap().chain[0].message.as_deref(), Some("m-2"));
        house.hear([house.status("failed", "m-2", Some(&text(&again)), "131049")]).await;
        assert_eq!(house.waits().await[0].attempt, 2);
    }
}

#[tokio::test]
async fn confirm_counts_from_when_the_answer_was_given_up() {
    let house = House::new();
    let order = house.order();
    let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
    house.pass(200);
    house.outbox.end(origin.call, End::Unknown).await;
    assert_eq!(word(&house.begin(&order).await), "later unconfirmed");
    house.pass(119);
    assert_eq!(word(&house.begin(&order).await), "later unconfirmed");
    house.pass(1);
    house.reading.fails.store(true, Ordering::SeqCst);
    assert_eq!(word(&house.begin(&order).await), "later behind");
    house.reading.fails.store(false, Ordering::SeqCst);
    assert_eq!(word(&house.begin(&order).await), "call 0");
}

#[tokio::test]
async fn a_clock_that_is_put_back_holds_no_call_for_longer_than_confirm() {
    for killed in [false, true] {
        let mut house = House::new();
        let order = house.order();
        house.pass(3600);
        let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
        if killed {
            house.reopen();
        } else {
            house.outbox.end(origin.call, End::Unknown).await;
        }
        house.pass(-3600);
        assert_eq!(word(&house.begin(&order).await), "later unconfirmed");
        house.pass(121);
        assert_eq!(word(&house.begin(&order).await), "call 0");
    }
}
