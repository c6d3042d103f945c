//! The clients of Kafka that a sink's group needs, each set up for its role. What librdkafka says by itself is noise
//! while brokers come and go: it is in the log at `debug`, and what matters is said by whoever uses the client.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, DeliveryResult, ProducerContext};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tracing::{debug, error};

use super::cluster::{CLIENT, Cluster};

/// How often a member shows that it is alive, and so how late it learns that another has its name, milliseconds.
const HEARTBEAT: &str = "2000";
/// Shortest session that brokers take by default (`group.min.session.timeout.ms`).
const MIN_SESSION: Duration = Duration::from_secs(6);
/// Longest session that brokers take by default (`group.max.session.timeout.ms`).
pub(super) const MAX_SESSION: Duration = Duration::from_secs(1800);
/// Longest between two polls of a member before librdkafka gives its shards back. Our thread always polls; it must not
/// be shorter than a session.
const MIN_POLL: Duration = Duration::from_secs(300);
/// Most bytes of a message: a row of what is held, with what goes with it.
pub(super) const MAX_MESSAGE: &str = "17825792";
/// After this time a broker ends a transaction by itself, milliseconds.
const TRANSACTION: &str = "10000";
/// An idle connection of a transactional producer is closed: it frees a call that waits for a coordinator that is gone
/// (librdkafka#5511). Milliseconds.
const IDLE: &str = "5000";

/// A consumer that never joins its group.
pub(super) type Looker = BaseConsumer<Quiet>;
/// A producer, which keeps what became of its messages.
pub(super) type Producer = BaseProducer<Reports>;

/// A client of which nobody needs to hear.
pub struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: KafkaError, why: &str) {
        debug!(%error, why, "Kafka");
    }
}

impl ConsumerContext for Quiet {}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Keeps why a message did not arrive, where one did not: that is the only sign of it; and where the last one stands
/// that did.
#[derive(Default)]
pub(super) struct Reports(Mutex<Option<KafkaError>>, AtomicU64);

impl Reports {
    /// Why a message did not arrive, since this was asked last.
    pub fn take(&self) -> Option<KafkaError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The offset of the message that arrived last.
    pub fn last(&self) -> u64 {
        self.1.load(Ordering::Acquire)
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: KafkaError, why: &str) {
        debug!(%error, why, "Kafka");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => self.1.store(u64::try_from(message.offset()).unwrap_or_default(), Ordering::Release),
            Err((error, _)) => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.clone());
            }
        }
    }
}

/// Notes what librdkafka says.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            error!(facility, "Kafka: {text}")
        }
        _ => debug!(facility, "Kafka: {text}"),
    }
}

fn member_role(sink: &str) -> String {
    format!("{sink}-member")
}

/// By which id this daemon's member of a sink's group is known to brokers.
pub(super) fn member_id(cluster: &Cluster, sink: &str) -> String {
    cluster.client_id(&member_role(sink))
}

/// Whether a client of that id is some daemon's member of a sink's group.
pub(super) fn is_member_id(client: &str, sink: &str) -> bool {
    client.starts_with(CLIENT) && client.ends_with(&format!("-{}", member_role(sink)))
}

/// A member of a sink's group, whose shards go to others when nothing is heard of it for a `session`.
pub(super) fn member(cluster: &Cluster, sink: &str, session: Duration) -> ClientConfig {
    let session = session.clamp(MIN_SESSION, MAX_SESSION);
    let mut config = cluster.client(&member_role(sink));
    config.set("group.id", cluster.group(sink)).set("group.instance.id", &cluster.node);
    config.set("group.protocol", "classic").set("partition.assignment.strategy", "cooperative-sticky");
    config.set("session.timeout.ms", session.as_millis().to_string()).set("heartbeat.interval.ms", HEARTBEAT);
    config.set("max.poll.interval.ms", MIN_POLL.max(session).as_millis().to_string());
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("isolation.level", "read_committed").set("auto.offset.reset", "error");
    // What was fetched ahead is thrown away by each pause; and a shard that has fetched enough looks again soon.
    config.set("queued.max.messages.kbytes", "8192").set("fetch.queue.backoff.ms", "20");
    config
}

/// A consumer in a sink's group that never joins it: it asks where the group stands.
pub(super) fn looker(cluster: &Cluster, sink: &str) -> KafkaResult<Looker> {
    let mut config = cluster.client(&format!("{sink}-looker"));
    config.set("group.id", cluster.group(sink)).set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed");
    config.create_with_context(Quiet)
}

/// The same, which does not wait for transactions that are open: it is told what was committed before them.
pub(super) fn glancer(cluster: &Cluster, sink: &str) -> KafkaResult<Looker> {
    let mut config = cluster.client(&format!("{sink}-glancer"));
    config.set("group.id", cluster.group(sink)).set("enable.auto.commit", "false");
    config.set("isolation.level", "read_uncommitted");
    config.create_with_context(Quiet)
}

/// A consumer of whole topics, to their ends. It is in no group, although librdkafka wants a name of one.
pub(super) fn rows(cluster: &Cluster, role: &str) -> KafkaResult<Looker> {
    let mut config = cluster.client(&format!("{role}-rows"));
    config.set("group.id", cluster.group("rows")).set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("auto.offset.reset", "earliest");
    config.set("enable.partition.eof", "true").set("queued.max.messages.kbytes", "8192");
    config.set("fetch.queue.backoff.ms", "20");
    config.create_with_context(Quiet)
}

/// A client that sees where topics end, with what no transaction has ended yet.
pub(super) fn ends(cluster: &Cluster, role: &str) -> KafkaResult<Looker> {
    let mut config = cluster.client(&format!("{role}-ends"));
    config.set("isolation.level", "read_uncommitted");
    config.create_with_context(Quiet)
}

/// The producer of this daemon's transactions for a sink.
pub(super) fn transactions(cluster: &Cluster, sink: &str) -> KafkaResult<Producer> {
    let mut config = cluster.client(&format!("{sink}-transactions"));
    config.set("transactional.id", cluster.transactions(sink)).set("transaction.timeout.ms", TRANSACTION);
    config.set("connections.max.idle.ms", IDLE).set("acks", "all").set("linger.ms", "1");
    config.set("compression.type", "lz4").set("message.max.bytes", MAX_MESSAGE);
    config.create_with_context(Reports::default())
}

/// A producer of single messages that are not part of a transaction.
pub(super) fn plain(cluster: &Cluster, role: &str, patience: Duration) -> KafkaResult<Producer> {
    let mut config = cluster.client(&format!("{role}-writer"));
    config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "0");
    config.set("message.max.bytes", MAX_MESSAGE).set("message.timeout.ms", patience.as_millis().to_string());
    config.create_with_context(Reports::default())
}

/// Whether a member's fatal error says that another process has its name; it may be that the member has lost its place.
pub(super) fn is_replaced(code: Code) -> bool {
    code == Code::FencedInstanceId
}
