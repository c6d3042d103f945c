//! Where sinks go on when the daemon starts. Sinks without a cursor get their first cursors together, in one
//! transaction: were these written one by one, a kill in between would leave a ledger that looks whole, and at the next
//! start a sink that was owed events meanwhile would be taken for a new one.

use super::config::StartAt;
use crate::journal::Marks;
use crate::ledger::runs::Passed;
use crate::ledger::{Settle, SettleError, Settlement};

/// The cursors of each sink, in the order given; sinks that had none have durable ones when this returns. `oldest` is
/// where the journal begins, `now` where a new sink begins: the journal's end before the first webhook of this life was
/// answered. `lost`: the ledger is gone although the journal is not, so nobody is new.
///
/// # Errors
/// Where cursors cannot be read or written. Then no sink was given any.
pub async fn first_cursors(
    settle: &dyn Settle,
    sinks: impl IntoIterator<Item = (&str, StartAt)>,
    [oldest, now]: [&Marks; 2],
    lost: bool,
) -> Result<Vec<Marks>, SettleError> {
    let (mut all, mut firsts) = (Vec::new(), Vec::new());
    for (name, start) in sinks {
        if let Some(state) = settle.load(name).await? {
            all.push(state.cursors);
            continue;
        }
        let cursors = match start {
            StartAt::Now if !lost => now,
            StartAt::Now | StartAt::Beginning => oldest,
        };
        // Of what stands before it a sink is owed nothing.
        let first = |cursor| Settlement { passed: Passed::from(0), ..Settlement::to(name, cursor) };
        firsts.extend(cursors.iter().map(first));
        all.push(cursors.clone());
    }
    if !firsts.is_empty() {
        settle.settle(firsts).await?;
    }
    Ok(all)
}
