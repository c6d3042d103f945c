//! What the service manager (systemd) is told of the daemon beside the moments in its life that the main loop tells:
//! that a start takes longer, how the daemon is, and that it goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use super::control::DaemonControl;
use super::status_line::status_line;
use crate::admin::{Control, Status};
use crate::ingress::threads::Threads;
use crate::journal::Pulse;
use crate::systemd::Manager;
use crate::systemd::watchdog::{Part, RuntimePart, Watchdog, Watched};

/// How much longer a start may take each time the manager is told that it goes on, how often that is told, and how
/// often at most: after an hour something is wrong that a new start may mend.
const EXTENSION: Duration = Duration::from_secs(30);
const EXTEND_EVERY: Duration = Duration::from_secs(10);
const EXTENSIONS: u32 = 360;
/// How often the status line is looked at. The figures of sinks that are behind take a read of the journal.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Tells the manager that the daemon starts, and, until the future is dropped, that the start goes on: a journal that
/// was not closed is read, which may take minutes on a slow disk.
pub(super) fn extend_start(manager: Manager) -> impl Future<Output = ()> {
    manager.status("starting: the journal is being recovered");
    async move {
        for _ in 0..EXTENSIONS {
            manager.extend(EXTENSION);
            sleep(EXTEND_EVERY).await;
        }
    }
}

/// Tells how the daemon is, whenever that has changed, until this is dropped.
pub(super) async fn tell_status(manager: Manager, control: Arc<DaemonControl>) {
    if !manager.is_there() {
        return;
    }
    let (mut told, mut accepted, mut since) = (String::new(), None, Instant::now());
    loop {
        let line = match timeout(STATUS_EVERY, control.status()).await {
            Ok(status) => {
                let now = accepted_by(&status);
                let more = now.saturating_sub(accepted.replace(now).unwrap_or(now));
                let elapsed = std::mem::replace(&mut since, Instant::now()).elapsed().as_secs_f64();
                status_line(&status, more as f64 / elapsed.max(f64::EPSILON))
            }
            Err(_) => "there are no figures: the ledger does not answer".to_owned(),
        };
        if line != told {
            manager.status(&line);
            told = line;
        }
        sleep(STATUS_EVERY).await;
    }
}

/// Events accepted by all sources since the start.
fn accepted_by(status: &Status) -> u64 {
    status.sources.values().map(|source| source.accepted).sum()
}

/// Starts the watchdog over the runtime that this is called in, the serving threads and what writes the journal.
pub(super) fn watch(
    manager: &Manager,
    threads: &Threads,
    journal: Arc<dyn Pulse>,
    control: &Arc<DaemonControl>,
) -> Option<Watchdog> {
    let serving = threads.runtimes().enumerate().map(|(n, runtime)| (format!("ingress-{n}"), runtime.clone()));
    let runtimes = serving.chain([("the sinks' runtime".to_owned(), Handle::current())]);
    let runtimes = runtimes.map(|(name, runtime)| Box::new(RuntimePart::new(name, runtime)) as Box<dyn Part>);
    let parts = runtimes.chain([Box::new(Commit(journal)) as Box<dyn Part>]).collect();
    let control = Arc::clone(control);
    Watchdog::start(manager, Watched { parts, is_spared: Box::new(move || control.is_spared()) })
}

/// What writes the journal, as a part of the daemon.
struct Commit(Arc<dyn Pulse>);

impl Part for Commit {
    fn name(&self) -> &str {
        "the journal's commit thread"
    }

    fn ask(&mut self) {
        self.0.ask();
    }

    fn has_answered(&self) -> bool {
        self.0.has_answered()
    }
}
