//! The calls that sinks make: each is written down before it begins, so that it is not made twice where that can be
//! known. A call whose answer was lost is settled by a status that carries its id.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sink_api::outbox::{Begun, End};
use sink_api::{CallId, Origin, Reason, Timestamp};

use super::bounds;
use super::facts::{CallState, SentMessage};
use super::heard;
use super::planned::State;
use super::resends::{self, CANCELLED, OVERTAKEN, RULE_GONE, Resend};
use super::store::Key;
use super::thread::Step;
use super::wanted::{Wanted, Why, nameable};
use super::{MAX_MESSAGE_ID, STATUSES};
use crate::message::Status;

/// Shortest and longest pause between two looks whether a status has settled a lost answer.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// Pause where statuses were not read up to now.
const BEHIND: Duration = Duration::from_secs(2);

/// What came of asking.
#[derive(Debug)]
pub enum Started {
    /// The answer, without a call.
    Answer(Begun),
    /// The call's start is written down. It may be made with this origin once what was said in the meantime is heard,
    /// where `ask`; else now.
    Start {
        /// What it carries.
        origin: Origin,
        /// What stood there before.
        before: Option<Before>,
        /// Whether statuses may have something to say about it.
        ask: bool,
    },
}

/// How far a call was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    state: CallState,
    begun: i64,
    /// When its answer was given up.
    lost_at: Option<i64>,
    message: Option<String>,
    /// Whether the answer to an earlier try was lost.
    was_lost: bool,
}

impl Before {
    /// Whether it was made last, and nobody knows what came of it.
    fn is_lost(&self) -> bool {
        matches!(self.state, CallState::Begun | CallState::Unknown)
    }
}

/// What the rules in force say of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruled {
    /// Nothing.
    Free,
    /// The customer is not to be disturbed until then.
    Quiet(Timestamp),
    /// The rule that wanted it is not among them.
    Gone,
}

/// Writes down that a call begins, unless it may not.
pub fn start(step: &mut Step<'_>, wanted: &Wanted, ruled: Ruled, now: Timestamp) -> Result<Started, rusqlite::Error> {
    let before = before(step.connection, wanted.call)?;
    let resend = resends::of_call(step.connection, wanted.call)?;
    if let Some(answer) = settled(step, wanted, before.as_ref(), resend.as_ref())? {
        return Ok(Started::Answer(answer));
    }
    if let Some(why) = unwanted(step.connection, wanted, resend.as_ref())? {
        return Ok(Started::Answer(Begun::Unwanted(why)));
    }
    let lost = before.as_ref().filter(|before| before.is_lost());
    let lost_at = lost.map(|lost| lost.lost_at.unwrap_or(lost.begun));
    if lost_at.is_some_and(|at| at > now.as_microsecond()) {
        // The clock was put back: it counts from now on.
        lost_now(step.connection, wanted.call, now)?;
    }
    if let Some(after) = lost_at.and_then(|at| still(at, wanted.bounds.confirm, now)) {
        let why = "its answer was lost: a status may still tell whether it was sent";
        return Ok(Started::Answer(Begun::Later { after, why: Reason::new("unconfirmed", why) }));
    }
    if ruled == Ruled::Gone {
        if let Some(resend) = &resend {
            resends::end(step, resend, State::Cancelled, "cancelled", Some(RULE_GONE))?;
        }
        return Ok(Started::Answer(Begun::Unwanted(Reason::new("cancelled", RULE_GONE))));
    }
    let origin = origin(step.connection, wanted)?;
    if let Some(why) = bounds::out_of_bounds(step.connection, wanted, &origin, before.is_some(), now)? {
        if let Some(resend) = &resend {
            resends::end(step, resend, State::Never, "never", Some(&why.detail))?;
        }
        return Ok(Started::Answer(Begun::Never(why)));
    }
    if let Ruled::Quiet(until) = ruled {
        let left = until.as_microsecond().saturating_sub(now.as_microsecond());
        let after = Duration::from_micros(u64::try_from(left).unwrap_or_default());
        let why = Reason::new("quiet", "the quiet hours of its rule have begun since it was handed over");
        return Ok(Started::Answer(Begun::Later { after, why }));
    }
    let was_lost = before.as_ref().is_some_and(|before| before.is_lost() || before.was_lost);
    write(step.connection, wanted, &origin, was_lost, now)?;
    // What the provider seemed not to take, as it said nothing that can be read, may have been sent all the same.
    let ask = before.is_some() || matches!(wanted.why, Why::Resend(_));
    Ok(Started::Start { origin, before, ask })
}

/// Looks again, now that all is heard that was said before the call's start was written down. None: it is to be made.
pub fn look_again(
    step: &mut Step<'_>,
    wanted: &Wanted,
    before: Option<&Before>,
) -> Result<Option<Begun>, rusqlite::Error> {
    let begun = self::before(step.connection, wanted.call)?;
    let resend = resends::of_call(step.connection, wanted.call)?;
    let answer = settled(step, wanted, begun.as_ref(), resend.as_ref())?;
    if matches!(answer, Some(Begun::Unwanted(_))) {
        take_back(step.connection, wanted.call, before)?;
    }
    if answer.is_none() && before.is_some_and(Before::is_lost) {
        step.tally.call(&wanted.sink, "repeated");
    }
    Ok(answer)
}

/// Takes back that a call began, as it is not made now.
pub fn take_back(connection: &Connection, call: CallId, before: Option<&Before>) -> Result<(), rusqlite::Error> {
    let sql = "UPDATE calls SET state = ?2, begun = coalesce(?3, begun), lost_at = ?5, made = made - 1
               WHERE id = ?1 AND state = ?4";
    let state = before.map_or(CallState::NotSent, |before| before.state);
    let (begun, lost_at) = (before.map(|before| before.begun), before.and_then(|before| before.lost_at));
    let back = params![Key::from(call), state, begun, CallState::Begun, lost_at];
    connection.prepare_cached(sql)?.execute(back).map(drop)
}

/// The answer where statuses are not read up to now.
pub fn behind() -> Begun {
    Begun::Later { after: BEHIND, why: Reason::new("behind", "statuses are not read up to now") }
}

/// What is settled already: it was sent, or nobody wants it any more.
fn settled(
    step: &mut Step<'_>,
    wanted: &Wanted,
    call: Option<&Before>,
    resend: Option<&Resend>,
) -> Result<Option<Begun>, rusqlite::Error> {
    let is_sent = call.is_some_and(|call| call.state == CallState::Sent);
    let message = call.and_then(|call| call.message.clone()).or_else(|| resend.and_then(|one| one.message.clone()));
    if is_sent || message.is_some() {
        return Ok(Some(Begun::Sent { message }));
    }
    let Why::Resend(command) = &wanted.why else { return Ok(None) };
    let overtaken = || Begun::Unwanted(Reason::new("overtaken", OVERTAKEN));
    match resend.map(|resend| resend.state) {
        Some(State::Cancelled) => {
            return Ok(Some(Begun::Unwanted(Reason::new("cancelled", CANCELLED))));
        }
        Some(State::Overtaken) => return Ok(Some(overtaken())),
        _ => {}
    }
    // Without its row, which went with a file that was lost, the event has to say which messages those are.
    let named = [command.of.as_deref(), command.failed.as_deref()];
    let roots = resend.map_or(named, |resend| [Some(resend.root.as_str()), None]);
    for root in roots.into_iter().flatten() {
        if heard::is_delivered(step.connection, root)? {
            if let Some(resend) = resend {
                resends::end(step, resend, State::Overtaken, "overtaken", Some(OVERTAKEN))?;
            }
            return Ok(Some(overtaken()));
        }
    }
    Ok(None)
}

/// Why nobody wants it, whatever became of the message before it: it is for a sample, or another sink sends it.
fn unwanted(
    connection: &Connection,
    wanted: &Wanted,
    resend: Option<&Resend>,
) -> Result<Option<Reason>, rusqlite::Error> {
    match &wanted.why {
        Why::Sample => Ok(Some(Reason::new("sample", "nobody is written to because a sample was sent"))),
        // Its event was in the journal already when a kill came, and its rule names another sink since then.
        Why::Resend(_) if resend.is_none() && resends::of_event(connection, wanted.event)?.is_some() => {
            Ok(Some(Reason::new("cancelled", "its rule names another sink by now, which sends it")))
        }
        Why::Resend(_) | Why::Status { .. } | Why::Other => Ok(None),
    }
}

/// How long to wait until it is looked again, where the answer was lost less than `confirm` ago.
fn still(lost_at: i64, confirm: Duration, now: Timestamp) -> Option<Duration> {
    let since = Duration::from_micros(u64::try_from(now.as_microsecond().saturating_sub(lost_at)).unwrap_or_default());
    let rest = confirm.checked_sub(since).filter(|rest| !rest.is_zero())?;
    Some(since.clamp(LOOKS.0, LOOKS.1).min(rest.max(LOOKS.0)))
}

/// Why the message is sent: as how many-th further try for which first one.
fn origin(connection: &Connection, wanted: &Wanted) -> Result<Origin, rusqlite::Error> {
    let accepted = wanted.accepted.as_second();
    let call = wanted.call;
    let none = Origin { call, attempt: 0, since: accepted, of: String::new() };
    Ok(match &wanted.why {
        Why::Resend(command) => {
            let of = command.of.clone().unwrap_or_default();
            Origin { call, attempt: command.attempt, since: command.since, of }
        }
        Why::Status { message, origin, received, is_sent } => {
            let ours = match origin {
                Some(origin) => Some(origin.clone()),
                None => origin_of(connection, message)?,
            };
            match ours {
                Some(Origin { call: theirs, attempt, since, of }) => {
                    let first = || first_message(connection, theirs);
                    let of = match of {
                        of if of.is_empty() => nameable(first()?.as_ref().unwrap_or(message)),
                        of => of,
                    };
                    Origin { call, attempt: attempt.saturating_add(1), since: since.min(accepted), of }
                }
                None if *is_sent => {
                    // A clock that is ahead of ours keeps nothing alive.
                    let since = received.map_or(accepted, |received| received.min(accepted));
                    Origin { call, attempt: 1, since, of: nameable(message) }
                }
                None => none,
            }
        }
        Why::Sample | Why::Other => none,
    })
}

fn before(connection: &Connection, call: CallId) -> Result<Option<Before>, rusqlite::Error> {
    let row = |row: &Row<'_>| {
        let (state, begun, lost_at) = (row.get(0)?, row.get(1)?, row.get(4)?);
        Ok(Before { state, begun, lost_at, message: row.get(2)?, was_lost: row.get(3)? })
    };
    let sql = "SELECT state, begun, message, lost, lost_at FROM calls WHERE id = ?1";
    connection.prepare_cached(sql)?.query_row([Key::from(call)], row).optional()
}

fn write(
    connection: &Connection,
    wanted: &Wanted,
    origin: &Origin,
    was_lost: bool,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    let sql = "INSERT INTO calls (id, sink, state, begun, attempt, since, first, phone, request, lost, delivery,
               made) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 1)
               ON CONFLICT (id) DO UPDATE SET state = ?3, begun = ?4, lost_at = NULL, lost = ?10, made = made + 1";
    let Wanted { call, sink, delivery, phone, request, .. } = wanted;
    let Origin { attempt, since, of, .. } = origin;
    let (key, begun) = (Key::from(*call), now.as_microsecond());
    connection
        .prepare_cached(sql)?
        .execute(params![key, sink, CallState::Begun, begun, attempt, since, of, phone, request, was_lost, delivery])
        .map(drop)
}

/// Writes down what came of a call.
pub fn end(step: &mut Step<'_>, call: CallId, end: &End, now: Timestamp) -> Result<(), rusqlite::Error> {
    let sql = "SELECT sink FROM calls WHERE id = ?1";
    let sink = step.connection.prepare_cached(sql)?.query_row([Key::from(call)], |row| row.get::<_, String>(0));
    let Some(sink) = sink.optional()? else { return Ok(()) };
    let is = |state: CallState| {
        let sql = "UPDATE calls SET state = ?2 WHERE id = ?1 AND state <> ?3";
        let mut statement = step.connection.prepare_cached(sql)?;
        statement.execute(params![Key::from(call), state, CallState::Sent]).map(drop)
    };
    let outcome = match end {
        End::Sent { message } => {
            let message = message.as_deref().and_then(|id| id.get(..id.floor_char_boundary(MAX_MESSAGE_ID)));
            sent(step, call, message)?;
            // Its statuses may have come before the answer, without the call's id.
            if let Some(message) = message
                && heard::is_delivered(step.connection, message)?
            {
                heard::delivered(step, Some(call), message, now)?;
            }
            "sent"
        }
        End::NotSent => is(CallState::NotSent).map(|()| "not_sent")?,
        End::Unknown => {
            is(CallState::Unknown)?;
            lost_now(step.connection, call, now)?;
            "unknown"
        }
    };
    step.tally.call(&sink, outcome);
    Ok(())
}

/// The answer of a call is given up now.
fn lost_now(connection: &Connection, call: CallId, now: Timestamp) -> Result<(), rusqlite::Error> {
    let sql = "UPDATE calls SET lost_at = ?2 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![Key::from(call), now.as_microsecond()]).map(drop)
}

/// A call brought about a message, as its answer or a status says, which may say its id.
pub fn sent(step: &mut Step<'_>, call: CallId, message: Option<&str>) -> Result<(), rusqlite::Error> {
    let sql = "UPDATE calls SET state = ?2, message = coalesce(message, ?3)
               WHERE id = ?1 AND (state <> ?2 OR message IS NULL)";
    step.connection.prepare_cached(sql)?.execute(params![Key::from(call), CallState::Sent, message])?;
    resends::sent(step, call, message)
}

/// A status of that message carries the call's id: whatever became of the answer, it was sent.
pub fn confirmed(step: &mut Step<'_>, call: CallId, message: &str) -> Result<(), rusqlite::Error> {
    let sql = "SELECT sink, state, begun FROM calls WHERE id = ?1";
    let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, CallState>(1)?, row.get::<_, i64>(2)?));
    let found = step.connection.prepare_cached(sql)?.query_row([Key::from(call)], row).optional()?;
    let Some((sink, state, begun)) = found else { return resends::sent(step, call, Some(message)) };
    // One that is under way will have its answer.
    let is_lost = state != CallState::Begun || begun < step.opened;
    if state != CallState::Sent && is_lost {
        step.tally.call(&sink, "confirmed");
    }
    sent(step, call, Some(message))
}

/// Notes a status of a message that a sink of ours sent; once it is delivered, the request is needed no more.
pub fn note(
    connection: &Connection,
    call: Option<CallId>,
    message: &str,
    status: Status,
) -> Result<(), rusqlite::Error> {
    let rank = STATUSES.iter().position(|one| *one == status).map_or(0, usize::cast_signed);
    let is_there = status >= Status::Delivered;
    let set = "UPDATE calls SET status = max(coalesce(status, 0), ?2),
               request = CASE WHEN ?3 THEN NULL ELSE request END WHERE";
    match call {
        Some(call) => {
            connection.prepare_cached(&format!("{set} id = ?1"))?.execute(params![Key::from(call), rank, is_there])
        }
        None => connection.prepare_cached(&format!("{set} message = ?1"))?.execute(params![message, rank, is_there]),
    }
    .map(drop)
}

/// The request that sent a message, where it is still there.
pub fn request(
    connection: &Connection,
    call: Option<CallId>,
    message: &str,
) -> Result<Option<Vec<u8>>, rusqlite::Error> {
    let row = |row: &Row<'_>| row.get::<_, Option<Vec<u8>>>(0);
    let found = match call {
        Some(call) => connection
            .prepare_cached("SELECT request FROM calls WHERE id = ?1")?
            .query_row([Key::from(call)], row)
            .optional()?,
        None => connection
            .prepare_cached("SELECT request FROM calls WHERE message = ?1")?
            .query_row([message], row)
            .optional()?,
    };
    Ok(found.flatten())
}

const COLUMNS: &str = "id, sink, begun, state, message, status, attempt, first, phone, since, delivery";

fn read(row: &Row<'_>) -> Result<(SentMessage, i64), rusqlite::Error> {
    let status: Option<i64> = row.get(5)?;
    let sent = SentMessage {
        call: row.get::<_, Key>(0)?.into(),
        sink: row.get(1)?,
        begun: Timestamp::from_microsecond(row.get(2)?).unwrap_or_default(),
        state: row.get(3)?,
        message: row.get(4)?,
        status: status.and_then(|rank| STATUSES.get(usize::try_from(rank).ok()?).copied()),
        attempt: row.get(6)?,
        of: row.get(7)?,
        phone: row.get(8)?,
        delivery: row.get(10)?,
    };
    Ok((sent, row.get(9)?))
}

/// The call that sent a message, and `since` of it.
pub fn of_message(connection: &Connection, message: &str) -> Result<Option<(SentMessage, i64)>, rusqlite::Error> {
    let sql = format!("SELECT {COLUMNS} FROM calls WHERE message = ?1 ORDER BY n LIMIT 1");
    connection.prepare_cached(&sql)?.query_row([message], read).optional()
}

/// Why that message was sent, as far as that is remembered.
pub fn origin_of(connection: &Connection, message: &str) -> Result<Option<Origin>, rusqlite::Error> {
    let sent = of_message(connection, message)?;
    Ok(sent.map(|(sent, since)| Origin { call: sent.call, attempt: sent.attempt, since, of: sent.of }))
}

/// Whether a call is known to have brought about another message, and one alone: then a text that names it was copied,
/// or the call was repeated on its way.
pub fn is_anothers(connection: &Connection, call: CallId, message: &str) -> Result<bool, rusqlite::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM calls WHERE id = ?1 AND state = ?2 AND message <> ?3 AND made <= 1)";
    connection.prepare_cached(sql)?.query_row(params![Key::from(call), CallState::Sent, message], |row| row.get(0))
}

/// The message of a call that was known first. Where an answer was lost, the call may have brought about several.
pub fn first_message(connection: &Connection, call: CallId) -> Result<Option<String>, rusqlite::Error> {
    let sql = "SELECT message FROM calls WHERE id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([Key::from(call)], |row| row.get(0)).optional()?.flatten())
}

/// A call.
pub fn of_id(connection: &Connection, call: CallId) -> Result<Option<SentMessage>, rusqlite::Error> {
    let sql = format!("SELECT {COLUMNS} FROM calls WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([Key::from(call)], read).optional()?.map(|(call, _)| call))
}

/// The calls to a phone, the latest first.
pub fn of_phone(connection: &Connection, phone: &str, most: usize) -> Result<Vec<SentMessage>, rusqlite::Error> {
    let sql = format!("SELECT {COLUMNS} FROM calls WHERE phone = ?1 ORDER BY n DESC LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![phone, i64::try_from(most).unwrap_or(i64::MAX)], read)?;
    rows.map(|row| row.map(|(call, _)| call)).collect()
}
