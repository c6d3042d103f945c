//! Where deliveries go from the worker's hands: into the backlog, into the ledger with the settler, into the log.

use super::backlog::Backlog;
use super::log::Log;
use crate::deliver::accounting::Accounted;
use crate::deliver::settler::Settler;
use crate::deliver::told::Of;
use crate::journal::Entry;

/// The parts of a worker that learn of what becomes of a delivery.
pub(super) struct Outcomes<'w> {
    pub backlog: &'w mut Backlog,
    pub settler: &'w mut Settler,
    pub log: &'w mut Log,
}

impl Outcomes<'_> {
    /// Takes in an event that was read and routed, and that was counted as `counted` deliveries when it was appended.
    pub fn admit(&mut self, entry: &Entry, counted: u32, event: Accounted) {
        for letter in &event.letters {
            self.log.dead(Of::record(&letter.event), &letter.id, [&letter.code, &letter.detail]);
        }
        let (position, record) = (entry.position, entry.record.payload.len() as u64);
        let deliveries = self.settler.open(position, u64::from(counted), record, event);
        deliveries.into_iter().for_each(|delivery| self.backlog.push(position, delivery));
    }
}
