//! Requests to paths that no source has, counted by path. Strangers try many: so many paths are told apart, for as long
//! as the ledger remembers, and all further ones are one ([`OTHER`]). A part of the places is kept for paths that look
//! like a sender's own mistake, so that a stranger cannot hide it by trying others first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counts::{ByReason, Reason};

/// Most paths that are told apart.
pub const MOST_PATHS: usize = 64;
/// How many of them may be paths that look like nobody's mistake.
const MOST_STRANGERS: usize = 48;
/// What stands for all further paths, and where there is none.
pub const OTHER: &str = "other";

/// What was refused elsewhere.
#[derive(Default)]
pub struct Elsewhere {
    paths: Mutex<Paths>,
    by_reason: ByReason,
}

#[derive(Default)]
struct Paths {
    counts: HashMap<Arc<str>, u64>,
    strangers: usize,
    other: u64,
}

impl Paths {
    /// Counts some for a path. Gives by which name.
    fn add(&mut self, path: &str, is_kin: bool, count: u64) -> Arc<str> {
        if let Some((own, counted)) = self.counts.get_key_value(path).map(|(own, counted)| (Arc::clone(own), *counted))
        {
            self.counts.insert(Arc::clone(&own), counted + count);
            return own;
        }
        let has_room = self.counts.len() < MOST_PATHS && (is_kin || self.strangers < MOST_STRANGERS);
        if path == OTHER || !has_room {
            self.other += count;
            return OTHER.into();
        }
        self.strangers += usize::from(!is_kin);
        let own: Arc<str> = path.into();
        self.counts.insert(Arc::clone(&own), count);
        own
    }
}

impl Paths {
    /// Adds what was counted for a path before. It has a place of its own whosever it is, as it had one then.
    fn restore(&mut self, path: &str, is_kin: bool, count: u64) {
        let is_new = path != OTHER && !self.counts.contains_key(path) && self.counts.len() < MOST_PATHS;
        if is_new {
            self.strangers += usize::from(!is_kin);
            self.counts.insert(path.into(), count);
        } else {
            self.add(path, is_kin, count);
        }
    }
}

impl Elsewhere {
    /// One more, at a path as it is shown. `is_kin`: it looks like a sender's mistake. Gives by which name it counts.
    pub(super) fn add(&self, path: &str, is_kin: bool, reason: Reason) -> Arc<str> {
        self.by_reason.add(reason);
        self.paths().add(path, is_kin, 1)
    }

    /// Adds what earlier lives of the daemon have counted.
    pub(super) fn continues(&self, before: &[(String, u64)], is_kin: impl Fn(&str) -> bool) {
        let mut paths = self.paths();
        for (path, count) in before {
            paths.restore(path, is_kin(path), *count);
        }
    }

    /// How many so far, in this life and those before, by path; the rest under [`OTHER`].
    pub fn totals(&self) -> Vec<(Arc<str>, u64)> {
        let paths = self.paths();
        let mut all: Vec<_> = paths.counts.iter().map(|(path, count)| (Arc::clone(path), *count)).collect();
        if paths.other > 0 {
            all.push((OTHER.into(), paths.other));
        }
        all
    }

    /// How many since the daemon started, by reason.
    pub fn by_reason(&self) -> &ByReason {
        &self.by_reason
    }

    fn paths(&self) -> MutexGuard<'_, Paths> {
        // Valid whoever panicked: what may be lost is a count.
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_who_tries_everything_hides_no_mistake_and_takes_no_memory() {
        let elsewhere = Elsewhere::default();
        for n in 0..1000 {
            elsewhere.add(&format!("/{n}"), false, Reason::UnknownPath);
        }
        assert_eq!(&*elsewhere.add("/webhooks/interact", true, Reason::UnknownPath), "/webhooks/interact");
        for n in 0..1000 {
            elsewhere.add(&format!("/webhooks/interakt{n}"), true, Reason::Method);
        }
        let all = elsewhere.totals();
        assert_eq!((all.len(), all.iter().map(|(_, count)| count).sum::<u64>()), (MOST_PATHS + 1, 2001));
        let of = |path: &str| all.iter().find(|(own, _)| &**own == path).map(|(_, count)| *count);
        assert_eq!((of("/0"), of("/48"), of("/webhooks/interact")), (Some(1), None, Some(1)));
        let by_reason = elsewhere.by_reason();
        assert_eq!((by_reason.get(Reason::UnknownPath), by_reason.get(Reason::Method)), (1001, 1000));
    }

    #[test]
    fn what_earlier_lives_have_counted_is_added_whenever_it_is_told() {
        let elsewhere = Elsewhere::default();
        elsewhere.add("/a", false, Reason::UnknownPath);
        let before = [("/a".to_owned(), 5), ("/b".to_owned(), 2), (OTHER.to_owned(), 7)];
        elsewhere.continues(&before, |_| false);
        elsewhere.add("/b", false, Reason::UnknownPath);
        let mut all: Vec<(String, u64)> =
            elsewhere.totals().into_iter().map(|(path, count)| (path.to_string(), count)).collect();
        all.sort();
        assert_eq!(all, [("/a".to_owned(), 6), ("/b".to_owned(), 3), (OTHER.to_owned(), 7)]);
        assert_eq!(elsewhere.by_reason().get(Reason::UnknownPath), 2, "this life's alone");
    }

    #[test]
    fn paths_keep_their_places_over_restarts_whosever_they_are() {
        let before: Vec<_> = (0..MOST_PATHS).map(|n| (format!("/{n}"), 1)).chain([(OTHER.to_owned(), 9)]).collect();
        let elsewhere = Elsewhere::default();
        elsewhere.continues(&before, |_| false);
        let mut all: Vec<_> = elsewhere.totals().into_iter().map(|(path, count)| (path.to_string(), count)).collect();
        let mut wanted = before;
        all.sort();
        wanted.sort();
        assert_eq!(all, wanted);
        assert_eq!(&*elsewhere.add("/more", false, Reason::UnknownPath), OTHER);
    }
}
