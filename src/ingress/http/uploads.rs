//! The uploads: requests whose bodies are still on their way, the memory that each of them holds, which of them wait
//! for memory, and which are cut where there is too little of it. Pure: it is told the time, and knows no sockets.
//!
//! There are three pools. From the *base* come requests themselves, their heads, and the first bytes of their bodies,
//! except those that `max_connections` bounds already, as a connection can have only one. Once bytes of a body have
//! come, room for the whole body is taken: from the *small* pool where it has at most [`SMALL`] bytes, else from the
//! *large* one. So few bodies grow at once, and each of them can be finished. Room that is taken but not used is taken
//! back when another upload needs it: an upload whose sender is slow is cut, the slowest first ([`Rate::is_slow`]). A
//! sender that is fast enough is never cut, nor one that waits for room; where none is slow, the others wait.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};

/// Milliseconds on the caller's clock.
pub type Millis = u64;

/// Largest body that the small pool serves, bytes.
pub const SMALL: usize = 64 << 10;
/// How long a sender has before its rate is judged: longer than bytes that are on their way already take to arrive.
pub const PATIENCE: Millis = 150;
/// Over what time a rate is measured.
const SPAN: Millis = 1000;
/// Least time between two looks for slow uploads, as each goes over all of them.
pub(in crate::ingress) const LOOK_AGAIN: Millis = 20;
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

const POOLS: [Pool; 3] = [Pool::Base, Pool::Small, Pool::Large];

/// An upload was cut, as others needed what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadCut;

/// The sender of an upload.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// The connection.
    pub connection: u64,
    /// Whether the connection has brought a webhook with a good signature before.
    pub is_proven: bool,
}

/// How fast a body comes.
#[derive(Clone, Copy, Debug)]
struct Rate {
    began: Millis,
    /// Since when no byte has come; `None` while bytes that have come are not read yet.
    silent: Option<Millis>,
    got: usize,
    /// When the span that is being measured began, and how many bytes had come by then.
    span: (Millis, usize),
    /// The same of the span before.
    before: (Millis, usize),
}

impl Rate {
    fn new(now: Millis, got: usize) -> Self {
        Self { began: now, silent: None, got, span: (now, 0), before: (now, 0) }
    }

    fn came(&mut self, bytes: usize, now: Millis) {
        if now.saturating_sub(self.span.0) >= SPAN {
            self.before = std::mem::replace(&mut self.span, (now, self.got));
        }
        self.got = self.got.saturating_add(bytes);
        self.silent = None;
    }

    /// Bytes a second over the last one or two spans; 0 after a second without a byte.
    fn speed(&self, now: Millis) -> u64 {
        if self.silent.is_some_and(|since| now.saturating_sub(since) >= SPAN) {
            return 0;
        }
        let bytes = u64::try_from(self.got.saturating_sub(self.before.1)).unwrap_or(u64::MAX);
        bytes.saturating_mul(1000) / now.saturating_sub(self.before.0).max(1)
    }

    /// Whether the upload may be cut where there is too little room: no byte has come for a second, or it has been
    /// under way for [`PATIENCE`] and is slower than `least` bytes a second.
    fn is_slow(&self, least: u64, now: Millis) -> bool {
        let past = |since: Millis| now.saturating_sub(since) >= PATIENCE;
        // Bytes that are not read yet are not the sender's fault.
        self.silent.is_some_and(|_| past(self.began) && self.speed(now) < least.max(1))
    }
}

/// One upload.
#[derive(Debug)]
struct Upload {
    sender: Sender,
    rate: Rate,
    base: usize,
    small: usize,
    large: usize,
    /// The pool and the bytes that it waits for.
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

/// One pool. `waiting` is in the order of service: proven connections first, then those that need least, then those
/// that came first.
#[derive(Debug)]
struct Store {
    limit: usize,
    used: usize,
    /// How much of that is held by uploads that are cut and not gone yet.
    leaving: usize,
    waiting: BTreeSet<(bool, usize, u64)>,
    /// Bytes that the waiting ones have asked for.
    asked: usize,
    next_look: Millis,
}

impl Store {
    fn new(limit: usize) -> Self {
        Self { limit, used: 0, leaving: 0, waiting: BTreeSet::new(), asked: 0, next_look: 0 }
    }

    fn has(&self, bytes: usize) -> bool {
        self.used.saturating_add(bytes) <= self.limit
    }

    fn no_longer_waits(&mut self, rank: (bool, usize, u64)) {
        if self.waiting.remove(&rank) {
            self.asked = self.asked.saturating_sub(rank.1);
        }
    }
}

/// All uploads.
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
    /// With pools of these sizes; a sender of fewer than `least` bytes a second is slow.
    pub fn new(base: usize, small: usize, large: usize, least: u64) -> Self {
        let (base, small, large) = (Store::new(base), Store::new(small), Store::new(large));
        Self { all: BTreeMap::new(), next: 0, base, small, large, least, cut: 0 }
    }

    /// Takes up a new upload, under way since `began`, of which `got` bytes have come and which asks the base for
    /// `base` bytes. Gives its number.
    pub fn enter(&mut self, sender: Sender, base: usize, (began, got): (Millis, usize), now: Millis) -> u64 {
        let id = self.next;
        self.next += 1;
        let (mut rate, waker) = (Rate::new(began, got), None);
        rate.silent = (got == 0).then_some(began);
        let upload = Upload { sender, rate, base: 0, small: 0, large: 0, asks: None, is_cut: false, waker };
        self.all.insert(id, upload);
        self.ask(id, Pool::Base, base, now);
        id
    }

    /// The upload asks for more. [`Self::poll`] says when it has that.
    pub fn ask(&mut self, id: u64, pool: Pool, bytes: usize, now: Millis) {
        let bytes = bytes.min(self.store(pool).limit);
        let Some(upload) = self.all.get_mut(&id).filter(|upload| !upload.is_cut) else { return };
        upload.asks = Some((pool, bytes));
        let rank = (!upload.sender.is_proven, bytes, id);
        let store = self.store(pool);
        store.waiting.insert(rank);
        store.asked = store.asked.saturating_add(bytes);
        self.serve(pool, now);
    }

    /// Bytes of its body came.
    pub fn came(&mut self, id: u64, bytes: usize, now: Millis) {
        if let Some(upload) = self.all.get_mut(&id) {
            upload.rate.came(bytes, now);
        }
    }

    /// There is nothing of its body to read.
    pub fn waits(&mut self, id: u64, now: Millis) {
        if let Some(upload) = self.all.get_mut(&id) {
            upload.rate.silent.get_or_insert(now);
        }
    }

    /// Whether the upload has what it asked for; wakes the caller when that changes, or when the upload is cut.
    pub fn poll(&mut self, id: u64, cx: &Context<'_>) -> Poll<Result<(), UploadCut>> {
        let Some(upload) = self.all.get_mut(&id).filter(|upload| !upload.is_cut) else {
            return Poll::Ready(Err(UploadCut));
        };
        match &mut upload.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        if upload.asks.is_some() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// The upload is complete, or given up.
    pub fn leave(&mut self, id: u64, now: Millis) {
        if let Some(upload) = self.all.remove(&id) {
            self.give_back(&upload, id);
        }
        self.look(now);
    }

    /// Serves those that it can; to be called every now and then while an upload waits.
    pub fn look(&mut self, now: Millis) {
        for pool in POOLS {
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

    /// The unproven connections of uploads, in the order in which they may be closed so that a new connection gets a
    /// permit: the slow ones, those that wait for room, and then those that are fast enough, each the slowest first.
    pub fn by_speed(&self, now: Millis) -> Vec<u64> {
        let unproven = self.all.values().filter(|upload| !upload.sender.is_proven && !upload.is_cut);
        let rank = |upload: &Upload| {
            let waits = upload.asks.is_some();
            let is_fast_enough = !waits && !upload.rate.is_slow(self.least, now);
            ((is_fast_enough, waits, upload.rate.speed(now)), upload.sender.connection)
        };
        let mut ranks: Vec<_> = unproven.map(rank).collect();
        ranks.sort_unstable();
        ranks.into_iter().map(|(_, connection)| connection).collect()
    }

    fn store(&mut self, pool: Pool) -> &mut Store {
        match pool {
            Pool::Base => &mut self.base,
            Pool::Small => &mut self.small,
            Pool::Large => &mut self.large,
        }
    }

    /// Gives what there is to those that wait, in their order; makes room where there is none.
    fn serve(&mut self, pool: Pool, now: Millis) {
        while let Some(&rank) = self.store(pool).waiting.first() {
            let (_, bytes, id) = rank;
            if !self.store(pool).has(bytes) {
                return self.cut_slow(pool, now);
            }
            self.store(pool).no_longer_waits(rank);
            self.grant(id, pool, bytes, now);
        }
    }

    fn grant(&mut self, id: u64, pool: Pool, bytes: usize, now: Millis) {
        let Some(upload) = self.all.get_mut(&id) else { return };
        upload.asks = None;
        // The wait was not the sender's fault; but in the base nothing has come yet, so there is nothing to read.
        if pool != Pool::Base {
            upload.rate.silent = None;
        }
        let spare = match pool {
            Pool::Base => {
                upload.base = bytes;
                0
            }
            Pool::Small => {
                upload.small = bytes;
                0
            }
            // From here on the whole body is counted in the large pool.
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

    /// Cuts slow uploads that hold something of a pool, the slowest first and proven ones last, until there will be
    /// room for those that wait, or at least some of it; none where none is slow. What they hold is free when they are
    /// gone.
    fn cut_slow(&mut self, pool: Pool, now: Millis) {
        let store = self.store(pool);
        let (limit, mut kept) = (store.limit, store.used.saturating_sub(store.leaving));
        let wanted = store.asked.max(limit / SHARE).min(limit);
        if now < store.next_look || kept.saturating_add(store.asked) <= limit {
            return;
        }
        let least = self.least;
        let slow = |(&id, upload): (&u64, &Upload)| {
            // One that waits for room is not slow by its own fault.
            let is_held_up = upload.is_cut || upload.asks.is_some();
            let may_go = !is_held_up && upload.holds(pool) > 0 && upload.rate.is_slow(least, now);
            may_go.then(|| ((upload.sender.is_proven, upload.rate.speed(now)), id))
        };
        let mut slow: Vec<_> = self.all.iter().filter_map(slow).collect();
        self.store(pool).next_look = now + LOOK_AGAIN;
        slow.sort_unstable();
        let enough = limit.saturating_sub(wanted);
        for (_, id) in slow {
            if kept <= enough {
                break;
            }
            let Some(upload) = self.all.get_mut(&id) else { continue };
            kept = kept.saturating_sub(upload.holds(pool));
            upload.is_cut = true;
            upload.wake();
            let held = POOLS.map(|pool| upload.holds(pool));
            for (pool, held) in POOLS.into_iter().zip(held) {
                self.store(pool).leaving += held;
            }
            self.cut += 1;
        }
    }

    /// Takes back what an upload holds and what it asked for.
    fn give_back(&mut self, upload: &Upload, id: u64) {
        for pool in POOLS {
            let (held, store) = (upload.holds(pool), self.store(pool));
            store.used = store.used.saturating_sub(held);
            if upload.is_cut {
                store.leaving = store.leaving.saturating_sub(held);
            }
        }
        if let Some((pool, bytes)) = upload.asks {
            self.store(pool).no_longer_waits((!upload.sender.is_proven, bytes, id));
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Bytes in use, of each pool.
    pub fn used(&self) -> [usize; 3] {
        [self.base.used, self.small.used, self.large.used]
    }
}
