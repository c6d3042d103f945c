//! Explain says what run does, and why, in the shape that scripts rely on.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{ID, SINKS, event, fixture, rules, shared, sink, sink_without_target};
use crate::route::{Destination, Explanation, RuleSet, explain};

const RULES: &str = "
[[routes]]
name = 'statuses'
match = ['nothing', 'message_api_*']
transform = 'api_log'
to = ['a', 'b']
[[routes]]
name = 'alerts'
match = 'account_*'
to = 'c'
[[routes]]
name = 'elsewhere'
match = '*'
source = 'other'
to = 'c'
[[routes]]
name = 'unlikely'
match = '*'
where = 'false'
to = 'c'
[[routes]]
name = 'broken'
match = '*'
where = 'error'
to = 'c'
[[routes]]
name = 'reads'
match = '*_read'
to = 'c'
where = 'true'
final = true
[[routes]]
name = 'raw'
match = '*'
to = ['a', 'c']
final = true
[[routes]]
name = 'never'
match = '*'
to = 'a'
";

fn destinations() -> Vec<Destination> {
    SINKS.iter().map(|name| sink(name)).collect()
}

fn whys(explanation: &Explanation) -> Vec<(&str, bool, &str)> {
    explanation.routes.iter().map(|r| (r.name.as_str(), r.matched, r.why.as_str())).collect()
}

fn value(explanation: &Explanation) -> Value {
    serde_json::from_str(&serde_json::to_string(explanation).unwrap()).unwrap()
}

#[test]
fn every_route_says_why_or_why_not() {
    let rules = rules(RULES);
    let sent = explain(&rules, &destinations(), &shared("message_api_sent"));
    let star = r#"glob "*" matches type "message_api_sent""#;
    assert_eq!(
        whys(&sent),
        [
            ("statuses", true, r#"glob "message_api_*" matches type "message_api_sent""#),
            ("alerts", false, r#"no glob matches type "message_api_sent""#),
            ("elsewhere", false, r#"source is "interakt", route wants "other""#),
            ("unlikely", false, &format!("{star}; its `where` is false")),
            ("broken", false, &format!("{star}; its `where` failed: rule_error: no such field")),
            ("reads", false, r#"no glob matches type "message_api_sent""#),
            ("raw", true, star),
            ("never", false, r#"after final route "raw""#),
        ]
    );
    let read = explain(&rules, &destinations(), &shared("message_api_read"));
    let whys = whys(&read);
    assert_eq!(whys[5], ("reads", true, r#"glob "*_read" matches type "message_api_read""#));
    assert_eq!(whys[6], ("raw", false, r#"glob "*" matches type "message_api_read"; after final route "reads""#));
}

#[test]
fn an_internal_event_says_which_routes_it_goes_by() {
    let rules = rules("[[routes]]\nmatch = '*'\nto = 'a'");
    let mut event = event("sink_down", b"{}");
    event.source = "hookrelay".into();
    let explanation = explain(&rules, &destinations(), &Arc::new(event));
    assert_eq!(
        whys(&explanation),
        [("route1", false, r#"internal events match only routes with source = "hookrelay""#)]
    );
}

#[test]
fn what_fails_and_what_comes_to_nothing_stands_under_its_route() {
    let rules = rules(
        "[[routes]]\nmatch = '*'\ntransform = 'error'\nto = 'a'\n[[routes]]\nmatch = '*'\ntransform = '-'\n\
         to = ['a', 'b']\n\
         [[routes]]\nmatch = '*'\nto = ['a', 'c']\n[[routes]]\nmatch = '*'\ntransform = 'body'\nto = 'a'",
    );
    let sinks = [sink("a"), sink("b"), sink_without_target("c")];
    let explanation = explain(&rules, &sinks, &shared("x"));
    let glob = r#"glob "*" matches type "x""#;
    let nothing = |sink: &str| format!("nothing for sink \"{sink}\": its `transform` yields nothing");
    assert_eq!(
        whys(&explanation),
        [
            ("route1", true, format!("{glob}; dead letter at sink \"a\": rule_error: cannot index").as_str()),
            ("route2", true, &format!("{glob}; {}; {}", nothing("a"), nothing("b"))),
            ("route3", true, &format!("{glob}; dead letter at sink \"c\": bad_payload: no such topic")),
            ("route4", true, &format!("{glob}; nothing new for sink \"a\": an earlier route yields the same")),
        ]
    );
    assert_eq!(explanation.deliveries.len(), 1);
}

#[test]
fn the_json_has_exactly_the_shape_scripts_rely_on() {
    let rules = rules("[[routes]]\nname = 'all'\nmatch = '*'\nto = 'a'");
    let explanation = explain(&rules, &destinations(), &shared("x"));
    let want = json!({
        "event": {"id": ID, "source": "interakt", "type": "x", "subject": "m-1", "key": "m-1"},
        "routes": [{"name": "all", "matched": true, "why": "glob \"*\" matches type \"x\""}],
        "deliveries": [
            {"sink": "a", "id": ID, "key": "m-1", "payload": {"n": 1}, "target": {"topic": "whatsapp.x"}},
        ],
    });
    assert_eq!(value(&explanation), want);
}

#[test]
fn a_payload_is_the_json_value_digit_for_digit_or_base64() {
    let rules = rules("[[routes]]\nmatch = '*'\nto = 'a'");
    let payload = |body: &[u8]| {
        let explanation = explain(&rules, &destinations(), &Arc::new(event("x", body)));
        serde_json::to_string(&explanation.deliveries[0].payload).unwrap()
    };
    assert_eq!(
        payload(b" {\n \"n\": 12345678901234567890.10, \"s\": \"\\ud83d \" }"),
        r#"{"n":12345678901234567890.10,"s":"\ud83d "}"#
    );
    assert_eq!(payload(b"\xffoops"), r#"{"base64":"/29vcHM="}"#);
    assert_eq!(payload(b""), r#"{"base64":""}"#);
}

#[test]
fn explain_shows_exactly_what_run_delivers() {
    let rules: RuleSet = rules(RULES);
    for (kind, file) in [
        ("message_api_sent", "message_api_sent.json"),
        ("message_api_read", "message_api_read.json"),
        ("message_api_clicked", "message_api_clicked.cta.json"),
        ("account_alerts", "account_alerts.json"),
        ("message_received", "message_received.unicode.json"),
    ] {
        let event = Arc::new(event(kind, &fixture(file)));
        let run: Vec<_> = SINKS
            .iter()
            .flat_map(|name| {
                let deliveries = rules.route(&sink(name), &event, &mut ()).deliveries;
                deliveries.into_iter().map(move |d| {
                    let payload: Value = serde_json::from_slice(d.bytes()).unwrap();
                    json!({"sink": name, "id": d.id, "key": &*d.key, "payload": payload, "target": d.target})
                })
            })
            .collect();
        assert!(run.len() >= 2, "{kind}: {run:?}");
        let explained = value(&explain(&rules, &destinations(), &event));
        assert_eq!(explained["deliveries"], json!(run), "{kind}");
    }
}

#[test]
fn the_text_for_people_shows_routes_and_deliveries() {
    let rules = rules("[[routes]]\nname = 'everything'\nmatch = '*'\nto = 'a'\n[[routes]]\nmatch = 'y'\nto = 'b'");
    let got = explain(&rules, &destinations(), &shared("x")).to_string();
    let want = format!(
        r#"event {ID}
  source "interakt", type "x", subject "m-1", key "m-1"

routes
  yes  everything  glob "*" matches type "x"
  no   route2      no glob matches type "x"

deliveries
  a
    id      {ID}
    key     m-1
    topic   whatsapp.x
    payload {{
      "n": 1
    }}
"#
    );
    assert_eq!(got, want);
    let nobody = explain(&rules, &[], &shared("x")).to_string();
    assert!(nobody.ends_with("deliveries\n  none\n"), "{nobody}");
}
