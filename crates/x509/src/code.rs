//! Verification codes: 24 random bytes, shown as 48 upper-case hexadecimal digits.

use core::{
    fmt,
    str::{self, FromStr},
};

use subtle::ConstantTimeEq;

use crate::{
    X509Error, certificate::Certificate, policy::Policy, proof_finding::ProofFinding, prove::prove,
    report::Report, thumbprint::Sha256Thumbprint,
};

const CODE_BYTES: usize = 24;
const CODE_DIGITS: usize = 2 * CODE_BYTES;

/// A verification code, with the certificate that it was issued for and its expiry.
///
/// A code is used once: [`VerificationCode::redeem`] consumes it and returns it only if the proof is refused. A code parsed from
/// its digits is not bound to a certificate and has no expiry until [`VerificationCode::bound_to`] sets them. A proof for an unbound
/// code is refused ([`ProofFinding::CodeUnbound`]). `Debug` hides the digits.
///
/// ```
/// use keyproof_x509::{Certificate, VerificationCode};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let code = VerificationCode::issue(&[0xA5; 24], &ca, Some(1_800_003_600)); // from a random source
/// assert_eq!(code.digits().len(), 48);
///
/// // Stored as its parts and restored.
/// let (text, of, until) = (code.digits().to_owned(), code.certificate().unwrap(), code.expires_at());
/// let again: VerificationCode = text.parse()?;
/// let again = again.bound_to(of, until);
/// assert_eq!((again.digits(), again.certificate()), (code.digits(), code.certificate()));
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
pub struct VerificationCode {
    digits: [u8; CODE_DIGITS],
    certificate: Option<Sha256Thumbprint>,
    expires_at: Option<u64>,
}

impl VerificationCode {
    /// Creates a code for a certificate from 24 random bytes.
    ///
    /// `expires_at`, in seconds since the Unix epoch, is the first second at which the code has expired; no clock skew is allowed
    /// for. `None` means no expiry. A proof for a code that expires after 9999-12-31T23:59:59Z is refused, because the expiry is
    /// probably in milliseconds, so that the code would never expire.
    pub fn issue(random: &[u8; CODE_BYTES], ca: &Certificate<'_>, expires_at: Option<u64>) -> Self {
        Self::from_random(random).bound_to(ca.sha256_thumbprint(), expires_at)
    }

    /// Creates a code from 24 random bytes that is bound to no certificate and does not expire.
    pub fn from_random(random: &[u8; CODE_BYTES]) -> Self {
        let mut digits = [0; CODE_DIGITS];
        data_encoding::HEXUPPER.encode_mut(random, &mut digits);
        Self {
            digits,
            certificate: None,
            expires_at: None,
        }
    }

    /// Parses a code, for example from a command line. It is bound to no certificate and does not expire.
    ///
    /// # Errors
    ///
    /// [`X509Error::CodeMalformed`] if it is not exactly 48 digits `0` to `9` and `A` to `F`.
    pub fn parse(text: &str) -> Result<Self, X509Error> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
        if let Some(at) = text.bytes().position(|byte| !is_digit(&byte)) {
            return Err(X509Error::CodeMalformed { at });
        }
        let digits = text
            .as_bytes()
            .try_into()
            .map_err(|_| X509Error::CodeMalformed {
                at: text.len().min(CODE_DIGITS),
            })?;
        Ok(Self {
            digits,
            certificate: None,
            expires_at: None,
        })
    }

    /// Binds the code to a certificate and an expiry (as in [`VerificationCode::issue`]), for example after loading all three from
    /// a store.
    #[must_use = "the code is lost without it"]
    pub fn bound_to(self, certificate: Sha256Thumbprint, expires_at: Option<u64>) -> Self {
        Self {
            certificate: Some(certificate),
            expires_at,
            ..self
        }
    }

    /// Returns the 48 digits, which must be the leaf's common name.
    pub fn digits(&self) -> &str {
        str::from_utf8(&self.digits).unwrap_or_default()
    }

    /// Returns the SHA-256 thumbprint of the certificate that the code was issued for.
    pub fn certificate(&self) -> Option<Sha256Thumbprint> {
        self.certificate
    }

    /// Returns the first second, counted from the Unix epoch, at which the code has expired.
    pub fn expires_at(&self) -> Option<u64> {
        self.expires_at
    }

    /// Runs [`prove`] at `now`, in seconds since the Unix epoch, and consumes the code if the proof is accepted.
    ///
    /// ```
    /// # #[cfg(feature = "ring")] {
    /// use keyproof_x509::{Certificate, Policy, ProofCheck, Redemption, VerificationCode, algorithms::RING};
    ///
    /// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
    /// let code = VerificationCode::parse("7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638")?.bound_to(ca.sha256_thumbprint(), None);
    /// let policy = Policy::new(RING);
    /// // The CA instead of a leaf: the code can be used again.
    /// let Redemption::Kept { code, report } = code.redeem(&ca, ca.as_der(), 1_800_000_000, &policy) else { panic!() };
    /// assert!(!report.accepted());
    ///
    /// let leaf = include_bytes!("../tests/data/p256-leaf.der");
    /// let redeemed = code.redeem(&ca, leaf, 1_800_000_000, &policy);
    /// assert!(matches!(redeemed, Redemption::Spent { report } if report.accepted())); // once that is stored
    /// # }
    /// # Ok::<(), keyproof_x509::X509Error>(())
    /// ```
    pub fn redeem(
        self,
        ca: &Certificate<'_>,
        leaf: &[u8],
        now: u64,
        policy: &Policy<'_>,
    ) -> Redemption {
        let report = prove(ca, leaf, &self, now, policy);
        if report.accepted() {
            Redemption::Spent { report }
        } else {
            Redemption::Kept { report, code: self }
        }
    }

    /// Returns whether a common name is this code. The time depends only on the length of the name.
    pub(crate) fn is_name(&self, name: &str) -> bool {
        self.digits.as_slice().ct_eq(name.as_bytes()).into()
    }

    /// Returns whether a common name differs from this code only in letter case or surrounding whitespace.
    pub(crate) fn is_nearly_name(&self, name: &str) -> bool {
        name.trim().eq_ignore_ascii_case(self.digits())
    }
}

impl FromStr for VerificationCode {
    type Err = X509Error;

    /// Parses a code as [`VerificationCode::parse`] does.
    fn from_str(text: &str) -> Result<Self, X509Error> {
        Self::parse(text)
    }
}

impl fmt::Debug for VerificationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationCode")
            .field("certificate", &self.certificate)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// The result of [`VerificationCode::redeem`].
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::{Certificate, Policy, Redemption, VerificationCode, algorithms::RING};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let leaf = include_bytes!("../tests/data/p256-leaf.der");
/// let code = VerificationCode::parse("7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638")?.bound_to(ca.sha256_thumbprint(), None);
/// match code.redeem(&ca, leaf, 1_800_000_000, &Policy::new(RING)) {
///     Redemption::Spent { .. } => println!("proven, once it is stored that the code is gone"),
///     Redemption::Kept { report, code } => println!("{report}\ntry again with {}", code.digits()),
/// }
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it has the verdict, and after a refusal the unused code"]
pub enum Redemption {
    /// The proof was refused; the code remains valid.
    Kept {
        /// Why the proof was refused.
        report: Report<ProofFinding>,
        /// The unused code.
        code: VerificationCode,
    },
    /// The proof was accepted; the code is consumed.
    Spent {
        /// The checks and their findings.
        report: Report<ProofFinding>,
    },
}
