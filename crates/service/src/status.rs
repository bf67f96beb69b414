//! How the server is, for whoever may know.

use std::time::Duration;

use keyproof_auth::operator::{OperatorScope, Reach};
use keyproof_store::Timestamp;

use crate::{Endings, Figures, NotReady, Seen, Service, access::Operator};

/// How the server is.
#[derive(Debug)]
pub struct ServiceStatus {
    /// What is wrong with the store, if anything is.
    pub trouble: Option<NotReady>,
    /// What a dashboard reads.
    pub figures: Figures,
    /// Which CA certificates and which categories' CAs end soon, or have ended.
    pub endings: Endings,
    /// When all this was so.
    pub at: Timestamp,
}

/// What is known of what a store that does not answer has.
const UNSEEN: Endings = Endings {
    found: Vec::new(),
    seen: Seen::Part,
};

impl Service {
    /// How the server is, and what ends within `soon`; nothing for an operator who may not know.
    pub async fn status(&self, operator: &Operator, soon: Duration) -> Option<ServiceStatus> {
        if !operator.may(&OperatorScope::Status(Reach::Read)) {
            return None;
        }
        let trouble = self.ready().await.err();
        let at = self.now();
        let until = at.saturating_add(soon);
        // A store that does not answer is told as such.
        let (certificates, authorities) = (
            self.certificates.ending(until).await.unwrap_or(UNSEEN),
            self.device_identity.ending(until).await.unwrap_or(UNSEEN),
        );
        Some(ServiceStatus {
            trouble,
            figures: self.figures(),
            endings: certificates.and(authorities),
            at,
        })
    }
}
