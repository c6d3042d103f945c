//! The traits a sink crate implements, and the constant by which it is registered.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::delivery::{Batch, Target};
use crate::disk::DiskFloor;
use crate::event::Event;
use crate::fault::Fault;
use crate::outbox::Outbox;
use crate::report::{Reason, Report};
use crate::settings::Settings;

/// A sink at work.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Delivers once and says what became of each delivery. Called concurrently, up to the sink's `concurrency`. May be
    /// dropped at `batch.deadline`: unreported deliveries count as Retry. Must not sleep, retry, spawn or swallow.
    /// Where order is owed, asks [`Report::may_attempt`] before each delivery it attempts one by one.
    async fn deliver(&self, batch: &Batch) -> Report;

    /// Whether the target could take deliveries now, without delivering anything (`check --connect`).
    ///
    /// # Errors
    /// Says why not.
    async fn probe(&self) -> Result<(), Reason>;

    /// Flushes and lets go. Bounded by the core's drain time.
    async fn close(self: Box<Self>);
}

/// A sink's table in `config.toml`, read and understood.
#[async_trait]
pub trait SinkConfig: Debug + Send + Sync {
    /// All faults that can be seen without network, files or processes. Pure.
    ///
    /// # Errors
    /// Every fault at once.
    fn check(&self) -> Result<(), Vec<Fault>>;

    /// Where this event goes inside the sink, from the sink's templates. Pure; the same for `explain` and `run`.
    ///
    /// # Errors
    /// A reason that makes the delivery a dead letter.
    fn target(&self, event: &Event) -> Result<Target, Reason>;

    /// Whether a payload can be delivered, as far as the payload alone tells: by the check that refuses a delivery
    /// without having asked the target. So whoever asks for a delivery is told at once, and nothing is written. Pure.
    ///
    /// # Errors
    /// The reason of the dead letter that it would become.
    fn check_payload(&self, _payload: &[u8]) -> Result<(), Reason> {
        Ok(())
    }

    /// Things only one sink may own, as `what:which`; the same claim by two sinks is a fault. `file:PATH` claims a path
    /// (or a template of one) as it is written: the core compares such claims from the config's folder, after taking
    /// `.` and `..` out of their text. Symbolic links are not followed, because this is pure: two paths that lead to
    /// one file through a link are two claims, and a link to a folder, followed by `..`, is taken for a plain folder. A
    /// sink that must exclude this needs a lock of its own.
    fn claims(&self) -> Vec<String> {
        Vec::new()
    }

    /// Most descriptors (files, sockets, pipes) the sink has open at once, with so many calls under way. The daemon
    /// keeps them back from connections.
    fn descriptors(&self, calls: usize) -> usize {
        calls.saturating_mul(4).saturating_add(8)
    }

    /// What its deliveries are in traces, where it sends messages; others make calls.
    fn messaging(&self) -> Option<Messaging> {
        None
    }

    /// Opens what the sink needs. I/O yes, spawn no.
    ///
    /// # Errors
    /// [`BuildError::Refused`] where only a person can help, [`BuildError::Unavailable`] where time may.
    async fn build(&self, cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError>;

    /// Whether deliveries could be taken now (`check --connect`), and what is worth knowing beside a yes. Creates and
    /// changes nothing outside `cx.state_dir`, which goes away afterwards: a sink whose `build` does more than open
    /// (creates a file, runs SQL) says here what it would do, and does not do it. Others open, probe and close.
    ///
    /// # Errors
    /// Says why not.
    async fn inspect(&self, cx: &SinkContext) -> Result<Option<String>, BuildError> {
        let sink = self.build(cx).await?;
        let answer = sink.probe().await;
        sink.close().await;
        answer.map(|()| None).map_err(BuildError::Unavailable)
    }
}

/// How OpenTelemetry's semantic conventions name a sink that sends messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Messaging {
    /// `messaging.system`, such as `kafka`.
    pub system: &'static str,
    /// The part of a delivery's target that is `messaging.destination.name`.
    pub destination: &'static str,
}

/// What a sink is built with.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The sink's name in the config.
    pub name: String,
    /// Folder of the config file: relative paths in the sink's table start here.
    pub base_dir: PathBuf,
    /// A folder of this sink's own for what it must remember (exists, 0700).
    pub state_dir: PathBuf,
    /// The free space it must leave on the disk it writes to.
    pub floor: DiskFloor,
    /// What the daemon remembers of messages that sinks send.
    pub outbox: Arc<dyn Outbox>,
}

impl SinkContext {
    /// A path of the sink's table, made absolute as far as `base_dir` is.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base_dir.join(path)
    }
}

/// Why a sink could not be opened. The daemon goes on without it, says so, and tries again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BuildError {
    /// Needs a person: the table has no unique `event_id`, a path is not writable. The text says what to do.
    #[error("{0}")]
    Refused(String),
    /// May pass by itself: the server is not up.
    #[error("{0}")]
    Unavailable(Reason),
}

/// What a kind suggests for the keys the core owns; the config may say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Most deliveries in a batch.
    pub max_events: usize,
    /// Most payload bytes in a batch (a single larger delivery goes alone).
    pub max_bytes: u64,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
    /// Most `deliver` calls at once.
    pub concurrency: usize,
    /// `rate`, where the target has one (`300/min`): used where the table names none.
    pub rate: Option<&'static str>,
}

/// Reads a kind's table.
pub type Read = fn(Settings<'_>) -> Result<Box<dyn SinkConfig>, Vec<Fault>>;

/// What a delivery comes to that was made before, under the same id (after a kill, or by a replay).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Nothing: the target knows ids, and keeps what it has.
    Ignored,
    /// The target gets it again with the same id, by which it can tell.
    Marked,
    /// It is there twice.
    Doubled,
}

impl Repeats {
    /// The word that verbs and the admin listener use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Marked => "marked",
            Self::Doubled => "doubled",
        }
    }
}

/// A kind of sink, as the registry lists it.
#[derive(Clone, Copy, Debug)]
pub struct SinkKind {
    /// The word behind `kind =`.
    pub name: &'static str,
    /// What else people write there: each is a fault, and `name` the mend.
    pub also: &'static [&'static str],
    /// One line: what it delivers to.
    pub about: &'static str,
    /// Its `example.toml`: a complete `[sinks.NAME]` table.
    pub example: &'static str,
    /// Defaults of the core's keys.
    pub defaults: Defaults,
    /// What comes of a delivery that is made a second time.
    pub repeats: Repeats,
    /// Whether a target may say more than its outcome ([`Reason::answered`](crate::Reason::answered)), so that
    /// `keep_answer` has something to keep.
    pub answers: bool,
    /// Whether it sends messages whose statuses come back as webhooks: the daemon then takes note of them.
    pub sends: bool,
    /// Reads its table.
    pub read: Read,
}
