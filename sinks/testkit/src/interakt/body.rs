//! What a status webhook says: the shape of `tests/fixtures/interakt`, filled in from what was sent. Pure.

use std::time::SystemTime;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sink_api::Timestamp;
use uuid::Uuid;

use super::check::{Message, Template, Values};
use super::course::Status;

/// When a message came how far. They fill up one by one.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The API took it.
    pub taken: SystemTime,
    /// The phone has it.
    pub delivered: Option<SystemTime>,
    /// The customer has seen it.
    pub seen: Option<SystemTime>,
}

impl Times {
    /// Takes note of a status that comes now.
    pub(super) fn note(&mut self, status: &Status, now: SystemTime) {
        match status {
            Status::Sent | Status::Failed(_) => {}
            Status::Delivered => self.delivered = self.delivered.or(Some(now)),
            Status::Read => {
                self.seen = self.seen.or(Some(now));
                // Who has read it has it, even where that is told later.
                self.delivered = self.delivered.or(Some(now));
            }
        }
    }
}

/// The body of the webhook about a status of a message.
pub fn of(id: Uuid, message: &Message, status: &Status, times: &Times, now: SystemTime) -> Value {
    let kind = status.name().to_ascii_lowercase();
    let (code, reason) = status.failure().unzip();
    let time = |at: Option<SystemTime>| at.map(|at| naive(at, true));
    let template = message.template.as_ref();
    json!({
        "version": "1.0",
        "timestamp": naive(now, false),
        "type": format!("message_api_{kind}"),
        "data": {
            "customer": customer(message),
            "message": {
                "id": id.to_string(),
                "chat_message_type": "PublicApiMessage",
                "channel_failure_reason": reason,
                "message_status": status.name(),
                "received_at_utc": time(Some(times.taken)),
                "delivered_at_utc": time(times.delivered),
                "seen_at_utc": time(times.seen),
                "campaign_id": message.campaign,
                "is_template_message": template.is_some(),
                "raw_template": template.map(|(template, values)| raw_template(template, values).to_string()),
                "channel_error_code": code,
                "message_content_type": message.request.get("type"),
                "media_url": media(message),
                "message": content(message),
                "meta_data": meta_data(message, status),
            },
        },
    })
}

/// A time as Interakt writes it: UTC, without a zone; microseconds, or milliseconds filled up with zeros.
fn naive(at: SystemTime, is_short: bool) -> Option<String> {
    let at = Timestamp::try_from(at).ok()?;
    Some(at.strftime(if is_short { "%Y-%m-%dT%H:%M:%S.%3f000" } else { "%Y-%m-%dT%H:%M:%S.%6f" }).to_string())
}

fn customer(message: &Message) -> Value {
    let mut customer = json!({
        "id": id_of(&message.phone),
        "channel_phone_number": message.phone.trim_start_matches('+'),
        "traits": {"name": "", "whatsapp_opted_in": true},
    });
    if let (Some((code, number)), Some(keys)) = (&message.country, customer.as_object_mut()) {
        keys.insert("phone_number".to_owned(), json!(number));
        keys.insert("country_code".to_owned(), json!(code));
    }
    customer
}

/// The same id for the same text, each time.
fn id_of(text: &str) -> String {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(Sha256::digest(text)).for_each(|(to, from)| *to = from);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

fn meta_data(message: &Message, status: &Status) -> Value {
    let mut meta = json!({
        "source": "PublicInterakt",
        "source_data": {"callback_data": message.callback},
        "msg_source": "PublicInterakt",
    });
    if let (Status::Delivered | Status::Read, Some(keys)) = (status, meta.as_object_mut()) {
        let cost = json!({"whatsapp_cost": "0.115", "interakt_markup": "0.02", "actual_message_cost": "0.135"});
        keys.insert("message_cost".to_owned(), cost);
    }
    meta
}

/// The template as the account has it; the values in it are its samples, not those that were sent.
fn raw_template(template: &Template, values: &Values) -> Value {
    let samples: Vec<String> = (1..=values.body.len()).map(|n| format!("sample {n}")).collect();
    let buttons = template.buttons.iter().map(|(text, url)| json!({"type": "URL", "text": text, "url": url}));
    json!({
        "id": id_of(&template.name),
        "created_at_utc": "2026-01-05T09:12:44.307",
        "modified_at_utc": "2026-01-06T04:30:10.52",
        "created_by_user_id": id_of("user"),
        "is_deleted": false,
        "name": template.name,
        "language": template.language,
        "category": template.category,
        "sub_category": null,
        "template_category_label": null,
        "header_format": template.header_format,
        "header": template.header,
        "header_handle": null,
        "header_handle_file_url": null,
        "header_handle_file_name": null,
        "header_text": null,
        "body": template.body,
        "body_text": json!(samples).to_string(),
        "footer": null,
        "buttons": Value::from_iter(buttons).to_string(),
        "button_text": null,
        "allow_category_change": true,
        "limited_time_offer": null,
        "carousel_cards": "[]",
        "autosubmitted_for": null,
        "display_name": template.name,
        "organization_id": id_of("organization"),
        "approval_status": "APPROVED",
        "wa_template_id": "1586000000150461",
        "is_archived": false,
        "channel_type": "Whatsapp",
        "is_click_tracking_enabled": !template.buttons.is_empty(),
        "is_conversion_tracking_enabled": false,
        "allow_delete": true,
        "rejection_reason": null,
        "is_mpm": false,
        "is_carousel": false,
    })
}

/// `message`: a template's values as JSON text, or what a session message says.
fn content(message: &Message) -> Option<String> {
    let Some((template, values)) = &message.template else {
        let said = message.request.get("data")?.get("message")?;
        return Some(said.as_str().map_or_else(|| said.to_string(), str::to_owned));
    };
    let texts = |values: &[String]| values.iter().map(|text| json!({"type": "text", "text": text})).collect::<Value>();
    let mut parts = Vec::new();
    if let Some(header) = values.header.first() {
        let kind = template.header_format.as_deref().unwrap_or("TEXT").to_ascii_lowercase();
        let said = if kind == "text" {
            texts(&values.header)
        } else {
            json!([{"type": kind, kind.as_str(): {"link": header}}])
        };
        parts.push(json!({"type": "header", "parameters": said}));
    }
    if !values.body.is_empty() {
        parts.push(json!({"type": "body", "parameters": texts(&values.body)}));
    }
    for (index, button) in values.buttons.iter().filter(|(_, button)| !button.is_empty()) {
        parts.push(json!({"type": "button", "sub_type": "url", "index": index, "parameters": texts(button)}));
    }
    Some(json!(parts).to_string())
}

/// The file of a template's header, or of a session message.
fn media(message: &Message) -> Option<String> {
    let Some((template, values)) = &message.template else {
        return Some(message.request.get("data")?.get("mediaUrl")?.as_str()?.to_owned());
    };
    let has_file = template.header_format.as_deref().is_some_and(|format| format != "TEXT");
    values.header.first().filter(|_| has_file).cloned()
}
