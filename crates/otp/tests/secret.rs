//! Secrets that are generated, and those that `parse` accepts.

use keyproof_otp::{Digits, OtpError, Secret, Strength};

#[test]
fn a_secret_is_what_the_source_fills_and_fails_as_it_does() {
    let counting = |bytes: &mut [u8]| {
        bytes.iter_mut().zip(1..).for_each(|(byte, at)| *byte = at);
        Ok::<(), &str>(())
    };
    let secret = Secret::generate(counting).unwrap();
    assert_eq!(secret.as_bytes(), (1..=20).collect::<Vec<u8>>());
    assert_eq!(secret.strength(), Strength::Recommended);
    // A source that fails half-way gives an error and not a secret of zeros.
    let failed = Secret::generate(|bytes| {
        bytes.iter_mut().take(3).for_each(|byte| *byte = 7);
        Err("no randomness")
    });
    assert_eq!(failed, Err("no randomness"));
}

#[test]
fn secrets_are_read_as_people_type_them() {
    let secret: Secret = "gezd-gnbv gy3t qojq".parse().unwrap();
    assert_eq!(secret.as_bytes(), b"1234567890");
    assert_eq!("0".parse::<Secret>(), Err(OtpError::Base32Symbol { at: 0 }));
    assert_eq!(Secret::try_from(&b"1234567890"[..]), Ok(secret));
    assert_eq!(
        Secret::try_from(&[0; 129][..]),
        Err(OtpError::SecretTooLong)
    );
}

#[test]
fn digits_are_read_within_their_range() {
    assert_eq!("8".parse(), Ok(Digits::EIGHT));
    for (text, found) in [
        ("5", 5),
        ("11", 11),
        ("", 0),
        ("six", 0),
        ("300", 0),
        ("+8", 0),
    ] {
        assert_eq!(
            text.parse::<Digits>(),
            Err(OtpError::Digits { found }),
            "{text}"
        );
    }
}
