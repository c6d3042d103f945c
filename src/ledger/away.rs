//! Sinks that are not in the config: their cursors stay, but hold nothing. What the journal deletes meanwhile is
//! counted for each by source and type, and its cursor moved on; when it is back, the rules say how much of that it was
//! owed. So what is kept for a sink that never comes back does not grow.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::cursors;
use crate::journal::{Deleted, Marks, Position, TypeCount};

/// Most types told apart for a sink; further ones are counted under an empty one.
const MAX_TYPES: i64 = 4096;

/// Came later than version 1; a build that does not know it leaves it alone.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS missed (
  sink   TEXT NOT NULL,
  source TEXT NOT NULL,
  type   TEXT NOT NULL,
  events INTEGER NOT NULL,
  PRIMARY KEY (sink, source, type)
) STRICT, WITHOUT ROWID;
";

/// Notes that these sinks are in the config and no others; gives the others, and where they stand.
pub(super) fn present(
    connection: &mut Connection,
    sinks: &BTreeSet<String>,
) -> Result<Vec<(String, Marks)>, rusqlite::Error> {
    let transaction = connection.transaction()?;
    let all = cursors::all(&transaction)?;
    for (name, _) in &all {
        transaction.execute("UPDATE sinks SET away = ?2 WHERE name = ?1", params![name, !sinks.contains(name)])?;
    }
    transaction.commit()?;
    Ok(all.into_iter().filter(|(name, _)| !sinks.contains(name)).collect())
}

/// What was deleted while a sink was away.
pub(super) fn missed(connection: &Connection, sink: &str) -> Result<Vec<TypeCount>, rusqlite::Error> {
    let row = |row: &rusqlite::Row<'_>| {
        let (source, kind): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(TypeCount { source: source.into(), kind: kind.into(), events: row.get::<_, i64>(2)?.cast_unsigned() })
    };
    let sql = "SELECT source, type, events FROM missed WHERE sink = ?1 ORDER BY source, type";
    connection.prepare_cached(sql)?.query_map([sink], row)?.collect()
}

/// Books, for a sink that is back, so many deliveries of what it missed as dropped.
pub(super) fn book(connection: &mut Connection, sink: &str, dropped: u64) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    transaction.execute(
        "UPDATE sinks SET accepted = accepted + ?2, dropped = dropped + ?2 WHERE name = ?1",
        params![sink, dropped.cast_signed()],
    )?;
    transaction.execute("DELETE FROM missed WHERE sink = ?1", [sink])?;
    transaction.commit()
}

/// Moves the cursors of sinks that are away over what is deleted up to `to`, and counts that for them.
pub(super) fn pass(
    connection: &Connection,
    to: Position,
    kept: impl Fn(Position) -> Result<Vec<Deleted>, rusqlite::Error>,
) -> Result<(), rusqlite::Error> {
    let behind: Vec<(String, Position)> = connection
        .prepare_cached(&format!(
            "SELECT sink, c.place FROM {} AS c JOIN sinks ON name = sink
             WHERE away <> 0 AND c.shard = ?1 AND c.place < ?2",
            cursors::ALL
        ))?
        .query_map(params![to.shard, to.offset.cast_signed()], |row| {
            Ok((row.get(0)?, Position { shard: to.shard, offset: row.get::<_, i64>(1)?.cast_unsigned() }))
        })?
        .collect::<Result<_, _>>()?;
    for (sink, cursor) in behind {
        for stretch in kept(cursor)? {
            for TypeCount { source, kind, events } in stretch.counts(cursor, to) {
                add(connection, &sink, (&source, &kind), events)?;
            }
        }
        cursors::move_to(connection, &sink, to)?;
    }
    Ok(())
}

fn add(connection: &Connection, sink: &str, (source, kind): (&str, &str), events: u64) -> Result<(), rusqlite::Error> {
    let more = "UPDATE missed SET events = events + ?4 WHERE sink = ?1 AND source = ?2 AND type = ?3";
    let events = events.cast_signed();
    if connection.prepare_cached(more)?.execute(params![sink, source, kind, events])? > 0 {
        return Ok(());
    }
    let types: i64 = connection
        .prepare_cached("SELECT count(*) FROM missed WHERE sink = ?1")?
        .query_row([sink], |row| row.get(0))?;
    let kind = if types < MAX_TYPES { kind } else { "" };
    connection
        .prepare_cached(
            "INSERT INTO missed (sink, source, type, events) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (sink, source, type) DO UPDATE SET events = events + ?4",
        )?
        .execute(params![sink, source, kind, events])
        .map(drop)
}
