//! Confirmation codes of GNU Taler's points of sale: proof, on an offline device, that an order
//! was paid.
//!
//! Seller and backend share a key. The backend shows the buyer five codes, for the current step of
//! 30 seconds and two steps on either side. The seller's device computes its own code, to be
//! compared with them. With [`PosAlgorithm::TotpWithPrice`] the key is derived from the price too,
//! so that codes for a cheaper order do not match. The codes always have 8 digits and use
//! HMAC-SHA-1.
//!
//! ```
//! use keyproof_otp::pos::{Amount, PosAlgorithm, confirmation_codes};
//! use keyproof_otp::{Base32Profile, Secret};
//!
//! let key = Secret::from_base32("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", Base32Profile::Taler)?;
//! let price: Amount = "EUR:1.23".parse()?;
//! let codes = confirmation_codes(key.as_bytes(), PosAlgorithm::TotpWithPrice, Some(&price), 1_700_000_000);
//! assert_eq!(codes.unwrap().to_string(), "11189900\n65266997\n89090266\n62934818\n61670786");
//! # Ok::<(), keyproof_otp::OtpError>(())
//! ```

use core::{fmt, str::FromStr};

use hkdf::Hkdf;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::{Algorithm, Code, Digits, Hotp, OtpError, Totp, totp::DEFAULT_PERIOD};

pub use crate::amount::Amount;

/// How a point of sale confirms payments. Numbers and names are those of Taler's merchant API.
///
/// ```
/// use keyproof_otp::pos::PosAlgorithm;
///
/// assert_eq!(PosAlgorithm::try_from(2)?, PosAlgorithm::TotpWithPrice);
/// assert_eq!("totp_without_price".parse::<PosAlgorithm>()?.number(), 1);
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "SCREAMING_SNAKE_CASE"))]
pub enum PosAlgorithm {
    /// 0, `NONE`: no codes.
    None = 0,
    /// 1, `TOTP_WITHOUT_PRICE`: TOTP with the shared key.
    TotpWithoutPrice = 1,
    /// 2, `TOTP_WITH_PRICE`: TOTP with a key derived from the shared key and the price.
    TotpWithPrice = 2,
}

impl PosAlgorithm {
    const ALL: [Self; 3] = [Self::None, Self::TotpWithoutPrice, Self::TotpWithPrice];

    /// The name in Taler's merchant API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::TotpWithoutPrice => "TOTP_WITHOUT_PRICE",
            Self::TotpWithPrice => "TOTP_WITH_PRICE",
        }
    }

    /// The number in Taler's merchant API.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for PosAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl TryFrom<u8> for PosAlgorithm {
    type Error = OtpError;

    /// Reads [`PosAlgorithm::number`]. Fails by
    /// [`UnknownPosAlgorithm`](OtpError::UnknownPosAlgorithm).
    fn try_from(number: u8) -> Result<Self, OtpError> {
        let mut all = Self::ALL.into_iter();
        all.find(|algorithm| algorithm.number() == number)
            .ok_or(OtpError::UnknownPosAlgorithm)
    }
}

impl FromStr for PosAlgorithm {
    type Err = OtpError;

    /// Parses [`PosAlgorithm::name`], ignoring ASCII case. Fails by
    /// [`UnknownPosAlgorithm`](OtpError::UnknownPosAlgorithm).
    fn from_str(name: &str) -> Result<Self, OtpError> {
        let mut all = Self::ALL.into_iter();
        all.find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
            .ok_or(OtpError::UnknownPosAlgorithm)
    }
}

/// Returns the codes that confirm a payment made at `now`, in seconds since the Unix epoch. A
/// payment is confirmed if the code that is shown for it is one of them
/// ([`Confirmation::contains`]).
///
/// `key` is the shared key of any length, as [`Base32Profile::Taler`] decodes it; anybody can
/// compute the codes of an empty one. Only [`PosAlgorithm::TotpWithPrice`] uses `price`: the codes
/// of the other algorithm are the same for every price. Returns `None` if the algorithm is
/// [`None`](PosAlgorithm::None), or if it needs a price and there is none.
///
/// [`Base32Profile::Taler`]: crate::Base32Profile::Taler
#[must_use = "a payment is confirmed only by one of the codes"]
pub fn confirmation_codes(
    key: &[u8],
    algorithm: PosAlgorithm,
    price: Option<&Amount>,
    now: u64,
) -> Option<Confirmation> {
    let hotp = match algorithm {
        PosAlgorithm::None => return None,
        PosAlgorithm::TotpWithoutPrice => hotp(key),
        PosAlgorithm::TotpWithPrice => hotp(price_key(key, price?).as_slice()),
    };
    let totp = Totp::from(hotp);
    let period = DEFAULT_PERIOD.get();
    // Shifts the time and not the step, and saturates at both ends: near 0 the first codes are
    // equal.
    let times = [
        now.saturating_sub(2 * period),
        now.saturating_sub(period),
        now,
        now.saturating_add(period),
        now.saturating_add(2 * period),
    ];
    Some(Confirmation(times.map(|time| totp.code(time))))
}

fn hotp(key: &[u8]) -> Hotp {
    Hotp::from_key(key, Algorithm::Sha1, Digits::EIGHT)
}

/// Derives the key for one price by HKDF (RFC 5869) with the amount as salt. It extracts with
/// HMAC-SHA-512 and expands with HMAC-SHA-256 to 64 bytes, without info.
#[expect(
    clippy::expect_used,
    reason = "both lengths are constants within HKDF's limits"
)]
fn price_key(key: &[u8], price: &Amount) -> Zeroizing<[u8; 64]> {
    let mut derived = Zeroizing::new([0; 64]);
    let (mut prk, _) = Hkdf::<Sha512>::extract(Some(&price.to_network_bytes()), key);
    Hkdf::<Sha256>::from_prk(&prk)
        .expect("64 bytes are no less than the 32 of SHA-256")
        .expand(&[], derived.as_mut_slice())
        .expect("64 bytes are no more than 255 times 32");
    zeroize::Zeroize::zeroize(prk.as_mut_slice());
    derived
}

/// Five codes, oldest first. `Display` writes one code a line, without a trailing newline.
///
/// ```
/// use keyproof_otp::pos::{PosAlgorithm, confirmation_codes};
///
/// let shown = confirmation_codes(b"12345678901234567890", PosAlgorithm::TotpWithoutPrice, None, 59).unwrap();
/// assert_eq!(shown.codes()[2].to_string(), "94287082"); // of the current step
/// assert_eq!(shown.to_string().lines().count(), 5);
/// assert!(shown.contains(&shown.codes()[4]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation([Code; 5]);

impl Confirmation {
    /// The codes, from two steps before the current one to two steps after it.
    pub const fn codes(&self) -> &[Code; 5] {
        &self.0
    }

    /// Whether `code` is one of the codes, so that it confirms the payment. All five are compared,
    /// each in constant time. A code can be shown again: accept each one once.
    #[must_use = "only one of the codes confirms the payment"]
    pub fn contains(&self, code: &Code) -> bool {
        let nothing = Choice::from(0);
        let found = self
            .0
            .iter()
            .fold(nothing, |found, own| found | own.ct_eq(code));
        found.into()
    }
}

impl fmt::Display for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = &self.0;
        write!(f, "{first}")?;
        rest.iter().try_for_each(|code| write!(f, "\n{code}"))
    }
}
