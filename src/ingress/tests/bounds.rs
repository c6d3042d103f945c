//! Sizes, times, and pauses: what is too much is refused, what is much is waited with.

use super::*;

fn small() -> ServerConfig {
    ServerConfig { max_body: Size(1000), ..server() }
}

fn quick() -> ServerConfig {
    ServerConfig { header_timeout: Period::millis(250), body_timeout: Period::millis(250), ..server() }
}

/// A chunked webhook, signed as `body`.
fn chunked(body: &[u8], chunk: usize) -> Vec<u8> {
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\ninterakt-signature: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        sign(body)
    );
    let mut out = head.into_bytes();
    for part in body.chunks(chunk) {
        out.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[tokio::test]
async fn a_body_of_exactly_max_body_is_taken_and_one_byte_more_is_413() {
    let served = serve(small(), source(), Does::Flush).await;
    let (full, over) = (vec![b'x'; 1000], vec![b'x'; 1001]);
    for (request, status) in [
        (signed(&full), 200),
        (chunked(&[b'y'; 1000], 300), 200),
        (signed(&over), 413),
        (chunked(&over, 300), 413),
        (chunked(&over, 1001), 413),
    ] {
        let mut client = served.connect().await;
        client.send(request).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status);
        if status == 413 {
            assert_eq!(reply.header("connection"), Some("close"));
            assert!(client.is_closed().await);
        }
    }
    assert_eq!(served.counts().refused.get(Reason::TooLarge), 3);
    assert_eq!(served.journal.events().len(), 2);
}

#[tokio::test]
async fn a_413_reaches_a_sender_that_is_still_sending() {
    let served = serve(small(), source(), Does::Flush).await;
    let body = vec![b'x'; 4 << 20];
    let mut client = served.connect().await;
    client.send(signed(&body)).await;
    assert_eq!(client.reply().await.status, 413);
}

#[tokio::test]
async fn a_413_is_answered_before_a_sender_that_asks_first_sends_anything() {
    let served = serve(small(), source(), Does::Flush).await;
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1001\r\n\r\n");
    assert_eq!(served.ask(head).await.status, 413);
}

#[tokio::test]
async fn bodies_of_many_frames_come_together_unchanged() {
    let served = plain().await;
    let body: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[usize::from(n.is_multiple_of(3))]).collect();
    assert_eq!(served.post(&body).await.status, 200);
    assert_eq!(served.ask(chunked(&body[1..], 700)).await.status, 200);
    let events = served.journal.events();
    assert!(events[0].body == body && events[1].body == body[1..]);
}

#[tokio::test]
async fn a_head_that_is_too_slow_is_408_and_the_connection_closed() {
    let served = serve(quick(), source(), Does::Flush).await;
    for part in ["P", "POST /web", "POST / HTTP/1.1\r\nhost: x\r\nx-a: "] {
        let mut client = served.connect().await;
        client.send(part).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.header("connection")), (408, Some("close")), "{part:?}");
        assert!(reply.json()["error"].is_string());
        assert!(client.is_closed().await);
    }
    assert_eq!(served.ingress.counts().slow_heads.get(), 3);
}

#[tokio::test]
async fn a_slow_head_is_408_on_a_connection_that_has_served_before_too() {
    let served = serve(quick(), source(), Does::Flush).await;
    let mut client = served.connect().await;
    client.send(signed(b"{}")).await;
    assert_eq!(client.reply().await.status, 200);
    client.send("POST /web").await;
    assert_eq!(client.reply().await.status, 408);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_connection_at_rest_between_requests_outlives_the_head_timeout() {
    let served = serve(quick(), source(), Does::Flush).await;
    let mut client = served.connect().await;
    for n in 0..2 {
        client.send(signed(format!("{n}").as_bytes())).await;
        assert_eq!(client.reply().await.status, 200);
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
}

#[tokio::test]
async fn a_connection_that_never_says_anything_is_closed_in_silence() {
    let served = serve(quick(), source(), Does::Flush).await;
    assert!(served.connect().await.try_reply(true).await.is_none());
}

#[tokio::test]
async fn a_body_that_is_too_slow_is_408_and_the_connection_closed() {
    let served = serve(quick(), source(), Does::Flush).await;
    for head in [
        "content-length: 10\r\n\r\n12345",
        "transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n",
        "content-length: 1\r\n\r\n",
    ] {
        let mut client = served.connect().await;
        client.send(format!("POST {PATH} HTTP/1.1\r\nhost: x\r\n{head}")).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.header("connection")), (408, Some("close")), "{head:?}");
        assert!(client.is_closed().await);
    }
    assert_eq!(served.counts().refused.get(Reason::TooSlow), 3);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let served = serve(ServerConfig { max_header_bytes: Size(2048), ..server() }, source(), Does::Flush).await;
    let with = |bytes: usize| {
        posted(&format!("interakt-signature: {}\r\nx-pad: {}\r\n", sign(b"{}"), "p".repeat(bytes)), b"{}")
    };
    assert_eq!(served.ask(with(1700)).await.status, 200);
    for bytes in [2048, 10_000, 4 << 20] {
        let mut client = served.connect().await;
        client.send(with(bytes)).await;
        assert_eq!(client.reply().await.status, 431, "{bytes}");
        assert!(client.is_closed().await);
    }
    assert_eq!(served.ingress.counts().large_heads.get(), 3);
}

#[tokio::test]
async fn many_small_headers_are_taken_as_long_as_their_bytes_are() {
    let served = plain().await;
    let with = |count: usize, width: usize| {
        let lines: String = (0..count).map(|n| format!("x-{n}: {}\r\n", "v".repeat(width))).collect();
        posted(&format!("interakt-signature: {}\r\n{lines}", sign(b"{}")), b"{}")
    };
    assert_eq!(served.ask(with(300, 1)).await.status, 200);
    assert_eq!(served.ask(with(300, 90)).await.status, 200);
    assert_eq!(served.ask(with(300, 110)).await.status, 431, "past the bytes");
    assert_eq!(served.ask(with(600, 1)).await.status, 431, "past one for each 64 bytes");
    assert_eq!(served.ingress.counts().large_heads.get(), 2);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_event() {
    let served = plain().await;
    let mut client = served.connect().await;
    let whole = signed(b"{\"a\":1}");
    client.send(&whole[..whole.len() - 1]).await;
    client.0.shutdown().await.unwrap();
    assert_eq!(client.try_reply(true).await.map(|r| r.status), Some(400));
    assert!(served.journal.events().is_empty());
    wait_until(|| served.counts().refused.get(Reason::Broken) == 1).await;
}

#[tokio::test]
async fn what_is_not_http_is_400() {
    let served = plain().await;
    assert_eq!(served.ask("hello\r\n\r\n").await.status, 400);
    assert_eq!(served.ask(format!("POST {PATH} HTTP/1.1\r\ncontent-length: x\r\n\r\n")).await.status, 400);
    assert_eq!(served.ingress.counts().malformed.get(), 2);
}

#[tokio::test]
async fn a_connection_at_rest_is_kept_longer_where_it_has_brought_a_good_webhook() {
    let served = plain().await;
    let (mut proven, mut other) = (served.connect().await, served.connect().await);
    proven.send(signed(b"1")).await;
    other.send(format!("GET {PATH} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert_eq!((proven.reply().await.status, other.reply().await.status), (200, 200));
    let passes = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    // More than any proxy keeps one for.
    passes(130).await;
    assert!(other.is_closed().await);
    proven.send(signed(b"2")).await;
    assert_eq!(proven.reply().await.status, 200);
    passes(160).await;
    assert!(proven.is_closed().await);
}

#[tokio::test]
async fn past_max_connections_the_one_idle_longest_makes_place_and_a_proven_one_last() {
    let served = serve(ServerConfig { max_connections: 3, ..server() }, source(), Does::Flush).await;
    let mut proven = served.connect().await;
    proven.send(signed(b"1")).await;
    assert_eq!(proven.reply().await.status, 200);
    let mut strangers = Vec::new();
    for open in [2, 3] {
        strangers.push(served.connect().await);
        wait_until(|| served.ingress.counts().connections.get() == open).await;
    }
    assert_eq!(served.post(b"2").await.status, 200);
    assert!(strangers[0].try_reply(true).await.is_none(), "the first stranger is closed");
    assert_eq!(served.ingress.pressed().connections_cut, 1);
    assert!(served.ingress.is_pressed());
    proven.send(signed(b"3")).await;
    strangers[1].send(signed(b"4")).await;
    assert_eq!((proven.reply().await.status, strangers[1].reply().await.status), (200, 200));
}

#[tokio::test]
async fn past_max_connections_half_a_head_makes_place_and_then_a_body_that_does_not_come() {
    let served = serve(ServerConfig { max_connections: 2, ..server() }, source(), Does::Flush).await;
    let (mut body, mut head) = (served.connect().await, served.connect().await);
    body.send(format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")).await;
    head.send("POST /web").await;
    wait_until(|| served.ingress.server.budget.count() == 1 && served.ingress.server.admission.is_settled()).await;
    let mut kept = served.connect().await;
    kept.send(signed(b"1")).await;
    assert_eq!(kept.reply().await.status, 200);
    assert!(head.try_reply(true).await.is_none());
    assert_eq!(served.post(b"2").await.status, 200);
    assert!(body.try_reply(true).await.is_none());
    kept.send(signed(b"3")).await;
    assert_eq!(kept.reply().await.status, 200);
}

#[tokio::test]
async fn past_max_connections_a_body_that_waits_for_room_makes_place_too() {
    // Room for one large body, and it is taken by a proven sender.
    let server =
        ServerConfig { max_connections: 2, max_inflight_bytes: Size(200_000), max_body: Size(200_000), ..server() };
    let served = serve(server, source(), Does::Flush).await;
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 150000\r\n\r\nx");
    let mut proven = served.connect().await;
    proven.send(signed(b"1")).await;
    assert_eq!(proven.reply().await.status, 200);
    proven.send(&head).await;
    wait_until(|| served.ingress.server.budget.used()[2] > 0).await;
    let mut stranger = served.connect().await;
    stranger.send(&head).await;
    wait_until(|| served.ingress.server.budget.waiting() == 1).await;
    assert_eq!(served.post(b"2").await.status, 200);
    assert!(stranger.try_reply(true).await.is_none());
}

#[tokio::test]
async fn past_max_connections_a_proven_one_stays_where_a_strangers_body_is_too_young_to_be_judged() {
    let served = serve(ServerConfig { max_connections: 2, ..server() }, source(), Does::Flush).await;
    let mut proven = served.connect().await;
    proven.send(signed(b"1")).await;
    assert_eq!(proven.reply().await.status, 200);
    let mut stranger = served.connect().await;
    stranger.send(format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx")).await;
    wait_until(|| served.ingress.server.admission.is_busy_but_for(1)).await;
    assert_eq!(served.post(b"2").await.status, 200);
    proven.send(signed(b"3")).await;
    assert_eq!(proven.reply().await.status, 200);
}

#[tokio::test]
async fn past_max_connections_nobody_goes_who_is_being_answered_and_new_ones_wait() {
    let served = serve(ServerConfig { max_connections: 1, ..server() }, source(), Does::Hang).await;
    let mut first = served.connect().await;
    first.send(signed(b"1")).await;
    wait_until(|| served.journal.hanging() == 1).await;
    let mut second = served.connect().await;
    second.send(signed(b"2")).await;
    wait_until(|| served.ingress.is_pressed()).await;
    assert_eq!(served.journal.events().len(), 1);
    served.journal.does(Does::Flush);
    served.journal.tell(DURABLE);
    assert_eq!((first.reply().await.status, second.reply().await.status), (200, 200));
}

#[tokio::test]
async fn a_head_whose_body_has_not_begun_takes_no_room_for_it() {
    let served = plain().await;
    let mut client = served.connect().await;
    let request = signed(&[b'x'; 60_000]);
    client.send(&request[..request.len() - 60_000]).await;
    wait_until(|| served.ingress.server.budget.count() == 1).await;
    assert_eq!(served.ingress.server.budget.used(), [0, 0, 0]);
    client.send(&request[request.len() - 60_000..request.len() - 1]).await;
    wait_until(|| served.ingress.server.budget.used() == [0, 60_000, 0]).await;
    client.send(b"x").await;
    assert_eq!(client.reply().await.status, 200);
    wait_until(|| served.ingress.server.budget.used() == [0, 0, 0]).await;
}

#[tokio::test]
async fn who_sends_nothing_gives_way_to_who_does() {
    // Room for three small bodies of this size.
    let server = ServerConfig { max_inflight_bytes: Size(8 * 2800), max_body: Size(10_000), ..server() };
    let served = serve(server, source(), Does::Flush).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        let mut client = served.connect().await;
        client.send(format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\nx")).await;
        silent.push(client);
    }
    wait_until(|| served.ingress.server.budget.used()[1] == 2700).await;
    let mut slow = served.connect().await;
    let request = signed(&[b'p'; 900]);
    slow.send(&request[..request.len() - 1]).await;
    let mut told = tokio::task::JoinSet::new();
    for mut client in silent {
        told.spawn(async move { client.reply().await.status });
    }
    assert_eq!(within(told.join_next()).await.unwrap().unwrap(), 408);
    slow.send(b"p").await;
    assert_eq!(slow.reply().await.status, 200);
    assert!(served.ingress.pressed().requests_cut >= 1);
}

#[tokio::test]
async fn a_body_slower_than_the_least_rate_is_408_long_before_its_time_is_over() {
    let served = serve(ServerConfig { body_timeout: Period::secs(3600), ..server() }, source(), Does::Flush).await;
    let mut client = served.connect().await;
    client.send(format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345")).await;
    assert_eq!(client.reply().await.status, 408);
}

#[tokio::test]
async fn many_large_bodies_in_little_room_all_get_through() {
    let server = ServerConfig { max_inflight_bytes: Size(300_000), max_body: Size(200_000), ..server() };
    let served = Arc::new(serve(server, source(), Does::Flush).await);
    let posts: Vec<_> = (0..20_u8)
        .map(|n| {
            let served = served.clone();
            tokio::spawn(async move { served.ask(chunked(&vec![n; 150_000], 9_999)).await.status })
        })
        .collect();
    for post in posts {
        assert_eq!(within(post).await.unwrap(), 200);
    }
    assert_eq!(served.ingress.server.budget.used(), [0, 0, 0]);
}

#[tokio::test]
async fn http_1_1_wants_one_host_and_http_1_0_none() {
    let served = plain().await;
    let with = |version: &str, hosts: &str| {
        let signature = sign(b"{}");
        format!("POST {PATH} HTTP/{version}\r\n{hosts}interakt-signature: {signature}\r\ncontent-length: 2\r\n\r\n{{}}")
    };
    for (version, hosts, status) in [
        ("1.1", "", 400),
        ("1.1", "host: a\r\nhost: a\r\n", 400),
        ("1.1", "host: a\r\n", 200),
        ("1.1", "host:\r\n", 200),
        ("1.0", "", 200),
    ] {
        assert_eq!(served.ask(with(version, hosts)).await.status, status, "HTTP/{version} {hosts:?}");
    }
    assert_eq!(served.ingress.counts().hostless.get(), 2);
}
