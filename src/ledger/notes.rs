//! Single rows for deliveries that did not go straight: delivered after failures, not needed any more, filtered or
//! dropped after they were held. What is held is not among them, as the row that holds it says it all. They are kept
//! until the journal has deleted their event; of each kind and sink, and apart from these of all its replays, the
//! newest.
//!
//! Of what was held and has no row any more it is taken that it arrived. So what did not arrive is kept longer than
//! what did, the older part of it without its details; and where even such rows were let go, `gone` says up to which
//! place one may be missing.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sink_api::{Reason, Timestamp};

use super::runs::{self, Call};
use super::settlement::Try;
use super::steps::LIVE;
use crate::journal::{Marks, Position};

/// Came later than version 1; a build that does not know it leaves it alone. `suffix`: the delivery's id behind the
/// event's. `took` in microseconds.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS fates (
  sink     TEXT NOT NULL,
  kind     INTEGER NOT NULL,
  nth      INTEGER NOT NULL,
  shard    INTEGER NOT NULL,
  place    INTEGER NOT NULL,
  suffix   TEXT NOT NULL,
  replay   INTEGER NOT NULL,
  time     INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  took     INTEGER,
  code     TEXT NOT NULL,
  detail   TEXT NOT NULL,
  route    TEXT NOT NULL,
  PRIMARY KEY (sink, kind, nth)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS fates_at ON fates (shard, place);
CREATE TABLE IF NOT EXISTS fates_gone (
  sink   TEXT NOT NULL,
  replay INTEGER NOT NULL,
  shard  INTEGER NOT NULL,
  place  INTEGER NOT NULL,
  PRIMARY KEY (sink, replay, shard)
) STRICT, WITHOUT ROWID;
";

/// Most rows of a kind for a sink, and for all its replays, that have their details.
const MOST: i64 = 50_000;
/// Most rows at all of what did not arrive.
const MOST_IN_VAIN: i64 = 500_000;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It arrived.
    Delivered,
    /// A route left nothing of it, or the sink said that it is not needed any more.
    Filtered,
    /// It is not tried any more, and not kept.
    Dropped,
}

const KINDS: [Kind; 3] = [Kind::Delivered, Kind::Filtered, Kind::Dropped];

impl Kind {
    /// Its number in the table: the rows of replays have their own.
    fn number(self, replay: i64) -> i64 {
        let number = match self {
            Self::Delivered => 0,
            Self::Filtered => 1,
            Self::Dropped => 2,
        };
        if replay == LIVE { number } else { number + OF_REPLAYS }
    }
}

/// How much higher a kind's number is for replays.
const OF_REPLAYS: i64 = 3;

/// A delivery that was never held and did not go straight: it arrived after it had failed, or was not needed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Where its event stands.
    pub position: Position,
    /// Its id behind the event's.
    pub suffix: Box<str>,
    /// The call that brought it there, or said that it is not needed.
    pub call: Call,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed last, or is not needed.
    pub why: Reason,
    /// Whether it was not needed any more.
    pub is_skipped: bool,
}

/// How a delivery ended that was held.
#[derive(Clone, Copy, Debug)]
pub(super) enum End<'e> {
    /// It arrived, with that call, the last of so many.
    Delivered(Call, u32),
    /// That route left nothing of it.
    Filtered(&'e str),
    /// The sink said that it is not needed any more.
    Skipped(&'e Try),
    /// The dead letter was dropped. What is not dead stays.
    Dropped,
    /// A replay came to the same delivery, which takes its place.
    Replaced,
}

/// A row that was found.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub sink: String,
    pub kind: Kind,
    pub suffix: String,
    pub replay: i64,
    pub time: i64,
    pub attempts: u32,
    pub took: Option<i64>,
    pub code: String,
    pub detail: String,
    pub route: String,
}

/// The number of a sink's next row of a kind.
const NEXT: &str = "(SELECT ifnull(max(nth), 0) + 1 FROM fates WHERE sink = ?1 AND kind = ?2)";

/// Keeps a row for a delivery that was never held.
pub(super) fn note(connection: &Connection, sink: &str, noted: &Noted) -> Result<(), rusqlite::Error> {
    let Noted { position, suffix, call, attempts, why: Reason { code, detail, .. }, is_skipped } = noted;
    let (kind, took) = if *is_skipped { (Kind::Filtered, None) } else { (Kind::Delivered, Some(micros(*call))) };
    let sql = format!(
        "INSERT INTO fates (sink, kind, nth, shard, place, suffix, replay, time, attempts, took, code, detail, route)
         VALUES (?1, ?2, {NEXT}, ?3, ?4, ?5, {LIVE}, ?6, ?7, ?8, ?9, ?10, '') RETURNING nth"
    );
    let (number, place) = (kind.number(LIVE), position.offset.cast_signed());
    let params = params![sink, number, position.shard, place, suffix, call.time(), attempts, took, code, detail];
    let nth: i64 = connection.prepare_cached(&sql)?.query_row(params, |row| row.get(0))?;
    bound(connection, sink, (kind, LIVE), nth)
}

/// Keeps a row for a delivery that is held still and will not be any more; nothing where it is not held.
pub(super) fn ended(connection: &Connection, sink: &str, id: &str, end: End<'_>) -> Result<(), rusqlite::Error> {
    let of_replay = "SELECT ifnull(replay, 0) FROM held WHERE sink = ?1 AND id = ?2";
    let replay = connection.prepare_cached(of_replay)?.query_row(params![sink, id], |row| row.get(0)).optional()?;
    let Some(replay) = replay else { return Ok(()) };
    let now = Timestamp::now().as_microsecond();
    let kind = match end {
        End::Delivered(..) => Kind::Delivered,
        End::Filtered(_) | End::Skipped(_) => Kind::Filtered,
        End::Dropped | End::Replaced => Kind::Dropped,
    };
    // Code and detail: `None` leaves what the row says of the last failure, with these words before it.
    let (why, words) = match end {
        // What arrived at the first try, or is as if it had never been tried, has not failed: it was put off at most.
        End::Delivered(_, 1) | End::Filtered(_) => (Some(["", ""]), ""),
        End::Skipped(tried) => (Some([tried.code.as_str(), &tried.detail]), ""),
        End::Delivered(..) => (None, ""),
        End::Dropped => (None, "the dead letter was dropped"),
        End::Replaced => (None, "a replay took its place"),
    };
    let (time, attempts, took, route) = match end {
        End::Delivered(call, attempts) => (call.time(), Some(attempts), Some(micros(call)), ""),
        End::Filtered(route) => (now, Some(0), None, route),
        End::Skipped(tried) => (now, Some(tried.attempts), None, ""),
        End::Dropped | End::Replaced => (now, None, None, ""),
    };
    let only = if matches!(end, End::Dropped) { "AND due IS NULL" } else { "" };
    let sql = format!(
        "INSERT INTO fates (sink, kind, nth, shard, place, suffix, replay, time, attempts, took, code, detail, route)
         SELECT sink, ?2, {NEXT}, shard, place, substr(id, {BEHIND}), ?9, ?4, ifnull(?5, attempts),
           ?6, ifnull(?10, code), ifnull(?11, ?7 || iif(?7 = '' OR detail = '', '', ': ') || detail), ?8
         FROM held WHERE sink = ?1 AND id = ?3 {only} RETURNING nth"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let (number, [code, detail]) = (kind.number(replay), why.map_or([None; 2], |why| why.map(Some)));
    let params = params![sink, number, id, time, attempts, took, words, route, replay, code, detail];
    let nth: Option<i64> = statement.query_row(params, |row| row.get(0)).optional()?;
    nth.map_or(Ok(()), |nth| bound(connection, sink, (kind, replay), nth))
}

/// Where a suffix begins in an id, for SQL, which counts from 1.
const BEHIND: usize = runs::EVENT_ID + 1;

fn micros(call: Call) -> i64 {
    i64::try_from(call.took().as_micros()).unwrap_or(i64::MAX)
}

/// Lets go of the sink's oldest rows of that kind: of their details first, where they say that something did not
/// arrive.
fn bound(connection: &Connection, sink: &str, (kind, replay): (Kind, i64), nth: i64) -> Result<(), rusqlite::Error> {
    if nth <= MOST {
        return Ok(());
    }
    let number = kind.number(replay);
    if kind == Kind::Delivered {
        let sql = "DELETE FROM fates WHERE sink = ?1 AND kind = ?2 AND nth <= ?3";
        return connection.prepare_cached(sql)?.execute(params![sink, number, nth - MOST]).map(drop);
    }
    let sql = "UPDATE fates SET detail = '' WHERE sink = ?1 AND kind = ?2 AND nth = ?3";
    connection.prepare_cached(sql)?.execute(params![sink, number, nth - MOST])?;
    if nth <= MOST_IN_VAIN {
        return Ok(());
    }
    let sql = "DELETE FROM fates WHERE sink = ?1 AND kind = ?2 AND nth <= ?3 RETURNING shard, place";
    let mut statement = connection.prepare_cached(sql)?;
    let place = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let gone = statement.query_map(params![sink, number, nth - MOST_IN_VAIN], place)?;
    let gone: Vec<(u32, i64)> = gone.collect::<Result<_, _>>()?;
    let sql = "INSERT INTO fates_gone (sink, replay, shard, place) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (sink, replay, shard) DO UPDATE SET place = max(place, excluded.place)";
    let mut statement = connection.prepare_cached(sql)?;
    gone.iter().try_for_each(|(shard, place)| statement.execute(params![sink, replay != LIVE, shard, place]).map(drop))
}

/// Whether a row may be missing that says of a delivery of the event at that position, live or of a replay, that it did
/// not arrive.
pub(super) fn may_be_gone(
    connection: &Connection,
    sink: &str,
    replay: Option<i64>,
    at: Position,
) -> Result<bool, rusqlite::Error> {
    let sql = "SELECT count(*) FROM fates_gone WHERE sink = ?1 AND replay = ?2 AND shard = ?3 AND place >= ?4";
    let params = params![sink, replay.is_some(), at.shard, at.offset.cast_signed()];
    connection.prepare_cached(sql)?.query_row(params, |row| row.get::<_, i64>(0)).map(|rows| rows > 0)
}

/// The rows of the event at that position, in the order in which they were made, by sink.
pub(super) fn find(connection: &Connection, at: Position) -> Result<Vec<Note>, rusqlite::Error> {
    let sql = "SELECT sink, kind, suffix, replay, time, attempts, took, code, detail, route FROM fates
               WHERE shard = ?1 AND place = ?2 ORDER BY sink, time, length(suffix), suffix";
    let note = |row: &Row<'_>| {
        let (kind, replay): (i64, i64) = (row.get(1)?, row.get(3)?);
        let kind = KINDS.into_iter().find(|known| known.number(replay) == kind).unwrap_or(Kind::Dropped);
        Ok(Note {
            sink: row.get(0)?,
            kind,
            suffix: row.get(2)?,
            replay,
            time: row.get(4)?,
            attempts: row.get(5)?,
            took: row.get(6)?,
            code: row.get(7)?,
            detail: row.get(8)?,
            route: row.get(9)?,
        })
    };
    connection.prepare_cached(sql)?.query_map(params![at.shard, at.offset.cast_signed()], note)?.collect()
}

/// Lets go of rows of events before these marks, at most so many; says how many went.
pub(super) fn trim(connection: &Connection, oldest: &Marks, most: i64) -> Result<i64, rusqlite::Error> {
    let sql = "DELETE FROM fates WHERE (sink, kind, nth) IN (
                 SELECT sink, kind, nth FROM fates WHERE shard = ?1 AND place < ?2 ORDER BY place LIMIT ?3)";
    let mut gone = 0;
    for mark in oldest.iter() {
        let params = params![mark.shard, mark.offset.cast_signed(), most - gone];
        gone += i64::try_from(connection.prepare_cached(sql)?.execute(params)?).unwrap_or(most);
    }
    Ok(gone)
}
