//! What the daemon remembers of messages that sinks send, so that none is sent twice where that can be known, and that
//! what failed is sent again as the user's rules say. One SQLite file, `DATA/outbox.db`, owned by a thread of its own;
//! it is made when it is first needed.
//!
//! - `planned`: a message that is to be sent again; `command`: the event that has it sent, or a new one
//! - `rules`: which failures are tried again, when, and with what, as [`keys`] has it written, `codes` by default;
//!   `quiet` and `zones`: when customers are not to be disturbed; `request` and `same`: what is sent
//! - `heard`: what statuses say; `calls`: what was sent, and `bounds` of it; `resends`: what waits, and `turns`: many
//!   of these at once; `not_again`: what is never sent again; `trim`: what is let go of
//! - `thread`, `store`: who owns the file, and what stands in it
//! - `follower`: the implicit sink by which the daemon hears of statuses
//!
//! Knows neither HTTP nor the journal nor the config, nor what a sink is beyond the contract.

mod bounds;
mod calls;
mod codes;
mod command;
mod error;
mod facts;
pub mod follower;
mod heard;
pub mod keys;
mod not_again;
mod planned;
mod quiet;
mod request;
mod resends;
mod rules;
mod same;
mod store;
mod tally;
mod thread;
mod trim;
mod turns;
mod wanted;
mod zones;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sink_api::outbox::{Begun, Call, End};
use sink_api::{Batch, CallId, Reason, Timestamp, Uuid, async_trait};

use crate::message::Status;
use crate::news::News;
use calls::{Ruled, Started};
pub use command::{Command, RESEND, SEND};
pub use error::OutboxError;
pub use facts::{About, CallState, Counts, NotAgain, SentMessage, Verdict};
pub use keys::ResendKeys;
pub use planned::{Chain, Cursor, Planned, State};
pub use rules::{Decision, Failed, Rules};
use tally::Beside;
use thread::{Step, Thread};
use trim::{MOST, Most};
use wanted::{Wanted, Why};

/// The file's name in the data folder.
pub const FILE: &str = "outbox.db";
/// The name of the implicit sink by which the daemon hears of statuses.
pub const FOLLOWER: &str = "outbox";
/// Nothing is sent later than this after the first message, or after the event that it would be sent for, whatever
/// `max_age` says: what is remembered is kept a day longer.
pub const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The longest id of a message that is remembered, in bytes; what has a longer one is not known again.
const MAX_MESSAGE_ID: usize = 256;
/// Most rows of a chain that are shown.
const MOST_OF_CHAIN: usize = 1000;
/// Statuses; their numbers in the file are their places here.
const STATUSES: [Status; 5] = [Status::Received, Status::Sent, Status::Failed, Status::Delivered, Status::Read];

/// Who knows how far statuses were read.
#[async_trait]
pub trait Progress: Send + Sync {
    /// Waits until the follower has read everything that was accepted before this was called. False: not within a few
    /// seconds.
    async fn caught_up(&self) -> bool;
}

/// What time it is.
type Clock = dyn Fn() -> Timestamp + Send + Sync;

/// What the daemon remembers of messages that sinks send. Cheap to clone.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

struct Inner {
    thread: Thread,
    beside: Arc<Beside>,
    rules: RwLock<Arc<Rules>>,
    progress: RwLock<Option<Arc<dyn Progress>>>,
    most: Most,
    clock: Arc<Clock>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("path", &self.0.thread.path()).finish_non_exhaustive()
    }
}

impl Outbox {
    /// What is remembered in that file. Opens nothing, and has no rules yet.
    pub fn new(path: PathBuf, news: News) -> Self {
        Self::with(path, news, MOST, Arc::new(Timestamp::now))
    }

    fn with(path: PathBuf, news: News, most: Most, clock: Arc<Clock>) -> Self {
        let beside = Arc::new(Beside::new(news));
        let thread = Thread::new(path, Arc::clone(&beside), Arc::clone(&clock));
        Self(Arc::new(Inner { thread, beside, rules: RwLock::default(), progress: RwLock::default(), most, clock }))
    }

    /// From now on, what failed is judged by these rules.
    pub fn put_in_force(&self, rules: Arc<Rules>) {
        *self.0.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        self.0.beside.look_again();
    }

    /// From now on, that one is asked how far statuses were read. Before that, they count as not read.
    pub fn know_progress(&self, by: Arc<dyn Progress>) {
        *self.0.progress.write().unwrap_or_else(PoisonError::into_inner) = Some(by);
    }

    /// The names of the sinks for which messages wait to be sent again, as it was when they were planned.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn sinks_waiting(&self) -> Result<Vec<String>, OutboxError> {
        self.look(|step| resends::sinks(step.connection)).await
    }

    /// Messages that are to be sent again by that sink and are due by now, the earliest first; at most so many.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn due_of(&self, sink: &str, now: Timestamp, most: usize) -> Result<Vec<Planned>, OutboxError> {
        let sink = sink.to_owned();
        self.look(move |step| resends::due_of(step.connection, &sink, now, most)).await
    }

    /// When the next message is due that waits; none where none does.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, OutboxError> {
        self.look(|step| resends::next_due(step.connection)).await
    }

    /// Returns when something was planned, cancelled or put in force since the last time, which may be at once. For one
    /// waiter. Cancel-safe.
    pub async fn changed(&self) {
        self.0.beside.changed().await;
    }

    /// Messages that wait to be sent again, in the order in which they are due, behind that place; at most so many, and
    /// without what is to be sent.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn waiting(&self, after: Option<Cursor>, most: usize) -> Result<Vec<Planned>, OutboxError> {
        self.look(move |step| resends::waiting(step.connection, after, most)).await
    }

    /// Gives up what is still to be sent again: the message of that id (whole, or the last 8 characters of one that
    /// waits), or all that follows from that message (the first one's id, or that of one that failed). Says which; what
    /// was sent already, or is being sent, is not among them, nor are those in `but`: what was handed over and nobody
    /// will send, as only the books of its sink know. Durable when this returns.
    ///
    /// # Errors
    /// The file cannot be written; then nothing has changed.
    pub async fn cancel(&self, id_or_message: &str, but: &[Uuid]) -> Result<Vec<Planned>, OutboxError> {
        let (named, but) = (id_or_message.to_owned(), but.to_owned());
        self.look(move |step| resends::cancel(step, &named, &but)).await
    }

    /// What [`Outbox::cancel`] takes to be meant by that, however far it is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn meant(&self, id_or_message: &str) -> Result<Vec<Planned>, OutboxError> {
        let named = id_or_message.to_owned();
        self.look(move |step| resends::meant(step.connection, &named)).await
    }

    /// Gives up a part of what is due by that rule, which is gone; says how much. Durable when this returns.
    ///
    /// # Errors
    /// The file cannot be written; then nothing has changed.
    pub async fn cancel_rule(&self, rule: &str, now: Timestamp) -> Result<usize, OutboxError> {
        let rule = rule.to_owned();
        self.look(move |step| resends::cancel_rule(step, &rule, now)).await
    }

    /// What is remembered of a message: who sent it, and all that was planned for its chain.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn about(&self, message: &str) -> Result<About, OutboxError> {
        let message = message.to_owned();
        self.look(move |step| {
            let root = resends::root(step.connection, None, &message)?;
            let call = calls::of_message(step.connection, &message)?.map(|(call, _)| call);
            let chain = resends::of_root(step.connection, &root, MOST_OF_CHAIN)?;
            let not_again = not_again::of_root(step.connection, &root, MOST_OF_CHAIN)?;
            Ok(About { of: root, call, chain, not_again })
        })
        .await
    }

    /// The messages that were sent to that phone (`+` and digits), the latest first; at most so many.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn of_phone(&self, phone: &str, most: usize) -> Result<Vec<SentMessage>, OutboxError> {
        let phone = phone.to_owned();
        self.look(move |step| calls::of_phone(step.connection, &phone, most)).await
    }

    /// What came of a call; none where it has not begun.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn outcome(&self, call: CallId) -> Result<Option<SentMessage>, OutboxError> {
        self.look(move |step| calls::of_id(step.connection, call)).await
    }

    /// What was counted since the daemon started, and how many wait.
    pub fn counts(&self) -> Counts {
        self.0.beside.counts()
    }

    /// Lets go of a part of what is too old or too much; says whether there is more.
    ///
    /// # Errors
    /// The file cannot be written; then nothing has changed.
    pub async fn trim(&self) -> Result<bool, OutboxError> {
        let (most, now) = (self.0.most, self.now());
        self.look(move |step| trim::trim(step, &most, now)).await
    }

    /// Sees that the file is still there, and writes it anew where it was taken away while it was in use. Says whether
    /// it is there now.
    pub async fn look_after(&self) -> bool {
        self.0.thread.look_after().await
    }

    /// Closes the file once all that was asked for is done. Blocks until then.
    pub fn close(&self) {
        self.0.thread.close();
    }

    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// Does that with what is remembered. Where there is no file, nothing is, and none is made.
    async fn look<T: Default + Send + 'static>(
        &self,
        work: impl FnOnce(&mut Step<'_>) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, OutboxError> {
        if !self.0.thread.has_file() {
            return Ok(T::default());
        }
        self.0.thread.ask(work).await
    }

    /// The rules by which what failed is judged now.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.0.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the rules say by now of what one of them has sent again: it may have been handed over long before.
    fn ruled(&self, wanted: &Wanted, now: Timestamp) -> Ruled {
        let Why::Resend(command) = &wanted.why else { return Ruled::Free };
        let Some(rule) = command.rule.as_deref() else { return Ruled::Free };
        let rules = self.rules();
        if !rules.has(rule) {
            return Ruled::Gone;
        }
        rules.is_quiet(rule, wanted.phone.as_deref(), now).map_or(Ruled::Free, Ruled::Quiet)
    }

    async fn caught_up(&self) -> bool {
        let progress = self.0.progress.read().unwrap_or_else(PoisonError::into_inner).clone();
        match progress {
            Some(progress) => progress.caught_up().await,
            None => false,
        }
    }

    /// The call's start is written down. Once all is heard that was said before, it is made, unless that says
    /// otherwise.
    async fn begin_once_heard(&self, wanted: Wanted, started: Started) -> Result<Begun, OutboxError> {
        let (origin, before) = match started {
            Started::Answer(answer) => return Ok(answer),
            Started::Start { origin, ask: false, .. } => return Ok(Begun::Call(origin)),
            Started::Start { origin, before, .. } => (origin, before),
        };
        if !self.caught_up().await {
            self.0.thread.ask(move |step| calls::take_back(step.connection, wanted.call, before.as_ref())).await?;
            return Ok(calls::behind());
        }
        let answer = self.0.thread.ask(move |step| calls::look_again(step, &wanted, before.as_ref())).await?;
        Ok(answer.unwrap_or(Begun::Call(origin)))
    }
}

#[async_trait]
impl sink_api::Outbox for Outbox {
    async fn begin(&self, call: &Call<'_>) -> Begun {
        let (wanted, now) = (Wanted::of(call), self.now());
        let ruled = self.ruled(&wanted, now);
        let started = {
            let wanted = wanted.clone();
            self.0.thread.ask(move |step| calls::start(step, &wanted, ruled, now)).await
        };
        let begun = match started {
            Ok(started) => self.begin_once_heard(wanted, started).await,
            Err(error) => Err(error),
        };
        begun.unwrap_or_else(|error| Begun::Unavailable(error.reason()))
    }

    async fn end(&self, call: CallId, end: End) {
        let now = self.now();
        if let Err(error) = self.0.thread.ask(move |step| calls::end(step, call, &end, now)).await {
            tracing::error!(
                %call,
                %error,
                "what came of a call cannot be written down: it counts as lost until a status tells"
            );
        }
    }

    async fn heard(&self, batch: &Batch) -> Result<(), Reason> {
        let facts = heard::facts(batch);
        if facts.is_empty() {
            return Ok(());
        }
        let (rules, now) = (self.rules(), self.now());
        let took = self.0.thread.ask(move |step| heard::take(step, &facts, &rules, now)).await;
        took.map_err(|error| error.reason())
    }
}

#[cfg(test)]
mod tests;
