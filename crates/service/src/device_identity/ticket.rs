//! Activation tickets: the state of a provision that its activation needs, sealed so that only the server can read or
//! change it. The server stores nothing until a ticket is used, so tickets cannot fill the store.

use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keyproof_store::{Key, Record, Sealed, Store, Timestamp};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::identity::DevicePlace;
use crate::clock::APART_AT_MOST;

/// How long a ticket is valid.
pub(super) const LIFE: Duration = Duration::from_secs(60 * 60);

/// How long a used ticket or nonce stays recorded after its expiry, as the clocks of servers may differ by this much.
pub(super) const APART: Duration = Duration::from_secs(60 * 60);

/// Returns whether what was issued for this life has not expired. What a clock far ahead has issued has, as it would be valid
/// for longer.
pub(super) fn is_current(expires_at: Timestamp, life: Duration, now: Timestamp) -> bool {
    let left = expires_at.saturating_since(now);
    !left.is_zero() && left <= life.saturating_add(APART_AT_MOST)
}

/// The longest text that is decoded as a ticket. A ticket contains four texts of up to 1,024 characters each.
const LONGEST: usize = 64 * 1024;

/// The contents of a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    /// Identifies the ticket.
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) device: DevicePlace,
    /// The device's name.
    pub(super) name: String,
    pub(super) version: String,
    /// The id of the challenge key when it was issued.
    pub(super) under: String,
    /// The device's incarnation when it was issued.
    pub(super) incarnation: String,
    pub(super) category: String,
    /// The Names of the EK and the AK, in hex.
    pub(super) ek: String,
    pub(super) ak: String,
    /// The serial number of the certificate that was sealed.
    pub(super) certificate: String,
    /// The SHA-256 of the proof that the credential was opened, in hex.
    pub(super) proof: String,
    pub(super) expires_at: Timestamp,
}

/// Returns the record key that tickets are sealed for.
fn place() -> Key {
    Key::new("tpm_activation_ticket", ["_"])
}

const FIELD: &str = "ticket";

/// Returns the digest of a proof that a ticket contains.
pub(super) fn digest_of(proof: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, proof).as_ref())
}

impl Ticket {
    /// Encodes and seals it. Fails only if it cannot be encoded as JSON.
    pub(super) fn seal(&self, store: &Store) -> Result<String, serde_json::Error> {
        let plain = serde_json::to_vec(self)?;
        let sealed = store.seal(&place(), FIELD, &plain);
        Ok(BASE64URL_NOPAD.encode(&serde_json::to_vec(&sealed)?))
    }

    /// Opens a ticket's text. Returns `None` if it is not a ticket of this store.
    pub(super) fn open(text: &str, store: &Store) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let sealed = BASE64URL_NOPAD.decode(text.trim_ascii().as_bytes()).ok()?;
        let sealed: Sealed = serde_json::from_slice(&sealed).ok()?;
        let plain = store.unseal(&place(), FIELD, &sealed).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    /// Returns whether it has not expired.
    pub(super) fn is_current(&self, now: Timestamp) -> bool {
        is_current(self.expires_at, LIFE, now)
    }

    /// Returns whether this proves that the ticket's credential was opened. Takes constant time.
    pub(super) fn is_proven_by(&self, proof: &[u8]) -> bool {
        let given = digest_of(proof);
        given.as_bytes().ct_eq(self.proof.as_bytes()).into()
    }

    /// Returns the record that marks the ticket as used, with its key and expiry time.
    pub(super) fn spent(&self) -> (Key, Spent, Timestamp) {
        let key = Key::new(Spent::TYPE, ["_", &self.id]);
        (key, Spent {}, self.expires_at.saturating_add(APART))
    }
}

/// At `tpm_spent_ticket/_/<id>`: a used ticket. Only a caller that opened a credential causes one.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Spent {}

record!(Spent, "tpm_spent_ticket");
