//! Descriptors: as many as the system lets this process have, and enough of them kept back from connections.
//!
//! Every connection takes one, and so does every file. Where callers could take the last of them, the journal could begin
//! no segment and the admin listener let nobody in. Programs started from here (`exec` sinks, jq workers) inherit the
//! raised limit: to set another one between fork and exec takes `unsafe`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{error, warn};

use crate::admin;
use crate::config::Config;
use crate::ingress::{self, ServerConfig};
use crate::journal;

/// The standard streams, locks, logs, the signals' pipe, the runtimes' own; the journal's segment, the ones being sealed
/// and read at once; the ledger and its companions. With as many again for what nobody thought of.
const OWN: u64 = 64;
/// An admin connection, and what answering it opens: the ledger and its companions, once more.
const PER_ADMIN: u64 = 4;
/// A serving thread's runtime; and for each listener its duplicate and a connection that waits for its place.
const PER_THREAD: u64 = 6;
const PER_LISTENER: u64 = 2;
/// A sink's worker: it reads the journal and the ledger, for itself and for a replay, and talks to a jq worker.
const PER_SINK: u64 = 16;
/// Connections that have lost their places and are not closed yet.
const LEAVING: u64 = ingress::MOST_LEAVING as u64;
/// For sinks that a reload adds.
const TO_COME: u64 = 128;
/// Fewest places for connections, even where they do not fit.
const FEWEST: usize = 16;

/// Raises the soft limit to the hard one, and gives what holds from now on.
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

/// `[server]` with as many connections as there are descriptors for, where those are fewer than configured.
pub(super) fn fitting(config: &Config, limit: u64) -> ServerConfig {
    let kept = kept_back(config);
    let (most, fits) = places(config.server.max_connections, limit, kept);
    if !fits {
        error!(
            limit,
            kept_back = kept,
            max_connections = most,
            "the limit of open files is too low: files and connections will fail. Raise it: LimitNOFILE= of the service, \
             `ulimit -Hn`"
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

/// What all but the connections may need at once.
fn kept_back(config: &Config) -> u64 {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let threads = count(std::thread::available_parallelism().map_or(1, usize::from));
    let listeners = count(config.server.listen.len());
    let own = |sink: &crate::config::SinkEntry| PER_SINK + count(sink.config.descriptors(sink.limits.concurrency));
    let sinks: u64 = config.sinks.iter().map(own).sum();
    let segments = count(journal::kept_open());
    OWN + segments
        + LEAVING
        + PER_ADMIN * count(admin::CONNECTIONS)
        + threads * (PER_THREAD + PER_LISTENER * listeners)
        + sinks
        + TO_COME
}

/// How many connections may be had at once, and whether all fits.
fn places(wanted: usize, limit: u64, kept: u64) -> (usize, bool) {
    let room = usize::try_from(limit.saturating_sub(kept)).unwrap_or(usize::MAX);
    let fewest = FEWEST.min(wanted);
    (wanted.min(room).max(fewest), room >= fewest)
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
            assert_eq!(places(wanted, limit, kept), expected, "{wanted} of {limit}, {kept} kept back");
        }
    }
}
