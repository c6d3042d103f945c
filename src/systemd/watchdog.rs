//! The watchdog: a thread that asks every part of the daemon for a sign of life, and beats when all have given one. A
//! part that gives none for as long as the manager waits for a beat is wedged, and the manager kills the daemon and
//! starts it again: what was answered 200 is on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tokio::runtime::Handle;

use super::Manager;
use super::manager::watchdog_timeout;

/// How often the parts are looked at within the time after which the manager kills: so that a part may be late by most
/// of that time.
const LOOKS: u32 = 8;
/// Least time between two looks, whatever the manager asks for.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// A part of the daemon that must go on.
pub trait Part: Send {
    /// Its name, for the log.
    fn name(&self) -> &str;
    /// Asks for a sign of life. Returns at once.
    fn ask(&mut self);
    /// Whether there was one since the last question, or what the part does may take as long as it takes.
    fn has_answered(&self) -> bool;
}

/// A runtime: it has answered when a task without work has run on it.
pub struct RuntimePart {
    name: String,
    runtime: Handle,
    answered: Arc<AtomicBool>,
}

impl RuntimePart {
    /// Of that runtime.
    pub fn new(name: String, runtime: Handle) -> Self {
        Self { name, runtime, answered: Arc::default() }
    }
}

impl Part for RuntimePart {
    fn name(&self) -> &str {
        &self.name
    }

    fn ask(&mut self) {
        // A task that was asked earlier answers an earlier question.
        self.answered = Arc::default();
        let answered = Arc::clone(&self.answered);
        self.runtime.spawn(async move { answered.store(true, Ordering::Relaxed) });
    }

    fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

/// What is watched.
pub struct Watched {
    /// All that must go on.
    pub parts: Vec<Box<dyn Part>>,
    /// Whether the daemon is not to be killed now, whatever the parts say.
    pub is_spared: Box<dyn Fn() -> bool + Send>,
}

impl Watched {
    fn ask(&mut self) {
        self.parts.iter_mut().for_each(|part| part.ask());
    }

    /// The first part that owes a sign of life, where the daemon is to be killed for that.
    fn silent(&self) -> Option<&str> {
        let silent = self.parts.iter().find(|part| !part.has_answered())?;
        if (self.is_spared)() { None } else { Some(silent.name()) }
    }
}

/// The thread; dropped, it beats no more.
#[must_use = "without it nobody beats"]
pub struct Watchdog {
    /// The thread ends when this is gone.
    _stop: mpsc::SyncSender<()>,
}

impl Watchdog {
    /// Begins to watch; `None` where the manager wants no beats, or where the system gives no thread: then the manager
    /// will kill the daemon, which the log says.
    pub fn start(manager: &Manager, watched: Watched) -> Option<Self> {
        let timeout = watchdog_timeout().filter(|_| manager.is_there())?;
        let (stop, stopped) = mpsc::sync_channel(0);
        let manager = manager.clone();
        let thread = std::thread::Builder::new().name("watchdog".into());
        let started = thread.spawn(move || watch(&manager, (timeout / LOOKS).max(LOOK_MIN), watched, &stopped));
        started
            .inspect_err(|error| tracing::error!(%error, "there is no thread for the watchdog of the service manager"))
            .ok()?;
        Some(Self { _stop: stop })
    }
}

fn watch(manager: &Manager, every: Duration, mut watched: Watched, stopped: &mpsc::Receiver<()>) {
    let mut is_said = false;
    // The manager counts from the moment it is told "ready".
    manager.beat();
    watched.ask();
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
        match watched.silent() {
            None => {
                manager.beat();
                watched.ask();
                is_said = false;
            }
            Some(part) if !std::mem::replace(&mut is_said, true) => {
                tracing::error!(part, "gives no sign of life: if it stays so, the service manager's watchdog acts");
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Told {
        asked: AtomicUsize,
        answers: AtomicBool,
    }

    struct OfTest(Arc<Told>);

    impl Part for OfTest {
        fn name(&self) -> &str {
            "told"
        }
        fn ask(&mut self) {
            self.0.asked.fetch_add(1, Ordering::Relaxed);
        }
        fn has_answered(&self) -> bool {
            self.0.answers.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn one_silent_part_is_enough_unless_the_daemon_is_spared() {
        let (one, two, spared) = (Arc::<Told>::default(), Arc::<Told>::default(), Arc::<AtomicBool>::default());
        one.answers.store(true, Ordering::Relaxed);
        let is_spared = Arc::clone(&spared);
        let parts: Vec<Box<dyn Part>> = vec![Box::new(OfTest(one.clone())), Box::new(OfTest(two.clone()))];
        let mut watched = Watched { parts, is_spared: Box::new(move || is_spared.load(Ordering::Relaxed)) };
        watched.ask();
        assert_eq!([&one, &two].map(|part| part.asked.load(Ordering::Relaxed)), [1, 1]);
        assert_eq!(watched.silent(), Some("told"));
        spared.store(true, Ordering::Relaxed);
        assert_eq!(watched.silent(), None);
        spared.store(false, Ordering::Relaxed);
        two.answers.store(true, Ordering::Relaxed);
        assert_eq!(watched.silent(), None);
    }

    #[test]
    fn a_runtime_answers_only_while_its_thread_runs_tasks() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut part = RuntimePart::new("r".into(), runtime.handle().clone());
        part.ask();
        assert!(!part.has_answered(), "nobody runs it");
        runtime.block_on(tokio::task::yield_now());
        assert!(part.has_answered());
        part.ask();
        assert!(!part.has_answered(), "an answer is good for one question");
        drop(runtime);
        part.ask();
        assert!(!part.has_answered(), "it has ended");
    }
}
