//! What people are told of a sink's deliveries, as pieces of news. Pure.
//!
//! Alarms must not breed where the alarms' own sink is sick: nothing is told of an event that is news itself.
//! Commands are no news: that a message which somebody waits for is given up is told.

use sink_api::{Event, Reason};

use crate::journal::Record;
use crate::news::{COMMANDS, Item, Kind, SOURCE};

/// Source and type of an event.
#[derive(Clone, Copy)]
pub struct Of<'e> {
    source: &'e str,
    kind: &'e str,
}

impl<'e> Of<'e> {
    /// Of an event.
    pub fn event(event: &'e Event) -> Self {
        Self { source: &event.source, kind: &event.kind }
    }

    /// Of an event in its record.
    pub fn record(record: &'e Record) -> Self {
        Self { source: &record.source, kind: &record.kind }
    }
}

/// That a sink does not take deliveries, while so many are pending.
pub fn down(sink: &str, why: &Reason, pending: u64) -> Item {
    let text = format!("sink {sink} does not take deliveries ({}: {}); they wait", why.code, why.detail);
    let item = Item::new(Kind::SinkDown, sink, text).reason(why.code);
    item.with("detail", why.detail.as_str()).with("pending", pending)
}

/// That it takes them again.
pub fn up(sink: &str, pending: u64) -> Item {
    let text = format!("sink {sink} takes deliveries again; {pending} are pending");
    Item::new(Kind::SinkUp, sink, text).with("pending", pending)
}

/// That a delivery was given up; nothing of an event that is news itself.
pub fn given_up(sink: &str, of: Of<'_>, id: &str, [reason, detail]: [&str; 2]) -> Option<Item> {
    let is_command = COMMANDS.iter().any(|(command, _)| *command == of.kind);
    if of.source == SOURCE && !is_command {
        return None;
    }
    let text = format!("sink {sink} gave up {id} ({}), kept as a dead letter: {reason}: {detail}", of.kind);
    let item = Item::new(Kind::EventDeadLettered, sink, text).reason(reason);
    Some(item.with("detail", detail).with("id", id).with("event_type", of.kind))
}

/// That so many deliveries of what the journal has deleted are not made; nothing where there are none.
pub fn dropped(sink: &str, deliveries: u64) -> Option<Item> {
    let text = format!(
        "sink {sink} does not get {deliveries} deliveries that it was owed: the journal reached max_size, or the sink \
         was out of the config"
    );
    (deliveries > 0).then(|| Item::new(Kind::EventsDropped, sink, text).reason("max_size").times(deliveries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_somebody_waits_for_is_told_when_it_is_given_up_and_an_alarm_is_not() {
        let told = |source, kind| given_up("wa", Of { source, kind }, "id", ["exhausted", "x"]).is_some();
        assert!(told("interakt", "message_api_failed"));
        assert!(told(SOURCE, "message.send") && told(SOURCE, "message.resend"));
        assert!(!told(SOURCE, Kind::EventDeadLettered.name()) && !told(SOURCE, Kind::ResendExhausted.name()));
    }
}
