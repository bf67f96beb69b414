//! Locks of what a process keeps in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. No code that can panic should run under one. If it does, the lock still works.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
