//! The copy in SQLite of the shards that are this daemon's: what a step needs to know of them, and how the copy follows
//! a step that Kafka has. Runs on the ledger's thread, each time in one transaction.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::derive::{Base, Known, KnownReplay};
use super::note::Note;
use super::restore;
use super::rows::{Progress, State};
use crate::journal::Position;
use crate::ledger::held::{AS_WAS, BY_RULES, Change, DEAD_SIZE};
use crate::ledger::parked::How;
use crate::ledger::{Dead, SettleError, Settlement, Spent, Try, cursors, held, thread};

/// Empty where the journal is this daemon's alone. `shared`: the shards that are this daemon's, and the note of each;
/// those that it gave away and has not forgotten wholly are `leaving`.
/// `shared_replays`: how far replays have come in them, as rows of Kafka. `shared_halves`: deliveries of which one row
/// of two was restored so far.
pub(in crate::ledger) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS shared (
  sink    TEXT NOT NULL,
  shard   INTEGER NOT NULL,
  note    TEXT NOT NULL,
  leaving INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (sink, shard)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shared_replays (
  sink     TEXT NOT NULL,
  id       INTEGER NOT NULL,
  shard    INTEGER NOT NULL,
  progress BLOB NOT NULL,
  PRIMARY KEY (sink, id, shard)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shared_halves (
  sink  TEXT NOT NULL,
  shard INTEGER NOT NULL,
  id    TEXT NOT NULL,
  body  BLOB,
  state BLOB,
  PRIMARY KEY (sink, shard, id)
) STRICT, WITHOUT ROWID;
";

/// What the copy does once Kafka has a step of a shard.
#[derive(Clone, Debug)]
pub struct Follow {
    /// The shard.
    pub shard: u32,
    /// The note that the step was derived from.
    pub before: String,
    /// The note that it came to.
    pub after: String,
    /// How replays stand that begin with it.
    pub begun: Vec<(i64, Bytes)>,
    /// What it says of replays; `None`: they are forgotten in the shard.
    pub progress: Vec<(i64, Option<Bytes>)>,
    /// What is done.
    pub what: What,
}

/// See [`Follow`].
#[derive(Clone, Debug)]
pub enum What {
    /// Steps are settled.
    Settle(Vec<Settlement>),
    /// Dead letters are changed.
    Change(Vec<String>, Change),
}

/// The note of a shard; `None` where the shard is not in the copy.
pub fn note(connection: &Connection, sink: &str, shard: u32) -> Result<Option<String>, rusqlite::Error> {
    let sql = "SELECT note FROM shared WHERE sink = ?1 AND shard = ?2 AND leaving = 0";
    connection.prepare_cached(sql)?.query_row(params![sink, shard], |row| row.get(0)).optional()
}

/// Writes the note of a shard.
pub fn set_note(connection: &Connection, sink: &str, shard: u32, note: &str) -> Result<(), rusqlite::Error> {
    let sql = "INSERT INTO shared (sink, shard, note) VALUES (?1, ?2, ?3)
               ON CONFLICT (sink, shard) DO UPDATE SET note = excluded.note, leaving = 0";
    connection.prepare_cached(sql)?.execute(params![sink, shard, note]).map(drop)
}

/// Writes how far a replay has come in a shard, or forgets it.
pub fn set_progress(
    connection: &Connection,
    sink: &str,
    shard: u32,
    replay: i64,
    progress: Option<&[u8]>,
) -> Result<(), rusqlite::Error> {
    if progress.is_none() {
        let sql = "DELETE FROM shared_replays WHERE sink = ?1 AND id = ?2 AND shard = ?3";
        return connection.prepare_cached(sql)?.execute(params![sink, replay, shard]).map(drop);
    }
    let sql = "INSERT INTO shared_replays (sink, id, shard, progress) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (sink, id, shard) DO UPDATE SET progress = excluded.progress";
    connection.prepare_cached(sql)?.execute(params![sink, replay, shard, progress]).map(drop)
}

/// What a step that names these deliveries is derived from, in each of these shards; nothing of a shard that is not in
/// the copy.
pub fn bases(
    connection: &Connection,
    sink: &str,
    wanted: &BTreeMap<u32, Vec<String>>,
) -> Result<BTreeMap<u32, (String, Base)>, SettleError> {
    let state = cursors::load(connection, sink)?;
    let mut bases = BTreeMap::new();
    for (shard, ids) in wanted {
        let (Some(state), Some(text)) = (&state, note(connection, sink, *shard)?) else { continue };
        let mut held = HashMap::with_capacity(ids.len());
        for id in ids {
            if let Some(found) = find(connection, sink, id)?.filter(|found| found.shard == *shard) {
                held.insert(id.clone(), found.known);
            }
        }
        let cursor = state.cursors.at(*shard);
        let base = Base { cursor, note: Note::read(&text)?, held, replays: replays(connection, sink, *shard)? };
        bases.insert(*shard, (text, base));
    }
    Ok(bases)
}

/// The shards in which a sink holds these deliveries as dead letters, and which ones.
pub fn letters(
    connection: &Connection,
    sink: &str,
    ids: &[String],
) -> Result<BTreeMap<u32, Vec<String>>, rusqlite::Error> {
    let mut shards: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let sql = "SELECT shard FROM held WHERE sink = ?1 AND id = ?2 AND due IS NULL";
    let mut statement = connection.prepare_cached(sql)?;
    for id in ids {
        let shard = statement.query_row([sink, id], |row| row.get(0)).optional()?;
        let letters = shard.map(|shard| shards.entry(shard).or_default());
        letters.into_iter().for_each(|letters| letters.push(id.clone()));
    }
    Ok(shards)
}

/// A delivery that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its shard.
    pub shard: u32,
    /// What it takes of the room for dead letters; 0 where it is parked.
    pub dead_bytes: i64,
    /// What is known of it.
    pub known: Known,
}

/// What a row takes of the room for dead letters.
pub fn dead_bytes() -> String {
    format!("iif(due IS NULL, {DEAD_SIZE}, 0)")
}

/// A delivery that is held.
pub fn find(connection: &Connection, sink: &str, id: &str) -> Result<Option<Found>, rusqlite::Error> {
    let sql = format!(
        "SELECT shard, due, how, attempts, nth, uncounted, spent, first_try, last_try, code, detail, answer, replay, {},
           place
         FROM held WHERE sink = ?1 AND id = ?2",
        dead_bytes()
    );
    let row = |row: &Row<'_>| {
        let how = match row.get::<_, Option<String>>(2)?.as_deref() {
            Some(BY_RULES) => How::ByRules,
            Some(AS_WAS) => How::AsWas,
            _ => How::AsItStands,
        };
        let tried = Try {
            attempts: row.get(3)?,
            spent: Spent { attempts: row.get(4)?, uncounted: row.get(5)?, micros: row.get(6)? },
            times: [row.get(7)?, row.get(8)?],
            code: row.get(9)?,
            detail: row.get(10)?,
            answer: row.get(11)?,
        };
        let state = State { due: row.get(1)?, how, tried };
        let (shard, place) = (row.get(0)?, row.get::<_, i64>(14)?);
        let position = Position { shard, offset: place.cast_unsigned() };
        let known = Known { state, replay: row.get(12)?, position };
        Ok(Found { shard, dead_bytes: row.get(13)?, known })
    };
    connection.prepare_cached(&sql)?.query_row([sink, id], row).optional()
}

/// How far replays have come in the shards of a sink that are in the copy: number, shard, and that.
pub fn progress(connection: &Connection, sink: &str) -> Result<Vec<(i64, u32, Progress)>, SettleError> {
    let sql = "SELECT id, shard, progress FROM shared_replays WHERE sink = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([sink])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let progress = Progress::read(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
        all.push((row.get(0)?, row.get(1)?, progress));
    }
    Ok(all)
}

fn replays(connection: &Connection, sink: &str, shard: u32) -> Result<BTreeMap<i64, KnownReplay>, SettleError> {
    let sql = "SELECT id, progress, EXISTS (SELECT 1 FROM replays AS r WHERE r.id = s.id AND r.sink = s.sink)
               FROM shared_replays AS s WHERE sink = ?1 AND shard = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![sink, shard])?;
    let mut replays = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let progress = Progress::read(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
        replays.insert(row.get(0)?, KnownReplay { progress, is_under_way: row.get(2)? });
    }
    Ok(replays)
}

/// Follows steps of a sink that Kafka has. A shard that is not in the copy any more, or was taken anew since the step
/// was derived, is left as it is: what Kafka has of it is another's, or was restored with the step in it.
pub fn follow(connection: &Connection, sink: &str, follows: &[Follow], now: i64) -> Result<Dead, SettleError> {
    let mut changed = Dead::default();
    for Follow { shard, before, after, begun, progress, what } in follows {
        if note(connection, sink, *shard)?.as_ref() != Some(before) {
            continue;
        }
        for (replay, progress) in begun {
            set_progress(connection, sink, *shard, *replay, Some(progress))?;
        }
        if !begun.is_empty() {
            // What is told of them by sink is there before the step adds to it.
            restore::replays(connection, sink)?;
        }
        match what {
            What::Settle(steps) => thread::write(connection, steps.iter(), now)?,
            What::Change(ids, change) => {
                let Dead { letters, bytes } = held::change_in(connection, sink, ids, *change)?;
                changed.letters += letters;
                changed.bytes += bytes;
            }
        }
        set_note(connection, sink, *shard, after)?;
        for (replay, progress) in progress {
            set_progress(connection, sink, *shard, *replay, progress.as_deref())?;
        }
        if progress.iter().any(|(_, progress)| progress.is_none()) {
            restore::replays(connection, sink)?;
        }
    }
    Ok(changed)
}
