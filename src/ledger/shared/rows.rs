//! What is held of a sink in a shard, as rows of Kafka. Pure.
//!
//! | key | what | written |
//! | --- | --- | --- |
//! | `b/<delivery id>` | a delivery's body: what stays as long as it is held | once |
//! | `s/<delivery id>` | its state: what a try changes | at each try |
//! | `r/<replay>` | how far a replay has come in the shard, and what became of that | with each of its steps |
//!
//! A delivery is held where both its rows are there. Both go together when it is over.

use std::sync::Arc;

use bytes::Bytes;

use super::fields::{Reader, RowError, Writer};
use crate::journal::{Made, Position, Record};
use crate::ledger::parked::How;
use crate::ledger::{Counters, HeldDelivery, Spent, Try};

/// Bytes that a row's short fields are taken to need.
const FIELDS: usize = 256;

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The body of the delivery of that id.
    Body(String),
    /// Its state.
    State(String),
    /// A replay.
    Progress(i64),
}

impl Key {
    /// Reads it; `None` where this build knows no such row.
    pub fn read(text: &str) -> Option<Self> {
        match text.split_once('/')? {
            ("b", id) => Some(Self::Body(id.to_owned())),
            ("s", id) => Some(Self::State(id.to_owned())),
            ("r", replay) => replay.parse().ok().map(Self::Progress).filter(|key| key.to_string() == text),
            _ => None,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Body(id) => write!(f, "b/{id}"),
            Self::State(id) => write!(f, "s/{id}"),
            Self::Progress(replay) => write!(f, "r/{replay}"),
        }
    }
}

/// What stays of a delivery as long as it is held. Fields as [`HeldDelivery`] has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Where its event stands.
    pub position: Position,
    /// Event type.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// Ordering key at the sink.
    pub key: String,
    /// Event accepted, microseconds.
    pub accepted: i64,
    /// The event's id.
    pub event_id: [u8; 16],
    /// The event's source.
    pub source: String,
    /// The event's key.
    pub event_key: String,
    /// The event's payload.
    pub event: Bytes,
    /// The rendered payload, where it is not the body.
    pub payload: Option<Bytes>,
    /// The rendered target.
    pub target: String,
    /// The replay that brought it, where one did.
    pub replay: Option<i64>,
}

/// What a try changes of a delivery. Fields as [`HeldDelivery`] has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// When it is to be tried again, microseconds; `None`: it is given up.
    pub due: Option<i64>,
    /// What is to be done with it then.
    pub how: How,
    /// How the last try went.
    pub tried: Try,
}

/// How far a replay has come in a shard. Places are of that shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Where it began.
    pub first: u64,
    /// Where it goes on.
    pub at: u64,
    /// Where it ends.
    pub until: u64,
    /// A pattern over the type; all where unset.
    pub kind: Option<String>,
    /// The subject; all where unset.
    pub subject: Option<String>,
    /// `300/min`.
    pub rate: Option<String>,
    /// Only what the sink has not.
    pub only_missing: bool,
    /// Deliveries it came to so far.
    pub fed: u64,
    /// What became of it so far.
    pub counts: Counters,
}

impl Body {
    /// Of a delivery that this replay brings, where one does.
    pub fn of(held: &HeldDelivery, replay: Option<i64>) -> Self {
        Self {
            position: held.position,
            kind: held.kind.clone(),
            subject: held.subject.clone(),
            key: held.key.clone(),
            accepted: held.times[0],
            event_id: held.event.id,
            source: held.event.source.to_string(),
            event_key: held.event.key.to_string(),
            event: held.event.payload.clone(),
            payload: held.payload.clone(),
            target: held.target.clone(),
            replay,
        }
    }

    /// In bytes.
    pub fn write(&self) -> Bytes {
        let payload = self.payload.as_ref().map_or(0, Bytes::len);
        let mut row = Writer::new(FIELDS + self.event.len() + payload + self.target.len());
        row.number(self.position.shard.into());
        row.number(self.position.offset);
        [&self.kind, &self.subject, &self.key].into_iter().for_each(|text| row.text(text));
        row.signed(self.accepted);
        row.id(&self.event_id);
        row.text(&self.source);
        row.text(&self.event_key);
        row.bytes(&self.event);
        row.maybe(self.payload.as_ref(), |row, payload| row.bytes(payload));
        row.text(&self.target);
        row.maybe(self.replay, Writer::signed);
        row.finish().into()
    }

    /// From bytes.
    pub fn read(bytes: &Bytes) -> Result<Self, RowError> {
        let mut row = Reader::new(bytes)?;
        let body = Self {
            position: Position { shard: row.short()?, offset: row.number()? },
            kind: row.text()?,
            subject: row.text()?,
            key: row.text()?,
            accepted: row.signed()?,
            event_id: row.id()?,
            source: row.text()?,
            event_key: row.text()?,
            event: bytes.slice_ref(row.bytes()?),
            payload: row.maybe(Reader::bytes)?.map(|payload| bytes.slice_ref(payload)),
            target: row.text()?,
            replay: row.maybe(Reader::signed)?,
        };
        row.finish()?;
        Ok(body)
    }

    /// The delivery of that id, in that state.
    pub fn held(self, id: &str, state: State) -> HeldDelivery {
        let Try { attempts, spent, times: [first, last], code, detail, answer } = state.tried;
        let event = Record {
            id: self.event_id,
            time: self.accepted,
            source: self.source.into(),
            kind: self.kind.as_str().into(),
            key: self.event_key.into(),
            fingerprint: None,
            payload: self.event,
            made: Made::default(),
        };
        HeldDelivery {
            id: id.to_owned(),
            position: self.position,
            kind: self.kind,
            subject: self.subject,
            key: self.key,
            code,
            detail,
            answer,
            attempts,
            times: [self.accepted, first, last],
            event: Arc::new(event),
            payload: self.payload,
            target: self.target,
            due: state.due,
            spent,
        }
    }
}

impl State {
    /// Of a delivery that is held from now on.
    pub fn of(held: &HeldDelivery) -> Self {
        let [_, first, last] = held.times;
        let tried = Try {
            attempts: held.attempts,
            spent: held.spent,
            times: [first, last],
            code: held.code.clone(),
            detail: held.detail.clone(),
            answer: held.answer.clone(),
        };
        Self { due: held.due, how: How::AsItStands, tried }
    }

    /// Whether it is given up.
    pub fn is_dead(&self) -> bool {
        self.due.is_none()
    }

    /// In bytes.
    pub fn write(&self) -> Bytes {
        let Try { attempts, spent, times: [first, last], code, detail, answer } = &self.tried;
        let mut row = Writer::new(FIELDS + detail.len() + answer.as_ref().map_or(0, String::len));
        row.maybe(self.due, Writer::signed);
        row.number(match self.how {
            How::AsItStands => 0,
            How::ByRules => 1,
            How::AsWas => 2,
        });
        [*attempts, spent.attempts, spent.uncounted].into_iter().for_each(|n| row.number(n.into()));
        [spent.micros, *first, *last].into_iter().for_each(|n| row.signed(n));
        row.text(code);
        row.text(detail);
        row.maybe(answer.as_deref(), Writer::text);
        row.finish().into()
    }

    /// From bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, RowError> {
        let mut row = Reader::new(bytes)?;
        let due = row.maybe(Reader::signed)?;
        let how = match row.number()? {
            0 => How::AsItStands,
            1 => How::ByRules,
            2 => How::AsWas,
            _ => return Err(RowError::Damaged),
        };
        let attempts = row.short()?;
        let spent = Spent { attempts: row.short()?, uncounted: row.short()?, micros: row.signed()? };
        let times = [row.signed()?, row.signed()?];
        let (code, detail, answer) = (row.text()?, row.text()?, row.maybe(Reader::text)?);
        row.finish()?;
        Ok(Self { due, how, tried: Try { attempts, spent, times, code, detail, answer } })
    }
}

impl Progress {
    /// Whether the replay has not come to its end in the shard.
    pub fn is_under_way(&self) -> bool {
        self.at < self.until
    }

    /// In bytes.
    pub fn write(&self) -> Bytes {
        let mut row = Writer::new(FIELDS);
        [self.first, self.at, self.until].into_iter().for_each(|place| row.number(place));
        for text in [&self.kind, &self.subject, &self.rate] {
            row.maybe(text.as_deref(), Writer::text);
        }
        row.number(self.only_missing.into());
        let Counters { accepted, delivered, dead, filtered, dropped } = self.counts;
        [self.fed, accepted, delivered, dead, filtered, dropped].into_iter().for_each(|n| row.number(n));
        row.finish().into()
    }

    /// From bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, RowError> {
        let mut row = Reader::new(bytes)?;
        let progress = Self {
            first: row.number()?,
            at: row.number()?,
            until: row.number()?,
            kind: row.maybe(Reader::text)?,
            subject: row.maybe(Reader::text)?,
            rate: row.maybe(Reader::text)?,
            only_missing: row.is()?,
            fed: row.number()?,
            counts: Counters {
                accepted: row.number()?,
                delivered: row.number()?,
                dead: row.number()?,
                filtered: row.number()?,
                dropped: row.number()?,
            },
        };
        row.finish()?;
        Ok(progress)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), "[a-zü/ ]{0,9}"]
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
    }

    fn body() -> impl Strategy<Value = Body> {
        let texts = (text(), text(), text(), text(), text(), text());
        let rest = (any::<[u8; 16]>(), bytes(), prop::option::of(bytes()), any::<Option<i64>>());
        (any::<u32>(), any::<u64>(), any::<i64>(), texts, rest).prop_map(|(shard, offset, accepted, texts, rest)| {
            let (kind, subject, key, source, event_key, target) = texts;
            let (event_id, event, payload, replay) = rest;
            let position = Position { shard, offset };
            Body { position, kind, subject, key, accepted, event_id, source, event_key, event, payload, target, replay }
        })
    }

    fn state() -> impl Strategy<Value = State> {
        let how = prop::sample::select(vec![How::AsItStands, How::ByRules, How::AsWas]);
        let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<i64>(), any::<[i64; 2]>());
        (any::<Option<i64>>(), how, numbers, text(), text(), prop::option::of(text())).prop_map(
            |(due, how, (attempts, nth, uncounted, micros, times), code, detail, answer)| {
                let spent = Spent { attempts: nth, uncounted, micros };
                State { due, how, tried: Try { attempts, spent, times, code, detail, answer } }
            },
        )
    }

    fn progress() -> impl Strategy<Value = Progress> {
        let texts = (prop::option::of(text()), prop::option::of(text()), prop::option::of(text()));
        (any::<[u64; 4]>(), texts, any::<bool>(), any::<[u64; 5]>()).prop_map(
            |(places, texts, only_missing, counts)| {
                let ([first, at, until, fed], (kind, subject, rate)) = (places, texts);
                let [accepted, delivered, dead, filtered, dropped] = counts;
                let counts = Counters { accepted, delivered, dead, filtered, dropped };
                Progress { first, at, until, kind, subject, rate, only_missing, fed, counts }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(body in body(), state in state(), progress in progress()) {
            prop_assert_eq!(Body::read(&body.write()).unwrap(), body.clone());
            prop_assert_eq!(State::read(&state.write()).unwrap(), state.clone());
            prop_assert_eq!(Progress::read(&progress.write()).unwrap(), progress);
            let held = body.clone().held("id", state.clone());
            prop_assert_eq!(Body::of(&held, body.replay), body);
            prop_assert_eq!(State::of(&held), State { how: How::AsItStands, ..state });
        }

        #[test]
        fn whatever_is_read_has_one_form(
            rows in (body(), state(), progress()),
            at in any::<prop::sample::Index>(),
            change in 1..=255_u8,
            cut in any::<bool>(),
        ) {
            for row in [rows.0.write(), rows.1.write(), rows.2.write()] {
                let (mut other, at) = (row.to_vec(), at.index(row.len()));
                if cut { other.truncate(at) } else { other[at] ^= change }
                let other = Bytes::from(other);
                for read in [
                    Body::read(&other).map(|body| body.write()),
                    State::read(&other).map(|state| state.write()),
                    Progress::read(&other).map(|progress| progress.write()),
                ] {
                    prop_assert!(read.is_err() || read.as_ref() == Ok(&other), "{read:?}");
                }
            }
        }

        #[test]
        fn any_bytes_are_a_row_or_damage(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            is_known in any::<bool>(),
        ) {
            if let (Some(first), true) = (bytes.first_mut(), is_known) {
                *first = crate::ledger::shared::fields::VERSION;
            }
            let bytes = Bytes::from(bytes);
            let _ = (Body::read(&bytes), State::read(&bytes), Progress::read(&bytes));
        }
    }

    #[test]
    fn a_row_of_a_later_build_is_told_from_a_damaged_one() {
        let mut row = Progress::default().write().to_vec();
        row[0] = 2;
        assert_eq!(Progress::read(&row), Err(RowError::Later(2)));
        row[0] = 0;
        assert_eq!(Progress::read(&row), Err(RowError::Damaged));
        assert_eq!(State::read(&[]), Err(RowError::Damaged));
        let mut longer = Progress::default().write().to_vec();
        longer.push(0);
        assert_eq!(Progress::read(&longer), Err(RowError::Damaged));
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        for key in [Key::Body("a/b".into()), Key::State(String::new()), Key::Progress(-7)] {
            assert_eq!(Key::read(&key.to_string()), Some(key));
        }
        for text in ["", "b", "x/a", "r/", "r/+1", "r/01", "r/one"] {
            assert_eq!(Key::read(text), None, "{text}");
        }
    }
}
