use keyproof_mfa::{
    Client, Counter, DeviceId, Fingerprint, FirstFactor, Locked, LoginRefusal, MfaError, Network,
    NewDevice, NoDevice, Password, PasswordRefusal, RecoveryCode, UnixMillis, User, UserId,
    UserRecords,
};

use crate::ada::{
    DAY, MINUTE, NOW, Phone, ada_with_key, after, answer, challenged, counted, enrolled_again,
    failures, mistyped, policy, trusting,
};

fn laptop() -> Fingerprint {
    Fingerprint::new("laptop").unwrap()
}

/// Ada with her laptop trusted, numbered 1.
fn ada_with_laptop() -> (UserRecords, Phone) {
    let (ada, phone) = ada_with_key();
    let login = trusting(ada, &phone, NewDevice::new(laptop(), [0; 4]), NOW);
    let trusted = login.verdict.unwrap().trusted.unwrap();
    assert_eq!((trusted.id, trusted.replaced), (DeviceId::new(1), None));
    assert!(trusted.ended.is_empty());
    (login.next, phone)
}

fn on_laptop(fingerprint: &Fingerprint) -> Client<'_> {
    Client {
        fingerprint: Some(fingerprint),
        network: None,
    }
}

fn begin(
    ada: &UserRecords,
    password: Password,
    fingerprint: &Fingerprint,
    now: UnixMillis,
) -> keyproof_mfa::Decision<FirstFactor, PasswordRefusal> {
    let ada = ada.clone();
    ada.begin_login(password, on_laptop(fingerprint), now, &policy())
}

const BY_LAPTOP: Result<FirstFactor, PasswordRefusal> =
    Ok(FirstFactor::AuthenticatedByDevice(DeviceId::new(1)));
const CHALLENGED: Result<FirstFactor, PasswordRefusal> = Ok(FirstFactor::Challenged);

#[test]
fn what_logs_in_is_wiped_on_drop() {
    fn is_wiped<T: zeroize::ZeroizeOnDrop>() {}
    is_wiped::<Fingerprint>();
    is_wiped::<RecoveryCode>();
}

#[test]
fn a_trusted_device_logs_in_by_password_for_90_days() {
    let (ada, _) = ada_with_laptop();
    let end = after(NOW, 90 * DAY);
    let last = UnixMillis::from_millis(end.as_millis() - 1);
    for now in [NOW, last] {
        let login = begin(&ada, Password::Correct, &laptop(), now);
        assert_eq!(login.verdict, BY_LAPTOP);
        assert_eq!(login.next, ada, "there is nothing to commit");
    }
    assert_eq!(ada.trusted_devices(last).len(), 1);
    assert_eq!(ada.trusted_devices(end).len(), 0);
    assert_eq!(
        begin(&ada, Password::Correct, &laptop(), end).verdict,
        CHALLENGED
    );
    assert_eq!(ada.devices.unwrap().expires_at(), end);
}

#[test]
fn another_fingerprint_is_not_trusted() {
    let (ada, _) = ada_with_laptop();
    for text in ["Laptop", "laptop ", "l", "desktop"] {
        let fingerprint = Fingerprint::new(text).unwrap();
        let login = begin(&ada, Password::Correct, &fingerprint, NOW);
        assert_eq!(login.verdict, CHALLENGED, "{text:?}");
    }
}

#[test]
fn fingerprints_cannot_be_guessed_with_the_password() {
    let (ada, phone) = ada_with_laptop();
    let guess = |ada: &UserRecords, now| {
        let login = begin(
            ada,
            Password::Correct,
            &Fingerprint::new("guess").unwrap(),
            now,
        );
        assert_eq!(login.verdict, CHALLENGED);
        login.next
    };
    let twice = guess(&guess(&ada, NOW), NOW);
    assert_eq!(
        begin(&twice, Password::Correct, &laptop(), NOW).verdict,
        BY_LAPTOP
    );
    assert_eq!(failures(&twice), 0, "a code may still be wrong three times");

    // From the third guess on, even the right fingerprint is ignored.
    let thrice = guess(&twice, NOW);
    assert_eq!(
        guess(&thrice, NOW).devices,
        thrice.devices,
        "nothing is counted while it is locked"
    );
    let end = after(NOW, 5 * MINUTE);
    let last = UnixMillis::from_millis(end.as_millis() - 1);
    assert_eq!(
        begin(&thrice, Password::Correct, &laptop(), last).verdict,
        CHALLENGED
    );
    assert_eq!(
        begin(&thrice, Password::Correct, &laptop(), end).verdict,
        BY_LAPTOP
    );
    // The next lock is twice as long.
    let again = (0..3).fold(thrice.clone(), |ada, _| guess(&ada, end));
    let later = after(end, 10 * MINUTE - 1);
    assert_eq!(
        begin(&again, Password::Correct, &laptop(), later).verdict,
        CHALLENGED
    );

    assert!(!twice.is_locked(NOW));
    assert!(thrice.is_locked(last) && thrice.are_fingerprints_locked(last));
    assert!(!thrice.is_locked(end) && !thrice.clone().unlock().is_locked(NOW));

    // A code ends the lock, and so does an operator.
    let challenged = challenged(thrice.clone(), NOW);
    let login = answer(challenged, &phone, &phone.shows(NOW, 1), NOW);
    for ada in [login.next, thrice.unlock()] {
        assert_eq!(
            begin(&ada, Password::Correct, &laptop(), NOW).verdict,
            BY_LAPTOP
        );
    }

    // Without the password, or without a device, there is nothing to guess.
    let fingerprint = Fingerprint::new("guess").unwrap();
    let wrong = begin(&ada, Password::Wrong, &fingerprint, NOW).next;
    assert_eq!(wrong.devices, ada.devices);
    let (bare, _) = ada_with_key();
    assert_eq!(guess(&bare, NOW).devices, None);
}

/// Whoever has the password could lock the name with wrong ones first.
#[test]
fn fingerprints_cannot_be_guessed_while_the_name_is_locked() {
    let (ada, _) = ada_with_laptop();
    let locked = (0..3).fold(ada, |ada, _| mistyped(ada, NOW));
    let refused = locked.check_lockout(Client::UNKNOWN, NOW).unwrap_err();
    let guess = |ada: &UserRecords, password| {
        let fingerprint = Fingerprint::new("guess").unwrap();
        let admitted = ada.check_lockout(on_laptop(&fingerprint), NOW);
        assert_eq!(admitted, Ok(()), "the password is not checked");
        let login = begin(ada, password, &fingerprint, NOW);
        assert_eq!(login.verdict, Err(PasswordRefusal::Locked(refused)));
        login.next
    };
    assert_eq!(guess(&locked, Password::Wrong), locked);
    let guessed = (0..3).fold(locked, |ada, _| guess(&ada, Password::Correct));
    assert!(guessed.are_fingerprints_locked(NOW));
    let ignored = begin(&guessed, Password::Correct, &laptop(), NOW);
    assert_eq!(ignored.verdict, Err(PasswordRefusal::Locked(refused)));
    assert_eq!(ignored.next, guessed);
    let later = begin(&guessed, Password::Correct, &laptop(), refused.until);
    assert_eq!(later.verdict, BY_LAPTOP);
}

#[test]
fn a_device_finds_itself_among_those_that_are_trusted() {
    let (ada, _) = ada_with_laptop();
    let end = after(NOW, 90 * DAY);
    let last = UnixMillis::from_millis(end.as_millis() - 1);
    let this = Some(DeviceId::new(1));
    assert_eq!(ada.trusted_device(&laptop(), last), this);
    assert_eq!(ada.trusted_device(&laptop(), end), None);
    let desktop = Fingerprint::new("desktop").unwrap();
    assert_eq!(ada.trusted_device(&desktop, NOW), None);
}

#[test]
fn a_device_says_what_it_is() {
    let (ada, phone) = ada_with_key();
    let device = NewDevice::new(laptop(), [0, 0, 0, 15])
        .with_operating_system("Debian")
        .and_then(|device| device.with_browser("Firefox"))
        .and_then(|device| device.with_name("work"))
        .unwrap();
    let ada = trusting(ada, &phone, device, NOW).next;
    let [device] = ada.trusted_devices(NOW)[..] else {
        panic!("one device");
    };
    assert_eq!(device.id().get(), 16);
    assert_eq!(device.operating_system(), Some("Debian"));
    assert_eq!(device.browser(), Some("Firefox"));
    assert_eq!(device.name(), Some("work"));
    assert_eq!(device.trusted_at(), NOW);
    assert_eq!(device.expires_at(), after(NOW, 90 * DAY));
}

#[test]
fn a_device_has_a_count_of_its_own() {
    let (ada, _) = ada_with_laptop();
    // A stranger locks the user elsewhere; the laptop still logs in.
    let locked = (0..3).fold(ada.clone(), |ada, _| mistyped(ada, NOW));
    assert!(locked.check_lockout(Client::UNKNOWN, NOW).is_err());
    assert_eq!(locked.check_lockout(on_laptop(&laptop()), NOW), Ok(()));
    let login = begin(&locked, Password::Correct, &laptop(), NOW);
    assert_eq!(login.verdict, BY_LAPTOP);
    assert_eq!(login.next.lockout, locked.lockout, "it lifted the lock");

    // Wrong passwords from the laptop lock it meanwhile, although they are answered as any other.
    let elsewhere = locked.check_lockout(Client::UNKNOWN, NOW).unwrap_err();
    let mut worn = locked.clone();
    for _ in 0..3 {
        let admitted = begin(&worn, Password::Correct, &laptop(), NOW);
        assert_eq!(admitted.verdict, BY_LAPTOP);
        let wrong = begin(&worn, Password::Wrong, &laptop(), NOW);
        assert_eq!(wrong.verdict, Err(PasswordRefusal::Locked(elsewhere)));
        worn = wrong.next;
    }
    assert_eq!(worn.lockout, locked.lockout);
    assert_eq!(begin(&worn, Password::Wrong, &laptop(), NOW).next, worn);
    let counter = Counter::Device(DeviceId::new(1));
    let until = after(NOW, 5 * MINUTE);
    let refused = begin(&worn, Password::Correct, &laptop(), NOW);
    let locked = Locked { counter, until };
    assert_eq!(refused.verdict, Err(PasswordRefusal::Locked(locked)));
    assert_eq!(refused.next, worn);
    let later = begin(&worn, Password::Correct, &laptop(), until);
    assert_eq!(later.verdict, BY_LAPTOP);
    assert_eq!((worn.is_locked(NOW), worn.is_locked(until)), (true, false));
    let unlocked = worn.unlock();
    assert!(!unlocked.is_locked(NOW));
    assert_eq!(
        begin(&unlocked, Password::Correct, &laptop(), NOW).verdict,
        BY_LAPTOP
    );
}

#[test]
fn a_login_from_a_device_ends_its_count() {
    let (ada, _) = ada_with_laptop();
    let once = begin(&ada, Password::Wrong, &laptop(), NOW).next;
    let login = begin(&once, Password::Correct, &laptop(), NOW);
    assert_eq!(login.next.devices, ada.devices);
    assert_eq!(failures(&login.next), 1, "a device ends no other count");
}

/// Otherwise wrong passwords would find a fingerprint, without being counted as guesses at one.
#[test]
fn a_wrong_password_does_not_tell_whether_its_fingerprint_is_trusted() {
    let (ada, phone) = ada_with_laptop();
    let home = Network::containing([192, 0, 2, 1].into());
    let code = phone.shows(NOW, 1);
    let proof = phone.proof(&code);
    let login = challenged(ada, NOW).answer_challenge(&proof, None, Some(home), NOW, &policy());
    assert!(login.verdict.is_ok());
    let guess = Fingerprint::new("guess").unwrap();
    for network in [None, Some(home)] {
        let verdicts = [None, Some(&guess), Some(&laptop())].map(|fingerprint| {
            let client = Client {
                fingerprint,
                network,
            };
            let mut ada = login.next.clone();
            let moments = [0, 0, 0, 1, 5, 5, 5, 9, 11].map(|minutes| after(NOW, minutes * MINUTE));
            moments.map(|now| {
                let wrong = ada
                    .clone()
                    .begin_login(Password::Wrong, client, now, &policy());
                ada = wrong.next;
                wrong.verdict
            })
        });
        assert_eq!(verdicts[1], verdicts[0]);
        assert_eq!(verdicts[2], verdicts[0]);
    }

    // While the laptop is locked and the name is not.
    let locked = (0..3).fold(login.next, |ada, _| mistyped(ada, NOW));
    let soon = after(NOW, 4 * MINUTE);
    let worn = (0..3).fold(locked, |ada, _| {
        begin(&ada, Password::Wrong, &laptop(), soon).next
    });
    let now = after(NOW, 5 * MINUTE);
    let refused = begin(&worn, Password::Correct, &laptop(), now).verdict;
    assert!(
        matches!(refused, Err(PasswordRefusal::Locked(at)) if at.counter != Counter::Name),
        "{refused:?}"
    );
    let failure = counted(begin(&worn, Password::Wrong, &laptop(), now).verdict);
    assert_eq!((failure.counter, failure.consecutive), (Counter::Name, 1));
    let by_guess = begin(&worn, Password::Wrong, &guess, now);
    assert_eq!(counted(by_guess.verdict), failure);
}

#[test]
fn the_same_fingerprint_replaces() {
    let (ada, phone) = ada_with_laptop();
    let later = after(NOW, DAY);
    let again = trusting(ada, &phone, NewDevice::new(laptop(), [0; 4]), later);
    let trusted = again.verdict.unwrap().trusted.unwrap();
    let (one, two) = (DeviceId::new(1), DeviceId::new(2));
    assert_eq!((trusted.id, trusted.replaced), (two, Some(one)));
    let [device] = again.next.trusted_devices(later)[..] else {
        panic!("one device");
    };
    assert_eq!(device.trusted_at(), later);
}

#[test]
fn a_device_with_another_fingerprint_takes_the_place_of_its_former_one() {
    let (ada, phone) = ada_with_laptop();
    let later = after(NOW, DAY);
    let rotated = Fingerprint::new("laptop, drawn anew").unwrap();
    let device = NewDevice::new(rotated.clone(), [0; 4]).replacing(laptop());
    let again = trusting(ada.clone(), &phone, device, later);
    let trusted = again.verdict.unwrap().trusted.unwrap();
    let (one, two) = (DeviceId::new(1), DeviceId::new(2));
    assert_eq!((trusted.id, trusted.replaced), (two, Some(one)));
    assert_eq!(again.next.trusted_devices(later).len(), 1);
    // A copy of the former one leads to a challenge.
    for (fingerprint, expected) in [
        (laptop(), CHALLENGED),
        (rotated, Ok(FirstFactor::AuthenticatedByDevice(two))),
    ] {
        let login = begin(&again.next, Password::Correct, &fingerprint, later);
        assert_eq!(login.verdict, expected);
    }

    // In place of one device, with the fingerprint of another.
    let both = trusting(
        ada.clone(),
        &phone,
        NewDevice::new(Fingerprint::new("tablet").unwrap(), [1; 4]),
        later,
    );
    let tablet = both.verdict.unwrap().trusted.unwrap().id;
    let device = NewDevice::new(Fingerprint::new("tablet").unwrap(), [2; 4]).replacing(laptop());
    let again = trusting(both.next, &phone, device, after(later, MINUTE));
    let trusted = again.verdict.unwrap().trusted.unwrap();
    assert_eq!((trusted.replaced, trusted.ended), (Some(tablet), vec![one]));

    // In place of one that is no longer trusted, it is an ordinary new device.
    let revoked = ada.revoke_device(one, later).next;
    let tablet = Fingerprint::new("tablet").unwrap();
    let device = NewDevice::new(tablet, [0; 4]).replacing(laptop());
    let trusted = trusting(revoked, &phone, device, later);
    let trusted = trusted.verdict.unwrap().trusted.unwrap();
    assert_eq!(trusted.replaced, None);
}

#[test]
fn the_21st_device_ends_the_trust_in_the_oldest() {
    let (mut ada, phone) = ada_with_key();
    let mut now = NOW;
    for at in 1..=21 {
        now = after(now, MINUTE);
        let fingerprint = Fingerprint::new(&format!("device {at}")).unwrap();
        // All draw the same number.
        let login = trusting(ada, &phone, NewDevice::new(fingerprint, [0; 4]), now);
        let trusted = login.verdict.unwrap().trusted.unwrap();
        let ended = if at == 21 {
            vec![DeviceId::new(1)]
        } else {
            vec![]
        };
        assert_eq!(trusted.ended, ended);
        assert!(!ended.contains(&trusted.id), "the number of an ended one");
        ada = login.next;
        let devices = ada.trusted_devices(now);
        assert_eq!(devices.len(), at.min(20));
        let mut ids: Vec<_> = devices.iter().map(|device| device.id()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), devices.len(), "two devices have one number");
    }
    let first = Fingerprint::new("device 1").unwrap();
    assert_eq!(
        begin(&ada, Password::Correct, &first, now).verdict,
        CHALLENGED
    );
}

#[test]
fn a_device_is_revoked_alone() {
    let (ada, phone) = ada_with_laptop();
    let later = after(NOW, MINUTE);
    let tablet = Fingerprint::new("tablet").unwrap();
    let ada = trusting(ada, &phone, NewDevice::new(tablet.clone(), [9; 4]), later).next;
    let unknown = ada.clone().revoke_device(DeviceId::new(99), later);
    assert_eq!(unknown.verdict, Err(NoDevice));
    let expired = ada
        .clone()
        .revoke_device(DeviceId::new(1), after(NOW, 90 * DAY));
    assert_eq!(expired.verdict, Err(NoDevice));
    let set_back = expired.next.trusted_devices(later);
    assert_eq!(set_back.len(), 1, "what expired and was revoked is back");

    let revoked = ada.revoke_device(DeviceId::new(1), later);
    assert_eq!(revoked.verdict, Ok(()));
    let ada = revoked.next;
    assert_eq!(
        begin(&ada, Password::Correct, &laptop(), later).verdict,
        CHALLENGED
    );
    let id = ada.trusted_devices(later)[0].id();
    assert_eq!(
        begin(&ada, Password::Correct, &tablet, later).verdict,
        Ok(FirstFactor::AuthenticatedByDevice(id))
    );
    let ada = ada.revoke_device(id, later).next;
    assert_eq!(ada.devices, None, "an empty record is kept");
}

#[test]
fn devices_go_with_the_key_and_with_the_password() {
    let (ada, phone) = ada_with_laptop();
    assert_eq!(ada.clone().after_password_change().devices, None);
    let removed = ada.clone().remove_key(NOW);
    assert_eq!(removed.verdict.unwrap().devices, 1);
    assert_eq!(removed.next.devices, None);

    // A record that survived its removal, or that belongs to another user, has no effect.
    let mut renewed = ada.clone().after_password_change();
    renewed.devices = ada.devices.clone();
    let mut others = ada.clone();
    others.user = User::new(UserId::new("example.org", "bob"), 0);
    let mut again = removed.next;
    again.devices = ada.devices.clone();
    let later = after(NOW, MINUTE);
    let again = enrolled_again(again, &phone, later);
    for user in [renewed, others, again] {
        assert_eq!(user.trusted_devices(later).len(), 0);
        let login = begin(&user, Password::Correct, &laptop(), later);
        assert_eq!(login.verdict, CHALLENGED);
        let revoked = user.revoke_device(DeviceId::new(1), later);
        assert_eq!(revoked.verdict, Err(NoDevice));
    }
}

#[test]
fn a_refused_login_trusts_nothing() {
    let (ada, phone) = ada_with_key();
    let wrong = Phone::new(8).shows(NOW, 0);
    let device = NewDevice::new(laptop(), [0; 4]);
    let proof = phone.proof(&wrong);
    let refused = challenged(ada, NOW).answer_challenge(&proof, Some(device), None, NOW, &policy());
    assert!(matches!(refused.verdict, Err(LoginRefusal::WrongCode(_))));
    assert_eq!(refused.next.devices, None);
}

#[test]
fn texts_are_bounded() {
    let empty = Fingerprint::new("").unwrap_err();
    assert_eq!(empty, MfaError::FingerprintEmpty);
    assert!(Fingerprint::new(&"f".repeat(1024)).is_ok());
    let (found, limit) = (1025, 1024);
    let long = Fingerprint::new(&"f".repeat(found)).unwrap_err();
    assert_eq!(long, MfaError::FingerprintTooLong { found, limit });

    let device = || NewDevice::new(laptop(), [0; 4]);
    assert!(device().with_name(&"n".repeat(256)).is_ok());
    let (found, limit) = (257, 256);
    let too_long = |field| {
        Err(MfaError::DeviceTextTooLong {
            field,
            found,
            limit,
        })
    };
    let text = "n".repeat(found);
    assert_eq!(device().with_name(&text), too_long("name"));
    assert_eq!(device().with_browser(&text), too_long("browser"));
    assert_eq!(
        device().with_operating_system(&text),
        too_long("operating system")
    );
}

#[test]
fn nothing_shows_a_fingerprint() {
    let (ada, _) = ada_with_laptop();
    assert!(!format!("{ada:?}").contains("laptop"));
    assert!(!format!("{:?}", laptop()).contains("laptop"));
}

#[test]
fn a_fingerprint_is_compared_and_not_printed() {
    assert_eq!(laptop(), laptop());
    assert_ne!(laptop(), Fingerprint::new("laptoP").unwrap());
    assert_ne!(laptop(), Fingerprint::new("laptops").unwrap());
    assert_eq!(format!("{:?}", laptop()), "Fingerprint([redacted])");
}
