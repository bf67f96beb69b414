//! The time a handler has, not counting the time its client takes to send the body.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// When a handler must have answered. Reading the body moves it, so that a slow client is told 408 by the body's
/// own deadline, and a handler still has its whole time once the body is there.
pub(crate) struct HandlerDeadline {
    allowance: Duration,
    moment: Mutex<Moment>,
    /// Told when a body is there, for only then does the deadline come nearer.
    nearer: Notify,
}

#[derive(Clone, Copy, PartialEq)]
struct Moment {
    at: Instant,
    is_reading: bool,
}

impl HandlerDeadline {
    pub(crate) fn start(allowance: Duration) -> Self {
        Self {
            allowance,
            moment: Mutex::new(Moment {
                at: Instant::now() + allowance,
                is_reading: false,
            }),
            nearer: Notify::new(),
        }
    }

    /// Leaves room for reading a body.
    pub(crate) fn extend(&self, by: Duration) {
        self.set(Moment {
            at: Instant::now() + by + self.allowance,
            is_reading: true,
        });
    }

    /// Gives the whole allowance from now on.
    pub(crate) fn restart(&self) {
        self.set(Moment {
            at: Instant::now() + self.allowance,
            is_reading: false,
        });
        // Kept for whoever is about to wait.
        self.nearer.notify_one();
    }

    /// Waits until the deadline has passed for good.
    pub(crate) async fn passed(&self) {
        loop {
            let moment = self.moment();
            tokio::select! {
                biased;
                () = self.nearer.notified(), if moment.is_reading => {}
                () = sleep_until(moment.at) => {
                    if self.moment() == moment {
                        return;
                    }
                }
            }
        }
    }

    fn moment(&self) -> Moment {
        *self.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, moment: Moment) {
        *self.moment.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }
}
