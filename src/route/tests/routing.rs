//! What goes where: ids, final routes, repeats, failures, and the counts that must agree with them.

use std::sync::Arc;

use proptest::prelude::*;
use sink_api::{Delivery, Event, Payload, Template};

use super::{ID, SINKS, event, rules, shared, sink, sink_without_target};
use crate::route::table::MAX_TYPES;
use crate::route::{Observer, Routed, RuleSet, Step};

fn route(rules: &RuleSet, name: &str, event: &Arc<Event>) -> Routed {
    rules.route(&sink(name), event, &mut ())
}

/// The deliveries as `id payload`.
fn delivered(rules: &RuleSet, name: &str, kind: &str) -> Vec<String> {
    let routed = route(rules, name, &shared(kind));
    routed.deliveries.iter().map(|d| format!("{} {}", d.id, String::from_utf8_lossy(d.bytes()))).collect()
}

#[test]
fn every_matching_route_applies_and_ids_come_from_the_config() {
    let rules = rules(
        "[[routes]]\nname = 'first'\nmatch = ['x_*', 'y']\ntransform = '1 2'\nto = ['a', 'b']\n\
         [[routes]]\nmatch = '*'\nto = 'a'\n\
         [[routes]]\nname = 'third'\nmatch = '*'\ntransform = '3 4 5'\nto = ['b', 'a', 'c']",
    );
    let want =
        ["", "-2", "-route2", "-third", "-third-2", "-third-3"].iter().zip(["1", "2", r#"{"n":1}"#, "3", "4", "5"]);
    let want: Vec<String> = want.map(|(tail, payload)| format!("{ID}{tail} {payload}")).collect();
    assert_eq!(delivered(&rules, "a", "x_1"), want);
    // The first route does not match here; the ids of the others stay as they are.
    assert_eq!(delivered(&rules, "a", "z"), want[2..]);
    assert_eq!(
        delivered(&rules, "b", "z"),
        [format!("{ID}-third 3"), format!("{ID}-third-2 4"), format!("{ID}-third-3 5")]
    );
    assert_eq!(delivered(&rules, "c", "z"), [format!("{ID} 3"), format!("{ID}-2 4"), format!("{ID}-3 5")]);
    assert_eq!(delivered(&rules, "no such sink", "x_1"), [""; 0]);
}

#[test]
fn a_payload_is_the_body_itself_or_what_a_transform_made() {
    let rules = rules("[[routes]]\nmatch = '*'\nto = 'a'\n[[routes]]\nmatch = '*'\nto = 'b'\ntransform = 'api_log'");
    let event = shared("x");
    let at = |name| route(&rules, name, &event).deliveries.remove(0);
    assert!(at("a").payload == Payload::Body);
    assert!(matches!(at("b").payload, Payload::Json(row) if row.starts_with(b"{\"event_id\":")));
    assert_eq!(at("a").target.get("topic"), Some("whatsapp.x"));
}

#[test]
fn a_final_route_ends_the_search_unless_its_condition_is_false_or_fails() {
    let with = |condition: &str| {
        rules(&format!(
            "[[routes]]\nname = 'stop'\nmatch = 'x'\n{condition}\nto = 'b'\nfinal = true\n\
             [[routes]]\nname = 'rest'\nmatch = '*'\nto = ['a', 'c']"
        ))
    };
    for (condition, goes_on) in
        [("", false), ("where = 'true'", false), ("where = 'false'", true), ("where = 'error'", true)]
    {
        let rules = with(condition);
        for name in ["a", "c"] {
            let routed = route(&rules, name, &shared("x"));
            assert_eq!(routed.deliveries.len(), usize::from(goes_on), "{condition}");
            assert!(routed.failed.is_empty(), "{condition}: only sinks of the failed route are concerned");
            let cut_off = usize::from(condition == "where = 'true'");
            assert_eq!(
                routed.filtered.len(),
                cut_off,
                "{condition}: what was owed until the condition was asked is filtered"
            );
        }
        assert_eq!(delivered(&rules, "a", "y").len(), 1, "{condition}: where the final route does not match");
    }
}

#[test]
fn a_route_is_asked_once_for_a_sink_and_not_at_all_where_it_decides_nothing() {
    struct Asked(Vec<usize>);
    impl Observer for Asked {
        fn saw(&mut self, route: usize, _step: Step<'_>) {
            self.0.push(route);
        }
    }
    let rules = rules(
        "[[routes]]\nmatch = '*'\nwhere = 'false'\nto = 'b'\nfinal = true\n[[routes]]\nmatch = '*'\nto = 'a'\n\
         [[routes]]\nmatch = '*'\nwhere = 'true'\nto = 'b'\n[[routes]]\nmatch = '*'\nto = 'a'\n\
         [[routes]]\nmatch = '*'\nwhere = 'true'\nto = 'b'\nfinal = true",
    );
    let mut asked = Asked(Vec::new());
    rules.route(&sink("a"), &shared("x"), &mut asked);
    assert_eq!(asked.0, [0, 1, 3, 3], "the first decides whether to go on; the last yields a repeat");
}

#[test]
fn a_sink_named_by_two_routes_gets_each_payload_once() {
    let rules = rules(
        "[[routes]]\nname = 'one'\nmatch = '*'\ntransform = '7 7'\nto = 'a'\n\
         [[routes]]\nname = 'two'\nmatch = '*'\ntransform = '7 8'\nto = 'a'\n\
         [[routes]]\nname = 'three'\nmatch = '*'\ntransform = '8 7'\nto = 'a'\n\
         [[routes]]\nname = 'four'\nmatch = '*'\nto = 'a'\n\
         [[routes]]\nname = 'five'\nmatch = '*'\ntransform = 'body'\nto = 'a'",
    );
    let want = [format!("{ID} 7"), format!("{ID}-2 7"), format!("{ID}-two-2 8"), format!("{ID}-four {{\"n\":1}}")];
    assert_eq!(delivered(&rules, "a", "x"), want, "within one route every output is meant");
    assert_eq!(route(&rules, "a", &shared("x")).filtered, ["three".into(), "five".into()]);
}

#[test]
fn a_rule_that_fails_makes_one_dead_letter_and_the_others_go_on() {
    let rules = rules(
        "[[routes]]\nmatch = '*'\nwhere = 'error'\nto = 'a'\n\
         [[routes]]\nname = 'broken'\nmatch = '*'\ntransform = 'error'\nto = 'a'\n\
         [[routes]]\nname = 'empty'\nmatch = '*'\ntransform = '-'\nto = 'a'\n\
         [[routes]]\nname = 'no'\nmatch = '*'\nwhere = 'false'\nto = 'a'\n\
         [[routes]]\nname = 'fine'\nmatch = '*'\nto = 'a'",
    );
    let routed = route(&rules, "a", &shared("x"));
    let failed: Vec<String> = routed.failed.iter().map(|f| format!("{} {} {:?}", f.id, f.reason, f.payload)).collect();
    let want = [format!("{ID} rule_error: no such field None"), format!("{ID}-broken rule_error: cannot index None")];
    assert_eq!(failed, want);
    assert_eq!((routed.deliveries.len(), routed.filtered), (1, vec!["empty".into(), "no".into()]));
    assert_eq!(routed.deliveries[0].id, format!("{ID}-fine"));
}

#[test]
fn a_target_that_cannot_be_rendered_fails_with_the_payload_kept() {
    let rules =
        rules("[[routes]]\nmatch = '*'\nto = 'a'\n[[routes]]\nname = 'two'\nmatch = '*'\ntransform = '1'\nto = 'a'");
    let routed = rules.route(&sink_without_target("a"), &shared("x"), &mut ());
    assert!(routed.deliveries.is_empty());
    let failed: Vec<_> = routed.failed.iter().map(|f| (f.id.as_str(), f.payload.as_deref(), f.reason.code)).collect();
    assert_eq!(failed, [(ID, None, "bad_payload"), (&format!("{ID}-two"), Some(&b"1"[..]), "bad_payload")]);
}

#[test]
fn the_key_is_the_sinks_where_it_has_one_and_renders_it_and_else_the_events() {
    let rules = rules("[[routes]]\nmatch = '*'\nto = 'a'");
    let key = |template: Option<&str>, subject: &str| {
        let mut to = sink("a");
        to.key = template.map(|t| Template::parse(t).unwrap());
        let mut event = event("x/é", b"");
        event.subject = subject.into();
        rules.route(&to, &Arc::new(event), &mut ()).deliveries.remove(0).key
    };
    assert_eq!(&*key(None, "s"), "m-1");
    assert_eq!(&*key(Some("{type}:{subject}"), "s"), "x/é:s");
    assert_eq!(&*key(Some("{subject}"), ""), "m-1", "events about nothing do not wait for each other");
}

#[test]
fn a_key_from_the_body_is_the_events_not_the_payloads_and_fails_where_it_is_missing() {
    let rules = rules("[[routes]]\nmatch = '*'\ntransform = '{\"n\":2}'\nto = 'a'");
    let mut to = sink("a");
    to.key = Some(Template::parse("{.n}").unwrap());
    let routed = |body: &[u8]| rules.route(&to, &Arc::new(event("x", body)), &mut ());
    assert_eq!(&*routed(br#"{"n":1}"#).deliveries[0].key, "1");
    let failed = routed(b"{}").failed.remove(0);
    assert_eq!((failed.reason.code, failed.payload.as_deref()), ("rule_error", Some(&br#"{"n":2}"#[..])));
}

#[test]
fn globs_go_over_any_type_and_a_star_matches_them_all() {
    let rules = rules("[[routes]]\nmatch = '*'\nto = 'a'\n[[routes]]\nmatch = ['m_{a,b}_*', 'q?']\nto = 'b'");
    for kind in ["m_a_sent", "a/b", ".hidden", "..", "line\nbreak", "unknown", "é", "a.b/"] {
        assert!(rules.wants("a", "interakt", kind), "{kind:?}");
    }
    for (kind, wanted) in
        [("m_a_sent", true), ("m_b_x/y", true), ("m_c_x", false), ("q1", true), ("q", false), ("M_A_X", false)]
    {
        assert_eq!(rules.wants("b", "interakt", kind), wanted, "{kind}");
    }
}

#[test]
fn sources_are_kept_apart_and_internal_events_go_only_where_a_route_says_so() {
    let rules = rules(
        "[[routes]]\nmatch = '*'\nto = 'a'\n[[routes]]\nmatch = '*'\nsource = 'other'\nto = 'b'\n\
         [[routes]]\nmatch = 'sink_*'\nsource = 'hookrelay'\nto = 'c'",
    );
    let wanting =
        |source: &str| SINKS.iter().filter(|s| rules.wants(s, source, "sink_down")).copied().collect::<String>();
    assert_eq!((wanting("interakt"), wanting("other"), wanting("hookrelay")), ("a".into(), "ab".into(), "c".into()));
    assert!(!rules.matched("hookrelay", "started"));
    assert!(rules.matched("hookrelay", "sink_down"));
}

#[test]
fn at_most_so_many_types_are_remembered_and_the_rest_are_right_all_the_same() {
    let rules = rules("[[routes]]\nmatch = 'even_*'\nto = 'a'");
    for _ in 0..2 {
        for n in 0..MAX_TYPES / 2 + 10 {
            assert!(rules.wants("a", "interakt", &format!("even_{n}")));
            assert!(!rules.matched("other", &format!("odd_{n}")));
        }
        assert_eq!(rules.remembered(), MAX_TYPES);
    }
    assert_eq!(delivered(&rules, "a", "even_later").len(), 1);
    assert_eq!(rules.remembered(), MAX_TYPES);
}

/// A route table of small words, so that globs, sinks and types meet often.
fn any_route() -> impl Strategy<Value = String> {
    let globs = prop::sample::select(vec!["'*'", "'x'", "['y', 'x*']", "'?'"]);
    let source =
        prop::sample::select(vec!["", "source = 'interakt'\n", "source = 'other'\n", "source = 'hookrelay'\n"]);
    let condition = prop::sample::select(vec!["", "where = 'true'\n", "where = 'false'\n", "where = 'error'\n"]);
    let transform = prop::sample::select(vec!["", "body", "-", "1", "1 2", "2 3 3", "error"]);
    let to = prop::sample::subsequence(SINKS, 1..=3);
    (globs, source, condition, transform, to, any::<bool>()).prop_map(
        |(globs, source, condition, transform, to, last)| {
            let transform = if transform.is_empty() { String::new() } else { format!("transform = '{transform}'\n") };
            format!("[[routes]]\nmatch = {globs}\n{source}{condition}{transform}to = {to:?}\nfinal = {last}\n")
        },
    )
}

proptest! {
    #[test]
    fn what_is_said_before_routing_agrees_with_what_routing_does(
        tables in prop::collection::vec(any_route(), 1..7),
        kind in prop::sample::select(vec!["x", "y", "xy", "zz"]),
        source in prop::sample::select(vec!["interakt", "other", "hookrelay"]),
        fails in any::<bool>(),
    ) {
        let rules = rules(&tables.concat());
        let mut event = event(kind, b"{}");
        event.source = source.into();
        let event = Arc::new(event);
        let mut any_wants = false;
        for name in SINKS {
            let to = if fails { sink_without_target(name) } else { sink(name) };
            let routed = rules.route(&to, &event, &mut ());
            let owed = rules.owed(name, source, kind);
            any_wants |= owed > 0;
            prop_assert_eq!(rules.wants(name, source, kind), owed > 0);
            let settled = routed.deliveries.len() + routed.failed.len() + routed.filtered.len();
            prop_assert!(settled >= owed as usize, "{settled} of {owed}: {routed:?}");
            prop_assert!(owed > 0 || settled == 0, "nothing owed, yet {routed:?}");
            prop_assert!(routed.filtered.len() <= owed as usize);
            let mut ids: Vec<&str> = routed.deliveries.iter().map(|d| d.id.as_str()).collect();
            ids.extend(routed.failed.iter().map(|f| f.id.as_str()));
            ids.sort_unstable();
            let count = ids.len();
            ids.dedup();
            prop_assert_eq!(ids.len(), count, "ids are unique at a sink");
            // Memory and working out anew say the same.
            prop_assert_eq!(&rules.route(&to, &event, &mut ()), &routed);
        }
        prop_assert_eq!(rules.matched(source, kind), any_wants);
    }

    #[test]
    fn a_sink_gets_what_a_plain_reading_of_the_rules_gives_it(
        tables in prop::collection::vec(any_route(), 1..7),
        kind in prop::sample::select(vec!["x", "y", "xy", "zz"]),
    ) {
        let text = tables.concat();
        let rules = rules(&text);
        for name in SINKS {
            let routed = route(&rules, name, &shared(kind));
            let text_of = |delivery: &Delivery| String::from_utf8_lossy(delivery.bytes()).into_owned();
            let got: Vec<String> = routed.deliveries.iter().map(text_of).collect();
            prop_assert_eq!(got, plain_reading(&text, name, kind));
        }
    }
}

/// The payloads a sink is due, by the words of the rules and nothing else.
fn plain_reading(text: &str, sink: &str, kind: &str) -> Vec<String> {
    let mut payloads: Vec<String> = Vec::new();
    for route in super::routes(text) {
        let glob = |g: &String| match g.as_str() {
            "*" => true,
            "?" => kind.len() == 1,
            "x*" => kind.starts_with('x'),
            word => word == kind,
        };
        let source = route.source.as_deref().is_none_or(|s| s == "interakt");
        let holds = route.condition.as_deref().is_none_or(|c| c == "true");
        if !(source && holds && route.globs.iter().any(glob)) {
            continue;
        }
        if route.to.iter().any(|to| to == sink) {
            let made: Vec<String> = match route.transform.as_deref() {
                None | Some("body") => vec![r#"{"n":1}"#.into()],
                Some("-" | "error") => vec![],
                Some(words) => words.split(' ').map(str::to_owned).collect(),
            };
            let new: Vec<String> = made.into_iter().filter(|p| !payloads.contains(p)).collect();
            payloads.extend(new);
        }
        if route.is_final {
            break;
        }
    }
    payloads
}
