//! What tells the sessions of a user apart.

use super::records::Owner;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A session: 128 random bits, drawn at a login and kept over refreshes. No secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SessionId([u8; Self::LEN]);

impl SessionId {
    const LEN: usize = 16;

    pub(super) const fn from_random(random: [u8; Self::LEN]) -> Self {
        Self(random)
    }

    /// The one session that all access tokens of earlier releases are of, as long as the user's generation lasts.
    pub(super) fn of_earlier_release(owner: Owner, generation: u64) -> Self {
        let Owner { organisation, user } = owner;
        Self::of_text(&format!("user {organisation} {user} {generation}"))
    }

    /// That of a login under an earlier release, by the digest of its first refresh token.
    pub(super) fn of_login(first: &str) -> Self {
        Self::of_text(&format!("login {first}"))
    }

    fn of_text(text: &str) -> Self {
        let mut id = [0; Self::LEN];
        for (byte, digested) in id.iter_mut().zip(digest(&SHA256, text.as_bytes()).as_ref()) {
            *byte = *digested;
        }
        Self(id)
    }
}

impl fmt::Display for SessionId {
    /// 32 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

/// A text that names no session.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a session's id has 32 lower-case hex digits")]
pub struct NoSessionId;

impl TryFrom<String> for SessionId {
    type Error = NoSessionId;

    fn try_from(text: String) -> Result<Self, NoSessionId> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NoSessionId)?;
        Ok(Self(bytes.try_into().map_err(|_| NoSessionId)?))
    }
}
