//! Where sinks stand, for whoever only wants to show it or to know whether all is done: asked often, so the clients
//! stay for a while. A transaction that is open is waited for shortly: one that a dead daemon left open would be there
//! for seconds, and what was committed before it is as good then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;

use super::clients::{self, Looker};
use super::cluster::Cluster;
use super::group::GroupError;
use super::seam::Stand;
use super::standing;

/// Longest that open transactions are waited for.
const SETTLING: Duration = Duration::from_millis(300);
/// A client that nobody has used for so long goes.
const KEPT: Duration = Duration::from_secs(30);

/// Of which sink a client is, and whether it waits for open transactions.
type Key = (String, bool);
/// A client, and when it was used last.
type Used = (Arc<Looker>, Instant);

/// The clients.
#[derive(Default)]
pub(super) struct Glancing(Mutex<BTreeMap<Key, Used>>);

impl Glancing {
    /// Where a sink stands in every shard. Blocks.
    pub fn stands(&self, cluster: &Cluster, sink: &str) -> Result<Vec<Stand>, GroupError> {
        self.asked(cluster, (sink.to_owned(), true)).or_else(|_| self.asked(cluster, (sink.to_owned(), false)))
    }

    fn asked(&self, cluster: &Cluster, key: Key) -> Result<Vec<Stand>, GroupError> {
        let trouble = |error: KafkaError| GroupError::kafka("asking where a group stands", &error);
        let (client, patience) = match (self.kept(&key), key.1) {
            (Some(client), true) => (client, SETTLING),
            (Some(client), false) => (client, standing::ANSWER),
            // A new one has to find the brokers first.
            (None, true) => (Arc::new(clients::looker(cluster, &key.0).map_err(trouble)?), SETTLING * 3),
            (None, false) => (Arc::new(clients::glancer(cluster, &key.0).map_err(trouble)?), standing::ANSWER),
        };
        let shards: Vec<u32> = (0..cluster.partitions).collect();
        let stands = standing::committed_by(&client, cluster, &shards, patience);
        // One that waited for a transaction in vain is as good as before; of brokers that do not answer at all the
        // other kind of client learns.
        if stands.is_ok() || key.1 {
            self.keep(key, client);
        }
        Ok(stands?.into_iter().filter_map(|(_, stand)| stand).collect())
    }

    /// Takes a client. One of those that wait for nothing is not put back where it fails.
    fn kept(&self, key: &Key) -> Option<Arc<Looker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key).map(|(client, _)| client)
    }

    fn keep(&self, key: Key, client: Arc<Looker>) {
        let gone: Vec<Used> = {
            let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let before = clients.insert(key, (client, Instant::now()));
            let old = clients.extract_if(.., |_, (_, used)| used.elapsed() > KEPT).map(|(_, used)| used);
            old.chain(before).collect()
        };
        // It blocks until each has closed.
        drop(gone);
    }
}
