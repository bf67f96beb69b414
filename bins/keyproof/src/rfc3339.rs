//! Times as commands, the journal and exports print them.

use std::fmt;

use keyproof_store::Timestamp;

/// A moment in RFC 3339, in UTC with milliseconds.
pub(crate) struct Rfc3339(pub(crate) Timestamp);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(moment) => write!(f, "{moment:.3}"),
            // Later than the year 9999, which RFC 3339 cannot write.
            Err(_) => write!(f, "{}", self.0.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_printed_to_the_millisecond() {
        assert_eq!(
            Rfc3339(Timestamp::from_millis(1_700_000_000_007)).to_string(),
            "2023-11-14T22:13:20.007Z"
        );
        assert_eq!(Rfc3339(Timestamp::MAX).to_string(), "9223372036854775");
    }
}
