//! An outbox that remembers in memory what sinks ask and tell, and keeps the contract of [`Outbox`] but for what it
//! cannot know: it hears of no statuses, unless a test tells it ([`MemoryOutbox::settle`]).

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use sink_api::outbox::{Begun, Bounds, Call, End};
use sink_api::{Batch, CallId, Origin, Outbox, Reason};

/// What a sink asked or told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// [`Outbox::begin`].
    Begin {
        /// The sink's name.
        sink: String,
        /// The delivery's id.
        delivery: String,
        /// The request, without a prefix.
        request: Bytes,
        /// The phone.
        phone: Option<String>,
        /// The bounds.
        bounds: Bounds,
    },
    /// [`Outbox::end`].
    End(CallId, End),
}

/// The outbox. Test code holds it in an `Arc`, and gives that to the sink.
#[derive(Debug, Default)]
pub struct MemoryOutbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<Asked>,
    /// What came of each call, and when it began last.
    calls: HashMap<CallId, (Instant, End)>,
    /// What is answered next, whatever would be right.
    forced: VecDeque<Begun>,
}

impl MemoryOutbox {
    /// What was asked and told so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// What was told of calls so far.
    pub fn ends(&self) -> Vec<End> {
        let ends = self.asked().into_iter();
        ends.filter_map(|asked| if let Asked::End(_, end) = asked { Some(end) } else { None }).collect()
    }

    /// Answers the next [`Outbox::begin`] with this.
    pub fn say(&self, next: Begun) {
        self.lock().forced.push_back(next);
    }

    /// A status has shown that all calls which are open have sent messages, of this id.
    pub fn settle(&self, message: &str) {
        for (_, end) in self.lock().calls.values_mut().filter(|(_, end)| *end == End::Unknown) {
            *end = End::Sent { message: Some(message.to_owned()) };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Outbox for MemoryOutbox {
    async fn begin(&self, call: &Call<'_>) -> Begun {
        let (id, mut state) = (CallId::of(call.sink, &call.delivery.id), self.lock());
        state.asked.push(Asked::Begin {
            sink: call.sink.to_owned(),
            delivery: call.delivery.id.clone(),
            request: Bytes::copy_from_slice(call.request),
            phone: call.phone.map(ToOwned::to_owned),
            bounds: call.bounds,
        });
        if let Some(forced) = state.forced.pop_front() {
            return forced;
        }
        match state.calls.get(&id) {
            Some((_, End::Sent { message })) => return Begun::Sent { message: message.clone() },
            Some((began, End::Unknown)) => {
                let left = call.bounds.confirm.saturating_sub(began.elapsed());
                if left > Duration::ZERO {
                    let why = Reason::new("unconfirmed", "the answer to the last call was lost");
                    return Begun::Later { after: left, why };
                }
            }
            Some((_, End::NotSent)) | None => {}
        }
        // Until it is told of, it counts as lost.
        state.calls.insert(id, (Instant::now(), End::Unknown));
        let since = call.delivery.event.time.as_second();
        Begun::Call(Origin { call: id, attempt: 0, since, of: String::new() })
    }

    async fn end(&self, call: CallId, end: End) {
        let mut state = self.lock();
        state.asked.push(Asked::End(call, end.clone()));
        if let Some((_, known)) = state.calls.get_mut(&call) {
            *known = end;
        }
    }

    async fn heard(&self, _: &Batch) -> Result<(), Reason> {
        Ok(())
    }
}
