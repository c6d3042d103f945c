//! Reading the config again, beside everything else the daemon does: a file it names may be a pipe, or lie on a disk that does
//! not answer.
//!
//! One reading at a time is waited for. Whoever asks while it goes on wants what the files say now: the reading is begun
//! anew, at once where it takes so long that it may hang, else after it. What blocks cannot be ended, only left behind.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::requests::Reply;
use crate::admin::Refusal;
use crate::admin::orders::ReloadDone;
use crate::config::Config;

/// Reading a config takes no longer, its tests included.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A reading that takes longer may hang: it does not keep the next one waiting.
const MAY_HANG: Duration = Duration::from_secs(1);
/// Most readings that hang at once.
const MAX_LOADS: usize = 8;
/// Most who wait for an answer.
const MAX_ASKERS: usize = 64;

/// Reads the config again; the error is what there is to say to the user, ready to print. May block.
pub type Load = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// A config that may come into force, or why not.
type Loaded = Result<Config, Refusal>;

/// What is read, and for whom.
pub(super) struct Reading {
    load: Load,
    /// Held by every reading that has not come back.
    loads: Arc<()>,
    under_way: Option<UnderWay>,
    /// Somebody asked after it had begun.
    again: bool,
    askers: Vec<Reply<ReloadDone>>,
}

struct UnderWay {
    began: Instant,
    handle: JoinHandle<Result<Config, String>>,
}

impl Reading {
    /// Nothing is read yet.
    pub fn new(load: Load) -> Self {
        Self { load, loads: Arc::default(), under_way: None, again: false, askers: vec![] }
    }

    /// Has the config read as it is now. Who asked is told what comes of it, where it is said who.
    pub fn ask(&mut self, asker: Option<Reply<ReloadDone>>) {
        match asker {
            Some(asker) if self.askers.len() >= MAX_ASKERS => {
                let _ = asker.send(Err(Refusal::Unable("too many wait for a reload already; try again".into())));
            }
            Some(asker) => self.askers.push(asker),
            None => {}
        }
        match self.under_way {
            None if self.has_room() => self.begin(),
            _ => self.again = true,
        }
    }

    /// Waits for what was read, as the files are since the last who asked; for ever where nobody did. Those behind it are
    /// told what comes of it. Cancel-safe.
    pub async fn next(&mut self) -> (Loaded, Vec<Reply<ReloadDone>>) {
        loop {
            let may_begin = self.again && self.has_room();
            let loaded = match &mut self.under_way {
                None if self.again => Err(Refusal::Unable(format!(
                    "{MAX_LOADS} earlier readings of the config hang: a file it names does not answer"
                ))),
                None => pending().await,
                Some(UnderWay { began, handle }) => tokio::select! {
                    biased;
                    loaded = timeout_at(*began + LOAD_TIMEOUT, handle) => match loaded {
                        Ok(Ok(Ok(config))) => Ok(config),
                        Ok(Ok(Err(faults))) => Err(Refusal::Config(faults)),
                        Ok(Err(panicked)) => Err(Refusal::Unable(panicked.to_string())),
                        Err(_) => Err(Refusal::Unable(format!(
                            "reading the config and running its tests took longer than {} s: a file it names does not \
                             answer, or its tests are too many",
                            LOAD_TIMEOUT.as_secs()
                        ))),
                    },
                    () = sleep_until(*began + MAY_HANG), if may_begin => {
                        self.begin();
                        continue;
                    }
                },
            };
            self.under_way = None;
            if std::mem::take(&mut self.again) && self.has_room() {
                self.begin();
                continue;
            }
            return (loaded, std::mem::take(&mut self.askers));
        }
    }

    fn has_room(&self) -> bool {
        Arc::strong_count(&self.loads) <= MAX_LOADS
    }

    /// Begins a reading; one that is under way is left behind.
    fn begin(&mut self) {
        self.again = false;
        let (load, held) = (Arc::clone(&self.load), Arc::clone(&self.loads));
        let handle = tokio::task::spawn_blocking(move || {
            let _held = held;
            load()
        });
        self.under_way = Some(UnderWay { began: Instant::now(), handle });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    /// The first reading hangs until it is let go, those after it come back at once, with their number as the fault.
    fn reading() -> (Reading, Arc<AtomicUsize>, mpsc::Sender<()>) {
        let count = Arc::new(AtomicUsize::new(0));
        let (free, hang) = mpsc::channel::<()>();
        let (counted, hang) = (Arc::clone(&count), std::sync::Mutex::new(hang));
        let load = move || {
            let n = counted.fetch_add(1, Ordering::SeqCst);
            if n == 0 {
                let _ = hang.lock().unwrap().recv();
            }
            Err(n.to_string())
        };
        (Reading::new(Arc::new(load)), count, free)
    }

    #[tokio::test]
    async fn a_reading_does_not_wait_behind_one_that_hangs_and_all_who_asked_are_answered() {
        let (mut reading, count, free) = reading();
        let (one, _one) = oneshot::channel();
        let (two, _two) = oneshot::channel();
        reading.ask(Some(one));
        reading.ask(Some(two));
        // Long before the first one would be given up.
        let (loaded, askers) = tokio::time::timeout(LOAD_TIMEOUT / 2, reading.next()).await.unwrap();
        assert!(matches!(loaded, Err(Refusal::Config(n)) if n == "1"), "the first one hangs still");
        assert_eq!((askers.len(), count.load(Ordering::SeqCst)), (2, 2));
        drop(free);
    }

    #[tokio::test]
    async fn who_asks_during_a_reading_has_one_more_after_it() {
        let (mut reading, count, free) = reading();
        for _ in 0..100 {
            reading.ask(None);
        }
        drop(free);
        let (loaded, _) = reading.next().await;
        assert!(matches!(loaded, Err(Refusal::Config(n)) if n == "1"));
        assert_eq!(count.load(Ordering::SeqCst), 2);
        let nothing = tokio::time::timeout(Duration::from_millis(1), reading.next()).await;
        assert!(nothing.is_err(), "nobody asked");
    }
}
