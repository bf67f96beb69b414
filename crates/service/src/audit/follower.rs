//! The trail as it grows.

use std::{collections::BTreeMap, time::Duration};

use keyproof_store::Timestamp;

use super::{Audit, Event, EventKey, Window};
use crate::{StorageError, clock::APART_AT_MOST};

/// How far back a follower looks, and ahead: as far as servers' clocks differ, and half a minute longer, which is more than a
/// request takes to commit.
const LOOK_BACK: Duration = Duration::from_secs(APART_AT_MOST.as_secs() + 30);

/// How many events are remembered, though they are not read again unless the clock is set back: some 10 MB. Those that are read
/// again are remembered all, at 200 bytes each: 6 MB where two hundred come in a second.
const REMEMBERED: usize = 50_000;

/// Reads the trail as it grows, and tells each event once; one that stands for several, again whenever it stands for
/// more. What is told hour by hour is told in the hour's last minutes. Where the clock is set back by more than 50,000 events,
/// those of before are told again.
#[derive(Debug)]
pub struct Follower {
    since: Timestamp,
    from: Timestamp,
    after: Option<EventKey>,
    /// How many each stood for.
    told: BTreeMap<EventKey, u64>,
}

impl Follower {
    /// Follows from `since` on.
    pub const fn new(since: Timestamp) -> Self {
        Self {
            since,
            from: since,
            after: None,
            told: BTreeMap::new(),
        }
    }

    /// The next events that were not told yet, oldest first and at most one page; none if there are none for now.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; the next call asks for the same events again.
    pub async fn poll(&mut self, audit: &Audit) -> Result<Vec<Event>, StorageError> {
        loop {
            let now = audit.clock.now();
            let recent = now.saturating_sub(LOOK_BACK);
            if self.from > recent && self.from > self.since {
                // The clock was set back: what is told from now on stands before what was.
                self.from = self.since.max(recent);
                self.after = None;
            }
            let mut pages = audit.pages(self.from, self.after.as_ref());
            let page = pages.next(now).await?.unwrap_or_default();
            // Beyond the minute there are only hours that are not over, which would be read again and again.
            let end = EventKey::end(Window::Minute.end(now.saturating_add(LOOK_BACK)));
            let last = page.last().map(|(key, _)| EventKey(key.clone()));
            let goes_on = !pages.is_over() && last.as_ref().is_some_and(|last| *last < end);
            if goes_on {
                self.after = last;
            } else {
                // The end, for now: the next look starts where stragglers may still appear.
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

    /// Forgets the oldest of before `recent` until it is so many that are remembered, or none of those are left.
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

    /// The instances that are told of.
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
        // And none again, as the clock passes them again.
        for _ in 0..10 {
            bench.clock.advance(Duration::from_secs(60));
            assert_eq!(poll(&bench, &mut follower).await, [""; 0]);
        }
    }

    /// Of two machines that both do the upkeep one may be a minute ahead of the database, and one a minute behind.
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
