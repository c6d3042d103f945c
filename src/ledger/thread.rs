//! The thread that owns the ledger's connection. Settlements that were asked for while it was busy share the next
//! transaction.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use sink_api::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::held::{self, Change};
use super::replays::{self, Replay};
use super::{Counted, Dead, HeldBudget, Settlement, SinkState, away, counted, cursors, notes, parked, steps};
use crate::database::Files;
use crate::journal::{Deleted, Marks, Position, TypeCount};

/// Most requests in one transaction.
const BATCH: usize = 256;
/// Most rows of a kind that are let go of at once.
const TRIM: i64 = 500;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, rusqlite::Error>>;

/// What is done on the thread, with a connection that is in no transaction.
pub type Work = Box<dyn FnOnce(&mut Connection) -> Answer + Send>;
/// Answers whoever asked for work.
pub type Answer = Box<dyn FnOnce()>;

/// What the thread can be asked for.
pub enum Request {
    /// To do this, which may change anything.
    Work(Work),
    /// To read a sink's state.
    Load {
        /// Which sink.
        sink: String,
        /// Answer.
        reply: Reply<Option<SinkState>>,
    },
    /// To write steps of sinks, all of them or none.
    Settle {
        /// The steps.
        steps: Vec<Settlement>,
        /// Answer, after the flush.
        reply: Reply<()>,
    },
    /// To keep what stood in a stretch of the journal that is about to be deleted.
    Keep {
        /// The stretch.
        deleted: Deleted,
        /// Answer, after the flush.
        reply: Reply<()>,
    },
    /// To read what was kept of deleted stretches that reach into this one.
    Deleted {
        /// Its first position.
        from: Position,
        /// The position after it.
        to: Position,
        /// Answer.
        reply: Reply<Vec<Deleted>>,
    },
    /// To begin a replay.
    Replay {
        /// Each sink's share.
        replays: Vec<Replay>,
        /// Answer, after the flush: its number.
        reply: Reply<i64>,
    },
    /// To end a replay before its time.
    Cancel {
        /// Its number.
        id: i64,
        /// Answer, after the flush: for how many sinks.
        reply: Reply<usize>,
    },
    /// To pause a sink, or to resume it.
    Pause {
        /// Which sink.
        sink: String,
        /// Whether it is to be paused.
        paused: bool,
        /// Answer, after the flush.
        reply: Reply<()>,
    },
    /// To see whether the ledger's files are still there.
    Look {
        /// Answer: whether they are, now.
        reply: Reply<bool>,
    },
    /// To note which sinks are in the config.
    Present {
        /// All of them.
        sinks: BTreeSet<String>,
        /// Answer, after the flush: the sinks that are not, and their cursors.
        reply: Reply<Vec<(String, Marks)>>,
    },
    /// To read what was deleted while a sink was away.
    Missed {
        /// Which sink.
        sink: String,
        /// Answer.
        reply: Reply<Vec<TypeCount>>,
    },
    /// To book that.
    Book {
        /// Which sink.
        sink: String,
        /// How much of it the sink was owed.
        dropped: u64,
        /// Answer, after the flush.
        reply: Reply<()>,
    },
    /// To let go of what is noted of events that are not in the journal any more.
    Trim {
        /// The oldest that are.
        oldest: Marks,
        /// Answer, after the flush: whether there is more.
        reply: Reply<bool>,
    },
    /// To read what ingress has counted.
    Counted {
        /// Answer.
        reply: Reply<Vec<Counted>>,
    },
    /// To keep what ingress has counted.
    KeepCounted {
        /// What has changed of it.
        counted: Vec<Counted>,
        /// Answer, after the flush.
        reply: Reply<()>,
    },
    /// To change dead letters of one sink.
    Change {
        /// Which sink.
        sink: String,
        /// Which of its letters.
        ids: Vec<String>,
        /// How.
        change: Change,
        /// Answer, after the flush.
        reply: Reply<Dead>,
    },
}

/// Serves until every sender is gone.
pub(super) fn serve(
    mut connection: Connection,
    mut files: Files,
    mut inbox: mpsc::Receiver<Request>,
    budget: &HeldBudget,
) {
    let mut requests = Vec::with_capacity(BATCH);
    note(&connection, budget);
    while inbox.blocking_recv_many(&mut requests, BATCH) > 0 {
        let (mut asked, mut changes) = (Vec::new(), Vec::new());
        for request in requests.drain(..) {
            match request {
                Request::Work(work) => {
                    let answer = work(&mut connection);
                    note(&connection, budget);
                    answer();
                }
                // An asker that is gone waits for no answer.
                Request::Load { sink, reply } => drop(reply.send(cursors::load(&connection, &sink))),
                Request::Settle { steps, reply } => asked.push((steps, reply)),
                Request::Change { sink, ids, change, reply } => changes.push((sink, ids, change, reply)),
                Request::Replay { replays, reply } => drop(reply.send(replays::begin(&mut connection, &replays))),
                Request::Cancel { id, reply } => drop(reply.send(replays::cancel(&connection, id))),
                Request::Pause { sink, paused, reply } => drop(reply.send(pause(&connection, &sink, paused))),
                Request::Present { sinks, reply } => drop(reply.send(away::present(&mut connection, &sinks))),
                Request::Missed { sink, reply } => drop(reply.send(away::missed(&connection, &sink))),
                Request::Book { sink, dropped, reply } => drop(reply.send(away::book(&mut connection, &sink, dropped))),
                Request::Keep { deleted, reply } => drop(reply.send(keep(&mut connection, &deleted))),
                Request::Trim { oldest, reply } => drop(reply.send(trim(&mut connection, &oldest))),
                Request::Look { reply } => drop(reply.send(Ok(files.look(&mut connection)))),
                Request::Counted { reply } => drop(reply.send(counted::all(&connection))),
                Request::KeepCounted { counted, reply } => {
                    let now = Timestamp::now().as_microsecond();
                    drop(reply.send(counted::keep(&mut connection, &counted, now)));
                }
                Request::Deleted { from, to, reply } => drop(reply.send(kept(&connection, from, to))),
            }
        }
        if !asked.is_empty() {
            settle_all(&mut connection, asked, budget);
        }
        for (sink, ids, change, reply) in changes {
            let changed = held::change(&mut connection, &sink, &ids, change);
            note(&connection, budget);
            drop(reply.send(changed));
        }
    }
}

/// Notes how much room dead letters take now. Where that cannot be read, the budget keeps what it knew.
fn note(connection: &Connection, budget: &HeldBudget) {
    if let Ok(taken) = held::taken(connection) {
        budget.set(taken);
    }
}

fn settle_all(connection: &mut Connection, asked: Vec<(Vec<Settlement>, Reply<()>)>, budget: &HeldBudget) {
    let together = asked.len() > 1;
    if together && settle(connection, asked.iter().flat_map(|(steps, _)| steps)).is_ok() {
        note_buried(connection, asked.iter().flat_map(|(steps, _)| steps), budget);
        asked.into_iter().for_each(|(_, reply)| drop(reply.send(Ok(()))));
        return;
    }
    // There is one alone, or one of them made the transaction fail: each is written by itself.
    for (steps, reply) in asked {
        let settled = settle(connection, steps.iter());
        note_buried(connection, steps.iter(), budget);
        drop(reply.send(settled));
    }
}

/// Called before those who settled get their answers, as what they do next depends on the room that is left.
fn note_buried<'s>(connection: &Connection, mut steps: impl Iterator<Item = &'s Settlement>, budget: &HeldBudget) {
    if steps.any(Settlement::buries) {
        note(connection, budget);
    }
}

fn pause(connection: &Connection, sink: &str, paused: bool) -> Result<(), rusqlite::Error> {
    let changed = connection.execute("UPDATE sinks SET paused = ?2 WHERE name = ?1", params![sink, paused])?;
    if changed == 0 { Err(rusqlite::Error::QueryReturnedNoRows) } else { Ok(()) }
}

fn settle<'s>(connection: &mut Connection, steps: impl Iterator<Item = &'s Settlement>) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    write(&transaction, steps, Timestamp::now().as_microsecond())?;
    transaction.commit()
}

/// Writes steps, at that time (microseconds), as a part of a transaction.
pub(super) fn write<'s>(
    connection: &Connection,
    steps: impl Iterator<Item = &'s Settlement>,
    now: i64,
) -> Result<(), rusqlite::Error> {
    for step in steps {
        // The cursor comes first, so that the sink has a row by the time its deliveries are held.
        if let Some(id) = step.replay {
            replays::passed(connection, id, step)?;
        }
        cursors::step(connection, step)?;
        steps::append(connection, step, now)?;
        for noted in &step.noted {
            notes::note(connection, &step.sink, noted)?;
        }
        for held in &step.held {
            held::keep(connection, &step.sink, held)?;
            replays::brought(connection, &step.sink, &held.id, step.replay)?;
        }
        for fate in &step.fates {
            parked::end(connection, &step.sink, fate)?;
        }
    }
    Ok(())
}

/// Lets go of a part of what is noted; says whether there is more.
fn trim(connection: &mut Connection, oldest: &Marks) -> Result<bool, rusqlite::Error> {
    let transaction = connection.transaction()?;
    let gone = [steps::trim(&transaction, oldest, TRIM)?, notes::trim(&transaction, oldest, TRIM)?];
    transaction.commit()?;
    Ok(gone.into_iter().any(|gone| gone >= TRIM))
}

/// Keeps a stretch: as counts for sinks that are away, as it is for the others. Lets go of the stretches that every
/// cursor is past.
fn keep(connection: &mut Connection, deleted: &Deleted) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    let Deleted { from, to, tally } = deleted;
    transaction.execute(
        "INSERT OR REPLACE INTO deleted (shard, first, next, tally) VALUES (?1, ?2, ?3, ?4)",
        params![from.shard, from.offset.cast_signed(), to.offset.cast_signed(), tally],
    )?;
    away::pass(&transaction, *to, |cursor| kept(&transaction, cursor, *to))?;
    let passed = format!(
        "DELETE FROM deleted WHERE shard = ?1 AND next <= (SELECT min(place) FROM {} WHERE shard = ?1)",
        cursors::ALL
    );
    transaction.execute(&passed, [from.shard])?;
    transaction.commit()
}

fn kept(connection: &Connection, from: Position, to: Position) -> Result<Vec<Deleted>, rusqlite::Error> {
    let sql = "SELECT first, next, tally FROM deleted WHERE shard = ?1 AND next > ?2 AND first < ?3 ORDER BY first";
    let at = |offset: i64| Position { shard: from.shard, offset: offset.cast_unsigned() };
    connection
        .prepare_cached(sql)?
        .query_map(params![from.shard, from.offset.cast_signed(), to.offset.cast_signed()], |row| {
            Ok(Deleted { from: at(row.get(0)?), to: at(row.get(1)?), tally: row.get(2)? })
        })?
        .collect()
}
