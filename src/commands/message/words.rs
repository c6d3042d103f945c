//! A message in words, for people: its timeline. Pure.

use std::fmt::Write as _;

use sink_api::Timestamp;

use crate::admin::found::{DeliveryFateView, MessageView, NotAgainView, TracedEvent};
use crate::admin::sending::ResendView;
use crate::commands::{human, short, trace};
use crate::outbox::{RESEND, SEND};
use crate::route::printable;
use crate::times::{self, Zone};

/// Whether an event asks for a message.
pub fn is_command(event: &TracedEvent) -> bool {
    matches!(event.kind.as_str(), SEND | RESEND)
}

/// Whether the message that an event asks for was sent, as far as its delivery says.
pub fn is_sent(event: &TracedEvent) -> bool {
    fate(event) == "delivered"
}

/// What became of the delivery by which a message is sent that an event asks for: that has the event's id. Each sink
/// that sends has one of that id, and all but the one that is meant filter it.
fn fate(event: &TracedEvent) -> &str {
    let mut own = event.deliveries.iter().filter(|delivery| delivery.id == event.id);
    let is_meant = |delivery: &&DeliveryFateView| delivery.fate != "filtered" || delivery.code.is_some();
    own.clone().find(is_meant).or_else(|| own.next()).map_or("", |delivery| &delivery.fate)
}

/// A message that is known by its event alone: how far it is, and its event's way.
pub fn unsent(event: &TracedEvent, zone: &Zone, now: Timestamp) -> String {
    let far = match fate(event) {
        "dead" => "it is not sent: it is a dead letter, which `hookrelay dead retry` tries again",
        "filtered" | "dropped" => "it is not sent, and will not be",
        "delivered" => "it was sent; its id is not known",
        _ => "it is not sent yet",
    };
    format!("{far}\n{}", trace::event_in_words(event, zone, now))
}

/// What is, or was, sent in the place of a message that failed: the rest of a sentence.
pub fn again(resend: &ResendView, now: Timestamp) -> String {
    let ResendView { rule, attempt, due, state, .. } = resend;
    match state.as_str() {
        "waiting" => {
            format!("it is sent again by [resend.{rule}], try {attempt}, due {}", human::until(Some(due), now))
        }
        _ => format!("try {attempt} in its place by [resend.{rule}] {}", came(resend, now)),
    }
}

/// Why a message failed: its code, in words where they are known.
pub fn failure(message: &MessageView) -> String {
    let Some(error) = &message.error else { return "no reason given".to_owned() };
    let code = error.code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default();
    format!("{code}{}", error.text.as_deref().unwrap_or("no reason given"))
}

/// Everything about a message, a line each, in order of time.
pub fn timeline(message: &MessageView, zone: &Zone, now: Timestamp) -> String {
    let mut out = String::new();
    let status = message.status.as_deref().unwrap_or("no status has come");
    line(&mut out, &format!("message {}: {status}", message.id));
    let about = about(message);
    if !about.is_empty() {
        line(&mut out, &format!("  {}", about.join(", ")));
    }
    let mut entries = own(message);
    let others = message.resends.iter().filter(|resend| resend.message.as_deref() != Some(message.id.as_str()));
    entries.extend(others.map(|resend| {
        // What was given up before it was due stands where it was planned: nothing happened at the time it was due.
        let is_given_up = matches!(resend.state.as_str(), "cancelled" | "overtaken");
        let time = if is_given_up { &resend.planned } else { &resend.due };
        (time.parse().ok(), "resend", of_resend(resend, zone, now))
    }));
    entries.extend(message.not_again.iter().map(|not| (not.time.parse().ok(), "given up", of_not_again(not))));
    // What has no time comes last; of the same millisecond, which is as exact as the provider is, what was told first.
    entries.sort_by_key(|(time, ..)| (time.is_none(), time.map(Timestamp::as_millisecond)));
    for (time, what, words) in entries {
        let time = time.map_or_else(|| "at an unknown time".to_owned(), |time| times::shown(time, zone));
        line(&mut out, format!("  {time}  {what:<10} {words}").trim_end());
    }
    out
}

/// One line, on which nothing steers a terminal.
fn line(out: &mut String, text: &str) {
    // Writing to a text cannot fail.
    let _ = writeln!(out, "{}", printable(text));
}

/// Who sent what to whom, and in the place of which message.
fn about(message: &MessageView) -> Vec<String> {
    let mut about = Vec::new();
    if let Some(sent) = &message.sent {
        let sender = sent.sender.as_ref().map(|sender| format!(" ({sender})")).unwrap_or_default();
        about.push(format!("sent by hookrelay through {}{sender}", sent.sink));
    }
    let way = match message.way.as_deref().filter(|_| message.sent.is_none()) {
        Some("api") => Some("sent by the API".to_owned()),
        Some("campaign") => Some(match &message.campaign {
            Some(campaign) => format!("sent by the campaign {campaign:?}"),
            None => "sent by a campaign".to_owned(),
        }),
        Some("agent") => Some("sent by a person in the inbox".to_owned()),
        Some("customer") => Some("sent by the customer".to_owned()),
        _ => None,
    };
    about.extend(way);
    about.extend(message.template.as_ref().map(|template| format!("template {template}")));
    about.extend(message.phone.as_ref().map(|phone| format!("phone {phone}")));
    about.extend(message.customer.as_ref().map(|customer| format!("customer {customer}")));
    if let Some((sent, of)) = message.sent.as_ref().and_then(|sent| Some((sent, sent.of.as_ref()?))) {
        let rule = sent.rule.as_ref().map(|rule| format!(" by [resend.{rule}]")).unwrap_or_default();
        about.push(format!("try {} in the place of message {of}{rule}", sent.attempt));
    }
    about
}

type Entry = (Option<Timestamp>, &'static str, String);

/// What the message's own events say of it.
fn own(message: &MessageView) -> Vec<Entry> {
    let read = |time: Option<&str>| time.and_then(|time| time.parse().ok());
    let either =
        |time: Option<&String>, accepted: &str| read(time.map(String::as_str)).or_else(|| read(Some(accepted)));
    let mut entries = Vec::new();
    if let Some(sent) = &message.sent {
        let event = sent.event.as_ref().map(|event| format!("for event {}", short(event))).unwrap_or_default();
        entries.push((read(Some(&sent.time)), "called", event));
    }
    for rung in &message.ladder {
        let (what, words) = match rung.status.as_str() {
            "Sent" => ("sent", String::new()),
            "Failed" => ("failed", failure(message)),
            "Delivered" => ("delivered", String::new()),
            "Read" => ("read", String::new()),
            "Received" => ("received", String::new()),
            _ => ("status", rung.status.clone()),
        };
        entries.push((either(rung.time.as_ref(), &rung.accepted), what, words));
    }
    for click in &message.clicks {
        let (button, kind) = (click.button.as_deref().unwrap_or("-"), click.kind.as_deref().unwrap_or("-"));
        entries.push((either(click.time.as_ref(), &click.accepted), "clicked", format!("{button:?} ({kind})")));
    }
    for reply in &message.replies {
        let kind = reply.content_type.as_deref().unwrap_or("a message");
        let text = reply.text.as_ref().map(|text| format!(" {text:?}")).unwrap_or_default();
        entries.push((either(reply.time.as_ref(), &reply.accepted), "answered", format!("{kind}{text}")));
    }
    entries
}

/// A message that is, or was, to be sent in the place of one of its chain.
fn of_resend(resend: &ResendView, zone: &Zone, now: Timestamp) -> String {
    let ResendView { id, rule, attempt, code, due, state, .. } = resend;
    let code = if code.is_empty() { String::new() } else { format!(" after {code}") };
    let planned = match state.as_str() {
        "cancelled" | "overtaken" => format!("planned for {}, ", human::clock(due, zone)),
        _ => String::new(),
    };
    format!("try {attempt} by [resend.{rule}]{code}: {planned}{} ({})", came(resend, now), short(id))
}

/// Why a message is not sent again.
fn of_not_again(NotAgainView { failed, rule, code, in_words, why, .. }: &NotAgainView) -> String {
    let code = match (code.as_str(), in_words) {
        ("", _) => String::new(),
        (code, Some(words)) => format!(" after {code} ({words})"),
        (code, None) => format!(" after {code}"),
    };
    format!("message {failed} is not sent again by [resend.{rule}]{code}: {why}")
}

/// What became of it so far.
fn came(resend: &ResendView, now: Timestamp) -> String {
    let ResendView { to, due, state, message, missing, fate, why, rule_gone, .. } = resend;
    let because = || why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    match (state.as_str(), message) {
        ("waiting", _) if *rule_gone => {
            format!(
                "is given up when it is due, {}: its rule is not in the config any more",
                human::until(Some(due), now)
            )
        }
        ("waiting", _) => format!("waits, due {}", human::until(Some(due), now)),
        ("handed", _) => match fate.as_deref() {
            Some("dead") => format!("not sent, a dead letter of {to}{}", because()),
            Some("filtered" | "dropped") => format!("not sent{}", because()),
            _ => format!("is the turn of {to}{}", because()),
        },
        ("sent", Some(message)) => format!("sent as message {message}"),
        ("never", _) => match (missing, why) {
            (Some(missing), _) => format!("not sent, incomplete: {missing}"),
            (None, Some(why)) => format!("not sent: {why}"),
            (None, None) => "not sent: a bound was reached".to_owned(),
        },
        ("overtaken", _) => match why {
            Some(why) => format!("not sent: {why}"),
            None => "not sent: one of its chain had arrived".to_owned(),
        },
        (other, _) => format!("{other}{}", because()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::found::{Click, DeliveryFateView, MessageError, Rung, SentView};

    fn resend(attempt: u32, state: &str, due: &str, message: Option<&str>) -> ResendView {
        ResendView {
            id: format!("01a229fc-587e-73e0-88ad-88f36097dc4{attempt}"),
            rule: "marketing".into(),
            to: "whatsapp".into(),
            attempt,
            code: "131049".into(),
            due: due.into(),
            state: state.into(),
            message: message.map(str::to_owned),
            ..ResendView::default()
        }
    }

    #[test]
    fn a_chain_is_told_in_order_of_time() {
        let rung =
            |status: &str, time: &str| Rung { status: status.into(), time: Some(time.into()), ..Rung::default() };
        let message = MessageView {
            id: "m-2".into(),
            status: Some("Failed".into()),
            ladder: vec![rung("Sent", "2026-11-30T09:00:02Z"), rung("Failed", "2026-11-30T09:00:03Z")],
            clicks: vec![Click {
                button: Some("Track".into()),
                kind: Some("QR".into()),
                accepted: "2026-11-30T09:00:09Z".into(),
                ..Click::default()
            }],
            error: Some(MessageError {
                code: Some("131026".into()),
                text: Some("undeliverable".into()),
                ..MessageError::default()
            }),
            phone: Some("***10".into()),
            sent: Some(SentView {
                sink: "whatsapp".into(),
                sender: Some("+911234".into()),
                time: "2026-11-30T09:00:01Z".into(),
                event: Some("01a229fc-587e-73e0-88ad-88f36097dc41".into()),
                attempt: 1,
                rule: Some("marketing".into()),
                of: Some("m-1".into()),
            }),
            resends: vec![
                resend(1, "sent", "2026-11-30T09:00:01Z", Some("m-2")),
                resend(2, "waiting", "2026-11-30T10:00:00Z", None),
            ],
            ..MessageView::default()
        };
        let now = "2026-11-30T09:59:00Z".parse().unwrap();
        let text = timeline(&message, &Zone::utc(), now);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "message m-2: Failed",
                "  sent by hookrelay through whatsapp (+911234), phone ***10, try 1 in the place of message m-1 by \
                 [resend.marketing]",
                "  2026-11-30 09:00:01Z  called     for event 6097dc41",
                "  2026-11-30 09:00:02Z  sent",
                "  2026-11-30 09:00:03Z  failed     131026: undeliverable",
                "  2026-11-30 09:00:09Z  clicked    \"Track\" (QR)",
                "  2026-11-30 10:00:00Z  resend     try 2 by [resend.marketing] after 131049: waits, due in 1 min \
                 (6097dc42)",
            ]
        );
    }

    #[test]
    fn each_end_of_a_resend_has_its_words() {
        let now = "2026-11-30T09:59:00Z".parse().unwrap();
        let told = |state: &str, message: Option<&str>, missing: Option<&str>| {
            let row = resend(1, state, "2026-11-30T09:00:00Z", message);
            of_resend(&ResendView { missing: missing.map(str::to_owned), ..row }, &Zone::utc(), now)
        };
        let handed = |fate: &str, why: Option<&str>| {
            let row = resend(1, "handed", "2026-11-30T09:00:00Z", None);
            came(&ResendView { fate: Some(fate.into()), why: why.map(str::to_owned), ..row }, now)
        };
        assert_eq!(handed("dead", Some("bad_payload: 400")), "not sent, a dead letter of whatsapp: bad_payload: 400");
        assert_eq!(handed("filtered", Some("overtaken")), "not sent: overtaken");
        assert_eq!(handed("parked", Some("paused")), "is the turn of whatsapp: paused");
        for (state, message, missing, words) in [
            ("sent", Some("m-3"), None, "sent as message m-3"),
            ("handed", None, None, "is the turn of whatsapp"),
            ("cancelled", None, None, "cancelled"),
            ("overtaken", None, None, "planned for 2026-11-30 09:00:00Z, not sent: one of its chain had arrived"),
            ("never", None, None, "a bound was reached"),
            ("never", None, Some("the template's values"), "incomplete: the template's values"),
            ("waiting", None, None, "waits, due now"),
        ] {
            assert!(told(state, message, missing).contains(words), "{}", told(state, message, missing));
        }
    }

    #[test]
    fn why_nothing_more_is_sent_stands_where_that_was_decided() {
        let not = |outcome: &str, code: &str| NotAgainView {
            failed: "m-1".into(),
            rule: "marketing".into(),
            outcome: outcome.into(),
            code: code.into(),
            in_words: (code == "131026").then(|| "undeliverable".to_owned()),
            why: "so".into(),
            time: "2026-11-30T09:00:05Z".into(),
        };
        let not_again = vec![not("never", "131026"), not("exhausted", "131049"), not("never", "")];
        let text = timeline(&MessageView { not_again, ..MessageView::default() }, &Zone::utc(), Timestamp::now());
        let lines: Vec<&str> = text.lines().skip(1).collect();
        let line = |after: &str| {
            format!("  2026-11-30 09:00:05Z  given up   message m-1 is not sent again by [resend.marketing]{after}: so")
        };
        assert_eq!(lines, [line(" after 131026 (undeliverable)"), line(" after 131049"), line("")]);
        let now = "2026-11-30T09:59:00Z".parse().unwrap();
        let gone = ResendView { rule_gone: true, ..resend(1, "waiting", "2026-11-30T10:00:00Z", None) };
        assert_eq!(came(&gone, now), "is given up when it is due, in 1 min: its rule is not in the config any more");
        let because = |state: &str| {
            came(&ResendView { why: Some("so".into()), ..resend(1, state, "2026-11-30T10:00:00Z", None) }, now)
        };
        let wanted = ["cancelled: so", "not sent: so", "not sent: so"];
        assert_eq!(["cancelled", "overtaken", "never"].map(because), wanted);
    }

    #[test]
    fn what_was_given_up_stands_where_it_was_planned() {
        let row = resend(1, "cancelled", "2026-12-30T10:00:00Z", None);
        let resends = vec![ResendView { planned: "2026-11-30T09:00:05Z".into(), ..row }];
        let text = timeline(&MessageView { resends, ..MessageView::default() }, &Zone::utc(), Timestamp::now());
        let line = text.lines().find(|line| line.contains("resend ")).unwrap();
        assert!(line.contains("  2026-11-30 09:00:05Z  resend") && line.contains("planned for 2026-12-30"), "{line}");
    }

    #[test]
    fn a_message_known_by_its_event_alone_says_whether_it_may_still_be_sent() {
        let now = Timestamp::now();
        for (fate, words) in [
            ("pending", "it is not sent yet\n"),
            ("dead", "it is not sent: it is a dead letter"),
            ("filtered", "it is not sent, and will not be\n"),
            ("delivered", "it was sent"),
        ] {
            let delivery = DeliveryFateView { id: "e".into(), fate: fate.into(), ..DeliveryFateView::default() };
            let event = TracedEvent { id: "e".into(), deliveries: vec![delivery], ..TracedEvent::default() };
            assert!(unsent(&event, &Zone::utc(), now).starts_with(words), "{fate}");
            assert_eq!(is_sent(&event), fate == "delivered");
        }
    }

    #[test]
    fn what_failed_without_a_reason_says_so() {
        assert_eq!(failure(&MessageView::default()), "no reason given");
    }
}
