//! What is stored, and where.

use keyproof_auth::{Generation, Token, TokenDigest, taler::LoginScope};
use keyproof_otp::pos::PosAlgorithm;
use keyproof_store::{Key, Prefix, Sealed, Timestamp};
use serde::{Deserialize, Serialize};

use crate::keys::token_key_of;

/// At `otp_instance/<name>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Instance {
    pub(super) name: String,
    /// Which life of the name this is; devices belong to it.
    pub(super) incarnation: Generation,
    /// Which password this is; login tokens belong to it.
    pub(super) generation: Generation,
    /// A PHC string. Without one there is no token to be had.
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

/// At `login_token/<instance>/<time>/<digest>`. The record outlives its validity by a while, so that a client is told that
/// its token expired and not that it never was.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct LoginToken {
    pub(super) generation: Generation,
    pub(super) scope: LoginScope,
    pub(super) created_at: Timestamp,
    /// The first moment at which it is no longer valid.
    pub(super) valid_until: Option<Timestamp>,
    pub(super) description: Option<String>,
}

record!(LoginToken, "login_token");

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
    /// The key as the client spelled it, sealed.
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

/// At `otp_leftover/<instance>/<generation>`: what a removal or a new password left behind and is to be cleared away.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Leftover {
    pub(super) instance: String,
    /// Its tokens are to go.
    pub(super) generation: Generation,
    /// Its devices are to go, if the instance went.
    pub(super) incarnation: Option<Generation>,
}

record!(Leftover, "otp_leftover");

pub(super) fn leftover_key(instance: &str, generation: &Generation) -> Key {
    Key::new("otp_leftover", [instance, &generation.to_string()])
}

pub(super) fn all_leftovers() -> Prefix {
    Prefix::collection("otp_leftover")
}

/// Algorithms are stored by their number on the wire.
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
