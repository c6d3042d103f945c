//! Dead letters and parked deliveries as they lie in the ledger. Lists are read on a connection of their own, so that a
//! long list keeps no settlement waiting. Changes of dead letters are made on the ledger's thread, a few letters at a
//! time, each time in one transaction with the counts: a crash in between leaves some letters changed, and those
//! completely.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::notes::{self, End};
use super::replays::{self, Delta};
use super::{Dead, HeldDelivery};
use crate::journal::{Made, Position, Record};

/// Most letters that one page holds, and that one change takes.
pub const MAX_PAGE: usize = 500;
/// A page of whole letters ends with the letter that passes this many bytes.
pub const MAX_PAGE_BYTES: u64 = 4 << 20;
/// Bytes that a letter is taken to need besides its event and payload.
pub const OVERHEAD: u64 = 256;

/// Most keys that are told apart when rows are counted.
pub const MAX_KEYS: usize = 1000;
/// The least of an id that stands for it: its last characters, which are random.
pub const SHORT_ID: usize = crate::ids::SHORT;
/// Most ids that are told where a short one stands for several.
pub const MAX_CANDIDATES: usize = 10;

/// A row's size by the same measure as [`size_of`].
pub(super) const SIZE: &str = "256 + length(event) + ifnull(length(payload), 0)";
/// A dead letter's: what its target said is counted, too, which of a parked delivery changes with every try.
pub(super) const DEAD_SIZE: &str = "256 + length(event) + ifnull(length(payload), 0) + ifnull(octet_length(answer), 0)";

/// Room a letter takes, bytes.
pub fn size_of(letter: &HeldDelivery) -> u64 {
    OVERHEAD + letter.event.payload.len() as u64 + letter.payload.as_ref().map_or(0, |payload| payload.len() as u64)
}

/// Room a dead letter takes, bytes.
pub fn dead_size_of(letter: &HeldDelivery) -> u64 {
    size_of(letter) + letter.answer.as_ref().map_or(0, |answer| answer.len() as u64)
}

/// What the ledger holds deliveries for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Held {
    /// They were given up.
    #[default]
    Dead,
    /// They are to be tried again.
    Parked,
}

/// By what deliveries are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The code of the last failure.
    Code,
    /// The sink.
    Sink,
    /// The event's type.
    Type,
}

/// Which deliveries are meant. A field that is not set excludes none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Dead letters, or what is parked.
    pub held: Held,
    /// Delivery ids, any of them.
    pub ids: Vec<String>,
    /// The sink.
    pub sink: Option<String>,
    /// A pattern (`*`, `?`, `[…]`) over the type.
    pub kind: Option<String>,
    /// The reason's code.
    pub code: Option<String>,
    /// Accepted at or after, microseconds.
    pub since: Option<i64>,
    /// Accepted before, microseconds.
    pub until: Option<i64>,
    /// Given up before, microseconds.
    pub given_up_before: Option<i64>,
}

/// Which part of the letters is asked for. They stand in order of sink and id; within a sink that is the order in which
/// their events were accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Only letters behind this sink and id.
    pub after: Option<(String, String)>,
    /// How many letters at most; never more than [`MAX_PAGE`].
    pub limit: usize,
    /// Whether event, payload and target are wanted, too.
    pub whole: bool,
}

/// A dead letter, or a parked delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its sink.
    pub sink: String,
    /// The delivery's id.
    pub id: String,
    /// Type of the event.
    pub kind: String,
    /// Subject of the event.
    pub subject: String,
    /// Ordering key at the sink.
    pub key: String,
    /// Why it was given up, or failed last: code and detail.
    pub reason: [String; 2],
    /// What the target said to the last try, where that is kept.
    pub answer: Option<String>,
    /// Where its event stands.
    pub position: Position,
    /// When it is tried next, microseconds; `None` where it was given up.
    pub due: Option<i64>,
    /// How often it was tried.
    pub attempts: u32,
    /// Event accepted, first tried, last tried or given up: microseconds.
    pub times: [i64; 3],
    /// Room it takes, bytes.
    pub size: u64,
    /// Event, payload and target, where they were asked for.
    pub content: Option<Content>,
}

/// What was to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The event.
    pub event: Arc<Record>,
    /// The rendered payload, where it is not the body.
    pub payload: Option<Bytes>,
    /// The rendered target, a JSON object.
    pub target: String,
}

/// What is to be done with dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are delivered again from that time on (microseconds), and are pending until then.
    Retry {
        /// When.
        due: i64,
        /// Whether payload, target and id stay as they were; else the rules in force then make them anew.
        as_was: bool,
    },
    /// They are forgotten, and count as dropped.
    Drop,
}

/// What `held.how` says of a row that is to be delivered again; a row that was merely parked says nothing.
pub(super) const BY_RULES: &str = "by_rules";
/// See [`BY_RULES`].
pub(super) const AS_WAS: &str = "as_was";

impl Filter {
    /// The filter as an SQL condition, and the condition's parameters.
    fn sql(&self) -> (String, Vec<Value>) {
        let mut sql = match self.held {
            Held::Dead => "due IS NULL",
            Held::Parked => "due IS NOT NULL",
        }
        .to_owned();
        let mut values: Vec<Value> = Vec::new();
        if !self.ids.is_empty() {
            let marks = vec!["?"; self.ids.len()].join(", ");
            sql.push_str(&format!(" AND id IN ({marks})"));
            values.extend(self.ids.iter().cloned().map(Value::Text));
        }
        let texts = [("sink =", &self.sink), ("type GLOB", &self.kind), ("code =", &self.code)];
        let times = [("accepted >=", self.since), ("accepted <", self.until), ("last_try <", self.given_up_before)];
        let texts = texts.into_iter().map(|(test, text)| (test, text.clone().map(Value::Text)));
        let times = times.into_iter().map(|(test, time)| (test, time.map(Value::Integer)));
        for (test, value) in texts.chain(times) {
            if let Some(value) = value {
                sql.push_str(&format!(" AND {test} ?"));
                values.push(value);
            }
        }
        (sql, values)
    }
}
/// The letters that match, and whether there may be more behind them.
pub(super) fn look(
    connection: &Connection,
    filter: &Filter,
    page: &Page,
) -> Result<(Vec<Letter>, bool), rusqlite::Error> {
    let (mut sql, mut values) = filter.sql();
    if let Some((sink, id)) = &page.after {
        sql.push_str(" AND (sink, id) > (?, ?)");
        values.extend([Value::Text(sink.clone()), Value::Text(id.clone())]);
    }
    let limit = page.limit.clamp(1, MAX_PAGE);
    let content = if page.whole { ", event_id, source, event_key, event, payload, target" } else { "" };
    let sql = format!(
        "SELECT sink, id, type, subject, key, code, detail, attempts, accepted, first_try, last_try, {DEAD_SIZE},
           answer, due, shard, place{content}
         FROM held WHERE {sql} ORDER BY sink, id LIMIT {}",
        limit + 1
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut letters, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if letters.len() == limit || (page.whole && bytes >= MAX_PAGE_BYTES) {
            return Ok((letters, true));
        }
        let letter = letter(row, page.whole)?;
        bytes += letter.size;
        letters.push(letter);
    }
    Ok((letters, false))
}

fn letter(row: &Row<'_>, whole: bool) -> Result<Letter, rusqlite::Error> {
    let (kind, times): (String, _) = (row.get(2)?, [row.get(8)?, row.get(9)?, row.get(10)?]);
    let content = if whole { Some(content(row, &kind, times)?) } else { None };
    Ok(Letter {
        sink: row.get(0)?,
        id: row.get(1)?,
        kind,
        subject: row.get(3)?,
        key: row.get(4)?,
        reason: [row.get(5)?, row.get(6)?],
        attempts: row.get(7)?,
        times,
        size: row.get::<_, i64>(11)?.cast_unsigned(),
        answer: row.get(12)?,
        due: row.get(13)?,
        position: Position { shard: row.get(14)?, offset: row.get::<_, i64>(15)?.cast_unsigned() },
        content,
    })
}

fn content(row: &Row<'_>, kind: &str, [accepted, ..]: [i64; 3]) -> Result<Content, rusqlite::Error> {
    let record = Record {
        id: row.get(16)?,
        time: accepted,
        source: row.get::<_, String>(17)?.into(),
        kind: kind.into(),
        key: row.get::<_, String>(18)?.into(),
        fingerprint: None,
        payload: row.get::<_, Vec<u8>>(19)?.into(),
        made: Made::default(),
    };
    let payload = row.get::<_, Option<Vec<u8>>>(20)?.map(Bytes::from);
    Ok(Content { event: Arc::new(record), payload, target: row.get(21)? })
}

/// How many of the deliveries that match there are of each key, the most first; at most [`MAX_KEYS`] keys.
pub(super) fn count(connection: &Connection, filter: &Filter, by: By) -> Result<Vec<(String, u64)>, rusqlite::Error> {
    let column = match by {
        By::Code => "code",
        By::Sink => "sink",
        By::Type => "type",
    };
    let (which, values) = filter.sql();
    let sql = format!(
        "SELECT {column}, count(*) FROM held WHERE {which} GROUP BY {column} ORDER BY count(*) DESC, {column}
         LIMIT {MAX_KEYS}"
    );
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()));
    connection.prepare(&sql)?.query_map(params_from_iter(values), row)?.collect()
}

/// The ids of what is held that end like this, at most [`MAX_CANDIDATES`] of them and one more.
pub(super) fn ids(connection: &Connection, held: Held, end: &str) -> Result<Vec<String>, rusqlite::Error> {
    let (which, _) = Filter { held, ..Filter::default() }.sql();
    let sql = format!(
        "SELECT DISTINCT id FROM held WHERE {which} AND substr(id, -length(?1)) = ?1 ORDER BY id LIMIT {}",
        MAX_CANDIDATES + 1
    );
    connection.prepare(&sql)?.query_map([end], |row| row.get(0))?.collect()
}

/// For each sink and id whether the delivery is held, and then how, and the code of the last failure.
pub(super) fn states(
    connection: &Connection,
    of: &[(String, String)],
) -> Result<Vec<Option<(Held, String)>>, rusqlite::Error> {
    let mut statement = connection.prepare("SELECT due IS NULL, code FROM held WHERE sink = ?1 AND id = ?2")?;
    let held = |row: &Row<'_>| Ok((if row.get(0)? { Held::Dead } else { Held::Parked }, row.get(1)?));
    of.iter().map(|(sink, id)| statement.query_row([sink, id], held).optional()).collect()
}

/// Changes the letters of a sink that are dead still; says how many there were, and the room they took.
pub(super) fn change(
    connection: &mut Connection,
    sink: &str,
    ids: &[String],
    change: Change,
) -> Result<Dead, rusqlite::Error> {
    let transaction = connection.transaction()?;
    let changed = change_in(&transaction, sink, ids, change)?;
    transaction.commit()?;
    Ok(changed)
}

/// The same as a part of a transaction.
pub(super) fn change_in(
    transaction: &Connection,
    sink: &str,
    ids: &[String],
    change: Change,
) -> Result<Dead, rusqlite::Error> {
    let mut changed = Dead::default();
    for id in ids {
        if change == Change::Drop {
            notes::ended(transaction, sink, id, End::Dropped)?;
        }
        let row: Option<(i64, Option<i64>)> = match change {
            Change::Retry { due, as_was } => transaction
                .prepare_cached(&format!(
                    "UPDATE held SET due = ?3, how = ?4, nth = 0, spent = 0, uncounted = 0
                     WHERE sink = ?1 AND id = ?2 AND due IS NULL RETURNING {DEAD_SIZE}, replay"
                ))?
                .query_row(params![sink, id, due, if as_was { AS_WAS } else { BY_RULES }], size_and_replay)
                .optional()?,
            Change::Drop => transaction
                .prepare_cached(&format!(
                    "DELETE FROM held WHERE sink = ?1 AND id = ?2 AND due IS NULL RETURNING {DEAD_SIZE}, replay"
                ))?
                .query_row(params![sink, id], size_and_replay)
                .optional()?,
        };
        let Some((size, replay)) = row else { continue };
        changed.letters += 1;
        changed.bytes += size.cast_unsigned();
        let dropped = i64::from(change == Change::Drop);
        replays::count(transaction, replay, sink, Delta { dead: -1, dropped, ..Delta::default() })?;
    }
    let dropped = if change == Change::Drop { changed.letters } else { 0 };
    transaction.execute(
        "UPDATE sinks SET dead = dead - ?2, dead_bytes = dead_bytes - ?3, dropped = dropped + ?4 WHERE name = ?1",
        params![sink, changed.letters.cast_signed(), changed.bytes.cast_signed(), dropped.cast_signed()],
    )?;
    Ok(changed)
}

pub(super) fn size_and_replay(row: &Row<'_>) -> Result<(i64, Option<i64>), rusqlite::Error> {
    Ok((row.get(0)?, row.get(1)?))
}

/// Works out anew what room dead letters take.
pub(super) fn measure(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute(
        &format!(
            "UPDATE sinks SET dead_bytes =
               (SELECT ifnull(sum({DEAD_SIZE}), 0) FROM held WHERE held.sink = sinks.name AND due IS NULL)"
        ),
        [],
    )?;
    Ok(())
}

/// What every sink's dead letters take.
pub(super) fn taken(connection: &Connection) -> Result<HashMap<String, Dead>, rusqlite::Error> {
    let row = |row: &Row<'_>| {
        let dead =
            Dead { letters: row.get::<_, i64>(1)?.cast_unsigned(), bytes: row.get::<_, i64>(2)?.cast_unsigned() };
        Ok((row.get(0)?, dead))
    };
    connection.prepare_cached("SELECT name, max(dead, 0), max(dead_bytes, 0) FROM sinks")?.query_map([], row)?.collect()
}

/// Holds a delivery of a sink, dead or parked. A row with the same id that is there already (a replay came to the same
/// end as the first delivery) makes way and counts as dropped.
pub(super) fn keep(connection: &Connection, sink: &str, held: &HeldDelivery) -> Result<(), rusqlite::Error> {
    let old = format!("SELECT due IS NULL, {DEAD_SIZE}, replay, shard, place FROM held WHERE sink = ?1 AND id = ?2");
    let old: Option<(bool, i64, Option<i64>, Position)> = connection
        .prepare_cached(&old)?
        .query_row(params![sink, held.id], |row| {
            let (shard, place) = (row.get(3)?, row.get::<_, i64>(4)?);
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, Position { shard, offset: place.cast_unsigned() }))
        })
        .optional()?;
    if let Some((was_dead, _, before, _)) = old {
        notes::ended(connection, sink, &held.id, End::Replaced)?;
        replays::count(connection, before, sink, Delta { dead: -i64::from(was_dead), dropped: 1, ..Delta::default() })?;
    }
    let stood = old.filter(|(was_dead, ..)| !was_dead).map(|(.., place)| place);
    match in_line(held.position, stood) {
        position if position == held.position => insert(connection, sink, held)?,
        position => insert(connection, sink, &HeldDelivery { position, ..held.clone() })?,
    }
    let was_dead = old.filter(|(dead, ..)| *dead);
    let now = if held.due.is_none() { dead_size_of(held).cast_signed() } else { 0 };
    let bytes = now - was_dead.map_or(0, |(_, size, ..)| size);
    connection
        .prepare_cached(
            "UPDATE sinks SET dead_bytes = dead_bytes + ?2, dead = dead - ?3, dropped = dropped + ?4 WHERE name = ?1",
        )?
        .execute(params![sink, bytes, i64::from(was_dead.is_some()), i64::from(old.is_some())])?;
    Ok(())
}

/// Where a delivery stands in its lane that takes the place of one of the same id, parked there: no later. An event may
/// stand in the journal again, and what is parked of its key in between has to wait for it all the same.
pub(super) fn in_line(at: Position, stood: Option<Position>) -> Position {
    stood.filter(|stood| stood.shard == at.shard && stood.offset < at.offset).unwrap_or(at)
}

/// Writes a delivery, in the place of one of the same id, and counts nothing.
pub(super) fn insert(connection: &Connection, sink: &str, held: &HeldDelivery) -> Result<(), rusqlite::Error> {
    let [accepted, first, last] = held.times;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO held (sink, id, due, shard, place, type, subject, key, code, detail, attempts,
               accepted, first_try, last_try, event_id, source, event_key, event, payload, target, nth, spent,
               answer, uncounted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
               ?22, ?23, ?24)",
        )?
        .execute(params![
            sink,
            held.id,
            held.due,
            held.position.shard,
            held.position.offset.cast_signed(),
            held.kind,
            held.subject,
            held.key,
            held.code,
            held.detail,
            held.attempts,
            accepted,
            first,
            last,
            held.event.id,
            &*held.event.source,
            &*held.event.key,
            &held.event.payload[..],
            held.payload.as_deref(),
            held.target,
            held.spent.attempts,
            held.spent.micros,
            held.answer,
            held.spent.uncounted,
        ])?;
    Ok(())
}
