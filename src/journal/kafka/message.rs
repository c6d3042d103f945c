//! An event as a message of the topic of events, both ways. Pure: it asks nobody, and does not look into payloads.
//!
//! | part | what |
//! | --- | --- |
//! | key | the event's key. Where that is only the event's id, the fingerprint, so that repeats share a shard |
//! | partition | by the key, [`shard_of`] |
//! | header `v` | `1`: how to read the rest. A reader refuses what is later |
//! | `id`, `t` | the event's UUID; when it was accepted, microseconds since 1970 |
//! | `source`, `type`, `key` | as in the record |
//! | `fp` | the fingerprint, 32 hexadecimal digits, where there is one |
//! | value | the payload |
//!
//! Headers are text, so that Kafka's own tools show them, and a head is read without its payload.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use sink_api::Uuid;

use crate::journal::{Entry, Position, Record};

/// Most bytes of a record as a message: payload, key and headers. Less than a message may have: a row of what a sink
/// holds has the event, and what rules made of it beside that.
pub const MAX_BYTES: usize = 12 << 20;
/// What brokers must take at least, with what they add to a message of [`MAX_BYTES`], or to a row.
pub const MAX_MESSAGE: usize = 17 << 20;

const VERSION: &str = "1";
/// Bytes of a message beside payload and texts, at most: names of headers, id, time, fingerprint, lengths.
const OVERHEAD: usize = 256;
/// Length of an id in text.
const ID: usize = 36;
/// Length of a fingerprint in text.
const FINGERPRINT: usize = 32;

/// Why a message is not read as an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It has no version: another program wrote it.
    #[error("is not an event of hookrelay")]
    Foreign,
    /// A later build wrote it.
    #[error("has format {0}, of a later version")]
    Newer(String),
    /// A header is missing, or says nothing that can be read.
    #[error("has no header `{0}` that can be read")]
    Damaged(&'static str),
}

/// What is known of an event without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'m> {
    /// The event's UUID.
    pub id: [u8; 16],
    /// When it was accepted, microseconds since 1970.
    pub time: i64,
    /// Its source.
    pub source: &'m str,
    /// Its type.
    pub kind: &'m str,
    /// Its key.
    pub key: &'m str,
    /// What dedupe knows it by.
    pub fingerprint: Option<[u8; 16]>,
}

/// The message's key: what has one key has one shard.
pub fn key_of(record: &Record) -> Cow<'_, str> {
    match record.fingerprint {
        Some(fingerprint) if *record.key == *id_text(record.id) => Cow::Owned(fingerprint_text(fingerprint)),
        _ => Cow::Borrowed(&record.key),
    }
}

/// The shard of a key: murmur2 as Java's clients compute it, so that other programs know where a key's events stand.
/// It is computed here, for all keys, as a client's own partitioner may be configured and spreads what has no key. The
/// same key has the same shard for as long as there are as many shards.
pub fn shard_of(key: &str, shards: u32) -> u32 {
    (murmur2(key.as_bytes()) & 0x7fff_ffff) % shards.max(1)
}

/// The record's headers.
pub fn headers_of(record: &Record) -> OwnedHeaders {
    let (id, time) = (id_text(record.id), record.time.to_string());
    let fingerprint = record.fingerprint.map(fingerprint_text);
    let texts = [
        ("v", VERSION),
        ("id", &id),
        ("t", &time),
        ("source", &record.source),
        ("type", &record.kind),
        ("key", &record.key),
    ];
    let optional = fingerprint.as_deref().map(|fingerprint| ("fp", fingerprint));
    texts.into_iter().chain(optional).fold(OwnedHeaders::new_with_capacity(7), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}

/// How many bytes the record takes as a message, at most.
pub fn size_of(record: &Record) -> usize {
    // The key stands in it twice.
    record.payload.len() + record.source.len() + record.kind.len() + 2 * record.key.len() + OVERHEAD
}

/// Whether it is a time that can be shown (microseconds): no other was ever accepted.
fn is_time(time: i64) -> bool {
    sink_api::Timestamp::from_microsecond(time).is_ok()
}

/// A message's head.
///
/// # Errors
/// Where it is not one of ours, or damaged.
pub fn head(message: &impl Message) -> Result<Head<'_>, MessageError> {
    let headers = message.headers().ok_or(MessageError::Foreign)?;
    let text = |name: &'static str| {
        let found = headers.iter().find(|header| header.key == name);
        found.map(|header| header.value.and_then(|value| std::str::from_utf8(value).ok()))
    };
    match text("v").ok_or(MessageError::Foreign)? {
        Some(VERSION) => {}
        Some(later) if later.parse::<u32>().is_ok() => return Err(MessageError::Newer(later.to_owned())),
        _ => return Err(MessageError::Foreign),
    }
    let must = |name| text(name).flatten().ok_or(MessageError::Damaged(name));
    let id = must("id")?;
    let id = Some(id).filter(|id| id.len() == ID).and_then(|id| Uuid::try_parse(id).ok());
    let fingerprint = match text("fp") {
        None => None,
        Some(text) => Some(text.and_then(fingerprint_from).ok_or(MessageError::Damaged("fp"))?),
    };
    Ok(Head {
        id: id.ok_or(MessageError::Damaged("id"))?.into_bytes(),
        time: must("t")?.parse().ok().filter(|time| is_time(*time)).ok_or(MessageError::Damaged("t"))?,
        source: must("source")?,
        kind: must("type")?,
        key: must("key")?,
        fingerprint,
    })
}

/// The whole record.
///
/// # Errors
/// As [`head`].
pub fn record(message: &impl Message) -> Result<Record, MessageError> {
    let head = head(message)?;
    Ok(Record {
        id: head.id,
        time: head.time,
        source: head.source.into(),
        kind: head.kind.into(),
        key: head.key.into(),
        fingerprint: head.fingerprint,
        payload: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        made: Default::default(),
    })
}

/// The whole record, for the members of groups.
///
/// # Errors
/// Why it cannot be read, as text.
pub fn decode(message: &BorrowedMessage<'_>) -> Result<Record, String> {
    record(message).map_err(|error| error.to_string())
}

/// The record, and where it stands.
///
/// # Errors
/// As [`head`].
pub fn entry(message: &impl Message) -> Result<Entry, MessageError> {
    Ok(Entry { position: position(message), record: Arc::new(record(message)?) })
}

/// Where a message that was read stands.
pub fn position(message: &impl Message) -> Position {
    let shard = u32::try_from(message.partition()).unwrap_or_default();
    Position { shard, offset: u64::try_from(message.offset()).unwrap_or_default() }
}

fn id_text(id: [u8; 16]) -> String {
    Uuid::from_bytes(id).as_hyphenated().to_string()
}

fn fingerprint_text(fingerprint: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(fingerprint))
}

fn fingerprint_from(text: &str) -> Option<[u8; 16]> {
    let is_whole = text.len() == FINGERPRINT && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_whole.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(u128::to_be_bytes)
}

fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MIX: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(MIX);
        word ^= word >> 24;
        hash = hash.wrapping_mul(MIX) ^ word.wrapping_mul(MIX);
    }
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |last, byte| last << 8 | u32::from(*byte));
        hash = (hash ^ last).wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    fn message(record: &Record) -> OwnedMessage {
        let (key, payload) = (key_of(record).as_bytes().to_vec(), record.payload.to_vec());
        let headers = Some(headers_of(record));
        OwnedMessage::new(Some(payload), Some(key), "t".into(), Timestamp::NotAvailable, 3, 7, headers)
    }

    fn with(headers: &[(&str, Option<&[u8]>)]) -> OwnedMessage {
        let headers =
            headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: *value }));
        OwnedMessage::new(None, None, "t".into(), Timestamp::NotAvailable, 0, 0, Some(headers))
    }

    prop_compose! {
        fn any_record()(
            id: [u8; 16], time in -377_705_023_201_000_000i64..253_402_207_200_000_000,
            source in ".*", kind in ".*", key in ".*", is_id: bool,
            fingerprint in proptest::option::of(any::<[u8; 16]>()), payload: Vec<u8>,
        ) -> Record {
            let key = if is_id { id_text(id) } else { key };
            let (source, kind, key, payload) = (source.into(), kind.into(), key.into(), payload.into());
            Record { id, time, source, kind, key, fingerprint, payload, made: Default::default() }
        }
    }

    proptest! {
        #[test]
        fn an_event_is_the_same_behind_its_message(any in any_record()) {
            let message = message(&any);
            prop_assert_eq!(record(&message), Ok(any.clone()));
            let entry = entry(&message).unwrap();
            prop_assert_eq!((entry.position, &*entry.record), (Position { shard: 3, offset: 7 }, &any));
            let headers = message.headers().unwrap().iter();
            let bytes: usize = headers.map(|one| one.key.len() + one.value.map_or(0, <[u8]>::len) + 10).sum();
            let bytes = bytes + message.payload().unwrap().len() + message.key().unwrap().len();
            prop_assert!(bytes <= size_of(&any), "{} > {}", bytes, size_of(&any));
        }

        #[test]
        fn no_message_makes_the_reader_panic(headers: Vec<(String, Option<Vec<u8>>)>, cut in 0usize..7, junk: Vec<u8>) {
            let headers: Vec<_> = headers.iter().filter(|(key, _)| !key.contains('\0'))
                .map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            let _ = record(&with(&headers));
            let names = ["v", "id", "t", "source", "type", "key", "fp"];
            let fields: Vec<_> = names.iter().enumerate()
                .map(|(n, name)| (*name, Some(if n == cut { &junk[..] } else { b"1" }))).collect();
            let _ = record(&with(&fields));
        }
    }

    #[test]
    fn what_is_not_an_event_is_told_from_what_is_damaged() {
        let foreign = OwnedMessage::new(None, None, "t".into(), Timestamp::NotAvailable, 0, 0, None);
        assert_eq!(head(&foreign), Err(MessageError::Foreign));
        assert_eq!(head(&with(&[("v", Some(b"x")), ("id", Some(b"y"))])), Err(MessageError::Foreign));
        assert_eq!(head(&with(&[("v", Some(b"2"))])), Err(MessageError::Newer("2".into())));
        assert_eq!(head(&with(&[("v", Some(b"1"))])), Err(MessageError::Damaged("id")));
        let id = id_text([1; 16]);
        let upto = [("v", Some(&b"1"[..])), ("id", Some(id.as_bytes())), ("t", Some(b"now"))];
        assert_eq!(head(&with(&upto)), Err(MessageError::Damaged("t")));
    }

    #[test]
    fn a_key_has_the_partition_that_javas_clients_give_it() {
        let known: [(&str, i32); 5] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
            assert_eq!(shard_of(key, 24), (hash & i32::MAX) as u32 % 24);
        }
        assert!((0..100).all(|n| shard_of(&n.to_string(), 1) == 0));
    }

    #[test]
    fn repeats_of_an_event_without_a_key_share_a_shard() {
        let of = |id, key: &str| Record {
            id,
            time: 0,
            source: "".into(),
            kind: "".into(),
            key: key.into(),
            fingerprint: Some([9; 16]),
            payload: Bytes::new(),
            made: Default::default(),
        };
        let (one, two) = (of([1; 16], &id_text([1; 16])), of([2; 16], &id_text([2; 16])));
        assert_eq!(key_of(&one), key_of(&two));
        assert_eq!(key_of(&of([1; 16], "k")), "k");
        assert_eq!(key_of(&Record { fingerprint: None, ..one.clone() }), id_text([1; 16]));
    }
}
