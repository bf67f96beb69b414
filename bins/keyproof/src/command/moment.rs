//! Times and lifetimes as people write them.

use std::{str::FromStr, time::Duration};

use jiff::{Span, SpanRelativeTo};
use keyproof_store::Timestamp;

/// How long something is valid: `8h`, `30 days`, `P1D`, or `forever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime(pub(super) Option<Duration>);

impl FromStr for Lifetime {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "forever" {
            return Ok(Self(None));
        }
        match duration(text) {
            Some(duration) if !duration.is_zero() => Ok(Self(Some(duration))),
            _ => Err("a lifetime is like 8h, 30d or forever"),
        }
    }
}

/// A moment: RFC 3339, Unix seconds, or a duration ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    Ago(Duration),
    At(Timestamp),
}

impl Since {
    pub(super) fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(duration) => now.saturating_sub(duration),
            Self::At(moment) => moment,
        }
    }
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(seconds) = text.parse() {
            return Ok(Self::At(Timestamp::from_secs(seconds)));
        }
        if let Ok(moment) = text.parse::<jiff::Timestamp>() {
            // Nothing happened before 1970.
            let millis = u64::try_from(moment.as_millisecond()).unwrap_or(0);
            return Ok(Self::At(Timestamp::from_millis(millis)));
        }
        duration(text)
            .map(Self::Ago)
            .ok_or("a time is like 2026-01-31T12:00:00Z, 1767225600 or 2h (ago)")
    }
}

/// Parses a duration. A day has 24 hours; months and years vary, so they are refused.
fn duration(text: &str) -> Option<Duration> {
    let span = text.parse::<Span>().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    duration.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_as_people_write_them() {
        let of = |text: &str| text.parse::<Lifetime>().map(|lifetime| lifetime.0);
        let hours = |hours: u64| Ok(Some(Duration::from_secs(hours * 3600)));
        assert_eq!(of("8h"), hours(8));
        assert_eq!(of("1h30m"), Ok(Some(Duration::from_secs(5400))));
        assert_eq!(of("30d"), hours(30 * 24));
        assert_eq!(of("2 weeks"), hours(14 * 24));
        assert_eq!(of("P1DT1H"), hours(25));
        assert_eq!(of("forever"), Ok(None));
        for wrong in ["", "8", "-8h", "0s", "1y", "1mo", "soon", "never"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_are_absolute_or_ago() {
        let now = Timestamp::from_secs(1_700_000_000);
        let of = |text: &str| {
            text.parse::<Since>()
                .map(|since| since.moment(now).as_secs())
        };
        assert_eq!(of("1699999999"), Ok(1_699_999_999));
        assert_eq!(of("2023-11-14T22:13:20Z"), Ok(1_700_000_000));
        assert_eq!(of("2023-11-14T23:13:20+01:00"), Ok(1_700_000_000));
        assert_eq!(of("1h"), Ok(1_699_996_400));
        assert_eq!(of("1969-01-01T00:00:00Z"), Ok(0));
        assert!(of("yesterday").is_err());
    }
}
