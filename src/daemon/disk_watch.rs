//! Looks at the room that the journal has, and tells when it runs out: early, so that the news still finds room itself.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::warn;

use crate::journal::Journal;
use crate::news::{Item, Kind, News};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(2);
/// Told when owed events take this share of `max_size` (percent), and again only after they took less than the second.
const OWED: (u64, u64) = (80, 70);
/// Told when less than twice `min_free` is free, and again only after there was more than three times as much.
const FREE: (u64, u64) = (2, 3);
/// The reason of an alarm about free space.
const FREE_RUNS_OUT: &str = "free";
/// The reason of an alarm about what is owed.
const OWED_FILLS: &str = "max_size";
/// While it lasts, it is told again so often.
const REMIND: Duration = Duration::from_secs(3600);

/// What was seen at one look.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Bytes of segments with events that are owed, and the most the journal may take.
    owed: u64,
    max_size: u64,
    /// Bytes free on its disk, where the system says so, and the least that is to be.
    free: Option<u64>,
    min_free: u64,
    /// Bytes that are accepted and not on disk.
    at_risk: u64,
    /// Whether the journal cannot write, so that it gives back what sources let it refuse.
    refuses: bool,
}

/// What is wrong with the room that the journal has, where something is.
#[derive(Debug, Default)]
pub(super) struct DiskTrouble(Mutex<Option<String>>);

impl DiskTrouble {
    /// A sentence for people.
    pub fn text(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        // Valid whoever panicked: it is replaced whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn owed_percent(&self) -> u64 {
        self.owed.saturating_mul(100) / self.max_size.max(1)
    }

    fn owed_text(&self) -> String {
        let Self { owed, max_size, .. } = self;
        format!(
            "the journal is {} % full of events that sinks are still owed ({} of {}): a sink does not keep up",
            self.owed_percent(),
            size(*owed),
            size(*max_size)
        )
    }

    fn free_text(&self) -> String {
        let (free, min_free) = (self.free.unwrap_or_default(), self.min_free);
        let (free, min_free) = (size(free), size(min_free));
        format!("the journal's disk has {free} free; below min_free ({min_free}) it counts as full")
    }
}

/// A size as people read it.
fn size(bytes: u64) -> impl Display {
    bytesize::ByteSize(bytes).display().iec()
}

/// Something to be told, once when it begins and then now and then.
#[derive(Debug, Default)]
struct Alarm(Option<Instant>);

impl Alarm {
    /// Whether it is to be told now. It begins where `begins` holds, and has ended where `lasts` does not.
    fn is_due(&mut self, begins: bool, lasts: bool, now: Instant) -> bool {
        if !lasts {
            self.0 = None;
        }
        let is_on = self.0.is_some() || begins;
        let due = is_on && self.0.is_none_or(|told| now.duration_since(told) >= REMIND);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

/// The alarms, each with its reason.
#[derive(Debug, Default)]
struct Alarms {
    owed: Alarm,
    free: Alarm,
    failing: Alarm,
}

impl Alarms {
    /// What is wrong with the room that there is, after a look, where something is.
    fn trouble(&self, seen: Seen) -> Option<String> {
        let free = self.free.0.map(|_| seen.free_text());
        free.or_else(|| self.owed.0.map(|_| seen.owed_text()))
    }

    /// What is to be told of what was seen of the journal: of what `max_size` bounds, and of the folder on its disk.
    fn judge(&mut self, seen: Seen, [place, folder]: [&str; 2], now: Instant) -> Vec<Item> {
        let mut told = Vec::new();
        let item = |of: &str, text: String, reason: &str| Item::new(Kind::DiskFilling, of, text).reason(reason);
        let Seen { owed, max_size, free, min_free, at_risk, refuses } = seen;
        let percent = seen.owed_percent();
        if self.owed.is_due(percent >= OWED.0, percent >= OWED.1, now) {
            told.push(item(place, seen.owed_text(), OWED_FILLS).with("used", owed).with("of", max_size));
        }
        if let Some(free) = free {
            let is_below = |times: u64| min_free > 0 && free < min_free.saturating_mul(times);
            if self.free.is_due(is_below(FREE.0), is_below(FREE.1), now) {
                told.push(item(folder, seen.free_text(), FREE_RUNS_OUT).with("free", free).with("min_free", min_free));
            }
        }
        let fails = at_risk > 0 || refuses;
        if self.failing.is_due(fails, fails, now) {
            let text = match at_risk {
                0 => "the journal cannot be written: webhooks are refused".to_owned(),
                _ => format!("the journal cannot be written: {at_risk} bytes are accepted and not on disk"),
            };
            told.push(item(folder, text, "journal_failing").with("at_risk", at_risk));
        }
        told
    }
}

/// Looks until this is dropped.
pub(super) async fn run(
    journal: Arc<dyn Journal>,
    (folder, place): (PathBuf, String),
    [min_free, max_size]: [u64; 2],
    trouble: Arc<DiskTrouble>,
    news: News,
) {
    let (mut alarms, mut asking) = (Alarms::default(), None);
    loop {
        let stat = journal.stat().await.unwrap_or_default();
        let seen = Seen {
            owed: stat.owed_bytes.unwrap_or_default(),
            max_size,
            free: free(&folder, &mut asking).await,
            min_free,
            at_risk: journal.at_risk(),
            refuses: journal.refuses().0,
        };
        for item in alarms.judge(seen, [&place, &folder.display().to_string()], Instant::now()) {
            // The journal itself logs the others; one that others keep does not know what is owed of it.
            if item.reason == FREE_RUNS_OUT || (item.reason == OWED_FILLS && journal.is_shared()) {
                warn!("{}", item.text);
            }
            news.tell(item);
        }
        *trouble.lock() = alarms.trouble(seen);
        tokio::time::sleep(EVERY).await;
    }
}

/// Bytes free on the disk of a folder. A disk that does not answer keeps one thread until it does; meanwhile nothing is
/// known.
async fn free(folder: &Path, asking: &mut Option<JoinHandle<Option<u64>>>) -> Option<u64> {
    let asked = asking.get_or_insert_with(|| {
        let folder = folder.to_owned();
        let bytes = |stat: rustix::fs::StatVfs| stat.f_bavail.saturating_mul(stat.f_frsize);
        tokio::task::spawn_blocking(move || rustix::fs::statvfs(&folder).ok().map(bytes))
    });
    let answer = timeout(EVERY, asked).await.ok()?;
    *asking = None;
    answer.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alarm_is_told_when_it_begins_and_again_after_it_has_ended() {
        let (mut alarms, start) = (Alarms::default(), Instant::now());
        let mut reasons = |seen: Seen, seconds: u64| -> Vec<String> {
            let told = alarms.judge(seen, ["/j", "/j"], start + Duration::from_secs(seconds));
            told.into_iter().map(|item| item.reason).collect()
        };
        let well = Seen { max_size: 100, free: Some(100), min_free: 10, ..Seen::default() };
        assert_eq!(reasons(well, 0), Vec::<String>::new());
        assert_eq!(reasons(Seen { owed: 80, ..well }, 1), ["max_size"]);
        assert_eq!(reasons(Seen { owed: 75, ..well }, 2), Vec::<String>::new());
        assert_eq!(reasons(Seen { owed: 90, ..well }, 3), Vec::<String>::new(), "it has not ended");
        assert_eq!(reasons(Seen { owed: 69, ..well }, 4), Vec::<String>::new());
        assert_eq!(reasons(Seen { owed: 80, free: Some(19), ..well }, 5), ["max_size", "free"]);
        assert_eq!(reasons(Seen { free: Some(29), ..well }, 6), Vec::<String>::new());
        assert_eq!(reasons(Seen { free: Some(19), at_risk: 1, ..well }, 7), ["journal_failing"]);
        assert_eq!(reasons(Seen { refuses: true, ..well }, 8), Vec::<String>::new(), "the same failure");
        assert_eq!(reasons(well, 9), Vec::<String>::new());
        assert_eq!(reasons(Seen { refuses: true, ..well }, 10), ["journal_failing"]);
        assert_eq!(reasons(Seen { refuses: true, ..well }, 10 + REMIND.as_secs()), ["journal_failing"], "it lasts");
        let unbounded = Seen { min_free: 0, free: Some(0), ..well };
        assert_eq!(reasons(unbounded, 9999), Vec::<String>::new(), "min_free = 0 switches it off");
    }

    #[test]
    fn what_is_wrong_is_known_for_as_long_as_it_lasts() {
        let (mut alarms, now) = (Alarms::default(), Instant::now());
        let mut trouble = |seen: Seen| {
            alarms.judge(seen, ["/j", "/j"], now);
            alarms.trouble(seen).unwrap_or_default()
        };
        let well = Seen { max_size: 100, free: Some(100), min_free: 10, ..Seen::default() };
        assert_eq!(trouble(well), "");
        assert!(trouble(Seen { owed: 80, ..well }).starts_with("the journal is 80 % full"));
        assert!(trouble(Seen { owed: 75, ..well }).starts_with("the journal is 75 % full"));
        assert!(trouble(Seen { owed: 75, free: Some(19), ..well }).contains("has 19 B free"));
        assert_eq!(trouble(well), "");
    }
}
