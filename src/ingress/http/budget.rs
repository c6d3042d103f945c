//! Memory for requests whose bodies are on their way, shared by all connections: [`uploads`](super::uploads) behind a
//! lock, with a clock and tasks that wait. Knows neither sources nor signatures.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::config::ServerConfig;
use super::pressure::Pressure;
use super::uploads::{Millis, Uploads};
pub use super::uploads::{Pool, SMALL, Sender, UploadCut};

/// How often an upload that waits for room looks for others that became slow meanwhile. Where many wait, each looks
/// less often, so that there is at most one look a millisecond: one look serves all.
const TICK: Duration = Duration::from_millis(50);
const TICK_OF_EACH: Duration = Duration::from_millis(1);
/// One in so many of `max_inflight_bytes` is for small bodies alone, and as much again for requests and their heads.
const SHARE: usize = 8;

/// The memory.
pub struct Budget {
    base: Instant,
    uploads: Mutex<Uploads>,
    pressure: Arc<Pressure>,
}

impl Budget {
    /// An eighth of `max_inflight_bytes` for requests and their heads, an eighth for small bodies; the rest, and at
    /// least one `max_body`, for larger ones. A sender is slow where it would not bring a largest body within
    /// `body_timeout`.
    pub fn new(server: &ServerConfig, pressure: Arc<Pressure>) -> Self {
        let (all, largest) = (server.max_inflight_bytes.as_usize(), server.max_body.as_usize());
        let share = all / SHARE;
        let millis = u64::try_from(server.body_timeout.0.as_millis()).unwrap_or(u64::MAX).max(1);
        let least = server.max_body.0.saturating_mul(1000) / millis;
        let uploads = Mutex::new(Uploads::new(share, share, (all - 2 * share).max(largest), least));
        Self { base: Instant::now(), uploads, pressure }
    }

    /// An upload under way since `began`, of which `got` bytes have come, and which takes `base` bytes by itself. It
    /// may have to wait for them: [`Upload::room`].
    pub fn enter(&self, sender: Sender, base: usize, (began, got): (Instant, usize)) -> Upload<'_> {
        let now = self.now();
        let so_far = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let id = self.lock().enter(sender, base, (now.saturating_sub(so_far), got), now);
        Upload { budget: self, id }
    }

    /// The unproven connections of uploads, in the order in which they may be closed.
    pub fn by_speed(&self) -> Vec<u64> {
        self.lock().by_speed(self.now())
    }

    /// How many uploads wait for room now.
    pub fn waiting(&self) -> usize {
        self.lock().waiting()
    }

    /// How many were cut since the start.
    pub fn cut(&self) -> u64 {
        self.lock().cut()
    }

    fn tick(&self) -> Duration {
        let waiting = u32::try_from(self.waiting()).unwrap_or(u32::MAX);
        TICK.max(TICK_OF_EACH.saturating_mul(waiting))
    }

    fn now(&self) -> Millis {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Valid between any two calls, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, Uploads> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many uploads there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.lock().count()
    }

    /// Bytes in use, of each pool.
    pub fn used(&self) -> [usize; 3] {
        self.lock().used()
    }
}

/// One upload; gives back what it holds when dropped.
pub struct Upload<'b> {
    budget: &'b Budget,
    id: u64,
}

impl Upload<'_> {
    /// Asks for more; [`Self::room`] waits for it.
    pub fn ask(&self, pool: Pool, bytes: usize) {
        self.budget.lock().ask(self.id, pool, bytes, self.budget.now());
    }

    /// There is nothing of the body to read.
    pub fn waits(&self) {
        self.budget.lock().waits(self.id, self.budget.now());
    }

    /// Bytes of the body came.
    pub fn came(&self, bytes: usize) {
        self.budget.lock().came(self.id, bytes, self.budget.now());
    }

    /// Whether the upload has what it asked for; the caller is woken when that changes, and when the upload is cut.
    ///
    /// # Errors
    /// [`UploadCut`].
    pub fn poll(&self, cx: &Context<'_>) -> Poll<Result<(), UploadCut>> {
        self.budget.lock().poll(self.id, cx)
    }

    /// Waits until the upload has what it asked for, however long, and gives how long that was.
    ///
    /// # Errors
    /// [`UploadCut`].
    pub async fn room(&self) -> Result<Duration, UploadCut> {
        let first = poll_fn(|cx| Poll::Ready(self.poll(cx))).await;
        if let Poll::Ready(done) = first {
            return done.map(|()| Duration::ZERO);
        }
        self.budget.pressure.note();
        let from = Instant::now();
        let mut tick = pin!(sleep(self.budget.tick()));
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(done) = self.poll(cx) {
                    return Poll::Ready(done);
                }
                if tick.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.budget.lock().look(self.budget.now());
                tick.as_mut().reset(Instant::now() + self.budget.tick());
            }
        })
        .await
        .map(|()| from.elapsed())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        self.budget.lock().leave(self.id, self.budget.now());
    }
}
