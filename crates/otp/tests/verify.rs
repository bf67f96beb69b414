//! HOTP and TOTP verification: windows, resynchronisation, replays, both ends of the counter range.

#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

use std::num::NonZeroU64;

use keyproof_otp::{
    Algorithm, Code, Digits, Hotp, LookAhead, NextCounter, OtpError, Refused, Secret, Totp, Window,
};
use proptest::prelude::*;

fn hotp(key: &[u8]) -> Hotp {
    // Eight digits keep chance collisions out of the properties.
    Hotp::from_key(key, Algorithm::Sha1, Digits::EIGHT)
}

fn look_ahead(counters: u16) -> LookAhead {
    LookAhead::new(counters).unwrap()
}

/// The step and drift of an accepted code.
type Verified = Result<(u64, i64), Refused>;

const REPLAY: Verified = Err(Refused::Replay);
const MISS: Verified = Err(Refused::Wrong);

fn verified(totp: &Totp, code: &Code, now: u64, last_step: Option<u64>) -> Verified {
    let accepted = totp.verify(code, now, last_step);
    accepted.map(|accepted| (accepted.step, accepted.drift))
}

#[test]
fn hotp_looks_ahead_from_the_expected_counter_and_no_further() {
    let hotp = hotp(b"12345678901234567890");
    for distance in 0..=8 {
        let next = hotp
            .verify(&hotp.code(100 + distance), 100, look_ahead(7))
            .map(NextCounter::get);
        assert_eq!(
            next,
            (distance <= 7).then_some(101 + distance),
            "{distance} ahead"
        );
    }
    assert_eq!(
        hotp.verify(&hotp.code(99), 100, look_ahead(7)),
        None,
        "spent"
    );
    assert_eq!(
        hotp.verify(&hotp.code(100), 100, LookAhead::default())
            .map(NextCounter::get),
        Some(101)
    );
}

#[test]
fn two_steps_with_one_code_cannot_be_told_apart_but_are_ordered() {
    // Found by search: this key's six digits repeat eight counters later.
    let (low, high) = (2386, 2394);
    let hotp = Hotp::from_key(b"12345678901234567890", Algorithm::Sha1, Digits::SIX);
    let code = hotp.code(low);
    assert_eq!(code, hotp.code(high));
    // HOTP uses the lowest counter that matches.
    assert_eq!(
        hotp.verify(&code, low, look_ahead(20))
            .map(NextCounter::get),
        Some(low + 1)
    );
    assert_eq!(
        hotp.verify(&code, low + 1, look_ahead(20))
            .map(NextCounter::get),
        Some(high + 1)
    );
    // TOTP uses the latest step, so that the same digits are not accepted again in this window.
    let totp = Totp::from(hotp)
        .with_period(NonZeroU64::MIN)
        .with_window(Window::symmetric(10));
    assert_eq!(verified(&totp, &code, low, None), Ok((high, 8)));
    assert_eq!(verified(&totp, &code, low, Some(low)), Ok((high, 8)));
    assert_eq!(verified(&totp, &code, low, Some(high)), REPLAY);
}

#[test]
fn resynchronisation_needs_two_consecutive_codes() {
    let hotp = hotp(b"12345678901234567890");
    let [first, second, third] = [400, 401, 402].map(|counter| hotp.code(counter));
    let wide = look_ahead(LookAhead::MAX);
    assert_eq!(
        hotp.resynchronise(&first, &second, 10, wide)
            .map(NextCounter::get),
        Some(402)
    );
    assert_eq!(
        hotp.resynchronise(&second, &third, 10, wide)
            .map(NextCounter::get),
        Some(403)
    );
    assert_eq!(
        hotp.resynchronise(&first, &third, 10, wide),
        None,
        "one skipped"
    );
    assert_eq!(
        hotp.resynchronise(&second, &first, 10, wide),
        None,
        "wrong order"
    );
    assert_eq!(
        hotp.resynchronise(&first, &first, 10, wide),
        None,
        "one code twice"
    );
    assert_eq!(
        hotp.resynchronise(&first, &second, 401, wide),
        None,
        "behind the counter"
    );
    // The first of the two codes may belong to the last counter of the look-ahead.
    assert_eq!(
        hotp.resynchronise(&first, &second, 10, look_ahead(390))
            .map(NextCounter::get),
        Some(402)
    );
    assert_eq!(
        hotp.resynchronise(&first, &second, 10, look_ahead(389)),
        None
    );
}

#[test]
fn hotp_ends_before_the_last_counter() {
    let hotp = hotp(b"12345678901234567890");
    let code = |counter| hotp.code(counter);
    let near = u64::MAX - 2;
    assert_eq!(
        hotp.verify(&code(near), near, look_ahead(1000))
            .map(NextCounter::get),
        Some(u64::MAX - 1)
    );
    assert_eq!(
        hotp.verify(&code(u64::MAX - 1), near, look_ahead(1000))
            .map(NextCounter::get),
        Some(u64::MAX)
    );
    assert_eq!(hotp.verify(&code(u64::MAX), near, look_ahead(1000)), None);
    assert_eq!(
        hotp.verify(&code(u64::MAX), u64::MAX, look_ahead(1000)),
        None
    );
    let pair = |first| {
        let next = hotp.resynchronise(&code(first), &code(first + 1), near, look_ahead(1000));
        next.map(NextCounter::get)
    };
    assert_eq!(pair(near), Some(u64::MAX));
    assert_eq!(pair(near + 1), None);
    let last = hotp.resynchronise(&code(u64::MAX), &code(0), u64::MAX, look_ahead(1));
    assert_eq!(last, None, "no wrapping around");
}

#[test]
fn totp_windows_may_be_lopsided() {
    let totp = Totp::from(hotp(b"12345678901234567890")).with_window(Window {
        before: 3,
        after: 1,
    });
    let now = 1_700_000_015;
    let current = totp.step_at(now);
    for distance in -5_i64..=3 {
        let step = current.checked_add_signed(distance).unwrap();
        let expected = match distance {
            -3..=1 => Ok((step, distance)),
            _ => MISS,
        };
        assert_eq!(
            verified(&totp, &totp.code_at_step(step), now, None),
            expected,
            "{distance}"
        );
    }
}

#[test]
fn totp_tells_a_replay_from_a_wrong_code() {
    let totp = Totp::from(hotp(b"12345678901234567890"));
    let current = totp.step_at(1_700_000_000);
    let [before, now, after] = [current - 1, current, current + 1].map(|s| totp.code_at_step(s));
    let verify = |code: &Code, last| verified(&totp, code, 1_700_000_000, Some(last));
    assert_eq!(verify(&now, current - 1), Ok((current, 0)));
    assert_eq!(verify(&now, current), REPLAY);
    assert_eq!(
        verify(&before, current),
        REPLAY,
        "an older step after a newer one"
    );
    assert_eq!(verify(&after, current), Ok((current + 1, 1)));
    assert_eq!(
        verify(&now, current + 7),
        REPLAY,
        "a clock that was set back"
    );
    assert_eq!(verify(&totp.code_at_step(current + 9), current), MISS);
    // Only codes within the window are reported as replays.
    assert_eq!(verify(&totp.code_at_step(current - 2), current), MISS);
}

#[test]
fn totp_is_cut_off_at_both_ends_of_time() {
    let totp = Totp::from(hotp(b"12345678901234567890"));
    let at_start = verified(&totp, &totp.code_at_step(0), 0, None);
    assert_eq!(at_start, Ok((0, 0)));
    assert_eq!(verified(&totp, &totp.code_at_step(0), 0, Some(0)), REPLAY);

    // A time before t0 belongs to step 0.
    let late = totp.clone().with_t0(1_000);
    assert_eq!(
        (late.step_at(0), late.step_at(1_029), late.step_at(1_030)),
        (0, 0, 1)
    );
    assert_eq!(late.code(0), totp.code_at_step(0));

    let fast = totp
        .with_period(NonZeroU64::MIN)
        .with_window(Window::symmetric(255));
    assert_eq!(fast.step_at(u64::MAX), u64::MAX);
    let at_end = verified(&fast, &fast.code_at_step(u64::MAX), u64::MAX, None);
    assert_eq!(at_end, Ok((u64::MAX, 0)));
    let below = verified(&fast, &fast.code_at_step(u64::MAX - 255), u64::MAX, None);
    assert_eq!(below, Ok((u64::MAX - 255, -255)));
    assert_eq!(
        verified(
            &fast,
            &fast.code_at_step(u64::MAX),
            u64::MAX,
            Some(u64::MAX)
        ),
        REPLAY
    );
}

#[test]
fn a_code_of_another_length_never_fits() {
    let six = Hotp::from_key(b"12345678901234567890", Algorithm::Sha1, Digits::SIX);
    // The same number with one digit more than the token shows.
    let seven = Code::parse("0162583", Digits::new(7).unwrap()).unwrap();
    assert_eq!(six.code(7).to_string(), "162583");
    assert_eq!(six.verify(&seven, 7, LookAhead::default()), None);
}

#[test]
fn codes_are_exactly_their_digits() {
    let parse = |text| Code::parse(text, Digits::SIX);
    assert_eq!(parse("000042").unwrap().to_string(), "000042");
    for (text, error) in [
        (
            "",
            OtpError::CodeLength {
                expected: 6,
                found: 0,
            },
        ),
        (
            "00042",
            OtpError::CodeLength {
                expected: 6,
                found: 5,
            },
        ),
        (
            "0000042",
            OtpError::CodeLength {
                expected: 6,
                found: 7,
            },
        ),
        (
            "000042 ",
            OtpError::CodeLength {
                expected: 6,
                found: 7,
            },
        ),
        (" 00042", OtpError::CodeSymbol { at: 0 }),
        ("+00042", OtpError::CodeSymbol { at: 0 }),
        ("-00042", OtpError::CodeSymbol { at: 0 }),
        ("00004\n", OtpError::CodeSymbol { at: 5 }),
        ("0000٤", OtpError::CodeSymbol { at: 4 }),
        ("12e456", OtpError::CodeSymbol { at: 2 }),
    ] {
        assert_eq!(parse(text), Err(error), "{text:?}");
    }
    let ten = Digits::new(10).unwrap();
    assert_eq!(
        Code::parse("9999999999", ten).unwrap().to_string(),
        "9999999999"
    );
    assert_eq!(
        format!("{:?}", parse("123456").unwrap()),
        "Code([redacted; 6])"
    );
}

#[test]
fn small_types_hold_their_bounds() {
    for digits in [0, 5, 11, u8::MAX] {
        assert_eq!(Digits::new(digits), Err(OtpError::Digits { found: digits }));
    }
    assert_eq!(
        LookAhead::new(1001),
        Err(OtpError::LookAhead { found: 1001 })
    );
    assert_eq!("sha256".parse(), Ok(Algorithm::Sha256));
    assert_eq!("MD5".parse::<Algorithm>(), Err(OtpError::UnknownAlgorithm));
}

#[test]
fn debug_shows_no_key() {
    let totp = Totp::from(hotp(&[0xa7; 20]));
    assert_eq!(
        format!("{totp:?}"),
        "Totp { algorithm: Sha1, digits: Digits(8), period: 30, t0: 0, \
         window: Window { before: 1, after: 1 }, .. }"
    );
    assert_eq!(
        format!("{:?}", hotp(&[0xa7; 20])),
        "Hotp { algorithm: Sha1, digits: Digits(8), .. }"
    );
}

#[test]
fn a_long_key_is_prepared_as_hmac_does() {
    // RFC 2104 section 2: a key longer than the block is hashed first.
    let long = [0x2a; 300];
    let hashed = <sha1::Sha1 as sha1::Digest>::digest(long);
    let secret = Secret::from_bytes(&hashed).unwrap();
    let direct = Hotp::new(&secret, Algorithm::Sha1, Digits::EIGHT);
    assert_eq!(hotp(&long).code(9), direct.code(9));
}

proptest! {
    /// Whatever codes are entered in whatever order, no step is accepted twice or after a later
    /// one.
    #[test]
    fn totp_accepts_each_step_once_and_in_order(
        key in proptest::collection::vec(any::<u8>(), 0..200),
        start in any::<u64>(),
        period in 1_u64..4_000,
        t0 in prop_oneof![Just(0), any::<u64>()],
        before in 0_u8..4,
        after in 0_u8..4,
        tries in proptest::collection::vec((0_u64..20_000, -6_i64..=6), 1..24),
    ) {
        let totp = Totp::from(hotp(&key))
            .with_period(NonZeroU64::new(period).unwrap())
            .with_t0(t0)
            .with_window(Window { before, after });
        let mut last = None;
        for (later, distance) in tries {
            // The clock moves forwards and backwards.
            let now = start.saturating_add(later);
            let current = totp.step_at(now);
            let step = current.saturating_add_signed(distance);
            let in_window = current.saturating_sub(before.into()) <= step
                && step <= current.saturating_add(after.into());
            match totp.verify(&totp.code_at_step(step), now, last) {
                Ok(accepted) => {
                    prop_assert!(in_window && last.is_none_or(|last| step > last));
                    prop_assert_eq!(accepted.step, step);
                    prop_assert_eq!(current.checked_add_signed(accepted.drift), Some(step));
                    last = Some(step);
                }
                Err(refused) => {
                    prop_assert_eq!(refused == Refused::Replay, in_window);
                    prop_assert!(!in_window || last.is_some_and(|last| step <= last));
                }
            }
        }
    }

    /// The next counter is always greater than the one that matched, so no code is accepted twice.
    #[test]
    fn hotp_moves_on_with_every_code(
        key in proptest::collection::vec(any::<u8>(), 0..200),
        start in prop_oneof![any::<u64>(), Just(u64::MAX - 10)],
        skips in proptest::collection::vec(0_u64..12, 1..16),
        ahead in 0_u16..10,
    ) {
        let hotp = hotp(&key);
        let mut expected = start;
        for skip in skips {
            let Some(counter) = expected.checked_add(skip) else { break };
            let code = hotp.code(counter);
            let fits = skip <= ahead.into() && counter < u64::MAX;
            let next = hotp.verify(&code, expected, look_ahead(ahead)).map(NextCounter::get);
            prop_assert_eq!(next, fits.then(|| counter + 1));
            if let Some(next) = next {
                prop_assert_eq!(hotp.verify(&code, next, look_ahead(ahead)), None);
                expected = next;
            }
        }
    }

    /// `parse` and `Display` agree for every number of digits.
    #[test]
    fn parsing_a_shown_code_gives_it_back(counter in any::<u64>(), digits in 6_u8..=10) {
        let digits = Digits::new(digits).unwrap();
        let code = Hotp::from_key(b"key", Algorithm::Sha512, digits).code(counter);
        let text = code.to_string();
        prop_assert_eq!(text.len(), usize::from(digits.get()));
        prop_assert_eq!(code.digits(), digits);
        prop_assert_eq!(Code::parse(&text, digits), Ok(code));
    }
}

#[test]
fn a_token_says_what_it_was_made_with() {
    for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
        let hotp = Hotp::from_key(b"12345678901234567890", algorithm, Digits::EIGHT);
        assert_eq!(
            (hotp.algorithm(), hotp.digits()),
            (algorithm, Digits::EIGHT)
        );
    }
}
