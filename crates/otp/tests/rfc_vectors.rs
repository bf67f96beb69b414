//! The tables of RFC 4226, RFC 6238 and RFC 4648.

use std::num::NonZeroU64;

use keyproof_otp::{Algorithm, Base32Profile, Digits, Hotp, OtpError, Secret, Totp};

/// RFC 4226 appendix D, with the truncated decimal number of each code.
#[test]
fn rfc4226_appendix_d() {
    let secret = Secret::from_bytes(b"12345678901234567890").unwrap();
    let numbers = [
        1_284_755_224,
        1_094_287_082,
        137_359_152,
        1_726_969_429,
        1_640_338_314,
        868_254_676,
        1_918_287_922,
        82_162_583,
        673_399_871,
        645_520_489,
    ];
    for (counter, number) in (0..).zip(numbers) {
        for digits in Digits::MIN..=Digits::MAX {
            let hotp = Hotp::new(&secret, Algorithm::Sha1, Digits::new(digits).unwrap());
            let width = usize::from(digits);
            let full = format!("{number:010}");
            assert_eq!(
                hotp.code(counter).to_string(),
                full[10 - width..],
                "{counter} {digits}"
            );
        }
    }
}

/// RFC 6238 appendix B. The RFC's text names one seed, but its table uses one seed per hash, as
/// long as the hash's output.
#[test]
fn rfc6238_appendix_b() {
    let table = [
        (59, ["94287082", "46119246", "90693936"]),
        (1_111_111_109, ["07081804", "68084774", "25091201"]),
        (1_111_111_111, ["14050471", "67062674", "99943326"]),
        (1_234_567_890, ["89005924", "91819424", "93441116"]),
        (2_000_000_000, ["69279037", "90698825", "38618901"]),
        (20_000_000_000, ["65353130", "77737706", "47863826"]),
    ];
    let seed = b"1234567890".repeat(7);
    let algorithms = [
        (Algorithm::Sha1, 20),
        (Algorithm::Sha256, 32),
        (Algorithm::Sha512, 64),
    ];
    for (now, codes) in table {
        for ((algorithm, len), code) in algorithms.into_iter().zip(codes) {
            let secret = Secret::from_bytes(&seed[..len]).unwrap();
            let totp = Totp::new(&secret, algorithm, Digits::EIGHT);
            assert_eq!(totp.code(now).to_string(), code, "{algorithm} {now}");

            // The same time with another `t0` and period.
            let shifted = totp.with_t0(7).with_period(NonZeroU64::new(60).unwrap());
            assert_eq!(
                shifted.code(now / 30 * 60 + 7).to_string(),
                code,
                "{algorithm} {now}"
            );
        }
    }
}

/// RFC 4648 section 10.
#[test]
fn rfc4648_section_10() {
    let table = [
        ("f", "MY======"),
        ("fo", "MZXQ===="),
        ("foo", "MZXW6==="),
        ("foob", "MZXW6YQ="),
        ("fooba", "MZXW6YTB"),
        ("foobar", "MZXW6YTBOI======"),
    ];
    // The table's empty text is not the text of a secret.
    let empty = Secret::from_base32("", Base32Profile::Strict);
    assert_eq!(empty.unwrap_err(), OtpError::SecretEmpty);
    for (bytes, text) in table {
        let secret = Secret::from_base32(text, Base32Profile::Strict).unwrap();
        assert_eq!(secret.as_bytes(), bytes.as_bytes());
        assert_eq!(secret.base32().to_string(), text.trim_end_matches('='));
    }
}
