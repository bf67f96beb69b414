//! The devices of an instance. Their keys are sealed under the device's own record key, and leave the store only
//! to make confirmation codes.

use super::{
    OtpDevices, Session,
    records::{Device, Instance, all_devices, device_key, instance_key},
};
use crate::{Origin, StorageError, audit::Deed, storage::Race};
use keyproof_otp::{
    Base32Profile, OtpError,
    pos::{Amount, PosAlgorithm, confirm},
};
use keyproof_store::{Key, Stored};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Devices read at once.
const PAGE: usize = 500;

/// A device to be added.
#[derive(Clone)]
pub struct DeviceDetails {
    /// Its id within the instance: at least one character.
    pub id: String,
    /// For people to read.
    pub description: String,
    /// Its key in Taler's Base32; may be empty.
    pub key: Zeroizing<String>,
    /// How its codes are made.
    pub algorithm: PosAlgorithm,
    /// Kept and shown; no algorithm reads it.
    pub counter: Option<u64>,
}

/// What is to be changed of a device. `None` leaves it as it is.
#[derive(Clone)]
pub struct DeviceChange {
    /// For people to read.
    pub description: String,
    /// Its key in Taler's Base32.
    pub key: Option<Zeroizing<String>>,
    /// How its codes are made: it may be named, but not be another one.
    pub algorithm: Option<PosAlgorithm>,
    /// Kept and shown.
    pub counter: Option<u64>,
}

/// A device, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSummary {
    /// Its id.
    pub id: String,
    /// Its description.
    pub description: String,
}

/// A device, with the codes of a moment.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// Its description.
    pub description: String,
    /// How its codes are made.
    pub algorithm: PosAlgorithm,
    /// As it was given.
    pub counter: Option<u64>,
    /// The moment of the codes, in seconds since the Unix epoch.
    pub at: u64,
    /// Five codes, a line each, where the algorithm makes any and has what it needs for it.
    pub codes: Option<Zeroizing<String>>,
}

/// Why a device was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddDeviceError {
    /// There is one of this id, and it differs.
    #[error("there is a device of this id, with other details")]
    Conflict,
    /// The session's token or instance has ended meanwhile.
    #[error("the token or its instance has ended")]
    Ended,
    /// Its id is empty, and no URL would reach it.
    #[error("a device's id has at least one character")]
    Id,
    /// Its key is not one.
    #[error(transparent)]
    Key(#[from] OtpError),
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a device is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShowDeviceError {
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is none of this id.
    #[error("there is no such device")]
    Unknown,
}

/// Why a device was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeDeviceError {
    /// It has another algorithm than the one named.
    #[error("the algorithm of a device cannot be changed")]
    Algorithm,
    /// The session's token or instance has ended meanwhile.
    #[error("the token or its instance has ended")]
    Ended,
    /// The new key is not one.
    #[error(transparent)]
    Key(#[from] OtpError),
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is none of this id.
    #[error("there is no such device")]
    Unknown,
}

/// Why a device was not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveDeviceError {
    /// The session's token or instance has ended meanwhile.
    #[error("the token or its instance has ended")]
    Ended,
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is none of this id.
    #[error("there is no such device")]
    Unknown,
}

/// The records that a change rests on, as they were at one moment.
struct Loaded {
    instance: Stored<Instance>,
    device: Option<Stored<Device>>,
}

impl OtpDevices {
    /// Adds a device. Adding the same again changes nothing and is no error.
    ///
    /// # Errors
    /// [`AddDeviceError`].
    pub async fn add_device(
        &self,
        session: &Session,
        details: &DeviceDetails,
        origin: &Origin,
    ) -> Result<(), AddDeviceError> {
        if details.id.is_empty() {
            return Err(AddDeviceError::Id);
        }
        let weak = is_weak(&decode_key(&details.key)?);
        let key = device_key(session.instance(), session.incarnation(), &details.id);
        let mut race = Race::default();
        loop {
            let Some(loaded) = self.load(session, &key).await? else {
                return Err(AddDeviceError::Ended);
            };
            let instance = instance_key(session.instance());
            if let Some(Stored {
                record, version, ..
            }) = loaded.device
            {
                let same = record.description == details.description
                    && record.algorithm == details.algorithm
                    && record.counter == details.counter
                    && self.same_key(&key, &record, &details.key)?;
                if !same {
                    return Err(AddDeviceError::Conflict);
                }
                // Who added it may never have learnt so, and it may not outlive this server yet.
                let mut batch = self.store.batch(self.clock.now());
                batch.require(&instance, loaded.instance.version);
                batch.require(&key, version);
                if race.won(self.store.commit(batch).await).await? {
                    return Ok(());
                }
                continue;
            }
            let now = self.clock.now();
            let record = Device {
                id: details.id.clone(),
                description: details.description.clone(),
                key: self.store.seal(&key, Device::KEY, details.key.as_bytes()),
                algorithm: details.algorithm,
                counter: details.counter,
                created_at: now,
            };
            let mut batch = self.store.batch(now);
            batch.require(&instance, loaded.instance.version);
            batch.insert(&key, &record, None);
            let origin = session.origin(origin);
            self.audit.done(
                &mut batch,
                now,
                deed("otp_device.add", session, &details.id, &origin),
            );
            if race.won(self.store.commit(batch).await).await? {
                if weak {
                    warn_weak(session, &details.id);
                }
                return Ok(());
            }
        }
    }

    /// Every device of the instance, by id.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn devices(&self, session: &Session) -> Result<Vec<DeviceSummary>, StorageError> {
        let prefix = all_devices(session.instance(), session.incarnation());
        let mut devices = Vec::new();
        let mut after = None;
        loop {
            let now = self.clock.now();
            let page = self
                .store
                .scan::<Device>(&prefix, after.as_ref(), PAGE, now)
                .await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            devices.extend(
                page.into_iter()
                    .map(|(_, Stored { record, .. })| DeviceSummary {
                        id: record.id,
                        description: record.description,
                    }),
            );
        }
        // Long ids are stored by their digests, and so out of order.
        devices.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(devices)
    }

    /// Is there such a device? Asked before a change's body is even read.
    ///
    /// # Errors
    /// [`ShowDeviceError::Unknown`] if there is not.
    pub async fn find_device(&self, session: &Session, id: &str) -> Result<(), ShowDeviceError> {
        let key = device_key(session.instance(), session.incarnation(), id);
        let found = self.store.get::<Device>(&key, self.clock.now()).await;
        found
            .map_err(StorageError::from)?
            .map(drop)
            .ok_or(ShowDeviceError::Unknown)
    }

    /// A device with its codes `at` a moment (seconds since the Unix epoch; now if `None`), for an order of `price`.
    ///
    /// # Errors
    /// [`ShowDeviceError`].
    pub async fn device(
        &self,
        session: &Session,
        id: &str,
        at: Option<u64>,
        price: Option<&Amount>,
    ) -> Result<DeviceView, ShowDeviceError> {
        let now = self.clock.now();
        let key = device_key(session.instance(), session.incarnation(), id);
        let stored = self
            .store
            .get::<Device>(&key, now)
            .await
            .map_err(StorageError::from)?;
        let Some(Stored { record, .. }) = stored else {
            return Err(ShowDeviceError::Unknown);
        };
        let at = at.unwrap_or(now.as_secs());
        let secret = self.unseal(&key, &record)?;
        let secret = decode_key(&secret)
            .map_err(|error| StorageError::Damaged(format!("the key of {key}: {error}")))?;
        let codes = confirm(&secret, record.algorithm, price, at);
        Ok(DeviceView {
            description: record.description,
            algorithm: record.algorithm,
            counter: record.counter,
            at,
            codes: codes.map(|codes| Zeroizing::new(codes.to_string())),
        })
    }

    /// Changes a device.
    ///
    /// # Errors
    /// [`ChangeDeviceError`].
    pub async fn change_device(
        &self,
        session: &Session,
        id: &str,
        change: &DeviceChange,
        origin: &Origin,
    ) -> Result<(), ChangeDeviceError> {
        let weak = match &change.key {
            Some(key) => is_weak(&decode_key(key)?),
            None => false,
        };
        let key = device_key(session.instance(), session.incarnation(), id);
        let mut race = Race::default();
        loop {
            let Some(loaded) = self.load(session, &key).await? else {
                return Err(ChangeDeviceError::Ended);
            };
            let Some(Stored {
                record, version, ..
            }) = loaded.device
            else {
                return Err(ChangeDeviceError::Unknown);
            };
            if change
                .algorithm
                .is_some_and(|named| named != record.algorithm)
            {
                return Err(ChangeDeviceError::Algorithm);
            }
            let now = self.clock.now();
            let next = Device {
                description: change.description.clone(),
                key: match &change.key {
                    Some(text) => self.store.seal(&key, Device::KEY, text.as_bytes()),
                    None => record.key,
                },
                counter: change.counter.or(record.counter),
                ..record
            };
            let mut batch = self.store.batch(now);
            batch.require(&instance_key(session.instance()), loaded.instance.version);
            batch.replace(&key, version, &next, None);
            let origin = session.origin(origin);
            let deed = Deed {
                detail: change.key.is_some().then(|| "with a new key".to_owned()),
                ..deed("otp_device.change", session, id, &origin)
            };
            self.audit.done(&mut batch, now, deed);
            if race.won(self.store.commit(batch).await).await? {
                if weak {
                    warn_weak(session, id);
                }
                return Ok(());
            }
        }
    }

    /// Removes a device.
    ///
    /// # Errors
    /// [`RemoveDeviceError`].
    pub async fn remove_device(
        &self,
        session: &Session,
        id: &str,
        origin: &Origin,
    ) -> Result<(), RemoveDeviceError> {
        let key = device_key(session.instance(), session.incarnation(), id);
        let mut race = Race::default();
        loop {
            let Some(loaded) = self.load(session, &key).await? else {
                return Err(RemoveDeviceError::Ended);
            };
            let Some(device) = loaded.device else {
                return Err(RemoveDeviceError::Unknown);
            };
            let now = self.clock.now();
            let mut batch = self.store.batch(now);
            batch.require(&instance_key(session.instance()), loaded.instance.version);
            batch.remove(&key, device.version);
            let origin = session.origin(origin);
            self.audit.done(
                &mut batch,
                now,
                deed("otp_device.remove", session, id, &origin),
            );
            if race.won(self.store.commit(batch).await).await? {
                return Ok(());
            }
        }
    }

    /// The session's instance and one of its devices, from one moment; `None` if the session has ended.
    async fn load(&self, session: &Session, key: &Key) -> Result<Option<Loaded>, StorageError> {
        let keys = [instance_key(session.instance()), key.clone()];
        let records = self.store.get_many(&keys, self.clock.now()).await?;
        let [instance, device] = records.as_slice() else {
            return Err(StorageError::Damaged(
                "two keys, but not two answers".to_owned(),
            ));
        };
        let Some(instance) = session.still_in(instance.as_ref())? else {
            return Ok(None);
        };
        let device = device.as_ref().map(|raw| raw.decode()).transpose()?;
        Ok(Some(Loaded { instance, device }))
    }

    fn unseal(&self, key: &Key, device: &Device) -> Result<Zeroizing<String>, StorageError> {
        let bytes = self.store.unseal(key, Device::KEY, &device.key)?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| StorageError::Damaged(format!("the key of {key} is not text")))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// Is this, letter for letter, the key that the device was given?
    fn same_key(&self, key: &Key, device: &Device, text: &str) -> Result<bool, StorageError> {
        let stored = self.unseal(key, device)?;
        Ok(stored.as_bytes().ct_eq(text.as_bytes()).into())
    }
}

impl fmt::Debug for DeviceDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceDetails")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DeviceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceChange")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DeviceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceView")
            .field("algorithm", &self.algorithm)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

fn deed<'a>(action: &'static str, session: &Session, id: &str, origin: &'a Origin) -> Deed<'a> {
    Deed {
        action,
        target: format!("instance/{}/device/{id}", session.instance()),
        detail: None,
        origin,
    }
}

/// Decodes a key of any length.
fn decode_key(text: &str) -> Result<Zeroizing<Vec<u8>>, OtpError> {
    let mut bytes = Zeroizing::new(vec![0; Base32Profile::max_decoded_len(text.len())]);
    let length = Base32Profile::Taler.decode_to(text, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Shorter than RFC 4226 requires (section 4, R6)? Such keys are about and must work, so it is only said.
fn is_weak(key: &[u8]) -> bool {
    key.len() < 16
}

fn warn_weak(session: &Session, device: &str) {
    tracing::warn!(
        instance = session.instance(),
        device,
        "the device's key has fewer than the 128 bits that RFC 4226 requires"
    );
}

#[cfg(test)]
mod tests;
