//! What is refused before anything is sent, in which words, and what goes out of what is not.

use sink_api::code;
use sink_api::origin::MAX_OWN;
use sink_api::{CallId, Origin};

use super::*;

/// What every payload of these tests has for values; no reason may show one.
const VALUES: &[&str] = &["9876543210", "ASHA", "OWN-TEXT"];

fn refused(payload: &str) -> Reason {
    let why = check(payload.as_bytes()).expect_err(payload);
    assert!(VALUES.iter().all(|value| !why.detail.contains(value)), "{why}");
    why
}

fn says(payload: &str, words: &str) {
    let why = refused(payload);
    assert!(why.code == code::BAD_PAYLOAD && why.detail.contains(words), "{payload}\n{why}\nnot: {words}");
}

/// A message of this type and these further members, to a phone that is fine.
fn message(kind: &str, more: &str) -> String {
    format!(r#"{{"fullPhoneNumber":"919876543210","type":"{kind}",{more}}}"#)
}

fn template(more: &str) -> String {
    message("Template", &format!(r#""template":{{"name":"order","languageCode":"en"{more}}}"#))
}

fn fine(payload: &str) -> Request<'_> {
    check(payload.as_bytes()).unwrap_or_else(|why| panic!("{payload}\n{why}"))
}

fn origin() -> Origin {
    Origin { call: CallId(7), attempt: 0, since: 1, of: String::new() }
}

#[test]
fn what_is_no_object_is_told_what_a_route_needs() {
    for (payload, words) in [
        ("", "is empty"),
        (" \n", "is empty"),
        ("{", "no JSON object"),
        ("[]", "no JSON object"),
        ("\"x\"", "no JSON object"),
        ("{} {}", "no JSON object"),
        ("{}", "an empty object"),
    ] {
        says(payload, words);
        says(payload, "a transform makes it");
    }
    assert!(check(b"{\"type\":\"\xff\"}").unwrap_err().detail.contains("no JSON object"));
    let nested = |depth: usize| {
        message("Text", &format!(r#""data":{{"message":"ASHA"}},"x":{}{}"#, "[".repeat(depth), "]".repeat(depth)))
    };
    says(&nested(10_000), "nested deeper than 32");
    fine(&nested(31));
    let large = message("Text", &format!(r#""data":{{"message":"{}"}}"#, "x".repeat(MAX_REQUEST)));
    says(&large, "larger than 64 KiB");
    says(r#"{"type":"Text","type":"Image","fullPhoneNumber":"919876543210"}"#, "a key twice");
    says(r#"{"":"ASHA","type":"Text"}"#, "a key without a name");
}

#[test]
fn a_phone_comes_in_one_form_and_as_digits() {
    let with = |phone: &str| format!(r#"{{{phone}"type":"Text","data":{{"message":"ASHA"}}}}"#);
    for (phone, words) in [
        ("", "there is no phone number"),
        (r#""fullPhoneNumber":"","#, "there is no phone number"),
        (r#""fullPhoneNumber":null,"phoneNumber":" ","#, "there is no phone number"),
        (r#""fullPhoneNumber":"919876543210","phoneNumber":"9876543210","#, "one form at a time"),
        (r#""fullPhoneNumber":"919876543210","countryCode":"+91","#, "one form at a time"),
        (r#""countryCode":"+91","phoneNumber":"9876543210","fullPhoneNumber":"9876543210","#, "one form at a time"),
        (r#""countryCode":"+91","#, "without `phoneNumber`"),
        (r#""phoneNumber":"9876543210","#, "without `countryCode`"),
        (r#""countryCode":"91","phoneNumber":"9876543210","#, "does not begin with `+`"),
        (r#""countryCode":"+","phoneNumber":"9876543210","#, "`countryCode` has other characters"),
        (r#""countryCode":"+01","phoneNumber":"9876543210","#, "`countryCode` begins with 0"),
        (r#""countryCode":"+12345","phoneNumber":"9876543210","#, "expected 1 to 4"),
        (r#""countryCode":"+91","phoneNumber":"09876543210","#, "`phoneNumber` begins with 0"),
        (r#""countryCode":"+91","phoneNumber":"98765 43210","#, "`phoneNumber` has other characters"),
        (r#""countryCode":"+91","phoneNumber":"98765432109876","#, "has 14 digits, expected 4 to 13"),
        (r#""countryCode":"+91","phoneNumber":9876543210,"#, "is a number, expected a string (in jq"),
        (r#""fullPhoneNumber":919876543210,"#, "is a number, expected a string"),
        (r#""fullPhoneNumber":"00919876543210","#, "`fullPhoneNumber` begins with 0"),
        (r#""fullPhoneNumber":"++919876543210","#, "other characters"),
        (r#""fullPhoneNumber":"+91-9876543210","#, "other characters"),
        (r#""fullPhoneNumber":"123456","#, "has 6 digits, expected 7 to 15"),
        (r#""fullPhoneNumber":"1234567890123456","#, "has 16 digits"),
    ] {
        says(&with(phone), words);
    }
    for (phone, expected) in [
        (r#""fullPhoneNumber":"+919876543210","#, "+919876543210"),
        (r#""fullPhoneNumber":"919876543210","countryCode":"","phoneNumber":null,"#, "+919876543210"),
        (r#""countryCode":"+91","phoneNumber":"9876543210","fullPhoneNumber":"","#, "+919876543210"),
    ] {
        assert_eq!(fine(&with(phone)).phone(), expected);
    }
}

#[test]
fn a_type_is_one_that_the_api_knows() {
    let with = |kind: &str| format!(r#"{{"fullPhoneNumber":"919876543210"{kind}}}"#);
    says(&with(""), "there is no `type`: expected one of Template, Text");
    says(&with(r#","type":null"#), "there is no `type`");
    says(&with(r#","type":["ASHA"]"#), "`type` is a list, expected a string");
    says(&with(r#","type":"ASHA""#), "none that the API knows: expected one of");
    says(&with(r#","type":"TEXT""#), "did you mean `Text`?");
    says(&with(r#","type":"Templat""#), "did you mean `Template`?");
}

#[test]
fn a_template_has_a_name_a_language_and_whole_variables() {
    for (body, words) in [
        (message("Template", r#""data":{}"#), "there is no `template`"),
        (message("Template", r#""template":"ASHA""#), "`template` is a string, expected an object"),
        (message("Template", r#""template":{"languageCode":"en"}"#), "`template.name` is missing or empty"),
        (message("Template", r#""template":{"name":" ","languageCode":"en"}"#), "`template.name` is missing or empty"),
        (message("Template", r#""template":{"name":"order"}"#), "`template.languageCode` is missing or empty"),
        (message("Template", r#""template":{"name":"order","language":"en"}"#), "did you mean `languageCode`?"),
        (template(r#","body_values":["ASHA"]"#), "`template` has `body_values`: did you mean `bodyValues`?"),
        (template(r#","headers":["ASHA"]"#), "did you mean `headerValues`?"),
        (
            template(r#","carouselCards":[{"button-values":{}}]"#),
            "`template.carouselCards[0]` has `button-values`: did",
        ),
        (template(r#","bodyValues":"ASHA""#), "`template.bodyValues` is a string, expected a list of strings"),
        (template(r#","bodyValues":null"#), "`template.bodyValues` is null"),
        (template(r#","bodyValues":["ASHA",""]"#), "variable 2 of `template.bodyValues` is empty"),
        (template(r#","bodyValues":["ASHA"," "]"#), "variable 2 of `template.bodyValues` is empty"),
        (template(r#","bodyValues":[null,"ASHA"]"#), "variable 1 of `template.bodyValues` is missing (null)"),
        (template(r#","headerValues":[12]"#), "variable 1 of `template.headerValues` is a number, expected a string"),
        (template(r#","buttonValues":["ASHA"]"#), "`template.buttonValues` is a list, expected an object"),
        (template(r#","buttonValues":{"ASHA":["x"]}"#), "no index of a button"),
        (template(r#","buttonValues":{"0":"ASHA"}"#), "`template.buttonValues.0` is a string, expected a list"),
        (template(r#","buttonValues":{"1":["ASHA",""]}"#), "variable 2 of `template.buttonValues.1` is empty"),
        (template(r#","carouselCards":{}"#), "`template.carouselCards` is an object, expected a list"),
        (template(r#","carouselCards":["ASHA"]"#), "`template.carouselCards[0]` is a string"),
        (
            template(r#","carouselCards":[{},{"bodyValues":[""]}]"#),
            "variable 1 of `template.carouselCards[1].bodyValues` is empty",
        ),
    ] {
        says(&body, words);
    }
    let all = r#","headerValues":["https://x.example/ASHA.png"],"bodyValues":["ASHA","2"],"buttonValues":{"0":["x"]},
                "fileName":"a.pdf","carouselCards":[{"headerValues":["u"],"buttonValues":{"1":["y"]}}],"new":{"x":1}"#;
    fine(&template(all));
    fine(&template(""));
    fine(&template(r#","bodyValues":[]"#));
}

#[test]
fn a_session_message_has_what_its_type_needs() {
    for (body, words) in [
        (message("Text", r#""template":{}"#), "`type` is Text, and there is no `data`"),
        (message("Text", r#""data":["ASHA"]"#), "`data` is a list, expected an object"),
        (message("Text", r#""data":{}"#), "`data.message` is missing or empty"),
        (message("Text", r#""data":{"message":""}"#), "`data.message` is missing or empty"),
        (message("Text", r#""data":{"message":{"a":"ASHA"}}"#), "`data.message` is an object, expected a string"),
        (message("Image", r#""data":{"message":"ASHA"}"#), "`type` is Image, and `data.mediaUrl` is missing"),
        (message("Sticker", r#""data":{"mediaUrl":"ASHA.png"}"#), "does not begin with https://"),
        (message("InteractiveButton", r#""data":{}"#), "`data.message` is missing"),
        (message("InteractiveList", r#""data":{"message":"ASHA"}"#), "`data.message` is a string, expected an object"),
        (message("InteractiveList", r#""data":{"message":{}}"#), "is an empty object"),
    ] {
        says(&body, words);
    }
    fine(&message("Text", r#""data":{"message":"ASHA"}"#));
    fine(&message("InteractiveButton", r#""data":{"message":{"type":"button"}}"#));
    for kind in ["Image", "Video", "Audio", "Document", "Sticker"] {
        fine(&message(kind, r#""data":{"mediaUrl":"https://x.example/a"}"#));
    }
}

#[test]
fn a_callback_text_is_a_text_that_fits_beside_ours() {
    let with = |text: &str| message("Text", &format!(r#""data":{{"message":"ASHA"}},"callbackData":{text}"#));
    says(&with("{\"a\":\"OWN-TEXT\"}"), "`callbackData` is an object, expected a string");
    let long = refused(&with(&format!("\"{}\"", "ü".repeat(MAX_OWN + 1))));
    assert_eq!(long.code, CALLBACK_TOO_LONG);
    assert!(long.detail.contains(&format!("{} characters", MAX_OWN + 1)) && long.detail.contains("shorten"), "{long}");
    let payload = with(&format!("\"{}\"", "ü".repeat(MAX_OWN)));
    assert!(fine(&payload).body(&origin()).is_ok());
}

/// `callbackData` of the body that is sent.
fn called_back(payload: &str) -> String {
    let body: serde_json::Value = serde_json::from_slice(&fine(payload).body(&origin()).unwrap()).unwrap();
    body["callbackData"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_called_back_tells_where_the_message_comes_from_and_keeps_the_users_own_text() {
    let with = |more: &str| message("Text", &format!(r#""data":{{"message":"ASHA"}}{more}"#));
    let prefix = origin().write("").unwrap();
    assert_eq!(called_back(&with("")), prefix);
    assert_eq!(called_back(&with(r#","callbackData":null"#)), prefix);
    assert_eq!(called_back(&with(r#","callbackData":"a \"b\" \u00fc~""#)), format!("{prefix}a \"b\" ü~"));
}

#[test]
fn a_prefix_of_ours_that_a_route_passed_on_is_replaced_and_does_not_pile_up() {
    let before = Origin { call: CallId(1), attempt: 2, since: 5, of: "m-1".to_owned() };
    let text = before.write("OWN-TEXT").unwrap();
    let payload = message("Text", &format!(r#""callbackData":"{text}","data":{{"message":"ASHA"}}"#));
    let prefix = origin().write("").unwrap();
    assert_eq!(called_back(&payload), format!("{prefix}OWN-TEXT"));
    let plain = fine(&payload).plain().into_owned();
    assert_eq!(called_back(std::str::from_utf8(&plain).unwrap()), format!("{prefix}OWN-TEXT"));
    assert!(!String::from_utf8(plain).unwrap().contains(&text));
}

#[test]
fn all_but_the_callback_text_goes_out_as_it_came() {
    let payload = r#" { "new" : [1.50, 12345678901234567890, "\ud83d"], "callbackData":"x",
        "fullPhoneNumber":"919876543210" , "type":"Text","data":{ "message" : "a\u0020b" }, "ü\"":null } "#;
    let request = fine(payload);
    let sent = String::from_utf8(request.body(&origin()).unwrap()).unwrap();
    let callback = serde_json::Value::from(origin().write("x").unwrap());
    let expected = r#"{"new":[1.50, 12345678901234567890, "\ud83d"],"fullPhoneNumber":"919876543210","type":"Text",
        "data":{ "message" : "a\u0020b" },"ü\"":null,"callbackData":"#
        .replace("\n        ", "");
    assert_eq!(sent, format!("{expected}{callback}}}"));
    assert_eq!(request.plain().as_ref(), payload.as_bytes());
}

#[test]
fn no_bytes_make_the_check_panic() {
    // A xorshift generator: the same bytes in every run.
    let (mut state, seed) = (0x9E37_79B9_7F4A_7C15_u64, template(r#","bodyValues":["ASHA"]"#).into_bytes());
    for round in 0..20_000 {
        let mut bytes = seed.clone();
        for _ in 0..=(round % 4) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = usize::try_from(state % bytes.len() as u64).unwrap();
            bytes[at] = state.to_le_bytes()[5];
        }
        if let Ok(request) = check(&bytes) {
            request.body(&origin()).unwrap();
            request.values();
        }
    }
}
