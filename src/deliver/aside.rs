//! Deliveries past the journal: where it cannot take one of the daemon's own events (the disk is full or fails), the
//! event goes from memory to its sinks, so that the alarm about the disk does not need the disk. Best effort: it is
//! tried once, at most four at a time, and what comes of it is logged and counted nowhere.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sink_api::{Batch, Outcome, Reason};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::accounting;
use super::asking::Questions;
use super::flight::Shared;
use crate::event;
use crate::journal::{Entry, Position, Record};
use crate::news::Kind;
use crate::route::{Destination, RuleSet};

/// Most events that wait for a worker; of more the oldest goes.
const MAX_WAITING: usize = 32;
/// An event that waits longer, because the sink's worker does not run, is old news.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Most of them under way at once; the others wait.
const MAX_UNDER_WAY: usize = 4;
/// Why one is dropped.
const MANY: &str = "too many wait to go from memory";
/// Asking jq takes no longer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a worker is handed such events.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<VecDeque<(Instant, Arc<Record>)>>,
    added: Notify,
}

impl Inbox {
    /// Hands one over.
    pub fn hand(&self, record: Arc<Record>) {
        // Whole between any two statements.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_refusal = |(_, record): &(Instant, Arc<Record>)| &*record.kind == Kind::RequestRefused.name();
        if waiting.len() == MAX_WAITING {
            // Of those there may be many, and each says little.
            let at = waiting.iter().position(is_refusal).unwrap_or_default();
            if let Some((_, record)) = waiting.remove(at) {
                warn!(
                    kind = &*record.kind,
                    subject = &*record.key,
                    "one of the daemon's own events is dropped: {MANY}"
                );
            }
        }
        waiting.push_back((Instant::now(), record));
        drop(waiting);
        self.added.notify_one();
    }

    /// Waits for the next one. Cancel-safe.
    pub async fn next(&self) -> Arc<Record> {
        loop {
            while let Some((since, record)) = self.take() {
                if since.elapsed() < MAX_AGE {
                    return record;
                }
            }
            self.added.notified().await;
        }
    }

    /// Whether one waits.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn take(&self) -> Option<(Instant, Arc<Record>)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// One sink's deliveries of this sort that are under way.
#[derive(Default)]
pub struct Asides(JoinSet<()>);

impl Asides {
    /// Whether one more may be sent.
    pub fn has_room(&mut self) -> bool {
        while self.0.try_join_next().is_some() {}
        self.0.len() < MAX_UNDER_WAY
    }

    /// Sends what the rules make of the event for this sink, once. There is room.
    pub fn send(
        &mut self,
        sink: &Shared,
        to: Destination,
        rules: Arc<RuleSet>,
        record: Arc<Record>,
        timeout: Duration,
    ) {
        self.0.spawn(send(Arc::clone(sink), to, rules, record, timeout));
    }

    /// Waits until then for what is under way, and lets go of the rest.
    pub async fn finish(&mut self, until: tokio::time::Instant) {
        while let Ok(Some(_)) = tokio::time::timeout_at(until, self.0.join_next()).await {}
        self.0.shutdown().await;
    }
}

async fn send(sink: Shared, to: Destination, rules: Arc<RuleSet>, record: Arc<Record>, timeout: Duration) {
    // The position stands for nothing: nothing is settled.
    let entry = Entry { position: Position { shard: 0, offset: 0 }, record };
    let questions = Questions::new(&to.name, &rules);
    let entries = std::slice::from_ref(&entry);
    let Ok((_, said)) = tokio::time::timeout(ASK_TIMEOUT, questions.ask(entries)).await else {
        return warn!(sink = %to.name, "one of the daemon's own events is dropped: the rules give no answer");
    };
    let Ok(event) = event::decode(&entry.record) else { return };
    let said = said.first().and_then(Option::as_ref);
    let routed = accounting::route(&rules, said, &to, &Arc::new(event), &mut ());
    if routed.deliveries.is_empty() {
        return;
    }
    let deliveries = routed.deliveries.into_iter().map(Arc::new).collect();
    let batch = Batch { deliveries, deadline: Instant::now() + timeout, ordered: false };
    let slots = match tokio::time::timeout(timeout, sink.deliver(&batch)).await {
        Ok(report) => report.into_slots(),
        Err(_) => vec![],
    };
    let (sink, kind) = (&to.name, &entry.record.kind);
    match end(&slots, batch.len()) {
        End::Delivered => info!(%sink, kind = %kind, "delivered from memory: the journal could not take it"),
        End::Skipped(why) => {
            info!(%sink, kind = %kind, %why, "not delivered from memory: the sink says that it is not needed");
        }
        End::Lost => {
            warn!(%sink, kind = %kind, "one of the daemon's own events is lost: neither journal nor sink took it");
        }
    }
}

/// What came of an event's deliveries.
#[derive(Debug, PartialEq, Eq)]
enum End<'s> {
    /// The sink has them.
    Delivered,
    /// It has what it needs, and this is why it does not need the rest.
    Skipped(&'s Reason),
    /// It lacks some.
    Lost,
}

fn end(slots: &[Option<Outcome>], deliveries: usize) -> End<'_> {
    let mut skipped = None;
    for slot in slots {
        match slot {
            Some(Outcome::Delivered) => {}
            Some(Outcome::Skipped { why }) => skipped = Some(why),
            _ => return End::Lost,
        }
    }
    match skipped {
        _ if slots.len() != deliveries => End::Lost,
        Some(why) => End::Skipped(why),
        None => End::Delivered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8) -> Arc<Record> {
        let event = event::own(vec![b'0' + n].into());
        Arc::new(event::encode(&event, None, false))
    }

    #[test]
    fn what_a_sink_does_not_need_is_not_lost() {
        let why = Reason::new("overtaken", "it was read");
        let (delivered, skipped) = (Some(Outcome::Delivered), Some(Outcome::Skipped { why: why.clone() }));
        assert_eq!(end(&[delivered.clone(), delivered.clone()], 2), End::Delivered);
        assert_eq!(end(&[skipped.clone(), delivered.clone()], 2), End::Skipped(&why));
        for lost in
            [vec![], vec![skipped.clone()], vec![skipped, None], vec![delivered, Some(Outcome::retry("io", ""))]]
        {
            assert_eq!(end(&lost, 2), End::Lost, "{lost:?}");
        }
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_comes_in_order() {
        let inbox = Inbox::default();
        for n in 0..MAX_WAITING + 2 {
            inbox.hand(record(u8::try_from(n).unwrap()));
        }
        let first = inbox.next().await;
        assert_eq!(event::decode(&first).unwrap().body, [b'0' + 2][..]);
        for _ in 1..MAX_WAITING {
            inbox.next().await;
        }
        assert!(inbox.take().is_none());
    }
}
