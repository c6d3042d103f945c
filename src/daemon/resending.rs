//! Has messages that failed sent again when they are due: what waits in the outbox becomes a command in the journal,
//! and goes from there to the sink that sends it.
//!
//! Only as many are handed over as a sink can take soon ([`MOST_PENDING`]): what waits in the outbox can be cancelled,
//! is dropped where a later status says that it is not needed, and keeps to quiet hours; what is in the journal is on
//! its way. A kill between the journal and the outbox repeats a command under the same id, which is the same delivery.

use std::sync::Arc;
use std::time::Duration;

use sink_api::Timestamp;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use super::books::Books;
use super::commanding::{CommandError, Commands};
use crate::event;
use crate::ledger::Storage;
use crate::outbox::{Command, Outbox, OutboxError, Planned, Rules};

/// A sink with so many deliveries to make is given no further message to send again.
const MOST_PENDING: u64 = 64;
/// How many messages that are due to a sink are looked at together.
const PAGE: usize = 256;
/// Longest pause. The clock may be put forward meanwhile, by which more is due.
const LONGEST: Duration = Duration::from_secs(30);
/// Pause while what is due waits for room in its sink: from, to; it doubles as long as there is none.
const NO_ROOM: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Pause after an error of the outbox or the journal.
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// Why a round ends early.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error(transparent)]
    Journal(#[from] CommandError),
}

/// What a round has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Round {
    /// How many were handed over.
    handed: usize,
    /// Whether something is due that its sink has no room for.
    has_no_room: bool,
    /// Whether something waits for another sink than its rule names: it was planned while a reload was under way.
    is_astray: bool,
}

/// Hands over what is due.
pub(super) struct Resending {
    outbox: Outbox,
    commands: Commands,
    books: Arc<Books>,
    storage: Storage,
    /// The rules by which what waits has its sink.
    followed: Option<Arc<Rules>>,
}

impl Resending {
    /// Hands over from this outbox, by the rules that are in force there.
    pub fn new(outbox: &Outbox, books: &Arc<Books>, storage: &Storage) -> Self {
        Self {
            outbox: outbox.clone(),
            commands: Commands::new(books, storage),
            books: Arc::clone(books),
            storage: storage.clone(),
            followed: None,
        }
    }

    /// Goes on until this task is dropped.
    pub async fn run(mut self) {
        let (mut no_room, mut in_trouble) = (NO_ROOM.0, false);
        loop {
            let pause = match self.round().await {
                Ok(Round { handed, has_no_room, is_astray }) => {
                    if std::mem::take(&mut in_trouble) {
                        info!("messages are sent again when they are due, as before");
                    }
                    no_room = if handed > 0 { NO_ROOM.0 } else { (no_room * 2).min(NO_ROOM.1) };
                    if has_no_room || is_astray { no_room } else { self.until_next().await }
                }
                Err(error) => {
                    if !std::mem::replace(&mut in_trouble, true) {
                        warn!(%error, "no message is sent again for now; it is tried every few seconds");
                    }
                    AFTER_ERROR
                }
            };
            tokio::select! {
                () = self.outbox.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// How long until the next message is due.
    async fn until_next(&self) -> Duration {
        match self.outbox.next_due().await {
            Ok(Some(due)) => {
                let left = due.as_millisecond().saturating_sub(Timestamp::now().as_millisecond());
                Duration::from_millis(u64::try_from(left).unwrap_or_default()).min(LONGEST)
            }
            Ok(None) => LONGEST,
            Err(_) => AFTER_ERROR,
        }
    }

    /// Looks once at what is due.
    async fn round(&mut self) -> Result<Round, Trouble> {
        let (now, rules) = (Timestamp::now(), self.outbox.rules());
        if !self.followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, &rules)) {
            for (rule, to) in rules.each() {
                while self.outbox.follow(rule, to).await? > 0 {}
            }
            self.followed = Some(Arc::clone(&rules));
        }
        let sinks = self.outbox.sinks_waiting().await?;
        self.give_up(&rules, now).await?;
        let mut round = Round::default();
        for sink in sinks {
            self.turn(&sink, &rules, now, &mut round).await?;
        }
        if round.is_astray {
            self.followed = None;
        }
        Ok(round)
    }

    /// Gives up what is due by rules that are gone, whatever else waits.
    async fn give_up(&self, rules: &Rules, now: Timestamp) -> Result<(), Trouble> {
        let waiting = self.outbox.counts().waiting;
        for (rule, _) in waiting.iter().filter(|(rule, waits)| **waits > 0 && !rules.has(rule)) {
            let mut messages = 0;
            loop {
                match self.outbox.cancel_rule(rule, now).await? {
                    0 => break,
                    more => messages += more,
                }
            }
            if messages > 0 {
                info!(rule, messages, "not sent again: their rule is not in the config any more");
            }
        }
        Ok(())
    }

    /// Looks at what is due to one sink, as far as that has room: whatever waits for another one, however much it is,
    /// keeps none of it back.
    async fn turn(&self, sink: &str, rules: &Rules, now: Timestamp, round: &mut Round) -> Result<(), Trouble> {
        let mut room = self.room(sink).await;
        // Where there is no room it is only seen whether something is due, and not in quiet hours.
        let mut most = if room > 0 { PAGE } else { 1 };
        loop {
            let page = self.outbox.due_of(sink, now, most).await?;
            let (is_full, mut put_off, mut handed) = (page.len() == most, Vec::new(), Vec::new());
            for planned in page {
                if rules.sink_of(&planned.rule) != Some(sink) {
                    round.is_astray = true;
                    continue;
                }
                // Behind its last moment it is handed over all the same, to become a dead letter that says so. What
                // lacks something disturbs nobody.
                let may_wait = planned.missing.is_none() && now.as_second() <= planned.until;
                let quiet = rules.is_quiet(&planned.rule, planned.phone.as_deref(), now).filter(|_| may_wait);
                match quiet {
                    Some(until) => put_off.push((planned.id, until)),
                    None if room == 0 => round.has_no_room = true,
                    None => {
                        room -= 1;
                        handed.push(planned);
                    }
                }
            }
            let goes_on = !put_off.is_empty() || (room > 0 && !handed.is_empty());
            if !put_off.is_empty() {
                self.outbox.put_off(put_off).await?;
            }
            round.handed += self.hand_over(handed, now).await?;
            // What was done is not due any more, so that the next page is another.
            if !is_full || !goes_on {
                return Ok(());
            }
            most = PAGE;
        }
    }

    /// Writes the commands for these messages, and notes that they are written, in one step each. Says how many.
    async fn hand_over(&self, messages: Vec<Planned>, now: Timestamp) -> Result<usize, Trouble> {
        let (mut writing, mut written, mut trouble) = (JoinSet::new(), Vec::new(), None);
        for planned in messages {
            let (commands, id) = (self.commands.clone(), planned.id);
            let event = event::own_as(id, Command::resend(&planned, now).body().into());
            writing.spawn(async move { commands.append(&event).await.map(|()| id) });
        }
        while let Some(joined) = writing.join_next().await {
            match joined {
                Ok(Ok(id)) => written.push(id),
                Ok(Err(error)) => trouble = Some(error),
                // It ended before it said anything: the message is due again, under the same id.
                Err(_) => trouble = Some(CommandError::Unknown),
            }
        }
        let count = written.len();
        if count > 0 {
            self.outbox.handed(written).await?;
        }
        trouble.map_or(Ok(count), |error| Err(error.into()))
    }

    /// How many more messages a sink can take soon.
    async fn room(&self, sink: &str) -> u64 {
        match self.books.now().of(sink) {
            Some(book) => MOST_PENDING.saturating_sub(self.books.figures(&self.storage, book).await.pending),
            None => 0,
        }
    }
}
