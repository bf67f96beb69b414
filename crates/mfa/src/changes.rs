//! What a decision changed, record by record.

use core::fmt;

use crate::{
    Addresses, Challenge, Devices, KeyRecord, Lockout, RecoveryCodes, Sessions, UserRecords,
};

/// Which of a user's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// [`UserRecords::addresses`].
    Addresses,
    /// [`UserRecords::challenge`].
    Challenge,
    /// [`UserRecords::devices`].
    Devices,
    /// [`UserRecords::key`].
    Key,
    /// [`UserRecords::lockout`].
    Lockout,
    /// [`UserRecords::recovery`].
    Recovery,
    /// [`UserRecords::sessions`].
    Sessions,
}

impl RecordKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Addresses,
        Self::Challenge,
        Self::Devices,
        Self::Key,
        Self::Lockout,
        Self::Recovery,
        Self::Sessions,
    ];

    /// The name of its member of [`UserRecords`], for a column or a key.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Challenge => "challenge",
            Self::Devices => "devices",
            Self::Key => "key",
            Self::Lockout => "lockout",
            Self::Recovery => "recovery",
            Self::Sessions => "sessions",
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A record that is there. With the feature `serde` it is written in its stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record<'a> {
    /// [`UserRecords::addresses`].
    Addresses(&'a Addresses),
    /// [`UserRecords::challenge`].
    Challenge(&'a Challenge),
    /// [`UserRecords::devices`].
    Devices(&'a Devices),
    /// [`UserRecords::key`].
    Key(&'a KeyRecord),
    /// [`UserRecords::lockout`].
    Lockout(&'a Lockout),
    /// [`UserRecords::recovery`].
    Recovery(&'a RecoveryCodes),
    /// [`UserRecords::sessions`].
    Sessions(&'a Sessions),
}

impl Record<'_> {
    /// Which it is.
    pub const fn kind(&self) -> RecordKind {
        match self {
            Self::Addresses(_) => RecordKind::Addresses,
            Self::Challenge(_) => RecordKind::Challenge,
            Self::Devices(_) => RecordKind::Devices,
            Self::Key(_) => RecordKind::Key,
            Self::Lockout(_) => RecordKind::Lockout,
            Self::Recovery(_) => RecordKind::Recovery,
            Self::Sessions(_) => RecordKind::Sessions,
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Record<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Addresses(record) => record.serialize(serializer),
            Self::Challenge(record) => record.serialize(serializer),
            Self::Devices(record) => record.serialize(serializer),
            Self::Key(record) => record.serialize(serializer),
            Self::Lockout(record) => record.serialize(serializer),
            Self::Recovery(record) => record.serialize(serializer),
            Self::Sessions(record) => record.serialize(serializer),
        }
    }
}

/// What a store has to do with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// There was none.
    Insert(Record<'a>),
    /// There is none any more.
    Remove(RecordKind),
    /// There was another; at the version that was read.
    Replace(Record<'a>),
}

impl Change<'_> {
    /// Which record.
    pub const fn kind(&self) -> RecordKind {
        match self {
            Self::Insert(record) | Self::Replace(record) => record.kind(),
            Self::Remove(kind) => *kind,
        }
    }
}

impl UserRecords {
    /// A record, if it is there.
    pub fn record(&self, kind: RecordKind) -> Option<Record<'_>> {
        match kind {
            RecordKind::Addresses => self.addresses.as_ref().map(Record::Addresses),
            RecordKind::Challenge => self.challenge.as_ref().map(Record::Challenge),
            RecordKind::Devices => self.devices.as_ref().map(Record::Devices),
            RecordKind::Key => self.key.as_ref().map(Record::Key),
            RecordKind::Lockout => self.lockout.as_ref().map(Record::Lockout),
            RecordKind::Recovery => self.recovery.as_ref().map(Record::Recovery),
            RecordKind::Sessions => self.sessions.as_ref().map(Record::Sessions),
        }
    }

    /// What leads from these records, as they were read, to those of a
    /// [`Decision`](crate::Decision): to be committed in one atomic batch, in which whatever is not
    /// named here is required to be as it was read. [`UserRecords::user`] is not among them, since
    /// the caller keeps it with the password: where it differs, as after [`renew`](UserRecords::renew),
    /// it is committed too, or challenges of before stay good. A right password or code changes the counters too, so that
    /// its commit conflicts with that of a failure which was judged on the same records.
    ///
    /// ```
    /// use keyproof_mfa::{Client, Password, Policy, RecordKind, UnixMillis, User, UserId, UserRecords};
    ///
    /// let read = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
    /// let now = UnixMillis::from_secs(1_000);
    /// let decided = read.clone().begin_login(Password::Wrong, Client::STRANGER, now, &Policy::default());
    /// let changes: Vec<_> = read.changes(&decided.next).map(|change| change.kind()).collect();
    /// assert_eq!(changes, [RecordKind::Lockout]); // a failure was counted
    /// ```
    pub fn changes<'a>(&'a self, next: &'a Self) -> impl Iterator<Item = Change<'a>> {
        RecordKind::ALL.into_iter().filter_map(|kind| {
            match (self.record(kind), next.record(kind)) {
                (None, Some(record)) => Some(Change::Insert(record)),
                (Some(_), None) => Some(Change::Remove(kind)),
                (Some(was), Some(record)) if was != record => Some(Change::Replace(record)),
                _ => None,
            }
        })
    }
}
