//! One broker of three dies under load. The three are started here, beside the one of the other tests.

use std::time::Duration;

use sink_testkit::kafka::{self, Cluster};

use crate::bounce;
use crate::kit;

const BROKERS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_one_of_three_brokers_under_load_loses_and_reorders_nothing() {
    let test = "kafka: killing_one_of_three_brokers_under_load_loses_and_reorders_nothing";
    let Some((single, _lock)) = kafka::alone(test).await else { return };
    drop(single);
    let cluster = tokio::task::spawn_blocking(Cluster::of_three).await.unwrap();
    let topic = cluster.topic(6, &[("min.insync.replicas", "2")]).await;
    let open = kit::open(cluster.brokers(), &topic, "").await;
    let kill = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.broker(2, "kill").await;
    };
    let owed = bounce::load(&open, kill).await;
    let stored = cluster.stored(&topic).await;
    cluster.kill_all(BROKERS).await;
    bounce::is_whole(&owed, &stored);
}
