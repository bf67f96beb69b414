//! The areas of the console. An operator sees those in which a scope allows something.

use keyproof_auth::operator::OperatorScope;
use keyproof_service::access::Operator;

/// An area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sites) enum Area {
    /// The server's state; only a greeting without the scope for it.
    Start,
    /// Instances and their OTP devices.
    Tills,
    /// CA certificates of provisioning services.
    Certificates,
    /// TPM managers, categories, API keys and devices.
    Tpms,
    /// Users and their second factors.
    Users,
    /// The audit trail.
    Audit,
}

impl Area {
    const ALL: [Self; 6] = [
        Self::Start,
        Self::Tills,
        Self::Certificates,
        Self::Tpms,
        Self::Users,
        Self::Audit,
    ];

    /// Returns its path and its name.
    pub(super) const fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Start => ("/console", "Start"),
            Self::Tills => ("/console/tills", "Tills"),
            Self::Certificates => ("/console/certificates", "Certificates"),
            Self::Tpms => ("/console/tpms", "TPMs"),
            Self::Users => ("/console/users", "Users"),
            Self::Audit => ("/console/audit", "Audit trail"),
        }
    }

    /// Whether any of an operator's scopes allows something there.
    pub(super) fn is_shown_to(self, operator: &Operator) -> bool {
        self == Self::Start || operator.scopes().any(|scope| self.is_reached_by(scope))
    }

    const fn is_reached_by(self, scope: &OperatorScope) -> bool {
        matches!(
            (self, scope),
            (_, OperatorScope::Admin)
                | (Self::Tills, OperatorScope::Instances(..))
                | (Self::Certificates, OperatorScope::Certificates(_))
                | (Self::Tpms, OperatorScope::Tpm(_))
                | (Self::Users, OperatorScope::Users(..))
                | (Self::Audit, OperatorScope::Audit(_))
        )
    }

    /// Returns the areas that an operator may see.
    pub(super) fn shown_to(operator: &Operator) -> Vec<Self> {
        let all = Self::ALL.into_iter();
        all.filter(|area| area.is_shown_to(operator)).collect()
    }
}
