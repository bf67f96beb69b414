//! Changes between records, and all records of a user in one form.

use keyproof_mfa::{
    Change, Client, KeyKind, MfaError, Password, Policy, Proof, RecordKind, SessionId, UnixMillis,
    User, UserId, UserRecords,
    otp::{
        Secret, Totp,
        otpauth::{Kind, OtpauthUri},
    },
};

const NOW: UnixMillis = UnixMillis::from_secs(1_700_000_010);

/// The changes, each as its kind and whether the record was or is there.
fn told(read: &UserRecords, next: &UserRecords) -> Vec<(&'static str, RecordKind)> {
    let told = read.changes(next).map(|change| match change {
        Change::Insert(record) => ("insert", record.kind()),
        Change::Remove(kind) => ("remove", kind),
        Change::Replace(record) => ("replace", record.kind()),
    });
    told.collect()
}

#[test]
fn changes_name_every_record_that_differs_and_no_other() {
    let policy = Policy::default();
    let secret = Secret::from_bytes(&[7; 20]).unwrap();
    let totp = Totp::new(&secret, Default::default(), Default::default());
    let session = SessionId::new("hers");
    let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 5));
    assert_eq!(told(&ada, &ada), []);

    let enrolled = ada
        .clone()
        .enrol(
            KeyKind::default(),
            Password::Correct,
            [1; 16],
            session,
            NOW,
            &policy,
        )
        .next;
    // The right password there resets a count of her session.
    let inserted = [
        ("insert", RecordKind::Key),
        ("insert", RecordKind::Sessions),
    ];
    assert_eq!(told(&ada, &enrolled), inserted);
    let removed = inserted.map(|(_, kind)| ("remove", kind));
    assert_eq!(told(&enrolled, &ada), removed);

    let code = totp.code(NOW.as_secs()).to_string();
    let proof = Proof::Typed {
        text: &code,
        secret: &secret,
    };
    let active = enrolled
        .clone()
        .activate(&proof, session, NOW, &policy)
        .next;
    assert!(told(&enrolled, &active).contains(&("replace", RecordKind::Key)));

    let begun = active
        .clone()
        .begin_login(Password::Correct, Client::UNKNOWN, NOW, &policy)
        .next;
    assert!(told(&active, &begun).contains(&("insert", RecordKind::Challenge)));
    for kind in RecordKind::ALL {
        let differs = active.record(kind) != begun.record(kind);
        let named = active.changes(&begun).any(|change| change.kind() == kind);
        assert_eq!(named, differs, "{kind}");
    }
}

#[test]
fn phones_enrol_by_an_uri_of_this_crate() {
    let secret = Secret::from_bytes(&[7; 20]).unwrap();
    let uri = OtpauthUri::new(Kind::TOTP, Some("Example"), "ada", secret).unwrap();
    assert!(uri.to_string().starts_with("otpauth://totp/Example:ada?"));
}

#[test]
fn moments_come_from_durations_and_go_back() {
    let since_epoch = core::time::Duration::from_nanos(1_700_000_010_123_456_789);
    let moment = UnixMillis::from(since_epoch);
    assert_eq!(moment.as_millis(), 1_700_000_010_123);
    assert_eq!(
        core::time::Duration::from(moment).as_millis(),
        1_700_000_010_123
    );
    let last = UnixMillis::from_millis(u64::MAX);
    assert_eq!(UnixMillis::from(core::time::Duration::from(last)), last);
    assert_eq!(UnixMillis::from(core::time::Duration::MAX), last);
    let too_late = core::time::Duration::from_secs(u64::MAX / 1000 + 1);
    assert_eq!(UnixMillis::from(too_late), last);
    let epoch = core::time::Duration::ZERO;
    assert_eq!(UnixMillis::from(epoch), UnixMillis::from_millis(0));
}

#[cfg(feature = "std")]
#[test]
fn moments_come_from_the_systems_clock_and_go_back() {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};
    let time = UNIX_EPOCH + Duration::from_millis(1_700_000_010_123);
    let moment = UnixMillis::try_from(time).unwrap();
    assert_eq!(moment.as_millis(), 1_700_000_010_123);
    assert_eq!(SystemTime::try_from(moment), Ok(time));
    let before = UNIX_EPOCH - Duration::from_millis(1);
    assert_eq!(UnixMillis::try_from(before), Err(MfaError::Time));
}

#[test]
fn a_kind_is_called_like_the_field_of_its_record() {
    let UserRecords {
        addresses: _,
        challenge: _,
        devices: _,
        key: _,
        lockout: _,
        recovery: _,
        sessions: _,
        ..
    } = UserRecords::new(User::new(UserId::new("example.org", "ada"), 5));
    let names = RecordKind::ALL.map(RecordKind::name);
    let fields = "addresses challenge devices key lockout recovery sessions";
    assert_eq!(names.join(" "), fields);
    assert_eq!(format!("{:>9}", RecordKind::Key), "      key");
}

#[cfg(feature = "serde")]
#[test]
fn all_records_of_a_user_are_one_value() {
    let policy = Policy::default();
    let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 5));
    let text = serde_json::to_string(&ada).unwrap();
    assert!(
        text.starts_with(r#"{"record":"mfa-user-records/1","user":{"id":""#),
        "{text}"
    );
    assert!(text.ends_with(r#""generation":5}}"#), "{text}");

    let ada = ada
        .enrol(
            KeyKind::default(),
            Password::Correct,
            [1; 16],
            SessionId::new("hers"),
            NOW,
            &policy,
        )
        .next;
    let ada = ada
        .begin_login(Password::Wrong, Client::UNKNOWN, NOW, &policy)
        .next;
    let text = serde_json::to_string(&ada).unwrap();
    assert_eq!(serde_json::from_str::<UserRecords>(&text).unwrap(), ada);
    // Each record has its own stored form, and a change serialises as that form.
    let key = serde_json::to_value(ada.record(RecordKind::Key).unwrap()).unwrap();
    assert_eq!(key["record"], "mfa-key/1");
    assert_eq!(serde_json::to_value(&ada).unwrap()["key"], key);

    let newer = text.replace("mfa-user-records/1", "mfa-user-records/2");
    let refused = serde_json::from_str::<UserRecords>(&newer)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("mfa-user-records/1"), "{refused}");
    let newer = text.replace("mfa-key/1", "mfa-key/2");
    assert!(serde_json::from_str::<UserRecords>(&newer).is_err());
}
