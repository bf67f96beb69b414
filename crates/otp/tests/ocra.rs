//! OCRA: the 70 responses of RFC 6287 appendix C, suites, inputs and verification.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test reports by a panic"
)]

use keyproof_otp::{
    Algorithm, LookAhead, OtpError, Secret, Window,
    ocra::{
        Input, Ocra, PinHash, QuestionFormat, Questions, Refused, Response, ResponseLength, Suite,
    },
};
use proptest::prelude::*;
use serde_json::Value;

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap_or_default();
    data_encoding::HEXLOWER
        .decode(hex.as_bytes())
        .unwrap_or_default()
}

fn ocra(suite: &str) -> Ocra {
    let key = b"1234567890".repeat(7);
    Ocra::from_key(
        &key[..32],
        suite
            .parse()
            .unwrap_or_else(|error| panic!("{suite}: {error}")),
    )
}

/// The input of the response to the question `first` by the party that asked `second`.
fn mutual<'a>(first: &'a str, second: &'a str) -> Input<'a> {
    Input::for_client_response(Questions {
        client: second,
        server: first,
    })
}

/// RFC 6287 appendix C. The time of the tables is 0x132d0b6 minutes.
#[test]
fn rfc6287_appendix_c() {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("vectors/ocra-rfc6287.json")).unwrap();
    assert_eq!(vectors.len(), 70);
    for vector in &vectors {
        let suite: Suite = vector["suite"].as_str().unwrap().parse().unwrap();
        assert_eq!(suite.to_string(), vector["suite"]);
        let pin_hash = PinHash::from_bytes(&bytes(&vector["pin_sha1_hex"])).unwrap();
        // The mutual modes have both questions in one text.
        let (first, second) = vector["Q"]
            .as_str()
            .and_then(|both| both.split_at_checked(suite.question_len().into()))
            .unwrap();
        let mut input = match second {
            "" => Input::new(first),
            second => mutual(first, second),
        };
        if let Some(counter) = vector["C"].as_u64() {
            input = input.with_counter(counter);
        }
        if vector["pin_sha1_hex"].is_string() {
            input = input.with_pin_hash(&pin_hash);
        }
        if let Some(steps) = vector["T_hex"].as_str() {
            input = input.with_time(u64::from_str_radix(steps, 16).unwrap() * 60 + 59);
        }
        let secret = Secret::from_bytes(&bytes(&vector["key_hex"])).unwrap();
        let ocra = Ocra::new(&secret, suite);
        let response = ocra.response(&input).unwrap();
        assert_eq!(response.to_string(), vector["value"], "{vector}");
        let typed = Response::parse(vector["value"].as_str().unwrap(), &suite).unwrap();
        assert!(ocra.verify(&typed, &input, None).is_ok());
    }
}

#[test]
fn the_pin_of_the_tables_is_1234() {
    let ocra = ocra("OCRA-1:HOTP-SHA256-8:QN08-PSHA1");
    let pin = PinHash::new(Algorithm::Sha1, "1234").unwrap();
    let response = ocra
        .response(&Input::new("00000000").with_pin_hash(&pin))
        .unwrap();
    assert_eq!(response.to_string(), "83238735");
    let pin = PinHash::new(Algorithm::Sha1, "1235").unwrap();
    let refused = ocra.verify(&response, &Input::new("00000000").with_pin_hash(&pin), None);
    assert_eq!(refused, Err(Refused::Wrong));
    for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
        let empty = PinHash::new(algorithm, "").map(|_| ());
        assert_eq!(empty, Err(OtpError::OcraPinEmpty));
    }
}

#[test]
fn the_hash_of_a_pin_may_come_from_elsewhere_and_is_hidden() {
    use sha2::Digest as _;
    for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
        let hash = match algorithm {
            Algorithm::Sha1 => sha1::Sha1::digest("1234").to_vec(),
            Algorithm::Sha256 => sha2::Sha256::digest("1234").to_vec(),
            Algorithm::Sha512 => sha2::Sha512::digest("1234").to_vec(),
        };
        let pin = PinHash::from_bytes(&hash).unwrap();
        let ocra = ocra(&format!("OCRA-1:HOTP-SHA1-6:QN08-P{algorithm}"));
        let response = |pin: &PinHash| ocra.response(&Input::new("12345678").with_pin_hash(pin));
        let own = PinHash::new(algorithm, "1234").unwrap();
        assert_eq!(response(&pin), response(&own));
        assert!(response(&pin).is_ok());
        let hidden = format!("PinHash([redacted; {}])", hash.len());
        assert_eq!(format!("{pin:?}"), hidden);
    }
}

#[test]
fn suites_are_read_to_the_letter() {
    let suite: Suite = "OCRA-1:HOTP-SHA512-10:C-QH64-PSHA256-S128-T48H"
        .parse()
        .unwrap();
    assert_eq!(suite.algorithm(), Algorithm::Sha512);
    assert_eq!(suite.response_length(), ResponseLength::Digits(10));
    assert!(suite.has_counter());
    assert_eq!(suite.question_format(), QuestionFormat::Hexadecimal);
    assert_eq!(suite.question_len(), 64);
    assert_eq!(suite.pin_hash(), Some(Algorithm::Sha256));
    assert_eq!(suite.session_len(), Some(128));
    assert_eq!(suite.time_step().unwrap().get(), 48 * 3600);
    assert_eq!(format!("{suite:?}"), format!("Suite({suite})"));

    for text in [
        "OCRA-1:HOTP-SHA512-10:C-QN64-PSHA512-S512-T59S",
        "OCRA-1:HOTP-SHA1-4:QA04",
        "OCRA-1:HOTP-SHA256-0:QN08-T1S",
        "OCRA-1:HOTP-SHA1-6:QN08-S001-T59M",
        "OCRA-1:HOTP-SHA1-6:QN08-T1H",
    ] {
        assert_eq!(text.parse::<Suite>().unwrap().to_string(), text);
    }
    for (text, at) in [
        ("", 0),
        ("ocra-1:HOTP-SHA1-6:QN08", 0),
        ("OCRA-2:HOTP-SHA1-6:QN08", 0),
        ("OCRA-1:TOTP-SHA1-6:QN08", 0),
        ("OCRA-1:HOTP-SHA1-6", 18),
        ("OCRA-1:HOTP-SHA3-6:QN08", 12),
        ("OCRA-1:HOTP-sha1-6:QN08", 12),
        ("OCRA-1:HOTP-SHA1:QN08", 12),
        ("OCRA-1:HOTP-SHA1-3:QN08", 12),
        ("OCRA-1:HOTP-SHA1-11:QN08", 12),
        ("OCRA-1:HOTP-SHA1-06:QN08", 12),
        ("OCRA-1:HOTP-SHA1-+6:QN08", 12),
        ("OCRA-1:HOTP-SHA1-00:QN08", 12),
        ("OCRA-1:HOTP-SHA1-6:", 19),
        ("OCRA-1:HOTP-SHA1-6:C", 20),
        ("OCRA-1:HOTP-SHA1-6:QN3", 19),
        ("OCRA-1:HOTP-SHA1-6:QN", 19),
        ("OCRA-1:HOTP-SHA1-6:QN03", 19),
        ("OCRA-1:HOTP-SHA1-6:QN65", 19),
        ("OCRA-1:HOTP-SHA1-6:QN+8", 19),
        ("OCRA-1:HOTP-SHA1-6:QX08", 19),
        ("OCRA-1:HOTP-SHA1-6:Qé08", 19),
        ("OCRA-1:HOTP-SHA1-6:QN08-C", 24),
        ("OCRA-1:HOTP-SHA1-6:QN08-", 24),
        ("OCRA-1:HOTP-SHA1-6:QN08-PMD5", 24),
        ("OCRA-1:HOTP-SHA1-6:QN08-S000", 24),
        ("OCRA-1:HOTP-SHA1-6:QN08-S513", 24),
        ("OCRA-1:HOTP-SHA1-6:QN08-S64", 24),
        ("OCRA-1:HOTP-SHA1-6:QN08-T0H", 24),
        ("OCRA-1:HOTP-SHA1-6:QN08-T49H", 24),
        ("OCRA-1:HOTP-SHA1-6:QN08-T60S", 24),
        ("OCRA-1:HOTP-SHA1-6:QN08-T01M", 24),
        ("OCRA-1:HOTP-SHA1-6:QN08-T1é", 24),
        ("OCRA-1:HOTP-SHA1-6:QN08-T1M-S064", 28),
        ("OCRA-1:HOTP-SHA1-6:QN08-PSHA1-PSHA1", 30),
    ] {
        let error = text.parse::<Suite>();
        assert_eq!(error, Err(OtpError::OcraSuite { at }), "{text}");
    }
}

/// RFC 6287 section 6.3 has defaults, and an example in section 6.4 has a length of one digit. The
/// first two responses are python-oath's, the last two those of a transcription of section 5.
#[test]
fn what_has_a_default_may_be_left_out_and_the_spelling_counts() {
    let pin = PinHash::new(Algorithm::Sha1, "1234").unwrap();
    let input = |question| Input::new(question).with_session(&[b's'; 512]);
    let all = Input::new("12345678").with_counter(7).with_pin_hash(&pin);
    let all = all.with_time(0x132d0b6 * 60);
    let short = Input::new("abcdef1234").with_session(&[b's'; 64]);
    for (suite, input, response) in [
        ("OCRA-1:HOTP-SHA1-4:QH8-S512", input("abcdef12"), "1883"),
        ("OCRA-1:HOTP-SHA1-6:QH10-S", short, "567445"),
        ("OCRA-1:HOTP-SHA1-6:C-Q-P-T", all, "832988"),
        ("OCRA-1:HOTP-SHA1-6:C-QN08-PSHA1-T1M", all, "684479"),
    ] {
        let ocra = ocra(suite);
        assert_eq!(ocra.suite().to_string(), suite);
        assert_eq!(ocra.response(&input).unwrap().to_string(), response);
    }
    let [short, long] = ["C-Q-P-S-T", "C-QN08-PSHA1-S064-T1M"]
        .map(|inputs| ocra(&format!("OCRA-1:HOTP-SHA1-6:{inputs}")).suite());
    let inputs = |suite: Suite| {
        let question = (suite.question_format(), suite.question_len());
        (
            question,
            suite.pin_hash(),
            suite.session_len(),
            suite.time_step(),
        )
    };
    assert_eq!(inputs(short), inputs(long));
    assert_ne!(short, long);
}

#[test]
fn an_input_has_what_the_suite_names_and_nothing_else() {
    let pin = PinHash::new(Algorithm::Sha1, "1234").unwrap();
    let long = PinHash::new(Algorithm::Sha256, "1234").unwrap();
    let bare = Input::new("1234");
    let missing = |name| Err(OtpError::OcraInputMissing { name });
    let unexpected = |name| Err(OtpError::OcraInputUnexpected { name });
    for (inputs, whole, name) in [
        ("C-QN08", bare.with_counter(0), "counter"),
        ("QN08-PSHA1", bare.with_pin_hash(&pin), "PIN hash"),
        ("QN08-S002", bare.with_session(b"ab"), "session"),
        ("QN08-T1M", bare.with_time(0), "time"),
    ] {
        let with = ocra(&format!("OCRA-1:HOTP-SHA1-6:{inputs}"));
        assert!(with.response(&whole).is_ok());
        assert_eq!(with.response(&bare), missing(name));
        assert_eq!(
            ocra("OCRA-1:HOTP-SHA1-6:QN08").response(&whole),
            unexpected(name)
        );
    }
    let session = ocra("OCRA-1:HOTP-SHA1-6:QN08-S002");
    for (session_information, found) in [(&b""[..], 0), (b"a", 1), (b"abc", 3)] {
        let input = bare.with_session(session_information);
        let expected = 2;
        assert_eq!(
            session.response(&input),
            Err(OtpError::OcraSession { expected, found })
        );
    }
    assert_eq!(
        ocra("OCRA-1:HOTP-SHA1-6:QN08-PSHA1").response(&bare.with_pin_hash(&long)),
        Err(OtpError::OcraPinHash {
            expected: 20,
            found: 32
        })
    );
    assert!(PinHash::from_bytes(&[0; 65]).is_err());

    let length = |found| Err(OtpError::OcraQuestionLength { max: 8, found });
    let plain = ocra("OCRA-1:HOTP-SHA1-6:QN08");
    assert_eq!(plain.response(&Input::new("")), length(0));
    assert_eq!(plain.response(&Input::new("123456789")), length(9));
    assert_eq!(plain.response(&mutual("12345678", "")), length(0));
    assert_eq!(
        plain.response(&Input::new("12-4")),
        Err(OtpError::OcraQuestion { at: 2 })
    );
    assert_eq!(
        plain.response(&mutual("1", "x")),
        Err(OtpError::OcraQuestion { at: 0 })
    );
    let hexadecimal = ocra("OCRA-1:HOTP-SHA1-6:QH08");
    assert_eq!(
        hexadecimal.response(&Input::new("0g")),
        Err(OtpError::OcraQuestion { at: 1 })
    );
    let letters = ocra("OCRA-1:HOTP-SHA1-6:QA08");
    assert_eq!(
        letters.response(&Input::new("a b")),
        Err(OtpError::OcraQuestion { at: 1 })
    );
}

#[test]
fn questions_are_drawn_from_all_of_their_format_and_fail_as_the_source_does() {
    for (suite, alphabet) in [
        ("OCRA-1:HOTP-SHA1-6:QN08", 10),
        ("OCRA-1:HOTP-SHA1-6:QH64", 16),
        ("OCRA-1:HOTP-SHA1-6:QA05", 62),
    ] {
        let ocra = ocra(suite);
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..alphabet {
            let count = |bytes: &mut [u8]| {
                let fields = bytes.as_chunks_mut::<8>().0.iter_mut();
                fields.for_each(|field| *field = u64::to_be_bytes(number));
                Ok::<(), &str>(())
            };
            let question = ocra.suite().random_question(count).unwrap();
            assert_eq!(
                question.as_str().len(),
                usize::from(ocra.suite().question_len())
            );
            assert!(
                ocra.response(&Input::new(question.as_str())).is_ok(),
                "{question}"
            );
            // Unlike a response, a question is not secret.
            assert_eq!(format!("{question:?}"), format!("Question({question})"));
            seen.insert(question.to_string());
        }
        assert_eq!(seen.len(), alphabet as usize);
        assert_eq!(ocra.suite().random_question(|_| Err("none")), Err("none"));
    }
}

/// Each input changes the response.
#[test]
fn every_input_goes_in() {
    let ocra = ocra("OCRA-1:HOTP-SHA1-0:C-QA08-PSHA1-S002-T1M");
    let (pin, other_pin) = (
        PinHash::new(Algorithm::Sha1, "1234").unwrap(),
        PinHash::new(Algorithm::Sha1, "4321").unwrap(),
    );
    let input = |question, counter, pin, session, time| {
        let input = Input::new(question)
            .with_counter(counter)
            .with_pin_hash(pin);
        ocra.response(&input.with_session(session).with_time(time))
            .unwrap()
    };
    let response = input("a", 1, &pin, b"ab", 60);
    assert_eq!(response, input("a", 1, &pin, b"ab", 119));
    for other in [
        input("b", 1, &pin, b"ab", 60),
        input("a", 2, &pin, b"ab", 60),
        input("a", 1, &other_pin, b"ab", 60),
        input("a", 1, &pin, b"ac", 60),
        input("a", 1, &pin, b"ab", 120),
    ] {
        assert_ne!(response, other);
    }
}

/// Hexadecimal questions are parsed as bytes, numeric ones as numbers regardless of leading zeros.
#[test]
fn questions_in_three_formats() {
    let response = |suite: &str, input: Input<'_>| ocra(suite).response(&input).unwrap();
    let hexadecimal = "OCRA-1:HOTP-SHA1-0:QH64";
    let numeric = "OCRA-1:HOTP-SHA1-0:QN64";
    assert_eq!(
        response(hexadecimal, Input::new("aBc")),
        response(hexadecimal, mutual("AB", "C000"))
    );
    assert_eq!(
        response(numeric, Input::new("0042")),
        response(numeric, Input::new("42"))
    );
    assert_eq!(
        response(numeric, mutual("4", "2")),
        response(numeric, Input::new("42"))
    );
    assert_ne!(
        response(numeric, Input::new("42")),
        response(numeric, Input::new("43"))
    );
    // The longest numbers still differ in their last digit.
    let nines = "9".repeat(64);
    let last = format!("{}8", "9".repeat(63));
    assert_ne!(
        response(numeric, mutual(&nines, &nines)),
        response(numeric, mutual(&nines, &last))
    );
}

/// Compares the encoding of numeric questions with 128-bit arithmetic. The suite's text is part of
/// the HMAC, so no other suite can be compared with; the HMAC is computed here.
#[test]
fn numeric_questions_are_hexadecimal_numbers() {
    use hmac::{Hmac, KeyInit, Mac};
    let suite = "OCRA-1:HOTP-SHA256-0:QN38";
    for number in [
        0,
        1,
        9,
        10,
        255,
        256,
        12_345_678,
        u128::from(u64::MAX),
        u128::MAX / 10,
    ] {
        let mut digits = if number == 0 {
            String::new()
        } else {
            format!("{number:x}")
        };
        digits.extend(std::iter::repeat_n('0', 256 - digits.len()));
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&b"1234567890".repeat(4)[..32]).unwrap();
        mac.update(suite.as_bytes());
        mac.update(&[0]);
        mac.update(&data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap());
        let expected = data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes());
        let question = number.to_string();
        let response = ocra(suite).response(&Input::new(&question)).unwrap();
        assert_eq!(response.to_string(), expected, "{number}");
    }
}

#[test]
fn responses_are_read_as_they_are_shown() {
    let truncated: Suite = "OCRA-1:HOTP-SHA1-6:QN08".parse().unwrap();
    let whole: Suite = "OCRA-1:HOTP-SHA1-0:QN08".parse().unwrap();
    let response = Response::parse("012345", &truncated).unwrap();
    assert_eq!(response.to_string(), "012345");
    assert_eq!(format!("{response:?}"), "Response([redacted; Digits(6)])");
    let hex = "000102030405060708090a0b0c0d0e0f10111213";
    assert_eq!(
        Response::parse(&hex.to_uppercase(), &whole)
            .unwrap()
            .to_string(),
        hex
    );
    assert_eq!(whole.response_length(), ResponseLength::Full(20));

    let length = |expected, found| Err(OtpError::OcraResponseLength { expected, found });
    assert_eq!(Response::parse("12345", &truncated), length(6, 5));
    assert_eq!(Response::parse("1234567", &truncated), length(6, 7));
    assert_eq!(Response::parse("12", &whole), length(40, 2));
    for wrong in ["+12345", "12345a", " 12345"] {
        let at = if wrong.ends_with('a') { 5 } else { 0 };
        let symbol = Err(OtpError::OcraResponseSymbol { at });
        assert_eq!(Response::parse(wrong, &truncated), symbol);
    }
    // A whole HMAC is not accepted in place of the digits that it begins with.
    let eight: Suite = "OCRA-1:HOTP-SHA1-8:QN08".parse().unwrap();
    assert_ne!(
        Response::parse("00000012", &eight).unwrap(),
        Response::parse("000012", &truncated).unwrap()
    );
}

#[test]
fn a_counter_is_looked_for_ahead_and_never_back() {
    let ocra = ocra("OCRA-1:HOTP-SHA1-8:C-QN08").with_look_ahead(LookAhead::new(3).unwrap());
    let input = |counter| Input::new("12345678").with_counter(counter);
    let response = ocra.response(&input(10)).unwrap();
    let next = |counter| {
        ocra.verify(&response, &input(counter), None)
            .map(|accepted| accepted.next_counter)
    };
    for counter in 7..=10 {
        assert_eq!(next(counter), Ok(Some(11)));
    }
    assert_eq!(next(6), Err(Refused::Wrong));
    assert_eq!(next(11), Err(Refused::Wrong));
    let last = ocra.response(&input(u64::MAX)).unwrap();
    assert_eq!(
        ocra.verify(&last, &input(u64::MAX), None),
        Err(Refused::Wrong)
    );
}

#[test]
fn a_time_step_is_good_once() {
    let ocra = ocra("OCRA-1:HOTP-SHA1-8:QN08-T1M");
    let input = |time| Input::new("12345678").with_time(time);
    let response = ocra.response(&input(600)).unwrap();
    let step = |time, last| {
        ocra.verify(&response, &input(time), last)
            .map(|accepted| accepted.step)
    };
    assert_eq!(step(540, None), Ok(Some(10)));
    assert_eq!(step(660, Some(9)), Ok(Some(10)));
    assert_eq!(step(600, Some(10)), Err(Refused::Replay));
    assert_eq!(step(600, Some(11)), Err(Refused::Replay));
    assert_eq!(step(539, None), Err(Refused::Wrong));
    assert_eq!(step(720, None), Err(Refused::Wrong));
    let narrow = ocra.clone().with_window(Window::NONE);
    assert_eq!(
        narrow.verify(&response, &input(660), None),
        Err(Refused::Wrong)
    );
}

#[test]
fn counter_and_time_are_tried_together_and_within_bounds() {
    let both = ocra("OCRA-1:HOTP-SHA1-8:C-QN08-T1M").with_look_ahead(LookAhead::new(2).unwrap());
    let input = |counter, time| Input::new("1").with_counter(counter).with_time(time);
    let response = both.response(&input(5, 600)).unwrap();
    let accepted = both.verify(&response, &input(3, 660), None).unwrap();
    assert_eq!((accepted.next_counter, accepted.step), (Some(6), Some(10)));
    assert_eq!(
        both.verify(&response, &input(3, 660), Some(10)),
        Err(Refused::Replay)
    );

    let widest = LookAhead::new(LookAhead::MAX).unwrap();
    let both = both.with_look_ahead(widest);
    let tries = Err(Refused::Input(OtpError::OcraTries { found: 3003 }));
    assert_eq!(both.verify(&response, &input(0, 0), None), tries);
    // The largest number of tries, and one more.
    let tried = |ahead, window| {
        let both = both.clone().with_look_ahead(LookAhead::new(ahead).unwrap());
        both.with_window(window)
            .verify(&response, &input(0, 6_000), None)
    };
    let (before, after) = (3, 0);
    assert_eq!(tried(511, Window { before, after }), Err(Refused::Wrong));
    let tries = Err(Refused::Input(OtpError::OcraTries { found: 2049 }));
    assert_eq!(tried(682, Window::default()), tries);
    // Without the time, the same look-ahead costs no more than for HOTP.
    let counter = ocra("OCRA-1:HOTP-SHA1-8:C-QN08").with_look_ahead(widest);
    let refused = counter.verify(&response, &Input::new("1").with_counter(0), None);
    assert!(refused != tries);
}

#[test]
fn what_the_suite_does_not_take_is_no_wrong_response() {
    let ocra = ocra("OCRA-1:HOTP-SHA1-6:QN08");
    let response = ocra.response(&Input::new("1")).unwrap();
    let refused = ocra.verify(&response, &Input::new("1").with_counter(0), None);
    let unexpected = OtpError::OcraInputUnexpected { name: "counter" };
    assert_eq!(refused, Err(Refused::Input(unexpected)));
    // Without a time no step can be spent.
    assert!(
        ocra.verify(&response, &Input::new("1"), Some(u64::MAX))
            .is_ok()
    );
}

proptest! {
    #[test]
    fn suites_are_shown_as_they_are_read(text in "OCRA-1:HOTP-SHA(1|256|512)-([04-9]|10):(C-)?Q([ANH](0?[4-9]|[1-5][0-9]|6[0-4]))?(-P(SHA(1|256|512))?)?(-S([0-4][0-9][1-9])?)?(-T(([1-9]|[1-5][0-9])[SM])?)?") {
        let suite: Suite = text.parse().unwrap();
        prop_assert_eq!(suite.to_string(), text);
    }
}
