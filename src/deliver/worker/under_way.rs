//! One thing at a time that the worker waits for beside everything else.

use std::pin::Pin;

/// A future under way, or none.
pub(super) struct UnderWay<T>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Default for UnderWay<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> UnderWay<T> {
    /// Starts this one, in place of the one before.
    pub fn start(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.0 = Some(Box::pin(future));
    }

    /// Lets go of what is under way.
    pub fn cancel(&mut self) {
        self.0 = None;
    }

    /// Whether something is under way.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Waits for what is under way, for ever where nothing is. Cancel-safe.
    pub async fn done(&mut self) -> T {
        let Some(under_way) = &mut self.0 else { return std::future::pending().await };
        let outcome = under_way.await;
        self.0 = None;
        outcome
    }
}
