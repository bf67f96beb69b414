//! The master key inside a backup, encrypted under a key that Argon2id (RFC 9106) derives from a passphrase.

use argon2::{Algorithm, Argon2, Params};
use data_encoding::BASE64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::BackupError;
use crate::{Entropy, KeyId, MasterKey};

const SALT_LEN: usize = 16;

/// The cost of the derivation: RFC 9106's second recommendation, 64 MiB and three passes, but in one lane.
const COST: Cost = Cost {
    memory_kib: 64 * 1024,
    passes: 3,
    lanes: 1,
};

/// The maximum cost that is accepted from a backup.
const MOST: Cost = Cost {
    memory_kib: 1024 * 1024,
    passes: 16,
    lanes: 16,
};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    fn params(self) -> Result<Params, BackupError> {
        for (what, found, most) in [
            ("memory in KiB", self.memory_kib, MOST.memory_kib),
            ("passes", self.passes, MOST.passes),
            ("lanes", self.lanes, MOST.lanes),
        ] {
            if found > most {
                return Err(BackupError::Cost { what, found, most });
            }
        }
        Params::new(
            self.memory_kib,
            self.passes,
            self.lanes,
            Some(MasterKey::LEN),
        )
        .map_err(|_| BackupError::Header)
    }
}

/// All fields but the cost are Base64.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrappedKey {
    argon2id: Cost,
    salt: String,
    nonce: String,
    key: String,
}

impl WrappedKey {
    pub(super) fn seal(
        master_key: &MasterKey,
        passphrase: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Self, BackupError> {
        let (mut salt, mut nonce) = ([0; SALT_LEN], [0; NONCE_LEN]);
        entropy.fill(&mut salt);
        entropy.fill(&mut nonce);
        let mut key = Zeroizing::new(Vec::with_capacity(MasterKey::LEN + AES_256_GCM.tag_len()));
        key.extend_from_slice(master_key.as_bytes());
        wrapping(COST, passphrase, &salt)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                associated(master_key.id()),
                &mut *key,
            )
            .map_err(|_| BackupError::Header)?;
        Ok(Self {
            argon2id: COST,
            salt: BASE64.encode(&salt),
            nonce: BASE64.encode(&nonce),
            key: BASE64.encode(&key),
        })
    }

    pub(super) fn open(&self, id: KeyId, passphrase: &[u8]) -> Result<MasterKey, BackupError> {
        let bytes = |text: &str| {
            BASE64
                .decode(text.as_bytes())
                .map_err(|_| BackupError::Header)
        };
        let nonce: [u8; NONCE_LEN] = bytes(&self.nonce)?
            .try_into()
            .map_err(|_| BackupError::Header)?;
        let mut key = Zeroizing::new(bytes(&self.key)?);
        let wrapping = wrapping(self.argon2id, passphrase, &bytes(&self.salt)?)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = wrapping.open_in_place(nonce, associated(id), &mut key);
        let opened = opened.map_err(|_| BackupError::Passphrase)?;
        MasterKey::from_bytes(opened).ok_or(BackupError::Header)
    }
}

/// Binds the encrypted key to the key id in the header.
fn associated(id: KeyId) -> Aad<String> {
    Aad::from(format!("keyproof backup 1: master key {id}"))
}

fn wrapping(cost: Cost, passphrase: &[u8], salt: &[u8]) -> Result<LessSafeKey, BackupError> {
    let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, cost.params()?);
    let mut key = Zeroizing::new([0; MasterKey::LEN]);
    argon2
        .hash_password_into(passphrase, salt, &mut *key)
        .map_err(|_| BackupError::Header)?;
    let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| BackupError::Header)?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    #[test]
    fn costs_are_bounded_before_they_are_paid() {
        let entropy = SystemEntropy::new();
        let master_key = MasterKey::generate(&entropy);
        let wrapped = WrappedKey::seal(&master_key, b"a passphrase", &entropy).unwrap();
        let asking = |cost: fn(&mut Cost)| {
            let mut wrapped = wrapped.clone();
            cost(&mut wrapped.argon2id);
            wrapped.open(master_key.id(), b"a passphrase").map(drop)
        };
        let refused = |what, found, most| Err(BackupError::Cost { what, found, most });
        assert_eq!(
            asking(|cost| cost.memory_kib = u32::MAX),
            refused("memory in KiB", u32::MAX, 1 << 20)
        );
        assert_eq!(asking(|cost| cost.passes = 17), refused("passes", 17, 16));
        assert_eq!(asking(|cost| cost.lanes = 17), refused("lanes", 17, 16));
        assert_eq!(asking(|cost| cost.memory_kib = 0), Err(BackupError::Header));
        assert_eq!(asking(|_| ()), Ok(()));
    }
}
