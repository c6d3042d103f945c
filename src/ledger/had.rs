//! What a sink has of events already, for a replay of what it has not. Pure.

use super::fates::{DeliveryFate, FateKind, Rest, SinkFates};

/// Which deliveries of an event a sink has, or is about to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Had {
    /// Ids of those that were delivered, or are pending.
    has: Vec<String>,
    /// Ids of those that ended in vain.
    lacks: Vec<String>,
    /// Whether it has, or is about to have, those that nobody noted.
    has_rest: bool,
}

impl Had {
    /// By what became of the event's deliveries.
    pub(super) fn of(fates: SinkFates) -> Self {
        let is_had = |fate: &DeliveryFate| match fate.kind {
            FateKind::Delivered | FateKind::Pending | FateKind::Parked => true,
            FateKind::Dead | FateKind::Filtered | FateKind::Dropped => false,
        };
        let (has, lacks): (Vec<_>, Vec<_>) = fates.deliveries.into_iter().partition(is_had);
        let ids = |fates: Vec<DeliveryFate>| fates.into_iter().map(|fate| fate.id).collect();
        let has_rest = match fates.rest {
            // What nobody noted is over, or will be; what was not owed, or dropped, is not there.
            Rest::Over | Rest::Pending => true,
            Rest::Nothing | Rest::Dropped { .. } => false,
        };
        Self { has: ids(has), lacks: ids(lacks), has_rest }
    }

    /// Whether the sink has the delivery of that id, or is about to have it.
    pub fn has(&self, id: &str) -> bool {
        let is_among = |ids: &[String]| ids.iter().any(|of| of == id);
        is_among(&self.has) || (self.has_rest && !is_among(&self.lacks))
    }

    /// Whether it may lack something.
    pub fn may_lack(&self) -> bool {
        !self.has_rest || !self.lacks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(rest: Rest, kinds: &[(&str, FateKind)]) -> SinkFates {
        let fate = |(id, kind): &(&str, FateKind)| DeliveryFate {
            id: (*id).to_owned(),
            kind: *kind,
            time: None,
            attempts: 1,
            took: None,
            code: None,
            detail: None,
            next_try: None,
            replay: None,
            route: None,
        };
        SinkFates { sink: "crm".into(), is_passed: true, rest, deliveries: kinds.iter().map(fate).collect() }
    }

    #[test]
    fn what_was_delivered_once_or_is_pending_is_had_and_nothing_else_that_was_noted() {
        let kinds = [
            ("a", FateKind::Dead),
            ("b", FateKind::Dead),
            ("b", FateKind::Delivered),
            ("c", FateKind::Parked),
            ("d", FateKind::Pending),
            ("e", FateKind::Filtered),
            ("f", FateKind::Dropped),
        ];
        let dropped = Rest::Dropped { time: 1, code: "skip" };
        for (rest, other) in [(Rest::Nothing, false), (dropped, false), (Rest::Over, true), (Rest::Pending, true)] {
            let had = Had::of(fates(rest, &kinds));
            let ids = ["a", "b", "c", "d", "e", "f", "other"].map(|id| had.has(id));
            assert_eq!(ids, [false, true, true, true, false, false, other], "{rest:?}");
            assert_eq!(Had::of(fates(rest, &[])).may_lack(), !other);
        }
    }
}
