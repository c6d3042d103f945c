//! Events, deliveries and batches for tests, each with its own id. Plain data, no I/O.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sink_api::{Batch, Delivery, Event, Payload, Reason, SinkConfig, Target};
use uuid::Uuid;

/// Stands in every body the kit makes. Text that shows it has shown a body.
pub const MARKER: &str = "BODY-MARKER-7f3a";

/// How long a batch of the kit may take; only a sink that hangs ever sees it pass.
const PATIENCE: Duration = Duration::from_secs(30);

/// An event in the making. Begins with a body `{"id":"<event id>","text":"<MARKER>"}`.
#[derive(Clone, Debug)]
pub struct EventBuilder {
    event: Event,
    key: Option<String>,
    json: Option<Bytes>,
    id: Option<String>,
}

/// An event of a type, with an id of its own, no subject, and a JSON body.
pub fn event(kind: &str) -> EventBuilder {
    let id = Uuid::now_v7();
    let event = Event {
        id,
        source: "interakt".into(),
        kind: kind.into(),
        subject: "".into(),
        key: id.to_string().into(),
        time: sink_api::Timestamp::UNIX_EPOCH + Duration::from_millis(1_768_345_500_500),
        method: "POST".into(),
        path: "/webhooks/interakt".into(),
        remote: "127.0.0.1".into(),
        headers: vec![("content-type".into(), "application/json".into())],
        body: Bytes::from(format!(r#"{{"id":"{id}","text":"{MARKER}"}}"#)),
        rendered: sink_api::Rendered::default(),
    };
    EventBuilder { event, key: None, json: None, id: None }
}

impl EventBuilder {
    /// What it is about; its ordering key too, unless [`Self::key`] says otherwise.
    #[must_use]
    pub fn subject(mut self, subject: &str) -> Self {
        self.event.subject = subject.into();
        self.event.key = if subject.is_empty() { self.event.id.to_string().into() } else { subject.into() };
        self
    }

    /// The ordering key of its delivery, and its own.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The body, byte for byte.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.event.body = body.into();
        self
    }

    /// What a transform made of it: the delivery's payload instead of the body.
    #[must_use]
    pub fn json(mut self, json: impl Into<Bytes>) -> Self {
        self.json = Some(json.into());
        self
    }

    /// Name of the source.
    #[must_use]
    pub fn source(mut self, source: &str) -> Self {
        self.event.source = source.into();
        self
    }

    /// When it was accepted, as RFC 3339; an unreadable text changes nothing.
    #[must_use]
    pub fn time(mut self, time: &str) -> Self {
        self.event.time = time.parse().unwrap_or(self.event.time);
        self
    }

    /// A kept request header, in place of one of that name. The name is in lower case.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.event.headers.retain(|(n, _)| **n != *name);
        self.event.headers.push((name.into(), value.into()));
        self
    }

    /// Keeps no request headers at all.
    #[must_use]
    pub fn no_headers(mut self) -> Self {
        self.event.headers.clear();
        self
    }

    /// The delivery's id, where it is not the event's.
    #[must_use]
    pub fn delivery_id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// The event's id.
    pub fn id(&self) -> Uuid {
        self.event.id
    }

    /// The event.
    pub fn build(self) -> Event {
        self.split().0
    }

    /// Its delivery, without a target.
    pub fn delivery(self) -> Delivery {
        let id = self.id.clone();
        let (event, payload) = self.split();
        let id = id.unwrap_or_else(|| event.id.to_string());
        let (key, target) = (event.key.clone(), Target::default());
        Delivery { id, key, event: Arc::new(event), payload, target, trace: None, position: None }
    }

    /// Its delivery, with the target this config gives it.
    ///
    /// # Errors
    /// What [`SinkConfig::target`] answers.
    pub fn delivery_for(self, config: &dyn SinkConfig) -> Result<Delivery, Reason> {
        let mut delivery = self.delivery();
        delivery.target = config.target(&delivery.event)?;
        Ok(delivery)
    }

    fn split(self) -> (Event, Payload) {
        let mut event = self.event;
        event.key = self.key.map_or(event.key, Into::into);
        (event, self.json.map_or(Payload::Body, Payload::Json))
    }
}

/// A batch in which order within a key is owed.
pub fn batch(deliveries: impl IntoIterator<Item = Delivery>) -> Batch {
    let deliveries = deliveries.into_iter().map(Arc::new).collect();
    Batch { deliveries, deadline: Instant::now() + PATIENCE, ordered: true }
}

/// A batch in which no order is owed.
pub fn unordered(deliveries: impl IntoIterator<Item = Delivery>) -> Batch {
    Batch { ordered: false, ..batch(deliveries) }
}
