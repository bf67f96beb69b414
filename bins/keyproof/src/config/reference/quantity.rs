//! Times and sizes as people write them, for keys whose field is a number with its unit in its name.

use bytesize::ByteSize;
use jiff::{Span, SpanRelativeTo};

/// The unit of a number, from the end of its key's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// `…_bytes`
    Bytes,
    /// `…_kib`
    Kibibytes,
    /// `…_ms`
    Milliseconds,
    /// `…_s`
    Seconds,
}

/// The maximum: a field has 32 bits.
const MOST: u64 = 0xffff_ffff;

/// A text that is not a valid time or size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongQuantity {
    /// Zero, or more than a field can store.
    #[error("expected more than zero, and at most {most} {0}", most = MOST)]
    Range(&'static str),
    /// Not a size, or not a whole number of the key's unit.
    #[error("expected a size with its unit, in whole {0}, such as \"1MiB\"")]
    Size(&'static str),
    /// Not a time, or not a whole number of the key's unit.
    #[error("expected a time with its unit, in whole {0}, such as \"10s\" or \"5m\"")]
    Time(&'static str),
}

impl Quantity {
    /// Splits a field's name into the name without its unit, and the unit.
    pub fn of(field: &str) -> Option<(&str, Self)> {
        [
            ("_bytes", Self::Bytes),
            ("_kib", Self::Kibibytes),
            ("_ms", Self::Milliseconds),
            ("_s", Self::Seconds),
        ]
        .into_iter()
        .find_map(|(end, quantity)| Some((field.strip_suffix(end)?, quantity)))
    }

    /// The kind of value, in words.
    pub(super) const fn form(self) -> &'static str {
        match self {
            Self::Bytes | Self::Kibibytes => "size",
            Self::Milliseconds | Self::Seconds => "time",
        }
    }

    /// The unit, in words.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Kibibytes => "KiB",
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
        }
    }

    /// Parses a text such as `10s`, `1m 30s` or `1MiB`. A day has 24 hours.
    ///
    /// # Errors
    ///
    /// [`WrongQuantity`] if the text is not a time or size, has no unit, is not a whole number of this quantity's unit,
    /// or is out of range.
    pub fn read(self, text: &str) -> Result<u64, WrongQuantity> {
        let (amount, unit) = match self {
            Self::Bytes => (bytes(text), 1),
            Self::Kibibytes => (bytes(text), 1024),
            Self::Milliseconds => (milliseconds(text), 1),
            Self::Seconds => (milliseconds(text), 1000),
        };
        let number = amount
            .filter(|amount| amount % unit == 0)
            .map(|amount| amount / unit)
            .ok_or_else(|| self.wrong())?;
        match number {
            1..=MOST => Ok(number),
            _ => Err(WrongQuantity::Range(self.unit())),
        }
    }

    /// Returns the error for a value of the wrong kind.
    pub const fn wrong(self) -> WrongQuantity {
        match self {
            Self::Bytes | Self::Kibibytes => WrongQuantity::Size(self.unit()),
            Self::Milliseconds | Self::Seconds => WrongQuantity::Time(self.unit()),
        }
    }

    /// Formats the number in the largest unit in which it is whole.
    pub fn write(self, number: u64) -> String {
        const SIZES: [(&str, u64); 4] = [
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
            ("B", 1),
        ];
        const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        let (units, one) = match self {
            Self::Bytes => (SIZES, 1),
            Self::Kibibytes => (SIZES, 1024),
            Self::Milliseconds => (TIMES, 1),
            Self::Seconds => (TIMES, 1000),
        };
        let amount = number.saturating_mul(one);
        let mut fitting = units.iter().filter(|(_, unit)| amount % unit == 0);
        match fitting.next() {
            Some((name, unit)) if amount > 0 => format!("{}{name}", amount / unit),
            _ => format!("0{}", units[3].0),
        }
    }
}

/// A number without a unit is neither a time nor a size.
fn has_unit(text: &str) -> bool {
    text.chars().any(char::is_alphabetic)
}

fn bytes(text: &str) -> Option<u64> {
    let size = text.parse::<ByteSize>().ok()?;
    has_unit(text).then(|| size.as_u64())
}

fn milliseconds(text: &str) -> Option<u64> {
    let span: Span = text.parse().ok()?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let is_whole = time.subsec_nanos() % 1_000_000 == 0;
    u64::try_from(time.as_millis()).ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_so_that_it_is_read_again() {
        for (quantity, number, text) in [
            (Quantity::Bytes, 1 << 20, "1MiB"),
            (Quantity::Bytes, 1000, "1000B"),
            (Quantity::Kibibytes, 19_456, "19MiB"),
            (Quantity::Milliseconds, 10_000, "10s"),
            (Quantity::Milliseconds, 1500, "1500ms"),
            (Quantity::Seconds, 300, "5m"),
            (Quantity::Seconds, 86_400, "24h"),
        ] {
            assert_eq!(quantity.write(number), text);
            assert_eq!(quantity.read(text), Ok(number), "{text}");
        }
        // A default may be zero, and is shown.
        assert_eq!(Quantity::Seconds.write(0), "0ms");
    }

    #[test]
    fn what_people_write_is_read_and_what_has_no_unit_or_is_not_whole_is_not() {
        for (quantity, text, number) in [
            (Quantity::Milliseconds, "1.5s", 1500),
            (Quantity::Milliseconds, "1m 30s", 90_000),
            (Quantity::Seconds, "7d", 604_800),
            (Quantity::Seconds, "2 weeks", 1_209_600),
            (Quantity::Bytes, "64 KiB", 65_536),
            (Quantity::Bytes, "1.5MiB", 1_572_864),
            (Quantity::Bytes, "1MB", 1_000_000),
        ] {
            assert_eq!(quantity.read(text), Ok(number), "{text}");
        }
        for (quantity, text) in [
            (Quantity::Milliseconds, "0s"),
            (Quantity::Milliseconds, "1200h"),
            (Quantity::Seconds, "2000000h"),
            (Quantity::Bytes, "4GiB"),
        ] {
            let range = Err(WrongQuantity::Range(quantity.unit()));
            assert_eq!(quantity.read(text), range, "{text}");
        }
        for (quantity, text) in [
            (Quantity::Milliseconds, "10"),
            (Quantity::Milliseconds, "1us"),
            (Quantity::Seconds, "1500ms"),
            (Quantity::Seconds, "-5s"),
            (Quantity::Seconds, "1 month"),
            (Quantity::Seconds, "soon"),
            (Quantity::Bytes, "1024"),
            (Quantity::Bytes, ""),
            (Quantity::Bytes, "10s"),
            (Quantity::Kibibytes, "1B"),
        ] {
            assert_eq!(quantity.read(text), Err(quantity.wrong()), "{text}");
        }
    }
}
