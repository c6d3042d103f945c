//! What a request changes beside the file, once its transaction is written: counts, news, and a word to who waits for
//! changes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sink_api::LogLimit;
use tokio::sync::Notify;

use super::facts::Counts;
use super::trim::MOST_WAITING;
use crate::news::{Item, News};

/// Pause between two lines of the log that say the same.
const QUIET: Duration = Duration::from_secs(60);

/// What one request adds.
#[derive(Debug, Default)]
pub struct Tally {
    resends: Vec<(String, &'static str)>,
    waiting: BTreeMap<String, i64>,
    calls: Vec<(String, &'static str)>,
    news: Vec<Item>,
    changed: bool,
    full: Option<String>,
}

impl Tally {
    /// Something became of a message that failed.
    pub fn resend(&mut self, rule: &str, outcome: &'static str) {
        self.resends.push((rule.to_owned(), outcome));
    }

    /// So many more wait by that rule, or fewer.
    pub fn wait(&mut self, rule: &str, more: i64) {
        *self.waiting.entry(rule.to_owned()).or_default() += more;
    }

    /// How many more wait in all, or fewer.
    pub fn more_waiting(&self) -> i64 {
        self.waiting.values().sum()
    }

    /// Something became of a call.
    pub fn call(&mut self, sink: &str, outcome: &'static str) {
        self.calls.push((sink.to_owned(), outcome));
    }

    /// There is news.
    pub fn tell(&mut self, item: Item) {
        self.news.push(item);
    }

    /// There is no room for one more of that rule to wait.
    pub fn is_full(&mut self, rule: &str) {
        self.full = Some(rule.to_owned());
    }

    /// What waits is to be looked at again.
    pub fn changed(&mut self) {
        self.changed = true;
    }
}

/// What is known beside the file.
#[derive(Debug)]
pub struct Beside {
    counts: Mutex<Counts>,
    news: News,
    changed: Notify,
    full: LogLimit,
}

impl Beside {
    /// Nothing yet.
    pub fn new(news: News) -> Self {
        Self { counts: Mutex::default(), news, changed: Notify::new(), full: LogLimit::new(1, QUIET) }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Whole between any two requests.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// How many wait, by rule, when the file was opened.
    pub fn begin(&self, waiting: BTreeMap<String, u64>) {
        self.lock().waiting = waiting;
        self.look_again();
    }

    /// How many wait in all.
    pub fn waiting(&self) -> u64 {
        self.lock().waiting.values().sum()
    }

    /// A request is written.
    pub fn take(&self, tally: Tally) {
        let Tally { resends, waiting, calls, news, changed, full } = tally;
        if !(resends.is_empty() && waiting.is_empty() && calls.is_empty()) {
            let mut counts = self.lock();
            resends.into_iter().for_each(|label| *counts.resends.entry(label).or_default() += 1);
            calls.into_iter().for_each(|label| *counts.calls.entry(label).or_default() += 1);
            for (rule, more) in waiting {
                let waits = counts.waiting.entry(rule).or_default();
                *waits = waits.saturating_add_signed(more);
            }
        }
        if let Some((rule, left_out)) = full.and_then(|rule| Some((rule, self.full.admit()?))) {
            tracing::error!(
                rule,
                left_out,
                most = MOST_WAITING,
                "so many messages wait to be sent again that no more may"
            );
        }
        news.into_iter().for_each(|item| self.news.tell(item));
        if changed {
            self.look_again();
        }
    }

    /// Whoever waits for changes looks.
    pub fn look_again(&self) {
        self.changed.notify_one();
    }

    /// Returns when there was a change since the last time. Cancel-safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
