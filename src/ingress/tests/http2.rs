//! The same over HTTP/2 cleartext: what ends a connection on HTTP/1.1 ends one stream here.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::http::{Request, Response, StatusCode, Version};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

/// A body of these bytes.
fn full(bytes: &[u8]) -> Body {
    Full::new(Bytes::copy_from_slice(bytes)).boxed()
}

/// A body of unknown length: these parts, and then its end, or nothing more at all.
struct Parts {
    parts: std::vec::IntoIter<Vec<u8>>,
    ends: bool,
}

fn parts(parts: &[&[u8]], ends: bool) -> Body {
    Parts { parts: parts.iter().map(|p| p.to_vec()).collect::<Vec<_>>().into_iter(), ends }.boxed()
}

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.parts.next() {
            Some(part) => Poll::Ready(Some(Ok(Frame::data(part.into())))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

async fn connect(served: &Served) -> http2::SendRequest<Body> {
    let stream = TcpStream::connect(served.at).await.unwrap();
    let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send
}

fn post(signature: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://x{PATH}")).header("interakt-signature", signature).body(body).unwrap()
}

async fn ask(send: &mut http2::SendRequest<Body>, request: Request<Body>) -> (StatusCode, String) {
    let response: Response<Incoming> = within(send.send_request(request)).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let status = response.status();
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn webhooks_are_taken_and_refused_as_over_http_1() {
    let served = plain().await;
    let mut send = connect(&served).await;
    for (n, body) in [&b"{\"type\":\"message_received\"}"[..], b"", &[b'x'; 300_000]].into_iter().enumerate() {
        let (status, answer) = ask(&mut send, post(&sign(body), full(body))).await;
        let event = &served.journal.events()[n];
        assert_eq!((status.as_u16(), answer), (200, format!(r#"{{"id":"{}"}}"#, event.id)));
        assert_eq!(event.body, body);
    }
    assert_eq!(ask(&mut send, post("x", full(b"{}"))).await.0, 401);
    let elsewhere = Request::post("http://x/elsewhere").body(full(b"{}")).unwrap();
    assert_eq!(ask(&mut send, elsewhere).await.0, 404);
    assert_eq!(served.ingress.counts().connections.get(), 1);
}

#[tokio::test]
async fn a_413_or_408_ends_its_stream_only() {
    let server = ServerConfig { max_body: Size(1000), body_timeout: Period::millis(250), ..server() };
    let served = serve(server, source(), Does::Hang).await;
    let mut send = connect(&served).await;
    let mut other = send.clone();
    let pending = tokio::spawn(async move { ask(&mut other, post(&sign(b"{}"), full(b"{}"))).await });
    wait_until(|| served.journal.hanging() == 1).await;

    assert_eq!(ask(&mut send, post("x", full(&[b'x'; 1001]))).await.0, 413);
    assert_eq!(ask(&mut send, post("x", parts(&[&[b'x'; 700], &[b'x'; 700]], true))).await.0, 413);
    assert_eq!(ask(&mut send, post("x", parts(&[b"12345"], false))).await.0, 408);

    served.journal.tell(DURABLE);
    assert_eq!(pending.await.unwrap().0, 200, "the stream beside them");
    served.journal.does(Does::Flush);
    assert_eq!(ask(&mut send, post(&sign(b"{} "), full(b"{} "))).await.0, 200, "the connection goes on");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let served = serve(ServerConfig { max_header_bytes: Size(2048), ..server() }, source(), Does::Flush).await;
    let mut send = connect(&served).await;
    let mut request = post(&sign(b"{}"), full(b"{}"));
    request.headers_mut().insert("x-pad", "p".repeat(4000).parse().unwrap());
    assert_eq!(ask(&mut send, request).await.0, 431);
    assert_eq!(ask(&mut send, post(&sign(b"{}"), full(b"{}"))).await.0, 200);
}

#[tokio::test]
async fn many_small_headers_are_taken_as_long_as_their_bytes_are() {
    let served = plain().await;
    let mut send = connect(&served).await;
    for (count, width, status) in [(300, 1, 200), (300, 110, 431), (600, 1, 200)] {
        let mut request = post(&sign(b"{}"), full(b"{}"));
        for n in 0..count {
            let name = ::http::HeaderName::try_from(format!("x-{n}")).unwrap();
            request.headers_mut().insert(name, "v".repeat(width).parse().unwrap());
        }
        assert_eq!(ask(&mut send, request).await.0.as_u16(), status, "{count} of {width}");
    }
}

/// The next frame: type, stream, payload.
async fn frame(stream: &mut TcpStream) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    within(stream.read_exact(&mut head)).await.unwrap();
    let mut payload = vec![0; usize::from(head[2]) | usize::from(head[1]) << 8 | usize::from(head[0]) << 16];
    within(stream.read_exact(&mut payload)).await.unwrap();
    (head[3], u32::from_be_bytes(head[5..].try_into().unwrap()), payload)
}

#[tokio::test]
async fn no_peer_may_send_more_than_64_kib_ahead_of_the_reading() {
    const SETTINGS: u8 = 4;
    const WINDOW_UPDATE: u8 = 8;
    let served = plain().await;
    let mut stream = TcpStream::connect(served.at).await.unwrap();
    // The preface, settings of our own without any, and a ping whose answer ends what the server says by itself.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    stream.write_all(b"\0\0\x08\x06\0\0\0\0\0whatever").await.unwrap();
    let (mut window, mut connection) = (65_535, 65_535);
    loop {
        match frame(&mut stream).await {
            (SETTINGS, _, settings) => {
                for setting in settings.chunks(6).filter(|setting| setting[..2] == [0, 4]) {
                    window = u32::from_be_bytes(setting[2..].try_into().unwrap());
                }
            }
            (WINDOW_UPDATE, 0, more) => connection += u32::from_be_bytes(more.try_into().unwrap()),
            (6, ..) => break,
            _ => {}
        }
    }
    assert_eq!(window, 32 << 10);
    assert!(connection <= 64 << 10, "{connection}");
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_after_the_head_timeout() {
    let served = serve(ServerConfig { header_timeout: Period::millis(250), ..server() }, source(), Does::Flush).await;
    let send = connect(&served).await;
    wait_until(|| send.is_closed()).await;
    assert_eq!(served.ingress.counts().slow_heads.get(), 1);
}

#[tokio::test]
async fn a_stop_answers_the_stream_that_has_begun() {
    let served = serve(server(), source(), Does::Hang).await;
    let mut send = connect(&served).await;
    let pending = tokio::spawn(async move { ask(&mut send, post(&sign(b"{}"), full(b"{}"))).await });
    wait_until(|| served.journal.hanging() == 1).await;
    served.stop.send(()).unwrap();
    served.journal.tell(DURABLE);
    assert_eq!(pending.await.unwrap().0, 200);
    within(served.task).await.unwrap();
}

#[tokio::test]
async fn heads_of_streams_that_wait_for_their_bodies_take_a_bounded_room() {
    let server = ServerConfig { max_inflight_bytes: Size::mib(4), ..server() };
    let served = serve(server, source(), Does::Flush).await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let send = connect(&served).await;
        for _ in 0..30 {
            let mut request = post("x", parts(&[], false));
            let value = ::http::HeaderValue::from_static("b");
            for _ in 0..900 {
                request.headers_mut().append("a", value.clone());
            }
            let mut send = send.clone();
            asked.spawn(async move { ask(&mut send, request).await.0.as_u16() });
        }
    }
    let mut statuses = Vec::new();
    while statuses.len() < 50 {
        assert!(served.ingress.server.budget.used()[0] <= 1 << 19);
        statuses.push(within(asked.join_next()).await.unwrap().unwrap());
    }
    assert!(statuses.iter().all(|status| [408, 431].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&431));
    assert_eq!(served.post(b"{}").await.status, 200);
}

#[tokio::test]
async fn of_all_connections_a_sixteenth_may_speak_http2_and_an_idle_one_makes_place() {
    let served = serve(ServerConfig { max_connections: 32, ..server() }, source(), Does::Flush).await;
    let mut sends = Vec::new();
    for _ in 0..3 {
        let mut send = connect(&served).await;
        let _ = ask(&mut send, post("x", full(b"{}"))).await;
        sends.push(send);
    }
    wait_until(|| sends[0].is_closed()).await;
    assert_eq!(ask(&mut sends[2], post(&sign(b"{}"), full(b"{}"))).await.0, 200);
    assert_eq!(served.ingress.pressed().connections_cut, 1);
}
