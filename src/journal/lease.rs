//! Whether what was read may be delivered now. Where several processes share a journal, a shard goes to another when
//! nothing is heard of its owner for a while. Its owner cannot be told so: it must have stopped by then, by its own
//! clock. So it delivers only while it has a [`Lease`]: for a fixed time after the last moment that is known at which
//! the shards were its own.
//!
//! The clock goes on while the process is stopped and while the system is suspended (`CLOCK_BOOTTIME`), so that a
//! process that wakes sees at once that its lease is over. What no clock in here sees is a virtual machine that its
//! hypervisor halts and goes on with as if nothing had been: there the lease ends late by as long as that took.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

/// A point in time by a clock that nothing stops, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        Self(time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(micros(time)))
    }

    /// The time until then; zero where it is past.
    fn until(self, then: Self) -> Duration {
        Duration::from_micros(u64::try_from(then.0.saturating_sub(self.0)).unwrap_or_default())
    }

    /// So much earlier, for tests that do not wait.
    #[cfg(test)]
    pub fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(micros(time)))
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// What a lease goes by.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    /// Until when it holds; `None`: it was never renewed, or ended.
    until: Option<Moment>,
    /// It holds at no time before this.
    from: Option<Moment>,
}

impl Kept {
    fn holds(self) -> bool {
        let now = Moment::now();
        self.until.is_some_and(|until| now < until) && self.from.is_none_or(|from| from <= now)
    }
}

/// Whether a reader's shards are surely this process's: asked before each call with what was read.
#[derive(Clone, Debug)]
pub struct Lease(Option<watch::Receiver<Kept>>);

impl Lease {
    /// The lease of who is alone: it always holds.
    pub fn forever() -> Self {
        Self(None)
    }

    /// Whether it holds now.
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|kept| kept.borrow().holds())
    }

    /// Whether it held, and nothing came in time to renew it.
    pub fn has_lapsed(&self) -> bool {
        self.0.as_ref().is_some_and(|kept| {
            let until = kept.borrow().until;
            until.is_some_and(|until| until <= Moment::now())
        })
    }

    /// Waits until it holds; for ever where nobody will renew it. Cancel-safe.
    pub async fn begins(&mut self) {
        let Some(kept) = &mut self.0 else { return };
        loop {
            let is_proved = |kept: &Kept| kept.until.is_some_and(|until| Moment::now() < until);
            let from = kept.wait_for(is_proved).await.map(|now| now.from).ok();
            let Some(from) = from else { return std::future::pending().await };
            let wait = from.map(|from| Moment::now().until(from)).unwrap_or_default();
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }
}

/// Renews a lease.
#[derive(Clone, Debug)]
pub struct Renewing {
    length: Duration,
    kept: watch::Sender<Kept>,
}

impl Renewing {
    /// A lease that holds for so long after each proof; not yet.
    pub fn new(length: Duration) -> Self {
        Self { length, kept: watch::Sender::default() }
    }

    /// The lease.
    pub fn lease(&self) -> Lease {
        Lease(Some(self.kept.subscribe()))
    }

    /// A proof that the shards are this process's has come; it was begun to be sought at that moment, and so they were
    /// its own then or later.
    pub fn proved(&self, began: Moment) {
        let until = Some(began.after(self.length));
        self.kept.send_if_modified(|kept| {
            let is_later = kept.until < until;
            kept.until = kept.until.max(until);
            is_later
        });
    }

    /// The shards are another's, or may be: it ends now, until the next proof.
    pub fn end(&self) {
        self.kept.send_modify(|kept| kept.until = None);
    }

    /// It holds at no time before this, whatever is proved: another may still be at work whom nobody can ask.
    pub fn holds_not_before(&self, from: Moment) {
        self.kept.send_modify(|kept| kept.from = kept.from.max(Some(from)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_lease_holds_for_a_time_after_the_last_proof_was_sought() {
        let renewing = Renewing::new(LENGTH);
        let mut lease = renewing.lease();
        assert!(!lease.holds() && !lease.has_lapsed(), "nothing was proved");
        renewing.proved(Moment::now().before(LENGTH));
        assert!(!lease.holds() && lease.has_lapsed(), "the proof was long in coming");
        renewing.proved(Moment::now());
        renewing.proved(Moment::now().before(LENGTH));
        assert!(lease.holds() && !lease.has_lapsed(), "an older proof takes nothing away");
        tokio::time::timeout(LENGTH, lease.begins()).await.unwrap();
        renewing.end();
        assert!(!lease.holds() && !lease.has_lapsed());
        assert!(Lease::forever().holds());
    }

    #[tokio::test]
    async fn whoever_waits_for_a_lease_is_woken_by_the_proof() {
        let renewing = Renewing::new(LENGTH);
        let (mut lease, shown) = (renewing.lease(), renewing.lease());
        renewing.proved(Moment::now().before(LENGTH));
        let waits = tokio::spawn(async move { lease.begins().await });
        while renewing.kept.receiver_count() < 2 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished());
        renewing.proved(Moment::now());
        waits.await.unwrap();
        assert!(shown.holds());
    }

    #[tokio::test]
    async fn a_lease_that_may_not_hold_yet_is_waited_for() {
        let renewing = Renewing::new(LENGTH);
        let mut lease = renewing.lease();
        let from = Moment::now().after(Duration::from_millis(20));
        renewing.holds_not_before(from);
        renewing.holds_not_before(Moment::now());
        renewing.proved(Moment::now());
        lease.begins().await;
        assert!(Moment::now() >= from && lease.holds());
        renewing.holds_not_before(Moment::now().after(LENGTH));
        assert!(!lease.holds());
    }
}
