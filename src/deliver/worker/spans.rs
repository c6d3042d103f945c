//! Tells the traces of deliveries: which trace each belongs to before it is handed out, and how it went when it is
//! judged. Remembers only attempts that failed, of so many deliveries, so that they stand in the delivery's span; costs
//! a look at a flag where traces are off.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::SystemTime;

use lru::LruCache;

use crate::deliver::item::Item;
use crate::deliver::spec::Spec;
use crate::deliver::verdict::Verdict;
use crate::traces::{Ended, Failure, Tracer, time_of};

/// Of so many deliveries that failed, parked ones included, it is remembered how; of the oldest it is forgotten.
const DELIVERIES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);
/// So many failed attempts of a delivery are remembered, the first ones.
const FAILURES: usize = 16;

/// What the traces of one sink's deliveries need.
#[derive(Default)]
pub(super) struct Spans {
    /// By the delivery's id. Made for the first failure.
    failures: Option<LruCache<String, Vec<Failure>>>,
}

impl Spans {
    /// These are handed to the sink: says of each which trace it belongs to.
    pub fn begin(spec: &Spec, items: &mut [Item]) {
        let Some(tracer) = spec.traces.tracer() else { return };
        for item in items.iter_mut().filter(|item| item.delivery.trace.is_none()) {
            let (first, forgiven) = began(item);
            let own = &item.delivery;
            if let Some(headers) = tracer.headers(&own.event, &spec.name, &own.id, first, forgiven) {
                Arc::make_mut(&mut item.delivery).trace = Some(Arc::new(headers));
            }
        }
    }

    /// These came back: tells the spans of those that have ended.
    pub fn judged(&mut self, spec: &Spec, verdicts: &[Verdict]) {
        let Some(tracer) = spec.traces.tracer() else {
            self.failures = None;
            return;
        };
        let now = SystemTime::now();
        for verdict in verdicts {
            match verdict {
                Verdict::Again(..) | Verdict::PutOff(..) => {}
                Verdict::Skipped(item, _) => self.forget(item),
                Verdict::Failed(item, _, why) => self.failed(&tracer, item, why.code, now),
                Verdict::Delivered(item) => self.ended(&tracer, spec, item, None, now),
                Verdict::Dead(item, why) => {
                    self.failed(&tracer, item, why.code, now);
                    self.ended(&tracer, spec, item, Some(why.code), now);
                }
            }
        }
    }

    fn failed(&mut self, tracer: &Tracer, item: &Item, code: &'static str, time: SystemTime) {
        if !tracer.records(&item.delivery.event) {
            return;
        }
        let failures = self.failures.get_or_insert_with(|| LruCache::new(DELIVERIES));
        let of_it = failures.get_or_insert_mut_ref(&item.delivery.id, Vec::new);
        if of_it.len() < FAILURES {
            of_it.push(Failure { time, attempt: item.counted(), code });
        }
    }

    /// Nothing is told of it.
    fn forget(&mut self, item: &Item) {
        self.failures.as_mut().map(|all| all.pop(&item.delivery.id));
    }

    fn ended(&mut self, tracer: &Tracer, spec: &Spec, item: &Item, dead: Option<&'static str>, now: SystemTime) {
        let delivery = &item.delivery;
        let failures = self.failures.as_mut().and_then(|all| all.pop(&delivery.id)).unwrap_or_default();
        let (first, forgiven) = began(item);
        let ended = Ended {
            sink: &spec.name,
            messaging: spec.config.messaging(),
            target: &delivery.target,
            id: &delivery.id,
            // Where somebody asked for another try, the tries before are another span's.
            times: [time_of(if forgiven > 0 { item.first.map_or(first, |first| first.wall) } else { first }), now],
            attempts: item.counted() + u32::from(dead.is_none()),
            failures: &failures,
            dead,
        };
        tracer.delivered(&delivery.event, &ended, first, forgiven);
    }
}

/// The first try of a delivery, in microseconds, and its attempts that no longer count: they tell one span of it from
/// another, and are the same after a restart.
fn began(item: &Item) -> (i64, u32) {
    (item.first_wall().unwrap_or_default(), item.parked.map_or(0, |history| history.forgiven))
}

#[cfg(test)]
mod tests {
    use sink_testkit::event;

    use super::*;
    use crate::deliver::item::Ordinal;
    use crate::journal::Position;
    use crate::traces::{Traces, TracingConfig};

    #[tokio::test]
    async fn what_is_remembered_of_failures_is_bounded() {
        let traces = Traces::default();
        traces.put_in_force(&TracingConfig { otlp: Some("http://127.0.0.1:9".to_owned()), sample: 1.0 });
        let (tracer, mut spans, now) = (traces.tracer().unwrap(), Spans::default(), SystemTime::now());
        let item = |n| Item::new(Ordinal(n), Position { shard: 0, offset: n }, event("t").delivery());
        let first = item(0);
        (0..20).for_each(|_| spans.failed(&tracer, &first, "x", now));
        assert_eq!(spans.failures.as_mut().unwrap().get(&first.delivery.id).unwrap().len(), FAILURES);
        (1..=1024).for_each(|n| spans.failed(&tracer, &item(n), "x", now));
        let failures = spans.failures.unwrap();
        assert!(failures.len() == DELIVERIES.get() && !failures.contains(&first.delivery.id));
    }
}
