//! A trace in words, for people. Pure.

use std::fmt::Write as _;

use sink_api::Timestamp;

use crate::admin::found::{DeliveryFateView, MessageView, TraceView, TracedEvent};
use crate::admin::sending::ResendView;
use crate::commands::count;
use crate::commands::human;
use crate::route::printable;
use crate::times::{self, Zone};

/// Everything that was found.
pub fn whole(found: &TraceView, zone: &Zone, now: Timestamp) -> String {
    let mut out = String::new();
    for one in found.message.iter().chain(&found.messages) {
        message(&mut out, one, zone);
        out.push('\n');
    }
    for one in &found.events {
        event(&mut out, one, zone, now);
        out.push('\n');
    }
    for note in &found.notes {
        line(&mut out, &format!("note: {note}"));
    }
    if found.masked {
        line(&mut out, "Personal data is masked; --clear shows it.");
    }
    out
}

/// One line, on which nothing steers a terminal.
fn line(out: &mut String, text: &str) {
    // Writing to a text cannot fail.
    let _ = writeln!(out, "{}", printable(text));
}

fn when(time: Option<&str>, zone: &Zone) -> String {
    let Some(time) = time else { return "at an unknown time".to_owned() };
    time.parse().map_or_else(|_| time.to_owned(), |time| times::shown(time, zone))
}

fn message(out: &mut String, message: &MessageView, zone: &Zone) {
    line(out, &format!("message {}: {}", message.id, message.status.as_deref().unwrap_or("no status")));
    let ours = message.sent.as_ref().map(|sent| format!("sent by hookrelay through {}", sent.sink));
    let by = message.way.as_deref().map(|way| match way {
        "api" => "sent by the API".to_owned(),
        "customer" => "sent by the customer".to_owned(),
        "agent" => "sent by a person in the inbox".to_owned(),
        _ => message
            .campaign
            .as_ref()
            .map_or_else(|| "sent by a campaign".to_owned(), |campaign| format!("sent by the campaign {campaign:?}")),
    });
    let template = message.template.as_ref().map(|template| format!("template {template}"));
    let phone = message.phone.as_ref().map(|phone| format!("phone {phone}"));
    let customer = message.customer.as_ref().map(|customer| format!("customer {customer}"));
    let about: Vec<String> = [ours.or(by), template, phone, customer].into_iter().flatten().collect();
    if !about.is_empty() {
        line(out, &format!("  {}", about.join(", ")));
    }
    for rung in &message.ladder {
        let (time, accepted) = (when(rung.time.as_deref(), zone), when(Some(&rung.accepted), zone));
        line(out, &format!("  {:<10} {time} (we were told {accepted})", rung.status));
    }
    for click in &message.clicks {
        let (button, kind) = (click.button.as_deref().unwrap_or("-"), click.kind.as_deref().unwrap_or("-"));
        line(out, &format!("  {:<10} {} {button:?} ({kind})", "clicked", when(click.time.as_deref(), zone)));
    }
    for reply in &message.replies {
        let kind = reply.content_type.as_deref().unwrap_or("a message");
        let text = reply.text.as_ref().map(|text| format!(" {text:?}")).unwrap_or_default();
        line(out, &format!("  {:<10} {} {kind}{text}", "answered", when(reply.time.as_deref(), zone)));
    }
    for resend in &message.resends {
        let ResendView { rule, attempt, due, planned, state, .. } = resend;
        // What was given up before it was due stands where it was planned.
        let time = if matches!(state.as_str(), "cancelled" | "overtaken") { planned } else { due };
        let came = resend.message.as_ref().map(|came| format!(" as message {came}")).unwrap_or_default();
        let about = format!("try {attempt} by [resend.{rule}]: {state}{came}");
        line(out, &format!("  {:<10} {} {about}", "resend", when(Some(time), zone)));
    }
    if let Some(error) = &message.error {
        let code = error.code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default();
        line(out, &format!("  it failed: {code}{}", error.text.as_deref().unwrap_or("no reason given")));
    }
}

/// One event's way.
pub fn event_in_words(one: &TracedEvent, zone: &Zone, now: Timestamp) -> String {
    let mut out = String::new();
    event(&mut out, one, zone, now);
    out
}

fn event(out: &mut String, event: &TracedEvent, zone: &Zone, now: Timestamp) {
    let TracedEvent { id, kind, source, subject, time, routes, deliveries, .. } = event;
    let about = if subject.is_empty() { String::new() } else { format!(" about {subject}") };
    line(out, &format!("event {id}: {kind}{about}"));
    line(out, &format!("  {:<10} {} from {source}", "came", when(Some(time), zone)));
    for route in routes {
        let matched = if route.matched { "matches" } else { "does not match" };
        line(out, &format!("  {:<10} {} {matched}: {}", "route", route.name, route.why));
    }
    if deliveries.is_empty() {
        let why = if routes.iter().any(|route| route.matched) { "nothing is delivered of it" } else { "no route" };
        line(out, &format!("  {:<10} {why}", "nowhere"));
    }
    for delivery in deliveries {
        let suffix = delivery.id.strip_prefix(id.as_str()).unwrap_or(&delivery.id);
        let name =
            format!("{}{}", delivery.sink, if suffix.is_empty() { String::new() } else { format!(" ({suffix})") });
        line(out, &format!("  {name:<10} {}", fate(delivery, zone, now)));
    }
}

/// What became of a delivery: `delivered 2026-…, 1 attempt, 12 ms`.
fn fate(delivery: &DeliveryFateView, zone: &Zone, now: Timestamp) -> String {
    let DeliveryFateView { time, attempts, code, detail, next_try, waits_for, took_ms, route, replay, .. } = delivery;
    let at = || when(time.as_deref(), zone);
    let why = code.as_ref().map(|code| match detail {
        Some(detail) => format!("{code}: {detail}"),
        None => code.clone(),
    });
    let is_due = next_try.as_ref().is_some_and(|at| at.parse().is_ok_and(|at: Timestamp| at <= now));
    let mut parts = vec![match delivery.fate.as_str() {
        "delivered" => format!("delivered {}", at()),
        "filtered" => match (route, code) {
            (Some(route), _) => format!("filtered by route {route}"),
            (None, Some(_)) => format!("not needed any more {}", at()),
            (None, None) => "filtered by a condition".to_owned(),
        },
        "dead" => format!("dead {}", at()),
        "dropped" => format!("dropped {}", at()),
        other => other.to_owned(),
    }];
    if *attempts > 0 {
        parts.push(count(*attempts, "attempt"));
    }
    parts.extend(took_ms.map(|took| format!("{took} ms")));
    // Of what was not tried yet, the code says the same as the words.
    let why = why.filter(|_| waits_for.is_none() || waits_for != detail);
    // What was not tried yet and is not due was put off, and that is why.
    let was_before = next_try.is_none() || is_due || waits_for.is_some();
    let is_before = delivery.fate == "delivered" || (delivery.fate == "pending" && *attempts == 0 && was_before);
    parts.extend(why.map(|why| if is_before { format!("before that {why}") } else { why }));
    if matches!(delivery.fate.as_str(), "parked" | "pending") {
        // What is due and was not tried stands behind others of its key.
        match (waits_for, parts.as_mut_slice()) {
            (Some(words), [only]) => *only = format!("{only}: {words}"),
            (Some(words), _) => parts.push(words.clone()),
            (None, _) => {}
        }
        match next_try.as_deref() {
            Some(_) if is_due && *attempts == 0 && waits_for.is_none() => parts.push("waits for its turn".to_owned()),
            Some(at) => parts.push(format!("next try {}", human::until(Some(at), now))),
            None => {}
        }
    }
    parts.extend(replay.as_ref().map(|replay| format!("by replay {replay}")));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(fate: &str, attempts: u32, code: Option<&str>) -> DeliveryFateView {
        DeliveryFateView {
            fate: fate.into(),
            time: Some("2026-11-28T03:30:01Z".into()),
            attempts,
            code: code.map(str::to_owned),
            detail: code.map(|_| "503 Service Unavailable".into()),
            ..DeliveryFateView::default()
        }
    }

    #[test]
    fn each_fate_is_told_in_words() {
        let zone = Zone::named("Asia/Kolkata").unwrap();
        let now: Timestamp = "2026-11-28T03:32:00Z".parse().unwrap();
        let of = |view: DeliveryFateView| fate(&view, &zone, now);
        let took = |took| DeliveryFateView { took_ms: Some(took), ..told("delivered", 1, None) };
        assert_eq!(of(took(12.5)), "delivered 2026-11-28 09:00:01+05:30, 1 attempt, 12.5 ms");
        let retried = of(told("delivered", 3, Some("http_5xx")));
        assert!(retried.ends_with("3 attempts, before that http_5xx: 503 Service Unavailable"), "{retried}");
        let parked =
            DeliveryFateView { next_try: Some("2026-11-28T03:34:00Z".into()), ..told("parked", 2, Some("http_5xx")) };
        assert_eq!(of(parked), "parked, 2 attempts, http_5xx: 503 Service Unavailable, next try in 2 min");
        assert_eq!(
            of(DeliveryFateView { route: Some("x".into()), ..told("filtered", 0, None) }),
            "filtered by route x"
        );
        let paused =
            DeliveryFateView { waits_for: Some("the sink is paused".into()), ..told("parked", 2, Some("http_5xx")) };
        assert_eq!(of(paused), "parked, 2 attempts, http_5xx: 503 Service Unavailable, the sink is paused");
        let down = "the sink is down (http_5xx: 503)".to_owned();
        let behind = DeliveryFateView {
            detail: Some(down.clone()),
            waits_for: Some(down),
            next_try: Some("2026-11-28T03:32:06Z".into()),
            ..told("pending", 0, Some("sink_down"))
        };
        assert_eq!(of(behind), "pending: the sink is down (http_5xx: 503), next try in 6 s");
        let unknown = DeliveryFateView { fate: "delivered".into(), ..DeliveryFateView::default() };
        assert_eq!(of(unknown), "delivered at an unknown time");
        assert!(
            of(told("dead", 1, Some("http_4xx"))).starts_with("dead 2026-11-28 09:00:01+05:30, 1 attempt, http_4xx")
        );
        let put_off = |next: &str| DeliveryFateView {
            detail: Some("its answer was lost".into()),
            next_try: Some(next.into()),
            ..told("pending", 0, Some("unconfirmed"))
        };
        assert_eq!(of(put_off("2026-11-28T03:34:00Z")), "pending, unconfirmed: its answer was lost, next try in 2 min");
        assert_eq!(
            of(put_off("2026-11-28T03:31:00Z")),
            "pending, before that unconfirmed: its answer was lost, waits for its turn"
        );
        let skipped = DeliveryFateView { detail: Some("it was read".into()), ..told("filtered", 1, Some("overtaken")) };
        assert_eq!(of(skipped), "not needed any more 2026-11-28 09:00:01+05:30, 1 attempt, overtaken: it was read");
        let replayed = DeliveryFateView { replay: Some("4".into()), ..told("pending", 0, None) };
        assert_eq!(of(replayed), "pending, by replay 4");
    }
}
