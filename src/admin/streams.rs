//! Answers that go on: events as they come, as server-sent events (WHATWG HTML, *Server-sent events*). Their number has
//! a bound of its own, so that they take no place from what is answered at once.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::{HeaderValue, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::answers::Answer;
use super::found::Tailed;
use super::{BoxStream, Refusal};

/// Most streams at the same time.
pub(super) const STREAMS: usize = 16;
/// How often a stream says that it is there. A client that is gone is noticed by then, and no proxy takes the
/// connection for idle.
const BEAT: Duration = Duration::from_secs(15);

/// The places for streams of one listener.
#[derive(Clone)]
pub(super) struct Streams(Arc<Semaphore>);

/// One stream's place, free again when this is dropped.
pub(super) struct Place(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Streams {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS)))
    }

    /// A place for one more stream.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn place(&self) -> Result<Place, Refusal> {
        let full = |_| Refusal::Busy(format!("{STREAMS} streams are open already; end one of them"));
        Arc::clone(&self.0).try_acquire_owned().map(Place).map_err(full)
    }
}

/// That an answer is a stream, for whoever limits the life of its connection.
#[derive(Clone, Copy)]
pub(super) struct GoesOn;

/// An answer of these events as they come.
pub(super) fn answer(lines: BoxStream<Tailed>, place: Place) -> Answer {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answer = Response::new(Lines { lines, beat, _place: place }.boxed_unsync());
    answer.extensions_mut().insert(GoesOn);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // nginx holds answers back otherwise (nginx's module ngx_http_proxy_module, `X-Accel-Buffering`).
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    // The connection has had more than its time when the stream ends.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

struct Lines {
    lines: BoxStream<Tailed>,
    beat: Interval,
    _place: Place,
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |bytes: Bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        match Pin::new(&mut self.lines).poll_next(cx) {
            Poll::Ready(Some(line)) => return frame(event(&line)),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        // The first beat is at once: the client learns that the stream is open. A line that begins with `:` says
        // nothing.
        match self.beat.poll_tick(cx) {
            Poll::Ready(_) => frame(Bytes::from_static(b":\n\n")),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn event(tailed: &Tailed) -> Bytes {
    let (head, json) = match tailed {
        // Whoever comes back says which event was the last.
        Tailed::Event(line) => (format!("id: {}\ndata: ", line.id), serde_json::to_vec(line)),
        Tailed::LeftOut(events) => {
            ("event: left_out\ndata: ".to_owned(), serde_json::to_vec(&serde_json::json!({ "events": events })))
        }
    };
    let mut bytes = BytesMut::from(head.as_bytes());
    // A line has nothing that cannot be written. Inside JSON's strings line breaks are escaped: others are blank.
    let json = json.unwrap_or_default().into_iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte });
    bytes.extend(json);
    bytes.extend_from_slice(b"\n\n");
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::super::found::CloudLine;
    use super::*;

    #[test]
    fn streams_have_a_bound_and_one_that_ends_makes_room() {
        let streams = Streams::new();
        let mut places: Vec<Place> = (0..STREAMS).map(|_| streams.place().unwrap()).collect();
        assert!(matches!(streams.place(), Err(Refusal::Busy(_))));
        places.pop();
        assert!(streams.place().is_ok());
    }

    #[test]
    fn a_line_is_one_event_whatever_its_body_looks_like() {
        let data = serde_json::value::RawValue::from_string("{\n \"a\": \"b\\nc\"\r\n}".into()).unwrap();
        let line = CloudLine { id: "7".into(), data: Some(data), ..CloudLine::default() };
        let text = String::from_utf8(event(&Tailed::Event(Box::new(line))).to_vec()).unwrap();
        assert!(text.starts_with("id: 7\ndata: {") && text.ends_with("}\n\n"), "{text}");
        assert_eq!((text.matches(['\n', '\r']).count(), text.contains("b\\nc")), (3, true), "{text}");
    }
}
