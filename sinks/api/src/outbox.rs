//! What the daemon remembers of messages that sinks send: a call is written down before it is made, so that it is not
//! made twice where that can be known. A sink that sends messages asks [`Outbox::begin`] before each call and tells
//! [`Outbox::end`] after it; the daemon hears of statuses and settles what was lost.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::delivery::{Batch, Delivery};
use crate::origin::{CallId, Origin};
use crate::report::Reason;

/// A call that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Call<'c> {
    /// The sink's name in the config.
    pub sink: &'c str,
    /// The delivery that it is made for.
    pub delivery: &'c Delivery,
    /// The request's body without our prefix in `callbackData`: what "the same" is, should it have to be sent again.
    pub request: &'c [u8],
    /// The customer's phone, `+` and digits, where the request has one.
    pub phone: Option<&'c str>,
    /// Bounds of the sink's table.
    pub bounds: Bounds,
}

/// How often and how long something is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most further tries for a first message.
    pub max_attempts: u32,
    /// Nothing is sent this long after the first message, or after the event that it would be sent for.
    pub max_age: Duration,
    /// How long a call whose answer was lost may still be settled by a status, from when that was given up (of one that
    /// the daemon's end cut off, from its beginning); it is not made again before that.
    pub confirm: Duration,
}

/// What to do about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Make it now, with this origin in `callbackData`. That it begins is on disk.
    Call(Origin),
    /// It was made before, and the provider took the message.
    Sent {
        /// The message's id; none where the provider has not said it yet.
        message: Option<String>,
    },
    /// Not now: [`Outcome::Later`](crate::Outcome::Later).
    Later {
        /// How long to wait.
        after: Duration,
        /// Why.
        why: Reason,
    },
    /// Nobody wants it any more: [`Outcome::Skipped`](crate::Outcome::Skipped).
    Unwanted(Reason),
    /// Never: a bound is reached, or something is missing. A dead letter.
    Never(Reason),
    /// What is remembered cannot be read or written: a retry, and no call.
    Unavailable(Reason),
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The provider took the message.
    Sent {
        /// What the provider calls it by; none where the answer does not say, or not as anything that can be an id.
        message: Option<String>,
    },
    /// The provider did not take it, or was not reached: it may be tried again at once.
    NotSent,
    /// Nobody knows: the answer was lost, or leaves it open.
    Unknown,
}

/// What the daemon remembers of messages that are sent.
#[async_trait]
pub trait Outbox: fmt::Debug + Send + Sync {
    /// Asks whether a call may be made now, and writes down that it begins.
    async fn begin(&self, call: &Call<'_>) -> Begun;

    /// Tells what came of a call that [`Begun::Call`] let begin. A call that is never told of counts as
    /// [`End::Unknown`].
    async fn end(&self, call: CallId, end: End);

    /// Takes note of what these events say of messages; durable when this returns.
    ///
    /// # Errors
    /// It could not be written.
    async fn heard(&self, batch: &Batch) -> Result<(), Reason>;
}

/// Remembers nothing: for sinks that are only looked at (`check --connect`), and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOutbox;

#[async_trait]
impl Outbox for NoOutbox {
    async fn begin(&self, call: &Call<'_>) -> Begun {
        let since = call.delivery.event.time.as_second();
        Begun::Call(Origin { call: CallId::of(call.sink, &call.delivery.id), attempt: 0, since, of: String::new() })
    }

    async fn end(&self, _call: CallId, _end: End) {}

    async fn heard(&self, _batch: &Batch) -> Result<(), Reason> {
        Ok(())
    }
}
