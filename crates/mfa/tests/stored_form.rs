//! The stored form, byte for byte: later releases must read records written by earlier ones.
#![cfg(feature = "serde")]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

use core::fmt::Debug;

use keyproof_mfa::{
    Addresses, AuthMethod, Challenge, Client, Devices, Fingerprint, FirstFactor, KeyKind,
    KeyRecord, KeyStatus, Lockout, MfaError, Network, NewDevice, Password, Policy, Proof,
    RecoveryCodes, Session, SessionId, Sessions, UnixMillis, User, UserId, UserRecords,
    otp::{Secret, Totp},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

const PENDING: &str = include_str!("stored_form/key-1-pending.json");
const ACTIVE: &str = include_str!("stored_form/key-1-active.json");
const CHALLENGE: &str = include_str!("stored_form/challenge-1.json");
const COUNTING: &str = include_str!("stored_form/lockout-1-counting.json");
const LOCKED: &str = include_str!("stored_form/lockout-1-locked.json");
const DOUBLED: &str = include_str!("stored_form/lockout-2-doubled.json");
const CHALLENGE_2: &str = include_str!("stored_form/challenge-2.json");
const ADDRESSES: &str = include_str!("stored_form/addresses-1.json");
const SESSIONS: &str = include_str!("stored_form/sessions-1.json");
const DEVICES: &str = include_str!("stored_form/devices-1.json");
const GUESSED: &str = include_str!("stored_form/devices-1-guessed.json");
const RECOVERY: &str = include_str!("stored_form/recovery-codes-1.json");

const ENROLLED: UnixMillis = UnixMillis::from_secs(1_700_000_010);
const NOW: UnixMillis = UnixMillis::from_secs(1_700_000_070);

fn on(fingerprint: &Fingerprint) -> Client<'_> {
    Client {
        fingerprint: Some(fingerprint),
        network: None,
    }
}

fn typed<'a>(text: &'a str, secret: &'a Secret) -> Proof<'a> {
    Proof::Typed { text, secret }
}

fn session() -> SessionId {
    SessionId::new("hers")
}

/// A user with every record, and the same records while the key was pending.
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
            session(),
            ENROLLED,
            &policy,
        )
        .next;
    let text = totp.code(ENROLLED.as_secs() - 30).to_string();
    let secret = &secret;
    let ada = pending
        .clone()
        .activate(&typed(&text, secret), session(), ENROLLED, &policy);
    let active = ada.next.key;
    let ada = ada
        .next
        .begin_login(Password::Correct, Client::UNKNOWN, NOW, &policy)
        .next;
    let device = NewDevice::new(fingerprint.clone(), [1, 2, 3, 4])
        .with_browser("Firefox")
        .and_then(|device| device.with_name("work"))
        .and_then(|device| device.with_operating_system("Debian"))
        .unwrap();
    let text = totp.code(NOW.as_secs()).to_string();
    let proof = typed(&text, secret);
    let ada = ada
        .answer_challenge(&proof, Some(device), None, NOW, &policy)
        .next;
    let ada = ada
        .begin_login(Password::Wrong, on(&fingerprint), NOW, &policy)
        .next;
    let ada = ada
        .begin_login(Password::Correct, Client::UNKNOWN, NOW, &policy)
        .next;
    let random = core::array::from_fn(|at| [at as u8; 10]);
    let made = ada.make_recovery_codes(
        Password::Correct,
        None,
        Session {
            id: session(),
            auth_method: AuthMethod::Activation,
        },
        &random,
        NOW,
        &policy,
    );
    let text = made.verdict.unwrap()[3].to_string();
    let challenge = made.next.challenge;
    let proof = typed(&text, secret);
    let ada = made
        .next
        .answer_challenge(&proof, None, None, NOW, &policy)
        .next;
    let mut ada = ada
        .begin_login(Password::Wrong, Client::UNKNOWN, NOW, &policy)
        .next;
    (ada.key, ada.challenge) = (active, challenge);
    (ada, pending)
}

/// Writes `record` as `golden` and reads it back, also from an object with sorted members.
fn pinned<R>(record: &R, golden: &str)
where
    R: Serialize + DeserializeOwned + Debug + PartialEq,
{
    assert_eq!(serde_json::to_string(record).unwrap() + "\n", golden);
    assert_eq!(&serde_json::from_str::<R>(golden).unwrap(), record);
    let sorted: Value = serde_json::from_str(golden).unwrap();
    assert_eq!(&serde_json::from_value::<R>(sorted).unwrap(), record);
}

/// The result of reading a record in which one member has another value.
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
    let guess = Fingerprint::new("guess").unwrap();
    let guessed = ada.clone();
    let guessed = guessed.begin_login(Password::Correct, on(&guess), NOW, &Policy::default());
    pinned(guessed.next.devices.as_ref().unwrap(), GUESSED);
    pinned(ada.recovery.as_ref().unwrap(), RECOVERY);

    let wrong = |ada: UserRecords| {
        ada.begin_login(Password::Wrong, Client::UNKNOWN, NOW, &Policy::default())
    };
    let locked = wrong(wrong(ada).next).next;
    pinned(&locked.lockout.unwrap(), LOCKED);
}

/// Records that the first releases did not have: known addresses, sessions, and longer locks.
#[test]
fn counters_of_later_releases_are_written_and_read_as_ever() {
    let policy = Policy::default();
    let (mut ada, _) = ada();
    ada.challenge = None;
    let secret = &Secret::from_bytes(&[7; 20]).unwrap();
    let totp = Totp::new(secret, Default::default(), Default::default());
    let client = |address: &str| Client {
        fingerprint: None,
        network: Some(Network::containing(address.parse().unwrap())),
    };
    for (at, address) in [(1, "192.0.2.1"), (2, "2001:db8:1:2:3::4")] {
        let now = UnixMillis::from_secs(NOW.as_secs() + 60 * at);
        let begun = ada.begin_login(Password::Correct, client(address), now, &policy);
        let text = totp.code(now.as_secs()).to_string();
        let proof = typed(&text, secret);
        let network = client(address).network;
        let answered = begun
            .next
            .answer_challenge(&proof, None, network, now, &policy);
        answered.verdict.unwrap();
        ada = answered.next;
    }
    let now = UnixMillis::from_secs(NOW.as_secs() + 180);
    let begun = |ada: UserRecords, client| {
        ada.begin_login(Password::Correct, client, now, &policy)
            .next
    };
    let wrong = |ada: UserRecords| {
        let proof = typed("no code", secret);
        ada.answer_challenge(&proof, None, None, now, &policy).next
    };
    ada = wrong(begun(ada, client("192.0.2.1")));
    pinned(&ada.challenge.unwrap(), CHALLENGE_2);
    ada = begun(ada, Client::UNKNOWN);
    ada = wrong(wrong(wrong(ada)));
    ada = ada
        .confirm_password(Password::Wrong, session(), now, &policy)
        .next;
    pinned(&ada.lockout.unwrap(), DOUBLED);
    pinned(ada.addresses.as_ref().unwrap(), ADDRESSES);
    pinned(ada.sessions.as_ref().unwrap(), SESSIONS);
}

#[test]
fn another_type_or_a_newer_version_is_refused() {
    fn refuses<R: DeserializeOwned + Debug>(golden: &str, newest: &'static str) {
        let expected = MfaError::RecordForm { newest }.to_string();
        let (name, version) = newest.split_once('/').unwrap();
        let newer = format!("{name}/{}", version.parse::<u32>().unwrap() + 1);
        for other in [newer.as_str(), "mfa-other/1", "", name] {
            assert_eq!(
                changed::<R>(golden, "/record", json!(other)),
                expected,
                "{other:?}"
            );
        }
        // A newer version need not have any of our members.
        let alien = json!({ "record": newer });
        let error = serde_json::from_value::<R>(alien).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(serde_json::from_value::<R>(json!({})).is_err());
    }
    refuses::<KeyRecord>(ACTIVE, "mfa-key/1");
    refuses::<Challenge>(CHALLENGE, "mfa-challenge/2");
    refuses::<Lockout>(COUNTING, "mfa-lockout/2");
    refuses::<Addresses>(ADDRESSES, "mfa-addresses/1");
    refuses::<Sessions>(SESSIONS, "mfa-sessions/1");
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
    // Active, but with no step spent: the activating code would be valid again.
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
    for network in ["", "192.0.2.1/32", "2001:db8::1/64"] {
        assert_eq!(
            changed::<Addresses>(ADDRESSES, "/addresses/0/network", json!(network)),
            MfaError::Network.to_string()
        );
    }
    // The next address would get the number of a known one.
    let error = changed::<Addresses>(ADDRESSES, "/next", json!(2));
    assert_eq!(error, field("next"));
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
    let login = ada.begin_login(Password::Correct, on(&laptop), NOW, &Policy::default());
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
            .enrol(
                kind,
                Password::Correct,
                generation,
                session(),
                ENROLLED,
                &policy,
            )
            .next;
        let text = totp.code(ENROLLED.as_secs()).to_string();
        let records = records.activate(&typed(&text, secret), session(), ENROLLED, &policy);
        let records = records
            .next
            .begin_login(Password::Correct, Client::UNKNOWN, NOW, &policy)
            .next;
        let device = NewDevice::new(Fingerprint::new("laptop").unwrap(), [0; 4]);
        let text = totp.code(NOW.as_secs()).to_string();
        let proof = typed(&text, secret);
        let records = records
            .answer_challenge(&proof, Some(device), None, NOW, &policy)
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

#[test]
fn a_field_of_another_type_is_refused_by_what_it_must_be() {
    let refusal = |text: &str, pointer: &str| {
        let mut record: Value = serde_json::from_str(text).unwrap();
        *record.pointer_mut(pointer).unwrap() = json!(7);
        record.to_string()
    };
    let devices = refusal(DEVICES, "/devices/0/fingerprint");
    let devices = serde_json::from_str::<Devices>(&devices).unwrap_err();
    assert!(
        devices.to_string().contains("expected lower-case hex"),
        "{devices}"
    );
    let addresses = refusal(ADDRESSES, "/addresses/0/network");
    let addresses = serde_json::from_str::<Addresses>(&addresses).unwrap_err();
    assert!(
        addresses.to_string().contains("expected a network"),
        "{addresses}"
    );
}

#[test]
fn a_moment_is_written_as_its_milliseconds() {
    assert_eq!(NOW.to_string(), "1700000070000");
}
