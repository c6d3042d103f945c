//! Reading a request's body: into one piece, no larger than `max_body`, no slower than `body_timeout`, and no more in
//! memory at once, over all requests, than `max_inflight_bytes`. Knows neither sources nor signatures.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Most bytes one read of a connection brings; room for so many is held before each.
pub const READ_MAX: usize = 64 << 10;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// Larger than allowed, by its own word or by what came.
    TooLarge,
    /// Not there in time.
    TooSlow,
    /// Broke off, or wrongly framed.
    Broken,
}

/// Room for the bodies in flight.
///
/// Room is taken as a body grows, so a sender that declares much and sends little holds little. Were all of it given
/// away like that, bodies half read could wait for each other for ever. So room for one largest body is kept apart:
/// the *lane*. Who gets no room waits for the lane too, and with it can always finish.
pub struct Room {
    shared: Semaphore,
    lane: Semaphore,
}

impl Room {
    /// Room for `max_inflight` bytes, of which the lane is `max_body`.
    pub fn new(max_inflight: usize, max_body: usize) -> Self {
        let shared = max_inflight.saturating_sub(max_body).min(Semaphore::MAX_PERMITS);
        Self { shared: Semaphore::new(shared), lane: Semaphore::new(1) }
    }
}

#[cfg(test)]
impl Room {
    /// Free bytes, and whether the lane is.
    pub fn free(&self) -> (usize, usize) {
        (self.shared.available_permits(), self.lane.available_permits())
    }
}

/// Room held for one body; given back when dropped.
pub struct Held<'r> {
    room: &'r Room,
    shared: Option<SemaphorePermit<'r>>,
    lane: Option<SemaphorePermit<'r>>,
}

impl<'r> Held<'r> {
    fn none(room: &'r Room) -> Self {
        Self { room, shared: None, lane: None }
    }

    /// Holds room for `total` bytes; waits for it, however long, and says how long that was.
    async fn grow(&mut self, total: usize) -> Duration {
        let missing = total.saturating_sub(self.shared.as_ref().map_or(0, SemaphorePermit::num_permits));
        if missing == 0 || self.lane.is_some() {
            return Duration::ZERO;
        }
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        if let Ok(more) = self.room.shared.try_acquire_many(missing) {
            self.add(more);
            return Duration::ZERO;
        }
        let from = Instant::now();
        // Neither is ever closed.
        tokio::select! {
            Ok(more) = self.room.shared.acquire_many(missing) => self.add(more),
            Ok(lane) = self.room.lane.acquire() => self.lane = Some(lane),
            else => {}
        }
        from.elapsed()
    }

    fn add(&mut self, more: SemaphorePermit<'r>) {
        match &mut self.shared {
            Some(held) => held.merge(more),
            None => self.shared = Some(more),
        }
    }
}

/// The whole body, and the room it holds. One that came in one piece is not copied. Time spent waiting for room is our
/// own affair and does not count as the sender's.
///
/// # Errors
/// [`BodyFault`]; what is left of the body is not read.
pub async fn collect<'r, B>(
    body: &mut B,
    max: usize,
    time: Duration,
    room: &'r Room,
) -> Result<(Bytes, Held<'r>), BodyFault>
where
    B: Body<Data = Bytes> + Unpin,
{
    let declared = body.size_hint().exact().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    if declared.is_some_and(|n| n > max) {
        return Err(BodyFault::TooLarge);
    }
    let expected = declared.unwrap_or(max);
    let mut deadline = Instant::now() + time;
    let mut held = Held::none(room);
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while !body.is_end_stream() {
        let got = first.len() + joined.len();
        deadline += held.grow((got + READ_MAX).min(expected)).await;
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(BodyFault::TooSlow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(BodyFault::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > max - got {
            return Err(BodyFault::TooLarge);
        }
        if got == 0 {
            first = data;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut first));
            joined.extend_from_slice(&data);
        }
    }
    Ok((if joined.is_empty() { first } else { joined.freeze() }, held))
}
