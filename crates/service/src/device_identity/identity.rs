//! Which device an endorsement key is of, and which certificates its attestation keys have.
//!
//! A device is a vendor and a serial number within a manager; its name and version may change. It is bound to the first
//! endorsement key that it is provisioned with, and the endorsement key to it.

use super::{
    ApiKey, DeviceIdentity, Object, authority::AkCertificate, grant::Grant,
    revocation_list::LISTED_BEYOND_END,
};
use crate::{StorageError, keys::moment};
use keyproof_store::{Batch, Key, Record, Stored, Timestamp};
use keyproof_tpm::{DeviceInfo, Name};
use serde::{Deserialize, Serialize};

/// At `tpm_device/<namespace>/<manager>/<vendor>/<serial>`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) vendor: String,
    pub(super) serial: String,
    pub(super) name: String,
    pub(super) version: String,
    /// The Name of its endorsement key, in hex.
    pub(super) ek: String,
}

impl Record for Device {
    const TYPE: &'static str = "tpm_device";
    const VERSION: u32 = 1;
}

/// At `tpm_endorsement_key/<namespace>/<manager>/<ek>`: whose it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) vendor: String,
    pub(super) serial: String,
}

impl Record for Owner {
    const TYPE: &'static str = "tpm_endorsement_key";
    const VERSION: u32 = 1;
}

/// At `tpm_ak_certificate/<namespace>/<category>/<ek>/<ak>`: the latest certificate of an attestation key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Certified {
    /// DER.
    pub(super) certificate: Vec<u8>,
    pub(super) serial: String,
    /// To the millisecond, as revocations are; the certificate itself names the second.
    pub(super) made_at: Timestamp,
    pub(super) not_after: Timestamp,
    /// The API key that it was made with, in the same namespace.
    pub(super) api_key: String,
    /// Which of the keys of that name, one after the other.
    #[serde(default)]
    pub(super) api_key_uid: Option<String>,
}

impl Record for Certified {
    const TYPE: &'static str = "tpm_ak_certificate";
    const VERSION: u32 = 1;
}

impl Certified {
    pub(super) fn new(
        certificate: AkCertificate,
        made_at: Timestamp,
        api_key: &Object<ApiKey>,
    ) -> Self {
        let AkCertificate {
            der,
            serial,
            not_after,
        } = certificate;
        Self {
            certificate: der,
            serial,
            made_at,
            not_after,
            api_key: api_key.metadata.name.clone(),
            api_key_uid: Some(api_key.system.uid.clone()),
        }
    }

    /// Whether this API key has made it, and upholds it.
    fn is_upheld_by(&self, key: &Object<ApiKey>) -> bool {
        key.has_made(&self.api_key, self.api_key_uid.as_deref(), self.made_at)
            && key.spec.upholds(self.made_at)
    }

    /// Its line in the index.
    pub(super) fn issued(&self) -> Issued {
        Issued {
            serial: self.serial.clone(),
            made_at: self.made_at,
            not_after: self.not_after,
            api_key: self.api_key.clone(),
            api_key_uid: self.api_key_uid.clone(),
        }
    }

    /// Is more than a third of its life left?
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        let life = self.not_after.saturating_since(self.made_at);
        self.not_after.saturating_since(now).saturating_mul(3) > life
    }
}

/// At `tpm_issued_certificate/<namespace>/<category>/<api key>/<time>/<serial>`: a certificate that was made with an API
/// key at that time, for the category's revocation list.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Issued {
    pub(super) serial: String,
    pub(super) made_at: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) api_key: String,
    #[serde(default)]
    pub(super) api_key_uid: Option<String>,
}

impl Record for Issued {
    const TYPE: &'static str = "tpm_issued_certificate";
    const VERSION: u32 = 1;
}

impl Issued {
    pub(super) fn key(&self, namespace: &str, category: &str) -> Key {
        Key::new(
            Self::TYPE,
            [
                namespace,
                category,
                &self.api_key,
                &moment(self.made_at),
                &self.serial,
            ],
        )
    }

    /// Its entry stays until a list was made after its end (RFC 5280, section 3.3).
    pub(super) fn expires_at(&self) -> Timestamp {
        self.not_after.saturating_add(LISTED_BEYOND_END)
    }
}

/// At `tpm_replaced_certificate/<namespace>/<category>/<serial>`: one that another took the place of before its end. It
/// goes on the category's revocation list once the other's proof has come.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Replaced {
    pub(super) serial: String,
    pub(super) replaced_at: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Record for Replaced {
    const TYPE: &'static str = "tpm_replaced_certificate";
    const VERSION: u32 = 1;
}

/// Why a device is not the one that it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityConflict {
    /// The endorsement key is another device's.
    #[error("the endorsement key belongs to a device of another vendor or serial number")]
    EndorsementKey,
    /// The device has another endorsement key.
    #[error("a device of this vendor and serial number has another endorsement key")]
    Device,
}

/// The records about a device and its keys, as they were at one moment.
pub(super) struct Identity {
    keys: [Key; 3],
    device: Option<Stored<Device>>,
    owner: Option<Stored<Owner>>,
    pub(super) certified: Option<Stored<Certified>>,
}

impl Identity {
    /// Holds a claim against what is known.
    pub(super) fn check(&self, claim: &DeviceInfo<'_>, ek: &Name) -> Result<(), IdentityConflict> {
        if let Some(Stored { record, .. }) = &self.owner
            && (record.vendor != claim.vendor() || record.serial != claim.serial())
        {
            return Err(IdentityConflict::EndorsementKey);
        }
        if let Some(Stored { record, .. }) = &self.device
            && record.ek != ek.to_string()
        {
            return Err(IdentityConflict::Device);
        }
        Ok(())
    }

    /// Adds what is new about the device to a batch. Only for a claim that holds.
    pub(super) fn write(&self, batch: &mut Batch, claim: &DeviceInfo<'_>, ek: &Name) {
        let [device_key, owner_key, _] = &self.keys;
        let device = Device {
            vendor: claim.vendor().to_owned(),
            serial: claim.serial().to_owned(),
            name: claim.name().to_owned(),
            version: claim.version().to_owned(),
            ek: ek.to_string(),
        };
        match &self.device {
            None => drop(batch.insert(device_key, &device, None)),
            Some(known) if known.record != device => {
                batch.replace(device_key, known.version, &device, None);
            }
            Some(known) => batch.require(device_key, known.version),
        }
        let owner = Owner {
            vendor: device.vendor,
            serial: device.serial,
        };
        match &self.owner {
            None => drop(batch.insert(owner_key, &owner, None)),
            Some(known) => batch.require(owner_key, known.version),
        }
    }

    /// Adds a new certificate to a batch, and the one it replaces to the list of those.
    pub(super) fn certify(
        &self,
        batch: &mut Batch,
        new: &Certified,
        grant: &Grant,
        now: Timestamp,
    ) {
        let [_, _, key] = &self.keys;
        let category = &grant.category.record.metadata;
        let issued = new.issued();
        batch.insert(
            &issued.key(&category.namespace, &category.name),
            &issued,
            Some(issued.expires_at()),
        );
        let Some(old) = &self.certified else {
            batch.insert(key, new, None);
            return;
        };
        batch.replace(key, old.version, new, None);
        if old.record.not_after <= now {
            return;
        }
        let replaced = Replaced {
            serial: old.record.serial.clone(),
            replaced_at: now,
            not_after: old.record.not_after,
        };
        let listed = Key::new(
            Replaced::TYPE,
            [&category.namespace, &category.name, &replaced.serial],
        );
        batch.insert(&listed, &replaced, Some(replaced.not_after));
    }

    /// Lets a batch go through only while the certificate is as it was.
    pub(super) fn require_certified(&self, batch: &mut Batch) {
        let [_, _, key] = &self.keys;
        if let Some(known) = &self.certified {
            batch.require(key, known.version);
        }
    }
}

impl DeviceIdentity {
    pub(super) async fn identity(
        &self,
        grant: &Grant,
        claim: &DeviceInfo<'_>,
        ek: &Name,
        ak: &Name,
        now: Timestamp,
    ) -> Result<Identity, StorageError> {
        let manager = &grant.manager.record.metadata;
        let category = &grant.category.record.metadata;
        let (ek, ak) = (ek.to_string(), ak.to_string());
        let keys = [
            Key::new(
                Device::TYPE,
                [
                    &*manager.namespace,
                    &*manager.name,
                    claim.vendor(),
                    claim.serial(),
                ],
            ),
            Key::new(Owner::TYPE, [&manager.namespace, &manager.name, &ek]),
            Key::new(
                Certified::TYPE,
                [&category.namespace, &category.name, &ek, &ak],
            ),
        ];
        let records = self.store.get_many(&keys, now).await?;
        let [device, owner, certified] = records.as_slice() else {
            let damage = "three keys, but not three answers".to_owned();
            return Err(StorageError::Damaged(damage));
        };
        Ok(Identity {
            device: device.as_ref().map(|raw| raw.decode()).transpose()?,
            owner: owner.as_ref().map(|raw| raw.decode()).transpose()?,
            certified: certified.as_ref().map(|raw| raw.decode()).transpose()?,
            keys,
        })
    }

    /// Is a certificate still good in the eyes of the key that it was made with? If so, the batch goes through only while
    /// that key is as it was.
    pub(super) async fn is_upheld(
        &self,
        certified: &Certified,
        grant: &Grant,
        batch: &mut Batch,
    ) -> Result<bool, StorageError> {
        let shown = &grant.key.record;
        if certified.api_key == shown.metadata.name {
            return Ok(certified.is_upheld_by(shown));
        }
        let namespace = &shown.metadata.namespace;
        let made_with = self.load::<ApiKey>(namespace, &certified.api_key).await?;
        let Some(key) = made_with.filter(|key| certified.is_upheld_by(&key.record)) else {
            return Ok(false);
        };
        batch.require(&ApiKey::record_key(&key.record.metadata), key.version);
        Ok(true)
    }
}
