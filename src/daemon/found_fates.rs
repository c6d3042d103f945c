//! What became of an event's deliveries: what the ledger says of each sink, and where it says nothing yet, what the
//! rules in force name.

use std::time::Duration;

use super::books::BookSet;
use super::found_shown::micros;
use super::refusals::unable;
use crate::admin::Refusal;
use crate::admin::found::DeliveryFateView;
use crate::deliver::Condition;
use crate::journal::Entry;
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
        own.iter_mut().filter(|view| view.fate == "pending").for_each(|view| why_it_waits(view, book));
        views.extend(own);
    }
    for SinkFates { sink, deliveries, .. } in fates {
        views.extend(deliveries.into_iter().map(|fate| view(&sink, fate)));
    }
    if !clear {
        for view in &mut views {
            view.detail = view.detail.as_deref().map(mask::text);
        }
    }
    Ok(views)
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

/// Says of a delivery that waits for its sink what the sink waits for.
fn why_it_waits(view: &mut DeliveryFateView, book: &super::books::SinkBook) {
    let vitals = book.book.vitals();
    let told = match vitals.condition() {
        Condition::Paused => Some(("paused".to_owned(), "the sink is paused".to_owned())),
        Condition::Disabled => Some(("disabled".to_owned(), "the config says enabled = false".to_owned())),
        Condition::Down => vitals.last_error().map(|error| (error.why.code.to_owned(), error.why.detail)),
        Condition::Starting | Condition::Running => None,
    };
    if let (None, Some((code, detail))) = (&view.code, told) {
        (view.code, view.detail) = (Some(code), Some(detail));
        view.next_try = view.next_try.take().or_else(|| vitals.next_try().map(|time| time.to_string()));
    }
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
}
