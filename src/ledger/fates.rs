//! What became of the deliveries of one event, sink by sink: put together from where the cursors stand and from what is
//! held. Only reads; each look has a connection of its own, so that no settlement waits for it.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Row, params};
use sink_api::Uuid;

use super::cursors;
use crate::journal::Position;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FateKind {
    /// It arrived.
    Delivered,
    /// It is to be tried, and no try counts yet: it waits behind others, somebody wants it tried again, or a replay
    /// brought it.
    Pending,
    /// It was tried in vain and is tried again.
    Parked,
    /// It was given up, and is kept as a dead letter.
    Dead,
    /// The rules left nothing of it.
    Filtered,
    /// Nobody tries it any more, and it is not kept.
    Dropped,
}

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
    /// Reason code of the last failure, also where it arrived after that; of a drop, why.
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
        /// `skip`: somebody moved the sink on by hand. `max_size`: the journal deleted the event before the sink had it.
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
    let mut fates = Vec::new();
    for (sink, cursors) in cursors::all(connection)? {
        let deliveries = held(connection, &sink, at, event)?;
        let is_passed = cursors.is_past(at);
        let rest = if is_passed { Rest::Over } else { Rest::Pending };
        fates.push(SinkFates { sink, is_passed, rest, deliveries });
    }
    Ok(fates)
}

/// What the ledger holds of the event for a sink.
fn held(connection: &Connection, sink: &str, at: Position, event: Uuid) -> Result<Vec<DeliveryFate>, rusqlite::Error> {
    // Ids are the event's, or that and `-…`; in order of bytes `.` comes after `-`.
    let sql = "SELECT id, due, how, attempts, last_try, code, detail FROM held
               WHERE sink = ?1 AND id >= ?2 AND id < ?2 || '.' AND shard = ?3 AND place = ?4
               ORDER BY length(id), id";
    let params = params![sink, event.to_string(), at.shard, at.offset.cast_signed()];
    connection.prepare_cached(sql)?.query_map(params, held_fate)?.collect()
}

fn held_fate(row: &Row<'_>) -> Result<DeliveryFate, rusqlite::Error> {
    let (due, how): (Option<i64>, Option<String>) = (row.get(1)?, row.get(2)?);
    let (attempts, last_try): (u32, i64) = (row.get(3)?, row.get(4)?);
    let kind = match due {
        None => FateKind::Dead,
        Some(_) if how.is_some() || attempts == 0 => FateKind::Pending,
        Some(_) => FateKind::Parked,
    };
    let was_tried = attempts > 0 || kind == FateKind::Dead;
    let told = |text: String| (!text.is_empty()).then_some(text);
    Ok(DeliveryFate {
        id: row.get(0)?,
        kind,
        time: was_tried.then_some(last_try),
        attempts,
        took: None,
        code: told(row.get(5)?),
        detail: told(row.get(6)?),
        next_try: due,
        replay: None,
        route: None,
    })
}
