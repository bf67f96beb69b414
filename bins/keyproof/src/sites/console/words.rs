//! Times and errors, as the console says them.

use jiff::tz::TimeZone;
use keyproof_store::Timestamp;

/// A moment, as a table has it.
pub(super) fn moment(at: Timestamp) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    moment_of(seconds)
}

/// The same to the second.
pub(super) fn second(at: Timestamp) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    shown(seconds, "%Y-%m-%d %H:%M:%S UTC")
}

/// A moment, of seconds since the Unix epoch.
pub(super) fn moment_of(seconds: i64) -> String {
    shown(seconds, "%Y-%m-%d %H:%M UTC")
}

fn shown(seconds: i64, format: &str) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    at.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

/// The text of an error as a sentence.
pub(super) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(char::to_uppercase);
    let first = first.into_iter().flatten();
    first.chain(characters).chain(['.']).collect()
}
