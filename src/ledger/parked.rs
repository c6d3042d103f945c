//! Parked deliveries as they lie in the ledger: rows of `held` with a `due` time. A sink's worker keeps the schedule in
//! memory and asks for rows when they are due; what became of the deliveries comes back with the worker's settlements.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use super::held::{self, AS_WAS, BY_RULES, DEAD_SIZE, SIZE};
use super::notes::{self, End};
use super::replays::{self, Delta};
use super::{Fate, HeldDelivery, ParkedFate, Spent};
use crate::journal::{Made, Position, Record};

/// Most rows of a lane given at once.
pub const MAX_RUN: usize = 32;
/// No further row is given behind the one that passes this many bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// What a sink has parked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Each lane, and when its first row is due, microseconds.
    pub lanes: Vec<(Arc<str>, i64)>,
    /// Rows.
    pub rows: u64,
    /// Room they take, bytes.
    pub bytes: u64,
}

/// A parked delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The lane it was asked for by.
    pub lane: Arc<str>,
    /// What was kept.
    pub held: HeldDelivery,
    /// What is to be done with it.
    pub how: How,
    /// Room it takes, bytes.
    pub size: u64,
}

/// What is to be done with a parked delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is delivered as it stands.
    AsItStands,
    /// A dead letter: its event is routed anew.
    ByRules,
    /// A dead letter that is delivered as it stands, where it ever was a delivery.
    AsWas,
}

/// Rows of a lane in order; ids of one event's outputs end in numbers.
const IN_LINE: &str = "shard, place, length(id), id";

pub(super) fn schedule(connection: &Connection, sink: &str, ordered: bool) -> Result<Schedule, rusqlite::Error> {
    let lane = if ordered { "key" } else { "id" };
    let sql =
        format!("SELECT {lane}, due, {SIZE} FROM held WHERE sink = ?1 AND due IS NOT NULL ORDER BY {lane}, {IN_LINE}");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([sink])?;
    let mut schedule = Schedule::default();
    while let Some(row) = rows.next()? {
        let lane: String = row.get(0)?;
        schedule.rows += 1;
        schedule.bytes += row.get::<_, i64>(2)?.cast_unsigned();
        if schedule.lanes.last().is_none_or(|(last, _)| **last != *lane) {
            schedule.lanes.push((lane.into(), row.get(1)?));
        }
    }
    Ok(schedule)
}

pub(super) fn first(
    connection: &Connection,
    sink: &str,
    ordered: bool,
    lanes: &[Arc<str>],
) -> Result<Vec<Row>, rusqlite::Error> {
    let sql = format!(
        "SELECT id, shard, place, type, subject, key, code, detail, attempts, accepted, first_try, last_try, event_id,
           source, event_key, event, payload, target, due, nth, spent, how, {SIZE}, answer,
           uncounted
         FROM held WHERE sink = ?1 AND {} = ?2 AND due IS NOT NULL ORDER BY {IN_LINE} LIMIT {MAX_RUN}",
        if ordered { "key" } else { "id" }
    );
    let mut statement = connection.prepare(&sql)?;
    let (mut out, mut bytes) = (Vec::new(), 0);
    for lane in lanes {
        let mut rows = statement.query(params![sink, lane])?;
        let mut is_first = true;
        while let Some(row) = rows.next()? {
            // A lane that was asked for and has rows gets one at least: none would mean that it is empty.
            if bytes > MAX_BYTES && !is_first {
                break;
            }
            is_first = false;
            let row = read(row, lane)?;
            bytes += row.size;
            out.push(row);
        }
    }
    Ok(out)
}

fn read(row: &SqlRow<'_>, lane: &Arc<str>) -> Result<Row, rusqlite::Error> {
    let kind: String = row.get(3)?;
    let times = [row.get(9)?, row.get(10)?, row.get(11)?];
    let record = Record {
        id: row.get(12)?,
        time: times[0],
        source: row.get::<_, String>(13)?.into(),
        kind: kind.as_str().into(),
        key: row.get::<_, String>(14)?.into(),
        fingerprint: None,
        payload: row.get::<_, Vec<u8>>(15)?.into(),
        made: Made::default(),
    };
    let held = HeldDelivery {
        id: row.get(0)?,
        position: Position { shard: row.get(1)?, offset: row.get::<_, i64>(2)?.cast_unsigned() },
        kind,
        subject: row.get(4)?,
        key: row.get(5)?,
        code: row.get(6)?,
        detail: row.get(7)?,
        answer: row.get(23)?,
        attempts: row.get(8)?,
        times,
        event: Arc::new(record),
        payload: row.get::<_, Option<Vec<u8>>>(16)?.map(Into::into),
        target: row.get(17)?,
        due: row.get(18)?,
        spent: Spent { attempts: row.get(19)?, uncounted: row.get(24)?, micros: row.get(20)? },
    };
    let how = match row.get::<_, Option<String>>(21)?.as_deref() {
        Some(BY_RULES) => How::ByRules,
        Some(AS_WAS) => How::AsWas,
        _ => How::AsItStands,
    };
    Ok(Row { lane: Arc::clone(lane), held, how, size: row.get::<_, i64>(22)?.cast_unsigned() })
}

/// Forgets a parked delivery; gives the replay that brought it.
fn forget(connection: &Connection, sink: &str, id: &str) -> Result<Option<i64>, rusqlite::Error> {
    let sql = "DELETE FROM held WHERE sink = ?1 AND id = ?2 AND due IS NOT NULL RETURNING replay";
    let replay = connection.prepare_cached(sql)?.query_row(params![sink, id], |row| row.get(0)).optional()?;
    Ok(replay.flatten())
}

/// Code and detail of what a parked delivery failed with last.
fn last_failure(connection: &Connection, sink: &str, id: &str) -> Result<Option<[String; 2]>, rusqlite::Error> {
    let sql = "SELECT code, detail FROM held WHERE sink = ?1 AND id = ?2";
    let row = |row: &SqlRow<'_>| Ok([row.get(0)?, row.get(1)?]);
    connection.prepare_cached(sql)?.query_row(params![sink, id], row).optional()
}

/// Writes down what a delivery failed with before the rules made it anew: that is told beside how it ends.
fn remember(connection: &Connection, sink: &str, id: &str, failed: &[String; 2]) -> Result<(), rusqlite::Error> {
    let [code, detail] = failed;
    let sql = "UPDATE held SET code = ?3, detail = ?4 WHERE sink = ?1 AND id = ?2";
    connection.prepare_cached(sql)?.execute(params![sink, id, code, detail]).map(drop)
}

/// Keeps these rows, which the rules made of a parked delivery, in its place. They are the same replay's.
fn replace(connection: &Connection, sink: &str, id: &str, by: &[HeldDelivery]) -> Result<(), rusqlite::Error> {
    if by.iter().all(|held| held.id != id) {
        notes::ended(connection, sink, id, End::Filtered(""))?;
    }
    let failed = last_failure(connection, sink, id)?;
    let replay = forget(connection, sink, id)?;
    for held in by {
        held::keep(connection, sink, held)?;
        if let Some(failed) = failed.as_ref().filter(|_| held.id == id && held.code.is_empty()) {
            remember(connection, sink, &held.id, failed)?;
        }
        replays::brought(connection, sink, &held.id, replay)?;
    }
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let dead = count(by.iter().filter(|held| held.due.is_none()).count());
    // The row itself was counted when the replay brought it.
    let accepted = count(by.len()).saturating_sub(1);
    replays::count(connection, replay, sink, Delta { accepted, dead, ..Delta::default() })
}

/// Writes down what became of a parked delivery.
pub(super) fn end(connection: &Connection, sink: &str, parked: &ParkedFate) -> Result<(), rusqlite::Error> {
    let over = |end, delta| {
        notes::ended(connection, sink, &parked.id, end)?;
        replays::count(connection, forget(connection, sink, &parked.id)?, sink, delta)
    };
    let (due, tried) = match &parked.fate {
        Fate::Delivered(call, attempts) => {
            return over(End::Delivered(*call, *attempts), Delta { delivered: 1, ..Delta::default() });
        }
        Fate::Filtered(route) => return over(End::Filtered(route), Delta { filtered: 1, ..Delta::default() }),
        Fate::Skipped(tried) => return over(End::Skipped(tried), Delta { filtered: 1, ..Delta::default() }),
        Fate::Replaced(by) => return replace(connection, sink, &parked.id, by),
        Fate::Again(due, tried) => (Some(due), tried),
        Fate::Dead(tried) => (None, tried),
    };
    let sql = format!(
        "UPDATE held SET due = ?3, how = NULL, attempts = ?4, nth = ?5, spent = ?6, first_try = ?7, last_try = ?8,
           code = ?9, detail = ?10, answer = ?11, uncounted = ?12
         WHERE sink = ?1 AND id = ?2 AND due IS NOT NULL RETURNING {DEAD_SIZE}, replay"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![
        sink,
        parked.id,
        due,
        tried.attempts,
        tried.spent.attempts,
        tried.spent.micros,
        tried.times[0],
        tried.times[1],
        tried.code,
        tried.detail,
        tried.answer,
        tried.spent.uncounted
    ])?;
    let changed: Option<(i64, Option<i64>)> = rows.next()?.map(held::size_and_replay).transpose()?;
    drop(rows);
    if let (Fate::Dead(_), Some((size, replay))) = (&parked.fate, changed) {
        replays::count(connection, replay, sink, Delta { dead: 1, ..Delta::default() })?;
        connection
            .prepare_cached("UPDATE sinks SET dead_bytes = dead_bytes + ?2 WHERE name = ?1")?
            .execute(params![sink, size])?;
    }
    Ok(())
}
