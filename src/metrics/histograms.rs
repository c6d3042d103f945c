//! The histograms' buckets. A bucket more is a time series more for each label, so there are few.

use super::Histogram;

/// A webhook's answer, seconds: from what a disk that flushes in no time allows up to the 3 s that Interakt waits.
const ANSWER: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0];
/// Writing and flushing a batch of the journal, seconds.
const COMMIT: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5];
/// A call of a sink, seconds: up to where most configs have their `timeout`.
const CALL: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// How many records or deliveries go together.
const TOGETHER: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0];

/// How long webhooks wait for their answers.
pub fn answer_seconds() -> Histogram {
    Histogram::new(ANSWER)
}

/// How long a batch of the journal takes to be on disk.
pub fn commit_seconds() -> Histogram {
    Histogram::new(COMMIT)
}

/// How long a sink's calls take.
pub fn call_seconds() -> Histogram {
    Histogram::new(CALL)
}

/// How many go together in one write or call.
pub fn together() -> Histogram {
    Histogram::new(TOGETHER)
}
