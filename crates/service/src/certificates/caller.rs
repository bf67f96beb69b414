//! Who may work with the certificates of a provisioning service.

use super::{Certificates, ProvisioningService, fold};
use crate::{Action, Origin, access::Operator, audit::Deed};
use keyproof_auth::OperatorScope;

/// What may be asked for of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Delete one.
    Delete,
    /// Have a code for one.
    GenerateCode,
    /// Read one.
    Get,
    /// Read all.
    List,
    /// Create or update one.
    Put,
    /// Prove one.
    Verify,
}

impl Act {
    /// As the audit trail calls it.
    const fn action(self) -> Action {
        match self {
            Self::Delete => Action::CertificateDelete,
            Self::GenerateCode => Action::CertificateGenerateCode,
            Self::Get => Action::CertificateGet,
            Self::List => Action::CertificateList,
            Self::Put => Action::CertificatePut,
            Self::Verify => Action::CertificateVerify,
        }
    }
}

/// Somebody who may work with the certificates of one provisioning service: one scope is for all that can be asked for.
/// Each use case takes one, and [`Certificates::permit`] alone makes it.
#[derive(Debug)]
pub struct Caller {
    service: ProvisioningService,
    origin: Origin,
}

/// The operator may not do it, as the audit trail was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it needs {needed}")]
pub struct NotPermitted {
    /// What the operator's token does not allow.
    pub needed: OperatorScope,
}

impl Certificates {
    /// Checks that the operator may do this to a certificate of this service. For all of them the name is empty.
    ///
    /// # Errors
    /// [`NotPermitted`].
    pub async fn permit(
        &self,
        operator: &Operator,
        act: Act,
        service: ProvisioningService,
        name: &str,
        origin: &Origin,
    ) -> Result<Caller, NotPermitted> {
        let origin = origin.by(operator.who.clone());
        let caller = Caller { service, origin };
        let needed = caller.service.scope();
        if operator.may(&needed) {
            return Ok(caller);
        }
        let why = Some(format!("it needs the scope {needed}"));
        self.audit
            .refused(caller.deed(act.action(), name, why))
            .await;
        Err(NotPermitted { needed })
    }
}

impl Caller {
    /// An operator whose permission nobody asks for.
    #[cfg(test)]
    pub(super) fn unasked(service: ProvisioningService, origin: &Origin) -> Self {
        let who = crate::Who::Operator {
            token: "0123456789abcdef".to_owned(),
            subject: "ci".to_owned(),
        };
        Self {
            service,
            origin: origin.by(who),
        }
    }

    pub(super) const fn service(&self) -> &ProvisioningService {
        &self.service
    }

    /// The event of something done to a certificate, named as it is compared.
    pub(super) fn deed(&self, action: Action, name: &str, detail: Option<String>) -> Deed<'_> {
        let [subscription, resource_group, service] = self.service.folded();
        Deed {
            action,
            target: format!(
                "certificate/{subscription}/{resource_group}/{service}/{}",
                fold(name)
            ),
            detail,
            origin: &self.origin,
        }
    }
}
