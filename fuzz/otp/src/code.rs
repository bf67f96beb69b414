//! Codes and their verification.

use std::num::NonZeroU64;

use keyproof_otp::{
    Algorithm, Code, Digits, Hotp, LookAhead, NextCounter, Refused, Secret, Strength, Totp, Window,
};

use crate::{position::assert_position, rfc_4226};

/// Codes: the first byte selects the number of digits. The rest, as text, is a code exactly if it consists of that many ASCII
/// digits. The rest, as numbers, drives the verification of codes that are known to be right.
pub fn code(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let digits = Digits::new(first % 5 + Digits::MIN).expect("6 to 10");
    assert_eq!(u8::from(digits), digits.get());
    assert_eq!(digits.to_string().parse(), Ok(digits));
    assert_eq!(Digits::try_from(*first).is_ok(), (6..=10).contains(first));
    if let Ok(text) = str::from_utf8(rest) {
        if let Ok(digits) = text.parse::<Digits>() {
            assert!((Digits::MIN..=10).contains(&digits.get()));
        }
        let is_code = text.len() == usize::from(digits.get())
            && text.bytes().all(|byte| byte.is_ascii_digit());
        match Code::parse(text, digits) {
            Ok(code) => {
                assert!(is_code);
                assert_eq!(code.to_string(), text);
                assert!(!format!("{code:?}").contains(text));
            }
            Err(error) => {
                assert!(!is_code);
                assert_position(error, text);
            }
        }
    }
    checks(digits, rest);
}

fn checks(digits: Digits, data: &[u8]) {
    let Some((numbers, key)) = data.split_at_checked(28) else {
        return;
    };
    let number = |at: usize| {
        numbers[at..at + 8]
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let [now, period, last] = [0, 8, 16].map(number);
    let [before, after, ahead, algorithm] = [24, 25, 26, 27].map(|at: usize| numbers[at]);
    let algorithm =
        [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512][usize::from(algorithm % 3)];

    let hotp = Hotp::from_key(key, algorithm, digits);
    assert_eq!(
        hotp.code(now).to_string(),
        rfc_4226::code(key, now, algorithm, digits.get())
    );
    assert_eq!((hotp.algorithm(), hotp.digits()), (algorithm, digits));
    assert!(
        format!("{hotp:?}").ends_with(" .. }"),
        "Debug hides the key"
    );
    let look_ahead = LookAhead::new((ahead % 16).into()).expect("at most 15");
    assert_eq!(u16::from(look_ahead), u16::from(ahead % 16));
    let far = u16::from_be_bytes([ahead, after]);
    assert_eq!(LookAhead::try_from(far).is_ok(), far <= LookAhead::MAX);
    strength(key, algorithm, digits, now);
    let code = hotp.code(now);
    // The lowest matching counter is returned, and the first one matches.
    let next = hotp.verify(&code, now, look_ahead);
    assert_eq!(next.map(NextCounter::get), now.checked_add(1));
    // Once spent, the code is valid again only if a later counter has the same digits.
    if let Some(next) = now.checked_add(1) {
        let again = (0..=u64::from(look_ahead.get()))
            .filter_map(|ahead| next.checked_add(ahead))
            .find(|counter| *counter < u64::MAX && hotp.code(*counter) == code);
        let expected = again.map(|counter| counter + 1);
        let next = hotp.verify(&code, next, look_ahead);
        assert_eq!(next.map(NextCounter::get), expected);
    }
    let following = hotp.code(now.wrapping_add(1));
    let next = hotp.resynchronise(&code, &following, now, look_ahead);
    assert_eq!(next.map(NextCounter::get), now.checked_add(2));

    let window = Window {
        before: before % 4,
        after: after % 4,
    };
    let totp = Totp::from(hotp)
        .with_period(NonZeroU64::new(period).unwrap_or(NonZeroU64::MIN))
        .with_window(window);
    assert!(
        format!("{totp:?}").ends_with(" .. }"),
        "Debug hides the key"
    );
    let t0 = last.min(now);
    let later = totp.clone().with_t0(t0);
    assert_eq!(later.step_at(now), (now - t0) / period.max(1));
    let current = totp.step_at(now);
    let in_window = |step: u64| {
        step.saturating_add(window.before.into()) >= current
            && step <= current.saturating_add(window.after.into())
    };
    let code = totp.code(now);
    // RFC 6238 section 4.2: T = (Current Unix time - T0) / X.
    assert_eq!(current, now / period.max(1));
    assert_eq!(
        code.to_string(),
        rfc_4226::code(key, current, algorithm, digits.get())
    );
    assert!(
        totp.verify(&code, now, None)
            .is_ok_and(|accepted| accepted.step >= current)
    );
    // The first code behind the window is accepted only if a step in the window has the same digits.
    let behind = totp.code_at_step(current.wrapping_add(u64::from(window.after) + 1));
    let first = current.saturating_sub(window.before.into());
    let mut steps = first..=current.saturating_add(window.after.into());
    let is_in_window = steps.any(|step| totp.code_at_step(step) == behind);
    assert_eq!(totp.verify(&behind, now, None).is_ok(), is_in_window);
    match totp.verify(&code, now, Some(last)) {
        Ok(accepted) => {
            assert!(accepted.step > last && in_window(accepted.step));
            assert_eq!(
                current.checked_add_signed(accepted.drift),
                Some(accepted.step)
            );
            let again = totp.verify(&code, now, Some(accepted.step));
            assert_eq!(again, Err(Refused::Replay));
        }
        Err(refused) => {
            assert!(last >= current, "an unspent current code is good");
            assert_eq!(
                refused,
                Refused::Replay,
                "the current code is in the window"
            );
        }
    }
}

/// A key as a secret: it is not empty, its length is limited, its strength is as in RFC 4226, and it has the codes of its bytes.
fn strength(key: &[u8], algorithm: Algorithm, digits: Digits, now: u64) {
    let Ok(secret) = Secret::try_from(key) else {
        return assert!(key.is_empty() || key.len() > Secret::MAX_LEN);
    };
    assert_eq!(secret.strength() >= Strength::Required, key.len() >= 16);
    assert_eq!(secret.strength() == Strength::Recommended, key.len() >= 20);
    let again: Secret = secret.base32().to_string().parse().expect("Base32");
    assert_eq!(again.as_bytes(), key);
    let code = Totp::new(&secret, algorithm, digits).code(now);
    assert_eq!(
        code,
        Totp::from(Hotp::from_key(key, algorithm, digits)).code(now)
    );
}
