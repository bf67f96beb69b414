//! Times in certificates. They range from the year 0 to 9999, although `der` and most clocks start in 1970.

use core::{fmt, time::Duration};

use der::{DateTime, Decode, ErrorKind, Reader, SliceReader, Tag, Tagged, asn1::AnyRef};

#[cfg(feature = "prover")]
use crate::X509Error;

/// 9999-12-31T23:59:59Z, the last possible time in a certificate. A clock in milliseconds has exceeded it since 1978.
pub(crate) const LAST_SECOND: u64 = 253_402_300_799;

/// The validity period of a certificate, both ends included (RFC 5280 section 4.1.2.5).
///
/// ```
/// use keyproof_x509::Validity;
///
/// let of_a_day = Validity::between(1_800_000_000, 1_800_086_399);
/// assert!(of_a_day.has_begun(1_800_000_000) && !of_a_day.has_ended(1_800_086_399)); // both ends belong to it
/// assert!(!of_a_day.has_begun(1_799_999_999) && of_a_day.has_ended(1_800_086_400));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Validity {
    /// The first valid second, counted from the Unix epoch; negative before 1970.
    pub not_before: i64,
    /// The last valid second, counted from the Unix epoch; at most the end of the year 9999.
    pub not_after: i64,
}

impl Validity {
    /// Creates a period from its first and last valid second, both counted from the Unix epoch.
    pub fn between(not_before: u64, not_after: u64) -> Self {
        Self {
            not_before: signed(not_before),
            not_after: signed(not_after),
        }
    }

    /// Returns whether the period has begun at `now`, in seconds since the Unix epoch.
    #[must_use = "it may not have begun"]
    pub fn has_begun(&self, now: u64) -> bool {
        self.has_begun_within(now, 0)
    }

    /// Returns whether the period has ended at `now`, in seconds since the Unix epoch.
    #[must_use = "it may have ended"]
    pub fn has_ended(&self, now: u64) -> bool {
        self.has_ended_beyond(now, 0)
    }

    /// Returns whether the period has begun if the clock may be slow by `skew` seconds.
    pub(crate) fn has_begun_within(&self, now: u64, skew: u64) -> bool {
        signed(now).saturating_add_unsigned(skew) >= self.not_before
    }

    /// Returns whether the period has ended even if the clock is fast by `skew` seconds.
    pub(crate) fn has_ended_beyond(&self, now: u64, skew: u64) -> bool {
        signed(now).saturating_sub_unsigned(skew) > self.not_after
    }

    /// Parses the period and returns whether it contains a GeneralizedTime before 2050, where RFC 5280 requires UTCTime. Both forms
    /// are accepted for any year, because some manufacturers always write GeneralizedTime.
    pub(crate) fn read(reader: &mut SliceReader<'_>) -> der::Result<(Self, bool)> {
        reader.sequence(|reader| {
            let (not_before, begins_early) = read_time(reader)?;
            let (not_after, ends_early) = read_time(reader)?;
            let validity = Self {
                not_before,
                not_after,
            };
            Ok((validity, begins_early || ends_early))
        })
    }
}

/// Converts seconds since the Unix epoch; too many become the latest time.
pub(crate) fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// The calendar repeats every 400 years, so a time before 1970 is computed 2000 years later.
const SHIFT_YEARS: u16 = 2000;
const SHIFT_SECONDS: i64 = 5 * 146_097 * 86_400;

/// The first year for which RFC 5280 requires GeneralizedTime.
const GENERALIZED_TIME_FROM: u16 = 2050;

pub(crate) fn read_time(reader: &mut SliceReader<'_>) -> der::Result<(i64, bool)> {
    let any = AnyRef::decode(reader)?;
    let digits = any.value().strip_suffix(b"Z").filter(|digits| {
        // RFC 5280 section 4.1.2.5: with seconds, without fractions, and in Greenwich Mean Time.
        digits.iter().all(u8::is_ascii_digit)
    });
    let read = digits.and_then(|digits| match (any.tag(), digits) {
        (Tag::UtcTime, [_, _, rest @ ..]) => {
            let year = match number(digits.get(..2)?) {
                year @ 50.. => 1900 + year,
                year => 2000 + year,
            };
            Some((seconds_of(year, rest)?, false))
        }
        (Tag::GeneralizedTime, [_, _, _, _, rest @ ..]) => {
            let year = number(digits.get(..4)?);
            Some((seconds_of(year, rest)?, year < GENERALIZED_TIME_FROM))
        }
        _ => None,
    });
    read.ok_or_else(|| match any.tag() {
        tag @ (Tag::UtcTime | Tag::GeneralizedTime) => reader.error(tag.value_error()),
        tag => reader.error(ErrorKind::TagUnexpected {
            expected: Some(Tag::UtcTime),
            actual: tag,
        }),
    })
}

/// Computes the seconds since the Unix epoch from a year and two digits each for month, day, hour, minute and second.
fn seconds_of(year: u16, rest: &[u8]) -> Option<i64> {
    let (pairs, []) = rest.as_chunks::<2>() else {
        return None;
    };
    let [month, day, hour, minute, second] = pairs else {
        return None;
    };
    let two = |pair: &[u8; 2]| u8::try_from(number(pair)).ok();
    let is_before_1970 = year < 1970;
    let year = if is_before_1970 {
        year + SHIFT_YEARS
    } else {
        year
    };
    let moment = DateTime::new(
        year,
        two(month)?,
        two(day)?,
        two(hour)?,
        two(minute)?,
        two(second)?,
    );
    let seconds = signed(moment.ok()?.unix_duration().as_secs());
    Some(if is_before_1970 {
        seconds - SHIFT_SECONDS
    } else {
        seconds
    })
}

/// Parses a number of at most four digits.
fn number(digits: &[u8]) -> u16 {
    digits
        .iter()
        .fold(0, |number, digit| number * 10 + u16::from(digit & 0x0F))
}

/// Encodes a time as RFC 5280 section 4.1.2.5 requires: UTCTime up to 2049, GeneralizedTime from 2050.
#[cfg(feature = "prover")]
pub(crate) fn to_time(seconds: i64) -> Result<x509_cert::time::Time, X509Error> {
    let since_epoch = u64::try_from(seconds).map_err(|_| X509Error::TimeOutOfRange { seconds })?;
    DateTime::from_unix_duration(Duration::from_secs(since_epoch))
        .map(Into::into)
        .map_err(|_| X509Error::TimeOutOfRange { seconds })
}

/// Seconds since the Unix epoch, displayed as RFC 3339 in UTC.
pub(crate) struct Moment(pub(crate) i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shift, shift_years) = match self.0 {
            0.. => (0, 0),
            _ => (SHIFT_SECONDS, SHIFT_YEARS),
        };
        let shifted = u64::try_from(self.0.saturating_add(shift)).ok();
        let time = shifted
            .and_then(|seconds| DateTime::from_unix_duration(Duration::from_secs(seconds)).ok());
        let Some(time) = time.filter(|time| time.year() >= shift_years) else {
            return write!(f, "{} s after 1970", self.0);
        };
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            time.year() - shift_years,
            time.month(),
            time.day(),
            time.hour(),
            time.minutes(),
            time.seconds()
        )
    }
}

impl From<u64> for Moment {
    fn from(seconds: u64) -> Self {
        Self(signed(seconds))
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec::Vec};

    use super::*;

    fn read(tag: u8, text: &str) -> Option<(i64, bool)> {
        let mut der = Vec::from([tag, u8::try_from(text.len()).unwrap()]);
        der.extend(text.as_bytes());
        read_time(&mut SliceReader::new(&der).unwrap()).ok()
    }

    const UTC: u8 = 0x17;
    const GENERALIZED: u8 = 0x18;

    #[test]
    fn utc_times_reach_from_1950_to_2049() {
        for (text, seconds, shown) in [
            ("500101000000Z", -631_152_000, "1950-01-01T00:00:00Z"),
            ("691231235959Z", -1, "1969-12-31T23:59:59Z"),
            ("600229120000Z", -310_478_400, "1960-02-29T12:00:00Z"),
            ("700101000000Z", 0, "1970-01-01T00:00:00Z"),
            ("491231235959Z", 2_524_607_999, "2049-12-31T23:59:59Z"),
        ] {
            assert_eq!(read(UTC, text), Some((seconds, false)), "{text}");
            assert_eq!(Moment(seconds).to_string(), shown);
        }
    }

    #[test]
    fn generalized_times_are_read_for_any_year_and_early_ones_told() {
        for (text, seconds, is_early) in [
            ("19500101000000Z", -631_152_000, true),
            ("20491231235959Z", 2_524_607_999, true),
            ("20500101000000Z", 2_524_608_000, false),
            ("99991231235959Z", 253_402_300_799, false),
            ("00000101000000Z", -62_167_219_200, true),
        ] {
            assert_eq!(read(GENERALIZED, text), Some((seconds, is_early)), "{text}");
        }
        assert_eq!(Moment(-62_167_219_200).to_string(), "0000-01-01T00:00:00Z");
        assert_eq!(Moment(253_402_300_799).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(
            Moment(i64::MIN).to_string(),
            alloc::format!("{} s after 1970", i64::MIN)
        );
    }

    #[test]
    fn other_forms_are_none() {
        for (tag, text) in [
            (UTC, "5001010000Z"),
            (UTC, "500101000000"),
            (UTC, "500101000000+0100"),
            (UTC, "590229000000Z"),
            (UTC, "500101000060Z"),
            (UTC, "50010100000:Z"),
            (UTC, ""),
            (UTC, "Z"),
            (GENERALIZED, "500101000000Z"),
            (GENERALIZED, "19500101000000.5Z"),
            (GENERALIZED, "1950010100Z"),
            (0x0C, "500101000000Z"),
        ] {
            assert_eq!(read(tag, text), None, "{text}");
        }
    }
}
