//! The events by which the daemon has messages sent: their body, as it is written and read again. The journal is the
//! only way to a sink, so that what holds for all deliveries holds for these.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sink_api::{Origin, Timestamp};

use super::planned::Planned;
pub use crate::news::{RESEND, SEND};

/// The body of such an event. It begins with what all bodies of the daemon's own events have.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Command {
    /// [`RESEND`] or [`SEND`].
    #[serde(rename = "type")]
    pub kind: String,
    /// A sentence for people.
    pub text: String,
    /// The id of the message that failed; may be empty.
    pub subject: String,
    /// 1.
    pub count: u64,
    /// When it was written.
    pub first: String,
    /// The same.
    pub last: String,
    /// The sink that is to send it.
    pub sink: String,
    /// The rule that wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How many-th further try it is; 0: none.
    pub attempt: u32,
    /// The first message's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// When the first message was sent, or this was asked for; seconds since 1970.
    pub since: i64,
    /// Nothing is sent after this; seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// The id of the message that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The provider's code of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What is to be sent: the API's body, `callbackData` the user's own text.
    pub request: Option<Box<RawValue>>,
    /// What is missing for that, in words.
    pub missing: Option<String>,
}

impl Command {
    /// The command to send that message again, written now.
    pub fn resend(planned: &Planned, now: Timestamp) -> Self {
        let Planned { rule, to, failed, of, attempt, since, until, code, request, missing, .. } = planned;
        let text = match code.as_str() {
            "" => format!("message {failed} failed: sent again by [resend.{rule}], try {attempt}"),
            code => format!("message {failed} failed with code {code}: sent again by [resend.{rule}], try {attempt}"),
        };
        let written = format!("{now:.3}");
        Self {
            kind: RESEND.to_owned(),
            text,
            subject: failed.clone(),
            count: 1,
            first: written.clone(),
            last: written,
            sink: to.clone(),
            rule: Some(rule.clone()),
            attempt: *attempt,
            of: Some(of.clone()),
            since: *since,
            until: Some(*until),
            failed: Some(failed.clone()),
            code: Some(code.clone()),
            request: request.as_ref().and_then(|text| RawValue::from_string(text.to_string()).ok()),
            missing: missing.clone(),
        }
    }

    /// The command to send a new message by that sink, asked for now.
    pub fn send(sink: &str, request: Box<RawValue>, now: Timestamp) -> Self {
        let written = format!("{now:.3}");
        Self {
            kind: SEND.to_owned(),
            text: format!("a message is to be sent by sink {sink}"),
            subject: String::new(),
            count: 1,
            first: written.clone(),
            last: written,
            sink: sink.to_owned(),
            rule: None,
            attempt: 0,
            of: None,
            since: now.as_second(),
            until: None,
            failed: None,
            code: None,
            request: Some(request),
            missing: None,
        }
    }

    /// The body as it stands in the event.
    pub fn body(&self) -> Vec<u8> {
        // Nothing in it can fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What such a body says; none where it is not one.
    pub fn read(body: &[u8]) -> Option<Self> {
        let command: Self = serde_json::from_slice(body).ok()?;
        let is_whole = match command.kind.as_str() {
            SEND => command.attempt == 0,
            RESEND => command.attempt > 0 && command.of.as_deref().is_some_and(Origin::may_name),
            _ => false,
        };
        is_whole.then_some(command)
    }
}

#[cfg(test)]
mod tests {
    use super::super::planned::State;
    use super::*;

    fn planned() -> Planned {
        let now = Timestamp::from_second(1_768_300_000).unwrap();
        Planned {
            id: sink_api::Uuid::now_v7(),
            rule: "marketing".into(),
            to: "interakt".into(),
            failed: "m-2".into(),
            of: "m-1".into(),
            attempt: 2,
            since: 1_768_000_000,
            until: 1_768_600_000,
            due: now,
            planned: now,
            code: "131049".into(),
            phone: Some("+919999999999".into()),
            request: Some(r#"{"type":"Text","big":12345678901234567890}"#.into()),
            missing: None,
            template: None,
            state: State::Waiting,
            message: None,
            why: None,
        }
    }

    #[test]
    fn a_command_is_read_as_it_was_written_and_its_request_digit_for_digit() {
        let now = Timestamp::now();
        let written = Command::resend(&planned(), now).body();
        let read = Command::read(&written).unwrap();
        assert_eq!(read.body(), written);
        assert_eq!((read.attempt, read.of.as_deref(), read.subject.as_str()), (2, Some("m-1"), "m-2"));
        assert_eq!(read.request.unwrap().get(), planned().request.unwrap().as_ref());
        let request = RawValue::from_string("{}".into()).unwrap();
        assert_eq!(Command::read(&Command::send("wa", request, now).body()).unwrap().sink, "wa");
    }

    #[test]
    fn what_is_no_command_is_none() {
        let whole = Command::resend(&planned(), Timestamp::now());
        let nameless = Command { of: Some("a~b".into()), ..whole.clone() };
        let first = Command { attempt: 0, ..whole.clone() };
        let other = Command { kind: "sink.down".into(), ..whole };
        for body in [nameless.body(), first.body(), other.body(), b"{}".to_vec(), b"no".to_vec()] {
            assert!(Command::read(&body).is_none(), "{}", String::from_utf8_lossy(&body));
        }
    }
}
