//! Outcomes as words that a test can compare.

use sink_api::{Batch, Outcome, Sink};

use crate::must::fail;

/// What became of each delivery of a batch.
pub async fn deliver(sink: &dyn Sink, batch: &Batch) -> Vec<Option<Outcome>> {
    sink.deliver(batch).await.into_slots()
}

/// `delivered`, `retry CODE`, `reject CODE`, `later CODE`, `skipped CODE` or `unset`.
pub fn verdict(slot: &Option<Outcome>) -> String {
    match slot {
        Some(Outcome::Delivered) => "delivered".to_owned(),
        Some(Outcome::Retry { why, .. }) => format!("retry {}", why.code),
        Some(Outcome::Reject { why }) => format!("reject {}", why.code),
        Some(Outcome::Later { why, .. }) => format!("later {}", why.code),
        Some(Outcome::Skipped { why }) => format!("skipped {}", why.code),
        None => "unset".to_owned(),
    }
}

/// [`verdict`] on each delivery of a batch.
pub async fn verdicts(sink: &dyn Sink, batch: &Batch) -> Vec<String> {
    deliver(sink, batch).await.iter().map(verdict).collect()
}

/// The detail of a reason, which must be there.
pub fn detail(slot: &Option<Outcome>) -> &str {
    match slot {
        Some(Outcome::Retry { why, .. } | Outcome::Reject { why }) => &why.detail,
        other => fail(&format!("no reason: {other:?}")),
    }
}
