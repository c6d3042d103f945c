//! The stand-in of Interakt's API: what it answers, what it tells, and that it misbehaves as it is asked to.
#![cfg(feature = "interakt")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sink_testkit::http::Reply;
use sink_testkit::interakt::course::{Status, Step};
use sink_testkit::interakt::{Fault, KEY, Limit, Options, StandIn, Webhooks};
use sink_testkit::{HttpServer, wait_until};

const SECRET: &str = "examplekey";

fn hello(template: &str) -> Value {
    json!({
        "countryCode": "+91", "phoneNumber": "9876543210", "callbackData": "order:1", "type": "Template",
        "template": {"name": template, "languageCode": "en", "bodyValues": ["Asha"]},
    })
}

fn dispatched() -> Value {
    json!({
        "fullPhoneNumber": "+919876543210", "callbackData": "order:CC-1042:dispatch", "type": "Template",
        "template": {"name": "order_dispatched_v2", "languageCode": "en", "bodyValues": ["Asha", "CC-1042"],
                     "buttonValues": {"0": ["CC-1042"]}},
    })
}

/// Status, `Retry-After`, body; status 0 where nothing came.
async fn call(stand_in: &StandIn, body: &Value) -> (u16, Option<String>, Value) {
    call_by(stand_in, &format!("Basic {KEY}"), "/public/message/", body.to_string()).await
}

async fn call_by(stand_in: &StandIn, key: &str, path: &str, body: String) -> (u16, Option<String>, Value) {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(500)).build().unwrap();
    let request = client.post(format!("{}{path}", stand_in.url())).header("authorization", key).body(body);
    let Ok(answer) = request.send().await else { return (0, None, Value::Null) };
    let after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), after, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

/// A daemon that answers as it is told, and a stand-in that tells it.
async fn told(status: u16, options: Options, until_taken: Option<Duration>) -> (HttpServer, StandIn) {
    let daemon = HttpServer::always(Reply::Status(status)).await;
    let webhooks = Webhooks { url: daemon.url("/webhooks/interakt"), secret: SECRET.to_owned(), until_taken };
    let stand_in = StandIn::start(Options { webhooks: Some(webhooks), ..options }).await;
    (daemon, stand_in)
}

fn course(steps: Vec<(Status, u32)>) -> Options {
    let steps: Vec<_> =
        steps.into_iter().map(|(status, times)| Step { after: Duration::from_millis(1), status, times }).collect();
    Options { script: std::sync::Arc::new(move |_| steps.clone()), ..Options::default() }
}

fn bodies(daemon: &HttpServer) -> Vec<Value> {
    daemon.seen().iter().map(|seen| serde_json::from_slice(&seen.body).unwrap()).collect()
}

#[tokio::test]
async fn a_message_that_is_as_it_should_be_is_queued_under_a_uuid() {
    let stand_in = StandIn::start(Options::default()).await;
    for body in [
        hello("then_read"),
        dispatched(),
        json!({"fullPhoneNumber": "919876543210", "type": "Text", "data": {"message": "hi"}}),
    ] {
        let (status, _, answer) = call(&stand_in, &body).await;
        assert_eq!((status, &answer["result"]), (201, &json!(true)), "{answer}");
        assert_eq!(answer["message"], "Message queued for sending via Interakt. Check webhook for delivery status");
        answer["id"].as_str().unwrap().parse::<uuid::Uuid>().unwrap();
    }
    let taken = stand_in.taken();
    assert_eq!(taken.iter().map(|taken| taken.attempt).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(taken.iter().all(|taken| taken.message.phone == "+919876543210"));
}

#[tokio::test]
async fn a_message_that_breaks_a_rule_is_refused_in_the_apis_words() {
    let stand_in = StandIn::start(Options::default()).await;
    let with = |key: &str, value: Value| {
        let mut body = dispatched();
        *body.pointer_mut(key).unwrap() = value;
        body
    };
    let mut both = dispatched();
    both["phoneNumber"] = json!("9876543210");
    for (body, says) in [
        (both, "both are not allowed"),
        (with("/fullPhoneNumber", Value::Null), "is required"),
        (with("/type", json!("Carrier pigeon")), "not a valid choice"),
        (with("/callbackData", json!("x".repeat(513))), "512 characters"),
        (
            with("/template/name", json!("Order_Dispatched_v2")),
            "No approved template found with name 'Order_Dispatched_v2' and language 'en'",
        ),
        (
            with("/template/bodyValues", json!(["Asha"])),
            "Missing variable values for template's body, expected number of values are 2",
        ),
        (with("/template/buttonValues", json!({})), "Missing variable values for template's button at index 0"),
    ] {
        let (status, _, answer) = call(&stand_in, &body).await;
        assert_eq!((status, &answer["result"]), (400, &json!(false)), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{answer}, not {says}");
    }
    assert_eq!(call_by(&stand_in, &format!("Basic {KEY}"), "/public/message/", "{".into()).await.0, 400);
    assert_eq!(call_by(&stand_in, "Basic x", "/public/message/", dispatched().to_string()).await.0, 401);
    assert_eq!(call_by(&stand_in, &format!("Basic {KEY}"), "/public/message", dispatched().to_string()).await.0, 404);
    assert_eq!(stand_in.taken().len(), 0);
}

#[tokio::test]
async fn who_calls_too_often_is_told_so() {
    for says_when in [true, false] {
        let limit = Some(Limit { calls: 2, within: Duration::from_secs(3600), says_when });
        let stand_in = StandIn::start(Options { limit, ..Options::default() }).await;
        assert_eq!(call(&stand_in, &dispatched()).await.0, 201);
        assert_eq!(call(&stand_in, &dispatched()).await.0, 201);
        let (status, after, answer) = call(&stand_in, &dispatched()).await;
        assert_eq!((status, after.as_deref()), (429, says_when.then_some("3600")));
        assert_eq!(answer["message"], "Rate limit exceeded for this resource");
    }
}

#[tokio::test]
async fn its_webhooks_are_signed_and_shaped_as_the_fixtures_are() {
    let failed = Status::Failed("1013".to_owned());
    let steps = vec![(Status::Sent, 1), (Status::Delivered, 1), (Status::Read, 1), (failed, 1)];
    let (daemon, stand_in) = told(200, course(steps), None).await;
    let id = stand_in.send(&dispatched()).unwrap();
    wait_until("all four", || daemon.seen().len() == 4).await;
    for (body, name) in bodies(&daemon).iter().zip(["sent", "delivered", "read", "failed"]) {
        let path = format!("{}/../../tests/fixtures/interakt/message_api_{name}.json", env!("CARGO_MANIFEST_DIR"));
        let fixture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(body["type"], fixture["type"]);
        assert_eq!(body["data"]["message"]["id"], json!(id.to_string()));
        // What stands in a time and in the traits comes and goes.
        let mut ours = shape(body, "");
        let theirs = shape(&fixture, "");
        ours.retain(|path, _| theirs.contains_key(path));
        let open = |path: &str| path.contains("traits") || path.ends_with("_at_utc");
        for (path, kind) in theirs.iter().filter(|(path, _)| !open(path)) {
            assert_eq!(ours.get(path), Some(kind), "{name}: {path}");
        }
    }
    let seen = daemon.seen();
    assert!(seen.iter().all(|seen| seen.header("interakt-signature").unwrap().starts_with("sha256=")));
}

/// Each path, and which kind of JSON is there; JSON inside a string is looked into.
fn shape(value: &Value, path: &str) -> BTreeMap<String, &'static str> {
    let mut all = BTreeMap::new();
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    all.insert(path.to_owned(), kind);
    match value {
        Value::Object(keys) => keys.iter().for_each(|(key, value)| all.extend(shape(value, &format!("{path}.{key}")))),
        Value::Array(items) => items.iter().take(1).for_each(|item| all.extend(shape(item, &format!("{path}[]")))),
        Value::String(text) if text.starts_with(['{', '[']) && path.ends_with("message") => {
            all.extend(shape(&serde_json::from_str(text).unwrap(), &format!("{path}!")));
        }
        _ => {}
    }
    all
}

#[tokio::test]
async fn what_was_sent_can_be_made_again_of_its_webhook() {
    let (daemon, stand_in) = told(200, course(vec![(Status::Failed("131049".to_owned()), 1)]), None).await;
    stand_in.send(&dispatched()).unwrap();
    wait_until("the failure", || daemon.seen().len() == 1).await;
    let body = &bodies(&daemon)[0]["data"];
    assert_eq!(body["customer"]["country_code"], "+91");
    assert_eq!(body["customer"]["phone_number"], "9876543210");
    assert_eq!(body["message"]["meta_data"]["source_data"]["callback_data"], "order:CC-1042:dispatch");
    assert_eq!(body["message"]["channel_error_code"], "131049");
    let template: Value = serde_json::from_str(body["message"]["raw_template"].as_str().unwrap()).unwrap();
    assert_eq!((&template["name"], &template["language"]), (&json!("order_dispatched_v2"), &json!("en")));
    let said: Value = serde_json::from_str(body["message"]["message"].as_str().unwrap()).unwrap();
    let text = |text: &str| json!({"type": "text", "text": text});
    assert_eq!(
        said,
        json!([
            {"type": "body", "parameters": [text("Asha"), text("CC-1042")]},
            {"type": "button", "sub_type": "url", "index": 0, "parameters": [text("CC-1042")]},
        ])
    );
}

#[tokio::test]
async fn a_status_is_posted_once_as_interakt_does_or_until_it_is_taken() {
    let (daemon, stand_in) = told(503, course(vec![(Status::Sent, 1), (Status::Read, 2)]), None).await;
    stand_in.send(&dispatched()).unwrap();
    wait_until("the end of its course", || stand_in.under_way() == 0).await;
    assert_eq!(daemon.seen().len(), 3);
    let told_of = stand_in.taken().remove(0).told;
    assert!(told_of.iter().all(|told| (told.answer, told.tries) == (503, 1)), "{told_of:?}");

    let (daemon, stand_in) = told(503, course(vec![(Status::Sent, 1)]), Some(Duration::from_millis(1))).await;
    stand_in.send(&dispatched()).unwrap();
    wait_until("some tries", || daemon.seen().len() >= 3).await;
    let well = HttpServer::always(Reply::Status(200)).await;
    stand_in.call_back(&well.url("/webhooks/interakt"));
    wait_until("the end of its course", || stand_in.under_way() == 0).await;
    assert_eq!(well.seen().len(), 1);
    assert!(stand_in.taken()[0].when(|status| *status == Status::Sent).is_some());
}

#[tokio::test]
async fn it_misbehaves_every_so_many_calls_as_it_is_asked_to() {
    for (fault, status, is_taken) in [
        (Fault::Lost, 0, true),
        (Fault::Hangs, 0, true),
        (Fault::Gateway(504), 504, true),
        (Fault::Broken(502), 502, false),
        (Fault::Garbage, 201, false),
    ] {
        let stand_in = StandIn::start(Options::default()).await;
        stand_in.set_faults(&[(fault.clone(), 2)]);
        let (good, _, answer) = call(&stand_in, &dispatched()).await;
        assert_eq!((good, &answer["result"]), (201, &json!(true)), "{fault:?}");
        let (bad, _, answer) = call(&stand_in, &dispatched()).await;
        assert_eq!((bad, answer), (status, Value::Null), "{fault:?}");
        let answered: Vec<bool> = stand_in.taken().iter().map(|taken| taken.is_answered).collect();
        assert_eq!(answered, if is_taken { vec![true, false] } else { vec![true] }, "{fault:?}");
    }
}

#[tokio::test]
async fn it_keeps_no_more_than_it_may() {
    let stand_in = StandIn::start(Options { keep: 3, ..Options::default() }).await;
    let ids: Vec<_> = (0..5).map(|_| stand_in.send(&dispatched()).unwrap()).collect();
    assert_eq!(stand_in.taken().iter().map(|taken| taken.id).collect::<Vec<_>>(), ids[2..]);
    assert_eq!(stand_in.forgotten(), 2);
    // And takes no more than it may at once.
    let (_daemon, stand_in) =
        told(503, Options { keep: 1, ..course(vec![(Status::Sent, 1)]) }, Some(Duration::from_millis(5))).await;
    stand_in.send(&dispatched()).unwrap();
    assert_eq!(call(&stand_in, &dispatched()).await.0, 503);
}
