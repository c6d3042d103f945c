//! What a sink's test says about its sink: how to open it, what arrived, how to break its target.
//! What a sink cannot be tried for is said with a reason, so that nothing is left out in silence.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use sink_api::{BuildError, DiskFloor, NoOutbox, Sink, SinkConfig, SinkContext};

use crate::make::{EventBuilder, event};

/// Something a sink has, or a reason why it cannot.
#[derive(Clone, Debug)]
pub enum Has<T> {
    /// It has.
    Yes(T),
    /// It cannot, and this is why. Shown in the [`Summary`](crate::Summary).
    No(&'static str),
}

/// What becomes of a batch that is delivered twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Its deliveries may be there twice.
    MayDuplicate,
    /// Each is there once (the target knows its id).
    Never,
}

/// A sink under test, with its target. Every clause opens the sink anew and closes it before the next one does.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The config the sink is built from; its `target` is asked for every delivery, its `Debug` is read for secrets.
    fn config(&self) -> &dyn SinkConfig;

    /// Opens the sink on the target.
    ///
    /// # Errors
    /// What [`SinkConfig::build`] answers.
    async fn open(&self) -> Result<Box<dyn Sink>, BuildError>;

    /// Ids of all deliveries that have arrived since the subject was made, in order of arrival, repeats included.
    async fn delivered(&self) -> Vec<String>;

    /// An event this sink takes, about this subject. Its payload must hold [`MARKER`](crate::MARKER).
    fn event(&self, subject: &str) -> EventBuilder {
        event("message_api_sent").subject(subject)
    }

    /// An event that is rejected for what it is, whatever the target's state.
    fn poison(&self) -> Has<EventBuilder>;

    /// An event that the sink puts off without trying ([`Outcome::Later`](sink_api::Outcome::Later)); `None` where it
    /// never does.
    fn put_off(&self) -> Option<EventBuilder> {
        None
    }

    /// An event that the sink says is not needed any more ([`Outcome::Skipped`](sink_api::Outcome::Skipped)); `None`
    /// where it never does.
    fn unneeded(&self) -> Option<EventBuilder> {
        None
    }

    /// Whether the sink has several deliveries of one key of a batch under way at once, because its target keeps their
    /// order (one statement, one file, one partition). The suite then proves order where one of them is refused, the
    /// call is dropped, or the target goes away in the middle.
    fn pipelines(&self) -> bool {
        false
    }

    /// Makes the target unreachable for a sink that is already open.
    async fn take_down(&self) -> Has<()>;

    /// Undoes [`Self::take_down`]; called also where it was not taken down.
    async fn bring_up(&self);

    /// What becomes of a batch that is delivered twice.
    fn repeats(&self) -> Repeats;

    /// Values that must never be shown: passwords, tokens, signing keys of the config.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A context for [`SinkConfig::build`]: relative paths and state both under `dir`, no floor.
pub fn context(name: &str, dir: &Path) -> SinkContext {
    let state_dir = dir.join(format!("{name}-state"));
    // Where it cannot be made, the sink's own first write says so.
    let _ = std::fs::create_dir_all(&state_dir);
    SinkContext {
        name: name.to_owned(),
        base_dir: dir.to_owned(),
        state_dir,
        floor: DiskFloor::default(),
        outbox: Arc::new(NoOutbox),
    }
}
