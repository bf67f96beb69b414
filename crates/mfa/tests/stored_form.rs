//! The stored form, byte for byte: records that a release has written are read by every later one.
#![cfg(feature = "serde")]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

use core::fmt::Debug;

use keyproof_mfa::otp::{Secret, Totp};
use keyproof_mfa::{
    Challenge, Devices, Fingerprint, FirstFactor, KeyKind, KeyRecord, KeyStatus, Lockout, MfaError,
    NewDevice, Password, Policy, Proof, RecoveryCodes, Standing, UnixMillis, User, UserId,
    UserRecords,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const PENDING: &str = include_str!("stored_form/key-1-pending.json");
const ACTIVE: &str = include_str!("stored_form/key-1-active.json");
const CHALLENGE: &str = include_str!("stored_form/challenge-1.json");
const COUNTING: &str = include_str!("stored_form/lockout-1-counting.json");
const LOCKED: &str = include_str!("stored_form/lockout-1-locked.json");
const DEVICES: &str = include_str!("stored_form/devices-1.json");
const RECOVERY: &str = include_str!("stored_form/recovery-codes-1.json");

const ENROLLED: UnixMillis = UnixMillis::from_secs(1_700_000_010);
const NOW: UnixMillis = UnixMillis::from_secs(1_700_000_070);

/// A user of whom there is every record, and what they were while their key was pending.
fn ada() -> (UserRecords, UserRecords) {
    let policy = Policy::default();
    let secret = Secret::from_bytes(&[7; 20]).unwrap();
    let totp = Totp::new(&secret, Default::default(), Default::default());
    let user = User::new(UserId::new("example.org", "ada"), 5);
    let fingerprint = Fingerprint::new("laptop").unwrap();

    let generation = core::array::from_fn(|at| at as u8 + 1);
    let pending = UserRecords::new(user)
        .enrol(
            KeyKind::default(),
            Password::Correct,
            generation,
            ENROLLED,
            &policy,
        )
        .next;
    let text = totp.code(ENROLLED.as_secs() - 30).to_string();
    let secret = &secret;
    let ada = pending.clone().activate(
        &Proof::Typed {
            text: &text,
            secret,
        },
        ENROLLED,
        &policy,
    );
    let active = ada.next.key;
    let ada = ada
        .next
        .begin_login(Password::Correct, None, NOW, &policy)
        .next;
    let device = NewDevice::new(fingerprint.clone(), [1, 2, 3, 4])
        .with_browser("Firefox")
        .and_then(|device| device.with_name("work"))
        .and_then(|device| device.with_operating_system("Debian"))
        .unwrap();
    let text = totp.code(NOW.as_secs()).to_string();
    let proof = Proof::Typed {
        text: &text,
        secret,
    };
    let ada = ada
        .answer_challenge(&proof, Some(device), NOW, &policy)
        .next;
    let ada = ada
        .begin_login(Password::Wrong, Some(&fingerprint), NOW, &policy)
        .next;
    let ada = ada.begin_login(Password::Correct, None, NOW, &policy).next;
    let random = core::array::from_fn(|at| [at as u8; 10]);
    let made = ada.make_recovery_codes(
        Password::Correct,
        None,
        Standing::Activation,
        &random,
        NOW,
        &policy,
    );
    let text = made.verdict.unwrap()[3].to_string();
    let challenge = made.next.challenge;
    let proof = Proof::Typed {
        text: &text,
        secret,
    };
    let ada = made.next.answer_challenge(&proof, None, NOW, &policy).next;
    let mut ada = ada.begin_login(Password::Wrong, None, NOW, &policy).next;
    (ada.key, ada.challenge) = (active, challenge);
    (ada, pending)
}

/// Writes `record` as `golden` and reads it back, also from an object whose members are sorted.
fn pinned<R>(record: &R, golden: &str)
where
    R: Serialize + DeserializeOwned + Debug + PartialEq,
{
    assert_eq!(serde_json::to_string(record).unwrap() + "\n", golden);
    assert_eq!(&serde_json::from_str::<R>(golden).unwrap(), record);
    let sorted: Value = serde_json::from_str(golden).unwrap();
    assert_eq!(&serde_json::from_value::<R>(sorted).unwrap(), record);
}

/// What a reader says to a record in which one member has another value.
fn changed<R: DeserializeOwned + Debug>(golden: &str, pointer: &str, value: Value) -> String {
    let mut record: Value = serde_json::from_str(golden).unwrap();
    *record.pointer_mut(pointer).expect("a member to change") = value;
    serde_json::from_value::<R>(record).unwrap_err().to_string()
}

#[test]
fn each_record_is_written_and_read_as_ever() {
    let (ada, pending) = ada();
    pinned(&pending.key.unwrap(), PENDING);
    pinned(&ada.key.unwrap(), ACTIVE);
    pinned(&ada.challenge.unwrap(), CHALLENGE);
    pinned(&ada.lockout.unwrap(), COUNTING);
    pinned(ada.devices.as_ref().unwrap(), DEVICES);
    pinned(ada.recovery.as_ref().unwrap(), RECOVERY);

    let wrong = |ada: UserRecords| ada.begin_login(Password::Wrong, None, NOW, &Policy::default());
    let locked = wrong(wrong(ada).next).next;
    pinned(&locked.lockout.unwrap(), LOCKED);
}

#[test]
fn another_type_or_a_newer_version_is_refused() {
    fn refuses<R: DeserializeOwned + Debug>(golden: &str, newest: &'static str) {
        let expected = MfaError::RecordForm { newest }.to_string();
        let newer = newest.replace("/1", "/2");
        for other in [
            newer.as_str(),
            "mfa-other/1",
            "",
            newest.trim_end_matches("/1"),
        ] {
            assert_eq!(
                changed::<R>(golden, "/record", json!(other)),
                expected,
                "{other:?}"
            );
        }
        // A newer version need not have any member of ours.
        let alien = json!({ "record": newer });
        let error = serde_json::from_value::<R>(alien).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(serde_json::from_value::<R>(json!({})).is_err());
    }
    refuses::<KeyRecord>(ACTIVE, "mfa-key/1");
    refuses::<Challenge>(CHALLENGE, "mfa-challenge/1");
    refuses::<Lockout>(COUNTING, "mfa-lockout/1");
    refuses::<Devices>(DEVICES, "mfa-devices/1");
    refuses::<RecoveryCodes>(RECOVERY, "mfa-recovery-codes/1");
    assert!(serde_json::from_str::<KeyRecord>(CHALLENGE).is_err());
}

#[test]
fn what_no_record_says_is_refused() {
    let field = |field| MfaError::RecordValue { field }.to_string();
    let totp = |member: &str| format!("/kind/totp/{member}");
    for drift in [-3, 3, 127] {
        let error = changed::<KeyRecord>(ACTIVE, &totp("spent/drift"), json!(drift));
        assert_eq!(error, field("drift"));
    }
    // Active, but with no step spent: the activating code would be good again.
    let error = changed::<KeyRecord>(ACTIVE, &totp("spent"), Value::Null);
    assert_eq!(error, field("spent"));
    for (member, value) in [
        ("spent/step", json!(-1)),
        ("digits", json!(5)),
        ("period", json!(0)),
        ("algorithm", json!("MD5")),
    ] {
        changed::<KeyRecord>(ACTIVE, &totp(member), value);
    }
    for generation in [
        "",
        "00",
        "0102030405060708090A0B0C0D0E0F10",
        &"0".repeat(34),
    ] {
        changed::<KeyRecord>(ACTIVE, "/generation", json!(generation));
    }
    changed::<KeyRecord>(ACTIVE, "/kind", json!({ "webauthn": {} }));
    for id in [0, 1 << 24] {
        assert_eq!(
            changed::<Devices>(DEVICES, "/devices/0/id", json!(id)),
            field("id")
        );
    }
    assert_eq!(
        changed::<RecoveryCodes>(RECOVERY, "/codes", json!([])),
        field("codes")
    );
}

#[test]
fn a_record_that_was_read_works_as_before() {
    let key: KeyRecord = serde_json::from_str(ACTIVE).unwrap();
    assert_eq!(key.status(), KeyStatus::Active { since: ENROLLED });
    let mut ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 5));
    ada.key = Some(key);
    ada.devices = Some(serde_json::from_str(DEVICES).unwrap());
    ada.recovery = Some(serde_json::from_str(RECOVERY).unwrap());
    assert_eq!(ada.recovery.as_ref().map(RecoveryCodes::left), Some(9));
    let laptop = Fingerprint::new("laptop").unwrap();
    let login = ada.begin_login(Password::Correct, Some(&laptop), NOW, &Policy::default());
    let id = login.next.trusted_devices(NOW)[0].id();
    assert_eq!(login.verdict, Ok(FirstFactor::AuthenticatedByDevice(id)));
}

#[test]
fn one_fingerprint_leaves_another_digest_with_each_user_and_key() {
    let kept = |user: &str, generation: [u8; 16]| {
        let policy = Policy::default();
        let secret = &Secret::from_bytes(&[7; 20]).unwrap();
        let totp = Totp::new(secret, Default::default(), Default::default());
        let records = UserRecords::new(User::new(UserId::new("example.org", user), 0));
        let kind = KeyKind::default();
        let records = records
            .enrol(kind, Password::Correct, generation, ENROLLED, &policy)
            .next;
        let text = totp.code(ENROLLED.as_secs()).to_string();
        let records = records.activate(
            &Proof::Typed {
                text: &text,
                secret,
            },
            ENROLLED,
            &policy,
        );
        let records = records
            .next
            .begin_login(Password::Correct, None, NOW, &policy)
            .next;
        let device = NewDevice::new(Fingerprint::new("laptop").unwrap(), [0; 4]);
        let text = totp.code(NOW.as_secs()).to_string();
        let proof = Proof::Typed {
            text: &text,
            secret,
        };
        let records = records
            .answer_challenge(&proof, Some(device), NOW, &policy)
            .next;
        serde_json::to_value(records.devices).unwrap()["devices"][0]["fingerprint"].take()
    };
    let digests = [
        kept("ada", [1; 16]),
        kept("bob", [1; 16]),
        kept("ada", [2; 16]),
    ];
    assert!(digests.iter().all(Value::is_string));
    assert_ne!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
}
