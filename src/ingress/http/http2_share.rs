//! How an HTTP/2 connection that has not brought a good signature yet shares the processor with the others.
//!
//! A head of HTTP/2 is compressed: 950 bytes can name 950 headers, which take a hundred times as long to decode as
//! their bytes took to read. So such a connection reads a little at a time, and then rests: for so long that all HTTP/2
//! connections together take a bounded share of one processor. The rest follows from the processor time that was spent:
//! bytes that are cheap to decode cost nothing and are read in larger pieces; and the first bytes of a connection do
//! not wait. Bytes of a body are cheap whatever the clock says, as on a busy machine everything takes longer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::http2_frames::Frames;

/// Most bytes that are read at first, and after bytes that were not cheap: the preface and one ordinary head.
const READ_FIRST: usize = 512;
/// Most bytes that are read at a time: twice as many after each reading that was cheap.
const READ_MAX: usize = 8 << 10;
/// A reading that takes no longer is cheap, and free. 512 bytes of a head that names one header again and again take
/// several times as long.
const CHEAP: Duration = Duration::from_micros(20);
/// A connection rests this many times as long as it took, times the number of HTTP/2 connections: all of them together
/// take a quarter of one processor.
const REST: u32 = 4;
/// Most time that counts for one reading.
const SPENT_MAX: Duration = Duration::from_millis(1);
/// A rest shorter than this is added to the next one: timers are no finer.
const REST_MIN: Duration = Duration::from_millis(1);

/// One connection's share.
pub(super) struct Http2Share {
    /// The thread's processor time when the bytes were read that are being decoded.
    began: Option<Duration>,
    /// Whether those bytes are all of bodies.
    is_body: bool,
    frames: Frames,
    /// Most bytes of the next reading.
    read_max: usize,
    /// The end of the rest.
    rest_until: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Default for Http2Share {
    fn default() -> Self {
        Self {
            began: None,
            is_body: false,
            frames: Frames::default(),
            read_max: READ_FIRST,
            rest_until: None,
            timer: None,
        }
    }
}

/// The processor time that this thread has taken.
pub(super) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

impl Http2Share {
    /// Reads a little, after the rest for what was read before. `connections` is how many speak HTTP/2, `time` the
    /// clock of [`thread_time`].
    pub fn poll_read<S: AsyncRead>(
        &mut self,
        stream: Pin<&mut S>,
        (connections, time): (usize, impl Fn() -> Duration),
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        // Whoever reads again has decoded what was read before.
        if let Some(began) = self.began.take() {
            let spent = time().saturating_sub(began);
            if self.is_body || spent <= CHEAP {
                self.read_max = (self.read_max * 2).min(READ_MAX);
            } else {
                self.read_max = READ_FIRST;
                let now = Instant::now();
                let from = self.rest_until.map_or(now, |until| until.max(now));
                self.rest_until = Some(from + rest(spent, connections));
            }
            // Other connections are served before this one reads on.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_rest(cx));
        let mut bytes = [0; READ_MAX];
        let mut part = ReadBuf::new(bytes.get_mut(..buf.remaining().min(self.read_max)).unwrap_or_default());
        ready!(stream.poll_read(cx, &mut part))?;
        if !part.filled().is_empty() {
            self.began = Some(time());
            self.is_body = self.frames.are_of_a_body(part.filled());
        }
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_due = |until: &Instant| until.saturating_duration_since(Instant::now()) >= REST_MIN;
        let Some(until) = self.rest_until.filter(is_due) else { return Poll::Ready(()) };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    }
}

/// How long to rest after so much time spent.
fn rest(spent: Duration, connections: usize) -> Duration {
    spent.min(SPENT_MAX) * REST * u32::try_from(connections.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Reads as a connection does, and takes so much processor time to decode what came. The pieces that were read.
    async fn read_all(share: &mut Http2Share, bytes: usize, connections: usize, takes: Duration) -> Vec<usize> {
        let (bytes, clock) = (vec![7; bytes], std::cell::Cell::new(Duration::ZERO));
        let (mut from, mut pieces) = (&bytes[..], Vec::new());
        while !from.is_empty() {
            let mut bytes = [0; 2 * READ_MAX];
            let mut buf = ReadBuf::new(&mut bytes);
            poll_fn(|cx| share.poll_read(Pin::new(&mut from), (connections, || clock.get()), cx, &mut buf))
                .await
                .unwrap();
            clock.set(clock.get() + takes);
            pieces.push(buf.filled().len());
        }
        pieces
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_took_long_rests_in_proportion_to_the_number_of_connections() {
        for (connections, rests) in [(1, 4 * 100), (256, 256 * 4 * 100)] {
            let (mut share, began) = (Http2Share::default(), Instant::now());
            let takes = Duration::from_micros(100);
            assert_eq!(read_all(&mut share, READ_FIRST, connections, takes).await, [READ_FIRST]);
            assert_eq!(began.elapsed(), Duration::ZERO, "the first bytes do not wait");
            share = Http2Share::default();
            assert_eq!(read_all(&mut share, 7 * READ_FIRST, connections, takes).await, [READ_FIRST; 7]);
            // Timers are no finer than a millisecond, and each of the rests may be longer by one.
            let least = Duration::from_micros(6 * rests).saturating_sub(REST_MIN);
            assert!(began.elapsed() >= least && began.elapsed() < least * 2 + 7 * REST_MIN, "{:?}", began.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn cheap_bytes_are_read_without_a_rest_and_in_larger_and_larger_pieces() {
        let (mut share, began) = (Http2Share::default(), Instant::now());
        let pieces = read_all(&mut share, 3 * READ_MAX, 256, CHEAP).await;
        assert_eq!(pieces[..5], [512, 1024, 2048, 4096, 8192]);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_of_a_body_are_cheap_however_long_they_took() {
        let body = [Frames::PREFACE, &[0, 0x40, 0, 0, 0, 0, 0, 0, 1], &[7; 0x4000]].concat();
        let (mut share, began, clock) = (Http2Share::default(), Instant::now(), std::cell::Cell::new(Duration::ZERO));
        let (mut from, mut pieces) = (&body[..], Vec::new());
        while !from.is_empty() {
            let mut bytes = [0; 2 * READ_MAX];
            let mut buf = ReadBuf::new(&mut bytes);
            poll_fn(|cx| share.poll_read(Pin::new(&mut from), (256, || clock.get()), cx, &mut buf)).await.unwrap();
            clock.set(clock.get() + SPENT_MAX);
            pieces.push(buf.filled().len());
        }
        assert_eq!(pieces[..6], [512, 512, 1024, 2048, 4096, 8192], "the preface is in the first");
        assert!(began.elapsed() <= SPENT_MAX * 256 * REST + REST_MIN, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_reading_counts_for_no_more_than_its_bound() {
        let (mut share, began) = (Http2Share::default(), Instant::now());
        read_all(&mut share, 2 * READ_FIRST, 1, Duration::from_secs(10)).await;
        assert!(began.elapsed() <= SPENT_MAX * REST + REST_MIN, "{:?}", began.elapsed());
    }
}
