//! Shared secrets: stored inline, wiped on drop, hidden in `Debug`.

use core::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Base32Profile, OtpError};

/// A shared secret of 1 to [`Secret::MAX_LEN`] bytes, stored inline. It is never empty, because
/// anybody could compute the codes of an empty key.
///
/// The bytes are wiped on drop. Moving a value may leave a copy on the stack, which no type can
/// wipe. `Debug` shows only the length, and two secrets of one length are compared in constant
/// time. A secret cannot be serialised: a store encrypts [`Secret::as_bytes`].
///
/// ```
/// use keyproof_otp::{Base32Profile, Secret};
///
/// let secret = Secret::from_base32("gezd gnbv gy3t qojq", Base32Profile::Lenient)?;
/// assert_eq!(secret, Secret::from_bytes(b"1234567890")?);
/// assert_eq!(secret.base32().to_string(), "GEZDGNBVGY3TQOJQ"); // to show, once only
/// assert_eq!(secret.as_bytes(), b"1234567890"); // to encrypt and store
/// assert!(!format!("{secret:?}").contains("1234"));
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone)]
pub struct Secret {
    bytes: [u8; Self::MAX_LEN],
    len: usize,
}

impl Secret {
    /// The length of the longest secret, in bytes. It is the block size of SHA-512, beyond which
    /// HMAC hashes the key first. [`Hotp::from_key`] takes longer keys.
    ///
    /// [`Hotp::from_key`]: crate::Hotp::from_key
    pub const MAX_LEN: usize = 128;

    /// The recommended length in bytes: the 160 bits of RFC 4226.
    pub const RECOMMENDED_LEN: usize = 20;

    /// Creates a secret from raw bytes.
    ///
    /// # Errors
    ///
    /// [`SecretEmpty`](OtpError::SecretEmpty) if there are no bytes, and
    /// [`SecretTooLong`](OtpError::SecretTooLong) if there are more than [`Secret::MAX_LEN`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OtpError> {
        if bytes.is_empty() {
            return Err(OtpError::SecretEmpty);
        }
        let mut secret = Self {
            bytes: [0; Self::MAX_LEN],
            len: bytes.len(),
        };
        secret
            .bytes
            .get_mut(..bytes.len())
            .ok_or(OtpError::SecretTooLong)?
            .copy_from_slice(bytes);
        Ok(secret)
    }

    /// Generates a secret of the recommended 160 bits (RFC 4226 section 4, requirement R6). `fill`
    /// is the caller's cryptographic random source and fills the 20 bytes that it is given.
    ///
    /// ```
    /// use keyproof_otp::{Secret, Strength};
    ///
    /// # fn fill(bytes: &mut [u8]) -> Result<(), std::io::Error> { Ok(bytes.fill(7)) }
    /// let secret = Secret::generate(fill)?; // such as getrandom::fill
    /// assert_eq!(secret.strength(), Strength::Recommended);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error that `fill` returns.
    pub fn generate<E>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self {
            bytes: [0; Self::MAX_LEN],
            len: Self::RECOMMENDED_LEN,
        };
        let bytes = secret.bytes.get_mut(..Self::RECOMMENDED_LEN);
        fill(bytes.unwrap_or_default())?;
        Ok(secret)
    }

    /// Decodes Base32 text.
    ///
    /// # Errors
    ///
    /// The `Base32…` variants if the text does not match the profile.
    /// [`SecretEmpty`](OtpError::SecretEmpty) if it decodes to no bytes, and
    /// [`SecretTooLong`](OtpError::SecretTooLong) if to more than [`Secret::MAX_LEN`].
    pub fn from_base32(text: &str, profile: Base32Profile) -> Result<Self, OtpError> {
        let mut bytes = Zeroizing::new([0; Self::MAX_LEN]);
        let len = profile.decode_to(text, bytes.as_mut_slice())?;
        if len == 0 {
            return Err(OtpError::SecretEmpty);
        }
        Ok(Self { bytes: *bytes, len })
    }

    /// The raw bytes, to compute an HMAC or to store them encrypted.
    pub fn as_bytes(&self) -> &[u8] {
        // Every constructor keeps `len` within the array.
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Returns the secret as `otpauth` URIs contain it and users see it: upper-case Base32 (RFC
    /// 4648 section 6) without padding.
    pub fn base32(&self) -> impl fmt::Display + '_ {
        Base32Text(self.as_bytes())
    }

    /// Rates the length by RFC 4226 requirement R6. This is advice only: short secrets are not
    /// rejected, because 80-bit ones are in wide use.
    pub fn strength(&self) -> Strength {
        Strength::of_len(self.len)
    }
}

/// The rating of a secret's length by RFC 4226 section 4, requirement R6.
///
/// ```
/// use keyproof_otp::{Secret, Strength};
///
/// let of_80_bits = Secret::from_bytes(b"1234567890")?;
/// assert_eq!(of_80_bits.strength(), Strength::BelowRequired); // warn, but accept it
/// assert!(Strength::of_len(20) >= Strength::Required);
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// Fewer than the 128 bits that the RFC requires.
    BelowRequired,
    /// At least the required 128 bits, fewer than the recommended 160.
    Required,
    /// At least the recommended 160 bits.
    Recommended,
}

impl Strength {
    /// Rates a secret of `len` bytes.
    pub const fn of_len(len: usize) -> Self {
        match len {
            0..16 => Self::BelowRequired,
            16..20 => Self::Required,
            _ => Self::Recommended,
        }
    }
}

struct Base32Text<'a>(&'a [u8]);

impl fmt::Display for Base32Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BASE32_NOPAD.encode_write(self.0, f)
    }
}

impl FromStr for Secret {
    type Err = OtpError;

    /// Parses Base32 as people type and paste it: [`Base32Profile::Lenient`]. Fails as
    /// [`Secret::from_base32`] does.
    fn from_str(text: &str) -> Result<Self, OtpError> {
        Self::from_base32(text, Base32Profile::Lenient)
    }
}

impl TryFrom<&[u8]> for Secret {
    type Error = OtpError;

    /// The same as [`Secret::from_bytes`].
    fn try_from(bytes: &[u8]) -> Result<Self, OtpError> {
        Self::from_bytes(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret([redacted; {}])", self.len)
    }
}

impl ConstantTimeEq for Secret {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.as_bytes().ct_eq(other.as_bytes())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Secret {}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes.zeroize();
        self.len.zeroize();
    }
}

impl ZeroizeOnDrop for Secret {}
