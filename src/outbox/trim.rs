//! What is let go of: by age, and by number. Whoever asks for what may have gone early is told that it is too old.
//!
//! What goes by age moves the horizons, too. By a right clock that changes nothing, as nothing is sent so late. Where
//! the clock was ahead by more than a week for a while, what was forgotten then is not sent twice: all that came before
//! is too old from then on, and so is what waited.

use rusqlite::{Connection, Params, params};
use sink_api::Timestamp;

use super::MAX_AGE;
use super::planned::State;
use super::store::Horizon;
use super::thread::Step;

/// How long calls and deliveries are remembered, in seconds: a day longer than anything may be sent again.
pub const KEPT: i64 = MAX_AGE.as_secs().cast_signed() + DAY;
/// So long what was sent again, or given up, is remembered after it could be sent last.
const DAY: i64 = 24 * 60 * 60;
/// Deliveries are forgotten by stretches of so many seconds.
pub const STRETCH: i64 = 6 * 60 * 60;
/// Most messages that wait to be sent again.
pub const MOST_WAITING: i64 = 200_000;

/// Why one that waited is never sent.
const NOBODY: &str = "nobody has sent it in time";
/// Most rows that are let go of at once.
const PART: usize = 2000;

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Calls.
    pub calls: i64,
    /// Requests of calls, each at most [`MAX_REQUEST`](super::wanted::MAX_REQUEST) bytes; only those of messages that
    /// were not delivered are kept.
    pub requests: i64,
    /// Messages that were delivered or read.
    pub heard: i64,
    /// Messages that failed and were to be sent again, those that wait not counted.
    pub resends: i64,
    /// Messages that failed and are not sent again.
    pub not_again: i64,
}

/// How much is remembered: about 1 GB of calls, 100 MB of requests, 400 MB of deliveries, 250 MB of what is sent again
/// and 150 MB of what is not, at the very most.
pub const MOST: Most =
    Most { calls: 4_000_000, requests: 100_000, heard: 10_000_000, resends: 1_000_000, not_again: 500_000 };

/// Lets go of a part of what is too old or too much; says whether there is more.
pub fn trim(step: &mut Step<'_>, most: &Most, now: Timestamp) -> Result<bool, rusqlite::Error> {
    let connection = step.connection;
    let gone = [
        heard(connection, most.heard, now)?,
        calls(connection, most.calls, now)?,
        requests(connection, most.requests)?,
        resends(step, most.resends, now)?,
        not_again(connection, most.not_again, now)?,
    ];
    Ok(gone.into_iter().any(|gone| gone >= PART))
}

fn part() -> i64 {
    i64::try_from(PART).unwrap_or(i64::MAX)
}

/// The times that such a statement gives.
fn times(connection: &Connection, sql: &str, of: impl Params) -> Result<Vec<i64>, rusqlite::Error> {
    connection.prepare(sql)?.query_map(of, |row| row.get(0))?.collect()
}

/// Microseconds so many seconds ago.
fn ago(seconds: i64, now: Timestamp) -> i64 {
    now.as_microsecond().saturating_sub(seconds.saturating_mul(1_000_000))
}

fn heard(connection: &Connection, most: i64, now: Timestamp) -> Result<usize, rusqlite::Error> {
    let sql = "SELECT min(stretch), coalesce(sum(roots), 0) FROM stretches";
    let (oldest, roots): (Option<i64>, i64) = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(oldest) = oldest else { return Ok(0) };
    let end = (oldest + 1).saturating_mul(STRETCH).saturating_mul(1_000_000);
    let is_old = end < ago(KEPT, now);
    if !is_old && roots <= most {
        return Ok(0);
    }
    // Before any of it goes; and all of this stretch goes, which may be the one that is being filled.
    Horizon::Messages.move_to(connection, end.min(now.as_microsecond()))?;
    let sql = "DELETE FROM heard WHERE stretch = ?1 AND root IN (SELECT root FROM heard WHERE stretch = ?1 LIMIT ?2)";
    let gone = connection.execute(sql, params![oldest, part()])?;
    connection
        .execute("UPDATE stretches SET roots = roots - ?2 WHERE stretch = ?1", params![oldest, gone.cast_signed()])?;
    if gone < PART {
        connection.execute("DELETE FROM stretches WHERE stretch = ?1", [oldest])?;
    }
    Ok(gone)
}

fn calls(connection: &Connection, most: i64, now: Timestamp) -> Result<usize, rusqlite::Error> {
    let sql = "DELETE FROM calls WHERE n IN (SELECT n FROM calls WHERE begun < ?1 LIMIT ?2) RETURNING begun";
    let old = times(connection, sql, params![ago(KEPT, now), part()])?;
    if let Some(newest) = old.iter().max() {
        Horizon::Calls.move_to(connection, *newest)?;
    }
    let old = old.len();
    let last = beyond(connection, "calls", most)?;
    let sql = "SELECT max(begun) FROM (SELECT begun FROM calls WHERE n <= ?1 ORDER BY n LIMIT ?2)";
    let newest: Option<i64> = connection.query_row(sql, params![last, part()], |row| row.get(0))?;
    let Some(newest) = newest else { return Ok(old) };
    Horizon::Calls.move_to(connection, newest)?;
    let sql = "DELETE FROM calls WHERE n IN (SELECT n FROM calls WHERE n <= ?1 ORDER BY n LIMIT ?2)";
    Ok(old.max(connection.execute(sql, params![last, part()])?))
}

fn requests(connection: &Connection, most: i64) -> Result<usize, rusqlite::Error> {
    let sql = "SELECT count(*) FROM calls WHERE request IS NOT NULL";
    let over = connection.query_row(sql, [], |row| row.get::<_, i64>(0))?.saturating_sub(most);
    let sql = "UPDATE calls SET request = NULL
               WHERE n IN (SELECT n FROM calls WHERE request IS NOT NULL ORDER BY n LIMIT ?1)";
    connection.execute(sql, [over.clamp(0, part())])
}

fn resends(step: &mut Step<'_>, most: i64, now: Timestamp) -> Result<usize, rusqlite::Error> {
    let connection = step.connection;
    // Nobody has sent it, long after it could have been: its rule or its sink is gone.
    let sql = "UPDATE resends SET state = ?2, request = NULL, why = ?5
               WHERE n IN (SELECT n FROM resends WHERE until < ?1 AND state = ?3 LIMIT ?4) RETURNING rule";
    let bounds = params![ago(DAY, now) / 1_000_000, State::Never, State::Waiting, part(), NOBODY];
    let given_up: Vec<String> =
        connection.prepare(sql)?.query_map(bounds, |row| row.get(0))?.collect::<Result<_, _>>()?;
    for rule in &given_up {
        step.tally.wait(rule, -1);
        step.tally.resend(rule, "never");
    }
    let sql = "DELETE FROM resends WHERE n IN (SELECT n FROM resends WHERE until < ?1 AND state <> ?2 LIMIT ?3)
               RETURNING planned";
    let old = times(connection, sql, params![ago(DAY, now) / 1_000_000, State::Waiting, part()])?;
    // Those of a rule with a short `max_age` go long before others need the horizon.
    if let Some(newest) = old.iter().filter(|planned| **planned < ago(KEPT, now)).max() {
        Horizon::Messages.move_to(connection, *newest)?;
    }
    let old = old.len();
    let last = beyond(connection, "resends", most)?;
    let sql = "SELECT max(planned) FROM
               (SELECT planned FROM resends WHERE n <= ?1 AND state <> ?2 ORDER BY n LIMIT ?3)";
    let bounds = params![last, State::Waiting, part()];
    let newest: Option<i64> = connection.query_row(sql, bounds, |row| row.get(0))?;
    let Some(newest) = newest else { return Ok(old) };
    Horizon::Messages.move_to(connection, newest)?;
    let sql = "DELETE FROM resends WHERE n IN
               (SELECT n FROM resends WHERE n <= ?1 AND state <> ?2 ORDER BY n LIMIT ?3)";
    Ok(old.max(connection.execute(sql, params![last, State::Waiting, part()])?))
}

/// What goes early is told once more, should its status come again: no more than that.
fn not_again(connection: &Connection, most: i64, now: Timestamp) -> Result<usize, rusqlite::Error> {
    let sql = "DELETE FROM not_again WHERE n IN (SELECT n FROM not_again WHERE at < ?1 LIMIT ?2)";
    let old = connection.execute(sql, params![ago(KEPT, now), part()])?;
    let last = beyond(connection, "not_again", most)?;
    let sql = "DELETE FROM not_again WHERE n IN (SELECT n FROM not_again WHERE n <= ?1 ORDER BY n LIMIT ?2)";
    Ok(old.max(connection.execute(sql, params![last, part()])?))
}

/// The number up to which rows are too many. Numbers are given in order; what went from between them is counted as
/// there.
fn beyond(connection: &Connection, table: &str, most: i64) -> Result<i64, rusqlite::Error> {
    let sql = format!("SELECT coalesce(max(n), 0) FROM {table}");
    connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(|last| last.saturating_sub(most))
}
