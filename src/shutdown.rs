//! What signals say: to stop (SIGTERM from systemd, SIGINT from Ctrl-C, SIGQUIT), to read the config again (SIGHUP), or
//! nothing at all. Left to themselves most signals end a process without a word; so whatever is nobody's order is heard
//! and means nothing. SIGXFSZ is one of those: a write beyond the limit of file sizes then fails like any other (EFBIG).
//!
//! A handler is put in place, none is set to "ignore": programs started from here begin with what is usual.

use std::future::poll_fn;
use std::task::Poll;

use rustix::process::Signal as Named;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What each of these says.
const TELLING: [(Named, Told); 5] = [
    (Named::TERM, Told::Stop("SIGTERM")),
    (Named::INT, Told::Stop("SIGINT")),
    (Named::QUIT, Told::Stop("SIGQUIT")),
    // The CPU time that a limit allows is used up: a kill comes next.
    (Named::XCPU, Told::Stop("SIGXCPU")),
    (Named::HUP, Told::Reload),
];

/// These mean nothing here, and would end the process.
const IDLE: [Named; 9] = [
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
    heard: Vec<(Signal, Told)>,
}

/// What a signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// To stop; the signal's name.
    Stop(&'static str),
    /// To read the config again.
    Reload,
}

impl Signals {
    /// Starts listening; from here on no other signal ends the process that could be kept from it. Before anything is
    /// written. Inside a runtime.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn listen() -> std::io::Result<Self> {
        let of = |named: Named| signal(SignalKind::from_raw(named.as_raw()));
        let heard = TELLING.into_iter().map(|(named, told)| Ok((of(named)?, told))).collect::<std::io::Result<_>>()?;
        // Once it is in place a handler stays, whether anybody listens or not.
        for named in IDLE {
            drop(of(named)?);
        }
        // What the C library keeps, it refuses.
        REAL_TIME.for_each(|raw| drop(signal(SignalKind::from_raw(raw))));
        Ok(Self { heard })
    }

    /// Waits for the next. Cancel-safe.
    pub async fn next(&mut self) -> Told {
        poll_fn(|cx| {
            let said =
                self.heard.iter_mut().find_map(|(signal, told)| signal.poll_recv(cx).is_ready().then_some(*told));
            said.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
