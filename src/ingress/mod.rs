//! Ingress: webhooks come in over HTTP, are verified, recognised, journaled and answered.
//!
//! Rooms: [`threads`] who serves, [`crew`] which of them a connection goes to; [`listener`] sockets; `admission` who may
//! be connected at once; `connection` and `pace` one connection and its time; `body` reading it, `budget` and `uploads`
//! the memory for that; `pressure` whether all this is too little; `intake` the way of a request; [`typing`] type and
//! subject; `dedupe` repeats; `source` a source made ready, of `proof` (who sent it), `place` (where type, subject and id
//! are) and `challenge`; [`kinds`] the list of source kinds, `types` what they are known to send; `reply` the only place
//! where outcomes become statuses; [`counts`] what was counted; [`check`] and [`config`] its tables.
//!
//! Knows the journal only as something to append to. Knows no sinks and no rules. Spawns only connections.

mod admission;
mod body;
mod budget;
mod challenge;
pub mod check;
mod check_source;
pub mod config;
mod connection;
pub mod counts;
pub mod crew;
mod dedupe;
mod desk;
mod intake;
pub mod kinds;
pub mod listener;
mod pace;
pub mod place;
mod pressure;
mod proof;
mod remote;
mod reply;
pub mod signer;
mod source;
#[cfg(test)]
mod tests;
pub mod threads;
mod throttle;
mod types;
pub mod typing;
#[cfg(test)]
mod typing_tests;
mod uploads;
#[cfg(test)]
mod uploads_tests;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use sink_api::Timestamp;

pub use admission::MOST_LEAVING;
pub use check::{check_server, check_source, check_sources};
pub use config::{OnJournalFailure, ServerConfig, SourceConfig, SourceKind, Window};
pub use counts::{Counter, ServerCounts, SourceCounts};
pub use listener::{BindError, Bound, bind};

use crate::journal::{Fingerprint, Journal, OnFailure, Position};
use admission::Admission;
use budget::Budget;
use dedupe::Dedupe;
use pressure::Pressure;
use source::Source;

/// Why sources cannot be set up. `check` finds the same, with its place in the file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SetupError {
    /// Anybody could sign with it.
    #[error("source {source_name}: secret is empty")]
    EmptySecret {
        /// The source.
        source_name: String,
    },
    /// Its table does not say how its senders prove themselves.
    #[error("source {source_name}: {why}")]
    Source {
        /// The source.
        source_name: String,
        /// What is wrong.
        why: String,
    },
    /// A request could not be told to belong to one of them.
    #[error("sources {first} and {second} have the same path")]
    SamePath {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
}

/// Who counts the events of one source and type.
pub trait Tally: Send + Sync {
    /// One more is on disk, at that place. On the journal's own thread: keep it short.
    fn durable(&self, at: Position);
}

/// Is told source and type of every event that is handed to the journal, and gives who counts it; on the hot path, so keep
/// it short.
pub type OnAppend = Box<dyn Fn(&str, &str) -> Arc<dyn Tally> + Send + Sync>;

/// What too many senders have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressed {
    /// Connections closed to make place for others, since the start.
    pub connections_cut: u64,
    /// Requests whose bodies were slow while others needed their room: 408, since the start.
    pub requests_cut: u64,
    /// Requests that wait for room now.
    pub waiting: usize,
}

/// The front of the daemon. Shared by all listeners and runtimes.
pub struct Ingress {
    sources: RwLock<Arc<Sources>>,
    journal: Arc<dyn Journal>,
    dedupe: Dedupe,
    budget: Budget,
    admission: Admission,
    pressure: Arc<Pressure>,
    counts: ServerCounts,
    on_append: OnceLock<OnAppend>,
    trusted_proxies: Vec<remote::Network>,
    /// The one method that brings events.
    post: Arc<str>,
    max_body: usize,
    max_header_bytes: usize,
    header_timeout: Duration,
    body_timeout: Duration,
    drain: Duration,
}

impl Ingress {
    /// A front for these sources (by name), which appends to that journal and remembers what an earlier life has seen.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(
        server: &ServerConfig,
        sources: Vec<(String, SourceConfig)>,
        journal: Arc<dyn Journal>,
        mut known: Vec<Fingerprint>,
    ) -> Result<Arc<Self>, SetupError> {
        let mut sources = Sources::new(sources, &Sources::default())?;
        sources.check_paths()?;
        sources.index();
        let windows: Vec<Duration> = sources.list.iter().map(|s| s.window).collect();
        let dedupe = Dedupe::new(&windows, server.dedupe_max.as_usize());
        let now = Timestamp::now().as_microsecond();
        known.sort_by_key(|f| f.time);
        for known in known {
            if let Some(source) = sources.list.iter().find(|s| *s.name == *known.source) {
                dedupe.preload(source.slot, known.fingerprint, known.id, known.time, now);
            }
        }
        let pressure = Arc::<Pressure>::default();
        Ok(Arc::new(Self {
            journal,
            dedupe,
            budget: Budget::new(server, Arc::clone(&pressure)),
            admission: Admission::new(server.max_connections, Arc::clone(&pressure)),
            pressure,
            counts: ServerCounts::default(),
            on_append: OnceLock::new(),
            trusted_proxies: server.trusted_proxies.clone(),
            post: "POST".into(),
            max_body: server.max_body.as_usize(),
            max_header_bytes: server.max_header_bytes.as_usize(),
            header_timeout: server.header_timeout.0,
            body_timeout: server.body_timeout.0,
            drain: server.drain.0,
            sources: RwLock::new(Arc::new(sources)),
        }))
    }

    /// Accepts from a listener until `stop`, then stops accepting and answers what has begun, for at most `drain`:
    /// requests under way, connections still in the kernel's queue, and for 200 ms those that have not said anything
    /// yet. May be called for several listeners on any number of runtimes of either flavour; for several duplicates of
    /// one, each with one of their [`crew::places`], which spread its connections.
    pub async fn serve(
        self: &Arc<Self>,
        listener: tokio::net::TcpListener,
        place: crew::Place,
        stop: impl Future<Output = ()>,
    ) {
        listener::serve(self, listener, place, stop).await;
    }

    /// From now on `tell` hears of every event; a second call changes nothing.
    pub fn on_append(&self, tell: OnAppend) {
        let _ = self.on_append.set(tell);
    }

    /// What the listeners counted.
    pub fn counts(&self) -> &ServerCounts {
        &self.counts
    }

    /// Whether, in the last ten seconds, more was sent than there is room for, so that somebody had to wait or to go.
    pub fn is_pressed(&self) -> bool {
        self.pressure.is_on()
    }

    /// What that has cost since the start, and who waits now.
    pub fn pressed(&self) -> Pressed {
        Pressed {
            connections_cut: self.pressure.connections_cut.get(),
            requests_cut: self.budget.cut(),
            waiting: self.budget.waiting(),
        }
    }

    /// From now on these are the sources. Requests under way go on with the source they came for; one that keeps its name
    /// keeps its counts and what dedupe remembers of it.
    ///
    /// # Errors
    /// [`SetupError`]; then nothing has changed.
    pub fn replace_sources(&self, sources: Vec<(String, SourceConfig)>) -> Result<(), SetupError> {
        let before = self.sources();
        let mut next = Sources::new(sources, &before)?;
        next.check_paths()?;
        for source in &mut next.list {
            match before.list.iter().find(|old| old.name == source.name) {
                Some(_) => self.dedupe.set_window(source.slot, source.window),
                None => {
                    let slot = self.dedupe.add(source.window);
                    // Nobody else has it yet.
                    if let Some(source) = Arc::get_mut(source) {
                        source.slot = slot;
                    }
                }
            }
        }
        next.index();
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    fn sources(&self) -> Arc<Sources> {
        // Replaced whole.
        Arc::clone(&self.sources.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a webhook sent now would be refused by a source, going by what the journal would say.
    pub fn refuses(&self, (gives_back, all): (bool, bool)) -> bool {
        all || (gives_back && self.sources().list.iter().any(|source| source.on_failure == OnFailure::GiveBack))
    }

    /// What each source counted, by name.
    pub fn source_counts(&self) -> Vec<(String, Arc<SourceCounts>)> {
        self.sources().list.iter().map(|s| (s.name.to_string(), Arc::clone(&s.counts))).collect()
    }

    /// For how long each source's repeats are recognised in truth: shorter than configured where `dedupe_max` did not
    /// reach, zero where dedupe is off.
    pub fn dedupe_windows(&self) -> Vec<(String, Duration)> {
        let now = Timestamp::now().as_microsecond();
        let window = |s: &Arc<Source>| (s.name.to_string(), self.dedupe.effective_window(s.slot, now));
        self.sources().list.iter().map(window).collect()
    }
}

/// The sources of a config.
#[derive(Default)]
struct Sources {
    list: Vec<Arc<Source>>,
    by_path: HashMap<String, Arc<Source>>,
}

impl Sources {
    /// Those that were there before under the same name take their slot in dedupe and their counts along; others have the
    /// slot of their place.
    fn new(sources: Vec<(String, SourceConfig)>, before: &Self) -> Result<Self, SetupError> {
        let mut made = Self::default();
        for (at, (name, config)) in sources.into_iter().enumerate() {
            let mut source = Source::new(name, config)?;
            source.slot = at;
            if let Some(old) = before.list.iter().find(|old| old.name == source.name) {
                source.slot = old.slot;
                source.counts = Arc::clone(&old.counts);
            }
            made.list.push(Arc::new(source));
        }
        Ok(made)
    }

    /// Where two have the same path, nobody could tell which is meant.
    fn check_paths(&self) -> Result<(), SetupError> {
        let mut seen: HashMap<&str, &Source> = HashMap::new();
        for source in &self.list {
            if let Some(first) = seen.insert(&source.path, source) {
                return Err(SetupError::SamePath { first: first.name.to_string(), second: source.name.to_string() });
            }
        }
        Ok(())
    }

    fn index(&mut self) {
        self.by_path = self.list.iter().map(|source| (source.path.to_string(), Arc::clone(source))).collect();
    }
}
