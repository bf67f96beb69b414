//! Moments, as pages have them: for people in UTC, and beside that as a `time` element of HTML has them for programs.
//!
//! They are written field by field, for a table has one in each row and a pattern would be read anew for each.

use std::fmt;

use jiff::{
    SignedDuration,
    civil::{self, DateTime},
};
use keyproof_service::Timestamp;

/// A moment, whose text is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    at: DateTime,
    exact: Exact,
}

/// A moment, whose text is for programs.
pub(super) struct Datetime(Moment);

/// To what a moment is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exact {
    Minute,
    Second,
}

/// To the minute.
pub(super) fn moment(at: Timestamp) -> Moment {
    moment_of(seconds(at))
}

/// To the second.
pub(super) fn second(at: Timestamp) -> Moment {
    Moment::of(seconds(at), Exact::Second)
}

/// To the minute, of seconds since the Unix epoch.
pub(super) fn moment_of(seconds: i64) -> Moment {
    Moment::of(seconds, Exact::Minute)
}

fn seconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_secs()).unwrap_or(i64::MAX)
}

impl Moment {
    /// By the calendar, for `jiff`'s moments end a day before the year 9999 does, and certificates without an end are valid to
    /// its last second (RFC 5280, section 4.1.2.5).
    fn of(seconds: i64, exact: Exact) -> Self {
        let epoch = civil::date(1970, 1, 1).at(0, 0, 0, 0);
        let at = epoch.saturating_add(SignedDuration::from_secs(seconds));
        Self { at, exact }
    }

    /// As a `time` element has it in its `datetime`.
    pub(super) const fn datetime(self) -> Datetime {
        Datetime(self)
    }

    /// With this between the date and the time, and that at the end.
    fn write(self, f: &mut fmt::Formatter<'_>, between: char, end: &str) -> fmt::Result {
        let (year, month, day) = (self.at.year(), self.at.month(), self.at.day());
        let (hour, minute) = (self.at.hour(), self.at.minute());
        write!(
            f,
            "{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}"
        )?;
        if self.exact == Exact::Second {
            write!(f, ":{:02}", self.at.second())?;
        }
        f.write_str(end)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, ' ', " UTC")
    }
}

impl fmt::Display for Datetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, 'T', "Z")
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
            // The last second that there is in a certificate, and what is past it.
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
