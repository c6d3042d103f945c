//! The housekeeping thread: writes footers of ended segments, keeps their indexes, and deletes old ones. What may go is
//! decided by [`plan`], a pure function; nothing here is needed for an acknowledgement.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::WhenFull;
use super::disk::DiskFile;
use super::indexing::{self, Indexes};
use super::rescue::Rescue;
use super::segment::SealError;
use super::state::{Core, Limits};
use super::view::{Segment, Shared, file_name, lock, position};
use super::{Deleted, format, reader, segment};

/// How often retention looks, unless it is called.
const EVERY: Duration = Duration::from_secs(1);
/// The alarm about owed events goes on at this share of `max_size` (percent), and off again below the second.
const ALARM: (u64, u64) = (80, 70);
/// A segment is ended when its oldest record has stood for this share of `retention`, so that little traffic does not
/// keep events for much longer than they should be.
const AGE_SHARE: u32 = 8;
/// A segment whose oldest record is younger than this is not ended for its age.
const MIN_AGE: Duration = Duration::from_secs(60);

/// A segment that has ended and wants its footer.
pub(super) struct Seal {
    pub base: u64,
    pub salt: u32,
    pub file: Arc<dyn DiskFile>,
    pub end: u64,
    pub summary: Shared,
}

impl Seal {
    /// Whether the segment is still there, and without a footer.
    fn is_wanted(&self, core: &Core) -> bool {
        core.view().segments.iter().any(|segment| segment.base == self.base && segment.summary.is_some())
    }
}

#[derive(Default)]
struct State {
    seals: Vec<Seal>,
    cuts: Vec<(Arc<dyn DiskFile>, u64)>,
    kicked: bool,
    /// Set where the thread is to end: at once, or where `true` when it has done what is queued here.
    stop: Option<bool>,
}

/// What the thread is asked to do.
#[derive(Default)]
pub(super) struct Chores {
    state: Mutex<State>,
    wake: Condvar,
}

impl Chores {
    /// Asks for a footer.
    pub fn seal(&self, seal: Seal) {
        lock(&self.state).seals.push(seal);
        self.kick();
    }

    /// Asks for files to be cut, best effort, to where their durable part ends.
    pub fn cut(&self, files: Vec<(Arc<dyn DiskFile>, u64)>) {
        lock(&self.state).cuts.extend(files);
        self.kick();
    }

    /// Asks for a look at retention.
    pub fn kick(&self) {
        lock(&self.state).kicked = true;
        self.wake.notify_all();
    }

    /// Whether the thread is to end at once.
    pub fn is_cut_short(&self) -> bool {
        lock(&self.state).stop == Some(false)
    }

    /// Whether the thread is to do something else, or to end.
    pub fn are_wanted(&self) -> bool {
        let state = lock(&self.state);
        state.kicked || state.stop.is_some()
    }

    /// Ends the thread, once it has done what it was asked for or at once.
    pub fn stop(&self, finish: bool) {
        lock(&self.state).stop = Some(finish);
        self.wake.notify_all();
    }

    fn wait(&self, most: Duration) -> State {
        let state = lock(&self.state);
        let idle = |s: &mut State| !s.kicked && s.stop.is_none();
        let mut state = self.wake.wait_timeout_while(state, most, idle).unwrap_or_else(PoisonError::into_inner).0;
        let stop = state.stop;
        State { stop, ..std::mem::take(&mut *state) }
    }
}

/// What was said already, so that it is not said at every look.
#[derive(Default)]
struct Alarms {
    /// Owed events fill the journal.
    owed: bool,
    /// When the tally of an owed segment could last not be kept; no tally is tried again sooner than a look later.
    not_kept: Option<Instant>,
}

/// Runs until stopped.
pub(super) fn run(core: &Core) {
    let (mut alarms, mut rescue, mut indexes) = (Alarms::default(), Rescue::default(), Indexes::default());
    // Segments whose footer could not be written, on a full disk: tried again at every look.
    let mut unsealed: Vec<Seal> = Vec::new();
    loop {
        let state = core.chores.wait(indexes.rest().unwrap_or(EVERY).min(EVERY));
        if state.stop == Some(false) {
            return;
        }
        // A segment that was deleted meanwhile, or copied with its footer, needs none.
        unsealed.retain(|seal| seal.is_wanted(core) && write_footer(core, seal, false));
        unsealed.extend(state.seals.into_iter().filter(|seal| write_footer(core, seal, true)));
        for (file, end) in &state.cuts {
            // Only tidiness: the successor's header says already where this file ends.
            let _ = file.truncate(*end);
        }
        rescue.look(core);
        if state.stop.is_some() {
            return;
        }
        pass(core, &mut alarms);
        indexes.look(core);
        #[cfg(test)]
        core.looks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Gives an ended segment its footer; whether that is to be tried again. Until it is there, the segment's summary stays
/// in memory; a start that finds no footer scans the segment. A failure is told where `first`.
fn write_footer(core: &Core, seal: &Seal, first: bool) -> bool {
    let footer = lock(&seal.summary).encode(seal.salt);
    match segment::seal(&*seal.file, seal.end, &footer) {
        Ok(size) => {
            if let Some(segment) = core.view_mut().segment_mut(seal.base) {
                segment.size = size;
                segment.summary = None;
            }
            false
        }
        Err(error) => {
            if first {
                let file = format::segment_name(seal.base);
                tracing::warn!(file, %error, "a segment's footer could not be written");
            }
            matches!(error, SealError::Write(_))
        }
    }
}

/// What retention decides, once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// How many of the oldest segments go: settled and old, or settled and in the way.
    settled: usize,
    /// How many after those go although they are owed.
    owed: usize,
    /// Whether new events are to be refused.
    full: bool,
    /// Whether the newest segment should be ended, so that it can go one day.
    roll: bool,
    /// Bytes of segments with owed events.
    owed_bytes: u64,
    /// Bytes that may be written until the next look.
    allowance: u64,
}

/// Decides what goes. `floor` is the first sequence that any holder still needs, `other_bytes` count beside the
/// segments.
pub(super) fn plan(segments: &[Segment], floor: u64, now: i64, other_bytes: u64, limits: &Limits) -> Plan {
    let mut plan = Plan::default();
    let mut total = other_bytes + segments.iter().map(Segment::bytes).sum::<u64>();
    let is_settled = |s: &Segment| s.next <= floor;
    plan.owed_bytes = segments.iter().filter(|s| !is_settled(s)).map(Segment::bytes).sum();
    let age = |time: i64| Duration::from_micros(u64::try_from(now.saturating_sub(time)).unwrap_or(0));
    let is_old = |s: &Segment| s.times.is_none_or(|(_, newest)| age(newest) > limits.retention);
    let Some((newest, sealed)) = segments.split_last() else {
        plan.allowance = limits.max_size.saturating_sub(total);
        return plan;
    };
    for segment in sealed {
        if !is_settled(segment) || !(is_old(segment) || total > limits.max_size) {
            break;
        }
        plan.settled += 1;
        total -= segment.bytes();
    }
    for segment in sealed.iter().skip(plan.settled) {
        if total <= limits.max_size || limits.when_full == WhenFull::Refuse {
            break;
        }
        plan.owed += 1;
        total -= segment.bytes();
    }
    plan.full = total > limits.max_size && limits.when_full == WhenFull::Refuse;
    // The newest segment never goes; it can be ended, so that it is not the newest once the next record comes.
    let stale = newest.times.is_some_and(|(oldest, _)| age(oldest) > (limits.retention / AGE_SHARE).max(MIN_AGE));
    let in_the_way = total > limits.max_size && (is_settled(newest) || limits.when_full == WhenFull::DropOldest);
    plan.roll = stale || in_the_way;
    // A settled segment goes with the next record, so it must not keep that record from coming.
    plan.full &= !is_settled(newest);
    plan.allowance = limits.max_size.saturating_sub(total);
    plan
}

fn pass(core: &Core, alarms: &mut Alarms) {
    core.look_at_free();
    let other_bytes = (core.other_bytes)();
    let (floor, away) = {
        let holds = lock(&core.holds);
        (holds.held.values().copied().min().unwrap_or(u64::MAX), holds.away.values().copied().collect::<Vec<_>>())
    };
    let now = (core.env.clock)();
    if !core.retaining.load(Ordering::Acquire) {
        return;
    }
    let (plan, going) = {
        let view = core.view();
        let plan = plan(&view.segments, floor, now, other_bytes, &core.limits);
        let going: Vec<Segment> = view.segments.iter().take(plan.settled + plan.owed).cloned().collect();
        (plan, going)
    };
    // Only this thread takes segments away, so the oldest are still those that were planned for.
    let mut is_free = |(n, segment): &(usize, &Segment)| {
        let settled = *n < plan.settled;
        (settled && away.iter().all(|cursor| *cursor >= segment.next))
            || keep_tally(core, segment, settled && away.iter().all(|at| !segment.has_within(*at)), alarms)
    };
    let may_go = going.iter().enumerate().take_while(|one| is_free(one)).count();
    let gone: Vec<Segment> = core.view_mut().segments.drain(..may_go).collect();
    let full = plan.full;
    if core.full.swap(full, Ordering::Relaxed) != full && full {
        tracing::error!("the journal is full of events still owed to sinks; new ones are refused");
    }
    core.owed_bytes.store(plan.owed_bytes, Ordering::Relaxed);
    core.allowance.store(i64::try_from(plan.allowance).unwrap_or(i64::MAX), Ordering::Relaxed);
    delete(core, &gone, plan.settled);
    if plan.roll {
        core.queue.roll();
    }
    let percent = plan.owed_bytes.saturating_mul(100) / core.limits.max_size.max(1);
    if percent >= ALARM.0 && !alarms.owed {
        tracing::warn!(percent, bytes = plan.owed_bytes, "owed events fill the journal: a sink does not keep up");
    }
    alarms.owed = percent >= if alarms.owed { ALARM.1 } else { ALARM.0 };
}

/// Has the types of a segment's records kept which sinks are owed, or which a sink that is away has not had, so that
/// each sink can book them as dropped. `whole` says that no cursor stands within the segment. Gives `false` where the
/// types could not be kept: then the segment must stay.
fn keep_tally(core: &Core, segment: &Segment, whole: bool, alarms: &mut Alarms) -> bool {
    if alarms.not_kept.is_some_and(|last| last.elapsed() < EVERY) {
        return false;
    }
    let tally = reader::tally(core, segment, whole).encode();
    let kept = core.cursors.keep_deleted(Deleted { from: position(segment.base), to: position(segment.next), tally });
    if let Err(error) = &kept
        && alarms.not_kept.is_none()
    {
        tracing::error!(%error, "a segment should go, but what sinks would lose with it cannot be noted; it stays");
    }
    alarms.not_kept = kept.is_err().then(Instant::now);
    kept.is_ok()
}

/// Deletes segments that readers no longer see; the first `settled` of them were owed to nobody.
fn delete(core: &Core, gone: &[Segment], settled: usize) {
    for (n, segment) in gone.iter().enumerate() {
        let (file, records) = (file_name(segment), segment.records);
        if n >= settled {
            tracing::warn!(
                file,
                records,
                from = segment.base,
                to = segment.next,
                "dropped owed events: the journal has reached max_size"
            );
        } else {
            tracing::debug!(file, records, "deleted a settled segment");
        }
        core.cache.forget(segment.base);
        if let Err(error) = core.store.remove(segment.base) {
            tracing::warn!(file, %error, "a segment could not be deleted");
        }
        indexing::remove(core, segment.base);
    }
    if !gone.is_empty()
        && let Err(error) = core.store.disk.sync_dir(&core.store.dir)
    {
        tracing::warn!(%error, "the journal's folder could not be flushed after a deletion");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::footer::Summary;
    use crate::journal::format::{Before, Header};

    const SECOND: i64 = 1_000_000;

    /// Segments of 100 bytes and 10 sequences, one a minute.
    fn segments(n: u64) -> Vec<Segment> {
        let segment = |n: u64| {
            let before = Before { base: 0, end: 0, bytes: 0 };
            let header = Header { base: n * 10, created: 0, salt: 0, before };
            let time = n as i64 * 60 * SECOND;
            let new = Segment::new(&header, &Summary::new(n * 10));
            Segment { next: n * 10 + 10, size: 100, times: Some((time, time)), ..new }
        };
        (1..=n).map(segment).collect()
    }

    fn limits(retention_minutes: u64, max_size: u64, when_full: WhenFull) -> Limits {
        let retention = Duration::from_secs(retention_minutes * 60);
        Limits { segment_size: 100, retention, max_size, when_full, min_free: 0 }
    }

    fn planned(floor: u64, other_bytes: u64, limits: &Limits) -> (usize, usize, bool, bool) {
        let plan = plan(&segments(5), floor, 6 * 60 * SECOND, other_bytes, limits);
        (plan.settled, plan.owed, plan.full, plan.roll)
    }

    #[test]
    fn only_settled_segments_older_than_retention_go_and_never_the_newest() {
        let limits = limits(3, 10_000, WhenFull::DropOldest);
        assert_eq!(planned(u64::MAX, 0, &limits).0, 2);
        assert_eq!(planned(29, 0, &limits).0, 1, "one record of the second is owed");
        assert_eq!(planned(10, 0, &limits).0, 0);
        let none = Limits { retention: Duration::ZERO, ..limits };
        assert_eq!(planned(u64::MAX, 0, &none).0, 4);
    }

    #[test]
    fn max_size_takes_settled_segments_first_then_owed_ones() {
        let limits = limits(1000, 300, WhenFull::DropOldest);
        assert_eq!(planned(u64::MAX, 0, &limits), (2, 0, false, false));
        assert_eq!(planned(20, 0, &limits), (1, 1, false, false));
        assert_eq!(planned(0, 100, &limits), (0, 3, false, false), "the ledger counts");
    }

    #[test]
    fn with_refuse_owed_segments_stay_and_the_journal_is_full() {
        let limits = limits(1000, 300, WhenFull::Refuse);
        assert_eq!(planned(20, 0, &limits), (1, 0, true, false));
        assert_eq!(planned(30, 0, &limits), (2, 0, false, false));
    }

    #[test]
    fn the_newest_segment_is_ended_where_it_alone_is_in_the_way_or_stale() {
        assert_eq!(planned(0, 1000, &limits(1000, 300, WhenFull::DropOldest)), (0, 4, false, true));
        assert_eq!(planned(u64::MAX, 1000, &limits(1000, 300, WhenFull::Refuse)), (4, 0, false, true));
        assert!(!planned(0, 0, &limits(8, 10_000, WhenFull::Refuse)).3);
        let plan = plan(&segments(5), 0, 7 * 60 * SECOND, 0, &limits(8, 10_000, WhenFull::Refuse));
        assert!(plan.roll, "older than an eighth of retention, and than a minute");
    }
}
