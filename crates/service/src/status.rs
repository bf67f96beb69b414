//! The state of the server, for operators who may read it.

use std::time::Duration;

use keyproof_auth::operator::{AccessLevel, OperatorScope};
use keyproof_store::Timestamp;

use crate::{Coverage, Expiries, Figures, NotReady, Service, access::Operator};

/// The state of the server.
#[derive(Debug)]
pub struct ServiceStatus {
    /// The problem with the store, if there is one.
    pub trouble: Option<NotReady>,
    /// The figures for a dashboard.
    pub figures: Figures,
    /// The CA certificates, and the CAs and client certificates of categories, that expire soon or have expired.
    pub endings: Expiries,
    /// When this was collected.
    pub at: Timestamp,
}

/// The expiries of a store that does not answer.
const UNSEEN: Expiries = Expiries {
    found: Vec::new(),
    seen: Coverage::Part,
};

impl Service {
    /// Returns the state of the server and what expires within `soon`, or `None` if the operator may not read it.
    pub async fn status(&self, operator: &Operator, soon: Duration) -> Option<ServiceStatus> {
        if !operator.may(&OperatorScope::Status(AccessLevel::Read)) {
            return None;
        }
        let trouble = self.ready().await.err();
        let at = self.now();
        let until = at.saturating_add(soon);
        // `trouble` reports a store that does not answer.
        let (certificates, authorities) = (
            self.certificates.expiry(until).await.unwrap_or(UNSEEN),
            self.device_identity.expiry(until).await.unwrap_or(UNSEEN),
        );
        Some(ServiceStatus {
            trouble,
            figures: self.figures(),
            endings: certificates.and(authorities),
            at,
        })
    }
}
