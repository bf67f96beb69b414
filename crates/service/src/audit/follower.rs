//! The trail as it grows.

use std::{collections::BTreeMap, time::Duration};

use keyproof_store::Timestamp;

use super::{Audit, Event, EventKey, Window};
use crate::StorageError;

/// How far back a follower looks: longer than a request takes to commit and servers' clocks differ.
pub(super) const LOOK_BACK: Duration = Duration::from_secs(30);

/// Reads the trail as it grows, and tells each event once; one that stands for several, again whenever it stands for
/// more. What is told hour by hour is told in the hour's last minute.
#[derive(Debug)]
pub struct Follower {
    since: Timestamp,
    from: Timestamp,
    after: Option<EventKey>,
    /// How many each stood for.
    pub(super) told: BTreeMap<EventKey, u64>,
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
            // What is older is not read again, so it need not be remembered.
            let recent = EventKey::start(recent);
            self.told.retain(|key, _| *key >= recent);
            if !goes_on || !fresh.is_empty() {
                return Ok(fresh);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Clock, Who,
        audit::{Action, Deed, Target},
        testing::{Bench, START, bench, origin},
    };

    async fn tell(bench: &Bench, target: &str) {
        let origin = origin().by(Who::Keyproof);
        let now = bench.clock.now();
        let mut batch = bench.store.batch(now);
        let deed = Deed {
            action: Action::AuditLeaveOut,
            target: Target::Instance(target.to_owned()),
            detail: None,
            origin: &origin,
        };
        bench.service.audit.done(&mut batch, now, deed);
        bench.store.commit(batch).await.unwrap();
    }

    #[tokio::test]
    async fn what_happens_after_a_clock_was_set_back_is_told_at_once() {
        let bench = bench().await;
        let mut follower = Follower::new(START);
        let poll = async |follower: &mut Follower| {
            let events = follower.poll(&bench.service.audit).await.unwrap();
            let targets = events.into_iter().map(|event| event.target);
            targets
                .filter(|target| target.starts_with("instance/"))
                .collect::<Vec<_>>()
        };
        bench.clock.advance(Duration::from_secs(660));
        tell(&bench, "ahead").await;
        poll(&mut follower).await;
        bench
            .clock
            .set(START.saturating_add(Duration::from_secs(60)));
        assert_eq!(poll(&mut follower).await, [""; 0]);
        tell(&bench, "after").await;
        assert_eq!(poll(&mut follower).await, ["instance/after"]);
        // And not again, once the clock is there again.
        bench.clock.advance(Duration::from_secs(600));
        assert_eq!(poll(&mut follower).await, [""; 0]);
    }
}
