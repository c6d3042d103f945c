//! The event's journal bytes, version 1.
//!
//! id, time, source, type and key travel in the record's head, where a sink can skip by them without decoding. The
//! payload holds the rest, all integers little-endian:
//!
//! ```text
//! u8  version (1)
//! u8  flags: bit 0 = digest present
//! [32 bytes digest]            what the event is known by: the HMAC the sender signed with, or SHA-256 of type and id
//! str16 method, path, remote   u16 length, UTF-8
//! str32 subject                u32 length, UTF-8
//! u16 number of headers, each: str16 name, str32 value
//! rest                         body
//! ```
//! A later version adds a number, never changes the meaning of this one.

use std::sync::Arc;

use bytes::Buf;
use sink_api::{Rendered, Timestamp, Uuid};

use super::Event;
use crate::journal::{Made, Record};

const VERSION: u8 = 1;
const HAS_DIGEST: u8 = 1;

/// Why a payload is not an event.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CodecError {
    /// Written by a later version.
    #[error("event bytes of version {0}; this build knows version {VERSION}")]
    Version(u8),
    /// Ends early.
    #[error("event bytes end early")]
    Short,
    /// A text is not UTF-8.
    #[error("a text in the event bytes is not UTF-8")]
    Text,
    /// The head's time is outside what a clock can show.
    #[error("time {0} is out of range")]
    Time(i64),
}

/// The record that keeps this event. `digest` is what the event is known by; `fingerprint` is whether the journal
/// remembers it for dedupe.
pub fn encode(event: &Event, digest: Option<&[u8; 32]>, fingerprint: bool) -> Record {
    let heads: usize = event.headers.iter().map(|(n, v)| n.len() + v.len() + 6).sum();
    let mut out = Vec::with_capacity(96 + event.path.len() + event.subject.len() + heads + event.body.len());
    out.extend([VERSION, if digest.is_some() { HAS_DIGEST } else { 0 }]);
    out.extend(digest.into_iter().flatten());
    for text in [&event.method, &event.path, &event.remote] {
        put16(&mut out, text);
    }
    put32(&mut out, &event.subject);
    let count = u16::try_from(event.headers.len()).unwrap_or(u16::MAX);
    out.extend(count.to_le_bytes());
    for (name, value) in event.headers.iter().take(usize::from(count)) {
        put16(&mut out, name);
        put32(&mut out, value);
    }
    out.extend_from_slice(&event.body);
    Record {
        id: *event.id.as_bytes(),
        time: event.time.as_microsecond(),
        source: Arc::clone(&event.source),
        kind: Arc::clone(&event.kind),
        key: Arc::clone(&event.key),
        fingerprint: digest.filter(|_| fingerprint).map(short),
        payload: out.into(),
        made: Made::default(),
    }
}

/// The first 16 bytes of a digest: they suffice to tell signatures apart, and take half the room in footers.
fn short(digest: &[u8; 32]) -> [u8; 16] {
    let mut out = [0; 16];
    out.iter_mut().zip(digest).for_each(|(o, d)| *o = *d);
    out
}

/// Texts that are the same from event to event (method, path, header names): events share one copy as long as a text
/// stands at the same position as in the event before. There are at most `Texts::MOST` of them, and no more than one
/// event holds.
#[derive(Debug, Default)]
pub struct Texts(Vec<Arc<str>>);

impl Texts {
    /// Most positions remembered.
    const MOST: usize = 64;

    fn get(&mut self, position: usize, bytes: &[u8]) -> Result<Arc<str>, CodecError> {
        match self.0.get_mut(position) {
            Some(known) if known.as_bytes() == bytes => Ok(Arc::clone(known)),
            Some(known) => {
                *known = text(bytes)?;
                Ok(Arc::clone(known))
            }
            None => {
                let new = text(bytes)?;
                if self.0.len() == position && position < Self::MOST {
                    self.0.push(Arc::clone(&new));
                }
                Ok(new)
            }
        }
    }
}

/// The event a record keeps; the body is a slice of the record's payload, not a copy.
///
/// # Errors
/// [`CodecError`] where the payload is not one of ours.
pub fn decode(record: &Record) -> Result<Event, CodecError> {
    decode_with(record, &mut Texts::default())
}

/// The same, shared, and with the texts that it has in common with the event before.
///
/// # Errors
/// As [`decode`].
pub fn decode_shared(record: &Record, texts: &mut Texts) -> Result<Arc<Event>, CodecError> {
    decode_with(record, texts).map(Arc::new)
}

/// The same, decoded once for all readers that have the record: whoever is first keeps the event with the record. What
/// a second reader asks for is marked as shared by several sinks.
///
/// # Errors
/// As [`decode`]; an error is kept nowhere.
pub fn decode_once(record: &Record, texts: &mut Texts) -> Result<Arc<Event>, CodecError> {
    if let Some(event) = record.made.get::<Event>() {
        event.rendered.share();
        return Ok(event);
    }
    let event = decode_shared(record, texts)?;
    record.made.keep(&event);
    Ok(event)
}

/// What the event is about whose record has this payload; `None` where it is not one of ours.
pub fn subject_of(payload: &[u8]) -> Option<&str> {
    let mut rest = payload;
    let [version, flags] = *take(&mut rest, 2).ok()? else { return None };
    if version != VERSION {
        return None;
    }
    if flags & HAS_DIGEST != 0 {
        take(&mut rest, 32).ok()?;
    }
    (0..3).try_for_each(|_| get16(&mut rest).map(drop)).ok()?;
    std::str::from_utf8(get32(&mut rest).ok()?).ok()
}

fn decode_with(record: &Record, texts: &mut Texts) -> Result<Event, CodecError> {
    let mut rest = &record.payload[..];
    let [version] = *take(&mut rest, 1)? else { return Err(CodecError::Short) };
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let [flags] = *take(&mut rest, 1)? else { return Err(CodecError::Short) };
    if flags & HAS_DIGEST != 0 {
        take(&mut rest, 32)?;
    }
    let method = texts.get(0, get16(&mut rest)?)?;
    let path = texts.get(1, get16(&mut rest)?)?;
    let remote = texts.get(2, get16(&mut rest)?)?;
    // Nearly always the subject is the key, which is there already.
    let subject = match get32(&mut rest)? {
        subject if subject == record.key.as_bytes() => Arc::clone(&record.key),
        subject => text(subject)?,
    };
    let count = take(&mut rest, 2)?.get_u16_le();
    let mut headers = Vec::with_capacity(usize::from(count).min(Texts::MOST));
    for position in (3..).step_by(2).take(usize::from(count)) {
        let name = texts.get(position, get16(&mut rest)?)?;
        headers.push((name, texts.get(position + 1, get32(&mut rest)?)?));
    }
    Ok(Event {
        id: Uuid::from_bytes(record.id),
        source: Arc::clone(&record.source),
        kind: Arc::clone(&record.kind),
        subject,
        key: Arc::clone(&record.key),
        time: Timestamp::from_microsecond(record.time).map_err(|_| CodecError::Time(record.time))?,
        method,
        path,
        remote,
        headers,
        body: record.payload.slice(record.payload.len() - rest.len()..),
        rendered: Rendered::default(),
    })
}

fn put16(out: &mut Vec<u8>, text: &str) {
    let text = text.get(..text.floor_char_boundary(usize::from(u16::MAX))).unwrap_or_default();
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put32(out: &mut Vec<u8>, text: &str) {
    // A text longer than 4 GiB cannot come through `max_header_bytes` and `max_body`.
    out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take<'b>(rest: &mut &'b [u8], n: usize) -> Result<&'b [u8], CodecError> {
    let (taken, left) = rest.split_at_checked(n).ok_or(CodecError::Short)?;
    *rest = left;
    Ok(taken)
}

fn text(bytes: &[u8]) -> Result<Arc<str>, CodecError> {
    std::str::from_utf8(bytes).map(Arc::from).map_err(|_| CodecError::Text)
}

fn get16<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], CodecError> {
    let n = take(rest, 2)?.get_u16_le();
    take(rest, usize::from(n))
}

fn get32<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], CodecError> {
    let n = take(rest, 4)?.get_u32_le();
    take(rest, usize::try_from(n).map_err(|_| CodecError::Short)?)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn event() -> Event {
        Event {
            id: Uuid::now_v7(),
            source: "interakt".into(),
            kind: "message_api_sent".into(),
            subject: "m-1".into(),
            key: "m-1".into(),
            time: Timestamp::from_microsecond(1_768_300_000_123_456).unwrap(),
            method: "POST".into(),
            path: "/webhooks/interakt".into(),
            remote: "127.0.0.1".into(),
            headers: vec![("content-type".into(), "application/json".into())],
            body: Bytes::from_static(b"{\"a\":1}\0\xff"),
            rendered: Rendered::default(),
        }
    }

    #[test]
    fn an_event_comes_back_as_it_went_in() {
        let event = event();
        for digest in [None, Some([7; 32])] {
            let record = encode(&event, digest.as_ref(), true);
            assert_eq!(decode(&record).unwrap(), event);
            assert_eq!(subject_of(&record.payload), Some("m-1"));
        }
        assert_eq!(encode(&event, Some(&[7; 32]), true).fingerprint, Some([7; 16]));
        assert_eq!(encode(&event, Some(&[7; 32]), false).fingerprint, None);
    }

    #[test]
    fn texts_are_shared_from_event_to_event_and_never_mixed_up() {
        let (mut texts, header) = (Texts::default(), |value: &str| ("x".into(), value.into()));
        let events: Vec<Event> = [vec![header("1")], vec![], vec![header("2"), header("1")], vec![header("2")]]
            .into_iter()
            .enumerate()
            .map(|(n, headers)| Event { headers, remote: format!("::{}", n / 2).into(), ..event() })
            .collect();
        let back: Vec<_> = events.iter().map(|e| decode_shared(&encode(e, None, false), &mut texts).unwrap()).collect();
        assert!(back.iter().zip(&events).all(|(back, event)| **back == *event));
        assert!(back.iter().all(|e| Arc::ptr_eq(&e.path, &back[0].path)));
        assert!(Arc::ptr_eq(&back[0].remote, &back[1].remote) && !Arc::ptr_eq(&back[1].remote, &back[2].remote));
        assert!(Arc::ptr_eq(&back[2].headers[0].1, &back[3].headers[0].1));
    }

    #[test]
    fn an_event_is_decoded_once_for_all_who_have_its_record_and_anew_for_who_has_a_copy() {
        let record = encode(&event(), None, false);
        let decode = |record: &Record| decode_once(record, &mut Texts::default()).unwrap();
        let (first, second, of_a_copy) = (decode(&record), decode(&record), decode(&record.clone()));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &of_a_copy));
        assert_eq!((&*first, &*of_a_copy), (&event_of(&record), &event_of(&record)));
        let broken = Record { payload: Bytes::new(), ..record.clone() };
        assert_eq!(decode_once(&broken, &mut Texts::default()), Err(CodecError::Short));
    }

    fn event_of(record: &Record) -> Event {
        decode(record).unwrap()
    }

    #[test]
    fn every_cut_before_the_body_is_an_error_and_a_later_version_is_named() {
        let mut record = encode(&event(), Some(&[7; 32]), true);
        let whole = record.payload.clone();
        for end in 0..whole.len() - event().body.len() {
            record.payload = whole.slice(..end);
            assert_eq!(decode(&record).unwrap_err(), CodecError::Short, "cut at {end}");
        }
        record.payload = Bytes::from_static(&[9]);
        assert_eq!(decode(&record).unwrap_err(), CodecError::Version(9));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..200), time in any::<i64>()) {
            let mut record = encode(&event(), None, false);
            record.payload = payload.into();
            record.time = time;
            let _ = (decode(&record), subject_of(&record.payload));
        }
    }
}
