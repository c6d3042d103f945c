//! Reads on what all daemons know, for as long as the process lives: one client and one thread that stay, so that
//! nobody makes a client for each question, and so that a change is heard of at once. What brokers do meanwhile delays
//! it: the thread goes on when they are back, and reads all anew where the topic was made anew.
//!
//! Whoever must not miss what was written before the question asks where the topic ends, and waits until that is read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::clients::{self, Looker};
use super::cluster::Cluster;
use super::control::PARTITION;
use super::group::{GroupError, blocking};
use super::member::list;
use super::rows;
use super::seam::Told;

/// Longest one poll, and so the longest until the thread sees that it is to end.
const POLL: Duration = Duration::from_millis(100);
/// Messages that are taken in before others hear of them.
const BURST: usize = 1000;
/// The pause before it is begun anew.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest that it is waited for what was written before a question.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most rows that are kept; sinks, daemons and replays have one each. What is beyond is passed over.
const MOST_ROWS: usize = 10_000;
/// Most bytes of a row that is kept.
const MOST_BYTES: usize = 1 << 20;

/// What the thread and whoever asks share.
struct Shared {
    cluster: Cluster,
    told: watch::Sender<Told>,
    /// The client that reads, for questions about the topic's end.
    client: Mutex<Option<Arc<Looker>>>,
    is_over: AtomicBool,
}

/// The reader of what all daemons know. Begins with the first question, and ends when this is dropped.
pub(super) struct Watching {
    shared: Arc<Shared>,
    begun: OnceLock<()>,
}

impl Watching {
    /// Reads nothing yet.
    pub fn new(cluster: Cluster) -> Self {
        let (told, client) = (watch::Sender::default(), Mutex::default());
        let shared = Shared { cluster, told, client, is_over: AtomicBool::new(false) };
        Self { shared: Arc::new(shared), begun: OnceLock::new() }
    }

    /// What was read so far, and every change of it.
    pub fn told(&self) -> watch::Receiver<Told> {
        self.begun.get_or_init(|| {
            let shared = Arc::clone(&self.shared);
            let started = std::thread::Builder::new().name("kafka-control".into()).spawn(move || shared.run());
            if let Err(error) = started {
                // Whoever asks is answered by clients that come and go.
                warn!(%error, "cannot start the thread kafka-control: what other daemons change is heard of late");
            }
        });
        self.shared.told.subscribe()
    }

    /// The rows, with all that was written before this was asked; nothing where the reader does not come to that.
    pub async fn now(&self) -> Option<Arc<BTreeMap<String, Bytes>>> {
        let mut told = self.told();
        if !told.borrow().is_whole {
            return None;
        }
        let (client, topic) = (self.shared.client()?, self.shared.cluster.control());
        let end = blocking(move || rows::watermarks(&client, &topic, PARTITION)).await.ok()?.1;
        let read = told.wait_for(|told| told.is_whole && told.next >= end);
        let read = tokio::time::timeout(PATIENCE, read).await.ok()?.ok()?;
        Some(Arc::clone(&read.rows))
    }

    /// Waits until the row at that place is read, but not for ever.
    pub async fn read_past(&self, place: u64) {
        let mut told = self.told();
        let _ = tokio::time::timeout(PATIENCE, told.wait_for(|told| told.is_whole && told.next > place)).await;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
    }
}

impl Shared {
    fn client(&self) -> Option<Arc<Looker>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_client(&self, client: Option<Arc<Looker>>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// The thread.
    fn run(&self) {
        while !self.is_over() {
            if let Err(error) = self.read() {
                debug!(%error, "what all daemons know is read anew");
                std::thread::sleep(PAUSE);
            }
            self.set_client(None);
        }
    }

    /// Reads from the beginning to the end and on. Others go by what was read before until the end is reached.
    fn read(&self) -> Result<(), GroupError> {
        let trouble = |error: KafkaError| GroupError::kafka("reading what all daemons know", &error);
        let client = Arc::new(clients::rows(&self.cluster, "control-watch").map_err(trouble)?);
        client.assign(&list(&self.cluster.control(), [(PARTITION, Some(0))].into_iter())).map_err(trouble)?;
        self.set_client(Some(Arc::clone(&client)));
        let mut reading = Told::default();
        while !self.is_over() {
            let (mut timeout, mut is_news) = (POLL, false);
            for _ in 0..BURST {
                match client.poll(std::mem::take(&mut timeout)) {
                    Some(Ok(message)) => {
                        take(&mut reading, &message)?;
                        is_news = true;
                    }
                    Some(Err(KafkaError::PartitionEOF(_))) => {
                        is_news |= !std::mem::replace(&mut reading.is_whole, true);
                    }
                    Some(Err(error)) if is_lost(&error) || client.client().fatal_error().is_some() => {
                        return Err(trouble(error));
                    }
                    Some(Err(error)) => debug!(%error, "Kafka"),
                    None => break,
                }
            }
            if is_news && reading.is_whole {
                self.told.send_replace(reading.clone());
            }
        }
        Ok(())
    }
}

/// Takes a row in.
fn take(reading: &mut Told, message: &BorrowedMessage<'_>) -> Result<(), GroupError> {
    let offset = u64::try_from(message.offset()).unwrap_or_default();
    if offset < reading.next {
        let why = "the topic was made anew".to_owned();
        return Err(GroupError::Kafka { what: "reading what all daemons know", why });
    }
    reading.next = offset.saturating_add(1);
    let Some(row) = rows::row(message.key(), message.payload()) else {
        warn!(offset, "a row without a readable key is passed over");
        return Ok(());
    };
    let all = Arc::make_mut(&mut reading.rows);
    match row.value {
        None => _ = all.remove(&row.key),
        Some(value) if value.len() > MOST_BYTES || (all.len() >= MOST_ROWS && !all.contains_key(&row.key)) => {
            warn!(offset, key = %row.key, "a row of what all daemons know is too large, or one too many: left out");
            all.remove(&row.key);
        }
        Some(value) => _ = all.insert(row.key, value),
    }
    Ok(())
}

/// Whether an error says that the topic is not there, or not what was read: librdkafka may not look again by itself.
fn is_lost(error: &KafkaError) -> bool {
    let codes = [Code::UnknownTopicOrPartition, Code::UnknownTopic, Code::UnknownPartition, Code::AutoOffsetReset];
    error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
}
