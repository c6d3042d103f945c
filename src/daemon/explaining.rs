//! Explains where an event goes, and what other rules would change, for the admin API. The events of a journal may be
//! many and rules may be slow: this is done on a thread that may block, for one asker at a time, and within bounds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::value::{RawValue, to_raw_value};
use sink_api::{Event, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::config_state::ConfigState;
use super::found_ids;
use super::refusals::unable;
use crate::admin::Refusal;
use crate::admin::explain::{ExplainAsk, ExplainView, Explained, ExplainedDelivery, ExplainedEvent};
use crate::admin::found::RouteFate;
use crate::config::{Config, with_rules};
use crate::event;
use crate::journal::Journal;
use crate::mask;
use crate::news::SOURCE;
use crate::route::{DeliveryView, Explanation, PayloadView};
use crate::times;
use crate::trial::traffic::{Bounds, of_span};
use crate::trial::{self, Trial, masked};

/// How much of the traffic is looked at: less time than an answer may take.
const BOUNDS: Bounds = Bounds { events: 200_000, bytes: 256 << 20, time: Duration::from_secs(15) };

/// What explains.
pub(super) struct Explaining {
    config_state: Arc<ConfigState>,
    journal: Arc<dyn Journal>,
    place: Arc<Semaphore>,
}

impl Explaining {
    pub fn new(config_state: &Arc<ConfigState>, journal: &Arc<dyn Journal>) -> Self {
        let place = Arc::new(Semaphore::new(1));
        Self { config_state: Arc::clone(config_state), journal: Arc::clone(journal), place }
    }

    /// Explains.
    ///
    /// # Errors
    /// What is asked makes no sense; the rules have faults; somebody else is asking.
    pub async fn explain(&self, ask: ExplainAsk) -> Result<ExplainView, Refusal> {
        let busy = |_| Refusal::Busy("somebody has something explained just now; try again".into());
        let place = Arc::clone(&self.place).try_acquire_owned().map_err(busy)?;
        let (config, journal, runtime) = (self.config_state.in_force(), Arc::clone(&self.journal), Handle::current());
        let explaining = tokio::task::spawn_blocking(move || {
            let _place = place;
            runtime.block_on(explain(&config, &*journal, ask))
        });
        explaining.await.map_err(unable)?
    }
}

async fn explain(config: &Config, journal: &dyn Journal, ask: ExplainAsk) -> Result<ExplainView, Refusal> {
    let other = ask.rules.as_deref().map(|rules| with_rules(config, rules)).transpose();
    let other = other.map_err(|faults| Refusal::Config(faults.to_string()))?;
    let since = ask.since.as_deref().map(|since| times::read(since, &config.timezone, Timestamp::now())).transpose();
    let since = since.map_err(Refusal::Question)?;
    let event = event_of(config, journal, &ask).await?;
    if event.is_none() && since.is_none() {
        return Err(Refusal::Question("nothing is to be explained: give `body`, `event` or `since`".into()));
    }
    let trial = |config| Trial::new(config).showing(ask.clear);
    let (mut now, mut then) = (trial(config), other.as_ref().map(trial));
    let mut view = ExplainView::default();
    if let Some((event, notes)) = event {
        view.now = Some(explained(&mut now, config, &event, (&notes, ask.clear)).await?);
        if let (Some(then), Some(other)) = (&mut then, &other) {
            view.other = Some(explained(then, other, &event, (&notes, ask.clear)).await?);
        }
    }
    if let Some(since) = since {
        let from = journal.seek(since.as_microsecond()).await.map_err(unable)?;
        let until = journal.ends().await.map_err(unable)?;
        let traffic = of_span(journal, (from, until), (&mut now, then.as_mut()), BOUNDS).await;
        let mut traffic = traffic.map_err(unable)?;
        // It may hold a route's name.
        traffic.examples.iter_mut().for_each(|example| example.id = config.masks.mask(&example.id));
        if !ask.clear {
            traffic.examples.iter_mut().for_each(|example| example.subject = mask::text(&example.subject));
        }
        view.traffic = Some(traffic);
    }
    Ok(view)
}

/// The event that is meant, and what was not taken of it.
async fn event_of(
    config: &Config,
    journal: &dyn Journal,
    ask: &ExplainAsk,
) -> Result<Option<(Arc<Event>, Vec<String>)>, Refusal> {
    match (&ask.body, &ask.event) {
        (Some(_), Some(_)) => Err(Refusal::Question("`body` and `event` are both given".into())),
        (None, None) => Ok(None),
        (Some(body), None) => {
            let bytes = Bytes::copy_from_slice(body.get().as_bytes());
            let source = match (ask.source.as_deref(), config.sources.as_slice()) {
                (Some(SOURCE), _) => None,
                (None, [only]) => Some(only),
                (name, all) => {
                    let known = all.iter().find(|source| Some(&*source.name) == name);
                    let names = || all.iter().map(|source| format!("`{}`", source.name)).collect::<Vec<_>>().join(", ");
                    Some(known.ok_or_else(|| Refusal::Question(format!("`source` is one of {}", names())))?)
                }
            };
            let (mut event, notes) = trial::event(source, &HeaderMap::new(), bytes);
            match ask.kind.as_deref() {
                Some("") => return Err(Refusal::Question("`type` is empty".into())),
                Some(kind) => event.kind = kind.into(),
                None => {}
            }
            Ok(Some((Arc::new(event), notes)))
        }
        (None, Some(id)) => {
            let entry = found_ids::meant(journal, id).await?.ok_or_else(|| found_ids::gone(id))?;
            let event = event::decode(&entry.record).map_err(unable)?;
            let notes = trial::notes(config, &event);
            Ok(Some((Arc::new(event), notes)))
        }
    }
}

async fn explained(
    trial: &mut Trial<'_>,
    config: &Config,
    event: &Arc<Event>,
    (notes, clear): (&[String], bool),
) -> Result<Explained, Refusal> {
    let Explanation { event, routes, deliveries } = masked(trial.explain(event).await.map_err(unable)?, &config.masks);
    let text = |text: &str| if clear { text.to_owned() } else { mask::text(text) };
    let delivery = |one: DeliveryView| {
        let target: BTreeMap<String, String> =
            one.target.parts().map(|(name, value)| (name.to_owned(), text(value))).collect();
        let payload = match &one.payload {
            PayloadView::Json(raw) if !clear => RawValue::from_string(mask::body(raw.get().as_bytes())),
            PayloadView::Base64(_) if !clear => to_raw_value(mask::HIDDEN),
            whole => to_raw_value(whole),
        };
        let payload = payload.map_err(unable)?;
        Ok(ExplainedDelivery { sink: one.sink, id: one.id, key: text(&one.key), payload, target })
    };
    Ok(Explained {
        event: ExplainedEvent {
            id: event.id,
            source: event.source,
            kind: event.kind,
            subject: text(&event.subject),
            key: text(&event.key),
            notes: notes.iter().map(|note| text(note)).collect(),
        },
        routes: routes.into_iter().map(|r| RouteFate { name: r.name, matched: r.matched, why: text(&r.why) }).collect(),
        deliveries: deliveries.into_iter().map(delivery).collect::<Result<_, Refusal>>()?,
    })
}
