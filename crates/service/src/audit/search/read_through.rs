//! Reads the trail itself, which is in order of position, from its end.

use keyproof_store::{Key, Stored, Timestamp};

use super::{Cursor, SearchState};
use crate::{
    StorageError,
    audit::{Audit, Event, EventKey, PAGE, Window, all_events},
};

impl Audit {
    /// Reads the events before this position, or all.
    pub(super) async fn read_through(
        &self,
        state: &mut SearchState<'_>,
        mut before: Option<Cursor>,
    ) -> Result<Option<Cursor>, StorageError> {
        // One more than a page shows whether there is another.
        let mut at_once = state.most.saturating_add(1);
        // A user's own events are found at once.
        let is_of_user = state.search.user().is_some();
        let unfinished = self.unfinished_hour().filter(|_| !is_of_user);
        'pages: loop {
            at_once = at_once.min(PAGE);
            let end = before.as_ref().map(Cursor::end);
            let page: Vec<(Key, Stored<Event>)> = self
                .store
                .scan_back(&all_events(), end.as_ref(), at_once, self.clock.now())
                .await?;
            let is_last = page.len() < at_once;
            for (key, stored) in page {
                if state.is_over() {
                    return Ok(before);
                }
                let key = EventKey(key);
                let Some(moment) = key.moment().filter(|moment| *moment >= state.since) else {
                    return Ok(None);
                };
                if unfinished == Some(moment) {
                    before = Some(Cursor::moment(moment));
                    continue 'pages;
                }
                before = Some(Cursor {
                    moment,
                    rest: Some(key),
                });
                let sought = state.saw(stored.record);
                state.found.events.extend(sought);
            }
            if is_last {
                return Ok(None);
            }
            // A filter may let few events through.
            at_once = at_once.saturating_mul(2);
        }
    }

    /// Returns the position of the combined events of this hour, until its last minute, whose combined events have the same one.
    /// Whatever was used within the hour would otherwise come before the latest events.
    fn unfinished_hour(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        let hour = Window::Hour.end(now);
        (Window::Minute.end(now) < hour).then_some(hour)
    }
}
