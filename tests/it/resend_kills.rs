//! kill -9 at random moments while failed messages are tried again: none is sent more often than its rule says, none
//! that is due is forgotten, none is sent after a "delivered" has come; also where every tenth answer is lost. The
//! long form is in `make soak`.

use std::time::Duration;

use sink_testkit::interakt::course::Status;
use sink_testkit::interakt::{Options, StandIn};

use crate::harness::wait_until;
use crate::resend_proof::{Verdict, World, judge};

/// First messages, all of which fail.
const FAILED: u64 = 198;
/// Kills under load; every third is followed by one while the daemon starts.
const KILLS: u64 = 9;

async fn proof(seed: u64, loses: Option<u64>) -> Verdict {
    let mut world = World::new(FAILED, seed, loses).await;
    let mut chance = seed;
    for life in 0..KILLS {
        let daemon = world.start();
        for _ in 0..FAILED / KILLS {
            world.send_first();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The random moment is what is wanted, not something that happens then.
        tokio::time::sleep(Duration::from_millis((chance >> 33) % 1200)).await;
        tokio::task::spawn_blocking(move || daemon.kill()).await.unwrap();
        if life % 3 == 2 {
            world.kill_while_starting(Duration::from_millis((chance >> 20) % 300));
        }
    }
    let daemon = world.start();
    let verdict = world.judge().await;
    println!("resends: {FAILED} failed, {KILLS} kills, seed {seed}, loses {loses:?}\n{verdict}");
    assert!(verdict.is_good(), "seed {seed}\n{verdict}\n{}", daemon.log.text());
    let again: u64 = verdict.templates.values().map(|(_, again)| again).sum();
    // Of eleven chains' kinds, those that end by themselves alone bring about fifteen further tries.
    assert!(again >= FAILED / 11 * 15, "only {again} were sent again");
    verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn over_kill_9_what_failed_is_sent_again_as_often_as_its_rule_says_and_never_after_a_delivered() {
    let verdict = proof(20_261_130, None).await;
    assert!(verdict.overtaken > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn over_kill_9_and_lost_answers_a_call_that_a_status_confirms_is_not_made_again() {
    let verdict = proof(20_261_131, Some(10)).await;
    assert!(verdict.lost > 10, "{} answers lost", verdict.lost);
}

/// A stand-in's record of one chain, as messages with the callback data given.
async fn chain(template: &str, calls: &[&str], told: &[&[Status]]) -> Vec<sink_testkit::interakt::record::Taken> {
    let stand_in = StandIn::start(Options::default()).await;
    let send = |callback: &str| {
        let request = serde_json::json!({
            "fullPhoneNumber": "+917000000001", "callbackData": callback, "type": "Template",
            "template": {"name": template, "languageCode": "en", "bodyValues": ["Asha"]},
        });
        stand_in.send(&request).unwrap();
    };
    send("own:1");
    let first = stand_in.taken().remove(0).id;
    calls.iter().for_each(|call| send(&call.replace("OF", &first.to_string())));
    let mut taken = stand_in.taken();
    let began = taken[0].at;
    for (n, message) in taken.iter_mut().enumerate() {
        message.at = began + Duration::from_secs(10 * n as u64);
        let told = told.get(n).copied().unwrap_or_default().iter().enumerate();
        let told = told.map(|(step, status)| sink_testkit::interakt::record::Told {
            status: status.clone(),
            tries: 1,
            at: message.at + Duration::from_secs(1 + step as u64),
            answer: 200,
        });
        message.told = told.collect();
    }
    taken
}

#[tokio::test]
async fn the_oracle_sees_what_is_wrong() {
    let call = |n: u32, attempt: u32| format!("hr1.{n:032x}.{attempt}.1768300870.OF~own:1");
    let (one, two, three) = (call(1, 1), call(2, 2), call(3, 3));
    let failed = || Status::Failed("131049".to_owned());
    let calls = |calls: &[&str], told: &[&[Status]]| {
        let (calls, told) = (
            calls.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>(),
            told.iter().map(|t| t.to_vec()).collect::<Vec<_>>(),
        );
        async move {
            let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
            let told: Vec<&[Status]> = told.iter().map(Vec::as_slice).collect();
            judge(&chain("fail_131049_then_read", &calls, &told).await)
        }
    };
    let good = calls(&[&one], &[&[failed()], &[Status::Delivered]]).await;
    assert!(good.is_good(), "{good}");
    let verdict = calls(&[], &[&[failed()]]).await;
    assert_eq!(verdict.forgotten.len(), 1, "{verdict}");
    let verdict = calls(&[&one, &two, &three], &[&[failed()], &[failed()], &[failed()]]).await;
    assert_eq!((verdict.too_often.len(), verdict.forgotten.len()), (1, 0), "{verdict}");
    let verdict = calls(&[&one], &[&[Status::Failed("131026".to_owned())]]).await;
    assert_eq!(verdict.too_often.len(), 1, "{verdict}");
    let verdict = calls(&[&one], &[&[failed(), Status::Delivered]]).await;
    assert_eq!(verdict.after_delivered.len(), 1, "{verdict}");
    let verdict = calls(&[&one, &one], &[&[failed()], &[Status::Sent]]).await;
    assert_eq!(verdict.repeated.len(), 1, "{verdict}");
    let verdict = calls(&[&one, &one], &[&[failed()], &[]]).await;
    assert_eq!((verdict.repeated.len(), verdict.unconfirmed), (0, 1), "{verdict}");
    let verdict = calls(&["own:1"], &[&[failed()]]).await;
    assert_eq!(verdict.changed.len(), 1, "{verdict}");
}

#[tokio::test]
async fn the_stand_ins_webhooks_are_taken_by_the_daemon() {
    let world = &mut World::new(1, 1, None).await;
    world.house.configure(
        "[sinks.archive]\nkind = \"file\"\npath = \"out/all.jsonl\"\n[[routes]]\nmatch = \"*\"\nto = \"archive\"\n",
    );
    let _daemon = world.start();
    world.send_first();
    wait_until("the end of its course", || (world.stand_in.under_way() == 0).then_some(())).await;
    let taken = world.stand_in.taken();
    assert_eq!(taken[0].told.iter().map(|told| told.answer).collect::<Vec<_>>(), [200, 200, 200, 200], "{taken:?}");
}
