//! Provision: issues a certificate for a device's AK that only the TPM with its EK can decrypt.
//!
//! The certificate is encrypted under a fresh key, which is put in a credential (`TPM2_MakeCredential`) for the AK's
//! Name. A TPM opens the credential only if it has both keys, and the AK with exactly the assumed attributes. No other
//! proof of possession is needed.
//!
//! A request is answered unless it contradicts an existing binding. The answer itself binds nothing. The device is
//! bound when it proves with the answer's ticket that it opened the credential (`activation.rs`).

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use keyproof_store::{Batch, ReadPlan, Store, Timestamp};
use keyproof_tpm::{
    DeviceInfo, Name, Structure, TpmAttributes, TpmError, TpmtPublic, seal_certificate,
};

use super::{
    ApiKeyRefusal, AuthorityError, DeviceIdentity, EndorsementError, Field, FieldError,
    IdentityConflict, ProvisionRequest, Station, StationOperation,
    authority::Authority,
    certified::{Cause, Certified, Issued, REVOKED_AT_ONCE, tell_revoked},
    endorsement,
    grant::Grant,
    identity::{DevicePlace, Identity, draw},
    ticket::{self, Ticket},
    trust::TrustBundle,
};
use crate::{
    Failure, StorageError,
    audit::{NewEvent, Target},
    slot::Slot,
    storage::{Attempt, refuse, transact},
};

/// What the station passes on to the device.
#[derive(Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// The certificate, encrypted with AES-256-GCM without associated data, followed by the tag.
    pub encrypted_certificate: Vec<u8>,
    /// A credential file of tpm2-tools, which contains the key.
    pub credential: Vec<u8>,
    /// The 12-byte nonce of the encryption.
    pub nonce: [u8; 12],
    /// The category's CA and the manager's root, in PEM.
    pub chain: String,
    /// The ticket for activation, to be sent with the proof that the TPM opened the credential; valid once, within an
    /// hour.
    pub activation_ticket: String,
}

/// Why no certificate was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    /// The API key was rejected.
    #[error(transparent)]
    ApiKey(ApiKeyRefusal),
    /// The certificate could not be issued.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The claimed device, EK and AK contradict the stored bindings.
    #[error("{0}")]
    Conflict(IdentityConflict),
    /// The EK certificate was rejected, or is not for the EK.
    #[error(transparent)]
    Endorsement(#[from] EndorsementError),
    /// The API key exceeded its rate limit.
    #[error("the API key is used too often")]
    RateLimited {
        /// How long to wait before a retry.
        retry_after: Duration,
    },
    /// The request is malformed.
    #[error(transparent)]
    Request(#[from] FieldError),
    /// The encryption failed. This is a defect.
    #[error("the certificate could not be sealed")]
    Sealing,
}

/// The validated device and keys of a request.
struct Evidence {
    device: DevicePlace,
    /// The device's name.
    name: String,
    version: String,
    /// The TPM's attributes in the EK certificate.
    tpm: Option<TpmAttributes>,
    ek: TpmtPublic,
    ek_name: Name,
    ak: TpmtPublic,
    ak_name: Name,
}

/// A refusal with its target in the audit trail.
type Refused = (Target, ProvisionError);

impl DeviceIdentity {
    /// Issues the certificate of a device's AK, or returns the present one again, encrypted so that only its TPM can
    /// read it.
    ///
    /// # Errors
    ///
    /// [`ProvisionError`].
    pub async fn provision(
        &self,
        station: &Station,
        request: ProvisionRequest,
    ) -> Result<Provisioned, Failure<ProvisionError>> {
        let request = Arc::new(request);
        let has_turn = AtomicBool::new(false);
        let provisioned = loop {
            let provisioned = transact("device_identity.provision", &self.store, || {
                self.try_provision(station, &request, &has_turn)
            });
            if let Some(provisioned) = provisioned.await.transpose() {
                break provisioned;
            }
        };
        let failure = match provisioned {
            Ok(provisioned) => return Ok(provisioned),
            Err(failure) => failure,
        };
        let (target, why) = failure.refusal()?;
        if why.is_audited() {
            let (act, told) = (StationOperation::Provision, why.to_string());
            self.note_refusal(act, target, told, station).await;
        }
        refuse(why)
    }

    /// `has_turn` is shared by all attempts, so that a retried commit counts as one use of the API key. Returns nothing if it
    /// only revoked some of the certificates that a forgotten device left. The provision is then still to be done.
    async fn try_provision(
        &self,
        station: &Station,
        request: &Arc<ProvisionRequest>,
        has_turn: &AtomicBool,
    ) -> Result<Attempt<Option<Provisioned>, Refused>, Failure<Refused>> {
        let now = self.clock.now();
        let shown = self.show_key(&request.api_key, station, now).await;
        let refused = |(target, why)| (target, ProvisionError::ApiKey(why));
        let grant = shown.map_err(|failure| failure.map(refused))?;
        let refused = |why| grant.refused(why);
        if !has_turn.swap(true, Ordering::Relaxed) {
            self.take_turn(&grant, now)
                .map_err(|retry_after| refused(ProvisionError::RateLimited { retry_after }))?;
        }
        let under = self.challenge_key().await?.id;
        let bundle = self.trust_bundle_of(grant.trust).await?;
        let who = grant.asker(station);
        let evidence = {
            let (request, grant) = (Arc::clone(request), Arc::clone(&grant));
            let bundle = Arc::clone(&bundle);
            let of = move || Evidence::of(&request, &grant, &bundle, now);
            self.on_cpu_queue(&who, of)
        };
        let evidence = Arc::new(evidence.await?.map_err(refused)?);
        let names = (
            &*evidence.ek_name.to_string(),
            &*evidence.ak_name.to_string(),
        );
        let known = self.known(&grant, &evidence.device, names, now).await?;
        let conflict = |error| refused(ProvisionError::Conflict(error));
        known.identity.check().map_err(conflict)?;
        let of = (&*grant, &evidence.device);
        let surplus = self.revoke_surplus_left(station, &known, of, now);
        if let Some(batch) = surplus.await? {
            return Ok(Attempt::Commit(batch, Ok(None)));
        }

        let mut batch = self.store.batch(now);
        grant.require(&mut batch);
        bundle.require(&mut batch);
        known.identity.require(&mut batch);
        let kept = self.kept(&known, &grant, &mut batch, now).await?;
        let is_kept = kept.is_some();
        let answer = Answer {
            grant: Arc::clone(&grant),
            evidence: Arc::clone(&evidence),
            kept,
            replaced: known.current().cloned(),
            incarnation: known.identity.incarnation().to_owned(),
            list_url: self.revocation_list_url(&grant.category.record.metadata),
            under,
            store: self.store.clone(),
            now,
        };
        let made = self.on_cpu_queue(&who, move || answer.make()).await?;
        let (certified, provisioned) = made.map_err(refused)?;
        let how = if is_kept { "kept" } else { "made" };
        let how = format!("certificate {how}: serial {}", certified.issued.serial);
        let revoked = if is_kept {
            known.certified.require(&mut batch);
            Vec::new()
        } else {
            self.write_certified(&mut batch, &known, certified, &grant, now)
                .await?
        };
        let of = (&*grant, &evidence.device);
        self.note_provision(&mut batch, station, of, how, &revoked, now);
        Ok(Attempt::Commit(batch, Ok(Some(provisioned))))
    }

    /// Adds the audit event of a provision, or of a part of it, to a batch.
    fn note_provision(
        &self,
        batch: &mut Batch,
        station: &Station,
        (grant, device): (&Grant, &DevicePlace),
        mut detail: String,
        revoked: &[Issued],
        now: Timestamp,
    ) {
        let DevicePlace { vendor, serial, .. } = device;
        detail.push_str(&format!(", for vendor {vendor:?}, serial {serial:?}"));
        tell_revoked(&mut detail, revoked);
        let new_event = NewEvent {
            action: StationOperation::Provision.action(),
            target: grant.target(),
            detail: Some(detail),
            origin: station.origin(),
        };
        self.audit.done(batch, now, new_event);
    }

    /// Returns the present certificate if it can be returned again: it is fresh, and its API key keeps it valid.
    async fn kept(
        &self,
        known: &Known,
        grant: &Grant,
        batch: &mut Batch,
        now: Timestamp,
    ) -> Result<Option<Certified>, StorageError> {
        let Some(certified) = known.current().filter(|current| current.is_fresh(now)) else {
            return Ok(None);
        };
        let is_still_valid = self.is_still_valid(&certified.issued, grant, batch).await?;
        Ok(is_still_valid.then(|| certified.clone()))
    }

    /// Reads the records of the device and of its AK's certificate.
    async fn known(
        &self,
        grant: &Grant,
        device: &DevicePlace,
        (ek, ak): (&str, &str),
        now: Timestamp,
    ) -> Result<Known, StorageError> {
        let category = &grant.category.record.metadata;
        let place = Certified::key(&category.namespace, &category.name, device, ek, ak);
        let keys = Identity::keys(device, ek);
        let manager = &grant.manager.record.spec;
        let plan = ReadPlan::new(keys.into_iter().chain([place.clone()]));
        let found = self.store.read(plan, now).await?;
        Ok(Known {
            identity: Identity::read(&found, device.clone(), ek, manager)?,
            certified: Slot::of(&found, place)?,
        })
    }

    /// Returns a batch that revokes the oldest of the certificates that a forgotten device left, if they are more than a
    /// new certificate's own batch has room for. The provision is to be tried again once it is committed.
    async fn revoke_surplus_left(
        &self,
        station: &Station,
        known: &Known,
        (grant, device): (&Grant, &DevicePlace),
        now: Timestamp,
    ) -> Result<Option<Batch>, StorageError> {
        let left = known.left();
        let Some(left) = left.filter(|left| left.all().count() > REVOKED_AT_ONCE) else {
            return Ok(None);
        };
        let mut rest = left.clone();
        let oldest = rest.take_unproven(REVOKED_AT_ONCE);
        let mut batch = self.store.batch(now);
        grant.require(&mut batch);
        known.identity.require(&mut batch);
        station.origin().require(&mut batch);
        let until = known.certified.expires_at();
        known.certified.replace(&mut batch, &rest, until);
        let category = &grant.category.record.metadata;
        let at = (&*category.namespace, &*category.name);
        self.revoke(&mut batch, at, &oldest, Cause::Forgotten, now)
            .await?;
        let how = "no certificate made yet".to_owned();
        self.note_provision(&mut batch, station, (grant, device), how, &oldest, now);
        Ok(Some(batch))
    }

    /// Adds a new certificate to a batch. Revokes those that a forgotten device left, and returns them.
    async fn write_certified(
        &self,
        batch: &mut Batch,
        known: &Known,
        new: Certified,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Vec<Issued>, StorageError> {
        let category = &grant.category.record.metadata;
        let at = (&*category.namespace, &*category.name);
        let left = known.left().into_iter().flat_map(Certified::all);
        let left: Vec<Issued> = left.cloned().collect();
        self.revoke(batch, at, &left, Cause::Forgotten, now).await?;
        let until = Some(new.issued.expires_at());
        batch.insert(&new.issued.key(at.0, at.1), &new.issued, until);
        known.certified.replace(batch, &new, until);
        Ok(left)
    }
}

impl ProvisionError {
    /// Returns whether it is recorded in the audit trail: not if it is a defect or a rate limit.
    const fn is_audited(&self) -> bool {
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

/// The bindings of device and EK, and the AK's certificate, from one snapshot.
struct Known {
    identity: Identity,
    certified: Slot<Certified>,
}

impl Known {
    /// Returns the AK's certificate if it was issued to the present incarnation of the device.
    fn current(&self) -> Option<&Certified> {
        let certified = self.certified.record();
        certified.filter(|certified| certified.incarnation == self.identity.incarnation())
    }

    /// Returns the AK's certificates of an earlier incarnation, which remained when the device was forgotten.
    fn left(&self) -> Option<&Certified> {
        let certified = self.certified.record();
        certified.filter(|certified| certified.incarnation != self.identity.incarnation())
    }
}

impl Grant {
    /// Returns the place of the claimed device.
    fn device(&self, claim: &DeviceInfo<'_>) -> DevicePlace {
        let manager = &self.manager.record.metadata;
        DevicePlace {
            namespace: manager.namespace.clone(),
            manager: manager.name.clone(),
            vendor: claim.vendor().to_owned(),
            serial: claim.serial().to_owned(),
        }
    }

    fn refused(&self, why: ProvisionError) -> Failure<Refused> {
        Failure::Refused((self.target(), why))
    }
}

/// The input for an answer.
struct Answer {
    grant: Arc<Grant>,
    evidence: Arc<Evidence>,
    /// The present certificate if it is returned again.
    kept: Option<Certified>,
    /// The certificates that a new one replaces.
    replaced: Option<Certified>,
    /// The device's incarnation.
    incarnation: String,
    /// The URL of the category's CRL for certificates, if there is one.
    list_url: Option<String>,
    /// The id of the challenge key that the ticket is issued under.
    under: String,
    store: Store,
    now: Timestamp,
}

impl Answer {
    /// Returns the certificate, and the encrypted answer for the station.
    fn make(self) -> Result<(Certified, Provisioned), ProvisionError> {
        let Self {
            grant,
            evidence,
            kept,
            replaced,
            incarnation,
            list_url,
            under,
            store,
            now,
        } = self;
        let certified = match kept {
            Some(certified) => certified,
            None => {
                let made = Authority::certify_attestation_key(
                    &grant.category.record,
                    &store,
                    &evidence.ak,
                    evidence.tpm.as_ref(),
                    &evidence.device.serial,
                    list_url,
                    now,
                )?;
                let key = &grant.key.record;
                let by = (&*key.metadata.name, &*key.system.uid);
                let keys = (
                    &*evidence.ek_name.to_string(),
                    &*evidence.ak_name.to_string(),
                );
                Certified::made(made, now, by, keys, &incarnation, replaced)
            }
        };
        let provisioned = evidence.seal(&grant, &certified, under, &store, now)?;
        Ok((certified, provisioned))
    }
}

impl Evidence {
    /// Validates a request as far as possible without the device's records.
    fn of(
        request: &ProvisionRequest,
        grant: &Grant,
        bundle: &TrustBundle,
        now: Timestamp,
    ) -> Result<Self, ProvisionError> {
        let request = request.decode()?;
        let category = &grant.category.record.spec;
        let manager = &grant.manager.record.spec;
        endorsement::verify(&request, category, manager, bundle, now)?;
        let unnamed = Field::AttestationKeyPublic.malformed();
        let template = category.attestation_key.below(&request.ek);
        let ak = request.attestation_key(&template.map_err(&unnamed)?)?;
        let device = &request.device;
        Ok(Self {
            device: grant.device(device),
            name: device.name().to_owned(),
            version: device.version().to_owned(),
            ek_name: Name::of(&request.ek).map_err(Field::EndorsementKey.malformed())?,
            ak_name: Name::of(&ak).map_err(unnamed)?,
            tpm: request.tpm,
            ek: request.ek,
            ak,
        })
    }

    /// Encrypts a certificate to the TPM under a fresh key and nonce, and issues the activation ticket.
    fn seal(
        &self,
        grant: &Grant,
        certified: &Certified,
        under: String,
        store: &Store,
        now: Timestamp,
    ) -> Result<Provisioned, ProvisionError> {
        let entropy = store.entropy();
        let sealed = seal_certificate(
            &self.ek,
            &self.ak_name,
            &certified.certificate,
            &mut |bytes| {
                entropy.fill(bytes);
                Ok::<_, Infallible>(())
            },
        )
        .map_err(|error| match TpmError::from(error) {
            // Only the crypto provider detects an EK whose point is not on its curve.
            TpmError::Provider => EndorsementError::Key("it is not a valid key".to_owned()).into(),
            _ => ProvisionError::Sealing,
        })?;
        let proof = sealed.key.proof(&self.ak_name);
        let ticket = Ticket {
            id: draw(store),
            device: self.device.clone(),
            name: self.name.clone(),
            version: self.version.clone(),
            under,
            incarnation: certified.incarnation.clone(),
            category: grant.category.record.metadata.name.clone(),
            ek: certified.ek.clone(),
            ak: certified.ak.clone(),
            certificate: certified.issued.serial.clone(),
            proof: ticket::digest_of(&proof),
            expires_at: now.saturating_add(ticket::LIFE),
        };
        let ticket = ticket.seal(store).map_err(|_| ProvisionError::Sealing)?;
        let (category, manager) = (&grant.category.record.spec, &grant.manager.record.spec);
        Ok(Provisioned {
            encrypted_certificate: sealed.encrypted_certificate,
            credential: sealed.credential.to_bytes(),
            nonce: sealed.nonce,
            chain: [category.sub_ca_certificate(), manager.root_ca_certificate()].concat(),
            activation_ticket: ticket,
        })
    }
}
