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

/// A verification code, the certificate that it was issued for, and until when it lives.
///
/// It is used once: [`VerificationCode::redeem`] takes it and gives it back only with a refusal. One that is read from its digits
/// alone knows neither its certificate nor its end until it is told ([`VerificationCode::bound_to`]); judged as it is, that warns
/// ([`ProofFinding::CodeUnbound`]). `Debug` hides the digits.
///
/// ```
/// use keyproof_x509::{Certificate, VerificationCode};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let code = VerificationCode::issue(&[0xA5; 24], &ca, Some(1_800_003_600)); // from a random source
/// assert_eq!(code.digits().len(), 48);
///
/// // Stored as its parts, and put together again.
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
    /// Makes the code of 24 random bytes for a certificate.
    ///
    /// `expires_at`, in seconds since the Unix epoch, is the first second at which it is dead, without any skew; `None` for no
    /// expiry. A proof for one that would end beyond 9999-12-31T23:59:59Z is refused: that is a time in milliseconds, which never
    /// comes.
    pub fn issue(random: &[u8; CODE_BYTES], ca: &Certificate<'_>, expires_at: Option<u64>) -> Self {
        Self::draw(random).bound_to(ca.sha256_thumbprint(), expires_at)
    }

    /// Makes a code of 24 random bytes that is bound to no certificate and does not expire: to be bound, or judged with a warning.
    pub fn draw(random: &[u8; CODE_BYTES]) -> Self {
        let mut digits = [0; CODE_DIGITS];
        data_encoding::HEXUPPER.encode_mut(random, &mut digits);
        Self {
            digits,
            certificate: None,
            expires_at: None,
        }
    }

    /// Reads a code that is bound to no certificate and does not expire, as one typed on a command line: to be bound, or judged
    /// with a warning.
    ///
    /// # Errors
    ///
    /// [`X509Error::CodeMalformed`] unless it is exactly 48 digits `0` to `9` and `A` to `F`.
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

    /// Binds a parsed code to a certificate and an expiry (as in [`VerificationCode::issue`]) again, as a store does that has kept
    /// the three.
    pub fn bound_to(self, certificate: Sha256Thumbprint, expires_at: Option<u64>) -> Self {
        Self {
            certificate: Some(certificate),
            expires_at,
            ..self
        }
    }

    /// The 48 digits: what the leaf's common name must be.
    pub fn digits(&self) -> &str {
        str::from_utf8(&self.digits).unwrap_or_default()
    }

    /// The SHA-256 thumbprint of the certificate that it was issued for.
    pub fn certificate(&self) -> Option<Sha256Thumbprint> {
        self.certificate
    }

    /// The first second since the Unix epoch at which it is dead.
    pub fn expires_at(&self) -> Option<u64> {
        self.expires_at
    }

    /// [`prove`] at `now`, in seconds since the Unix epoch, that spends the code if the proof is accepted.
    ///
    /// ```
    /// # #[cfg(feature = "ring")] {
    /// use keyproof_x509::{Certificate, Policy, ProofCheck, Redemption, VerificationCode, algorithms::RING};
    ///
    /// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
    /// let code = VerificationCode::parse("7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638")?;
    /// let policy = Policy::new(RING);
    /// // The CA instead of a leaf: the code is good for another try.
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

    /// Whether a common name is this code, in time that depends on the name's length alone.
    pub(crate) fn is_name(&self, name: &str) -> bool {
        self.digits.as_slice().ct_eq(name.as_bytes()).into()
    }

    /// Whether a common name is this code but for letter case and blanks around it.
    pub(crate) fn is_nearly_name(&self, name: &str) -> bool {
        name.trim().eq_ignore_ascii_case(self.digits())
    }
}

impl FromStr for VerificationCode {
    type Err = X509Error;

    /// As [`VerificationCode::parse`] does.
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

/// What became of a code.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::{Certificate, Policy, Redemption, VerificationCode, algorithms::RING};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let leaf = include_bytes!("../tests/data/p256-leaf.der");
/// let code = VerificationCode::parse("7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638")?;
/// match code.redeem(&ca, leaf, 1_800_000_000, &Policy::new(RING)) {
///     Redemption::Spent { .. } => println!("proven, once it is stored that the code is gone"),
///     Redemption::Kept { report, code } => println!("{report}\ntry again with {}", code.digits()),
/// }
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it says whether the proof was accepted, and has the code that a refusal leaves"]
pub enum Redemption {
    /// The proof was refused: the code lives on.
    Kept {
        /// Why.
        report: Report<ProofFinding>,
        /// The code.
        code: VerificationCode,
    },
    /// The proof was accepted, and the code is gone.
    Spent {
        /// What was found on the way.
        report: Report<ProofFinding>,
    },
}
