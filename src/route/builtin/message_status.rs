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
//! callback_data   text  meta_data.source_data.callback_data; else the click's callbackData. What hookrelay puts before
//!                       it is taken off
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
use serde::Serialize;
use sink_api::{Event, Origin, Reason, code};

use super::{Builtin, payload, rfc3339};
use crate::message::Said;

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
    let said = Said::read(&event.body)
        .ok_or_else(|| Reason::new(code::RULE_ERROR, "interakt.message_status: the body is not JSON"))?;
    payload(&Row {
        event_id: event.id.to_string(),
        event_type: &event.kind,
        occurred_at: said.occurred(&event.kind).map(rfc3339),
        message_id: said.message_id,
        customer_phone: said.customer_phone,
        customer_id: said.customer_id,
        customer_name: said.customer_name,
        status: said.status,
        failure_reason: said.failure_reason,
        error_code: said.error_code,
        click_type: said.click.kind,
        button_text: said.click.button,
        callback_data: said.callback_data.and_then(own_text),
        campaign_id: said.campaign_id,
    })
}

/// The sender's own text, without what hookrelay puts before it.
fn own_text(text: String) -> Option<String> {
    match Origin::read(&text) {
        Some((_, own)) => (!own.is_empty()).then(|| own.to_owned()),
        None => Some(text),
    }
}
