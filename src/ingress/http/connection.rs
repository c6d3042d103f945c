//! One connection, HTTP/1.1 or HTTP/2, over TLS or not: hyper speaks the protocol, and this file sets bounds and sees
//! the connection to its end.
//!
//! hyper closes without an answer when a head is slow, and where unread bytes are left on closing, the kernel takes
//! back the answer just given. So the time for heads is kept here (408), and after an answer given early the connection
//! is read on for a short time.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep_until, timeout};

use super::admission::Permit;
use super::body::READ_MAX;
use super::connection_state::{GRACE, Link, Stopping};
use super::socket::{Peer, Stream};
use super::transport::Transport;
use super::wire::Wire;
use super::{BadHead, Handler, Server, handshake, reply};

/// How every HTTP/2 connection begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most bytes read before it is known which protocol is spoken.
const OPENING_BYTES: usize = 4 << 10;
/// How long, and how far, an early answered request is read on, so that its sender gets to see the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 8 << 20;
/// HTTP/2: how much the peer of a connection may send ahead of our reading. This memory lies outside
/// `max_inflight_bytes`, which counts a body when it is read; with the share of `max_connections` that may speak HTTP/2
/// it is 16 MiB by default. The least that HTTP/2 allows is one byte less.
const CONNECTION_WINDOW: u32 = 64 << 10;
/// HTTP/2: the same for one stream. Half a connection's, so that one stream waiting for room does not stop the others.
const STREAM_WINDOW: u32 = CONNECTION_WINDOW / 2;
/// HTTP/2: most streams of a connection at once. Few, as each holds a head while its body comes.
const STREAMS: u32 = 32;
/// How soon a connection that speaks HTTP/2 asks again where there is no permit for it: after twice as long each time.
const PERMIT_PAUSE: Duration = Duration::from_millis(5);
const PERMIT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// HTTP/1: how many headers a head may have. hyper's own bound of 100 refuses heads that are far from large. hyper sets
/// aside 64 bytes a header at each parse, so the number follows `max_header_bytes`, one for each [`HEADER_LINE`] of it,
/// and ends at [`MAX_HEADERS`]. HTTP/2 counts 32 bytes a header into the bytes and needs no number.
const MIN_HEADERS: usize = 100;
const MAX_HEADERS: usize = 2048;
/// Bytes of a header line below which the number of headers decides, not their bytes.
const HEADER_LINE: usize = 64;

/// Serves one connection to its end.
pub(super) async fn serve(
    server: Arc<Server>,
    handler: impl Handler,
    (stream, is_tls): (Stream, bool),
    (peer, permit): (Peer, Option<Permit>),
    mut stopping: Stopping,
) {
    let entered = server.admission.enter(|id| Link::new(id, permit, server.clone(), peer));
    let link = &entered.link;
    stream.set_nodelay();
    let mut stream = if is_tls {
        // In a box, as its state is large, and other connections have none.
        match Box::pin(handshake::shake(stream, link, &mut stopping)).await {
            Some(transport) => transport,
            None => return,
        }
    } else {
        Transport::Plain(stream)
    };
    match opening(&mut stream, link, &mut stopping).await {
        Opening::Http1(first) => {
            let wire = Wire::http1(stream, first, link.clone());
            http1(link, handler, wire, &mut stopping).await;
        }
        Opening::Http2(first) => {
            stream.speaks_http2();
            if gets_http2_permit(link, &stopping).await {
                http2(link, handler, Wire::http2(stream, first, link.clone()), &mut stopping).await;
            }
        }
        Opening::Slow => {
            handler.refused(link, BadHead::TooSlow);
            refuse_slow_head(link, stream).await;
        }
        Opening::Gone => {}
    }
}

enum Opening {
    Http1(Bytes),
    Http2(Bytes),
    /// Some bytes came, too late or too few.
    Slow,
    /// Nothing came.
    Gone,
}

/// Reads until it is known which protocol is spoken: at the first byte that differs from HTTP/2's preface.
async fn opening(stream: &mut Transport, link: &Link, stopping: &mut Stopping) -> Opening {
    // It has no memory before there are bytes for it: many connections may be idle.
    let mut first = BytesMut::new();
    let mut deadline = link.first_head_due();
    if *stopping.borrow_and_update() {
        deadline = deadline.min(Instant::now() + GRACE);
    }
    let mut timer = pin!(sleep_until(deadline));
    loop {
        tokio::select! {
            biased;
            read = poll_fn(|cx| poll_some(stream, &mut first, cx)) => match read {
                Ok(0) | Err(_) => return Opening::Gone,
                Ok(_) => {
                    link.speaks();
                    if let Some(protocol) = protocol(&mut first) {
                        return protocol;
                    }
                    timer.as_mut().reset(deadline);
                }
            },
            () = link.cut.asked() => {
                // The first bytes may be here, and only not read yet.
                yield_now().await;
                let read = poll_fn(|cx| Poll::Ready(poll_some(stream, &mut first, cx))).await;
                let read = if let Poll::Ready(Ok(read)) = read { read } else { 0 };
                link.speaks();
                // The request in them is answered, and no further one.
                link.cut.ask();
                return if read > 0 { protocol(&mut first).unwrap_or(Opening::Gone) } else { Opening::Gone };
            }
            changed = stopping.changed() => match changed {
                Ok(()) if first.is_empty() => timer.as_mut().reset(deadline.min(Instant::now() + GRACE)),
                Ok(()) => {}
                Err(_) => return Opening::Gone,
            },
            () = &mut timer => return if first.is_empty() { Opening::Gone } else { Opening::Slow },
        }
    }
}

/// The protocol that the first bytes speak; `None` where there are too few to tell.
fn protocol(first: &mut BytesMut) -> Option<Opening> {
    let compared = first.len().min(PREFACE.len());
    if first.get(..compared) != PREFACE.get(..compared) {
        return Some(Opening::Http1(first.split().freeze()));
    }
    (compared == PREFACE.len()).then(|| Opening::Http2(first.split().freeze()))
}

/// Reads the bytes that are there. Cancel-safe.
fn poll_some(stream: &mut Transport, into: &mut BytesMut, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
    let mut bytes = [0; OPENING_BYTES];
    let mut part = ReadBuf::new(&mut bytes);
    ready!(Pin::new(stream).poll_read(cx, &mut part))?;
    into.extend_from_slice(part.filled());
    Poll::Ready(Ok(part.filled().len()))
}

/// Gets a permit among the connections that speak HTTP/2. Where there is none, the connection asks again for as long as
/// a head may take, less and less often: so a sender that has just come need not queue behind thousands that hold on.
/// During a stop no permit is needed.
async fn gets_http2_permit(link: &Link, stopping: &Stopping) -> bool {
    let Server { admission, budget, header_timeout, .. } = &*link.server;
    let until = Instant::now() + *header_timeout;
    let mut pause = PERMIT_PAUSE;
    while !*stopping.borrow() {
        if let Some(permit) = admission.http2_permit(budget) {
            link.http2_permit.put(permit);
            break;
        }
        let again = Instant::now() + pause;
        if again > until {
            return false;
        }
        tokio::select! {
            () = link.cut.asked() => return false,
            () = sleep_until(again) => pause = (pause * 2).min(PERMIT_PAUSE_MAX),
        }
    }
    true
}

async fn http1(link: &Arc<Link>, handler: impl Handler, wire: Wire, stopping: &mut Stopping) {
    let max_head = link.server.max_header_bytes;
    let mut conn = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(max_head)
        .max_headers((max_head / HEADER_LINE).clamp(MIN_HEADERS, MAX_HEADERS))
        .max_buf_size(READ_MAX.max(max_head + 1))
        // A sender that closes its half after the request still wants the answer; and not watching for the close saves
        // a read per request.
        .half_close(true)
        // Our answers are short: one piece is cheaper to write than a list of two.
        .writev(false)
        .serve_connection(TokioIo::new(wire), service(link.clone(), handler.clone()));
    let end = drive(&mut conn, |conn| conn.graceful_shutdown(), link, stopping).await;
    let parts = conn.into_parts();
    let stream = parts.io.into_inner().into_stream();
    match end {
        End::Late if link.awaits_head() || !parts.read_buf.is_empty() => {
            handler.refused(link, BadHead::TooSlow);
            refuse_slow_head(link, stream).await;
        }
        End::Done(result) => {
            let malformed = result.err().filter(hyper::Error::is_parse);
            if let Some(error) = &malformed {
                handler.refused(link, if error.is_parse_too_large() { BadHead::TooLarge } else { BadHead::Malformed });
            }
            if malformed.is_some() || link.unread.load(Relaxed) {
                linger(link, stream).await;
            }
        }
        // The connection was at rest for too long, or was asked to close.
        End::Late | End::Cut => {}
    }
}

async fn http2(link: &Arc<Link>, handler: impl Handler, wire: Wire, stopping: &mut Stopping) {
    let streams = Streams::default();
    let mut conn = http2::Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(link.server.max_header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .serve_connection(TokioIo::new(wire), service(link.clone(), handler.clone()));
    if let End::Late = drive(&mut conn, |conn| conn.graceful_shutdown(), link, stopping).await {
        if link.awaits_head() {
            handler.refused(link, BadHead::TooSlow);
        }
        Pin::new(&mut conn).graceful_shutdown();
        // A peer that does not take the GOAWAY is left anyway.
        let _ = timeout(GRACE, &mut conn).await;
    }
    drop(conn);
    streams.end();
}

/// The answers of a connection's streams. Each answer is polled once where the stream comes in, and left to the runtime
/// only where it is not ready by then. So a head that is refused for want of room is gone before the next one is looked
/// at; in the runtime's queue the heads of all connections would pile up. Nobody waits for the answers of a connection
/// that has ended: they end, too, and free what they hold.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

impl Streams {
    fn end(&self) {
        self.lock().abort_all();
    }

    /// Valid between any two statements, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut stream = Box::pin(stream);
        // A waker that does nothing will do: a spawned task is polled again in any case.
        if stream.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            let mut streams = self.lock();
            while streams.try_join_next().is_some() {}
            streams.spawn(stream);
        }
    }
}

fn service(
    link: Arc<Link>,
    handler: impl Handler,
) -> impl HttpService<
    Incoming,
    ResBody = Full<Bytes>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
> {
    service_fn(move |request: Request<Incoming>| {
        let (link, handler) = (link.clone(), handler.clone());
        async move {
            let _busy = link.begin();
            let version = request.version();
            let (answer, unread) = handler.answer(&link, request).await;
            if unread {
                link.unread.store(true, Relaxed);
            }
            let mut response = reply::response(answer, version);
            if link.is_last() && version < Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    })
}

enum End {
    /// hyper has ended the connection.
    Done(hyper::Result<()>),
    /// A head came too slowly, or nothing came for too long.
    Late,
    /// The connection was asked to close, or the time to drain is over.
    Cut,
}

/// Polls a connection until it ends or is to be ended.
async fn drive<C>(conn: &mut C, wind_down: fn(Pin<&mut C>), link: &Link, stopping: &mut Stopping) -> End
where
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    let patience = link.server.header_timeout;
    let look = if *stopping.borrow_and_update() {
        link.answer_last();
        Some(Instant::now() + GRACE)
    } else {
        link.next_look(patience)
    };
    let mut timer = pin!(sleep_until(look.unwrap_or_else(Instant::now)));
    loop {
        tokio::select! {
            biased;
            done = &mut *conn => return End::Done(done),
            () = link.cut.asked() => {
                // A request may be here, and only not read yet: it is answered, as the last one.
                yield_now().await;
                if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(Pin::new(&mut *conn).poll(cx))).await {
                    return End::Done(done);
                }
                if !link.is_answering() {
                    return End::Cut;
                }
                wind_down(Pin::new(conn));
            }
            changed = stopping.changed() => {
                if changed.is_err() {
                    return End::Cut;
                }
                link.answer_last();
                // A request that is being answered is the last; where there is none, one may be on its way.
                if link.is_serving() {
                    wind_down(Pin::new(conn));
                } else {
                    timer.as_mut().reset(Instant::now() + GRACE);
                }
            }
            () = &mut timer => {
                // Bytes of a request may be here, and only not read yet: nothing is closed under them.
                yield_now().await;
                if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(Pin::new(&mut *conn).poll(cx))).await {
                    return End::Done(done);
                }
                // Of a head in part the answer will be the last. hyper would take such a connection for an idle one,
                // and close it.
                if link.is_last() && !link.awaits_next_head() {
                    wind_down(Pin::new(conn));
                }
                match link.next_look(patience) {
                    Some(at) => timer.as_mut().reset(at),
                    None => return End::Late,
                }
            }
        }
    }
}

async fn refuse_slow_head(link: &Link, mut stream: Transport) {
    if let Ok(Ok(())) = timeout(GRACE, stream.write_all(reply::SLOW_HEAD)).await {
        linger(link, stream).await;
    }
}

/// Closes our half and reads on for a while: a connection that is closed with unread bytes is reset, and the reset
/// destroys the answer.
async fn linger(link: &Link, mut stream: Transport) {
    let _ = stream.shutdown().await;
    let mut rest = vec![0; 8 << 10];
    let read_on = async {
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut rest).await {
                Ok(0) | Err(_) => return,
                Ok(n) => left = left.saturating_sub(n),
            }
        }
    };
    tokio::select! {
        _ = timeout(LINGER, read_on) => {}
        () = link.cut.asked() => {}
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Executor;

    use super::*;

    #[tokio::test]
    async fn streams_of_a_connection_that_has_ended_let_go_of_what_they_hold() {
        let (streams, held) = (Streams::default(), Arc::new(()));
        for _ in 0..3 {
            let held = Arc::clone(&held);
            streams.execute(async move {
                std::future::pending::<()>().await;
                drop(held);
            });
        }
        assert_eq!(Arc::strong_count(&held), 4);
        streams.end();
        while Arc::strong_count(&held) > 1 {
            yield_now().await;
        }
    }
}
