//! The path on the public port that load balancers ask.

use crate::harness::{ARCHIVE, Daemon, House, post_all, wait_until};

async fn ask(daemon: &Daemon, method: reqwest::Method) -> (u16, reqwest::header::HeaderMap, String) {
    let url = format!("http://{}/healthz", daemon.address);
    let answer = reqwest::Client::new().request(method, url).send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_up_while_webhooks_are_taken_and_down_from_the_moment_the_daemon_stops() {
    let sinks = "[sinks.slow]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", \"trap '' TERM; exec sleep 60\"]\n\
                 [[routes]]\nmatch = \"*\"\nto = \"slow\"\n";
    let house = House::new("");
    house.serve("listen = \"127.0.0.1:0\"\nhealth = \"/healthz\"\n", sinks);
    let daemon = house.start();
    let (status, _, body) = ask(&daemon, reqwest::Method::GET).await;
    assert_eq!((status, body.as_str()), (200, r#"{"ok":true}"#));
    let (status, _, body) = ask(&daemon, reqwest::Method::HEAD).await;
    assert_eq!((status, body.as_str()), (200, ""));
    let (status, headers, _) = ask(&daemon, reqwest::Method::POST).await;
    assert_eq!((status, headers["allow"].to_str().unwrap()), (405, "GET, HEAD"));
    // A sink at work holds up the stop, and webhooks are taken meanwhile.
    post_all(&daemon.url(), [b"{}".to_vec()]).await;
    let address = daemon.address;
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.log.wait_for(|line| line.contains("stopping: sinks first")).is_some());
    let url = format!("http://{address}/healthz");
    let answer = reqwest::Client::new().get(url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    post_all(&daemon.url(), [b"{}".to_vec()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_down_while_a_source_refuses_as_the_disk_is_full() {
    let house = House::new("");
    let refusing = format!(
        "[sources.strict]\nkind = \"hmac\"\npath = \"/strict\"\nheader = \"x-signature\"\n\
         secret = \"0123456789abcdef\"\non_journal_failure = \"refuse\"\n{ARCHIVE}"
    );
    house.serve("listen = \"127.0.0.1:0\"\nhealth = \"/healthz\"\n", &refusing);
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace("min_free = 0", "min_free = \"1000000GiB\"")).unwrap();
    let daemon = house.start();
    // Whether the disk is full is known when something is to be written.
    post_all(&daemon.url(), [b"{}".to_vec()]).await;
    let url = format!("http://{}/healthz", daemon.address);
    let is_down = wait_until("the health path says so", || {
        let url = url.clone();
        let ask = async { reqwest::Client::new().get(url).send().await.unwrap().status().as_u16() };
        let status = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(ask));
        (status == 503).then_some(status)
    });
    is_down.await;
}
