//! What all daemons are to do once, as rows of the control topic that are written once and taken away when all is done:
//! a replay (`replay/N`), and a sink that is moved on (`skip/NAME`). JSON objects; what is of a later build in them is
//! passed over. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::rows::Progress;
use crate::journal::{Marks, Position};
use crate::ledger::replays::Replay;

const REPLAY: &str = "replay/";
const SKIP: &str = "skip/";

/// A place in each shard.
type Places = BTreeMap<u32, u64>;

/// One sink's share of a replay.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Share {
    sink: String,
    first: Places,
    until: Places,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    only_missing: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Shares {
    sinks: Vec<Share>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct To {
    to: Places,
}

fn places(marks: &Marks) -> Places {
    marks.iter().map(|position| (position.shard, position.offset)).collect()
}

/// Places that an offset of Kafka can be; a row that names others was not written by us.
fn marks(places: &Places) -> Marks {
    places
        .iter()
        .filter(|(_, offset)| **offset <= i64::MAX.cast_unsigned())
        .map(|(shard, offset)| Position { shard: *shard, offset: *offset })
        .collect()
}

/// The row of a replay.
pub fn replay_key(id: i64) -> String {
    format!("{REPLAY}{id}")
}

/// Which replay a row is of, where it is one.
pub fn replay_of(key: &str) -> Option<i64> {
    key.strip_prefix(REPLAY)?.parse().ok().filter(|id| *id >= 0)
}

/// A replay that begins, each sink's share.
pub fn write_replay(replays: &[Replay]) -> Bytes {
    let share = |replay: &Replay| Share {
        sink: replay.sink.clone(),
        first: places(&replay.first),
        until: places(&replay.until),
        kind: replay.kind.clone(),
        subject: replay.subject.clone(),
        rate: replay.rate.clone(),
        only_missing: replay.only_missing,
    };
    // Texts and numbers become JSON whatever they are.
    serde_json::to_vec(&Shares { sinks: replays.iter().map(share).collect() }).unwrap_or_default().into()
}

/// The same as it was written, of that number; nothing where it cannot be read.
pub fn read_replay(id: i64, value: &[u8]) -> Vec<Replay> {
    let Shares { sinks } = serde_json::from_slice(value).unwrap_or_default();
    let replay = |share: Share| Replay {
        id,
        first: marks(&share.first),
        at: marks(&share.first),
        until: marks(&share.until),
        sink: share.sink,
        kind: share.kind,
        subject: share.subject,
        rate: share.rate,
        only_missing: share.only_missing,
        deliveries: 0,
    };
    sinks.into_iter().map(replay).collect()
}

/// How a replay stands in a shard where it begins.
pub fn progress(replay: &Replay, shard: u32) -> Progress {
    let place = |marks: &Marks| marks.at(shard).offset;
    Progress {
        first: place(&replay.first),
        at: place(&replay.first),
        until: place(&replay.until),
        kind: replay.kind.clone(),
        subject: replay.subject.clone(),
        rate: replay.rate.clone(),
        only_missing: replay.only_missing,
        ..Progress::default()
    }
}

/// The row of a sink that is moved on.
pub fn skip_key(sink: &str) -> String {
    format!("{SKIP}{sink}")
}

/// Which sink is moved on by a row, where it is such a one.
pub fn skip_of(key: &str) -> Option<&str> {
    key.strip_prefix(SKIP)
}

/// Where a sink is moved to.
pub fn write_skip(to: &Marks) -> Bytes {
    serde_json::to_vec(&To { to: places(to) }).unwrap_or_default().into()
}

/// The same as it was written; nowhere where it cannot be read.
pub fn read_skip(value: &[u8]) -> Marks {
    marks(&serde_json::from_slice::<To>(value).unwrap_or_default().to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(places: &[(u32, u64)]) -> Marks {
        places.iter().map(|(shard, offset)| Position { shard: *shard, offset: *offset }).collect()
    }

    #[test]
    fn what_all_daemons_are_to_do_is_read_as_it_was_written() {
        let (first, until) = (at(&[(0, 3), (7, 0)]), at(&[(0, 9), (7, 8)]));
        let a = Replay { id: 4, sink: "crm".into(), first: first.clone(), at: first, until, ..Replay::default() };
        let b = Replay {
            sink: "b".into(),
            kind: Some("t*".into()),
            subject: Some("s".into()),
            rate: Some("1/s".into()),
            only_missing: true,
            ..a.clone()
        };
        let row = write_replay(&[a.clone(), b.clone()]);
        assert_eq!(read_replay(4, &row), [a.clone(), b.clone()]);
        assert_eq!(
            progress(&b, 7),
            Progress {
                until: 8,
                kind: b.kind,
                subject: b.subject,
                rate: b.rate,
                only_missing: true,
                ..Progress::default()
            }
        );
        assert_eq!((replay_of(&replay_key(4)), replay_of("replay/x"), replay_of("sink/4")), (Some(4), None, None));
        assert_eq!(replay_of("replay/-5"), None, "ids are places in a topic");
        assert_eq!(read_skip(&write_skip(&a.until)), a.until);
        assert_eq!((skip_of(&skip_key("crm")), skip_of("sink/crm")), (Some("crm"), None));
    }

    #[test]
    fn what_cannot_be_read_asks_for_nothing() {
        for row in [&b""[..], b"[]", b"{\"sinks\":1}", b"\xff"] {
            assert_eq!((read_replay(1, row), read_skip(row)), (vec![], Marks::default()));
        }
        let later = br#"{"later":1,"sinks":[{"sink":"a","until":{"0":4},"more":[]}],"to":{"1":2}}"#;
        assert_eq!(read_replay(1, later)[0].until, at(&[(0, 4)]));
        assert_eq!(read_skip(later), at(&[(1, 2)]));
        let beyond = br#"{"to":{"0":18446744073709551615,"1":9}}"#;
        assert_eq!(read_skip(beyond), at(&[(1, 9)]), "no offset is so large");
    }
}
