//! Events that are on their way to Kafka: in order within their shard, counted, and known until a broker has reported
//! them. Plain data: it sends nothing and tells nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::journal::view::lock;
use crate::journal::{Append, NotifyBatch, OnFailure, OnProgress, Progress, Record};

/// An event that is not reported for so long is at risk, and its shard is late.
pub const LATE: Duration = Duration::from_secs(1);

/// Whoever is told what becomes of an event.
pub struct Report {
    /// `None` once it was told the last.
    on_progress: Mutex<Option<OnProgress>>,
    notify: Option<NotifyBatch>,
}

impl Report {
    /// Nothing more follows.
    pub fn last(&self, progress: Progress) {
        let told = lock(&self.on_progress).take();
        if let Some(mut on_progress) = told {
            tell(&mut on_progress, progress);
        }
        self.notify.iter().for_each(|notify| notify());
    }

    /// It is at risk, unless it was told the last already.
    pub fn at_risk(&self) {
        if let Some(on_progress) = &mut *lock(&self.on_progress) {
            tell(on_progress, Progress::AtRisk);
        }
        self.notify.iter().for_each(|notify| notify());
    }
}

/// A caller that panics must not take the journal with it.
fn tell(on_progress: &mut OnProgress, progress: Progress) {
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| on_progress(progress)));
    if told.is_err() {
        tracing::error!("a caller of the journal panicked while it was told about its record");
    }
}

/// Where the copy of an event in the local overflow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// There is none.
    No,
    /// It is being written.
    Asked,
    /// It could not be written.
    Failed,
    /// It is flushed, there.
    At(u64),
}

/// One event.
pub struct Flight {
    /// What is to be kept.
    pub record: Arc<Record>,
    /// Bytes it is counted as.
    pub size: u64,
    /// Whether it is kept where it cannot be written for now.
    pub keep: bool,
    /// When it was appended.
    pub since: Instant,
    /// Whether its copy is, in the local overflow.
    pub copied: Copied,
    /// Whether it counts as at risk.
    pub is_at_risk: bool,
    /// Who is told; nobody of an earlier life's.
    pub report: Option<Arc<Report>>,
}

impl Flight {
    /// An event that was appended now.
    pub fn new(Append { record, on_failure, on_progress, notify }: Append, size: u64) -> Self {
        let report = Report { on_progress: Mutex::new(Some(on_progress)), notify };
        Self { report: Some(Arc::new(report)), ..Self::of(Arc::new(record), size, on_failure == OnFailure::Keep) }
    }

    /// An event of which nobody waits to hear.
    pub fn of(record: Arc<Record>, size: u64, keep: bool) -> Self {
        Self { record, size, keep, since: Instant::now(), copied: Copied::No, is_at_risk: false, report: None }
    }

    /// Tells the last of it.
    pub fn end(&self, progress: Progress) {
        if let Some(report) = &self.report {
            report.last(progress);
        }
    }
}

/// An event that is to be copied.
pub struct Uncopied {
    /// Its shard.
    pub shard: u32,
    /// Its number.
    pub n: u64,
    /// It.
    pub record: Arc<Record>,
}

/// All that are on their way.
pub struct Flights {
    shards: Vec<BTreeMap<u64, Flight>>,
    next: u64,
    waiting: u64,
    at_risk: u64,
}

impl Flights {
    /// None, of so many shards.
    pub fn new(shards: u32) -> Self {
        Self { shards: (0..shards).map(|_| BTreeMap::new()).collect(), next: 0, waiting: 0, at_risk: 0 }
    }

    /// Adds one behind the others of its shard; its number.
    pub fn add(&mut self, shard: u32, flight: Flight) -> u64 {
        let n = self.next;
        self.next += 1;
        if let Some(flights) = self.shards.get_mut(shard as usize) {
            self.waiting += flight.size;
            self.at_risk += if flight.is_at_risk { flight.size } else { 0 };
            flights.insert(n, flight);
        }
        n
    }

    /// Takes one out.
    pub fn remove(&mut self, shard: u32, n: u64) -> Option<Flight> {
        let flight = self.shards.get_mut(shard as usize)?.remove(&n)?;
        self.waiting -= flight.size;
        self.at_risk -= if flight.is_at_risk { flight.size } else { 0 };
        Some(flight)
    }

    /// Takes out those that are not to be kept.
    pub fn give_back(&mut self) -> Vec<Flight> {
        let of_shard = |(shard, flights): (usize, &BTreeMap<u64, Flight>)| {
            let given = flights.iter().filter(|(_, flight)| !flight.keep).map(|(n, _)| (shard as u32, *n));
            given.collect::<Vec<_>>()
        };
        let given: Vec<_> = self.shards.iter().enumerate().flat_map(of_shard).collect();
        given.into_iter().filter_map(|(shard, n)| self.remove(shard, n)).collect()
    }

    /// All, in order within their shards.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64, &Flight)> {
        let of_shard = |(shard, flights)| {
            let flights: &BTreeMap<u64, Flight> = flights;
            flights.iter().map(move |(n, flight)| (shard as u32, *n, flight))
        };
        self.shards.iter().enumerate().flat_map(of_shard)
    }

    /// Whether the oldest event of a shard waits too long.
    pub fn is_late(&self, shard: u32, now: Instant) -> bool {
        let oldest = self.shards.get(shard as usize).and_then(|flights| flights.first_key_value());
        oldest.is_some_and(|(_, oldest)| now.saturating_duration_since(oldest.since) >= LATE)
    }

    /// The shards whose oldest event waits too long.
    pub fn late(&self, now: Instant) -> Vec<u32> {
        (0..self.shards.len() as u32).filter(|shard| self.is_late(*shard, now)).collect()
    }

    /// Those of a shard that are to be kept and not copied yet, in order; from now on they are being copied. Where an
    /// earlier one could not be, none is: copies come in the order of their events.
    pub fn uncopied(&mut self, shard: u32) -> Vec<Uncopied> {
        let flights = self.shards.get_mut(shard as usize).into_iter().flatten();
        let (mut uncopied, mut has_failed) = (Vec::new(), false);
        for (n, flight) in flights.filter(|(_, flight)| flight.keep) {
            has_failed |= flight.copied == Copied::Failed;
            if flight.copied == Copied::No {
                flight.copied = if has_failed { Copied::Failed } else { Copied::Asked };
                if !has_failed {
                    uncopied.push(Uncopied { shard, n: *n, record: Arc::clone(&flight.record) });
                }
            }
        }
        uncopied
    }

    /// Notes what became of a copy; whether its event is still on its way.
    pub fn note_copy(&mut self, shard: u32, n: u64, copied: Copied) -> bool {
        let flight = self.shards.get_mut(shard as usize).and_then(|flights| flights.get_mut(&n));
        flight.map(|flight| flight.copied = copied).is_some()
    }

    /// Counts as at risk what is to be kept of a shard and is copied, or cannot be; who is to be told.
    pub fn note_risk(&mut self, shard: u32) -> Vec<Arc<Report>> {
        let flights = self.shards.get_mut(shard as usize).into_iter().flat_map(BTreeMap::values_mut);
        let is_copied = |flight: &Flight| matches!(flight.copied, Copied::At(_) | Copied::Failed);
        let mut told = Vec::new();
        for flight in flights.filter(|flight| flight.keep && !flight.is_at_risk && is_copied(flight)) {
            flight.is_at_risk = true;
            self.at_risk += flight.size;
            told.extend(flight.report.clone());
        }
        told
    }

    /// Those that could not be copied may be tried again.
    pub fn copy_again(&mut self) {
        let failed = self.shards.iter_mut().flat_map(BTreeMap::values_mut).filter(|one| one.copied == Copied::Failed);
        failed.for_each(|flight| flight.copied = Copied::No);
    }

    /// Bytes on their way.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Bytes of those that are at risk.
    pub fn at_risk(&self) -> u64 {
        self.at_risk
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(BTreeMap::is_empty)
    }
}
