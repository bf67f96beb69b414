//! The records of this domain and their keys.

use keyproof_auth::{Generation, Token, TokenDigest, Validity, ValidityError, taler::LoginScope};
use keyproof_otp::pos::PosAlgorithm;
use keyproof_store::{Key, Prefix, Sealed, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{clock::auth_millis, keys::token_key_of};

/// At `otp_instance/<name>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Instance {
    pub(super) name: String,
    /// Identifies this instance among those of the same name; devices belong to it.
    pub(super) incarnation: Generation,
    /// Identifies the password; login tokens belong to it.
    pub(super) generation: Generation,
    /// The password hash as a PHC string. Without one, no login is possible.
    pub(super) password: Option<String>,
    pub(super) created_at: Timestamp,
}

record!(Instance, "otp_instance");

pub(super) fn instance_key(name: &str) -> Key {
    Key::new("otp_instance", [name])
}

pub(super) fn all_instances() -> Prefix {
    Prefix::collection("otp_instance")
}

/// At `login_token/<instance>/<time>/<digest>`. The record is kept for a while after its expiry, so that clients learn
/// that the token has expired, and not that it is unknown.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct LoginToken {
    pub(super) generation: Generation,
    pub(super) scope: LoginScope,
    pub(super) created_at: Timestamp,
    /// When it expires; it is no longer valid at this time. A record without this member is damaged.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) valid_until: Option<Timestamp>,
    pub(super) description: Option<String>,
}

record!(LoginToken, "login_token");

impl LoginToken {
    pub(super) fn validity(&self) -> Validity {
        Validity {
            generation: self.generation,
            expires_at: self.valid_until.map(auth_millis),
        }
    }

    /// Checks that the token is valid in an instance of this generation.
    pub(super) fn check(&self, current: &Generation, now: Timestamp) -> Result<(), ValidityError> {
        self.validity().check(current, auth_millis(now))
    }
}

pub(super) fn login_token_key(instance: &str, token: &Token, digest: &TokenDigest) -> Key {
    token_key_of("login_token", instance, token, digest)
}

pub(super) fn all_tokens(instance: &str) -> Prefix {
    Prefix::new("login_token", [instance])
}

/// At `otp_device/<instance>/<incarnation>/<id>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) id: String,
    pub(super) description: String,
    /// The key's text as the client sent it, sealed.
    pub(super) key: Sealed,
    #[serde(with = "number")]
    pub(super) algorithm: PosAlgorithm,
    pub(super) counter: Option<u64>,
    pub(super) created_at: Timestamp,
}

impl Device {
    /// The name of the sealed field.
    pub(super) const KEY: &'static str = "key";
}

record!(Device, "otp_device");

pub(super) fn device_key(instance: &str, incarnation: &Generation, id: &str) -> Key {
    Key::new("otp_device", [instance, &String::from(*incarnation), id])
}

pub(super) fn all_devices(instance: &str, incarnation: &Generation) -> Prefix {
    Prefix::new("otp_device", [instance, &incarnation.to_string()])
}

/// At `otp_leftover/<instance>/<generation>`: the data that a removed instance or an old password left behind.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Leftover {
    pub(super) instance: String,
    /// The generation whose tokens are to be deleted.
    pub(super) generation: Generation,
    /// The incarnation whose devices are to be deleted, if the instance was removed.
    pub(super) incarnation: Option<Generation>,
}

record!(Leftover, "otp_leftover");

pub(super) fn leftover_key(instance: &str, generation: &Generation) -> Key {
    Key::new("otp_leftover", [instance, &generation.to_string()])
}

pub(super) fn all_leftovers() -> Prefix {
    Prefix::collection("otp_leftover")
}

/// Serialises algorithms as their numbers in the API.
mod number {
    use keyproof_otp::pos::PosAlgorithm;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub(super) fn serialize<S: Serializer>(
        algorithm: &PosAlgorithm,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(algorithm.number())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<PosAlgorithm, D::Error> {
        u8::deserialize(deserializer)?
            .try_into()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{START, assert_needs};

    #[test]
    fn a_token_whose_expiry_is_missing_is_not_valid_for_ever() {
        let token = LoginToken {
            generation: Generation::from_random([1; 16]),
            scope: "readonly".parse().unwrap(),
            created_at: START,
            valid_until: None,
            description: None,
        };
        assert_needs(&token, "valid_until");
    }
}
