//! A Prometheus that asks a daemon for its figures every second, over the admin socket.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often it asks, and how long it waits for an answer.
const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks until it is stopped or dropped.
pub struct Scraper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<u64, String>>>,
}

impl Scraper {
    /// Begins to ask the daemon with that data folder.
    pub fn start(data_dir: &Path) -> Self {
        let (stop, stopped) = mpsc::channel();
        let socket = data_dir.join("admin.sock");
        let ask = move || {
            let mut answers = 0;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(EVERY) {
                scrape(&socket).map_err(|error| format!("{}: {error}", socket.display()))?;
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

fn scrape(socket: &PathBuf) -> Result<(), Box<dyn Error>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: daemon\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let is_page = answer.starts_with("HTTP/1.1 200") && answer.contains("hookrelay_webhooks_accepted_total");
    if is_page { Ok(()) } else { Err(answer.lines().next().unwrap_or("no answer").to_owned().into()) }
}
