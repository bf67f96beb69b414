//! The trail backwards: the latest events that somebody looks for, for a page at a time.
//!
//! A user's own are found by the index, whatever else there is. Anything else is read through from the latest on, by where it
//! stands: what stands for several is at the end of its minute or hour, and is found there once that is over (a minute that
//! is not is read as well). A page reads a bounded number of events, and says exactly where it went no further, so that the
//! next goes on there: nobody who fills the trail hides anything behind it for good.

mod before;
mod filter;
mod read_through;
mod turns;

pub use before::{Before, ParseBeforeError};
pub use filter::Search;
pub(super) use turns::{Looker, Turns};

use std::{cmp::Reverse, time::Duration};

use keyproof_store::Timestamp;

use super::{
    Audit, AuditReader, Event, EventKey, Window,
    index::{Entries, User},
};
use crate::StorageError;

/// How far ahead of this machine's clock a page begins: what one further ahead did is found once this one's shows that time. Where
/// a page begins with an empty minute it reads far more than it shows.
const LOOK_AHEAD: Duration = Duration::from_secs(30);

/// A page of what was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The latest first.
    pub events: Vec<Event>,
    /// Where to go on looking, if there may be more.
    pub before: Option<Before>,
    /// How many events were read for it.
    pub read: usize,
}

impl Audit {
    /// The latest events before this that are looked for, of what the reader may read, back to `since`: at most `most`.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; [`StorageError::Busy`] if too many searches are under way, or too many of this reader's.
    pub async fn search(
        &self,
        reader: &AuditReader,
        search: &Search,
        before: Option<Before>,
        since: Timestamp,
        most: usize,
    ) -> Result<Found, StorageError> {
        let _turn = self.turns.take(reader.looker()).await?;
        let search = reader.narrow(search);
        let mut looking = Looking {
            search: &search,
            since,
            most,
            events: Vec::new(),
            read: 0,
        };
        let before = self.look(&mut looking, before).await?;
        let Looking {
            mut events, read, ..
        } = looking;
        // They are told of the time of their last.
        events.sort_by_key(|event| Reverse(event.last_at()));
        Ok(Found {
            events,
            before,
            read,
        })
    }

    async fn look(
        &self,
        looking: &mut Looking<'_>,
        before: Option<Before>,
    ) -> Result<Option<Before>, StorageError> {
        let indexed = match looking.search.user() {
            Some(user) => self.indexed_since().await?.map(|since| (user, since)),
            None => None,
        };
        let Some((user, indexed)) = indexed else {
            let latest = || Before::moment(self.latest());
            let before = before.unwrap_or_else(latest);
            return self.read_through(looking, before).await;
        };
        let is_indexed = |before: &Before| {
            before.moment > indexed || before.moment == indexed && before.rest.is_some()
        };
        let rest = Before::moment(indexed);
        let before = match before {
            Some(before) if !is_indexed(&before) => before,
            before => match self.by_index(looking, user, before, indexed).await? {
                None if looking.since < indexed => rest,
                before => return Ok(before),
            },
        };
        self.read_through(looking, before).await
    }

    /// Behind all that may be told now: that of this minute included.
    fn latest(&self) -> Timestamp {
        let end = Window::Minute.end(self.clock.now().saturating_add(LOOK_AHEAD));
        end.saturating_add(Duration::from_millis(1))
    }

    /// Looks in the index of a user, back to where that begins.
    async fn by_index(
        &self,
        looking: &mut Looking<'_>,
        user: User,
        before: Option<Before>,
        indexed: Timestamp,
    ) -> Result<Option<Before>, StorageError> {
        let place = (before.as_ref(), looking.since.max(indexed));
        let outcome = looking.search.outcome;
        let mut entries = Entries::new(&self.store, user, outcome, place, looking.most);
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
                if looking.is_over() {
                    return Ok(last);
                }
                last = Some(Before {
                    moment: at,
                    rest: Some(key),
                });
                // One that has expired leaves its entry for a while.
                let Some(event) = event else { continue };
                let sought = looking.saw(event.decode()?.record);
                looking.events.extend(sought);
            }
        }
    }
}

/// A search under way.
struct Looking<'s> {
    search: &'s Search,
    since: Timestamp,
    most: usize,
    events: Vec<Event>,
    read: usize,
}

impl Looking<'_> {
    fn is_over(&self) -> bool {
        self.events.len() >= self.most || self.read >= Search::MOST_READ
    }

    /// Counts an event that is read, and gives it if it is sought.
    fn saw(&mut self, mut event: Event) -> Option<Event> {
        self.read += 1;
        // One of before may be as long as what a client sent.
        event.cut();
        let is_sought = event.last_at() >= self.since && self.search.matches(&event);
        is_sought.then_some(event)
    }
}

#[cfg(test)]
mod tests;
