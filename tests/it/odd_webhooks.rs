//! Odd webhooks are taken all the same: those with a type or subject that is too long or would hide a file, from
//! customers without a number, or that are CloudEvents already.

use serde_json::Value;

use crate::harness::{Callback, Got, House, column, lines_under, post_all, wait_until};
use crate::verbs::{json, verb};

#[tokio::test(flavor = "multi_thread")]
async fn a_type_or_subject_that_is_too_long_is_counted_and_explained() {
    let house = House::new(crate::harness::ARCHIVE);
    let body = |kind: usize, subject: usize| {
        let (kind, subject) = ("t".repeat(kind), "s".repeat(subject));
        format!(r#"{{"type":"{kind}","data":{{"message":{{"id":"{subject}"}}}}}}"#).into_bytes()
    };
    let daemon = house.start();
    let ids = post_all(&daemon.url(), [body(128, 256), body(129, 1), body(200, 300)]).await;
    let status = json(&house, &["status"]);
    let source = &status["sources"]["interakt"];
    assert_eq!(source["too_long"], serde_json::json!({ "type": 2, "subject": 1 }), "{source}");
    let printed = verb(&house, 0, &["status"]);
    for part in ["interakt: 2 types too long to be taken", "interakt: 1 subject too long to be taken"] {
        assert!(printed.contains(part), "{printed}");
    }
    let [kind, subject] = [
        "its type is 200 bytes, more than the 128 that are taken: `unknown` stands for it",
        "its subject is 300 bytes, more than the 256 that are taken: it has none, and no order is owed",
    ];
    std::fs::write(house.path("long.json"), body(200, 300)).unwrap();
    let file = house.path("long.json").display().to_string();
    for args in [vec!["explain", &file], vec!["explain", "--id", &ids[2]]] {
        let printed = verb(&house, 0, &args);
        assert!(printed.contains(kind) && printed.contains(subject), "{args:?}: {printed}");
        let shown = json(&house, &args);
        assert_eq!(shown["event"]["notes"], serde_json::json!([kind, subject]), "{args:?}");
        assert_eq!((&shown["event"]["type"], &shown["event"]["subject"]), (&"unknown".into(), &"".into()));
    }
    let shown = json(&house, &["explain", "--id", &ids[0]]);
    assert_eq!(shown["event"].get("notes"), None);
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_webhook_hides_the_folder_or_the_file_it_is_kept_in() {
    let house = House::new(
        "[sinks.out]\nkind = \"file\"\npath = \"out/{type}/{subject}.jsonl\"\n[[routes]]\nmatch = \"*\"\n\
         to = \"out\"\n",
    );
    let daemon = house.start();
    let body = br#"{"type":"../x","data":{"message":{"id":".s"}}}"#.to_vec();
    post_all(&daemon.url(), [body]).await;
    let line = wait_until("its line", || lines_under(&house.path("out/%2E.%2Fx"), "%2Es.jsonl").pop()).await;
    assert!(line.contains("\"type\":\"../x\""), "{line}");
    let names: Vec<_> = std::fs::read_dir(house.path("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["%2E.%2Fx"]);
    assert_eq!(daemon.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_with_a_username_has_an_id_in_the_table_and_no_false_number() {
    let setup = "CREATE TABLE IF NOT EXISTS t (event_id TEXT NOT NULL UNIQUE, customer_phone TEXT, customer_id TEXT)";
    let house = House::new(&format!(
        "[sinks.t]\nkind = \"sqlite\"\ndatabase = \"t.db\"\ntable = \"t\"\nsetup = \"{setup}\"\n\
         [[routes]]\nmatch = \"*\"\ntransform = \"interakt.message_status\"\nto = \"t\"\n"
    ));
    let daemon = house.start();
    let numbers = [r#""US.13491208655302741918""#, r#""IN.1A2bC3""#, "null", r#""+91 98765-43210""#];
    let bodies = numbers.map(|number| {
        let customer = format!(r#"{{"channel_phone_number":{number}}}"#);
        format!(r#"{{"type":"message_api_read","data":{{"customer":{customer},"message":{{"id":"m"}}}}}}"#).into_bytes()
    });
    post_all(&daemon.url(), bodies).await;
    let rows = wait_until("all rows", || {
        let sql = "SELECT ifnull(customer_phone, '-') || ' ' || ifnull(customer_id, '-') FROM t ORDER BY rowid";
        Some(column(&house.path("t.db"), sql)).filter(|rows| rows.len() == numbers.len())
    })
    .await;
    assert_eq!(rows, ["- US.13491208655302741918", "- IN.1A2bC3", "- -", "+919876543210 -"]);
    assert_eq!(daemon.terminate(), 0);
}

/// Id and media type of the event that a reader finds, as the HTTP binding of CloudEvents has it: where the content
/// type says that the body is an event, in the body and nowhere else.
fn read(got: &Got) -> (String, String) {
    let text = |name: &str| got.header(name).map(str::to_owned);
    let media = text("content-type").unwrap();
    if !media.starts_with("application/cloudevents") {
        return (text("ce-id").unwrap(), media);
    }
    assert!(!got.headers.iter().any(|(name, _)| name.starts_with("ce-")), "half of each: {:?}", got.headers);
    let event: Value = serde_json::from_slice(&got.body).unwrap();
    (event["id"].as_str().unwrap().to_owned(), event["datacontenttype"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_a_cloudevent_is_read_as_theirs_on_raw_and_as_ours_around_theirs_on_structured() {
    let (raw, structured) = (Callback::start().await, Callback::start().await);
    let house = House::new(&format!(
        "[sources.events]\nkind = \"none\"\npath = \"/events\"\n[sinks.raw]\nkind = \"http\"\nurl = \"{}\"\n\
         [sinks.structured]\nkind = \"http\"\nurl = \"{}\"\nformat = \"cloudevents\"\n\
         [[routes]]\nmatch = \"*\"\nto = [\"raw\", \"structured\"]\n",
        raw.url(),
        structured.url()
    ));
    let daemon = house.start();
    let url = format!("http://{}/events", daemon.address);
    let post = async |media: Option<&str>, body: &'static str| {
        let (before, request) = (structured.got().len(), reqwest::Client::new().post(&url).body(body));
        let request = media.into_iter().fold(request, |request, media| request.header("content-type", media));
        let answer: Value = serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap();
        let both = || Some((raw.got(), structured.got())).filter(|(a, b)| a.len() > before && b.len() > before);
        let (raw, structured) = wait_until("both have it", both).await;
        (answer["id"].as_str().unwrap().to_owned(), raw[before].clone(), structured[before].clone())
    };
    let theirs = r#"{"specversion":"1.0","id":"theirs","source":"/them","type":"their.type","data":{"n":1.0}}"#;
    let media = "application/cloudevents+json; charset=UTF-8";
    let (id, as_raw, as_structured) = post(Some(media), theirs).await;
    assert_eq!((read(&as_raw).0.as_str(), &*as_raw.body), ("theirs", theirs.as_bytes()));
    assert_eq!(as_raw.header("hookrelay-id"), Some(id.as_str()));
    assert_eq!((as_raw.header("content-type").unwrap(), read(&as_structured)), (media, (id, media.to_owned())));
    let whole: Value = serde_json::from_slice(&as_structured.body).unwrap();
    assert_eq!(whole["data"], serde_json::from_str::<Value>(theirs).unwrap());

    // Both formats call the body's media type the same, whatever it came as.
    for (media, body) in [
        (Some("application/json; charset=utf-8"), "{}"),
        (Some("application/vnd.api+json"), "{}"),
        (Some("text/plain; charset=UTF-8"), r#"{"type":"a"}"#),
        (Some("nonsense"), "[1]"),
        (Some("application/json"), "no json"),
        (None, "{}"),
        (None, "no json"),
    ] {
        let (id, raw, structured) = post(media, body).await;
        let event: Value = serde_json::from_slice(&structured.body).unwrap();
        assert_eq!((read(&raw).0, read(&structured).0), (id.clone(), id), "{media:?} {body}");
        assert_eq!(event["datacontenttype"], *read(&raw).1, "{media:?} {body}");
    }
    assert_eq!(daemon.terminate(), 0);
}
