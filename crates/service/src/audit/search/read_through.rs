//! The trail itself, read backwards by where events stand: a stretch of time after the other, as long as each has few enough
//! events to put into order.

use std::{cmp::Reverse, time::Duration};

use keyproof_store::Timestamp;

use super::{Before, Looking};
use crate::{
    StorageError,
    audit::{Audit, Event, EventKey},
};

/// So many events are read at once.
pub(super) const AT_ONCE: usize = 100;

/// The most events that are read through together, and put into order.
const WINDOW: usize = 1_000;

/// Without a filter, one read takes at most this many pages' worth of events.
const SPARE: usize = 4;

/// The first window, which widens where there is little.
const FIRST_LOOK: Duration = Duration::from_secs(60);

/// The shortest one: a moment. What has more events than a window takes is told from its first on.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);

impl Audit {
    /// Reads the trail through, by where events stand.
    pub(super) async fn read_through(
        &self,
        looking: &mut Looking<'_>,
        mut before: Before,
    ) -> Result<Option<Before>, StorageError> {
        let (mut look, mut dense) = (FIRST_LOOK, None);
        while !looking.is_over() {
            if let Some(rest) = before.rest.take() {
                before.rest = self.rest_of(looking, rest).await?;
                continue;
            }
            let end = before.moment;
            if end <= looking.since {
                return Ok(None);
            }
            // What was too much is come to from behind, beginning with its last moment.
            let behind = dense.map(|dense: Timestamp| dense.saturating_add(SHORTEST_LOOK));
            if behind.is_some_and(|behind| end <= behind) {
                (look, dense) = (SHORTEST_LOOK, None);
            }
            let behind = behind.filter(|behind| end > *behind);
            let start = end.saturating_sub(look).max(looking.since);
            let start = behind.map_or(start, |behind| behind.max(start));
            match self.between(looking, start, end).await? {
                Seen::All(found, read) => {
                    for (key, event) in found {
                        if looking.events.len() >= looking.most {
                            return Ok(Some(before));
                        }
                        before = Before {
                            moment: key.moment().unwrap_or(start),
                            rest: Some(key),
                        };
                        looking.events.push(event);
                    }
                    before = Before::moment(start);
                    look = match read {
                        0 => look.saturating_mul(32),
                        few if few < looking.window() / 4 => look.saturating_mul(4),
                        _ => look,
                    };
                }
                // The latest of it are what is wanted: so less of it.
                Seen::More(last) if end.saturating_since(start) > SHORTEST_LOOK => {
                    look = (look / 32).max(SHORTEST_LOOK);
                    dense = Some(last);
                }
                // More at one moment. A page that ends here leaves all of it to the next.
                Seen::More(_) if looking.is_over() => {}
                Seen::More(_) => {
                    before = Before {
                        moment: start,
                        rest: self.rest_of(looking, EventKey::start(start)).await?,
                    };
                }
            }
        }
        let is_more = before.rest.is_some() || before.moment > looking.since;
        Ok(is_more.then_some(before))
    }

    /// What stands from `start` on and before `end`.
    async fn between(
        &self,
        looking: &mut Looking<'_>,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Seen, StorageError> {
        let (mut found, before) = (Vec::new(), looking.read);
        let end = EventKey::start(end);
        let mut pages = self.pages(start, None).at_once(AT_ONCE);
        while let Some(page) = pages.next(self.clock.now()).await? {
            let mut last = start;
            for (key, stored) in page {
                let key = EventKey(key);
                if key >= end {
                    return Ok(Seen::of(found, looking.read - before));
                }
                last = key.moment().unwrap_or(last);
                found.extend(looking.saw(stored.record).map(|event| (key, event)));
            }
            if looking.read - before > looking.window() && !pages.is_over() {
                return Ok(Seen::More(last));
            }
        }
        Ok(Seen::of(found, looking.read - before))
    }

    /// What stands at the moment of this event behind it, in order of keys; where to go on, if that was not all.
    async fn rest_of(
        &self,
        looking: &mut Looking<'_>,
        rest: EventKey,
    ) -> Result<Option<EventKey>, StorageError> {
        let Some(moment) = rest.moment() else {
            return Ok(None);
        };
        let end = EventKey::start(moment.saturating_add(SHORTEST_LOOK));
        let mut pages = self.pages(moment, Some(&rest)).at_once(AT_ONCE);
        let mut last = rest;
        while let Some(page) = pages.next(self.clock.now()).await? {
            for (key, stored) in page {
                let key = EventKey(key);
                if key >= end {
                    return Ok(None);
                }
                if looking.is_over() {
                    return Ok(Some(last));
                }
                let sought = looking.saw(stored.record);
                looking.events.extend(sought);
                last = key;
            }
        }
        Ok(None)
    }
}

impl Looking<'_> {
    /// The most events that are read through together.
    fn window(&self) -> usize {
        if self.search.is_unfiltered() {
            self.most.saturating_mul(SPARE).clamp(AT_ONCE, WINDOW)
        } else {
            WINDOW
        }
    }
}

/// What there is between two moments.
enum Seen {
    /// This is sought of it, the latest moment first, and of a moment in order of keys; and so many were read.
    All(Vec<(EventKey, Event)>, usize),
    /// More than is read through together: as much as that up to this moment alone.
    More(Timestamp),
}

impl Seen {
    fn of(mut found: Vec<(EventKey, Event)>, read: usize) -> Self {
        found.sort_by_key(|(key, _)| Reverse(key.moment()));
        Self::All(found, read)
    }
}
