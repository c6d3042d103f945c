//! Listeners: what they bind, how they share, and how they stop.

use super::*;

/// Stops the server, and waits until it knows: from then on each answer is its connection's last. Gives the task.
async fn stopped(served: Served) -> JoinHandle<()> {
    let Served { at, stop, task, .. } = served;
    stop.send(()).unwrap();
    within(async {
        loop {
            let mut client = Client(TcpStream::connect(at).await.unwrap());
            client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            if client.reply().await.header("connection") == Some("close") {
                return;
            }
        }
    })
    .await;
    task
}

#[tokio::test]
async fn a_stop_answers_the_request_that_has_begun_and_closes_its_connection_and_lets_others_in_meanwhile() {
    let served = serve(ServerConfig { drain: Period::secs(3600), ..server() }, source(), Does::Hang).await;
    let mut client = served.connect().await;
    client.send(signed(b"{}")).await;
    wait_until(|| served.journal.hanging() == 1).await;
    served.stop.send(()).unwrap();
    served.journal.does(Does::Flush);
    // Others are not turned away because of it. Each of them is told to go after its answer.
    within(async {
        let mut told_to_go = 0;
        // The first of them may have stood in the kernel's queue at the stop.
        while told_to_go < 3 {
            let mut other = Client(TcpStream::connect(served.at).await.unwrap());
            other.send(signed(b"1")).await;
            let reply = other.reply().await;
            assert_eq!(reply.status, 200);
            if reply.header("connection") == Some("close") {
                assert!(other.is_closed().await);
                told_to_go += 1;
            }
        }
    })
    .await;
    assert!(!served.task.is_finished());
    served.journal.tell(DURABLE);
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert!(client.is_closed().await);
    within(served.task).await.unwrap();
    assert!(TcpStream::connect(served.at).await.is_err());
}

#[tokio::test]
async fn in_the_last_of_the_time_to_drain_nobody_is_let_in() {
    let served = serve(ServerConfig { drain: Period::millis(100), ..server() }, source(), Does::Hang).await;
    let mut client = served.connect().await;
    client.send(signed(b"{}")).await;
    wait_until(|| served.journal.hanging() == 1).await;
    served.stop.send(()).unwrap();
    within(async {
        while TcpStream::connect(served.at).await.is_ok() {
            tokio::task::yield_now().await
        }
    })
    .await;
    within(served.task).await.unwrap();
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_kept_connection_is_not_closed_under_a_request_of_which_a_part_is_here() {
    let request = signed(b"{\"second\":true}");
    for cut in [1, 30, request.len() - 1] {
        let served = serve(ServerConfig { drain: Period::secs(3600), ..server() }, source(), Does::Flush).await;
        let mut kept = served.connect().await;
        kept.send(signed(b"{\"first\":true}")).await;
        assert_eq!(kept.reply().await.header("connection"), None, "it is kept");
        let mut idle = served.connect().await;
        idle.send(signed(b"{}")).await;
        assert_eq!(idle.reply().await.status, 200);
        kept.send(&request[..cut]).await;
        let at = served.at;
        served.stop.send(()).unwrap();
        // By the time that an idle connection is closed, this one would be, too.
        assert!(idle.is_closed().await);
        TcpStream::connect(at).await.unwrap();
        kept.send(&request[cut..]).await;
        let reply = kept.reply().await;
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "cut at {cut}");
        assert!(kept.is_closed().await);
        within(served.task).await.unwrap();
    }
}

#[tokio::test]
async fn a_stop_lets_a_half_sent_request_finish() {
    let request = signed(b"{}");
    for cut in [1, 30, request.len() - 1] {
        let served = plain().await;
        let mut client = served.connect().await;
        client.send(&request[..cut]).await;
        wait_until(|| served.ingress.counts().connections.get() == 1).await;
        served.stop.send(()).unwrap();
        tokio::task::yield_now().await;
        client.send(&request[cut..]).await;
        assert_eq!(client.reply().await.status, 200, "cut at {cut}");
        within(served.task).await.unwrap();
    }
}

#[tokio::test]
async fn a_stop_waits_a_moment_for_a_fresh_connection_and_for_one_at_rest() {
    let served = plain().await;
    let (mut fresh, mut resting) = (served.connect().await, served.connect().await);
    resting.send(signed(b"1")).await;
    assert_eq!(resting.reply().await.status, 200);
    wait_until(|| served.ingress.counts().connections.get() == 2).await;
    let task = stopped(served).await;
    fresh.send(signed(b"2")).await;
    resting.send(signed(b"3")).await;
    assert_eq!((fresh.reply().await.status, resting.reply().await.status), (200, 200));
    within(task).await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_long_for_connections_that_say_nothing() {
    let served = serve(ServerConfig { drain: Period::secs(3600), ..server() }, source(), Does::Flush).await;
    let (mut fresh, mut resting) = (served.connect().await, served.connect().await);
    resting.send(signed(b"1")).await;
    assert_eq!(resting.reply().await.status, 200);
    served.stop.send(()).unwrap();
    assert!(fresh.is_closed().await && resting.is_closed().await);
    within(served.task).await.unwrap();
}

#[tokio::test]
async fn a_stop_serves_who_stands_in_the_kernels_queue() {
    let listener = listening(&server());
    let mut client = Client(TcpStream::connect(listener.tcp_address().unwrap()).await.unwrap());
    let listener = listener.start().unwrap();
    client.send(signed(b"{}")).await;
    let journal = FakeJournal::new(Does::Flush);
    let ingress = Ingress::new(&server(), vec![plan(&source())], journal, vec![]);
    // Stopped before it has accepted anything.
    within(ingress.serve(listener, alone(), async {})).await;
    assert_eq!(client.reply().await.status, 200);
}

#[tokio::test]
async fn a_stop_ends_after_drain_whoever_is_left() {
    let served = serve(ServerConfig { drain: Period::millis(50), ..server() }, source(), Does::Hang).await;
    let mut client = served.connect().await;
    client.send(signed(b"{}")).await;
    wait_until(|| served.journal.hanging() == 1).await;
    served.stop.send(()).unwrap();
    within(served.task).await.unwrap();
    assert!(client.is_closed().await);
    served.journal.tell(DURABLE);
    let counts = served.ingress.source_counts().remove(0).1;
    assert_eq!(counts.accepted.get(), 1, "the journal's word counts all the same");
}

#[test]
fn several_single_threaded_runtimes_share_one_socket() {
    let bound = listening(&server());
    let at = bound.tcp_address().unwrap();
    let ingress = Ingress::new(&server(), vec![plan(&source())], FakeJournal::new(Does::Flush), vec![]);
    let (stop, _) = tokio::sync::watch::channel(false);
    let threads: Vec<_> = balance::members(2)
        .into_iter()
        .map(|member| {
            let (listener, ingress, mut stopped) = (bound.duplicate().unwrap(), ingress.clone(), stop.subscribe());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    let listener = listener.start().unwrap();
                    ingress.serve(listener, member, async move { drop(stopped.wait_for(|s| *s).await) }).await;
                });
            })
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for n in 0..50 {
            let mut client = Client(TcpStream::connect(at).await.unwrap());
            client.send(signed(format!("{n}").as_bytes())).await;
            assert_eq!(client.reply().await.status, 200);
        }
    });
    stop.send_replace(true);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(ingress.source_counts()[0].1.accepted.get(), 50);
}

#[tokio::test]
async fn who_stands_in_the_queue_at_the_end_is_served_and_whoever_comes_then_is_not_let_in_to_be_reset() {
    let connect = |at| std::net::TcpStream::connect_timeout(&at, Duration::from_millis(200));
    let bound = listening(&server());
    let at = bound.tcp_address().unwrap();
    let (first, last) = (bound.duplicate().unwrap().start().unwrap(), bound.start().unwrap());
    let early = connect(at).unwrap();
    let queue = first.into_queue().unwrap();
    assert_eq!(queue.accept().unwrap().1, early.local_addr().unwrap().into());
    drop(queue);
    let late = connect(at).expect("another thread still accepts");
    let queue = last.into_queue().unwrap();
    assert_eq!(connect(at).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(queue.accept().unwrap().1, late.local_addr().unwrap().into());
    assert_eq!(queue.accept().err().map(|error| error.kind()), Some(std::io::ErrorKind::WouldBlock));
}

#[test]
fn an_address_in_use_is_named() {
    let holder = listening(&server());
    let taken = holder.tcp_address().unwrap().to_string();
    let config = ServerConfig { listen: vec!["127.0.0.1:0".into(), taken.clone()], ..server() };
    let error = bind(&config, vec![]).unwrap_err();
    assert!(matches!(error, BindError::Bind { .. }));
    assert!(error.to_string().contains(&taken), "{error}");
}

#[test]
fn a_name_is_bound_at_its_addresses() {
    let bound = bind(&ServerConfig { listen: vec!["localhost:0".into()], ..server() }, vec![]).unwrap();
    let bound: Vec<_> = bound.into_iter().map(|bound| bound.listen().unwrap()).collect();
    assert!(!bound.is_empty() && bound.iter().all(|l| l.tcp_address().unwrap().ip().is_loopback()));
    let unknown = ServerConfig { listen: vec!["no.such.host.invalid:1".into()], ..server() };
    let error = bind(&unknown, vec![]).unwrap_err();
    assert!(error.to_string().contains("no.such.host.invalid:1"), "{error}");
}

#[tokio::test]
async fn a_bound_address_turns_clients_away_until_it_listens_and_of_two_the_first_to_listen_has_it() {
    let port = listening(&server()).tcp_address().unwrap().port();
    let server = ServerConfig { listen: vec![format!("127.0.0.1:{port}")], ..server() };
    let (first, second) = (bind(&server, vec![]).unwrap().remove(0), bind(&server, vec![]).unwrap().remove(0));
    let refused = TcpStream::connect(("127.0.0.1", port)).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "never taken and reset");
    let _open = first.listen().unwrap();
    TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert!(second.listen().unwrap_err().to_string().contains(&port.to_string()));
}

#[tokio::test]
async fn the_wildcards_of_ipv4_and_ipv6_can_be_listened_on_side_by_side() {
    let listen = |addresses: &[String]| ServerConfig { listen: addresses.to_vec(), ..server() };
    let port = listening(&listen(&["0.0.0.0:0".into()])).tcp_address().unwrap().port();
    let config = listen(&[format!("0.0.0.0:{port}"), format!("[::]:{port}")]);
    let both: Vec<_> = bind(&config, vec![]).unwrap().into_iter().map(|bound| bound.listen().unwrap()).collect();
    for (listener, at) in both.into_iter().zip([format!("127.0.0.1:{port}"), format!("[::1]:{port}")]) {
        let client = std::net::TcpStream::connect(&at).unwrap();
        let (_, peer) = within(listener.start().unwrap().accept()).await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap().into(), "{at}");
    }
}
