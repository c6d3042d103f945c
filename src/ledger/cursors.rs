//! How far each sink has come: a cursor in every shard. The one it began with stands beside its totals, those of
//! further shards in a table of their own, which is empty where the journal has one shard.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Counters, Settlement, SinkState};
use crate::journal::{Marks, Position};

/// Came later than version 1; a build that does not know it leaves it alone.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS cursors (
  sink  TEXT NOT NULL,
  shard INTEGER NOT NULL,
  place INTEGER NOT NULL,
  PRIMARY KEY (sink, shard)
) STRICT, WITHOUT ROWID;
";

/// The cursors of all sinks: `sink`, `shard`, `place`.
pub(super) const ALL: &str =
    "(SELECT name AS sink, shard, place FROM sinks UNION ALL SELECT sink, shard, place FROM cursors)";

/// Where a sink stands.
pub(super) fn load(connection: &Connection, sink: &str) -> Result<Option<SinkState>, rusqlite::Error> {
    let sql = "SELECT shard, place, accepted, delivered, dead, filtered, dropped FROM sinks WHERE name = ?1";
    let row = |row: &Row<'_>| {
        let count = |n: usize| row.get::<_, i64>(n).map(i64::cast_unsigned);
        let [accepted, delivered, dead, filtered, dropped] = [count(2)?, count(3)?, count(4)?, count(5)?, count(6)?];
        let counters = Counters { accepted, delivered, dead, filtered, dropped };
        Ok(SinkState { cursors: Marks::from(position(row)?), counters })
    };
    let Some(mut state) = connection.prepare_cached(sql)?.query_row([sink], row).optional()? else { return Ok(None) };
    let mut further = connection.prepare_cached("SELECT shard, place FROM cursors WHERE sink = ?1")?;
    for cursor in further.query_map([sink], position)? {
        state.cursors.set(cursor?);
    }
    Ok(Some(state))
}

/// Columns `shard` and `place`, which come first.
fn position(row: &Row<'_>) -> Result<Position, rusqlite::Error> {
    Ok(Position { shard: row.get(0)?, offset: row.get::<_, i64>(1)?.cast_unsigned() })
}

/// The cursors of every sink.
pub(super) fn all(connection: &Connection) -> Result<Vec<(String, Marks)>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(&format!("SELECT shard, place, sink FROM {ALL} ORDER BY sink"))?;
    let mut rows = statement.query([])?;
    let mut all: Vec<(String, Marks)> = Vec::new();
    while let Some(row) = rows.next()? {
        let (sink, cursor): (String, Position) = (row.get(2)?, position(row)?);
        match all.last_mut() {
            Some((last, cursors)) if *last == sink => cursors.set(cursor),
            _ => all.push((sink, cursor.into())),
        }
    }
    Ok(all)
}

/// Moves one cursor of a sink that has begun.
pub(super) fn move_to(connection: &Connection, sink: &str, to: Position) -> Result<(), rusqlite::Error> {
    let place = to.offset.cast_signed();
    let first = "UPDATE sinks SET place = ?3 WHERE name = ?1 AND shard = ?2";
    if connection.prepare_cached(first)?.execute(params![sink, to.shard, place])? > 0 {
        return Ok(());
    }
    set_further(connection, sink, to)
}

fn set_further(connection: &Connection, sink: &str, to: Position) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO cursors (sink, shard, place) VALUES (?1, ?2, ?3)
             ON CONFLICT (sink, shard) DO UPDATE SET place = excluded.place",
        )?
        .execute(params![sink, to.shard, to.offset.cast_signed()])
        .map(drop)
}

/// Takes a step of a sink itself: its cursor in one shard, where it moves, and what it counted on the way.
pub(super) fn step(connection: &Connection, step: &Settlement) -> Result<(), rusqlite::Error> {
    let d = &step.delta;
    let counts = [d.accepted, d.delivered, d.dead, d.filtered, d.dropped].map(u64::cast_signed);
    let [accepted, delivered, dead, filtered, dropped] = counts;
    if let (Some(cursor), None) = (step.cursor, step.replay) {
        let place = cursor.offset.cast_signed();
        let first: u32 = connection
            .prepare_cached(
                "INSERT INTO sinks (name, shard, place, accepted, delivered, dead, filtered, dropped)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (name) DO UPDATE SET place = iif(shard = ?2, ?3, place), accepted = accepted + ?4,
                   delivered = delivered + ?5, dead = dead + ?6, filtered = filtered + ?7, dropped = dropped + ?8
                 RETURNING shard",
            )?
            .query_row(
                params![step.sink, cursor.shard, place, accepted, delivered, dead, filtered, dropped],
                |row| row.get(0),
            )?;
        if first != cursor.shard {
            set_further(connection, &step.sink, cursor)?;
        }
    } else if *d != Counters::default() {
        connection
            .prepare_cached(
                "UPDATE sinks SET accepted = accepted + ?2, delivered = delivered + ?3, dead = dead + ?4,
                   filtered = filtered + ?5, dropped = dropped + ?6 WHERE name = ?1",
            )?
            .execute(params![step.sink, accepted, delivered, dead, filtered, dropped])?;
    }
    Ok(())
}
