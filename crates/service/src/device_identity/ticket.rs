//! Activation tickets: what a provision tells the server that activates, sealed so that nobody else reads or changes it.
//! Nothing is stored of a ticket before it is used, so that nobody can have many of them kept.

use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keyproof_store::{Key, Record, Sealed, Store, Timestamp};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::identity::DevicePlace;

/// How long a ticket is good.
pub(super) const LIFE: Duration = Duration::from_secs(60 * 60);

/// How far apart the clocks of two servers may be, for a ticket or a nonce to be good once on all of them.
pub(super) const APART: Duration = Duration::from_secs(60 * 60);

/// The longest text that is looked at as a ticket: four texts of 1,024 characters each are in one.
const LONGEST: usize = 64 * 1024;

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    /// What tells it from others.
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) device: DevicePlace,
    /// What the device is called.
    pub(super) name: String,
    pub(super) version: String,
    /// The challenge key of that time.
    pub(super) under: String,
    /// That of the device when it was provisioned.
    pub(super) incarnation: String,
    pub(super) category: String,
    /// The Names of endorsement key and attestation key, in hex.
    pub(super) ek: String,
    pub(super) ak: String,
    /// The serial number of the certificate that was sealed.
    pub(super) certificate: String,
    /// The SHA-256 of the proof that the credential was opened, in hex.
    pub(super) proof: String,
    pub(super) expires_at: Timestamp,
}

/// What a ticket is sealed for.
fn place() -> Key {
    Key::new("tpm_activation_ticket", ["_"])
}

const FIELD: &str = "ticket";

/// What a ticket keeps of a proof.
pub(super) fn digest_of(proof: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, proof).as_ref())
}

impl Ticket {
    /// Its text. Fails only where a ticket cannot be written as JSON.
    pub(super) fn seal(&self, store: &Store) -> Result<String, serde_json::Error> {
        let plain = serde_json::to_vec(self)?;
        let sealed = store.seal(&place(), FIELD, &plain);
        Ok(BASE64URL_NOPAD.encode(&serde_json::to_vec(&sealed)?))
    }

    /// Opens a text; `None` if it is not one of this store's tickets.
    pub(super) fn open(text: &str, store: &Store) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let sealed = BASE64URL_NOPAD.decode(text.trim_ascii().as_bytes()).ok()?;
        let sealed: Sealed = serde_json::from_slice(&sealed).ok()?;
        let plain = store.unseal(&place(), FIELD, &sealed).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    /// Whether this is the proof that its credential was opened.
    pub(super) fn is_proven_by(&self, proof: &[u8]) -> bool {
        let given = digest_of(proof);
        given.as_bytes().ct_eq(self.proof.as_bytes()).into()
    }

    /// Where it is noted that the ticket was used, and until when.
    pub(super) fn spent(&self) -> (Key, Spent, Timestamp) {
        let key = Key::new(Spent::TYPE, ["_", &self.id]);
        (key, Spent {}, self.expires_at.saturating_add(APART))
    }
}

/// At `tpm_spent_ticket/_/<id>`: a ticket that was used. Only who has opened a credential leaves one.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Spent {}

record!(Spent, "tpm_spent_ticket");
