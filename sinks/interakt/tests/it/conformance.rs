//! The suite every sink passes, against the **stand-in** of Interakt's API.

use std::sync::Arc;

use async_trait::async_trait;
use sink_api::{BuildError, Origin, Sink, SinkConfig};
use sink_testkit::interakt::{Options, StandIn};
use sink_testkit::{EventBuilder, Has, MemoryOutbox, Repeats, Subject, event, run_all};

use crate::kit::{KEY, body, build_in, config};

struct Interakt {
    stand_in: StandIn,
    config: Box<dyn SinkConfig>,
    outbox: Arc<MemoryOutbox>,
    dir: tempfile::TempDir,
}

#[async_trait]
impl Subject for Interakt {
    fn config(&self) -> &dyn SinkConfig {
        self.config.as_ref()
    }

    async fn open(&self) -> Result<Box<dyn Sink>, BuildError> {
        build_in(self.config.as_ref(), self.dir.path(), &self.outbox).await
    }

    /// Each message carries the delivery's id as the user's own text.
    async fn delivered(&self) -> Vec<String> {
        let taken = self.stand_in.taken().into_iter();
        taken.map(|taken| Origin::read(taken.message.callback.as_deref().unwrap()).unwrap().1.to_owned()).collect()
    }

    fn event(&self, subject: &str) -> EventBuilder {
        let event = event("message_received").subject(subject);
        let body = body("then_nothing", &event.id().to_string());
        event.json(body)
    }

    fn poison(&self) -> Has<EventBuilder> {
        let event = event("message_received");
        let body = body("no_such_template", &event.id().to_string());
        Has::Yes(event.json(body))
    }

    async fn take_down(&self) -> Has<()> {
        self.stand_in.stop().await;
        Has::Yes(())
    }

    async fn bring_up(&self) {
        self.stand_in.resume().await;
    }

    /// After `confirm`, which is over at once here: the suite delivers a dropped batch again without waiting.
    fn repeats(&self) -> Repeats {
        Repeats::MayDuplicate
    }

    fn secrets(&self) -> Vec<String> {
        vec![KEY.to_owned()]
    }
}

#[tokio::test]
async fn the_sink_keeps_the_contract() {
    let stand_in = StandIn::start(Options { key: KEY.to_owned(), ..Options::default() }).await;
    let table = format!("url = \"{}\"\napi_key = \"{KEY}\"\nconfirm = \"1ns\"", stand_in.url());
    let subject =
        Interakt { stand_in, config: config(&table), outbox: Arc::default(), dir: tempfile::tempdir().unwrap() };
    let summary = run_all(&subject).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
}
