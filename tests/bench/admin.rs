//! What the bench asks of a daemon that runs, over its admin socket; and a Prometheus that asks for its figures every
//! second.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often Prometheus asks, and how long an answer is waited for.
const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// The admin socket of a daemon.
#[derive(Clone)]
pub struct Admin(PathBuf);

impl Admin {
    /// Of the daemon with that data folder.
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("admin.sock"))
    }

    /// Asks; the body of an answer 200.
    pub fn ask(&self, method: &str, path: &str) -> Result<String, Box<dyn Error>> {
        let mut stream = UnixStream::connect(&self.0)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: daemon\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
            _ => Err(format!("{path}: {}", answer.lines().next().unwrap_or("no answer")).into()),
        }
    }

    /// Whether it would take a webhook now.
    pub fn is_ready(&self) -> bool {
        self.ask("GET", "/readyz").is_ok()
    }

    /// Holds a sink, or lets it go.
    pub fn change(&self, sink: &str, verb: &str) -> Result<(), Box<dyn Error>> {
        self.ask("POST", &format!("/api/sinks/{sink}/{verb}")).map(drop)
    }

    /// Bytes of the journal's segments.
    pub fn journal_bytes(&self) -> Result<u64, Box<dyn Error>> {
        let status: serde_json::Value = serde_json::from_str(&self.ask("GET", "/api/status")?)?;
        let bytes = status.pointer("/journal/bytes").and_then(serde_json::Value::as_u64);
        bytes.ok_or_else(|| "the status does not tell of the journal".into())
    }

    /// Deliveries that a sink is owed, and of these the ones yet to be made.
    pub fn owed(&self, sink: &str) -> Result<(u64, u64), Box<dyn Error>> {
        let status: serde_json::Value = serde_json::from_str(&self.ask("GET", "/api/status")?)?;
        let figure = |name: &str| status.pointer(&format!("/sinks/{sink}/{name}"))?.as_u64();
        figure("accepted").zip(figure("pending")).ok_or_else(|| format!("the status does not tell of {sink}").into())
    }
}

/// Asks until it is stopped or dropped.
pub struct Scraper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<u64, String>>>,
}

impl Scraper {
    /// Begins to ask that daemon.
    pub fn start(admin: Admin) -> Self {
        let (stop, stopped) = mpsc::channel();
        let ask = move || {
            let mut answers = 0;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(EVERY) {
                let page = admin.ask("GET", "/metrics").map_err(|error| error.to_string())?;
                if !page.contains("hookrelay_webhooks_accepted_total") {
                    return Err("the page of metrics holds no figures".to_owned());
                }
                answers += 1;
            }
            Ok(answers)
        };
        Self { stop: Some(stop), thread: Some(thread::spawn(ask)) }
    }

    /// Stops it. An error where the daemon gave no figures, or was never asked.
    pub fn stop(mut self) -> Result<(), Box<dyn Error>> {
        drop(self.stop.take());
        let asked = self.thread.take().map(|thread| thread.join().map_err(|_| "the scraper panicked".to_owned()));
        match asked.transpose()?.transpose()? {
            Some(0) | None => Err("the daemon was never scraped: measure for longer".into()),
            Some(_) => Ok(()),
        }
    }
}
