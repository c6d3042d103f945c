//! The journal on Kafka passes the part of the conformance suite that concerns journals alone, on real brokers.

use std::sync::Mutex;

use super::conformance::{Engine, journal_conforms};
use sink_api::Size;

use super::*;
use crate::journal::kafka::journal::{Bounds, KafkaJournal};
use crate::journal::kafka::testing;
use crate::journal::{Marks, Position, Retention};

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
async fn the_journal_on_kafka_conforms_with_three_shards() {
    let folder = tempfile::tempdir().unwrap();
    let (mut engines, mut topics) = (Vec::new(), Vec::new());
    for n in 0..5 {
        let Some(cluster) = testing::real("the journal on Kafka conforms", 3) else { return };
        let dir = folder.path().join(n.to_string());
        std::fs::create_dir(&dir).unwrap();
        let bounds = Bounds {
            max_size: Size::mib(100),
            overflow_max: Size::mib(10),
            overflow_disk: Size::mib(10),
            min_free: Size(0),
        };
        let opened =
            KafkaJournal::open(cluster.clone(), &dir.join("o"), bounds, |_| None, testing::groups(&cluster)).await;
        let journal = opened.unwrap();
        journal.prepare(&[]).await.unwrap();
        topics.push((cluster.clone(), [cluster.events(), cluster.control()]));
        let ledger = Arc::new(Ledger::open(&dir.join("ledger.db")).unwrap().0);
        let retention = Arc::new(Unbounded);
        let settle = Arc::new(LocalSettle::new(Arc::clone(&ledger), retention.clone()));
        engines.push(Engine { storage: Storage { retention, journal: Arc::new(journal), settle, ledger }, shards: 3 });
    }
    let engines = Mutex::new(engines);
    journal_conforms(&|| engines.lock().unwrap().pop().unwrap()).await;
    for (cluster, topics) in topics {
        testing::remove(&cluster, &topics.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
}
