//! The implicit sink by which the daemon hears of statuses: it hands every event of a source that tells of messages to
//! [`Outbox::heard`](sink_api::Outbox::heard). The config adds it; nobody can name its kind in the file.

use std::sync::Arc;
use std::time::Duration;

use sink_api::{
    Batch, BuildError, Defaults, Event, Fault, Outcome, Reason, Repeats, Report, Settings, Sink, SinkConfig,
    SinkContext, SinkKind, Target, async_trait,
};

use super::FOLLOWER;

/// What the config makes the follower of.
pub const KIND: SinkKind = SinkKind {
    name: FOLLOWER,
    also: &[],
    about: "takes note of what becomes of messages",
    example: "",
    defaults: Defaults {
        max_events: 1000,
        max_bytes: 8 << 20,
        linger: Duration::from_millis(10),
        concurrency: 1,
        rate: None,
    },
    repeats: Repeats::Ignored,
    answers: false,
    sends: false,
    read,
};

/// It has no keys of its own.
fn read(_: Settings<'_>) -> Result<Box<dyn SinkConfig>, Vec<Fault>> {
    Ok(Box::new(FollowerConfig))
}

/// The follower's table, which nobody writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowerConfig;

#[async_trait]
impl SinkConfig for FollowerConfig {
    fn check(&self) -> Result<(), Vec<Fault>> {
        Ok(())
    }

    fn target(&self, _: &Event) -> Result<Target, Reason> {
        Ok(Target::default())
    }

    /// One file, and its two companions.
    fn descriptors(&self, _calls: usize) -> usize {
        8
    }

    async fn build(&self, cx: &SinkContext) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(Follower(Arc::clone(&cx.outbox))))
    }
}

/// The follower at work.
struct Follower(Arc<dyn sink_api::Outbox>);

#[async_trait]
impl Sink for Follower {
    async fn deliver(&self, batch: &Batch) -> Report {
        let outcome = match self.0.heard(batch).await {
            Ok(()) => Outcome::Delivered,
            Err(why) => Outcome::retry_for(why),
        };
        Report::all(batch, &outcome)
    }

    async fn probe(&self) -> Result<(), Reason> {
        Ok(())
    }

    async fn close(self: Box<Self>) {}
}
