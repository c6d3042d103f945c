//! A call that a sink wants to make, and why: what the event says that it is made for. Pure.

use sink_api::outbox::{Bounds, Call};
use sink_api::{CallId, Event, Origin, Timestamp, Uuid};

use super::MAX_MESSAGE_ID;
use super::command::{Command, RESEND};
use crate::message::{self, Said, Status};
use crate::news::SOURCE;

/// The longest request that is kept, in bytes: to send "the same" again.
pub const MAX_REQUEST: usize = 32 << 10;

/// A call that a sink wants to make.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The call.
    pub call: CallId,
    /// Who wants to make it.
    pub sink: String,
    /// The delivery that it is made for.
    pub delivery: String,
    /// The event that it is made for.
    pub event: Uuid,
    /// When that was accepted.
    pub accepted: Timestamp,
    /// Why.
    pub why: Why,
    /// The request, unless it is too long to be kept.
    pub request: Option<Vec<u8>>,
    /// The customer's phone.
    pub phone: Option<String>,
    /// Bounds of the sink.
    pub bounds: Bounds,
}

/// Why a message is to be sent.
#[derive(Clone, Debug)]
pub enum Why {
    /// A rule has it sent again.
    Resend(Box<Command>),
    /// Something became of a message.
    Status {
        /// Its id.
        message: String,
        /// Why that was sent, where its status says so.
        origin: Option<Origin>,
        /// When the provider took it, seconds.
        received: Option<i64>,
        /// Whether it is one that was sent, as far as the event says; else it may be one of ours that comes back.
        is_sent: bool,
    },
    /// A sample that `hookrelay send` made.
    Sample,
    /// Anything else.
    Other,
}

impl Wanted {
    /// What is known of a call before anything remembered is read.
    pub fn of(call: &Call<'_>) -> Self {
        let event = &call.delivery.event;
        Self {
            call: CallId::of(call.sink, &call.delivery.id),
            sink: call.sink.to_owned(),
            delivery: call.delivery.id.clone(),
            event: event.id,
            accepted: event.time,
            why: Why::of(event),
            request: (call.request.len() <= MAX_REQUEST).then(|| call.request.to_vec()),
            phone: call.phone.map(str::to_owned),
            bounds: call.bounds,
        }
    }
}

impl Why {
    fn of(event: &Event) -> Self {
        if *event.source == *SOURCE {
            // All else that the daemon says is about no message.
            let command = (&*event.kind == RESEND).then(|| Command::read(&event.body)).flatten();
            return command.map_or(Self::Other, |command| Self::Resend(Box::new(command)));
        }
        if message::is_sample(&event.body) {
            return Self::Sample;
        }
        let Some(said) = Said::read(&event.body) else { return Self::Other };
        let is_sent = message::status(&event.kind, &said).is_some_and(|status| status != Status::Received);
        let is_sent = is_sent && &*event.kind != "message_received";
        let origin = said.callback_data.as_deref().and_then(Origin::read).map(|(origin, _)| origin);
        match said.message_id {
            Some(message) if message.len() <= MAX_MESSAGE_ID => {
                Self::Status { message, origin, received: said.received.map(Timestamp::as_second), is_sent }
            }
            _ => Self::Other,
        }
    }
}

/// The id of a first message as an origin can carry it: a digest where it is too long for that.
pub fn nameable(message: &str) -> String {
    match message {
        _ if !message.is_empty() && Origin::may_name(message) => message.to_owned(),
        _ => CallId::of("message", message).to_string(),
    }
}
