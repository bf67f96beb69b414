//! What all connections share.

use std::sync::Arc;

use keyproof_store::Entropy;
use tokio::{sync::watch, time::sleep};

use super::{Limits, TrustedProxies, limits::DRAINING_GRACE};
use crate::{dialect::BoxFuture, metrics::Metrics};

/// Asks whether the store answers, and what may be said to anybody if it does not; for `/readyz`.
pub type Readiness = Arc<dyn Fn() -> BoxFuture<Result<(), &'static str>> + Send + Sync>;

/// What is said of a store of which no more may be said.
pub const NO_ANSWER: &str = "the store does not answer";

/// What the answer to a request depends on, whichever listener it came by.
pub(crate) struct Stack {
    pub(crate) limits: Limits,
    pub(crate) proxies: TrustedProxies,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) ready: Readiness,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) draining: watch::Receiver<bool>,
}

impl Stack {
    pub(super) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until the server drains, or is gone.
    pub(super) async fn drained(&self) {
        let mut draining = self.draining.clone();
        // An error means that the sender is gone, and the server with it.
        let _ = draining.wait_for(|draining| *draining).await;
    }

    /// Waits until the server drains and what was on its way then has had the time to arrive.
    pub(super) async fn stopped_waiting(&self) {
        self.drained().await;
        sleep(DRAINING_GRACE).await;
    }
}
