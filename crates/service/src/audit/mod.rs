//! The audit trail: who did what, when, on whose request. The event of a change is an entry of the change's own
//! batch, so there is no change without its event and no event without its change.
//!
//! Events are keyed by their millisecond and a random id. Servers' clocks differ and commits take time, so an event
//! may appear before one that was read already; a [`Follower`] looks back and tells each event once.
//!
//! What somebody can have happen as often as they like is told as one event a minute or an hour, which says how often
//! ([`Repeats`]) and is keyed by the end of that time.

mod action;
mod allowance;
mod event;
mod export;
mod follower;
mod index;
mod reader;
mod retention;
mod search;
mod sink;
mod subject;
mod target;
mod text;
mod who;

pub use action::{Action, Asker, Domain};
pub use allowance::Party;
pub use event::{Event, Outcome, RepeatedDetail, Repeats};
pub use export::{Exported, ParseEventKeyError};
pub use follower::Follower;
pub use reader::AuditReader;
pub use retention::AuditSettings;
pub use search::{Before, Found, ParseBeforeError, Search};
pub use sink::AuditSink;
pub use subject::{ParseSubjectError, Subject};
pub use target::{LoginName, ObjectKind, ParseTargetError, Target, UserPart};
pub use who::Who;

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyproof_auth::operator::OperatorScope;
use keyproof_store::{Batch, CommitError, Key, Prefix, Raw, Store, Stored, Timestamp, Version};
use ring::digest::{Context, SHA256, digest};

use crate::{
    Clock, StorageError,
    access::{Applicant, Operator, OutOfScope},
    figures::Count,
    keys::moment,
    pages::Pages,
};
use allowance::{Allowance, LeftOut};

/// Where a request for a change comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who asks.
    pub who: Who,
    /// The request's id, if it came by a network.
    pub request_id: Option<String>,
    /// The client's address, if it came by a network.
    pub address: Option<IpAddr>,
    /// The request where passwords are hashed for it.
    pub applicant: Applicant,
    /// What it is permitted by, as far as that are records of the store.
    pub warrants: Vec<Warrant>,
}

/// A record that permits a request, as it was then: an operator's token, a browser's session, the key that an access token is
/// signed with, a client certificate. A batch that it permits requires that it is still as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warrant {
    pub(crate) place: Key,
    pub(crate) version: Version,
}

impl Origin {
    /// Lets a batch go through only while what permits this is as it was: nothing is changed by a token that is revoked, or a
    /// session that is ended, while the request is on its way. What the batch says of such a record already says more.
    pub(crate) fn require(&self, batch: &mut Batch) {
        for Warrant { place, version } in &self.warrants {
            if !batch.contains(place) {
                batch.require(place, *version);
            }
        }
    }

    /// Whether the records that permit this are there still, whatever has changed in them: if not, no batch that requires this
    /// goes through any more.
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

    /// The same request, by whom authentication has found.
    pub fn by(&self, who: Who) -> Self {
        Self {
            who,
            ..self.clone()
        }
    }

    /// The same, by an operator, as their token permits it.
    pub(crate) fn by_operator(&self, operator: &Operator) -> Self {
        Self {
            warrants: operator.warrants.clone(),
            ..self.by(operator.who.clone())
        }
    }

    /// What keyproof does by itself.
    pub fn keyproof() -> Self {
        Self {
            who: Who::Keyproof,
            request_id: None,
            address: None,
            applicant: Applicant::default(),
            warrants: Vec::new(),
        }
    }
}

/// Whoever runs a command on this machine: with the store's files and its master key they may do anything, so that no scope is
/// asked for. Use cases that operators reach by their scopes take this in a scope's place.
#[derive(Clone, Debug)]
pub struct CommandLine(Origin);

impl CommandLine {
    /// Run by this user of the machine, as the audit trail names them.
    pub fn of(user: String) -> Self {
        Self(Origin {
            who: Who::CommandLine(user),
            ..Origin::keyproof()
        })
    }

    /// As the audit trail names them.
    pub const fn origin(&self) -> &Origin {
        &self.0
    }
}

/// What an event tells, before it is known when it happened.
pub(crate) struct Deed<'a> {
    pub(crate) action: Action,
    pub(crate) target: Target,
    pub(crate) detail: Option<String>,
    pub(crate) origin: &'a Origin,
}

impl Deed<'_> {
    fn event(self, at: Timestamp, outcome: Outcome) -> Event {
        debug_assert!(
            self.action.askers().contains(&Asker::of(&self.origin.who)),
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

/// The time in which events of one action, target and asker are told as one.
#[derive(Clone, Copy)]
enum Window {
    Minute,
    Hour,
}

impl Window {
    /// Its last millisecond.
    const fn end(self, at: Timestamp) -> Timestamp {
        let length: u64 = match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        };
        let into = at.as_millis() % length;
        Timestamp::from_millis(at.as_millis().saturating_add(length - 1 - into))
    }
}

fn all_events() -> Prefix {
    Prefix::new("audit", ["_"])
}

/// As how many events a minute is told what is beyond an allowance.
const SHARES: u8 = 16;

/// The page size of reads, and so the most that one read has in memory.
const PAGE: usize = 500;

/// The trail in a store.
pub struct Audit {
    store: Store,
    clock: Arc<dyn Clock>,
    settings: AuditSettings,
    allowance: Mutex<Allowance>,
    left_out: Count,
    turns: search::Turns,
    /// Who is told beside the store.
    sink: Option<Arc<dyn AuditSink>>,
}

impl Audit {
    /// The trail of this store, which keeps what was done for ever.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self::with_settings(store, clock, AuditSettings::default(), None)
    }

    /// The trail of this store, how long its events stay, and who else is told of them.
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

    /// How many refusals this process has left out so far, told or not.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.get()
    }

    /// Lets an operator do what needs this scope, by whom the rest of the request is then told; else it is told that they were
    /// refused `action` on `target`.
    ///
    /// # Errors
    ///
    /// [`OutOfScope`].
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
        let deed = Deed {
            action,
            target: target(),
            detail: Some(format!("it needs the scope {needed}")),
            origin: &origin,
        };
        self.refused(deed).await;
        Err(OutOfScope { needed })
    }

    /// Tells what was done to the store as a whole.
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
        let at = self.clock.now();
        let mut batch = self.store.batch(at);
        let deed = Deed {
            action,
            target: Target::Store,
            detail,
            origin,
        };
        self.done(&mut batch, at, deed);
        Ok(self.store.commit(batch).await?)
    }

    /// Adds the event of a change to the change's batch, which then requires what it is permitted by.
    pub(crate) fn done(&self, batch: &mut Batch, at: Timestamp, deed: Deed<'_>) {
        deed.origin.require(batch);
        let event = deed.event(at, Outcome::Done);
        self.put(batch, self.key(at), None, event, None);
    }

    /// Adds the event of a refusal to the batch of what the refusal changes, as a count of failures. Those of one
    /// minute, action, target and asker are one event. What the request is permitted by is not required: a guess that was
    /// judged counts, although its session has ended meanwhile. Whoever changes more than a count requires it themselves.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub(crate) async fn counted(
        &self,
        batch: &mut Batch,
        at: Timestamp,
        deed: Deed<'_>,
    ) -> Result<(), StorageError> {
        let event = deed.event(at, Outcome::Refused);
        self.repeated(batch, event, Window::Minute).await
    }

    /// Like `counted`, for targets that a client invents: each new target uses up the caller's allowance, and beyond it events
    /// share the target `beyond`, as a few events.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub(crate) async fn counted_within(
        &self,
        batch: &mut Batch,
        at: Timestamp,
        deed: Deed<'_>,
        beyond: &Target,
    ) -> Result<(), StorageError> {
        // As before each that may be left out: the next minute's allowance begins with it.
        self.tell_left_out().await;
        let who = deed.origin.who.clone();
        let own = deed.event(at, Outcome::Refused);
        let rest = Event {
            target: beyond.to_string(),
            ..own.clone()
        };
        let end = Window::Minute.end(at);
        let keys = [repeated_key(end, &own), shared_key(end, &rest, &own)];
        // Both at once: what is beyond costs as much as what is not.
        let found = self.store.get_many(&keys, at).await?;
        let ([own_key, rest_key], [told, told_rest]) = (keys, found.as_slice()) else {
            return Err(StorageError::Damaged(
                "two keys, but not two answers".to_owned(),
            ));
        };
        let event_of =
            |raw: &Option<Raw>| raw.as_ref().map(|raw| raw.decode::<Event>()).transpose();
        match event_of(told)? {
            None if self.allowance().take_room(&who, at).is_err() => {
                self.tell_repeated(batch, rest_key, rest, event_of(told_rest)?);
            }
            stored => self.tell_repeated(batch, own_key, own, stored),
        }
        Ok(())
    }

    /// Adds to a batch that something was used which was granted before, and which changes nothing. Uses of one hour,
    /// action, target and user are one event, unless this one is to be told `alone`. The batch then requires what the request
    /// is permitted by.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub(crate) async fn used(
        &self,
        batch: &mut Batch,
        at: Timestamp,
        deed: Deed<'_>,
        alone: bool,
    ) -> Result<(), StorageError> {
        deed.origin.require(batch);
        let event = deed.event(at, Outcome::Done);
        if alone {
            let kept = Some(at.saturating_add(self.settings.keep_refusals));
            self.put(batch, self.key(at), None, event, kept);
            return Ok(());
        }
        self.repeated(batch, event, Window::Hour).await
    }

    /// Adds to a batch that something was granted which decides nothing yet, for more is asked for. Those of one minute, action,
    /// target and asker are one event. The batch then requires what the request is permitted by.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub(crate) async fn begun(
        &self,
        batch: &mut Batch,
        at: Timestamp,
        deed: Deed<'_>,
    ) -> Result<(), StorageError> {
        deed.origin.require(batch);
        let event = deed.event(at, Outcome::Done);
        self.repeated(batch, event, Window::Minute).await
    }

    /// Adds an event to a batch, to the one that stands for those before it if there is one.
    async fn repeated(
        &self,
        batch: &mut Batch,
        event: Event,
        window: Window,
    ) -> Result<(), StorageError> {
        let key = repeated_key(window.end(event.at), &event);
        let stored = self.store.get::<Event>(&key, event.at).await?;
        self.tell_repeated(batch, key, event, stored);
        Ok(())
    }

    fn tell_repeated(
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

    /// Notes a refusal. The caller's answer does not wait for luck: a trail that cannot be written is logged.
    pub(crate) async fn refused(&self, deed: Deed<'_>) {
        // Rare, and large: whoever may be refused would keep room for it.
        Box::pin(self.write_refusal(deed)).await;
    }

    async fn write_refusal(&self, deed: Deed<'_>) {
        self.tell_left_out().await;
        let at = self.clock.now();
        if !self.allowance().take(&deed.origin.who, deed.action, at) {
            self.left_out.add(1);
            return;
        }
        let event = deed.event(at, Outcome::Refused);
        let (action, mut batch) = (event.action.clone(), self.store.batch(at));
        let kept = Some(at.saturating_add(self.settings.keep_refusals));
        self.put(&mut batch, self.key(at), None, event, kept);
        if let Err(error) = self.store.commit(batch).await {
            tracing::error!(%error, action, "a refusal could not be written to the audit trail");
        }
    }

    /// Tells how many refusals of the minutes that are over were left out. To be asked now and then, for there may be
    /// no refusal that would tell it.
    pub(crate) async fn tell_left_out(&self) {
        let now = self.clock.now();
        let left_out = self.allowance().take_left_out(now);
        self.write_left_out(now, left_out).await;
    }

    /// Tells how many refusals were left out, those of this minute included: at the end of a process.
    pub async fn finish(&self) {
        let left_out = self.allowance().take_all_left_out();
        self.write_left_out(self.clock.now(), left_out).await;
    }

    async fn write_left_out(&self, at: Timestamp, left_out: Vec<LeftOut>) {
        if left_out.is_empty() {
            return;
        }
        let origin = Origin::keyproof();
        let mut batch = self.store.batch(at);
        for left_out in &left_out {
            let deed = Deed {
                action: Action::AuditLeaveOut,
                target: Target::LeftOut(left_out.of.clone()),
                detail: Some(left_out.detail()),
                origin: &origin,
            };
            let event = Event {
                left_out: left_out.total(),
                ..deed.event(at, Outcome::Refused)
            };
            let kept = Some(at.saturating_add(self.settings.keep_refusals));
            self.put(&mut batch, self.key(at), None, event, kept);
        }
        if let Err(error) = self.store.commit(batch).await {
            tracing::error!(%error, "what was left out of the audit trail could not be written to it");
            if !matches!(error, CommitError::Unknown(_)) {
                self.allowance().give_back(left_out);
            }
        }
    }

    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        self.allowance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The events from `since` on, oldest first, at most one page; after `after` where a page before ended there.
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

    /// The same, page by page, with what was over before `since` in the minute or hour that it belongs to.
    fn pages(&self, since: Timestamp, after: Option<&EventKey>) -> Pages<'_, Event> {
        let EventKey(after) = after.cloned().unwrap_or_else(|| EventKey::start(since));
        Pages::after(&self.store, all_events(), Some(after)).at_once(PAGE)
    }

    fn key(&self, at: Timestamp) -> Key {
        let mut id = [0; 16];
        self.store.entropy().fill(&mut id);
        Key::new("audit", [b"_", moment(at).as_bytes(), id.as_slice()])
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

/// Where the event stands that tells of all that are like this one, up to `end`.
fn repeated_key(end: Timestamp, event: &Event) -> Key {
    place_of(end, in_common(event))
}

/// Where the event stands that tells of this one, `rest`, among others beyond an allowance. They are spread by the targets that
/// they would have had: if all wrote one record, those at names that nobody has would race each other, and no others.
fn shared_key(end: Timestamp, rest: &Event, own: &Event) -> Key {
    let target = digest(&SHA256, own.target.as_bytes());
    let share = target.as_ref().first().map_or(0, |byte| byte % SHARES);
    let mut in_common = in_common(rest);
    in_common.update(&[share]);
    place_of(end, in_common)
}

/// What events have in common that are told as one.
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
    let id = in_common.finish();
    Key::new("audit", [b"_", moment(end).as_bytes(), id.as_ref()])
}

/// Where an event stands in the trail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventKey(Key);

impl EventKey {
    /// Before every event of this moment.
    fn start(at: Timestamp) -> Self {
        Self(Key::new("audit", ["_", &moment(at)]))
    }

    /// After every event of this moment.
    fn end(at: Timestamp) -> Self {
        Self::start(at.saturating_add(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests;
