//! How the copy comes by shards, and lets go of them: it forgets what it has of a shard, and makes it anew from the
//! shard's note and rows. Runs on the ledger's thread, each time in one transaction.

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use tracing::error;

use super::copy;
use super::fields::RowError;
use super::note::{self, Note};
use super::rows::{Body, Key, Progress, State};
use crate::journal::kafka::seam::{Row, Stand};
use crate::journal::{Marks, Position};
use crate::ledger::held::{self, AS_WAS, BY_RULES, DEAD_SIZE};
use crate::ledger::parked::How;
use crate::ledger::{Counters, SettleError, cursors};

/// Finds what is held of a shard. Made where there is a copy, as a local ledger has no use for it.
const INDEX: &str = "CREATE INDEX IF NOT EXISTS held_of_shard ON held (sink, shard)";

/// What is forgotten of a shard, and what tells its rows apart.
const FORGOTTEN: [(&str, &str); 5] = [
    ("held", "sink, id"),
    ("shared_halves", "sink, shard, id"),
    ("steps", "id"),
    ("fates", "sink, kind, nth"),
    ("fates_gone", "sink, replay, shard"),
];

/// Makes the file ready for a copy; gives the shards that are in it, those that are half forgotten included.
pub fn begin(connection: &Connection) -> Result<BTreeMap<String, Vec<u32>>, SettleError> {
    connection.execute_batch(INDEX)?;
    let mut shards: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut statement = connection.prepare("SELECT sink, shard FROM shared")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        shards.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    Ok(shards)
}

/// Begins to forget these shards of a sink: no step follows in them any more, and nothing of them counts.
pub fn leave(connection: &Connection, sink: &str, shards: &[u32]) -> Result<(), SettleError> {
    for shard in shards {
        for sql in [
            "UPDATE shared SET leaving = 1 WHERE sink = ?1 AND shard = ?2",
            "DELETE FROM shared_replays WHERE sink = ?1 AND shard = ?2",
        ] {
            connection.prepare_cached(sql)?.execute(params![sink, shard])?;
        }
    }
    let marks = cursors::load(connection, sink)?.map(|state| state.cursors).unwrap_or_default();
    stands(connection, sink, marks)?;
    replays(connection, sink)
}

/// Forgets a part of what is kept of a shard that was left, at most so many rows of a kind; says whether there is more.
pub fn forget(connection: &Connection, sink: &str, shard: u32, most: i64) -> Result<bool, rusqlite::Error> {
    let mut is_more = false;
    for (table, key) in FORGOTTEN {
        let sql = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE sink = ?1 AND shard = ?2 LIMIT ?3)"
        );
        let gone = connection.prepare_cached(&sql)?.execute(params![sink, shard, most])?;
        is_more |= i64::try_from(gone).is_ok_and(|gone| gone >= most);
    }
    if !is_more {
        let sql = "DELETE FROM shared WHERE sink = ?1 AND shard = ?2 AND leaving <> 0";
        connection.prepare_cached(sql)?.execute(params![sink, shard])?;
    }
    Ok(is_more)
}

/// Takes these shards, which were forgotten, at these cursors and with these notes.
pub fn taking(connection: &Connection, sink: &str, taken: &[Stand]) -> Result<(), SettleError> {
    let mut marks = cursors::load(connection, sink)?.map(|state| state.cursors).unwrap_or_default();
    for Stand { cursor, note } in taken {
        copy::set_note(connection, sink, cursor.shard, note)?;
        marks.set(*cursor);
    }
    stands(connection, sink, marks)
}

/// Sets a sink's cursors in the shards that are in the copy, and makes its totals those of these shards together.
fn stands(connection: &Connection, sink: &str, mut marks: Marks) -> Result<(), SettleError> {
    let mut notes = BTreeMap::new();
    {
        let mut statement =
            connection.prepare_cached("SELECT shard, note FROM shared WHERE sink = ?1 AND leaving = 0")?;
        let mut rows = statement.query([sink])?;
        while let Some(row) = rows.next()? {
            notes.insert(row.get::<_, u32>(0)?, Note::read(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?);
        }
    }
    marks.keep(|shard| notes.contains_key(&shard));
    Ok(set_sink(connection, sink, &marks, note::total(notes.into_values()))?)
}

fn set_sink(connection: &Connection, sink: &str, marks: &Marks, totals: Counters) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("DELETE FROM cursors WHERE sink = ?1")?.execute([sink])?;
    let mut marks = marks.iter();
    let Some(Position { shard, offset }) = marks.next() else {
        return connection.prepare_cached("DELETE FROM sinks WHERE name = ?1")?.execute([sink]).map(drop);
    };
    let Counters { accepted, delivered, dead, filtered, dropped } = totals;
    let [accepted, delivered, dead, filtered, dropped] =
        [accepted, delivered, dead, filtered, dropped].map(u64::cast_signed);
    let sql = format!(
        "INSERT INTO sinks (name, shard, place, accepted, delivered, dead, filtered, dropped, dead_bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
           (SELECT ifnull(sum({DEAD_SIZE}), 0) FROM held WHERE sink = ?1 AND due IS NULL
              AND shard IN (SELECT shard FROM shared WHERE sink = ?1 AND leaving = 0)))
         ON CONFLICT (name) DO UPDATE SET shard = excluded.shard, place = excluded.place,
           accepted = excluded.accepted, delivered = excluded.delivered, dead = excluded.dead,
           filtered = excluded.filtered, dropped = excluded.dropped, dead_bytes = excluded.dead_bytes"
    );
    connection.prepare_cached(&sql)?.execute(params![
        sink,
        shard,
        offset.cast_signed(),
        accepted,
        delivered,
        dead,
        filtered,
        dropped
    ])?;
    marks.try_for_each(|mark| cursors::move_to(connection, sink, mark))
}

/// Makes what is kept of a sink's replays follow from their rows: the list of those under way, and what became of each.
pub fn replays(connection: &Connection, sink: &str) -> Result<(), SettleError> {
    let mut replays: BTreeMap<i64, Vec<(u32, Progress)>> = BTreeMap::new();
    for (id, shard, progress) in copy::progress(connection, sink)? {
        replays.entry(id).or_default().push((shard, progress));
    }
    for table in ["replays", "replay_counts"] {
        connection.prepare_cached(&format!("DELETE FROM {table} WHERE sink = ?1"))?.execute([sink])?;
    }
    replays.iter().try_for_each(|(id, shards)| Ok(replay(connection, sink, *id, shards)?))
}

fn replay(connection: &Connection, sink: &str, id: i64, shards: &[(u32, Progress)]) -> Result<(), rusqlite::Error> {
    let add = |sum: [u64; 5], (_, progress): &(u32, Progress)| {
        let Counters { accepted, delivered, dead, filtered, dropped } = progress.counts;
        let [a, b, c, d, e] = sum;
        [
            a.wrapping_add(accepted),
            b.wrapping_add(delivered),
            c.wrapping_add(dead),
            d.wrapping_add(filtered),
            e.wrapping_add(dropped),
        ]
    };
    let counts = shards.iter().fold([0; 5], add).map(u64::cast_signed);
    let [accepted, delivered, dead, filtered, dropped] = counts;
    let sql = "INSERT INTO replay_counts (id, sink, accepted, delivered, dead, filtered, dropped)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(sql)?.execute(params![id, sink, accepted, delivered, dead, filtered, dropped])?;
    if !shards.iter().any(|(_, progress)| progress.is_under_way()) {
        return Ok(());
    }
    let sql = "INSERT INTO replays (id, sink, shard, first, place, until, type, subject, rate, fed, only_missing)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let mut statement = connection.prepare_cached(sql)?;
    for (shard, progress) in shards {
        let Progress { kind, subject, rate, only_missing, .. } = progress;
        let numbers = [progress.first, progress.at, progress.until, progress.fed].map(u64::cast_signed);
        let [first, at, until, fed] = numbers;
        statement.execute(params![id, sink, shard, first, at, until, kind, subject, rate, fed, only_missing])?;
    }
    Ok(())
}

/// What a part of a shard's rows says of a delivery: of body and state, whether the row went on the way, and its last
/// value.
#[derive(Default)]
struct Halves {
    is_over: bool,
    body: Option<Body>,
    state: Option<State>,
}

/// Takes rows of a shard, in their order; nothing where the shard is not in the copy (any more). A row that is damaged
/// is passed over and told: nothing else can be done about it, and it stays in Kafka.
pub fn restored(connection: &Connection, sink: &str, shard: u32, rows: &[Row]) -> Result<(), SettleError> {
    if copy::note(connection, sink, shard)?.is_none() {
        return Ok(());
    }
    let (mut deliveries, mut has_replays): (BTreeMap<String, Halves>, _) = (BTreeMap::new(), false);
    for row in rows {
        let read = match (Key::read(&row.key), &row.value) {
            (Some(Key::Body(id) | Key::State(id)), None) => {
                // Body and state go together, in one transaction.
                deliveries.insert(id, Halves { is_over: true, ..Halves::default() });
                Ok(())
            }
            (Some(Key::Body(id)), Some(value)) => {
                let body = Body::read(value).and_then(|body| of_shard(body, shard));
                body.map(|body| deliveries.entry(id).or_default().body = Some(body))
            }
            (Some(Key::State(id)), Some(value)) => {
                State::read(value).map(|state| deliveries.entry(id).or_default().state = Some(state))
            }
            (Some(Key::Progress(replay)), value) => {
                has_replays = true;
                progress(connection, sink, shard, replay, value.as_ref())?
            }
            // Rows that a later build has added.
            (None, _) => Ok(()),
        };
        match read {
            Err(RowError::Damaged) => error!(sink, shard, key = %row.key, "a row of what is held cannot be read"),
            other => other?,
        }
    }
    // Each delivery is named once here: none waits for what comes behind it.
    let (may_wait, mut bytes) = (are_waiting(connection, sink, shard)?, 0);
    for (id, halves) in deliveries {
        bytes += delivery(connection, (sink, shard, &id), halves, may_wait)?;
    }
    let sql = "UPDATE sinks SET dead_bytes = dead_bytes + ?2 WHERE name = ?1";
    connection.prepare_cached(sql)?.execute(params![sink, bytes])?;
    if has_replays { replays(connection, sink) } else { Ok(()) }
}

/// Where a body says that it is of another shard, it would not go with this one.
fn of_shard(body: Body, shard: u32) -> Result<Body, RowError> {
    if body.position.shard == shard { Ok(body) } else { Err(RowError::Damaged) }
}

fn progress(
    connection: &Connection,
    sink: &str,
    shard: u32,
    replay: i64,
    value: Option<&Bytes>,
) -> Result<Result<(), RowError>, rusqlite::Error> {
    match value.map(|value| Progress::read(value)).transpose() {
        Ok(_) => copy::set_progress(connection, sink, shard, replay, value.map(|value| &**value)).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// Takes what was read of a delivery: it is held once both halves are there, and the first waits for the other, which
/// may be among those that wait already. Says by how much the room that dead letters take changes.
fn delivery(
    connection: &Connection,
    of: (&str, u32, &str),
    halves: Halves,
    may_wait: bool,
) -> Result<i64, SettleError> {
    let (sink, shard, id) = of;
    let Halves { is_over, mut body, mut state } = halves;
    let mut found = copy::find(connection, sink, id)?;
    let before = found.as_ref().map_or(0, |found| found.dead_bytes);
    if is_over {
        let sql = "DELETE FROM held WHERE sink = ?1 AND id = ?2 AND shard = ?3";
        connection.prepare_cached(sql)?.execute(params![sink, id, shard])?;
        found = found.filter(|found| found.shard != shard);
    }
    let waiting = if may_wait { take_half(connection, of)? } else { (None, None) };
    if !is_over {
        body = body.or(waiting.0);
        state = state.or(waiting.1);
    }
    let after = match (body, state, found) {
        (Some(body), Some(state), _) => hold(connection, of, body, state)?,
        (Some(body), None, Some(found)) => hold(connection, of, body, found.known.state)?,
        (None, Some(state), Some(_)) => set_state(connection, sink, id, &state)?,
        (None, None, found) => found.map_or(0, |found| found.dead_bytes),
        (body, state, None) => {
            let (body, state) = (body.map(|body| body.write()), state.map(|state| state.write()));
            let sql = "INSERT INTO shared_halves (sink, shard, id, body, state) VALUES (?1, ?2, ?3, ?4, ?5)";
            let params = params![sink, shard, id, body.as_deref(), state.as_deref()];
            connection.prepare_cached(sql)?.execute(params)?;
            0
        }
    };
    Ok(after - before)
}

/// Whether halves wait for their other halves.
fn are_waiting(connection: &Connection, sink: &str, shard: u32) -> Result<bool, rusqlite::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM shared_halves WHERE sink = ?1 AND shard = ?2)";
    connection.prepare_cached(sql)?.query_row(params![sink, shard], |row| row.get(0))
}

/// Takes the half that waits for its other half away.
fn take_half(
    connection: &Connection,
    (sink, shard, id): (&str, u32, &str),
) -> Result<(Option<Body>, Option<State>), SettleError> {
    let sql = "DELETE FROM shared_halves WHERE sink = ?1 AND shard = ?2 AND id = ?3 RETURNING body, state";
    let half = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get::<_, Option<Vec<u8>>>(1)?));
    let half = connection.prepare_cached(sql)?.query_row(params![sink, shard, id], half).optional()?;
    let (body, state) = half.unwrap_or_default();
    let body = body.map(|body| Body::read(&body.into())).transpose()?;
    Ok((body, state.map(|state| State::read(&state)).transpose()?))
}

/// Says what the delivery takes of the room for dead letters; so does [`set_state`].
fn hold(
    connection: &Connection,
    (sink, _, id): (&str, u32, &str),
    body: Body,
    state: State,
) -> Result<i64, rusqlite::Error> {
    let (replay, how) = (body.replay, state.how);
    let delivery = body.held(id, state);
    held::insert(connection, sink, &delivery)?;
    let how = how_text(how);
    if how.is_some() || replay.is_some() {
        let sql = "UPDATE held SET how = ?3, replay = ?4 WHERE sink = ?1 AND id = ?2";
        connection.prepare_cached(sql)?.execute(params![sink, id, how, replay])?;
    }
    Ok(if delivery.due.is_none() { held::dead_size_of(&delivery).cast_signed() } else { 0 })
}

fn set_state(connection: &Connection, sink: &str, id: &str, state: &State) -> Result<i64, rusqlite::Error> {
    let tried = &state.tried;
    let sql = format!(
        "UPDATE held SET due = ?3, how = ?4, attempts = ?5, nth = ?6, uncounted = ?7, spent = ?8, first_try = ?9,
           last_try = ?10, code = ?11, detail = ?12, answer = ?13
         WHERE sink = ?1 AND id = ?2 RETURNING {}",
        copy::dead_bytes()
    );
    let [first, last] = tried.times;
    let params = params![
        sink,
        id,
        state.due,
        how_text(state.how),
        tried.attempts,
        tried.spent.attempts,
        tried.spent.uncounted,
        tried.spent.micros,
        first,
        last,
        tried.code,
        tried.detail,
        tried.answer
    ];
    connection.prepare_cached(&sql)?.query_row(params, |row| row.get(0))
}

fn how_text(how: How) -> Option<&'static str> {
    match how {
        How::AsItStands => None,
        How::ByRules => Some(BY_RULES),
        How::AsWas => Some(AS_WAS),
    }
}
