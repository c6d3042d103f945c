//! Routes one event for one sink: which routes apply, what is delivered, under which id, and where to.
//!
//! The same function serves delivery and `explain`; an [`Observer`] sees what it decides. Pure but for what the
//! evaluator does behind its seam.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sink_api::{Delivery, Escape, Event, Payload, Reason, SinkConfig, Target, Template};

use super::commands;
use super::config::Implicit;
use super::eval::Answers;
use super::rules::{Route, RuleSet};

/// A sink as the router sees it.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its name in the config.
    pub name: String,
    /// The sink's own config, which renders the target.
    pub config: Arc<dyn SinkConfig>,
    /// The template of the sink's `key`. Where there is none, or it comes to an empty text, the event's own key is
    /// used.
    pub key: Option<Template>,
}

/// What one event comes to at one sink.
///
/// It balances with [`RuleSet::owed`], in numbers: `deliveries + failed + filtered ≥ owed`. The surplus are further
/// payloads of one transform, and is added to what was accepted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Routed {
    /// The deliveries, in the order in which they are to be made.
    pub deliveries: Vec<Delivery>,
    /// The deliveries that become dead letters at once.
    pub failed: Vec<Failed>,
    /// The routes that name the sink and came to nothing: the condition was false, an earlier final route took the
    /// event, or the transform yielded nothing, or only what another route had yielded already.
    pub filtered: Vec<Arc<str>>,
}

/// A delivery whose payload or target could not be made.
#[derive(Clone, PartialEq, Eq)]
pub struct Failed {
    /// The id it would have had.
    pub id: String,
    /// The payload that a transform made; `None` where it made none, and where the payload is the body.
    pub payload: Option<Bytes>,
    /// Why: `rule_error` from a condition or transform, or the sink's own reason from rendering the target.
    pub reason: Reason,
}

/// Says why without showing the payload.
impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failed").field("id", &self.id).field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// Sees what the router decides for one sink. `()` is the observer that ignores it.
pub trait Observer {
    /// Called for each route that matches by glob and source, with what came of it. A route that does not name the sink
    /// is seen only if its condition decides whether the search goes on.
    fn saw(&mut self, route: usize, step: Step<'_>);
}

impl Observer for () {
    fn saw(&mut self, _route: usize, _step: Step<'_>) {}
}

/// What came of a route. One of the first four is seen once per route; the last two may follow [`Step::Applies`].
#[derive(Debug)]
pub enum Step<'r> {
    /// The route applies: it has no condition, or its condition holds.
    Applies,
    /// Its condition is false, or it carries a command that is addressed to another sink.
    False,
    /// Its condition failed.
    ConditionFailed(&'r Reason),
    /// An earlier final route, of this index, took the event.
    AfterFinal(usize),
    /// Its transform yielded nothing, or nothing that is not delivered to this sink already.
    Nothing {
        /// Outputs of the transform.
        outputs: usize,
    },
    /// A delivery's payload or target could not be made.
    Failed(&'r Reason),
}

/// A payload that has no target yet.
struct Output {
    route: usize,
    id: String,
    payload: Payload,
}

/// What an event comes to at a sink, gathered route by route.
#[derive(Default)]
struct Gathered {
    outputs: Vec<Output>,
    routed: Routed,
}

impl RuleSet {
    /// Routes an event to a sink: every matching route applies, in file order, until a final one.
    ///
    /// A route whose condition is false or fails did not match, so its `final` ends nothing. If a program fails, only
    /// its own route fails; the others go on.
    ///
    /// This is for rules without jq, or with an evaluator that answers at once. For others see
    /// [`route_by`](Self::route_by).
    pub fn route(&self, to: &Destination, event: &Arc<Event>, observer: &mut dyn Observer) -> Routed {
        self.route_by(&*self.eval, to, event, observer)
    }

    /// Does what [`route`](Self::route) does, with answers that the programs gave to [`questions`](Self::questions)
    /// beforehand.
    pub fn route_by(
        &self,
        said: &dyn Answers,
        to: &Destination,
        event: &Arc<Event>,
        observer: &mut dyn Observer,
    ) -> Routed {
        let row = self.row(&event.source, &event.kind);
        let mut gathered = Gathered::default();
        let mut final_route = None;
        for stop in row.stops(&to.name) {
            let Some(route) = self.routes.get(stop.route) else { continue };
            if let Some(last) = final_route.filter(|_| route.implicit.is_none()) {
                if stop.named {
                    observer.saw(stop.route, Step::AfterFinal(last));
                    gathered.routed.filtered.push(route.name.as_str().into());
                }
                continue;
            }
            match applies(route, said, event, &to.name) {
                Ok(true) => observer.saw(stop.route, Step::Applies),
                Ok(false) => {
                    observer.saw(stop.route, Step::False);
                    if stop.named {
                        gathered.routed.filtered.push(route.name.as_str().into());
                    }
                    continue;
                }
                Err(reason) => {
                    observer.saw(stop.route, Step::ConditionFailed(&reason));
                    if stop.named {
                        let id = self.delivery_id(stop.route, &to.name, event, 1);
                        gathered.routed.failed.push(Failed { id, payload: None, reason });
                    }
                    continue;
                }
            }
            if stop.named {
                self.apply(stop.route, said, to, event, &mut gathered, observer);
            }
            if route.is_final {
                final_route = Some(stop.route);
            }
        }
        let Gathered { outputs, mut routed } = gathered;
        address(outputs, to, event, &mut routed, observer);
        routed
    }

    /// Adds what one route yields for the sink.
    fn apply(
        &self,
        index: usize,
        said: &dyn Answers,
        to: &Destination,
        event: &Event,
        gathered: &mut Gathered,
        observer: &mut dyn Observer,
    ) {
        let Gathered { outputs, routed } = gathered;
        let payloads = match self.routes.get(index).map(|route| payloads(route, said, event)) {
            None => return,
            Some(Ok(payloads)) => payloads,
            Some(Err(reason)) => {
                observer.saw(index, Step::Failed(&reason));
                let id = self.delivery_id(index, &to.name, event, 1);
                routed.failed.push(Failed { id, payload: None, reason });
                return;
            }
        };
        let (count, before) = (payloads.len(), outputs.len());
        for (payload, n) in payloads.into_iter().zip(1..) {
            // A repeat is a payload that another route yielded, too. Equal outputs of one transform are all meant.
            let earlier = outputs.iter().take(before);
            if !earlier.into_iter().any(|o| bytes(&o.payload, event) == bytes(&payload, event)) {
                outputs.push(Output { route: index, id: self.delivery_id(index, &to.name, event, n), payload });
            }
        }
        if outputs.len() == before {
            observer.saw(index, Step::Nothing { outputs: count });
            let name = self.routes.get(index).map(|route| route.name.as_str());
            routed.filtered.push(name.unwrap_or_default().into());
        }
    }

    /// The id of a route's n-th output (from 1) at a sink. It comes from the config, not from what matched.
    fn delivery_id(&self, route: usize, sink: &str, event: &Event, n: u32) -> String {
        let mut id = event.id.to_string();
        if self.firsts.get(sink) != Some(&route) {
            id.push('-');
            id.push_str(self.routes.get(route).map_or("", |r| r.name.as_str()));
        }
        if n > 1 {
            id.push_str(&format!("-{n}"));
        }
        id
    }
}

/// Whether a route applies to an event for a sink.
fn applies(route: &Route, said: &dyn Answers, event: &Event, sink: &str) -> Result<bool, Reason> {
    if route.implicit.as_ref().is_some_and(Implicit::carries_commands) {
        return Ok(commands::is_addressed_to(event, sink));
    }
    route.condition.as_ref().map_or(Ok(true), |program| said.condition(program, event))
}

/// What a route that applies makes of an event.
fn payloads(route: &Route, said: &dyn Answers, event: &Event) -> Result<Vec<Payload>, Reason> {
    if route.implicit.as_ref().is_some_and(Implicit::carries_commands) {
        return commands::request(event).map(|request| vec![request]);
    }
    let Some(program) = &route.transform else { return Ok(vec![Payload::Body]) };
    Ok(said.transform(program, event)?.into_iter().map(Payload::Json).collect())
}

/// Gives the payloads their target and key, which are the same for all: they depend on the event and the sink.
fn address(
    outputs: Vec<Output>,
    to: &Destination,
    event: &Arc<Event>,
    routed: &mut Routed,
    observer: &mut dyn Observer,
) {
    if outputs.is_empty() {
        return;
    }
    let key = to.key.as_ref().map(|template| template.render(event, Escape::Plain)).transpose();
    let target: Result<(Target, Arc<str>), Reason> = key.and_then(|key| {
        let key = key.filter(|key| !key.is_empty()).map_or_else(|| Arc::clone(&event.key), Into::into);
        Ok((to.config.target(event)?, key))
    });
    for Output { route, id, payload } in outputs {
        match &target {
            Ok((target, key)) => {
                let (event, key, target) = (Arc::clone(event), Arc::clone(key), target.clone());
                routed.deliveries.push(Delivery { id, event, payload, key, target, trace: None, position: None });
            }
            Err(reason) => {
                observer.saw(route, Step::Failed(reason));
                let payload = match payload {
                    Payload::Body => None,
                    Payload::Json(bytes) => Some(bytes),
                };
                routed.failed.push(Failed { id, payload, reason: reason.clone() });
            }
        }
    }
}

fn bytes<'p>(payload: &'p Payload, event: &'p Event) -> &'p [u8] {
    match payload {
        Payload::Body => &event.body,
        Payload::Json(bytes) => bytes,
    }
}
