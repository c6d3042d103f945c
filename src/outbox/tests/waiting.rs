//! Messages that are to be sent again: planned, handed over, overtaken, cancelled.

use super::*;

#[tokio::test]
async fn a_failure_is_planned_once_and_sent_again_as_the_next_try() {
    let mut house = House::new();
    let first = house.send(&house.order(), "m-1").await;
    let failed = house.status("failed", "m-1", Some(&text(&first)), "131049");
    house.hear([Arc::clone(&failed), Arc::clone(&failed)]).await;
    house.reopen();
    house.hear([failed]).await;
    let [planned] = <[Planned; 1]>::try_from(house.waits().await).unwrap();
    assert_eq!((planned.attempt, planned.of.as_str(), planned.failed.as_str()), (1, "m-1", "m-1"));
    assert_eq!(house.outbox.next_due().await.unwrap(), Some(planned.due));
    assert!(house.outbox.due_of(SINK, house.now(), 10).await.unwrap().is_empty(), "an hour too early");
    assert_eq!(house.outbox.counts().waiting, [("retry".to_owned(), 1)].into());

    let command = house.hand_over().await;
    assert_eq!(house.outbox.due_of(SINK, house.now(), 10).await.unwrap(), []);
    let second = house.send(&command, "m-2").await;
    assert_eq!((second.attempt, second.of.as_str(), second.since), (1, "m-1", first.since));
    let about = house.outbox.about("m-2").await.unwrap();
    assert_eq!((about.of.as_str(), about.chain.len()), ("m-1", 1));
    assert_eq!((about.chain[0].state, about.chain[0].message.as_deref()), (State::Sent, Some("m-2")));
    assert_eq!(about.call.unwrap().call, second.call);
    assert_eq!(house.outbox.of_phone(PHONE, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_chain_ends_where_its_rule_says_and_that_is_told() {
    let house = House::new();
    let mut origin = house.send(&house.order(), "m-0").await;
    for n in 1..=2 {
        house.hear([house.status("failed", &format!("m-{}", n - 1), Some(&text(&origin)), "131049")]).await;
        origin = house.send(&house.hand_over().await, &format!("m-{n}")).await;
        assert_eq!(origin.attempt, n);
    }
    house.hear([house.status("failed", "m-2", Some(&text(&origin)), "131049")]).await;
    assert!(house.waits().await.is_empty());
    assert_eq!((house.count("planned"), house.count("sent"), house.count("exhausted")), (2, 2, 1));
    let told = house.desk.take_all();
    let [notice] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((notice.item.kind, notice.item.subject.as_str()), (crate::news::Kind::ResendExhausted, "m-2"));
    house.hear([house.status("failed", "m-9", None, "131026")]).await;
    assert_eq!((house.count("never"), house.waits().await.len()), (1, 0));
}

#[tokio::test]
async fn a_delivery_of_any_message_of_the_chain_overtakes_what_waits() {
    for (delivered, word) in [("m-1", "delivered"), ("m-2", "read")] {
        let house = House::new();
        let first = house.send(&house.order(), "m-1").await;
        house.hear([house.status("failed", "m-1", Some(&text(&first)), "131049")]).await;
        let second = house.send(&house.hand_over().await, "m-2").await;
        house.hear([house.status("failed", "m-2", Some(&text(&second)), "131049")]).await;
        assert_eq!(house.waits().await.len(), 1);
        let origin = if delivered == "m-1" { &first } else { &second };
        house.hear([house.status(word, delivered, Some(&text(origin)), "")]).await;
        assert_eq!((house.waits().await.len(), house.count("overtaken")), (0, 1), "{delivered}");
        assert_eq!(house.outbox.counts().waiting, [("retry".to_owned(), 0)].into());
    }
}

#[tokio::test]
async fn what_was_handed_over_is_not_sent_after_a_delivery_that_stands_in_the_journal() {
    let house = House::new();
    let first = house.send(&house.order(), "m-1").await;
    house.hear([house.status("failed", "m-1", Some(&text(&first)), "131049")]).await;
    let command = house.hand_over().await;
    house.reading.fails.store(true, Ordering::SeqCst);
    assert_eq!(word(&house.begin(&command).await), "later behind");
    house.reading.fails.store(false, Ordering::SeqCst);
    house.reading.journal.lock().unwrap().push(house.status("delivered", "m-1", Some(&text(&first)), ""));
    assert_eq!(word(&house.begin(&command).await), "unwanted overtaken");
    assert_eq!(word(&house.begin(&command).await), "unwanted overtaken");
    assert_eq!(house.count("overtaken"), 1);
}

#[tokio::test]
async fn an_answer_to_a_message_that_was_read_has_further_tries_of_its_own() {
    let house = House::new();
    let first = house.send(&house.order(), "m-1").await;
    let read = house.status("read", "m-1", Some(&text(&first)), "");
    house.hear([Arc::clone(&read)]).await;
    let answer = house.send(&read, "m-2").await;
    house.hear([house.status("failed", "m-2", Some(&text(&answer)), "130429")]).await;
    let again = house.send(&house.hand_over().await, "m-3").await;
    assert_eq!((again.attempt, again.of.as_str()), (2, "m-1"));
}

#[tokio::test]
async fn a_delivery_that_comes_before_the_answer_and_says_nothing_of_the_call_counts() {
    let house = House::new();
    let first = house.send(&house.order(), "m-1").await;
    house.hear([house.status("failed", "m-1", Some(&text(&first)), "131049")]).await;
    let Begun::Call(second) = house.begin(&house.hand_over().await).await else { panic!("no call") };
    house.hear([house.status("delivered", "m-2", None, "")]).await;
    house.outbox.end(second.call, End::Sent { message: Some("m-2".into()) }).await;
    house.hear([house.status("failed", "m-2", Some(&text(&second)), "131049")]).await;
    assert!(house.waits().await.is_empty());
}

#[tokio::test]
async fn what_waits_is_cancelled_by_its_id_its_end_or_its_message_and_by_nothing_else() {
    for by in ["id", "end", "message"] {
        let house = House::new();
        let first = house.send(&house.order(), "m-1").await;
        house.hear([house.status("failed", "m-1", Some(&text(&first)), "131049")]).await;
        house.hear([house.status("failed", "m-7", None, "131049")]).await;
        let planned = house.waits().await.into_iter().find(|planned| planned.failed == "m-1").unwrap();
        let id = planned.id.to_string();
        let named = match by {
            "id" => &id,
            "end" => crate::ids::short(&id),
            _ => "m-1",
        };
        let cancelled = house.outbox.cancel(named, &[]).await.unwrap();
        assert_eq!(
            cancelled.iter().map(|one| (one.id, one.state)).collect::<Vec<_>>(),
            [(planned.id, State::Cancelled)]
        );
        assert_eq!(house.waits().await.len(), 1);
        assert!(house.outbox.cancel(named, &[]).await.unwrap().is_empty(), "once");
        // It may be on its way just then.
        assert_eq!(word(&house.begin(&house.command(&planned)).await), "unwanted cancelled");
        assert_eq!((house.count("cancelled"), house.count("sent")), (1, 0));
    }
}

#[tokio::test]
async fn what_is_being_sent_is_not_cancelled_and_what_is_put_off_is_due_later() {
    let house = House::new();
    let first = house.send(&house.order(), "m-1").await;
    house.hear([house.status("failed", "m-1", Some(&text(&first)), "131049")]).await;
    let [planned] = <[Planned; 1]>::try_from(house.waits().await).unwrap();
    let later = planned.due + Duration::from_secs(3600);
    house.outbox.put_off(vec![(planned.id, later)]).await.unwrap();
    assert!(house.outbox.due_of(SINK, planned.due, 1).await.unwrap().is_empty());
    assert_eq!(house.outbox.next_due().await.unwrap(), Some(later));
    let Begun::Call(_) = house.begin(&house.hand_over().await).await else { panic!("no call") };
    assert!(house.outbox.cancel("m-1", &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn whoever_waits_for_changes_is_woken_by_a_plan_a_cancellation_and_new_rules() {
    let house = House::new();
    house.outbox.changed().await;
    house.hear([house.status("failed", "m-1", None, "131049")]).await;
    house.outbox.changed().await;
    house.outbox.cancel("m-1", &[]).await.unwrap();
    house.outbox.changed().await;
    house.outbox.put_in_force(Arc::default());
    house.outbox.changed().await;
}

#[tokio::test]
async fn the_list_goes_on_behind_a_place() {
    let house = House::new();
    for n in 0..5 {
        house.hear([house.status("failed", &format!("m-{n}"), None, "131049")]).await;
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = house.outbox.waiting(after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.cursor());
        found.extend(page);
    }
    assert_eq!(found, house.waits().await);
    assert_eq!(found.len(), 5);
}

#[tokio::test]
async fn what_is_due_by_a_rule_that_is_gone_is_given_up_together() {
    let house = House::new();
    for message in ["m-1", "m-2"] {
        let origin = house.send(&house.order(), message).await;
        house.hear([house.status("failed", message, Some(&text(&origin)), "131049")]).await;
    }
    assert_eq!(house.outbox.cancel_rule("retry", house.now()).await.unwrap(), 0, "it is not due");
    house.pass(3600);
    assert_eq!(house.outbox.cancel_rule("other", house.now()).await.unwrap(), 0);
    assert_eq!(house.outbox.cancel_rule("retry", house.now()).await.unwrap(), 2);
    assert_eq!((house.waits().await.len(), house.count("cancelled")), (0, 2));
}

#[tokio::test]
async fn why_nothing_more_is_sent_is_remembered_and_a_repeat_of_the_status_is_no_news() {
    let mut house = House::with(&RULE.replace("max_attempts = 3", "max_attempts = 1"), MOST);
    let never = house.status("failed", "m-9", None, "131026");
    let first = house.send(&house.order(), "m-1").await;
    house.hear([house.status("failed", "m-1", Some(&text(&first)), "131049")]).await;
    let second = house.send(&house.hand_over().await, "m-2").await;
    let spent = house.status("failed", "m-2", Some(&text(&second)), "131049");
    for _ in 0..3 {
        house.hear([Arc::clone(&never), Arc::clone(&spent)]).await;
        house.reopen();
    }
    assert_eq!((house.count("never"), house.count("exhausted"), house.desk.take_all().len()), (0, 0, 1));
    let of = |about: About| about.not_again.into_iter().map(|one| (one.failed, one.verdict, one.code, one.why));
    let why = "it was sent again 1 times, and `max_attempts` is 1".to_owned();
    let spent = ("m-2".to_owned(), Verdict::Exhausted, "131049".to_owned(), why);
    assert_eq!(of(house.outbox.about("m-1").await.unwrap()).collect::<Vec<_>>(), [spent]);
    let why = "failures with code 131026 are not tried again".to_owned();
    let never = ("m-9".to_owned(), Verdict::Never, "131026".to_owned(), why);
    assert_eq!(of(house.outbox.about("m-9").await.unwrap()).collect::<Vec<_>>(), [never]);

    // A rule that wants it by now has it sent, when it is told of again.
    let keys: ResendKeys = toml::from_str(&RULE.replace("\"never\"", "{ after = \"1h\", times = 1 }")).unwrap();
    house.rules = Arc::new(Rules::new([("retry".to_owned(), keys, SINK.to_owned())], &"UTC".parse().unwrap()));
    house.reopen();
    house.hear([house.status("failed", "m-9", None, "131026")]).await;
    let about = house.outbox.about("m-9").await.unwrap();
    assert_eq!((about.chain.len(), about.not_again.len()), (1, 0));
}

#[tokio::test]
async fn why_a_further_try_was_given_up_stands_beside_it() {
    let house = House::new();
    let why = || async { house.outbox.about("m-1").await.unwrap().chain.pop().unwrap().why };
    let first = house.send(&house.order(), "m-1").await;
    house.hear([house.status("failed", "m-1", Some(&text(&first)), "131049")]).await;
    assert_eq!(why().await, None);
    assert_eq!(house.outbox.cancel("m-1", &[]).await.unwrap()[0].why.as_deref(), Some("somebody gave it up"));
    assert_eq!(why().await.as_deref(), Some("somebody gave it up"));
}

#[tokio::test]
async fn what_is_due_is_listed_by_sink_with_what_is_to_be_sent_and_all_that_waits_without() {
    let house = House::new();
    for n in 0..3 {
        house.hear([house.status("failed", &format!("m-{n}"), None, "131049")]).await;
        if n == 0 {
            assert_eq!(house.outbox.follow("retry", "other").await.unwrap(), 1);
        }
    }
    let waits = house.waits().await;
    assert!(waits.iter().all(|one| one.request.is_none()));
    assert_eq!(house.outbox.sinks_waiting().await.unwrap(), ["other", SINK]);
    house.pass(3600);
    let due = |sink: &'static str, most| house.outbox.due_of(sink, house.now(), most);
    let both = due(SINK, 9).await.unwrap();
    let [first, last] = &both[..] else { panic!("{both:?}") };
    assert_eq!(([first.id, last.id], first.request.is_some()), ([waits[1].id, waits[2].id], true));
    assert_eq!(due(SINK, 1).await.unwrap(), std::slice::from_ref(first));
    assert_eq!(due("other", 9).await.unwrap()[0].id, waits[0].id);
}

#[tokio::test]
async fn two_messages_of_a_first_call_whose_answer_was_lost_are_one_chain_whichever_is_heard_of_first() {
    for [one, other] in [["m-1", "m-2"], ["m-2", "m-1"]] {
        let house = House::new();
        let order = house.order();
        for _ in 0..2 {
            let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
            house.outbox.end(origin.call, End::Unknown).await;
            house.pass(121);
        }
        let call = CallId::of(SINK, &order.id);
        let origin = Origin { call, attempt: 0, since: order.event.time.as_second(), of: String::new() };
        let failed = |message: &str| house.status("failed", message, Some(&text(&origin)), "131049");
        house.hear([failed(one), failed(other)]).await;
        let third = house.send(&house.hand_over().await, "m-3").await;
        assert_eq!((third.attempt, third.of.as_str()), (1, one), "the one that was known first");
        house.hear([failed(other), house.status("failed", "m-3", Some(&text(&third)), "131049")]).await;
        let waits = house.waits().await;
        assert_eq!(waits.iter().map(|one| one.attempt).collect::<Vec<_>>(), [2]);
        house.hear([house.status("delivered", "m-1", Some(&text(&origin)), "")]).await;
        assert!(house.waits().await.is_empty(), "either of them is there");
    }
}

#[tokio::test]
async fn what_a_route_has_sent_for_two_messages_of_one_call_counts_together() {
    let house = House::new();
    let order = house.order();
    let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
    house.outbox.end(origin.call, End::Unknown).await;
    house.pass(121);
    house.send(&order, "m-2").await;
    let failed = |message: &str| house.status("failed", message, Some(&text(&origin)), "1");
    let answers = [house.send(&failed("m-1"), "a-1").await, house.send(&failed("m-2"), "a-2").await];
    assert_eq!(answers.map(|answer| answer.of), ["m-2", "m-2"]);
}

#[tokio::test]
async fn where_no_status_says_which_message_it_tells_of_a_customer_is_not_written_to_for_ever() {
    let mut house = House::new();
    // The provider sends nothing back, and answers with other ids than its statuses have.
    house.hear([house.status("failed", "s-0", None, "131049")]).await;
    let mut tries = 0;
    while !house.waits().await.is_empty() {
        tries += 1;
        house.send(&house.hand_over().await, &format!("a-{tries}")).await;
        house.reopen();
        house.hear([house.status("failed", &format!("s-{tries}"), None, "131049")]).await;
        assert!(tries < 10, "for ever");
    }
    assert_eq!(tries, 3);
    let told = house.desk.take_all().pop().unwrap().item;
    assert!(told.text.contains("no status tells of the last 3 messages"), "{}", told.text);
}

#[tokio::test]
async fn a_customer_whose_messages_are_heard_of_may_have_as_many_as_fail() {
    let house = House::new();
    for n in 0..5 {
        house.hear([house.status("failed", &format!("m-{n}"), None, "131049")]).await;
        house.send(&house.hand_over().await, &format!("a-{n}")).await;
        house.hear([house.status("sent", &format!("a-{n}"), None, "")]).await;
    }
    assert_eq!((house.count("sent"), house.count("exhausted")), (5, 0));
}

#[tokio::test]
async fn what_was_being_sent_when_the_daemon_ended_can_be_given_up_and_what_nobody_will_send_is_left_alone() {
    let mut house = House::new();
    let first = house.send(&house.order(), "m-1").await;
    house.hear([house.status("failed", "m-1", Some(&text(&first)), "131049")]).await;
    let command = house.hand_over().await;
    assert_eq!(word(&house.begin(&command).await), "call 1");
    assert!(house.outbox.cancel("m-1", &[]).await.unwrap().is_empty(), "it is on its way");
    house.reopen();
    let meant = house.outbox.meant("m-1").await.unwrap();
    assert_eq!(meant.iter().map(|one| (one.id, one.state)).collect::<Vec<_>>(), [(command.event.id, State::Handed)]);
    assert!(house.outbox.cancel("m-1", &[command.event.id]).await.unwrap().is_empty(), "it is a dead letter");
    assert_eq!(house.outbox.cancel("m-1", &[]).await.unwrap().len(), 1);
    assert_eq!(word(&house.begin(&command).await), "unwanted cancelled");
}

#[tokio::test]
async fn what_was_handed_over_is_not_sent_once_its_rule_is_gone() {
    let house = House::new();
    let first = house.send(&house.order(), "m-1").await;
    house.hear([house.status("failed", "m-1", Some(&text(&first)), "131049")]).await;
    let command = house.hand_over().await;
    house.outbox.put_in_force(Arc::default());
    let Begun::Unwanted(why) = house.begin(&command).await else { panic!("it is sent") };
    assert_eq!((why.code, why.detail.as_str()), ("cancelled", "its rule is not in the config any more"));
    let row = house.outbox.about("m-1").await.unwrap().chain.pop().unwrap();
    assert_eq!((row.state, row.why.as_deref(), house.count("cancelled")), (State::Cancelled, Some(&*why.detail), 1));
}

#[tokio::test]
async fn a_message_with_a_long_id_is_sent_again_like_any_other() {
    let house = House::new();
    let long = "x".repeat(41);
    house.hear([house.status("failed", &long, None, "131049")]).await;
    let again = house.send(&house.hand_over().await, "m-2").await;
    assert!(again.attempt == 1 && Origin::may_name(&again.of), "{again:?}");
    house.hear([house.status("failed", "m-2", Some(&text(&again)), "131049")]).await;
    assert_eq!(house.waits().await[0].attempt, 2);
    house.hear([house.status("delivered", &long, None, "")]).await;
    assert!(house.waits().await.is_empty());
}

#[tokio::test]
async fn where_the_users_own_text_leaves_no_room_for_ours_that_is_said_at_once() {
    let house = House::new();
    house.hear([house.status("failed", "m-1", Some(&"ü".repeat(416)), "131049")]).await;
    house.hear([house.status("failed", "m-2", Some(&"ü".repeat(417)), "131049")]).await;
    let [long, fits] = <[Planned; 2]>::try_from(house.waits().await).unwrap();
    assert_eq!(fits.missing, None);
    let why = "callbackData has 417 characters, at most 416 are left beside hookrelay's own 95";
    assert_eq!((long.failed.as_str(), long.missing.as_deref(), long.due), ("m-2", Some(why), house.now()));
}

#[tokio::test]
async fn of_two_messages_of_a_first_call_one_that_is_there_before_the_other_fails_is_enough() {
    let house = House::new();
    let order = house.order();
    let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
    house.outbox.end(origin.call, End::Unknown).await;
    house.pass(121);
    house.send(&order, "m-2").await;
    house.hear([house.status("delivered", "m-1", Some(&text(&origin)), "")]).await;
    house.hear([house.status("failed", "m-2", Some(&text(&origin)), "131049")]).await;
    assert!(house.waits().await.is_empty());
}
