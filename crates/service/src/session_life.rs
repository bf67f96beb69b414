//! How long a browser session lasts: 15 minutes without use, and eight hours at most. Also how long a user's last authentication
//! counts as fresh.

use std::{sync::Arc, time::Duration};

use keyproof_store::{Key, Record, Store, Stored, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Failure, clock::APART_AT_MOST};

/// How long a session lasts without use.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// The maximum lifetime of a session.
const LONGEST: Duration = Duration::from_secs(8 * 60 * 60);

/// How long after authenticating the owner may make changes that weaken security.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// How often the use of a session is stored at most, because each time costs a commit.
const NOTED: Duration = Duration::from_secs(60);

/// The same before a change, which requires the session's record. Mere reads then do not replace the record during the time that a
/// request may take.
const NOTED_BEFORE_A_CHANGE: Duration = Duration::from_secs(30);

/// When a session began, and when it was last used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionLifetime {
    began_at: Timestamp,
    used_at: Timestamp,
}

impl SessionLifetime {
    pub(crate) const fn begin(now: Timestamp) -> Self {
        Self {
            began_at: now,
            used_at: now,
        }
    }

    /// Returns when the session ends unless it is used again.
    pub(crate) fn ends_at(&self) -> Timestamp {
        let longest = self.began_at.saturating_add(LONGEST);
        self.used_at.saturating_add(IDLE).min(longest)
    }

    /// Returns the session as used now. One that began in the future, before the clock was set back, begins now.
    pub(crate) fn used_again(self, now: Timestamp) -> Self {
        Self {
            began_at: self.began_at.min(now),
            used_at: now,
        }
    }

    /// Returns the session as used now, if its last use was stored at least this long ago, or further in the future than servers'
    /// clocks differ: otherwise it would last longer because the clock was ahead.
    fn used_after(&self, noted: Duration, now: Timestamp) -> Option<Self> {
        let is_to_be_noted = now.saturating_since(self.used_at) >= noted
            || self.used_at.saturating_since(now) > APART_AT_MOST;
        is_to_be_noted.then(|| self.used_again(now))
    }
}

/// When the owner of a session last authenticated, and when that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confirmed {
    pub(crate) at: Timestamp,
    pub(crate) read_at: Timestamp,
}

impl Confirmed {
    /// Whether the owner authenticated recently enough for a change that weakens security. A time in the future, after the clock
    /// was set back, counts as if it were in the past.
    pub(crate) fn is_fresh(self) -> bool {
        self.read_at.abs_diff(self.at) < FRESH
    }
}

/// The record of a browser session.
pub(crate) trait SessionRecord: Record {
    fn life(&self) -> SessionLifetime;

    /// Returns the session with this lifetime.
    fn with_life(self, life: SessionLifetime) -> Self;
}

/// A session and its record, found by the token that the browser sent.
pub(crate) struct Found<S, R> {
    pub(crate) session: S,
    pub(crate) place: Key,
    pub(crate) kept: Stored<Arc<R>>,
    pub(crate) read_at: Timestamp,
}

impl<S, R: SessionRecord> Found<S, R> {
    /// Whether the session is live by every server's clock. One that is about to end has already ended by a clock that is ahead.
    pub(crate) fn is_live(&self) -> bool {
        let ends = self.kept.record.life().ends_at();
        ends.saturating_since(self.read_at) > APART_AT_MOST
    }

    /// Stores the use, if due, and returns the session.
    pub(crate) async fn used(self, store: &Store) -> S {
        self.note(store, NOTED).await;
        self.session
    }

    /// Stores a use if that is due and returns whether it was, since the record then has another version. A failure refuses
    /// nothing: the session just ends sooner.
    async fn note(&self, store: &Store, noted: Duration) -> bool {
        let life = self.kept.record.life();
        let Some(life) = life.used_after(noted, self.read_at) else {
            return false;
        };
        let next = R::clone(&self.kept.record).with_life(life);
        let mut batch = store.batch(self.read_at);
        batch.replace(&self.place, self.kept.version, &next, Some(life.ends_at()));
        if let Err(error) = store.commit(batch).await {
            tracing::debug!(%error, "cannot record that a session was used");
        }
        true
    }
}

/// Returns the session that `find` finds, for a change that requires its record in the version read.
pub(crate) async fn session_for_change<S, R: SessionRecord, E, F>(
    store: &Store,
    find: impl Fn() -> F,
) -> Result<S, Failure<E>>
where
    F: Future<Output = Result<Found<S, R>, Failure<E>>>,
{
    let found = find().await?;
    let is_written_over = found.note(store, NOTED_BEFORE_A_CHANGE).await;
    Ok(if is_written_over {
        find().await?.session
    } else {
        found.session
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_shown_who_they_are_is_taken_to_be_there_for_five_minutes() {
        let read_at = Timestamp::from_secs(1_700_000_000);
        let is_fresh = |at| Confirmed { at, read_at }.is_fresh();
        let (within, five) = (Duration::from_millis(299_999), Duration::from_secs(300));
        for at in [
            read_at.saturating_sub(within),
            read_at.saturating_add(within),
        ] {
            assert!(is_fresh(at), "{at:?}");
        }
        for at in [read_at.saturating_sub(five), read_at.saturating_add(five)] {
            assert!(!is_fresh(at), "{at:?}");
        }
    }

    #[test]
    fn a_session_ends_unused_after_a_quarter_of_an_hour_and_in_any_case_after_eight_hours() {
        let start = Timestamp::from_secs(1_700_000_000);
        let minute = |minutes: u64| start.saturating_add(Duration::from_secs(60 * minutes));
        let mut life = SessionLifetime::begin(start);
        assert_eq!(life.ends_at(), minute(15));
        let second = |seconds| start.saturating_add(Duration::from_secs(seconds));
        assert_eq!(life.used_after(NOTED, second(59)), None);
        assert_eq!(life.used_after(NOTED_BEFORE_A_CHANGE, second(29)), None);
        let used = life.used_after(NOTED_BEFORE_A_CHANGE, second(30));
        assert!(used.is_some());
        for minutes in (10..480).step_by(10) {
            assert!(minute(minutes) < life.ends_at(), "{minutes}");
            life = life.used_after(NOTED, minute(minutes)).unwrap();
        }
        assert_eq!(life.ends_at(), minute(480));
    }

    #[test]
    fn a_session_of_a_clock_that_was_ahead_lasts_no_longer_once_it_is_used_after_that() {
        let now = Timestamp::from_secs(1_700_000_000);
        let ahead = now.saturating_add(Duration::from_secs(60 * 60));
        let life = SessionLifetime::begin(ahead);
        let slow = ahead.saturating_sub(APART_AT_MOST);
        assert_eq!(life.used_after(NOTED, slow), None, "clocks differ");
        let used = life.used_after(NOTED, slow.saturating_sub(Duration::from_millis(1)));
        assert!(used.is_some());
        let used = life.used_after(NOTED, now);
        assert_eq!(used, Some(SessionLifetime::begin(now)));
    }
}
