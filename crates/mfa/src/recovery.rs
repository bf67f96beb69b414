//! Recovery codes, for users who have lost their phone.

use core::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD_VISUAL;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Generation, MfaError, UnixMillis, digest::Digest, totp::Wrong};

/// A recovery code: 80 random bits, shown as four groups of four Base32 symbols (RFC 4648, section
/// 6), as in `ABCD-EFGH-IJKL-MN23`.
///
/// `Debug` hides it, and it is wiped on drop.
#[derive(Clone)]
pub struct RecoveryCode([u8; Self::LEN]);

impl RecoveryCode {
    const LEN: usize = 10;
    const SYMBOLS: usize = 16;
    const GROUP: usize = 4;

    /// Parses a code as people type it: in any case, with white space and hyphens anywhere. 0, 1
    /// and 8, which no code contains, are read as O, I and B.
    ///
    /// # Errors
    ///
    /// [`RecoveryCodeSymbol`](MfaError::RecoveryCodeSymbol) and
    /// [`RecoveryCodeLength`](MfaError::RecoveryCodeLength).
    pub fn parse(text: &str) -> Result<Self, MfaError> {
        let mut symbols = Zeroizing::new([0; Self::SYMBOLS]);
        let mut found = 0;
        for (at, symbol) in text.char_indices() {
            if symbol.is_whitespace() || symbol == '-' {
                continue;
            }
            if !matches!(symbol, 'A'..='Z' | 'a'..='z' | '0'..='8') {
                return Err(MfaError::RecoveryCodeSymbol { at });
            }
            if let Some(place) = symbols.get_mut(found) {
                // Matched as ASCII just above.
                *place = symbol.to_ascii_uppercase() as u8;
            }
            found += 1;
        }
        let mut code = Self([0; Self::LEN]);
        if found != Self::SYMBOLS
            || BASE32_NOPAD_VISUAL
                .decode_mut(symbols.as_slice(), &mut code.0)
                .is_err()
        {
            return Err(MfaError::RecoveryCodeLength { found });
        }
        Ok(code)
    }

    fn digest(&self, key: Generation) -> Digest {
        Digest::new("recovery code", &[key.as_bytes(), &self.0])
    }
}

impl FromStr for RecoveryCode {
    type Err = MfaError;

    /// The same as [`RecoveryCode::parse`].
    fn from_str(text: &str) -> Result<Self, MfaError> {
        Self::parse(text)
    }
}

impl fmt::Display for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut symbols = Zeroizing::new([0; Self::SYMBOLS]);
        BASE32_NOPAD_VISUAL.encode_mut(&self.0, symbols.as_mut_slice());
        for (at, symbol) in symbols.iter().enumerate() {
            if at > 0 && at % Self::GROUP == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*symbol))?;
        }
        Ok(())
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode([redacted])")
    }
}

impl Drop for RecoveryCode {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for RecoveryCode {}

/// The stored form of a user's recovery codes: their digests, and which are used.
///
/// A code has 80 random bits, and the key's generation is the salt of its digest, so no slow hash
/// is needed.
///
/// ```
/// use keyproof_mfa::{KeyKind, Password, Policy, Proof, RecoveryCode, Session, SessionId, AuthMethod, UnixMillis, User, UserId, UserRecords};
/// # use keyproof_mfa::otp::{Secret, Totp};
/// # let (policy, secret) = (Policy::default(), Secret::from_bytes(&[7; 20])?);
/// # let (hers, now) = (SessionId::new("hers"), UnixMillis::from_secs(1_800_000_000));
/// # let code = Totp::new(&secret, Default::default(), Default::default()).code(now.as_secs()).to_string();
/// # let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
/// # let ada = ada.enrol(KeyKind::default(), Password::Correct, [1; 16], hers, now, &policy).next;
/// # let ada = ada.activate(&Proof::Typed { text: &code, secret: &secret }, hers, now, &policy).next;
///
/// // Just after the activation, in the same session. Each of the ten codes takes random bytes.
/// let session = Session { id: hers, auth_method: AuthMethod::Activation };
/// # let mut random = [[0; 10]; 10];
/// # random.iter_mut().enumerate().for_each(|(at, bytes)| bytes.fill(at as u8));
/// let made = ada.make_recovery_codes(Password::Correct, None, session, &random, now, &policy);
/// let codes = made.verdict?; // shown once
/// let typed = codes[0].to_string().to_lowercase();
/// assert!(RecoveryCode::parse(&typed).is_ok());
/// assert_eq!(made.next.recovery.as_ref().unwrap().left(), 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(into = "crate::stored::Recovery", try_from = "crate::stored::Recovery")
)]
pub struct RecoveryCodes {
    pub(crate) key: Generation,
    pub(crate) made_at: UnixMillis,
    pub(crate) codes: [StoredCode; Self::COUNT],
}

/// The digest of one code, and when it was used, also as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct StoredCode {
    pub(crate) digest: Digest,
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub(crate) used_at: Option<UnixMillis>,
}

impl RecoveryCodes {
    /// How many codes are made at a time.
    pub const COUNT: usize = 10;

    /// When they were made.
    pub const fn made_at(&self) -> UnixMillis {
        self.made_at
    }

    /// How many are unused.
    pub fn left(&self) -> usize {
        let unused = self.codes.iter().filter(|kept| kept.used_at.is_none());
        unused.count()
    }

    /// Makes ten codes, to be shown once, and their record.
    pub(crate) fn make(
        random: &[[u8; RecoveryCode::LEN]; Self::COUNT],
        key: Generation,
        made_at: UnixMillis,
    ) -> (Self, [RecoveryCode; Self::COUNT]) {
        let codes = random.each_ref().map(|bits| RecoveryCode(*bits));
        let kept = codes.each_ref().map(|code| StoredCode {
            digest: code.digest(key),
            used_at: None,
        });
        let record = Self {
            key,
            made_at,
            codes: kept,
        };
        (record, codes)
    }

    /// Returns these codes with `code` marked as used. It compares all of them, so that timing does
    /// not reveal which one matched.
    pub(crate) fn accept(&self, code: &RecoveryCode, now: UnixMillis) -> Result<Self, Wrong> {
        let digest = code.digest(self.key);
        let mut place = u8::MAX;
        for (at, kept) in (0_u8..).zip(&self.codes) {
            place.conditional_assign(&at, kept.digest.ct_eq(&digest));
        }
        let mut next = self.clone();
        let kept = next.codes.get_mut(usize::from(place)).ok_or(Wrong::Code)?;
        if kept.used_at.is_some() {
            return Err(Wrong::Replayed);
        }
        kept.used_at = Some(now);
        Ok(next)
    }
}
