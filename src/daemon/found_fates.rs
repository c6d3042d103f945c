//! What became of an event's deliveries: what the ledger says of each sink, and where it says nothing yet, what the
//! rules in force name.

use std::time::Duration;

use sink_api::Timestamp;

use super::books::{BookSet, SinkBook};
use super::found_shown::micros;
use super::refusals::unable;
use crate::admin::Refusal;
use crate::admin::fates::{self, SinkFate};
use crate::admin::found::DeliveryFateView;
use crate::deliver::Condition;
use crate::journal::{Entry, Position};
use crate::ledger::Ledger;
use crate::ledger::fates::{DeliveryFate, FateKind, Rest, SinkFates};
use crate::mask;
use crate::route::Explanation;

/// The deliveries of an event, sink by sink in the order of the config; then those of sinks that are out of it.
///
/// # Errors
/// The ledger cannot be read.
pub(super) async fn of(
    ledger: &Ledger,
    books: &BookSet,
    entry: &Entry,
    explanation: &Explanation,
    clear: bool,
) -> Result<Vec<DeliveryFateView>, Refusal> {
    let mut fates = ledger.fates(entry.position, entry.record.id).await.map_err(unable)?;
    // Times of deliveries are kept less exactly than an event's: none is before it.
    let all = fates.iter_mut().flat_map(|fates| &mut fates.deliveries);
    all.filter_map(|fate| fate.time.as_mut()).for_each(|time| *time = entry.record.time.max(*time));
    let mut views = Vec::new();
    for book in &books.sinks {
        let at = fates.iter().position(|fates| fates.sink == book.name);
        let known = at.map(|at| fates.remove(at));
        // A sink that has yet to begin passes nothing.
        let rest = known.as_ref().map_or(Rest::Pending, |known| known.rest);
        let named = known.map(|known| known.deliveries).unwrap_or_default();
        let ids = explanation.deliveries.iter().filter(|delivery| delivery.sink == book.name);
        let others = ids.filter(|delivery| !named.iter().any(|fate| fate.replay.is_none() && fate.id == delivery.id));
        let others: Vec<_> = others.filter_map(|delivery| of_the_rest(rest, &book.name, &delivery.id)).collect();
        let (live, replayed): (Vec<_>, Vec<_>) = named.into_iter().partition(|fate| fate.replay.is_none());
        let mut own: Vec<_> = live.into_iter().map(|fate| view(&book.name, fate)).collect();
        own.extend(others);
        own.extend(replayed.into_iter().map(|fate| view(&book.name, fate)));
        let why = why_it_waits(book);
        own.iter_mut().for_each(|view| waits(view, why.as_ref()));
        views.extend(own);
    }
    for SinkFates { sink, deliveries, .. } in fates {
        let mut gone: Vec<_> = deliveries.into_iter().map(|fate| view(&sink, fate)).collect();
        gone.iter_mut().for_each(|view| waits(view, Some(&Wait::gone())));
        views.extend(gone);
    }
    if !clear {
        views.iter_mut().for_each(masked);
    }
    Ok(views)
}

/// What became of an event at that position, as far as this daemon knows: for another one that shares the journal, and
/// knows by its own rules what else there is to be known. Sinks of which nothing is known are left out.
///
/// # Errors
/// The ledger cannot be read.
pub(super) async fn known(
    ledger: &Ledger,
    books: &BookSet,
    (at, id): (Position, [u8; 16]),
    clear: bool,
) -> Result<Vec<SinkFate>, Refusal> {
    let mut sinks = Vec::new();
    for SinkFates { sink, rest, deliveries, .. } in ledger.fates(at, id).await.map_err(unable)? {
        if rest == Rest::Pending && deliveries.is_empty() {
            continue;
        }
        let why = books.of(&sink).map_or_else(|| Some(Wait::gone()), why_it_waits);
        let mut deliveries: Vec<_> = deliveries.into_iter().map(|fate| view(&sink, fate)).collect();
        deliveries.iter_mut().for_each(|view| waits(view, why.as_ref()));
        if !clear {
            deliveries.iter_mut().for_each(masked);
        }
        let (rest, time, code) = match rest {
            Rest::Nothing => (fates::Rest::Nothing, None, None),
            Rest::Pending => (fates::Rest::Pending, None, None),
            Rest::Over => (fates::Rest::Over, None, None),
            Rest::Dropped { time, code } => (fates::Rest::Dropped, micros(time), Some(code.to_owned())),
        };
        sinks.push(SinkFate { sink, rest, time, code, deliveries });
    }
    Ok(sinks)
}

fn masked(view: &mut DeliveryFateView) {
    view.detail = view.detail.as_deref().map(mask::text);
    view.waits_for = view.waits_for.as_deref().map(mask::text);
}

/// What became of that one delivery of an event, which the sink is, or was, owed; as it is, not masked. A sink that is
/// out of the config has no book.
///
/// # Errors
/// The ledger cannot be read.
pub(super) async fn of_one(
    ledger: &Ledger,
    (sink, book): (&str, Option<&SinkBook>),
    entry: &Entry,
    id: &str,
) -> Result<DeliveryFateView, Refusal> {
    let fates = ledger.fates(entry.position, entry.record.id).await.map_err(unable)?;
    let known = fates.into_iter().find(|fates| fates.sink == sink);
    let rest = known.as_ref().map_or(Rest::Pending, |known| known.rest);
    let mut named = known.map(|known| known.deliveries).unwrap_or_default().into_iter();
    let live = named.find(|fate| fate.replay.is_none() && fate.id == id).map(|fate| view(sink, fate));
    let mut view = live.or_else(|| of_the_rest(rest, sink, id)).unwrap_or_default();
    waits(&mut view, book.map_or_else(|| Some(Wait::gone()), why_it_waits).as_ref());
    Ok(view)
}

fn view(sink: &str, fate: DeliveryFate) -> DeliveryFateView {
    DeliveryFateView {
        id: fate.id,
        sink: sink.to_owned(),
        fate: word(fate.kind).to_owned(),
        time: fate.time.and_then(micros),
        attempts: fate.attempts,
        code: fate.code,
        detail: fate.detail,
        next_try: fate.next_try.and_then(micros),
        waits_for: None,
        took_ms: fate.took.map(milliseconds),
        route: fate.route.map(|route| route.to_string()),
        replay: fate.replay.map(|id| id.to_string()),
    }
}

/// A delivery that the rules name and the ledger does not.
fn of_the_rest(rest: Rest, sink: &str, id: &str) -> Option<DeliveryFateView> {
    let (fate, time, code) = match rest {
        Rest::Nothing => return None,
        Rest::Pending => (FateKind::Pending, None, None),
        Rest::Over => (FateKind::Delivered, None, None),
        Rest::Dropped { time, code } => (FateKind::Dropped, micros(time), Some(code.to_owned())),
    };
    let (id, sink) = (id.to_owned(), sink.to_owned());
    Some(DeliveryFateView { id, sink, fate: word(fate).to_owned(), time, code, ..DeliveryFateView::default() })
}

/// Why a sink takes nothing now.
struct Wait {
    code: &'static str,
    words: String,
    /// When it is tried again, where it is.
    next_try: Option<Timestamp>,
}

impl Wait {
    /// The wait for somebody to do something.
    fn for_somebody(code: &'static str, words: &str) -> Self {
        Self { code, words: words.to_owned(), next_try: None }
    }

    /// For a sink that is out of the config.
    fn gone() -> Self {
        Self::for_somebody("no_sink", "the sink is not in the config: nobody tries it until it is there again")
    }
}

fn why_it_waits(book: &SinkBook) -> Option<Wait> {
    let vitals = book.book.vitals();
    match vitals.condition() {
        Condition::Paused => Some(Wait::for_somebody("paused", "the sink is paused")),
        Condition::Disabled => {
            Some(Wait::for_somebody("disabled", "the sink is disabled: the config says enabled = false"))
        }
        Condition::Down => {
            let why = vitals.last_error().map(|error| format!(" ({}: {})", error.why.code, error.why.detail));
            let words = format!("the sink is down{}", why.unwrap_or_default());
            Some(Wait { code: "sink_down", words, next_try: vitals.next_try() })
        }
        Condition::Starting | Condition::Running => None,
    }
}

/// Says of a delivery that is still to be made what its sink waits for.
fn waits(view: &mut DeliveryFateView, why: Option<&Wait>) {
    let Some(Wait { code, words, next_try }) = why.filter(|_| matches!(view.fate.as_str(), "pending" | "parked"))
    else {
        return;
    };
    view.waits_for = Some(words.clone());
    if view.code.is_none() {
        (view.code, view.detail) = (Some((*code).to_owned()), Some(words.clone()));
    }
    let due = view.next_try.as_deref().and_then(|due| due.parse().ok());
    // What is due waits for the sink's own next try; a sink that nobody tries has none.
    view.next_try = next_try.map(|try_at| due.map_or(try_at, |due: Timestamp| due.max(try_at)).to_string());
}

fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

fn word(kind: FateKind) -> &'static str {
    match kind {
        FateKind::Delivered => "delivered",
        FateKind::Pending => "pending",
        FateKind::Parked => "parked",
        FateKind::Dead => "dead",
        FateKind::Filtered => "filtered",
        FateKind::Dropped => "dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_what_the_ledger_says_of_it() {
        let of = |rest| of_the_rest(rest, "crm", "a").map(|view| (view.fate, view.time, view.code));
        assert_eq!(of(Rest::Nothing), None);
        assert_eq!(of(Rest::Pending), Some(("pending".into(), None, None)));
        assert_eq!(of(Rest::Over), Some(("delivered".into(), None, None)));
        let dropped = Some(("dropped".into(), Some("1970-01-01T00:00:01Z".into()), Some("max_size".into())));
        assert_eq!(of(Rest::Dropped { time: 1_000_000, code: "max_size" }), dropped);
    }

    #[test]
    fn what_waits_for_its_sink_says_so_beside_its_own_failure() {
        let due = Some("2026-11-28T03:30:00Z".to_owned());
        let of = |fate: &str, code: Option<&str>, why: &Wait| {
            let (fate, code) = (fate.to_owned(), code.map(str::to_owned));
            let mut view = DeliveryFateView { fate, code, next_try: due.clone(), ..DeliveryFateView::default() };
            waits(&mut view, Some(why));
            (view.code, view.waits_for, view.next_try)
        };
        let paused = Wait::for_somebody("paused", "the sink is paused");
        let says = |code: &str| (Some(code.to_owned()), Some("the sink is paused".to_owned()), None);
        assert_eq!(of("parked", Some("http_5xx"), &paused), says("http_5xx"));
        assert_eq!(of("pending", None, &paused), says("paused"));
        assert_eq!(of("dead", Some("http_4xx"), &paused), (Some("http_4xx".into()), None, due.clone()));
        let later: Timestamp = "2026-11-28T03:31:00Z".parse().unwrap();
        let down = Wait { code: "sink_down", words: "the sink is down".into(), next_try: Some(later) };
        assert_eq!(of("parked", Some("http_5xx"), &down).2, Some(later.to_string()));
        assert_eq!(of("parked", None, &Wait::gone()).0, Some("no_sink".into()));
    }
}
