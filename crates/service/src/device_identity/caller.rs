//! Who may work with managers, categories, API keys and devices, and who may provision.

use std::marker::PhantomData;

use keyproof_auth::operator::OperatorScope;
use keyproof_x509::Sha256Thumbprint;

use super::{
    CertificateNotAccepted, DeviceError, DeviceIdentity, DevicePlace, Kind, Metadata,
    MetadataError, objects::object_key,
};
use crate::{
    Action, CommandLine, Failure, Origin, Who,
    access::{Along, Operator, OutOfScope, ReadAlong},
    audit::{Deed, Target},
    storage::refuse,
};

/// Somebody who may work with the objects of one kind in one namespace. [`DeviceIdentity::permit`] alone makes it.
#[derive(Debug)]
pub struct Administrator<K> {
    namespace: String,
    origin: Origin,
    /// An object that is only to be shown may be there.
    pub(super) along: ReadAlong,
    kind: PhantomData<fn() -> K>,
}

/// Somebody who may do something with devices: an operator with those of a namespace, whom [`DeviceIdentity::permit_keeper`]
/// alone makes one; or whoever runs a command, with all of them.
#[derive(Debug)]
pub struct Keeper {
    /// Whose devices; those of all namespaces, if `None`.
    namespace: Option<String>,
    origin: Origin,
}

/// Somebody who may preauth and provision, as far as an API key lets them, and show what devices of their namespaces say.
#[derive(Debug)]
pub struct Station {
    origin: Origin,
    /// The thumbprint of the client certificate that it has shown, whichever category that belongs to.
    certificate: Option<Sha256Thumbprint>,
    /// What it may do without an API key.
    scopes: Vec<OperatorScope>,
}

/// What may be asked for of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Make one.
    Create,
    /// Delete one.
    Delete,
    /// Read one.
    Get,
    /// Read all.
    List,
    /// Replace one.
    Replace,
}

/// What may be asked for of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StationAct {
    /// Show that its TPM opened a credential.
    Activate,
    /// Attest.
    Attest,
    /// Ask for the nonce of an attestation.
    AttestNonce,
    /// Ask whether it may be provisioned.
    Preauth,
    /// Provision it.
    Provision,
}

impl StationAct {
    /// As the audit trail calls it.
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
    /// What is to be read along with a token by which an object is asked for.
    pub fn along<K: Kind>(namespace: &str, name: &str) -> Along {
        Along(vec![object_key::<K>(namespace, name)])
    }

    /// Whether the operator may do this to an object of this namespace; to all of them where the name is empty.
    ///
    /// # Errors
    ///
    /// [`OutOfScope`].
    pub async fn permit<K: Kind>(
        &self,
        operator: &Operator,
        act: Act,
        namespace: &str,
        name: &str,
        origin: &Origin,
    ) -> Result<Administrator<K>, OutOfScope> {
        let action = match act {
            Act::Create => K::ACTIONS.create,
            Act::Delete => K::ACTIONS.delete,
            Act::Get => K::ACTIONS.get,
            Act::List => K::ACTIONS.list,
            Act::Replace => K::ACTIONS.replace,
        };
        let needed = OperatorScope::Tpm(Some(namespace.to_owned()));
        let target = || K::target(namespace, name);
        let origin = self.audit.permit(operator, needed, action, target, origin);
        Ok(Administrator {
            namespace: namespace.to_owned(),
            origin: origin.await?,
            along: operator.along.clone(),
            kind: PhantomData,
        })
    }

    /// Whether the operator may do this with devices of this namespace; `target` is which, as the audit trail calls it.
    ///
    /// # Errors
    ///
    /// [`OutOfScope`].
    pub async fn permit_keeper(
        &self,
        operator: &Operator,
        act: Action,
        namespace: &str,
        target: Target,
        origin: &Origin,
    ) -> Result<Keeper, OutOfScope> {
        let needed = OperatorScope::Tpm(Some(namespace.to_owned()));
        let permitted = self.audit.permit(operator, needed, act, || target, origin);
        Ok(Keeper {
            namespace: Some(namespace.to_owned()),
            origin: permitted.await?,
        })
    }

    /// Whether stations may make such a call in the operator's name. With the client certificate that was shown in the TLS
    /// handshake, if one was, for API keys that are taken only with one.
    ///
    /// # Errors
    ///
    /// [`OutOfScope`].
    pub async fn permit_station(
        &self,
        operator: &Operator,
        act: StationAct,
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

    /// The station that has this client certificate, whichever category's it is: whether it is that of an API key's category
    /// is judged with the key.
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
        let who = Who::Station {
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

    /// Whether what devices of this namespace say is for a station to show. One that may not is written down.
    pub(super) async fn may_show(
        &self,
        station: &Station,
        act: StationAct,
        namespace: &str,
    ) -> bool {
        if station.reaches(namespace) {
            return true;
        }
        let why = "the namespace is not one of the station's".to_owned();
        self.note_refusal(act, Target::Station, why, station).await;
        false
    }

    /// Writes down why a station's call was refused; `target` is what it was about.
    pub(super) async fn note_refusal(
        &self,
        act: StationAct,
        target: Target,
        why: String,
        station: &Station,
    ) {
        let action = act.action();
        tracing::info!(action = action.name(), %target, why, "refused");
        let deed = Deed {
            action,
            target,
            detail: Some(why),
            origin: station.origin(),
        };
        self.audit.refused(deed).await;
    }
}

impl<K> Administrator<K> {
    /// Who asks.
    pub const fn who(&self) -> &Who {
        &self.origin.who
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Metadata of a new object, in the namespace that the permission is for.
    pub(super) fn place<E: From<MetadataError>>(&self, metadata: Metadata) -> Result<Metadata, E> {
        let metadata = Metadata {
            namespace: self.namespace.clone(),
            ..metadata
        };
        metadata.check()?;
        Ok(metadata)
    }
}

impl Keeper {
    /// With the devices of all namespaces.
    pub fn of_command_line(command_line: &CommandLine) -> Self {
        Self {
            namespace: None,
            origin: command_line.origin().clone(),
        }
    }

    /// Whether the devices of this namespace are there for them.
    pub(super) fn reaches(&self, namespace: &str) -> bool {
        self.namespace.as_ref().is_none_or(|own| own == namespace)
    }

    /// Devices of other namespaces are not there for an operator.
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
    /// Anybody: where the API key is all that stations show. What devices say later is not theirs to show.
    pub const fn with_api_key_only(origin: Origin, certificate: Option<Sha256Thumbprint>) -> Self {
        Self {
            origin,
            certificate,
            scopes: Vec::new(),
        }
    }

    /// Whether devices of this namespace are there for it, by what it shows beside API keys: one for stations alone is for those
    /// of all namespaces.
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
        let of = |namespace: &str| Keeper {
            namespace: Some(namespace.to_owned()),
            origin: origin(),
        };
        assert_eq!(of("default").within(&place), Ok(()));
        for other in ["other", "", "defaul", "default2"] {
            let unknown = Err(Failure::Refused(DeviceError::Unknown));
            assert_eq!(of(other).within(&place), unknown, "{other}");
        }
        let all = Keeper::of_command_line(&CommandLine::of("root".to_owned()));
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
