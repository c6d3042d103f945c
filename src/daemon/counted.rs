//! Carries what ingress has counted to the ledger and back, so that it counts on over restarts. Nobody waits for it: a
//! ledger that cannot be read or written is tried again, and webhooks are taken meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::ingress::{Ingress, SourceCounts};
use crate::ledger::{CountOf, Counted, Ledger, SettleError};

/// How often it is kept: what is lost by a crash is younger than five seconds.
const EVERY: Duration = Duration::from_secs(3);
/// How often ingress looks around.
const LOOK: Duration = Duration::from_secs(1);
/// Longest that a start or a stop waits for the ledger.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is counted of a path.
const REFUSED: &str = "refused";

/// What a number is known by.
type Key = (CountOf, String, String);
type Numbers = BTreeMap<Key, i64>;

/// What ingress has counted, while it is kept, and while ingress looks around.
pub(super) struct FrontCounts {
    carrier: Arc<Carrier>,
    tasks: JoinSet<()>,
}

/// What ingress has counted, beside what the ledger has of it.
struct Carrier {
    ingress: Arc<Ingress>,
    ledger: Arc<Ledger>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the ledger has; `None` until it could be read.
    kept: Option<Numbers>,
    /// Counts of sources that were served at the last look.
    seen: HashMap<String, Arc<SourceCounts>>,
    /// The last numbers of sources that are not served any more.
    gone: Numbers,
}

impl FrontCounts {
    /// Lets ingress go on from what the ledger has, as far as the ledger can be read soon. From then on what it counts
    /// is kept, and it looks around.
    pub async fn start(ingress: &Arc<Ingress>, ledger: &Arc<Ledger>) -> Self {
        let (ingress, ledger) = (Arc::clone(ingress), Arc::clone(ledger));
        let carrier = Arc::new(Carrier { ingress, ledger, state: Mutex::default() });
        let _ = timeout(PATIENCE, carrier.keep()).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_counting(Arc::clone(&carrier)));
        tasks.spawn(look_around(Arc::clone(&carrier.ingress)));
        Self { carrier, tasks }
    }

    /// Tells and keeps what is left, once ingress has stopped. The ledger may have been closed before: webhooks are
    /// taken to the end.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
        self.carrier.ingress.tell_rest();
        self.carrier.keep_last().await;
    }
}

impl Carrier {
    /// Keeps what has changed since the last time. Cancel-safe.
    async fn keep(&self) -> Result<(), SettleError> {
        let state = &mut *self.state.lock().await;
        let changed = self.changed(state).await?;
        if !changed.is_empty() {
            self.ledger.keep_counted(as_rows(&changed)).await?;
            state.kept.get_or_insert_default().extend(changed);
        }
        // The ledger has them now.
        state.gone.clear();
        Ok(())
    }

    /// What the ledger does not have yet.
    async fn changed(&self, state: &mut State) -> Result<Numbers, SettleError> {
        let State { kept, seen, gone } = state;
        let kept = match kept {
            Some(kept) => kept,
            None => {
                let rows = self.ledger.counted().await?;
                let paths = rows.iter().filter(|row| row.of == CountOf::Path);
                let paths = paths.filter(|row| row.count > 0);
                let paths: Vec<_> = paths.map(|row| (row.name.clone(), row.count.cast_unsigned())).collect();
                self.ingress.continue_elsewhere(&paths);
                kept.insert(rows.into_iter().map(|row| ((row.of, row.name, row.what), row.count)).collect())
            }
        };
        let now: HashMap<String, _> = self.ingress.source_counts().into_iter().collect();
        for (name, counts) in std::mem::take(seen) {
            let is_same = now.get(&name).is_some_and(|now| Arc::ptr_eq(now, &counts));
            if !is_same {
                gone.extend(numbers_of(&name, &counts));
            }
        }
        let mut all = Numbers::new();
        for (name, counts) in now {
            if !counts.has_before() {
                let own = |(of, own, _): &&Key| *of == CountOf::Source && *own == name;
                let of = |numbers: &Numbers| -> Vec<(String, i64)> {
                    let own = numbers.iter().filter(|(key, _)| own(key));
                    own.map(|((_, _, what), count)| (what.clone(), *count)).collect()
                };
                // What it counted last in this life, where it comes back after a reload; else what an earlier one did.
                let before = Some(of(gone)).filter(|before| !before.is_empty()).unwrap_or_else(|| of(kept));
                counts.continues(before);
                gone.retain(|key, _| !own(&key));
            }
            all.extend(numbers_of(&name, &counts));
            seen.insert(name, counts);
        }
        let path = |(path, count): (Arc<str>, u64)| {
            ((CountOf::Path, path.to_string(), REFUSED.to_owned()), count.cast_signed())
        };
        all.extend(self.ingress.elsewhere().totals().into_iter().map(path));
        all.extend(gone.iter().map(|(key, count)| (key.clone(), *count)));
        // A path that found no place counts as another: its own row would be added again at the next start.
        let is_path = |(of, _, _): &&Key| *of == CountOf::Path;
        let folded: Vec<Key> = kept.keys().filter(is_path).filter(|key| !all.contains_key(*key)).cloned().collect();
        all.extend(folded.into_iter().map(|key| (key, 0)));
        // What never was counted needs no row.
        all.retain(|key, count| kept.get(key).copied().unwrap_or_default() != *count);
        Ok(all)
    }

    /// Keeps what was counted after the ledger was closed. Waits no longer than is bearable.
    async fn keep_last(&self) {
        let keeping = async {
            // A ledger that was never open has told nothing that could be counted on from.
            let changed = self.changed(&mut *self.state.lock().await).await.unwrap_or_default();
            if changed.is_empty() {
                return Ok(());
            }
            let ledger = Arc::clone(&self.ledger);
            let kept = tokio::task::spawn_blocking(move || ledger.keep_counted_last(&as_rows(&changed)));
            kept.await.map_err(|_| SettleError::Closed)?
        };
        if let Ok(Err(error)) = timeout(PATIENCE, keeping).await {
            warn!(%error, "what the sources have counted since the ledger was closed is not kept");
        }
    }
}

/// Keeps what is counted, over and over until the task is ended.
async fn keep_counting(carrier: Arc<Carrier>) {
    loop {
        sleep(EVERY).await;
        // A ledger that is not open, or cannot be written now, may be the next time.
        let _ = carrier.keep().await;
    }
}

/// Lets ingress look around, over and over until the task is ended.
async fn look_around(ingress: Arc<Ingress>) {
    loop {
        sleep(LOOK).await;
        ingress.look_around();
    }
}

fn numbers_of(name: &str, counts: &SourceCounts) -> Numbers {
    let totals = counts.totals().into_iter();
    totals.map(|(what, count)| ((CountOf::Source, name.to_owned(), what.to_owned()), count)).collect()
}

fn as_rows(numbers: &Numbers) -> Vec<Counted> {
    let row = |((of, name, what), count): (&Key, &i64)| Counted {
        of: *of,
        name: name.clone(),
        what: what.clone(),
        count: *count,
    };
    numbers.iter().map(row).collect()
}
