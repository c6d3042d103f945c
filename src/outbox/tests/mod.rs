//! What is remembered of messages, as sinks, rules and the daemon see it: on a real file, by a clock that tests move.

mod calling;
mod hearing;
mod keeping;
mod loops;
mod model;
mod speed;
mod turns;
mod waiting;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use sink_api::outbox::{Begun, Bounds, Call, End};
use sink_api::{Batch, CallId, Delivery, Event, Origin, Outbox as _, Payload, Target, Timestamp, Uuid, async_trait};
use tokio::sync::Notify;

use super::keys::ResendKeys;
use super::trim::{MOST, Most};
use super::*;
use crate::news::{Desk, News, SOURCE};

/// The sink that sends.
const SINK: &str = "wa";
/// The customer.
const PHONE: &str = "+919876543210";
/// A rule for failures with two codes, and with a third one.
const RULE: &str = r#"
match = "message_*_failed"
codes = { "131049" = { after = "1h", times = 2 }, "130429" = { after = "10m", times = 5 }, "131026" = "never" }
max_attempts = 3
"#;
/// Bounds of the sink.
const BOUNDS: Bounds =
    Bounds { max_attempts: 3, max_age: Duration::from_secs(7 * 24 * 60 * 60), confirm: Duration::from_secs(120) };

/// What the daemon knows of how far statuses were read: what stands in the journal is heard, now or never.
struct Reading {
    outbox: Mutex<Option<Outbox>>,
    journal: Mutex<Vec<Arc<Delivery>>>,
    hangs: AtomicBool,
    fails: AtomicBool,
    asked: Notify,
}

#[async_trait]
impl Progress for Reading {
    async fn caught_up(&self) -> bool {
        self.asked.notify_one();
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.fails.load(Ordering::SeqCst) {
            return false;
        }
        self.read_all().await;
        true
    }
}

impl Reading {
    async fn read_all(&self) {
        let stood = std::mem::take(&mut *self.journal.lock().unwrap());
        let outbox = self.outbox.lock().unwrap().clone();
        if let (Some(outbox), false) = (outbox, stood.is_empty()) {
            outbox.heard(&batch(stood)).await.unwrap();
        }
    }
}

/// An outbox in a folder of its own.
struct House {
    folder: tempfile::TempDir,
    outbox: Outbox,
    reading: Arc<Reading>,
    clock: Arc<AtomicI64>,
    most: Most,
    rules: Arc<Rules>,
    desk: Desk,
    news: News,
}

impl House {
    fn new() -> Self {
        Self::with(RULE, MOST)
    }

    fn with(rule: &str, most: Most) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(1_768_300_000_000_000));
        let keys: ResendKeys = toml::from_str(rule).unwrap();
        let zone = "UTC".parse().unwrap();
        let rules = Arc::new(Rules::new([("retry".to_owned(), keys, SINK.to_owned())], &zone));
        let reading = Arc::new(Reading {
            outbox: Mutex::default(),
            journal: Mutex::default(),
            hangs: AtomicBool::new(false),
            fails: AtomicBool::new(false),
            asked: Notify::new(),
        });
        let (news, desk) = News::new();
        desk.want(|_| true);
        let outbox = Outbox::new(folder.path().join(FILE), news.clone());
        let mut house = Self { folder, outbox, reading, clock, most, rules, desk, news };
        house.reopen();
        house
    }

    /// The daemon ends, and another one starts.
    fn reopen(&mut self) {
        self.outbox.close();
        self.clock.fetch_add(1, Ordering::SeqCst);
        let clock = Arc::clone(&self.clock);
        let now = move || Timestamp::from_microsecond(clock.load(Ordering::SeqCst)).unwrap();
        self.outbox = Outbox::with(self.folder.path().join(FILE), self.news.clone(), self.most, Arc::new(now));
        self.outbox.put_in_force(Arc::clone(&self.rules));
        self.outbox.know_progress(Arc::clone(&self.reading) as Arc<dyn Progress>);
        *self.reading.outbox.lock().unwrap() = Some(self.outbox.clone());
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.clock.load(Ordering::SeqCst)).unwrap()
    }

    fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// An event that was accepted now.
    fn event(&self, source: &str, kind: &str, id: Uuid, body: String) -> Arc<Delivery> {
        let event = Event {
            id,
            source: source.into(),
            kind: kind.into(),
            subject: "".into(),
            key: id.to_string().into(),
            time: self.now(),
            method: "".into(),
            path: "/".into(),
            remote: "".into(),
            headers: vec![],
            body: Bytes::from(body),
            rendered: Default::default(),
        };
        let (key, payload) = (event.key.clone(), Payload::Body);
        let id = event.id.to_string();
        Arc::new(Delivery {
            id,
            event: Arc::new(event),
            payload,
            key,
            target: Target::default(),
            trace: None,
            position: None,
        })
    }

    /// Something that is about no message.
    fn order(&self) -> Arc<Delivery> {
        self.event("shop", "order_created", Uuid::now_v7(), "{}".into())
    }

    /// A status of a message: the last word of its type; what it carries back; a code.
    fn status(&self, word: &str, message: &str, callback: Option<&str>, code: &str) -> Arc<Delivery> {
        let title = word[..1].to_uppercase() + &word[1..];
        let body = json!({
            "version": "1.0",
            "type": format!("message_api_{word}"),
            "data": {
                "customer": { "channel_phone_number": &PHONE[1..] },
                "message": {
                    "id": message,
                    "chat_message_type": "PublicApiMessage",
                    "message_status": title,
                    "channel_error_code": (word == "failed").then_some(code),
                    "message_content_type": "Text",
                    "message": "hello",
                    "meta_data": { "source_data": { "callback_data": callback } },
                }
            }
        });
        self.event("interakt", &format!("message_api_{word}"), Uuid::now_v7(), body.to_string())
    }

    async fn hear(&self, statuses: impl IntoIterator<Item = Arc<Delivery>>) {
        self.outbox.heard(&batch(statuses.into_iter().collect())).await.unwrap();
    }

    async fn begin(&self, delivery: &Arc<Delivery>) -> Begun {
        self.begin_within(delivery, BOUNDS).await
    }

    async fn begin_within(&self, delivery: &Arc<Delivery>, bounds: Bounds) -> Begun {
        let request = br#"{"type":"Text","data":{"message":"what we sent"}}"#;
        self.outbox.begin(&Call { sink: SINK, delivery, request, phone: Some(PHONE), bounds }).await
    }

    /// Sends for a delivery; gives the origin that the message carries.
    async fn send(&self, delivery: &Arc<Delivery>, message: &str) -> Origin {
        let Begun::Call(origin) = self.begin(delivery).await else { panic!("no call") };
        self.outbox.end(origin.call, End::Sent { message: Some(message.to_owned()) }).await;
        origin
    }

    /// The event of a message that is to be sent again, as the scheduler writes it.
    fn command(&self, planned: &Planned) -> Arc<Delivery> {
        let body = Command::resend(planned, self.now()).body();
        self.event(SOURCE, RESEND, planned.id, String::from_utf8(body).unwrap())
    }

    /// All that waits.
    async fn waits(&self) -> Vec<Planned> {
        self.outbox.waiting(None, 1000).await.unwrap()
    }

    /// The one that waits, handed over when it is due.
    async fn hand_over(&self) -> Arc<Delivery> {
        let [planned] = <[Planned; 1]>::try_from(self.waits().await).unwrap();
        self.clock.fetch_max(planned.due.as_microsecond(), Ordering::SeqCst);
        let command = self.command(&planned);
        self.outbox.handed(vec![planned.id]).await.unwrap();
        command
    }

    fn count(&self, outcome: &'static str) -> u64 {
        self.outbox.counts().resends.get(&("retry".to_owned(), outcome)).copied().unwrap_or_default()
    }

    fn count_of_calls(&self, outcome: &'static str) -> u64 {
        self.outbox.counts().calls.get(&(SINK.to_owned(), outcome)).copied().unwrap_or_default()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

fn batch(deliveries: Vec<Arc<Delivery>>) -> Batch {
    Batch { deliveries, deadline: Instant::now() + Duration::from_secs(30), ordered: false }
}

fn text(origin: &Origin) -> String {
    origin.write("own").unwrap()
}

/// The word for an answer, with its code.
fn word(begun: &Begun) -> String {
    match begun {
        Begun::Call(origin) => format!("call {}", origin.attempt),
        Begun::Sent { message } => format!("sent {}", message.as_deref().unwrap_or_default()),
        Begun::Later { why, .. } => format!("later {}", why.code),
        Begun::Unwanted(why) => format!("unwanted {}", why.code),
        Begun::Never(why) => format!("never {}", why.code),
        Begun::Unavailable(why) => format!("unavailable {}", why.code),
    }
}
