//! The daemon's own news. Whoever notices something that people want to hear of tells it to [`News`]; the daemon takes
//! it out at the [`Desk`], summed up, and makes events of it that go the way of all events, to the sinks of routes with
//! `source = "hookrelay"`.
//!
//! Telling never waits and never fails, whatever becomes of it: a piece that nobody wants is let go at once, and what
//! is told is bounded (`gather`). [`Kind`] is the list of types.
//!
//! Knows nothing of events, rules or sinks.

mod gather;
mod kind;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Map, Value};
use sink_api::Timestamp;
use tokio::sync::Notify;

pub use gather::{MOST_APART, OTHER, WINDOW};
pub use kind::{COMMANDS, Kind, NAMES, RESEND, SEND, TYPES};

use gather::Gather;

/// The name of the source of these events. It always exists, and only routes that name it match its events.
pub const SOURCE: &str = "hookrelay";
/// What the data of every event has.
pub const ALWAYS: [&str; 6] = ["type", "text", "subject", "count", "first", "last"];

/// Most bytes of a subject; the rest is cut off.
const MAX_SUBJECT: usize = 256;
/// Most bytes of any other text.
const MAX_TEXT: usize = 1024;

/// One piece of news. Pieces of the same kind, subject and reason within [`WINDOW`] become one event with their
/// `count`, `first` and `last`; the last one's text and data stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What happened.
    pub kind: Kind,
    /// Of what: the sink, the source, the path… ([`Kind::subject`]).
    pub subject: String,
    /// Why, as one word; may be empty.
    pub reason: String,
    /// A sentence for people.
    pub text: String,
    /// How often it happened; 1 as a rule.
    pub count: u64,
    /// When it happened first and last, where that was before it is told.
    pub when: Option<[Timestamp; 2]>,
    /// What else belongs to the kind ([`Kind::fields`]).
    pub data: Map<String, Value>,
}

impl Item {
    /// It happened once, for no reason, with no data.
    pub fn new(kind: Kind, subject: impl Into<String>, text: impl Into<String>) -> Self {
        let (subject, text) = (cut(subject.into(), MAX_SUBJECT), cut(text.into(), MAX_TEXT));
        Self { kind, subject, reason: String::new(), text, count: 1, when: None, data: Map::new() }
    }

    /// The same for that reason.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = cut(reason.to_owned(), MAX_SUBJECT);
        self
    }

    /// The same, so often.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// The same, from the first time to the last.
    #[must_use]
    pub fn between(mut self, first: Timestamp, last: Timestamp) -> Self {
        self.when = Some([first, last]);
        self
    }

    /// The same with a further member of the data.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        let value = match value.into() {
            Value::String(text) => Value::String(cut(text, MAX_TEXT)),
            other => other,
        };
        self.data.insert(key.to_owned(), value);
        self
    }
}

/// Shortens a text to so many bytes at most.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub('…'.len_utf8())));
        text.push('…');
    }
    text
}

/// News summed up: what one event tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The last piece, with the count of all.
    pub item: Item,
    /// When the first piece happened.
    pub first: Timestamp,
    /// When the last piece happened.
    pub last: Timestamp,
    pieces: u64,
}

impl Notice {
    /// The event's body: one flat JSON object.
    pub fn body(&self) -> Vec<u8> {
        let Self { item: Item { kind, subject, reason, text, count, data, .. }, first, last, pieces } = self;
        let text = match pieces {
            0 | 1 => text.clone(),
            _ => format!("{text} ({count} in all from {first:.0} to {last:.0})"),
        };
        let mut body = data.clone();
        if !reason.is_empty() {
            body.insert("reason".to_owned(), reason.as_str().into());
        }
        let always: [Value; ALWAYS.len()] = [
            kind.name().into(),
            text.into(),
            subject.as_str().into(),
            (*count).into(),
            format!("{first:.3}").into(),
            format!("{last:.3}").into(),
        ];
        body.extend(ALWAYS.into_iter().map(str::to_owned).zip(always));
        Value::Object(body).to_string().into_bytes()
    }
}

#[derive(Debug, Default)]
struct Shared {
    gather: Mutex<Gather>,
    /// The kinds that anybody wants, by their bits.
    wanted: AtomicU32,
    told: Notify,
}

impl Shared {
    fn gather(&self) -> MutexGuard<'_, Gather> {
        // Whole between any two pieces of news.
        self.gather.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where news is told. Cheap to clone; the default tells nobody.
#[derive(Clone, Debug, Default)]
pub struct News(Option<Arc<Shared>>);

impl News {
    /// Where news is told, and where it is taken out. Nothing is wanted yet.
    pub fn new() -> (Self, Desk) {
        let shared = Arc::<Shared>::default();
        (Self(Some(Arc::clone(&shared))), Desk(shared))
    }

    /// Tells a piece of news. Never waits, never fails: beyond [`MOST_APART`] kinds, subjects and reasons within
    /// [`WINDOW`] the rest is summed up by kind, under the subject [`OTHER`].
    pub fn tell(&self, item: Item) {
        if let Some(shared) = self.0.as_ref().filter(|_| self.wants(item.kind)) {
            shared.gather().take_in(item, Instant::now(), Timestamp::now());
            shared.told.notify_one();
        }
    }

    /// Whether anybody wants news of that kind: where it is dear to put together, ask first.
    pub fn wants(&self, kind: Kind) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.wanted.load(Ordering::Relaxed) & kind.bit() != 0)
    }
}

/// Where news is taken out.
#[derive(Debug)]
pub struct Desk(Arc<Shared>);

impl Desk {
    /// From now on these kinds are wanted; what was told is kept.
    pub fn want(&self, wants: impl Fn(Kind) -> bool) {
        let wanted = Kind::ALL.iter().filter(|kind| wants(**kind)).fold(0, |all, kind| all | kind.bit());
        self.0.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Waits for news that is due, and takes it out. Cancel-safe.
    pub async fn next(&self) -> Vec<Notice> {
        loop {
            let now = Instant::now();
            let (due, next) = {
                let mut gather = self.0.gather();
                (gather.due(now), gather.next(now))
            };
            if !due.is_empty() {
                return due;
            }
            let timer = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.0.told.notified() => {}
                () = timer => {}
            }
        }
    }

    /// Takes out everything that was told, due or not.
    pub fn take_all(&self) -> Vec<Notice> {
        self.0.gather().take_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_wanted_is_taken_in() {
        let (news, desk) = News::new();
        News::default().tell(Item::new(Kind::SinkUp, "a", ""));
        news.tell(Item::new(Kind::SinkUp, "a", ""));
        desk.want(|kind| kind == Kind::SinkDown);
        news.tell(Item::new(Kind::SinkUp, "b", ""));
        news.tell(Item::new(Kind::SinkDown, "c", ""));
        assert!(news.wants(Kind::SinkDown) && !news.wants(Kind::SinkUp));
        let told = desk.next().await;
        assert_eq!(told.iter().map(|notice| notice.item.subject.as_str()).collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn the_body_is_flat_and_no_field_hides_what_every_event_has() {
        let (news, desk) = News::new();
        desk.want(|_| true);
        let long = "é".repeat(MAX_TEXT);
        for n in 0..3 {
            let item = Item::new(Kind::EventsDropped, "crm", "4 deliveries are dropped").reason("max_size").times(4);
            news.tell(item.with("count", "mine").with("detail", long.as_str()).with("n", n));
        }
        let [first, rest]: [Notice; 2] = desk.take_all().try_into().unwrap();
        let read = |notice: &Notice| serde_json::from_slice::<Value>(&notice.body()).unwrap();
        let (first, rest) = (read(&first), read(&rest));
        assert_eq!((&first["type"], &first["subject"]), (&"events.dropped".into(), &"crm".into()));
        assert_eq!((&first["count"], &rest["count"], &rest["n"]), (&4.into(), &8.into(), &2.into()));
        assert_eq!((&first["reason"], &first["text"]), (&"max_size".into(), &"4 deliveries are dropped".into()));
        assert!(rest["text"].as_str().unwrap().contains("(8 in all from "), "{rest}");
        assert!(rest["detail"].as_str().unwrap().len() <= MAX_TEXT);
        for key in ["first", "last"] {
            rest[key].as_str().unwrap().parse::<Timestamp>().unwrap();
        }
    }
}
