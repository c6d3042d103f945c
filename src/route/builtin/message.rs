//! `interakt.message`: what one event says of a message that was sent, for a table of one row a message. The sinks
//! `sqlite` and `postgres` make one row of all of them with `on_conflict = "ladder"`, in whatever order they come.
//!
//! ```text
//! message_id      text     data.message.id
//! customer_phone  text     as in interakt.message_status
//! customer_id     text     the same
//! customer_name   text     the same
//! status          text     Sent, Failed, Delivered or Read: what the last word of the type says, else message_status,
//!                          or a higher one that the event has a time of; else null
//! failure_reason  text     channel_failure_reason, of an event that tells of a failure
//! error_code      text     channel_error_code, the same
//! sent_at         text     RFC 3339, UTC, six fraction digits: received_at_utc, but of a failed message
//! delivered_at    text     delivered_at_utc
//! read_at         text     seen_at_utc
//! failed_at       text     the envelope's timestamp, of an event that tells of a failure
//! clicked_at      text     when a button was clicked; where that is not said, the envelope's timestamp
//! last_button     text     the button that was clicked
//! campaign_id     text     data.message.campaign_id
//! callback_data   text     the sender's own text that came back; what hookrelay puts before it is taken off
//! template        text     the name of the template that was sent
//! updated_at      text     when hookrelay accepted the event
//! ```
//!
//! A status of a message that is itself a further try yields a second row, of the first message, with these alone:
//!
//! ```text
//! message_id      text     the first message's
//! resends         integer  as how many-th further try the message was sent: the largest is how many there were
//! updated_at      text     as above
//! ```
//!
//! An event that is about no message yields no row, and neither does one of type `message_received`: what a customer
//! writes has an id of its own and was not sent by you. Absent is null, and so are `""` and `"None"`. A body that is
//! not JSON is a `rule_error`.

use bytes::Bytes;
use serde::Serialize;
use sink_api::{Event, Origin, Reason, code};

use super::{Builtin, json, rfc3339};
use crate::message::{self, Said, Status};

/// See the module's head.
pub const MESSAGE: Builtin =
    Builtin { name: "interakt.message", about: "one row a WhatsApp message, for on_conflict = \"ladder\"", run };

#[derive(Serialize)]
struct Row {
    message_id: String,
    customer_phone: Option<String>,
    customer_id: Option<String>,
    customer_name: Option<String>,
    status: Option<&'static str>,
    failure_reason: Option<String>,
    error_code: Option<String>,
    sent_at: Option<String>,
    delivered_at: Option<String>,
    read_at: Option<String>,
    failed_at: Option<String>,
    clicked_at: Option<String>,
    last_button: Option<String>,
    campaign_id: Option<String>,
    callback_data: Option<String>,
    template: Option<String>,
    updated_at: String,
}

/// What a further try says of the first message.
#[derive(Serialize)]
struct First {
    message_id: String,
    resends: u32,
    updated_at: String,
}

fn run(event: &Event) -> Result<Vec<Bytes>, Reason> {
    let said = Said::read(&event.body)
        .ok_or_else(|| Reason::new(code::RULE_ERROR, "interakt.message: the body is not JSON"))?;
    let status = message::status(&event.kind, &said);
    let (Some(message_id), false) = (said.message_id.clone(), status == Some(Status::Received)) else {
        return Ok(vec![]);
    };
    let (origin, callback_data) = match said.callback_data.as_deref().map(|text| (Origin::read(text), text)) {
        Some((Some((origin, own)), _)) => (Some(origin), (!own.is_empty()).then(|| own.to_owned())),
        Some((None, text)) => (None, Some(text.to_owned())),
        None => (None, None),
    };
    let updated_at = rfc3339(event.time);
    let mut rows = vec![json(&row(event, said, status, message_id, callback_data))?];
    if let Some(Origin { attempt: resends, of: message_id, .. }) = origin.filter(|origin| origin.attempt > 0) {
        rows.push(json(&First { message_id, resends, updated_at })?);
    }
    Ok(rows)
}

fn row(event: &Event, said: Said, status: Option<Status>, message_id: String, callback_data: Option<String>) -> Row {
    let rungs = message::rungs(&event.kind, &said);
    let at = |status| rungs.iter().find(|rung| rung.status == status).and_then(|rung| rung.time).map(rfc3339);
    let failed = status == Some(Status::Failed);
    let clicked = said.click.is_one();
    Row {
        message_id,
        status: rungs.iter().map(|rung| rung.status).max().map(Status::word),
        sent_at: at(Status::Sent),
        delivered_at: at(Status::Delivered),
        read_at: at(Status::Read),
        failed_at: at(Status::Failed),
        failure_reason: said.failure_reason.filter(|_| failed),
        error_code: said.error_code.filter(|_| failed),
        clicked_at: said.click.time.or(said.timestamp).filter(|_| clicked).map(rfc3339),
        last_button: said.click.button,
        customer_phone: said.customer_phone,
        customer_id: said.customer_id,
        customer_name: said.customer_name,
        campaign_id: said.campaign_id,
        callback_data,
        template: said.template,
        updated_at: rfc3339(event.time),
    }
}
