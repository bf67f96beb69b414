//! What ends a credential early: the clock, or a new generation of its owner.

use alloc::string::String;
use core::{fmt, str::FromStr};

use data_encoding::HEXLOWER;

use crate::{AuthError, UnixMillis, ValidityError};

/// The generation of an account, instance or key that a credential belongs to: 128 random bits. A new one is drawn
/// whenever every older credential must end: at a new password, a suspension, or a removal and creation under the same
/// name.
///
/// It is random and not a counter, so that a deleted and recreated owner never has a generation of an old credential
/// again. Its text is 32 lower-case hexadecimal digits.
///
/// ```
/// use keyproof_auth::Generation;
///
/// let before = Generation::from_random([0xab; 16]); // 16 bytes from a random source
/// let stored = before.to_string();
/// assert_eq!(stored, "abababababababababababababababab");
/// assert_eq!(stored.parse::<Generation>()?, before);
/// # Ok::<(), keyproof_auth::AuthError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation([u8; 16]);

impl Generation {
    /// Creates a generation from 16 bytes of a cryptographic random source.
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Generation {
    type Err = AuthError;

    /// Parses 32 lower-case hexadecimal digits. [`MalformedGeneration`](AuthError::MalformedGeneration) for anything
    /// else.
    fn from_str(text: &str) -> Result<Self, AuthError> {
        HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
            .map(Self)
            .ok_or(AuthError::MalformedGeneration)
    }
}

impl From<Generation> for String {
    fn from(generation: Generation) -> Self {
        HEXLOWER.encode(&generation.0)
    }
}

/// The validity of a credential: within one generation, and until a time.
///
/// ```
/// use keyproof_auth::{Generation, UnixMillis, Validity, ValidityError};
///
/// let before = Generation::from_random([1; 16]); // stored with the account
/// let (now, at) = (UnixMillis::from_secs(1_799_999_999), UnixMillis::from_secs(1_800_000_000));
/// let token = Validity { generation: before, expires_at: Some(at) };
/// assert!(token.check(&before, now).is_ok());
/// assert_eq!(token.check(&before, at), Err(ValidityError::Expired { at }));
/// // A new password starts a new generation, which ends every earlier token.
/// assert_eq!(token.check(&Generation::from_random([2; 16]), now), Err(ValidityError::Superseded));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Validity {
    /// The generation in which the credential was issued.
    pub generation: Generation,
    /// The first moment at which it is no longer valid; `None` if it never expires. With serde that is `null`: a
    /// missing member is an error.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::stored::required"))]
    pub expires_at: Option<UnixMillis>,
}

impl Validity {
    /// Checks that the credential is valid at `now`, for an owner whose generation is `current`.
    ///
    /// # Errors
    ///
    /// [`ValidityError::Superseded`] if the generations differ, otherwise [`ValidityError::Expired`]. A superseded
    /// credential is never reported as expired.
    pub fn check(&self, current: &Generation, now: UnixMillis) -> Result<(), ValidityError> {
        if self.generation != *current {
            return Err(ValidityError::Superseded);
        }
        match self.expires_at {
            Some(at) if now >= at => Err(ValidityError::Expired { at }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    const OLD: Generation = Generation::from_random([1; 16]);
    const NEW: Generation = Generation::from_random([2; 16]);

    #[test]
    fn the_last_millisecond_holds_and_the_next_does_not() {
        let at = UnixMillis::from_millis(1_000);
        let validity = Validity {
            generation: OLD,
            expires_at: Some(at),
        };
        let last = UnixMillis::from_millis(999);
        assert_eq!(validity.check(&OLD, last), Ok(()));
        assert_eq!(validity.check(&OLD, at), Err(ValidityError::Expired { at }));
    }

    #[test]
    fn for_ever_ends_with_its_generation() {
        let validity = Validity {
            generation: OLD,
            expires_at: None,
        };
        let (first, last) = (UnixMillis::default(), UnixMillis::from_millis(u64::MAX));
        assert_eq!(validity.check(&OLD, last), Ok(()));
        assert_eq!(validity.check(&NEW, first), Err(ValidityError::Superseded));
    }

    #[test]
    fn its_text_is_read_back_and_nothing_else_is() {
        assert_eq!(NEW.to_string().parse(), Ok(NEW));
        assert_eq!(String::from(NEW), NEW.to_string());
        for wrong in [
            "",
            "0202",
            "0202020202020202020202020202020202",
            "020202020202020202020202020202ZZ",
        ] {
            assert_eq!(
                wrong.parse::<Generation>(),
                Err(AuthError::MalformedGeneration)
            );
        }
    }
}
