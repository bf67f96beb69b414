//! The ids of sessions and access tokens.

use std::fmt;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize, Serializer};

use super::records::Owner;

/// The id of a session: 128 random bits, drawn at login and kept across refreshes. Not secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SessionId(Id);

/// The id of an access token: 128 random bits. Not secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct TokenId(Id);

impl SessionId {
    pub(super) const fn from_random(random: [u8; Id::LEN]) -> Self {
        Self(Id(random))
    }

    /// Returns the single session to which all access tokens of earlier releases belong, for one generation of a user.
    pub(super) fn of_earlier_release(owner: Owner, generation: u64) -> Self {
        let Owner { organisation, user } = owner;
        Self(Id::of(&format!("user {organisation} {user} {generation}")))
    }

    /// Returns the session of a login under an earlier release, from the digest of its first refresh token.
    pub(super) fn of_login(first: &str) -> Self {
        Self(Id::of(&format!("login {first}")))
    }
}

impl TokenId {
    pub(super) const fn from_random(random: [u8; Id::LEN]) -> Self {
        Self(Id(random))
    }
}

impl fmt::Display for SessionId {
    /// Writes 32 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0.0).fmt(f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
struct Id([u8; Self::LEN]);

impl Id {
    const LEN: usize = 16;

    fn of(text: &str) -> Self {
        let digest = digest(&SHA256, text.as_bytes());
        Self(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&HEXLOWER.encode_display(&self.0))
    }
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("an id has 32 lower-case hex digits")]
struct NoId;

impl TryFrom<String> for Id {
    type Error = NoId;

    fn try_from(text: String) -> Result<Self, NoId> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NoId)?;
        Ok(Self(bytes.try_into().map_err(|_| NoId)?))
    }
}
