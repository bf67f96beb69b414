//! Permission to work with the certificates of a provisioning service.

use std::{fmt, sync::Arc};

use keyproof_store::{Stored, Timestamp};

use super::{
    Certificates, ProvisioningService, fold,
    records::{Certificate, certificate_key},
};
use crate::{
    Action, Failure, Origin,
    access::{Operator, OutOfScope, Prefetch},
    audit::{NewEvent, Target},
    storage::contended,
};

/// A caller who may work with the certificates of one provisioning service. One scope covers all actions. Every use case requires a
/// caller, and only [`Certificates::permit`] creates one.
pub struct Caller {
    service: ProvisioningService,
    origin: Origin,
    /// The end of an external issuer's token.
    expires_at: Option<Timestamp>,
    /// The requested certificate. `None`: not read with the token. `Some(None)`: read, and absent. `Some(Some(_))`: read.
    pub(super) certificate: Option<Option<Stored<Arc<Certificate>>>>,
}

impl Certificates {
    /// Returns the keys to read with the token of a request for this certificate.
    pub fn prefetch(service: &ProvisioningService, name: &str) -> Prefetch {
        Prefetch(vec![certificate_key(service, name)])
    }

    /// Checks that the operator may do this to a certificate of this service. The name is empty for an action on all of them.
    ///
    /// # Errors
    ///
    /// [`OutOfScope`].
    pub async fn permit(
        &self,
        operator: &Operator,
        act: Action,
        service: ProvisioningService,
        name: &str,
        origin: &Origin,
    ) -> Result<Caller, Failure<OutOfScope>> {
        let (needed, target) = (service.scope(), || service.target(name));
        let permitted = self.audit.permit(operator, needed, act, target, origin);
        let origin = permitted.await.map_err(Failure::Refused)?;
        let certificate = operator.prefetch.get(&certificate_key(&service, name))?;
        Ok(Caller {
            service,
            origin,
            expires_at: operator.expires_at,
            certificate,
        })
    }
}

impl Caller {
    /// Creates the caller for an operator without a permission check.
    #[cfg(test)]
    pub(super) fn unasked(service: ProvisioningService, origin: &Origin) -> Self {
        let who = crate::Principal::Operator {
            token: "0123456789abcdef".to_owned(),
            subject: "ci".to_owned(),
        };
        Self {
            service,
            origin: origin.by(who),
            expires_at: None,
            certificate: None,
        }
    }

    pub(super) const fn service(&self) -> &ProvisioningService {
        &self.service
    }

    /// Returns the party for shared limits.
    pub fn party(&self) -> String {
        self.origin.who.party()
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Checks before a change that an external issuer's token has not expired since the permission was checked. The refusal is that
    /// of keyproof's own tokens, which a batch requires: a lost race, and the next request is told the reason.
    pub(super) fn check_unexpired<E>(&self, now: Timestamp) -> Result<(), Failure<E>> {
        match self.expires_at {
            Some(end) if end <= now => Err(contended()),
            _ => Ok(()),
        }
    }

    /// Returns the audit event of an action on a certificate.
    pub(super) fn new_event(
        &self,
        action: Action,
        name: &str,
        detail: Option<String>,
    ) -> NewEvent<'_> {
        NewEvent {
            action,
            target: self.service.target(name),
            detail,
            origin: &self.origin,
        }
    }
}

impl ProvisioningService {
    /// Returns a certificate as an audit target, in its folded form.
    pub(super) fn target(&self, name: &str) -> Target {
        let [subscription, resource_group, service] = self.folded();
        Target::Certificate {
            subscription,
            resource_group,
            service,
            name: fold(name),
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
