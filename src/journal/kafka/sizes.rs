//! How many bytes events take in Kafka, estimated: brokers do not tell that by requests that every broker has.
//!
//! librdkafka's statistics have for each topic what its producer has sent since the statistics before: the sizes of
//! batches (`batchsize`: compressed, with the batch's own head, which is what a broker writes) and how many events were
//! in them (`batchcnt`). Heads of requests and other questions are not in them, and a batch that is sent again is in
//! both. So the mean is exact for what this process has sent. It stands for all that is in the topic, which is the
//! estimate: events of other daemons, and of earlier times, may be larger or smaller, or lie in larger batches, which
//! compress better. Where one load balancer feeds all daemons the difference is small beside the 20 % between the alarm
//! and the bound. A process that has sent nothing says nothing; nor does its topic fill.
//!
//! Beyond that Kafka deletes by whole segments of a shard (`segment.bytes`), so that a shard may hold one more than its
//! bound, and none is deleted that is being written.

use std::collections::HashMap;
use std::sync::Mutex;

use serde::Deserialize;

use crate::journal::view::lock;
use crate::journal::{Marks, Position};

/// How often librdkafka tells its statistics, milliseconds.
pub const INTERVAL: &str = "5000";

/// What librdkafka tells, as far as it is of use here.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    topics: HashMap<String, Topic>,
}

#[derive(Deserialize)]
struct Topic {
    batchsize: Window,
    batchcnt: Window,
}

#[derive(Deserialize)]
struct Window {
    sum: i64,
}

/// What is known of it.
#[derive(Default)]
pub struct Sizes {
    sent: Mutex<Sent>,
    needed: Mutex<Option<Marks>>,
}

#[derive(Clone, Copy, Default)]
struct Sent {
    bytes: u64,
    events: u64,
}

/// What stands in the topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weighed {
    /// Bytes of all events, where it is known how large they are.
    pub bytes: Option<u64>,
    /// Bytes of those that some sink has not settled, where that is known, too: as if every shard had as many as the
    /// one that has most. Kafka deletes of each shard what is beyond its share of `max_size`, so that one decides.
    pub owed: Option<u64>,
}

impl Sizes {
    /// librdkafka's statistics of what was sent to that topic since it told them last.
    pub fn note(&self, json: &[u8], topic: &str) {
        let Some(topic) = serde_json::from_slice::<Said>(json).ok().and_then(|mut said| said.topics.remove(topic))
        else {
            return;
        };
        let mut sent = lock(&self.sent);
        sent.bytes += u64::try_from(topic.batchsize.sum).unwrap_or_default();
        sent.events += u64::try_from(topic.batchcnt.sum).unwrap_or_default();
    }

    /// Where the slowest sink stands in each shard in which that is known of all, as of a moment ago.
    pub fn need(&self, from: Option<Marks>) {
        *lock(&self.needed) = from;
    }

    /// What so many events take.
    fn of(&self, events: u64) -> Option<u64> {
        let Sent { bytes, events: sent } = *lock(&self.sent);
        let all = u128::from(bytes) * u128::from(events) / u128::from(sent.max(1));
        (sent > 0).then(|| u64::try_from(all).unwrap_or(u64::MAX))
    }

    /// What stands between these marks, in so many shards.
    pub fn weigh(&self, oldest: &Marks, ends: &Marks, shards: u32) -> Weighed {
        let between = |from: u64, end: Position| end.offset.saturating_sub(from);
        let all = ends.iter().map(|end| between(oldest.at(end.shard).offset, end)).sum();
        let needed = lock(&self.needed).clone();
        let owed = |needed: Marks| {
            let from = |mark: Position| mark.offset.max(oldest.at(mark.shard).offset);
            needed.iter().map(|mark| between(from(mark), ends.at(mark.shard))).max()
        };
        let fullest = needed.and_then(owed);
        Weighed { bytes: self.of(all), owed: fullest.and_then(|events| self.of(events.saturating_mul(shards.into()))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(offsets: [u64; 2]) -> Marks {
        (0..).zip(offsets).map(|(shard, offset)| Position { shard, offset }).collect()
    }

    fn said(topic: &str, bytes: u64, events: u64) -> Vec<u8> {
        format!(
            "{{\"name\":\"x\",\"topics\":{{\"{topic}\":{{\"topic\":\"{topic}\",\
             \"batchsize\":{{\"min\":1,\"sum\":{bytes}}},\"batchcnt\":{{\"sum\":{events}}}}}}}}}"
        )
        .into_bytes()
    }

    #[test]
    fn the_fullest_shard_says_how_full_all_are() {
        let sizes = Sizes::default();
        let (oldest, ends) = (marks([10, 0]), marks([110, 50]));
        assert_eq!(sizes.weigh(&oldest, &ends, 2), Weighed::default(), "nothing was sent");
        sizes.note(&said("other", 9999, 1), "t");
        sizes.note(b"no statistics", "t");
        sizes.note(&said("t", 500, 10), "t");
        assert_eq!(sizes.weigh(&oldest, &ends, 2), Weighed { bytes: Some(150 * 50), owed: None });
        sizes.note(&said("t", 500, 0), "t");
        sizes.need(Some(marks([40, 20])));
        assert_eq!(sizes.weigh(&oldest, &ends, 2).owed, Some(70 * 2 * 100));
        // What is gone takes no room.
        sizes.need(Some(marks([0, 0])));
        assert_eq!(sizes.weigh(&oldest, &ends, 2).owed, Some(100 * 2 * 100));
        sizes.need(Some(Position { shard: 1, offset: 45 }.into()));
        assert_eq!(sizes.weigh(&oldest, &ends, 2).owed, Some(5 * 2 * 100), "of the other shard it is not known");
        sizes.need(None);
        assert_eq!(sizes.weigh(&oldest, &ends, 2).owed, None);
    }
}
