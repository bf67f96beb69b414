//! Which counter counts a guess: the name, an address, a device or a session, and never two of
//! them, except for a wrong password from a device.

use keyproof_mfa::{
    Activated, AuthMethod, ChallengeInvalid, Client, Counter, DeviceId, Fingerprint, FirstFactor,
    Locked, LoginRefusal, Network, NewDevice, Password, PasswordRefusal, SessionId, UnixMillis,
    UserRecords,
};

use crate::ada::{
    DAY, MINUTE, NOW, Phone, ada, ada_with_key, after, challenged, counted, failures, mistyped,
    policy, resting_on, session, with_pending_key,
};

fn network(address: &str) -> Network {
    Network::containing(address.parse().unwrap())
}

fn home() -> Network {
    network("192.0.2.1")
}

fn at(network: Network) -> Client<'static> {
    Client {
        fingerprint: None,
        network: Some(network),
    }
}

/// A complete login from an address, which must succeed.
fn logged_in(ada: UserRecords, phone: &Phone, from: Network, now: UnixMillis) -> UserRecords {
    let begun = ada.begin_login(Password::Correct, at(from), now, &policy());
    assert_eq!(begun.verdict, Ok(FirstFactor::Challenged));
    let code = phone.shows(now, 0);
    let answered =
        begun
            .next
            .answer_challenge(&phone.proof(&code), None, Some(from), now, &policy());
    assert!(answered.verdict.is_ok(), "{:?}", answered.verdict);
    answered.next
}

fn wrong_password(ada: UserRecords, client: Client<'_>, now: UnixMillis) -> UserRecords {
    let wrong = ada.begin_login(Password::Wrong, client, now, &policy());
    counted(wrong.verdict);
    wrong.next
}

/// The lock of her name by three wrong passwords.
fn name_locked(now: UnixMillis) -> Result<(), Locked> {
    Err(Locked {
        counter: Counter::Name,
        until: after(now, 5 * MINUTE),
    })
}

/// The counter that three wrong passwords lock.
fn locked(ada: UserRecords, client: Client<'_>, now: UnixMillis) -> UserRecords {
    (0..3).fold(ada, |ada, _| wrong_password(ada, client, now))
}

/// Three wrong codes, each after a right password, and when the lock ends.
fn guessed(ada: UserRecords, client: Client<'_>, now: UnixMillis) -> (UserRecords, UnixMillis) {
    let mut ada = ada;
    for _ in 0..3 {
        let begun = ada.begin_login(Password::Correct, client, now, &policy());
        assert_eq!(begun.verdict, Ok(FirstFactor::Challenged));
        let phone = Phone::new(7);
        let wrong =
            begun
                .next
                .answer_challenge(&phone.proof("no code"), None, None, now, &policy());
        assert!(matches!(wrong.verdict, Err(LoginRefusal::WrongCode(_))));
        ada = wrong.next;
    }
    let until = ada.check_lockout(client, now).unwrap_err().until;
    (ada, until)
}

#[test]
fn a_strangers_guesses_shut_out_neither_address_device_nor_session() {
    let (ada, phone) = ada_with_key();
    let laptop = Fingerprint::new("laptop").unwrap();
    let begun = ada.begin_login(Password::Correct, at(home()), NOW, &policy());
    let code = phone.shows(NOW, 0);
    let device = NewDevice::new(laptop.clone(), [0; 4]);
    let proof = phone.proof(&code);
    let answered = begun
        .next
        .answer_challenge(&proof, Some(device), Some(home()), NOW, &policy());
    assert!(answered.verdict.is_ok());
    let mut ada = answered.next;
    let on_laptop = Client {
        fingerprint: Some(&laptop),
        network: Some(network("198.51.100.9")),
    };

    // A day of guesses from everywhere, as many as are checked and one more.
    for round in 0..DAY / (5 * MINUTE) {
        let now = after(NOW, round * 5 * MINUTE);
        for guess in 0..4 {
            let stranger = at(network(&format!("203.0.113.{guess}")));
            ada = ada
                .begin_login(Password::Wrong, stranger, now, &policy())
                .next;
        }
        assert_eq!(ada.check_lockout(Client::UNKNOWN, now), name_locked(now));
        assert_eq!(ada.check_lockout(at(home()), now), Ok(()));
        assert_eq!(ada.check_lockout(on_laptop, now), Ok(()));
        assert_eq!(ada.check_session_lockout(session(), now), Ok(()));
    }
    let now = after(NOW, DAY);
    let ada = logged_in(ada, &phone, home(), now);
    let by_laptop = ada.begin_login(Password::Correct, on_laptop, now, &policy());
    let without_code = FirstFactor::AuthenticatedByDevice(DeviceId::new(1));
    assert_eq!(by_laptop.verdict, Ok(without_code));
    let in_session = by_laptop
        .next
        .confirm_password(Password::Correct, session(), now, &policy());
    assert_eq!(in_session.verdict, Ok(()));
}

#[test]
fn a_session_pays_for_its_own_guesses_alone() {
    let other = SessionId::new("another");
    let mut ada = ada();
    for consecutive in 1..=3 {
        let wrong = ada.confirm_password(Password::Wrong, session(), NOW, &policy());
        let failure = counted(wrong.verdict);
        let counter = Counter::Session(session());
        assert_eq!(
            (failure.counter, failure.consecutive),
            (counter, consecutive)
        );
        ada = wrong.next;
    }
    let until = after(NOW, 5 * MINUTE);
    let counter = Counter::Session(session());
    let refused = Err(Locked { counter, until });
    assert_eq!(ada.check_session_lockout(session(), NOW), refused);
    assert_eq!(ada.check_session_lockout(session(), until), Ok(()));
    assert_eq!(ada.check_session_lockout(other, NOW), Ok(()));
    assert_eq!(ada.check_lockout(Client::UNKNOWN, NOW), Ok(()));
    assert_eq!(failures(&ada), 0);
    assert_eq!((ada.is_locked(NOW), ada.is_locked(until)), (true, false));
    assert_eq!(
        ada.clone().unlock().check_session_lockout(session(), NOW),
        Ok(())
    );
    assert!(!ada.clone().unlock().is_locked(NOW));
    assert_eq!(
        ada.after_password_change()
            .check_session_lockout(session(), NOW),
        Ok(())
    );
}

#[test]
fn an_address_is_known_by_a_login_with_every_factor() {
    // A password alone, while there is no key.
    let login = ada().begin_login(Password::Correct, at(home()), NOW, &policy());
    assert_eq!(login.verdict, Ok(FirstFactor::Authenticated));
    let known = locked(login.next, at(home()), NOW);
    assert_eq!(known.check_lockout(Client::UNKNOWN, NOW), Ok(()));
    let refused = known.check_lockout(at(home()), NOW).unwrap_err();
    assert!(matches!(refused.counter, Counter::Address(_)));

    // With a key, a password or a wrong code does not make an address known.
    let (ada, phone) = ada_with_key();
    let begun = ada.begin_login(Password::Correct, at(home()), NOW, &policy());
    assert_eq!(begun.next.addresses, None);
    let wrong =
        begun
            .next
            .answer_challenge(&phone.proof("no code"), None, Some(home()), NOW, &policy());
    assert_eq!(wrong.next.addresses, None);

    // The address that the code comes from counts; all of an IPv6 /64 is one.
    let code = phone.shows(NOW, 0);
    let elsewhere = network("2001:db8:1:2::3");
    let answered =
        wrong
            .next
            .answer_challenge(&phone.proof(&code), None, Some(elsewhere), NOW, &policy());
    let ada = locked(answered.next, Client::UNKNOWN, NOW);
    assert_eq!(ada.check_lockout(at(home()), NOW), name_locked(NOW));
    assert_eq!(
        ada.check_lockout(at(network("2001:db8:1:2::4")), NOW),
        Ok(())
    );
    assert_eq!(
        ada.check_lockout(at(network("2001:db8:1:3::3")), NOW),
        name_locked(NOW)
    );
}

#[test]
fn a_trusted_device_makes_no_address_known() {
    let (ada, phone) = ada_with_key();
    let laptop = Fingerprint::new("laptop").unwrap();
    let device = NewDevice::new(laptop.clone(), [0; 4]);
    let ada = crate::ada::trusting(ada, &phone, device, NOW).next;
    let client = Client {
        fingerprint: Some(&laptop),
        network: Some(home()),
    };
    let login = ada.begin_login(Password::Correct, client, NOW, &policy());
    let without_code = FirstFactor::AuthenticatedByDevice(DeviceId::new(1));
    assert_eq!(login.verdict, Ok(without_code));
    assert_eq!(login.next.addresses, None);
}

#[test]
fn an_activation_forgets_the_addresses_known_before() {
    let mut ada = ada();
    let place = |number: u8| network(&format!("198.51.100.{number}"));
    for number in 0..10 {
        let login = ada.begin_login(Password::Correct, at(place(number)), NOW, &policy());
        assert_eq!(login.verdict, Ok(FirstFactor::Authenticated));
        ada = login.next;
    }
    // One of them is locked too.
    ada = locked(ada, at(place(0)), NOW);
    let phone = Phone::new(1);
    let wrong = with_pending_key(ada).activate(&phone.proof("no code"), session(), NOW, &policy());
    assert!(wrong.next.addresses.is_some(), "forgotten without a code");
    let code = phone.shows(NOW, 0);
    let activated = wrong
        .next
        .activate(&phone.proof(&code), session(), NOW, &policy());
    assert_eq!(activated.verdict, Ok(Activated));
    let ada = activated.next;
    assert_eq!(ada.addresses, None);

    // They all share the name's guesses at codes.
    let (ada, until) = guessed(ada, at(place(1)), NOW);
    for number in 0..10 {
        let refused = ada.check_lockout(at(place(number)), NOW).unwrap_err();
        assert_eq!((refused.counter, refused.until), (Counter::Name, until));
    }
    // A complete login makes its own address known again, and no other.
    let ada = logged_in(ada, &phone, place(2), until);
    let ada = locked(ada, Client::UNKNOWN, until);
    assert_eq!(ada.check_lockout(at(place(2)), until), Ok(()));
    assert_eq!(ada.check_lockout(at(place(1)), until), name_locked(until));
}

#[test]
fn an_address_is_known_for_30_days_after_its_last_login() {
    let (ada, phone) = ada_with_key();
    let ada = logged_in(ada, &phone, home(), NOW);
    let later = after(NOW, DAY);
    let ada = logged_in(ada, &phone, home(), later);
    let end = after(later, 30 * DAY);
    assert_eq!(ada.addresses.as_ref().unwrap().expires_at(), end);
    let last = UnixMillis::from_millis(end.as_millis() - 1);
    assert_eq!(
        locked(ada.clone(), Client::UNKNOWN, last).check_lockout(at(home()), last),
        Ok(())
    );
    assert_eq!(
        locked(ada, Client::UNKNOWN, end).check_lockout(at(home()), end),
        name_locked(end)
    );
}

#[test]
fn the_10_latest_addresses_are_known() {
    let (mut ada, phone) = ada_with_key();
    let place = |number: u64| network(&format!("198.51.100.{number}"));
    for number in 0..10 {
        ada = logged_in(ada, &phone, place(number), after(NOW, number * MINUTE));
    }
    // The first is used again, so the second is the one that goes.
    ada = logged_in(ada, &phone, place(0), after(NOW, 10 * MINUTE));
    ada = logged_in(ada, &phone, place(10), after(NOW, 11 * MINUTE));
    let now = after(NOW, 12 * MINUTE);
    let ada = locked(ada, Client::UNKNOWN, now);
    let known = |number: &u64| ada.check_lockout(at(place(*number)), now).is_ok();
    let known: Vec<u64> = (0..12).filter(known).collect();
    assert_eq!(known, [0, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn a_known_address_locks_for_itself() {
    let (ada, phone) = ada_with_key();
    let ada = logged_in(ada, &phone, home(), NOW);
    let ada = locked(ada, at(home()), NOW);
    let until = after(NOW, 5 * MINUTE);
    assert_eq!(ada.check_lockout(at(home()), NOW).unwrap_err().until, until);
    assert_eq!(ada.check_lockout(Client::UNKNOWN, NOW), Ok(()));
    let refused = ada
        .clone()
        .begin_login(Password::Correct, at(home()), NOW, &policy());
    assert!(matches!(refused.verdict, Err(PasswordRefusal::Locked(_))));
    assert_eq!(refused.next, ada, "an unjudged attempt counted");
    assert_eq!((ada.is_locked(NOW), ada.is_locked(until)), (true, false));
    let unlocked = ada.unlock();
    assert_eq!(unlocked.check_lockout(at(home()), NOW), Ok(()));
    assert!(!unlocked.is_locked(NOW));
}

#[test]
fn a_challenge_belongs_to_the_count_of_its_password() {
    let (ada, phone) = ada_with_key();
    let ada = logged_in(ada, &phone, home(), NOW);
    let now = after(NOW, MINUTE);
    let begun = ada.begin_login(Password::Correct, at(home()), now, &policy());
    let code = phone.shows(now, 0);
    let answer = |ada: UserRecords, from| {
        ada.answer_challenge(&phone.proof(&code), None, from, now, &policy())
            .verdict
    };
    // A lock of the name does not affect it, wherever the answer comes from.
    let stranger = locked(begun.next.clone(), Client::UNKNOWN, now);
    assert!(answer(stranger.clone(), Some(home())).is_ok());
    assert!(answer(stranger, Some(network("198.51.100.1"))).is_ok());
    // A lock of its address refuses the answer, and ends the challenge.
    let here = locked(begun.next.clone(), at(home()), now);
    let refused = answer(here.clone(), Some(network("198.51.100.1")));
    assert!(matches!(refused, Err(LoginRefusal::Locked(_))));
    let over = |over| Err(LoginRefusal::ChallengeInvalid(over));
    assert_eq!(
        answer(here.unlock(), Some(home())),
        over(ChallengeInvalid::Locked)
    );
    // So does forgetting the address.
    let mut forgotten = begun.next;
    forgotten.addresses = None;
    let gone = over(ChallengeInvalid::AddressForgotten);
    assert_eq!(answer(forgotten, Some(home())), gone);
}

#[test]
fn wrong_codes_double_the_lock_to_a_day_at_most() {
    let (mut ada, _) = ada_with_key();
    let mut now = NOW;
    for minutes in [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440] {
        let (next, until) = guessed(ada, Client::UNKNOWN, now);
        assert_eq!(until, after(now, minutes * MINUTE));
        (ada, now) = (next, until);
    }
}

#[test]
fn wrong_codes_of_a_session_double_its_lock() {
    let phone = Phone::new(7);
    let wrong = phone.proof("no code");
    let locks = |mut ada: UserRecords, guess: &dyn Fn(UserRecords, UnixMillis) -> UserRecords| {
        let mut now = NOW;
        for minutes in [5, 10, 20] {
            for _ in 0..3 {
                ada = guess(ada, now);
            }
            let until = ada.check_session_lockout(session(), now).unwrap_err().until;
            assert_eq!(until, after(now, minutes * MINUTE));
            now = until;
        }
    };
    locks(with_pending_key(ada()), &|ada, now| {
        ada.activate(&wrong, session(), now, &policy()).next
    });
    let (ada, _) = ada_with_key();
    locks(ada, &|ada, now| {
        let asking = resting_on(AuthMethod::Factor);
        let (random, proof) = ([[0; 10]; 10], Some(&wrong));
        ada.make_recovery_codes(Password::Correct, proof, asking, &random, now, &policy())
            .next
    });
}

#[test]
fn wrong_passwords_double_nothing() {
    let (ada, _) = ada_with_key();
    let minutes = |ada: &UserRecords, now| {
        let until = ada.check_lockout(Client::UNKNOWN, now).unwrap_err().until;
        (until.as_secs() - now.as_secs()) / MINUTE
    };
    let mut now = NOW;
    let mut ada = ada;
    for _ in 0..4 {
        ada = locked(ada, Client::UNKNOWN, now);
        assert_eq!(minutes(&ada, now), 5);
        now = after(now, 5 * MINUTE);
    }
    // They leave a lock as long as wrong codes made it.
    let (ada, now) = guessed(ada, Client::UNKNOWN, now);
    let (ada, now) = guessed(ada, Client::UNKNOWN, now);
    let ada = locked(ada, Client::UNKNOWN, now);
    assert_eq!(minutes(&ada, now), 10);
    let now = after(now, 10 * MINUTE);
    let (_, until) = guessed(ada, Client::UNKNOWN, now);
    assert_eq!(until, after(now, 20 * MINUTE));
}

#[test]
fn a_wrong_code_among_wrong_passwords_doubles_too() {
    let (ada, _) = ada_with_key();
    let mut ada = ada;
    let mut now = NOW;
    for minutes in [5, 10, 20] {
        // Two guesses at the code, and a wrong password, so that none of them would lock.
        for _ in 0..2 {
            let begun = ada.begin_login(Password::Correct, Client::UNKNOWN, now, &policy());
            let phone = Phone::new(7);
            ada = begun
                .next
                .answer_challenge(&phone.proof("no code"), None, None, now, &policy())
                .next;
        }
        ada = mistyped(ada, now);
        let until = ada.check_lockout(Client::UNKNOWN, now).unwrap_err().until;
        assert_eq!(until, after(now, minutes * MINUTE));
        now = until;
    }
}

#[test]
fn the_doubling_is_the_counters_own() {
    let (ada, phone) = ada_with_key();
    let ada = logged_in(ada, &phone, home(), NOW);
    let (ada, now) = guessed(ada, Client::UNKNOWN, NOW);
    let (ada, until) = guessed(ada, Client::UNKNOWN, now);
    assert_eq!(until, after(now, 10 * MINUTE));
    let (_, until) = guessed(ada, at(home()), now);
    assert_eq!(until, after(now, 5 * MINUTE));
}

#[test]
fn the_doubling_ends_with_a_login_a_new_password_an_unlock_or_a_quiet_day() {
    let (ada, phone) = ada_with_key();
    let ada = logged_in(ada, &phone, home(), NOW);
    let now = after(NOW, MINUTE);
    let next = |ada: UserRecords, now: UnixMillis| {
        let (_, until) = guessed(ada, Client::UNKNOWN, now);
        (until.as_secs() - now.as_secs()) / MINUTE
    };
    let (ada, now) = guessed(ada, Client::UNKNOWN, now);
    let (ada, now) = guessed(ada, Client::UNKNOWN, now);
    assert_eq!(next(ada.clone(), now), 20);

    let abroad = network("198.51.100.1");
    let elsewhere = logged_in(ada.clone(), &phone, home(), now);
    assert_eq!(next(elsewhere, now), 20, "a login at a known address");
    let there = logged_in(ada.clone(), &phone, abroad, now);
    assert_eq!(next(there, now), 5, "a login there");
    assert_eq!(next(ada.clone().unlock(), now), 5, "an unlock");
    assert_eq!(
        next(ada.clone().after_password_change(), now),
        5,
        "a new password"
    );
    assert_eq!(next(ada.clone().suspend(), now), 20, "a suspension");
    let day = after(now, DAY);
    assert_eq!(next(ada.clone(), day), 5, "a day without a wrong code");
    let last = UnixMillis::from_millis(day.as_millis() - 1000);
    assert_eq!(next(ada.clone(), last), 20, "not a day");
    let kept = challenged(ada.clone(), last);
    assert_eq!(
        next(kept, day),
        5,
        "a day, with the record kept for a challenge"
    );
    // Wrong passwords do not prolong it.
    let passwords = mistyped(ada, last);
    let second_of_two = mistyped(passwords, last);
    let ada = mistyped(second_of_two, last);
    let later = after(last, 10 * MINUTE);
    assert_eq!(next(ada, later), 5);
}

#[test]
fn a_new_password_lifts_no_lock() {
    let (ada, _) = ada_with_key();
    let (ada, until) = guessed(ada, Client::UNKNOWN, NOW);
    let refused = ada
        .after_password_change()
        .check_lockout(Client::UNKNOWN, NOW)
        .unwrap_err();
    assert_eq!(refused.until, until);
}

#[test]
fn a_clock_set_back_keeps_the_doubling() {
    let (ada, _) = ada_with_key();
    let (ada, now) = guessed(ada, Client::UNKNOWN, NOW);
    let before = UnixMillis::from_secs(NOW.as_secs() - DAY);
    let locked = ada.check_lockout(Client::UNKNOWN, before).unwrap_err();
    assert_eq!(locked.until, now);
    let (_, until) = guessed(ada, Client::UNKNOWN, now);
    assert_eq!(until, after(now, 10 * MINUTE));
}
