//! Clause `untried`: what a sink puts off stops its key as a failure does, and what it skips stops nothing; neither is
//! at the target. Only for sinks that do either.

use std::sync::Arc;

use sink_api::{Delivery, Outcome};

use crate::kit::{Failure, Kit, Tried};
use crate::make::{EventBuilder, batch};
use crate::subject::Subject;

/// Clause `untried`.
///
/// # Errors
/// [`Failure`].
pub async fn untried(subject: &dyn Subject) -> Tried {
    let kit = Kit::open("untried", subject).await?;
    if let Some(builder) = subject.put_off() {
        let (all, slots) = kit.in_line(builder, "untried-later").await?;
        match slots.as_slice() {
            [Some(Outcome::Later { .. }), None, Some(Outcome::Delivered)] => {}
            other => return Err(kit.fail(format!("expected [Later, unset, Delivered], got {other:?}"))),
        }
        kit.are_only(&all, &[2]).await?;
    }
    if let Some(builder) = subject.unneeded() {
        let (all, slots) = kit.in_line(builder, "untried-skipped").await?;
        match slots.as_slice() {
            [Some(Outcome::Skipped { .. }), Some(Outcome::Delivered), Some(Outcome::Delivered)] => {}
            other => return Err(kit.fail(format!("expected [Skipped, Delivered, Delivered], got {other:?}"))),
        }
        kit.are_only(&all, &[1, 2]).await?;
    }
    kit.close().await
}

impl Kit<'_> {
    /// Delivers this one in the middle of a batch: behind it one of its key, then one of another. The deliveries, and
    /// what was said of them.
    async fn in_line(
        &self,
        builder: EventBuilder,
        key: &str,
    ) -> Result<(Vec<Arc<Delivery>>, Vec<Option<Outcome>>), Failure> {
        let behind = self.one(&format!("{key}-behind")).map(|delivery| Delivery { key: key.into(), ..delivery })?;
        let owed = batch([self.fixed(builder.key(key))?, behind, self.one(&format!("{key}-free"))?]);
        let slots = self.deliver(&owed).await?;
        Ok((owed.deliveries, slots))
    }

    /// These of the deliveries are at the target, and no other of them.
    async fn are_only(&self, all: &[Arc<Delivery>], there: &[usize]) -> Result<(), Failure> {
        let seen = self.subject.delivered().await;
        for (n, delivery) in all.iter().enumerate() {
            if seen.contains(&delivery.id) != there.contains(&n) {
                let is = if there.contains(&n) { "is not there" } else { "is there, although it was not tried" };
                return Err(self.fail(format!("delivery {n} {is}")));
            }
        }
        Ok(())
    }
}
