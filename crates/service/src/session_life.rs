//! How long the session of a browser lasts: until nobody has used it for a quarter of an hour, and eight hours at most.

use std::time::Duration;

use keyproof_store::Timestamp;
use serde::{Deserialize, Serialize};

/// How long it lasts unused.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// How long it lasts at most.
const LONGEST: Duration = Duration::from_secs(8 * 60 * 60);

/// That it was used is written down once in so long: each time costs a commit.
const NOTED: Duration = Duration::from_secs(60);

/// The same before a change, which requires the session's record: what is only looked at then does not write over the record
/// for as long as a request may take.
const NOTED_BEFORE_A_CHANGE: Duration = Duration::from_secs(30);

/// When a session began, and when it was last used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionLife {
    began_at: Timestamp,
    used_at: Timestamp,
}

impl SessionLife {
    pub(crate) const fn begin(now: Timestamp) -> Self {
        Self {
            began_at: now,
            used_at: now,
        }
    }

    /// The first moment at which it is over, unless it is used again.
    pub(crate) fn ends_at(&self) -> Timestamp {
        let longest = self.began_at.saturating_add(LONGEST);
        self.used_at.saturating_add(IDLE).min(longest)
    }

    /// The same session, used now.
    pub(crate) const fn used_again(self, now: Timestamp) -> Self {
        Self {
            used_at: now,
            ..self
        }
    }

    /// The same session, used now, if that is to be written down.
    pub(crate) fn used(&self, now: Timestamp) -> Option<Self> {
        self.used_after(NOTED, now)
    }

    /// The same, used now for a change, if that is to be written down.
    pub(crate) fn used_for_a_change(&self, now: Timestamp) -> Option<Self> {
        self.used_after(NOTED_BEFORE_A_CHANGE, now)
    }

    fn used_after(&self, noted: Duration, now: Timestamp) -> Option<Self> {
        let is_to_be_noted = now.saturating_since(self.used_at) >= noted;
        is_to_be_noted.then(|| self.used_again(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_unused_after_a_quarter_of_an_hour_and_in_any_case_after_eight_hours() {
        let start = Timestamp::from_secs(1_700_000_000);
        let minute = |minutes: u64| start.saturating_add(Duration::from_secs(60 * minutes));
        let mut life = SessionLife::begin(start);
        assert_eq!(life.ends_at(), minute(15));
        assert_eq!(
            life.used(start.saturating_add(Duration::from_secs(59))),
            None
        );
        let second = |seconds| start.saturating_add(Duration::from_secs(seconds));
        assert_eq!(life.used_for_a_change(second(29)), None);
        assert!(life.used_for_a_change(second(30)).is_some());
        for minutes in (10..480).step_by(10) {
            assert!(minute(minutes) < life.ends_at(), "{minutes}");
            life = life.used(minute(minutes)).unwrap();
        }
        assert_eq!(life.ends_at(), minute(480));
    }
}
