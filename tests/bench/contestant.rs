//! A server under measurement: starts it in a process of its own, measures it under load, and stops it. Of the daemon
//! it also checks that each file sink holds whatever was acknowledged.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::admin::{Admin, Scraper};
use crate::client::{self, Aim, Load};
use crate::figures::{self, Figure, Values};
use crate::proc::{self, LOOK, PATIENCE, wait_until};
use crate::recipe::{Daemon, Recipe, Server, file_of};

/// A running server; killed when dropped.
pub struct Contestant {
    pub name: String,
    process: Child,
    pub address: SocketAddr,
    /// The daemon's file sinks.
    sinks: Vec<SinkFile>,
    /// How many answers it has given so far.
    pub acknowledged: u64,
    /// The daemon's.
    admin: Option<Admin>,
    /// Asks a daemon that is watched for its figures.
    scraper: Option<Scraper>,
}

impl Contestant {
    /// Starts the server in a folder of its own and waits until it listens.
    pub fn start(recipe: &Recipe, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let (started, sinks, is_watched) = match &recipe.server {
            Server::Own(option) => (start_own(option, folder)?, 0, false),
            Server::Daemon(daemon) => (start_daemon(recipe, daemon, folder)?, daemon.sinks, daemon.is_watched),
        };
        let (process, address) = started;
        let is_daemon = matches!(&recipe.server, Server::Daemon(_));
        let admin = is_daemon.then(|| Admin::of(&folder.join("data")));
        let scraper = admin.clone().filter(|_| is_watched).map(Scraper::start);
        let sinks = (1..=sinks).map(|n| SinkFile::new(folder.join(file_of(n)))).collect();
        Ok(Self { name: recipe.name.clone(), process, address, sinks, acknowledged: 0, admin, scraper })
    }

    /// Where the daemon is asked.
    pub fn admin(&self) -> Result<&Admin, Box<dyn Error>> {
        self.admin.as_ref().ok_or_else(|| format!("{} is no daemon", self.name).into())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Measures one cell. The sink's work belongs to a request's cost, so processor time is read when the sink has
    /// caught up; and no other server is measured while this one is still at work.
    pub fn measure(&mut self, load: &Load) -> Result<Values, Box<dyn Error>> {
        let before = proc::cpu_time(self.pid())?;
        let answers =
            client::press(&Aim::own(self.address), load).map_err(|error| format!("{}: {error}", self.name))?;
        self.acknowledged += answers.all;
        let (resident, _) = proc::resident(self.pid())?;
        for sink in &mut self.sinks {
            sink.wait_for(self.acknowledged, PATIENCE)?;
        }
        let cpu = proc::cpu_time(self.pid())?.saturating_sub(before);
        let (_, peak) = proc::resident(self.pid())?;
        Ok(Values::from([
            (Figure::PerSecond, answers.latencies.len() as f64 / load.window.as_secs_f64()),
            (Figure::P99, figures::percentile(answers.latencies, 99.0).as_secs_f64() * 1e3),
            (Figure::Cpu, cpu.as_secs_f64() * 1e6 / answers.all.max(1) as f64),
            (Figure::Resident, resident as f64 / 1e6),
            (Figure::Peak, peak as f64 / 1e6),
        ]))
    }

    /// Sends exactly so many events about so many messages, within that time.
    pub fn fill(&mut self, events: u64, keys: usize, longest: Duration) -> Result<(), Box<dyn Error>> {
        let load = Load { requests: Some(events), keys, ..Load::full(FILLING, longest) };
        let answers =
            client::press(&Aim::own(self.address), &load).map_err(|error| format!("{}: {error}", self.name))?;
        self.acknowledged += answers.all;
        if answers.all < events {
            return Err(format!("{}: took {} of {events} events in {longest:?}", self.name, answers.all).into());
        }
        Ok(())
    }

    /// How many requests a receiver has taken.
    pub fn taken(&self) -> Result<u64, Box<dyn Error>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /count HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, count) = answer.split_once("\r\n\r\n").ok_or("the receiver gave no answer")?;
        Ok(count.trim().parse()?)
    }

    /// Stops the server as an operator would.
    pub fn stop(mut self) -> Result<(), Box<dyn Error>> {
        self.scraper.take().map_or(Ok(()), Scraper::stop)?;
        drop(self.process.stdin.take());
        if self.admin.is_some() {
            let pid = rustix::process::Pid::from_child(&self.process);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        let status = wait_until(|| Ok(self.process.try_wait()?), || format!("{} does not stop", self.name))?;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", self.name).into()) }
    }
}

/// Connections that a backlog comes in by.
const FILLING: u16 = 256;

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

fn start_daemon(recipe: &Recipe, daemon: &Daemon, folder: &Path) -> Result<(Child, SocketAddr), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let config = folder.join("config.toml");
    fs::write(&config, recipe.config())?;
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
pub struct SinkFile {
    path: PathBuf,
    open: Option<File>,
    /// Lines that were seen so far.
    pub lines: u64,
}

impl SinkFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, open: None, lines: 0 }
    }

    /// Waits until the file holds as many events as were acknowledged; an error where it does not grow for so long.
    pub fn wait_for(&mut self, acknowledged: u64, patience: Duration) -> Result<(), Box<dyn Error>> {
        let mut deadline = Instant::now() + patience;
        while self.lines < acknowledged {
            let before = self.lines;
            self.count_on()?;
            if self.lines > before {
                deadline = Instant::now() + patience;
            } else if Instant::now() > deadline {
                return Err(format!("LOST: {acknowledged} acknowledged, {before} in the file sink").into());
            } else {
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    /// Counts the lines that have come.
    pub fn count_on(&mut self) -> Result<(), Box<dyn Error>> {
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
