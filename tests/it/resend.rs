//! What failed is sent again as the rules say: after its time, by code, outside quiet hours, over restarts and reloads,
//! and never without an end. Interakt's API is a stand-in.
//!
//! That something is *not* sent is shown by a message behind it that is: when that one has come to its end, the other
//! would have, too.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sink_api::Origin;
use sink_testkit::interakt::course::{Asked, Status, by_name};
use sink_testkit::interakt::record::Taken;
use sink_testkit::interakt::{Fault, KEY, Options, StandIn, Webhooks};

use crate::harness::{Daemon, House, SECRET, lines_under, post_all, wait_until};
use crate::verbs::{figures, json as told, verb};

/// How long a status takes.
const PACE: Duration = Duration::from_millis(100);
/// A rule that tries 131049 again after a second, twice.
const SOON: &str = "[resend.soon]\nmatch = \"message_*_failed\"\ncodes = { 131049 = { after = \"1s\", times = 2 } }\n";

struct World {
    house: House,
    stand_in: StandIn,
}

impl World {
    async fn new(tables: &str) -> Self {
        let webhooks = Webhooks {
            url: "http://127.0.0.1:9/".to_owned(),
            secret: SECRET.to_owned(),
            until_taken: Some(Duration::from_millis(100)),
        };
        let by_name = by_name(PACE);
        // What has no template, and so no name, fails once.
        let script = move |asked: &Asked<'_>| {
            by_name(&Asked { template: asked.template.or(Some("fail_131049_then_read")), ..*asked })
        };
        let options = Options { script: std::sync::Arc::new(script), webhooks: Some(webhooks), ..Options::default() };
        let world = Self { house: House::new(""), stand_in: StandIn::start(options).await };
        world.configure(tables);
        world
    }

    /// Writes the config: a sink that sends by the stand-in, and these tables.
    fn configure(&self, tables: &str) {
        let url = self.stand_in.url();
        self.house.configure(&format!(
            "[sinks.wa]\nkind = \"interakt\"\nurl = \"{url}\"\napi_key = \"{KEY}\"\nrate = \"1000/s\"\n{tables}"
        ));
    }

    fn start(&self) -> Daemon {
        let daemon = self.house.start();
        self.stand_in.call_back(&daemon.url());
        daemon
    }

    /// A first message of another program's, to a customer in that country.
    fn send(&self, template: &str, country: &str, number: &str) {
        let template = json!({ "name": template, "languageCode": "en", "bodyValues": ["Asha é"] });
        let request = json!({
            "countryCode": country, "phoneNumber": number, "callbackData": format!("own:{number}"), "type": "Template",
            "template": template,
        });
        self.stand_in.send(&request).unwrap();
    }

    /// What was sent to that number, in order.
    fn sent_to(&self, number: &str) -> Vec<Taken> {
        self.stand_in.taken().into_iter().filter(|taken| taken.message.phone.ends_with(number)).collect()
    }

    /// Waits until so many messages to that number came to an end, and the last one was told as `status`.
    async fn ends(&self, number: &str, messages: usize, status: &str) -> Vec<Taken> {
        wait_until(&format!("{messages} messages to {number}, the last one {status}"), || {
            let sent = self.sent_to(number);
            let is_told = sent
                .last()
                .is_some_and(|last| last.told.iter().any(|told| told.status.name() == status && told.answer == 200));
            (sent.len() == messages && is_told).then_some(sent)
        })
        .await
    }

    /// Waits until the daemon has heard all that it was told.
    async fn is_heard(&self) {
        let pending = || figures(&self.house, "outbox", ["pending"]) == [0];
        wait_until("all that was told to be heard", || pending().then_some(())).await;
    }
}

fn request(taken: &Taken) -> Value {
    taken.message.request.clone()
}

/// A request, and the user's own text taken out of it, without our prefix.
fn without_callback(taken: &Taken) -> (Value, String) {
    let mut request = request(taken);
    let callback = request.as_object_mut().unwrap().remove("callbackData").unwrap();
    let own = Origin::read(callback.as_str().unwrap()).map_or(callback.as_str().unwrap(), |(_, own)| own);
    (request, own.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_sent_again_after_its_time_until_it_is_read_and_not_once_more() {
    let world = World::new(SOON).await;
    let _daemon = world.start();
    world.send("fail_131049_then_read", "+91", "7000000001");
    let sent = world.ends("7000000001", 2, "Read").await;
    let failed = sent[0].when(|status| matches!(status, Status::Failed(_))).unwrap();
    assert!(sent[1].at.duration_since(failed) >= Duration::from_millis(500), "a second after the failure");
    // The same again, but for what we write before the user's own text.
    let (first, mut again) = (request(&sent[0]), request(&sent[1]));
    let callback = again["callbackData"].as_str().unwrap().to_owned();
    assert!(callback.starts_with("hr1.") && callback.ends_with("~own:7000000001"), "{callback}");
    again["callbackData"] = first["callbackData"].clone();
    assert_eq!(again, first);
    // A message behind it comes to its end, and nothing more was sent.
    world.send("fail_131049_131049_then_delivered", "+91", "7000000002");
    let sent = world.ends("7000000002", 3, "Delivered").await;
    assert_eq!(sent.len(), 3);
    assert_eq!(world.sent_to("7000000001").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_that_never_pass_are_not_tried_again_and_those_that_do_have_an_end() {
    let world = World::new(SOON).await;
    let _daemon = world.start();
    for (number, template) in [("7000000011", "fail_131026_then_read"), ("7000000012", "fail_999999_then_read")] {
        world.send(template, "+91", number);
        world.ends(number, 1, "Failed").await;
    }
    world.send("fail_always_131049", "+91", "7000000013");
    world.ends("7000000013", 3, "Failed").await;
    world.send("fail_131049_131049_then_delivered", "+91", "7000000014");
    world.ends("7000000014", 3, "Delivered").await;
    assert_eq!(["7000000011", "7000000012", "7000000013"].map(|number| world.sent_to(number).len()), [1, 1, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_customers_quiet_hours_nothing_is_sent() {
    // From half an hour ago to in an hour, in India; in the Emirates it is an hour and a half earlier.
    let india = TimeZone::get("Asia/Kolkata").unwrap();
    let clock = |minutes: i64| {
        let time = Timestamp::now().checked_add(jiff::SignedDuration::from_mins(minutes)).unwrap();
        india.to_datetime(time).strftime("%H:%M").to_string()
    };
    let quiet = format!("quiet = {{ hours = \"{}-{}\" }}\n", clock(-30), clock(60));
    let world = World::new(&format!("{SOON}{quiet}")).await;
    let _daemon = world.start();
    world.send("fail_131049_then_read", "+91", "7000000021");
    world.ends("7000000021", 1, "Failed").await;
    world.is_heard().await;
    world.send("fail_131049_131049_then_read", "+971", "500000022");
    world.ends("500000022", 3, "Read").await;
    assert_eq!(world.sent_to("7000000021").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_survives_a_kill_and_is_given_up_where_a_reload_takes_its_rule_away() {
    let later = "codes = { 131049 = { after = \"4s\", times = 1 } }\n";
    let rule = |name: &str| format!("[resend.{name}]\nmatch = \"message_*_failed\"\n{later}");
    let world = World::new(&rule("old")).await;
    let daemon = world.start();
    world.send("fail_131049_then_read", "+91", "7000000031");
    world.ends("7000000031", 1, "Failed").await;
    world.is_heard().await;
    tokio::task::spawn_blocking(|| daemon.kill()).await.unwrap();
    let daemon = world.start();
    world.ends("7000000031", 2, "Read").await;

    world.send("fail_131049_then_read", "+91", "7000000032");
    world.ends("7000000032", 1, "Failed").await;
    world.is_heard().await;
    world.configure(&rule("new"));
    verb(&world.house, 0, &["reload"]);
    world.send("fail_131049_then_read", "+91", "7000000033");
    world.ends("7000000033", 2, "Read").await;
    assert_eq!(world.sent_to("7000000032").len(), 1);
    let told = || daemon.log.text().contains("their rule is not in the config any more").then_some(());
    wait_until("what has no rule is given up", told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_answers_itself_ends_after_three_answers() {
    let route = r#"
[[routes]]
name = "once more"
match = "message_api_failed"
transform = '''{fullPhoneNumber: .data.customer.channel_phone_number, type: "Template",
  template: {name: "fail_always_131047", languageCode: "en", bodyValues: ["Asha é"]}}'''
to = "wa"
"#;
    let world = World::new(route).await;
    let _daemon = world.start();
    assert!(
        String::from_utf8_lossy(&world.house.command(&["check"]).output().unwrap().stderr).contains("answer itself")
    );
    world.send("fail_always_131047", "+91", "7000000041");
    world.ends("7000000041", 4, "Failed").await;
    let letters = wait_until("the dead letter of the fourth answer", || {
        let letters = told(&world.house, &["dead", "list"]);
        letters.as_array().filter(|all| !all.is_empty()).cloned()
    })
    .await;
    assert_eq!(
        (letters.len(), &letters[0]["reason"]["code"], &letters[0]["sink"]),
        (1, &"exhausted".into(), &"wa".into())
    );
    assert_eq!(world.sent_to("7000000041").len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_of_the_rules_own_goes_in_the_place_of_what_failed() {
    let other = r#"with = "template"
template = { name = "then_read", languageCode = "en", bodyValues = ["our shop"] }
"#;
    let world = World::new(&[SOON, other].concat()).await;
    let _daemon = world.start();
    world.send("fail_always_131049", "+91", "7000000051");
    let sent = world.ends("7000000051", 2, "Read").await;
    let (again, own) = without_callback(&sent[1]);
    assert_eq!(again["template"], json!({ "name": "then_read", "languageCode": "en", "bodyValues": ["our shop"] }));
    assert_eq!((again["type"].as_str(), own.as_str()), (Some("Template"), "own:7000000051"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_status_does_not_hold_is_taken_from_what_was_sent_and_else_a_dead_letter_names_it() {
    let world = World::new(SOON).await;
    let daemon = world.start();
    // No status holds the parts of an interactive message.
    let interactive = |number: &str| {
        json!({
            "fullPhoneNumber": format!("+91{number}"), "callbackData": format!("own:{number}"),
            "type": "InteractiveButton",
            "data": { "message": { "type": "button", "body": { "text": "Still at home?" }, "action": {} } },
        })
    };
    std::fs::write(world.house.path("ask.json"), interactive("7000000061").to_string()).unwrap();
    let file = world.house.path("ask.json");
    verb(&world.house, 0, &["message", "send", file.to_str().unwrap()]);
    let sent = world.ends("7000000061", 2, "Read").await;
    assert_eq!(without_callback(&sent[1]), without_callback(&sent[0]));

    world.stand_in.send(&interactive("7000000062")).unwrap();
    world.ends("7000000062", 1, "Failed").await;
    // Nor does this one, of a template, say which.
    let nameless = json!({
        "version": "1.0", "timestamp": "2026-11-30T09:00:00.000000", "type": "message_api_failed",
        "data": {
            "customer": { "channel_phone_number": "917000000063" },
            "message": {
                "id": "7f00602d-4c9c-4346-9d4d-a24d478c9926", "message_status": "Failed", "is_template_message": true,
                "received_at_utc": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.000000").to_string(),
                "channel_error_code": "131049", "message_content_type": "Template",
            },
        },
    });
    post_all(&daemon.url(), [nameless.to_string().into_bytes()]).await;
    let letters = wait_until("two dead letters", || {
        let letters = told(&world.house, &["dead", "list", "--sink", "wa", "--code", "incomplete"]);
        letters.as_array().filter(|all| all.len() == 2).cloned()
    })
    .await;
    let details: Vec<&str> = letters.iter().filter_map(|letter| letter["reason"]["detail"].as_str()).collect();
    for part in ["InteractiveButton", "the template's name (`raw_template`)"] {
        assert!(details.iter().any(|detail| detail.contains(part)), "{part}: {details:?}");
    }
    assert_eq!(["7000000062", "7000000063"].map(|number| world.sent_to(number).len()), [1, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_tells_statuses_of_further_tries_from_those_of_first_messages() {
    let files = ["first", "again"]
        .map(|name| format!("[sinks.{name}]\nkind = \"file\"\npath = \"out/{name}.jsonl\"\nformat = \"raw\"\n"));
    let route = |condition: &str, to: &str| {
        let transform = "[$event.resend.of, $event.resend.attempt, .data.message.id, .data.message.message_status]";
        format!(
            "[[routes]]\nmatch = \"message_api_*\"\nwhere = '{condition}'\ntransform = '{transform}'\nto = \"{to}\"\n"
        )
    };
    let routes = [route("$event.resend == null", "first"), route("$event.resend.attempt == 1", "again")];
    let world = World::new(&[SOON, &files.concat(), &routes.concat()].concat()).await;
    let _daemon = world.start();
    world.send("fail_131049_then_read", "+91", "7000000071");
    let sent = world.ends("7000000071", 2, "Read").await;
    let [first, again] = [&sent[0], &sent[1]].map(|taken| taken.id.to_string());
    for (file, expected) in [
        ("first.jsonl", ["Sent", "Failed"].map(|status| json!([null, null, first, status])).to_vec()),
        ("again.jsonl", ["Sent", "Delivered", "Read"].map(|status| json!([first, 1, again, status])).to_vec()),
    ] {
        let lines = || {
            let lines = lines_under(&world.house.path("out"), file).into_iter();
            let lines: Vec<Value> = lines.map(|line| serde_json::from_str(&line).unwrap()).collect();
            (lines.len() == expected.len()).then_some(lines)
        };
        assert_eq!(wait_until(file, lines).await, expected, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_that_cannot_be_written_down_are_kept_and_heard_once_they_can() {
    let world = World::new(SOON).await;
    // A link in the place of the outbox's file, and none is followed.
    let blocked = world.house.path("data/outbox.db");
    std::fs::create_dir_all(world.house.path("data")).unwrap();
    std::os::unix::fs::symlink("nowhere", &blocked).unwrap();
    let _daemon = world.start();
    world.send("fail_131049_then_read", "+91", "7000000081");
    world.ends("7000000081", 1, "Failed").await;
    let tries = || figures(&world.house, "outbox", ["retried"])[0];
    wait_until("some tries", || (tries() >= 4).then_some(())).await;
    assert_eq!(figures(&world.house, "outbox", ["delivered", "dead", "pending"]), [0, 0, 2]);
    std::fs::remove_file(&blocked).unwrap();
    world.ends("7000000081", 2, "Read").await;
    world.is_heard().await;
    assert_eq!(figures(&world.house, "outbox", ["dead", "dropped"]), [0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_bad_answer_a_call_waits_until_the_statuses_that_were_accepted_are_heard() {
    let route = r#"retry = { initial = "20ms", max = "200ms" }
[[routes]]
match = "message_received"
to = "wa"
transform = '''{fullPhoneNumber: "+917000000091", type: "Template",
  template: {name: "then_read", languageCode: "en", bodyValues: ["Asha é"]}}'''
"#;
    let world = World::new(route).await;
    let daemon = world.start();
    verb(&world.house, 0, &["sink", "pause", "outbox"]);
    world.send("then_read", "+91", "7000000092");
    world.ends("7000000092", 1, "Read").await;
    world.stand_in.set_faults(&[(Fault::Broken(500), 1)]);
    let received = json!({ "version": "1.0", "type": "message_received", "data": {} });
    post_all(&daemon.url(), [received.to_string().into_bytes()]).await;
    wait_until("a bad answer", || world.stand_in.answers().get(&500).map(drop)).await;
    world.stand_in.set_faults(&[]);
    wait_until("the call waits", || {
        (told(&world.house, &["pending", "list"])[0]["reason"]["code"] == "behind").then_some(())
    })
    .await;
    assert_eq!(world.sent_to("7000000091").len(), 0);
    verb(&world.house, 0, &["sink", "resume", "outbox"]);
    world.ends("7000000091", 1, "Read").await;
}
