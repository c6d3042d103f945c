//! Signals and what they mean: to stop (SIGTERM from systemd, SIGINT from Ctrl-C, SIGQUIT), to read the config again
//! (SIGHUP), or nothing at all. By default most signals end a process without a word; so signals that mean nothing here
//! are caught as well. SIGXFSZ is one of those: a write beyond the limit of file sizes then fails like any other
//! (EFBIG).
//!
//! Signals are caught by a handler and none is set to "ignore", as programs that the daemon starts would inherit that.

use std::future::poll_fn;
use std::task::Poll;

use rustix::process::Signal as Named;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What each of these signals means.
const MEANINGS: [(Named, Meaning); 5] = [
    (Named::TERM, Meaning::Stop("SIGTERM")),
    (Named::INT, Meaning::Stop("SIGINT")),
    (Named::QUIT, Meaning::Stop("SIGQUIT")),
    // The CPU time that a limit allows is used up: SIGKILL comes next.
    (Named::XCPU, Meaning::Stop("SIGXCPU")),
    (Named::HUP, Meaning::Reload),
];

/// Signals that mean nothing here, and would end the process.
const MEANINGLESS: [Named; 9] = [
    Named::XFSZ,
    Named::USR1,
    Named::USR2,
    Named::ALARM,
    Named::VTALARM,
    Named::PROF,
    Named::IO,
    Named::POWER,
    Named::STKFLT,
];

/// Real-time signals, as the kernel numbers them. The C library keeps the first two or three to itself.
const REAL_TIME: std::ops::RangeInclusive<i32> = 32..=64;

/// The signals the daemon listens to, from the moment this is made.
pub struct Signals {
    streams: Vec<(Signal, Meaning)>,
}

/// What a signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The daemon is to stop; with the signal's name.
    Stop(&'static str),
    /// The daemon is to read its config again.
    Reload,
}

impl Signals {
    /// Starts listening, inside a runtime and before anything is written. From here on the process is ended by none of
    /// the signals that can be caught.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> std::io::Result<Self> {
        let of = |named: Named| signal(SignalKind::from_raw(named.as_raw()));
        let streams = MEANINGS.into_iter().map(|(named, meaning)| Ok((of(named)?, meaning)));
        let streams = streams.collect::<std::io::Result<_>>()?;
        // A handler stays in place, whether anybody listens or not.
        for named in MEANINGLESS {
            drop(of(named)?);
        }
        // The C library refuses the signals that it keeps to itself.
        REAL_TIME.for_each(|raw| drop(signal(SignalKind::from_raw(raw))));
        Ok(Self { streams })
    }

    /// Waits for the next signal that means something. Cancel-safe.
    pub async fn next(&mut self) -> Meaning {
        poll_fn(|cx| {
            let mut streams = self.streams.iter_mut();
            let ready = streams.find_map(|(stream, meaning)| stream.poll_recv(cx).is_ready().then_some(*meaning));
            ready.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
