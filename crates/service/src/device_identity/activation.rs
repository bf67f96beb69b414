//! Activation: a device proves that its TPM opened the credential of an attestation key (AK). This binds the device to
//! its endorsement key (EK) and makes the AK active.

use std::fmt;

use keyproof_store::{Batch, Key, Timestamp};
use keyproof_tpm::Name;

use super::{
    DerTextError, DeviceIdentity, IdentityConflict, Sent, Station, StationOperation,
    certified::{Cause, Issued, REVOKED_AT_ONCE, tell_revoked},
    identity::{ActiveKey, DevicePlace, MOST_KEYS},
    key_records::{KeyPlace, KeyRecords, KeyState},
    nonce::ChallengeKeyRecord,
    ticket::{Spent, Ticket},
};
use crate::{
    Failure, StorageError,
    audit::{NewEvent, Target},
    storage::{Attempt, refuse, transact},
};

/// The proof that a TPM opened a credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Activation {
    /// The ticket that provision returned.
    pub ticket: String,
    /// HMAC-SHA-256 of the AK's Name, keyed with the key in the credential.
    pub proof: Sent,
}

/// Omits the fields: ticket and proof together authorise an activation.
impl fmt::Debug for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Activation(..)")
    }
}

/// Why an AK was not activated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActivateError {
    /// The claimed device, EK and AK do not match the stored bindings.
    #[error("{0}")]
    Conflict(IdentityConflict),
    /// The category or its manager is disabled or was deleted.
    #[error("the tpm_category or its tpm_manager is disabled or does not exist")]
    Disabled,
    /// The ticket has expired, or was issued before the store was restored from a backup.
    #[error("ticket: it has expired")]
    Expired,
    /// The device was forgotten after the ticket was issued.
    #[error("ticket: the device was forgotten after it was issued")]
    Forgotten,
    /// The proof cannot be decoded.
    #[error("proof: {0}")]
    ProofUnread(DerTextError),
    /// The certificate is revoked, on hold or expired.
    #[error("the certificate is revoked or on hold, or has expired")]
    Revoked,
    /// The ticket was used before.
    #[error("ticket: it was used before")]
    Spent,
    /// The text is not a ticket issued by this store.
    #[error("ticket: it is not one of this server's")]
    Ticket,
    /// Too many other AKs of the device are active, and have certificates that have not expired.
    #[error(
        "the device has {MOST_KEYS} other attestation keys whose certificates have not expired: forget the device, and provision it again"
    )]
    TooManyKeys,
    /// The proof does not match the ticket, or the ticket is for another key.
    #[error("proof: it does not match this ticket")]
    Unproven,
}

/// A ticket whose proof was verified: the device's TPM opened the credential.
pub(super) struct Proven(Ticket);

impl Activation {
    /// Verifies the ticket and its proof without reading any record. An error comes with the audit target: the ticket's
    /// device, or [`Target::Station`] if the ticket cannot be opened.
    pub(super) fn verify(
        &self,
        devices: &DeviceIdentity,
        now: Timestamp,
    ) -> Result<Proven, (Target, ActivateError)> {
        let proof = self.proof.as_ref();
        let proof = proof.map_err(|error| (Target::Station, ActivateError::ProofUnread(*error)))?;
        let ticket = Ticket::open(&self.ticket, &devices.store);
        let ticket = ticket.ok_or((Target::Station, ActivateError::Ticket))?;
        let why = if !ticket.is_current(now) {
            ActivateError::Expired
        } else if !ticket.is_proven_by(proof) {
            ActivateError::Unproven
        } else {
            return Ok(Proven(ticket));
        };
        Err((ticket.device.target(), why))
    }
}

impl Proven {
    /// Returns whether the ticket is for this AK.
    pub(super) fn is_for(&self, namespace: &str, manager: &str, category: &str, ak: &Name) -> bool {
        let Self(ticket) = self;
        ticket.device.namespace == namespace
            && ticket.device.manager == manager
            && ticket.category == category
            && ticket.ak == ak.to_string()
    }

    /// Returns the ticket's device.
    pub(super) const fn device(&self) -> &DevicePlace {
        &self.0.device
    }

    /// The keys of further records that [`activate`](Self::activate) needs.
    pub(super) fn keys(&self) -> [Key; 2] {
        let (spent, ..) = self.0.spent();
        [spent, ChallengeKeyRecord::place()]
    }

    pub(super) fn place(&self) -> KeyPlace {
        let Ticket {
            device,
            category,
            ek,
            ak,
            certificate,
            ..
        } = &self.0;
        KeyPlace {
            device: device.clone(),
            category: category.clone(),
            ek: ek.clone(),
            ak: ak.clone(),
            certificate: Some(certificate.clone()),
        }
    }

    /// Returns the key's new state, and the certificates that the activation revokes.
    pub(super) fn activate(
        &self,
        known: &KeyRecords,
        now: Timestamp,
    ) -> Result<(KeyState, Vec<Issued>), Failure<ActivateError>> {
        let Self(ticket) = self;
        // A restore replaces the challenge key, which voids earlier tickets.
        let key = known
            .found
            .get::<ChallengeKeyRecord>(&ChallengeKeyRecord::place())?;
        if key.is_none_or(|key| key.record.id != ticket.under) {
            return refuse(ActivateError::Expired);
        }
        let (place, ..) = ticket.spent();
        if known.found.get::<Spent>(&place)?.is_some() {
            return refuse(ActivateError::Spent);
        }
        if known.is_disabled() {
            return refuse(ActivateError::Disabled);
        }
        if known.identity.incarnation() != ticket.incarnation {
            return refuse(ActivateError::Forgotten);
        }
        known
            .check()
            .map_err(|error| Failure::Refused(ActivateError::Conflict(error)))?;
        let Some(certified) = known.certified() else {
            return refuse(ActivateError::Revoked);
        };
        let issued = certified.find(&ticket.certificate);
        let Some(issued) = issued.filter(|issued| issued.not_after > now) else {
            return refuse(ActivateError::Revoked);
        };
        if !known.is_still_valid(issued)? {
            return refuse(ActivateError::Revoked);
        }
        let mut proven = certified.clone();
        let revoked = proven.prove(issued);
        let mut device = known.identity.bound(ticket, now);
        let active = known.state().map(|state| state.active);
        let is_counted = device.count_key(&ticket.ak, issued.not_after, now);
        // An AK that is active already stays so.
        if !is_counted && active.is_none() {
            return refuse(ActivateError::TooManyKeys);
        }
        let state = KeyState {
            active: active.unwrap_or_else(|| ActiveKey {
                vendor: ticket.device.vendor.clone(),
                serial: ticket.device.serial.clone(),
                ek: ticket.ek.clone(),
                incarnation: device.incarnation.clone(),
                manager_incarnation: device.manager_incarnation.clone(),
                activated_at: now,
                last_seen: None,
            }),
            device,
            certified: Some(proven),
        };
        Ok((state, revoked))
    }
}

impl DeviceIdentity {
    /// Activates an attestation key and binds its device to its endorsement key. Revokes the certificates that the
    /// proven one replaces, and those that the device was given for other endorsement keys before.
    ///
    /// # Errors
    ///
    /// [`ActivateError`].
    pub async fn activate(
        &self,
        station: &Station,
        activation: &Activation,
    ) -> Result<(), Failure<ActivateError>> {
        let (target, failure) = match activation.verify(self, self.clock.now()) {
            Ok(proven) => {
                let mut is_active = Ok(false);
                while matches!(is_active, Ok(false)) {
                    is_active = self.transact_activation(station, &proven).await;
                }
                let device = proven.device();
                // A spent ticket has bound its device. The server may have stopped before it revoked the rest.
                if matches!(
                    is_active,
                    Ok(_) | Err(Failure::Refused(ActivateError::Spent))
                ) {
                    self.revoke_other_endorsements(station, device).await;
                }
                match is_active {
                    Ok(_) => return Ok(()),
                    Err(failure) => (device.target(), failure),
                }
            }
            Err((target, why)) => (target, Failure::Refused(why)),
        };
        if let Failure::Refused(why) = &failure {
            self.note_refusal(StationOperation::Activate, target, why.to_string(), station)
                .await;
        }
        Err(failure)
    }

    /// Returns `false` if it only revoked some of the certificates that the proven one replaces. The rest is then still to
    /// be done.
    async fn transact_activation(
        &self,
        station: &Station,
        proven: &Proven,
    ) -> Result<bool, Failure<ActivateError>> {
        transact("device_identity.activate", &self.store, || async {
            let now = self.clock.now();
            let known = self
                .key_records(proven.place(), proven.keys(), now)
                .await?
                .ok_or(Failure::Refused(ActivateError::Disabled))?;
            let (next, revoked) = proven.activate(&known, now)?;
            let surplus = self.revoke_surplus(station, proven, &known, &revoked, now);
            if let Some(batch) = surplus.await? {
                return Ok(Attempt::Commit(batch, Ok(false)));
            }
            let mut batch = self.store.batch(now);
            self.write_activation(&mut batch, station, proven, &revoked, now)
                .await?;
            known.write(&mut batch, next)?;
            Ok(Attempt::Commit(batch, Ok(true)))
        })
        .await
    }

    /// Returns a batch that revokes the oldest of these certificates, if they are more than an activation's own batch has
    /// room for. The activation is to be tried again once it is committed.
    pub(super) async fn revoke_surplus(
        &self,
        station: &Station,
        proven: &Proven,
        known: &KeyRecords,
        revoked: &[Issued],
        now: Timestamp,
    ) -> Result<Option<Batch>, StorageError> {
        if revoked.len() <= REVOKED_AT_ONCE {
            return Ok(None);
        }
        let Proven(ticket) = proven;
        let mut batch = self.store.batch(now);
        // At most one of them was proven before, and is revoked with the rest.
        let oldest = known.take_unproven(&mut batch, REVOKED_AT_ONCE)?;
        let at = (&*ticket.device.namespace, &*ticket.category);
        self.revoke(&mut batch, at, &oldest, Cause::Superseded, now)
            .await?;
        let detail = format!("attestation key {}, not yet active", ticket.ak);
        self.note_activation(&mut batch, station, ticket, detail, &oldest, now);
        Ok(Some(batch))
    }

    /// Adds to a batch what an activation changes besides the key: the spent ticket, revocations and the audit event.
    pub(super) async fn write_activation(
        &self,
        batch: &mut Batch,
        station: &Station,
        proven: &Proven,
        revoked: &[Issued],
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let Proven(ticket) = proven;
        let (place, spent, until) = ticket.spent();
        batch.insert(&place, &spent, Some(until));
        let at = (&*ticket.device.namespace, &*ticket.category);
        self.revoke(batch, at, revoked, Cause::Superseded, now)
            .await?;
        let detail = format!(
            "attestation key {}, certificate {}",
            ticket.ak, ticket.certificate
        );
        self.note_activation(batch, station, ticket, detail, revoked, now);
        Ok(())
    }

    /// Adds the audit event of an activation, or of a part of it, to a batch.
    fn note_activation(
        &self,
        batch: &mut Batch,
        station: &Station,
        ticket: &Ticket,
        mut detail: String,
        revoked: &[Issued],
        now: Timestamp,
    ) {
        tell_revoked(&mut detail, revoked);
        let new_event = NewEvent {
            action: StationOperation::Activate.action(),
            target: ticket.device.target(),
            detail: Some(detail),
            origin: station.origin(),
        };
        self.audit.done(batch, now, new_event);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keyproof_store::{Prefix, Record};

    use super::{
        super::{
            Manager,
            certified::{Certified, Revoked},
            identity::Device,
            testing::{api_key, certificate, device, furnish, station},
            ticket,
        },
        *,
    };
    use crate::testing::{Bench, START, bench};

    /// Returns the activation of an AK of the device `s`, with this certificate of the category `c`.
    async fn activation(
        bench: &Bench,
        incarnation: &str,
        (ek, ak): (&str, &str),
        certificate: &str,
    ) -> Activation {
        let devices = &bench.service.device_identity;
        let ticket = Ticket {
            id: "ticket".to_owned(),
            device: device("m", "s").place,
            name: "device".to_owned(),
            version: "1".to_owned(),
            under: devices.challenge_key().await.unwrap().id,
            incarnation: incarnation.to_owned(),
            category: "c".to_owned(),
            ek: ek.to_owned(),
            ak: ak.to_owned(),
            certificate: certificate.to_owned(),
            proof: ticket::digest_of(b"proof"),
            expires_at: START.saturating_add(ticket::LIFE),
        };
        Activation {
            ticket: ticket.seal(&bench.store).unwrap(),
            proof: Ok(b"proof".to_vec()),
        }
    }

    /// Otherwise one TPM could fill the store with records of AKs, which do not expire.
    #[tokio::test]
    async fn a_device_with_too_many_attestation_keys_activates_no_other() {
        const NAMES: (&str, &str) = ("000b", "000bffff");
        let half_a_minute = Duration::from_secs(30);
        for was_active in [false, true] {
            let bench = bench().await;
            furnish(&bench).await;
            let key = api_key(&bench).await.object;
            let devices = &bench.service.device_identity;
            let manager = devices.load::<Manager>("default", "m").await.unwrap();
            let incarnation = manager.unwrap().record.spec.incarnation.clone();
            let (ek, ak) = NAMES;
            let mut full = Device {
                ek: Some(ek.to_owned()),
                incarnation: incarnation.clone(),
                manager_incarnation: incarnation.clone(),
                ..device("m", "s")
            };
            for number in 0..MOST_KEYS {
                let until = START.saturating_add(half_a_minute);
                assert!(full.count_key(&format!("000b{number:04}"), until, START));
            }
            let place = full.place.clone();
            let by = (&*key.metadata.name, &*key.system.uid);
            let certified =
                Certified::made(certificate("40:01"), START, by, NAMES, &incarnation, None);
            let mut batch = bench.store.batch(START);
            batch.insert(&place.key(), &full, None);
            let at = Certified::key("default", "c", &place, ek, ak);
            batch.insert(&at, &certified, None);
            let active = ActiveKey {
                vendor: place.vendor.clone(),
                serial: place.serial.clone(),
                ek: ek.to_owned(),
                incarnation: incarnation.clone(),
                manager_incarnation: incarnation.clone(),
                activated_at: START,
                last_seen: None,
            };
            if was_active {
                // By an earlier release, which counted none.
                batch.insert(&ActiveKey::key("default", "m", ak), &active, None);
            }
            bench.store.commit(batch).await.unwrap();

            let activation = activation(&bench, &incarnation, NAMES, "40:01").await;
            let station = station(&bench).await;
            let activate = async || devices.activate(&station, &activation).await;
            if was_active {
                assert_eq!(activate().await, Ok(()));
                continue;
            }
            let refused = Err(Failure::Refused(ActivateError::TooManyKeys));
            assert_eq!(activate().await, refused);
            let spent = Prefix::collection(Spent::TYPE);
            assert_eq!(bench.rows(&spent).await.len(), 0);
            // The certificates of the others expire.
            bench.clock.advance(half_a_minute);
            assert_eq!(activate().await, Ok(()));
            let known = bench.store.get::<Device>(&place.key(), START).await;
            assert_eq!(known.unwrap().unwrap().record.keys.len(), 1);
        }
    }

    /// A batch has a limited number of entries, and a read a limited number of keys.
    #[tokio::test]
    async fn a_key_with_more_unproven_certificates_than_fit_in_a_batch_is_activated() {
        const LAST: usize = 1_200;
        const NAMES: (&str, &str) = ("000b", "000b01");
        let bench = bench().await;
        furnish(&bench).await;
        let key = api_key(&bench).await.object;
        let devices = &bench.service.device_identity;
        let manager = devices.load::<Manager>("default", "m").await.unwrap();
        let incarnation = manager.unwrap().record.spec.incarnation.clone();
        let place = device("m", "s").place;
        let mut certified = None;
        for number in 0..=LAST {
            let certificate = certificate(&format!("{number:04x}"));
            // Only the last one's API key is looked for.
            let name = if number == LAST {
                key.metadata.name.clone()
            } else {
                format!("k{number}")
            };
            let by = (&*name, &*key.system.uid);
            let made = Certified::made(certificate, START, by, NAMES, &incarnation, certified);
            certified = Some(made);
        }
        let (ek, ak) = NAMES;
        let at = Certified::key("default", "c", &place, ek, ak);
        let mut batch = bench.store.batch(START);
        batch.insert(&at, &certified.unwrap(), None);
        bench.store.commit(batch).await.unwrap();

        let serial = format!("{LAST:04x}");
        let activation = activation(&bench, &incarnation, NAMES, &serial).await;
        let station = station(&bench).await;
        let activate = async || devices.activate(&station, &activation).await;
        assert_eq!(activate().await, Ok(()));
        let revoked = bench.rows(&Prefix::collection(Revoked::TYPE)).await;
        assert_eq!(revoked.len(), LAST);
        for event in bench.events().await {
            let detail = event.detail.unwrap_or_default();
            assert!(!detail.contains("sha256:"), "{detail} is cut");
        }
        let active = ActiveKey::key("default", "m", ak);
        let active = bench.store.get::<ActiveKey>(&active, START).await;
        assert!(active.unwrap().is_some());
        let spent = Err(Failure::Refused(ActivateError::Spent));
        assert_eq!(activate().await, spent);
    }
}
