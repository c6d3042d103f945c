//! Has messages sent that somebody asks for: writes the event that asks for it, and waits for what comes of it.
//!
//! What is asked for twice under one key is sent once: the event's id is made of the key, and an event of that id that
//! is in the journal already is the answer. Nothing else is kept; it holds for as long as the journal has the event.

use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use sink_api::{CallId, Timestamp, Uuid};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep};

use super::books::Books;
use super::commanding::Commands;
use super::config_state::ConfigState;
use super::found_fates;
use super::found_ids;
use super::refusals::{sinks_not_started, unable};
use super::store::Store;
use crate::admin::Refusal;
use crate::admin::found::DeliveryFateView;
use crate::admin::sending::{MAX_WAIT_S, NOT_UNDERSTOOD, SendAsk, SendDone, SendState, ToSend, WAIT_S};
use crate::config::{Config, SinkEntry};
use crate::event;
use crate::journal::Entry;
use crate::ledger::Storage;
use crate::outbox::{CallState, Command, Outbox};

/// Most answers that wait for what comes of their message; others say at once that it waits.
const WAITERS: usize = 16;
/// How soon it is looked first whether a message was sent, and how seldom at last.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// What stands before a key in what an event's id is made of.
const KEYED: &str = "hookrelay message.send\n";

/// What is said of a message that the provider took without giving its id.
const NAMELESS: &str = "the provider has taken it and gave no id; its first status will";

/// The way of a message from whoever asks for it.
pub(super) struct Sending {
    storage: Storage,
    books: Arc<Books>,
    commands: Commands,
    config_state: Arc<ConfigState>,
    outbox: Outbox,
    /// Held while it is looked whether a key is known, until the event under it is in the journal.
    keyed: Mutex<()>,
    waiters: Semaphore,
}

impl Sending {
    pub fn new(store: &Store, books: &Arc<Books>, config_state: &Arc<ConfigState>) -> Self {
        Self {
            storage: store.storage.clone(),
            books: Arc::clone(books),
            commands: Commands::new(books, &store.storage),
            config_state: Arc::clone(config_state),
            outbox: store.outbox.clone(),
            keyed: Mutex::default(),
            waiters: Semaphore::new(WAITERS),
        }
    }

    /// Has a message sent. That it is to be is in the journal when this returns, unless it refuses.
    ///
    /// # Errors
    /// The body or the question makes no sense, no sink can send it, the key is that of another message, or the journal
    /// cannot be written.
    pub async fn send(&self, ToSend { ask, key, body }: ToSend) -> Result<SendDone, Refusal> {
        let wait = wait(&ask)?;
        let request = request(&body)?;
        let config = self.config_state.in_force();
        let SinkEntry { name, config: table, .. } = sink(&config, ask.sink.as_deref())?;
        let sink = name.clone();
        table.check_payload(request.get().as_bytes()).map_err(|why| not_understood(&why.detail))?;
        let command = Command::send(&sink, request, Timestamp::now());
        let id = key.as_deref().map_or_else(Uuid::now_v7, id_of);
        let repeated = match key {
            None => self.append(id, &command).await.map(|()| false)?,
            Some(_) => self.once(id, &command).await?,
        };
        let place = self.waiters.try_acquire();
        let wait = if place.is_ok() { wait } else { Duration::ZERO };
        Ok(SendDone { repeated, ..self.outcome(&sink, id, wait).await })
    }

    /// Writes the event, unless one of that id is there: then that must ask for the same. Says whether it was.
    async fn once(&self, id: Uuid, command: &Command) -> Result<bool, Refusal> {
        let _alone = self.keyed.lock().await;
        let Some(entry) = found_ids::by_id(&*self.storage.journal, id).await? else {
            return self.append(id, command).await.map(|()| false);
        };
        let event = event::decode(&entry.record).map_err(unable)?;
        let before = Command::read(&event.body).filter(|before| before.sink == command.sink);
        match before.as_ref().and_then(|before| before.request.as_deref()).zip(command.request.as_deref()) {
            Some((before, now)) if is_same(before, now) => Ok(true),
            _ => Err(Refusal::Reused(
                "the `Idempotency-Key` was given to another message before: take a new one for each message".into(),
            )),
        }
    }

    async fn append(&self, id: Uuid, command: &Command) -> Result<(), Refusal> {
        self.commands.append(&event::own_as(id, command.body().into())).await.map_err(unable)
    }

    /// What came of a message, waiting so long for it. The message is on disk: that nothing more can be known now is no
    /// refusal, by which somebody would send it again.
    async fn outcome(&self, sink: &str, id: Uuid, wait: Duration) -> SendDone {
        let (until, mut pause) = (Instant::now() + wait, LOOK.0);
        let event = id.to_string();
        let known = SendDone { delivery: event.clone(), event, sink: sink.to_owned(), ..SendDone::default() };
        let mut entry = None;
        loop {
            let looked = self.look(known.clone(), id, &mut entry).await;
            let done = looked.unwrap_or_else(|error| unknown(known.clone(), &error));
            let left = until.saturating_duration_since(Instant::now());
            if done.state != SendState::Waiting || left.is_zero() {
                return done;
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(LOOK.1);
        }
    }

    /// What came of a message so far. `entry` is its event, once that was read.
    async fn look(&self, done: SendDone, id: Uuid, entry: &mut Option<Entry>) -> Result<SendDone, Refusal> {
        let call_id = CallId::of(&done.sink, &done.delivery);
        let call = self.outbox.outcome(call_id).await.map_err(unable)?;
        let taken = call.filter(|call| call.state == CallState::Sent);
        match taken.map(|call| call.message) {
            Some(Some(message)) => {
                return Ok(SendDone { message: Some(message), state: SendState::Sent, ..done });
            }
            Some(None) => return Ok(SendDone { detail: Some(NAMELESS.to_owned()), ..done }),
            None => {}
        }
        if entry.is_none() {
            *entry = found_ids::by_id(&*self.storage.journal, id).await?;
        }
        let entry = entry.as_ref().ok_or_else(|| unable("the journal does not find its event"))?;
        let books = self.books.now();
        let Some(book) = books.of(&done.sink) else { return Err(sinks_not_started()) };
        let fate = found_fates::of_one(&self.storage.ledger, (&done.sink, Some(book)), entry, &done.delivery).await?;
        let config = self.config_state.in_force();
        let masker = config.masks.masker();
        let done = told(done, fate, |text| masker.mask(text));
        // The call may have been answered since it was asked for.
        let is_nameless = done.state == SendState::Sent && done.message.is_none();
        let call = if is_nameless { self.outbox.outcome(call_id).await.map_err(unable)? } else { None };
        Ok(SendDone { message: call.and_then(|call| call.message), ..done })
    }
}

/// What is said of a message that is on disk, where no more can be read of it now.
fn unknown(done: SendDone, error: &Refusal) -> SendDone {
    SendDone { state: SendState::Waiting, detail: Some(format!("how far it is cannot be read now: {error}")), ..done }
}

/// What a delivery's fate says of its message.
fn told(done: SendDone, fate: DeliveryFateView, mask: impl Fn(&str) -> String) -> SendDone {
    let DeliveryFateView { fate, code, detail, .. } = fate;
    let state = match fate.as_str() {
        "delivered" => SendState::Sent,
        "dead" => SendState::Refused,
        "filtered" | "dropped" => SendState::Skipped,
        _ => SendState::Waiting,
    };
    let detail = detail.map(|detail| mask(&detail));
    let why = || match (&code, &detail) {
        (Some(code), Some(detail)) => format!("{code}: {detail}"),
        (Some(only), None) | (None, Some(only)) => only.clone(),
        (None, None) => fate.clone(),
    };
    match state {
        // Of what was sent the last failure is of no interest.
        SendState::Sent => SendDone { state, ..done },
        SendState::Waiting => SendDone { state, code, detail, ..done },
        SendState::Refused | SendState::Skipped => {
            let error = Some(format!("it is not sent: {}", why()));
            SendDone { state, error, code, detail, ..done }
        }
    }
}

/// The sink that is meant.
fn sink<'c>(config: &'c Config, asked: Option<&str>) -> Result<&'c SinkEntry, Refusal> {
    let senders: Vec<&SinkEntry> = config.sinks.iter().filter(|sink| sink.kind.sends).collect();
    let list = || senders.iter().map(|sink| format!("`{}`", sink.name)).collect::<Vec<_>>().join(", ");
    let refused = |why: String| Err(Refusal::Question(format!("{why}, expected one of {}", list())));
    match (asked, senders.as_slice()) {
        (_, []) => {
            let why = "no sink of the config sends messages: add one, such as [sinks.whatsapp] with \
                       kind = \"interakt\", and reload";
            Err(Refusal::Config(why.into()))
        }
        (None, [only]) => Ok(*only),
        (None, _) => refused("several sinks send messages: say which by `sink`".to_owned()),
        (Some(asked), _) => match senders.iter().find(|sink| sink.name == asked) {
            Some(meant) => Ok(*meant),
            None if config.own_sinks().any(|sink| sink.name == asked) => {
                refused(format!("sink `{asked}` sends no messages"))
            }
            None => refused(format!("there is no sink `{asked}`")),
        },
    }
}

/// How long the answer waits.
fn wait(ask: &SendAsk) -> Result<Duration, Refusal> {
    let seconds = ask.wait_s.unwrap_or(WAIT_S);
    if seconds > MAX_WAIT_S {
        return Err(Refusal::Question(format!("`wait_s` is {seconds}, at most {MAX_WAIT_S} is possible")));
    }
    Ok(Duration::from_secs(seconds))
}

/// The body of a message: one JSON object in UTF-8. What stands in it, the sink checks.
fn request(body: &[u8]) -> Result<Box<RawValue>, Refusal> {
    let refused = |why: String| not_understood(&why);
    // serde would take a list for an object, too.
    if !body.trim_ascii_start().starts_with(b"{") {
        let place = serde_json::from_slice::<IgnoredAny>(body).err().map(|error| format!(": {error}"));
        let place = place.filter(|_| !body.trim_ascii().is_empty()).unwrap_or_default();
        return Err(refused(format!("expected a JSON object, the body of the send API{place}")));
    }
    if let Err(error) = std::str::from_utf8(body) {
        return Err(refused(format!("it is no UTF-8 from byte {} on", error.valid_up_to() + 1)));
    }
    serde_json::from_slice::<IgnoredAny>(body).map_err(|error| refused(error.to_string()))?;
    let compact = sink_api::json::compact(body).and_then(|bytes| String::from_utf8(bytes).ok());
    let text = compact.ok_or_else(|| refused("it is no JSON in UTF-8".into()))?;
    RawValue::from_string(text).map_err(|error| refused(error.to_string()))
}

fn not_understood(why: &str) -> Refusal {
    Refusal::Question(format!("{NOT_UNDERSTOOD}: {why}"))
}

/// Whether two bodies are the same message: in whatever order their members stand.
fn is_same(one: &RawValue, other: &RawValue) -> bool {
    let read = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
    one.get() == other.get() || read(one).is_some_and(|one| Some(one) == read(other))
}

/// The id of the event that a key stands for: a UUID of version 8 (RFC 9562, section 5.8).
fn id_of(key: &str) -> Uuid {
    let digest = Sha256::new().chain_update(KEYED).chain_update(key).finalize();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    bytes[6] = 0x80 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sink_api::Size;

    use super::*;
    use crate::journal::{JournalConfig, LocalJournal};
    use crate::ledger::{Ledger, LocalSettle};
    use crate::news::News;
    use crate::registry::KINDS;

    const CONFIG: &str = r#"
data_dir = "data"
[sources.in]
kind = "interakt"
path = "/in"
secret = "0123456789abcdef"
[sinks.whatsapp]
kind = "interakt"
api_key = "c3RhbmQtaW46bm90LWludGVyYWt0"
"#;

    /// What sends by that config, in that folder; its journal takes all, and its ledger was never opened.
    fn without_ledger(folder: &Path) -> Sending {
        std::fs::write(folder.join("config.toml"), CONFIG).unwrap();
        let config = crate::config::read(&folder.join("config.toml"), KINDS).unwrap();
        let ledger = Arc::new(Ledger::bounded(u64::MAX));
        let keys = JournalConfig { min_free: Size(0), ..JournalConfig::default() };
        let (journal, _) =
            LocalJournal::open(&folder.join("journal"), &keys, |_| None, ledger.clone(), Box::new(|| 0)).unwrap();
        let journal = Arc::new(journal);
        let settle = Arc::new(LocalSettle::new(Arc::clone(&ledger), journal.clone()));
        let storage = Storage { retention: journal.clone(), journal, settle, ledger };
        let names = config.sink_names().collect();
        let books = Arc::new(Books::new(&config.rules, names, &storage.journal.known_ends()));
        Sending {
            commands: Commands::new(&books, &storage),
            books,
            config_state: Arc::new(ConfigState::new(&config, None)),
            outbox: Outbox::new(folder.join("outbox.db"), News::new().0),
            storage,
            keyed: Mutex::default(),
            waiters: Semaphore::new(WAITERS),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_in_the_journal_is_no_refusal_where_the_ledger_fails_after_that() {
        let folder = tempfile::tempdir().unwrap();
        let sending = without_ledger(folder.path());
        let body = r#"{"fullPhoneNumber":"919876543210","type":"Text","data":{"message":"hello"}}"#;
        let ask = SendAsk { wait_s: Some(0), ..SendAsk::default() };
        let to_send = || ToSend { ask: ask.clone(), key: Some("order-77".into()), body: body.into() };
        let done = sending.send(to_send()).await.unwrap();
        assert_eq!((done.state, done.repeated, done.sink.as_str()), (SendState::Waiting, false, "whatsapp"));
        assert!(done.detail.as_ref().is_some_and(|why| why.contains("cannot be read now")), "{done:?}");
        let entry = found_ids::by_id(&*sending.storage.journal, done.event.parse().unwrap()).await.unwrap();
        assert!(entry.is_some(), "it is on disk");
        let again = sending.send(to_send()).await.unwrap();
        assert_eq!((again.event, again.repeated), (done.event, true));
    }

    #[test]
    fn a_key_stands_for_one_id_which_says_no_time() {
        let (id, other) = (id_of("order-77"), id_of("order-78"));
        assert_eq!((id, id.get_version_num(), id.get_timestamp().is_none()), (id_of("order-77"), 8, true));
        assert_ne!(id, other);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn what_can_be_no_message_is_refused_before_anything_is_written() {
        let why = |body: &str| request(body.as_bytes()).unwrap_err().to_string();
        for (body, part) in [
            ("", "expected a JSON object"),
            ("[{\"fullPhoneNumber\":\"1\"}]", "expected a JSON object"),
            ("{\"fullPhoneNumber\":", "EOF"),
            ("{\"fullPhoneNumber\":\"1\",\n}", "line 2 column 1"),
            ("phone: 1", "line 1 column 1"),
        ] {
            assert!(why(body).contains(part), "{body:.40}: {}", why(body));
        }
        let broken = request(b"{\"phoneNumber\":\"\xff\"}").unwrap_err().to_string();
        assert!(broken.contains("from byte 17 on"), "{broken}");
        let kept = request(b" { \"phoneNumber\" : \"98\", \"n\" : 12345678901234567890 } ").unwrap();
        assert_eq!(kept.get(), "{\"phoneNumber\":\"98\",\"n\":12345678901234567890}");
        assert!(wait(&SendAsk { wait_s: Some(61), ..SendAsk::default() }).is_err());
    }

    #[test]
    fn the_same_message_is_known_in_whatever_order_it_is_written() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let same = |one: &str, other: &str| is_same(&raw(one), &raw(other));
        assert!(same(r#"{"a":1,"b":{"c":"\u00fc","d":[1,2]}}"#, r#"{"b":{"d":[1,2],"c":"ü"},"a":1}"#));
        assert!(same(r#"{"a":"\ud83d"}"#, r#"{"a":"\ud83d"}"#), "what no Rust text holds is compared as it is written");
        for other in [r#"{"a":[2,1]}"#, r#"{"a":["1",2]}"#, r#"{"a":[1,2],"b":null}"#] {
            assert!(!same(r#"{"a":[1,2]}"#, other), "{other}");
        }
    }

    #[test]
    fn what_is_on_disk_waits_where_no_more_can_be_read_of_it() {
        let event = SendDone { event: "e".into(), ..SendDone::default() };
        let done = unknown(event, &Refusal::Unable("the ledger is busy".into()));
        assert_eq!((done.state, done.event.as_str()), (SendState::Waiting, "e"));
        assert!(done.detail.unwrap().contains("the ledger is busy") && done.error.is_none());
    }

    #[test]
    fn a_fate_says_how_far_the_message_is_and_hides_secrets() {
        let of = |fate: &str, code: Option<&str>| {
            let detail = code.map(|_| "400 key s3cret".to_owned());
            let fate = DeliveryFateView {
                fate: fate.into(),
                code: code.map(str::to_owned),
                detail,
                ..DeliveryFateView::default()
            };
            let done = told(SendDone::default(), fate, |text| text.replace("s3cret", "***"));
            (done.state, done.detail, done.error)
        };
        let masked = Some("400 key ***".to_owned());
        assert_eq!(of("delivered", Some("http_5xx")), (SendState::Sent, None, None));
        assert_eq!(of("parked", Some("http_5xx")), (SendState::Waiting, masked.clone(), None));
        assert_eq!(of("pending", None), (SendState::Waiting, None, None));
        let why = Some("it is not sent: bad_payload: 400 key ***".to_owned());
        assert_eq!(of("dead", Some("bad_payload")), (SendState::Refused, masked, why));
        assert_eq!(of("filtered", None), (SendState::Skipped, None, Some("it is not sent: filtered".into())));
    }
}
