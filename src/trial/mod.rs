//! Tries rules on events, for `explain`, `test`, `replay --dry-run` and the admin API. A body becomes an event as in
//! the daemon, jq is asked through the same worker process, and the same code routes the event. Delivers nothing.
//!
//! - [`Trial`]: a config's rules on one event; [`event()`] makes one of a body
//! - [`traffic`]: two configs' rules on many events, and how they differ

pub mod traffic;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use sink_api::{Event, Timestamp, Uuid};

use crate::config::{Config, Masks, is_credential};
use crate::event;
use crate::ingress::SourcePlan;
use crate::ingress::source::plan::Received;
use crate::route::jq::{Ask, AskError, Asker};
use crate::route::{DeliveryView, Destination, Explanation, explain_by};

/// Why rules cannot be tried.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TrialError(#[from] AskError);

/// A config's rules and enabled sinks, ready to be tried on events.
pub struct Trial<'c> {
    config: &'c Config,
    sinks: Vec<Destination>,
    asker: Option<Asker>,
    show: bool,
}

impl<'c> Trial<'c> {
    /// Makes a trial of a config's own sinks. Starts no process yet.
    pub fn new(config: &'c Config) -> Self {
        let enabled = config.own_sinks().filter(|sink| sink.keys.enabled);
        let sinks = enabled.map(|sink| Destination {
            name: sink.name.clone(),
            config: Arc::clone(&sink.config),
            key: sink.keys.key.clone(),
        });
        Self { config, sinks: sinks.collect(), asker: Asker::new(&config.rules), show: true }
    }

    /// Whether explanations say what conditions evaluated to, which may be a part of the body; they do unless told.
    #[must_use]
    pub fn showing(self, show: bool) -> Self {
        Self { show, ..self }
    }

    /// Explains where the event goes, and why. Values of the config are not masked; see [`masked`].
    ///
    /// # Errors
    /// No worker process can be started.
    pub async fn explain(&mut self, event: &Arc<Event>) -> Result<Explanation, TrialError> {
        let (rules, show) = (&self.config.rules, self.show);
        let questions = |sink: &Destination| rules.questions(&sink.name, &event.source, &event.kind);
        let ask = |sink| Ask { event: Arc::clone(event), questions: questions(sink), show };
        let said = match &mut self.asker {
            None => vec![],
            Some(asker) => {
                let asks: Vec<Ask> = self.sinks.iter().map(ask).collect();
                asker.ask(&asks).await?
            }
        };
        Ok(explain_by(rules, &self.sinks, event, &said))
    }
}

/// What the daemon would make of the body, accepted now with these headers; and what it would not take of its type and
/// subject, for people. Without a source it is one of the daemon's own events.
pub fn event(source: Option<&Arc<SourcePlan>>, headers: &HeaderMap, body: Bytes) -> (Event, Vec<String>) {
    let Some(source) = source else { return (event::own(body), vec![]) };
    let envelope = source.envelope(headers, &body);
    let notes = envelope.notes();
    let (kind, subject) = (envelope.kind.into(), envelope.subject.into());
    let (id, time, remote) = (Uuid::now_v7(), Timestamp::now(), "127.0.0.1".into());
    (source.event(Received { id, time, remote, headers, kind, subject, body }), notes)
}

/// What was not taken of an event of the journal, read again with the headers that were kept; nothing where its source
/// is gone.
pub fn notes(config: &Config, event: &Event) -> Vec<String> {
    let Some(source) = config.sources.iter().find(|source| source.name == event.source) else { return vec![] };
    let header = |(name, value): &(Arc<str>, Arc<str>)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    };
    source.envelope(&event.headers.iter().filter_map(header).collect(), &event.body).notes()
}

/// The explanation with the config's values shown as `${NAME}`, wherever they are: in templates, messages and payloads.
/// Users and queries of URLs, and headers that hold a credential, are hidden even where the file has them written out.
pub fn masked(mut explanation: Explanation, masks: &Masks) -> Explanation {
    let masker = masks.masker();
    for route in &mut explanation.routes {
        route.name = masker.mask(&route.name);
        route.why = masker.mask(&route.why);
    }
    for delivery in &mut explanation.deliveries {
        // It may hold a route's name.
        delivery.id = masker.mask(&delivery.id);
        delivery.key = masker.mask(&delivery.key);
        let part = |(name, value): (&str, &str)| {
            let shown = masker.mask(value);
            let is_hidden = shown == value && is_credential(&name.to_lowercase());
            (name.to_owned(), if is_hidden { "***".to_owned() } else { shown })
        };
        delivery.target = delivery.target.parts().map(part).collect();
    }
    let payload = |delivery: DeliveryView| {
        let payload = delivery.payload.map(|text| masker.mask(text));
        DeliveryView { payload, ..delivery }
    };
    explanation.deliveries = explanation.deliveries.into_iter().map(payload).collect();
    explanation
}
