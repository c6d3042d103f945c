//! Who may be connected at once, and who goes where there are too many: at `max_connections` a new connection takes the
//! place of one that makes no use of its own. First goes the one that has been idle longest, then the slowest head, then
//! the slowest body; then those that are quite young, whose bytes may be on their way; and last, the longest idle first, one
//! that has brought a webhook with a good signature, where all others have done so, too. A request that is being answered
//! never goes. Where nobody can go, who comes waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::budget::Budget;
use super::pace::{Link, Standing};
use super::pressure::Pressure;

/// Connections that have lost their places and are not closed yet: beyond `max_connections`, at most so many.
pub const MOST_LEAVING: usize = 64;
/// A look for those who can go covers all connections, and finds so many at once.
const LOOK: usize = 32;
/// For so long nobody goes whose first bytes have yet to come: they take a round trip more than the connection does.
const FRESH: Duration = Duration::from_millis(150);
/// A connection younger than this may have bytes on their way, or waiting to be read.
const YOUNG: Duration = Duration::from_secs(1);
/// After a look for slow bodies, which covers all of them: when it is worth another one.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Most bytes of heads that come in pieces, over all connections; a head that comes in one does not count.
const HEADS_MAX: usize = 32 << 20;
/// Of `max_connections` this share may speak HTTP/2, whose connections hold several times as much by themselves.
const HTTP2_SHARE: usize = 16;

/// A place among `max_connections`, and among those for HTTP/2.
pub type Permit = OwnedSemaphorePermit;

/// The places.
pub struct Admission {
    places: Arc<Semaphore>,
    http2: Arc<Semaphore>,
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
    any: Found,
    http2: Found,
}

/// What a look for those who can go has found, in their turn.
#[derive(Default)]
struct Found {
    idle: VecDeque<(Turn, u64)>,
    bodies: VecDeque<u64>,
    /// After a look for slow bodies: when it is worth another one.
    next_look: Option<Instant>,
}

impl Register {
    /// Who has been idle longest, or whose head is slowest; proven ones last.
    fn longest_idle(
        &mut self,
        now: Instant,
        found: fn(&mut Self) -> &mut Found,
        is_one: fn(&Link) -> bool,
    ) -> Option<(Arc<Link>, Turn)> {
        loop {
            while let Some((turn, id)) = found(self).idle.pop_front() {
                let Some(link) = self.all.get(&id) else { continue };
                // It may have begun something since it was found.
                if !link.cut.is_asked() && link.standing().may_go(now).is_some_and(|now| now.since == turn.since) {
                    return Some((Arc::clone(link), turn));
                }
            }
            if found(self).next_look.is_some_and(|at| now < at) {
                return None;
            }
            let idle = self.all.iter().filter(|(_, link)| !link.cut.is_asked() && is_one(link));
            let mut idle: Vec<_> = idle.filter_map(|(id, link)| Some((link.standing().may_go(now)?, *id))).collect();
            if idle.is_empty() {
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

    /// One that is idle and young, or proven: the latter only where there are no others, as whoever is still busy there, or
    /// too young to be told from a sender in earnest, will be idle or slow soon.
    fn of_idle(&self, idle: Option<(Arc<Link>, Turn)>, is_one: fn(&Link) -> bool) -> Option<Arc<Link>> {
        let (link, turn) = idle?;
        let is_strange = |link: &&Arc<Link>| !link.cut.is_asked() && !link.sender().is_proven && is_one(link);
        (!turn.is_proven || !self.all.values().any(|link| is_strange(&link))).then_some(link)
    }

    /// Whose body is slowest, of those that the last look found.
    fn slowest_body(&mut self, found: fn(&mut Self) -> &mut Found, is_one: fn(&Link) -> bool) -> Option<Arc<Link>> {
        while let Some(id) = found(self).bodies.pop_front() {
            let link = self.all.get(&id).filter(|link| !link.cut.is_asked() && is_one(link) && !link.is_answering());
            if link.is_some() {
                return link.map(Arc::clone);
            }
        }
        None
    }
}

impl Admission {
    /// So many places.
    pub fn new(max_connections: usize, pressure: Arc<Pressure>) -> Self {
        let places = |n: usize| Arc::new(Semaphore::new(n.clamp(1, Semaphore::MAX_PERMITS)));
        Self {
            places: places(max_connections),
            http2: places(max_connections / HTTP2_SHARE),
            register: Mutex::default(),
            leaving: AtomicUsize::new(0),
            heads: AtomicUsize::new(0),
            pressure,
        }
    }

    /// The places themselves, to wait for one.
    pub fn places(&self) -> &Arc<Semaphore> {
        &self.places
    }

    /// A place at once: a free one, or somebody's who goes.
    pub fn place(&self, budget: &Budget) -> Option<Permit> {
        Arc::clone(&self.places).try_acquire_owned().ok().or_else(|| self.take_over(budget))
    }

    /// The place of somebody who goes.
    pub fn take_over(&self, budget: &Budget) -> Option<Permit> {
        self.pressure.note();
        if self.leaving.load(Relaxed) >= MOST_LEAVING {
            return None;
        }
        loop {
            let link = self.next_to_go(budget, |register| &mut register.any, |_| true)?;
            if let Some(permit) = self.send_off(&link, |link| &link.place) {
                return Some(permit);
            }
        }
    }

    /// The places for connections that speak HTTP/2, to wait for one.
    pub fn http2_places(&self) -> &Arc<Semaphore> {
        &self.http2
    }

    /// A place for a connection that speaks HTTP/2: a free one, or somebody's who goes. `None`: nobody can.
    pub fn http2_place(&self, budget: &Budget) -> Option<Permit> {
        if let Ok(permit) = Arc::clone(&self.http2).try_acquire_owned() {
            return Some(permit);
        }
        self.pressure.note();
        let link = self.next_to_go(budget, |register| &mut register.http2, |link| link.http2_place.has_one())?;
        self.send_off(&link, |link| &link.http2_place)
    }

    /// A head that comes in pieces takes so many bytes more. Where all of them take too much, the slowest are closed.
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
                .filter_map(|link| Some((link.standing().may_go(now).filter(|turn| turn.has_head)?, link.clone())))
                .collect()
        };
        heads.sort_unstable_by_key(|(turn, _)| *turn);
        for (_, link) in heads.into_iter().take(LOOK) {
            self.ask_to_go(&link);
            self.head_ended(link.take_head_bytes());
        }
    }

    /// They are bytes of a request now, or gone.
    pub fn head_ended(&self, bytes: usize) {
        self.heads.fetch_sub(bytes, Relaxed);
    }

    /// Enters a connection until the guard is dropped.
    pub fn enter<'a>(&'a self, make: impl FnOnce(u64) -> Link) -> Entered<'a> {
        let mut register = self.lock();
        let id = register.next;
        register.next += 1;
        let link = Arc::new(make(id));
        register.all.insert(id, Arc::clone(&link));
        Entered { admission: self, link }
    }

    /// Asks a connection to go and takes its place; `None` where somebody else was quicker.
    fn send_off(&self, link: &Arc<Link>, place: impl Fn(&Link) -> &PlaceOf) -> Option<Permit> {
        let permit = place(link).take()?;
        self.ask_to_go(link);
        Some(permit)
    }

    fn ask_to_go(&self, link: &Link) {
        if link.cut.ask() {
            self.leaving.fetch_add(1, Relaxed);
            self.pressure.connections_cut.add();
        }
    }

    /// Whose turn it is to go, of those that `is_one`.
    fn next_to_go(
        &self,
        budget: &Budget,
        found: fn(&mut Register) -> &mut Found,
        is_one: fn(&Link) -> bool,
    ) -> Option<Arc<Link>> {
        let now = Instant::now();
        let idle = {
            let mut register = self.lock();
            let idle = register.longest_idle(now, found, is_one);
            if let Some((link, Turn { is_proven: false, is_young: false, .. })) = &idle {
                return Some(Arc::clone(link));
            }
            let slow = register.slowest_body(found, is_one);
            if slow.is_some() || found(&mut register).next_look.is_some_and(|at| now < at) {
                return slow.or_else(|| register.of_idle(idle, is_one));
            }
            idle
        };
        let slow = budget.by_speed();
        let mut register = self.lock();
        let mut bodies: VecDeque<u64> = VecDeque::with_capacity(LOOK);
        for id in slow {
            let may_go = bodies.back() != Some(&id) && register.all.get(&id).is_some_and(|link| is_one(link));
            if may_go {
                bodies.push_back(id);
            }
            if bodies.len() == LOOK {
                break;
            }
        }
        let looked = found(&mut register);
        (looked.bodies, looked.next_look) = (bodies, Some(now + LOOK_PAUSE));
        register.slowest_body(found, is_one).or_else(|| register.of_idle(idle, is_one))
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
        // Only now, so that nobody finds a connection here that has let its place go.
        drop((self.link.place.take(), self.link.http2_place.take()));
    }
}

/// A connection's place, until somebody takes it over.
#[derive(Default)]
pub struct PlaceOf(Mutex<Option<Permit>>);

impl PlaceOf {
    /// With this place; with none during a stop.
    pub fn new(permit: Option<Permit>) -> Self {
        Self(Mutex::new(permit))
    }

    /// Gives it a place.
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

/// Whose turn it is to go: the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    is_proven: bool,
    is_young: bool,
    has_head: bool,
    /// Since when it has been idle, or its head has been coming.
    since: Instant,
}

impl Standing {
    /// `None` while a request is being answered, or a proven one's head is coming, or its first bytes may be on their way.
    fn may_go(self, now: Instant) -> Option<Turn> {
        let is_fresh = |since: Instant| now.duration_since(since) < FRESH;
        let (since, is_proven, has_head) = match self {
            Self::Idle { since, is_new: true, .. } | Self::Head { since, .. } if is_fresh(since) => return None,
            Self::Idle { since, is_proven, .. } => (since, is_proven, false),
            Self::Head { since, is_proven: false } => (since, false, true),
            Self::Head { .. } | Self::Busy => return None,
        };
        Some(Turn { is_proven, is_young: now.duration_since(since) < YOUNG, has_head, since })
    }
}
