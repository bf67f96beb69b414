//! Challenges and responses.

use keyproof_otp::{
    Algorithm, LookAhead, OtpError, Secret, Window,
    ocra::{self, Input, Ocra, PinHash, Questions, Response, Suite},
};

use crate::position::assert_position;

/// OCRA: the first line is a suite, which is displayed as it was read. The second line is a question, the third a response, and the
/// rest gives the other inputs. A computed response is accepted for the same inputs and for no others.
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
    assert_eq!(format!("{suite:?}"), format!("Suite({suite})"));
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
        .map(|algorithm| PinHash::new(algorithm, &format!("1{question}")).expect("a PIN"));
    let session = vec![1; suite.session_len().unwrap_or_default().into()];
    let mut input = Input::new(question);
    if let Some((client, server)) = question.split_once(' ') {
        input = Input::for_server_response(Questions { client, server });
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
    drawn(suite, rest);
    let ocra = Ocra::from_key(rest, suite);
    assert_eq!(ocra.suite(), suite);
    assert!(
        format!("{ocra:?}").ends_with(" .. }"),
        "Debug hides the key"
    );
    let computed = match ocra.response(&input) {
        Ok(computed) => computed,
        // With two questions, the position is in one of them.
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
    // An input that the suite does not have is never ignored silently.
    let unnamed = if suite.has_counter() {
        None
    } else {
        Some(input.with_counter(0))
    };
    assert!(unnamed.is_none_or(|input| Ocra::from_key(rest, suite).response(&input).is_err()));
}

/// A question that is generated for a suite is valid for it and has the full length; a PIN hash of the wrong length is rejected.
fn drawn(suite: Suite, random: &[u8]) {
    let mut random = random.iter().copied().cycle();
    let fill = |bytes: &mut [u8]| {
        bytes.fill_with(|| random.next().unwrap_or_default());
        Ok::<(), ()>(())
    };
    let question = suite
        .random_question(fill)
        .expect("there is no end of them");
    assert_eq!(question.to_string(), question.as_str());
    assert_eq!(question.as_str().len(), usize::from(suite.question_len()));
    assert_eq!(format!("{question:?}"), format!("Question({question})"));

    let secret = Secret::from_bytes(&[1; 20]).expect("20 bytes");
    let ocra = Ocra::new(&secret, suite).with_look_ahead(LookAhead::new(1).expect("one"));
    for len in [0, 19, 20, 32, 64, 65] {
        let Ok(hash) = PinHash::from_bytes(&vec![2; len]) else {
            assert!(len > 64);
            continue;
        };
        let shown = format!("{hash:?}");
        assert_eq!(shown, format!("PinHash([redacted; {len}])"));
        let session = vec![3; suite.session_len().unwrap_or_default().into()];
        let mut input = Input::new(question.as_str());
        if suite.has_counter() {
            input = input.with_counter(u64::MAX - 1);
        }
        if suite.session_len().is_some() {
            input = input.with_session(&session);
        }
        if suite.time_step().is_some() {
            input = input.with_time(1);
        }
        if suite.pin_hash().is_some() {
            input = input.with_pin_hash(&hash);
        }
        match (ocra.response(&input), suite.pin_hash()) {
            (Ok(response), wanted) => {
                let fits = match wanted {
                    None => true,
                    Some(Algorithm::Sha1) => len == 20,
                    Some(Algorithm::Sha256) => len == 32,
                    Some(Algorithm::Sha512) => len == 64,
                };
                assert!(fits, "{suite} with {len} bytes");
                assert!(format!("{response:?}").starts_with("Response([redacted"));
                let accepted = ocra.verify(&response, &input, None).expect("it is right");
                let next = suite.has_counter().then_some(u64::MAX);
                assert_eq!(accepted.next_counter, next);
            }
            (Err(refusal), wanted) => assert!(wanted.is_some(), "{refusal}"),
        }
        let session = vec![3; session.len() + 1];
        assert!(ocra.response(&input.with_session(&session)).is_err());
    }
    // More pairs of a counter and a step than the limit allows.
    let window = Window {
        before: 255,
        after: 255,
    };
    let most = LookAhead::new(LookAhead::MAX).expect("the most");
    let wide = ocra.with_look_ahead(most).with_window(window);
    let input = Input::new(question.as_str()).with_counter(0).with_time(0);
    let response = match wide.response(&input) {
        Ok(response) => response,
        Err(_) => return,
    };
    let refused = ocra::Refused::from(OtpError::OcraTries { found: 1001 * 511 });
    assert_eq!(wide.verify(&response, &input, None), Err(refused));
}
