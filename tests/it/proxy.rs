//! A real nginx and a real Caddy in front of the daemon: the configs that docs/operating.md shows, and connections that
//! are kept. The long form is one POST a minute for as long as it says, the daemon restarted meanwhile:
//! `HOOKRELAY_TEST_PROXY_MINUTES=60`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::bodies::numbered;
use crate::certificates::Authority;
use crate::guide::block;
use crate::harness::{ARCHIVE, House, lines_under, sign, wait_until};
use crate::restarts::{Sender, house_at, number, terminate, with_socket};
use crate::sockets::{CLIENTS, remotes};

/// How often the daemon is started anew under the posts.
const RESTARTS: u64 = 3;
/// Those that post, each on a connection of its own every time.
const POSTERS: u64 = 8;
/// How long nginx keeps a connection to the daemon: as long as by default, and longer than the minute between two
/// posts. Both are shorter than the daemon keeps it.
const KEPT: [&str; 2] = ["60s", "140s"];
/// Pauses between posts, in milliseconds: none, and about the 200 in which a daemon that stops closes what is at rest.
const PAUSES: &[u64] = &[0, 0, 3, 150, 199, 200, 201, 205, 230];
/// Posts of each of them; in the long form one a minute.
const POSTS: u64 = 36;

/// Where a program of Debian's is, for users too, whose path has no `sbin`; `None`, said aloud, where it is not there.
pub fn program(name: &str, test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|at| at.is_file());
    if found.is_none() {
        sink_testkit::skip(&format!("proxy::{test}"), &format!("{name} is not there (tests/services/tools {name})"));
    }
    found
}

/// A free port on an address that no other test uses.
pub fn own_port(last: u8) -> SocketAddr {
    TcpListener::bind(SocketAddr::from(([127, 0, 7, last], 0))).unwrap().local_addr().unwrap()
}

/// A proxy; stopped when dropped.
pub struct Proxy {
    child: Child,
    folder: tempfile::TempDir,
}

impl Proxy {
    /// Runs a command in a folder of its own until it takes connections there.
    async fn start(folder: tempfile::TempDir, mut command: Command, at: SocketAddr) -> Self {
        let said = fs::File::create(folder.path().join("said")).unwrap();
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let mut proxy = Self { child: command.spawn().unwrap(), folder };
        wait_until("the proxy listens", || {
            assert!(proxy.child.try_wait().unwrap().is_none(), "it ended: {}", proxy.file("said"));
            std::net::TcpStream::connect(at).ok()
        })
        .await;
        proxy
    }

    /// nginx with these servers.
    pub async fn nginx(program: &Path, servers: &str, at: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display();
        // As root it would run its workers as a user who may not read this folder.
        let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = temporary.map(|of| format!("{of}_temp_path {here}/{of};\n")).concat();
        let main = format!(
            "{user}daemon off;\nworker_processes 1;\npid {here}/pid;\nerror_log {here}/error.log info;\n\
             events {{ worker_connections 256; }}\nhttp {{\n{temporary}\
             log_format answers '$status from $upstream_status';\naccess_log {here}/access.log answers;\n\
             {servers}}}\n"
        );
        fs::write(folder.path().join("nginx.conf"), main).unwrap();
        let file = folder.path().join("nginx.conf");
        let tested = Command::new(program).arg("-t").arg("-c").arg(&file).output().unwrap();
        assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
        let mut command = Command::new(program);
        command.arg("-c").arg(file);
        Self::start(folder, command, at).await
    }

    pub fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// Lines of nginx's log that say that something went wrong.
    fn errors(&self) -> Vec<String> {
        let is_wrong = |line: &&str| ["[warn]", "[error]", "[crit]", "[alert]"].iter().any(|mark| line.contains(mark));
        self.file("error.log").lines().filter(is_wrong).map(str::to_owned).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx's workers end when it is asked to; killed, it would leave them behind.
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// How many connections to that address are open.
fn open_connections(to: SocketAddr) -> usize {
    let local = format!(":{:04X} ", to.port());
    let lines = fs::read_to_string("/proc/net/tcp").unwrap();
    // Address, peer, and 01: established.
    let is_one = |line: &&str| line.contains(&local) && line.split_whitespace().nth(3) == Some("01");
    lines.lines().filter(is_one).filter(|l| l.split_whitespace().nth(1).unwrap().ends_with(local.trim())).count()
}

/// Posts from one to the next, with pauses; gives what was not answered 200.
fn post_with_pauses(to: SocketAddr, first: u64, pauses: &[u64], posts: u64, answered: &AtomicU64) -> Vec<String> {
    let mut failed = Vec::new();
    let mut pauses = pauses.iter().cycle().skip(usize::try_from(first).unwrap());
    for n in (first..).step_by(POSTERS as usize).take(usize::try_from(posts).unwrap()) {
        match Sender::new(to, false).post(&numbered(n)) {
            Ok(200) => {}
            Ok(status) => failed.push(format!("{n}: {status}")),
            Err(error) => failed.push(format!("{n}: {error}")),
        }
        answered.fetch_add(1, SeqCst);
        thread::sleep(Duration::from_millis(*pauses.next().unwrap()));
    }
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_nginx_keeps_are_never_cut_under_a_request() {
    let Some(program) = program("nginx", "connections_that_nginx_keeps") else { return };
    let (pauses, posts) = match number("HOOKRELAY_TEST_PROXY_MINUTES", 0) {
        0 => (PAUSES, POSTS),
        minutes => (&[60_000][..], minutes),
    };
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let house = house_at(at, ARCHIVE);
    let mut daemon = House::start_as(with_socket(&house, &socket));
    let fronts = [own_port(1), own_port(2)];
    let servers = fronts.iter().zip(KEPT).map(|(front, kept)| {
        let name = format!("kept_{kept}");
        format!(
            "upstream {name} {{ server {at}; keepalive 16; keepalive_timeout {kept}; }}\n\
             server {{ listen {front}; location / {{\n\
             proxy_pass http://{name}; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}\n"
        )
    });
    let nginx = Proxy::nginx(&program, &servers.collect::<String>(), fronts[0]).await;
    let answered = Arc::<AtomicU64>::default();
    let posters: Vec<_> = (0..POSTERS)
        .map(|first| {
            let answered = Arc::clone(&answered);
            let front = fronts[usize::try_from(first).unwrap() % fronts.len()];
            thread::spawn(move || post_with_pauses(front, first, pauses, posts, &answered))
        })
        .collect();
    let all = POSTERS * posts;
    for restart in 1..=RESTARTS {
        let enough = all * restart / (RESTARTS + 1);
        while answered.load(SeqCst) < enough {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Nobody posts to the daemon itself: what is open to it are connections that nginx keeps.
        wait_until("a connection is kept", || (open_connections(at) > 0).then_some(())).await;
        terminate(daemon).await;
        daemon = House::start_as(with_socket(&house, &socket));
    }
    let failed = posters.into_iter().map(|poster| tokio::task::spawn_blocking(|| poster.join().unwrap()));
    let mut all_failed = Vec::new();
    for failed in failed {
        all_failed.extend(failed.await.unwrap());
    }
    println!("{all} posts over {RESTARTS} restarts: {} failed", all_failed.len());
    assert_eq!((all_failed, nginx.errors()), (vec![], vec![]), "of {all}");
    let answers = nginx.file("access.log");
    let odd: Vec<&str> = answers.lines().filter(|line| *line != "200 from 200").collect();
    assert_eq!((odd, answers.lines().count() as u64), (vec![], all), "no try was repeated");
    wait_until("all are kept", || (lines_under(&house.path("out"), ".jsonl").len() as u64 == all).then_some(())).await;
    terminate(daemon).await;
}

/// A house with the guide's `trusted_proxies`, and a certificate for the guide's name.
fn behind_a_proxy(authority: &Authority) -> House {
    let house = House::new("");
    let trusted = block("toml", "trusted_proxies");
    let trusted = trusted.lines().find(|line| line.starts_with("trusted_proxies")).unwrap();
    house.serve(&format!("listen = \"127.0.0.1:0\"\n{trusted}\n"), CLIENTS);
    let (cert, key) = authority.leaf("hooks.example.com", 2090);
    fs::write(house.path("cert.pem"), cert).unwrap();
    fs::write(house.path("key.pem"), key).unwrap();
    house
}

/// Posts to the guide's name over TLS, from an address of its own; gives the status.
async fn post_over_tls(authority: &Authority, at: SocketAddr, path: &str) -> u16 {
    let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([root])
        .resolve("hooks.example.com", at)
        .local_address(Some([127, 0, 0, 5].into()));
    let url = format!("https://hooks.example.com:{}{path}", at.port());
    let request = client.build().unwrap().post(url).header("interakt-signature", sign(b"{}"));
    request.body("{}").send().await.unwrap().status().as_u16()
}

/// What one webhook through a proxy comes to: it is taken, and its client is the proxy's. Other paths are not passed
/// on.
async fn goes_through(house: &House, authority: &Authority, at: SocketAddr) {
    assert_eq!(post_over_tls(authority, at, "/webhooks/interakt").await, 200);
    assert_eq!(post_over_tls(authority, at, "/elsewhere").await, 404);
    let clients = wait_until("it is delivered", || Some(remotes(house)).filter(|all| !all.is_empty())).await;
    assert_eq!(clients, ["127.0.0.5"]);
}

/// Text of the guide with other addresses and paths, each of which must be in it.
pub fn with(mut text: String, changes: &[(&str, &str)]) -> String {
    for (from, to) in changes {
        assert!(text.contains(from), "the guide has no `{from}`");
        text = text.replace(from, to);
    }
    text
}

/// The guide's site for nginx, in front of a daemon elsewhere.
fn guides_nginx(house: &House, at: SocketAddr, daemon: SocketAddr) -> String {
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| house.path(name).display().to_string());
    let changes = [
        ("127.0.0.1:4000", &*daemon.to_string()),
        ("listen 443 ssl;", &format!("listen {at} ssl;")),
        ("listen [::]:443 ssl;", ""),
        ("/etc/letsencrypt/live/hooks.example.com/fullchain.pem", &cert),
        ("/etc/letsencrypt/live/hooks.example.com/privkey.pem", &key),
    ];
    with(block("nginx", "upstream"), &changes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_goes_through_the_nginx_of_the_guide() {
    let Some(program) = program("nginx", "a_webhook_goes_through_the_nginx_of_the_guide") else { return };
    let authority = Authority::new();
    let house = behind_a_proxy(&authority);
    let (daemon, at) = (house.start(), own_port(3));
    let site = guides_nginx(&house, at, daemon.address);
    let nginx = Proxy::nginx(&program, &site, at).await;
    goes_through(&house, &authority, at).await;
    assert_eq!(nginx.errors(), Vec::<String>::new());
    assert_eq!(daemon.terminate(), 0);
}

/// In the daemon's place: keeps its first connection after an answer, and closes it under the next request; answers
/// everything on the second.
async fn dies_under_a_request(listener: tokio::net::TcpListener) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for answers in [1, usize::MAX] {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 64 << 10];
        for _ in 0..answers {
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        }
        // The next request, or the end of the test.
        let _ = stream.read(&mut request).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_under_which_a_kept_connection_ends_is_sent_again_by_the_nginx_of_the_guide() {
    let Some(program) = program("nginx", "a_post_under_which_a_kept_connection_ends") else { return };
    let authority = Authority::new();
    let house = behind_a_proxy(&authority);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, upstream) = (own_port(4), listener.local_addr().unwrap());
    tokio::spawn(dies_under_a_request(listener));
    let nginx = Proxy::nginx(&program, &guides_nginx(&house, at, upstream), at).await;
    for _ in 0..2 {
        assert_eq!(post_over_tls(&authority, at, "/webhooks/interakt").await, 200);
    }
    let expected = "200 from 200\n200 from 502, 200\n";
    wait_until("both are logged", || (nginx.file("access.log").lines().count() == 2).then_some(())).await;
    assert_eq!(nginx.file("access.log"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_goes_through_the_caddy_of_the_guide() {
    let Some(program) = program("caddy", "a_webhook_goes_through_the_caddy_of_the_guide") else { return };
    let authority = Authority::new();
    let house = behind_a_proxy(&authority);
    let (daemon, at) = (house.start(), own_port(5));
    let paths = ["cert.pem", "key.pem"].map(|name| house.path(name).display().to_string());
    let own = format!("https://hooks.example.com:{} {{\nbind {}\ntls {} {}", at.port(), at.ip(), paths[0], paths[1]);
    let site = with(
        block("caddyfile", "reverse_proxy"),
        &[("127.0.0.1:4000", &daemon.address.to_string()), ("hooks.example.com {", &own)],
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Caddyfile");
    fs::write(&file, format!("{{\nadmin off\nauto_https off\n}}\n{site}")).unwrap();
    let caddy = |verb: &str| {
        let mut command = Command::new(&program);
        command.args([verb, "--adapter", "caddyfile", "--config"]).arg(&file).env("HOME", folder.path());
        command.env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        command
    };
    let validated = caddy("validate").output().unwrap();
    assert!(validated.status.success(), "{}", String::from_utf8_lossy(&validated.stderr));
    let command = caddy("run");
    let _caddy = Proxy::start(folder, command, at).await;
    goes_through(&house, &authority, at).await;
    assert_eq!(daemon.terminate(), 0);
}
