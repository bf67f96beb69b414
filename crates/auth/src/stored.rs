//! Serde implementations. Stored types are written as the text of `Display` and `FromStr`, a cost as configuration
//! fields.

use core::{fmt, marker::PhantomData, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

use crate::{
    AuthError, Cost, Generation, PasswordHash, Scopes, TokenDigest,
    operator::{OperatorScope, OperatorScopes},
    taler::LoginScope,
};

/// The fields of a [`Cost`] in a configuration.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CostFields {
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
}

impl From<Cost> for CostFields {
    fn from(cost: Cost) -> Self {
        Self {
            memory_kib: cost.memory_kib(),
            iterations: cost.iterations(),
            lanes: cost.lanes(),
        }
    }
}

impl TryFrom<CostFields> for Cost {
    type Error = AuthError;

    fn try_from(fields: CostFields) -> Result<Self, AuthError> {
        Self::new(fields.memory_kib, fields.iterations, fields.lanes)
    }
}

/// Deserialises a member that may be `null` but not missing, which derived code would read as `None` too.
pub(crate) fn required<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

macro_rules! as_text {
    ($($name:ty: $expecting:literal)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text($expecting, PhantomData))
            }
        }
    )*};
}

as_text! {
    Generation: "32 lower-case hexadecimal digits"
    LoginScope: "the scope of a login token"
    OperatorScope: "the scope of an operator's token"
    OperatorScopes: "the scopes of an operator's token, with blanks between"
    Scopes: "scopes, with blanks between"
    TokenDigest: "64 lower-case hexadecimal digits"
}

impl Serialize for PasswordHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_phc())
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("an Argon2id hash as a PHC string", PhantomData))
    }
}

struct Text<T>(&'static str, PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}
