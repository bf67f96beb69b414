//! Challenges and responses.

use keyproof_otp::Window;
use keyproof_otp::ocra::{self, Input, Ocra, PinHash, Response, Suite};

use crate::position::assert_position;

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
