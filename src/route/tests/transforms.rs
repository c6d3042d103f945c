//! What `interakt.message_status` makes of every payload shape.

use serde_json::{Value, json};

use super::{ID, event, fixture};
use crate::route::builtin::find;

const COLUMNS: [&str; 14] = [
    "event_id",
    "message_id",
    "event_type",
    "customer_phone",
    "customer_id",
    "customer_name",
    "status",
    "failure_reason",
    "error_code",
    "click_type",
    "button_text",
    "callback_data",
    "campaign_id",
    "occurred_at",
];

fn text_of(kind: &str, body: &[u8]) -> String {
    let rows = (find("interakt.message_status").unwrap().run)(&event(kind, body)).unwrap();
    assert_eq!(rows.len(), 1);
    String::from_utf8(rows[0].to_vec()).unwrap()
}

fn row(kind: &str, body: &str) -> Value {
    serde_json::from_str(&text_of(kind, body.as_bytes())).unwrap()
}

/// The whole row of a customer with a number, from its columns but the event's id, its type and the customer's id.
fn full(kind: &str, columns: &[Value; 11]) -> Value {
    let [message, phone, rest @ ..] = columns;
    let head = [json!(ID), message.clone(), json!(kind), phone.clone(), Value::Null];
    let values = head.into_iter().chain(rest.iter().cloned());
    Value::Object(COLUMNS.iter().map(|c| (*c).to_owned()).zip(values).collect())
}

fn assert_row(name: &str, kind: &str, body: &[u8], columns: &[Value; 11]) {
    let got: Value = serde_json::from_str(&text_of(kind, body)).unwrap();
    assert_eq!(got, full(kind, columns), "{name}");
}

const DISPATCHED: &str = "7f00602d-4c9c-4346-9d4d-a24d478c9926";
const ASHA: &str = "+919876543210";
const PONGAL: &str = "7b888cf3-1505-4b6e-b6c5-4235b00ab4ac";

#[test]
fn the_row_has_exactly_its_columns_in_their_order() {
    let want = COLUMNS.map(|c| match c {
        "event_id" => format!("\"event_id\":\"{ID}\""),
        "event_type" => "\"event_type\":\"t\"".to_owned(),
        _ => format!("\"{c}\":null"),
    });
    assert_eq!(text_of("t", b"{}"), format!("{{{}}}", want.join(",")));
}

#[test]
fn every_status_of_a_message_is_a_row_with_its_own_time() {
    let order = "order:CC-1042:dispatch";
    for (kind, status, time) in [
        ("message_api_sent", "Sent", "2026-01-13T10:30:00.301554Z"),
        ("message_api_delivered", "Delivered", "2026-01-13T10:30:01.977000Z"),
        ("message_api_read", "Read", "2026-01-13T10:34:44.810000Z"),
    ] {
        let columns = json!([DISPATCHED, ASHA, "Asha Verma", status, null, null, null, null, order, null, time]);
        assert_row(kind, kind, &fixture(&format!("{kind}.json")), &columns_of(columns));
    }
    let campaign = "c4099b73-8f66-47ea-bf95-0e8a74caca2a";
    let phone = "+919876543212";
    for (kind, status, time) in [
        ("message_campaign_sent", "Sent", "2026-01-14T04:00:11.020000Z"),
        ("message_campaign_delivered", "Delivered", "2026-01-14T04:00:13.500000Z"),
        ("message_campaign_read", "Read", "2026-01-14T05:12:39.644000Z"),
    ] {
        let columns = json!([campaign, phone, "Karthik R", status, null, null, null, null, null, PONGAL, time]);
        assert_row(kind, kind, &fixture(&format!("{kind}.json")), &columns_of(columns));
    }
}

#[test]
fn a_failure_has_its_reason_its_code_as_text_and_the_envelopes_time() {
    let columns = json!([
        "13e5bece-43cb-4aec-8f00-8d7eb7bc86cf",
        "+919876543211",
        null,
        "Failed",
        "Recipient is not a valid WhatsApp user",
        "1013",
        null,
        null,
        "otp:77",
        null,
        "2026-01-13T10:41:10.699936Z"
    ]);
    let kind = "message_api_failed";
    assert_row(kind, kind, &fixture("message_api_failed.json"), &columns_of(columns));
    let columns = json!([
        "6ce7ff70-121e-49e7-bf4b-f08d4ed44b60",
        "+919876543213",
        "Fatima Sheikh",
        "Failed",
        "This message was not delivered to maintain healthy ecosystem engagement.",
        "131049",
        null,
        null,
        null,
        PONGAL,
        "2026-01-14T04:00:15.402218Z"
    ]);
    let kind = "message_campaign_failed";
    assert_row(kind, kind, &fixture("message_campaign_failed.json"), &columns_of(columns));
}

#[test]
fn a_click_is_found_wherever_it_stands() {
    let kind = "message_api_clicked";
    let asha = |message: &str, name: Value, status: Value, click: [&str; 2], callback: Value, time: &str| {
        let [click_type, button] = click;
        columns_of(json!([message, ASHA, name, status, null, null, click_type, button, callback, null, time]))
    };
    let (name, read) = (json!("Asha Verma"), json!("Read"));
    let track = ["CTA", "Track Order"];
    let (track_time, order) = ("2026-01-13T10:35:26.948896Z", json!("order:CC-1042:dispatch"));

    // data.message.meta_data
    let reply = asha(
        "5310da29-d692-46e9-8ed6-c8be4be2b827",
        name.clone(),
        read.clone(),
        ["QR", "Confirm Order"],
        json!("order:CC-1043:confirm"),
        "2026-01-13T10:52:08.635664Z",
    );
    assert_row("quick reply", kind, &fixture("message_api_clicked.quick_reply.json"), &reply);

    // data.event
    let cta = fixture("message_api_clicked.cta.json");
    let columns = asha(DISPATCHED, name.clone(), read.clone(), track, order.clone(), track_time);
    assert_row("data.event", kind, &cta, &columns);

    // No envelope at all: {customer, message, event}; here with the callback data only beside the click.
    let mut bare: Value = serde_json::from_slice(&cta).unwrap();
    let mut bare = bare["data"].take();
    bare["message"]["meta_data"]["source_data"] = json!({});
    assert_row("bare", kind, bare.to_string().as_bytes(), &columns);

    // A top-level event beside data
    let beside = asha(DISPATCHED, json!(null), json!(null), ["QR", "Confirm Order"], json!(null), track_time);
    assert_row("beside", kind, &fixture("message_api_clicked.event_beside_data.json"), &beside);

    // data.message.button_text, and a link in meta_data.cta_click_info: the last click counts
    let links = json!({
        "customer": {"channel_phone_number": "919876543210"},
        "message": {"id": DISPATCHED, "button_text": "Track Order", "meta_data": {"cta_click_info": {
            "link": {"clicked_at_utc": "2026-01-13 10:35:26.948896", "url": "https://shop.example.com/a"},
            "other": {"clicked_at_utc": "2026-01-13 10:31:00", "url": "https://shop.example.com/b"},
        }}},
    });
    let columns = asha(DISPATCHED, json!(null), json!(null), track, json!(null), track_time);
    assert_row("cta_click_info", kind, json!({"data": links}).to_string().as_bytes(), &columns);
}

#[test]
fn a_button_payload_alone_tells_the_button() {
    for payload in
        [json!({"payload": {"type": "QUICK_REPLY", "text": "Yes"}}), json!({"type": "QUICK_REPLY", "text": "Yes"})]
    {
        let body = json!({"data": {"message": {"id": 1, "button_payload": payload}}}).to_string();
        let row = row("message_received", &body);
        assert_eq!((&row["click_type"], &row["button_text"]), (&json!("QR"), &json!("Yes")), "{body}");
    }
    let row = row("t", r#"{"data":{"message":{"button_payload":"Yes"}}}"#);
    assert_eq!((&row["click_type"], &row["button_text"]), (&json!(null), &json!("Yes")));
}

#[test]
fn what_is_about_no_message_yields_its_row_all_the_same() {
    for (file, kind, time) in [
        ("account_alerts", "account_alerts", "2026-01-15T02:10:33.930227Z"),
        ("account_review_update", "account_review_update", "2026-01-15T02:12:00.004419Z"),
        ("account_update", "account_update", "2026-01-15T02:11:04.150982Z"),
        ("account_update.field_key", "account_update", "2026-01-15T02:11:04.150982Z"),
        ("business_capability_update", "business_capability_update", "2026-01-15T02:13:21.700350Z"),
        ("message_template_status_update", "message_template_status_update", "2026-01-15T02:16:55.471003Z"),
        ("phone_number_quality_update", "phone_number_quality_update", "2026-01-15T02:14:48.331746Z"),
        ("template_performance_metrics", "template_performance_metrics", "2026-01-15T02:15:09.018824Z"),
    ] {
        let columns = json!([null, null, null, null, null, null, null, null, null, null, time]);
        assert_row(file, kind, &fixture(&format!("{file}.json")), &columns_of(columns));
    }
    let time = "2026-01-15T06:20:38.841972Z";
    let workflow = json!([null, ASHA, "Asha Verma", null, null, null, null, null, null, null, time]);
    let kind = "workflow_response_update";
    assert_row(kind, kind, &fixture("workflow_response_update.json"), &columns_of(workflow));
    for body in ["[]", "[{\"type\":\"x\"}]", "null", "7", "\"text\"", " {\"data\":\"x\",\"message\":\"y\"} "] {
        assert_row(body, "unknown", body.as_bytes(), &std::array::from_fn(|_| Value::Null));
    }
}

#[test]
fn inbound_and_unknown_types_are_rows_too() {
    for (file, id, time) in [
        ("button_reply", "483bdcdc-76d4-4d24-aea8-5d37fbff76c7", "2026-01-13T11:06:30.118000Z"),
        ("image", "b0f429d5-40fa-4c25-8a1a-ff88b89202bf", "2026-01-13T11:04:08.940000Z"),
        ("list_reply", "debdf187-11d2-4c1c-9058-0cef6108a785", "2026-01-13T11:07:01.774000Z"),
        ("text", "5f90f480-bae3-4b71-976d-1654959bacbe", "2026-01-13T11:02:57.359000Z"),
    ] {
        let columns = json!([id, ASHA, "Asha Verma", "Sent", null, null, null, null, null, null, time]);
        assert_row(file, "message_received", &fixture(&format!("message_received.{file}.json")), &columns_of(columns));
    }
    let unicode = json!([
        "0516dac6-20ae-44da-9c58-5bec405ca928",
        "+919876543224",
        "काव्या ☕",
        "Sent",
        null,
        null,
        null,
        null,
        null,
        null,
        "2026-01-13T12:20:05.102000Z"
    ]);
    assert_row("unicode", "message_received", &fixture("message_received.unicode.json"), &columns_of(unicode));
    let id = "3f938f93-9f3e-45d1-8cee-2fa8b29c1a63";
    let time = "2026-01-13T12:25:05.410233Z";
    let unknown = json!([id, ASHA, "Asha Verma", "Sent", null, null, null, null, null, null, time]);
    assert_row("unknown", "message_session_sent", &fixture("unknown_type.json"), &columns_of(unknown));
}

#[test]
fn every_fixture_there_is_yields_a_row() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/interakt");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(files.len() >= 26, "{}", files.len());
    for path in files.into_iter().filter(|p| p.extension().is_some_and(|e| e == "json")) {
        let got: Value = serde_json::from_str(&text_of("t", &std::fs::read(&path).unwrap())).unwrap();
        assert_eq!(got.as_object().unwrap().len(), COLUMNS.len(), "{}", path.display());
    }
}

#[test]
fn a_phone_is_what_is_written_as_a_number_and_an_id_in_its_place_stays_an_id() {
    let own = |rest: &str| format!(r#"{{"channel_phone_number":{rest}}}"#);
    let null = Value::Null;
    for (customer, phone, id) in [
        (own(r#""919876543210""#), json!(ASHA), &null),
        (own(r#""+91 98765 43-210 ""#), json!(ASHA), &null),
        (own("919876543210"), json!(ASHA), &null),
        (own(r#""123456789012345""#), json!("+123456789012345"), &null),
        (own(r#"null,"country_code":"+91","phone_number":"9876543210""#), json!(ASHA), &null),
        (own(r#""n/a","country_code":91,"phone_number":9876543210"#), json!(ASHA), &json!("n/a")),
        (r#"{"country_code":"+91","phone_number":"+919876543210"}"#.to_owned(), json!(ASHA), &null),
        (r#"{"phone_number":"9876543210"}"#.to_owned(), json!(null), &null),
        (own("9.1987e11"), json!(null), &null),
        (own("-919876543210"), json!(null), &null),
        (own("true"), json!(null), &null),
        (own(r#""None""#), json!(null), &null),
        (own("null"), json!(null), &null),
        ("{}".to_owned(), json!(null), &null),
        // Since 2026 a customer may have a username, and no number.
        (own(r#""US.13491208655302741918""#), json!(null), &json!("US.13491208655302741918")),
        (own(r#""IN.1A2bC3""#), json!(null), &json!("IN.1A2bC3")),
        (own(r#""13491208655302741918""#), json!(null), &json!("13491208655302741918")),
        (own("13491208655302741918"), json!(null), &json!("13491208655302741918")),
        (own(r#""+91 (98765) 43210""#), json!(null), &json!("+91 (98765) 43210")),
        (own(r#""US.1","country_code":"US.1","phone_number":"IN.1A2bC3""#), json!(null), &json!("US.1")),
        (own(r#"null,"country_code":"+91","phone_number":"US.13491208""#), json!(null), &null),
        (own(r#"null,"country_code":"US.1","phone_number":"9876543210""#), json!(null), &null),
        (own(r#"null,"country_code":"+91","phone_number":"13491208655302""#), json!(null), &null),
    ] {
        let row = row("t", &format!(r#"{{"data":{{"customer":{customer}}}}}"#));
        assert_eq!((&row["customer_phone"], &row["customer_id"]), (&phone, id), "{customer}");
    }
    let workflow =
        |number: &str| row("workflow_response_update", &format!(r#"{{"data":{{"customer_number":{number}}}}}"#));
    let row = workflow(r#""+919876543210""#);
    assert_eq!((&row["customer_phone"], &row["customer_id"]), (&json!(ASHA), &null));
    let row = workflow(r#""IN.1A2bC3""#);
    assert_eq!((&row["customer_phone"], &row["customer_id"]), (&null, &json!("IN.1A2bC3")));
}

#[test]
fn times_without_a_zone_are_utc_and_unreadable_ones_give_way_to_the_envelopes() {
    let of = |kind: &str, seen: &str| {
        let message = format!(r#"{{"message_status":"Read","seen_at_utc":{seen}}}"#);
        let body = format!(r#"{{"timestamp":"2026-01-01T00:00:00","data":{{"message":{message}}}}}"#);
        row(kind, &body)["occurred_at"].take()
    };
    assert_eq!(of("message_api_read", r#""2026-01-13T10:30:00.3""#), "2026-01-13T10:30:00.300000Z");
    assert_eq!(of("agent_thing", r#""2026-01-13 16:00:00.5+05:30""#), "2026-01-13T10:30:00.500000Z");
    // The type says what happened, even where the status has moved on since.
    assert_eq!(of("message_api_delivered", r#""2026-01-13T10:30:00.3""#), "2026-01-01T00:00:00.000000Z");
    for unreadable in [r#""soon""#, r#""2026-13-01T00:00:00""#, "null", "1768300000", "{}", r#""None""#] {
        assert_eq!(of("message_api_read", unreadable), "2026-01-01T00:00:00.000000Z", "{unreadable}");
    }
    assert_eq!(row("message_api_read", r#"{"timestamp":"yesterday"}"#)["occurred_at"], json!(null));
}

#[test]
fn numbers_cut_emoji_and_nul_do_not_cost_the_row() {
    let row = row(
        "message_api_failed",
        r#"{"version":1.0,"data":{"customer":{"id":7,"traits":{"\ud83dkey":"\ud83d","name":"Asha \ud83d\u0000!"}},
           "message":{"id":12345678901234567890123,"channel_error_code":131026,"channel_failure_reason":"None",
           "campaign_id":7,"message":"\ud83d","raw_template":"{\"a\":\"\\ud83d\"}","message_status":"Failed",
           "meta_data":{"source_data":{"callback_data":"x\udc00"}}}}}"#,
    );
    assert_eq!(row["message_id"], "12345678901234567890123");
    assert_eq!(row["error_code"], "131026");
    assert_eq!(row["failure_reason"], json!(null));
    assert_eq!(row["campaign_id"], "7");
    assert_eq!(row["customer_name"], "Asha \u{FFFD}\0!");
    assert_eq!(row["callback_data"], "x\u{FFFD}");
}

#[test]
fn a_body_that_is_not_json_is_a_rule_error_without_the_body_in_it() {
    for body in [&b""[..], b"secret words", b"{\"a\":1", b"{} {}", b"{\"a\":\"\xff\"}"] {
        let reason = (find("interakt.message_status").unwrap().run)(&event("unparsable", body)).unwrap_err();
        assert_eq!(reason.to_string(), "rule_error: interakt.message_status: the body is not JSON");
    }
}

fn columns_of(columns: Value) -> [Value; 11] {
    columns.as_array().unwrap().clone().try_into().unwrap()
}

#[test]
fn the_text_that_was_called_back_with_is_the_users_own() {
    let callback = |text: &str| {
        let data = json!({"message": {"id": "m", "meta_data": {"source_data": {"callback_data": text}}}});
        let row = text_of("message_api_sent", json!({ "data": data }).to_string().as_bytes());
        serde_json::from_str::<Value>(&row).unwrap()["callback_data"].clone()
    };
    let ours = |own: &str| {
        let origin =
            sink_api::Origin { call: sink_api::CallId(7), attempt: 0, since: 1_768_300_870, of: String::new() };
        origin.write(own).unwrap()
    };
    let wanted = [json!("order:7"), Value::Null, json!("mine")];
    assert_eq!([callback(&ours("order:7")), callback(&ours("")), callback("mine")], wanted);
}
