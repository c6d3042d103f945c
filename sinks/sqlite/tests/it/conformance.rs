//! The suite of `sink-testkit`, with a database that goes away as its target.

use async_trait::async_trait;
use sink_api::{BuildError, Sink, SinkConfig};
use sink_testkit::{EventBuilder, Has, MARKER, Repeats, Subject, event};

use crate::{Fixture, connect, table, texts};

struct Database(Fixture);

impl Database {
    fn new(lines: &str) -> Self {
        let setup = table(", message_id TEXT NOT NULL, text TEXT, n INTEGER CHECK (n <> 13)");
        Self(Fixture::new(&format!("setup = '''{setup}'''\nbusy_timeout = \"20s\"\n{lines}")))
    }
}

#[async_trait]
impl Subject for Database {
    fn config(&self) -> &dyn SinkConfig {
        self.0.config.as_ref()
    }

    async fn open(&self) -> Result<Box<dyn Sink>, BuildError> {
        self.0.build().await
    }

    async fn delivered(&self) -> Vec<String> {
        texts(&connect(&self.0.path("x.db")), "SELECT event_id FROM t ORDER BY id")
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
        std::fs::rename(self.0.path("x.db"), self.0.path("aside.db")).unwrap();
        std::fs::create_dir(self.0.path("x.db")).unwrap();
        Has::Yes(())
    }

    async fn bring_up(&self) {
        if self.0.path("aside.db").exists() {
            std::fs::remove_dir(self.0.path("x.db")).unwrap();
            std::fs::rename(self.0.path("aside.db"), self.0.path("x.db")).unwrap();
        }
    }

    fn repeats(&self) -> Repeats {
        Repeats::Never
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let summary = sink_testkit::run_all(&Database::new("")).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
}

#[tokio::test]
async fn keeps_the_contract_on_one_thread_and_when_it_updates() {
    let summary = sink_testkit::run_all(&Database::new("on_conflict = \"update\"")).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
}
