//! The three Base32 profiles: what each accepts, what it rejects, and the position it reports.

use keyproof_otp::{
    Base32Profile::{self, Lenient, Strict, Taler},
    OtpError, Secret, Strength,
};
use proptest::prelude::*;

fn decode(text: &str, profile: Base32Profile) -> Result<Vec<u8>, OtpError> {
    let mut bytes = vec![0; Base32Profile::max_decoded_len(text.len())];
    let len = profile.decode_to(text, &mut bytes)?;
    bytes.truncate(len);
    Ok(bytes)
}

#[test]
fn each_profile_takes_its_spellings_and_no_others() {
    use OtpError::{Base32Length, Base32Padding, Base32Symbol, Base32TrailingBits};
    let foo = || Ok(b"foo".to_vec());
    let fooba = || Ok(b"fooba".to_vec());
    let empty = || Ok(Vec::new());
    // The text, and the results of the strict, the lenient and Taler's profile.
    let table = [
        ("", empty(), empty(), empty()),
        ("MZXW6YTB", fooba(), fooba(), fooba()),
        ("mzxw6ytb", Err(Base32Symbol { at: 0 }), fooba(), fooba()),
        (
            "MZXW 6YTB",
            Err(Base32Symbol { at: 4 }),
            fooba(),
            Err(Base32Symbol { at: 4 }),
        ),
        (
            "MZXW-6YTB\r\n",
            Err(Base32Symbol { at: 4 }),
            fooba(),
            Err(Base32Symbol { at: 4 }),
        ),
        // Padding: full, none, too short, too long, and not at the end.
        ("MZXW6===", foo(), foo(), Err(Base32Padding { at: 5 })),
        ("MZXW6", Err(Base32Padding { at: 5 }), foo(), foo()),
        (
            "MZXW6=",
            Err(Base32Padding { at: 5 }),
            Err(Base32Padding { at: 5 }),
            foo(),
        ),
        (
            "MZXW6==",
            Err(Base32Padding { at: 5 }),
            Err(Base32Padding { at: 5 }),
            foo(),
        ),
        (
            "MZXW6====",
            Err(Base32Padding { at: 5 }),
            Err(Base32Padding { at: 5 }),
            Err(Base32Padding { at: 5 }),
        ),
        (
            "MZXW6= = =",
            Err(Base32Padding { at: 6 }),
            foo(),
            Err(Base32Padding { at: 6 }),
        ),
        (
            "MZXW6=A=",
            Err(Base32Padding { at: 6 }),
            Err(Base32Padding { at: 6 }),
            Err(Base32Padding { at: 6 }),
        ),
        (
            "MZXW6YTB========",
            Err(Base32Padding { at: 8 }),
            Err(Base32Padding { at: 8 }),
            Err(Base32Padding { at: 8 }),
        ),
        (
            "=",
            Err(Base32Padding { at: 0 }),
            Err(Base32Padding { at: 0 }),
            empty(),
        ),
        (
            "===",
            Err(Base32Padding { at: 0 }),
            Err(Base32Padding { at: 0 }),
            Err(Base32Padding { at: 0 }),
        ),
        // Text that ends within a byte.
        (
            "A",
            Err(Base32Length { at: 1 }),
            Err(Base32Length { at: 1 }),
            empty(),
        ),
        (
            "A=======",
            Err(Base32Length { at: 1 }),
            Err(Base32Length { at: 1 }),
            Err(Base32Padding { at: 1 }),
        ),
        (
            "MZX",
            Err(Base32Length { at: 3 }),
            Err(Base32Length { at: 3 }),
            Ok(b"f".to_vec()),
        ),
        (
            "MZXW6Y",
            Err(Base32Length { at: 6 }),
            Err(Base32Length { at: 6 }),
            foo(),
        ),
        // Non-zero bits after the last byte.
        (
            "AB======",
            Err(Base32TrailingBits { at: 1 }),
            Err(Base32TrailingBits { at: 1 }),
            Err(Base32Padding { at: 2 }),
        ),
        (
            "A B",
            Err(Base32Symbol { at: 1 }),
            Err(Base32TrailingBits { at: 2 }),
            Err(Base32Symbol { at: 1 }),
        ),
        (
            "AB",
            Err(Base32TrailingBits { at: 1 }),
            Err(Base32TrailingBits { at: 1 }),
            Ok(vec![0]),
        ),
        ("AA", Err(Base32Padding { at: 2 }), Ok(vec![0]), Ok(vec![0])),
        // Characters outside the alphabet: digits that look like letters, and non-ASCII ones.
        (
            "MZXW0YTB",
            Err(Base32Symbol { at: 4 }),
            Err(Base32Symbol { at: 4 }),
            Err(Base32Symbol { at: 4 }),
        ),
        (
            "1",
            Err(Base32Symbol { at: 0 }),
            Err(Base32Symbol { at: 0 }),
            Err(Base32Symbol { at: 0 }),
        ),
        (
            "M8",
            Err(Base32Symbol { at: 1 }),
            Err(Base32Symbol { at: 1 }),
            Err(Base32Symbol { at: 1 }),
        ),
        (
            "M9",
            Err(Base32Symbol { at: 1 }),
            Err(Base32Symbol { at: 1 }),
            Err(Base32Symbol { at: 1 }),
        ),
        (
            "MZé",
            Err(Base32Symbol { at: 2 }),
            Err(Base32Symbol { at: 2 }),
            Err(Base32Symbol { at: 2 }),
        ),
    ];
    for (text, strict, lenient, taler) in table {
        assert_eq!(decode(text, Strict), strict, "strict {text:?}");
        assert_eq!(decode(text, Lenient), lenient, "lenient {text:?}");
        assert_eq!(decode(text, Taler), taler, "Taler {text:?}");
    }
}

#[test]
fn a_secret_is_held_up_to_128_bytes() {
    assert_eq!(Secret::from_bytes(&[7; 128]).unwrap().as_bytes(), [7; 128]);
    assert_eq!(Secret::from_bytes(&[7; 129]), Err(OtpError::SecretTooLong));
    let text = data_encoding::BASE32.encode(&[7; 129]);
    assert_eq!(
        Secret::from_base32(&text, Strict),
        Err(OtpError::SecretTooLong)
    );
    assert!(OtpError::SecretTooLong.to_string().contains("128 bytes"));

    assert_eq!(decode(&text, Strict), Ok(vec![7; 129]));
    let short = Strict.decode_to(&text, &mut [0; 128]);
    assert_eq!(short, Err(OtpError::SecretTooLong));
}

#[test]
fn no_secret_is_empty() {
    let empty = Err(OtpError::SecretEmpty);
    assert_eq!(Secret::from_bytes(&[]), empty);
    assert_eq!("".parse::<Secret>(), empty);
    for (text, profile) in [
        ("", Strict),
        ("", Lenient),
        (" - ", Lenient),
        ("", Taler),
        ("A", Taler),
        ("=", Taler),
    ] {
        assert_eq!(Secret::from_base32(text, profile), empty, "{text:?}");
        assert_eq!(decode(text, profile), Ok(Vec::new()), "{text:?}");
    }
    assert_eq!(OtpError::SecretEmpty.to_string(), "the secret is empty");
}

#[test]
fn secrets_are_equal_by_their_bytes() {
    let secret = |bytes: &[u8]| Secret::from_bytes(bytes).unwrap();
    assert_eq!(secret(b"foo"), secret(b"foo"));
    assert_ne!(secret(b"foo"), secret(b"fop"));
    assert_ne!(secret(b"foo"), secret(b"foo\0"));
}

#[test]
fn strength_advises_and_refuses_nothing() {
    let strength = |len| Secret::from_bytes(&[1; 128][..len]).unwrap().strength();
    for (len, expected) in [
        (1, Strength::BelowRequired),
        (10, Strength::BelowRequired),
        (15, Strength::BelowRequired),
        (16, Strength::Required),
        (19, Strength::Required),
        (20, Strength::Recommended),
        (128, Strength::Recommended),
    ] {
        assert_eq!(strength(len), expected, "{len} bytes");
    }
    assert!(Strength::BelowRequired < Strength::Required);
}

#[test]
fn neither_debug_nor_errors_show_a_secret() {
    let secret = Secret::from_base32("MZXW6YTB", Strict).unwrap();
    assert_eq!(format!("{secret:?}"), "Secret([redacted; 5])");
    let error = decode("MZXW6Y!B", Lenient).unwrap_err();
    assert_eq!(
        format!("{error} {error:?}"),
        "not a Base32 symbol at byte 6: the symbols are A to Z and 2 to 7 Base32Symbol { at: 6 }"
    );
}

proptest! {
    /// Every spelling that a profile allows decodes to the same bytes.
    #[test]
    fn every_spelling_decodes_to_the_same_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 1..=128),
        blanks in proptest::collection::vec((0_usize..300, prop::sample::select(vec![' ', '-', '\t', '\n', '\r'])), 0..6),
        lower in any::<bool>(),
        padded in any::<bool>(),
    ) {
        let secret = Secret::from_bytes(&bytes).unwrap();
        let plain = secret.base32().to_string();
        let full = data_encoding::BASE32.encode(&bytes);
        prop_assert_eq!(decode(&full, Strict), Ok(bytes.clone()));
        prop_assert_eq!(decode(&plain, Taler), Ok(bytes.clone()));
        prop_assert_eq!(decode(&plain.to_lowercase(), Taler), Ok(bytes.clone()));

        let mut typed = if padded { full } else { plain };
        if lower {
            typed.make_ascii_lowercase();
        }
        for (at, blank) in blanks {
            typed.insert(at.min(typed.len()), blank);
        }
        prop_assert_eq!(decode(&typed, Lenient), Ok(bytes.clone()));
    }

    /// On any text, no profile panics, and the profiles agree about the bytes. Every other text is in the strict spelling.
    #[test]
    fn profiles_agree_on_what_they_share(
        text in prop_oneof![
            "[A-Za-z2-7= \\-018]{0,40}",
            "([A-Z2-7]{8}){0,4}([A-Z2-7][AEIMQUY4]={6})?",
        ],
    ) {
        let [strict, lenient, taler] = [Strict, Lenient, Taler].map(|profile| decode(&text, profile));
        if let Ok(bytes) = &strict {
            prop_assert_eq!(lenient.as_ref(), Ok(bytes));
            prop_assert_eq!(data_encoding::BASE32.encode(bytes), text.as_str());
        }
        if let (Ok(lenient), Ok(taler)) = (&lenient, &taler) {
            prop_assert_eq!(lenient, taler);
        }
    }
}
