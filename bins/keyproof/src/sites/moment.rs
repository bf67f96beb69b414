//! Moments on pages: in UTC for people, and as the `datetime` of HTML's `time` element for programs.
//!
//! They are formatted digit by digit, because a table has one in each row, and a format string would be parsed for
//! each.

use std::fmt;

use askama::{FastWritable, Values};
use jiff::{SignedDuration, civil};
use keyproof_service::Timestamp;

/// A moment, displayed for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// The date and the time to the second, with a space between them.
    text: [u8; 19],
    exact: Exact,
}

/// A moment, displayed for programs.
pub(super) struct Datetime(Moment);

/// The precision of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exact {
    Minute,
    Second,
}

/// Formats a time to the minute.
pub(super) fn moment(at: Timestamp) -> Moment {
    moment_of(seconds(at))
}

/// Formats a time to the second.
pub(super) fn second(at: Timestamp) -> Moment {
    Moment::of(seconds(at), Exact::Second)
}

/// Formats seconds since the Unix epoch to the minute.
pub(super) fn moment_of(seconds: i64) -> Moment {
    Moment::of(seconds, Exact::Minute)
}

fn seconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_secs()).unwrap_or(i64::MAX)
}

impl Moment {
    /// Converts by the calendar, because `jiff`'s range ends a day before the year 9999 does, and certificates without
    /// an end are valid to its last second (RFC 5280, section 4.1.2.5).
    fn of(seconds: i64, exact: Exact) -> Self {
        let epoch = civil::date(1970, 1, 1).at(0, 0, 0, 0);
        let at = epoch.saturating_add(SignedDuration::from_secs(seconds));
        let [century, year] =
            [at.year() / 100, at.year() % 100].map(|part| u8::try_from(part).unwrap_or_default());
        let others = [at.month(), at.day(), at.hour(), at.minute(), at.second()];
        let [month, day, hour, minute, second] = others.map(i8::unsigned_abs);
        let mut text = *b"0000-00-00 00:00:00";
        for (place, number) in [
            (0, century),
            (2, year),
            (5, month),
            (8, day),
            (11, hour),
            (14, minute),
            (17, second),
        ] {
            if let Some([tens, ones]) = text.get_mut(place..place + 2) {
                *tens += number / 10 % 10;
                *ones += number % 10;
            }
        }
        Self { text, exact }
    }

    /// Returns the text for the `datetime` of a `time` element.
    pub(super) const fn datetime(self) -> Datetime {
        Datetime(self)
    }

    /// Writes the date, `between`, the time and `end`.
    fn write(self, to: &mut dyn fmt::Write, between: u8, end: &str) -> fmt::Result {
        let mut text = self.text;
        text[10] = between;
        let told = match self.exact {
            Exact::Minute => &text[..16],
            Exact::Second => &text[..],
        };
        to.write_str(str::from_utf8(told).unwrap_or_default())?;
        to.write_str(end)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, b' ', " UTC")
    }
}

impl fmt::Display for Datetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, b'T', "Z")
    }
}

/// Templates write it without a formatter, which costs more than the text.
impl FastWritable for Moment {
    fn write_into(&self, to: &mut dyn fmt::Write, _: &dyn Values) -> askama::Result<()> {
        Ok(self.write(to, b' ', " UTC")?)
    }
}

impl FastWritable for Datetime {
    fn write_into(&self, to: &mut dyn fmt::Write, _: &dyn Values) -> askama::Result<()> {
        Ok(self.0.write(to, b'T', "Z")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_to_people_and_to_programs() {
        for (seconds, exact, text, datetime) in [
            (
                1_700_000_000,
                Exact::Minute,
                "2023-11-14 22:13 UTC",
                "2023-11-14T22:13Z",
            ),
            (
                1_700_000_000,
                Exact::Second,
                "2023-11-14 22:13:20 UTC",
                "2023-11-14T22:13:20Z",
            ),
            (
                951_786_061,
                Exact::Second,
                "2000-02-29 01:01:01 UTC",
                "2000-02-29T01:01:01Z",
            ),
            (
                -1,
                Exact::Minute,
                "1969-12-31 23:59 UTC",
                "1969-12-31T23:59Z",
            ),
            // The last second that a certificate can have, and the next one.
            (
                253_402_300_799,
                Exact::Second,
                "9999-12-31 23:59:59 UTC",
                "9999-12-31T23:59:59Z",
            ),
            (
                i64::MAX,
                Exact::Minute,
                "9999-12-31 23:59 UTC",
                "9999-12-31T23:59Z",
            ),
        ] {
            let moment = Moment::of(seconds, exact);
            assert_eq!(moment.to_string(), text);
            assert_eq!(moment.datetime().to_string(), datetime);
        }
    }
}
