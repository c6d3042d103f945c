//! How long a member may deliver what it has read, although nobody can tell it that its shards are another's.
//!
//! A call that is launched while the lease of its sink holds is over before another daemon is given its shard:
//! - A settle that succeeds shows that the coordinator of the group took this member for one of its current generation,
//!   at or after the moment `b` at which the settle began. Owners that have nothing to settle do it every 2 s.
//! - From a member of the current generation a shard goes to another in three ways. It is given away: then its reader
//!   has ended its calls first. A younger process takes the daemon's name: `naming.rs`. Or the session is over: a
//!   [`session`] after the coordinator has heard the last heartbeat. Heartbeats come every 2 s, so where all ways to
//!   Kafka end at once, the last one that was heard was sent at `b` − 2 s or later, and the session is over at
//!   `b` + `timeout` + 8 s or later.
//! - The lease holds until `b` + 6 s ([`LENGTH`]). What is launched by then is over by `b` + 6 s + `timeout`, and the
//!   moment that the core waits for a sink's report. About 2 s are left for all that takes time between.
//!
//! A coordinator that fails over begins all sessions anew, which only makes them longer.
//!
//! What this rests on is that heartbeats were heard as long as settles succeed. They go to the same broker, over
//! connections of their own, and a settle does not prolong the session:
//! - Where heartbeats are heard and settles fail, the lease lapses although the shards stay here. Nothing is lost by
//!   that but time: deliveries go on with the next settle.
//! - Where settles succeed and heartbeats alone are not heard (one connection hangs, and no other), the coordinator
//!   ends the session all the same. The next settle, 2 s later at most, is refused, which ends the lease; but calls
//!   that were launched before are under way for up to `timeout`, and another may have the shard meanwhile. Receivers
//!   tell by the position that goes with each call.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::warn;

use super::clients::MAX_SESSION;
use crate::journal::{Lease, Moment, Renewing};

/// For so long after a settle that succeeded has begun it may be delivered.
pub(super) const LENGTH: Duration = Duration::from_secs(6);
/// How much longer than a call may take a daemon is waited for before its shards go to others.
const BEYOND: Duration = Duration::from_secs(10);
/// Longest that a call may take, so that a session can be as long as it must be.
pub(super) const MAX_TIMEOUT: Duration = MAX_SESSION.saturating_sub(BEYOND);

/// The session of a sink whose calls take so long at most.
pub(super) fn session(timeout: Duration) -> Duration {
    timeout.saturating_add(BEYOND)
}

/// Whether a process is to be waited for that had the daemon's name before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elder {
    /// It is not known yet.
    Unknown,
    /// From the next assignment on: by then it is fenced.
    ToBeAwaited,
    /// There is none, or it is clear for how long.
    Known,
}

/// The lease of a sink, which outlives its members.
pub(super) struct Holding {
    lease: Renewing,
    elder: Mutex<Elder>,
}

impl Default for Holding {
    fn default() -> Self {
        Self { lease: Renewing::new(LENGTH), elder: Mutex::new(Elder::Unknown) }
    }
}

impl Holding {
    /// The lease.
    pub fn lease(&self) -> Lease {
        self.lease.lease()
    }

    /// A member joins; another process that had the name may be at work.
    pub fn joins(&self, has_elder: bool) {
        let mut elder = self.elder.lock().unwrap_or_else(PoisonError::into_inner);
        if *elder == Elder::Unknown {
            *elder = if has_elder { Elder::ToBeAwaited } else { Elder::Known };
        }
    }

    /// Shards were assigned, with this session: an elder can prove nothing any more.
    pub fn assigned(&self, sink: &str, session: Duration) {
        let mut elder = self.elder.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *elder, Elder::Known) == Elder::ToBeAwaited {
            let seconds = session.as_secs();
            warn!(
                sink,
                seconds, "another daemon may have had this one's name: deliveries begin when its calls are over"
            );
            self.lease.holds_not_before(Moment::now().after(session));
        }
    }

    /// A settle that began then has succeeded.
    pub fn proved(&self, began: Moment) {
        self.lease.proved(began);
    }

    /// The shards are another's, or may be.
    pub fn end(&self) {
        self.lease.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(3600);

    #[test]
    fn an_elder_is_waited_for_once_from_the_first_assignment_on() {
        let holding = Holding::default();
        holding.joins(true);
        holding.proved(Moment::now());
        assert!(holding.lease().holds(), "nothing is assigned yet, and so there is nothing to deliver");
        holding.assigned("crm", SESSION);
        holding.proved(Moment::now());
        assert!(!holding.lease().holds());
        let alone = Holding::default();
        alone.joins(false);
        // A later member of this process: it is the elder itself.
        alone.joins(true);
        alone.assigned("crm", SESSION);
        alone.proved(Moment::now());
        assert!(alone.lease().holds());
        alone.end();
        assert!(!alone.lease().holds());
    }

    #[test]
    fn what_is_launched_while_the_lease_holds_is_over_before_the_session_is() {
        for timeout in [Duration::ZERO, Duration::from_secs(10), MAX_TIMEOUT] {
            let heartbeat = Duration::from_secs(2);
            assert!(LENGTH + timeout + heartbeat + Duration::from_secs(1) < session(timeout));
            assert!(session(timeout) <= MAX_SESSION);
        }
    }
}
