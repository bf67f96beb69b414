//! Nonces of attestations. A nonce contains its expiry time and the PCRs to quote, and is authenticated together with
//! the namespace, the category and the AK that it was issued for. The server stores nothing until an attestation uses
//! it, so requests for nonces cannot fill the store or displace those of others. A used nonce is stored, so that it is
//! accepted only once.
//!
//! It has 32 bytes, which every TPM accepts as `qualifyingData`:
//!
//! | bytes | |
//! |---|---|
//! | 6 | expiry time, in milliseconds since the Unix epoch, big-endian |
//! | 1 | the first bank in the upper four bits, the second in the lower: 0 none, 1 SHA-256, 2 SHA-384, 3 SHA-512 |
//! | 3, 3 | the PCRs of each bank, PCR n as bit n, little-endian, as in `TPMS_PCR_SELECT` |
//! | 5 | random |
//! | 14 | the first bytes of an HMAC-SHA-256 over what it was issued for and the bytes before |

use std::{convert::Infallible, time::Duration};

use data_encoding::HEXLOWER;
use keyproof_store::{Key, Record, Sealed, Stored, Timestamp};
use keyproof_tpm::{HashAlgorithm, Name, TpmlPcrSelection, TpmsPcrSelection};
use ring::hmac;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    AttestError, Category, DeviceIdentity, Field, FieldProblem, Sent, Station, StationOperation,
    identity::draw,
    objects::object_key,
    ticket::{self, APART},
};
use crate::{
    Failure, StorageError,
    keys::draw_bytes,
    storage::{Attempt, refuse, refused, transact},
};

/// How long a nonce is valid.
pub(super) const LIFE: Duration = Duration::from_secs(5 * 60);

const SIZE: usize = 32;
const TAG: usize = 14;
const SIGNED: usize = SIZE - TAG;
const RANDOM: usize = 5;

/// The banks that a nonce can contain, with their numbers in it.
const BANKS: [(u8, HashAlgorithm); 3] = [
    (1, HashAlgorithm::Sha256),
    (2, HashAlgorithm::Sha384),
    (3, HashAlgorithm::Sha512),
];

/// The number of PCRs in the PC Client profile.
const REGISTERS: u8 = 24;

/// A request for a nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonceRequest {
    /// The category's namespace.
    pub namespace: String,
    /// The category that issued the AK's certificate.
    pub category: String,
    /// The AK's Name, as the TPM encodes it.
    pub ak_name: Sent,
    /// The PCRs to quote; `None` if the selection could not be parsed.
    pub selection: Option<TpmlPcrSelection>,
}

/// A new nonce for an attestation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedNonce {
    /// The 32 bytes for `qualifyingData`.
    pub nonce: [u8; SIZE],
    /// When it expires, five minutes after its issue.
    pub expires_at: Timestamp,
}

/// A nonce with its decoded contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nonce {
    bytes: [u8; SIZE],
    /// When it expires.
    expires_at: Timestamp,
    /// The PCRs to quote.
    pub(super) selection: TpmlPcrSelection,
}

/// What a nonce is issued for.
#[derive(Clone, Copy)]
pub(super) struct Purpose<'a> {
    pub(super) namespace: &'a str,
    pub(super) category: &'a str,
    pub(super) ak: &'a Name,
}

impl Purpose<'_> {
    /// Returns the tag that authenticates a nonce's contents for this purpose.
    fn tag(&self, key: &ChallengeKey, said: &[u8]) -> [u8; TAG] {
        let mut context = hmac::Context::with_key(&key.key);
        let parts = [
            self.namespace.as_bytes(),
            self.category.as_bytes(),
            self.ak.as_bytes(),
            said,
        ];
        for part in parts {
            // Length prefixes keep the boundaries between the parts unambiguous.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let whole = context.sign();
        whole.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

impl Nonce {
    /// Creates a nonce. Returns `None` if it cannot contain this selection.
    fn new(
        purpose: Purpose<'_>,
        selection: TpmlPcrSelection,
        key: &ChallengeKey,
        random: [u8; RANDOM],
        now: Timestamp,
    ) -> Option<Self> {
        let expires_at = now.saturating_add(LIFE);
        let mut said = Vec::with_capacity(SIGNED);
        let [_, _, until @ ..] = expires_at.as_millis().to_be_bytes();
        said.extend(until);
        said.extend(write_selection(&selection)?);
        said.extend(random);
        said.extend(purpose.tag(key, &said));
        Some(Self {
            bytes: said.try_into().ok()?,
            expires_at,
            selection,
        })
    }

    /// Decodes and authenticates a nonce. Returns `None` if it was not issued for this purpose.
    pub(super) fn read(bytes: &[u8], purpose: Purpose<'_>, key: &ChallengeKey) -> Option<Self> {
        let bytes: [u8; SIZE] = bytes.try_into().ok()?;
        let (said, tag) = bytes.split_at_checked(SIGNED)?;
        if !bool::from(purpose.tag(key, said).ct_eq(tag)) {
            return None;
        }
        let (until, said) = said.split_first_chunk::<6>()?;
        let (selection, _) = said.split_first_chunk::<7>()?;
        let [a, b, c, d, e, f] = *until;
        let until = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        Some(Self {
            bytes,
            expires_at: Timestamp::from_millis(until),
            selection: read_selection(selection)?,
        })
    }

    /// Returns whether it has not expired.
    pub(super) fn is_current(&self, now: Timestamp) -> bool {
        ticket::is_current(self.expires_at, LIFE, now)
    }

    /// Returns the record that marks the nonce as used, with its key and expiry time.
    pub(super) fn spent(&self) -> (Key, SpentNonce, Timestamp) {
        let key = Key::new(SpentNonce::TYPE, ["_", &HEXLOWER.encode(&self.bytes)]);
        (key, SpentNonce {}, self.expires_at.saturating_add(APART))
    }
}

/// At `tpm_spent_nonce/_/<nonce>`: a used nonce. Only attestations of active AKs write one.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SpentNonce {}

record!(SpentNonce, "tpm_spent_nonce");

/// Encodes a selection of PCRs from one or two banks in seven bytes.
fn write_selection(selection: &TpmlPcrSelection) -> Option<[u8; 7]> {
    let mut written = [0; 7];
    let (which, masks) = written.split_first_mut()?;
    let banks = selection.banks();
    if !(1..=2).contains(&banks.len()) {
        return None;
    }
    for (at, (bank, mask)) in banks.iter().zip(masks.chunks_exact_mut(3)).enumerate() {
        let (number, _) = BANKS.iter().find(|(_, hash)| *hash == bank.hash())?;
        *which |= if at == 0 { number << 4 } else { *number };
        bank.registers().next()?;
        for register in bank.registers() {
            *mask.get_mut(usize::from(register / 8))? |= 1 << (register % 8);
        }
    }
    Some(written)
}

fn read_selection(written: &[u8; 7]) -> Option<TpmlPcrSelection> {
    let (which, masks) = written.split_first()?;
    let numbers = [which >> 4, which & 0xf];
    let mut banks = Vec::new();
    for (number, mask) in numbers.iter().zip(masks.chunks_exact(3)) {
        if *number == 0 {
            continue;
        }
        let (_, hash) = BANKS.iter().find(|(known, _)| known == number)?;
        let is_set = |register: &u8| {
            let octet = mask.get(usize::from(register / 8));
            octet.is_some_and(|octet| octet >> (register % 8) & 1 == 1)
        };
        let registers = (0..REGISTERS).filter(is_set);
        banks.push(TpmsPcrSelection::new(*hash, registers).ok()?);
    }
    Some(banks.into_iter().collect())
}

/// The key that authenticates nonces.
pub(super) struct ChallengeKey {
    /// Identifies the key. Tickets that were issued under another one are void.
    pub(super) id: String,
    key: hmac::Key,
}

/// At `tpm_challenge_key/_`: the stored [`ChallengeKey`]. A restore from a backup omits it, which voids all earlier
/// nonces and tickets, because the backup does not show which of them were used since.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ChallengeKeyRecord {
    pub(super) id: String,
    /// 32 bytes.
    key: Sealed,
}

record!(ChallengeKeyRecord, "tpm_challenge_key");

impl ChallengeKeyRecord {
    const KEY: &'static str = "key";

    pub(super) fn place() -> Key {
        Key::new(Self::TYPE, ["_"])
    }
}

impl DeviceIdentity {
    /// Issues a nonce for one attestation.
    ///
    /// # Errors
    ///
    /// [`AttestError`].
    pub async fn attestation_nonce(
        &self,
        station: &Station,
        request: &NonceRequest,
    ) -> Result<IssuedNonce, Failure<AttestError>> {
        let NonceRequest {
            namespace,
            category,
            ..
        } = request;
        let act = StationOperation::AttestNonce;
        if !self.may_show(station, act, namespace).await {
            return refuse(AttestError::UnknownCategory);
        }
        let place = object_key::<Category>(namespace, category);
        let known = self.store.get_many(&[place], self.clock.now()).await?;
        if !matches!(known.as_slice(), [Some(_)]) {
            return refuse(AttestError::UnknownCategory);
        }
        let name = Field::AttestationKeyName.read(&request.ak_name);
        let name = name.map_err(refused)?;
        let no_name = || refused(Field::AttestationKeyName.wrong(FieldProblem::NoName));
        let ak = match name.len() {
            34 | 50 | 66 => Name::parse(name).map_err(|_| no_name())?,
            _ => return Err(no_name()),
        };
        let no_selection = || refused(Field::Registers.wrong(FieldProblem::NoSelection));
        let selection = request.selection.clone().ok_or_else(no_selection)?;
        let key = self.challenge_key().await?;
        let random = draw_bytes(self.store.entropy());
        let purpose = Purpose {
            namespace,
            category,
            ak: &ak,
        };
        let nonce = Nonce::new(purpose, selection, &key, random, self.clock.now());
        let nonce = nonce.ok_or_else(no_selection)?;
        Ok(IssuedNonce {
            nonce: nonce.bytes,
            expires_at: nonce.expires_at,
        })
    }

    /// Returns the store's challenge key, and creates it on first use.
    pub(super) async fn challenge_key(&self) -> Result<ChallengeKey, StorageError> {
        let place = ChallengeKeyRecord::place();
        let record = transact("device_identity.challenge_key", &self.store, || async {
            let now = self.clock.now();
            if let Some(Stored { record, .. }) = self.store.get(&place, now).await? {
                return Ok(Attempt::Done(record));
            }
            let mut key = Zeroizing::new([0; 32]);
            self.store.entropy().fill(key.as_mut_slice());
            let key = self
                .store
                .seal(&place, ChallengeKeyRecord::KEY, key.as_slice());
            let id = draw(&self.store);
            let made = ChallengeKeyRecord { id, key };
            let mut batch = self.store.batch(now);
            batch.insert(&place, &made, None);
            Ok(Attempt::Commit(batch, Ok(made)))
        });
        let record: ChallengeKeyRecord = record
            .await
            .map_err(Failure::<Infallible>::without_refusal)?;
        let key = self
            .store
            .unseal(&place, ChallengeKeyRecord::KEY, &record.key)?;
        Ok(ChallengeKey {
            id: record.id,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ended, testing::bench};

    fn key(byte: u8) -> ChallengeKey {
        ChallengeKey {
            id: String::new(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]),
        }
    }

    fn name(byte: u8) -> Name {
        Name::parse(&[&[0, 0x0b][..], &[byte; 32]].concat()).unwrap()
    }

    fn purpose(ak: &Name) -> Purpose<'_> {
        Purpose {
            namespace: "n",
            category: "c",
            ak,
        }
    }

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn nonce(selection: &str, ak: &Name) -> Option<Nonce> {
        let selection = selection.parse().ok()?;
        Nonce::new(purpose(ak), selection, &key(1), [7; RANDOM], NOW)
    }

    #[test]
    fn it_says_what_it_was_given_for() {
        let ak = name(1);
        for selection in [
            "sha256:0",
            "sha256:0,1,2,7,23",
            "sha384:8,16",
            "sha512:23",
            "sha256:0,1+sha384:0",
            "sha384:0+sha256:0,1",
        ] {
            let given = nonce(selection, &ak).unwrap();
            let purpose = purpose(&ak);
            let read = Nonce::read(&given.bytes, purpose, &key(1)).unwrap();
            assert_eq!(read, given, "{selection}");
            assert_eq!(read.selection.to_string(), selection);
            assert_eq!(read.expires_at, NOW.saturating_add(LIFE));
        }
        for selection in ["sha256:24", "sha1:0", "sha256:0+sha384:0+sha512:0", ""] {
            assert!(nonce(selection, &ak).is_none(), "{selection}");
        }
        let empty = TpmsPcrSelection::new(HashAlgorithm::Sha256, []).unwrap();
        assert_eq!(write_selection(&[empty].into_iter().collect()), None);
    }

    #[test]
    fn it_is_good_for_nothing_else() {
        let (ak, other) = (name(1), name(2));
        let given = nonce("sha256:0", &ak).unwrap();
        let read = |namespace, category, ak, by: u8| {
            let purpose = Purpose {
                namespace,
                category,
                ak,
            };
            Nonce::read(&given.bytes, purpose, &key(by)).is_some()
        };
        assert!(read("n", "c", &ak, 1));
        assert!(!read("n", "c", &other, 1));
        assert!(!read("nc", "", &ak, 1));
        assert!(!read("", "nc", &ak, 1));
        assert!(!read("n", "d", &ak, 1));
        assert!(!read("n", "c", &ak, 2));
        let purpose = purpose(&ak);
        for bit in 0..SIZE * 8 {
            let mut changed = given.bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Nonce::read(&changed, purpose, &key(1)).is_none(), "{bit}");
        }
        assert!(Nonce::read(&given.bytes[..31], purpose, &key(1)).is_none());
        assert!(Nonce::read(&[], purpose, &key(1)).is_none());
    }

    /// Otherwise a quote from before a device was tampered with would be accepted long afterwards.
    #[test]
    fn it_is_good_for_five_minutes_whichever_clock_has_given_it() {
        let given = nonce("sha256:0", &name(1)).unwrap();
        for (since, is_current) in [(0, true), (299, true), (300, false), (3600, false)] {
            let now = NOW.saturating_add(Duration::from_secs(since));
            assert_eq!(given.is_current(now), is_current, "{since} s later");
        }
        for (ahead, is_current) in [(120, true), (121, false), (6 * 60 * 60, false)] {
            let now = NOW.saturating_sub(Duration::from_secs(ahead));
            assert_eq!(given.is_current(now), is_current, "{ahead} s ahead");
        }
    }

    /// The backup does not show which of them were used since.
    #[tokio::test]
    async fn those_given_before_a_restore_are_void() {
        let bench = bench().await;
        let ak = name(1);
        let purpose = purpose(&ak);
        let before = bench.service.device_identity.challenge_key().await.unwrap();
        let selection = "sha256:0".parse().unwrap();
        let given = Nonce::new(purpose, selection, &before, [7; RANDOM], NOW).unwrap();
        let is_read = |key: &ChallengeKey| Nonce::read(&given.bytes, purpose, key).is_some();
        let again = bench.service.device_identity.challenge_key().await.unwrap();
        assert!(is_read(&again));
        let (restored, ended) = bench.restored(Duration::ZERO).await;
        assert_eq!(ended.get(&Ended::DeviceChallenges), Some(&1));
        let identity = &restored.service.device_identity;
        let after = identity.challenge_key().await.unwrap();
        assert!(!is_read(&after));
        // Tickets contain the id of the key that they were issued under.
        assert_ne!(after.id, before.id);
    }
}
