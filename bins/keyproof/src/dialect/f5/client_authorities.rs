//! Whose client certificates the listener asks for: those of the categories' CAs.

use std::sync::{Arc, Mutex, PoisonError};

use keyproof_http::{AuthorityNames, BoxFuture, ClientAuthorities};
use keyproof_service::Service;
use tracing::warn;

/// The CAs of all categories there are.
pub(super) struct CategoriesAuthorities {
    service: Arc<Service>,
    /// For a store that does not answer: a handshake needs none.
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
            let found = self.service.device_identity.client_authorities().await;
            let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            match found {
                Ok(names) => latest.clone_from(&names),
                Err(error) => warn!(%error, "the CAs of client certificates are not known"),
            }
            Arc::clone(&latest)
        })
    }
}
