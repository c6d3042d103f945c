//! The worker reads the journal and routes what it read.

use std::sync::Arc;

use sink_api::{Reason, Turns, Uuid};
use tracing::{error, warn};

use super::{READ_BYTES, READ_PAUSE, READ_RETRY, Read, WINDOW_BYTES, WINDOW_EVENTS, Worker};
use crate::deliver::item::{Item, Ordinal};
use crate::deliver::window::Passed;
use crate::event;
use crate::journal::{Counters, Entry, Gap, JournalError};
use crate::route::jq::Said;
use crate::route::{Failed, RuleSet};

impl Worker {
    /// Starts a read where there is room for what it brings.
    pub(super) fn prepare_read(&mut self) {
        let (events, bytes) = self.window.size();
        if self.reading.is_some() || events >= WINDOW_EVENTS || bytes >= WINDOW_BYTES || self.settler.is_full() {
            return;
        }
        let (journal, from) = (Arc::clone(&self.journal), self.window.read_position());
        let pause = std::mem::take(&mut self.caught_up);
        let (questions, rules) = (self.questions.clone(), Arc::clone(&self.rules));
        let (sink, book) = (self.spec.name.clone(), Arc::clone(&self.spec.book));
        self.reading = Some(Box::pin(async move {
            journal.wait(from).await;
            if pause {
                tokio::time::sleep(READ_PAUSE).await;
            }
            let chunk = journal.read(from, READ_BYTES).await;
            if chunk.is_err() {
                tokio::time::sleep(READ_RETRY).await;
            }
            let chunk = chunk?;
            let dropped = match &chunk.gap {
                Some(Gap { from, to, deleted, .. }) => {
                    book.counted().of_hole(&sink, [*from, *to], deleted, &rules, &*journal).await
                }
                None => Ok(0),
            };
            if dropped.is_err() {
                tokio::time::sleep(READ_RETRY).await;
            }
            let dropped = dropped?;
            let (chunk, said) = questions.ask(chunk).await;
            Ok(Read { chunk, said, rules, dropped })
        }));
    }

    pub(super) fn fed(&mut self, read: Result<Read, JournalError>) {
        let Read { chunk, said, rules, dropped } = match read {
            Ok(read) => read,
            Err(error) => {
                error!(sink = %self.spec.name, %error, "the journal cannot be read; trying again");
                return;
            }
        };
        if let Some(gap) = &chunk.gap {
            self.missed(gap, dropped);
        }
        let bytes: u64 = chunk.entries.iter().map(|e| e.record.payload.len() as u64).sum();
        self.caught_up = bytes < READ_BYTES / 2;
        // Asked after the reading: whatever stands in the chunk was on disk by then.
        let counted = self.spec.book.counted();
        let all_by = counted.all_by(&rules);
        let mut turns = Turns::default();
        for (index, entry) in chunk.entries.iter().enumerate() {
            turns.step();
            let record = &entry.record;
            let owed = rules.owed(&self.spec.name, &record.source, &record.kind);
            let counted = match all_by {
                true => owed,
                false => counted.at(entry.position, &rules).owed(&self.spec.name, &record.source, &record.kind),
            };
            if owed > 0 {
                self.route(&rules, entry, (owed, i64::from(counted)), said.get(index).and_then(Option::as_ref));
            } else if counted > 0 {
                // The rules in force do not want it: it is off the books when the cursor passes it.
                let adjustment = -i64::from(counted);
                self.spec.book.adjust(adjustment);
                self.window.opened(entry.position, 0, 0, Passed { adjustment, ..Passed::default() });
            }
        }
        self.window.read_to(chunk.next);
    }

    /// Books what this sink was owed and will never get. It travels with the cursor: the settlement that moves it over
    /// the gap counts it, once. Each route that names the sink counts, as its condition can be asked no more.
    fn missed(&mut self, gap: &Gap, dropped: u64) {
        let sink = &self.spec.name;
        let (from, to) = (gap.from.offset, gap.to.offset);
        if dropped > 0 {
            let tally = Counters { accepted: dropped, dropped, ..Counters::default() };
            self.window.opened(self.window.read_position(), 0, 0, Passed::counts(tally));
            error!(%sink, dropped, from, to,
                "deliveries this sink was owed are dropped: the journal reached max_size, or the sink was out of the config");
        }
        if gap.lost > 0 {
            error!(%sink, records = gap.lost, from, to,
                "damaged records of the journal, of unknown types: what this sink was owed of them is lost");
        }
        if gap.deleted.is_empty() && gap.lost == 0 {
            warn!(%sink, from, to, "a part of the journal is gone, and nothing is known of what stood there");
        }
    }

    /// Routes one event to this sink, once: payload, target and id are fixed from here on.
    fn route(&mut self, rules: &RuleSet, entry: &Entry, (owed, counted): (u32, i64), said: Option<&Said>) {
        let event = match event::decode_shared(&entry.record, &mut self.texts) {
            Ok(event) => event,
            Err(error) => return self.undecodable(entry, (owed, counted), &error),
        };
        let routed = match said {
            None => rules.route(&self.to, &event, &mut ()),
            Some(said) => rules.route_by(said, &self.to, &event, &mut ()),
        };
        let tally = Counters {
            accepted: routed.deliveries.len() as u64 + routed.failed.len() as u64 + u64::from(routed.filtered),
            dead: routed.failed.len() as u64,
            filtered: u64::from(routed.filtered),
            ..Counters::default()
        };
        let adjustment = i64::try_from(tally.accepted).unwrap_or(i64::MAX).saturating_sub(counted);
        self.spec.book.adjust(adjustment);
        let count = u32::try_from(routed.deliveries.len()).unwrap_or(u32::MAX);
        let bytes: u64 = routed.deliveries.iter().map(|d| d.bytes().len() as u64).sum();
        let letter = |failed: Failed| {
            let texts = (event.subject.to_string(), event.key.to_string());
            self.unrouted(entry.position, &entry.record, texts, failed)
        };
        let held = routed.failed.into_iter().map(letter).collect();
        self.window.opened(entry.position, count, bytes, Passed { tally, held, adjustment });
        for (number, delivery) in (0_u32..).zip(routed.deliveries) {
            let is_behind = self.ordered && self.parked.holds(&delivery.key);
            let key = Arc::clone(&delivery.key);
            self.lanes.push(Item::new(Ordinal { position: entry.position, number }, delivery));
            if is_behind {
                self.lanes.set_behind_parked(&key);
            }
        }
    }

    /// An event this build cannot read (a later one wrote it) is kept as a dead letter, bytes and all.
    fn undecodable(&mut self, entry: &Entry, (owed, counted): (u32, i64), error: &event::CodecError) {
        // One letter stands for all its deliveries: which ones they would have been is not known.
        let owed = u64::from(owed);
        let adjustment = i64::try_from(owed).unwrap_or(i64::MAX).saturating_sub(counted);
        self.spec.book.adjust(adjustment);
        let tally = Counters { accepted: owed, dead: 1, filtered: owed.saturating_sub(1), ..Counters::default() };
        let id = Uuid::from_bytes(entry.record.id).to_string();
        let texts = (String::new(), entry.record.key.to_string());
        let reason = Reason::new("undecodable", error.to_string());
        let letter = self.unrouted(entry.position, &entry.record, texts, Failed { id, payload: None, reason });
        self.window.opened(entry.position, 0, 0, Passed { tally, held: vec![letter], adjustment });
    }
}
