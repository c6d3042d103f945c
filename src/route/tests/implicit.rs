//! Routes that stand in no file: what they carry, and that nobody else's routes are touched by them.

use super::*;
use crate::news::{RESEND, SOURCE};
use crate::route::Implicit;

/// The routes of the text, with those of the daemon's own for sinks `a` and `b` that send, and one that listens.
fn rules(toml: &str) -> RuleSet {
    let commands = |to: &str| Implicit::Commands { name: format!("outbox:{to}"), to: to.to_owned() };
    let (name, source, to) = ("outbox".to_owned(), "interakt".to_owned(), "outbox".to_owned());
    let implicit = [Implicit::Statuses { name, source, to }, commands("a"), commands("b")];
    let eval = Arc::new(ScriptedEval);
    RuleSet::compile_with(&routes(toml), &implicit, SINKS, &["interakt", "other"], eval).unwrap()
}

fn command(body: &str) -> Arc<Event> {
    Arc::new(Event { source: SOURCE.into(), ..event(RESEND, body.as_bytes()) })
}

const ALL: &str = "[[routes]]\nname = \"all\"\nmatch = \"*\"\nto = [\"a\", \"c\"]\nfinal = true\n";
const OWN: &str =
    "[[routes]]\nname = \"own\"\nmatch = \"message.*\"\nsource = \"hookrelay\"\nto = [\"a\", \"c\"]\nfinal = true\n";

#[test]
fn a_command_reaches_the_sink_that_it_is_addressed_to_and_its_request_goes_byte_for_byte() {
    let rules = rules(ALL);
    let event = command(r#"{"sink":"a","request":{"n":1.10,"big":12345678901234567890},"missing":null}"#);
    let routed = rules.route(&sink("a"), &event, &mut ());
    let [delivery] = routed.deliveries.as_slice() else { panic!("{routed:?}") };
    assert_eq!((delivery.id.as_str(), &delivery.bytes()[..]), (ID, &br#"{"n":1.10,"big":12345678901234567890}"#[..]));
    let other = rules.route(&sink("b"), &event, &mut ());
    assert_eq!((other.deliveries.len(), other.failed.len(), other.filtered), (0, 0, vec!["outbox:b".into()]));
    assert_eq!(["a", "b", "c"].map(|sink| rules.owed(sink, SOURCE, RESEND)), [1, 1, 0]);
    assert_eq!(rules.owed("a", "interakt", RESEND), 1, "by the route of the file alone");
}

#[test]
fn a_command_that_lacks_something_is_a_dead_letter_that_says_what() {
    let rules = rules(ALL);
    for (body, told) in [
        (r#"{"sink":"a","request":null,"missing":"value 1 of the body"}"#, "value 1 of the body"),
        (r#"{"sink":"a"}"#, "what is to be sent"),
    ] {
        let routed = rules.route(&sink("a"), &command(body), &mut ());
        let [failed] = routed.failed.as_slice() else { panic!("{routed:?}") };
        assert_eq!((failed.id.as_str(), failed.reason.code), (ID, "incomplete"));
        assert!(failed.reason.detail.contains(told), "{}", failed.reason);
    }
    for nobody in ["{}", "", "[]", r#"{"sink":7}"#] {
        let routed = rules.route(&sink("a"), &command(nobody), &mut ());
        assert_eq!((routed.deliveries.len(), routed.failed.len()), (0, 0), "{nobody}");
    }
}

#[test]
fn no_final_route_ends_them_and_they_end_none() {
    let rules = rules(&format!("{OWN}{ALL}"));
    let routed = rules.route(&sink("a"), &command(r#"{"sink":"a","request":{}}"#), &mut ());
    let ids: Vec<&str> = routed.deliveries.iter().map(|delivery| delivery.id.as_str()).collect();
    assert_eq!(ids, [&format!("{ID}-own"), ID]);
    for status in ["message_api_read", "message_campaign_failed"] {
        assert_eq!(rules.route(&sink("outbox"), &shared(status), &mut ()).deliveries.len(), 1, "{status}");
        assert_eq!(rules.route(&sink("c"), &shared(status), &mut ()).deliveries.len(), 1, "{status}");
    }
    assert_eq!(rules.owed("outbox", "other", "message_api_read"), 0, "of another source");
    assert_eq!(rules.owed("outbox", "interakt", "message_received"), 0);
}

#[test]
fn what_only_they_match_is_unmatched_and_none_of_them_is_a_route_of_the_file() {
    let rules = rules("[[routes]]\nmatch = \"message_api_sent\"\nto = \"c\"\n");
    assert!(!rules.matched("interakt", "message_api_read") && !rules.matched(SOURCE, RESEND));
    assert!(rules.matched("interakt", "message_api_sent"));
    assert_eq!(rules.route_names().collect::<Vec<_>>(), ["route1"]);
    // The first route of the file to a sink that nothing is commanded to keeps its ids.
    assert_eq!((rules.first_route("c"), rules.first_route("a")), (Some("route1"), Some("outbox:a")));
}

#[test]
fn explain_names_them_where_they_give_something() {
    let rules = rules(ALL);
    let names = |event: &Arc<Event>| {
        let all = [sink("a"), sink("b"), sink("outbox")];
        let explained = crate::route::explain(&rules, &all, event);
        explained.routes.into_iter().map(|route| (route.name, route.matched)).collect::<Vec<_>>()
    };
    let status = names(&shared("message_api_read"));
    assert_eq!(status, [("all".to_owned(), true), ("outbox".to_owned(), true)]);
    let command = names(&command(r#"{"sink":"b","request":{}}"#));
    assert_eq!(command, [("all".to_owned(), false), ("outbox:b".to_owned(), true)]);
}
