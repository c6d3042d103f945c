//! Configs that send messages: whose rules have which sink, what the daemon adds of its own, what is doubted. The sink
//! that sends is a stand-in: `stdout`, said to send.

use sink_api::SinkKind;

use super::*;
use crate::outbox::FOLLOWER;
use crate::route::INTERNAL_SOURCE;

const SENDER: &str = "[sinks.wa]\nkind = \"sender\"\n";
const RULE: &str = "[resend.marketing]\nmatch = \"message_*_failed\"\n";

fn try_load(text: &str) -> Result<Config, Faults> {
    let stdout = KINDS.iter().find(|kind| kind.name == "stdout").unwrap();
    let sender = SinkKind { name: "sender", sends: true, ..*stdout };
    let kinds: Vec<SinkKind> = KINDS.iter().copied().chain([sender]).collect();
    load(text, Path::new("/etc/relay/config.toml"), &FakeEnv::default(), &kinds)
}

fn good(text: &str) -> Config {
    try_load(&format!("{SOURCE}{text}")).unwrap_or_else(|faults| panic!("{faults}"))
}

fn warnings(text: &str) -> String {
    good(text).warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

fn fault(text: &str) -> String {
    try_load(&format!("{SOURCE}{text}")).map(drop).unwrap_err().to_string()
}

#[test]
fn a_config_that_sends_nothing_has_nothing_of_the_daemons_own() {
    let config = good("[sinks.outbox]\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nto = \"outbox\"\n");
    assert_eq!(config.sink_names().collect::<Vec<_>>(), ["outbox"]);
    assert_eq!(config.rules.owed("outbox", "interakt", "message_api_failed"), 1);
    assert_eq!(config.rules.owed("outbox", INTERNAL_SOURCE, "message.send"), 0);
    assert!(config.warnings.is_empty() && config.resends.is_empty());
}

#[test]
fn where_something_sends_the_daemon_hears_of_statuses_and_commands_find_their_sink() {
    let config =
        good(&format!("{SENDER}[sinks.a]\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nto = \"a\"\nfinal = true\n"));
    assert_eq!(config.sink_names().collect::<Vec<_>>(), ["wa", "a", FOLLOWER]);
    assert_eq!(config.own_sinks().count(), 2);
    let owed = |sink: &str, source: &str, kind: &str| config.rules.owed(sink, source, kind);
    assert_eq!(owed(FOLLOWER, "interakt", "message_api_read"), 1, "behind a final route, too");
    assert_eq!(owed(FOLLOWER, "interakt", "message_received"), 0);
    assert_eq!((owed("wa", INTERNAL_SOURCE, "message.resend"), owed("wa", INTERNAL_SOURCE, "message.send")), (1, 1));
    assert_eq!((owed("a", INTERNAL_SOURCE, "message.send"), owed("wa", "interakt", "message.send")), (0, 0));
    // Neither is a route of the user's.
    assert_eq!((config.routes.len(), config.rules.route_names().collect::<Vec<_>>().len()), (1, 1));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let alone = good(SENDER);
    assert!(!alone.rules.matched("interakt", "message_api_read"), "unmatched, but for the daemon itself");
    assert!(alone.warnings.is_empty(), "{:?}", alone.warnings);
    assert!(
        fault(&format!("{SENDER}[sinks.outbox]\nkind = \"stdout\"\n")).contains("4:1: error: [sinks.outbox] the name")
    );
}

#[test]
fn commands_go_only_to_routes_whose_globs_name_them() {
    let route = |glob: &str| {
        let route = format!("[[routes]]\nsource = \"hookrelay\"\nmatch = \"{glob}\"\nto = \"a\"\n");
        good(&format!("{SENDER}[sinks.a]\nkind = \"stdout\"\n{route}"))
    };
    for (glob, owed) in [("*", [0, 0, 1]), ("message.*", [1, 1, 0]), ("{message.send,sink.*}", [1, 0, 1])] {
        let config = route(glob);
        let of = |kind| config.rules.owed("a", INTERNAL_SOURCE, kind);
        assert_eq!(["message.send", "message.resend", "sink.down"].map(of), owed, "{glob}");
        assert_eq!(config.rules.owed("wa", INTERNAL_SOURCE, "message.send"), 1, "{glob}");
    }
}

#[test]
fn a_rule_has_the_sink_that_it_names_or_the_only_one_that_sends() {
    let config = good(&format!("{SENDER}{RULE}"));
    assert!(config.resends.has("marketing") && config.resends.sink_of("marketing") == Some("wa"));
    let two = format!("{SENDER}[sinks.wb]\nkind = \"sender\"\n{RULE}");
    let message = fault(&two);
    assert!(message.contains("6:1: error: [resend.marketing] missing key `to`: several sinks send"), "{message}");
    assert!(message.contains("help: write to = \"wa\" or to = \"wb\""), "{message}");
    assert_eq!(good(&format!("{two}to = \"wb\"\n")).resends.sink_of("marketing"), Some("wb"));
    // A sink with a fault of its own makes no further one.
    let message = fault(&format!("[sinks.wa]\nkind = \"sendr\"\n{RULE}to = \"wa\"\n"));
    assert_eq!(message.matches("error:").count(), 1, "{message}");
}

#[test]
fn what_a_rule_says_and_cannot_be_meant_is_doubted() {
    let doubts = |keys: &str| warnings(&format!("{SENDER}[resend.a]\n{keys}\n"));
    assert_eq!(doubts("match = \"message_*_failed\""), "");
    let told = doubts("match = [\"message_api_failed\", \"message_api_sent\"]");
    assert!(told.contains("5:32: warning: [resend.a] key `match`: `message_api_sent` matches no known type"), "{told}");
    let told = doubts("match = \"*\"\ncodes = { 130429 = { after = \"1m\", times = 5 } }");
    assert!(told.contains("`times` is 5, and `max_attempts` 3") && told.contains("max_attempts = 5"), "{told}");
    let told = doubts("match = \"*\"\nmax_attempts = 5");
    assert!(told.contains("that of [sinks.wa] 3: it ends after 3"), "{told}");
    let told = doubts("match = \"*\"\ncodes = { 131049 = { after = \"3d\", times = 3 }, E1 = \"never\" }");
    assert!(told.contains("go beyond `max_age` (7days)") && told.contains("write times = 2"), "{told}");
    assert!(told.contains("`codes.E1`: WhatsApp's codes are digits"), "{told}");
    let told = doubts("match = \"message_*_failed\"\n[resend.b]\nmatch = \"message_api_failed\"");
    assert!(told.contains("[resend.b] key `match`") || told.contains("never asked: [resend.a] before it"), "{told}");
    assert_eq!(doubts("match = \"message_api_failed\"\n[resend.b]\nmatch = \"message_*_failed\""), "");
    let two = "sources.j = { kind = \"interakt\", path = \"/j\", secret = \"a-long-secret-of-its-own\" }\n";
    let told = try_load(&format!("{two}{SOURCE}{SENDER}{RULE}")).unwrap().warnings;
    assert!(told.iter().any(|told| told.to_string().contains("statuses of several sources")), "{told:?}");
    let told = warnings(&format!("{SENDER}enabled = false\n{RULE}"));
    assert!(told.contains("sink `wa` has `enabled = false`"), "{told}");
    let sender = "[sinks.wa]\nkind = \"interakt\"\napi_key = \"a2V5OnNlY3JldA==\"\nmax_age = \"1h\"\n";
    let told = warnings(&format!("{sender}{RULE}codes = {{ 131049 = {{ after = \"2h\", times = 1 }} }}\n"));
    assert!(told.contains("longer than `max_age` of [sinks.wa] (1h): it would never be sent"), "{told}");
    let other = "sources.g = { kind = \"github\", path = \"/g\", secret = \"a-long-secret\" }\n";
    let config = try_load(&format!("{other}{SENDER}{RULE}")).unwrap();
    assert!(
        config.warnings[0].to_string().contains("no source says what becomes of messages"),
        "{:?}",
        config.warnings
    );
    assert_eq!(config.sink_names().collect::<Vec<_>>(), ["wa"], "nobody could hear anything");
}

#[test]
fn a_route_that_could_answer_itself_is_doubted_unless_something_bounds_it() {
    let route = |keys: &str| format!("[[routes]]\nto = \"wa\"\n{keys}\n");
    let told = warnings(&format!("{SENDER}{}", route("match = \"message_api_*\"")));
    assert!(told.contains("5:6: warning: [routes] key `to`: sink `wa` sends messages"), "{told}");
    assert!(
        told.contains("`message_api_sent`")
            && told.contains("more than 3 further")
            && told.contains("after 7d")
            && told.contains("$event.resend == null"),
        "{told}"
    );
    // An `or` lets tries through, and so does a word about `$event.resend` that asks for nothing.
    for open in ["$event.resend == null or .a", "$event.resend.of != \"x\""] {
        let told =
            warnings(&format!("{SENDER}{}", route(&format!("match = \"message_api_failed\"\nwhere = '{open}'"))));
        assert!(told.contains("could answer itself"), "{open}");
    }
    for bounded in [
        format!("{SENDER}{}", route("match = \"message_received\"")),
        format!("{SENDER}{}", route("match = \"message_api_failed\"\nwhere = '$event.resend == null'")),
        format!("{SENDER}{}", route("match = \"*\"\nsource = \"hookrelay\"")),
        format!("{SENDER}[sinks.a]\nkind = \"stdout\"\n[[routes]]\nmatch = \"*\"\nto = \"a\"\n"),
    ] {
        assert_eq!(warnings(&bounded), "", "{bounded}");
    }
}
