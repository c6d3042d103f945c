//! What rules come to on many events, and how other rules would change that: deliveries by type and sink, gained, lost
//! and changed. Pure, but for the span of the journal that [`of_span`] reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Trial, TrialError};
use crate::admin::explain::{Change, Example, Traffic};
use crate::event;
use crate::journal::{Journal, JournalError, Marks, News, Of};
use crate::route::{DeliveryView, Explanation};

/// Most examples of each sort.
const MAX_EXAMPLES: usize = 5;
/// Most types that are counted separately; the events of further types are counted together.
const MAX_TYPES: usize = 1000;
/// The name under which events of further types are counted.
const OTHERS: &str = "(other types)";
/// How much of the journal is read at once, bytes.
const CHUNK: u64 = 1 << 20;

/// How the deliveries of many events differ.
#[derive(Debug, Default)]
pub struct Comparison(pub Traffic);

/// Where looking at a span ends, though it goes on.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events looked at.
    pub events: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// How long it takes.
    pub time: Duration,
}

/// Why a span cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SpanError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The rules cannot be asked.
    #[error(transparent)]
    Trial(#[from] TrialError),
}

/// What the span of a running daemon's journal comes to by the rules in force, and what the others would change of it.
///
/// # Errors
/// [`SpanError`].
pub async fn of_span(
    journal: &dyn Journal,
    (from, until): (Marks, Marks),
    (now, other): (&mut Trial<'_>, Option<&mut Trial<'_>>),
    bounds: Bounds,
) -> Result<Traffic, SpanError> {
    let mut comparison = Comparison::default();
    let (mut at, mut bytes, mut other) = (from.clone(), 0, other);
    let end = Instant::now() + bounds.time;
    let mut reader = journal.reader(Of::Span { from, until: until.clone() }).await?;
    while !at.reaches(&until) {
        let Ok(news) = tokio::time::timeout_at(end, reader.next(CHUNK)).await else { return Ok(comparison.0) };
        let News::Chunk(chunk) = news? else { continue };
        comparison.0.damaged += u64::from(chunk.gap.is_some());
        for entry in &chunk.entries {
            // An event that a later version wrote cannot be read, and so not be routed, by this one.
            let Ok(event) = event::decode(&entry.record) else { continue };
            if comparison.0.events >= bounds.events || bytes >= bounds.bytes || Instant::now() >= end {
                return Ok(comparison.0);
            }
            bytes += event.body.len() as u64;
            let event = Arc::new(event);
            let was = now.explain(&event).await?;
            match &mut other {
                Some(other) => comparison.note(&was, &other.explain(&event).await?, &[]),
                None => comparison.note(&was, &was, &[]),
            }
        }
        at.set(chunk.next);
    }
    comparison.0.complete = true;
    Ok(comparison.0)
}

/// The deliveries by sink and id, each as the text by which it is compared.
fn deliveries(of: &Explanation, sinks: &[String]) -> BTreeMap<(String, String), String> {
    let meant = of.deliveries.iter().filter(|one| sinks.is_empty() || sinks.contains(&one.sink));
    // Serialising cannot fail: `explain --json` serialises the same.
    let one = |one: &DeliveryView| ((one.sink.clone(), one.id.clone()), serde_json::to_string(one).unwrap_or_default());
    meant.map(one).collect()
}

impl Comparison {
    /// Compares what the rules in force make of an event with what others make of it, for these sinks; for all where
    /// none is named.
    pub fn note(&mut self, was: &Explanation, is: &Explanation, sinks: &[String]) {
        self.0.events += 1;
        let (before, after) = (deliveries(was, sinks), deliveries(is, sinks));
        self.0.differing += u64::from(before != after);
        for ((sink, id), delivery) in &before {
            self.count(was, sink, |change| change.before += 1);
            match after.get(&(sink.clone(), id.clone())) {
                None => self.example("lost", was, sink, id, |change| change.lost += 1),
                Some(other) if other != delivery => {
                    self.example("changed", was, sink, id, |change| change.changed += 1);
                }
                Some(_) => {}
            }
        }
        for (sink, id) in after.keys() {
            self.count(is, sink, |change| change.after += 1);
            if !before.contains_key(&(sink.clone(), id.clone())) {
                self.example("gained", is, sink, id, |change| change.gained += 1);
            }
        }
    }

    fn count(&mut self, of: &Explanation, sink: &str, count: impl FnOnce(&mut Change)) {
        let kind = match self.0.changes.contains_key(&of.event.kind) || self.0.changes.len() < MAX_TYPES {
            true => of.event.kind.as_str(),
            false => OTHERS,
        };
        count(self.0.changes.entry(kind.to_owned()).or_default().entry(sink.to_owned()).or_default());
    }

    fn example(&mut self, what: &'static str, of: &Explanation, sink: &str, id: &str, count: impl FnOnce(&mut Change)) {
        self.count(of, sink, count);
        if self.0.examples.iter().filter(|example| example.what == what).count() < MAX_EXAMPLES {
            let (kind, subject) = (of.event.kind.clone(), of.event.subject.clone());
            self.0.examples.push(Example {
                what: what.to_owned(),
                sink: sink.to_owned(),
                id: id.to_owned(),
                kind,
                subject,
            });
        }
    }
}
