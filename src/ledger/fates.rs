//! What became of the deliveries of one event, sink by sink: put together from where the cursors stand, from the log of
//! steps, from single rows for what did not go straight, and from what is held. Only reads; each look has a connection
//! of its own, so that no settlement waits for it.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Row, params};
use sink_api::Uuid;

use super::cursors;
use super::notes::{self, Kind, Note};
use super::runs::{Ended, Skip, TICK};
use super::steps::{self, LIVE};
use crate::journal::{Marks, Position};

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FateKind {
    /// It arrived.
    Delivered,
    /// It is to be tried, and was not yet: it waits behind others, the sink has put it off, somebody wants it tried
    /// again, or a replay brought it.
    Pending,
    /// It was tried in vain and is tried again.
    Parked,
    /// It was given up, and is kept as a dead letter.
    Dead,
    /// The rules left nothing of it, or the sink said that it is not needed any more.
    Filtered,
    /// Nobody tries it any more, and it is not kept. Of what was held, too, where nobody knows any more how it ended.
    Dropped,
}

/// Code of what was dropped for all that is known.
const UNKNOWN: &str = "unknown";

/// One delivery of an event to one sink, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryFate {
    /// The delivery's id; of what was filtered, the event's.
    pub id: String,
    /// What became of it.
    pub kind: FateKind,
    /// When it arrived, was tried last, was filtered or dropped: microseconds, right to within a second. `None` where
    /// it was not tried yet, and where it arrived and nobody knows when.
    pub time: Option<i64>,
    /// Calls made; 0 also where nobody knows how many.
    pub attempts: u32,
    /// How long the last call took, where known.
    pub took: Option<Duration>,
    /// Reason code of the last failure, also where it arrived after that; why it was dropped, put off, or not needed.
    pub code: Option<String>,
    /// One line on the same.
    pub detail: Option<String>,
    /// When it is tried next, microseconds.
    pub next_try: Option<i64>,
    /// The replay that brought it, where it is not the live one.
    pub replay: Option<i64>,
    /// The route whose condition or transform left nothing of it, where known.
    pub route: Option<Arc<str>>,
}

/// What became of the live deliveries of an event that [`SinkFates::deliveries`] does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// There are none: what is not named was not owed.
    Nothing,
    /// The cursor is not past the event: what the rules in force name is pending.
    Pending,
    /// The cursor is past the event, and nobody noted how (an earlier build settled it, or the note was lost): what the
    /// rules name is over, delivered for all that is known.
    Over,
    /// The cursor was moved over the event without a look at it: what the rules name was dropped.
    Dropped {
        /// When, microseconds.
        time: i64,
        /// `skip`: somebody moved the sink on by hand. `max_size`: the journal deleted the event before the sink had
        /// it.
        code: &'static str,
    },
}

/// What became of an event at one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkFates {
    /// The sink; it may be out of the config by now.
    pub sink: String,
    /// Whether the sink's cursor is past the event.
    pub is_passed: bool,
    /// What became of live deliveries that are not named below.
    pub rest: Rest,
    /// Its deliveries, live ones first, then those of replays in their order.
    pub deliveries: Vec<DeliveryFate>,
}

/// What became of the event at that position, at every sink that ever began.
pub(super) fn of(connection: &Connection, at: Position, event: Uuid) -> Result<Vec<SinkFates>, rusqlite::Error> {
    // All that is read is of one moment.
    let moment = connection.unchecked_transaction()?;
    let notes = notes::find(&moment, at)?;
    let mut fates = Vec::new();
    for (sink, cursors) in cursors::all(&moment)? {
        let replays = steps::replays(&moment, &sink)?;
        fates.push(at_sink(&moment, (&sink, &cursors, &replays), &notes, at, event)?);
    }
    Ok(fates)
}

/// What became of each of these events at one sink; of a sink that never began nothing is known.
pub(super) fn of_sink(
    connection: &Connection,
    sink: &str,
    events: &[(Position, Uuid)],
) -> Result<Vec<SinkFates>, rusqlite::Error> {
    let moment = connection.unchecked_transaction()?;
    let cursors = cursors::load(&moment, sink)?.map(|state| state.cursors).unwrap_or_default();
    let replays = steps::replays(&moment, sink)?;
    let fates = events.iter().map(|(at, event)| {
        let notes = notes::find(&moment, *at)?;
        at_sink(&moment, (sink, &cursors, &replays), &notes, *at, *event)
    });
    fates.collect()
}

/// The same of one event, by the sink's cursors, the replays that are noted of it, and the event's notes.
fn at_sink(
    moment: &Connection,
    (sink, cursors, replays): (&str, &Marks, &[i64]),
    notes: &[Note],
    at: Position,
    event: Uuid,
) -> Result<SinkFates, rusqlite::Error> {
    let of_sink = notes.iter().filter(|note| note.sink == sink);
    let mut known: Vec<DeliveryFate> = of_sink.map(|note| noted(note, event)).collect();
    known.extend(held(moment, sink, at, event)?);
    let live = steps::find(moment, sink, LIVE, at)?;
    let is_passed = cursors.is_past(at);
    let rest = rest(live.as_deref(), is_passed);
    let of = |replay| Ok::<_, rusqlite::Error>((replay, notes::may_be_gone(moment, sink, replay, at)?));
    let mut deliveries = told(live.unwrap_or_default(), event, of(None)?, &mut known);
    for replay in replays {
        let ended = steps::find(moment, sink, *replay, at)?.unwrap_or_default();
        if !ended.is_empty() {
            deliveries.extend(told(ended, event, of(Some(*replay))?, &mut known));
        }
    }
    // What the rules made of a held delivery later, and what no step tells of.
    deliveries.extend(known);
    deliveries.sort_by_key(|delivery| delivery.replay);
    Ok(SinkFates { sink: sink.to_owned(), is_passed, rest, deliveries })
}

fn rest(live: Option<&[Ended]>, is_passed: bool) -> Rest {
    let skipped = |ended: &Ended| match ended {
        Ended::Skipped { why, tick } => Some((*why, *tick)),
        _ => None,
    };
    match live.map(|ended| ended.iter().find_map(skipped)) {
        Some(None) => Rest::Nothing,
        Some(Some((why, tick))) => {
            let code = if why == Skip::ByHand { "skip" } else { "max_size" };
            Rest::Dropped { time: tick.saturating_mul(TICK), code }
        }
        None if is_passed => Rest::Over,
        None => Rest::Pending,
    }
}

/// The deliveries that a step tells of, of a replay or none, each with what is `known` of it besides, which is taken
/// out; and whether something that is not known may have ended in vain.
fn told(
    ended: Vec<Ended>,
    event: Uuid,
    (replay, may_be_in_vain): (Option<i64>, bool),
    known: &mut Vec<DeliveryFate>,
) -> Vec<DeliveryFate> {
    let mut fates = Vec::new();
    for ended in ended {
        let nothing = DeliveryFate { replay, ..DeliveryFate::nothing(event, "") };
        let fate = match ended {
            Ended::Skipped { .. } => continue,
            Ended::Filtered { route, tick } => DeliveryFate {
                kind: FateKind::Filtered,
                time: Some(tick.saturating_mul(TICK)),
                route: (!route.is_empty()).then_some(route),
                ..nothing
            },
            Ended::Delivered { suffix, call, attempts } => {
                let straight = DeliveryFate {
                    id: format!("{event}{suffix}"),
                    time: Some(call.time()),
                    attempts,
                    took: Some(call.took()),
                    ..nothing
                };
                take(known, &straight).unwrap_or(straight)
            }
            // Where no row says what became of it, the row is one of those that are let go when there are too many.
            Ended::Held { suffix } => {
                let over = DeliveryFate { replay, ..DeliveryFate::nothing(event, &suffix) };
                let over = if may_be_in_vain { over.unknown() } else { over };
                take(known, &over).unwrap_or(over)
            }
        };
        fates.push(fate);
    }
    fates
}

/// Takes what is known of the same delivery: the last of it, which is the latest.
fn take(known: &mut Vec<DeliveryFate>, of: &DeliveryFate) -> Option<DeliveryFate> {
    let is_same = |fate: &mut DeliveryFate| fate.id == of.id && fate.replay == of.replay;
    known.extract_if(.., is_same).last()
}

impl DeliveryFate {
    /// A delivery that is over, and nobody knows when.
    fn nothing(event: Uuid, suffix: &str) -> Self {
        Self {
            id: format!("{event}{suffix}"),
            kind: FateKind::Delivered,
            time: None,
            attempts: 0,
            took: None,
            code: None,
            detail: None,
            next_try: None,
            replay: None,
            route: None,
        }
    }

    /// The same, where it may not have arrived.
    fn unknown(self) -> Self {
        let detail = "it is over, and not known any more how it ended".to_owned();
        Self { kind: FateKind::Dropped, code: Some(UNKNOWN.to_owned()), detail: Some(detail), ..self }
    }
}

fn noted(note: &Note, event: Uuid) -> DeliveryFate {
    let kind = match note.kind {
        Kind::Delivered => FateKind::Delivered,
        Kind::Filtered => FateKind::Filtered,
        Kind::Dropped => FateKind::Dropped,
    };
    DeliveryFate {
        kind,
        time: Some(note.time),
        attempts: note.attempts,
        took: note.took.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros),
        code: some(&note.code),
        detail: some(&note.detail),
        replay: (note.replay != LIVE).then_some(note.replay),
        route: some(&note.route).map(Into::into),
        ..DeliveryFate::nothing(event, &note.suffix)
    }
}

/// What the ledger holds of the event for a sink.
fn held(connection: &Connection, sink: &str, at: Position, event: Uuid) -> Result<Vec<DeliveryFate>, rusqlite::Error> {
    // Ids are the event's, or that and `-…`; in order of bytes `.` comes after `-`.
    let sql = "SELECT id, due, how, attempts, last_try, code, detail, replay FROM held
               WHERE sink = ?1 AND id >= ?2 AND id < ?2 || '.' AND shard = ?3 AND place = ?4
               ORDER BY length(id), id";
    let params = params![sink, event.to_string(), at.shard, at.offset.cast_signed()];
    connection.prepare_cached(sql)?.query_map(params, |row| held_fate(row, event))?.collect()
}

fn held_fate(row: &Row<'_>, event: Uuid) -> Result<DeliveryFate, rusqlite::Error> {
    let (due, how): (Option<i64>, Option<String>) = (row.get(1)?, row.get(2)?);
    let (attempts, last_try): (u32, i64) = (row.get(3)?, row.get(4)?);
    let kind = match due {
        None => FateKind::Dead,
        Some(_) if how.is_some() || attempts == 0 => FateKind::Pending,
        Some(_) => FateKind::Parked,
    };
    let was_tried = attempts > 0 || kind == FateKind::Dead;
    Ok(DeliveryFate {
        id: row.get(0)?,
        kind,
        time: was_tried.then_some(last_try),
        attempts,
        code: some(&row.get::<_, String>(5)?),
        detail: some(&row.get::<_, String>(6)?),
        next_try: due,
        replay: row.get(7)?,
        ..DeliveryFate::nothing(event, "")
    })
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
