//! The suite of `sink-testkit`, with a server of its own that goes away as its target.

use async_trait::async_trait;
use sink_api::{BuildError, Sink, SinkConfig};
use sink_testkit::{EventBuilder, Has, MARKER, Repeats, Subject, event};

use crate::server::{Fixture, own, texts};
use crate::table;

struct Database {
    fixture: Fixture,
    /// How it goes away.
    down: &'static str,
}

impl Database {
    async fn new(down: &'static str, lines: &str) -> Option<Self> {
        let setup = table(", message_id VARCHAR(255) NOT NULL, text TEXT, n INTEGER CHECK (n <> 13)");
        let server = own(&[])?;
        let fixture = Fixture::on(server, &format!("setup = '''{setup}'''\n{lines}")).await;
        Some(Self { fixture, down })
    }
}

#[async_trait]
impl Subject for Database {
    fn config(&self) -> &dyn SinkConfig {
        self.fixture.config.as_ref()
    }

    async fn open(&self) -> Result<Box<dyn Sink>, BuildError> {
        self.fixture.build().await
    }

    async fn delivered(&self) -> Vec<String> {
        let client = self.fixture.server.client().await;
        texts(&client, &format!("SELECT event_id FROM {}.t ORDER BY id", self.fixture.schema)).await
    }

    fn event(&self, subject: &str) -> EventBuilder {
        event("t").subject(subject).json(format!(r#"{{"message_id":"{subject}","text":"{MARKER}"}}"#))
    }

    fn poison(&self) -> Has<EventBuilder> {
        Has::Yes(event("t").json(format!(r#"{{"message_id":"{MARKER}","n":13}}"#)))
    }

    fn pipelines(&self) -> bool {
        true
    }

    async fn take_down(&self) -> Has<()> {
        self.fixture.server.order(self.down);
        Has::Yes(())
    }

    async fn bring_up(&self) {
        self.fixture.server.order("start");
    }

    fn repeats(&self) -> Repeats {
        Repeats::Never
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.fixture.server.password().to_owned()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let Some(subject) = Database::new("stop", "connections = 2").await else { return };
    let summary = sink_testkit::run_all(&subject).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
}

#[tokio::test]
async fn keeps_the_contract_on_one_thread_and_when_it_updates_and_when_the_server_is_killed() {
    let Some(subject) = Database::new("kill", "on_conflict = \"update\"").await else { return };
    let summary = sink_testkit::run_all(&subject).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
}
