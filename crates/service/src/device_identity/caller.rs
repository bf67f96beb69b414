//! Permissions: who may manage managers, categories, API keys and devices, and who may provision.

use std::marker::PhantomData;

use keyproof_auth::operator::OperatorScope;
use keyproof_x509::Sha256Thumbprint;

use super::{
    CertificateNotAccepted, DeviceError, DeviceIdentity, DevicePlace, Kind, Metadata,
    MetadataError, objects::object_key,
};
use crate::{
    Action, CommandLine, Failure, Origin, Principal,
    access::{Operator, OutOfScope, Prefetch, Prefetched},
    audit::{NewEvent, Target},
    storage::refuse,
};

/// A caller that may act on one kind of object in one namespace: an operator ([`DeviceIdentity::permit`]), or the command
/// line.
#[derive(Debug)]
pub struct Administrator<K> {
    namespace: String,
    origin: Origin,
    /// May contain the object that the request reads.
    pub(super) prefetch: Prefetched,
    kind: PhantomData<fn() -> K>,
}

/// A caller that may act on devices: an operator for one namespace ([`DeviceIdentity::permit_device_administrator`]), or the command
/// line for all of them.
#[derive(Debug)]
pub struct DeviceAdministrator {
    /// The namespace of the devices, or `None` for all namespaces.
    namespace: Option<String>,
    origin: Origin,
}

/// A caller that may preauth and provision as its API key allows, and attest for devices of its namespaces.
#[derive(Debug)]
pub struct Station {
    origin: Origin,
    /// The thumbprint of the client certificate that it authenticated with, of any category.
    certificate: Option<Sha256Thumbprint>,
    /// What it may access without an API key.
    scopes: Vec<OperatorScope>,
}

/// An operation on objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectOperation {
    /// Create an object.
    Create,
    /// Delete an object.
    Delete,
    /// Read an object.
    Get,
    /// List the objects of a namespace.
    List,
    /// Replace an object.
    Replace,
}

/// An operation of a station for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StationOperation {
    /// Prove that its TPM opened a credential.
    Activate,
    /// Attest.
    Attest,
    /// Request the nonce of an attestation.
    AttestNonce,
    /// Check whether it may be provisioned.
    Preauth,
    /// Provision it.
    Provision,
}

impl StationOperation {
    /// Returns the action's entry in the audit trail.
    pub(super) const fn action(self) -> Action {
        match self {
            Self::Activate => Action::TpmActivate,
            Self::Attest => Action::TpmAttest,
            Self::AttestNonce => Action::TpmAttestNonce,
            Self::Preauth => Action::TpmPreauth,
            Self::Provision => Action::TpmProvision,
        }
    }
}

impl DeviceIdentity {
    /// Returns the keys to prefetch with the token of a request for this object.
    pub fn prefetch<K: Kind>(namespace: &str, name: &str) -> Prefetch {
        Prefetch(vec![object_key::<K>(namespace, name)])
    }

    /// Permits the operator to act on an object of this namespace, or on all of them if `name` is empty.
    ///
    /// # Errors
    ///
    /// [`OutOfScope`].
    pub async fn permit<K: Kind>(
        &self,
        operator: &Operator,
        act: ObjectOperation,
        namespace: &str,
        name: &str,
        origin: &Origin,
    ) -> Result<Administrator<K>, OutOfScope> {
        let needed = OperatorScope::Tpm(Some(namespace.to_owned()));
        let target = || K::target(namespace, name);
        let permitted = self
            .audit
            .permit(operator, needed, K::action(act), target, origin);
        Ok(Administrator {
            namespace: namespace.to_owned(),
            origin: permitted.await?,
            prefetch: operator.prefetch.clone(),
            kind: PhantomData,
        })
    }

    /// Permits the operator to act on devices of this namespace. `target` is recorded in the audit trail.
    ///
    /// # Errors
    ///
    /// [`OutOfScope`].
    pub async fn permit_device_administrator(
        &self,
        operator: &Operator,
        act: Action,
        namespace: &str,
        target: Target,
        origin: &Origin,
    ) -> Result<DeviceAdministrator, OutOfScope> {
        let needed = OperatorScope::Tpm(Some(namespace.to_owned()));
        let permitted = self.audit.permit(operator, needed, act, || target, origin);
        Ok(DeviceAdministrator {
            namespace: Some(namespace.to_owned()),
            origin: permitted.await?,
        })
    }

    /// Permits a station call with the operator's token. `certificate` is the client certificate of the TLS handshake,
    /// which some API keys require.
    ///
    /// # Errors
    ///
    /// [`OutOfScope`].
    pub async fn permit_station(
        &self,
        operator: &Operator,
        act: StationOperation,
        certificate: Option<Sha256Thumbprint>,
        origin: &Origin,
    ) -> Result<Station, OutOfScope> {
        let needed = OperatorScope::TpmStation;
        let target = || Target::Station;
        let origin = self
            .audit
            .permit(operator, needed, act.action(), target, origin);
        Ok(Station {
            origin: origin.await?,
            certificate,
            scopes: operator.scopes().cloned().collect(),
        })
    }

    /// Authenticates a station by its client certificate, whichever category that belongs to. Whether an API key
    /// accepts it is checked with the key.
    ///
    /// # Errors
    ///
    /// [`CertificateNotAccepted`].
    pub async fn station_with_certificate(
        &self,
        certificate: Sha256Thumbprint,
        origin: &Origin,
    ) -> Result<Station, Failure<CertificateNotAccepted>> {
        let client = self.client(&certificate, self.clock.now()).await?;
        let (category, warrant) = client.ok_or(Failure::Refused(CertificateNotAccepted))?;
        let scopes = vec![OperatorScope::Tpm(Some(category.namespace.clone()))];
        let who = Principal::Station {
            namespace: category.namespace,
            category: category.name,
        };
        Ok(Station {
            origin: Origin {
                warrants: vec![warrant],
                ..origin.by(who)
            },
            certificate: Some(certificate),
            scopes,
        })
    }

    /// Returns whether the station may attest for devices of this namespace. A refusal is recorded in the audit trail.
    pub(super) async fn may_show(
        &self,
        station: &Station,
        act: StationOperation,
        namespace: &str,
    ) -> bool {
        if station.reaches(namespace) {
            return true;
        }
        let why = "the namespace is not one of the station's".to_owned();
        self.note_refusal(act, Target::Station, why, station).await;
        false
    }

    /// Records in the audit trail why a station's call was refused.
    pub(super) async fn note_refusal(
        &self,
        act: StationOperation,
        target: Target,
        why: String,
        station: &Station,
    ) {
        let action = act.action();
        tracing::info!(action = action.name(), %target, why, "refused");
        let new_event = NewEvent {
            action,
            target,
            detail: Some(why),
            origin: station.origin(),
        };
        self.audit.refused(new_event).await;
    }
}

impl<K> Administrator<K> {
    /// Returns an administrator of the objects of this namespace.
    pub fn of_command_line(command_line: &CommandLine, namespace: String) -> Self {
        Self {
            namespace,
            origin: command_line.origin().clone(),
            prefetch: Prefetched::default(),
            kind: PhantomData,
        }
    }

    /// Returns the caller's identity.
    pub const fn who(&self) -> &Principal {
        &self.origin.who
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Sets the metadata's namespace to the permitted one, and validates it.
    pub(super) fn place(&self, metadata: Metadata) -> Result<Metadata, MetadataError> {
        let metadata = Metadata {
            namespace: self.namespace.clone(),
            ..metadata
        };
        metadata.check()?;
        Ok(metadata)
    }
}

impl DeviceAdministrator {
    /// Returns an administrator of the devices of all namespaces.
    pub fn of_command_line(command_line: &CommandLine) -> Self {
        Self {
            namespace: None,
            origin: command_line.origin().clone(),
        }
    }

    /// Returns whether devices of this namespace are accessible.
    pub(super) fn reaches(&self, namespace: &str) -> bool {
        self.namespace.as_ref().is_none_or(|own| own == namespace)
    }

    /// Reports devices of other namespaces as unknown.
    pub(super) fn within(&self, place: &DevicePlace) -> Result<(), Failure<DeviceError>> {
        if self.reaches(&place.namespace) {
            Ok(())
        } else {
            refuse(DeviceError::Unknown)
        }
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl Station {
    /// Returns a station that authenticates by API key alone. It cannot attest for any device.
    pub const fn with_api_key_only(origin: Origin, certificate: Option<Sha256Thumbprint>) -> Self {
        Self {
            origin,
            certificate,
            scopes: Vec::new(),
        }
    }

    /// Returns whether devices of this namespace are accessible without an API key. The scope `tpm-station` covers all
    /// namespaces.
    fn reaches(&self, namespace: &str) -> bool {
        let needed = OperatorScope::Tpm(Some(namespace.to_owned()));
        let mut scopes = self.scopes.iter();
        scopes.any(|scope| *scope == OperatorScope::TpmStation || scope.covers(&needed))
    }

    pub(super) const fn certificate(&self) -> Option<&Sha256Thumbprint> {
        self.certificate.as_ref()
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::device, *};
    use crate::testing::origin;

    #[test]
    fn a_device_of_another_namespace_is_there_for_whoever_runs_a_command_alone() {
        let place = device("manager", "SN0001").place;
        let of = |namespace: &str| DeviceAdministrator {
            namespace: Some(namespace.to_owned()),
            origin: origin(),
        };
        assert_eq!(of("default").within(&place), Ok(()));
        for other in ["other", "", "defaul", "default2"] {
            let unknown = Err(Failure::Refused(DeviceError::Unknown));
            assert_eq!(of(other).within(&place), unknown, "{other}");
        }
        let all = DeviceAdministrator::of_command_line(&CommandLine::of("root".to_owned()));
        assert_eq!(all.within(&place), Ok(()));
    }

    #[test]
    fn a_station_reaches_what_its_scopes_reach() {
        let of = |scopes: &[&str]| Station {
            origin: origin(),
            certificate: None,
            scopes: scopes.iter().map(|scope| scope.parse().unwrap()).collect(),
        };
        for scope in ["admin", "tpm", "tpm-station"] {
            let station = of(&["tpm:acme", scope]);
            assert!(
                station.reaches("acme") && station.reaches("other"),
                "{scope}"
            );
        }
        let station = of(&["certificates", "tpm:acme", "tpm:corp"]);
        assert!(station.reaches("acme") && station.reaches("corp"));
        for other in ["other", "", "acm", "acme2"] {
            assert!(!station.reaches(other), "{other}");
        }
        assert!(!Station::with_api_key_only(origin(), None).reaches("acme"));
    }
}
