//! Warns of rules that are valid but cannot be meant: a glob that matches no known type of its sources, or that is
//! written as a regular expression; a route that no event reaches; a condition that is the same for all events. These
//! are warnings, never faults: a provider may send types that we do not know. Pure.
//!
//! For most sources the provider's types are not known. A glob for such a source is doubted only if it holds signs that
//! no provider's types have.

use sink_api::fault::nearest;
use sink_api::{At, Fault};

use super::config::RouteConfig;
use super::glob;
use super::jq::{NoQuestion, no_question};
use super::rules::{INTERNAL_SOURCE, RuleSet};
use crate::news::TYPES;

/// A source's name, and the types that it is known to send; no types where they are not known.
pub type Known<'c> = (&'c str, &'static [&'static str]);

/// Most types that a warning or an explanation names.
const MOST_NAMED: usize = 12;
/// Replaces `*` and `?` of a glob that is tested as a type against another glob. No glob holds this letter, so that
/// only a `*` of the other glob matches it.
const ANYTHING: &str = "\u{f8ff}";

/// The warnings about the routes of a rule set, each with the index of its route.
pub fn doubts(rules: &RuleSet, routes: &[RouteConfig], sources: &[Known<'_>]) -> Vec<(usize, Fault)> {
    let mut doubts = Vec::new();
    let sources = &[sources, &[(INTERNAL_SOURCE, TYPES)]].concat();
    for (index, route) in routes.iter().enumerate() {
        let concerned: Vec<Known<'_>> = sources.iter().filter(|source| concerns(route, source.0)).copied().collect();
        let (names, types) = known(&concerned);
        for (n, glob) in route.globs.iter().enumerate() {
            let doubt = of_glob(glob, &names, &types).map(|fault| (index, at_glob(fault, n)));
            doubts.extend(doubt);
        }
        let name = |last| rules.route_names().nth(last).unwrap_or_default();
        doubts.extend(ends_before(routes, index, sources).map(|last| (index, unreached(name(last)))));
        doubts.extend(route.condition.as_deref().and_then(no_question).map(|why| (index, of_condition(why))));
    }
    doubts
}

/// The types of a list as text for people; of a long list the first ones.
pub fn named(types: &[&str]) -> String {
    let shown = types.iter().take(MOST_NAMED).map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ");
    match types.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Whether the route takes events of that source.
fn concerns(route: &RouteConfig, source: &str) -> bool {
    route.source.as_deref().map_or(source != INTERNAL_SOURCE, |wanted| wanted == source)
}

/// The sources' names as text for people, and the types of all of them; no types if those of one are not known.
fn known(sources: &[Known<'_>]) -> (String, Vec<&'static str>) {
    let names: Vec<String> = sources.iter().map(|(name, _)| format!("`{name}`")).collect();
    let all_known = sources.iter().all(|(_, types)| !types.is_empty());
    let mut types: Vec<&str> = Vec::new();
    for kind in sources.iter().filter(|_| all_known).flat_map(|(_, types)| *types) {
        if !types.contains(kind) {
            types.push(*kind);
        }
    }
    (names.join(", "), types)
}

fn at_glob(fault: Fault, n: usize) -> Fault {
    Fault { at: At::Key(format!("match.{n}")), ..fault }
}

fn of_glob(text: &str, sources: &str, types: &[&str]) -> Option<Fault> {
    let doubt = |what: String| Some(Fault::at_key("match", format!("key `match`: `{text}` {what}")));
    let like = |instead: &str| match glob::matching(instead, types).as_slice() {
        [] => format!("write `{instead}`"),
        like => format!("write `{instead}`, which matches {}", named(like)),
    };
    // A glob that matches something means it.
    let matches_none = !types.is_empty() && glob::matching(text, types).is_empty();
    if let Some((sign, instead)) = sign_of_regex(text, matches_none) {
        let help = match instead.split_once('|') {
            None => like(&instead),
            Some(_) => format!("write a list: match = [{}]", quoted(&instead)),
        };
        let what = format!("is written as a regular expression (`{sign}`), and read as a glob (`*`, `?`, `{{a,b}}`)");
        return doubt(what).map(|fault| fault.help(help));
    }
    if !matches_none {
        return None;
    }
    let lower = text.to_lowercase();
    if lower != text && !types.iter().any(|kind| kind.chars().any(char::is_uppercase)) {
        let near = nearest(&lower, types.iter().copied()).filter(|_| glob::matching(&lower, types).is_empty());
        let help = near.map_or_else(|| like(&lower), |near| format!("did you mean `{near}`?"));
        return doubt(format!("matches no type: those of source {sources} have no capitals")).map(|f| f.help(help));
    }
    let all_are_known = types == TYPES;
    if text.contains(['*', '?', '[']) && !all_are_known {
        return None; // for a type to come
    }
    let fault = doubt(format!("is no known type of source {sources}"))?;
    match nearest(text, types.iter().copied()) {
        Some(near) => Some(fault.help(format!("did you mean `{near}`?"))),
        None if all_are_known => Some(fault.help(format!("expected {}", named(types)))),
        None => Some(fault.help("where it is a type that is new, all is well: it is matched when it comes")),
    }
}

/// A sign that regular expressions have and globs over types do not, and the text written as a glob. `.*` may be meant
/// if types have full stops (`invoice.*`): unless it matches no known type, it counts only where no word ends
/// before it.
fn sign_of_regex(text: &str, matches_none: bool) -> Option<(&'static str, String)> {
    let trimmed = text.trim_start_matches('^').trim_end_matches('$');
    // Alternatives of a part stand in braces, those of the whole in a list.
    let or = if trimmed.contains(['(', '{']) { "," } else { "|" };
    let braced = |text: &str| text.replace('(', "{").replace(')', "}").replace('|', or);
    let plain = |text: &str| braced(&text.replace(".*", "*").replace('\\', ""));
    let in_no_word = |at: usize| !text.get(..at).is_some_and(|before| before.ends_with(|c: char| c.is_alphanumeric()));
    let signs = [
        ("|", text.contains('|')),
        ("\\", text.contains('\\')),
        (".*", text.match_indices(".*").any(|(at, _)| matches_none || in_no_word(at))),
        ("^", text.starts_with('^')),
        ("$", text.ends_with('$')),
    ];
    let (sign, _) = signs.into_iter().find(|(_, is_there)| *is_there)?;
    Some((sign, plain(trimmed)))
}

/// Alternatives, separated by `|`, as the items of a TOML list.
fn quoted(alternatives: &str) -> String {
    alternatives.split('|').map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", ")
}

/// Whether final routes before this one take every event that it could match: the index of the last of them. `None` if
/// some event may reach it.
fn ends_before(routes: &[RouteConfig], index: usize, sources: &[Known<'_>]) -> Option<usize> {
    let route = routes.get(index)?;
    let concerned = sources.iter().map(|(name, _)| *name).filter(|name| concerns(route, name));
    let mut last = None;
    for source in concerned {
        for glob in &route.globs {
            let ends = |earlier: &RouteConfig| {
                let is_last = earlier.is_final && earlier.condition.is_none() && concerns(earlier, source);
                is_last && earlier.globs.iter().any(|earlier| covers(earlier, glob))
            };
            last = Some(routes.iter().take(index).position(ends)?).max(last);
        }
    }
    last
}

/// Whether `earlier` matches every type that `later` matches; false where that is not certain.
fn covers(earlier: &str, later: &str) -> bool {
    if earlier == later || (!earlier.is_empty() && earlier.bytes().all(|byte| byte == b'*')) {
        return true;
    }
    let is_plain = !earlier.contains(['?', '[', '\\']) && !later.contains(['[', '{', '\\']);
    is_plain && !glob::matching(earlier, &[later.replace(['*', '?'], ANYTHING).as_str()]).is_empty()
}

fn unreached(name: &str) -> Fault {
    let message = format!("no event reaches this route: what it matches ends at `{name}` before it, which is final");
    Fault { at: At::Table, message, help: Some("move it up, or take `final` away there".to_owned()) }
}

/// What is said of a condition that asks nothing of an event, and the help; `None` of one that asks something.
pub fn asks_nothing(condition: &str) -> Option<(&'static str, &'static str)> {
    no_question(condition).map(words)
}

fn of_condition(why: NoQuestion) -> Fault {
    let (what, help) = words(why);
    Fault::at_key("where", format!("key `where`: {what}")).help(help)
}

fn words(why: NoQuestion) -> (&'static str, &'static str) {
    match why {
        NoQuestion::Assignment => (
            "is an assignment: `=` sets a value and yields the changed body, so it holds for every event",
            "did you mean `==`, which compares?",
        ),
        NoQuestion::Constant => {
            ("is a constant: it is the same for every event", "ask for something of the body, or leave it out")
        }
        NoQuestion::Side => (
            "is decided by one side of its `or` or `and` that is a constant",
            "say the comparison again: `.x == \"a\" or .x == \"b\"`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::route::JqEval;

    const TYPES: &[&str] = &["message_api_sent", "message_api_failed", "message_campaign_failed", "unknown"];

    fn routes(text: &str) -> Vec<RouteConfig> {
        #[derive(serde::Deserialize)]
        struct File {
            routes: Vec<RouteConfig>,
        }
        toml::from_str::<File>(text).unwrap().routes
    }

    fn all(text: &str, sources: &[Known<'_>]) -> Vec<(usize, Fault)> {
        let routes = routes(text);
        let names: Vec<&str> = sources.iter().map(|(name, _)| *name).collect();
        let rules = RuleSet::compile(&routes, &["s"], &names, Arc::new(JqEval)).unwrap();
        doubts(&rules, &routes, sources)
    }

    /// What is said of one glob at a source of these types, with the help.
    fn said(glob: &str, types: &'static [&'static str]) -> Option<String> {
        let found = all(&format!("[[routes]]\nmatch = '{glob}'\nto = \"s\"\n"), &[("interakt", types)]);
        found.into_iter().next().map(|(_, fault)| format!("{}; {}", fault.message, fault.help.unwrap_or_default()))
    }

    #[test]
    fn a_glob_that_matches_no_known_type_is_doubted_with_the_nearest_one() {
        for (glob, texts) in [
            ("message_api_fail", ["no known type of source `interakt`", "did you mean `message_api_failed`?"]),
            (
                "message_.*_failed",
                ["regular expression (`.*`)", "`message_*_failed`, which matches `message_api_failed`, "],
            ),
            ("message_api_sent|unknown", ["regular expression (`|`)", r#"match = ["message_api_sent", "unknown"]"#]),
            (
                "message_(api|bot)_sent",
                ["regular expression (`|`)", "`message_{api,bot}_sent`, which matches `message_api_sent`"],
            ),
            (r"message\_api\_sent", [r"regular expression (`\`)", "write `message_api_sent`, which"]),
            ("^message_api_sent", ["regular expression (`^`)", "write `message_api_sent`"]),
            ("message_api_sent$", ["regular expression (`$`)", "write `message_api_sent`"]),
            ("Message_*_Failed", ["no capitals", "write `message_*_failed`, which matches `message_api_failed`"]),
            ("Message_Api_Fail", ["no capitals", "did you mean `message_api_failed`?"]),
            ("{order_paid,order_sent}", ["no known type", "where it is a type that is new"]),
        ] {
            let said = said(glob, TYPES).unwrap_or_else(|| panic!("{glob}"));
            assert!(texts.iter().all(|text| said.contains(text)), "{glob}: {said}");
        }
        for glob in
            ["*", "message_*", "unknown", "[m]essage_api_sent", "message_ap?_sent", "order_*", "{unknown,new_one}"]
        {
            assert_eq!(said(glob, TYPES), None, "{glob}");
        }
    }

    #[test]
    fn where_the_types_are_not_known_only_signs_that_no_type_has_are_doubted() {
        for glob in ["message_.*_failed", ".*", "a|b", r"a\.b", "^push$"] {
            assert!(said(glob, &[]).is_some(), "{glob}");
        }
        for glob in ["invoice.*", "customer.subscription.*", "Push", "orders/create", "message_api_fail"] {
            assert_eq!(said(glob, &[]), None, "{glob}");
        }
        // A route without a source concerns them all, and one with a source that one alone.
        let two: &[Known<'_>] = &[("interakt", TYPES), ("stripe", &[])];
        assert_eq!(all("[[routes]]\nmatch = \"invoice.paid\"\nto = \"s\"\n", two), []);
        assert_eq!(all("[[routes]]\nmatch = \"Push\"\nsource = \"stripe\"\nto = \"s\"\n", two), []);
        let found = all("[[routes]]\nmatch = [\"*\", \"push\"]\nsource = \"interakt\"\nto = \"s\"\n", two);
        assert_eq!(found.iter().map(|(_, fault)| &fault.at).collect::<Vec<_>>(), [&At::Key("match.1".into())]);
    }

    #[test]
    fn the_types_of_the_daemons_own_events_are_all_known() {
        let said = |glob: &str| {
            let text = format!("[[routes]]\nmatch = '{glob}'\nsource = \"hookrelay\"\nto = \"s\"\n");
            all(&text, &[("interakt", TYPES)]).pop().map(|(_, fault)| fault.help.unwrap_or_default())
        };
        for good in ["*", "sink.*", "sink.{down,up}", "config.refused"] {
            assert_eq!(said(good), None, "{good}");
        }
        assert_eq!(said("sink.dwon").unwrap(), "did you mean `sink.down`?");
        assert!(said("sink_*").unwrap().starts_with("expected `request.refused`, "), "{:?}", said("sink_*"));
    }

    #[test]
    fn a_route_is_doubted_where_every_event_it_takes_ends_before_it() {
        let two: &[Known<'_>] = &[("interakt", TYPES), ("stripe", &[])];
        let route = |keys: &str| format!("[[routes]]\nto = \"s\"\n{keys}\n");
        let reached = |routes: &[&str]| {
            let text: String = routes.iter().map(|keys| route(keys)).collect();
            all(&text, two).iter().all(|(_, fault)| !fault.message.contains("no event reaches"))
        };
        for routes in [
            ["match = \"*\"\nfinal = true", "match = \"a_*\""],
            ["match = \"message_*\"\nfinal = true", "match = \"message_api_*\""],
            ["match = \"{a,b}*\"\nfinal = true", "match = [\"a_?\", \"b\"]"],
            ["match = \"a\"\nfinal = true", "match = \"a\"\nsource = \"stripe\""],
            ["match = \"*\"\nsource = \"stripe\"\nfinal = true", "match = \"x\"\nsource = \"stripe\""],
            ["match = \"*\"\nsource = \"hookrelay\"\nfinal = true", "match = \"x\"\nsource = \"hookrelay\""],
        ] {
            assert!(!reached(&routes), "{routes:?}");
        }
        for routes in [
            ["match = \"*\"", "match = \"a\""],
            ["match = \"*\"\nfinal = true\nwhere = '.a'", "match = \"a\""],
            ["match = \"message_api_*\"\nfinal = true", "match = \"message_*\""],
            ["match = \"a_?\"\nfinal = true", "match = \"a_*\""],
            ["match = \"{a,a_?}\"\nfinal = true", "match = \"a_*\""],
            ["match = \"a*\"\nfinal = true", "match = [\"ab\", \"b\"]"],
            ["match = \"*\"\nsource = \"stripe\"\nfinal = true", "match = \"a\""],
            ["match = \"*\"\nfinal = true", "match = \"a\"\nsource = \"hookrelay\""],
        ] {
            assert!(reached(&routes), "{routes:?}");
        }
        // Together they leave nothing.
        let both =
            ["match = \"*\"\nsource = \"stripe\"\nfinal = true", "match = \"*\"\nsource = \"interakt\"\nfinal = true"];
        assert!(!reached(&[both[0], both[1], "match = \"a\""]));
    }

    #[test]
    fn a_condition_that_asks_nothing_is_doubted() {
        let said = |condition: &str| {
            let text = format!("[[routes]]\nmatch = \"*\"\nwhere = '{condition}'\nto = \"s\"\n");
            all(&text, &[("interakt", TYPES)]).pop().map(|(_, fault)| fault.message)
        };
        assert!(said(r#".code = "131026""#).unwrap().contains("an assignment"));
        assert!(said("true").unwrap().contains("a constant"));
        assert_eq!(said(r#".code == "131026""#), None);
    }
}
