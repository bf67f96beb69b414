//! The differences between the records before and after a decision.

use core::fmt;

use crate::{
    Addresses, Challenge, Devices, KeyRecord, Lockout, RecoveryCodes, Sessions, UserRecords,
};

/// One of the records of a user.
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
    /// All kinds of record.
    pub const ALL: [Self; 7] = [
        Self::Addresses,
        Self::Challenge,
        Self::Devices,
        Self::Key,
        Self::Lockout,
        Self::Recovery,
        Self::Sessions,
    ];

    /// The name of the field in [`UserRecords`], for use as a column or a key.
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

/// A record that exists. With the feature `serde` it serialises in its stored form.
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
    /// The kind of this record.
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
    /// Insert the record, which did not exist.
    Insert(Record<'a>),
    /// Remove the record.
    Remove(RecordKind),
    /// Replace the record, at the version that was read.
    Replace(Record<'a>),
}

impl Change<'_> {
    /// The kind of the record that changes.
    pub const fn kind(&self) -> RecordKind {
        match self {
            Self::Insert(record) | Self::Replace(record) => record.kind(),
            Self::Remove(kind) => *kind,
        }
    }
}

impl UserRecords {
    /// Returns the record of this kind, if it exists.
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

    /// Returns the changes from these records, as they were read, to `next`, the records of a
    /// [`Decision`](crate::Decision).
    ///
    /// Commit them in one atomic batch, which also requires every record not named here to be
    /// unchanged. [`UserRecords::user`] is not included, since the caller stores it with the
    /// password. If it differs, as after [`after_password_change`](UserRecords::after_password_change), commit it too: otherwise
    /// earlier challenges stay valid. A right password or code also changes the counters, so its
    /// commit conflicts with that of a failure decided on the same records.
    ///
    /// ```
    /// use keyproof_mfa::{Client, Password, Policy, RecordKind, UnixMillis, User, UserId, UserRecords};
    ///
    /// let read = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
    /// let now = UnixMillis::from_secs(1_000);
    /// let decided = read.clone().begin_login(Password::Wrong, Client::UNKNOWN, now, &Policy::default());
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
