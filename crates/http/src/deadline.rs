//! The deadline of a handler, which excludes the time that its client takes to send the body.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// The time by which a handler must have answered. Reading the body extends it. So a slow client gets a 408 from the body's
/// own deadline, and a handler has its whole time once the body is complete.
pub(crate) struct HandlerDeadline {
    allowance: Duration,
    moment: Mutex<Moment>,
    /// Notified when a body is complete: only then does the deadline move to an earlier time.
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

    /// Extends the deadline by the time for reading a body.
    pub(crate) fn extend(&self, by: Duration) {
        self.set(Moment {
            at: Instant::now() + by + self.allowance,
            is_reading: true,
        });
    }

    /// Restarts the deadline with the whole allowance.
    pub(crate) fn restart(&self) {
        self.set(Moment {
            at: Instant::now() + self.allowance,
            is_reading: false,
        });
        // The permit is kept for a task that is about to wait.
        self.nearer.notify_one();
    }

    /// Waits until the deadline, including extensions, has passed.
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
