//! One librdkafka producer from its birth to its end.
//!
//! A producer ends for good: at a call's deadline, when a call is dropped with messages under way, when no broker can
//! be reached, and on a fatal error. From that moment it takes no message, the messages it holds are purged, and every
//! call that waits for it is woken. Dropping a producer destroys it, which blocks: that belongs on a thread that may
//! wait.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig};
use sink_api::{Reason, code};
use tokio::sync::{Notify, watch};

use crate::verdict;

/// Longest one poll of librdkafka, and so the longest until the polling thread notices that it is to end.
const POLL: Duration = Duration::from_millis(100);
/// How long all brokers may be away, or refuse our credentials, before calls stop waiting for them.
const DOWN_PATIENCE: Duration = Duration::from_secs(3);
/// How long a probe waits for an answer.
const PROBE: Duration = Duration::from_secs(5);

/// How long a partition's leader surely knows a producer of which something has arrived. Brokers forget one that is
/// idle (`producer.id.expiration.ms`, a day).
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// Most partitions of which a producer remembers that; where there are more it begins anew, which costs a round trip.
const MAX_KNOWN: usize = 4096;

/// What is known about a producer.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Why it has ended.
    pub over: Option<Reason>,
    /// The last trouble with connections that was reported, with nothing delivered since.
    pub trouble: Option<Reason>,
    /// Since when no broker can be used, with nothing delivered since.
    down: Option<Instant>,
}

impl State {
    /// Until when waiting makes sense to a call that began then. Counted from its beginning at the earliest, as a
    /// cluster that was down before may be mended by now.
    pub fn patience(&self, begun: Instant) -> Option<Instant> {
        self.down.map(|since| since.max(begun) + DOWN_PATIENCE)
    }

    /// Whether no broker can be used.
    pub fn is_down(&self) -> bool {
        self.down.is_some()
    }

    fn note(&mut self, error: Code, said: &str) {
        let down = matches!(error, Code::AllBrokersDown | Code::Authentication | Code::SSL | Code::Resolve);
        if down && self.down.is_none() {
            self.down = Some(Instant::now());
        }
        // Why one connection failed says more than that it did, or that all did.
        let telling = |code: &str| [code::AUTH, code::TLS, code::DNS].contains(&code);
        let new = verdict::reason(error, said);
        let keeps = |old: &Reason| error == Code::AllBrokersDown || (telling(old.code) && !telling(new.code));
        if !self.trouble.as_ref().is_some_and(keeps) {
            self.trouble = Some(new);
        }
    }
}

/// What a delivery report says.
#[derive(Clone, Copy, Debug)]
pub struct Landed {
    /// The delivery's position in its batch.
    pub index: usize,
    /// The partition it stands in, or what the brokers answered.
    pub result: Result<i32, Code>,
}

/// Where the reports of one call wait until it takes them, all at once: at most one for each of its messages.
#[derive(Default)]
pub struct Inbox {
    landed: Mutex<Vec<Landed>>,
    has_some: Notify,
}

impl Inbox {
    fn put(&self, one: Landed) {
        let mut landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        landed.push(one);
        // Reports come by the hundred: a call that was woken for the first finds the others beside it.
        if landed.len() == 1 {
            self.has_some.notify_one();
        }
    }

    /// All that have come and were not taken yet, in the order in which they came.
    pub fn take(&self) -> Vec<Landed> {
        std::mem::take(&mut *self.landed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there may be one. Cancel-safe.
    pub async fn has_some(&self) {
        self.has_some.notified().await;
    }
}

/// What a message carries so that its report finds its call.
pub struct Ticket {
    /// The delivery's position in its batch.
    pub index: usize,
    /// Where its report goes.
    pub to: Arc<Inbox>,
}

/// A message to be sent.
pub struct Message<'m> {
    /// Its topic.
    pub topic: &'m str,
    /// Its partition, where that is not for librdkafka to choose.
    pub partition: Option<i32>,
    /// Its key.
    pub key: &'m str,
    /// Its value.
    pub value: &'m [u8],
    /// Its headers.
    pub headers: OwnedHeaders,
}

/// What became of an attempt to hand a message to librdkafka.
pub enum Handed {
    /// It is queued; its report will come.
    Queued,
    /// There is no room now.
    Full,
    /// The producer has ended.
    Over,
    /// librdkafka would not take it.
    Refused(Code),
}

/// Takes what librdkafka reports, on the polling thread.
struct Listener {
    state: watch::Sender<State>,
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        // Errors and verdicts come back by other ways; the rest repeats itself while a broker is away.
        tracing::debug!(?level, facility, text, "librdkafka");
    }

    fn stats_raw(&self, _json: &[u8]) {}

    fn error(&self, error: KafkaError, said: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        // A fatal error comes with the code of its cause; calls are woken by this note and ask librdkafka for the
        // error.
        self.state.send_modify(|state| state.note(code, said));
    }
}

impl ProducerContext for Listener {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let result = match result {
            Ok(message) => Ok(message.partition()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        let troubled = |state: &State| state.trouble.is_some() || state.down.is_some();
        if result.is_ok() && troubled(&self.state.borrow()) {
            self.state.send_modify(|state| (state.trouble, state.down) = (None, None));
        }
        ticket.to.put(Landed { index: ticket.index, result });
    }
}

/// A producer at work, or at its end.
pub struct Producer {
    native: Arc<BaseProducer<Listener>>,
    state: watch::Sender<State>,
    /// When something of this producer last arrived in a partition of a topic.
    arrived: Mutex<HashMap<(String, i32), Instant>>,
    _polling: Polling,
}

/// The thread that listens to librdkafka, until this is dropped. (rdkafka's own panics where the system gives none.)
struct Polling {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Polling {
    fn start(native: &Arc<BaseProducer<Listener>>) -> io::Result<Self> {
        let over = Arc::<AtomicBool>::default();
        let (native, is_over) = (Arc::clone(native), Arc::clone(&over));
        let poll = move || {
            while !is_over.load(Ordering::Relaxed) {
                native.poll(POLL);
            }
        };
        let thread = std::thread::Builder::new().name("kafka-poll".into()).spawn(poll)?;
        Ok(Self { over, thread: Some(thread) })
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was reported on stderr by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Producer {
    /// Makes a producer. Connects to nothing yet.
    ///
    /// # Errors
    /// Where librdkafka does not take the properties together, or the system gives no thread.
    pub fn open(config: &ClientConfig) -> Result<Self, String> {
        let state = watch::Sender::new(State::default());
        let native = config.create_with_context(Listener { state: state.clone() }).map_err(|error| text_of(&error))?;
        let native = Arc::new(native);
        let polling = Polling::start(&native).map_err(|error| format!("no thread to listen to librdkafka: {error}"))?;
        Ok(Self { native, state, arrived: Mutex::default(), _polling: polling })
    }

    /// What is known about it, now and as it changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Whether the producer is of no use any more.
    pub fn is_over(&self) -> bool {
        self.state.borrow().over.is_some() || self.fatal().is_some()
    }

    /// The fatal error of the producer, if it has one.
    pub fn fatal(&self) -> Option<Reason> {
        let (_, said) = self.native.client().fatal_error()?;
        Some(verdict::reason(Code::Fatal, &said))
    }

    /// Hands a message over. Never waits.
    pub fn send(&self, message: Message<'_>, ticket: Ticket) -> Handed {
        // The state is held while the message is handed over, so that none can slip in behind the purge of `end`.
        let state = self.state.borrow();
        if state.over.is_some() {
            return Handed::Over;
        }
        let mut record = BaseRecord::with_opaque_to(message.topic, Box::new(ticket))
            .key(message.key)
            .payload(message.value)
            .headers(message.headers);
        record.partition = message.partition;
        match self.native.send(record).map_err(|(error, _)| error.rdkafka_error_code()) {
            Ok(()) => Handed::Queued,
            Err(Some(Code::QueueFull)) => Handed::Full,
            Err(Some(Code::Fatal)) => Handed::Over,
            Err(code) => Handed::Refused(code.unwrap_or(Code::Unknown)),
        }
    }

    /// Whether the partition's leader knows this producer, and so takes what it sends in its order or not at all. One
    /// that does not know it takes whatever comes first, even where that stands behind something it has refused.
    pub fn is_known(&self, topic: &str, partition: i32) -> bool {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.get(&(topic.to_owned(), partition)).is_some_and(|when| when.elapsed() < KNOWN_FOR)
    }

    /// Something of this producer has arrived in the partition.
    pub fn note_arrival(&self, topic: &str, partition: i32) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        if arrived.len() >= MAX_KNOWN {
            arrived.clear();
        }
        arrived.insert((topic.to_owned(), partition), Instant::now());
    }

    /// Purges what has not been sent, where a fatal error keeps it from being sent. What is under way still gets its
    /// answer. (librdkafka does the same when the error is raised, but a message may have come in behind that.)
    pub fn purge_unsent(&self) {
        self.native.purge(PurgeConfig::default().queue().non_blocking());
    }

    /// Ends the producer: it takes no message from now on, its messages are purged, and every call that waits for it is
    /// told why. The first reason stands.
    pub fn end(&self, why: &Reason) {
        self.state.send_if_modified(|state| {
            if state.over.is_some() {
                return false;
            }
            state.over = Some(why.clone());
            self.native.purge(PurgeConfig::default().queue().inflight().non_blocking());
            true
        });
    }
}

/// Asks a broker whether it is there and knows the topic (any topic, where `None`), with a client of its own. Blocks.
///
/// # Errors
/// Says why not.
pub fn probe(config: &ClientConfig, topic: Option<&str>) -> Result<(), Reason> {
    let mut config = config.clone();
    // Asking must not make the topic.
    config.set("allow.auto.create.topics", "false");
    let state = watch::Sender::new(State::default());
    let listener = Listener { state: state.clone() };
    let failed = |error: &KafkaError| {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        verdict::reason(code, &error.to_string())
    };
    let native: BaseProducer<Listener> = config.create_with_context(listener).map_err(|error| failed(&error))?;
    let answer = match topic {
        Some(name) => native.client().fetch_metadata(Some(name), PROBE).map_err(|error| failed(&error)),
        None => match native.client().fetch_cluster_id(PROBE) {
            Some(_) => return Ok(()),
            None => Err(verdict::reason(Code::OperationTimedOut, "no broker answered in time")),
        },
    };
    let metadata = answer.map_err(|why| {
        // Takes what was reported about connections meanwhile.
        native.poll(Duration::from_millis(100));
        state.borrow().trouble.clone().unwrap_or(why)
    })?;
    let error = metadata.topics().first().and_then(|topic| topic.error());
    match error.map(Code::from) {
        None | Some(Code::NoError) => Ok(()),
        Some(error) => match verdict::of(error, topic) {
            verdict::Failure::Outcome(sink_api::Outcome::Retry { why, .. }) => Err(why),
            _ => Err(verdict::reason(error, "")),
        },
    }
}

/// What librdkafka says about properties it does not take together. Its own text for a single one holds the value.
fn text_of(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, name, _) => {
            format!("librdkafka does not take the value of property `{name}`")
        }
        KafkaError::ClientCreation(text) => format!("librdkafka refuses the properties: {text}"),
        other => other.to_string(),
    }
}
