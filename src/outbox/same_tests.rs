//! What is made anew of statuses, and what is missing in them.

use super::*;

const FAILED: &str = include_str!("../../tests/fixtures/interakt/message_api_failed.json");

/// The status with these members of `message` instead of its own; a `raw_template` is mixed with its own.
fn status(changes: Value) -> Result<Value, Vec<String>> {
    let mut body: Value = serde_json::from_str(FAILED).unwrap();
    let message = body.pointer_mut("/data/message").unwrap().as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        let value = match (key.as_str(), value) {
            ("raw_template", Value::Object(own)) => {
                let text = message["raw_template"].as_str().unwrap();
                let mut all: Map<String, Value> = serde_json::from_str(text).unwrap();
                all.extend(own.clone());
                Value::Object(all).to_string().into()
            }
            ("message", Value::Array(parts)) => Value::Array(parts.clone()).to_string().into(),
            (_, value) => value.clone(),
        };
        message.insert(key.clone(), value);
    }
    let body = body.to_string();
    content(body.as_bytes(), &Said::read(body.as_bytes()).unwrap()).map(Value::Object)
}

/// The template of the same.
fn template(changes: Value) -> Value {
    status(changes).unwrap()["template"].clone()
}

fn lacks(changes: Value) -> String {
    status(changes).unwrap_err().join("; ")
}

#[test]
fn a_code_to_log_in_with_stands_in_body_and_button() {
    let same = status(json!({})).unwrap();
    let template = json!({
        "name": "login_code_v1", "languageCode": "en", "bodyValues": ["482913"], "buttonValues": { "0": ["482913"] },
    });
    assert_eq!(same, json!({ "type": "Template", "template": template }));
}

#[test]
fn values_of_header_body_and_buttons_are_the_same_again() {
    let parts = json!([
        { "type": "header", "parameters": [{ "type": "text", "text": "Asha" }] },
        { "type": "body", "parameters": [
            { "type": "text", "text": "one" }, { "type": "text", "text": 2 },
            { "type": "currency", "currency": { "fallback_value": "₹3", "code": "INR", "amount_1000": 3000 } },
        ] },
        { "type": "button", "sub_type": "quick_reply", "index": "0",
          "parameters": [{ "type": "payload", "payload": "p" }] },
        { "type": "button", "sub_type": "url", "index": "1", "parameters": [{ "type": "text", "text": "t-9" }] },
        { "type": "button", "sub_type": "copy_code", "index": 2, "parameters": [{ "coupon_code": "SALE" }] },
    ]);
    let raw = json!({
        "name": "offer", "language": "en_GB", "category": "MARKETING", "header_format": "TEXT",
        "header": "Hello {{1}}", "body": "{{1}} {{2}} {{3}} and {{1}}",
        "buttons":
            r#"[{"type":"QUICK_REPLY","text":"Yes"},{"type":"URL","url":"https://x/{{1}}"},{"type":"COPY_CODE"}]"#,
    });
    let made = template(json!({ "message": parts, "raw_template": raw }));
    assert_eq!(
        made,
        json!({
            "name": "offer", "languageCode": "en_GB", "headerValues": ["Asha"], "bodyValues": ["one", "2", "₹3"],
            "buttonValues": { "1": ["t-9"], "2": ["SALE"] },
        })
    );
    let plain = json!({ "body": "Hello", "buttons": "{}", "category": "UTILITY" });
    assert_eq!(
        template(json!({ "raw_template": plain, "message": null })),
        json!({
            "name": "login_code_v1", "languageCode": "en",
        })
    );
}

#[test]
fn a_header_that_is_a_file_is_named_by_its_address() {
    let raw = json!({ "header_format": "DOCUMENT", "body": "x", "buttons": "[]" });
    let document = json!([{ "type": "header", "parameters": [
        { "type": "document", "document": { "link": "https://x/a.pdf", "filename": "bill.pdf" } },
    ] }]);
    let made = template(json!({ "raw_template": raw, "message": document }));
    assert_eq!((&made["headerValues"], &made["fileName"]), (&json!(["https://x/a.pdf"]), &json!("bill.pdf")));
    let by_media = template(json!({ "raw_template": raw, "message": "None", "media_url": "https://x/b.pdf" }));
    assert_eq!(by_media["headerValues"], json!(["https://x/b.pdf"]));
    assert_eq!(lacks(json!({ "raw_template": raw, "message": null })), "the address of the header's file");
    let by_id = json!([{ "type": "header", "parameters": [{ "type": "image", "image": { "id": "77" } }] }]);
    assert_eq!(lacks(json!({ "raw_template": raw, "message": by_id })), "the address of the header's file");
}

#[test]
fn every_value_that_is_missing_is_named() {
    let raw = json!({
        "category": "MARKETING", "header_format": "TEXT", "header": "{{1}}", "body": "{{1}} {{ 2 }} {{name}}",
        "buttons": r#"[{"type":"URL","url":"https://x/{{1}}"}]"#,
    });
    let one = json!([{ "type": "body", "parameters": [{ "type": "text", "text": "a" }, { "type": "odd" }] }]);
    assert_eq!(
        lacks(json!({ "raw_template": raw, "message": one })),
        "value 1 of the header; value 2 of the body; value 3 of the body; the value of button 0"
    );
    assert_eq!(
        lacks(json!({ "raw_template": null })),
        "the template's name (`raw_template`); the template's language (`raw_template`)"
    );
    let cards = json!({ "is_carousel": true });
    assert!(lacks(json!({ "raw_template": cards })).contains("cards of its carousel"));
    let cards = json!({ "carousel_cards": "[{}]" });
    assert!(lacks(json!({ "raw_template": cards })).contains("cards of its carousel"));
    let parts = json!([
        { "type": "body", "parameters": [{ "text": "1" }] }, { "type": "limited_time_offer" },
        { "type": "button", "sub_type": "flow", "index": "0" },
    ]);
    let told = lacks(json!({ "message": parts }));
    assert!(told.contains("the part `limited_time_offer`") && told.contains("button 0 (`flow`)"), "{told}");
}

#[test]
fn a_message_without_a_template_is_its_text_or_its_file() {
    let session = |kind: &str, message: Value, media: Value| {
        status(json!({
            "raw_template": null, "is_template_message": false, "message_content_type": kind, "message": message,
            "media_url": media,
        }))
    };
    let text = session("Text", json!("Hello {{1}}"), json!(null)).unwrap();
    assert_eq!(text, json!({ "type": "Text", "data": { "message": "Hello {{1}}" } }));
    let image = session("Image", json!("look"), json!("https://x/i.jpg")).unwrap();
    assert_eq!(image, json!({ "type": "Image", "data": { "mediaUrl": "https://x/i.jpg", "message": "look" } }));
    let plain = session("Video", json!("None"), json!("https://x/v.mp4")).unwrap();
    assert_eq!(plain["data"], json!({ "mediaUrl": "https://x/v.mp4" }));
    for (kind, missing) in [
        ("Text", "its text (`message`)"),
        ("Audio", "the address of its file (`media_url`)"),
        ("InteractiveList", "the parts of a message of type `InteractiveList`, which its status does not hold"),
        ("", "what sort of message it was (`message_content_type`)"),
    ] {
        assert_eq!(session(kind, json!(null), json!(null)).unwrap_err(), [missing]);
    }
}

#[test]
fn no_body_breaks_it() {
    for body in ["", "{}", "[]", "{\"data\":{\"message\":{\"raw_template\":\"{\",\"message\":\"[1,{}]\"}}}"] {
        let said = Said::read(body.as_bytes()).unwrap_or_default();
        assert!(content(body.as_bytes(), &said).is_err(), "{body}");
    }
    let parts = json!([7, {}, { "type": "body" }, { "type": "button", "index": -1 }, { "type": "header" }]);
    assert!(status(json!({ "message": parts })).is_err());
}
