//! What the daemon is told to do while it runs, by the admin listener or a signal. Orders wait in a bounded queue and are
//! carried out one after the other, by the task that started the sinks.

use tokio::sync::{mpsc, oneshot};

use crate::admin::Refusal;
use crate::admin::orders::{
    ReloadDone, ReplayAsk, ReplayBegun, ReplayCancel, ReplayCancelled, SinkAct, SinkAsk, SinkDone,
};

/// Most orders that wait.
const QUEUE: usize = 16;

/// Where the answer goes; who asked may be gone.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// One order.
pub(super) enum Order {
    /// A sink is held, let go, or moved on.
    Sink(SinkAsk, SinkAct, Reply<SinkDone>),
    /// A span of the journal is delivered once more.
    Replay(ReplayAsk, Reply<ReplayBegun>),
    /// That ends before its time.
    CancelReplay(ReplayCancel, Reply<ReplayCancelled>),
    /// What sinks had noted on disk is gone: they are opened anew.
    Restart,
    /// The config is read again.
    Reload(Reply<ReloadDone>),
}

/// Where orders are given.
#[derive(Clone)]
pub(super) struct Orders(mpsc::Sender<Order>);

impl Orders {
    pub fn new() -> (Self, mpsc::Receiver<Order>) {
        let (give, take) = mpsc::channel(QUEUE);
        (Self(give), take)
    }

    /// Gives an order that has no answer; where too many wait it is left out.
    pub fn tell(&self, order: Order) {
        let _ = self.0.try_send(order);
    }

    /// Gives an order and waits for what comes of it.
    pub async fn give<T>(&self, make: impl FnOnce(Reply<T>) -> Order) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let unable = || Refusal::Unable("the daemon is stopping".into());
        self.0.try_send(make(reply)).map_err(|_| Refusal::Unable("the daemon has its hands full; try again".into()))?;
        answer.await.map_err(|_| unable())?
    }
}
