//! The trail backwards: the latest events that somebody looks for, for a page at a time.

use std::time::Duration;

use keyproof_store::Timestamp;

use super::{Audit, Event, Outcome, PAGE};
use crate::StorageError;

/// The most events that are read for a page, whatever is looked for.
const MOST_READ: usize = 10_000;

/// The first look back, which widens where there is little.
const FIRST_LOOK: Duration = Duration::from_secs(60 * 60);

/// The shortest one: what one has more events than are read for a page is told from its beginning.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);

/// Which events are looked for: those of which all is so that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Who asked: this, or what it has after a slash.
    pub who: Option<String>,
    /// What was asked for: this action, or what it begins with.
    pub action: Option<String>,
    /// What it was asked of: this, or what it has after a slash.
    pub target: Option<String>,
    /// What became of it.
    pub outcome: Option<Outcome>,
    /// Somebody's own, if either is given: asked by one of these, and what they have after a slash.
    pub by: Vec<String>,
    /// Or asked of one of these, and what they have after a slash.
    pub of: Vec<String>,
}

/// A page of what was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The latest first.
    pub events: Vec<Event>,
    /// Where to go on looking, if there may be more.
    pub before: Option<Timestamp>,
}

impl Search {
    fn matches(&self, event: &Event) -> bool {
        let begins = |given: &Option<String>, text: &str| {
            given
                .as_ref()
                .is_none_or(|given| is_at_or_below(text, given))
        };
        let action = self.action.as_ref();
        let any = |places: &[String], text: &str| {
            let mut places = places.iter();
            places.any(|place| is_at_or_below(text, place))
        };
        let is_anybodys = self.by.is_empty() && self.of.is_empty();
        begins(&self.who, &event.who)
            && action.is_none_or(|action| event.action.starts_with(&**action))
            && begins(&self.target, &event.target)
            && self.outcome.is_none_or(|outcome| outcome == event.outcome)
            && (is_anybodys || any(&self.by, &event.who) || any(&self.of, &event.target))
    }
}

fn is_at_or_below(text: &str, place: &str) -> bool {
    let rest = text.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Audit {
    /// The latest events before this moment that are looked for, back to `since`: at most `most`, a little more where many
    /// are of one moment.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn search(
        &self,
        search: &Search,
        before: Option<Timestamp>,
        since: Timestamp,
        most: usize,
    ) -> Result<Found, StorageError> {
        // What stands for several events is told at the end of its minute or hour.
        let mut end =
            before.unwrap_or_else(|| self.clock.now().saturating_add(Duration::from_millis(1)));
        let mut look = FIRST_LOOK;
        let mut left = MOST_READ;
        let mut events = Vec::new();
        while end > since && left > 0 && events.len() < most {
            let start = end.saturating_sub(look).max(since);
            let (part, read, is_whole) = self
                .part(search, start, end, left.min(MOST_READ / 4))
                .await?;
            if !is_whole && look > SHORTEST_LOOK {
                // The latest of it are what is wanted: so less of it.
                look = (look / 32).max(SHORTEST_LOOK);
                left = left.saturating_sub(read);
                continue;
            }
            events.extend(part.into_iter().rev());
            left = left.saturating_sub(read);
            end = start;
            if read < PAGE {
                look = look.saturating_mul(4);
            }
        }
        if events.len() > most {
            let last = events
                .get(most.saturating_sub(1))
                .map(|last: &Event| last.at);
            // All of a moment or none of it: the next page goes on before it.
            events.retain(|event| Some(event.at) >= last);
            end = last.unwrap_or(end);
        }
        Ok(Found {
            before: (end > since).then_some(end),
            events,
        })
    }

    /// What is looked for from `start` on and before `end`, oldest first; how many events were read for it; and whether
    /// that was all.
    async fn part(
        &self,
        search: &Search,
        start: Timestamp,
        end: Timestamp,
        most: usize,
    ) -> Result<(Vec<Event>, usize, bool), StorageError> {
        let (mut found, mut read) = (Vec::new(), 0);
        // Hourly events stand at the end of their hour, and are of the time of their first.
        let horizon = end.saturating_add(Duration::from_secs(60 * 60));
        let mut pages = self.pages(start, None);
        while let Some(page) = pages.next(self.clock.now()).await? {
            read += page.len();
            let mut is_over = pages.is_over();
            for (_, stored) in page {
                let event = stored.record;
                is_over |= event.at > horizon;
                if (start..end).contains(&event.at) && search.matches(&event) {
                    found.push(event);
                }
            }
            if is_over {
                break;
            }
            if read >= most {
                return Ok((found, read, false));
            }
        }
        found.sort_by_key(|event| event.at);
        Ok((found, read, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Action, Clock,
        audit::Deed,
        testing::{START, bench, console},
    };

    #[tokio::test]
    async fn the_latest_are_found_first_and_the_rest_page_by_page() {
        let bench = bench().await;
        let audit = &bench.service.audit;
        let origin = console();
        for number in 0..130_u64 {
            bench.clock.advance(Duration::from_secs(600));
            let now = bench.clock.now();
            let mut batch = bench.store.batch(now);
            let user = if number % 2 == 0 { "7" } else { "77" };
            let deed = Deed {
                action: Action::UserSuspend,
                target: format!("organisation/1/user/{user}"),
                detail: Some(number.to_string()),
                origin: &origin,
            };
            audit.done(&mut batch, now, deed);
            bench.store.commit(batch).await.unwrap();
        }
        let search = Search {
            target: Some("organisation/1/user/7".to_owned()),
            ..Search::default()
        };
        let (mut told, mut before, mut pages) = (Vec::new(), None, 0);
        loop {
            let found = audit.search(&search, before, START, 20).await.unwrap();
            assert!(found.events.len() <= 20);
            told.extend(found.events.into_iter().map(|event| event.detail.unwrap()));
            pages += 1;
            before = found.before;
            if before.is_none() {
                break;
            }
        }
        let all = (0..130).rev().filter(|n| n % 2 == 0).map(|n| n.to_string());
        let all: Vec<_> = all.collect();
        assert_eq!(told, all);
        assert!((4..8).contains(&pages), "{pages}");
        // By who asked, or of what.
        let mine = Search {
            by: vec![origin.who.to_string()],
            outcome: Some(Outcome::Done),
            ..Search::default()
        };
        let found = audit.search(&mine, None, START, 500).await.unwrap();
        assert_eq!((found.events.len(), found.before), (130, None));
    }

    #[test]
    fn a_place_is_not_what_begins_like_it() {
        assert!(is_at_or_below("user:ada", "user:ada"));
        assert!(is_at_or_below("user:ada/application_token:1", "user:ada"));
        assert!(!is_at_or_below("user:adam", "user:ada"));
    }
}
