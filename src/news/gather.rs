//! Sums up what is told: the first piece of its kind, subject and reason goes at once, what follows within ten seconds
//! goes as one at their end. Pure: the caller brings the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sink_api::Timestamp;

use super::{Item, Kind, Notice};

/// One event for what is told within this time, beside the first.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Most kinds, subjects and reasons that are told apart within [`WINDOW`]; what comes beyond is summed up by kind.
pub const MOST_APART: usize = 100;
/// The same of all other kinds, whose subjects are those of the config.
const MOST_OURS: usize = 1000;
/// The subject of what is not told apart.
pub const OTHER: &str = "other";

/// What is told apart. Kinds that undo each other are one, whatever their reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    topic: &'static str,
    subject: String,
    reason: String,
}

impl Key {
    fn of(item: &Item) -> Self {
        let (topic, reason) = match item.kind.pair() {
            Some(pair) => (pair, ""),
            None => (item.kind.name(), item.reason.as_str()),
        };
        Self { topic, subject: item.subject.clone(), reason: reason.to_owned() }
    }
}

/// Ten seconds after something was sent.
#[derive(Debug)]
struct Held {
    until: Instant,
    /// What is held back; one of each kind, at most two.
    notices: Vec<Notice>,
}

/// What was told and is not sent yet.
#[derive(Debug, Default)]
pub(super) struct Gather {
    held: HashMap<Key, Held>,
    /// What goes at once: at most one for each of `held`.
    ready: Vec<Notice>,
}

impl Gather {
    /// Takes in a piece of news.
    pub fn take_in(&mut self, item: Item, now: Instant, time: Timestamp) {
        let mut notice = Notice::of(item, time);
        let mut key = Key::of(&notice.item);
        if !self.held.contains_key(&key) && !self.has_room(notice.item.kind) {
            notice.merge_into_other();
            key = Key::of(&notice.item);
        }
        match self.held.get_mut(&key) {
            Some(held) => match held.notices.iter_mut().find(|held| held.item.kind == notice.item.kind) {
                Some(before) => before.add(notice),
                None => held.notices.push(notice),
            },
            None => {
                self.held.insert(key, Held { until: now + WINDOW, notices: vec![] });
                self.ready.push(notice);
            }
        }
    }

    /// Whether one more subject of that kind may be told apart. Strangers choose the subjects of refused requests,
    /// which take no room from the others.
    fn has_room(&self, kind: Kind) -> bool {
        let refused = Kind::RequestRefused;
        let strangers = self.held.keys().filter(|key| key.topic == refused.name()).count();
        if kind == refused { strangers < MOST_APART } else { self.held.len() - strangers < MOST_OURS }
    }

    /// What is to be sent now, in the order in which it was told last.
    pub fn due(&mut self, now: Instant) -> Vec<Notice> {
        let mut due = std::mem::take(&mut self.ready);
        self.held.retain(|_, held| {
            if held.until > now {
                return true;
            }
            let is_silent = held.notices.is_empty();
            due.append(&mut held.notices);
            held.until = now + WINDOW;
            !is_silent
        });
        in_order(due)
    }

    /// When something is due, where anything is or will be.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        if self.ready.is_empty() { self.held.values().map(|held| held.until).min() } else { Some(now) }
    }

    /// Everything that is not sent yet.
    pub fn take_all(&mut self) -> Vec<Notice> {
        let mut all = std::mem::take(&mut self.ready);
        self.held.drain().for_each(|(_, held)| all.extend(held.notices));
        in_order(all)
    }
}

fn in_order(mut notices: Vec<Notice>) -> Vec<Notice> {
    notices.sort_by_key(|notice| notice.last);
    notices
}

impl Notice {
    fn of(item: Item, time: Timestamp) -> Self {
        let [first, last] = item.when.unwrap_or([time; 2]);
        Self { item, first, last, pieces: 1 }
    }

    fn add(&mut self, later: Self) {
        let count = self.item.count.saturating_add(later.item.count);
        self.item = Item { count, ..later.item };
        self.last = later.last;
        self.pieces += later.pieces;
    }

    fn merge_into_other(&mut self) {
        self.item.text = format!("too much is told to tell all of it; this is the last: {}", self.item.text);
        self.item.subject = OTHER.to_owned();
        self.item.reason.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clock(Instant);

    impl Clock {
        fn at(&self, seconds: u64) -> Instant {
            self.0 + Duration::from_secs(seconds)
        }
    }

    fn tell(gather: &mut Gather, clock: &Clock, seconds: u64, item: Item) {
        let time = Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
        gather.take_in(item, clock.at(seconds), time);
    }

    fn down(reason: &str) -> Item {
        Item::new(Kind::SinkDown, "crm", format!("down: {reason}")).reason(reason)
    }

    fn shown(notices: &[Notice]) -> Vec<(Kind, u64, i64, i64)> {
        let one = |n: &Notice| (n.item.kind, n.item.count, n.first.as_second(), n.last.as_second());
        notices.iter().map(one).collect()
    }

    #[test]
    fn the_first_goes_at_once_and_the_rest_of_ten_seconds_as_one_with_its_count() {
        let (mut gather, clock) = (Gather::default(), Clock(Instant::now()));
        let refused = |n: u64| Item::new(Kind::RequestRefused, "interakt", "x").reason("wrong").times(n);
        tell(&mut gather, &clock, 0, refused(1));
        assert_eq!(gather.next(clock.at(0)), Some(clock.at(0)));
        assert_eq!(shown(&gather.due(clock.at(0))), [(Kind::RequestRefused, 1, 0, 0)]);
        tell(&mut gather, &clock, 3, refused(2));
        tell(&mut gather, &clock, 9, refused(5));
        assert_eq!((shown(&gather.due(clock.at(9))), gather.next(clock.at(9))), (vec![], Some(clock.at(10))));
        assert_eq!(shown(&gather.due(clock.at(10))), [(Kind::RequestRefused, 7, 3, 9)]);
        tell(&mut gather, &clock, 11, refused(1));
        assert_eq!(shown(&gather.due(clock.at(19))), [], "ten seconds after that, too");
        assert_eq!(shown(&gather.due(clock.at(20))), [(Kind::RequestRefused, 1, 11, 11)]);
        assert_eq!(shown(&gather.due(clock.at(30))), []);
        assert_eq!(gather.next(clock.at(30)), None, "what is quiet is forgotten");
        tell(&mut gather, &clock, 31, refused(1));
        assert_eq!(shown(&gather.due(clock.at(31))).len(), 1, "at once again");
    }

    #[test]
    fn other_reasons_and_subjects_wait_for_nobody() {
        let (mut gather, clock) = (Gather::default(), Clock(Instant::now()));
        for (subject, reason) in [("a", "wrong"), ("a", "missing"), ("b", "wrong")] {
            tell(&mut gather, &clock, 0, Item::new(Kind::RequestRefused, subject, "").reason(reason));
        }
        assert_eq!(gather.due(clock.at(0)).len(), 3);
    }

    /// An alarm that is raised by one and ended by the other must not stay raised.
    #[test]
    fn what_undoes_each_other_is_sent_in_the_order_in_which_it_was_told_last() {
        let (mut gather, clock) = (Gather::default(), Clock(Instant::now()));
        let up = || Item::new(Kind::SinkUp, "crm", "up");
        tell(&mut gather, &clock, 0, down("connect"));
        assert_eq!(gather.due(clock.at(0)).len(), 1);
        tell(&mut gather, &clock, 5, up());
        tell(&mut gather, &clock, 6, down("timeout"));
        tell(&mut gather, &clock, 7, down("connect"));
        tell(&mut gather, &clock, 8, up());
        let due = gather.due(clock.at(10));
        assert_eq!(shown(&due), [(Kind::SinkDown, 2, 6, 7), (Kind::SinkUp, 2, 5, 8)]);
        assert_eq!(due[0].item.reason, "connect", "the last one's");
    }

    #[test]
    fn a_flood_of_subjects_is_summed_up_and_no_piece_is_lost() {
        let (mut gather, clock) = (Gather::default(), Clock(Instant::now()));
        for n in 0..10_000 {
            let item = Item::new(Kind::RequestRefused, format!("/{n}"), "404").reason("unknown");
            tell(&mut gather, &clock, 0, item);
        }
        tell(&mut gather, &clock, 0, down("connect"));
        let mut all = gather.due(clock.at(0));
        assert_eq!(all.len(), MOST_APART + 2, "one of each kind beyond the bound");
        all.extend(gather.take_all());
        assert_eq!(all.iter().map(|n| n.item.count).sum::<u64>(), 10_001);
        assert!(all.iter().any(|n| n.item.subject == OTHER && n.item.text.ends_with("404")));
        assert_eq!(gather.next(clock.at(0)), None);
    }

    #[test]
    fn strangers_who_are_refused_at_many_paths_take_no_name_from_a_sink() {
        let (mut gather, now, time) = (Gather::default(), Instant::now(), Timestamp::UNIX_EPOCH);
        for n in 0..300 {
            gather.take_in(Item::new(Kind::RequestRefused, format!("/{n}"), "refused"), now, time);
        }
        gather.take_in(Item::new(Kind::SinkDown, "crm", "down"), now, time);
        let due = gather.take_all();
        let down = due.iter().find(|notice| notice.item.kind == Kind::SinkDown).map(|notice| &*notice.item.subject);
        // Of "other" the first goes at once, and the rest as one.
        assert_eq!((down, due.len()), (Some("crm"), MOST_APART + 3));
        let sum: u64 = due.iter().map(|notice| notice.item.count).sum();
        assert_eq!(sum, 301);
    }
}
