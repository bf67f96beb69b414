//! The trail backwards: the latest events that somebody looks for, for a page at a time.
//!
//! A user's own are found by the index, whatever else there is. Anything else is read through from the latest on, by where it
//! stands: what stands for several is at the end of its minute or hour, and is found there once that is over (a minute that
//! is not is read as well). A page reads a bounded number of events, and says exactly where it went no further, so that the
//! next goes on there: nobody who fills the trail hides anything behind it for good.

use std::{cmp::Reverse, fmt, str::FromStr, time::Duration};

use keyproof_store::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Audit, Event, EventKey, Outcome, ParseEventKeyError, Subject, Window,
    follower::LOOK_BACK,
    index::{Entries, User},
    text::bounded,
};
use crate::{Place, Places, StorageError, TooBusy};

/// So many events are read at once.
const AT_ONCE: usize = 100;

/// The most events that are read through together, and put into order.
const WINDOW: usize = 1_000;

/// Without a filter, one read takes at most this many pages' worth of events.
const SPARE: usize = 4;

/// The first window, which widens where there is little.
const FIRST_LOOK: Duration = Duration::from_secs(60);

/// The shortest one: a moment. What has more events than a window takes is told from its first on.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);

/// How many searches read at once: they share the store with those who log in.
const SEARCHES: usize = 4;

/// How many more wait.
const WAITING: usize = 28;

/// How many of all these are one looker's.
const EACH: usize = 2;

/// Who searches: of each only a few searches are under way at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looker {
    /// An operator, whichever of their tokens they show: the subject that these are of.
    Operator(String),
    /// A user.
    User(Subject),
}

impl fmt::Display for Looker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(subject) => write!(f, "operator:{subject}"),
            Self::User(subject) => write!(f, "user:{subject}"),
        }
    }
}

/// Which events are looked for: those of which all is so that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// What was asked for: this action, or what it begins with.
    pub action: Option<String>,
    /// What it was asked of: this, or what it has after a slash.
    pub target: Option<String>,
    /// What became of it.
    pub outcome: Option<Outcome>,
    /// Somebody's own, if any of these three is given: asked by one of these, and what they have after a slash.
    pub by: Vec<String>,
    /// Or asked of one of these, and what they have after a slash.
    pub of: Vec<String>,
    /// Or asked of one of these, exactly.
    pub named: Vec<String>,
}

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

/// Where a search goes on. Its text is the moment in milliseconds; and where that was told in part, a hyphen and the event
/// that was told last of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Before this moment.
    pub(super) moment: Timestamp,
    /// And, first, at it: behind this event.
    pub(super) rest: Option<EventKey>,
}

impl Before {
    /// Before this moment.
    pub const fn moment(moment: Timestamp) -> Self {
        Self { moment, rest: None }
    }
}

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.moment.as_millis())?;
        match &self.rest {
            Some(rest) => write!(f, "-{rest}"),
            None => Ok(()),
        }
    }
}

/// A text that no page has for where it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no page goes on here")]
pub struct ParseBeforeError;

impl FromStr for Before {
    type Err = ParseBeforeError;

    fn from_str(text: &str) -> Result<Self, ParseBeforeError> {
        let (moment, rest) = match text.split_once('-') {
            Some((moment, rest)) => (moment, Some(rest)),
            None => (text, None),
        };
        let moment = moment.parse().map_err(|_| ParseBeforeError)?;
        let rest = rest.map(str::parse::<EventKey>).transpose();
        Ok(Self {
            moment: Timestamp::from_millis(moment),
            rest: rest.map_err(|ParseEventKeyError| ParseBeforeError)?,
        })
    }
}

impl Search {
    /// The most events that are read for a page, whatever is looked for, but for what is begun.
    pub const MOST_READ: usize = 10_000;

    /// Whether every event matches.
    pub fn is_unfiltered(&self) -> bool {
        *self == Self::default()
    }

    fn matches(&self, event: &Event) -> bool {
        let action = self.action.as_ref();
        let target = self.target.as_ref();
        let is_anybodys = self.by.is_empty() && self.of.is_empty() && self.named.is_empty();
        action.is_none_or(|action| event.action.starts_with(&**action))
            && target.is_none_or(|target| is_at_or_below(&event.target, target))
            && self.outcome.is_none_or(|outcome| outcome == event.outcome)
            && (is_anybodys
                || self.by.iter().any(|asker| is_by(&event.who, asker))
                || self.of.iter().any(|at| is_at_or_below(&event.target, at))
                || self.named.contains(&event.target))
    }

    /// The one user whose index entries hold every match, apart from events of releases before the index.
    fn user(&self) -> Option<User> {
        if let Some(user) = self.target.as_deref().and_then(User::asked) {
            return Some(user);
        }
        let by = self.by.iter().map(|asker| User::asking(asker).ok_or(asker));
        let of = self.of.iter().chain(&self.named);
        let of = of.map(|target| User::asked(target).ok_or(target));
        let mut found: Option<User> = None;
        for user in by.chain(of) {
            match user {
                Ok(user) if found.is_none_or(|found| found == user) => found = Some(user),
                // By their name: as releases of before told of them.
                Err(text) if text.starts_with("user:") || text.starts_with("user_name/") => {}
                _ => return None,
            }
        }
        found
    }
}

fn is_at_or_below(text: &str, place: &str) -> bool {
    let rest = text.strip_prefix(&*bounded(place));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Users' names may have a slash, so what is below a user is an application's token alone.
fn is_by(who: &str, asker: &str) -> bool {
    match who.strip_prefix(asker) {
        Some(rest) if asker.starts_with("user:") => {
            rest.is_empty() || rest.starts_with("/application_token:")
        }
        _ => is_at_or_below(who, asker),
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

    /// The most events that are read through together.
    fn window(&self) -> usize {
        if self.search.is_unfiltered() {
            self.most.saturating_mul(SPARE).clamp(AT_ONCE, WINDOW)
        } else {
            WINDOW
        }
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

/// Turns at reading the trail through.
#[derive(Debug)]
pub(super) struct Turns {
    /// One for each that reads or waits.
    places: Places,
    /// One for each that reads.
    turns: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            places: Places::new(SEARCHES + WAITING, EACH),
            turns: Semaphore::new(SEARCHES),
        }
    }
}

impl Turns {
    async fn take(&self, looker: &Looker) -> Result<(Place, SemaphorePermit<'_>), TooBusy> {
        let place = self.places.try_take(&looker.to_string())?;
        let turn = self.turns.acquire().await.map_err(|_| TooBusy)?;
        Ok((place, turn))
    }
}

impl Audit {
    /// The latest events before this that are looked for, back to `since`: at most `most`.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; [`StorageError::Busy`] if too many searches are under way, or too many of this looker's.
    pub async fn search(
        &self,
        looker: &Looker,
        search: &Search,
        before: Option<Before>,
        since: Timestamp,
        most: usize,
    ) -> Result<Found, StorageError> {
        let _turn = self.turns.take(looker).await?;
        let mut looking = Looking {
            search,
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
        let end = Window::Minute.end(self.clock.now().saturating_add(LOOK_BACK));
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

    /// Reads the trail through, by where events stand.
    async fn read_through(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Action, Clock,
        audit::Deed,
        testing::{Bench, LOOKER, START, bench, console, origin},
    };
    use std::collections::BTreeSet;

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
            let found = audit
                .search(&LOOKER, &search, before, START, 20)
                .await
                .unwrap();
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
        let found = audit
            .search(&LOOKER, &mine, None, START, 500)
            .await
            .unwrap();
        assert_eq!((found.events.len(), found.before), (130, None));
    }

    /// Keeps events that are there from before this release, or as if.
    async fn keep(bench: &Bench, events: &[(Timestamp, Event)]) {
        for some in events.chunks(100) {
            let mut batch = bench.store.batch(bench.clock.now());
            for (end, event) in some {
                batch.insert(&bench.service.audit.key(*end), event, None);
            }
            bench.store.commit(batch).await.unwrap();
        }
    }

    fn event(at: Timestamp, who: &str, target: &str) -> Event {
        let json = serde_json::json!({
            "at": at, "action": "x.y", "target": target, "outcome": "done", "who": who,
        });
        serde_json::from_value(json).unwrap()
    }

    /// All that is found, and in how many pages.
    async fn all_of(bench: &Bench, search: &Search, most: usize) -> (Vec<Event>, usize) {
        let (mut all, mut before, mut pages) = (Vec::new(), None, 0);
        loop {
            let audit = &bench.service.audit;
            let found = audit.search(&LOOKER, search, before.clone(), START, most);
            let found = found.await.unwrap();
            assert!(found.events.len() <= most);
            all.extend(found.events);
            pages += 1;
            assert!(found.before.is_none() || found.before != before, "it moves");
            before = found.before;
            if before.is_none() {
                return (all, pages);
            }
        }
    }

    #[tokio::test]
    async fn whoever_fills_the_trail_hides_nothing_in_it() {
        let bench = bench().await;
        let sign_in = bench.clock.now();
        let own = Deed {
            action: Action::UserAuthenticate,
            target: "organisation/1/user/7".to_owned(),
            detail: None,
            origin: &origin().by(crate::Who::User {
                subject: "1:7:0000000000".parse().unwrap(),
                application_token: None,
            }),
        };
        let mut batch = bench.store.batch(sign_in);
        bench.service.audit.done(&mut batch, sign_in, own);
        bench.store.commit(batch).await.unwrap();
        keep(
            &bench,
            &[(sign_in, event(sign_in, "console:root", "instance/shop"))],
        )
        .await;
        bench.clock.advance(Duration::from_secs(2 * 60 * 60));
        let now = bench.clock.now();
        let fill = (0..8_000_u64).map(|number| {
            let at = now.saturating_sub(Duration::from_millis(450 * number));
            (at, event(at, "anonymous", "instance/default"))
        });
        keep(&bench, &fill.collect::<Vec<_>>()).await;
        let of_a_till = Search {
            target: Some("instance/shop".to_owned()),
            ..Search::default()
        };
        let (found, pages) = all_of(&bench, &of_a_till, 50).await;
        assert_eq!(found.len(), 1);
        assert!(pages <= 5, "{pages}");
        // A user's own are not looked for among others'.
        let own = Search {
            by: vec!["user:1:7:0000000000".to_owned(), "user:ada".to_owned()],
            of: vec!["organisation/1/user/7".to_owned()],
            named: vec![
                "user_name/1:7:0000000000".to_owned(),
                "user_name/ada".to_owned(),
            ],
            ..Search::default()
        };
        for search in [
            own,
            Search {
                target: Some("organisation/1/user/7".to_owned()),
                ..Search::default()
            },
        ] {
            let audit = &bench.service.audit;
            let found = audit.search(&LOOKER, &search, None, START, 5).await;
            let found = found.unwrap();
            assert_eq!((found.events.len(), found.read, found.before), (1, 1, None));
        }
    }

    #[tokio::test]
    async fn a_page_of_whatever_there_is_reads_little_more_than_it_shows() {
        let bench = bench().await;
        bench.clock.advance(Duration::from_secs(60 * 60));
        let now = bench.clock.now();
        let event = |number: u64| {
            let at = now.saturating_sub(Duration::from_millis(60 * number));
            (at, event(at, &number.to_string(), "instance/shop"))
        };
        keep(&bench, &(0..3_000).map(event).collect::<Vec<_>>()).await;
        let audit = &bench.service.audit;
        let everything = Search::default();
        let found = audit.search(&LOOKER, &everything, None, START, 50);
        let read = found.await.unwrap().read;
        assert!((50..600).contains(&read), "{read}");
        let (all, _) = all_of(&bench, &everything, 50).await;
        // Of the server's start there are some, too.
        let kept = all
            .into_iter()
            .filter(|event| event.target == "instance/shop");
        let all: Vec<_> = kept.map(|event| event.who).collect();
        let expected: Vec<_> = (0..3_000).map(|number| number.to_string()).collect();
        assert_eq!(all, expected);
    }

    #[tokio::test]
    async fn more_of_a_moment_than_a_page_reads_is_told_to_its_end() {
        let bench = bench().await;
        bench.clock.advance(Duration::from_secs(60));
        let now = bench.clock.now();
        let of = |number: u64| event(now, &number.to_string(), "instance/shop");
        let events: Vec<_> = (0..12_000).map(|number| (now, of(number))).collect();
        keep(&bench, &events).await;
        keep(&bench, &[(START, event(START, "first", "instance/shop"))]).await;
        let search = Search {
            target: Some("instance/shop".to_owned()),
            ..Search::default()
        };
        let (all, pages) = all_of(&bench, &search, 700).await;
        assert!(pages <= 30, "{pages}");
        assert_eq!(all.last().unwrap().who, "first");
        let each: BTreeSet<_> = all.iter().map(|event| &event.who).collect();
        assert_eq!((all.len(), each.len()), (12_001, 12_001));
        let audit = &bench.service.audit;
        let found = audit.search(&LOOKER, &search, None, START, 20_000);
        let read = found.await.unwrap().read;
        assert!(
            (Search::MOST_READ..Search::MOST_READ + AT_ONCE).contains(&read),
            "{read}"
        );
    }

    /// Releases of before kept whatever a client had sent.
    #[tokio::test]
    async fn what_is_found_is_no_longer_than_an_event_may_be() {
        let bench = bench().await;
        let long = format!("instance/shop/{}", "x".repeat(500_000));
        keep(&bench, &[(START, event(START, &long, &long))]).await;
        let place = |text: &str| Some(text.to_owned());
        for target in [place(&long), place("instance/shop"), None] {
            let search = Search {
                target,
                action: place("x.y"),
                ..Search::default()
            };
            let (all, _) = all_of(&bench, &search, 50).await;
            assert_eq!(all.len(), 1);
            assert!(all[0].target.len() <= 512 && all[0].who.len() <= 512);
        }
    }

    /// An event of several is told of the time of its last, and found by it.
    #[tokio::test]
    async fn what_is_of_several_is_found_at_the_end_of_its_time() {
        let bench = bench().await;
        let origin = origin();
        for _ in 0..2 {
            bench.clock.advance(Duration::from_secs(1));
            let now = bench.clock.now();
            let mut batch = bench.store.batch(now);
            let deed = Deed {
                action: Action::UserAuthenticate,
                target: "user_name/x".to_owned(),
                detail: None,
                origin: &origin,
            };
            bench
                .service
                .audit
                .counted(&mut batch, now, deed)
                .await
                .unwrap();
            bench.store.commit(batch).await.unwrap();
        }
        let search = Search {
            target: Some("user_name/x".to_owned()),
            ..Search::default()
        };
        let since = async |since| {
            let audit = &bench.service.audit;
            let found = audit.search(&LOOKER, &search, None, since, 5);
            found.await.unwrap().events.len()
        };
        let last = bench.clock.now();
        assert_eq!(since(last).await, 1);
        assert_eq!(
            since(last.saturating_add(Duration::from_millis(1))).await,
            0
        );
    }

    #[tokio::test]
    async fn so_many_look_at_once_and_the_rest_is_told_to_come_again() {
        let bench = bench().await;
        let audit = &bench.service.audit;
        let places = &audit.turns.places;
        let all = (0..SEARCHES + WAITING).map(|number| number.to_string());
        let full: Vec<_> = all.map(|whose| places.try_take(&whose).unwrap()).collect();
        let search = Search::default();
        let refused = audit.search(&LOOKER, &search, None, START, 5).await;
        assert_eq!(refused.unwrap_err(), StorageError::Busy(TooBusy));
        drop(full);
        // One that waits for its turn has it in the end.
        let turns = u32::try_from(SEARCHES).unwrap();
        let turns = audit.turns.turns.try_acquire_many(turns).unwrap();
        let mut waiting = Box::pin(audit.search(&LOOKER, &search, None, START, 5));
        let waits = tokio::time::timeout(Duration::from_millis(1), &mut waiting).await;
        assert!(waits.is_err());
        drop(turns);
        assert!(!waiting.await.unwrap().events.is_empty());
    }

    #[tokio::test]
    async fn whoever_looks_for_too_much_shuts_nobody_else_out() {
        let bench = bench().await;
        let audit = &bench.service.audit;
        let search = Search::default();
        let looks = async |subject: &str| {
            let looker = Looker::Operator(subject.to_owned());
            audit.search(&looker, &search, None, START, 5).await
        };
        let taken = [(); EACH].map(|()| audit.turns.places.try_take("operator:1").unwrap());
        let refused = looks("1").await;
        assert_eq!(refused.unwrap_err(), StorageError::Busy(TooBusy));
        assert!(looks("2").await.is_ok());
        drop(taken);
        assert!(looks("1").await.is_ok());
    }

    #[test]
    fn no_looker_is_another() {
        let subject = "1:7:0000000000".parse().unwrap();
        let user = Looker::User(subject);
        let namesake = Looker::Operator(subject.to_string());
        assert_ne!(user.to_string(), namesake.to_string());
    }

    #[test]
    fn whatever_is_looked_for_is_a_filter() {
        let text = || Some("x".to_owned());
        let texts = || vec!["x".to_owned()];
        let everything = Search::default();
        assert!(everything.is_unfiltered());
        let filters = [
            Search {
                action: text(),
                ..everything.clone()
            },
            Search {
                target: text(),
                ..everything.clone()
            },
            Search {
                outcome: Some(Outcome::Done),
                ..everything.clone()
            },
            Search {
                by: texts(),
                ..everything.clone()
            },
            Search {
                of: texts(),
                ..everything.clone()
            },
            Search {
                named: texts(),
                ..everything
            },
        ];
        assert!(!filters.iter().any(Search::is_unfiltered));
    }

    #[test]
    fn where_a_page_goes_on_is_read_as_it_is_written() {
        for text in [
            "0",
            "1700000000000",
            "1-0000018bcfe56800-000102030405060708090a0b0c0d0e0f",
        ] {
            assert_eq!(text.parse::<Before>().unwrap().to_string(), text);
        }
        for wrong in ["", "x", "-1", "1-", "1-2", "1-0000018bcfe56800"] {
            assert_eq!(wrong.parse::<Before>(), Err(ParseBeforeError), "{wrong}");
        }
    }

    #[test]
    fn a_user_is_not_one_who_is_called_like_what_is_below() {
        assert!(is_by("user:ada", "user:ada"));
        assert!(is_by("user:ada/application_token:1", "user:ada"));
        assert!(!is_by("user:ada/lovelace", "user:ada"));
        assert!(is_by("instance:shop/token:1", "instance:shop"));
        let long = "x".repeat(1_000);
        assert!(is_at_or_below(&bounded(&long), &long), "as it is told");
    }

    #[test]
    fn a_place_is_not_what_begins_like_it() {
        assert!(is_at_or_below("user:ada", "user:ada"));
        assert!(is_at_or_below("user:ada/application_token:1", "user:ada"));
        assert!(!is_at_or_below("user:adam", "user:ada"));
    }
}
