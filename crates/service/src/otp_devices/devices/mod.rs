//! The devices of an instance. Their keys are sealed under the device's record key, and unsealed only to make
//! confirmation codes and to compare keys.

mod checking;

pub(super) use checking::CHECKS_PER_MINUTE;
pub use checking::{CheckCodeError, MatchingStep, TooManyCodes};

use std::fmt;

use keyproof_auth::ValidityError;
use keyproof_otp::{
    Base32Profile, OtpError, Secret, Strength,
    pos::{Amount, PosAlgorithm, confirmation_codes},
};
use keyproof_store::{Batch, Key, ReadPlan, Stored, Timestamp};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    OtpDevices,
    caller::{Caller, Reading, Writing},
    records::{Device, Instance, all_devices, instance_key},
};
use crate::{
    Action, Failure, StorageError,
    audit::{NewEvent, Target},
    pages::{ListPage, Pages, scan_page},
    storage::{Attempt, contended, damaged, refuse, refused, require_body, transact_permitted},
};

/// The longest id, in bytes. Even fully percent-encoded, a URL with it is within the server's limit.
const MAX_ID: usize = 4096;

/// The longest description, in bytes. It is above the 4,096 bytes from which taler-php compresses a body.
const MAX_DESCRIPTION: usize = 16_384;

/// A device to add.
#[derive(Clone)]
pub struct DeviceDetails {
    /// Its id within the instance: at least one character, at most 4096 bytes, and neither `.` nor `..`.
    pub id: String,
    /// A description for people, at most 16,384 bytes.
    pub description: String,
    /// Its key in Taler's Base32; may be empty.
    pub key: Zeroizing<String>,
    /// The algorithm of its codes.
    pub algorithm: PosAlgorithm,
    /// Stored and returned; no algorithm uses it.
    pub counter: Option<u64>,
}

/// A change of a device. `None` keeps the present value.
#[derive(Clone)]
pub struct DeviceChange {
    /// A description for people, at most 16,384 bytes.
    pub description: String,
    /// Its key in Taler's Base32.
    pub key: Option<Zeroizing<String>>,
    /// The algorithm of its codes. If present, it must be the device's own.
    pub algorithm: Option<PosAlgorithm>,
    /// Stored and returned; no algorithm uses it.
    pub counter: Option<u64>,
}

/// A device in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSummary {
    /// Its id.
    pub id: String,
    /// Its description.
    pub description: String,
}

impl DeviceSummary {
    fn of(device: Device) -> Self {
        Self {
            id: device.id,
            description: device.description,
        }
    }
}

/// A device with its codes at a time.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// Its description.
    pub description: String,
    /// The algorithm of its codes.
    pub algorithm: PosAlgorithm,
    /// The counter as it was set.
    pub counter: Option<u64>,
    /// The time of the codes, in seconds since the Unix epoch.
    pub at: u64,
    /// Five codes, one per line, if the algorithm makes codes and has the inputs it needs.
    pub codes: Option<Zeroizing<String>>,
}

/// Why a device was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddDeviceError {
    /// There is a device of this id with other values.
    #[error("a device with this id and other details exists")]
    Conflict,
    /// Its description is too long.
    #[error("a device's description has at most {MAX_DESCRIPTION} bytes")]
    Description,
    /// The caller's token has expired, or it or the instance has ended, since the permission was checked.
    #[error("the token is no longer valid, or its instance was removed")]
    Ended(ValidityError),
    /// The id is empty or too long for a URL, or one that clients remove from URLs.
    #[error(
        "a device's id is neither . nor .., and has at least one character and at most {MAX_ID} bytes"
    )]
    Id,
    /// The key is not valid Base32.
    #[error(transparent)]
    Key(#[from] OtpError),
}

/// The time of the codes, and the price of the order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// In seconds since the Unix epoch; `None` is now.
    pub at: Option<u64>,
    /// The price.
    pub price: Option<Amount>,
}

/// Why a device is not returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShowDeviceError<Q> {
    /// The time or the price was rejected.
    #[error("the time or the price was refused")]
    Moment(Q),
    /// There is no device of this id.
    #[error("there is no such device")]
    Unknown,
}

/// Why a device was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeDeviceError<B> {
    /// The named algorithm is not the device's.
    #[error("the algorithm of a device cannot be changed")]
    Algorithm,
    /// The body was rejected.
    #[error("the body was refused")]
    Body(B),
    /// The new description is too long.
    #[error("a device's description has at most {MAX_DESCRIPTION} bytes")]
    Description,
    /// The caller's token has expired, or it or the instance has ended, since the permission was checked.
    #[error("the token is no longer valid, or its instance was removed")]
    Ended(ValidityError),
    /// The new key is not valid Base32.
    #[error(transparent)]
    Key(#[from] OtpError),
    /// There is no device of this id.
    #[error("there is no such device")]
    Unknown,
}

/// Why a device was not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveDeviceError {
    /// The caller's token has expired, or it or the instance has ended, since the permission was checked.
    #[error("the token is no longer valid, or its instance was removed")]
    Ended(ValidityError),
    /// There is no device of this id.
    #[error("there is no such device")]
    Unknown,
}

impl OtpDevices {
    /// Adds a device. Succeeds without a change if an identical device exists.
    ///
    /// # Errors
    ///
    /// [`AddDeviceError`].
    pub async fn add_device(
        &self,
        caller: &Caller<Writing>,
        details: &DeviceDetails,
    ) -> Result<(), Failure<AddDeviceError>> {
        if !is_id(&details.id) {
            return refuse(AddDeviceError::Id);
        }
        if details.description.len() > MAX_DESCRIPTION {
            return refuse(AddDeviceError::Description);
        }
        let strength = strength(&details.key).map_err(refused)?;
        let key = caller.place_of(&details.id);
        let (name, ended) = ("otp_devices.add_device", AddDeviceError::Ended);
        let adding = self.transact_for(caller, name, ended, || async {
            let changing = self.changing(caller, &key, AddDeviceError::Ended);
            let (now, mut batch, device) = changing.await?;
            if let Some(Stored {
                record, version, ..
            }) = device
            {
                let same = record.description == details.description
                    && record.algorithm == details.algorithm
                    && record.counter == details.counter
                    && self.same_key(&key, &record, &details.key)?;
                if !same {
                    return refuse(AddDeviceError::Conflict);
                }
                // Commits even so, as the device that was read may not be durable yet.
                batch.require(&key, version);
                caller.origin().require(&mut batch);
                return Ok(Attempt::Commit(batch, Ok(false)));
            }
            let record = Device {
                id: details.id.clone(),
                description: details.description.clone(),
                key: self.store.seal(&key, Device::KEY, details.key.as_bytes()),
                algorithm: details.algorithm,
                counter: details.counter,
                created_at: now,
            };
            batch.insert(&key, &record, None);
            let new_event = new_event(Action::OtpDeviceAdd, caller, &details.id, None);
            self.audit.done(&mut batch, now, new_event);
            Ok(Attempt::Commit(batch, Ok(true)))
        });
        if adding.await? {
            warn_if_weak(strength, caller, &details.id);
        }
        Ok(())
    }

    /// Lists all devices of the instance, by id.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn devices(
        &self,
        caller: &Caller<Reading>,
    ) -> Result<Vec<DeviceSummary>, StorageError> {
        let prefix = all_devices(caller.instance(), caller.incarnation());
        let pages = Pages::<Device>::of(&self.store, prefix);
        let summary = |device| Some(DeviceSummary::of(device));
        let mut devices = pages.collect(&*self.clock, summary).await?;
        // Long ids are stored as digests, and so not in order.
        devices.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(devices)
    }

    /// Lists at most `most` devices of the instance after the id `after`. They are ordered by id, except long ids,
    /// which are stored as digests.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn devices_page(
        &self,
        caller: &Caller<Reading>,
        after: Option<&str>,
        most: usize,
    ) -> Result<ListPage<DeviceSummary, String>, StorageError> {
        let prefix = all_devices(caller.instance(), caller.incarnation());
        let after = after.map(|id| caller.place_of(id));
        let now = self.clock.now();
        let (found, is_more) =
            scan_page::<Device>(&self.store, &prefix, after.as_ref(), most, now).await?;
        let rows = found.into_iter();
        let rows = rows.map(|(_, Stored { record, .. })| DeviceSummary::of(record));
        let id = |device: &DeviceSummary| device.id.clone();
        Ok(ListPage::of(rows.collect(), is_more, id))
    }

    /// Returns the device of the caller's request with its codes. An error in `moment` is returned only if the device
    /// exists.
    ///
    /// # Errors
    ///
    /// [`ShowDeviceError`].
    pub fn device<Q>(
        &self,
        caller: &Caller<Reading>,
        moment: Result<Moment, Q>,
    ) -> Result<DeviceView, Failure<ShowDeviceError<Q>>> {
        let found = caller.device();
        let (place, record) = found.ok_or(Failure::Refused(ShowDeviceError::Unknown))?;
        let Moment { at, price } =
            moment.map_err(|refused| Failure::Refused(ShowDeviceError::Moment(refused)))?;
        let at = at.unwrap_or_else(|| self.clock.now().as_secs());
        let secret = self.key_of(place, record)?;
        let codes = confirmation_codes(&secret, record.algorithm, price.as_ref(), at);
        Ok(DeviceView {
            description: record.description.clone(),
            algorithm: record.algorithm,
            counter: record.counter,
            at,
            codes: codes.map(|codes| Zeroizing::new(codes.to_string())),
        })
    }

    /// Changes a device. An error in `body` is returned only if the device exists.
    ///
    /// # Errors
    ///
    /// [`ChangeDeviceError`].
    pub async fn change_device<B: Clone>(
        &self,
        caller: &Caller<Writing>,
        id: &str,
        body: Result<DeviceChange, B>,
    ) -> Result<(), Failure<ChangeDeviceError<B>>> {
        let key = caller.place_of(id);
        let (name, ended) = ("otp_devices.change_device", ChangeDeviceError::<B>::Ended);
        let changing = self.transact_for(caller, name, ended, || async {
            let changing = self.changing(caller, &key, ChangeDeviceError::Ended);
            let (now, mut batch, device) = changing.await?;
            let Stored {
                record, version, ..
            } = device.ok_or(Failure::Refused(ChangeDeviceError::Unknown))?;
            let change = require_body(&body, ChangeDeviceError::Body)?;
            if change.description.len() > MAX_DESCRIPTION {
                return refuse(ChangeDeviceError::Description);
            }
            let strength = change.key.as_ref().map(|key| strength(key)).transpose();
            let strength = strength.map_err(refused)?;
            if change
                .algorithm
                .is_some_and(|named| named != record.algorithm)
            {
                return refuse(ChangeDeviceError::Algorithm);
            }
            let next = Device {
                description: change.description.clone(),
                key: match &change.key {
                    Some(text) => self.store.seal(&key, Device::KEY, text.as_bytes()),
                    None => record.key,
                },
                counter: change.counter.or(record.counter),
                ..record
            };
            batch.replace(&key, version, &next, None);
            let detail = change.key.is_some().then(|| "with a new key".to_owned());
            let new_event = new_event(Action::OtpDeviceChange, caller, id, detail);
            self.audit.done(&mut batch, now, new_event);
            Ok(Attempt::Commit(batch, Ok(strength)))
        });
        if let Some(strength) = changing.await? {
            warn_if_weak(strength, caller, id);
        }
        Ok(())
    }

    /// Removes a device.
    ///
    /// # Errors
    ///
    /// [`RemoveDeviceError`].
    pub async fn remove_device(
        &self,
        caller: &Caller<Writing>,
        id: &str,
    ) -> Result<(), Failure<RemoveDeviceError>> {
        let key = caller.place_of(id);
        let (name, ended) = ("otp_devices.remove_device", RemoveDeviceError::Ended);
        self.transact_for(caller, name, ended, || async {
            let changing = self.changing(caller, &key, RemoveDeviceError::Ended);
            let (now, mut batch, device) = changing.await?;
            let device = device.ok_or(Failure::Refused(RemoveDeviceError::Unknown))?;
            batch.remove(&key, device.version);
            let new_event = new_event(Action::OtpDeviceRemove, caller, id, None);
            self.audit.done(&mut batch, now, new_event);
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Commits a caller's change. If the token that permits it is gone, nothing is tried again: a login token has ended, and an
    /// operator learns it at the next request.
    async fn transact_for<R, T, E, F>(
        &self,
        caller: &Caller<R>,
        name: &'static str,
        ended: impl Fn(ValidityError) -> E,
        attempt: impl Fn() -> F,
    ) -> Result<T, Failure<E>>
    where
        F: Future<Output = Result<Attempt<T, E>, Failure<E>>>,
    {
        let gone = || match &caller.shown {
            Some(_) => Failure::Refused(ended(ValidityError::Superseded)),
            None => contended(),
        };
        let (store, clock, origin) = (&self.store, &*self.clock, caller.origin());
        transact_permitted(name, store, clock, origin, gone, attempt).await
    }

    /// Reads the device at this place for a change or a check. Returns the time, a batch that requires the version of the
    /// instance that was read with the device, and the device. Refuses with `ended` if the caller's token has expired, or
    /// it or the instance has ended.
    async fn changing<R, E>(
        &self,
        caller: &Caller<R>,
        place: &Key,
        ended: impl FnOnce(ValidityError) -> E,
    ) -> Result<(Timestamp, Batch, Option<Stored<Device>>), Failure<E>> {
        let now = self.clock.now();
        let instance = instance_key(caller.instance());
        let plan = ReadPlan::new([instance.clone(), place.clone()]);
        let found = self.store.read(plan, now).await?;
        let stored = found.get_shared::<Instance>(&instance)?;
        let version = stored
            .ok_or(ValidityError::Superseded)
            .and_then(|stored| {
                caller.check_still_in(&stored.record, now)?;
                Ok(stored.version)
            })
            .map_err(|why| Failure::Refused(ended(why)))?;
        let mut batch = self.store.batch(now);
        batch.require(&instance, version);
        Ok((now, batch, found.get(place)?))
    }

    /// Unseals and decodes the device's key.
    fn key_of(&self, place: &Key, device: &Device) -> Result<Zeroizing<Vec<u8>>, StorageError> {
        let unread = |why: &dyn fmt::Display| damaged(format!("the key of {place}: {why}"));
        let bytes = self.store.unseal(place, Device::KEY, &device.key)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| unread(&error))?;
        decode_key(text).map_err(|error| unread(&error))
    }

    /// Generates a device key of the length that RFC 4226 recommends, in Base32.
    pub fn draw_key(&self) -> Zeroizing<String> {
        let drawn = Secret::generate(|bytes| {
            self.store.entropy().fill(bytes);
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(secret) = drawn;
        Zeroizing::new(secret.base32().to_string())
    }

    /// Returns whether this is exactly the stored text of the device's key. Takes constant time.
    fn same_key(&self, key: &Key, device: &Device, text: &str) -> Result<bool, StorageError> {
        let stored = self.store.unseal(key, Device::KEY, &device.key)?;
        Ok(stored.as_slice().ct_eq(text.as_bytes()).into())
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

fn new_event<'a, R>(
    action: Action,
    caller: &'a Caller<R>,
    id: &str,
    detail: Option<String>,
) -> NewEvent<'a> {
    let target = Target::OtpDevice {
        instance: caller.instance().to_owned(),
        id: id.to_owned(),
    };
    caller.new_event(action, target, detail)
}

/// Returns whether a URL can end in this id. Browsers and URL libraries remove `.` and `..` from paths, even if they
/// are percent-encoded (WHATWG URL, section 4.4).
fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && !matches!(id, "." | "..")
}

/// Decodes a key of any length.
fn decode_key(text: &str) -> Result<Zeroizing<Vec<u8>>, OtpError> {
    let mut bytes = Zeroizing::new(vec![0; Base32Profile::max_decoded_len(text.len())]);
    let length = Base32Profile::Taler.decode_to(text, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Returns how the length of a key compares with RFC 4226, or an error if it is not a key.
fn strength(key: &str) -> Result<Strength, OtpError> {
    Ok(Strength::of_len(decode_key(key)?.len()))
}

/// Only warns, as short keys are in use and must work.
fn warn_if_weak(strength: Strength, caller: &Caller<Writing>, device: &str) {
    if strength == Strength::BelowRequired {
        tracing::warn!(
            instance = caller.instance(),
            device,
            "the device's key has fewer than the 128 bits that RFC 4226 requires"
        );
    }
}

#[cfg(test)]
mod tests;
