//! Reads a request's body into one piece: no larger than `max_body`, no slower than `body_timeout` and [`LEAST_RATE`]
//! allow, and all bodies together in no more memory than the [`budget`](super::budget) has. Knows neither sources nor
//! signatures.
//!
//! Most bodies come with their heads, or right behind them. These are read without asking the budget: waiting would
//! save none of the memory that they take already. A body that has to be waited for is an *upload*, and is counted.

use std::error::Error;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Version, request};
use hyper::body::{Body, Frame};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::budget::{Budget, Pool, SMALL, Sender, Upload};

/// Most bytes one read of a connection brings.
pub const READ_MAX: usize = 32 << 10;
/// Bytes of a body that are read before the body is counted, for at most [`SOON`].
const UNCOUNTED: usize = 8 << 10;
/// How long a body may take without being counted. (Longer than a tenth of a second: see `append_batch`.)
const SOON: Duration = Duration::from_millis(150);
/// Largest head, in memory, whose request is not counted at once. An ordinary head takes 1 to 3 KiB.
const LIGHT_HEAD: usize = 8 << 10;
/// What a request holds beside head and body: a task, a stream, an entry among the uploads. Bytes, rounded up.
const REQUEST_COST: usize = 4 << 10;
/// What a header takes in memory beside its bytes (`http::HeaderMap`, rounded up).
const HEADER_COST: usize = 104;
/// Least bytes a second of a body, over [`RATE_SPAN`]; waiting for room does not count.
const LEAST_RATE: usize = 1 << 10;
/// Over how many seconds the rate is looked at.
const RATE_SPAN: u8 = 5;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// Larger than allowed, by its `Content-Length` or by the bytes that came.
    TooLarge,
    /// The body did not come in time, or was slow while others needed the room it took.
    TooSlow,
    /// The body was wrongly framed.
    Broken,
    /// The body broke off: its sender is gone.
    BrokenOff,
    /// There is no room for so large a head to wait for its body.
    LargeHead,
}

/// Bounds of a body.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Largest body, bytes.
    pub max: usize,
    /// Most time for it.
    pub time: Duration,
}

/// The head a body belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// What it takes in memory.
    bytes: usize,
    /// Whether one connection may have many requests at once.
    is_one_of_many: bool,
}

impl Head {
    /// The head of a request.
    pub fn of(parts: &request::Parts) -> Self {
        let text = |headers: &HeaderMap| -> usize { headers.iter().map(|(n, v)| n.as_str().len() + v.len()).sum() };
        let bytes = parts.headers.len() * HEADER_COST + text(&parts.headers);
        Self { bytes, is_one_of_many: parts.version >= Version::HTTP_2 }
    }

    fn is_counted_at_once(self) -> bool {
        self.is_one_of_many || self.bytes > LIGHT_HEAD
    }

    /// What the request takes of the budget when so many bytes of the body have come. On HTTP/1 a connection has one
    /// request at a time, so `max_connections` bounds those with light heads.
    fn cost(self, came: usize) -> usize {
        if self.is_counted_at_once() { REQUEST_COST + self.bytes + came } else { 0 }
    }
}

/// What has come of a body so far. A body that comes in one piece is not copied.
struct Gathered {
    max: usize,
    first: Bytes,
    joined: BytesMut,
}

impl Gathered {
    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    /// Takes a frame, and gives how many bytes of the body it brought; `None` at the body's end.
    fn take<E: Error + 'static>(&mut self, frame: Option<Result<Frame<Bytes>, E>>) -> Result<Option<usize>, BodyFault> {
        let Some(frame) = frame else { return Ok(None) };
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { return Ok(Some(0)) };
        let (had, came) = (self.len(), data.len());
        if came > self.max - had {
            return Err(BodyFault::TooLarge);
        }
        if had == 0 {
            self.first = data;
        } else {
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
            self.joined.extend_from_slice(&data);
        }
        Ok(Some(came))
    }

    /// Makes room for the whole body at once, where its size is known: a buffer that grows is copied again and again.
    fn expect(&mut self, size: usize) {
        if self.joined.is_empty() && self.len() < size {
            self.joined.reserve(size);
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
    }

    fn whole(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}

/// What is wrong with a body that ends with an error. Bytes that are not framed as HTTP says are an `io::Error` of
/// these kinds; whatever else there is, nothing more comes.
fn broken(error: &(dyn Error + 'static)) -> BodyFault {
    let mut causes = std::iter::successors(Some(error), |error| (**error).source());
    let is_bad_input = causes.any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|io| matches!(io.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData))
    });
    if is_bad_input { BodyFault::Broken } else { BodyFault::BrokenOff }
}

/// The whole body. `sender` is asked when the body is counted. `pause` is told whether nothing more of the connection
/// is to be read, as the body waits for room; that time does not count as the sender's.
///
/// # Errors
/// [`BodyFault`]; what is left of the body is not read.
pub async fn collect<B>(
    body: &mut B,
    head: Head,
    bounds: Bounds,
    budget: &Budget,
    sender: impl FnOnce() -> Sender,
    pause: impl Fn(bool),
) -> Result<Bytes, BodyFault>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let declared = body.size_hint().exact().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    if declared.is_some_and(|n| n > bounds.max) {
        return Err(BodyFault::TooLarge);
    }
    let began = Instant::now();
    let mut gathered = Gathered { max: bounds.max, first: Bytes::new(), joined: BytesMut::new() };
    // A body that is declared larger holds no more than its first bytes until it has room for the rest.
    let most = if declared.is_some_and(|n| n > UNCOUNTED) { 0 } else { UNCOUNTED };
    if uncounted(body, head, (&mut gathered, most), began + bounds.time.min(SOON)).await? {
        return Ok(gathered.whole());
    }
    let upload = budget.enter(sender(), head.cost(gathered.len()), (began, gathered.len()));
    let mut reading = TimedUpload { upload, deadline: began + bounds.time, span: (began, 0) };
    // A request that waits for room would keep its head in memory meanwhile.
    if head.bytes > LIGHT_HEAD && reading.is_waiting().await {
        return Err(BodyFault::LargeHead);
    }
    reading.room().await?;
    let mut pool = Pool::Base;
    while !body.is_end_stream() {
        let got = gathered.len();
        let (next, size) = match declared {
            _ if got == 0 => (Pool::Base, 0),
            Some(size) if size <= SMALL => (Pool::Small, size),
            None if got <= SMALL => (Pool::Small, SMALL.min(bounds.max)),
            size => (Pool::Large, size.unwrap_or(bounds.max)),
        };
        if next != pool {
            pool = next;
            reading.upload.ask(pool, size);
            pause(true);
            let room = reading.room().await;
            pause(false);
            room?;
            // The connection's task is to read on: no event of the socket may wake it.
            yield_now().await;
            gathered.expect(declared.unwrap_or_default());
        }
        let frame = reading.frame(body, got).await?;
        let Some(came) = gathered.take(frame)? else { break };
        reading.upload.came(came);
    }
    Ok(gathered.whole())
}

/// Reads what is here and what comes very soon, until that is more than `most` bytes. Gives whether it is the whole
/// body.
async fn uncounted<B>(
    body: &mut B,
    head: Head,
    (into, most): (&mut Gathered, usize),
    until: Instant,
) -> Result<bool, BodyFault>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let mut soon = pin!(sleep_until(until));
    while !body.is_end_stream() {
        if into.len() > most {
            return Ok(false);
        }
        let frame = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending if head.is_counted_at_once() => Poll::Ready(None),
            Poll::Pending => soon.as_mut().poll(cx).map(|()| None),
        });
        let Some(frame) = frame.await else { return Ok(false) };
        if into.take(frame)?.is_none() {
            break;
        }
    }
    Ok(true)
}

/// An upload and its time.
struct TimedUpload<'b> {
    upload: Upload<'b>,
    deadline: Instant,
    /// Since when the rate is measured, and how many bytes had come by then.
    span: (Instant, usize),
}

impl TimedUpload<'_> {
    async fn is_waiting(&self) -> bool {
        poll_fn(|cx| Poll::Ready(self.upload.poll(cx).is_pending())).await
    }

    /// Waits for the room that was asked for.
    async fn room(&mut self) -> Result<(), BodyFault> {
        let waited = self.upload.room().await.map_err(|_| BodyFault::TooSlow)?;
        self.deadline += waited;
        self.span.0 += waited;
        Ok(())
    }

    /// The next frame, when `got` bytes have come; `None` at the body's end.
    async fn frame<B>(&mut self, body: &mut B, got: usize) -> Result<Option<Result<Frame<Bytes>, B::Error>>, BodyFault>
    where
        B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
    {
        let span = Duration::from_secs(RATE_SPAN.into());
        let mut timer = pin!(sleep_until(self.deadline.min(self.span.0 + span)));
        poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                return Poll::Ready(Ok(frame));
            }
            self.upload.waits();
            if let Poll::Ready(Err(_)) = self.upload.poll(cx) {
                return Poll::Ready(Err(BodyFault::TooSlow));
            }
            while timer.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                let is_on_time = now < self.deadline && got - self.span.1 >= LEAST_RATE * usize::from(RATE_SPAN);
                if !is_on_time {
                    return Poll::Ready(Err(BodyFault::TooSlow));
                }
                self.span = (now, got);
                timer.as_mut().reset(self.deadline.min(now + span));
            }
            Poll::Pending
        })
        .await
    }
}
