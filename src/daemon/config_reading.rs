//! Reads the config again, beside everything else the daemon does: a file that the config names may be a pipe, or lie
//! on a disk that does not answer.
//!
//! The daemon waits for one reading at a time. Whoever asks while a reading goes on wants what the files say now, so
//! the config is read once more: after that reading, or at once where it takes so long that it may hang. A reading that
//! hangs cannot be ended, only left behind.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::requests::Reply;
use crate::admin::Refusal;
use crate::admin::reload::ReloadDone;
use crate::config::{Config, Digest};

/// Longest that reading a config may take, its tests included.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A reading that takes longer than this may hang, and does not keep the next reading waiting.
const MAY_HANG: Duration = Duration::from_secs(1);
/// Most readings that may hang at once.
const MAX_LOADS: usize = 8;
/// Most requests that may wait for an answer.
const MAX_ASKERS: usize = 64;

/// Reads the config. May block.
pub type Load = Arc<dyn Fn() -> Result<Config, Refused> + Send + Sync>;

/// That the config was read, and refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// All faults: the text for the user, ready to print.
    pub why: String,
    /// The file's content, where it could be read.
    pub file: Option<Digest>,
}

/// A config that may come into force, or why not.
pub(super) type Loaded = Result<Config, NotLoaded>;

/// Why there is no config that may come into force.
pub(super) enum NotLoaded {
    /// The file was refused.
    Refused(Refused),
    /// It could not be read to its end.
    Unable(String),
}

/// The reading under way, and who waits for it.
pub(super) struct ConfigReader {
    load: Load,
    /// Every reading that has not come back holds a clone.
    loads: Arc<()>,
    under_way: Option<UnderWay>,
    /// Somebody asked after the reading under way had begun.
    again: bool,
    askers: Vec<Reply<ReloadDone>>,
}

struct UnderWay {
    began: Instant,
    handle: JoinHandle<Result<Config, Refused>>,
}

impl ConfigReader {
    /// A reader that has nothing to read yet.
    pub fn new(load: Load) -> Self {
        Self { load, loads: Arc::default(), under_way: None, again: false, askers: vec![] }
    }

    /// Has the config read as it is now. The asker, where there is one, is given out again by [`Self::next`].
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

    /// Waits for a config that was read after the last request for one, and gives it with everybody who asked; waits
    /// for ever where nobody did. Cancel-safe.
    pub async fn next(&mut self) -> (Loaded, Vec<Reply<ReloadDone>>) {
        loop {
            let may_begin = self.again && self.has_room();
            let loaded = match &mut self.under_way {
                None if self.again => Err(NotLoaded::Unable(format!(
                    "{MAX_LOADS} earlier readings of the config hang: a file it names does not answer"
                ))),
                None => pending().await,
                Some(UnderWay { began, handle }) => tokio::select! {
                    biased;
                    loaded = timeout_at(*began + LOAD_TIMEOUT, handle) => match loaded {
                        Ok(Ok(Ok(config))) => Ok(config),
                        Ok(Ok(Err(refused))) => Err(NotLoaded::Refused(refused)),
                        Ok(Err(panicked)) => Err(NotLoaded::Unable(panicked.to_string())),
                        Err(_) => Err(NotLoaded::Unable(format!(
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

    /// Begins a reading; a reading that is under way is left behind.
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

    /// A reader whose first reading hangs until the sender is dropped; each reading after it comes back at once, with
    /// its number as the fault.
    fn reader() -> (ConfigReader, Arc<AtomicUsize>, mpsc::Sender<()>) {
        let count = Arc::new(AtomicUsize::new(0));
        let (free, hang) = mpsc::channel::<()>();
        let (counted, hang) = (Arc::clone(&count), std::sync::Mutex::new(hang));
        let load = move || {
            let n = counted.fetch_add(1, Ordering::SeqCst);
            if n == 0 {
                let _ = hang.lock().unwrap().recv();
            }
            Err(Refused { why: n.to_string(), file: None })
        };
        (ConfigReader::new(Arc::new(load)), count, free)
    }

    #[tokio::test]
    async fn a_reading_does_not_wait_behind_one_that_hangs_and_all_who_asked_are_answered() {
        let (mut reader, count, free) = reader();
        let (one, _one) = oneshot::channel();
        let (two, _two) = oneshot::channel();
        reader.ask(Some(one));
        reader.ask(Some(two));
        // Long before the first one would be given up.
        let (loaded, askers) = tokio::time::timeout(LOAD_TIMEOUT / 2, reader.next()).await.unwrap();
        assert!(matches!(loaded, Err(NotLoaded::Refused(n)) if n.why == "1"), "the first one hangs still");
        assert_eq!((askers.len(), count.load(Ordering::SeqCst)), (2, 2));
        drop(free);
    }

    #[tokio::test]
    async fn a_request_during_a_reading_brings_about_another_one_after_it() {
        let (mut reader, count, free) = reader();
        for _ in 0..100 {
            reader.ask(None);
        }
        drop(free);
        let (loaded, _) = reader.next().await;
        assert!(matches!(loaded, Err(NotLoaded::Refused(n)) if n.why == "1"));
        assert_eq!(count.load(Ordering::SeqCst), 2);
        let nothing = tokio::time::timeout(Duration::from_millis(1), reader.next()).await;
        assert!(nothing.is_err(), "nobody asked");
    }
}
