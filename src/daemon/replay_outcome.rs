//! What became of a replay, for the admin listener.

use super::refusals::unable;
use crate::admin::Refusal;
use crate::admin::list::List;
use crate::admin::replay::ReplayOutcome;
use crate::ledger::Settle;
use crate::ledger::replays::ReplayCounts;

/// What became of a replay so far, sink by sink. Of one that is long over nothing is known.
pub(super) async fn outcome(settle: &dyn Settle, id: i64) -> Result<List<ReplayOutcome>, Refusal> {
    // First those under way: one that ends in between is complete in the counts.
    let running = settle.replays().await.map_err(unable)?;
    let counts = settle.replay_counts(id).await.map_err(unable)?;
    let outcome = |ReplayCounts { sink, counts: c }: ReplayCounts| ReplayOutcome {
        is_under_way: running
            .iter()
            .map(|under_way| &under_way.replay)
            .any(|replay| replay.id == id && replay.sink == sink),
        sink,
        accepted: c.accepted,
        delivered: c.delivered,
        dead: c.dead,
        filtered: c.filtered,
        dropped: c.dropped,
        pending: c.accepted.saturating_sub(c.delivered + c.dead + c.filtered + c.dropped),
    };
    Ok(List::new(counts.into_iter().map(outcome).collect(), None))
}
