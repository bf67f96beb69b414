//! Searches the trail backwards, page by page, latest events first.
//!
//! A user's own events are found by the index, however many other events exist. Other searches read the trail backwards by
//! position. A combined event is at the end of its minute or hour, and those of an hour are found once it is over. A page reads a
//! limited number of events and returns exactly where it stopped, and the next page continues there. So nobody can hide events for
//! good by filling the trail.

mod cursor;
mod filter;
mod read_through;
mod turns;

pub use cursor::{Cursor, ParseCursorError};
pub use filter::Search;
pub(super) use turns::Turns;

use std::cmp::Reverse;

use keyproof_store::Timestamp;

use super::{
    Audit, AuditReader, Event, EventKey, Window,
    index::{Entries, User},
};
use crate::StorageError;

/// A page of results.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The events, latest first.
    pub events: Vec<Event>,
    /// Where to continue, if there may be more.
    pub before: Option<Cursor>,
    /// The number of events read for the page.
    pub read: usize,
}

impl Audit {
    /// Returns at most `most` events before `before`, back to `since`, latest first, that match the search and that the reader may
    /// read.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; [`StorageError::Busy`] if too many searches, or too many of this reader's, are running.
    pub async fn search(
        &self,
        reader: &AuditReader,
        search: &Search,
        before: Option<Cursor>,
        since: Timestamp,
        most: usize,
    ) -> Result<Found, StorageError> {
        let _turn = self.turns.take(&reader.party).await?;
        let search = reader.narrow(search);
        let mut state = SearchState {
            search: &search,
            since,
            most,
            found: Found::default(),
        };
        state.found.before = self.run_search(&mut state, before).await?;
        let mut found = state.found;
        // Combined events sort by their last time.
        found.events.sort_by_key(|event| Reverse(event.last_at()));
        Ok(found)
    }

    async fn run_search(
        &self,
        state: &mut SearchState<'_>,
        before: Option<Cursor>,
    ) -> Result<Option<Cursor>, StorageError> {
        let indexed = match state.search.user() {
            Some(user) => self.indexed_since().await?.map(|since| (user, since)),
            None => None,
        };
        let Some((user, indexed)) = indexed else {
            return self.read_through(state, before).await;
        };
        let is_indexed = |before: &Cursor| {
            before.moment > indexed || before.moment == indexed && before.rest.is_some()
        };
        let rest = Cursor::moment(indexed);
        let before = match before {
            Some(before) if !is_indexed(&before) => before,
            before => match self.by_index(state, user, before, indexed).await? {
                None if state.since < indexed => rest,
                before => return Ok(before),
            },
        };
        self.read_through(state, Some(before)).await
    }

    /// Searches the index of a user, back to where the index starts.
    async fn by_index(
        &self,
        state: &mut SearchState<'_>,
        user: User,
        before: Option<Cursor>,
        indexed: Timestamp,
    ) -> Result<Option<Cursor>, StorageError> {
        // The entry of a combined event has the time of its first event, which may be earlier than `since` in the same hour.
        let since = Window::Hour.start(state.since).max(indexed);
        let place = (before.as_ref(), since);
        let outcome = state.search.outcome;
        let mut entries = Entries::new(&self.store, user, outcome, place, state.most);
        let mut last = before;
        loop {
            let now = self.clock.now();
            let some = entries.next(now).await?;
            if some.is_empty() {
                return Ok(None);
            }
            let keys = some.iter().map(|(_, EventKey(key))| key.clone());
            let keys: Vec<_> = keys.collect();
            let events = self.store.get_many(&keys, now).await?;
            for ((at, key), event) in some.into_iter().zip(events) {
                if state.is_over() {
                    return Ok(last);
                }
                last = Some(Cursor {
                    moment: at,
                    rest: Some(key),
                });
                // An expired event leaves its entry for a while.
                let Some(event) = event else { continue };
                let sought = state.saw(event.decode()?.record);
                state.found.events.extend(sought);
            }
        }
    }
}

/// A running search.
struct SearchState<'s> {
    search: &'s Search,
    since: Timestamp,
    most: usize,
    found: Found,
}

impl SearchState<'_> {
    fn is_over(&self) -> bool {
        self.found.events.len() >= self.most || self.found.read >= Search::MOST_READ
    }

    /// Counts an event that was read, and returns it if it matches.
    fn saw(&mut self, mut event: Event) -> Option<Event> {
        self.found.read += 1;
        // Texts of earlier releases may be as long as a client's request.
        event.cut();
        let is_sought = event.last_at() >= self.since && self.search.matches(&event);
        is_sought.then_some(event)
    }
}

#[cfg(test)]
mod tests;
