//! Amounts of money in GNU Taler's notation.

use core::{fmt, str::FromStr};

use crate::OtpError;

/// An amount of money as GNU Taler writes it: `CUR:1.23`.
///
/// The text is a currency of 1 to 11 letters A to Z, a colon, a decimal number up to 2^52, and
/// optionally a point with 1 to 8 decimals. The whole part may have leading zeros, and may be
/// missing before a point (`EUR:.5`). Spaces and signs are rejected. Different spellings of one
/// amount are equal, and `Display` writes the shortest one with a whole part: `EUR:01.50` becomes
/// `EUR:1.5`.
///
/// ```
/// use keyproof_otp::pos::Amount;
///
/// let price: Amount = "EUR:01.50".parse()?;
/// assert_eq!((price.currency(), price.value(), price.fraction()), ("EUR", 1, 50_000_000));
/// assert_eq!(price.to_string(), "EUR:1.5");
/// assert_eq!("1.50 EUR".parse::<Amount>().unwrap_err().to_string(), "the amount's currency is not 1 to 11 letters A-Z and a colon (byte 0)");
/// # Ok::<(), keyproof_otp::OtpError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Amount {
    /// ASCII, padded with zeros: at least the last byte is zero.
    currency: [u8; Self::CURRENCY_FIELD],
    value: u64,
    /// In units of 10^-8.
    fraction: u32,
}

impl Amount {
    /// The largest whole part, 2^52.
    pub const MAX_VALUE: u64 = 1 << 52;
    /// The largest number of decimals.
    pub const MAX_DECIMALS: u8 = 8;

    const MAX_LETTERS: usize = 11;
    const CURRENCY_FIELD: usize = Self::MAX_LETTERS + 1;

    /// The currency's letters.
    pub fn currency(&self) -> &str {
        let letters = self
            .currency
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        core::str::from_utf8(letters).unwrap_or_default()
    }

    /// The whole part, in units of the currency.
    pub const fn value(&self) -> u64 {
        self.value
    }

    /// The fraction, in units of 10^-8: 0 to 99,999,999.
    pub const fn fraction(&self) -> u32 {
        self.fraction
    }

    /// Encodes the amount in network byte order, as Taler does.
    pub(crate) fn to_network_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let fields = self.value.to_be_bytes().into_iter();
        let fields = fields
            .chain(self.fraction.to_be_bytes())
            .chain(self.currency);
        bytes
            .iter_mut()
            .zip(fields)
            .for_each(|(byte, field)| *byte = field);
        bytes
    }
}

impl FromStr for Amount {
    type Err = OtpError;

    /// Fails by [`AmountCurrency`](OtpError::AmountCurrency),
    /// [`AmountFraction`](OtpError::AmountFraction) or [`AmountValue`](OtpError::AmountValue).
    fn from_str(text: &str) -> Result<Self, OtpError> {
        let letters = text
            .bytes()
            .take_while(u8::is_ascii_uppercase)
            .count()
            .min(Self::MAX_LETTERS);
        let (name, rest) = text.split_at(letters);
        let number = rest.strip_prefix(':').filter(|_| letters > 0);
        let number = number.ok_or(OtpError::AmountCurrency { at: letters })?;
        let mut currency = [0; Self::CURRENCY_FIELD];
        currency
            .iter_mut()
            .zip(name.bytes())
            .for_each(|(field, letter)| *field = letter);

        let number_at = letters + 1;
        let (whole, decimals) = match number.split_once('.') {
            Some((whole, decimals)) => (whole, Some((decimals, number_at + whole.len() + 1))),
            None => (number, None),
        };
        if whole.is_empty() && decimals.is_none() {
            return Err(OtpError::AmountValue { at: number_at });
        }
        let value = parse_whole(whole, number_at)?;
        let fraction = decimals.map_or(Ok(0), |(digits, at)| parse_decimals(digits, at))?;
        Ok(Self {
            currency,
            value,
            fraction,
        })
    }
}

/// Parses digits that begin at byte `start` of the amount. An empty text is zero.
fn parse_whole(digits: &str, start: usize) -> Result<u64, OtpError> {
    digits
        .bytes()
        .enumerate()
        .try_fold(0_u64, |value, (index, byte)| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
            digit
                .map(|digit| value * 10 + digit)
                // Checked at every digit, so that the next one cannot overflow.
                .filter(|value| *value <= Amount::MAX_VALUE)
                .ok_or(OtpError::AmountValue { at: start + index })
        })
}

/// Parses 1 to 8 decimals that begin at byte `start` of the amount, in units of 10^-8.
fn parse_decimals(digits: &str, start: usize) -> Result<u32, OtpError> {
    if digits.is_empty() {
        return Err(OtpError::AmountFraction { at: start });
    }
    let mut unit = 10_u32.pow(Amount::MAX_DECIMALS.into());
    digits
        .bytes()
        .enumerate()
        .try_fold(0, |fraction, (index, byte)| {
            unit /= 10;
            let digit = (unit > 0 && byte.is_ascii_digit()).then(|| u32::from(byte - b'0'));
            digit
                .map(|digit| fraction + digit * unit)
                .ok_or(OtpError::AmountFraction { at: start + index })
        })
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.currency(), self.value)?;
        if self.fraction == 0 {
            return Ok(());
        }
        let mut decimals = usize::from(Self::MAX_DECIMALS);
        let mut fraction = self.fraction;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            decimals -= 1;
        }
        write!(f, ".{fraction:0decimals$}")
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Amount({self})")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl serde::de::Visitor<'_> for Text {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount like EUR:1.23")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Amount, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}
