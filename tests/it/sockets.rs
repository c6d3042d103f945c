//! Sockets that systemd passes, and Unix sockets that the daemon makes.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{ARCHIVE, Daemon, House, ends, lines_under, post, post_all, wait_until};

/// Starts what follows as systemd does: with the sockets that are its standard input and output as the descriptors 3
/// and 4.
const PASS: &str = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$@\"";

/// `hookrelay run` with these sockets, at most two.
fn with_sockets(house: &House, sockets: Vec<OwnedFd>) -> Command {
    let mut command = house.command_by(&["sh", "-c", PASS, "sh"], &["run"]);
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", "hookrelay.socket:other.socket");
    let mut sockets = sockets.into_iter();
    command.stdin(sockets.next().map_or_else(Stdio::null, Stdio::from));
    command.stdout(sockets.next().map_or_else(Stdio::null, Stdio::from));
    command
}

fn over(path: &Path) -> reqwest::Client {
    reqwest::Client::builder().unix_socket(path).build().unwrap()
}

const OVER_UNIX: &str = "http://localhost/webhooks/interakt";

fn refusal(command: Command) -> (Option<i32>, String) {
    let out = ends(command);
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

/// Writes the client of every webhook into a file.
pub const CLIENTS: &str = "[sinks.clients]\nkind = \"file\"\npath = \"out/clients.jsonl\"\nformat = \"raw\"\n\
                           [[routes]]\nmatch = \"*\"\ntransform = \"api_log\"\nto = \"clients\"\n";

/// The clients of [`CLIENTS`].
pub fn remotes(house: &House) -> Vec<String> {
    let remote = |line: String| {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        event["remote"].as_str().unwrap_or_default().to_owned()
    };
    lines_under(&house.path("out"), "clients.jsonl").into_iter().map(remote).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_come_by_the_sockets_that_are_passed_and_by_those_that_are_not() {
    let house = House::new("");
    let (passed, path) = (TcpListener::bind("127.0.0.1:0").unwrap(), house.path("relay.sock"));
    let at = passed.local_addr().unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    house.serve(&format!("listen = [\"{at}\", \"unix:relay.sock\", \"127.0.0.2:{}\"]\n", at.port()), ARCHIVE);
    // It listens already, so who comes before the daemon waits for it.
    let early =
        tokio::spawn(async move { post_all(&format!("http://{at}/webhooks/interakt"), [b"{}".to_vec()]).await });
    let daemon = House::start_as(with_sockets(&house, vec![passed.into(), unix.into()]));
    early.await.unwrap();
    post_all(&format!("http://127.0.0.2:{}/webhooks/interakt", at.port()), [b"{\"a\":1}".to_vec()]).await;
    assert_eq!(post(&over(&path), OVER_UNIX, b"{\"a\":2}".to_vec()).await.unwrap().0, 200);
    // A reload keeps them; one that changes the addresses is refused.
    assert!(house.command(&["reload"]).output().unwrap().status.success());
    let text = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), text.replace("127.0.0.2", "127.0.0.3")).unwrap();
    let refused = house.command(&["reload"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("[server] listen"));
    assert_eq!(daemon.terminate(), 0);
    assert!(path.exists(), "it is not the daemon's to remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_between_two_lives_of_the_daemon_waits_in_the_socket_that_is_passed() {
    let house = House::new("");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    house.serve(&format!("listen = \"{at}\"\n"), ARCHIVE);
    let start = || House::start_as(with_sockets(&house, vec![socket.try_clone().unwrap().into()]));
    let daemon = start();
    assert_eq!(daemon.terminate(), 0);
    let between =
        tokio::spawn(async move { post_all(&format!("http://{at}/webhooks/interakt"), [b"{}".to_vec()]).await });
    let _daemon = start();
    between.await.unwrap();
}

#[test]
fn a_socket_that_the_config_does_not_name_is_a_fault_that_names_both_addresses_and_the_mend() {
    let house = House::new("");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap().to_string();
    house.serve("listen = \"127.0.0.1:4999\"\n", ARCHIVE);
    let (code, text) = refusal(with_sockets(&house, vec![socket.into()]));
    assert_eq!(code, Some(78), "{text}");
    for part in [&*at, "hookrelay.socket", "127.0.0.1:4999", "help: name it in `listen`", "ListenStream="] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let path = house.path("other.sock");
    let (code, text) = refusal(with_sockets(&house, vec![UnixListener::bind(&path).unwrap().into()]));
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains(&format!("unix:{}", std::fs::canonicalize(&path).unwrap().display())), "{text}");
}

#[test]
fn what_is_no_listening_stream_socket_is_a_fault() {
    let house = House::new(ARCHIVE);
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let file = std::fs::File::open(house.config()).unwrap();
    for passed in [datagrams.into(), connection.into(), file.into()] {
        let (code, text) = refusal(with_sockets(&house, vec![passed]));
        assert_eq!(code, Some(78), "{text}");
        for part in ["descriptor 3", "hookrelay.socket", "no listening stream socket", "help: "] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn sockets_that_were_meant_for_another_process_are_left_alone() {
    let house = House::new(ARCHIVE);
    let mut command = house.command(&["run"]);
    let _daemon = House::start_as({
        command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
        command
    });
    let mut command = house.command_by(&["sh", "-c", PASS, "sh"], &["run"]);
    command.env("LISTEN_FDS", "99999999999");
    let (code, text) = refusal(command);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("LISTEN_FDS is `99999999999`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_socket_for_both_families_stands_for_both_wildcards_and_peers_of_ipv4_are_shown_as_such() {
    let Ok(socket) = TcpListener::bind("[::]:0") else {
        println!("skipped: one_socket_for_both_families: this machine has no IPv6");
        return;
    };
    let port = socket.local_addr().unwrap().port();
    let house = House::new("");
    house.serve(&format!("listen = [\"0.0.0.0:{port}\", \"[::]:{port}\"]\n"), CLIENTS);
    let _daemon = House::start_as(with_sockets(&house, vec![socket.into()]));
    post_all(&format!("http://127.0.0.1:{port}/webhooks/interakt"), [b"{}".to_vec()]).await;
    post_all(&format!("http://[::1]:{port}/webhooks/interakt"), [b"{\"a\":1}".to_vec()]).await;
    let both = wait_until("both are there", || Some(remotes(&house)).filter(|all| all.len() == 2)).await;
    assert_eq!(both, ["127.0.0.1", "::1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_sends_over_a_unix_socket_and_names_the_client() {
    let house = House::new("");
    house.serve("listen = \"unix:run/relay.sock\"\n", CLIENTS);
    std::fs::create_dir(house.path("run")).unwrap();
    let path = house.path("run/relay.sock");
    let daemon = house.start();
    let there = std::fs::metadata(&path).unwrap();
    assert_eq!((there.file_type().is_socket(), there.mode() & 0o777), (true, 0o660));
    let client = over(&path);
    assert_eq!(post(&client, OVER_UNIX, b"{}".to_vec()).await.unwrap().0, 200);
    let signature = crate::harness::sign(b"{\"a\":1}");
    let request = client.post(OVER_UNIX).header("interakt-signature", signature);
    let request = request.header("x-forwarded-for", "6.6.6.6, 203.0.113.7").body("{\"a\":1}");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let both = wait_until("both are there", || Some(remotes(&house)).filter(|all| all.len() == 2)).await;
    assert_eq!(both, ["unix", "203.0.113.7"]);
    let sent = house.command(&["send", "--type", "message_received"]).output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(std::fs::read_dir(house.path("run")).unwrap().count(), 0, "it is gone with the daemon");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_of_a_daemon_that_was_killed_is_replaced_and_that_of_a_living_one_is_not() {
    let house = House::new("");
    house.serve("listen = \"unix:relay.sock\"\n", ARCHIVE);
    let daemon: Daemon = house.start();
    daemon.kill();
    assert!(house.path("relay.sock").exists(), "stale");
    let _daemon = house.start();
    let path = house.path("relay.sock");
    assert_eq!(post(&over(&path), OVER_UNIX, b"{}".to_vec()).await.unwrap().0, 200);
    let second = House::new("");
    second.serve(&format!("listen = \"unix:{}\"\n", path.display()), ARCHIVE);
    let (code, text) = refusal(second.command(&["run"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("another process listens there") && text.contains("relay.sock"), "{text}");
    assert_eq!(post(&over(&path), OVER_UNIX, b"{\"a\":1}".to_vec()).await.unwrap().0, 200);
    // Nor does the admin listener of a third take its place.
    let third = House::new(&format!("{ARCHIVE}[admin]\nlisten = \"unix:{}\"\n", path.display()));
    let third = third.start();
    assert!(third.log.wait_for(|line| line.contains("another process listens there")).is_some());
    assert_eq!(third.terminate(), 0);
    assert_eq!(post(&over(&path), OVER_UNIX, b"{\"a\":2}".to_vec()).await.unwrap().0, 200);
}
