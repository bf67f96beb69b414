//! The audit trail: who did what, when, and on whose request. The event of a change is part of the change's batch, so a change and
//! its event are always committed together.
//!
//! The key of an event contains its time in milliseconds and a random id. Servers' clocks differ and commits take time, so an event
//! may appear before one that was already read. A [`Follower`] looks back and yields each event once.
//!
//! Actions that can be repeated at will are combined into one event a minute or an hour, with a count ([`Repeats`]). The key of
//! such an event contains the end of that time.

mod action;
mod allowance;
mod event;
mod export;
mod follower;
mod index;
mod principal;
mod reader;
mod retention;
mod search;
mod sink;
mod subject;
mod target;
mod text;

pub use action::{Action, Domain, PrincipalKind};
pub use allowance::Party;
pub use event::{Event, Outcome, RepeatedDetail, Repeats};
pub use export::{Exported, ParseEventKeyError};
pub use follower::Follower;
pub use principal::Principal;
pub use reader::AuditReader;
pub use retention::AuditSettings;
pub use search::{Cursor, Found, ParseCursorError, Search};
pub use sink::AuditSink;
pub use subject::{ParseSubjectError, Subject};
pub use target::{LoginName, ObjectKind, ParseTargetError, Target, UserPart};
pub(crate) use text::{MOST as LONGEST_TEXT, bounded};

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use keyproof_auth::operator::OperatorScope;
use keyproof_store::{Batch, CommitError, Key, Prefix, Raw, Store, Stored, Timestamp, Version};
use ring::digest::{Context, SHA256, digest};

use crate::{
    Clock, StorageError,
    access::{Operator, OutOfScope, Requester},
    figures::Count,
    keys::{draw_bytes, moment},
    mutex::lock,
    pages::Pages,
};
use allowance::{Allowance, LeftOut};

/// The origin of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The caller.
    pub who: Principal,
    /// The request's id, if it came over a network.
    pub request_id: Option<String>,
    /// The client's address, if the request came over a network.
    pub address: Option<IpAddr>,
    /// Identifies the request when it waits for password hashes.
    pub requester: Requester,
    /// The records of the store that permit the request.
    pub warrants: Vec<Warrant>,
}

/// A record that permits a request, in the version that was read: an operator's token, a browser session, the key that signed an
/// access token, or a client certificate. Batches of the request require that it is unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warrant {
    pub(crate) place: Key,
    pub(crate) version: Version,
}

impl Origin {
    /// Requires in the batch that the records which permit this request are unchanged. So a token that is revoked or a session that
    /// is ended meanwhile changes nothing. A record that the batch already contains is skipped.
    pub(crate) fn require(&self, batch: &mut Batch) {
        for Warrant { place, version } in &self.warrants {
            if !batch.contains(place) {
                batch.require(place, *version);
            }
        }
    }

    /// Whether the records that permit this request still exist, changed or not. If not, no batch that requires them can be
    /// committed.
    pub(crate) async fn is_permitted_still(
        &self,
        store: &Store,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let places = self.warrants.iter().map(|warrant| warrant.place.clone());
        let places: Vec<Key> = places.collect();
        if places.is_empty() {
            return Ok(true);
        }
        let found = store.get_many(&places, now).await?;
        Ok(found.iter().all(Option::is_some))
    }

    /// Returns the origin with the authenticated caller.
    pub fn by(&self, who: Principal) -> Self {
        Self {
            who,
            ..self.clone()
        }
    }

    /// Returns the origin with an operator as the caller, permitted by their token.
    pub(crate) fn by_operator(&self, operator: &Operator) -> Self {
        Self {
            warrants: operator.warrants.clone(),
            ..self.by(operator.who.clone())
        }
    }

    /// Returns the origin of keyproof's own actions.
    pub fn keyproof() -> Self {
        Self {
            who: Principal::Keyproof,
            request_id: None,
            address: None,
            requester: Requester::default(),
            warrants: Vec::new(),
        }
    }
}

/// A user who runs a command on this machine. With the store's files and its master key they may do anything, so no scope is
/// checked. Use cases that operators' scopes also permit take this instead of a scope.
#[derive(Clone, Debug)]
pub struct CommandLine(Origin);

impl CommandLine {
    /// Creates the command line of this user of the machine, with the name for the audit trail.
    pub fn of(user: String) -> Self {
        Self(Origin {
            who: Principal::CommandLine(user),
            ..Origin::keyproof()
        })
    }

    /// Returns the origin for the audit trail.
    pub const fn origin(&self) -> &Origin {
        &self.0
    }
}

/// The content of an event, except its time.
pub(crate) struct NewEvent<'a> {
    pub(crate) action: Action,
    pub(crate) target: Target,
    pub(crate) detail: Option<String>,
    pub(crate) origin: &'a Origin,
}

impl NewEvent<'_> {
    fn event(self, at: Timestamp, outcome: Outcome) -> Event {
        debug_assert!(
            self.action
                .principal_kinds()
                .contains(&PrincipalKind::of(&self.origin.who)),
            "the table of actions says who asks for {}, not {}",
            self.action,
            self.origin.who
        );
        let mut event = Event {
            at,
            action: self.action.name().to_owned(),
            target: self.target.to_string(),
            outcome,
            who: self.origin.who.to_string(),
            detail: self.detail,
            request_id: self.origin.request_id.clone(),
            address: self.origin.address,
            left_out: 0,
            repeats: None,
        };
        event.cut();
        event
    }
}

/// The time in which events with the same action, target and caller are combined.
#[derive(Clone, Copy)]
enum Window {
    Minute,
    Hour,
}

impl Window {
    /// Returns the length in milliseconds.
    const fn length(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        }
    }

    /// Returns the first millisecond of the window.
    const fn start(self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.as_millis() - at.as_millis() % self.length())
    }

    /// Returns the last millisecond of the window.
    const fn end(self, at: Timestamp) -> Timestamp {
        let start = self.start(at).as_millis();
        Timestamp::from_millis(start.saturating_add(self.length() - 1))
    }
}

fn all_events() -> Prefix {
    Prefix::new("audit", ["_"])
}

/// The number of events a minute for everything beyond an allowance.
const SHARES: u8 = 16;

/// The page size of reads, which also limits the memory of one read.
const PAGE: usize = 500;

/// The audit trail of a store.
pub struct Audit {
    store: Store,
    clock: Arc<dyn Clock>,
    settings: AuditSettings,
    allowance: Mutex<Allowance>,
    /// How many refusals this process has left out so far, whether or not the trail reports them yet.
    pub(crate) left_out: Count,
    turns: search::Turns,
    /// Receives events in addition to the store.
    sink: Option<Arc<dyn AuditSink>>,
}

impl Audit {
    /// Creates the trail of this store, which keeps events of changes forever.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self::with_settings(store, clock, AuditSettings::default(), None)
    }

    /// Creates the trail of this store with these settings and this sink.
    pub(crate) fn with_settings(
        store: Store,
        clock: Arc<dyn Clock>,
        settings: AuditSettings,
        sink: Option<Arc<dyn AuditSink>>,
    ) -> Self {
        Self {
            store,
            clock,
            settings,
            allowance: Mutex::default(),
            left_out: Count::default(),
            turns: search::Turns::default(),
            sink,
        }
    }

    /// Returns how many searches were refused because too many were running.
    pub(crate) fn refused_searches(&self) -> u64 {
        self.turns.refused()
    }

    /// Checks that an operator's scopes cover `needed`, and returns the origin with the operator as the caller. Otherwise records
    /// that `action` on `target` was refused.
    pub(crate) async fn permit(
        &self,
        operator: &Operator,
        needed: OperatorScope,
        action: Action,
        target: impl FnOnce() -> Target,
        origin: &Origin,
    ) -> Result<Origin, OutOfScope> {
        let origin = origin.by_operator(operator);
        if operator.may(&needed) {
            return Ok(origin);
        }
        let new_event = NewEvent {
            action,
            target: target(),
            detail: Some(format!("it needs the scope {needed}")),
            origin: &origin,
        };
        self.refused(new_event).await;
        Err(OutOfScope { needed })
    }

    /// Records an action on the store as a whole.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn of_store(
        &self,
        action: Action,
        detail: Option<String>,
        origin: &Origin,
    ) -> Result<(), StorageError> {
        let mut batch = self.store.batch(self.clock.now());
        self.add_of_store(&mut batch, action, detail, origin);
        Ok(self.store.commit(batch).await?)
    }

    /// Adds the event of an action on the store as a whole to the action's batch.
    pub fn add_of_store(
        &self,
        batch: &mut Batch,
        action: Action,
        detail: Option<String>,
        origin: &Origin,
    ) {
        let new_event = NewEvent {
            action,
            target: Target::Store,
            detail,
            origin,
        };
        self.done(batch, self.clock.now(), new_event);
    }

    /// Adds the event of a change to the change's batch, which then also requires the records that permit the request.
    pub(crate) fn done(&self, batch: &mut Batch, at: Timestamp, new_event: NewEvent<'_>) {
        new_event.origin.require(batch);
        let event = new_event.event(at, Outcome::Done);
        self.put(batch, self.key(at), None, event, None);
    }

    /// Adds the event of a refusal to the batch of what the refusal changes, such as a count of failures. Events of one minute,
    /// action, target and caller are combined. The records that permit the request are not required: a guess that was checked
    /// counts although its session has ended meanwhile. A caller that changes more than a count must require them itself.
    pub(crate) async fn counted(
        &self,
        batch: &mut Batch,
        at: Timestamp,
        new_event: NewEvent<'_>,
    ) -> Result<(), StorageError> {
        let event = new_event.event(at, Outcome::Refused);
        self.repeated(batch, event, Window::Minute).await
    }

    /// Like `counted`, for targets that a client makes up. Each new target uses up the caller's allowance. Beyond the allowance,
    /// events share the target `beyond` in a few combined events.
    pub(crate) async fn counted_within(
        &self,
        batch: &mut Batch,
        at: Timestamp,
        new_event: NewEvent<'_>,
        beyond: &Target,
    ) -> Result<(), StorageError> {
        // As before every refusal that may be left out, since taking from the allowance may start a new minute.
        self.record_left_out().await;
        let who = new_event.origin.who.clone();
        let own = new_event.event(at, Outcome::Refused);
        let rest = Event {
            target: beyond.to_string(),
            ..own.clone()
        };
        let end = Window::Minute.end(at);
        let keys = [repeated_key(end, &own), shared_key(end, &rest, &own)];
        // Reads both at once, so that events beyond the allowance cost as much as others.
        let found = self.store.get_many(&keys, at).await?;
        let ([own_key, rest_key], [told, told_rest]) = (keys, found.as_slice()) else {
            return Err(StorageError::Damaged(
                "two keys, but not two answers".to_owned(),
            ));
        };
        let event_of =
            |raw: &Option<Raw>| raw.as_ref().map(|raw| raw.decode::<Event>()).transpose();
        match event_of(told)? {
            None if lock(&self.allowance).take_room(&who, at).is_err() => {
                self.put_short_lived(batch, rest_key, rest, event_of(told_rest)?);
            }
            stored => self.put_short_lived(batch, own_key, own, stored),
        }
        Ok(())
    }

    /// Adds to a batch the event of the use of something granted before, which changes nothing. Uses of one hour, action, target
    /// and user are combined, unless `alone` is set. The batch then also requires the records that permit the request.
    pub(crate) async fn used(
        &self,
        batch: &mut Batch,
        at: Timestamp,
        new_event: NewEvent<'_>,
        alone: bool,
    ) -> Result<(), StorageError> {
        new_event.origin.require(batch);
        let event = new_event.event(at, Outcome::Done);
        if alone {
            self.put_short_lived(batch, self.key(at), event, None);
            return Ok(());
        }
        self.repeated(batch, event, Window::Hour).await
    }

    /// Adds to a batch the event of a first step, which needs another one to have an effect. Events of one minute, action, target
    /// and caller are combined. The batch then also requires the records that permit the request.
    pub(crate) async fn begun(
        &self,
        batch: &mut Batch,
        at: Timestamp,
        new_event: NewEvent<'_>,
    ) -> Result<(), StorageError> {
        new_event.origin.require(batch);
        let event = new_event.event(at, Outcome::Done);
        self.repeated(batch, event, Window::Minute).await
    }

    /// Adds an event to a batch, combined with the earlier ones of its window, if any.
    async fn repeated(
        &self,
        batch: &mut Batch,
        event: Event,
        window: Window,
    ) -> Result<(), StorageError> {
        let key = repeated_key(window.end(event.at), &event);
        let stored = self.store.get::<Event>(&key, event.at).await?;
        self.put_short_lived(batch, key, event, stored);
        Ok(())
    }

    /// Adds an event that is kept as long as a refusal, combined with the earlier ones in `stored`, if any.
    fn put_short_lived(
        &self,
        batch: &mut Batch,
        key: Key,
        event: Event,
        stored: Option<Stored<Event>>,
    ) {
        let kept = Some(event.at.saturating_add(self.settings.keep_refusals));
        match stored {
            None => self.put(batch, key, None, event, kept),
            Some(mut stored) => {
                stored.record.add(event);
                self.put(batch, key, Some(stored.version), stored.record, kept);
            }
        }
    }

    /// Records a refusal. If the trail cannot be written, this is logged, and the caller gets its answer all the same.
    pub(crate) async fn refused(&self, new_event: NewEvent<'_>) {
        // Boxed because it is rare and large, and its callers' futures would otherwise reserve space for it.
        Box::pin(self.write_refusal(new_event)).await;
    }

    async fn write_refusal(&self, new_event: NewEvent<'_>) {
        self.record_left_out().await;
        let at = self.clock.now();
        if !lock(&self.allowance).take(&new_event.origin.who, new_event.action, at) {
            self.left_out.add(1);
            return;
        }
        let event = new_event.event(at, Outcome::Refused);
        let (action, mut batch) = (event.action.clone(), self.store.batch(at));
        self.put_short_lived(&mut batch, self.key(at), event, None);
        if let Err(error) = self.store.commit(batch).await {
            tracing::error!(%error, action, "a refusal could not be written to the audit trail");
        }
    }

    /// Records how many refusals of past minutes were left out. To be called periodically, because a later refusal that would
    /// trigger it may never come.
    pub(crate) async fn record_left_out(&self) {
        let now = self.clock.now();
        let left_out = lock(&self.allowance).take_left_out(now);
        self.write_left_out(now, left_out).await;
    }

    /// Records how many refusals were left out, including those of this minute. To be called when the process ends.
    pub async fn finish(&self) {
        let left_out = lock(&self.allowance).take_all_left_out();
        self.write_left_out(self.clock.now(), left_out).await;
    }

    async fn write_left_out(&self, at: Timestamp, left_out: Vec<LeftOut>) {
        if left_out.is_empty() {
            return;
        }
        let origin = Origin::keyproof();
        let mut batch = self.store.batch(at);
        for left_out in &left_out {
            let new_event = NewEvent {
                action: Action::AuditLeaveOut,
                target: Target::LeftOut(left_out.of.clone()),
                detail: Some(left_out.detail()),
                origin: &origin,
            };
            let event = Event {
                left_out: left_out.total(),
                ..new_event.event(at, Outcome::Refused)
            };
            self.put_short_lived(&mut batch, self.key(at), event, None);
        }
        if let Err(error) = self.store.commit(batch).await {
            tracing::error!(%error, "the number of refusals left out of the audit trail could not be written to it");
            if !matches!(error, CommitError::Unknown(_)) {
                lock(&self.allowance).restore(left_out);
            }
        }
    }

    /// Returns at most one page of the events from `since` on, oldest first. `after` is the last key of the page before.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn events(
        &self,
        since: Timestamp,
        after: Option<&EventKey>,
    ) -> Result<Vec<(EventKey, Event)>, StorageError> {
        let mut pages = self.pages(since, after);
        loop {
            let page = pages.next(self.clock.now()).await?.unwrap_or_default();
            let events: Vec<_> = page
                .into_iter()
                .map(|(key, stored)| (EventKey(key), stored.record))
                .filter(|(_, event)| event.last_at() >= since)
                .collect();
            if pages.is_over() || !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// Returns the pages of these events. They also contain combined events of the same minute or hour that ended before `since`.
    fn pages(&self, since: Timestamp, after: Option<&EventKey>) -> Pages<'_, Event> {
        let EventKey(after) = after.cloned().unwrap_or_else(|| EventKey::start(since));
        Pages::after(&self.store, all_events(), Some(after)).at_once(PAGE)
    }

    fn key(&self, at: Timestamp) -> Key {
        EventKey::new(&moment(at), &draw_bytes::<16>(self.store.entropy())).0
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

/// Returns the key of the combined event for this event in the window that ends at `end`.
fn repeated_key(end: Timestamp, event: &Event) -> Key {
    place_of(end, in_common(event))
}

/// Returns the key of the combined event `rest` for events beyond an allowance. Events are spread by the targets that they would
/// have had. With a single record, guesses at unknown names would contend with each other, unlike guesses at users' names.
fn shared_key(end: Timestamp, rest: &Event, own: &Event) -> Key {
    let target = digest(&SHA256, own.target.as_bytes());
    let share = target.as_ref().first().map_or(0, |byte| byte % SHARES);
    let mut in_common = in_common(rest);
    in_common.update(&[share]);
    place_of(end, in_common)
}

/// Returns the digest of what combined events have in common.
fn in_common(event: &Event) -> Context {
    let mut digest = Context::new(&SHA256);
    for part in [&event.action, &event.target, &event.who] {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.update(&[u8::from(event.outcome == Outcome::Refused)]);
    digest
}

fn place_of(end: Timestamp, in_common: Context) -> Key {
    EventKey::new(&moment(end), in_common.finish().as_ref()).0
}

/// The position of an event in the trail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventKey(Key);

impl EventKey {
    /// Returns the position of an event with this time, as [`moment`] writes it, and this id.
    fn new(moment: &str, id: &[u8]) -> Self {
        Self(Key::new("audit", ["_".as_bytes(), moment.as_bytes(), id]))
    }

    /// Returns the position before every event of this time.
    fn start(at: Timestamp) -> Self {
        Self(Key::new("audit", ["_", &moment(at)]))
    }

    /// Returns the position after every event of this time.
    fn end(at: Timestamp) -> Self {
        Self::start(at.saturating_add(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests;
