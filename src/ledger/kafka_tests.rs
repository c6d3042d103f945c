//! The engine on Kafka passes the suite that all engines pass, on real brokers.

use std::sync::Mutex;
use std::time::Duration;

use sink_api::Size;
use tokio::runtime::Handle;

use super::conformance::{Engine, SINK, conforms};
use super::shared::{KafkaSettle, ShardCopy};
use super::*;
use crate::journal::kafka::seam::Hears;
use crate::journal::kafka::{Bounds, Groups, KafkaJournal, message, testing};
use crate::journal::{Journal as _, Reads, Retention};

/// Engines that the suite uses up.
const ENGINES: usize = 10;

/// Brokers delete by themselves.
struct Unbounded;

impl Retention for Unbounded {
    fn hold(&self, _: &str, _: &Marks) {}
    fn passed(&self, _: &str, _: Position) {}
    fn leave(&self, _: &str, _: &Marks) {}
    fn release(&self, _: &str) {}
    fn begin(&self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_on_kafka_conforms_with_three_shards() {
    let folder = tempfile::tempdir().unwrap();
    let (mut engines, mut topics) = (Vec::new(), Vec::new());
    for n in 0..ENGINES {
        let Some(cluster) = testing::real("the_engine_on_kafka_conforms_with_three_shards", 3) else { return };
        let ledger = Arc::new(Ledger::open(&folder.path().join(format!("{n}.db"))).unwrap().0);
        let copy = Arc::new(ShardCopy::new(Arc::clone(&ledger)));
        let groups = Arc::new(Groups::new(cluster.clone(), copy.clone(), message::decode, Handle::current()));
        let bounds = Bounds {
            max_size: Size::mib(100),
            overflow_max: Size::mib(10),
            overflow_disk: Size::mib(10),
            min_free: Size(0),
            flush: false,
        };
        let overflow = folder.path().join(format!("{n}"));
        let (own, members) = (cluster.clone(), Arc::clone(&groups));
        let journal = KafkaJournal::open(own, &overflow, bounds, |_| None, members).await.unwrap();
        journal.prepare(&[Reads { name: SINK.into(), timeout: Duration::from_secs(1) }]).await.unwrap();
        topics.push((cluster.clone(), [cluster.events(), cluster.control(), cluster.held(SINK)]));
        let settle = Arc::new(KafkaSettle::new(copy, groups as Arc<dyn Hears>));
        let storage = Storage { retention: Arc::new(Unbounded), journal: Arc::new(journal), settle, ledger };
        engines.push(Engine { storage, shards: 3 });
    }
    let engines = Mutex::new(engines);
    conforms(|| engines.lock().unwrap().pop().unwrap()).await;
    for (cluster, topics) in topics {
        testing::remove(&cluster, &topics.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
}
