//! Whether the config file is what runs, for `status` and `/readyz`; and the copy of the config in force in the data
//! folder, from which a start goes on that finds the file refused ([`last_good`]).
//!
//! The file is looked at every ten seconds, by content. A file that was refused stays so until a reload succeeds, or it
//! is again what runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sink_api::Timestamp;
use sink_api::files::{self, Patience};
use tokio::time::timeout;
use tracing::{info, warn};

use super::config_reading::Refused;
use crate::admin::status::{ConfigState as State, ConfigStatus};
use crate::config::{Config, Digest, MAX_FILE, Written, digest, last_good};
use crate::metrics::Counter;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// Longest that a start or a reload waits for the copy; a disk that takes longer is left to it.
const KEEP: Duration = Duration::from_secs(2);

/// The config file beside the config in force.
pub(super) struct ConfigState {
    file: PathBuf,
    data_dir: PathBuf,
    now: Mutex<Now>,
    /// Reloads that put a config in force, and that did not.
    pub reloads: [Counter; 2],
}

struct Now {
    in_force: InForce,
    /// That a start or a reload refused the file.
    refused: Option<Trouble>,
    /// That the file is not the text in force.
    differs: Option<Trouble>,
    /// Whether the text in force lies in the data folder.
    is_kept: bool,
    /// Whether a thread is at it: one that hangs is not joined by others.
    is_busy: bool,
}

#[derive(Clone)]
struct InForce {
    config: Arc<Config>,
    written: Written,
    digest: Digest,
    since: Timestamp,
}

struct Trouble {
    since: Timestamp,
    fault: Option<String>,
    /// The file's content, where it could be read.
    file: Option<Digest>,
}

impl ConfigState {
    /// The state at a start. `refused` says why the config is not the file's, but the last good one.
    pub fn new(config: &Config, refused: Option<&Refused>) -> Self {
        let is_kept = refused.is_some();
        let refused = refused.map(Trouble::of);
        let now = Now { in_force: InForce::of(config), refused, differs: None, is_kept, is_busy: false };
        let file = std::path::absolute(&config.file).unwrap_or_else(|_| config.file.clone());
        Self { file, data_dir: config.data_dir.clone(), now: Mutex::new(now), reloads: Default::default() }
    }

    /// Another config is in force now: what the file held when it was read.
    pub fn put_in_force(&self, config: &Config) {
        let mut now = self.now();
        (now.in_force, now.refused, now.differs, now.is_kept) = (InForce::of(config), None, None, false);
    }

    /// The config in force.
    pub fn in_force(&self) -> Arc<Config> {
        Arc::clone(&self.now().in_force.config)
    }

    /// A reload has refused the file.
    pub fn refuse(&self, refused: &Refused) {
        let mut now = self.now();
        let since = now.refused.as_ref().map(|before| before.since);
        let trouble = Trouble::of(refused);
        now.refused = Some(Trouble { since: since.unwrap_or(trouble.since), ..trouble });
    }

    /// What `status` tells.
    pub fn status(&self) -> ConfigStatus {
        let now = self.now();
        let trouble = |trouble: &Trouble| (trouble.since, trouble.fault.clone());
        let (state, (since, fault)) = match (&now.refused, &now.differs) {
            (Some(refused), _) => (State::Refused, trouble(refused)),
            (None, Some(differs)) => (State::Changed, trouble(differs)),
            (None, None) => (State::Same, (now.in_force.since, None)),
        };
        ConfigStatus { state, path: self.file.display().to_string(), since: since.to_string(), fault }
    }

    /// What the file holds; `None` where it is a pipe or the like, which can be read once.
    fn look(&self) -> Option<Result<Digest, String>> {
        let text = |error: std::io::Error| error.to_string();
        match std::fs::metadata(&self.file) {
            Ok(meta) if meta.is_file() => {
                Some(files::read(&self.file, MAX_FILE, &Patience::new()).map(|bytes| digest(&bytes)).map_err(text))
            }
            Ok(_) => None,
            Err(error) => Some(Err(text(error))),
        }
    }

    /// Takes note of what the file holds; the error is why it cannot be read.
    fn observe(&self, file: Result<Digest, String>) {
        let mut now = self.now();
        let in_force = now.in_force.digest;
        if file == Ok(in_force) {
            let is_back = now.differs.take().is_some();
            // Where the text in force was itself refused, it was for what stands in other files.
            let was_refused = now.refused.take_if(|refused| refused.file != Some(in_force)).is_some();
            if is_back || was_refused {
                info!(file = %self.file.display(), "the config file is again what runs");
            }
            return;
        }
        let (file, fault) = match file {
            Ok(digest) => (Some(digest), None),
            Err(why) => (None, Some(format!("{}: cannot be read: {why}", self.file.display()))),
        };
        let before = now.differs.as_ref();
        if before.is_none_or(|before| (before.file, &before.fault) != (file, &fault)) {
            if before.is_none() && now.refused.is_none() {
                info!(
                    file = %self.file.display(), fault,
                    "the config file is not what runs any more: `hookrelay reload` puts it in force"
                );
            }
            now.differs = Some(Trouble { since: instant(), fault, file });
        }
    }

    /// Keeps the config in force in the data folder, as the last good one, unless it is there. Waits for the disk no
    /// longer than is bearable; what is not kept by then is tried again at the next look.
    pub async fn keep(self: &Arc<Self>) {
        let InForce { written, digest, since, .. } = {
            let mut now = self.now();
            if now.is_kept || std::mem::replace(&mut now.is_busy, true) {
                return;
            }
            now.in_force.clone()
        };
        let state = Arc::clone(self);
        let keeping = tokio::task::spawn_blocking(move || {
            let kept = last_good::keep(&state.data_dir, &state.file, &written, since);
            let mut now = state.now();
            now.is_busy = false;
            now.is_kept = kept.is_ok() && now.in_force.digest == digest;
            kept
        });
        let why = match timeout(KEEP, keeping).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(panicked)) => panicked.to_string(),
            Err(_) => format!("the disk has not taken it within {} s", KEEP.as_secs()),
        };
        warn!(
            folder = %self.data_dir.display(), why,
            "the config in force is not kept there, so that no start could go on from it: tried again every 10 s"
        );
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // Valid whoever panicked: each change is made at once.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InForce {
    fn of(config: &Config) -> Self {
        let written = config.written.clone();
        Self { config: Arc::new(config.clone()), digest: written.digest(), written, since: instant() }
    }
}

impl Trouble {
    fn of(refused: &Refused) -> Self {
        let fault = refused.why.lines().next().map(str::to_owned);
        Self { since: instant(), fault, file: refused.file }
    }
}

/// Now; milliseconds are exact enough, and readable.
fn instant() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// Looks at the config file, and at the copy in the data folder, until this task is dropped.
pub(super) async fn look_after(state: Arc<ConfigState>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let looking = Arc::clone(&state);
        // A disk that does not answer holds one thread, and this task.
        let looked = tokio::task::spawn_blocking(move || {
            if let Some(file) = looking.look() {
                looking.observe(file);
            }
            let is_there = looking.data_dir.join(last_good::FILE).is_file();
            if !is_there {
                looking.now().is_kept = false;
            }
        });
        // It cannot fail but by a panic, which was reported.
        if looked.await.is_err() {
            return;
        }
        state.keep().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{SOURCE, config};

    /// What `status` says when these things have happened one after the other.
    fn told(refused_at_start: Option<&Refused>, happen: impl FnOnce(&ConfigState)) -> (State, Option<String>) {
        let state = ConfigState::new(&config(SOURCE), refused_at_start);
        happen(&state);
        let ConfigStatus { state: told, fault, .. } = state.status();
        (told, fault)
    }

    fn refused(text: &str) -> Refused {
        Refused { why: "config.toml:1:1: error: x\n  help: y".into(), file: Some(digest(text.as_bytes())) }
    }

    #[test]
    fn what_was_refused_stays_so_until_a_reload_succeeds_or_the_file_is_what_runs() {
        let (same, other) = (|| Ok(digest(SOURCE.as_bytes())), || Ok(digest(b"other")));
        let fault = Some("config.toml:1:1: error: x".to_owned());
        assert_eq!(told(None, |state| state.observe(same())), (State::Same, None));
        assert_eq!(told(None, |state| state.observe(other())), (State::Changed, None));
        let back = |state: &ConfigState| [other(), same()].into_iter().for_each(|file| state.observe(file));
        assert_eq!(told(None, back), (State::Same, None));
        let (state, gone) = told(None, |state| state.observe(Err("No such file".into())));
        assert!(state == State::Changed && gone.is_some_and(|why| why.contains("No such file")));

        let edited = |state: &ConfigState| {
            state.refuse(&refused("bad"));
            state.observe(other());
        };
        assert_eq!(told(None, edited), (State::Refused, fault.clone()));
        assert_eq!(told(Some(&refused("bad")), |state| state.observe(other())), (State::Refused, fault.clone()));
        assert_eq!(told(Some(&refused("bad")), |state| state.observe(same())), (State::Same, None));
        let reloaded = |state: &ConfigState| state.put_in_force(&config(SOURCE));
        assert_eq!(told(Some(&refused("bad")), reloaded), (State::Same, None));
        // The same text, refused for a secret that is gone.
        assert_eq!(told(Some(&refused(SOURCE)), |state| state.observe(same())), (State::Refused, fault));
    }
}
