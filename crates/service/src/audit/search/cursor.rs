//! Where a search continues on its next page.

use std::{fmt, str::FromStr};

use keyproof_store::{Key, Timestamp};

use crate::audit::{EventKey, ParseEventKeyError};

/// Where a search continues. Its text is the time in milliseconds. If some events of that time were already returned, a hyphen and
/// the last of them follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Events before this time.
    pub(in crate::audit) moment: Timestamp,
    /// First, the events at this time that follow this one in the search: the index has them in order of their keys, the trail is
    /// read in the reverse order.
    pub(in crate::audit) rest: Option<EventKey>,
}

impl Cursor {
    /// Continues with the events before this time.
    pub const fn moment(moment: Timestamp) -> Self {
        Self { moment, rest: None }
    }

    /// Returns the end of the part of the trail that is still to be read.
    pub(super) fn end(&self) -> Key {
        let EventKey(end) = match &self.rest {
            Some(rest) => rest.clone(),
            None => EventKey::start(self.moment),
        };
        end
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.moment.as_millis())?;
        match &self.rest {
            Some(rest) => write!(f, "-{rest}"),
            None => Ok(()),
        }
    }
}

/// The error for a text that is not the position of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not the position of a page")]
pub struct ParseCursorError;

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let (moment, rest) = match text.split_once('-') {
            Some((moment, rest)) => (moment, Some(rest)),
            None => (text, None),
        };
        let moment = moment.parse().map_err(|_| ParseCursorError)?;
        let rest = rest.map(str::parse::<EventKey>).transpose();
        Ok(Self {
            moment: Timestamp::from_millis(moment),
            rest: rest.map_err(|ParseEventKeyError| ParseCursorError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_page_goes_on_is_read_as_it_is_written() {
        for text in [
            "0",
            "1700000000000",
            "1-0000018bcfe56800-000102030405060708090a0b0c0d0e0f",
        ] {
            assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        }
        for wrong in ["", "x", "-1", "1-", "1-2", "1-0000018bcfe56800"] {
            assert_eq!(wrong.parse::<Cursor>(), Err(ParseCursorError), "{wrong}");
        }
    }
}
