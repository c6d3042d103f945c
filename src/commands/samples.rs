//! Interakt's samples with fresh ids and the present time put in, so that a sample sent again is not a duplicate. Pure.
//!
//! Each is marked as a sample in its body, so that no rule `[resend.NAME]` has a message sent to whoever stands in it.
//!
//! What belongs together stays together: the API statuses are one message's history, the campaign statuses another's.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use sink_api::{Timestamp, Uuid, json};

pub use crate::ingress::source::interakt::{SAMPLES, Sample};
use crate::message::SAMPLE_MARK;

/// Ids that are made anew, and the time that becomes the present: the last one said of each.
const THREADS: &[(&str, &str)] = &[
    ("7f00602d-4c9c-4346-9d4d-a24d478c9926", "2026-01-13T10:35:27.104551"), // sent, delivered, read clicked
    ("13e5bece-43cb-4aec-8f00-8d7eb7bc86cf", "2026-01-13T10:41:10.699936"), // failed
    ("c4099b73-8f66-47ea-bf95-0e8a74caca2a", "2026-01-14T05:12:40.000417"), // sent, delivered, read
    ("6ce7ff70-121e-49e7-bf4b-f08d4ed44b60", "2026-01-14T04:00:15.402218"), // failed
    ("5f90f480-bae3-4b71-976d-1654959bacbe", "2026-01-13T11:02:57.496889"), // received
    ("6cea0fb9-f1fc-496d-8472-bfb0735c2184", "2026-01-15T06:20:38.841972"), // a workflow's answer
];

/// Length of a time as Interakt writes it: `2026-01-13T10:35:27.104551`, with a blank in clicks.
const TIME: usize = 26;

/// Ids for one round of samples, and its time.
#[derive(Clone, Debug)]
pub struct Round {
    ids: Vec<Uuid>,
    now: DateTime,
}

impl Round {
    /// A round of its own. Two rounds with different times share no body.
    pub fn new(now: Timestamp) -> Self {
        let now = TimeZone::UTC.to_datetime(now);
        Self { ids: THREADS.iter().map(|_| Uuid::now_v7()).collect(), now }
    }

    /// The sample's body in this round, compact as Interakt sends it.
    pub fn body(&self, sample: &Sample) -> Vec<u8> {
        let mut text = sample.text.to_owned();
        let mut last = first_time(&text);
        for ((old, time), new) in THREADS.iter().zip(&self.ids) {
            if text.contains(old) {
                text = text.replace(old, &new.to_string());
                last = time.parse().ok();
            }
        }
        let text = match last {
            Some(last) => shift(&text, last, self.now),
            None => text,
        };
        let mut body = json::compact(text.as_bytes()).unwrap_or_else(|| text.into_bytes());
        // Whoever stands in a sample must not be written to because of it.
        if body.pop_if(|last| *last == b'}').is_some() {
            body.extend_from_slice(format!(",\"{SAMPLE_MARK}\":true}}").as_bytes());
        }
        body
    }
}

/// The first quoted time in the text: the envelope's.
fn first_time(text: &str) -> Option<DateTime> {
    text.split('"').find_map(time)
}

fn time(text: &str) -> Option<DateTime> {
    (text.len() == TIME && text.starts_with("20")).then(|| text.parse().ok()).flatten()
}

/// Moves every quoted time so that `from` becomes `to`; what lies between them stays.
fn shift(text: &str, from: DateTime, to: DateTime) -> String {
    let by = to.duration_since(from);
    let moved = text.split('"').map(|part| match time(part).and_then(|t| t.checked_add(by).ok()) {
        Some(time) => time
            .strftime(if part.contains(' ') { "%Y-%m-%d %H:%M:%S%.6f" } else { "%Y-%m-%dT%H:%M:%S%.6f" })
            .to_string(),
        None => part.to_owned(),
    });
    moved.collect::<Vec<_>>().join("\"")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;
    use crate::ingress::source::{SourceKind, typing};

    const README: &str = include_str!("../../README.md");

    /// The types of the dashboard's set-up page, as the README lists them.
    fn types_to_tick() -> HashSet<&'static str> {
        let list = README.split_once("**Tick every type you want**").unwrap().1.split_once("\n\n").unwrap().0;
        list.split('`').skip(1).step_by(2).collect()
    }

    fn round(now: &str) -> Round {
        Round::new(now.parse().unwrap())
    }

    fn sample(kind: &str) -> &'static Sample {
        SAMPLES.iter().find(|s| s.kind == kind).unwrap()
    }

    fn value(round: &Round, kind: &str) -> Value {
        serde_json::from_slice(&round.body(sample(kind))).unwrap()
    }

    #[test]
    fn there_is_one_sample_of_each_type_and_it_is_read_as_that_type() {
        let kinds: Vec<&str> = SAMPLES.iter().map(|sample| sample.kind).collect();
        assert_eq!((kinds.len(), HashSet::from_iter(kinds.iter().copied())), (18, types_to_tick()));
        assert!(kinds.iter().all(|kind| SourceKind::Interakt.types().contains(kind)));
        let round = round("2030-05-06T07:08:09.123456Z");
        for kind in kinds {
            let body = round.body(sample(kind));
            assert_eq!(typing::interakt(&body).kind, kind);
            assert!(!body.contains(&b'\n'), "{kind} is not compact");
            assert_eq!(value(&round, kind)[SAMPLE_MARK], true, "{kind}");
        }
    }

    #[test]
    fn the_statuses_of_a_message_share_its_fresh_id() {
        let (a, b) = (round("2030-05-06T07:08:09Z"), round("2030-05-06T07:08:09Z"));
        let id = |round: &Round, kind: &str| value(round, kind)["data"]["message"]["id"].as_str().unwrap().to_owned();
        let api = id(&a, "message_api_sent");
        for kind in ["message_api_delivered", "message_api_read", "message_api_clicked"] {
            assert_eq!(id(&a, kind), api, "{kind}");
        }
        assert_eq!(id(&a, "message_campaign_sent"), id(&a, "message_campaign_read"));
        let kinds = [
            "message_api_sent",
            "message_api_failed",
            "message_campaign_sent",
            "message_campaign_failed",
            "message_received",
        ];
        let ids: HashSet<String> = kinds.iter().flat_map(|kind| [id(&a, kind), id(&b, kind)]).collect();
        assert_eq!(ids.len(), 2 * kinds.len());
    }

    #[test]
    fn two_rounds_share_no_body() {
        let (a, b) = (round("2030-05-06T07:08:09.000001Z"), round("2030-05-06T07:08:09.000002Z"));
        for sample in SAMPLES {
            assert_ne!(a.body(sample), b.body(sample), "{}", sample.kind);
        }
    }

    #[test]
    fn times_become_the_present_and_keep_their_distance() {
        let round = round("2030-05-06T07:08:09.123456Z");
        let clicked = value(&round, "message_api_clicked");
        assert_eq!(clicked["timestamp"], "2030-05-06T07:08:09.123456");
        assert_eq!(clicked["data"]["event"]["click_timestamp"], "2030-05-06 07:08:08.967801");
        assert_eq!(
            value(&round, "message_api_sent")["data"]["message"]["received_at_utc"],
            "2030-05-06T07:02:42.320459"
        );
        assert_eq!(value(&round, "account_alerts")["timestamp"], "2030-05-06T07:08:09.123456");
    }
}
