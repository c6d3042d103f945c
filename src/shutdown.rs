//! What signals say: to stop (SIGTERM from systemd, SIGINT from Ctrl-C), to read the config again (SIGHUP).

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals the daemon listens to, from the moment this is made.
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
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
    /// Starts listening.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn listen() -> std::io::Result<Self> {
        let [term, int, hup] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self { term: term?, int: int?, hup: hup? })
    }

    /// Waits for the next. Cancel-safe.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.term.recv() => Told::Stop("SIGTERM"),
            _ = self.int.recv() => Told::Stop("SIGINT"),
            _ = self.hup.recv() => Told::Reload,
        }
    }
}
