//! Replays under way: which span of the journal is given to which sink once more, and how far that has come. A row goes
//! when its replay has come to its end.

use rusqlite::{Connection, Row, params};

use crate::journal::{Position, Settlement};

/// One sink's share of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Number of the replay.
    pub id: i64,
    /// The sink.
    pub sink: String,
    /// Where it began, where it goes on, and where it ends.
    pub span: [Position; 3],
    /// A pattern over the type; all where unset.
    pub kind: Option<String>,
    /// The subject; all where unset.
    pub subject: Option<String>,
    /// `300/min`.
    pub rate: Option<String>,
    /// Deliveries it came to so far.
    pub fed: u64,
}

/// Came later than version 1; a build that does not know it leaves it alone.
pub(super) const TABLE: &str = "
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
  PRIMARY KEY (id, sink)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// Makes these, under one new number, which is given back; what they say of it is not looked at.
pub(super) fn begin(connection: &mut Connection, replays: &[Replay]) -> Result<i64, rusqlite::Error> {
    let transaction = connection.transaction()?;
    let id = transaction.query_row(
        "INSERT INTO numbers (name, last) VALUES ('replay', 1)
         ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last",
        [],
        |row| row.get(0),
    )?;
    for replay in replays {
        let [first, place, until] = replay.span.map(|position| position.offset.cast_signed());
        transaction.execute(
            "INSERT INTO replays (id, sink, shard, first, place, until, type, subject, rate)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                id,
                replay.sink,
                replay.span[0].shard,
                first,
                place,
                until,
                replay.kind,
                replay.subject,
                replay.rate
            ],
        )?;
    }
    transaction.commit()?;
    Ok(id)
}

/// All under way.
pub(super) fn list(connection: &Connection) -> Result<Vec<Replay>, rusqlite::Error> {
    let row = |row: &Row<'_>| {
        let shard = row.get(2)?;
        let at = |n: usize| Ok::<_, rusqlite::Error>(Position { shard, offset: row.get::<_, i64>(n)?.cast_unsigned() });
        Ok(Replay {
            id: row.get(0)?,
            sink: row.get(1)?,
            span: [at(3)?, at(4)?, at(5)?],
            kind: row.get(6)?,
            subject: row.get(7)?,
            rate: row.get(8)?,
            fed: row.get::<_, i64>(9)?.cast_unsigned(),
        })
    };
    let sql = "SELECT id, sink, shard, first, place, until, type, subject, rate, fed FROM replays ORDER BY id, sink";
    connection.prepare_cached(sql)?.query_map([], row)?.collect()
}

/// Ends a replay where it stands; says for how many sinks.
pub(super) fn cancel(connection: &Connection, id: i64) -> Result<usize, rusqlite::Error> {
    connection.execute("DELETE FROM replays WHERE id = ?1", [id])
}

/// Notes how far one has come.
pub(super) fn moved(connection: &Connection, id: i64, step: &Settlement) -> Result<(), rusqlite::Error> {
    let Some(cursor) = step.cursor else { return Ok(()) };
    connection
        .prepare_cached("UPDATE replays SET place = ?3, fed = fed + ?4 WHERE id = ?1 AND sink = ?2")?
        .execute(params![id, step.sink, cursor.offset.cast_signed(), step.delta.accepted.cast_signed()])?;
    connection
        .prepare_cached("DELETE FROM replays WHERE id = ?1 AND sink = ?2 AND place >= until")?
        .execute(params![id, step.sink])?;
    Ok(())
}
