//! The suite every sink passes: in both formats, and where the broker is the one to find a message too large.

use async_trait::async_trait;
use sink_api::{BuildError, Sink, SinkConfig};
use sink_testkit::kafka::{self, Cluster};
use sink_testkit::{EventBuilder, Has, MARKER, Repeats, Subject, context, event, read_example, run_all};

use crate::kit;

const PASSWORD: &str = "sasl-password-3141";
const LIMIT: usize = 20_000;

struct Kafka {
    cluster: Cluster,
    topic: String,
    config: Box<dyn SinkConfig>,
    dir: tempfile::TempDir,
    raw: bool,
}

impl Kafka {
    async fn new(cluster: Cluster, more: &str, settings: &[(&str, &str)]) -> Self {
        let topic = cluster.topic(1, settings).await;
        let (brokers, raw) = (cluster.brokers(), !more.contains("cloudevents"));
        let config = kit::config(&format!("brokers = \"{brokers}\"\ntopic = \"{topic}\"\n{more}"));
        Self { topic, config, dir: tempfile::tempdir().unwrap(), raw, cluster }
    }
}

#[async_trait]
impl Subject for Kafka {
    fn config(&self) -> &dyn SinkConfig {
        self.config.as_ref()
    }

    async fn open(&self) -> Result<Box<dyn Sink>, BuildError> {
        self.config.build(&context("pipeline", self.dir.path())).await
    }

    async fn delivered(&self) -> Vec<String> {
        let id = |value: &[u8]| {
            let text = std::str::from_utf8(value).unwrap();
            let (_, rest) = text.split_once("\"id\":\"").unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let all = self.cluster.stored(&self.topic).await.into_iter();
        all.map(|message| if self.raw { message.id() } else { id(&message.value.unwrap()) }).collect()
    }

    fn poison(&self) -> Has<EventBuilder> {
        Has::Yes(event("poison").body(format!("{{\"text\":\"{MARKER}{}\"}}", "x".repeat(2 * LIMIT))))
    }

    fn pipelines(&self) -> bool {
        true
    }

    async fn take_down(&self) -> Has<()> {
        self.cluster.broker(1, "stop").await;
        Has::Yes(())
    }

    async fn bring_up(&self) {
        self.cluster.broker(1, "start").await;
    }

    fn repeats(&self) -> Repeats {
        Repeats::MayDuplicate
    }

    fn secrets(&self) -> Vec<String> {
        vec![PASSWORD.to_owned()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract_with_raw_bodies() {
    let Some((cluster, _lock)) = kafka::alone("kafka: keeps_the_contract_with_raw_bodies").await else { return };
    let more = format!("properties = {{ \"message.max.bytes\" = {LIMIT}, \"sasl.password\" = \"{PASSWORD}\" }}");
    let summary = run_all(&Kafka::new(cluster, &more, &[]).await).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract_with_cloudevents_and_a_limit_only_the_broker_knows() {
    let test = "kafka: keeps_the_contract_with_cloudevents_and_a_limit_only_the_broker_knows";
    let Some((cluster, _lock)) = kafka::alone(test).await else { return };
    let limit = LIMIT.to_string();
    let more = format!("format = \"cloudevents\"\nproperties = {{ \"sasl.password\" = \"{PASSWORD}\" }}");
    let summary = run_all(&Kafka::new(cluster, &more, &[("max.message.bytes", &limit)]).await).await.unwrap();
    assert!(summary.excused.is_empty(), "{summary:?}");
}

#[test]
fn the_example_is_complete() {
    read_example(&sink_kafka::KIND).unwrap();
}
