//! A mutex whose holder may have panicked: a test that failed says so itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the mutex holds.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
