//! The daemon as a child process, a client that signs, and a callback server. Tests wait for conditions only, and never
//! without a bound.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hookrelay::verify::Hmac;

#[allow(unused_imports, reason = "the soak has a server of its own")]
pub use sink_testkit::{Callback, Got};

/// Longest time that a condition is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// So many lines of a daemon's log are shown where a test fails.
const SAID_LAST: usize = 100;
pub const SECRET: &str = "test-secret";

/// A config's tables that send everything into one file.
pub const ARCHIVE: &str = r#"
[sinks.archive]
kind = "file"
path = "out/all.jsonl"
[[routes]]
match = "*"
to = "archive"
"#;

/// A folder with a config, in which daemons come and go.
pub struct House {
    pub folder: tempfile::TempDir,
}

impl House {
    /// Writes `config.toml`: the given tables under a listener on a free port and an Interakt source.
    pub fn new(tables: &str) -> Self {
        let house = Self { folder: tempfile::tempdir().unwrap() };
        house.configure(tables);
        house
    }

    pub fn configure(&self, tables: &str) {
        let text = format!(
            r#"data_dir = "data"
[server]
listen = "127.0.0.1:0"
[journal]
min_free = 0
[sources.interakt]
kind = "interakt"
path = "/webhooks/interakt"
secret = "${{INTERAKT_WEBHOOK_SECRET}}"
{tables}"#
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// Writes `config.toml` with these keys in its `[server]`, in the place of `listen`.
    pub fn serve(&self, keys: &str, tables: &str) {
        self.configure(tables);
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), text.replace("listen = \"127.0.0.1:0\"\n", keys)).unwrap();
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    pub fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    /// `hookrelay VERB …` on this config, its environment set.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookrelay"));
        command.arg("--config").arg(self.config()).args(args);
        command.env("INTERAKT_WEBHOOK_SECRET", SECRET).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// The same command, started by another program: `setpriv …`, `sh -c …`.
    pub fn command_by(&self, by: &[&str], args: &[&str]) -> Command {
        let own = self.command(args);
        let mut command = Command::new(by[0]);
        command.args(&by[1..]).arg(own.get_program()).args(own.get_args());
        command.env("INTERAKT_WEBHOOK_SECRET", SECRET).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Starts the daemon and waits until it listens.
    pub fn start(&self) -> Daemon {
        Self::start_as(self.command(&["run"]))
    }

    /// Starts the daemon by a command of the test's own, and waits until it listens.
    pub fn start_as(command: Command) -> Daemon {
        Self::try_start(command).unwrap_or_else(|(_, log)| panic!("the daemon did not start:\n{log}"))
    }

    /// Starts a daemon that may fail to start; gives its exit code and its log if it does.
    pub fn try_start(mut command: Command) -> Result<Daemon, (Option<i32>, String)> {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        // The pipe is made as small as can be, so that a test can fill it.
        let _ = rustix::pipe::fcntl_setpipe_size(&stderr, 1 << 12);
        let log = Log::follow(stderr);
        let Some(line) = log.wait_for(|line| line.contains("\"listening\"")) else {
            // If the log has ended, the process ends by itself.
            if !log.lines.lock().unwrap().1 {
                let _ = child.kill();
            }
            return Err((child.wait().unwrap().code(), log.text()));
        };
        let line: serde_json::Value = serde_json::from_str(&line).expect("a JSON log line");
        // A Unix socket has none.
        let none = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = line["address"].as_str().unwrap().parse().unwrap_or(none);
        Ok(Daemon { child, address, log })
    }
}

/// The output of a command that must end by itself.
pub fn ends(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it did not end: {}", String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// The daemon's log, read as it comes so that the pipe never fills.
#[derive(Clone)]
pub struct Log {
    lines: Arc<Mutex<(VecDeque<String>, bool)>>,
    reader: Arc<Mutex<Reader>>,
}

/// What the reader of the log does, from the line after the next one on.
#[derive(Clone, Copy)]
pub enum Reader {
    /// It reads the log.
    Reads,
    /// It stops reading, and the pipe fills.
    Sleeps,
    /// It closes the pipe.
    Leaves,
}

impl Log {
    fn follow(from: impl std::io::Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new((VecDeque::new(), false)));
        let reader = Arc::new(Mutex::new(Reader::Reads));
        let (out, state) = (Arc::clone(&lines), Arc::clone(&reader));
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let state = *state.lock().unwrap();
                match state {
                    Reader::Reads => {}
                    // The thread sleeps for as long as the test runs.
                    Reader::Sleeps => loop {
                        std::thread::park();
                    },
                    Reader::Leaves => break,
                }
                let mut lines = out.lock().unwrap();
                if lines.0.len() == 10_000 {
                    lines.0.pop_front();
                }
                lines.0.push_back(line);
            }
            out.lock().unwrap().1 = true;
        });
        Self { lines, reader }
    }

    /// Sets what the reader does from now on.
    pub fn set_reader(&self, reader: Reader) {
        *self.reader.lock().unwrap() = reader;
    }

    pub fn text(&self) -> String {
        self.lines.lock().unwrap().0.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// The first line for which `holds` is true, as soon as it is there; `None` if the process ended or the time ran
    /// out.
    pub fn wait_for(&self, holds: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (found, ended) = {
                let lines = self.lines.lock().unwrap();
                (lines.0.iter().find(|line| holds(line)).cloned(), lines.1)
            };
            if found.is_some() || ended || Instant::now() > deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    /// The first that it listens on, over TCP.
    pub address: SocketAddr,
    pub log: Log,
}

impl Daemon {
    pub fn url(&self) -> String {
        format!("http://{}/webhooks/interakt", self.address)
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it with SIGTERM, and gives the exit code.
    pub fn terminate(self) -> i32 {
        self.stop_by(rustix::process::Signal::TERM)
    }

    /// Stops it with another signal; the exit code is -1 if the signal itself ended the process.
    pub fn stop_by(self, signal: rustix::process::Signal) -> i32 {
        self.signal(signal);
        self.ends()
    }

    /// Waits until it has ended, and gives the exit code.
    pub fn ends(self) -> i32 {
        self.ends_within(PATIENCE)
    }

    /// The same, for no longer than that.
    pub fn ends_within(mut self, patience: Duration) -> i32 {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the daemon did not stop:\n{}", self.log.text())
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Sets a soft limit of the running process; `None` sets it to the hard limit.
    pub fn limit(&self, what: rustix::process::Resource, soft: Option<u64>) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // Its hard limit is inherited from this process.
        let maximum = rustix::process::getrlimit(what).maximum;
        let current = soft.or(maximum);
        rustix::process::prlimit(Some(pid), what, rustix::process::Rlimit { current, maximum }).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // The test fails: what the daemon said last tells why.
            let text = self.log.text();
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(SAID_LAST)..];
            eprintln!("the log of process {} ends with:\n{}", self.child.id(), last.join("\n"));
        }
    }
}

/// The header value Interakt would put on the body.
pub fn sign(body: &[u8]) -> String {
    Hmac::new(SECRET.as_bytes(), None).unwrap().sign(body)
}

/// Posts a signed body; gives status and answer.
pub async fn post(client: &reqwest::Client, url: &str, body: Vec<u8>) -> reqwest::Result<(u16, serde_json::Value)> {
    let signature = sign(&body);
    let request = client.post(url).header("Interakt-Signature", signature).header("content-type", "application/json");
    let answer = request.body(body).send().await?;
    let status = answer.status().as_u16();
    Ok((status, serde_json::from_slice(&answer.bytes().await?).unwrap_or_default()))
}

/// Posts bodies that must all be taken; gives their event ids.
pub async fn post_all(url: &str, bodies: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
    let client = reqwest::Client::new();
    let mut ids = Vec::new();
    for body in bodies {
        let (status, answer) = post(&client, url, body).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        ids.push(answer["id"].as_str().unwrap().to_owned());
    }
    ids
}

/// Waits until `look` gives something.
pub async fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether this process, and those it starts, may have so many files open. Raises the soft limit if need be.
pub fn can_open(files: u64) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= files);
    enough(current)
        || (enough(maximum) && setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum }).is_ok())
}

/// The body that a GET from the admin socket is answered with, whatever the status.
pub async fn ask_admin(house: &House, path: &str) -> serde_json::Value {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(house.path("data/admin.sock")).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

/// All lines of all files under a folder that have this ending.
pub fn lines_under(folder: &Path, ending: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                // A line that is still being written does not count yet.
                lines.extend(text.split_inclusive('\n').filter(|l| l.ends_with('\n')).map(|l| l.trim_end().to_owned()));
            }
        }
    }
    lines
}

/// One column of a table as text, in row order; empty if the table does not exist yet.
pub fn column(database: &Path, sql: &str) -> Vec<String> {
    let Ok(connection) = rusqlite::Connection::open(database) else { return vec![] };
    let Ok(mut statement) = connection.prepare(sql) else { return vec![] };
    let rows = statement.query_map([], |row| row.get::<_, Option<String>>(0));
    rows.map(|rows| rows.flatten().map(Option::unwrap_or_default).collect()).unwrap_or_default()
}
