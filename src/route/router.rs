//! One event on its way to one sink: which routes apply, what is delivered, under which id, where to.
//!
//! The same function serves delivery and `explain`; an [`Observer`] sees what it decides. Pure but for what the
//! evaluator does behind its seam.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sink_api::{Delivery, Escape, Event, Payload, Reason, SinkConfig, Target, Template};

use super::eval::Answers;
use super::rules::{Route, RuleSet};

/// A sink as the router sees it.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its name in the config.
    pub name: String,
    /// Its table, which renders the target.
    pub config: Arc<dyn SinkConfig>,
    /// The sink's `key`; the event's own key where there is none, or where it is filled in as empty.
    pub key: Option<Template>,
}

/// What one event comes to at one sink.
///
/// With [`RuleSet::owed`] it balances: `deliveries + failed + filtered ≥ owed`, and what is over are further payloads,
/// to be added to what was accepted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Routed {
    /// To be delivered, in this order.
    pub deliveries: Vec<Delivery>,
    /// To become dead letters at once.
    pub failed: Vec<Failed>,
    /// Routes that were owed and came to nothing: the condition was false, an earlier final route took the event, the
    /// transform yielded nothing, or nothing that another route had not yielded already.
    pub filtered: u32,
}

/// A delivery that could not be made up.
#[derive(Clone, PartialEq, Eq)]
pub struct Failed {
    /// The id it would have had.
    pub id: String,
    /// What a transform made, where it came that far; `None` where it failed, and where the payload is the body.
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

/// Sees what the router decides, for one sink. `()` looks away.
pub trait Observer {
    /// The route with this index matches by glob and source; this is what came of it. A route that names another sink
    /// is seen only where its condition decides whether the search goes on.
    fn saw(&mut self, route: usize, step: Step<'_>);
}

impl Observer for () {
    fn saw(&mut self, _route: usize, _step: Step<'_>) {}
}

/// What came of a route. The first four are said once per route, the last two may follow [`Step::Applies`].
#[derive(Debug)]
pub enum Step<'r> {
    /// It applies: there is no condition, or it holds.
    Applies,
    /// Its condition is false.
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
    /// The delivery of this id could not be made up.
    Failed(&'r Reason),
}

/// A payload on its way, before it has a target.
struct Output {
    route: usize,
    id: String,
    payload: Payload,
}

/// What comes of an event at a sink, route by route.
#[derive(Default)]
struct Gathered {
    outputs: Vec<Output>,
    routed: Routed,
}

impl RuleSet {
    /// Routes an event to a sink: every matching route applies, in file order, until a final one.
    ///
    /// A route whose condition is false or fails did not match, so its `final` ends nothing. A failure fails the one
    /// route; others go on.
    ///
    /// For rules without jq, or whose evaluator answers at once; else see [`route_by`](Self::route_by).
    pub fn route(&self, to: &Destination, event: &Arc<Event>, observer: &mut dyn Observer) -> Routed {
        self.route_by(&*self.eval, to, event, observer)
    }

    /// The same with what programs say about this event, asked by [`questions`](Self::questions) beforehand.
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
            if let Some(last) = final_route {
                if stop.named {
                    observer.saw(stop.route, Step::AfterFinal(last));
                    gathered.routed.filtered += 1;
                }
                continue;
            }
            match applies(route, said, event) {
                Ok(true) => observer.saw(stop.route, Step::Applies),
                Ok(false) => {
                    observer.saw(stop.route, Step::False);
                    gathered.routed.filtered += u32::from(stop.named);
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
        let payloads = match self.routes.get(index).and_then(|r| r.transform.as_ref()) {
            None => vec![Payload::Body],
            Some(program) => match said.transform(program, event) {
                Ok(payloads) => payloads.into_iter().map(Payload::Json).collect(),
                Err(reason) => {
                    observer.saw(index, Step::Failed(&reason));
                    let id = self.delivery_id(index, &to.name, event, 1);
                    routed.failed.push(Failed { id, payload: None, reason });
                    return;
                }
            },
        };
        let (count, before) = (payloads.len(), outputs.len());
        for (payload, n) in payloads.into_iter().zip(1..) {
            // Only what another route yielded is a repeat: the outputs of one transform are all meant.
            let earlier = outputs.iter().take(before);
            if !earlier.into_iter().any(|o| bytes(&o.payload, event) == bytes(&payload, event)) {
                outputs.push(Output { route: index, id: self.delivery_id(index, &to.name, event, n), payload });
            }
        }
        if outputs.len() == before {
            observer.saw(index, Step::Nothing { outputs: count });
            routed.filtered += 1;
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

fn applies(route: &Route, said: &dyn Answers, event: &Event) -> Result<bool, Reason> {
    route.condition.as_ref().map_or(Ok(true), |program| said.condition(program, event))
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
                routed.deliveries.push(Delivery { id, event, payload, key, target });
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
