//! The uploads: requests whose bodies are still on their way, what memory each of them holds, who waits for memory, and
//! who is cut where there is too little of it. Pure: it is told the time, and knows no sockets.
//!
//! There are three pools. From the *base* come requests themselves, their heads, and the first bytes of their bodies, but
//! for what a connection can have only one of and `max_connections` bounds already. Once bytes of a body have come, the body takes room
//! for the whole of it: from the *small* pool where it has at most
//! [`SMALL`] bytes, else from the *large* one. So few bodies grow at once, and each of those can be finished. Room that is
//! taken but not used is taken back when somebody else needs it: an upload whose sender is slow is cut, the slowest first
//! ([`Pace::is_slow`]). A sender that keeps its pace is never cut, nor one that waits for room; where nobody is slow, the
//! others wait.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};

/// Milliseconds on the clock of whoever asks.
pub type Millis = u64;

/// Largest body that the small pool serves, bytes.
pub const SMALL: usize = 64 << 10;
/// How long a sender may be silent before it is slow: longer than what is already on its way takes to arrive.
pub const PATIENCE: Millis = 150;
/// Over what time a pace is measured.
const SPAN: Millis = 1000;
/// After a look for slow uploads that found none: when it is worth another one.
const LOOK_AGAIN: Millis = 20;
/// A look goes over all uploads, so one that finds slow ones cuts this share of the pool at once.
const SHARE: usize = 16;

/// Where memory is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Requests, their heads, the beginnings of bodies.
    Base,
    /// Bodies of at most [`SMALL`].
    Small,
    /// Bodies of more than [`SMALL`].
    Large,
}

/// An upload was cut, as others needed what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut;

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// The connection.
    pub connection: u64,
    /// Whether the connection has brought a webhook with a good signature before.
    pub is_proven: bool,
}

/// How fast a body comes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    began: Millis,
    /// When the last bytes came.
    last: Millis,
    got: usize,
    /// Beginning of the span that is being measured, and what had come by then; the same of the span before.
    span: (Millis, usize),
    before: (Millis, usize),
}

impl Pace {
    fn new(now: Millis, got: usize) -> Self {
        Self { began: now, last: now, got, span: (now, 0), before: (now, 0) }
    }

    fn came(&mut self, bytes: usize, now: Millis) {
        if now.saturating_sub(self.span.0) >= SPAN {
            self.before = std::mem::replace(&mut self.span, (now, self.got));
        }
        self.got = self.got.saturating_add(bytes);
        self.last = now;
    }

    /// Bytes a second of late; 0 after a second of silence.
    fn speed(&self, now: Millis) -> u64 {
        if now.saturating_sub(self.last) >= SPAN {
            return 0;
        }
        let bytes = u64::try_from(self.got.saturating_sub(self.before.1)).unwrap_or(u64::MAX);
        bytes.saturating_mul(1000) / now.saturating_sub(self.before.0).max(1)
    }

    /// Whether it may be cut where there is too little room: silent for [`PATIENCE`], or slower than `least` bytes a
    /// second.
    fn is_slow(&self, least: u64, now: Millis) -> bool {
        let past = |since: Millis| now.saturating_sub(since) >= PATIENCE;
        past(self.last) || (past(self.began) && self.speed(now) < least)
    }
}

/// One upload.
#[derive(Debug)]
struct Upload {
    sender: Sender,
    pace: Pace,
    base: usize,
    small: usize,
    large: usize,
    /// What it waits for.
    asks: Option<(Pool, usize)>,
    is_cut: bool,
    waker: Option<Waker>,
}

impl Upload {
    fn holds(&self, pool: Pool) -> usize {
        match pool {
            Pool::Base => self.base,
            Pool::Small => self.small,
            Pool::Large => self.large,
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// One pool. `waiting` in the order of service: proven connections first, then who needs least, then who came first.
#[derive(Debug)]
struct Store {
    limit: usize,
    used: usize,
    waiting: BTreeSet<(bool, usize, u64)>,
    next_look: Millis,
}

impl Store {
    fn new(limit: usize) -> Self {
        Self { limit, used: 0, waiting: BTreeSet::new(), next_look: 0 }
    }

    fn has(&self, bytes: usize) -> bool {
        self.used.saturating_add(bytes) <= self.limit
    }
}

/// All uploads of the front.
#[derive(Debug)]
pub struct Uploads {
    all: BTreeMap<u64, Upload>,
    next: u64,
    base: Store,
    small: Store,
    large: Store,
    /// Bytes a second below which a sender is slow.
    least: u64,
    cut: u64,
}

impl Uploads {
    /// With pools of these sizes; who sends fewer than `least` bytes a second is slow.
    pub fn new(base: usize, small: usize, large: usize, least: u64) -> Self {
        let (base, small, large) = (Store::new(base), Store::new(small), Store::new(large));
        Self { all: BTreeMap::new(), next: 0, base, small, large, least, cut: 0 }
    }

    /// A new upload, of which `got` bytes have come; it asks the base for `base` bytes. Its number.
    pub fn enter(&mut self, sender: Sender, base: usize, got: usize, now: Millis) -> u64 {
        let id = self.next;
        self.next += 1;
        let (pace, waker) = (Pace::new(now, got), None);
        let upload = Upload { sender, pace, base: 0, small: 0, large: 0, asks: None, is_cut: false, waker };
        self.all.insert(id, upload);
        self.ask(id, Pool::Base, base, now);
        id
    }

    /// It asks for more. [`Self::poll`] says when it has it.
    pub fn ask(&mut self, id: u64, pool: Pool, bytes: usize, now: Millis) {
        let bytes = bytes.min(self.store(pool).limit);
        let Some(upload) = self.all.get_mut(&id).filter(|upload| !upload.is_cut) else { return };
        upload.asks = Some((pool, bytes));
        let turn = (!upload.sender.is_proven, bytes, id);
        self.store(pool).waiting.insert(turn);
        self.serve(pool, now);
    }

    /// Bytes of its body came.
    pub fn came(&mut self, id: u64, bytes: usize, now: Millis) {
        if let Some(upload) = self.all.get_mut(&id) {
            upload.pace.came(bytes, now);
        }
    }

    /// Whether it has what it asked for; wakes the caller when that changes, or when it is cut.
    pub fn poll(&mut self, id: u64, cx: &Context<'_>) -> Poll<Result<(), Cut>> {
        let Some(upload) = self.all.get_mut(&id).filter(|upload| !upload.is_cut) else { return Poll::Ready(Err(Cut)) };
        match &mut upload.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        if upload.asks.is_some() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// It is through, or gone.
    pub fn leave(&mut self, id: u64, now: Millis) {
        self.give_back(id);
        self.all.remove(&id);
        self.look(now);
    }

    /// Serves whom it can: to be called every now and then while somebody waits.
    pub fn look(&mut self, now: Millis) {
        for pool in [Pool::Base, Pool::Small, Pool::Large] {
            self.serve(pool, now);
        }
    }

    /// How many wait for room.
    pub fn waiting(&self) -> usize {
        self.base.waiting.len() + self.small.waiting.len() + self.large.waiting.len()
    }

    /// How many were cut so far.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// The connection with the slowest upload among those that are slow, but for proven ones; of those that `is_one`.
    pub fn slowest(&self, now: Millis, is_one: impl Fn(u64) -> bool) -> Option<u64> {
        let slow = self.all.values().filter(|upload| {
            let is_held_up = upload.sender.is_proven || upload.is_cut || upload.asks.is_some();
            !is_held_up && upload.pace.is_slow(self.least, now) && is_one(upload.sender.connection)
        });
        slow.min_by_key(|upload| upload.pace.speed(now)).map(|upload| upload.sender.connection)
    }

    fn store(&mut self, pool: Pool) -> &mut Store {
        match pool {
            Pool::Base => &mut self.base,
            Pool::Small => &mut self.small,
            Pool::Large => &mut self.large,
        }
    }

    /// Gives what there is to those who wait, in their order; makes room where there is none.
    fn serve(&mut self, pool: Pool, now: Millis) {
        while let Some(&turn) = self.store(pool).waiting.first() {
            let (_, bytes, id) = turn;
            if !self.store(pool).has(bytes) {
                self.cut_slow(pool, (id, bytes), now);
                if !self.store(pool).has(bytes) {
                    return;
                }
            }
            self.store(pool).waiting.remove(&turn);
            self.grant(id, pool, bytes, now);
        }
    }

    fn grant(&mut self, id: u64, pool: Pool, bytes: usize, now: Millis) {
        let Some(upload) = self.all.get_mut(&id) else { return };
        upload.asks = None;
        // The wait was ours.
        upload.pace.last = now;
        let spare = match pool {
            Pool::Base => {
                upload.base = bytes;
                0
            }
            Pool::Small => {
                upload.small = bytes;
                0
            }
            // From here on the large pool answers for its body.
            Pool::Large => {
                upload.large = bytes;
                std::mem::take(&mut upload.small)
            }
        };
        upload.wake();
        let store = self.store(pool);
        store.used = store.used.saturating_add(bytes);
        if spare > 0 {
            self.small.used = self.small.used.saturating_sub(spare);
            self.serve(Pool::Small, now);
        }
    }

    /// Cuts slow uploads that hold something of a pool, the slowest first and proven ones last, until there is room for
    /// `bytes` and some to spare; nobody where none is slow. Not the one who asks.
    fn cut_slow(&mut self, pool: Pool, (asker, bytes): (u64, usize), now: Millis) {
        if now < self.store(pool).next_look {
            return;
        }
        let least = self.least;
        let slow = |(&id, upload): (&u64, &Upload)| {
            // Who waits for room has nothing to answer for.
            let is_held_up = id == asker || upload.is_cut || upload.asks.is_some();
            let may_go = !is_held_up && upload.holds(pool) > 0 && upload.pace.is_slow(least, now);
            may_go.then(|| ((upload.sender.is_proven, upload.pace.speed(now)), id))
        };
        let mut slow: Vec<_> = self.all.iter().filter_map(slow).collect();
        if slow.is_empty() {
            self.store(pool).next_look = now + LOOK_AGAIN;
            return;
        }
        slow.sort_unstable();
        let goal = bytes.max(self.store(pool).limit / SHARE);
        let enough = self.store(pool).limit.saturating_sub(goal);
        for (_, id) in slow {
            if self.store(pool).used <= enough {
                break;
            }
            self.give_back(id);
            self.cut += 1;
            if let Some(upload) = self.all.get_mut(&id) {
                upload.is_cut = true;
                upload.wake();
            }
        }
    }

    /// Takes back what an upload holds and what it asked for.
    fn give_back(&mut self, id: u64) {
        let Some(upload) = self.all.get_mut(&id) else { return };
        let asks = upload.asks.take().map(|(pool, bytes)| (pool, (!upload.sender.is_proven, bytes, id)));
        let base = std::mem::take(&mut upload.base);
        let (small, large) = (std::mem::take(&mut upload.small), std::mem::take(&mut upload.large));
        self.base.used = self.base.used.saturating_sub(base);
        self.small.used = self.small.used.saturating_sub(small);
        self.large.used = self.large.used.saturating_sub(large);
        if let Some((pool, turn)) = asks {
            self.store(pool).waiting.remove(&turn);
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Bytes in use, of each pool.
    #[cfg(test)]
    pub fn used(&self) -> [usize; 3] {
        [self.base.used, self.small.used, self.large.used]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each request takes of the base here.
    const COST: usize = 100;
    const NEW: Sender = Sender { connection: 0, is_proven: false };
    const PROVEN: Sender = Sender { connection: 1, is_proven: true };

    /// Room for ten requests, and for 1,000 bytes of small and of large bodies; slow is below 100 bytes a second.
    fn uploads() -> Uploads {
        Uploads::new(10 * COST, 1000, 1000, 100)
    }

    fn state(uploads: &mut Uploads, id: u64) -> Poll<Result<(), Cut>> {
        uploads.poll(id, &Context::from_waker(Waker::noop()))
    }

    const HAS_IT: Poll<Result<(), Cut>> = Poll::Ready(Ok(()));
    const IS_CUT: Poll<Result<(), Cut>> = Poll::Ready(Err(Cut));

    #[test]
    fn who_is_silent_is_cut_as_soon_as_another_needs_the_room_and_not_before() {
        let mut uploads = uploads();
        let silent: Vec<u64> = (0..10).map(|_| uploads.enter(NEW, COST, 0, 0)).collect();
        assert!(silent.iter().all(|id| state(&mut uploads, *id) == HAS_IT));
        uploads.look(10 * PATIENCE);
        assert!(silent.iter().all(|id| state(&mut uploads, *id) == HAS_IT), "nobody needs it");
        let late = uploads.enter(NEW, COST, 0, 10 * PATIENCE);
        assert_eq!(state(&mut uploads, late), HAS_IT);
        assert_eq!(silent.iter().filter(|id| state(&mut uploads, **id) == IS_CUT).count(), 1);
        assert_eq!((uploads.used()[0], uploads.cut()), (10 * COST, 1));
    }

    #[test]
    fn while_nobody_is_slow_who_needs_room_waits_and_gets_what_is_given_back() {
        let mut uploads = uploads();
        let busy: Vec<u64> = (0..10).map(|_| uploads.enter(NEW, COST, 0, 0)).collect();
        let late = uploads.enter(NEW, COST, 0, 1);
        assert_eq!((state(&mut uploads, late), uploads.waiting()), (Poll::Pending, 1));
        uploads.leave(busy[0], 2);
        assert_eq!((state(&mut uploads, late), uploads.waiting()), (HAS_IT, 0));
        assert_eq!(uploads.cut(), 0);
    }

    #[test]
    fn the_slowest_goes_first_and_a_steady_one_never() {
        let mut uploads = uploads();
        let ids: Vec<u64> = (0..10).map(|_| uploads.enter(NEW, COST, 0, 0)).collect();
        for now in (100..=3000).step_by(100) {
            // 10 bytes every 100 ms are 100 a second; the second sends a tenth of that, the others something between.
            for (nth, id) in ids.iter().enumerate() {
                uploads.came(*id, if nth == 1 { 1 } else if nth == 0 { 20 } else { 5 }, now);
            }
        }
        for _ in 0..9 {
            uploads.enter(PROVEN, COST, 0, 3000);
        }
        assert_eq!(state(&mut uploads, ids[0]), HAS_IT);
        assert_eq!(uploads.cut(), 9);
        let mut uploads = self::uploads();
        let ids: Vec<u64> = (0..10).map(|_| uploads.enter(NEW, COST, 0, 0)).collect();
        for (nth, id) in ids.iter().enumerate() {
            uploads.came(*id, if nth == 7 { 1 } else { 5 }, 190);
        }
        uploads.enter(NEW, COST, 0, 200);
        assert_eq!(state(&mut uploads, ids[7]), IS_CUT);
        assert_eq!(uploads.cut(), 1);
    }

    #[test]
    fn a_body_that_turns_out_large_gives_back_what_it_had_of_the_small_pool() {
        let mut uploads = uploads();
        let id = uploads.enter(NEW, 120, 70, 0);
        uploads.ask(id, Pool::Small, 300, 0);
        assert_eq!((state(&mut uploads, id), uploads.used()), (HAS_IT, [120, 300, 0]));
        uploads.ask(id, Pool::Large, 800, 0);
        assert_eq!((state(&mut uploads, id), uploads.used()), (HAS_IT, [120, 0, 800]));
        let other = uploads.enter(NEW, COST, 0, 1);
        uploads.ask(other, Pool::Large, 800, 1);
        assert_eq!(state(&mut uploads, other), Poll::Pending);
        uploads.came(id, 100, 100);
        uploads.look(100 + PATIENCE - 1);
        assert_eq!(state(&mut uploads, other), Poll::Pending, "the first one is not slow");
        uploads.look(100 + PATIENCE + LOOK_AGAIN);
        assert_eq!((state(&mut uploads, id), state(&mut uploads, other)), (IS_CUT, HAS_IT));
        uploads.leave(id, 500);
        uploads.leave(other, 500);
        assert_eq!(uploads.used(), [0, 0, 0]);
    }

    #[test]
    fn proven_connections_are_served_first_and_then_who_needs_least() {
        let mut uploads = uploads();
        let holder = uploads.enter(NEW, COST, 0, 0);
        uploads.ask(holder, Pool::Large, 1000, 0);
        let asks = [(NEW, 900), (NEW, 800), (PROVEN, 1000)].map(|(sender, bytes)| {
            let id = uploads.enter(sender, COST, 0, 0);
            uploads.ask(id, Pool::Large, bytes, 0);
            id
        });
        for (holder, next) in [(holder, asks[2]), (asks[2], asks[1]), (asks[1], asks[0])] {
            assert_eq!(state(&mut uploads, next), Poll::Pending);
            uploads.leave(holder, 1);
            assert_eq!(state(&mut uploads, next), HAS_IT);
        }
    }

    #[test]
    fn who_waits_for_room_is_not_cut_however_long() {
        let mut uploads = uploads();
        let holder = uploads.enter(NEW, COST, 0, 0);
        uploads.ask(holder, Pool::Large, 1000, 0);
        let patient = uploads.enter(NEW, COST, 5, 0);
        uploads.ask(patient, Pool::Large, 1000, 0);
        for now in (100..5000).step_by(100) {
            uploads.came(holder, 100, now);
            uploads.look(now);
        }
        for _ in 0..20 {
            uploads.enter(NEW, COST, 0, 5000);
        }
        assert_eq!((state(&mut uploads, patient), uploads.cut()), (Poll::Pending, 0));
        uploads.leave(holder, 5000);
        assert_eq!(state(&mut uploads, patient), HAS_IT);
    }

    #[test]
    fn the_slowest_connection_is_found_but_no_proven_one() {
        let mut uploads = uploads();
        uploads.enter(PROVEN, COST, 0, 0);
        assert_eq!(uploads.slowest(9999, |_| true), None);
        uploads.enter(Sender { connection: 7, is_proven: false }, COST, 0, 9000);
        assert_eq!(uploads.slowest(9000 + PATIENCE - 1, |_| true), None);
        assert_eq!(uploads.slowest(9000 + PATIENCE, |_| true), Some(7));
        assert_eq!(uploads.slowest(9000 + PATIENCE, |connection| connection != 7), None);
    }

    #[test]
    fn what_is_larger_than_the_pool_gets_all_of_it_and_does_not_wait_for_ever() {
        let mut uploads = Uploads::new(100, 100, 100, 1);
        let id = uploads.enter(NEW, 1 << 20, 0, 0);
        assert_eq!(state(&mut uploads, id), HAS_IT);
    }
}
