//! Whose turn it is of what waits to be sent again, where it goes when its rule names another sink, and what is said of
//! what nobody will send any more. Interakt's API is a stand-in; failures are posted as of other programs' messages.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sink_testkit::interakt::course::by_name;
use sink_testkit::interakt::{KEY, Options, StandIn, Webhooks};
use tokio::task::JoinSet;

use crate::harness::{Daemon, House, SECRET, post_all, wait_until};
use crate::verbs::{figures, json as told, verb};

/// How long a status takes.
const PACE: Duration = Duration::from_millis(100);

struct World {
    house: House,
    stand_in: StandIn,
}

impl World {
    async fn new(tables: &str) -> Self {
        let url = "http://127.0.0.1:9/".to_owned();
        let webhooks = Webhooks { url, secret: SECRET.to_owned(), until_taken: Some(PACE) };
        let options = Options { script: by_name(PACE), webhooks: Some(webhooks), ..Options::default() };
        let world = Self { house: House::new(""), stand_in: StandIn::start(options).await };
        world.configure(&["one", "two"], tables);
        world
    }

    /// Writes the config: these sinks, which send by the stand-in, and these tables.
    fn configure(&self, sinks: &[&str], tables: &str) {
        let url = self.stand_in.url();
        let sink = |name: &&str| {
            format!("[sinks.{name}]\nkind = \"interakt\"\nurl = \"{url}\"\napi_key = \"{KEY}\"\nrate = \"1000/s\"\n")
        };
        self.house.configure(&(sinks.iter().map(sink).collect::<String>() + tables));
    }

    fn start(&self) -> Daemon {
        let daemon = self.house.start();
        self.stand_in.call_back(&daemon.url());
        daemon
    }

    fn has_sent_to(&self, phone: &str) -> Option<()> {
        self.stand_in.taken().iter().any(|taken| taken.message.phone.ends_with(phone)).then_some(())
    }

    /// How many wait to be sent again.
    fn waiting(&self) -> u64 {
        told(&self.house, &["status"])["resends"]["waiting"].as_u64().unwrap()
    }

    /// Waits until the daemon has heard all that it was told.
    async fn is_heard(&self) {
        let is_heard = || (figures(&self.house, "outbox", ["pending"]) == [0]).then_some(());
        wait_until("all that was told to be heard", is_heard).await;
    }

    async fn shown(&self, message: &str, part: &str) -> String {
        wait_until(&format!("`message show` to say {part}"), || {
            let shown = verb(&self.house, 0, &["message", "show", message]);
            shown.contains(part).then_some(shown)
        })
        .await
    }
}

/// A rule for failures of messages of that way, sent by that sink after that time.
fn rule(way: &str, to: &str, after: &str) -> String {
    format!(
        "[resend.{way}]\nmatch = \"message_{way}_failed\"\nto = \"{to}\"\ncodes = {{ \"131049\" = {{ after = \
         \"{after}\", times = 1 }}, \"131026\" = \"never\" }}\n"
    )
}

/// What is told of a message to that phone.
fn status(kind: &str, message: &str, phone: &str, more: &Value) -> Vec<u8> {
    let mut told = json!({
        "id": message, "chat_message_type": "PublicApiMessage", "message_status": "Failed", "meta_data": {},
        "message_content_type": "Text", "message": "hello", "is_template_message": false,
    });
    for (name, value) in more.as_object().unwrap() {
        told[name] = value.clone();
    }
    let data = json!({ "customer": { "channel_phone_number": phone }, "message": told });
    let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    json!({ "version": "1.0", "timestamp": time, "type": kind, "data": data }).to_string().into_bytes()
}

/// The failure of a message of that way.
fn failed(way: &str, message: &str, phone: &str, code: &str) -> Vec<u8> {
    status(&format!("message_{way}_failed"), message, phone, &json!({ "channel_error_code": code }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_sick_sink_keeps_no_other_ones_back() {
    const WAIT: usize = 5_200;
    let world = World::new(&(rule("api", "one", "1s") + &rule("campaign", "two", "1s"))).await;
    let daemon = world.start();
    verb(&world.house, 0, &["sink", "pause", "one"]);
    let mut posting = JoinSet::new();
    for part in 0..16 {
        let url = daemon.url();
        let of = (part..WAIT).step_by(16);
        let bodies = of.map(|n| failed("api", &format!("m-{n}"), &format!("91700000{n:04}"), "131049"));
        let bodies: Vec<_> = bodies.collect();
        posting.spawn(async move { post_all(&url, bodies).await });
    }
    posting.join_all().await;
    world.is_heard().await;
    // A few more than a sink is given at once are the sick sink's turn.
    wait_until("most of them wait", || (world.waiting() > 5_000).then_some(())).await;
    post_all(&daemon.url(), [failed("campaign", "behind", "917100000001", "131049")]).await;
    wait_until("the one behind them is sent", || world.has_sent_to("7100000001")).await;
    assert!(world.waiting() > 5_000, "and they wait still");
    let listed = verb(&world.house, 0, &["resend", "list"]);
    assert!(listed.contains("remark: the first 100 of 5") && listed.contains("more are due later"), "{listed}");
    assert_eq!(told(&world.house, &["resend", "list", "--limit", "7"]).as_array().unwrap().len(), 7);
    assert_eq!(told(&world.house, &["resend", "list"]).as_array().unwrap().len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_goes_to_the_sink_that_its_rule_names_by_then() {
    let world = World::new(&rule("api", "one", "3s")).await;
    let daemon = world.start();
    post_all(&daemon.url(), [failed("api", "m-1", "917000000001", "131049")]).await;
    world.is_heard().await;
    assert_eq!(told(&world.house, &["resend", "list"])[0]["to"], "one");
    world.configure(&["one", "two"], &(rule("api", "two", "3s") + &rule("campaign", "two", "3s")));
    let reloaded = verb(&world.house, 0, &["reload"]);
    assert!(reloaded.contains("2 resend rules"), "{reloaded}");
    wait_until("it is sent", || world.has_sent_to("7000000001")).await;
    let shown = told(&world.house, &["message", "show", "m-1"]);
    assert_eq!(shown["resends"][0]["to"], "two", "{shown}");
    let sent = world.stand_in.taken()[0].id.to_string();
    assert_eq!(told(&world.house, &["message", "show", &sent])["sent"]["sink"], "two");
    world.configure(&["one", "two"], "");
    assert!(verb(&world.house, 0, &["reload"]).contains("0 resend rules"));
    assert!(!verb(&world.house, 0, &["reload"]).contains("resend rule"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_is_told_as_it_is_and_why_nothing_more_is_sent() {
    let refused =
        rule("api", "one", "1s") + "with = \"template\"\ntemplate = { name = \"no_such\", languageCode = \"en\" }\n";
    let world = World::new(&format!("{refused}{}", rule("campaign", "two", "1s"))).await;
    let daemon = world.start();
    post_all(&daemon.url(), [failed("api", "m-1", "917000000001", "131049")]).await;
    let shown = world.shown("m-1", "not sent, a dead letter of one: ").await;
    assert!(shown.contains("no_such"), "{shown}");
    // Whoever gives it up is told what it is, and what can be done.
    let cancel = verb(&world.house, 1, &["resend", "cancel", "m-1"]);
    assert!(cancel.contains("try 1 is not sent: it is a dead letter of `one`"), "{cancel}");
    assert!(cancel.contains("hookrelay dead drop ") && cancel.contains("hookrelay dead retry "), "{cancel}");
    assert!(verb(&world.house, 0, &["message", "show", "m-1"]).contains("a dead letter of one"), "nor is it changed");
    // A code that never passes, and one that has come as often as the rule says.
    post_all(&daemon.url(), [failed("api", "m-2", "917000000002", "131026")]).await;
    let shown = world.shown("m-2", "given up").await;
    assert!(shown.contains("is not sent again by [resend.api] after 131026 (undeliverable"), "{shown}");
    post_all(&daemon.url(), [failed("campaign", "m-3", "917000000003", "131049")]).await;
    wait_until("it is sent again", || world.has_sent_to("7000000003")).await;
    let second = world.stand_in.taken().last().unwrap().id.to_string();
    let callback = world.stand_in.taken().last().unwrap().message.request["callbackData"].clone();
    let of_ours =
        json!({ "channel_error_code": "131049", "meta_data": { "source_data": { "callback_data": callback } } });
    post_all(&daemon.url(), [status("message_campaign_failed", &second, "917000000003", &of_ours)]).await;
    let shown = world.shown("m-3", "given up").await;
    assert!(shown.contains("is not sent again by [resend.campaign] after 131049"), "{shown}");
    let told = told(&world.house, &["message", "show", "m-3"]);
    assert_eq!(told["not_again"][0]["outcome"], "exhausted", "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_handed_to_a_sink_that_is_gone_says_so_and_can_be_given_up() {
    let world = World::new(&rule("api", "one", "1s")).await;
    let daemon = world.start();
    verb(&world.house, 0, &["sink", "pause", "one"]);
    post_all(&daemon.url(), [failed("api", "m-1", "917000000001", "131049")]).await;
    world.shown("m-1", "is the turn of one: paused").await;
    world.configure(&["two"], &rule("api", "two", "1s"));
    verb(&world.house, 0, &["reload"]);
    let shown = world.shown("m-1", "is the turn of one: no_sink").await;
    assert!(shown.contains("the sink is not in the config"), "{shown}");
    assert!(verb(&world.house, 0, &["resend", "cancel", "m-1"]).starts_with("1 resend cancelled"));
    // When the sink is back, it is not sent.
    world.configure(&["one", "two"], &rule("api", "one", "1s"));
    verb(&world.house, 0, &["reload"]);
    verb(&world.house, 0, &["sink", "resume", "one"]);
    wait_until("it is passed over", || (figures(&world.house, "one", ["filtered"]) == [1]).then_some(())).await;
    assert_eq!(world.stand_in.taken().len(), 0);
    assert!(verb(&world.house, 0, &["message", "show", "m-1"]).contains("cancelled"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_stand_in_the_timeline_with_their_buttons() {
    let world = World::new("").await;
    let daemon = world.start();
    let click = json!({
        "message_status": "Read",
        "meta_data": {
            "click_type": "QR", "button_text": "Track it", "button_link": "",
            "click_timestamp": "2026-01-13 10:31:00.000001",
        },
    });
    post_all(&daemon.url(), [status("message_api_clicked", "m-1", "917000000001", &click)]).await;
    let shown = world.shown("m-1", "clicked").await;
    assert!(shown.contains("clicked    \"Track it\" (QR)"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_quiet_or_was_given_up_stays_so_over_kills_and_a_reload() {
    // From half an hour ago to in an hour, in India.
    let india = TimeZone::get("Asia/Kolkata").unwrap();
    let clock = |minutes: i64| {
        let time = Timestamp::now().checked_add(SignedDuration::from_mins(minutes)).unwrap();
        india.to_datetime(time).strftime("%H:%M").to_string()
    };
    let quiet = format!("quiet = {{ hours = \"{}-{}\" }}\n", clock(-30), clock(60));
    let world = World::new(&(rule("api", "one", "1s") + &quiet)).await;
    let mut daemon = world.start();
    let bodies = (1..=3).map(|n| failed("api", &format!("m-{n}"), &format!("91700000000{n}"), "131049"));
    post_all(&daemon.url(), bodies).await;
    world.is_heard().await;
    for (message, left) in [("m-1", 2), ("m-2", 1)] {
        verb(&world.house, 0, &["resend", "cancel", message]);
        // What a verb has said is on disk.
        tokio::task::spawn_blocking(|| daemon.kill()).await.unwrap();
        daemon = world.start();
        assert_eq!(world.waiting(), left);
    }
    world.configure(&["one", "two"], &(rule("api", "two", "1s") + &quiet + &rule("campaign", "two", "1s")));
    verb(&world.house, 0, &["reload"]);
    tokio::task::spawn_blocking(|| daemon.kill()).await.unwrap();
    let daemon = world.start();
    post_all(&daemon.url(), [failed("campaign", "behind", "917100000001", "131049")]).await;
    wait_until("one behind them is sent", || world.has_sent_to("7100000001")).await;
    assert_eq!((world.waiting(), world.stand_in.taken().len()), (1, 1), "and nothing else");
    assert_eq!(told(&world.house, &["resend", "list"])[0]["to"], "two");
}
