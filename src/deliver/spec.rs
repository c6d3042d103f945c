//! What a sink's worker is made from.

use std::sync::Arc;

use sink_api::{Defaults, SinkConfig, SinkContext};

use super::book::Book;
use super::budget::Budget;
use super::config::{DeliveryKeys, Ordering};
use crate::ledger::SinkStorage;
use crate::news::News;
use crate::route::Destination;
use crate::traces::Traces;

/// What a worker is made from.
pub struct Spec {
    /// The sink's name.
    pub name: String,
    /// The sink's table, read.
    pub config: Arc<dyn SinkConfig>,
    /// The core's keys of the table.
    pub keys: DeliveryKeys,
    /// Batching and concurrency, with the kind's defaults filled in.
    pub limits: Defaults,
    /// What the sink is opened with.
    pub context: SinkContext,
    /// Where the worker shows what it does.
    pub book: Arc<Book>,
    /// What it reads from and writes to.
    pub storage: SinkStorage,
    /// The memory that it shares with all other sinks.
    pub budget: Arc<Budget>,
    /// Where it tells what people want to hear of.
    pub news: News,
    /// Where it tells the spans of deliveries.
    pub traces: Arc<Traces>,
}

impl Spec {
    /// Whether order within a key is owed.
    pub fn is_ordered(&self) -> bool {
        self.keys.ordering == Ordering::Key
    }

    /// The sink as the rules see it.
    pub fn destination(&self) -> Destination {
        Destination { name: self.name.clone(), config: Arc::clone(&self.config), key: self.keys.key.clone() }
    }
}
