//! Has messages that failed sent again when they are due: what waits in the outbox becomes a command in the journal,
//! and goes from there to the sink that sends it.
//!
//! Only as many are handed over as a sink can take soon ([`MOST_PENDING`]): what waits in the outbox can be cancelled,
//! is dropped where a later status says that it is not needed, and keeps to quiet hours; what is in the journal is on
//! its way. A kill between the journal and the outbox repeats a command under the same id, which is the same delivery.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sink_api::Timestamp;
use tokio::time::sleep;
use tracing::{info, warn};

use super::books::Books;
use super::commanding::{CommandError, Commands};
use super::config_state::ConfigState;
use crate::event;
use crate::ledger::Storage;
use crate::outbox::{Command, Cursor, Outbox, OutboxError, Planned, Rules};

/// A sink with so many deliveries to make is given no further message to send again.
const MOST_PENDING: u64 = 64;
/// How many waiting messages are looked at together, and how often in one round: what is due to a sink that takes
/// nothing keeps no other sink's back, unless it is more than both.
const PAGE: usize = 256;
const PAGES: usize = 16;
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
}

/// Hands over what is due.
pub(super) struct Resending {
    outbox: Outbox,
    commands: Commands,
    books: Arc<Books>,
    storage: Storage,
    config_state: Arc<ConfigState>,
}

impl Resending {
    /// Hands over from this outbox, by the rules of the config in force.
    pub fn new(outbox: &Outbox, books: &Arc<Books>, storage: &Storage, config_state: &Arc<ConfigState>) -> Self {
        Self {
            outbox: outbox.clone(),
            commands: Commands::new(books, storage),
            books: Arc::clone(books),
            storage: storage.clone(),
            config_state: Arc::clone(config_state),
        }
    }

    /// Goes on until this task is dropped.
    pub async fn run(self) {
        let (mut no_room, mut in_trouble) = (NO_ROOM.0, false);
        loop {
            let pause = match self.round().await {
                Ok(Round { handed, has_no_room }) => {
                    if std::mem::take(&mut in_trouble) {
                        info!("messages are sent again when they are due, as before");
                    }
                    no_room = if handed > 0 { NO_ROOM.0 } else { (no_room * 2).min(NO_ROOM.1) };
                    if has_no_room { no_room } else { self.until_next().await }
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

    /// Looks once at all that is due.
    async fn round(&self) -> Result<Round, Trouble> {
        let (now, config) = (Timestamp::now(), self.config_state.in_force());
        let rules = &*config.resends;
        let (mut room, mut round): (HashMap<String, u64>, _) = Default::default();
        for sink in self.outbox.sinks_waiting().await? {
            let mut after: Option<Cursor> = None;
            for _ in 0..PAGES {
                let page = self.outbox.due_of(&sink, after, now, PAGE).await?;
                let is_last = page.len() < PAGE;
                after = page.last().map(Planned::cursor);
                for planned in page {
                    self.look_at(planned, rules, now, &mut room, &mut round).await?;
                }
                let full: HashSet<&str> =
                    room.iter().filter(|(_, left)| **left == 0).map(|(sink, _)| sink.as_str()).collect();
                if is_last || rules.sinks().all(|sink| full.contains(sink)) {
                    break;
                }
            }
        }
        Ok(round)
    }

    /// Hands over a message that is due, puts it off, gives it up, or leaves it where it is.
    async fn look_at(
        &self,
        planned: Planned,
        rules: &Rules,
        now: Timestamp,
        room: &mut HashMap<String, u64>,
        round: &mut Round,
    ) -> Result<(), Trouble> {
        let id = planned.id;
        let Some(to) = rules.sink_of(&planned.rule) else {
            let (rule, mut messages) = (planned.rule, 0);
            loop {
                match self.outbox.cancel_rule(&rule, now).await? {
                    0 => break,
                    more => messages += more,
                }
            }
            // Of those that were read together, the first takes the others along.
            if messages > 0 {
                info!(rule, messages, "not sent again: their rule is not in the config any more");
            }
            return Ok(());
        };
        // Behind its last moment it is handed over all the same, to become a dead letter that says so. What lacks
        // something disturbs nobody.
        let may_wait = planned.missing.is_none() && now.as_second() <= planned.until;
        let quiet = rules.is_quiet(&planned.rule, planned.phone.as_deref(), now).filter(|_| may_wait);
        if let Some(until) = quiet {
            return Ok(self.outbox.put_off(id, until).await?);
        }
        let left = match room.get_mut(to) {
            Some(left) => left,
            None => room.entry(to.to_owned()).or_insert(self.room(to).await),
        };
        if *left == 0 {
            round.has_no_room = true;
            return Ok(());
        }
        // The rule may name another sink than when this was planned.
        if planned.to != to && !self.outbox.hand_to(id, to).await? {
            return Ok(());
        }
        let command = Command::resend(&Planned { to: to.to_owned(), ..planned }, now);
        self.commands.append(&event::own_as(id, command.body().into())).await?;
        self.outbox.handed(id).await?;
        *left -= 1;
        round.handed += 1;
        Ok(())
    }

    /// How many more messages a sink can take soon.
    async fn room(&self, sink: &str) -> u64 {
        match self.books.now().of(sink) {
            Some(book) => MOST_PENDING.saturating_sub(self.books.figures(&self.storage, book).await.pending),
            None => 0,
        }
    }
}
