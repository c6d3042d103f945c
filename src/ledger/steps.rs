//! The log of settlement steps: which events a cursor has passed and how their deliveries ended, as runs. A step is
//! written with the cursor that it moves; steps that follow each other share a row until it is full, so that the rows
//! grow with the traffic and not with time. A row goes with the part of the journal that it tells of.

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use super::coder::{Coder, Damaged};
use super::runs::{Ended, Run, TICK};
use super::{Settlement, cursors};
use crate::journal::{Marks, Position};

/// Came later than version 1; a build that does not know it leaves it alone. `replay`: 0 for the sink's own cursor.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS steps (
  id     INTEGER PRIMARY KEY,
  sink   TEXT NOT NULL,
  replay INTEGER NOT NULL,
  shard  INTEGER NOT NULL,
  first  INTEGER NOT NULL,
  next   INTEGER NOT NULL,
  time   INTEGER NOT NULL,
  runs   BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS steps_at ON steps (sink, replay, shard, first);
";

/// A row with so many bytes of runs is full. Four such rows fill a page of SQLite's.
const FULL: usize = 900;

/// A run of more bytes is not noted: most bytes of a row are these and [`FULL`].
const MAX_RUN: usize = 64 << 10;

/// The live cursor, where a replay's number is meant.
pub(super) const LIVE: i64 = 0;

/// A row.
struct Row {
    /// `None` until it is written.
    id: Option<i64>,
    first: u64,
    next: u64,
    /// When it was begun, microseconds.
    time: i64,
    runs: Vec<u8>,
}

const COLUMNS: &str = "id, first, next, time, runs";

impl Row {
    fn read(row: &SqlRow<'_>) -> Result<Self, rusqlite::Error> {
        let place = |n: usize| row.get::<_, i64>(n).map(i64::cast_unsigned);
        Ok(Self { id: row.get(0)?, first: place(1)?, next: place(2)?, time: row.get(3)?, runs: row.get(4)? })
    }

    fn begin(first: u64, time: i64) -> Self {
        Self { id: None, first, next: first, time, runs: Vec::new() }
    }

    fn coder(&self) -> Coder {
        Coder::new(self.first, self.time.div_euclid(TICK))
    }

    /// The coder as it stands behind what the row holds.
    fn coder_at_end(&self) -> Result<Coder, Damaged> {
        let (mut coder, mut bytes) = (self.coder(), self.runs.as_slice());
        while coder.read(&mut bytes)?.is_some() {}
        Ok(coder)
    }

    /// Writes it, where it tells of anything.
    fn write(&self, connection: &Connection, step: &Settlement) -> Result<(), rusqlite::Error> {
        if self.next <= self.first {
            return Ok(());
        }
        let next = self.next.cast_signed();
        if let Some(id) = self.id {
            let sql = "UPDATE steps SET next = ?2, runs = ?3 WHERE id = ?1";
            return connection.prepare_cached(sql)?.execute(params![id, next, self.runs]).map(drop);
        }
        // A row that begins there already tells of a cursor that was set back: it is told anew.
        let sql = "INSERT OR REPLACE INTO steps (sink, replay, shard, first, next, time, runs)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let first = self.first.cast_signed();
        let replay = step.replay.unwrap_or(LIVE);
        connection
            .prepare_cached(sql)?
            .execute(params![step.sink, replay, step.shard, first, next, self.time, self.runs])
            .map(drop)
    }
}

/// Notes what a step passes, at that time (microseconds). Nothing where the step does not say from where, or does not
/// move its cursor.
pub(super) fn append(connection: &Connection, step: &Settlement, now: i64) -> Result<(), rusqlite::Error> {
    let (Some(cursor), Some(from)) = (step.cursor, step.passed.from) else { return Ok(()) };
    let to = step.passed.noted_to(cursor.offset);
    if to <= from {
        return Ok(());
    }
    let (mut row, mut coder) = last(connection, step)?
        .filter(|row| row.next == from && row.runs.len() < FULL)
        .and_then(|row| row.coder_at_end().ok().map(|coder| (row, coder)))
        .unwrap_or_else(|| begin(from, now));
    for run in step.passed.runs() {
        if row.runs.len() >= FULL {
            row.next = run.first;
            row.write(connection, step)?;
            (row, coder) = begin(run.first, now);
        }
        let length = row.runs.len();
        coder.write(run, &mut row.runs);
        if row.runs.len() - length > MAX_RUN {
            row.runs.truncate(length);
            row.next = run.first;
            row.write(connection, step)?;
            (row, coder) = begin(run.end(), now);
        }
    }
    row.next = to;
    row.write(connection, step)
}

fn begin(first: u64, now: i64) -> (Row, Coder) {
    let row = Row::begin(first, now);
    let coder = row.coder();
    (row, coder)
}

fn last(connection: &Connection, step: &Settlement) -> Result<Option<Row>, rusqlite::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM steps WHERE sink = ?1 AND replay = ?2 AND shard = ?3 ORDER BY first DESC LIMIT 1"
    );
    let params = params![step.sink, step.replay.unwrap_or(LIVE), step.shard];
    connection.prepare_cached(&sql)?.query_row(params, Row::read).optional()
}

/// How the deliveries of the event at that position ended when the sink's cursor (or that replay's) passed it; empty
/// where nothing was owed, `None` where nothing is noted.
pub(super) fn find(
    connection: &Connection,
    sink: &str,
    replay: i64,
    at: Position,
) -> Result<Option<Vec<Ended>>, rusqlite::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM steps WHERE sink = ?1 AND replay = ?2 AND shard = ?3 AND first <= ?4
         ORDER BY first DESC LIMIT 1"
    );
    let params = params![sink, replay, at.shard, at.offset.cast_signed()];
    let row = connection.prepare_cached(&sql)?.query_row(params, Row::read).optional()?;
    Ok(row.filter(|row| at.offset < row.next).and_then(|row| ended_at(&row, at.offset).ok()))
}

fn ended_at(row: &Row, place: u64) -> Result<Vec<Ended>, Damaged> {
    let (mut coder, mut bytes) = (row.coder(), row.runs.as_slice());
    while let Some(Run { first, events, ended }) = coder.read(&mut bytes)? {
        if place < first {
            break;
        }
        if place - first < events {
            return Ok(ended);
        }
    }
    Ok(vec![])
}

/// The replays of which something is noted for a sink.
pub(super) fn replays(connection: &Connection, sink: &str) -> Result<Vec<i64>, rusqlite::Error> {
    // From one to the next in the index, past all rows of each.
    let sql = "WITH RECURSIVE one(n) AS (
                 SELECT min(replay) FROM steps WHERE sink = ?1 AND replay > 0 UNION ALL
                 SELECT (SELECT min(replay) FROM steps WHERE sink = ?1 AND replay > n) FROM one WHERE n IS NOT NULL)
               SELECT n FROM one WHERE n IS NOT NULL";
    connection.prepare_cached(sql)?.query_map([sink], |row| row.get(0))?.collect()
}

/// Lets go of rows that tell only of what stood before these marks, at most so many; says how many went.
pub(super) fn trim(connection: &Connection, oldest: &Marks, most: i64) -> Result<i64, rusqlite::Error> {
    let delete = "DELETE FROM steps WHERE id IN (
                    SELECT id FROM steps WHERE sink = ?1 AND replay = ?2 AND shard = ?3 AND first < ?4 AND next <= ?4
                    ORDER BY first LIMIT ?5)";
    let mut delete = connection.prepare_cached(delete)?;
    let mut gone = 0;
    for (sink, _) in cursors::all(connection)? {
        for replay in std::iter::once(LIVE).chain(replays(connection, &sink)?) {
            for mark in oldest.iter() {
                let params = params![sink, replay, mark.shard, mark.offset.cast_signed(), most - gone];
                gone += i64::try_from(delete.execute(params)?).unwrap_or(most);
            }
        }
    }
    Ok(gone)
}
