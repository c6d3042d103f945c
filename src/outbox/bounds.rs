//! What bounds the messages that are sent for others: how many, how late, and how many of which nobody ever hears.
//! Reads what is remembered of calls, and changes nothing.

use rusqlite::{Connection, params};
use sink_api::{CallId, Origin, Reason, Timestamp};

use super::facts::CallState;
use super::store::{Horizon, Key};
use super::wanted::{Wanted, Why};
use super::{MAX_AGE, calls};

/// Why it is not sent at all, if it is not.
pub fn out_of_bounds(
    connection: &Connection,
    wanted: &Wanted,
    origin: &Origin,
    was_begun: bool,
    now: Timestamp,
) -> Result<Option<Reason>, rusqlite::Error> {
    let too_old = |why: String| Ok(Some(Reason::new("too_old", why)));
    let age = i64::try_from(wanted.bounds.max_age.min(MAX_AGE).as_secs()).unwrap_or(i64::MAX);
    let latest = origin.since.saturating_add(age);
    let latest = match &wanted.why {
        Why::Resend(command) => command.until.map_or(latest, |until| until.min(latest)),
        Why::Status { .. } | Why::Sample | Why::Other => latest,
    };
    if now.as_second() > latest {
        let over = now.as_second().saturating_sub(latest);
        return too_old(format!("nothing is sent so late (`max_age`): it is {over} s too late"));
    }
    let (micros, since) = (wanted.accepted.as_microsecond(), origin.since.saturating_mul(1_000_000));
    let is_behind = |horizon: Option<i64>, time| horizon.is_some_and(|horizon| time <= horizon);
    if !was_begun && is_behind(Horizon::Calls.read(connection)?, micros) {
        return too_old("what was sent so early is not remembered any more: nobody knows whether this was".to_owned());
    }
    let is_resend = matches!(wanted.why, Why::Resend(_));
    if is_resend && is_behind(Horizon::Messages.read(connection)?, since) {
        return too_old("what became of so early messages is not remembered: it may have been delivered".to_owned());
    }
    if origin.attempt == 0 {
        return Ok(None);
    }
    let most = wanted.bounds.max_attempts;
    let unheard = if is_strangers(connection, wanted)? { unheard_at(connection, wanted, now)? } else { 0 };
    if unheard >= i64::from(most) {
        let why = format!(
            "no status tells of the last {unheard} messages that this sink sent to the same customer for what became \
             of others, and this may be about one of them: at most {most} are sent (`max_attempts` of the sink)"
        );
        return Ok(Some(Reason::new("exhausted", why)));
    }
    let made = made_for(connection, &origin.of, wanted.call)?;
    let why = || {
        let attempt = i64::from(origin.attempt).max(made.saturating_add(1));
        format!("it would be try {attempt} for one message, at most {most} are made (`max_attempts` of the sink)")
    };
    Ok((origin.attempt > most || made >= i64::from(most)).then(|| Reason::new("exhausted", why())))
}

/// How many other messages were, or may have been, sent for that first one. Those of one message may be many: each of
/// its statuses may have something sent.
fn made_for(connection: &Connection, first: &str, but: CallId) -> Result<i64, rusqlite::Error> {
    let sql = "SELECT count(*) FROM calls WHERE first = ?1 AND first <> '' AND id <> ?2 AND (state <> ?3 OR lost)";
    let of = params![first, Key::from(but), CallState::NotSent];
    connection.prepare_cached(sql)?.query_row(of, |row| row.get(0))
}

/// Whether it is for a status of which nothing says that it is of a message of ours.
fn is_strangers(connection: &Connection, wanted: &Wanted) -> Result<bool, rusqlite::Error> {
    match &wanted.why {
        Why::Status { message, origin: None, .. } => Ok(calls::origin_of(connection, message)?.is_none()),
        _ => Ok(false),
    }
}

/// How many other messages that sink sent, or may have sent, to the customer for what became of others, in the time in
/// which anything may be, of which no status tells. Each may be one that a stranger's status is about.
fn unheard_at(connection: &Connection, wanted: &Wanted, now: Timestamp) -> Result<i64, rusqlite::Error> {
    let sql = "SELECT count(*) FROM calls WHERE phone = ?1 AND sink = ?2 AND attempt > 0 AND status IS NULL
               AND begun > ?3 AND (state <> ?4 OR lost) AND id <> ?5";
    let of = params![wanted.phone, wanted.sink, earliest(now), CallState::NotSent, Key::from(wanted.call)];
    connection.prepare_cached(sql)?.query_row(of, |row| row.get(0))
}

/// How many messages were, or may have been, sent again to that phone by that rule, in the time in which anything may
/// be, of which no status tells.
pub fn unheard_of(connection: &Connection, phone: &str, rule: &str, now: Timestamp) -> Result<i64, rusqlite::Error> {
    let sql = "SELECT count(*) FROM calls CROSS JOIN resends ON resends.call = calls.id
               WHERE calls.phone = ?1 AND status IS NULL AND begun > ?2 AND (calls.state <> ?3 OR lost) AND rule = ?4";
    connection.prepare_cached(sql)?.query_row(params![phone, earliest(now), CallState::NotSent, rule], |row| row.get(0))
}

/// When the time began in which anything may still be sent for what was sent then, microseconds.
fn earliest(now: Timestamp) -> i64 {
    now.as_microsecond().saturating_sub(i64::try_from(MAX_AGE.as_micros()).unwrap_or(i64::MAX))
}
