//! The time a handler has, not counting the time its client takes to send the body.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// When a handler must have answered. Reading the body moves it, so that a slow client is told 408 by the body's
/// own deadline, and a handler still has its whole time once the body is there.
pub(crate) struct HandlerDeadline {
    allowance: Duration,
    at: Mutex<Instant>,
}

impl HandlerDeadline {
    pub(crate) fn start(allowance: Duration) -> Self {
        Self {
            allowance,
            at: Mutex::new(Instant::now() + allowance),
        }
    }

    /// Leaves room for reading a body.
    pub(crate) fn extend(&self, by: Duration) {
        self.set(Instant::now() + by + self.allowance);
    }

    /// Gives the whole allowance from now on.
    pub(crate) fn restart(&self) {
        self.set(Instant::now() + self.allowance);
    }

    /// Waits until the deadline has passed for good.
    pub(crate) async fn passed(&self) {
        loop {
            let at = self.at();
            sleep_until(at).await;
            if self.at() == at {
                return;
            }
        }
    }

    fn at(&self) -> Instant {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: Instant) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}
