//! Ingress: webhooks come in over HTTP, are verified, recognised, journaled and answered.
//!
//! Two rooms that do not know each other: [`http`] is what speaks HTTP, [`source`] what a source is. On top of both:
//! [`threads`] who serves, `intake` the way of a request, `dedupe` repeats, `desk` the hand-over to the journal, [`counts`]
//! what was counted, `throttle` log lines that must not become a flood.
//!
//! Knows the journal only as something to append to. Knows no sinks and no rules. Spawns only connections.

pub mod counts;
mod dedupe;
mod desk;
pub mod http;
mod intake;
pub mod source;
#[cfg(test)]
mod tests;
pub mod threads;
mod throttle;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use sink_api::Timestamp;
use tokio::task::JoinSet;

pub use self::counts::{Counter, SourceCounts};
pub use self::http::Pressed;
pub use self::http::admission::MOST_LEAVING;
pub use self::http::config::ServerConfig;
pub use self::http::counts::ServerCounts;
pub use self::http::listener::{BindError, Bound, bind};
pub use self::source::{SourceConfig, SourceKind};

use self::dedupe::Dedupe;
use self::desk::Desk;
use self::http::{Server, crew, listener};
use self::intake::Intake;
use self::source::plan::Source;
use crate::journal::{Fingerprint, Journal, OnFailure, Position};

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

/// What takes webhooks in: the sources, and how their requests come to the journal. Shared by all listeners and runtimes.
pub struct Ingress {
    server: Arc<Server>,
    sources: RwLock<Arc<Sources>>,
    journal: Arc<dyn Journal>,
    dedupe: Dedupe,
    on_append: OnceLock<OnAppend>,
    /// The one method that brings events.
    post: Arc<str>,
}

impl Ingress {
    /// Takes webhooks for these sources (by name), appends them to that journal, and remembers what an earlier life has
    /// seen.
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
        Ok(Arc::new(Self {
            server: Arc::new(Server::new(server)),
            sources: RwLock::new(Arc::new(sources)),
            journal,
            dedupe,
            on_append: OnceLock::new(),
            post: "POST".into(),
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
        let desk = Arc::new(Desk::default());
        // Ends with this call: dropped, it is aborted.
        let mut carrier = JoinSet::new();
        carrier.spawn({
            let (desk, journal) = (Arc::clone(&desk), Arc::clone(&self.journal));
            async move { desk.run(&*journal).await }
        });
        let intake = Arc::new(Intake { ingress: Arc::clone(self), desk });
        listener::serve(&self.server, &intake, listener, place, stop).await;
    }

    /// From now on `tell` hears of every event; a second call changes nothing.
    pub fn on_append(&self, tell: OnAppend) {
        let _ = self.on_append.set(tell);
    }

    /// What the listeners counted.
    pub fn counts(&self) -> &ServerCounts {
        &self.server.counts
    }

    /// Whether, in the last ten seconds, more was sent than there is room for, so that a sender had to wait or to go.
    pub fn is_pressed(&self) -> bool {
        self.server.is_pressed()
    }

    /// What that has cost since the start, and who waits now.
    pub fn pressed(&self) -> Pressed {
        self.server.pressed()
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
