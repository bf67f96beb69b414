//! What all connections share.

use std::sync::Arc;

use tokio::{sync::watch, time::sleep};

use crate::{BoxFuture, Limits, RequestObserver, TrustedProxies, limits::DRAINING_GRACE};

/// Asks whether the store answers, and what may be said to anybody if it does not; for `/readyz`.
pub type Readiness = Arc<dyn Fn() -> BoxFuture<Result<(), &'static str>> + Send + Sync>;

/// Fills bytes with randomness that nobody can foretell.
pub type Draw = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// What is said of a store of which no more may be said.
pub const NO_ANSWER: &str = "the store does not answer";

/// What the answer to a request depends on, whichever listener it came by.
pub struct Stack {
    /// What is bounded, and how.
    pub limits: Limits,
    /// Whose word on the client's address is taken.
    pub proxies: TrustedProxies,
    /// Where request ids come from.
    pub draw: Draw,
    /// What `/readyz` asks.
    pub ready: Readiness,
    /// Who counts.
    pub observer: Arc<dyn RequestObserver>,
    /// Becomes true when the server stops.
    pub draining: watch::Receiver<bool>,
}

impl Stack {
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until the server drains, or is gone.
    pub(crate) async fn drained(&self) {
        let mut draining = self.draining.clone();
        // An error means that the sender is gone, and the server with it.
        let _ = draining.wait_for(|draining| *draining).await;
    }

    /// Waits until the server drains and what was on its way then has had the time to arrive.
    pub(crate) async fn stopped_waiting(&self) {
        self.drained().await;
        sleep(DRAINING_GRACE).await;
    }
}
