//! Messages that failed and are to be sent again: what waits until it is due, and what became of the others. A message
//! that failed has one row at most, ever.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sink_api::{CallId, Timestamp, Uuid};

use super::calls;
use super::facts::CallState;
use super::planned::{Chain, Cursor, Planned, State};
use super::store::Key;
use super::thread::Step;
use crate::ids;

/// Why one is not sent: somebody cancelled it; a message of its chain got there; its rule is gone.
pub const CANCELLED: &str = "somebody gave it up";
pub const CANCELLED_LATE: &str =
    "somebody gave it up; its call had been made and the answer lost, so that it may have been sent";
pub const OVERTAKEN: &str = "a message of its chain was delivered or read meanwhile";
pub const RULE_GONE: &str = "its rule is not in the config any more";
/// Most that one cancellation gives up.
const MOST_CANCELLED: usize = 1000;

/// What decides about a call for such a message.
#[derive(Clone, Debug)]
pub struct Resend {
    id: Key,
    rule: String,
    /// The first message of its chain.
    pub root: String,
    /// How far it is.
    pub state: State,
    /// The message that it became.
    pub message: Option<String>,
}

fn brief(row: &Row<'_>) -> Result<Resend, rusqlite::Error> {
    Ok(Resend { id: row.get(0)?, rule: row.get(1)?, root: row.get(2)?, state: row.get(3)?, message: row.get(4)? })
}

const BRIEF: &str = "SELECT id, rule, root, state, message FROM resends";

/// The row that a call is made for.
pub fn of_call(connection: &Connection, call: CallId) -> Result<Option<Resend>, rusqlite::Error> {
    let sql = format!("{BRIEF} WHERE call = ?1");
    connection.prepare_cached(&sql)?.query_row([Key::from(call)], brief).optional()
}

/// The row that an event has sent, whichever sink it goes to now.
pub fn of_event(connection: &Connection, event: Uuid) -> Result<Option<Resend>, rusqlite::Error> {
    let sql = format!("{BRIEF} WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([Key::from(event)], brief).optional()
}

/// The first message of the chain that a message belongs to by rules that had it sent again; itself where none did. Of
/// the messages of one call, of which there are several where an answer was lost, it is the one known first.
pub fn root(connection: &Connection, call: Option<CallId>, message: &str) -> Result<String, rusqlite::Error> {
    let by_call = call.map(|call| of_call(connection, call)).transpose()?.flatten();
    if let Some(resend) = by_call {
        return Ok(resend.root);
    }
    let sql =
        "SELECT root FROM resends WHERE message = ?1 UNION ALL SELECT root FROM resends WHERE failed = ?1 LIMIT 1";
    let root = connection.prepare_cached(sql)?.query_row([message], |row| row.get(0)).optional()?;
    if let Some(root) = root {
        return Ok(root);
    }
    let first = call.map(|call| calls::first_message(connection, call)).transpose()?.flatten();
    Ok(first.unwrap_or_else(|| message.to_owned()))
}

/// Whether something was planned already for that failed message, or for a later try of its chain than it was.
pub fn is_planned(connection: &Connection, failed: &str, root: &str, tried: u32) -> Result<bool, rusqlite::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM resends WHERE failed = ?1)
               OR EXISTS (SELECT 1 FROM resends WHERE root = ?2 AND attempt > ?3)";
    connection.prepare_cached(sql)?.query_row(params![failed, root, tried], |row| row.get(0))
}

/// What was planned for a chain so far.
pub fn chain(connection: &Connection, root: &str) -> Result<Chain, rusqlite::Error> {
    let sql = "SELECT code, count(*) FROM resends WHERE root = ?1 GROUP BY code";
    let mut statement = connection.prepare_cached(sql)?;
    let by_code: BTreeMap<String, u32> =
        statement.query_map([root], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    Ok(Chain { total: by_code.values().sum(), by_code })
}

/// Notes what is to be sent again.
pub fn plan(step: &mut Step<'_>, planned: &Planned, root: &str) -> Result<(), rusqlite::Error> {
    let sql =
        "INSERT INTO resends (id, call, state, rule, sink, failed, root, first, attempt, since, until, due, planned,
               code, phone, request, missing, template)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
    let Planned { id, rule, to, failed, of, attempt, since, until, due, planned: at, .. } = planned;
    let Planned { code, phone, request, missing, template, .. } = planned;
    let call = Key::from(CallId::of(to, &id.to_string()));
    let (due, at) = (due.as_microsecond(), at.as_microsecond());
    step.connection.prepare_cached(sql)?.execute(params![
        Key::from(*id),
        call,
        State::Waiting,
        rule,
        to,
        failed,
        root,
        of,
        attempt,
        since,
        until,
        due,
        at,
        code,
        phone,
        request,
        missing,
        template
    ])?;
    step.tally.resend(rule, if missing.is_some() { "incomplete" } else { "planned" });
    step.tally.wait(rule, 1);
    step.tally.changed();
    Ok(())
}

/// Puts a row in a state from which it does not come back but by a message that was sent after all.
pub fn end(
    step: &mut Step<'_>,
    resend: &Resend,
    state: State,
    outcome: &'static str,
    why: Option<&str>,
) -> Result<(), rusqlite::Error> {
    let sql = "UPDATE resends SET state = ?2, request = NULL, why = ?4 WHERE id = ?1 AND state = ?3";
    let changed = step.connection.prepare_cached(sql)?.execute(params![resend.id, state, resend.state, why])?;
    if changed > 0 && resend.state != state {
        step.tally.resend(&resend.rule, outcome);
        if resend.state == State::Waiting {
            step.tally.wait(&resend.rule, -1);
            step.tally.changed();
        }
    }
    Ok(())
}

/// Its call brought about that message, whose id may not be known yet.
pub fn sent(step: &mut Step<'_>, call: CallId, message: Option<&str>) -> Result<(), rusqlite::Error> {
    let Some(resend) = of_call(step.connection, call)?.filter(|resend| resend.message.is_none()) else {
        return Ok(());
    };
    let sql = "UPDATE resends SET message = ?2 WHERE id = ?1";
    step.connection.prepare_cached(sql)?.execute(params![resend.id, message])?;
    end(step, &resend, State::Sent, "sent", None)
}

/// A message of that chain was delivered or read: what waits of it is not needed.
pub fn overtake(step: &mut Step<'_>, root: &str) -> Result<(), rusqlite::Error> {
    let sql = format!("{BRIEF} WHERE root = ?1 AND state = ?2");
    let waiting: Vec<Resend> = {
        let mut statement = step.connection.prepare_cached(&sql)?;
        statement.query_map(params![root, State::Waiting], brief)?.collect::<Result<_, _>>()?
    };
    waiting.iter().try_for_each(|resend| end(step, resend, State::Overtaken, "overtaken", Some(OVERTAKEN)))
}

/// A row that waits goes to that sink: its call is that sink's. Says whether it waits.
pub fn hand_to(connection: &Connection, id: Uuid, to: &str) -> Result<bool, rusqlite::Error> {
    let sql = "UPDATE resends SET sink = ?2, call = ?3 WHERE id = ?1 AND state = ?4";
    let call = Key::from(CallId::of(to, &id.to_string()));
    let set = params![Key::from(id), to, call, State::Waiting];
    connection.prepare_cached(sql)?.execute(set).map(|changed| changed > 0)
}

/// The event of a row that waits is in the journal. What lacks something goes no further than that.
pub fn handed(step: &mut Step<'_>, id: Uuid) -> Result<(), rusqlite::Error> {
    let sql = "UPDATE resends SET request = NULL, state = CASE WHEN missing IS NULL THEN ?2 ELSE ?3 END
               WHERE id = ?1 AND state = ?4 RETURNING rule";
    let states = params![Key::from(id), State::Handed, State::Never, State::Waiting];
    let rule = step.connection.prepare_cached(sql)?.query_row(states, |row| row.get::<_, String>(0)).optional()?;
    if let Some(rule) = rule {
        step.tally.wait(&rule, -1);
    }
    Ok(())
}

/// A row that waits is not due before then.
pub fn put_off(connection: &Connection, id: Uuid, until: Timestamp) -> Result<(), rusqlite::Error> {
    let sql = "UPDATE resends SET due = ?2 WHERE id = ?1 AND state = ?3";
    let set = params![Key::from(id), until.as_microsecond(), State::Waiting];
    connection.prepare_cached(sql)?.execute(set).map(drop)
}

const COLUMNS: &str = "SELECT id, rule, sink, failed, first, attempt, since, until, due, planned, code, phone,
                       NULL AS request, missing, template, state, message, why FROM resends";

fn whole(row: &Row<'_>) -> Result<Planned, rusqlite::Error> {
    let time = |at: i64| Timestamp::from_microsecond(at).unwrap_or_default();
    Ok(Planned {
        id: row.get::<_, Key>("id")?.into(),
        rule: row.get("rule")?,
        to: row.get("sink")?,
        failed: row.get("failed")?,
        of: row.get("first")?,
        attempt: row.get("attempt")?,
        since: row.get("since")?,
        until: row.get("until")?,
        due: time(row.get("due")?),
        planned: time(row.get("planned")?),
        code: row.get("code")?,
        phone: row.get("phone")?,
        request: row.get::<_, Option<String>>("request")?.map(Into::into),
        missing: row.get("missing")?,
        template: row.get("template")?,
        state: row.get("state")?,
        message: row.get("message")?,
        why: row.get("why")?,
    })
}

/// How many rows SQL may give.
fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// The sinks for which something waits.
pub fn sinks(connection: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    // One step of the index for each.
    let sql = "WITH RECURSIVE names (sink) AS (
                 SELECT min(sink) FROM resends WHERE state = 0 UNION ALL
                 SELECT (SELECT min(sink) FROM resends WHERE state = 0 AND sink > names.sink) FROM names
                 WHERE names.sink IS NOT NULL)
               SELECT sink FROM names WHERE sink IS NOT NULL";
    connection.prepare_cached(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// What is due for a sink, the earliest first, with what is to be sent.
pub fn due_of(
    connection: &Connection,
    sink: &str,
    now: Timestamp,
    most: usize,
) -> Result<Vec<Planned>, rusqlite::Error> {
    let columns = COLUMNS.replace("NULL AS request", "request");
    let sql = format!("{columns} WHERE state = 0 AND sink = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3");
    let of = params![sink, now.as_microsecond(), limit(most)];
    connection.prepare_cached(&sql)?.query_map(of, whole)?.collect()
}

fn place(after: Option<Cursor>) -> (i64, Key) {
    after.map_or((i64::MIN, Key([0; 16])), |Cursor { due, id }| (due.as_microsecond(), id.into()))
}

/// When the next one is due.
pub fn next_due(connection: &Connection) -> Result<Option<Timestamp>, rusqlite::Error> {
    let sql = "SELECT min(due) FROM resends WHERE state = 0";
    let due: Option<i64> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(due.and_then(|due| Timestamp::from_microsecond(due).ok()))
}

/// What waits, from behind that place on; for lists.
pub fn waiting(connection: &Connection, after: Option<Cursor>, most: usize) -> Result<Vec<Planned>, rusqlite::Error> {
    let sql = format!("{COLUMNS} WHERE state = 0 AND (due, id) > (?1, ?2) ORDER BY due, id LIMIT ?3");
    let (due, id) = place(after);
    connection.prepare_cached(&sql)?.query_map(params![due, id, limit(most)], whole)?.collect()
}

/// All that was planned for a chain, in the order of its tries.
pub fn of_root(connection: &Connection, root: &str, most: usize) -> Result<Vec<Planned>, rusqlite::Error> {
    let sql = format!("{COLUMNS} WHERE root = ?1 ORDER BY attempt, n LIMIT ?2");
    connection.prepare_cached(&sql)?.query_map(params![root, limit(most)], whole)?.collect()
}

/// Gives up what is still to be sent: the row of that id, whole or short, or all of a message's chain, but those.
pub fn cancel(step: &mut Step<'_>, named: &str, but: &[Uuid]) -> Result<Vec<Planned>, rusqlite::Error> {
    let mut cancelled = Vec::new();
    for planned in meant(step.connection, named)? {
        let may = matches!(planned.state, State::Waiting | State::Handed) && !but.contains(&planned.id);
        if !may || is_under_way(step, &planned)? {
            continue;
        }
        let resend = Resend {
            id: planned.id.into(),
            rule: planned.rule.clone(),
            root: String::new(),
            state: planned.state,
            message: None,
        };
        let why = if may_have_gone(step.connection, &planned)? { CANCELLED_LATE } else { CANCELLED };
        end(step, &resend, State::Cancelled, "cancelled", Some(why))?;
        cancelled.push(Planned { state: State::Cancelled, why: Some(why.to_owned()), ..planned });
    }
    Ok(cancelled)
}

/// Gives up what is due and waits by that rule, which is gone; a part of it. Says how much.
pub fn cancel_rule(step: &mut Step<'_>, rule: &str, now: Timestamp) -> Result<usize, rusqlite::Error> {
    let sql = "UPDATE resends SET state = ?3, request = NULL, why = ?5 WHERE n IN
               (SELECT n FROM resends WHERE state = 0 AND due <= ?2 AND rule = ?1 LIMIT ?4)";
    let of = params![rule, now.as_microsecond(), State::Cancelled, limit(MOST_CANCELLED), RULE_GONE];
    let cancelled = step.connection.prepare_cached(sql)?.execute(of)?;
    for _ in 0..cancelled {
        step.tally.wait(rule, -1);
        step.tally.resend(rule, "cancelled");
    }
    Ok(cancelled)
}

/// The rows that somebody means: the one of that id, whole or short, or all of a message's chain.
pub fn meant(connection: &Connection, named: &str) -> Result<Vec<Planned>, rusqlite::Error> {
    if let Some(id) = ids::event(named) {
        let sql = format!("{COLUMNS} WHERE id = ?1");
        let found = connection.prepare_cached(&sql)?.query_row([Key::from(id)], whole).optional()?;
        if let Some(found) = found {
            return Ok(vec![found]);
        }
    }
    if let Some(end) = ids::end(named) {
        let sql = format!("{COLUMNS} WHERE state = 0 AND substr(id, -{}) = ?1 LIMIT 2", end.len());
        let found: Vec<Planned> =
            connection.prepare_cached(&sql)?.query_map([end], whole)?.collect::<Result<_, _>>()?;
        if found.len() == 1 {
            return Ok(found);
        }
    }
    let sql = format!("{COLUMNS} WHERE failed = ?1 OR root = ?1 OR message = ?1 LIMIT ?2");
    connection.prepare_cached(&sql)?.query_map(params![named, limit(MOST_CANCELLED)], whole)?.collect()
}

/// Whether its call was made, and its answer lost.
fn may_have_gone(connection: &Connection, planned: &Planned) -> Result<bool, rusqlite::Error> {
    let call = Key::from(CallId::of(&planned.to, &planned.id.to_string()));
    let sql = "SELECT EXISTS (SELECT 1 FROM calls WHERE id = ?1 AND (state IN (?2, ?3) OR lost))";
    let lost = params![call, CallState::Begun, CallState::Unknown];
    connection.prepare_cached(sql)?.query_row(lost, |row| row.get(0))
}

/// Whether its call is being made: one that began in an earlier life of the daemon is not.
fn is_under_way(step: &Step<'_>, planned: &Planned) -> Result<bool, rusqlite::Error> {
    let call = Key::from(CallId::of(&planned.to, &planned.id.to_string()));
    let sql = "SELECT EXISTS (SELECT 1 FROM calls WHERE id = ?1 AND state = ?2 AND begun >= ?3)";
    let begun = params![call, CallState::Begun, step.opened];
    step.connection.prepare_cached(sql)?.query_row(begun, |row| row.get(0))
}
