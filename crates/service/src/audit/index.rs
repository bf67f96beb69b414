//! An index of the events of each user. Other searches read through the trail, but a user's own events are found here quickly,
//! however many events of others lie between them.
//!
//! An entry is written in the batch of its event and contains only the event's position.

use std::{cmp::Reverse, collections::VecDeque, time::Duration};

use data_encoding::HEXLOWER;
use keyproof_store::{Batch, Key, Prefix, Segment, Store, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Audit, Cursor, Event, EventKey, Outcome, PAGE, Principal, Subject, Target, Window, all_events,
};
use crate::{StorageError, pages::Pages, storage::commit_unless_changed};

/// Stored at `audit_user/ORGANISATION/USER/OUTCOME/past/time/id` for the event `audit/_/time/id` of this user. `past` is the time
/// of the decision, inverted so that the latest comes first.
#[derive(Clone, Serialize, Deserialize)]
struct OfUser {}

record!(OfUser, "audit_user");

/// Stored at `audit_users/_`: the time from which on the index is complete. Without this record the index is not used.
#[derive(Clone, Serialize, Deserialize)]
struct OfUsers {
    since: Timestamp,
}

record!(OfUsers, "audit_users");

/// How long servers of a release without the index may run beside one with it.
const TAKES_OVER: Duration = Duration::from_secs(24 * 60 * 60);

fn users_key() -> Key {
    Key::new("audit_users", ["_"])
}

/// A user, by the numbers that all texts about them in the trail have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct User {
    organisation: u32,
    number: u32,
}

impl User {
    /// Returns the user who is this caller.
    pub(super) fn asking(who: &str) -> Option<Self> {
        Principal::subject_in(who).map(Self::of)
    }

    /// Returns the user that this target belongs to.
    pub(super) fn asked(target: &str) -> Option<Self> {
        let (organisation, number) = Target::user_in(target)?;
        Some(Self {
            organisation,
            number,
        })
    }

    /// Returns the user of this account.
    pub(super) const fn of(subject: Subject) -> Self {
        Self {
            organisation: subject.organisation,
            number: subject.user,
        }
    }

    /// Returns the prefix of all the user's entries with this outcome, latest first.
    fn entries(self, outcome: Outcome) -> Prefix {
        let [organisation, number] = self.segments();
        let segments = [&*organisation, &*number, outcome.name()];
        Prefix::new("audit_user", segments)
    }

    /// Returns the key before all entries decided before this time; `None` at the epoch, before which there are none.
    fn before(self, outcome: Outcome, at: Timestamp) -> Option<Key> {
        let last = at.as_millis().checked_sub(1).map(Timestamp::from_millis)?;
        let ([organisation, number], past) = (self.segments(), past(last));
        let segments = [&*organisation, &*number, outcome.name(), &*past];
        Some(Key::new("audit_user", segments))
    }

    /// Returns the key of an event's entry.
    fn entry(self, outcome: Outcome, at: Timestamp, event: &EventKey) -> Option<Key> {
        let (time, id) = event.segments()?;
        let [organisation, number] = self.segments();
        let past = past(at);
        let segments = [
            organisation.as_bytes(),
            number.as_bytes(),
            outcome.name().as_bytes(),
            past.as_bytes(),
            &*time,
            &*id,
        ];
        Some(Key::new("audit_user", segments))
    }

    fn segments(self) -> [String; 2] {
        [self.organisation.to_string(), self.number.to_string()]
    }
}

/// Returns when the event of an entry was decided, and its position.
fn pointed(entry: &Key) -> Option<(Timestamp, EventKey)> {
    let mut segments = entry.segments().skip(4).map(|segment| match segment {
        Segment::Plain(plain) => Some(plain),
        Segment::Digest(_) => None,
    });
    let mut next = || segments.next().flatten();
    let (past, time, id) = (next()?, next()?, next()?);
    let past = u64::from_str_radix(std::str::from_utf8(&past).ok()?, 16).ok()?;
    let event = EventKey::new(std::str::from_utf8(&time).ok()?, &id);
    Some((Timestamp::from_millis(!past), event))
}

/// Returns a time as a key segment that sorts in reverse chronological order.
fn past(at: Timestamp) -> String {
    HEXLOWER.encode(&(!at.as_millis()).to_be_bytes())
}

impl Event {
    /// Returns the users that the event concerns, as caller or as target.
    pub(super) fn users(&self) -> impl Iterator<Item = User> + use<> {
        let (asking, asked) = (User::asking(&self.who), User::asked(&self.target));
        let asked = asked.filter(|asked| Some(*asked) != asking);
        [asking, asked].into_iter().flatten()
    }

    /// Returns the keys of its index entries.
    fn entries(&self, key: &EventKey) -> impl Iterator<Item = Key> {
        let users = self.users();
        users.filter_map(move |user| user.entry(self.outcome, self.at, key))
    }
}

/// Adds the entries of a new event to its batch. They expire with the event; those of a combined event with the last event that may
/// be added to it.
pub(super) fn enter(batch: &mut Batch, key: &EventKey, event: &Event, kept: Option<Duration>) {
    let until = kept.zip(key.moment());
    let until = until.map(|(kept, end)| end.saturating_add(kept));
    for entry in event.entries(key) {
        batch.insert(&entry, &OfUser {}, until);
    }
}

/// Deletes the entries of events that the same batch deletes.
pub(super) async fn take_out(
    store: &Store,
    batch: &mut Batch,
    removed: &[(EventKey, Event)],
    now: Timestamp,
) -> Result<(), StorageError> {
    let entries = removed.iter().flat_map(|(key, event)| event.entries(key));
    let entries: Vec<Key> = entries.collect();
    for entry in store.get_many(&entries, now).await?.into_iter().flatten() {
        batch.remove(entry.key(), entry.version());
    }
    Ok(())
}

impl Audit {
    /// Stores from when on the index is complete, unless that is already stored. In an empty trail that is the beginning, otherwise
    /// the time when no server of a release without the index writes any more.
    ///
    /// # Errors
    ///
    /// [`StorageError`] if the store does not answer. If only the write fails, searches read through the trail for now.
    pub(crate) async fn begin_index(&self) -> Result<(), StorageError> {
        let now = self.clock.now();
        if self.indexed_since().await?.is_some() {
            return Ok(());
        }
        let first = self.store.scan_raw(&all_events(), None, 1, now).await?;
        let since = if first.is_empty() {
            Timestamp::EPOCH
        } else {
            // Between hours, so that a combined event is entirely on one side.
            let end = Window::Hour.end(now.saturating_add(TAKES_OVER));
            end.saturating_add(Duration::from_millis(1))
        };
        let mut batch = self.store.batch(now);
        batch.insert(&users_key(), &OfUsers { since }, None);
        if let Err(error) = commit_unless_changed(&self.store, batch).await {
            tracing::warn!(%error, "no index of users' own events: the whole audit trail is searched for them");
        }
        Ok(())
    }

    /// Returns the time from which on the index is complete.
    pub(super) async fn indexed_since(&self) -> Result<Option<Timestamp>, StorageError> {
        let place = users_key();
        let found = self.store.get::<OfUsers>(&place, self.clock.now());
        Ok(found.await?.map(|stored| stored.record.since))
    }
}

/// The maximum number of entries read at once.
const AT_ONCE: usize = PAGE / 5;

/// A user's entries, latest first, and by event key within a moment. Changes and refusals are read as two streams, so that refusals
/// do not delay the reading of changes.
pub(super) struct Entries<'a> {
    streams: Vec<Stream<'a>>,
    since: Timestamp,
}

struct Stream<'a> {
    pages: Pages<'a, OfUser>,
    read: VecDeque<(Timestamp, EventKey)>,
}

impl<'a> Entries<'a> {
    /// Reads the entries of one or both outcomes, back to `since`, after the position `before`, for about `wanted` events.
    pub(super) fn new(
        store: &'a Store,
        user: User,
        outcome: Option<Outcome>,
        (before, since): (Option<&Cursor>, Timestamp),
        wanted: usize,
    ) -> Self {
        let both = [Outcome::Done, Outcome::Refused];
        let outcomes = both
            .into_iter()
            .filter(|one| outcome.is_none_or(|outcome| outcome == *one));
        let stream = |outcome: Outcome| {
            let after = match before {
                None => None,
                Some(Cursor { moment, rest }) => Some(match rest {
                    None => user.before(outcome, *moment)?,
                    Some(rest) => user.entry(outcome, *moment, rest)?,
                }),
            };
            let pages = Pages::after(store, user.entries(outcome), after);
            Some(Stream {
                pages: pages.at_once(wanted.clamp(10, AT_ONCE)),
                read: VecDeque::new(),
            })
        };
        Self {
            streams: outcomes.filter_map(stream).collect(),
            since,
        }
    }

    /// Returns the next entries: when each event was decided, and its position. Empty at the end.
    pub(super) async fn next(
        &mut self,
        now: Timestamp,
    ) -> Result<Vec<(Timestamp, EventKey)>, StorageError> {
        for stream in &mut self.streams {
            if stream.read.is_empty()
                && let Some(page) = stream.pages.next(now).await?
            {
                let pointed = page.iter().filter_map(|(entry, _)| pointed(entry));
                stream.read.extend(pointed);
            }
        }
        let (mut next, since) = (Vec::new(), self.since);
        loop {
            let latest = |stream: &&mut Stream<'_>| {
                let first = stream.read.front();
                first.map(|(at, key)| (Reverse(*at), key.clone()))
            };
            let streams = self.streams.iter_mut();
            let streams = streams.filter(|stream| !stream.read.is_empty());
            let Some(stream) = streams.min_by_key(latest) else {
                return Ok(next);
            };
            let is_sought = |(at, _): &(Timestamp, EventKey)| *at >= since;
            if !stream.read.front().is_some_and(is_sought) {
                return Ok(next);
            }
            next.extend(stream.read.pop_front());
            // The next page of this stream may be later than the other stream.
            if stream.read.is_empty() && !stream.pages.is_over() {
                return Ok(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        Clock,
        audit::{
            Action, AuditSettings, NewEvent, Search,
            tests::{all_of, counted, done},
        },
        testing::{Bench, READER, START, bench, bench_with, console, origin},
    };

    const ADA: User = User {
        organisation: 1,
        number: 7,
    };

    #[test]
    fn users_are_found_in_what_keyproof_says_and_nowhere_else() {
        let subject = "1:7:0000000000";
        for who in [
            format!("user:{subject}"),
            format!("user:{subject}/application_token:2"),
        ] {
            assert_eq!(User::asking(&who), Some(ADA), "{who}");
        }
        for who in ["user:ada", "anonymous", "operator:1:7:0000000000", "user:"] {
            assert_eq!(User::asking(who), None, "{who}");
        }
        for target in [
            "organisation/1/user/7",
            "organisation/1/user/7/mfa_key/1",
            "user_name/1:7:0000000000",
        ] {
            assert_eq!(User::asked(target), Some(ADA), "{target}");
        }
        for target in [
            "organisation/1",
            "organisation/1/application_token/7",
            "user_name/ada",
            "user_name/unknown/1:7:0000000000",
            "instance/1:7:0000000000",
            "instance/organisation/1/user/7",
        ] {
            assert_eq!(User::asked(target), None, "{target}");
        }
    }

    #[test]
    fn entries_are_in_order_of_time_backwards_and_lead_to_their_events() {
        let key: EventKey = "0000018bcfe56800-000102030405060708090a0b0c0d0e0f"
            .parse()
            .unwrap();
        let done = Outcome::Done;
        let times = [0, 1, 255, 256, 1_700_000_000_000, i64::MAX as u64];
        let entries = times.map(|at| ADA.entry(done, Timestamp::from_millis(at), &key).unwrap());
        assert!(entries.is_sorted_by(|a, b| a > b));
        for (at, entry) in times.into_iter().zip(&entries) {
            let at = Timestamp::from_millis(at);
            assert_eq!(pointed(entry), Some((at, key.clone())));
            assert!(ADA.entries(done).contains(entry));
            assert!(!ADA.entries(Outcome::Refused).contains(entry));
            // An event decided at that time is not before it, but before the next millisecond.
            let before = ADA.before(done, at);
            assert!(before.is_none_or(|before| *entry < before));
            let next = ADA.before(done, at.saturating_add(Duration::from_millis(1)));
            assert!(at == Timestamp::MAX || next.is_some_and(|before| *entry > before));
        }
    }

    /// For any mixture of the two and any page boundaries.
    #[tokio::test]
    async fn what_was_done_and_what_was_refused_is_told_in_order_and_each_by_itself() {
        let bench = bench().await;
        let origin = origin();
        let mut all = Vec::new();
        for number in 0..400_u64 {
            // Runs of one outcome and of the other, some within one moment.
            if number % 3 > 0 {
                bench.clock.advance(Duration::from_millis(1));
            }
            let is_done = (number / 37) % 2 == 0;
            if is_done {
                tell(&bench, number).await;
            } else {
                let now = bench.clock.now();
                let mut batch = bench.store.batch(now);
                let new_event = NewEvent {
                    action: Action::UserAuthenticate,
                    target: "organisation/1/user/7".parse().unwrap(),
                    detail: Some(number.to_string()),
                    origin: &origin,
                };
                let event = new_event.event(now, Outcome::Refused);
                let audit = &bench.service.audit;
                audit.put(&mut batch, audit.key(now), None, event, None);
                bench.store.commit(batch).await.unwrap();
            }
            all.push((bench.clock.now(), number, is_done));
        }
        let audit = &bench.service.audit;
        for (outcome, most) in [
            (None, 7),
            (None, 150),
            (Some(Outcome::Done), 20),
            (Some(Outcome::Refused), 20),
        ] {
            let search = Search { outcome, ..own() };
            let (mut told, mut before) = (Vec::new(), None);
            loop {
                let found = audit.search(&READER, &search, before, START, most);
                let found = found.await.unwrap();
                assert!(found.read <= found.events.len());
                let events = found.events.into_iter();
                told.extend(events.map(|event| (event.at, event.detail.unwrap())));
                before = found.before;
                if before.is_none() {
                    break;
                }
            }
            assert!(told.is_sorted_by(|a, b| a.0 >= b.0));
            let told: BTreeSet<u64> = told.iter().map(|(_, text)| text.parse().unwrap()).collect();
            let wanted = all.iter().filter(|(_, _, is_done)| {
                outcome.is_none_or(|outcome| (outcome == Outcome::Done) == *is_done)
            });
            let wanted: BTreeSet<u64> = wanted.map(|(_, number, _)| *number).collect();
            assert_eq!(told, wanted);
        }
    }

    /// The events about Ada, latest first.
    fn own() -> Search {
        Search {
            target: Some("organisation/1/user/7".to_owned()),
            ..Search::default()
        }
    }

    async fn tell(bench: &Bench, number: u64) {
        let (now, origin) = (bench.clock.now(), console());
        let new_event = NewEvent {
            action: Action::UserUnlock,
            target: "organisation/1/user/7".parse().unwrap(),
            detail: Some(number.to_string()),
            origin: &origin,
        };
        done(bench, now, new_event).await;
    }

    async fn entries(bench: &Bench) -> usize {
        let all = Prefix::collection("audit_user");
        let found = bench.store.scan_raw(&all, None, 10_000, bench.clock.now());
        found.await.unwrap().len()
    }

    #[tokio::test]
    async fn what_a_release_without_the_index_has_told_is_found_by_reading_through() {
        let bench = bench().await;
        for number in 0..30 {
            bench.clock.advance(Duration::from_secs(600));
            tell(&bench, number).await;
        }
        // As if the earlier release had recorded them.
        bench.remove(&Prefix::collection("audit_user")).await;
        bench.remove(&Prefix::collection("audit_users")).await;
        let audit = &bench.service.audit;
        let all = async || {
            let (all, _) = all_of(&bench, &own(), 7).await;
            let details = all.into_iter().filter_map(|event| event.detail);
            let numbers = details.map(|detail| detail.parse::<u64>().unwrap());
            numbers.collect::<Vec<_>>()
        };
        let told = |last: u64| (0..last).rev().collect::<Vec<_>>();
        assert_eq!(all().await, told(30));
        audit.begin_index().await.unwrap();
        let since = audit.indexed_since().await.unwrap().unwrap();
        let day = since.saturating_since(bench.clock.now());
        assert!(
            day >= TAKES_OVER && since.as_secs() % 3_600 == 0,
            "{since:?}"
        );
        audit.begin_index().await.unwrap();
        assert_eq!(audit.indexed_since().await.unwrap(), Some(since), "once");
        // A server of the earlier release runs on for a while.
        bench.clock.advance(Duration::from_secs(1));
        tell(&bench, 30).await;
        bench.remove(&Prefix::collection("audit_user")).await;
        bench.clock.advance(Duration::from_secs(1));
        tell(&bench, 31).await;
        assert_eq!(all().await, told(32));
        for (number, wait) in [(32, day), (33, Duration::from_secs(1))] {
            bench.clock.advance(wait);
            tell(&bench, number).await;
        }
        assert_eq!(all().await, told(34));
    }

    #[tokio::test]
    async fn entries_end_with_their_events() {
        let keep = AuditSettings::days(Some(10), 2);
        let bench = bench_with(|settings| settings.audit = keep).await;
        for number in 0..120 {
            tell(&bench, number).await;
        }
        let origin = origin();
        let new_event = || NewEvent {
            action: Action::UserAuthenticate,
            target: "user_name/1:7:0000000000".parse().unwrap(),
            detail: None,
            origin: &origin,
        };
        let audit = &bench.service.audit;
        audit.refused(new_event()).await;
        for _ in 0..3 {
            bench.clock.advance(Duration::from_secs(1));
            counted(&bench, new_event()).await;
        }
        assert_eq!(entries(&bench).await, 122, "those of a minute have one");
        // A combined event stays as long as its last one must.
        bench
            .clock
            .advance(Duration::from_secs(2 * 24 * 60 * 60 - 3));
        assert_eq!(entries(&bench).await, 121);
        bench.clock.advance(Duration::from_secs(60));
        assert_eq!(entries(&bench).await, 120);
        bench.clock.advance(Duration::from_secs(8 * 24 * 60 * 60));
        while audit.forget_old().await.unwrap().removed > 0 {}
        assert_eq!(entries(&bench).await, 0);
    }

    #[tokio::test]
    async fn a_restore_brings_the_index_back() {
        let bench = bench().await;
        tell(&bench, 1).await;
        let (restored, _) = bench.restored(Duration::from_secs(60)).await;
        let audit = &restored.service.audit;
        let found = audit.search(&READER, &own(), None, START, 5).await.unwrap();
        assert_eq!((found.events.len(), found.read), (1, 1));
    }
}
