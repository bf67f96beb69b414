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
            let mut pages = audit.pages(self.from, self.after.as_ref());
            let page = pages.next(now).await?.unwrap_or_default();
            let recent = now.saturating_sub(LOOK_BACK);
            // Beyond the minute there are only hours that are not over, which would be read again and again.
            let end = Window::Minute.end(now.saturating_add(LOOK_BACK));
            let end = EventKey::start(end.saturating_add(Duration::from_millis(1)));
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
