//! Moments in RFC 3339, from 1970 to the end of the year 9999.
//!
//! They are converted by the calendar, because `jiff`'s range ends a day before the year 9999 does.

use std::fmt;

use jiff::{SignedDuration, civil::DateTime, fmt::temporal::Pieces, tz::Offset};
use keyproof_store::Timestamp;

/// The last millisecond that RFC 3339 can express.
const LAST: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// The first moment of a [`Timestamp`].
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// The zero of Go's `time.Time`, which is in UTC.
const ZERO_OF_GO: DateTime = DateTime::constant(1, 1, 1, 0, 0, 0, 0);

/// A moment in RFC 3339, in UTC with milliseconds, as printed by commands, the journal and exports.
pub(crate) struct Rfc3339(pub(crate) Timestamp);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 3339 cannot express anything after the year 9999.
        if self.0 > LAST {
            return write!(f, "{}", self.0.as_secs());
        }
        write!(f, "{:.3}Z", utc(self.0))
    }
}

/// Returns a moment's date and time in UTC. After the year 9999 it returns that year's last millisecond.
pub(crate) fn utc(at: Timestamp) -> DateTime {
    // This fits: the last one has 15 digits.
    let millis = i64::try_from(at.min(LAST).as_millis()).unwrap_or(i64::MAX);
    EPOCH.saturating_add(SignedDuration::from_millis(millis))
}

/// Parses a moment with date, time and offset. A moment before 1970 becomes the first [`Timestamp`], and one whose
/// offset puts it after 9999 the last moment of that year.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    let (local, offset) = local(text)?;
    Some(at(local, offset))
}

/// Also accepts a moment in UTC without an offset, or a date, which begins at midnight.
pub(crate) fn moment_or_date(text: &str) -> Option<Timestamp> {
    let pieces = Pieces::parse(text).ok()?;
    let offset = match pieces.to_numeric_offset() {
        Some(offset) => offset,
        // A time in a named zone is not in UTC.
        None if text.contains('[') => return None,
        None => Offset::UTC,
    };
    let midnight = pieces.date().at(0, 0, 0, 0);
    let local = pieces.time().map(|time| pieces.date().to_datetime(time));
    Some(at(local.unwrap_or(midnight), offset))
}

/// Whether a text has, in any form, the zero value of Go's `time.Time`, which Go writes if no time is set.
pub(crate) fn is_zero_of_go(text: &str) -> bool {
    let zero = since_epoch(ZERO_OF_GO, Offset::UTC);
    local(text).is_some_and(|(local, offset)| since_epoch(local, offset) == zero)
}

fn local(text: &str) -> Option<(DateTime, Offset)> {
    let pieces = Pieces::parse(text).ok()?;
    let local = pieces.date().to_datetime(pieces.time()?);
    Some((local, pieces.to_numeric_offset()?))
}

fn at(local: DateTime, offset: Offset) -> Timestamp {
    let millis = u64::try_from(since_epoch(local, offset).as_millis()).unwrap_or(0);
    Timestamp::from_millis(millis).min(LAST)
}

/// The time since the epoch; negative before 1970.
fn since_epoch(local: DateTime, offset: Offset) -> SignedDuration {
    let offset = SignedDuration::from_secs(i64::from(offset.seconds()));
    local.duration_since(EPOCH).saturating_sub(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_printed_to_the_millisecond() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_700_000_000_007, "2023-11-14T22:13:20.007Z"),
            (253_402_300_799_000, "9999-12-31T23:59:59.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "253402300800"),
        ] {
            let moment = Rfc3339(Timestamp::from_millis(millis));
            assert_eq!(moment.to_string(), text);
        }
        assert_eq!(Rfc3339(Timestamp::MAX).to_string(), "9223372036854775");
        let last = utc(Timestamp::MAX).to_string();
        assert_eq!(last, "9999-12-31T23:59:59.999");
    }

    #[test]
    fn moments_are_read_to_the_end_of_9999() {
        for (text, millis) in [
            ("2021-05-29T00:00:00.000Z", 1_622_246_400_000),
            ("2021-05-29T02:00:00+02:00", 1_622_246_400_000),
            ("2021-05-29T02:00:00.0079+02:00", 1_622_246_400_007),
            ("1969-07-20T20:17:40Z", 0),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
            ("9999-12-31T23:59:59+02:00", 253_402_293_599_000),
            ("9999-12-31T23:59:59-02:00", 253_402_300_799_999),
        ] {
            let at = Some(Timestamp::from_millis(millis));
            assert_eq!(moment(text), at, "{text}");
            assert_eq!(moment_or_date(text), at, "{text}");
        }
        for text in ["2021-05-29", "2021-05-29T00:00:00"] {
            let at = Some(Timestamp::from_secs(1_622_246_400));
            assert_eq!(moment(text), None, "{text}");
            assert_eq!(moment_or_date(text), at, "{text}");
        }
        for none in [
            "",
            "yesterday",
            "9999-12-32",
            "2027-05-29[Europe/Berlin]",
            "2027-05-29T13:04:49[Europe/Berlin]",
        ] {
            assert_eq!(moment(none), None, "{none}");
            assert_eq!(moment_or_date(none), None, "{none}");
        }
    }

    #[test]
    fn the_zero_of_go_is_one_moment_in_any_form() {
        for zero in [
            "0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00.000Z",
            "0001-01-01T00:00:00+00:00",
            "0001-01-01T02:00:00+02:00",
        ] {
            assert!(is_zero_of_go(zero), "{zero}");
        }
        for other in [
            "",
            "0001-01-01",
            "0001-01-01T00:00:00.001Z",
            "0001-01-01T00:00:00+02:00",
            "1970-01-01T00:00:00Z",
        ] {
            assert!(!is_zero_of_go(other), "{other}");
        }
    }
}
