//! The requests of the last hour by minute, of this process alone. The console's first page shows them, as there may be
//! no monitoring that stores them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use http::StatusCode;

/// How many minutes are stored.
const MINUTES: u8 = 60;

/// The counters of a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Minute {
    /// Requests answered with a status below 400.
    pub(crate) answered: u64,
    /// Requests refused with a status from 400 to 499.
    pub(crate) refused: u64,
    /// Requests that failed: with a status from 500, or without an answer.
    pub(crate) failed: u64,
    /// Successful login steps. A password followed by a code counts as two.
    pub(crate) logins: u64,
}

impl Minute {
    /// Returns the number of requests.
    pub(crate) const fn requests(&self) -> u64 {
        self.answered
            .saturating_add(self.refused)
            .saturating_add(self.failed)
    }

    /// Adds the counters of two minutes.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            answered: self.answered.saturating_add(other.answered),
            refused: self.refused.saturating_add(other.refused),
            failed: self.failed.saturating_add(other.failed),
            logins: self.logins.saturating_add(other.logins),
        }
    }
}

/// The minutes of an hour, in a ring buffer. There is no lock, so a request at the turn of a minute may be counted for
/// the minute before, or not at all.
#[derive(Debug)]
pub(crate) struct RequestHistory([Slot; MINUTES as usize]);

#[derive(Debug, Default)]
struct Slot {
    /// The minute, counted since the Unix epoch.
    minute: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    logins: AtomicU64,
}

impl Default for RequestHistory {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Slot::default()))
    }
}

impl RequestHistory {
    /// Counts a request that has ended.
    pub(super) fn note(&self, status: Option<StatusCode>, is_login: bool) {
        self.note_at(this_minute(), status, is_login);
    }

    fn note_at(&self, minute: u64, status: Option<StatusCode>, is_login: bool) {
        let Some(slot) = self.slot(minute) else {
            return;
        };
        if slot.minute.swap(minute, Ordering::Relaxed) != minute {
            for count in [&slot.answered, &slot.refused, &slot.failed, &slot.logins] {
                count.store(0, Ordering::Relaxed);
            }
        }
        let count = match status.map(|status| status.as_u16()) {
            Some(..400) => {
                if is_login {
                    slot.logins.fetch_add(1, Ordering::Relaxed);
                }
                &slot.answered
            }
            Some(400..500) => &slot.refused,
            Some(500..) | None => &slot.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the minutes of the last hour up to this one, oldest first.
    pub(crate) fn minutes(&self) -> Vec<Minute> {
        self.minutes_to(this_minute())
    }

    fn minutes_to(&self, last: u64) -> Vec<Minute> {
        let back = (0..MINUTES).rev();
        let minutes = back.map(|back| last.saturating_sub(back.into()));
        let of = |minute| {
            let slot = self.slot(minute)?;
            let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
            (read(&slot.minute) == minute).then(|| Minute {
                answered: read(&slot.answered),
                refused: read(&slot.refused),
                failed: read(&slot.failed),
                logins: read(&slot.logins),
            })
        };
        minutes
            .map(|minute| of(minute).unwrap_or_default())
            .collect()
    }

    fn slot(&self, minute: u64) -> Option<&Slot> {
        let place = usize::try_from(minute % u64::from(MINUTES)).ok()?;
        self.0.get(place)
    }
}

fn this_minute() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs() / 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minute_has_its_own_and_what_is_an_hour_old_is_gone() {
        let request_history = RequestHistory::default();
        for (minute, is_login, status) in [
            (1_000, false, Some(StatusCode::OK)),
            (1_001, true, Some(StatusCode::OK)),
            (1_001, true, Some(StatusCode::UNAUTHORIZED)),
            (1_001, false, Some(StatusCode::SERVICE_UNAVAILABLE)),
            (1_001, false, None),
            (1_060, false, Some(StatusCode::OK)),
        ] {
            request_history.note_at(minute, status, is_login);
        }
        let minutes = request_history.minutes_to(1_060);
        assert_eq!(minutes.len(), usize::from(MINUTES));
        let second = Minute {
            answered: 1,
            refused: 1,
            failed: 2,
            logins: 1,
        };
        assert_eq!(minutes[0], second);
        assert_eq!(minutes[0].requests(), 4);
        // Minute 1060 overwrites minute 1000.
        let all = minutes.into_iter().fold(Minute::default(), Minute::and);
        assert_eq!((all.answered, all.requests()), (2, 5));
        let later = request_history.minutes_to(1_061);
        assert_eq!(later.iter().map(Minute::requests).sum::<u64>(), 1);
    }
}
