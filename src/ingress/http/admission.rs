//! Which connections may be open at once, and which is closed where there are too many: at `max_connections` a new
//! connection takes over the permit of one that makes no use of it. The connection that has been idle longest is closed
//! first, then the one with the slowest head, then the one with the slowest body; then young ones, whose bytes may be
//! on their way; and last, the longest idle first, a proven one (which has brought a webhook with a good signature),
//! but only where all others are proven, too. A connection whose request is being answered is never closed. Where none
//! can be closed, the new one waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::budget::Budget;
use super::connection_state::{Link, Standing};
use super::pressure::Pressure;

/// Most connections, beyond `max_connections` and beyond those that may speak HTTP/2, that have lost their permits and
/// are not closed yet.
pub const MOST_LEAVING: usize = 64;
/// Most connections that one look for those that can be closed finds; a look covers all connections.
const LOOK: usize = 32;
/// A connection younger than this is not closed before its first bytes have come: they take a round trip more than the
/// connection does.
const FRESH: Duration = Duration::from_millis(150);
/// A connection younger than this may have bytes on their way, or waiting to be read.
const YOUNG: Duration = Duration::from_secs(1);
/// Least time between two looks for slow bodies, and after a look for idle connections that found none: a look covers
/// all of them.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Least time between two HTTP/2 connections that are closed for others: to begin and end one takes a millisecond of
/// the processor.
const HTTP2_CLOSE_PAUSE: Duration = Duration::from_millis(10);
/// Most bytes of heads that come in pieces, over all connections; a head that comes in one piece does not count.
const HEADS_MAX: usize = 32 << 20;
/// One in so many of `max_connections` may speak HTTP/2, whose connections hold several times as much memory.
const HTTP2_SHARE: usize = 16;

/// A permit among `max_connections`, or among those for HTTP/2.
pub type Permit = OwnedSemaphorePermit;

/// The permits, and the connections that hold them.
pub struct Admission {
    permits: Arc<Semaphore>,
    http2: Arc<Semaphore>,
    http2_max: usize,
    register: Mutex<Register>,
    leaving: AtomicUsize,
    /// Bytes of heads that come in pieces, over all connections.
    heads: AtomicUsize,
    pressure: Arc<Pressure>,
}

/// All connections, and which of them the last looks found.
#[derive(Default)]
struct Register {
    all: BTreeMap<u64, Arc<Link>>,
    next: u64,
    any: Candidates,
    http2: Candidates,
    /// When the next HTTP/2 connection may be closed for another.
    next_http2_close: Option<Instant>,
}

/// The connections that a look has found and that can be closed, in their order.
#[derive(Default)]
struct Candidates {
    idle: VecDeque<(Rank, u64)>,
    /// When the next look for idle connections may be, after one that found none.
    next_idle_look: Option<Instant>,
    bodies: VecDeque<u64>,
    /// When the next look for slow bodies may be, after one.
    next_look: Option<Instant>,
}

impl Register {
    /// The connection that has been idle longest, or whose head is slowest; proven ones last.
    fn longest_idle(
        &mut self,
        now: Instant,
        found: fn(&mut Self) -> &mut Candidates,
        is_candidate: fn(&Link) -> bool,
    ) -> Option<(Arc<Link>, Rank)> {
        loop {
            while let Some((rank, id)) = found(self).idle.pop_front() {
                let Some(link) = self.all.get(&id) else { continue };
                // The connection may have begun a request since it was found.
                if !link.cut.is_asked() && link.standing().may_go(now).is_some_and(|now| now.since == rank.since) {
                    return Some((Arc::clone(link), rank));
                }
            }
            if found(self).next_idle_look.is_some_and(|at| now < at) {
                return None;
            }
            let idle = self.all.iter().filter(|(_, link)| !link.cut.is_asked() && is_candidate(link));
            let mut idle: Vec<_> = idle.filter_map(|(id, link)| Some((link.standing().may_go(now)?, *id))).collect();
            if idle.is_empty() {
                found(self).next_idle_look = Some(now + LOOK_PAUSE);
                return None;
            }
            if idle.len() > LOOK {
                idle.select_nth_unstable(LOOK);
                idle.truncate(LOOK);
            }
            idle.sort_unstable();
            found(self).idle = idle.into();
        }
    }

    /// The idle connection that was found, where it is unproven; a proven one only where all are proven, as an unproven
    /// one that is still busy, or too young to be told from a sender in earnest, will be idle or slow soon.
    fn of_idle(&self, idle: Option<(Arc<Link>, Rank)>, is_candidate: fn(&Link) -> bool) -> Option<Arc<Link>> {
        let (link, rank) = idle?;
        let is_strange = |link: &&Arc<Link>| !link.cut.is_asked() && !link.sender().is_proven && is_candidate(link);
        (!rank.is_proven || !self.all.values().any(|link| is_strange(&link))).then_some(link)
    }

    /// The connection whose body is slowest, of those that the last look found.
    fn slowest_body(
        &mut self,
        found: fn(&mut Self) -> &mut Candidates,
        is_candidate: fn(&Link) -> bool,
    ) -> Option<Arc<Link>> {
        while let Some(id) = found(self).bodies.pop_front() {
            let link =
                self.all.get(&id).filter(|link| !link.cut.is_asked() && is_candidate(link) && !link.is_answering());
            if link.is_some() {
                return link.map(Arc::clone);
            }
        }
        None
    }
}

impl Admission {
    /// With so many permits.
    pub fn new(max_connections: usize, pressure: Arc<Pressure>) -> Self {
        let permits = |n: usize| Arc::new(Semaphore::new(n.clamp(1, Semaphore::MAX_PERMITS)));
        let http2_max = (max_connections / HTTP2_SHARE).max(1);
        Self {
            permits: permits(max_connections),
            http2: permits(http2_max),
            http2_max,
            register: Mutex::default(),
            leaving: AtomicUsize::new(0),
            heads: AtomicUsize::new(0),
            pressure,
        }
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.lock().all.len()
    }

    /// The permits themselves, to wait for one.
    pub fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// A permit at once: a free one, or that of a connection which is closed for it.
    pub fn permit(&self, budget: &Budget) -> Option<Permit> {
        Arc::clone(&self.permits).try_acquire_owned().ok().or_else(|| self.take_over(budget))
    }

    /// The permit of a connection which is closed for it.
    pub fn take_over(&self, budget: &Budget) -> Option<Permit> {
        self.pressure.note();
        if self.leaving.load(Relaxed) >= MOST_LEAVING {
            return None;
        }
        loop {
            let link = self.next_to_go(budget, |register| &mut register.any, |_| true)?;
            if let Some(permit) = self.send_off(&link, |link| &link.permit) {
                return Some(permit);
            }
        }
    }

    /// How many connections speak HTTP/2 now.
    pub fn http2_connections(&self) -> usize {
        self.http2_max.saturating_sub(self.http2.available_permits())
    }

    /// A permit for a connection that speaks HTTP/2: a free one, or that of a connection which is closed for it. `None`
    /// where none can be closed, or one was closed within the last `HTTP2_CLOSE_PAUSE`.
    pub fn http2_permit(&self, budget: &Budget) -> Option<Permit> {
        if let Ok(permit) = Arc::clone(&self.http2).try_acquire_owned() {
            return Some(permit);
        }
        self.pressure.note();
        let now = Instant::now();
        if self.leaving.load(Relaxed) >= MOST_LEAVING || self.lock().next_http2_close.is_some_and(|at| now < at) {
            return None;
        }
        let link = self.next_to_go(budget, |register| &mut register.http2, |link| link.http2_permit.has_one())?;
        self.lock().next_http2_close = Some(now + HTTP2_CLOSE_PAUSE);
        self.send_off(&link, |link| &link.http2_permit)
    }

    /// A head that comes in pieces takes so many bytes more. Where all heads together take too much, the slowest are
    /// closed.
    pub fn head_grew(&self, bytes: usize) {
        if self.heads.fetch_add(bytes, Relaxed) + bytes <= HEADS_MAX {
            return;
        }
        self.pressure.note();
        let now = Instant::now();
        let mut heads: Vec<_> = {
            let register = self.lock();
            let heads = register.all.values().filter(|link| !link.cut.is_asked());
            heads
                .filter_map(|link| Some((link.standing().may_go(now).filter(|rank| rank.has_head)?, link.clone())))
                .collect()
        };
        heads.sort_unstable_by_key(|(rank, _)| *rank);
        for (_, link) in heads.into_iter().take(LOOK) {
            self.ask_to_go(&link);
            self.head_ended(link.take_head_bytes());
        }
    }

    /// So many bytes of heads have become requests, or are given up.
    pub fn head_ended(&self, bytes: usize) {
        self.heads.fetch_sub(bytes, Relaxed);
    }

    /// Registers a connection until the guard is dropped.
    pub fn enter<'a>(&'a self, make: impl FnOnce(u64) -> Link) -> Entered<'a> {
        let mut register = self.lock();
        let id = register.next;
        register.next += 1;
        let link = Arc::new(make(id));
        register.all.insert(id, Arc::clone(&link));
        Entered { admission: self, link }
    }

    /// Asks a connection to close and takes over its permit; `None` where another taker was quicker.
    fn send_off(&self, link: &Arc<Link>, cell: impl Fn(&Link) -> &PermitCell) -> Option<Permit> {
        let permit = cell(link).take()?;
        self.ask_to_go(link);
        Some(permit)
    }

    fn ask_to_go(&self, link: &Link) {
        if link.cut.ask() {
            self.leaving.fetch_add(1, Relaxed);
            self.pressure.connections_cut.add();
        }
    }

    /// The connection to be closed next, of those for which `is_candidate` holds.
    fn next_to_go(
        &self,
        budget: &Budget,
        found: fn(&mut Register) -> &mut Candidates,
        is_candidate: fn(&Link) -> bool,
    ) -> Option<Arc<Link>> {
        let now = Instant::now();
        let idle = {
            let mut register = self.lock();
            let idle = register.longest_idle(now, found, is_candidate);
            if let Some((link, Rank { is_proven: false, is_young: false, .. })) = &idle {
                return Some(Arc::clone(link));
            }
            let slow = register.slowest_body(found, is_candidate);
            if slow.is_some() || found(&mut register).next_look.is_some_and(|at| now < at) {
                return slow.or_else(|| register.of_idle(idle, is_candidate));
            }
            idle
        };
        let slow = budget.by_speed();
        let mut register = self.lock();
        let mut bodies: VecDeque<u64> = VecDeque::with_capacity(LOOK);
        for id in slow {
            let may_go = bodies.back() != Some(&id) && register.all.get(&id).is_some_and(|link| is_candidate(link));
            if may_go {
                bodies.push_back(id);
            }
            if bodies.len() == LOOK {
                break;
            }
        }
        let looked = found(&mut register);
        (looked.bodies, looked.next_look) = (bodies, Some(now + LOOK_PAUSE));
        register.slowest_body(found, is_candidate).or_else(|| register.of_idle(idle, is_candidate))
    }

    /// Valid between any two statements, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Admission {
    /// Whether so many connections are idle, and others are not.
    pub fn is_busy_but_for(&self, idle: usize) -> bool {
        let standings = self.lock().all.values().map(|link| link.standing()).collect::<Vec<_>>();
        let busy = standings.iter().filter(|standing| **standing == Standing::Busy).count();
        busy > 0 && standings.len() == busy + idle
    }

    /// Whether all connections do something, and none is young.
    pub fn is_settled(&self) -> bool {
        let now = Instant::now();
        let standings = self.lock().all.values().map(|link| link.standing()).collect::<Vec<_>>();
        standings.into_iter().all(|standing| match standing {
            Standing::Idle { .. } => false,
            Standing::Head { since, .. } => now.duration_since(since) >= YOUNG,
            Standing::Busy => true,
        })
    }
}

/// A connection in the register.
pub struct Entered<'a> {
    admission: &'a Admission,
    /// What its parts share.
    pub link: Arc<Link>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.admission.lock().all.remove(&self.link.id);
        self.admission.head_ended(self.link.take_head_bytes());
        if self.link.cut.is_asked() {
            self.admission.leaving.fetch_sub(1, Relaxed);
        }
        // Only now, so that no connection is found here that has given up its permit.
        drop((self.link.permit.take(), self.link.http2_permit.take()));
    }
}

/// A connection's permit, until another connection takes it over.
#[derive(Default)]
pub struct PermitCell(Mutex<Option<Permit>>);

impl PermitCell {
    /// With this permit; with none during a stop.
    pub fn new(permit: Option<Permit>) -> Self {
        Self(Mutex::new(permit))
    }

    /// Gives it a permit.
    pub fn put(&self, permit: Permit) {
        *self.lock() = Some(permit);
    }

    fn take(&self) -> Option<Permit> {
        self.lock().take()
    }

    fn has_one(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Permit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The order in which connections are closed: the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    is_proven: bool,
    is_young: bool,
    has_head: bool,
    /// Since when the connection has been idle, or its head has been coming.
    since: Instant,
}

impl Standing {
    /// `None` where the connection must not be closed: a request is being answered, the head of a proven one is coming,
    /// or the first bytes may be on their way.
    fn may_go(self, now: Instant) -> Option<Rank> {
        let is_fresh = |since: Instant| now.duration_since(since) < FRESH;
        let (since, is_proven, has_head) = match self {
            Self::Idle { since, is_new: true, .. } | Self::Head { since, .. } if is_fresh(since) => return None,
            Self::Idle { since, is_proven, .. } => (since, is_proven, false),
            Self::Head { since, is_proven: false } => (since, false, true),
            Self::Head { .. } | Self::Busy => return None,
        };
        Some(Rank { is_proven, is_young: now.duration_since(since) < YOUNG, has_head, since })
    }
}
