//! What one body says about a message. `customer`, `message` and `event` may stand in `data` or at the top level; click
//! fields are looked for in `data.event`, the top-level `event`, `data.message.meta_data` and `data.message`, in this
//! order, each field by itself. Times without a zone are UTC. Absent is none, and so are `""` and `"None"`.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::value::RawValue;
use sink_api::Timestamp;

use super::lenient::{Raw, all_members, members, object, text};

/// Most digits of a phone number, its country's among them (E.164).
const MAX_DIGITS: usize = 15;
/// Fewest digits by which a number without its country's is taken for the same.
const MIN_NATIONAL: usize = 8;

/// What one body says about a message, each part where it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// `data.message.id`.
    pub message_id: Option<String>,
    /// `+` and digits: of `channel_phone_number`; else `country_code` and `phone_number` (the latter alone where it has
    /// its own `+`); else a workflow's `customer_number`.
    pub customer_phone: Option<String>,
    /// What stands in the place of a number and is none: the id of a customer who has a username instead.
    pub customer_id: Option<String>,
    /// `traits.name`; else a workflow's `customer_name`.
    pub customer_name: Option<String>,
    /// `message_status`, as sent.
    pub status: Option<String>,
    /// `channel_failure_reason`.
    pub failure_reason: Option<String>,
    /// `channel_error_code`, its digits as they came.
    pub error_code: Option<String>,
    /// What was clicked.
    pub click: Click,
    /// `meta_data.source_data.callback_data`; else the click's.
    pub callback_data: Option<String>,
    /// `campaign_id`.
    pub campaign_id: Option<String>,
    /// `campaign_name`.
    pub campaign_name: Option<String>,
    /// The name of the template that was sent.
    pub template: Option<String>,
    /// `message_content_type`.
    pub content_type: Option<String>,
    /// `message`: a text, or JSON as a text.
    pub content: Option<String>,
    /// The messages that this one quotes: `message_context.id`, `source_message_id`.
    pub quotes: Vec<String>,
    /// `received_at_utc`: when the provider took it.
    pub received: Option<Timestamp>,
    /// `delivered_at_utc`.
    pub delivered: Option<Timestamp>,
    /// `seen_at_utc`.
    pub seen: Option<Timestamp>,
    /// The envelope's `timestamp`.
    pub timestamp: Option<Timestamp>,
}

/// What a body says about a click.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Click {
    /// `QR` or `CTA`, as sent; inferred from a `QUICK_REPLY` payload or from `cta_click_info`.
    pub kind: Option<String>,
    /// The text of the button.
    pub button: Option<String>,
    /// What the sender of the message had it called back with.
    pub callback: Option<String>,
    /// When.
    pub time: Option<Timestamp>,
}

impl Click {
    /// Whether anything is said of a click.
    pub fn is_one(&self) -> bool {
        self.kind.is_some() || self.button.is_some() || self.time.is_some()
    }

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

impl Said {
    /// What a body says; none where it is not JSON.
    pub fn read(body: &[u8]) -> Option<Self> {
        let body: &RawValue = serde_json::from_slice(body).ok()?;
        let [data, top_customer, top_message, top_click, timestamp] =
            members(Some(body), ["data", "customer", "message", "event", "timestamp"]);
        let [customer, message, data_click, workflow_number, workflow_name] =
            members(data, ["customer", "message", "event", "customer_number", "customer_name"]);

        let message = object(message).or(top_message);
        let [message_id, status, reason, error, campaign, campaign_name, meta] = members(
            message,
            [
                "id",
                "message_status",
                "channel_failure_reason",
                "channel_error_code",
                "campaign_id",
                "campaign_name",
                "meta_data",
            ],
        );
        let [received, delivered, seen] = members(message, ["received_at_utc", "delivered_at_utc", "seen_at_utc"]);
        let [template, content_type, content, context, source_message] = members(
            message,
            ["raw_template", "message_content_type", "message", "message_context", "source_message_id"],
        );
        let [quoted] = members(context, ["id"]);
        let [source_data] = members(meta, ["source_data"]);
        let [callback] = members(source_data, ["callback_data"]);
        let customer = object(customer).or(top_customer);
        let [traits, channel] = members(customer, ["traits", "channel_phone_number"]);
        let [name] = members(traits, ["name"]);
        let click = click(data_click).or(click(top_click)).or(click(meta)).or(click(message));
        Some(Self {
            message_id: text(message_id),
            customer_phone: customer_phone(customer).or_else(|| number(workflow_number)),
            customer_id: id(channel).or_else(|| id(workflow_number)),
            customer_name: text(name).or_else(|| text(workflow_name)),
            status: text(status),
            failure_reason: text(reason),
            error_code: text(error),
            callback_data: text(callback).or_else(|| click.callback.clone()),
            click,
            campaign_id: text(campaign),
            campaign_name: text(campaign_name),
            template: template_name(template),
            content_type: text(content_type),
            content: text(content),
            quotes: [quoted, source_message].into_iter().filter_map(text).collect(),
            received: time(received),
            delivered: time(delivered),
            seen: time(seen),
            timestamp: time(timestamp),
        })
    }

    /// When that happened which an event of this type tells of. The last word of the type says what that is (clicked,
    /// read, delivered, sent), else the status does; the envelope's timestamp where that time is absent, unreadable, or
    /// does not exist (failed).
    pub fn occurred(&self, kind: &str) -> Option<Timestamp> {
        let of = |word: &str| match word {
            "clicked" => Some(self.click.time),
            "read" => Some(self.seen),
            "delivered" => Some(self.delivered),
            "sent" => Some(self.received),
            "failed" => Some(None),
            _ => None,
        };
        let last_word = kind.rsplit('_').next().unwrap_or_default();
        let status = || of(&self.status.as_deref()?.to_ascii_lowercase());
        of(last_word).or_else(status).flatten().or(self.timestamp)
    }
}

/// The name in `raw_template`, which is JSON as a text, or an object.
fn template_name(template: Raw<'_>) -> Option<String> {
    let name = |raw: Raw<'_>| {
        let [name] = members(raw, ["name"]);
        text(name)
    };
    name(object(template)).or_else(|| {
        let inner = text(template)?;
        name(Some(serde_json::from_str::<&RawValue>(&inner).ok()?))
    })
}

fn click(from: Raw<'_>) -> Click {
    let [kind, button, callback, clicked, button_payload, links] = members(
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
        time: time(clicked).or_else(|| {
            let times = links.into_iter().map(|link| members(Some(link), ["clicked_at_utc"]));
            times.filter_map(|[at]| time(at)).max()
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

/// `+` and the digits of what is written as a phone number. Nothing else has a telephone's digits: neither the id
/// `US.1349…` nor a number such as `9.1e11`.
fn number(value: Raw<'_>) -> Option<String> {
    digits(&text(value)?).map(|digits| format!("+{digits}"))
}

/// The digits of what is written as a phone number: an optional `+`, 1 to 15 digits, blanks and hyphens between them.
pub fn digits(text: &str) -> Option<String> {
    let written = text.trim();
    let written = written.strip_prefix('+').unwrap_or(written).trim_start();
    let is_between = |c: char| matches!(c, ' ' | '-' | '\u{a0}');
    let is_number = written.starts_with(|c: char| c.is_ascii_digit())
        && written.ends_with(|c: char| c.is_ascii_digit())
        && written.chars().all(|c| c.is_ascii_digit() || is_between(c));
    let digits: String = written.chars().filter(char::is_ascii_digit).collect();
    (is_number && digits.len() <= MAX_DIGITS).then_some(digits)
}

/// Whether a phone number (`+` and digits) is the one with these digits, whose country's may be missing.
pub fn same_phone(phone: &str, digits: &str) -> bool {
    let phone = phone.trim_start_matches('+');
    let national = digits.trim_start_matches('0');
    phone == digits || (national.len() >= MIN_NATIONAL && phone.ends_with(national))
}

/// The id that stands in a number's place: a text, or digits too many for a number.
fn id(value: Raw<'_>) -> Option<String> {
    let is_id = |raw: &RawValue| raw.get().starts_with('"') || raw.get().bytes().all(|b| b.is_ascii_digit());
    text(value.filter(|raw| is_id(raw))).filter(|_| number(value).is_none())
}

/// A time with its zone, or without one in UTC; `T` or a space between date and time.
fn time(value: Raw<'_>) -> Option<Timestamp> {
    let text = text(value)?;
    let text = text.trim();
    text.parse().ok().or_else(|| TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok())
}
