//! Moments, as tables have them.

use jiff::tz::TimeZone;
use keyproof_service::Timestamp;

/// To the minute.
pub(super) fn moment(at: Timestamp) -> String {
    moment_of(seconds(at))
}

/// To the second.
pub(super) fn second(at: Timestamp) -> String {
    shown(seconds(at), "%Y-%m-%d %H:%M:%S UTC")
}

/// To the minute, of seconds since the Unix epoch.
pub(super) fn moment_of(seconds: i64) -> String {
    shown(seconds, "%Y-%m-%d %H:%M UTC")
}

fn seconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_secs()).unwrap_or(i64::MAX)
}

fn shown(seconds: i64, format: &str) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    at.to_zoned(TimeZone::UTC).strftime(format).to_string()
}
