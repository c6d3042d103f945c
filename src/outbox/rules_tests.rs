//! What rules make of failures: when, how often, and until when something is sent again.

use std::collections::BTreeMap;

use sink_api::CallId;

use super::*;
use crate::message::SAMPLE_MARK;

const FAILED: &str = include_str!("../../tests/fixtures/interakt/message_api_failed.json");
const ID: &str = "13e5bece-43cb-4aec-8f00-8d7eb7bc86cf";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Rules of this text, all to the sink `wa`.
fn rules(text: &str) -> Rules {
    #[derive(serde::Deserialize)]
    struct File {
        resend: Vec<ResendKeys>,
    }
    let file: File = toml::from_str(&text.replace("[resend]", "[[resend]]")).unwrap();
    for keys in &file.resend {
        assert_eq!(keys.check(), []);
    }
    let named = file.resend.into_iter().enumerate().map(|(n, keys)| (format!("r{}", n + 1), keys, "wa".to_owned()));
    Rules::new(named, &Zone::utc())
}

/// A failure with that code, accepted and failed at that time.
struct Case {
    event: Event,
    said: Said,
    origin: Option<Origin>,
    chain: Chain,
}

fn failure(code: &str, at: &str) -> Case {
    let body = FAILED.replace("\"1013\"", &format!("\"{code}\"")).replace("2026-01-13T10:41:10.699936", at);
    let body = body.replace("2026-01-13T10:41:10.502000", at);
    let said = Said::read(body.as_bytes()).unwrap();
    let event = Event {
        source: "interakt".into(),
        kind: "message_api_failed".into(),
        subject: ID.into(),
        time: time(&format!("{at}Z")),
        ..crate::event::own(body.into())
    };
    Case { event, said, origin: None, chain: Chain::default() }
}

impl Case {
    fn after(mut self, by_code: &[(&str, u32)]) -> Self {
        let by_code: BTreeMap<String, u32> = by_code.iter().map(|(code, n)| ((*code).to_owned(), *n)).collect();
        let total = by_code.values().sum();
        let call = CallId::of("wa", "x");
        let since = self.event.time.as_second();
        self.origin = (total > 0).then(|| Origin { call, attempt: total, since, of: "m-1".into() });
        self.chain = Chain { total, by_code };
        self
    }

    fn decide(&self, rules: &Rules, now: &str) -> Decision {
        let (event, said, origin, chain) = (&self.event, &self.said, self.origin.as_ref(), &self.chain);
        rules.decide(&Failed { event, said, origin, chain, sent: None }, time(now))
    }

    /// When it is sent again; else in a word why it is not.
    fn due(&self, rules: &Rules, now: &str) -> String {
        match self.decide(rules, now) {
            Decision::NoRule => "no rule".to_owned(),
            Decision::Never { .. } => "never".to_owned(),
            Decision::Exhausted { why, .. } => why,
            Decision::Resend(planned) => planned.due.to_string(),
        }
    }
}

const NOW: &str = "2026-01-13T10:41:20Z";
const AT: &str = "2026-01-13T10:41:10";

#[test]
fn a_rules_own_word_on_a_code_comes_before_the_table_and_unknown_codes_are_never_tried() {
    let own =
        "[resend]\nmatch = \"message_*_failed\"\ncodes = { 1013 = { after = \"1h\", times = 1 }, 131049 = \"never\" }";
    let all = "[resend]\nmatch = \"*\"\ncodes = { \"*\" = { after = \"2h\", times = 1 } }";
    let plain = "[resend]\nmatch = \"*\"";
    for (text, code, due) in [
        (own, "1013", "2026-01-13T11:41:10Z"),
        (own, "131049", "never"),
        (own, "130429", "2026-01-13T10:51:10Z"),
        (own, "999999", "never"),
        (all, "999999", "2026-01-13T12:41:10Z"),
        (all, "", "2026-01-13T12:41:10Z"),
        (all, "1013", "never"),
        (plain, "131049", "2026-01-14T10:41:10Z"),
        (plain, "131026", "never"),
        (plain, "131050", "never"),
        (plain, "132000", "never"),
        (plain, "", "never"),
    ] {
        assert_eq!(failure(code, AT).due(&rules(text), NOW), due, "{code} by {text}");
    }
}

#[test]
fn the_first_rule_that_matches_decides_alone() {
    let both = rules(
        "[resend]\nmatch = \"message_campaign_*\"\n\
         [resend]\nmatch = [\"x\", \"message_api_*\"]\nsource = \"interakt\"\n\
         codes = { 131049 = \"never\" }\n[resend]\nmatch = \"*\"",
    );
    let mut case = failure("131049", AT);
    let why = "failures with code 131049 are not tried again".to_owned();
    assert_eq!(case.decide(&both, NOW), Decision::Never { rule: "r2".into(), code: "131049".into(), why });
    case.event.source = "other".into();
    assert!(matches!(case.decide(&both, NOW), Decision::Resend(planned) if planned.rule == "r3"));
    case.event.source = crate::news::SOURCE.into();
    assert_eq!(case.decide(&both, NOW), Decision::NoRule);
    assert_eq!(case.decide(&Rules::default(), NOW), Decision::NoRule);
    assert!(both.has("r3") && !both.has("r4"));
}

#[test]
fn a_code_has_its_own_bound_and_all_codes_have_one_together() {
    let rules = rules(
        "[resend]\nmatch = \"*\"\nmax_attempts = 3\n\
         codes = { 131049 = { after = \"1h\", times = 2 }, 130429 = { after = \"1h\", times = 3 } }",
    );
    let due = |code: &str, before: &[(&str, u32)]| failure(code, AT).after(before).due(&rules, NOW);
    assert!(due("131049", &[("131049", 1)]).starts_with("2026"));
    assert!(due("131049", &[("131049", 2)]).contains("2 times for code 131049"));
    assert!(due("130429", &[("131049", 2)]).starts_with("2026"));
    assert!(due("130429", &[("131049", 2), ("130429", 1)]).contains("`max_attempts` is 3"));
    // What the chain's own statuses say counts where nothing is remembered.
    let mut forgotten = failure("131049", AT).after(&[("131049", 3)]);
    forgotten.chain = Chain::default();
    assert!(forgotten.due(&rules, NOW).contains("`max_attempts` is 3"));
}

#[test]
fn what_would_be_sent_behind_max_age_is_not_sent() {
    let rules =
        rules("[resend]\nmatch = \"*\"\nmax_age = \"30h\"\ncodes = { 131049 = { after = \"24h\", times = 9 } }");
    let mut case = failure("131049", AT);
    assert_eq!(case.due(&rules, NOW), "2026-01-14T10:41:10Z");
    assert!(case.due(&rules, "2026-01-14T16:41:11Z").contains("`max_age` (1day 6h)"), "read too late");
    case = case.after(&[("131049", 1)]);
    case.origin.as_mut().unwrap().since -= 7 * 3600;
    assert!(case.due(&rules, NOW).contains("`max_age`"), "the first message is seven hours older");
}

#[test]
fn a_further_try_is_of_the_first_message_and_one_more_than_those_before() {
    let rules = rules("[resend]\nmatch = \"*\"");
    let Decision::Resend(first) = failure("131049", AT).decide(&rules, NOW) else { panic!() };
    assert_eq!((first.of.as_str(), first.failed.as_str(), first.attempt), (ID, ID, 1));
    assert_eq!((first.since, first.until - first.since), (time("2026-01-13T10:41:10Z").as_second(), 7 * 24 * 3600));
    assert_eq!((first.to.as_str(), first.phone.as_deref()), ("wa", Some("+919876543211")));
    assert_eq!(first.template.as_deref(), Some("login_code_v1"));
    let Decision::Resend(second) = failure("131049", AT).after(&[("131049", 1)]).decide(&rules, NOW) else { panic!() };
    assert_eq!((second.of.as_str(), second.failed.as_str(), second.attempt), ("m-1", ID, 2));
    assert_ne!(first.id, second.id);
    // A message of an ordinary route is a first message, and its age begins where it says.
    let mut ours = failure("131049", AT);
    let since = ours.event.time.as_second() - 60;
    ours.origin = Some(Origin { call: CallId::of("wa", "x"), attempt: 0, since, of: String::new() });
    let Decision::Resend(first) = ours.decide(&rules, NOW) else { panic!() };
    assert_eq!((first.of.as_str(), first.attempt, first.since), (ID, 1, since));
}

#[test]
fn a_provider_whose_clock_is_ahead_puts_nothing_off_and_what_is_late_is_due_now() {
    let rules = rules("[resend]\nmatch = \"*\"\ncodes = { 131049 = { after = \"1m\", times = 1 } }");
    let mut case = failure("131049", "2027-01-01T00:00:00");
    case.event.time = time(NOW);
    assert_eq!(case.due(&rules, NOW), "2026-01-13T10:42:20Z");
    assert_eq!(failure("131049", AT).due(&rules, "2026-01-13T12:00:00Z"), "2026-01-13T12:00:00Z");
}

#[test]
fn what_is_due_in_quiet_hours_is_due_at_their_end() {
    let rules = rules(
        "[resend]\nmatch = \"*\"\nquiet = { hours = \"21:00-09:00\" }\n\
         codes = { 131049 = { after = \"8h\", times = 1 } }",
    );
    // 16:11 in India, eight hours later it is 00:11.
    assert_eq!(failure("131049", AT).due(&rules, NOW), "2026-01-14T03:30:00Z");
    let quiet = |now: &str| rules.is_quiet("r1", Some("+919876543211"), time(now)).map(|until| until.to_string());
    assert_eq!(quiet("2026-01-13T18:41:10Z").as_deref(), Some("2026-01-14T03:30:00Z"));
    assert_eq!(quiet("2026-01-14T03:30:00Z"), None);
    assert_eq!(rules.is_quiet("gone", None, time(NOW)), None);
}

#[test]
fn what_cannot_be_said_again_is_due_now_and_says_what_is_missing() {
    let rules = rules("[resend]\nmatch = \"*\"\nquiet = { hours = \"00:00-23:59\", timezone = \"UTC\" }");
    let mut case = failure("131049", AT);
    case.said.content = None;
    let Decision::Resend(planned) = case.decide(&rules, NOW) else { panic!() };
    assert_eq!((planned.due, planned.request), (time(NOW), None));
    assert_eq!(planned.missing.as_deref(), Some("value 1 of the body"));
}

#[test]
fn another_template_takes_only_the_number_and_the_users_own_text() {
    let rules = rules(
        "[resend]\nmatch = \"*\"\nwith = \"template\"\n\
         template = { name = \"sorry\", languageCode = \"en\", bodyValues = [\"x\"], buttonValues = { 0 = [\"y\"] } }",
    );
    let mut case = failure("131049", AT);
    case.said.content = None;
    let Decision::Resend(planned) = case.decide(&rules, NOW) else { panic!() };
    let request: serde_json::Value = serde_json::from_str(&planned.request.unwrap()).unwrap();
    let wanted = serde_json::json!({
        "countryCode": "+91", "phoneNumber": "9876543211", "callbackData": "otp:77", "type": "Template",
        "template": { "name": "sorry", "languageCode": "en", "bodyValues": ["x"], "buttonValues": { "0": ["y"] } },
    });
    assert_eq!((request, planned.template.as_deref()), (wanted, Some("sorry")));
}

#[test]
fn what_no_status_holds_is_taken_from_what_we_sent() {
    let rules = rules("[resend]\nmatch = \"*\"");
    let case = failure("131049", AT);
    let request = |sent: Option<&str>| {
        let (event, said, chain, sent) = (&case.event, &case.said, &case.chain, sent.map(str::as_bytes));
        let decision = rules.decide(&Failed { event, said, origin: None, chain, sent }, time(NOW));
        let Decision::Resend(planned) = decision else { panic!("{decision:?}") };
        serde_json::from_str::<serde_json::Value>(&planned.request.unwrap()).unwrap()
    };
    let plain = request(None);
    let name = plain["template"]["name"].as_str().unwrap();
    let sent = format!(
        r#"{{"fullPhoneNumber":"1","callbackData":"x","type":"Text","campaignId":"c-1","template_category":"MARKETING",
            "template":{{"name":"{name}","languageCode":"xx","more":1}}}}"#
    );
    let mut wanted = plain.clone();
    wanted["campaignId"] = "c-1".into();
    wanted["template_category"] = "MARKETING".into();
    wanted["template"]["more"] = 1.into();
    assert_eq!(request(Some(&sent)), wanted);
    let other = sent.replace(&format!("\"{name}\""), "\"other\"");
    assert_eq!(request(Some(&other))["template"], plain["template"]);
}

#[test]
fn nobody_is_written_to_because_of_a_sample() {
    let rules = rules("[resend]\nmatch = \"*\"");
    let mut case = failure("131049", AT);
    assert!(matches!(case.decide(&rules, NOW), Decision::Resend(_)));
    let body = String::from_utf8(case.event.body.to_vec()).unwrap();
    let marked = format!("{},\"{SAMPLE_MARK}\":true}}", body.trim_end().strip_suffix('}').unwrap());
    case.event.body = marked.into();
    assert_eq!(case.decide(&rules, NOW), Decision::NoRule);
}
