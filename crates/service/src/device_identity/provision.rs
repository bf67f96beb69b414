//! Provision: a certificate for a device's attestation key, which only the TPM with its endorsement key can read.
//!
//! The certificate is encrypted under a fresh key, and that key in a credential (`TPM2_MakeCredential`) for the
//! attestation key's Name. A TPM opens it only if it holds both keys, and the attestation key with exactly the attributes
//! that were assumed: so nothing else has to prove possession of it.

use super::{
    ApiKeyRefusal, AuthorityError, DeviceClaim, DeviceIdentity, EndorsementError, IdentityConflict,
    Metadata, ProvisionRequest, RequestError, Station,
    authority::Authority,
    endorsement,
    grant::{Grant, Shown},
    identity::Certified,
    objects::deed,
};
use crate::{
    Action, Failure,
    storage::{Attempt, settle},
};
use keyproof_store::{Entropy, Store, Stored, Timestamp};
use keyproof_tpm::{Name, Structure, TpmAttributes, TpmError, TpmtPublic, seal_certificate};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// What the station is to carry to the device.
#[derive(Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// The certificate, encrypted: AES-256-GCM without associated data, the tag last.
    pub encrypted_certificate: Vec<u8>,
    /// A credential file of tpm2-tools, which holds the key.
    pub credential: Vec<u8>,
    /// The 12 bytes of the encryption's nonce.
    pub nonce: [u8; 12],
    /// The category's CA and the manager's root, in PEM.
    pub chain: String,
}

/// Why no certificate is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    /// The API key is no good.
    #[error("api_key: {0}")]
    ApiKey(ApiKeyRefusal),
    /// The certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The device is not the one that it says.
    #[error("{0}")]
    Conflict(IdentityConflict),
    /// The endorsement certificate does not speak for the endorsement key.
    #[error(transparent)]
    Endorsement(#[from] EndorsementError),
    /// The key was used too often.
    #[error("the API key is used too often")]
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The request is malformed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The cryptography failed: a defect.
    #[error("the certificate could not be sealed")]
    Sealing,
}

/// A request's keys, which are in order.
struct Evidence {
    /// What the endorsement certificate says of the TPM.
    tpm: Option<TpmAttributes>,
    ek: TpmtPublic,
    ek_name: Name,
    ak: TpmtPublic,
    ak_name: Name,
}

/// A refusal, and whose API key it concerns, where that is known.
struct Refused {
    whose: Option<Metadata>,
    why: ProvisionError,
}

impl DeviceIdentity {
    /// Makes, or makes again, the certificate of a device's attestation key, readable by its TPM alone.
    ///
    /// # Errors
    /// [`ProvisionError`].
    pub async fn provision(
        &self,
        station: &Station,
        request: ProvisionRequest,
    ) -> Result<Provisioned, Failure<ProvisionError>> {
        match self.try_provision(station, Arc::new(request)).await {
            Ok(provisioned) => Ok(provisioned),
            Err(Failure::Storage(error)) => Err(Failure::Storage(error)),
            Err(Failure::Refused(Refused { whose, why })) => {
                if why.is_told() {
                    self.note_refusal(
                        Action::TpmProvision,
                        whose.as_ref(),
                        why.to_string(),
                        station,
                    )
                    .await;
                }
                Err(Failure::Refused(why))
            }
        }
    }

    async fn try_provision(
        &self,
        station: &Station,
        request: Arc<ProvisionRequest>,
    ) -> Result<Provisioned, Failure<Refused>> {
        let now = self.clock.now();
        let grant = self.granted(&request.api_key, now).await?;
        // However often the race for the device is run.
        self.take_turn(&grant, now)
            .map_err(|retry_after| grant.refused(ProvisionError::RateLimited { retry_after }))?;
        let first = Mutex::new(Some(grant));
        settle("device_identity.provision", &self.store, || async {
            let now = self.clock.now();
            let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let grant = match first {
                Some(grant) => grant,
                None => self.granted(&request.api_key, now).await?,
            };
            let refused = |why| grant.refused(why);
            let evidence = {
                let (request, grant) = (Arc::clone(&request), Arc::clone(&grant));
                self.judge(move || Evidence::of(&request, &grant, now))
            };
            let evidence = Arc::new(evidence.await?.map_err(refused)?);
            let device = request.device.judge();
            let device = device.map_err(|error| refused(RequestError::Device(error).into()))?;
            let Evidence {
                ek_name, ak_name, ..
            } = &*evidence;
            let identity = self.identity(&grant, &device, ek_name, ak_name, now);
            let identity = identity.await?;
            let conflict = |error| refused(ProvisionError::Conflict(error));
            identity.check(&device, ek_name).map_err(conflict)?;

            let mut batch = self.store.batch(now);
            grant.require(&mut batch);
            identity.write(&mut batch, &device, ek_name);
            let kept = match &identity.certified {
                Some(Stored { record, .. })
                    if record.is_fresh(now)
                        && self.is_upheld(record, &grant, &mut batch).await? =>
                {
                    Some(record.clone())
                }
                _ => None,
            };
            let is_kept = kept.is_some();
            let sealed = {
                let (store, request) = (self.store.clone(), Arc::clone(&request));
                let (grant, evidence) = (Arc::clone(&grant), Arc::clone(&evidence));
                let list_url = self.revocation_list_url(&grant.category.record.metadata);
                self.judge(move || {
                    let certified = match kept {
                        Some(certified) => certified,
                        None => evidence.certify(&grant, &request.device, list_url, &store, now)?,
                    };
                    let provisioned = evidence.seal(&grant, &certified, store.entropy())?;
                    Ok::<_, ProvisionError>((certified, provisioned))
                })
            };
            let (certified, provisioned) = sealed.await?.map_err(refused)?;
            let how = if is_kept {
                identity.require_certified(&mut batch);
                "certificate kept"
            } else {
                identity.certify(&mut batch, &certified, &grant, now);
                "certificate made"
            };
            let detail = format!(
                "{how}: serial {}, for vendor {:?}, serial {:?}",
                certified.serial,
                device.vendor(),
                device.serial()
            );
            let key = &grant.key.record.metadata;
            let deed =
                deed::<super::ApiKey>(Action::TpmProvision, key, Some(detail), station.origin());
            self.audit.done(&mut batch, now, deed);
            Ok(Attempt::Commit(batch, Ok(provisioned)))
        })
        .await
    }

    /// What the key grants.
    async fn granted(&self, api_key: &str, now: Timestamp) -> Result<Arc<Grant>, Failure<Refused>> {
        match self.show_key(api_key, now).await? {
            Shown::Granted(grant) => Ok(grant.into()),
            Shown::Refused(refusal, whose) => Err(Failure::Refused(Refused {
                whose,
                why: ProvisionError::ApiKey(refusal),
            })),
        }
    }
}

impl ProvisionError {
    /// Whether the audit trail is told: it is what a station did, and no defect or haste.
    const fn is_told(&self) -> bool {
        match self {
            Self::ApiKey(_)
            | Self::Authority(AuthorityError::Expired { .. })
            | Self::Conflict(_)
            | Self::Endorsement(_)
            | Self::Request(_) => true,
            Self::Authority(_) | Self::RateLimited { .. } | Self::Sealing => false,
        }
    }
}

impl Grant {
    fn refused(&self, why: ProvisionError) -> Failure<Refused> {
        Failure::Refused(Refused {
            whose: Some(self.key.record.metadata.clone()),
            why,
        })
    }
}

impl Evidence {
    /// Reads and judges a request, as far as no record of the device is needed for it.
    fn of(
        request: &ProvisionRequest,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Self, ProvisionError> {
        let request = request.decode()?;
        let category = &grant.category.record.spec;
        let manager = &grant.manager.record.spec;
        let tpm = endorsement::judge(&request, category, manager, now)?;
        let unnamed = |error: TpmError| RequestError::AttestationKey {
            field: "ak_public",
            problem: error.to_string(),
        };
        let template = category.attestation_key.below(&request.ek);
        let ak = request.attestation_key(&template.map_err(unnamed)?)?;
        Ok(Self {
            ek_name: Name::of(&request.ek).map_err(RequestError::EndorsementKey)?,
            ak_name: Name::of(&ak).map_err(unnamed)?,
            tpm,
            ek: request.ek,
            ak,
        })
    }

    /// The certificate of the attestation key.
    fn certify(
        &self,
        grant: &Grant,
        device: &DeviceClaim,
        revocation_list_url: Option<String>,
        store: &Store,
        now: Timestamp,
    ) -> Result<Certified, ProvisionError> {
        let device = device.judge().map_err(RequestError::Device)?;
        let certificate = Authority::certify_attestation_key(
            &grant.category.record,
            store,
            &self.ak,
            self.tpm.as_ref(),
            device.serial(),
            revocation_list_url,
            now,
        )?;
        Ok(Certified::new(certificate, now, &grant.key.record))
    }

    /// Encrypts a certificate to the TPM, under a key and a nonce that were never used before.
    fn seal(
        &self,
        grant: &Grant,
        certified: &Certified,
        entropy: &dyn Entropy,
    ) -> Result<Provisioned, ProvisionError> {
        let sealed = seal_certificate(
            &self.ek,
            &self.ak_name,
            &certified.certificate,
            &mut |bytes| entropy.fill(bytes),
        )
        .map_err(|error| match error {
            // A point that is not on its curve is the first thing that only the provider sees.
            TpmError::Provider => EndorsementError::Key("it is not a valid key".to_owned()).into(),
            _ => ProvisionError::Sealing,
        })?;
        let (category, manager) = (&grant.category.record.spec, &grant.manager.record.spec);
        Ok(Provisioned {
            encrypted_certificate: sealed.encrypted_certificate,
            credential: sealed.credential.to_bytes(),
            nonce: sealed.nonce,
            chain: [category.sub_ca_certificate(), manager.root_ca_certificate()].concat(),
        })
    }
}
