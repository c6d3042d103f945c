//! File descriptors: takes as many as the system lets this process have, and keeps enough of them back from
//! connections.
//!
//! Every connection takes a descriptor, and so does every file. Where callers could take the last of them, the journal
//! could begin no segment, and the admin listener could let nobody in. Programs that the daemon starts (`exec` sinks,
//! jq workers) inherit the raised limit: to set another limit between fork and exec takes `unsafe`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{error, warn};

use crate::admin;
use crate::config::Config;
use crate::ingress::{self, ServerConfig};
use crate::journal;

/// The standard streams, locks, logs, the signals' pipe, the runtimes' own; the journal's segments that are written,
/// sealed and read at the same time; the ledger and its companions. With as many again for what nobody thought of.
const OWN: u64 = 64;
/// An admin connection, and what answering it opens: the ledger and its companions, a second time.
const PER_ADMIN: u64 = 4;
/// What those who look for events open, all together: segments that are read, by each tail and each lookup; and the
/// pipes of the workers of jq, of which there are few.
const FOR_LOOKERS: u64 = 112;
/// A serving thread's runtime; and for each listener its duplicate, and a connection that waits to be taken in.
const PER_THREAD: u64 = 6;
const PER_LISTENER: u64 = 2;
/// A sink's worker, which reads the journal and the ledger, for itself and for a replay, and talks to a jq worker.
const PER_SINK: u64 = 16;
/// Connections that had to go and are not closed yet.
const LEAVING: u64 = ingress::MOST_LEAVING as u64;
/// Kept back for sinks that a reload adds.
const FOR_ADDED_SINKS: u64 = 96;
/// Fewest connections that are let in, even where the limit has no room for them.
const FEWEST: usize = 16;

/// Raises the soft limit to the hard one, and gives the limit that holds from now on.
pub(super) fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let [soft, hard] = [current, maximum].map(|limit| limit.unwrap_or(u64::MAX));
    if soft >= hard {
        return soft;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => hard,
        Err(error) => {
            warn!(soft, hard, %error, "the soft limit of open files cannot be raised to the hard one");
            soft
        }
    }
}

/// The `[server]` table, with its `max_connections` lowered where there are fewer descriptors than that.
pub(super) fn fitting(config: &Config, limit: u64) -> ServerConfig {
    let kept = kept_back(config);
    let (most, fits) = connections(config.server.max_connections, limit, kept);
    if !fits {
        error!(
            limit,
            kept_back = kept,
            max_connections = most,
            "the limit of open files is too low: files and connections will fail. Raise it: LimitNOFILE= of the \
             service, `ulimit -Hn`"
        );
    } else if most < config.server.max_connections {
        warn!(
            limit,
            kept_back = kept,
            configured = config.server.max_connections,
            max_connections = most,
            "max_connections is lowered: the limit of open files allows no more beside what journal, ledger, sinks and \
             admin need. Raise it: LimitNOFILE= of the service, `ulimit -Hn`"
        );
    }
    ServerConfig { max_connections: most, ..config.server.clone() }
}

/// How many descriptors everything but the connections may need at the same time.
fn kept_back(config: &Config) -> u64 {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let threads = count(std::thread::available_parallelism().map_or(1, usize::from));
    let listeners = count(config.server.listen.len());
    let one = |sink: &crate::config::SinkEntry| PER_SINK + count(sink.config.descriptors(sink.limits.concurrency));
    let sinks: u64 = config.sinks.iter().map(one).sum();
    let segments = count(journal::kept_open());
    OWN + segments
        + LEAVING
        + PER_ADMIN * count(admin::ANSWERED)
        + count(admin::QUEUE)
        + threads * (PER_THREAD + PER_LISTENER * listeners)
        + sinks
        + FOR_LOOKERS
        + FOR_ADDED_SINKS
}

/// How many connections are let in at the same time, and whether there are enough descriptors for at least a few.
fn connections(wanted: usize, limit: u64, kept: u64) -> (usize, bool) {
    let left = usize::try_from(limit.saturating_sub(kept)).unwrap_or(usize::MAX);
    let fewest = FEWEST.min(wanted);
    (wanted.min(left).max(fewest), left >= fewest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_the_others_leave_and_never_none() {
        for ((wanted, limit, kept), expected) in [
            ((4096, u64::MAX, 500), (4096, true)),
            ((4096, 4596, 500), (4096, true)),
            ((4096, 1024, 500), (524, true)),
            ((4, 504, 500), (4, true)),
            ((4096, 516, 500), (16, true)),
            ((4096, 515, 500), (16, false)),
            ((4, 503, 500), (4, false)),
            ((4096, 64, 500), (16, false)),
        ] {
            assert_eq!(connections(wanted, limit, kept), expected, "{wanted} of {limit}, {kept} kept back");
        }
    }
}
