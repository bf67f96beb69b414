//! Reads the trail itself backwards by position, one time window after another. Windows are small enough for their events to be
//! sorted in memory.

use std::{cmp::Reverse, time::Duration};

use keyproof_store::Timestamp;

use super::{Cursor, SearchState};
use crate::{
    StorageError,
    audit::{Audit, Event, EventKey},
};

/// The number of events read at once.
pub(super) const AT_ONCE: usize = 100;

/// The maximum number of events in a window.
const WINDOW: usize = 1_000;

/// Without a filter, a window has at most this many times the events of a page.
const SPARE: usize = 4;

/// The first window, which grows where there are few events.
const FIRST_LOOK: Duration = Duration::from_secs(60);

/// The shortest window. If it has more events than a window allows, they are returned from the first on.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);

impl Audit {
    /// Reads the trail backwards by position.
    pub(super) async fn read_through(
        &self,
        state: &mut SearchState<'_>,
        mut before: Cursor,
    ) -> Result<Option<Cursor>, StorageError> {
        let (mut look, mut dense) = (FIRST_LOOK, None);
        while !state.is_over() {
            if let Some(rest) = before.rest.take() {
                before.rest = self.rest_of(state, rest).await?;
                continue;
            }
            let end = before.moment;
            if end <= state.since {
                return Ok(None);
            }
            // A window that was too dense is entered from its end, starting with its last moment.
            let behind = dense.map(|dense: Timestamp| dense.saturating_add(SHORTEST_LOOK));
            if behind.is_some_and(|behind| end <= behind) {
                (look, dense) = (SHORTEST_LOOK, None);
            }
            let behind = behind.filter(|behind| end > *behind);
            let start = end.saturating_sub(look).max(state.since);
            let start = behind.map_or(start, |behind| behind.max(start));
            match self.between(state, start, end).await? {
                Seen::All(found, read) => {
                    for (key, event) in found {
                        if state.found.events.len() >= state.most {
                            return Ok(Some(before));
                        }
                        before = Cursor {
                            moment: key.moment().unwrap_or(start),
                            rest: Some(key),
                        };
                        state.found.events.push(event);
                    }
                    before = Cursor::moment(start);
                    look = match read {
                        0 => look.saturating_mul(32),
                        few if few < state.window() / 4 => look.saturating_mul(4),
                        _ => look,
                    };
                }
                // Only the latest events of the window are wanted, so a shorter one is read.
                Seen::More(last) if end.saturating_since(start) > SHORTEST_LOOK => {
                    look = (look / 32).max(SHORTEST_LOOK);
                    dense = Some(last);
                }
                // Too many events at one moment. A page that ends here leaves them all to the next.
                Seen::More(_) if state.is_over() => {}
                Seen::More(_) => {
                    before = Cursor {
                        moment: start,
                        rest: self.rest_of(state, EventKey::start(start)).await?,
                    };
                }
            }
        }
        let is_more = before.rest.is_some() || before.moment > state.since;
        Ok(is_more.then_some(before))
    }

    /// Reads the events from `start` on and before `end`.
    async fn between(
        &self,
        state: &mut SearchState<'_>,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Seen, StorageError> {
        let (mut found, before) = (Vec::new(), state.found.read);
        let end = EventKey::start(end);
        let mut pages = self.pages(start, None).at_once(AT_ONCE);
        while let Some(page) = pages.next(self.clock.now()).await? {
            let mut last = start;
            for (key, stored) in page {
                let key = EventKey(key);
                if key >= end {
                    return Ok(Seen::of(found, state.found.read - before));
                }
                last = key.moment().unwrap_or(last);
                found.extend(state.saw(stored.record).map(|event| (key, event)));
            }
            if state.found.read - before > state.window() && !pages.is_over() {
                return Ok(Seen::More(last));
            }
        }
        Ok(Seen::of(found, state.found.read - before))
    }

    /// Reads the events of the same moment after this one, in key order. Returns where to continue if not all were read.
    async fn rest_of(
        &self,
        state: &mut SearchState<'_>,
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
                if state.is_over() {
                    return Ok(Some(last));
                }
                let sought = state.saw(stored.record);
                state.found.events.extend(sought);
                last = key;
            }
        }
        Ok(None)
    }
}

impl SearchState<'_> {
    /// Returns the maximum number of events in a window.
    fn window(&self) -> usize {
        if self.search.is_unfiltered() {
            self.most.saturating_mul(SPARE).clamp(AT_ONCE, WINDOW)
        } else {
            WINDOW
        }
    }
}

/// The events of a window.
enum Seen {
    /// The matching events, latest moment first and in key order within a moment, and the number of events read.
    All(Vec<(EventKey, Event)>, usize),
    /// Too many: the maximum was reached at this moment.
    More(Timestamp),
}

impl Seen {
    fn of(mut found: Vec<(EventKey, Event)>, read: usize) -> Self {
        found.sort_by_key(|(key, _)| Reverse(key.moment()));
        Self::All(found, read)
    }
}
