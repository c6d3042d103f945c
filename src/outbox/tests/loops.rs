//! Nothing goes round without an end, and nothing is sent for what nobody wants.

use super::*;

/// Has all failed messages sent again until nothing waits, each of them heard of as `heard` makes it. Says how many
/// further messages there were.
async fn again_and_again(house: &House, heard: impl Fn(usize, &Origin) -> Vec<Arc<Delivery>>) -> usize {
    let mut origins = vec![house.send(&house.order(), "m-0").await];
    for round in 0..20 {
        for origin in std::mem::take(&mut origins) {
            house.hear(heard(round, &origin)).await;
        }
        let waits = house.waits().await;
        if waits.is_empty() {
            return round;
        }
        house.pass(3600);
        for (n, planned) in waits.iter().enumerate() {
            let command = house.command(planned);
            house.outbox.handed(vec![planned.id]).await.unwrap();
            origins.push(house.send(&command, &format!("answered-{round}-{n}")).await);
        }
    }
    panic!("it goes on without an end");
}

#[tokio::test]
async fn what_carries_our_text_is_a_try_of_its_chain_whatever_its_id_is() {
    let house = House::new();
    let failed = |round: usize, origin: &Origin, n| {
        house.status("failed", &format!("told-{round}-{n}"), Some(&text(origin)), "131049")
    };
    let tries = again_and_again(&house, |round, origin| (0..2).map(|n| failed(round, origin, n)).collect()).await;
    assert!((1..=3).contains(&tries), "{tries}");
    let house = House::new();
    let heard = |round: usize, origin: &Origin| {
        let answered = format!("answered-{}-0", round.wrapping_sub(1));
        vec![house.status("sent", &answered, Some(&text(origin)), ""), failed_of(&house, round, origin)]
    };
    let tries = again_and_again(&house, heard).await;
    assert!((1..=3).contains(&tries), "{tries}");
}

fn failed_of(house: &House, round: usize, origin: &Origin) -> Arc<Delivery> {
    house.status("failed", &format!("told-{round}"), Some(&text(origin)), "131049")
}

#[tokio::test]
async fn a_route_that_answers_statuses_of_which_nothing_says_that_they_are_ours_ends() {
    let house = House::new();
    let mut words = Vec::new();
    for n in 0..6 {
        let status = house.status("failed", &format!("x-{n}"), None, "131047");
        let begun = house.begin(&status).await;
        if let Begun::Call(origin) = &begun {
            house.outbox.end(origin.call, End::Sent { message: Some(format!("other-{n}")) }).await;
        }
        words.push(word(&begun));
    }
    let most = usize::try_from(BOUNDS.max_attempts).unwrap();
    assert!(words[..most].iter().all(|word| word == "call 1"), "{words:?}");
    assert!(words[most..].iter().all(|word| word == "never exhausted"), "{words:?}");
}

#[tokio::test]
async fn a_command_whose_rule_names_another_sink_by_now_sends_nothing() {
    let house = House::new();
    house.hear([house.status("failed", "m-1", None, "131049")]).await;
    let [planned] = <[Planned; 1]>::try_from(house.waits().await).unwrap();
    // A kill came between the journal and the outbox, and the config is another afterwards.
    let command = house.command(&planned);
    assert_eq!(house.outbox.follow("retry", "other").await.unwrap(), 1);
    assert_eq!(word(&house.begin(&command).await), "unwanted cancelled");
}

#[tokio::test]
async fn what_was_taken_without_an_id_is_not_made_again_and_its_status_says_the_id() {
    let house = House::new();
    let order = house.order();
    let Begun::Call(origin) = house.begin(&order).await else { panic!("no call") };
    house.outbox.end(origin.call, End::Sent { message: None }).await;
    house.pass(3600);
    assert_eq!(word(&house.begin(&order).await), "sent ");
    house.hear([house.status("delivered", "m-1", Some(&text(&origin)), "")]).await;
    assert_eq!(word(&house.begin(&order).await), "sent m-1");
    assert_eq!(house.outbox.about("m-1").await.unwrap().call.unwrap().status, Some(Status::Delivered));
}

#[tokio::test]
async fn nobody_is_written_to_because_a_sample_was_sent() {
    let house = House::new();
    let sample = house.event("interakt", "message_received", Uuid::now_v7(), r#"{"hookrelay_sample":true}"#.into());
    assert_eq!(word(&house.begin(&sample).await), "unwanted sample");
}

#[tokio::test]
async fn what_is_given_up_after_its_answer_was_lost_is_said_to_have_gone_perhaps() {
    let house = House::new();
    house.hear([house.status("failed", "m-1", None, "131049")]).await;
    let command = house.hand_over().await;
    let Begun::Call(origin) = house.begin(&command).await else { panic!("no call") };
    house.outbox.end(origin.call, End::Unknown).await;
    let cancelled = house.outbox.cancel("m-1", &[]).await.unwrap();
    assert!(cancelled[0].why.as_ref().unwrap().contains("may have been sent"), "{cancelled:?}");
    assert!(house.outbox.about("m-1").await.unwrap().chain[0].why.as_ref().unwrap().contains("may have been sent"));
}
