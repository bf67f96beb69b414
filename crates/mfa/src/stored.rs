//! The stored form of the records, which must stay readable by later releases.
//!
//! Each record is a JSON object (or the equivalent in another serde format) whose member `record`
//! contains its type and version. A release reads every version up to its own, writes its own, and
//! rejects newer ones. The shapes here, and of the types used in them, never change: a new version
//! is a new variant beside the old one, and the `TryFrom` below it converts either into the current
//! record.
//!
//! Moments are milliseconds since the Unix epoch; digests and generations are lower-case hex;
//! absent members are left out. `tests/stored_form.rs` pins the bytes.

use alloc::{string::String, vec::Vec};
use core::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::{
    AddressId, DeviceId, Generation, KeyRecord, KeyStatus, MfaError, Network, RecoveryCodes,
    SessionId, TotpParameters, UnixMillis, User, UserRecords,
    address::KnownAddress,
    digest::Digest,
    lockout::Doubling,
    otp::{Algorithm, Digits},
    recovery::StoredCode,
    sessions::CountedSession,
    totp::{MAX_DRIFT, Spent, TotpKey},
};

macro_rules! versions {
    ($(#[$doc:meta])* $name:ident, $newest:literal, $v1:ident) => {
        $(#[$doc])*
        #[derive(Serialize, Deserialize)]
        #[serde(tag = "record")]
        pub(crate) enum $name {
            #[serde(rename = $newest)]
            V1($v1),
            #[serde(other, skip_serializing)]
            Unknown,
        }

        impl $name {
            fn known(self) -> Result<$v1, MfaError> {
                match self {
                    Self::V1(record) => Ok(record),
                    Self::Unknown => Err(MfaError::RecordForm { newest: $newest }),
                }
            }
        }
    };
}

versions!(Key, "mfa-key/1", KeyV1);
versions!(
    #[expect(
        clippy::large_enum_variant,
        reason = "it exists only while records are encoded or decoded"
    )]
    Records,
    "mfa-user-records/1",
    RecordsV1
);
versions!(Addresses, "mfa-addresses/1", AddressesV1);
versions!(Sessions, "mfa-sessions/1", SessionsV1);
versions!(Devices, "mfa-devices/1", DevicesV1);
versions!(Recovery, "mfa-recovery-codes/1", RecoveryV1);

/// Version 1, unless the user was known at the address.
#[derive(Serialize, Deserialize)]
#[serde(tag = "record")]
pub(crate) enum Challenge {
    #[serde(rename = "mfa-challenge/1")]
    V1(ChallengeV1),
    #[serde(rename = "mfa-challenge/2")]
    V2(ChallengeV2),
    #[serde(other, skip_serializing)]
    Unknown,
}

/// Version 1, unless there is a doubling.
#[derive(Serialize, Deserialize)]
#[serde(tag = "record")]
pub(crate) enum Lockout {
    #[serde(rename = "mfa-lockout/1")]
    V1(LockoutV1),
    #[serde(rename = "mfa-lockout/2")]
    V2(LockoutV2),
    #[serde(other, skip_serializing)]
    Unknown,
}

/// All records of a user in one. A release that adds a record adds a version, so that no release
/// drops a record that it cannot read.
#[derive(Serialize, Deserialize)]
pub(crate) struct RecordsV1 {
    user: User,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    challenge: Option<crate::Challenge>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    devices: Option<crate::Devices>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<KeyRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lockout: Option<crate::Lockout>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    addresses: Option<crate::Addresses>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sessions: Option<crate::Sessions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovery: Option<RecoveryCodes>,
}

impl From<UserRecords> for Records {
    fn from(records: UserRecords) -> Self {
        Self::V1(RecordsV1 {
            user: records.user,
            challenge: records.challenge,
            devices: records.devices,
            key: records.key,
            lockout: records.lockout,
            addresses: records.addresses,
            sessions: records.sessions,
            recovery: records.recovery,
        })
    }
}

impl TryFrom<Records> for UserRecords {
    type Error = MfaError;

    fn try_from(stored: Records) -> Result<Self, MfaError> {
        let records = stored.known()?;
        Ok(Self {
            user: records.user,
            challenge: records.challenge,
            devices: records.devices,
            key: records.key,
            lockout: records.lockout,
            addresses: records.addresses,
            sessions: records.sessions,
            recovery: records.recovery,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct KeyV1 {
    generation: Generation,
    created_at: UnixMillis,
    /// Absent while pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activated_at: Option<UnixMillis>,
    kind: KindV1,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindV1 {
    Totp(TotpV1),
}

#[derive(Serialize, Deserialize)]
struct TotpV1 {
    /// `SHA1`, `SHA256` or `SHA512`.
    algorithm: Algorithm,
    digits: Digits,
    /// In seconds.
    period: NonZeroU64,
    /// Absent while pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spent: Option<Spent>,
}

impl From<KeyRecord> for Key {
    fn from(key: KeyRecord) -> Self {
        let totp = key.totp;
        Self::V1(KeyV1 {
            generation: key.generation,
            created_at: key.created_at,
            activated_at: match key.status {
                KeyStatus::Pending => None,
                KeyStatus::Active { since } => Some(since),
            },
            kind: KindV1::Totp(TotpV1 {
                algorithm: totp.parameters.algorithm,
                digits: totp.parameters.digits,
                period: totp.parameters.period,
                spent: totp.spent,
            }),
        })
    }
}

impl TryFrom<Key> for KeyRecord {
    type Error = MfaError;

    fn try_from(stored: Key) -> Result<Self, MfaError> {
        let key = stored.known()?;
        let KindV1::Totp(totp) = key.kind;
        // An active key without a spent step would accept the code that activated it again.
        if totp.spent.is_some() != key.activated_at.is_some() {
            return Err(MfaError::RecordValue { field: "spent" });
        }
        if totp
            .spent
            .is_some_and(|spent| !(-MAX_DRIFT..=MAX_DRIFT).contains(&spent.drift))
        {
            return Err(MfaError::RecordValue { field: "drift" });
        }
        Ok(Self {
            generation: key.generation,
            created_at: key.created_at,
            totp: TotpKey {
                parameters: TotpParameters {
                    algorithm: totp.algorithm,
                    digits: totp.digits,
                    period: totp.period,
                },
                spent: totp.spent,
            },
            status: match key.activated_at {
                None => KeyStatus::Pending,
                Some(since) => KeyStatus::Active { since },
            },
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ChallengeV1 {
    user: User,
    key: Generation,
    locks: u64,
    expires_at: UnixMillis,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ChallengeV2 {
    /// Where its password came from.
    address: AddressId,
    #[serde(flatten)]
    first: ChallengeV1,
}

impl From<crate::Challenge> for Challenge {
    fn from(challenge: crate::Challenge) -> Self {
        let first = ChallengeV1 {
            user: challenge.user,
            key: challenge.key,
            locks: challenge.locks,
            expires_at: challenge.expires_at,
        };
        match challenge.address {
            None => Self::V1(first),
            Some(address) => Self::V2(ChallengeV2 { address, first }),
        }
    }
}

impl TryFrom<Challenge> for crate::Challenge {
    type Error = MfaError;

    fn try_from(stored: Challenge) -> Result<Self, MfaError> {
        let (address, challenge) = match stored {
            Challenge::V1(challenge) => (None, challenge),
            Challenge::V2(ChallengeV2 { address, first }) => (Some(address), first),
            Challenge::Unknown => {
                return Err(MfaError::RecordForm {
                    newest: "mfa-challenge/2",
                });
            }
        };
        Ok(Self {
            user: challenge.user,
            key: challenge.key,
            address,
            locks: challenge.locks,
            expires_at: challenge.expires_at,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct LockoutV1 {
    failures: u32,
    locks: u64,
    /// Absent unless there was a lock since the last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    locked_until: Option<UnixMillis>,
    expires_at: UnixMillis,
}

impl From<crate::Lockout> for LockoutV1 {
    fn from(lockout: crate::Lockout) -> Self {
        Self {
            failures: lockout.failures,
            locks: lockout.locks,
            locked_until: lockout.locked_until,
            expires_at: lockout.expires_at,
        }
    }
}

impl From<LockoutV1> for crate::Lockout {
    fn from(lockout: LockoutV1) -> Self {
        Self {
            failures: lockout.failures,
            locks: lockout.locks,
            locked_until: lockout.locked_until,
            doubling: None,
            expires_at: lockout.expires_at,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct LockoutV2 {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doubling: Option<Doubling>,
    #[serde(flatten)]
    first: LockoutV1,
}

impl From<crate::Lockout> for LockoutV2 {
    fn from(lockout: crate::Lockout) -> Self {
        Self {
            doubling: lockout.doubling,
            first: lockout.into(),
        }
    }
}

impl From<LockoutV2> for crate::Lockout {
    fn from(lockout: LockoutV2) -> Self {
        Self {
            doubling: lockout.doubling,
            ..lockout.first.into()
        }
    }
}

impl From<crate::Lockout> for Lockout {
    fn from(lockout: crate::Lockout) -> Self {
        match lockout.doubling {
            None => Self::V1(lockout.into()),
            Some(_) => Self::V2(lockout.into()),
        }
    }
}

impl TryFrom<Lockout> for crate::Lockout {
    type Error = MfaError;

    fn try_from(stored: Lockout) -> Result<Self, MfaError> {
        match stored {
            Lockout::V1(lockout) => Ok(lockout.into()),
            Lockout::V2(lockout) => Ok(lockout.into()),
            Lockout::Unknown => Err(MfaError::RecordForm {
                newest: "mfa-lockout/2",
            }),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct DevicesV1 {
    user: User,
    key: Generation,
    /// Ordered by when they were trusted.
    devices: Vec<DeviceV1>,
    /// A later addition. A release that does not support it drops it, and then counts guesses at
    /// fingerprints from zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guesses: Option<LockoutV2>,
}

#[derive(Serialize, Deserialize)]
struct DeviceV1 {
    id: DeviceId,
    fingerprint: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    browser: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operating_system: Option<String>,
    trusted_at: UnixMillis,
    expires_at: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lockout: Option<LockoutV1>,
}

impl From<crate::Devices> for Devices {
    fn from(devices: crate::Devices) -> Self {
        let device = |device: crate::Device| DeviceV1 {
            id: device.id,
            fingerprint: device.fingerprint,
            browser: device.browser,
            name: device.name,
            operating_system: device.operating_system,
            trusted_at: device.trusted_at,
            expires_at: device.expires_at,
            lockout: device.lockout.map(LockoutV1::from),
        };
        Self::V1(DevicesV1 {
            user: devices.user,
            key: devices.key,
            devices: devices.devices.into_iter().map(device).collect(),
            guesses: devices.guesses.map(LockoutV2::from),
        })
    }
}

impl TryFrom<Devices> for crate::Devices {
    type Error = MfaError;

    fn try_from(stored: Devices) -> Result<Self, MfaError> {
        let devices = stored.known()?;
        let device = |device: DeviceV1| {
            if !device.id.is_possible() {
                return Err(MfaError::RecordValue { field: "id" });
            }
            Ok(crate::Device {
                id: device.id,
                fingerprint: device.fingerprint,
                browser: device.browser,
                name: device.name,
                operating_system: device.operating_system,
                trusted_at: device.trusted_at,
                expires_at: device.expires_at,
                lockout: device.lockout.map(crate::Lockout::from),
            })
        };
        Ok(Self {
            user: devices.user,
            key: devices.key,
            devices: devices
                .devices
                .into_iter()
                .map(device)
                .collect::<Result<_, _>>()?,
            guesses: devices.guesses.map(crate::Lockout::from),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RecoveryV1 {
    key: Generation,
    made_at: UnixMillis,
    /// Ten.
    codes: Vec<StoredCode>,
}

impl From<RecoveryCodes> for Recovery {
    fn from(recovery: RecoveryCodes) -> Self {
        Self::V1(RecoveryV1 {
            key: recovery.key,
            made_at: recovery.made_at,
            codes: recovery.codes.into(),
        })
    }
}

impl TryFrom<Recovery> for RecoveryCodes {
    type Error = MfaError;

    fn try_from(stored: Recovery) -> Result<Self, MfaError> {
        let recovery = stored.known()?;
        let codes = recovery.codes.try_into();
        Ok(Self {
            key: recovery.key,
            made_at: recovery.made_at,
            codes: codes.map_err(|_| MfaError::RecordValue { field: "codes" })?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct AddressesV1 {
    next: u64,
    /// Ordered by last login.
    addresses: Vec<AddressV1>,
}

#[derive(Serialize, Deserialize)]
struct AddressV1 {
    id: AddressId,
    /// `192.0.2.1` or `2001:db8::/64`.
    #[serde(with = "network")]
    network: Network,
    known_until: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lockout: Option<LockoutV2>,
}

impl From<crate::Addresses> for Addresses {
    fn from(addresses: crate::Addresses) -> Self {
        let address = |known: KnownAddress| AddressV1 {
            id: known.id,
            network: known.network,
            known_until: known.known_until,
            lockout: known.lockout.map(LockoutV2::from),
        };
        Self::V1(AddressesV1 {
            next: addresses.next,
            addresses: addresses.known.into_iter().map(address).collect(),
        })
    }
}

impl TryFrom<Addresses> for crate::Addresses {
    type Error = MfaError;

    fn try_from(stored: Addresses) -> Result<Self, MfaError> {
        let addresses = stored.known()?;
        let address = |address: AddressV1| {
            if address.id.0 >= addresses.next {
                return Err(MfaError::RecordValue { field: "next" });
            }
            Ok(KnownAddress {
                id: address.id,
                network: address.network,
                known_until: address.known_until,
                lockout: address.lockout.map(crate::Lockout::from),
            })
        };
        let known = addresses.addresses.into_iter().map(address);
        Ok(Self {
            next: addresses.next,
            known: known.collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct SessionsV1 {
    kept_until: UnixMillis,
    /// Those with failures or a lock.
    sessions: Vec<SessionV1>,
}

#[derive(Serialize, Deserialize)]
struct SessionV1 {
    id: SessionId,
    lockout: LockoutV2,
}

impl From<crate::Sessions> for Sessions {
    fn from(sessions: crate::Sessions) -> Self {
        let session = |counted: CountedSession| SessionV1 {
            id: counted.id,
            lockout: counted.lockout.into(),
        };
        Self::V1(SessionsV1 {
            kept_until: sessions.kept_until,
            sessions: sessions.counted.into_iter().map(session).collect(),
        })
    }
}

impl TryFrom<Sessions> for crate::Sessions {
    type Error = MfaError;

    fn try_from(stored: Sessions) -> Result<Self, MfaError> {
        let sessions = stored.known()?;
        let counted = |session: SessionV1| CountedSession {
            id: session.id,
            lockout: session.lockout.into(),
        };
        Ok(Self {
            kept_until: sessions.kept_until,
            counted: sessions.sessions.into_iter().map(counted).collect(),
        })
    }
}

/// Byte arrays as lower-case hex.
pub(crate) mod hex {
    use core::fmt;

    use data_encoding::HEXLOWER;
    use serde::{
        Deserializer, Serializer,
        de::{Error, Unexpected, Visitor},
    };

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&HEXLOWER.encode_display(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        deserializer.deserialize_str(Digits)
    }

    /// Decodes the text in place, without a copy.
    struct Digits<const N: usize>;

    impl<const N: usize> Visitor<'_> for Digits<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("lower-case hex of the right length")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<[u8; N], E> {
            if text.len() != 2 * N {
                return Err(E::invalid_length(text.len(), &self));
            }
            let mut bytes = [0; N];
            HEXLOWER
                .decode_mut(text.as_bytes(), &mut bytes)
                .map_err(|_| E::invalid_value(Unexpected::Other("another text"), &self))?;
            Ok(bytes)
        }
    }
}

/// A network as its text.
mod network {
    use core::fmt;

    use serde::{
        Deserializer, Serializer,
        de::{Error, Visitor},
    };

    use crate::Network;

    pub(super) fn serialize<S: Serializer>(
        network: &Network,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(network)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Network, D::Error> {
        deserializer.deserialize_str(Text)
    }

    /// Parses the text in place, without a copy.
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Network;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a network")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Network, E> {
            text.parse().map_err(E::custom)
        }
    }
}
