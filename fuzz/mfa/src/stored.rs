//! Records as they are read from a store.

use std::fmt::Debug;

use keyproof_mfa::{
    Addresses, Challenge, Change, Client, DeviceId, Devices, KeyKind, KeyRecord, KeyStatus,
    Lockout, Record, RecordKind, RecoveryCodes, Sessions, UnixMillis, UserRecords,
};
use serde::{Serialize, de::DeserializeOwned};

/// A text is a record of at most one kind, and reads back the same after it was written. A user's complete records survive every
/// command that needs no code.
pub fn stored(data: &[u8]) {
    let all = survives::<UserRecords>(data);
    let kinds = [
        all.is_some(),
        survives::<KeyRecord>(data).is_some_and(|key| {
            let KeyKind::Totp(parameters) = key.kind() else {
                panic!("a kind that nobody has told of");
            };
            assert!(parameters.period.get() > 0);
            // Only an active key may have accepted codes, so only an active key can be marked as spent.
            let active = matches!(key.status(), KeyStatus::Active { .. });
            let spent = key.spent_until(key.created_at());
            assert_eq!(active, spent.is_some());
            if let Some(spent) = spent {
                assert_eq!(spent.spent_until(key.created_at()), Some(spent));
                assert_eq!(spent.generation(), key.generation());
            }
            true
        }),
        survives::<Challenge>(data).is_some_and(|challenge| {
            let _ = (challenge.user().generation(), challenge.expires_at());
            true
        }),
        survives::<Devices>(data).is_some(),
        survives::<Lockout>(data).is_some_and(|lockout| {
            let until = lockout.locked_until(UnixMillis::from_millis(0));
            assert!(until.is_none_or(|until| lockout.locked_until(until).is_none()));
            true
        }),
        survives::<Addresses>(data).is_some_and(|addresses| {
            let _ = addresses.expires_at();
            true
        }),
        survives::<Sessions>(data).is_some(),
        survives::<RecoveryCodes>(data).is_some_and(|codes| {
            let _ = codes.made_at();
            codes.left() <= RecoveryCodes::COUNT
        }),
    ];
    assert!(kinds.iter().filter(|is_read| **is_read).count() <= 1);
    if let Some(records) = all {
        whole(&records);
    }
}

fn survives<R: Debug + DeserializeOwned + PartialEq + Serialize>(data: &[u8]) -> Option<R> {
    let record: R = match serde_json::from_slice(data) {
        Ok(record) => record,
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            return None;
        }
    };
    let written = serde_json::to_vec(&record).expect("every record has a stored form");
    let read: R = serde_json::from_slice(&written).expect("what was written is read");
    assert_eq!(read, record);
    Some(record)
}

fn whole(records: &UserRecords) {
    let now = records.lockout.map_or(UnixMillis::from_secs(1), |lockout| {
        lockout
            .locked_until(UnixMillis::from_millis(0))
            .map_or(lockout.expires_at(), |until| {
                UnixMillis::from_millis(until.as_millis() - 1)
            })
    });
    let locked = records.check_lockout(Client::UNKNOWN, now);
    assert!(locked.is_ok() || records.is_locked(now));
    assert!(!records.clone().unlock().is_locked(now));

    for kind in RecordKind::ALL {
        let record = records.record(kind);
        assert!(record.is_none_or(|record| record.kind() == kind));
    }
    let trusted = records.trusted_devices(now);
    for device in &trusted {
        let id = device.id();
        let revoked = records.clone().revoke_device(id, now);
        assert_eq!(revoked.verdict, Ok(()));
        let left = revoked.next.trusted_devices(now);
        assert!(left.iter().all(|device| device.id() != id));
        follows(records, &revoked.next);
    }
    assert!(
        records
            .clone()
            .revoke_device(DeviceId::new(0), now)
            .verdict
            .is_err()
    );

    let removed = records.clone().remove_key(now);
    assert_eq!(removed.verdict.is_ok(), records.key.is_some());
    follows(records, &removed.next);
    for next in [
        records.clone().after_password_change(),
        records.clone().suspend(),
    ] {
        assert!(next.trusted_devices(now).is_empty() && next.challenge.is_none());
        follows(records, &next);
    }
    let nothing = UserRecords::new(records.user);
    follows(&nothing, records);
    follows(records, &nothing);
}

/// Asserts that the changes which [`UserRecords::changes`] names turn the old records into the new ones: each at most once, in its
/// stored form.
pub(crate) fn follows(records: &UserRecords, next: &UserRecords) {
    let mut committed = records.clone();
    let mut kinds = Vec::new();
    for change in records.changes(next) {
        let kind = change.kind();
        assert!(!kinds.contains(&kind), "{kind} twice");
        kinds.push(kind);
        let was = records.record(kind);
        match change {
            Change::Insert(record) => {
                assert!(was.is_none(), "{kind} is there");
                put(&mut committed, record);
            }
            Change::Replace(record) => {
                assert!(was.is_some(), "{kind} is not there");
                put(&mut committed, record);
            }
            Change::Remove(_) => {
                assert!(was.is_some(), "{kind} is not there");
                remove(&mut committed, kind);
            }
        }
    }
    // The caller stores it with the password.
    committed.user = next.user;
    assert_eq!(&committed, next);
}

fn put(records: &mut UserRecords, record: Record<'_>) {
    let text = serde_json::to_vec(&record).expect("every record has a stored form");
    fn read<R: DeserializeOwned>(text: &[u8]) -> Option<R> {
        Some(serde_json::from_slice(text).expect("what was written is read"))
    }
    match record.kind() {
        RecordKind::Addresses => records.addresses = read(&text),
        RecordKind::Challenge => records.challenge = read(&text),
        RecordKind::Devices => records.devices = read(&text),
        RecordKind::Key => records.key = read(&text),
        RecordKind::Lockout => records.lockout = read(&text),
        RecordKind::Recovery => records.recovery = read(&text),
        RecordKind::Sessions => records.sessions = read(&text),
        other => panic!("{other} is of no kind"),
    }
}

fn remove(records: &mut UserRecords, kind: RecordKind) {
    match kind {
        RecordKind::Addresses => records.addresses = None,
        RecordKind::Challenge => records.challenge = None,
        RecordKind::Devices => records.devices = None,
        RecordKind::Key => records.key = None,
        RecordKind::Lockout => records.lockout = None,
        RecordKind::Recovery => records.recovery = None,
        RecordKind::Sessions => records.sessions = None,
        other => panic!("{other} is of no kind"),
    }
}
