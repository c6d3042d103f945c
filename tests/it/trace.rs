//! What became of a message, an event, or of what has to do with a phone: by `trace`, over a restart, and by the API.

use serde_json::{Value, json};

use crate::harness::{Callback, House, ask_admin, post_all, wait_until};
use crate::tables::{IMPATIENT, file, route};
use crate::verbs::{figures, json_without_secret, verb, verb_without_secret};

const ID: &str = "7f00602d-4c9c-4346-9d4d-a24d478c9926";

/// A status event of a message, with the provider's times up to it, in minutes of one hour.
fn told(id: &str, word: &str, minutes: [Option<u32>; 3], phone: &str) -> Vec<u8> {
    let [received, delivered, seen] = minutes.map(|at| at.map(|at| format!("2026-01-13T10:{at:02}:00.000000")));
    let body = json!({
        "type": format!("message_api_{word}"),
        "timestamp": "2026-01-13T10:50:00.000000",
        "data": {
            "customer": {"channel_phone_number": phone, "traits": {"name": "Asha Verma"}},
            "message": {
                "id": id, "message_status": word, "received_at_utc": received, "delivered_at_utc": delivered,
                "seen_at_utc": seen, "raw_template": "{\"name\": \"order_sent\"}",
                "channel_error_code": (word == "failed").then_some("131026"),
            },
        },
    });
    body.to_string().into_bytes()
}

fn clicked(id: &str) -> Vec<u8> {
    let event = json!({"click_type": "QR", "button_text": "Confirm", "click_timestamp": "2026-01-13 10:04:00.000000"});
    json!({"type": "message_api_clicked", "event": event, "data": {"message": {"id": id}}}).to_string().into_bytes()
}

fn answered(id: &str) -> Vec<u8> {
    let message = json!({
        "id": "answer-1", "message": "yes please", "message_content_type": "Text", "message_status": "Sent",
        "received_at_utc": "2026-01-13T10:05:00.000000", "message_context": {"id": id},
    });
    let customer = json!({"channel_phone_number": "919876543210"});
    let body = json!({"type": "message_received", "data": {"customer": customer, "message": message}});
    body.to_string().into_bytes()
}

fn http(name: &str, url: &str, keys: &str) -> String {
    format!("[sinks.{name}]\nkind = \"http\"\nurl = \"{url}\"\n{keys}\n")
}

const ROWS: &str = r#"
[sinks.rows]
kind = "sqlite"
database = "rows.db"
table = "statuses"
setup = "CREATE TABLE IF NOT EXISTS statuses (event_id TEXT UNIQUE, message_id TEXT, status TEXT)"
[[routes]]
name = "rows"
match = "message_api_*"
transform = "interakt.message_status"
to = "rows"
[[routes]]
name = "picky"
match = "message_api_*"
where = '.data.message.message_status == "nothing like it"'
to = "picky"
"#;

/// The fates of the only event of that message, by sink.
fn fates(house: &House, id: &str) -> Value {
    let traced = json_without_secret(house, &["trace", id]);
    let [event] = traced["events"].as_array().unwrap().as_slice() else { panic!("{traced}") };
    let by_sink = event["deliveries"].as_array().unwrap().iter();
    by_sink.map(|delivery| (delivery["sink"].as_str().unwrap().to_owned(), delivery.clone())).collect()
}

fn is(fates: &Value, sink: &str, fate: &str) -> bool {
    fates[sink]["fate"] == fate
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fate_is_told_with_its_reason_over_a_restart() {
    let [flaky, bad, sick] = [Callback::start().await, Callback::start().await, Callback::start().await];
    flaky.answer_with(503);
    bad.answer_with(400);
    sick.answer_with(503);
    let far = "retry = { initial = \"10ms\", max = \"1h\" }\nbreaker = { probe = \"1h\", probe_max = \"1h\" }\n";
    let tables = [
        ROWS.to_owned(),
        file("archive"),
        file("picky"),
        http("flaky", &flaky.url(), IMPATIENT),
        http("bad", &bad.url(), IMPATIENT),
        http("sick", &sick.url(), far),
        http("held", &flaky.url(), ""),
        route("all", "message_api_*", "\"archive\", \"flaky\", \"bad\", \"sick\", \"held\""),
    ];
    let house = House::new(&tables.concat());
    let daemon = house.start();
    verb_without_secret(&house, 0, &["sink", "pause", "held"]);
    let bodies = [told("m-1", "sent", [Some(1), None, None], "919876543210"), b"{\"type\":\"of_no_route\"}".to_vec()];
    let ids = post_all(&daemon.url(), bodies).await;
    wait_until("the flaky one was tried", || (figures(&house, "flaky", ["retried"]) > [0]).then_some(())).await;
    flaky.answer_with(200);
    let settled = |fates: &Value| {
        ["archive", "rows", "flaky"].iter().all(|sink| is(fates, sink, "delivered") && fates[sink]["time"].is_string())
            && is(fates, "bad", "dead")
            && is(fates, "picky", "filtered")
            && is(fates, "sick", "parked")
    };
    let told = wait_until("all is told", || Some(fates(&house, "m-1")).filter(settled)).await;
    assert_eq!((&told["archive"]["id"], &told["archive"]["attempts"]), (&ids[0].as_str().into(), &1.into()), "{told}");
    assert!(told["archive"]["took_ms"].is_number() && told["archive"]["code"].is_null(), "{told}");
    assert!(told["flaky"]["attempts"].as_u64().unwrap() > 1 && told["flaky"]["code"] == "http_5xx", "{told}");
    assert_eq!((&told["bad"]["code"], &told["bad"]["attempts"]), (&"http_4xx".into(), &1.into()), "{told}");
    assert_eq!(told["sick"]["code"], "http_5xx");
    assert!(told["sick"]["next_try"].is_string(), "{told}");
    assert_eq!((&told["held"]["fate"], &told["held"]["code"]), (&"pending".into(), &"paused".into()), "{told}");
    assert_eq!(told["picky"]["attempts"], 0, "{told}");

    let nowhere = json_without_secret(&house, &["trace", &ids[1]]);
    assert_eq!((&nowhere["query"]["event"], &nowhere["message"]), (&ids[1].as_str().into(), &Value::Null));
    assert_eq!(nowhere["events"][0]["deliveries"], json!([]));
    let routes = nowhere["events"][0]["routes"].as_array().unwrap();
    assert!(routes.iter().all(|route| route["matched"] == false && route["why"].is_string()), "{routes:?}");

    verb_without_secret(&house, 0, &["dead", "drop", &ids[0]]);
    verb_without_secret(&house, 0, &["sink", "skip", "held"]);
    assert_eq!(daemon.terminate(), 0);
    verb_without_secret(&house, 69, &["trace", "m-1"]);
    let daemon = house.start();
    let again = wait_until("it is told again", || {
        Some(fates(&house, "m-1")).filter(|fates| is(fates, "held", "dropped") && is(fates, "bad", "dropped"))
    });
    let again = again.await;
    assert_eq!((&again["archive"], &again["flaky"]), (&told["archive"], &told["flaky"]));
    assert_eq!(again["held"]["code"], "skip", "{again}");

    let words = verb_without_secret(&house, 0, &["trace", &ids[0]]);
    for part in [
        "message m-1: Sent",
        "route      picky does not match:",
        "archive    delivered ",
        ", before that http_5xx: ",
        "picky      filtered by ",
        "held       dropped ",
        ", next try ",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(verb_without_secret(&house, 0, &["trace", &ids[1]]).contains("nowhere    no route"));
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_found_by_its_id_its_events_and_its_phone_and_masked_unless_clear() {
    let house = House::new(&[file("archive"), route("all", "*", "\"archive\"")].concat());
    let daemon = house.start();
    let phone = "919876543210";
    let bodies = [
        told(ID, "read", [Some(1), Some(2), Some(3)], phone),
        told(ID, "sent", [Some(1), None, None], phone),
        told(ID, "delivered", [Some(1), Some(2), None], phone),
        clicked(ID),
        answered(ID),
        told("another", "failed", [Some(1), None, None], "+91 91234 56789"),
    ];
    let ids = post_all(&daemon.url(), bodies).await;
    let found = json_without_secret(&house, &["trace", ID]);
    assert_eq!((&found["query"], &found["masked"]), (&json!({"message": ID}), &true.into()));
    assert_eq!(found["events"].as_array().unwrap().len(), 4);
    let message = &found["message"];
    assert_eq!((&message["id"], &message["status"], &message["error"]), (&ID.into(), &"Read".into(), &Value::Null));
    let rung = |at: usize| {
        let rung = &message["ladder"][at];
        assert!(rung["accepted"].is_string());
        [&rung["status"], &rung["time"], &rung["event"]].map(|value| value.as_str().unwrap().to_owned())
    };
    assert_eq!(rung(0), ["Sent", "2026-01-13T10:01:00Z", &ids[1]]);
    assert_eq!(rung(1), ["Delivered", "2026-01-13T10:02:00Z", &ids[2]]);
    assert_eq!(rung(2), ["Read", "2026-01-13T10:03:00Z", &ids[0]]);
    let click = &message["clicks"][0];
    assert_eq!((&click["button"], &click["kind"]), (&"Confirm".into(), &"QR".into()));
    assert_eq!(
        (&message["replies"][0]["event"], &message["replies"][0]["text"]),
        (&ids[4].as_str().into(), &"***".into())
    );
    assert_eq!((&message["phone"], &message["customer"]), (&"***10".into(), &"***".into()));

    let clear = json_without_secret(&house, &["trace", ID, "--clear"]);
    let message = &clear["message"];
    assert_eq!((&message["phone"], &message["customer"]), (&"+919876543210".into(), &"Asha Verma".into()));
    assert_eq!(message["replies"][0]["text"], "yes please");
    for by in [&ids[1][..], &format!("{}-rows", ids[1]), &ids[1][28..]] {
        let found = json_without_secret(&house, &["trace", by]);
        assert_eq!((&found["query"]["event"], &found["message"]["status"]), (&ids[1].as_str().into(), &"Read".into()));
        assert_eq!(found["events"].as_array().unwrap().len(), 1, "{by}");
    }
    for by in ["+919876543210", "9876543210", "+91 98765-43210"] {
        let found = json_without_secret(&house, &["trace", by]);
        assert_eq!(found["query"], json!({"phone": "***10"}), "{by}");
        let events: Vec<&str> = found["events"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap()).collect();
        let wanted = [&ids[0], &ids[1], &ids[2], &ids[4]];
        assert_eq!(events, wanted.map(String::as_str), "{by}");
        let messages = found["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 2, "{by}: {found}");
        assert!(messages.iter().any(|message| message["clicks"][0]["button"] == "Confirm"), "{by}: {found}");
    }
    let words = verb(&house, 0, &["trace", "+919123456789", "--clear"]);
    for part in ["another: Failed", "template order_sent", "it failed: 131026: ", "customer Asha Verma"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    for (wrong, help) in [("nothing", "help: give the id"), ("+911111111111", "--since 30d"), ("0000000a", "short ids")]
    {
        let said = verb_without_secret(&house, 1, &["trace", wrong]);
        assert!(said.contains(help), "{said}");
    }
    verb_without_secret(&house, 2, &["trace", ID, "--since", "some day"]);
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_newest_first_page_by_page_and_shown_whole() {
    let house = House::new(&[file("archive"), file("late"), ROUTES.to_owned()].concat());
    let daemon = house.start();
    let sent = |n: usize| {
        told(&format!("m-{n}"), if n.is_multiple_of(2) { "sent" } else { "read" }, [None; 3], "919876543210")
    };
    let mut ids = post_all(&daemon.url(), (0..25).map(sent)).await;
    ids.reverse();
    let mut listed = Vec::new();
    let mut after = String::new();
    loop {
        let page = ask_admin(&house, &format!("/api/events?limit=10&data=false{after}")).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 10 && items.iter().all(|item| item["data"].is_null()), "{page}");
        listed.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(listed, ids);
    let count = async |query: &str| {
        let page = ask_admin(&house, &format!("/api/events?limit=100&{query}")).await;
        page["items"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(count("type=*_sent").await, 13);
    assert_eq!(count("sink=late").await, 12);
    assert_eq!(count("source=interakt&since=1h").await, 25);
    assert_eq!(count("source=other").await + count("until=2020-01-01").await, 0);
    assert_eq!(count("subject=m-7").await, 1);
    assert_eq!(count("where=.data.message.id%3D%3D%22m-8%22").await, 1);
    for bad in ["limit=x", "type=%5B", "where=.a+%3D%3D", "since=noon", "after=x", "colour=red"] {
        let refused = ask_admin(&house, &format!("/api/events?{bad}")).await;
        assert!(refused["error"].is_string(), "{bad}: {refused}");
    }
    let whole = ask_admin(&house, &format!("/api/events/{}", ids[0])).await;
    assert_eq!((&whole["method"], &whole["masked"], &whole["subject"]), (&"POST".into(), &true.into(), &"m-24".into()));
    assert_eq!(whole["data"]["data"]["customer"]["channel_phone_number"], "***10");
    assert_eq!((&whole["routes"][0]["matched"], &whole["deliveries"][0]["sink"]), (&true.into(), &"archive".into()));
    let clear = ask_admin(&house, &format!("/api/events/{}?clear=true", ids[0])).await;
    assert_eq!(clear["data"]["data"]["customer"]["traits"]["name"], "Asha Verma");
    let gone = ask_admin(&house, "/api/events/0192f0c1-2d4b-7a5e-8c3d-5f6a7b8c9d0e").await;
    assert!(gone["error"].as_str().unwrap().contains("there is no event"), "{gone}");
    assert_eq!(daemon.terminate(), 0);
}

const ROUTES: &str = r#"
[[routes]]
match = "*"
to = "archive"
[[routes]]
match = "*"
where = '.type == "message_api_read"'
to = "late"
"#;
