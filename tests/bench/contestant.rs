//! A server under measurement: starts it in a process of its own, measures it under load, reads its processor time and
//! memory from `/proc`, and stops it. For the daemon it also writes the config, and checks that each file sink holds
//! whatever was acknowledged.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{self, Load, PATH, SECRET};
use crate::figures::{self, Cell};
use crate::scraper::Scraper;

/// Longest time that a server may take to start, to stop, or to bring its sink up to date.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at while waiting for it.
const LOOK: Duration = Duration::from_millis(10);
/// `statfs` says this of a file system in memory.
const TMPFS: i64 = 0x0102_1994;

/// Names that no variant and no build may have.
const NAMES: [&str; 4] = ["bare", "durable", "relay", "watched"];

/// Which server to start, and how.
#[derive(Clone)]
pub struct Recipe {
    /// The server's name in the table.
    pub name: String,
    server: Server,
}

#[derive(Clone)]
enum Server {
    /// A server of our own, whose serving begins with this option.
    Own(&'static str),
    Daemon(Daemon),
}

#[derive(Clone)]
struct Daemon {
    program: PathBuf,
    /// Further environment variables.
    env: Vec<(String, String)>,
    /// File sinks, each of which takes all events.
    sinks: u16,
    /// Further tables of its config.
    tables: String,
    /// Whether it is watched: scraped every second, with a silence to look for and a route for its own events.
    is_watched: bool,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            program: env!("CARGO_BIN_EXE_hookrelay").into(),
            env: vec![],
            sinks: 1,
            tables: String::new(),
            is_watched: false,
        }
    }
}

/// What a daemon's config has more where it is watched.
const WATCHED: &str = r#"
[sinks.alarms]
kind = "file"
path = "alarms.jsonl"
[[routes]]
source = "hookrelay"
match = "*"
to = ["alarms"]
"#;

impl Recipe {
    /// The bare hyper server.
    pub fn bare() -> Self {
        Self { name: "bare".to_owned(), server: Server::Own("--serve-bare") }
    }

    /// The bare durable server.
    pub fn durable() -> Self {
        Self { name: "durable".to_owned(), server: Server::Own("--serve-durable") }
    }

    /// The daemon of this build.
    pub fn relay() -> Self {
        Self { name: "relay".to_owned(), server: Server::Daemon(Daemon::default()) }
    }

    /// The daemon of this build, with all that watches it at work.
    pub fn watched() -> Self {
        let daemon = Daemon { is_watched: true, ..Daemon::default() };
        Self { name: "watched".to_owned(), server: Server::Daemon(daemon) }
    }

    /// The daemon of this build with so many file sinks.
    pub fn sinks(sinks: u16) -> Self {
        let daemon = Daemon { sinks, ..Daemon::default() };
        Self { name: format!("{sinks} sinks"), server: Server::Daemon(daemon) }
    }

    /// The daemon of this build with further sinks that take everything: these tables of its config.
    pub fn with(name: &str, tables: String) -> Self {
        Self { name: name.to_owned(), server: Server::Daemon(Daemon { tables, ..Daemon::default() }) }
    }

    /// Reads a variant: `NAME:KEY=VALUE,KEY=VALUE`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let usage = || format!("{text:?} is not NAME:KEY=VALUE,KEY=VALUE");
        let (name, pairs) = text.split_once(':').ok_or_else(usage)?;
        if name.is_empty() || name.contains('/') || NAMES.contains(&name) {
            return Err(format!("{name:?} cannot be the name of a variant"));
        }
        let pair = |pair: &str| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let env = pairs.split(',').map(pair).collect::<Option<_>>().ok_or_else(usage)?;
        Ok(Self { name: name.to_owned(), server: Server::Daemon(Daemon { env, ..Daemon::default() }) })
    }

    /// Another build of the daemon, named after its file.
    pub fn other(program: &str) -> Result<Self, String> {
        let program = PathBuf::from(program);
        let name = program.file_name().and_then(|name| name.to_str()).filter(|name| !NAMES.contains(name));
        let name = name.ok_or_else(|| format!("{} has no name for a build", program.display()))?.to_owned();
        Ok(Self { name, server: Server::Daemon(Daemon { program, ..Daemon::default() }) })
    }
}

/// A running server; killed when dropped.
pub struct Contestant {
    name: String,
    process: Child,
    address: SocketAddr,
    /// The daemon's file sinks.
    sinks: Vec<SinkFile>,
    /// How many answers it has given so far.
    acknowledged: u64,
    /// Asks a daemon that is watched for its figures.
    scraper: Option<Scraper>,
}

impl Contestant {
    /// Starts the server in a folder of its own and waits until it listens.
    pub fn start(recipe: &Recipe, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let (started, sinks, is_watched) = match &recipe.server {
            Server::Own(option) => (start_own(option, folder)?, 0, false),
            Server::Daemon(daemon) => (start_daemon(daemon, folder)?, daemon.sinks, daemon.is_watched),
        };
        let (process, address) = started;
        let sinks = (1..=sinks).map(|n| SinkFile::new(folder.join(file_of(n)))).collect();
        let scraper = is_watched.then(|| Scraper::start(&folder.join("data")));
        Ok(Self { name: recipe.name.clone(), process, address, sinks, acknowledged: 0, scraper })
    }

    /// Measures one cell. The sink's work belongs to a request's cost, so processor time is read when the sink has
    /// caught up; and no other server is measured while this one is still at work.
    pub fn measure(&mut self, load: &Load, round: u32) -> Result<Cell, Box<dyn Error>> {
        let before = cpu_time(self.process.id())?;
        let answers = client::press(self.address, load).map_err(|error| format!("{}: {error}", self.name))?;
        self.acknowledged += answers.all;
        let resident = resident(self.process.id())?;
        for sink in &mut self.sinks {
            sink.wait_for(self.acknowledged)?;
        }
        let cpu = cpu_time(self.process.id())?.saturating_sub(before);
        Ok(Cell {
            server: self.name.clone(),
            connections: load.connections,
            rate: load.rate,
            round,
            per_second: answers.latencies.len() as f64 / load.window.as_secs_f64(),
            p99: figures::percentile(answers.latencies, 99.0),
            resident,
            cpu_per_request: cpu.div_f64(answers.all.max(1) as f64),
        })
    }

    /// Stops the server as an operator would.
    pub fn stop(mut self) -> Result<(), Box<dyn Error>> {
        self.scraper.take().map_or(Ok(()), Scraper::stop)?;
        drop(self.process.stdin.take());
        if !self.sinks.is_empty() {
            let pid = rustix::process::Pid::from_child(&self.process);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        let status = wait_until(|| Ok(self.process.try_wait()?), || format!("{} does not stop", self.name))?;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", self.name).into()) }
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // After a proper stop the process is gone already, and neither call does anything.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start_own(option: &str, folder: &Path) -> Result<(Child, SocketAddr), Box<dyn Error>> {
    let mut process = Command::new(std::env::current_exe()?)
        .arg(option)
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(out) = process.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    Ok((process, line.trim().parse()?))
}

/// The file of the sink of that number.
fn file_of(sink: u16) -> String {
    format!("events-{sink}.jsonl")
}

/// The daemon's config: one source, and file sinks that all take everything.
fn config_of(daemon: &Daemon) -> String {
    let silence = if daemon.is_watched { "silence = \"30m\"" } else { "" };
    let mut config = format!(
        r#"data_dir = "data"
[server]
listen = "127.0.0.1:0"
[sources.interakt]
kind = "interakt"
path = "{PATH}"
secret = "{SECRET}"
dedupe = "off"
{silence}
"#
    );
    for n in 1..=daemon.sinks {
        let file = file_of(n);
        config += &format!(
            "[sinks.archive{n}]\nkind = \"file\"\npath = \"{file}\"\n\
             [[routes]]\nmatch = \"*\"\nto = [\"archive{n}\"]\n"
        );
    }
    config += &daemon.tables;
    config + if daemon.is_watched { WATCHED } else { "" }
}

fn start_daemon(daemon: &Daemon, folder: &Path) -> Result<(Child, SocketAddr), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let config = folder.join("config.toml");
    fs::write(&config, config_of(daemon))?;
    let log = folder.join("daemon.log");
    let mut process = Command::new(&daemon.program)
        .arg("run")
        .arg("--config")
        .arg(&config)
        .envs(daemon.env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stderr(File::create(&log)?)
        .spawn()?;
    let address = wait_until(
        || {
            let text = fs::read_to_string(&log)?;
            let ended = process.try_wait()?.is_some();
            if ended { Err(format!("the daemon ended:\n{text}").into()) } else { Ok(listening_on(&text)) }
        },
        || format!("the daemon does not listen; see {}", log.display()),
    );
    if address.is_err() {
        let _ = process.kill();
        let _ = process.wait();
    }
    Ok((process, address?))
}

/// The address in the daemon's log line that says so.
fn listening_on(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("\"listening\""))?;
    let fields: serde_json::Value = serde_json::from_str(line).ok()?;
    fields.get("address")?.as_str()?.parse().ok()
}

/// The file the daemon's sink appends to, its lines counted as it grows.
struct SinkFile {
    path: PathBuf,
    open: Option<File>,
    lines: u64,
}

impl SinkFile {
    fn new(path: PathBuf) -> Self {
        Self { path, open: None, lines: 0 }
    }

    /// Waits until the file holds as many events as were acknowledged.
    fn wait_for(&mut self, acknowledged: u64) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        while self.lines < acknowledged {
            let before = self.lines;
            self.count_on()?;
            if self.lines == before {
                if Instant::now() > deadline {
                    return Err(format!("LOST: {acknowledged} acknowledged, {before} in the file sink").into());
                }
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    fn count_on(&mut self) -> Result<(), Box<dyn Error>> {
        if self.open.is_none() && self.path.exists() {
            self.open = Some(File::open(&self.path)?);
        }
        let Some(file) = &mut self.open else { return Ok(()) };
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    }
}

/// Looks at a condition until it holds.
fn wait_until<T>(
    mut look: impl FnMut() -> Result<Option<T>, Box<dyn Error>>,
    complaint: impl Fn() -> String,
) -> Result<T, Box<dyn Error>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(complaint().into());
        }
        std::thread::sleep(LOOK);
    }
}

/// Processor time a process has used, in user and kernel mode, all threads together.
fn cpu_time(pid: u32) -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold anything; utime and stime are the 12th and 13th fields behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).ok_or("/proc/PID/stat has another form")?;
    Ok(Duration::from_secs_f64((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Memory of a process that is resident now, in bytes.
fn resident(pid: u32) -> Result<u64, Box<dyn Error>> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split_whitespace().nth(1).ok_or("/proc/PID/statm has another form")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// Warns if the folder's data is kept in memory, where a flush costs nothing.
pub fn warn_where_a_flush_costs_nothing(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    if rustix::fs::statfs(folder)?.f_type == TMPFS {
        eprintln!("bench: {} lies in memory: a flush costs nothing there, the ratios flatter", folder.display());
    }
    Ok(())
}
