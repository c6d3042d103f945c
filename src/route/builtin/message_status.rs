//! `interakt.message_status`: one row about one message, for a table of statuses.
//!
//! ```text
//! event_id        text  the event's id (a SQL sink puts the delivery's id in its place; normally the same)
//! message_id      text  data.message.id
//! event_type      text  the event's type
//! customer_phone  text  "+<digits>": channel_phone_number; else country_code and phone_number (phone_number alone
//!                       where it has its own "+"); else a workflow's customer_number. Only what is written as a number
//!                       is one: an optional "+", 1 to 15 digits, blanks and hyphens between
//! customer_id     text  what stands in channel_phone_number, else in customer_number, and is no number: the id of a
//!                       customer who has a username in a number's place (US.13491208655302741918)
//! customer_name   text  data.customer.traits.name; else a workflow's customer_name
//! status          text  message_status as sent: Sent, Delivered, Read, Failed; click events say Read
//! failure_reason  text  channel_failure_reason
//! error_code      text  channel_error_code, its digits as they came
//! click_type      text  QR or CTA as sent; inferred from a QUICK_REPLY payload or from cta_click_info
//! button_text     text  of the button that was clicked
//! callback_data   text  meta_data.source_data.callback_data; else the click's callbackData
//! campaign_id     text  data.message.campaign_id
//! occurred_at     text  RFC 3339, UTC, six fraction digits: the time that belongs to what happened. The last word of
//!                       the type says what that is (clicked, read, delivered, sent), else the status does; the
//!                       envelope's timestamp where that time is absent, unreadable, or does not exist (failed).
//!                       Times without a zone are UTC.
//! ```
//!
//! Absent is null, and so are `""` and `"None"`. A number is taken as its text. `customer`, `message` and `event` may
//! stand in `data` or at the top level; click fields are looked for in `data.event`, the top-level `event`,
//! `data.message.meta_data` and `data.message`, in this order, each field by itself. An event that is about no message
//! (account, template, unknown types) yields a row all the same, with what it has. A body that is not JSON is a
//! `rule_error`.

use bytes::Bytes;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::value::RawValue;
use sink_api::{Event, Reason, Timestamp, code};

use super::lenient::{Raw, all_members, members, object, text};
use super::{Builtin, payload, rfc3339};

/// Most digits of a phone number, its country's among them (E.164).
const MAX_DIGITS: usize = 15;

/// See the module's head.
pub const MESSAGE_STATUS: Builtin =
    Builtin { name: "interakt.message_status", about: "one row about one WhatsApp message: its status or click", run };

#[derive(Serialize)]
struct Row<'e> {
    event_id: String,
    message_id: Option<String>,
    event_type: &'e str,
    customer_phone: Option<String>,
    customer_id: Option<String>,
    customer_name: Option<String>,
    status: Option<String>,
    failure_reason: Option<String>,
    error_code: Option<String>,
    click_type: Option<String>,
    button_text: Option<String>,
    callback_data: Option<String>,
    campaign_id: Option<String>,
    occurred_at: Option<String>,
}

fn run(event: &Event) -> Result<Vec<Bytes>, Reason> {
    let body: &RawValue = serde_json::from_slice(&event.body)
        .map_err(|_| Reason::new(code::RULE_ERROR, "interakt.message_status: the body is not JSON"))?;
    let [data, top_customer, top_message, top_click, timestamp] =
        members(Some(body), ["data", "customer", "message", "event", "timestamp"]);
    let [customer, message, data_click, workflow_number, workflow_name] =
        members(data, ["customer", "message", "event", "customer_number", "customer_name"]);

    let message = object(message).or(top_message);
    let [message_id, status, reason, error, campaign, meta] = members(
        message,
        ["id", "message_status", "channel_failure_reason", "channel_error_code", "campaign_id", "meta_data"],
    );
    let [source_data] = members(meta, ["source_data"]);
    let [callback] = members(source_data, ["callback_data"]);
    let customer = object(customer).or(top_customer);
    let [traits, channel] = members(customer, ["traits", "channel_phone_number"]);
    let [name] = members(traits, ["name"]);

    let click = click(data_click).or(click(top_click)).or(click(meta)).or(click(message));
    let status = text(status);
    payload(&Row {
        event_id: event.id.to_string(),
        message_id: text(message_id),
        event_type: &event.kind,
        customer_phone: customer_phone(customer).or_else(|| number(workflow_number)),
        customer_id: id(channel).or_else(|| id(workflow_number)),
        customer_name: text(name).or_else(|| text(workflow_name)),
        occurred_at: own_time(&event.kind, status.as_deref(), message, click.time)
            .or_else(|| text(timestamp).and_then(|t| utc(&t)))
            .map(rfc3339),
        status,
        failure_reason: text(reason),
        error_code: text(error),
        click_type: click.kind,
        button_text: click.button,
        callback_data: text(callback).or(click.callback),
        campaign_id: text(campaign),
    })
}

/// What one object of the body says about a click.
struct Click {
    kind: Option<String>,
    button: Option<String>,
    callback: Option<String>,
    time: Option<Timestamp>,
}

impl Click {
    /// This click, with what it lacks taken from the other one.
    fn or(self, other: Self) -> Self {
        Self {
            kind: self.kind.or(other.kind),
            button: self.button.or(other.button),
            callback: self.callback.or(other.callback),
            time: self.time.or(other.time),
        }
    }
}

fn click(from: Raw<'_>) -> Click {
    let [kind, button, callback, time, button_payload, links] = members(
        from,
        ["click_type", "button_text", "callbackData", "click_timestamp", "button_payload", "cta_click_info"],
    );
    // `{"payload":{"type":"QUICK_REPLY","text":…}}`, or without the wrapping, or only a text.
    let [wrapped] = members(button_payload, ["payload"]);
    let [reply, reply_text] = members(object(wrapped).or(button_payload), ["type", "text"]);
    let is_reply = text(reply).is_some_and(|t| t == "QUICK_REPLY");
    let links = all_members(links);
    let inferred = if is_reply { Some("QR") } else { (!links.is_empty()).then_some("CTA") };
    Click {
        kind: text(kind).or_else(|| inferred.map(str::to_owned)),
        button: text(button).or_else(|| text(reply_text)).or_else(|| text(wrapped)).or_else(|| text(button_payload)),
        callback: text(callback),
        // Of several links clicked, the last is what the event is about.
        time: text(time).and_then(|t| utc(&t)).or_else(|| {
            let times = links.into_iter().map(|link| members(Some(link), ["clicked_at_utc"]));
            times.filter_map(|[time]| utc(&text(time)?)).max()
        }),
    }
}

fn customer_phone(customer: Raw<'_>) -> Option<String> {
    let [channel, country, national] = members(customer, ["channel_phone_number", "country_code", "phone_number"]);
    number(channel).or_else(|| {
        let own = number(national)?;
        if text(national).is_some_and(|t| t.trim_start().starts_with('+')) {
            return Some(own);
        }
        // Without its country a national number would name somebody else's telephone.
        let whole = number(country)? + own.trim_start_matches('+');
        (whole.len() <= 1 + MAX_DIGITS).then_some(whole)
    })
}

/// `+` and the digits of what is written as a phone number: an optional `+`, 1 to 15 digits, blanks and hyphens between
/// them. Nothing else has a telephone's digits: neither the id `US.1349…` nor a number such as `9.1e11`.
fn number(value: Raw<'_>) -> Option<String> {
    let text = text(value)?;
    let written = text.trim();
    let written = written.strip_prefix('+').unwrap_or(written).trim_start();
    let is_between = |c: char| matches!(c, ' ' | '-' | '\u{a0}');
    let is_number = written.starts_with(|c: char| c.is_ascii_digit())
        && written.ends_with(|c: char| c.is_ascii_digit())
        && written.chars().all(|c| c.is_ascii_digit() || is_between(c));
    let digits: String = written.chars().filter(char::is_ascii_digit).collect();
    (is_number && digits.len() <= MAX_DIGITS).then(|| format!("+{digits}"))
}

/// The id that stands in a number's place: a text, or digits too many for a number.
fn id(value: Raw<'_>) -> Option<String> {
    let is_id = |raw: &RawValue| raw.get().starts_with('"') || raw.get().bytes().all(|b| b.is_ascii_digit());
    text(value.filter(|raw| is_id(raw))).filter(|_| number(value).is_none())
}

/// The message's time for what the event says happened.
fn own_time(kind: &str, status: Option<&str>, message: Raw<'_>, clicked: Option<Timestamp>) -> Option<Timestamp> {
    let [received, delivered, seen] = members(message, ["received_at_utc", "delivered_at_utc", "seen_at_utc"]);
    let of = |word: &str| match word {
        "clicked" => Some(clicked),
        "read" => Some(text(seen).and_then(|t| utc(&t))),
        "delivered" => Some(text(delivered).and_then(|t| utc(&t))),
        "sent" => Some(text(received).and_then(|t| utc(&t))),
        "failed" => Some(None),
        _ => None,
    };
    let last_word = kind.rsplit('_').next().unwrap_or_default();
    of(last_word).or_else(|| of(&status?.to_ascii_lowercase())).flatten()
}

/// A time with its zone, or without one in UTC; `T` or a space between date and time.
fn utc(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse().ok().or_else(|| TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok())
}
