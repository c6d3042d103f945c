//! For tests of this room: a cluster that is there, and one that is not.

use std::collections::BTreeMap;
use std::net::TcpListener;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use sink_api::Uuid;

use super::cluster::Cluster;

/// Where the real brokers are; `None`, and a line that says so, where there are none.
fn brokers(test: &str) -> Option<String> {
    let brokers = std::env::var("HOOKRELAY_TEST_KAFKA").ok().filter(|brokers| !brokers.is_empty());
    if brokers.is_none() {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "skipped: {test}: no Kafka");
    }
    brokers
}

/// A cluster of these brokers with a name of its own.
pub fn cluster(brokers: &str, partitions: u32) -> Cluster {
    Cluster {
        brokers: brokers.to_owned(),
        name: format!("k{}", Uuid::now_v7().simple()),
        node: "n1".into(),
        partitions,
        properties: BTreeMap::new(),
    }
}

/// The real one, where there is one.
pub fn real(test: &str, partitions: u32) -> Option<Cluster> {
    brokers(test).map(|brokers| cluster(&brokers, partitions))
}

/// An address at which nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Removes topics at a test's end.
pub async fn remove(cluster: &Cluster, topics: &[&str]) {
    let admin: AdminClient<DefaultClientContext> = cluster.client("test").create().unwrap();
    admin.delete_topics(topics, &AdminOptions::new()).await.unwrap();
}
