//! Which refusals are told in the log, and when: the first of a kind at once, the rest of a burst together, ten seconds
//! later at most. Nothing is left out: the counts of the lines add up to what was refused. Pure, but for its own state.
//!
//! A kind is a source, or a path elsewhere, with a reason. There is a bounded number of them: sources are those of the
//! config, paths those that [`Elsewhere`](super::elsewhere::Elsewhere) tells apart. Of what strangers cause, a bounded
//! number of lines is told in a window, and the rest in one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sink_api::Timestamp;

use super::counts::Reason;
use super::elsewhere::OTHER;
use crate::news::{self, Item};

/// For how long what follows a line is held back.
const WINDOW: Duration = Duration::from_secs(10);
/// Most lines in a window that are about paths which no source has, and look like nobody's mistake.
const MOST_STRANGERS: usize = 8;

/// One refusal, or several of a kind, as a line tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The source, where there is one.
    pub source: Option<Arc<str>>,
    /// Its path; else the path by which the request is counted.
    pub path: Arc<str>,
    /// The method; empty where there was none. The last one's.
    pub method: Arc<str>,
    /// Why.
    pub reason: Reason,
    /// The answer; 0 where there was none. The last one's.
    pub status: u16,
    /// The client's address. The last one's.
    pub remote: Arc<str>,
    /// What more there is to say of it. The last one's.
    pub text: Arc<str>,
    /// Whether it looks like a sender's mistake, or is about a source.
    pub is_kin: bool,
    /// How many.
    pub count: u64,
    /// When the first one came.
    pub first: Timestamp,
    /// When the last one came.
    pub last: Timestamp,
}

type Kind = (Option<Arc<str>>, Arc<str>, Reason);

impl Refused {
    fn kind(&self) -> Kind {
        (self.source.clone(), Arc::clone(&self.path), self.reason)
    }

    /// The same as a piece of news.
    pub fn as_news(&self) -> Item {
        let Self { source, path, method, reason, status, remote, text, count, first, last, .. } = self;
        let subject = source.as_deref().unwrap_or(path);
        let text = match count {
            1 => format!("a request at {path} was refused with status {status}: {text}"),
            _ => format!("{count} requests at {path} were refused, the last one with status {status}: {text}"),
        };
        let item = Item::new(news::Kind::RequestRefused, subject, text)
            .reason(reason.word())
            .times(*count)
            .between(*first, *last);
        let item = item.with("path", &**path).with("method", &**method).with("status", *status);
        let item = item.with("remote", &**remote);
        if let Some(source) = source { item.with("source", &**source) } else { item }
    }
}

/// What is held back of one kind.
struct Held {
    /// When its next line may be told.
    due: Instant,
    rest: Option<Refused>,
}

/// What is held back, by kind.
#[derive(Default)]
pub(super) struct HeldBack {
    kinds: HashMap<Kind, Held>,
    /// Lines about strangers' paths in the window that ends then.
    strangers: Option<(Instant, usize)>,
}

impl HeldBack {
    /// Takes note of one refusal. Gives it back where it is to be told at once.
    pub fn note(&mut self, refused: Refused, now: Instant) -> Option<Refused> {
        let kind = refused.kind();
        if let Some(held) = self.kinds.get_mut(&kind) {
            let (before, first) = held.rest.as_ref().map_or((0, refused.first), |rest| (rest.count, rest.first));
            // Whom others surround is not hidden by them.
            let kin = held.rest.take().filter(|rest| rest.is_kin && !refused.is_kin);
            let (text, is_kin) = kin.map_or((refused.text, refused.is_kin), |rest| (rest.text, true));
            held.rest = Some(Refused { count: before + refused.count, first, text, is_kin, ..refused });
            return None;
        }
        let is_told = refused.is_kin || self.has_room(now);
        let (rest, told) = if is_told { (None, Some(refused)) } else { (Some(refused), None) };
        self.kinds.insert(kind, Held { due: now + WINDOW, rest });
        told
    }

    /// Whether one more line about a stranger's path may be told, which is then counted.
    fn has_room(&mut self, now: Instant) -> bool {
        let (end, told) = self.strangers.filter(|(end, _)| now < *end).unwrap_or((now + WINDOW, 0));
        self.strangers = Some((end, told + usize::from(told < MOST_STRANGERS)));
        told < MOST_STRANGERS
    }

    /// What is to be told now of what was held back; all of it, where nobody will ask again.
    pub fn due(&mut self, now: Instant, all: bool) -> Vec<Refused> {
        let mut told = Vec::new();
        self.kinds.retain(|_, held| {
            if now < held.due && !all {
                return true;
            }
            held.due = now + WINDOW;
            let rest = held.rest.take();
            let is_quiet = rest.is_none();
            told.extend(rest);
            // A kind that was quiet for a window is told at once when it comes again.
            !is_quiet
        });
        let (mut lines, mut strangers): (Vec<_>, Vec<_>) = told.into_iter().partition(|refused| refused.is_kin);
        strangers.sort_by_key(|refused| std::cmp::Reverse(refused.count));
        for refused in strangers {
            if self.has_room(now) {
                lines.push(refused);
                continue;
            }
            match lines.iter_mut().find(|sum| &*sum.path == OTHER && sum.reason == refused.reason) {
                Some(sum) => {
                    sum.count += refused.count;
                    (sum.first, sum.last) = (sum.first.min(refused.first), sum.last.max(refused.last));
                }
                None => lines.push(Refused { path: OTHER.into(), ..refused }),
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(source: Option<&str>, path: &str, remote: &str) -> Refused {
        Refused {
            source: source.map(Into::into),
            path: path.into(),
            method: "POST".into(),
            reason: if source.is_some() { Reason::Wrong } else { Reason::UnknownPath },
            status: if source.is_some() { 401 } else { 404 },
            remote: remote.into(),
            text: "".into(),
            is_kin: source.is_some(),
            count: 1,
            first: Timestamp::UNIX_EPOCH,
            last: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_of_a_burst_with_its_count_though_nothing_else_comes() {
        let (mut held, began) = (HeldBack::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let note = |held: &mut HeldBack, n: u64| held.note(refused(Some("s"), "/s", &n.to_string()), at(n));
        assert_eq!(note(&mut held, 0).map(|line| line.count), Some(1));
        assert_eq!((1..7).filter_map(|n| note(&mut held, n)).count(), 0);
        assert_eq!(held.due(at(9), false), []);
        let rest = held.due(at(10), false);
        assert_eq!(rest, [Refused { count: 6, ..refused(Some("s"), "/s", "6") }]);
        // Within the window that this line has begun.
        assert_eq!(note(&mut held, 12), None);
        assert_eq!(held.due(at(20), false).len(), 1);
        assert_eq!(held.due(at(30), false), []);
        assert!(note(&mut held, 31).is_some(), "it was quiet for a window");
    }

    #[test]
    fn a_reason_or_a_source_of_its_own_is_a_line_of_its_own() {
        let (mut held, now) = (HeldBack::default(), Instant::now());
        let other = Refused { reason: Reason::Missing, ..refused(Some("s"), "/s", "r") };
        for one in [refused(Some("s"), "/s", "r"), other, refused(Some("t"), "/t", "r"), refused(None, "/x", "r")] {
            assert!(held.note(one.clone(), now).is_some());
            assert!(held.note(one, now).is_none());
        }
        assert_eq!(held.due(now, false), []);
        assert_eq!(held.due(now, true).len(), 4, "a stop tells everything");
        assert_eq!(held.due(now, true), []);
    }

    #[test]
    fn strangers_cause_few_lines_and_every_one_of_their_requests_is_in_one() {
        let (mut held, began) = (HeldBack::default(), Instant::now());
        let mut lines = Vec::new();
        for n in 0..640 {
            lines.extend(held.note(refused(None, &format!("/{}", n % 64), "r"), began));
        }
        assert_eq!(lines.len(), MOST_STRANGERS);
        lines.extend(held.due(began + WINDOW, false));
        assert_eq!(lines.len(), 2 * MOST_STRANGERS + 1);
        assert_eq!(lines.iter().map(|line| line.count).sum::<u64>(), 640);
        assert_eq!(lines.last().map(|line| &*line.path), Some(OTHER));
        let kin = Refused { is_kin: true, ..refused(None, "/webhooks/interact", "r") };
        assert!(held.note(kin, began + WINDOW).is_some(), "a sender's mistake is told at once");
    }
}
