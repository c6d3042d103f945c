//! The commit queue: records that were appended and are not on disk yet. Callers put records in, the commit thread
//! takes them out. The queue is bounded by `overflow_max`, and knows no files.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::view::lock;
use super::{Append, AppendError, NotifyBatch, OnFailure, OnProgress, Progress, Record, format};

/// Why nothing can be written just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A write, a flush or the creation of a segment failed, or too little space is left.
    Unwritable(String),
    /// `max_size` holds only owed events, and new ones are to be refused.
    Full,
}

impl Trouble {
    /// What is reported of a record that is not to be kept.
    pub fn error(&self) -> AppendError {
        match self {
            Self::Unwritable(why) => AppendError::Unwritable(why.clone()),
            Self::Full => AppendError::Full,
        }
    }
}

/// How the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// What is queued is written first.
    Flush,
    /// What is queued is let go.
    Abandon,
}

/// One record that waits.
pub(super) struct Item {
    pub record: Arc<Record>,
    /// Its bytes on disk.
    pub size: u64,
    pub keep: bool,
    /// Whether `AtRisk` was reported.
    pub at_risk: bool,
    on_progress: OnProgress,
    notify: Option<NotifyBatch>,
}

impl Item {
    /// The item, and why it cannot be kept where the record is too large for the format.
    fn new(Append { record, on_failure, on_progress, notify }: Append) -> (Self, Option<AppendError>) {
        let size = format::record_len(&record);
        let keep = on_failure == OnFailure::Keep;
        let (record, size_or_zero) = (Arc::new(record), size.unwrap_or(0));
        let item = Self { record, size: size_or_zero, keep, at_risk: false, on_progress, notify };
        (item, size.err().map(AppendError::TooLarge))
    }

    /// Reports to the caller. A caller that panics must not take the journal with it.
    pub fn report(&mut self, progress: Progress) {
        report(&mut self.on_progress, progress);
    }
}

/// Who is to be notified of records whose progress was reported: each one once, at the end.
#[derive(Default)]
pub(super) struct Notifications(Vec<NotifyBatch>);

impl Notifications {
    /// Takes note of whom a record notifies.
    pub fn note(&mut self, item: &Item) {
        if let Some(notify) = &item.notify
            && !self.0.iter().any(|known| Arc::ptr_eq(known, notify))
        {
            self.0.push(Arc::clone(notify));
        }
    }

    /// Notifies them. A caller that panics here must not take the journal with it.
    pub fn send(self) {
        for notify in self.0 {
            if catch_unwind(AssertUnwindSafe(|| notify())).is_err() {
                tracing::error!("a caller of the journal panicked while it was woken");
            }
        }
    }
}

fn report(on_progress: &mut OnProgress, progress: Progress) {
    if catch_unwind(AssertUnwindSafe(|| on_progress(progress))).is_err() {
        tracing::error!("a caller of the journal panicked while it was told about its record");
    }
}

#[derive(Default)]
struct State {
    items: Vec<Item>,
    /// Bytes of all records that are not written or given back yet, whether they are here or with the commit thread.
    waiting: u64,
    /// Records that are being reported `AtRisk` and will be pushed right after.
    reserved: usize,
    trouble: Option<Trouble>,
    /// Whether the last record that came found no room.
    full: bool,
    closing: Option<Closing>,
    /// Whether the commit thread sleeps until something comes.
    idle: bool,
    /// Whether retention wants a new segment.
    roll: bool,
}

/// What the commit thread finds when it looks.
pub(super) struct Taken {
    pub closing: Option<Closing>,
    pub roll: bool,
    /// Whether records are on their way into the queue that must be waited for before closing.
    pub reserved: bool,
}

/// The queue.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    limit: u64,
    /// Bytes of waiting records that were reported `AtRisk`. Changed under the lock, and read without: whoever watches
    /// the commit thread must not wait for it.
    at_risk: AtomicU64,
    /// How often the commit thread was asked for a sign of life, and which of these questions it has seen.
    asked: AtomicU64,
    seen: AtomicU64,
}

impl Queue {
    /// An empty queue that takes `limit` bytes.
    pub fn new(limit: u64) -> Self {
        let [at_risk, asked, seen] = [const { AtomicU64::new(0) }; 3];
        Self { state: Mutex::default(), wake: Condvar::new(), limit, at_risk, asked, seen }
    }

    /// Queues records, in order. Where one is refused, or at risk from the start, its `on_progress` is called before
    /// this returns.
    pub fn push(&self, records: Vec<Append>) {
        let mut notifications = Notifications::default();
        let made: Vec<_> = records.into_iter().map(Item::new).collect();
        let mut state = lock(&self.state);
        for (mut item, too_large) in made {
            let refused = too_large.or_else(|| self.refuses(&state, &item));
            state.full = refused == Some(AppendError::QueueFull);
            if let Some(error) = refused {
                drop(state);
                notifications.note(&item);
                item.report(Progress::Failed(error));
                state = lock(&self.state);
                continue;
            }
            state.waiting += item.size;
            if state.trouble.is_some() {
                // Reported outside the lock, yet before the commit thread can have it: `Durable` must not come first.
                self.at_risk.fetch_add(item.size, Relaxed);
                state.reserved += 1;
                drop(state);
                notifications.note(&item);
                item.at_risk = true;
                item.report(Progress::AtRisk);
                state = lock(&self.state);
                state.reserved -= 1;
            }
            state.items.push(item);
        }
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        notifications.send();
        if idle {
            self.wake.notify_all();
        }
    }

    /// Why a record cannot be taken just now, where it cannot.
    fn refuses(&self, state: &State, item: &Item) -> Option<AppendError> {
        if state.closing.is_some() {
            Some(AppendError::Closed)
        } else if state.waiting > 0 && state.waiting.saturating_add(item.size) > self.limit {
            Some(AppendError::QueueFull)
        } else {
            state.trouble.as_ref().filter(|_| !item.keep).map(Trouble::error)
        }
    }

    /// Moves what is queued behind `pending`. Waits while there is nothing to do, and where nothing is pending at least
    /// until `not_before`. Where `pause` is given (the journal is failing), it waits so long whatever comes, unless the
    /// queue is closed.
    pub fn take(&self, pending: &mut VecDeque<Item>, pause: Option<Duration>, not_before: Instant) -> Taken {
        let mut state = lock(&self.state);
        if let Some(pause) = pause {
            let until = Instant::now() + pause;
            while state.closing != Some(Closing::Abandon) {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        } else {
            while pending.is_empty() && state.items.is_empty() && state.closing.is_none() && !state.roll {
                self.seen.store(self.asked.load(Relaxed), Relaxed);
                state.idle = true;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.idle = false;
            while pending.is_empty() && state.closing.is_none() && !state.roll {
                let left = not_before.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        pending.extend(state.items.drain(..));
        self.seen.store(self.asked.load(Relaxed), Relaxed);
        Taken { closing: state.closing, roll: std::mem::take(&mut state.roll), reserved: state.reserved > 0 }
    }

    /// Takes records out of the counts that were written or given back.
    pub fn settled(&self, bytes: u64, at_risk: u64) {
        let mut state = lock(&self.state);
        state.waiting = state.waiting.saturating_sub(bytes);
        self.at_risk.store(self.at_risk.load(Relaxed).saturating_sub(at_risk), Relaxed);
        state.full &= bytes == 0;
    }

    /// Notes that the journal fails from now on. Records that are to be kept are moved to `pending` and reported
    /// `AtRisk`; the others are given back.
    pub fn failing(&self, trouble: &Trouble, pending: &mut VecDeque<Item>) {
        let mut state = lock(&self.state);
        state.trouble = Some(trouble.clone());
        pending.extend(state.items.drain(..));
        let (mut at_risk, mut given_back) = (0, 0);
        for item in pending.iter() {
            match item.keep {
                true if !item.at_risk => at_risk += item.size,
                true => {}
                false => given_back += item.size,
            }
        }
        self.at_risk.fetch_add(at_risk, Relaxed);
        state.waiting = state.waiting.saturating_sub(given_back);
        drop(state);
        let mut notifications = Notifications::default();
        pending.retain_mut(|item| {
            notifications.note(item);
            if !item.keep {
                item.report(Progress::Failed(trouble.error()));
            } else if !std::mem::replace(&mut item.at_risk, true) {
                item.report(Progress::AtRisk);
            }
            item.keep
        });
        notifications.send();
    }

    /// Notes that the journal writes again.
    pub fn well(&self) {
        lock(&self.state).trouble = None;
    }

    /// Asks the commit thread to end the segment it writes.
    pub fn roll(&self) {
        let mut state = lock(&self.state);
        state.roll = true;
        state.idle = false;
        drop(state);
        self.wake.notify_all();
    }

    /// Asks the commit thread for a sign of life: it gives one when it next looks at the queue.
    pub fn ask(&self) {
        self.asked.fetch_add(1, Relaxed);
        self.nudge();
    }

    /// Whether the commit thread has looked at the queue since it was asked last.
    pub fn has_answered(&self) -> bool {
        let has = self.seen.load(Relaxed) == self.asked.load(Relaxed);
        if !has {
            self.nudge();
        }
        has
    }

    /// Has the commit thread look at the queue where it sleeps. Where the lock is taken the thread is awake, or is
    /// nudged again at the next look.
    fn nudge(&self) {
        let Ok(mut state) = self.state.try_lock() else { return };
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        if idle {
            self.wake.notify_all();
        }
    }

    /// Takes no more records. The first call decides how the queue closes; only `Abandon` may overrule it later.
    pub fn close(&self, how: Closing) {
        let mut state = lock(&self.state);
        if state.closing.is_none() || how == Closing::Abandon {
            state.closing = Some(how);
        }
        state.idle = false;
        drop(state);
        self.wake.notify_all();
    }

    /// Bytes that were taken and are not on disk yet.
    pub fn waiting(&self) -> u64 {
        lock(&self.state).waiting
    }

    /// Whether the journal is known to fail, and whether there is no room for more: the last record found none.
    pub fn refusing(&self) -> (bool, bool) {
        let state = lock(&self.state);
        (state.trouble.is_some(), state.full || state.waiting >= self.limit)
    }

    /// Bytes that were reported `AtRisk` and are not on disk yet.
    pub fn at_risk(&self) -> u64 {
        self.at_risk.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    type Log = Arc<Mutex<Vec<Progress>>>;

    fn push(queue: &Queue, log: &Log, bytes: usize, on_failure: OnFailure) {
        queue.push(vec![append(log, bytes, on_failure, None)]);
    }

    fn append(log: &Log, bytes: usize, on_failure: OnFailure, notify: Option<NotifyBatch>) -> Append {
        let (source, kind, key, payload) = ("s".into(), "t".into(), "k".into(), Bytes::from(vec![0; bytes]));
        let record =
            Record { id: [0; 16], time: 0, source, kind, key, fingerprint: None, payload, made: Default::default() };
        let log = Arc::clone(log);
        let on_progress = Box::new(move |progress| lock(&log).push(progress));
        Append { record, on_failure, on_progress, notify }
    }

    fn reported(log: &Log) -> Vec<Progress> {
        std::mem::take(&mut *lock(log))
    }

    #[test]
    fn the_queue_is_bounded_by_bytes_but_takes_one_record_of_any_size() {
        let (queue, log) = (Queue::new(1000), Log::default());
        push(&queue, &log, 5000, OnFailure::Keep);
        assert_eq!(reported(&log), []);
        push(&queue, &log, 1, OnFailure::Keep);
        assert_eq!(reported(&log), [Progress::Failed(AppendError::QueueFull)]);
        let mut pending = VecDeque::new();
        queue.take(&mut pending, None, Instant::now());
        push(&queue, &log, 1, OnFailure::Keep);
        assert_eq!(reported(&log), [Progress::Failed(AppendError::QueueFull)], "what is being written still counts");
        queue.settled(pending[0].size, 0);
        push(&queue, &log, 1, OnFailure::Keep);
        assert_eq!(reported(&log), []);
    }

    #[test]
    fn whoever_is_to_be_notified_is_so_once_when_all_its_records_have_been_reported() {
        let (queue, log, rung) = (Queue::new(10_000), Log::default(), Arc::new(Mutex::new(vec![])));
        let notify: NotifyBatch = Arc::new({
            let (log, rung) = (Arc::clone(&log), Arc::clone(&rung));
            move || lock(&rung).push(lock(&log).len())
        });
        let some = |n, how| (0..n).map(|_| append(&log, 1, how, Some(Arc::clone(&notify)))).collect();
        queue.push(some(3, OnFailure::Keep));
        assert!(lock(&rung).is_empty());
        queue.failing(&Trouble::Full, &mut VecDeque::new());
        assert_eq!(*lock(&rung), [3], "reported at risk by the journal");
        queue.push(some(2, OnFailure::GiveBack));
        assert_eq!(*lock(&rung), [3, 5], "refused at once");
    }

    #[test]
    fn a_record_too_large_for_the_format_is_refused() {
        let (queue, log) = (Queue::new(u64::MAX), Log::default());
        push(&queue, &log, format::MAX_RECORD as usize, OnFailure::Keep);
        assert!(matches!(reported(&log)[..], [Progress::Failed(AppendError::TooLarge(_))]));
    }

    #[test]
    fn with_the_journal_failing_a_record_is_kept_at_risk_or_given_back_at_once() {
        let (queue, log) = (Queue::new(10_000), Log::default());
        let trouble = Trouble::Unwritable("no".into());
        push(&queue, &log, 1, OnFailure::Keep);
        push(&queue, &log, 1, OnFailure::GiveBack);
        let mut pending = VecDeque::new();
        queue.failing(&trouble, &mut pending);
        let failed = Progress::Failed(trouble.error());
        assert_eq!(reported(&log), [Progress::AtRisk, failed.clone()]);
        assert_eq!(pending.len(), 1);
        let one = pending[0].size;
        assert_eq!(queue.at_risk(), one);
        push(&queue, &log, 1, OnFailure::GiveBack);
        assert_eq!(reported(&log), [failed]);
        push(&queue, &log, 1, OnFailure::Keep);
        assert_eq!(reported(&log), [Progress::AtRisk]);
        assert_eq!(queue.at_risk(), 2 * one);
        queue.failing(&trouble, &mut pending);
        assert_eq!(reported(&log), [], "at risk is reported once");
        queue.settled(2 * one, 2 * one);
        queue.well();
        push(&queue, &log, 1, OnFailure::GiveBack);
        assert_eq!((reported(&log), queue.at_risk()), (vec![], 0));
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_a_caller_that_panics_harms_nobody() {
        let (queue, log) = (Queue::new(10_000), Log::default());
        queue.close(Closing::Flush);
        push(&queue, &log, 1, OnFailure::Keep);
        assert_eq!(reported(&log), [Progress::Failed(AppendError::Closed)]);
        report(&mut (Box::new(|_| -> () { panic!("caller") }) as OnProgress), Progress::AtRisk);
    }
}
