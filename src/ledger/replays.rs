//! Replays under way: which span of the journal is given to which sink once more, and how far that has come. A row for
//! each shard; they go when the replay has come to its end in all of them.

use rusqlite::{Connection, Row, params};

use super::{Counters, Settlement};
use crate::journal::{Marks, Position};

/// One sink's share of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Number of the replay.
    pub id: i64,
    /// The sink.
    pub sink: String,
    /// Where it began.
    pub first: Marks,
    /// Where it goes on.
    pub at: Marks,
    /// Where it ends; names every shard that it reads.
    pub until: Marks,
    /// A pattern over the type; all where unset.
    pub kind: Option<String>,
    /// The subject; all where unset.
    pub subject: Option<String>,
    /// `300/min`.
    pub rate: Option<String>,
    /// Only what the sink has not.
    pub only_missing: bool,
    /// Deliveries it came to so far.
    pub deliveries: u64,
}

/// One sink's share of a replay that is under way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnderWay {
    /// Where it stands.
    pub replay: Replay,
    /// How far it has come, of 1, where its places tell that; a journal may have gaps.
    pub done: Option<f64>,
}

/// What became of one sink's share of a replay so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayCounts {
    /// The sink.
    pub sink: String,
    /// What it came to, and what became of that.
    pub counts: Counters,
}

/// By how much what became of a replay changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delta {
    pub accepted: i64,
    pub delivered: i64,
    pub dead: i64,
    pub filtered: i64,
    pub dropped: i64,
}

/// Of so many replays is known what became of them.
const REMEMBERED: i64 = 100;

/// Came later than version 1; a build that does not know it leaves it alone.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS replays (
  id      INTEGER NOT NULL,
  sink    TEXT NOT NULL,
  shard   INTEGER NOT NULL,
  first   INTEGER NOT NULL,
  place   INTEGER NOT NULL,
  until   INTEGER NOT NULL,
  type    TEXT,
  subject TEXT,
  rate    TEXT,
  fed     INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (id, sink, shard)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replay_counts (
  id        INTEGER NOT NULL,
  sink      TEXT NOT NULL,
  accepted  INTEGER NOT NULL DEFAULT 0,
  delivered INTEGER NOT NULL DEFAULT 0,
  dead      INTEGER NOT NULL DEFAULT 0,
  filtered  INTEGER NOT NULL DEFAULT 0,
  dropped   INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (id, sink)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// Makes the tables, or makes them anew where an earlier build had one row for all shards.
pub(super) fn complete(connection: &Connection) -> Result<(), rusqlite::Error> {
    let old = "SELECT count(*) FROM pragma_table_info('replays') WHERE name = 'shard' AND pk = 0";
    if connection.query_row(old, [], |row| row.get::<_, i64>(0))? == 0 {
        connection.execute_batch(TABLE)?;
    } else {
        connection.execute_batch("ALTER TABLE replays RENAME TO replays_before;")?;
        connection.execute_batch(TABLE)?;
        connection.execute_batch(
            "INSERT INTO replays SELECT id, sink, shard, first, place, until, type, subject, rate, fed
               FROM replays_before;
             DROP TABLE replays_before;",
        )?;
    }
    let is_there = "SELECT count(*) FROM pragma_table_info('replays') WHERE name = 'only_missing'";
    if connection.query_row(is_there, [], |row| row.get::<_, i64>(0))? == 0 {
        connection.execute_batch("ALTER TABLE replays ADD COLUMN only_missing INTEGER NOT NULL DEFAULT 0;")?;
    }
    Ok(())
}

/// Makes these, under one new number, which is given back; what they say of it is not looked at.
pub(super) fn begin(connection: &mut Connection, replays: &[Replay]) -> Result<i64, rusqlite::Error> {
    let transaction = connection.transaction()?;
    let id = transaction.query_row(
        "INSERT INTO numbers (name, last) VALUES ('replay', 1)
         ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last",
        [],
        |row| row.get(0),
    )?;
    transaction.execute("DELETE FROM replay_counts WHERE id <= ?1 - ?2", [id, REMEMBERED])?;
    for replay in replays {
        transaction.execute("INSERT INTO replay_counts (id, sink) VALUES (?1, ?2)", params![id, replay.sink])?;
        for until in replay.until.iter() {
            let shard = until.shard;
            let span = [replay.first.at(shard), replay.at.at(shard), until];
            let [first, place, until] = span.map(|position| position.offset.cast_signed());
            let Replay { sink, kind, subject, rate, only_missing, .. } = replay;
            transaction.execute(
                "INSERT INTO replays (id, sink, shard, first, place, until, type, subject, rate, only_missing)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![id, sink, shard, first, place, until, kind, subject, rate, only_missing],
            )?;
        }
    }
    transaction.commit()?;
    Ok(id)
}

/// All under way.
pub(super) fn list(connection: &Connection) -> Result<Vec<Replay>, rusqlite::Error> {
    let sql = "SELECT id, sink, shard, first, place, until, type, subject, rate, fed, only_missing
               FROM replays ORDER BY id, sink, shard";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut replays: Vec<Replay> = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, sink): (i64, String) = (row.get(0)?, row.get(1)?);
        if replays.last().is_none_or(|last| (last.id, &last.sink) != (id, &sink)) {
            let (kind, subject, rate) = (row.get(6)?, row.get(7)?, row.get(8)?);
            let only_missing = row.get(10)?;
            replays.push(Replay { id, sink, kind, subject, rate, only_missing, ..Replay::default() });
        }
        if let Some(replay) = replays.last_mut() {
            add_shard(replay, row)?;
        }
    }
    Ok(replays)
}

fn add_shard(replay: &mut Replay, row: &Row<'_>) -> Result<(), rusqlite::Error> {
    let shard = row.get(2)?;
    let at = |n: usize| Ok::<_, rusqlite::Error>(Position { shard, offset: row.get::<_, i64>(n)?.cast_unsigned() });
    replay.first.set(at(3)?);
    replay.at.set(at(4)?);
    replay.until.set(at(5)?);
    replay.deliveries += row.get::<_, i64>(9)?.cast_unsigned();
    Ok(())
}

/// Ends a replay where it stands; says for how many sinks.
pub(super) fn cancel(connection: &Connection, id: i64) -> Result<usize, rusqlite::Error> {
    let sinks = "SELECT count(DISTINCT sink) FROM replays WHERE id = ?1";
    let sinks = connection.query_row(sinks, [id], |row| row.get::<_, i64>(0))?;
    connection.execute("DELETE FROM replays WHERE id = ?1", [id])?;
    Ok(usize::try_from(sinks).unwrap_or_default())
}

/// Notes of a held delivery which replay brought it.
pub(super) fn brought(
    connection: &Connection,
    sink: &str,
    id: &str,
    replay: Option<i64>,
) -> Result<(), rusqlite::Error> {
    let Some(replay) = replay else { return Ok(()) };
    let sql = "UPDATE held SET replay = ?3 WHERE sink = ?1 AND id = ?2";
    connection.prepare_cached(sql)?.execute(params![sink, id, replay]).map(drop)
}

/// Notes how far one has come in a shard.
pub(super) fn passed(connection: &Connection, id: i64, step: &Settlement) -> Result<(), rusqlite::Error> {
    let Some(cursor) = step.cursor else { return Ok(()) };
    let Counters { accepted, dead, filtered, .. } = step.delta;
    let [accepted, dead, filtered] = [accepted, dead, filtered].map(u64::cast_signed);
    connection
        .prepare_cached(
            "UPDATE replay_counts SET accepted = accepted + ?3, dead = dead + ?4, filtered = filtered + ?5
             WHERE id = ?1 AND sink = ?2",
        )?
        .execute(params![id, step.sink, accepted, dead, filtered])?;
    let place = cursor.offset.cast_signed();
    connection
        .prepare_cached("UPDATE replays SET place = ?4, fed = fed + ?5 WHERE id = ?1 AND sink = ?2 AND shard = ?3")?
        .execute(params![id, step.sink, cursor.shard, place, step.delta.accepted.cast_signed()])?;
    connection
        .prepare_cached(
            "DELETE FROM replays WHERE id = ?1 AND sink = ?2
               AND NOT EXISTS (SELECT 1 FROM replays WHERE id = ?1 AND sink = ?2 AND place < until)",
        )?
        .execute(params![id, step.sink])?;
    Ok(())
}

/// Notes what became of a delivery that a replay brought; nothing, where none did.
pub(super) fn count(
    connection: &Connection,
    replay: Option<i64>,
    sink: &str,
    by: Delta,
) -> Result<(), rusqlite::Error> {
    let Some(id) = replay else { return Ok(()) };
    connection
        .prepare_cached(
            "UPDATE replay_counts SET delivered = delivered + ?3, dead = dead + ?4, filtered = filtered + ?5,
               dropped = dropped + ?6, accepted = accepted + ?7 WHERE id = ?1 AND sink = ?2",
        )?
        .execute(params![id, sink, by.delivered, by.dead, by.filtered, by.dropped, by.accepted])
        .map(drop)
}

/// What became of a replay so far.
pub(super) fn counts(connection: &Connection, id: i64) -> Result<Vec<ReplayCounts>, rusqlite::Error> {
    let sql =
        "SELECT sink, accepted, delivered, dead, filtered, dropped FROM replay_counts WHERE id = ?1 ORDER BY sink";
    let row = |row: &Row<'_>| {
        let count = |n: usize| row.get::<_, i64>(n).map(|count| count.max(0).cast_unsigned());
        let [accepted, delivered, dead, filtered, dropped] = [count(1)?, count(2)?, count(3)?, count(4)?, count(5)?];
        Ok(ReplayCounts { sink: row.get(0)?, counts: Counters { accepted, delivered, dead, filtered, dropped } })
    };
    connection.prepare_cached(sql)?.query_map([id], row)?.collect()
}
