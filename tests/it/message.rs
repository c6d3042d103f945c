//! Messages by the verbs and by the API, sent to a stand-in of Interakt's: `message send` and its `--wait`, `message
//! show` of chains and phones, `resend list` and `cancel`, keys by which a repeat sends nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sink_testkit::interakt::{Fault, KEY, Options, StandIn, Webhooks, course};

use crate::admin_api::{Admin, TOKEN};
use crate::harness::{Daemon, House, SECRET, wait_until};
use crate::verbs::{figures, json as asked, json_without_secret, verb, verb_without_secret};

const PHONE: &str = "+917000000001";

/// A sink `whatsapp` that sends to the stand-in, a rule with that wait, and a file for everything.
fn tables(url: &str, after: &str) -> String {
    format!(
        r#"
[sinks.whatsapp]
kind = "interakt"
url = "{url}"
api_key = "{KEY}"
sender = "+911234567890"
rate = "1000/s"
confirm = "1s"
retry = {{ initial = "20ms", max = "200ms" }}
breaker = {{ probe = "50ms", probe_max = "200ms" }}
[resend.marketing]
match = "message_*_failed"
codes = {{ "131049" = {{ after = "{after}", times = 2 }}, "131026" = "never" }}
[sinks.archive]
kind = "file"
path = "out/all.jsonl"
[[routes]]
match = "message_*"
to = "archive"
"#
    )
}

async fn stand_in() -> StandIn {
    stand_in_at(Duration::from_millis(100)).await
}

/// A stand-in whose statuses take about so long.
async fn stand_in_at(pace: Duration) -> StandIn {
    // Where the daemon is, is said once it is known.
    let url = "http://127.0.0.1:9/".to_owned();
    let webhooks = Webhooks { url, secret: SECRET.to_owned(), until_taken: Some(Duration::from_millis(100)) };
    let script = course::by_name(pace);
    StandIn::start(Options { script, webhooks: Some(webhooks), ..Options::default() }).await
}

/// The stand-in, and a daemon that sends to it and is told by it.
async fn start(after: &str) -> (StandIn, House, Daemon) {
    let stand_in = stand_in().await;
    let house = House::new(&tables(&stand_in.url(), after));
    let daemon = house.start();
    stand_in.call_back(&daemon.url());
    (stand_in, house, daemon)
}

/// A command line that sends that template.
fn send<'l>(template: &'l str, more: &[&'l str]) -> Vec<&'l str> {
    let line = ["message", "send", "--to", PHONE, "--template", template, "--language", "en", "--value", "Asha"];
    [&line[..], more].concat()
}

fn message(template: &str) -> Value {
    let template = json!({"name": template, "languageCode": "en", "bodyValues": ["Asha"]});
    json!({"fullPhoneNumber": PHONE, "type": "Template", "template": template, "callbackData": "order:77"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_followed_and_shown() {
    let (stand_in, house, _daemon) = start("1h").await;
    let printed = verb_without_secret(&house, 0, &send("then_read", &[]));
    let id = printed.trim();
    assert_eq!(stand_in.taken()[0].id.to_string(), id, "the id is all that is printed");
    let read = asked(&house, &send("then_read", &["--wait", "read", "--timeout", "60s"]));
    assert_eq!((&read["state"], &read["status"]), (&"sent".into(), &"Read".into()), "{read}");
    let failed = verb(&house, 1, &send("fail_always_131026", &["--wait", "delivered", "--timeout", "60s"]));
    assert!(failed.contains("131026: undeliverable"), "{failed}");

    let shown = wait_until("the first was read, too", || {
        let shown = verb(&house, 0, &["message", "show", id]);
        shown.contains(": Read\n").then_some(shown)
    });
    let shown = shown.await;
    let order = [
        "sent by hookrelay through whatsapp (+911234567890)",
        "Z  called",
        "Z  sent",
        "Z  delivered",
        "Z  read",
        "masked",
    ];
    let places: Vec<usize> =
        order.iter().map(|word| shown.find(word).unwrap_or_else(|| panic!("{word}: {shown}"))).collect();
    assert!(places.is_sorted() && shown.contains("***01") && !shown.contains("7000000001"), "{shown}");
    let clear = json_without_secret(&house, &["message", "show", id, "--clear"]);
    assert_eq!((&clear["phone"], &clear["sent"]["sink"]), (&PHONE.into(), &"whatsapp".into()), "{clear}");
    // Its events are those of its statuses, and the one that asked for it; that one is found by its own id, too.
    let event = clear["sent"]["event"].as_str().unwrap();
    let kinds: Vec<&Value> = clear["events"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert!(kinds.contains(&&json!("message.send")) && kinds.contains(&&json!("message_api_read")), "{kinds:?}");
    for by in [event, &event[28..]] {
        assert_eq!(json_without_secret(&house, &["message", "show", by])["id"], *id, "{by}");
    }
    let traced = json_without_secret(&house, &["trace", event]);
    assert_eq!(traced["events"][0]["deliveries"][0]["fate"], "delivered", "{traced}");
    let phone = json_without_secret(&house, &["message", "show", PHONE]);
    assert_eq!(phone.as_array().unwrap().len(), 3, "{phone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_told_at_once() {
    let (stand_in, house, _daemon) = start("1h").await;
    let unknown = verb(&house, 1, &send("no_such_template", &[]));
    assert!(unknown.contains("it is not sent: ") && unknown.contains("no_such_template"), "{unknown}");
    assert_eq!(asked(&house, &["dead", "list"])[0]["sink"], "whatsapp");
    let piped = |body: &str, code: i32| {
        let mut child = house.command(&["message", "send", "-", "--json"]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        let told = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert_eq!(out.status.code(), Some(code), "{told}");
        told
    };
    let fine = message("then_read").to_string();
    let with = |member: &str| fine.replacen('{', &format!("{{{member},"), 1);
    let deep = format!("\"x\":{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let long = fine.replace("order:77", &"x".repeat(417));
    for (body, why) in [
        ("{\"type\":\"Text\"}", "standard input: the message is not understood: there is no phone number"),
        ("[]", "expected a JSON object"),
        (&with("\"phoneNumber\":\"1\",\"countryCode\":\"+91\""), "one form at a time"),
        (&with(&deep), "nested deeper than 32"),
        (&long, "417 characters"),
        (&fine.replace("bodyValues", "body_values"), "did you mean `bodyValues`?"),
    ] {
        assert!(piped(body, 2).contains(why), "{why}");
    }
    assert_eq!(asked(&house, &["dead", "list"]).as_array().unwrap().len(), 1, "of these nothing was written");
    assert!(piped(&message("then_read").to_string(), 0).contains("\"state\":\"sent\""));
    assert_eq!(stand_in.taken().len(), 1, "nothing else was taken");
    for (sink, why) in [("archive", "sink `archive` sends no messages"), ("nope", "there is no sink `nope`")] {
        let other = verb(&house, 2, &send("then_read", &["--sink", sink]));
        assert!(other.contains(&format!("{why}, expected one of `whatsapp`")), "{other}");
    }
    let key = ["--key", "order-77"];
    verb(&house, 0, &send("then_read", &key));
    let reused = verb(&house, 1, &send("then_nothing", &key));
    assert!(reused.contains("the --key was given to another message before"), "{reused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_sink_is_sent_once_when_that_is_up_again() {
    let stand_in = stand_in().await;
    let admin = Admin::start("", &tables(&stand_in.url(), "1h"));
    stand_in.call_back(&admin.daemon.url());
    stand_in.stop().await;
    let post = |wait: u8, body: Value| {
        let request = admin.ask(Method::POST, &format!("/api/messages?wait_s={wait}")).body(body.to_string());
        request.header("idempotency-key", "order-77").bearer_auth(TOKEN)
    };
    let told = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, first) = told(post(0, message("then_read"))).await;
    assert_eq!((status, &first["state"], &first["message"]), (202, &"waiting".into(), &Value::Null), "{first}");
    stand_in.resume().await;
    let (status, sent) = told(post(30, message("then_read"))).await;
    assert_eq!((status, &sent["repeated"], &sent["event"]), (201, &true.into(), &first["event"]), "{sent}");
    assert_eq!(stand_in.taken().len(), 1, "a repeat sends nothing");
    assert_eq!(sent["message"], stand_in.taken()[0].id.to_string());
    let again = admin.ask(Method::POST, "/api/messages?wait_s=0").header("idempotency-key", "order-77");
    let template = r#"{"languageCode":"en","bodyValues":["Asha"],"name":"then_read"}"#;
    let body =
        format!(r#"{{"callbackData":"order:77","template":{template},"type":"Template","fullPhoneNumber":"{PHONE}"}}"#);
    let (status, again) = told(again.body(body).bearer_auth(TOKEN)).await;
    assert_eq!((status, &again["repeated"]), (201, &true.into()), "the order of members is no other message: {again}");
    let (status, other) = told(post(0, message("then_nothing"))).await;
    assert!(status == 422 && other["error"].as_str().unwrap().contains("Idempotency-Key"), "{other}");
    let none = admin.ask(Method::POST, "/api/messages").body(message("then_read").to_string());
    assert_eq!(none.send().await.unwrap().status(), 401, "it takes the token");
    assert_eq!(told(post(61, message("then_read"))).await.0, 400);
    assert_eq!(stand_in.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_crowd_that_waits_for_its_messages_everybody_is_answered() {
    // Nobody listens there: each answer waits for as long as it may.
    let admin = Admin::start("", &tables("http://127.0.0.1:9/v1", "1h"));
    let body = message("then_read").to_string();
    let head = format!("POST /api/messages?wait_s=3 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n");
    let request = format!("{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    // Each connects and asks at once: who is silent is nobody yet, and may be cut for others.
    let at = admin.at.clone();
    let ask = move |request: String| {
        let mut answer = String::new();
        let mut stream = TcpStream::connect(&at).expect("a connection");
        stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer)).expect("an answer");
        answer
    };
    let crowd = tokio::task::spawn_blocking(move || {
        let asking: Vec<_> = (0..300)
            .map(|_| {
                let (ask, request) = (ask.clone(), request.clone());
                std::thread::spawn(move || ask(request))
            })
            .collect();
        asking.into_iter().map(|asks| asks.join().unwrap()).collect::<Vec<_>>()
    });
    for answer in crowd.await.unwrap() {
        let is_busy = answer.contains("retry-after: ") && answer.contains("too many questions at once");
        assert!(answer.starts_with("HTTP/1.1 202") || answer.starts_with("HTTP/1.1 429") && is_busy, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_shown_from_each_of_its_messages() {
    let (_stand_in, house, _daemon) = start("1s").await;
    let first = verb(&house, 0, &send("fail_131049_then_read", &[])).trim().to_owned();
    let show = |id: &str| json_without_secret(&house, &["message", "show", id]);
    let second = wait_until("it was sent again", || {
        let shown = show(&first);
        Some(shown["resends"][0]["message"].as_str()?.to_owned())
    });
    let second = second.await;
    let told = wait_until("the second was read", || Some(show(&second)).filter(|told| told["status"] == "Read")).await;
    let sent = &told["sent"];
    assert_eq!(
        (&sent["of"], &sent["attempt"], &sent["rule"]),
        (&first.as_str().into(), &1.into(), &"marketing".into())
    );
    let shown = verb(&house, 0, &["message", "show", &second]);
    assert!(shown.contains(&format!("try 1 in the place of message {first}")), "{shown}");
    let shown = verb(&house, 0, &["message", "show", &first]);
    assert!(shown.contains("failed     131049: ") && shown.contains(&format!("sent as message {second}")), "{shown}");
    let kinds = show(&first)["events"].to_string();
    assert!(kinds.contains("message.send") && kinds.contains("message.resend"), "{kinds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_listed_and_given_up() {
    let (stand_in, house, _daemon) = start("1h").await;
    let nothing = verb(&house, 0, &["resend", "list"]);
    assert_eq!(nothing, "nothing waits to be sent again\n");
    let first = verb(&house, 0, &send("fail_always_131049", &[])).trim().to_owned();
    let rows = wait_until("it waits", || {
        let rows = asked(&house, &["resend", "list"]);
        (!rows.as_array().unwrap().is_empty()).then_some(rows)
    });
    let row = rows.await[0].clone();
    assert_eq!(
        (&row["failed"], &row["rule"], &row["to"]),
        (&first.as_str().into(), &"marketing".into(), &"whatsapp".into())
    );
    assert_eq!((&row["code"], &row["attempt"], &row["phone"]), (&"131049".into(), &1.into(), &"***01".into()));
    assert_eq!(asked(&house, &["resend", "list", "--clear"])[0]["phone"], PHONE);
    let status = asked(&house, &["status"]);
    assert_eq!((&status["resends"]["waiting"], &status["resends"]["next"]), (&1.into(), &row["due"]), "{status}");
    assert!(verb(&house, 0, &["status"]).contains("1 to be sent again"));
    let short = &row["id"].as_str().unwrap()[28..];
    assert!(verb(&house, 0, &["resend", "list"]).contains(short));
    let shown = verb(&house, 0, &["message", "show", &first]);
    assert!(shown.contains("try 1 by [resend.marketing] after 131049: waits, due in "), "{shown}");

    let cancelled = verb(&house, 0, &["resend", "cancel", short]);
    assert_eq!(cancelled, format!("1 resend cancelled: {short} (marketing, try 1)\n"));
    assert!(verb(&house, 1, &["resend", "cancel", short]).contains("no resend that waits is"));
    assert!(verb(&house, 1, &["resend", "cancel", PHONE]).contains("that is a phone"));
    assert_eq!(asked(&house, &["resend", "list"]), json!([]));
    assert!(verb(&house, 0, &["message", "show", &first]).contains("cancelled"));
    // Of a message all that waits is meant.
    let next = verb(&house, 0, &send("fail_always_131049", &[])).trim().to_owned();
    wait_until("the next waits", || (asked(&house, &["resend", "list"])[0]["failed"] == *next).then_some(())).await;
    assert!(verb(&house, 0, &["resend", "cancel", &next]).starts_with("1 resend cancelled"));
    // Whoever waits for a message that is sent again is told so.
    let failed = verb(&house, 1, &send("fail_always_131049", &["--wait", "delivered", "--timeout", "60s"]));
    for part in ["it failed: 131049: ", "it is sent again by [resend.marketing], try 1, due in ", "\n  help: do not"] {
        assert!(failed.contains(part), "{part}: {failed}");
    }
    assert_eq!(stand_in.taken().len(), 3, "nothing was sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_paused_sink_is_among_the_messages_of_its_phone() {
    let (_stand_in, house, _daemon) = start("1h").await;
    verb(&house, 0, &["sink", "pause", "whatsapp"]);
    let late = verb(&house, 1, &send("then_read", &["--wait", "sent", "--timeout", "2s"]));
    assert!(late.contains("in time: it is not sent yet (paused") && late.contains("\n  help: "), "{late}");
    let shown = verb(&house, 0, &["message", "show", PHONE]);
    assert!(shown.contains("it is not sent yet\nevent ") && shown.contains("the sink is paused"), "{shown}");
    let all = json_without_secret(&house, &["message", "show", PHONE]);
    assert_eq!((&all[0]["id"], &all[0]["events"][0]["type"]), (&Value::Null, &"message.send".into()), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_its_status_a_failure_or_its_time() {
    let (_stand_in, house, _daemon) = start("1h").await;
    let waits = |template: &str, status: &str, timeout: &str, exit: i32| {
        verb(&house, exit, &send(template, &["--wait", status, "--timeout", timeout]))
    };
    let id = waits("then_nothing", "sent", "60s", 0);
    assert_eq!(id.trim().len(), 36, "{id}");
    let read = asked(&house, &send("then_read", &["--wait", "delivered", "--timeout", "60s"]));
    assert!(matches!(read["status"].as_str(), Some("Delivered" | "Read")), "what is read was delivered: {read}");
    let late = waits("then_delivered", "read", "3s", 1);
    assert!(late.contains("it was not read in time: it is delivered"), "{late}");
    assert!(late.contains("do not send it again"), "{late}");
    let failed = waits("fail_always_131026", "sent", "60s", 0);
    assert_eq!(failed.trim().len(), 36, "the provider had taken it: {failed}");
    let failed = waits("fail_always_131026", "read", "60s", 1);
    assert!(failed.contains("it failed: 131026: ") && !failed.contains("sent again"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_pauses_what_hears_of_statuses_is_told_what_follows() {
    let (_stand_in, house, _daemon) = start("1h").await;
    let told = verb(&house, 0, &["sink", "pause", "outbox"]);
    assert!(told.contains("sink outbox: paused") && told.contains("remark: no status is heard"), "{told}");
    assert!(!verb(&house, 0, &["sink", "resume", "outbox"]).contains("remark"));
    assert!(!verb(&house, 0, &["sink", "pause", "archive"]).contains("remark"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sink_that_sends_it_is_said_what_to_add() {
    let house = House::new(crate::harness::ARCHIVE);
    let _daemon = house.start();
    let told = verb(&house, 1, &send("then_read", &[]));
    assert!(told.contains("no sink of the config sends messages") && told.contains("kind = \"interakt\""), "{told}");
    assert_eq!(asked(&house, &["resend", "list"]), json!([]));
    assert!(asked(&house, &["status"]).get("resends").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_took_and_gave_up_on_is_settled_by_its_statuses_and_not_sent_twice() {
    // The first status comes long after the call would be made again.
    let stand_in = stand_in_at(Duration::from_secs(3)).await;
    stand_in.set_faults(&[(Fault::Gateway(504), 1)]);
    let house = House::new(&tables(&stand_in.url(), "1h").replace("confirm = \"1s\"", "confirm = \"1h\""));
    let daemon = house.start();
    stand_in.call_back(&daemon.url());
    let told = asked(&house, &send("then_read", &["--wait", "read", "--timeout", "60s"]));
    let taken = stand_in.taken();
    assert_eq!((&told["status"], &told["message"]), (&"Read".into(), &taken[0].id.to_string().into()), "{told}");
    wait_until("nothing is owed", || (figures(&house, "whatsapp", ["delivered", "pending"]) == [1, 0]).then_some(()))
        .await;
    assert_eq!((stand_in.taken().len(), stand_in.answers()), (1, [(504, 1)].into()));
}
