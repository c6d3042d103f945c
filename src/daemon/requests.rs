//! What the running daemon is asked to do, by the admin listener and by what looks after the data folder. Requests wait
//! in a bounded queue; the main loop carries them out one after the other.

use tokio::sync::{mpsc, oneshot};

use crate::admin::Refusal;
use crate::admin::reload::ReloadDone;
use crate::admin::replay::{ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled};
use crate::admin::sink::{SinkAct, SinkAsk, SinkDone};

/// Most requests that wait.
const QUEUE: usize = 16;

/// Where the answer goes; whoever asked may be gone by then.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// One request.
pub(super) enum Request {
    /// Pause a sink, resume it, or move its cursor on.
    Sink(SinkAsk, SinkAct, Reply<SinkDone>),
    /// Deliver a span of the journal once more.
    Replay(ReplayAsk, Reply<ReplayBegun>),
    /// End a replay before it has read all of its span.
    CancelReplay(ReplayCancel, Reply<ReplayCancelled>),
    /// Start every sink anew: what they had noted on disk is gone.
    RestartSinks,
    /// Read the config again and put it in force.
    Reload(Reply<ReloadDone>),
}

/// The queue's end where requests are put in.
#[derive(Clone)]
pub(super) struct Requests(mpsc::Sender<Request>);

impl Requests {
    /// The queue: this end, and the one that the main loop reads.
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (send, receive) = mpsc::channel(QUEUE);
        (Self(send), receive)
    }

    /// Sends a request that has no answer; where too many wait it is left out.
    pub fn send(&self, request: Request) {
        let _ = self.0.try_send(request);
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// Why the daemon refuses; that too many requests wait; that it stops.
    pub async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Request) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let stopping = || Refusal::Unable("the daemon is stopping".into());
        self.0.try_send(make(reply)).map_err(|_| Refusal::Unable("the daemon has its hands full; try again".into()))?;
        answer.await.map_err(|_| stopping())?
    }
}
