//! Where sinks go on when the daemon starts. Sinks without a cursor get their first cursors together, in one
//! transaction: were these written one by one, a kill in between would leave a ledger that looks whole, and at the next
//! start a sink that was owed events meanwhile would be taken for a new one.

use super::config::StartAt;
use crate::journal::{Journal, JournalError, Position, Settlement};

/// The cursor of each sink, in the order given. A sink that had none has a durable one when this returns. `now` is
/// where a new sink begins: the journal's end before the first webhook of this life was answered. `lost` says that the
/// ledger is gone although the journal is not, so that no sink is new.
///
/// # Errors
/// The cursors cannot be read or written. Then no sink was given one.
pub async fn first_cursors(
    journal: &dyn Journal,
    sinks: impl IntoIterator<Item = (&str, StartAt)>,
    now: Position,
    lost: bool,
) -> Result<Vec<Position>, JournalError> {
    let (mut cursors, mut firsts) = (Vec::new(), Vec::new());
    for (name, start) in sinks {
        if let Some(state) = journal.load(name).await? {
            cursors.push(state.cursor);
            continue;
        }
        let cursor = match start {
            StartAt::Now if !lost => now,
            StartAt::Now | StartAt::Beginning => journal.oldest(),
        };
        firsts.push(Settlement { sink: name.to_owned(), cursor: Some(cursor), ..Settlement::default() });
        cursors.push(cursor);
    }
    if !firsts.is_empty() {
        journal.settle(firsts).await?;
    }
    Ok(cursors)
}
