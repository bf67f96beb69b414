//! The targets of `keyproof-otp`: what reads text, and what checks codes.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a target reports by a panic"
)]

use std::num::NonZeroU64;

use keyproof_otp::migration::{Migration, join};
use keyproof_otp::ocra::{self, Input, Ocra, PinHash, Response, Suite};
use keyproof_otp::otpauth::OtpauthUri;
use keyproof_otp::pos::{Amount, PosAlgorithm, confirm};
use keyproof_otp::{
    Algorithm, Base32Profile, Code, Digits, Hotp, LookAhead, OtpError, Refused, Secret, Totp,
    Window,
};

/// Base32 in its three profiles: positions within the text, strict within lenient, agreement of
/// what two profiles take, and the canonical spelling back.
pub fn base32(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let [strict, lenient, taler] = [
        Base32Profile::Strict,
        Base32Profile::Lenient,
        Base32Profile::Taler,
    ]
    .map(|profile| decode(profile, text));

    if let Some(bytes) = &strict {
        assert_eq!(lenient.as_ref(), Some(bytes));
        let padded = text.len() - text.trim_end_matches('=').len();
        assert_eq!(taler.is_some(), padded <= 2);
        if let Ok(secret) = Secret::from_bytes(bytes) {
            assert_eq!(secret.base32().to_string(), text.trim_end_matches('='));
        }
    }
    if let Some(bytes) = &lenient {
        assert!(taler.as_ref().is_none_or(|taler| taler == bytes));
        if let Ok(secret) = Secret::from_bytes(bytes) {
            let symbols = text.chars().filter(char::is_ascii_alphanumeric);
            let canonical: String = symbols.map(|symbol| symbol.to_ascii_uppercase()).collect();
            assert_eq!(secret.base32().to_string(), canonical);
        }
    }
    if let Some(bytes) = &taler {
        let symbols = text.trim_end_matches('=').len();
        assert_eq!(
            bytes.len(),
            symbols * 5 / 8,
            "left-over bits are dropped, nothing else"
        );
    }
}

/// Decodes into room enough, and checks that one byte less is refused.
fn decode(profile: Base32Profile, text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; Base32Profile::max_decoded_len(text.len())];
    match profile.decode_to(text, &mut bytes) {
        Ok(len) => {
            if let Some(too_short) = len.checked_sub(1) {
                let mut out = vec![0; too_short];
                assert_eq!(
                    profile.decode_to(text, &mut out),
                    Err(OtpError::SecretTooLong)
                );
            }
            let inline =
                Secret::from_base32(text, profile).map(|secret| secret.as_bytes() == &bytes[..len]);
            assert_eq!(
                inline,
                if len <= Secret::MAX_LEN {
                    Ok(true)
                } else {
                    Err(OtpError::SecretTooLong)
                }
            );
            bytes.truncate(len);
            Some(bytes)
        }
        Err(error) => {
            assert_ne!(error, OtpError::SecretTooLong);
            assert_position(error, text);
            None
        }
    }
}

/// `otpauth` URIs: positions within the text, and what is written parses to the same.
pub fn uri(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match OtpauthUri::parse(text) {
        Ok(uri) => {
            let written = uri.to_string();
            assert_eq!(OtpauthUri::parse(&written).as_ref(), Ok(&uri), "{written}");
            assert_eq!(
                OtpauthUri::parse_strict(text).is_err(),
                uri.issuer_mismatch()
            );
            let code = match (uri.totp(), uri.hotp()) {
                (Some(totp), None) => totp.code(u64::MAX),
                (None, Some((hotp, counter))) => hotp.code(counter),
                _ => panic!("a URI is of one type"),
            };
            assert_eq!(code.digits(), uri.digits());
            assert!(!uri.secret().as_bytes().is_empty());
            let redacted = format!(
                "secret: Secret([redacted; {}])",
                uri.secret().as_bytes().len()
            );
            assert!(
                format!("{uri:?}").contains(&redacted),
                "Debug hides the secret"
            );
        }
        Err(error) => {
            assert_position(error, text);
            assert_eq!(OtpauthUri::parse_strict(text), Err(error));
        }
    }
}

/// Amounts: positions within the text, bounds, the shown amount reads back and confirms the same.
pub fn amount(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match text.parse::<Amount>() {
        Ok(amount) => {
            assert!((1..=11).contains(&amount.currency().len()));
            assert!(
                amount
                    .currency()
                    .bytes()
                    .all(|letter| letter.is_ascii_uppercase())
            );
            assert!(amount.value() <= Amount::MAX_VALUE);
            assert!(amount.fraction() < 100_000_000);

            let shown = amount.to_string();
            assert!(
                !shown.contains('.') || !shown.ends_with(['0', '.']),
                "{shown} is not shortest"
            );
            let again: Amount = shown.parse().expect("an amount reads what it shows");
            assert_eq!(again, amount);
            let codes = |price| {
                confirm(
                    b"key",
                    PosAlgorithm::TotpWithPrice,
                    Some(price),
                    1_700_000_000,
                )
            };
            assert_eq!(codes(&again), codes(&amount));
        }
        Err(error) => assert_position(error, text),
    }
}

/// Codes: the first byte picks the digits. The rest as text is a code exactly if it is that many
/// ASCII digits; the rest as numbers drives checks of codes that are known to be right.
pub fn code(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let digits = Digits::new(first % 5 + Digits::MIN).expect("6 to 10");
    if let Ok(text) = str::from_utf8(rest) {
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
    let look_ahead = LookAhead::new((ahead % 16).into()).expect("at most 15");
    let code = hotp.code(now);
    // The lowest counter that fits counts, and the first one does.
    assert_eq!(hotp.verify(&code, now, look_ahead), now.checked_add(1));
    let following = hotp.code(now.wrapping_add(1));
    assert_eq!(
        hotp.resynchronise(&code, &following, now, look_ahead),
        now.checked_add(2)
    );

    let window = Window {
        before: before % 4,
        after: after % 4,
    };
    let totp = Totp::from(hotp)
        .with_period(NonZeroU64::new(period).unwrap_or(NonZeroU64::MIN))
        .with_window(window);
    let current = totp.step_at(now);
    let in_window = |step: u64| {
        step.saturating_add(window.before.into()) >= current
            && step <= current.saturating_add(window.after.into())
    };
    let code = totp.code(now);
    assert!(
        totp.verify(&code, now, None)
            .is_ok_and(|accepted| accepted.step >= current)
    );
    match totp.verify(&code, now, Some(last)) {
        Ok(accepted) => {
            assert!(accepted.step > last && in_window(accepted.step));
            assert_eq!(
                current.checked_add_signed(accepted.drift),
                Some(accepted.step)
            );
            let again = totp.verify(&code, now, Some(accepted.step));
            assert_eq!(again, Err(Refused { replay: true }));
        }
        Err(refused) => {
            assert!(last >= current, "an unspent current code is good");
            assert!(refused.replay, "the current code is in the window");
        }
    }
}

/// Exports, as a URI and as the message within: what is read is written, and read to the same;
/// whatever has accounts can be put into codes anew.
pub fn migration(data: &[u8]) {
    let uri = str::from_utf8(data).ok().map(Migration::parse);
    for code in uri.into_iter().chain([Migration::from_message(data)]) {
        let code = match code {
            Ok(code) => code,
            Err(
                OtpError::MigrationBase64 { at }
                | OtpError::MigrationDuplicate { at }
                | OtpError::MigrationEncoding { at }
                | OtpError::MigrationSecret { at }
                | OtpError::MigrationValue { at }
                | OtpError::UriEscape { at },
            ) => {
                assert!(at <= data.len());
                continue;
            }
            Err(_) => continue,
        };
        let part = code.part();
        assert!(part.index < part.size);
        let written = code.to_string();
        assert_eq!(Migration::parse(&written).as_ref(), Ok(&code), "{written}");
        let accounts = code.accounts();
        assert!(
            accounts
                .iter()
                .all(|account| !account.secret().as_bytes().is_empty())
        );
        match Migration::batch(accounts, part.id) {
            Ok(codes) if codes.is_empty() => assert!(accounts.is_empty()),
            Ok(codes) => {
                assert!(
                    codes
                        .iter()
                        .all(|code| code.accounts().len() <= Migration::ACCOUNTS_A_CODE)
                );
                assert_eq!(join(codes).as_deref(), Ok(accounts));
            }
            Err(error) => assert_eq!(error, OtpError::MigrationTooLong),
        }
    }
}

/// OCRA: a first line that is a suite is shown as it was read; the second is a question, the third a
/// response, and what follows gives the other inputs. What was computed is accepted for the same
/// inputs and no others.
pub fn ocra(data: &[u8]) {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let [suite, question, response, rest] = [(); 4].map(|()| lines.next().unwrap_or_default());
    let [Ok(suite), Ok(question), Ok(response)] = [suite, question, response].map(str::from_utf8)
    else {
        return;
    };
    let suite: Suite = match suite.parse() {
        Ok(suite) => suite,
        Err(error) => return assert_position(error, suite),
    };
    assert!(
        data.starts_with(suite.to_string().as_bytes()),
        "{suite} in another spelling"
    );
    let response = match Response::parse(response, &suite) {
        Ok(parsed) => {
            assert_eq!(parsed.to_string(), response.to_ascii_lowercase());
            Some(parsed)
        }
        Err(error) => {
            assert_position(error, response);
            None
        }
    };

    let mut numbers = rest.iter().map(|byte| u64::from(*byte));
    let mut number = || numbers.next().unwrap_or_default();
    let (counter, time) = (number() << 56 | number(), number() << 40 | number());
    let pin_hash = suite
        .pin_hash()
        .map(|algorithm| PinHash::new(algorithm, question));
    let session = vec![1; suite.session_len().unwrap_or_default().into()];
    let mut input = Input::new(question);
    if let Some((first, second)) = question.split_once(' ') {
        input = Input::mutual(first, second);
    }
    if suite.has_counter() {
        input = input.with_counter(counter);
    }
    if let Some(pin_hash) = &pin_hash {
        input = input.with_pin_hash(pin_hash);
    }
    if suite.session_len().is_some() {
        input = input.with_session(&session);
    }
    if suite.time_step().is_some() {
        input = input.with_time(time);
    }
    let ocra = Ocra::from_key(rest, suite);
    let computed = match ocra.response(&input) {
        Ok(computed) => computed,
        // Of two questions, the position is in one of them.
        Err(_) if question.contains(' ') => return,
        Err(error) => return assert_position(error, question),
    };
    assert_eq!(Response::parse(&computed.to_string(), &suite), Ok(computed));
    let accepted = ocra
        .verify(&computed, &input, None)
        .expect("what was computed is accepted");
    assert_eq!(
        accepted.next_counter,
        suite.has_counter().then_some(counter + 1)
    );
    if let Some(step) = accepted.step {
        let again = ocra.verify(&computed, &input, Some(step));
        assert_eq!(again, Err(ocra::Refused::Replay));
    }
    if let Some(other) = response.filter(|other| *other != computed) {
        let ocra = ocra.with_window(Window::NONE);
        assert_eq!(ocra.verify(&other, &input, None), Err(ocra::Refused::Wrong));
    }
    // An input that the suite does not name is never left out in silence.
    let unnamed = if suite.has_counter() {
        None
    } else {
        Some(input.with_counter(0))
    };
    assert!(unnamed.is_none_or(|input| Ocra::from_key(rest, suite).response(&input).is_err()));
}

/// An error's position, if it has one, is in the text or right behind it.
fn assert_position(error: OtpError, text: &str) {
    let at = match error {
        OtpError::AmountCurrency { at }
        | OtpError::AmountFraction { at }
        | OtpError::AmountValue { at }
        | OtpError::Base32Length { at }
        | OtpError::Base32Padding { at }
        | OtpError::Base32Symbol { at }
        | OtpError::Base32TrailingBits { at }
        | OtpError::CodeSymbol { at }
        | OtpError::OcraQuestion { at }
        | OtpError::OcraResponseSymbol { at }
        | OtpError::OcraSuite { at }
        | OtpError::UriDuplicateParameter { at }
        | OtpError::UriEscape { at }
        | OtpError::UriFragment { at }
        | OtpError::UriNumber { at }
        | OtpError::UriSecret { at }
        | OtpError::UriType { at } => at,
        _ => 0,
    };
    assert!(at <= text.len(), "{error:?} in {} bytes", text.len());
    assert!(text.is_char_boundary(at), "{error:?} within a character");
}
