//! The CA names that the listener sends when it requests client certificates: those of the categories' CAs.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyproof_http::{AuthorityNames, BoxFuture, ClientAuthorities};
use keyproof_service::Service;
use tokio::time::timeout;
use tracing::warn;

/// How long a handshake waits for the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// The CAs of all categories.
pub(super) struct CategoriesAuthorities {
    service: Arc<Service>,
    /// The last known names, for when the store does not respond. A handshake works without names too.
    latest: Mutex<AuthorityNames>,
}

impl CategoriesAuthorities {
    pub(super) fn new(service: Arc<Service>) -> Self {
        let latest = Mutex::new(Arc::from([]));
        Self { service, latest }
    }
}

impl ClientAuthorities for CategoriesAuthorities {
    fn names(self: Arc<Self>) -> BoxFuture<AuthorityNames> {
        Box::pin(async move {
            let found = timeout(PATIENCE, self.service.device_identity.client_authorities()).await;
            let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            match found {
                Ok(Ok(names)) => latest.clone_from(&names),
                Ok(Err(error)) => warn!(%error, "cannot read the CAs of client certificates"),
                Err(_) => warn!("reading the CAs of client certificates timed out"),
            }
            Arc::clone(&latest)
        })
    }
}
