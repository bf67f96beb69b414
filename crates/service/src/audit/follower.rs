//! Follows the trail as it grows.

use std::{collections::BTreeMap, time::Duration};

use keyproof_store::Timestamp;

use super::{Audit, Event, EventKey, Window};
use crate::{StorageError, clock::APART_AT_MOST};

/// How far a follower looks back and ahead: the tolerance for servers' clocks plus half a minute, which is more than a request
/// takes to commit.
const LOOK_BACK: Duration = Duration::from_secs(APART_AT_MOST.as_secs() + 30);

/// How many events are remembered although they are read again only if the clock is set back, about 10 MB. Events that are read
/// again are all remembered, at 200 bytes each: 6 MB at two hundred events a second.
const REMEMBERED: usize = 50_000;

/// Follows the trail and yields each event once, and a combined event again whenever its count rises. Events combined by the hour
/// are yielded in its last minutes. If the clock is set back by more than 50,000 events, earlier events are yielded again.
#[derive(Debug)]
pub struct Follower {
    since: Timestamp,
    from: Timestamp,
    after: Option<EventKey>,
    /// The count of each event when it was last yielded.
    told: BTreeMap<EventKey, u64>,
}

impl Follower {
    /// Starts at `since`.
    pub const fn new(since: Timestamp) -> Self {
        Self {
            since,
            from: since,
            after: None,
            told: BTreeMap::new(),
        }
    }

    /// Returns at most one page of new events, oldest first, or none if there are none yet.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; the next call reads the same events again.
    pub async fn poll(&mut self, audit: &Audit) -> Result<Vec<Event>, StorageError> {
        loop {
            let now = audit.clock.now();
            let recent = now.saturating_sub(LOOK_BACK);
            if self.from > recent && self.from > self.since {
                // The clock was set back, so new events come before those already yielded.
                self.from = self.since.max(recent);
                self.after = None;
            }
            let mut pages = audit.pages(self.from, self.after.as_ref());
            let page = pages.next(now).await?.unwrap_or_default();
            // After this minute there are only unfinished hours, which would be read again and again.
            let end = EventKey::end(Window::Minute.end(now.saturating_add(LOOK_BACK)));
            let last = page.last().map(|(key, _)| EventKey(key.clone()));
            let goes_on = !pages.is_over() && last.as_ref().is_some_and(|last| *last < end);
            if goes_on {
                self.after = last;
            } else {
                // The current end. The next poll starts where late events may still appear.
                self.after = None;
                self.from = self.from.max(recent);
            }
            let mut fresh = Vec::new();
            for (key, stored) in page {
                let (key, event) = (EventKey(key), stored.record);
                if key >= end || event.last_at() < self.since {
                    continue;
                }
                let count = event.count();
                if self.told.insert(key, count) != Some(count) {
                    fresh.push(event);
                }
            }
            self.forget(&EventKey::start(recent), REMEMBERED);
            if !goes_on || !fresh.is_empty() {
                return Ok(fresh);
            }
        }
    }

    /// Forgets the oldest events before `recent`, until at most `most` are remembered or none of them is left.
    fn forget(&mut self, recent: &EventKey, most: usize) {
        while self.told.len() > most
            && let Some(oldest) = self.told.first_entry()
            && oldest.key() < recent
        {
            oldest.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Clock,
        audit::tests::tell,
        testing::{Bench, START, bench},
    };

    /// Returns the targets of the new events.
    async fn poll(bench: &Bench, follower: &mut Follower) -> Vec<String> {
        let events = follower.poll(&bench.service.audit).await.unwrap();
        let targets = events.into_iter().map(|event| event.target);
        targets
            .filter(|target| target.starts_with("instance/"))
            .collect()
    }

    #[tokio::test]
    async fn what_happens_after_a_clock_was_set_back_is_told_at_once() {
        let bench = bench().await;
        let mut follower = Follower::new(START);
        poll(&bench, &mut follower).await;
        bench.clock.advance(Duration::from_secs(100));
        tell(&bench, bench.clock.now(), "before").await;
        assert_eq!(poll(&bench, &mut follower).await, ["instance/before"]);
        bench.clock.advance(Duration::from_secs(560));
        tell(&bench, bench.clock.now(), "ahead").await;
        assert_eq!(poll(&bench, &mut follower).await, ["instance/ahead"]);
        bench
            .clock
            .set(START.saturating_add(Duration::from_secs(60)));
        assert_eq!(poll(&bench, &mut follower).await, [""; 0]);
        tell(&bench, bench.clock.now(), "after").await;
        assert_eq!(poll(&bench, &mut follower).await, ["instance/after"]);
        // And none again when the clock passes their times again.
        for _ in 0..10 {
            bench.clock.advance(Duration::from_secs(60));
            assert_eq!(poll(&bench, &mut follower).await, [""; 0]);
        }
    }

    /// Of two machines that both do the upkeep, one may be a minute ahead of the database and one a minute behind.
    #[tokio::test]
    async fn what_a_machine_did_whose_clock_is_apart_is_told_at_once_and_once() {
        let bench = bench().await;
        let mut follower = Follower::new(START);
        poll(&bench, &mut follower).await;
        for skew in [45, 119].map(Duration::from_secs) {
            bench.clock.advance(Duration::from_secs(300));
            let now = bench.clock.now();
            tell(&bench, now, "here").await;
            assert_eq!(poll(&bench, &mut follower).await, ["instance/here"]);
            for at in [now.saturating_sub(skew), now.saturating_add(skew)] {
                tell(&bench, at, "there").await;
                assert_eq!(
                    poll(&bench, &mut follower).await,
                    ["instance/there"],
                    "{skew:?}"
                );
                assert_eq!(poll(&bench, &mut follower).await, [""; 0]);
            }
        }
        for _ in 0..10 {
            bench.clock.advance(Duration::from_secs(60));
            assert_eq!(poll(&bench, &mut follower).await, [""; 0]);
        }
    }

    #[test]
    fn the_oldest_are_forgotten_but_none_that_is_read_again() {
        let mut follower = Follower::new(START);
        let key = |number| EventKey::start(START.saturating_add(Duration::from_millis(number)));
        follower.told = (0..10).map(|number| (key(number), 1)).collect();
        let mut kept = |recent, most| {
            follower.forget(&key(recent), most);
            follower.told.len()
        };
        assert_eq!(
            [kept(8, 10), kept(8, 5), kept(8, 1), kept(20, 1)],
            [10, 5, 2, 1]
        );
        assert!(follower.told.contains_key(&key(9)));
    }
}
