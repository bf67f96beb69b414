//! Sessions of logged-in users, each with its own failure count.

use alloc::vec::Vec;

use crate::{Lockout, Policy, UnixMillis, digest::Digest};

/// Identifies a session: a digest of the caller's name for it.
///
/// ```
/// use keyproof_mfa::SessionId;
///
/// let hers = SessionId::new("drawn at random when she logged in");
/// assert_eq!(hers, SessionId::new("drawn at random when she logged in")); // at each of its requests
/// assert_ne!(hers, SessionId::new("of another login"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct SessionId(pub(crate) Digest);

impl SessionId {
    /// Digests the caller's name for a session. Draw it at login and keep it as long as the
    /// session. Each user has separate records, so the name need not identify the user.
    pub fn new(name: &str) -> Self {
        Self(Digest::new("session", &[name.as_bytes()]))
    }
}

/// The failure counts of a user's sessions, in one record, so that their number is bounded.
///
/// A session is locked only by its own failures, not by another session or by a stranger who knows
/// the user's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(into = "crate::stored::Sessions", try_from = "crate::stored::Sessions")
)]
pub struct Sessions {
    /// How long to keep the record as something for commits to conflict on.
    pub(crate) kept_until: UnixMillis,
    /// The sessions with failures or a lock.
    pub(crate) counted: Vec<CountedSession>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CountedSession {
    pub(crate) id: SessionId,
    pub(crate) lockout: Lockout,
}

impl Sessions {
    /// The maximum number of sessions counted at a time. One more replaces the count that would
    /// expire first; a locked one only if all are locked. Each session requires a login.
    pub const MAX: usize = 32;

    /// When the record no longer has any effect and may be removed.
    pub fn expires_at(&self) -> UnixMillis {
        let expiries = self
            .counted
            .iter()
            .map(|counted| counted.lockout.expires_at);
        expiries.fold(self.kept_until, UnixMillis::max)
    }

    pub(crate) fn lockout(&self, id: SessionId) -> Option<Lockout> {
        let mut counted = self.counted.iter();
        let counted = counted.find(|counted| counted.id == id);
        counted.map(|counted| counted.lockout)
    }

    /// The record to commit after a right password or code; see [`Lockout::witnessed`].
    pub(crate) fn witnessed(sessions: Option<Self>, now: UnixMillis, policy: &Policy) -> Self {
        let current = sessions.filter(|sessions| now < sessions.expires_at());
        current.unwrap_or_else(|| Self {
            kept_until: now.saturating_add(policy.lockout_kept()),
            counted: Vec::new(),
        })
    }

    /// Clears every count. The record stays, so that concurrent commits conflict on it.
    pub(crate) fn emptied(self) -> Self {
        Self {
            counted: Vec::new(),
            ..self
        }
    }

    /// Sets a session's count; `None` removes it.
    pub(crate) fn put(&mut self, id: SessionId, lockout: Option<Lockout>, now: UnixMillis) {
        self.counted
            .retain(|counted| counted.id != id && counted.lockout.is_current(now));
        let Some(lockout) = lockout else {
            return;
        };
        if self.counted.len() >= Self::MAX {
            let order = |at: &usize| {
                let lockout = self.counted.get(*at).map(|counted| counted.lockout);
                let locked = lockout.and_then(|lockout| lockout.locked_until(now));
                (locked, lockout.map(|lockout| lockout.expires_at))
            };
            if let Some(first) = (0..self.counted.len()).min_by_key(order) {
                self.counted.remove(first);
            }
        }
        self.counted.push(CountedSession { id, lockout });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counter, lockout::Guess};
    use alloc::string::ToString;

    const NOW: UnixMillis = UnixMillis::from_secs(1_700_000_000);

    fn failing(sessions: &mut Sessions, name: &str, times: u64) {
        let id = SessionId::new(name);
        for second in 0..times {
            let now = NOW.saturating_add(core::time::Duration::from_secs(second));
            let (next, _) = Lockout::failed(
                sessions.lockout(id),
                Counter::Session(id),
                Guess::Password,
                now,
                &Policy::default(),
            );
            sessions.put(id, Some(next), now);
        }
    }

    #[test]
    fn counts_are_bounded_and_locks_forgotten_last() {
        let mut sessions = Sessions::witnessed(None, NOW, &Policy::default());
        failing(&mut sessions, "locked", 3);
        failing(&mut sessions, "late", 2);
        for number in 0..2 * Sessions::MAX {
            failing(&mut sessions, &number.to_string(), 1);
        }
        assert_eq!(sessions.counted.len(), Sessions::MAX);
        let locked = sessions.lockout(SessionId::new("locked")).unwrap();
        assert!(locked.locked_until(NOW).is_some());
        assert!(sessions.lockout(SessionId::new("late")).is_some());
        assert!(sessions.lockout(SessionId::new("0")).is_none());

        for number in 0..2 * Sessions::MAX {
            failing(&mut sessions, &number.to_string(), 3);
        }
        assert_eq!(sessions.counted.len(), Sessions::MAX);
    }
    #[test]
    fn counts_that_have_ended_are_not_witnessed() {
        let mut sessions = Sessions::witnessed(None, NOW, &Policy::default());
        failing(&mut sessions, "hers", 1);
        let end = sessions.expires_at();
        let counted = |now| {
            let witnessed = Sessions::witnessed(Some(sessions.clone()), now, &Policy::default());
            witnessed.counted.len()
        };
        assert_eq!(counted(UnixMillis::from_millis(end.as_millis() - 1)), 1);
        assert_eq!(counted(end), 0);
    }
}
