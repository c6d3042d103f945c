//! The last hour and the last day in figures, for the page's charts: sampled by the clock, kept in memory, and written
//! to a small file in the data folder once a minute. So a restart loses a minute of it at most. A file, and not a table
//! of the ledger: what nobody is owed is to cost the ledger no transaction, and where it is lost nothing else is.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use sink_api::Timestamp;
use sink_api::files::{self, Patience};
use tokio::time::{sleep, timeout};

use super::books::Books;
use super::store::Store;
use crate::admin::history::{HistorySample, HistoryView, Span};
use crate::ingress::counts::SOURCE_REASONS;
use crate::ingress::{Ingress, latency};
use crate::journal::folder::NO_LINK;
use crate::ledger::Storage;

/// The file in the data folder, and its name while it is written.
const FILE: &str = "history.json";
const NEW: &str = "history.json.new";
/// Largest file that is read back.
const MAX_FILE: u64 = 1 << 20;
/// Seconds of a sample of the hour, and of one of the day; the second is a multiple of the first.
const STEPS: [i64; 2] = [10, 600];
/// Seconds that are looked back at most.
const SPANS: [i64; 2] = [3600, 86_400];
/// Every how many samples the file is written, beside the first one.
const WRITE_EVERY: i64 = 6;
/// Longest wait for the ledger.
const PATIENCE: Duration = Duration::from_secs(2);

/// The history.
pub(super) struct History {
    file: PathBuf,
    storage: Storage,
    ingress: Arc<Ingress>,
    books: Arc<Books>,
    kept: Mutex<Kept>,
}

/// The samples, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    hour: VecDeque<HistorySample>,
    day: VecDeque<HistorySample>,
}

/// What was counted up to a moment.
#[derive(Clone, Debug)]
struct Totals {
    /// By source: taken, refused.
    sources: BTreeMap<String, [u64; 2]>,
    /// By sink.
    delivered: BTreeMap<String, u64>,
    pending: u64,
    answers: latency::Counts,
}

impl History {
    /// The history as the file in the data folder has it. Blocks, shortly.
    pub fn new(data_dir: &Path, store: &Store, ingress: &Arc<Ingress>, books: &Arc<Books>) -> Arc<Self> {
        let file = data_dir.join(FILE);
        let read = files::read(&file, MAX_FILE, &Patience::new()).ok();
        // What cannot be read is begun anew: it is for looking at alone.
        let kept = read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let (storage, ingress, books) = (store.storage.clone(), Arc::clone(ingress), Arc::clone(books));
        Arc::new(Self { file, storage, ingress, books, kept: Mutex::new(kept) })
    }

    /// What is known of that span.
    pub fn view(&self, span: Span) -> HistoryView {
        let (at, kept) = (usize::from(span == Span::Day), self.kept());
        let samples = if span == Span::Day { &kept.day } else { &kept.hour };
        let now = Timestamp::now().as_second();
        let [oldest, step] = [SPANS, STEPS].map(|of| of.get(at).copied().unwrap_or_default());
        let samples = samples.iter().filter(|sample| sample.time > now - oldest).copied().collect();
        HistoryView { span, step_s: step.unsigned_abs(), samples, unanswered: vec![] }
    }

    /// Takes samples until the task is ended.
    pub async fn run(self: Arc<Self>) {
        let [step, long] = STEPS;
        let mut last = self.totals(None).await;
        let mut answers = last.answers;
        let mut writing: Option<tokio::task::JoinHandle<()>> = None;
        loop {
            let now = Timestamp::now().as_millisecond();
            let wait = step * 1000 - now.rem_euclid(step * 1000);
            sleep(Duration::from_millis(wait.unsigned_abs())).await;
            // The clock may be set while we sleep: the sample is of the step that has just ended.
            let now = Timestamp::now().as_second();
            let time = now - now.rem_euclid(step);
            let totals = self.totals(Some(&last)).await;
            let mut kept = self.kept();
            let is_long = kept.note(sample(time, &last, &totals), &since(&answers, &totals.answers));
            let is_due = writing.is_none() || time / step % WRITE_EVERY == 0;
            let text = is_due.then(|| serde_json::to_vec(&*kept).unwrap_or_default());
            drop(kept);
            if is_long || time % long == 0 {
                answers = totals.answers;
            }
            last = totals;
            // A disk that hangs holds one thread, and keeps no sample from being taken.
            if let Some(text) = text.filter(|_| writing.as_ref().is_none_or(tokio::task::JoinHandle::is_finished)) {
                let file = self.file.clone();
                writing = Some(tokio::task::spawn_blocking(move || {
                    // A disk that is full or failing is told elsewhere.
                    let _ = write(&file, &text);
                }));
            }
        }
    }

    /// What was counted up to now; of the sinks what was known `before`, where the ledger does not answer.
    async fn totals(&self, before: Option<&Totals>) -> Totals {
        let sources = self.ingress.source_counts().into_iter().map(|(name, counts)| {
            let refused = SOURCE_REASONS.iter().map(|reason| counts.refused.get(*reason)).sum();
            (name, [counts.accepted.get(), refused])
        });
        let mut answers = [0; latency::BUCKETS];
        for (_, metered) in self.ingress.metered() {
            for (sum, count) in answers.iter_mut().zip(metered.latency.counts()) {
                *sum += count;
            }
        }
        let asked = timeout(PATIENCE, self.sinks()).await.ok();
        let known = || before.map(|before| (before.delivered.clone(), before.pending)).unwrap_or_default();
        let (delivered, pending) = asked.unwrap_or_else(known);
        Totals { sources: sources.collect(), delivered, pending, answers }
    }

    async fn sinks(&self) -> (BTreeMap<String, u64>, u64) {
        let (mut delivered, mut pending) = (BTreeMap::new(), 0);
        for sink in &self.books.now().sinks {
            let figures = self.books.figures(&self.storage, sink).await;
            delivered.insert(sink.name.clone(), figures.counters.delivered);
            pending += figures.pending;
        }
        (delivered, pending)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Valid whoever panicked: each change is made at once.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Takes a sample of the hour, and one of the day where the day's step has ended: the sum of the hour's samples in
    /// it, of which `answers` tells how long answers took. Says whether it has.
    fn note(&mut self, sample: HistorySample, answers: &latency::Counts) -> bool {
        let [_, step] = STEPS;
        let last = self.hour.back().map(|last| last.time);
        push(&mut self.hour, sample, SPANS[0]);
        let end = sample.time - sample.time.rem_euclid(step);
        if last.is_none_or(|last| last >= end) || sample.time < end {
            return false;
        }
        let mut sum = HistorySample { time: end, ..HistorySample::default() };
        for one in self.hour.iter().filter(|one| one.time > end - step && one.time <= end) {
            sum.accepted += one.accepted;
            sum.refused += one.refused;
            sum.delivered += one.delivered;
            sum.pending = one.pending;
        }
        (sum.answer_p50, sum.answer_p99) = answered(answers);
        push(&mut self.day, sum, SPANS[1]);
        true
    }
}

/// Adds a sample, and forgets those that are too old, or of a time to come: the clock was set.
fn push(samples: &mut VecDeque<HistorySample>, sample: HistorySample, span: i64) {
    samples.retain(|old| old.time < sample.time && old.time > sample.time - span);
    samples.push_back(sample);
}

fn sample(time: i64, from: &Totals, to: &Totals) -> HistorySample {
    // A source's counts begin with the source; a sink's may be of earlier times.
    let (mut accepted, mut refused) = (0, 0);
    for (name, [taken, not]) in &to.sources {
        let [taken_before, not_before] = from.sources.get(name).copied().unwrap_or_default();
        accepted += taken.saturating_sub(taken_before);
        refused += not.saturating_sub(not_before);
    }
    let made = |(name, count): (&String, &u64)| count.saturating_sub(*from.delivered.get(name).unwrap_or(count));
    let delivered = to.delivered.iter().map(made).sum();
    let (answer_p50, answer_p99) = answered(&since(&from.answers, &to.answers));
    HistorySample { time, accepted, refused, delivered, pending: to.pending, answer_p50, answer_p99 }
}

/// What was counted in between.
fn since(from: &latency::Counts, to: &latency::Counts) -> latency::Counts {
    let mut counts = *to;
    counts.iter_mut().zip(from).for_each(|(count, before)| *count = count.saturating_sub(*before));
    counts
}

fn answered(counts: &latency::Counts) -> (Option<f64>, Option<f64>) {
    (latency::within(counts, 0.5), latency::within(counts, 0.99))
}

fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let new = file.with_file_name(NEW);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(NO_LINK).open(&new)?;
    // Not flushed: after a power cut the file may be the one before, or be begun anew.
    out.write_all(text).and_then(|()| fs::rename(&new, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(accepted: u64, delivered: &[(&str, u64)]) -> Totals {
        Totals {
            sources: BTreeMap::from([("a".to_owned(), [accepted, 2 * accepted])]),
            delivered: delivered.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            pending: 7,
            answers: std::array::from_fn(|at| if at == 10 { accepted } else { 0 }),
        }
    }

    #[test]
    fn a_sample_is_what_happened_in_its_step() {
        let is = sample(10, &totals(3, &[("x", 5)]), &totals(10, &[("x", 9), ("back", 1_000)]));
        assert_eq!((is.accepted, is.refused, is.delivered, is.pending), (7, 14, 4, 7));
        assert!(is.answer_p50.is_some() && is.answer_p50 == is.answer_p99);
        let idle = sample(20, &totals(10, &[("x", 9)]), &totals(10, &[]));
        assert_eq!((idle.accepted, idle.delivered, idle.answer_p50), (0, 0, None));
    }

    #[test]
    fn an_hour_and_a_day_are_kept_and_nothing_older() {
        let mut kept = Kept::default();
        let answers = totals(1, &[]).answers;
        let [step, long] = STEPS;
        let at = |time| HistorySample { time, accepted: 1, pending: 3, ..HistorySample::default() };
        for n in 1..=2 * SPANS[1] / step {
            kept.note(at(n * step), &answers);
        }
        assert_eq!((kept.hour.len(), kept.day.len()), (360, 144));
        let day = kept.day.back().unwrap();
        assert_eq!((day.accepted, day.pending, day.time % long), (60, 3, 0));
        assert!(day.answer_p99.is_some());
        let back = at(SPANS[1]);
        kept.note(back, &answers);
        assert_eq!((kept.hour.len(), kept.hour.back()), (1, Some(&back)), "the clock was set back a day");
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let mut kept = Kept::default();
        kept.note(
            HistorySample { time: 10, answer_p50: Some(0.25), ..HistorySample::default() },
            &[0; latency::BUCKETS],
        );
        for _ in 0..2 {
            write(&file, &serde_json::to_vec(&kept).unwrap()).unwrap();
        }
        assert_eq!(serde_json::from_slice::<Kept>(&fs::read(&file).unwrap()).unwrap(), kept);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
