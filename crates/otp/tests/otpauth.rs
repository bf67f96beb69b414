//! `otpauth` URIs as authenticators and services write them.
#![cfg(feature = "alloc")]
#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

use std::num::NonZeroU64;

use keyproof_otp::{
    Algorithm, Base32Profile, Digits, OtpError, Secret,
    otpauth::{Kind, OtpauthUri},
};
use proptest::prelude::*;

fn secret() -> Secret {
    Secret::from_base32("YZP7UN4EMN6LK2UYYDCTBNH4ZVXVEJ7C", Base32Profile::Lenient).unwrap()
}

fn period(seconds: u64) -> Kind {
    Kind::Totp {
        period: NonZeroU64::new(seconds).unwrap(),
    }
}

#[test]
fn parameters_are_written_in_their_documented_order() {
    let uri = |kind| OtpauthUri::new(kind, Some("myorg"), "user@org.com", secret()).unwrap();
    let key = "secret=YZP7UN4EMN6LK2UYYDCTBNH4ZVXVEJ7C";
    for (uri, text) in [
        (
            uri(Kind::TOTP),
            format!("otpauth://totp/myorg:user@org.com?{key}&issuer=myorg&digits=6&period=30"),
        ),
        (
            uri(period(60))
                .with_algorithm(Algorithm::Sha256)
                .with_digits(Digits::EIGHT),
            format!(
                "otpauth://totp/myorg:user@org.com?{key}&issuer=myorg&algorithm=SHA256&digits=8&period=60"
            ),
        ),
        (
            uri(Kind::Hotp { counter: 42 }),
            format!("otpauth://hotp/myorg:user@org.com?{key}&issuer=myorg&digits=6&counter=42"),
        ),
        (
            OtpauthUri::new(Kind::TOTP, None, "a/ü?&=%+ #", secret()).unwrap(),
            format!("otpauth://totp/a%2F%C3%BC%3F%26%3D%25%2B%20%23?{key}&digits=6&period=30"),
        ),
    ] {
        assert_eq!(uri.to_string(), text);
        assert_eq!(OtpauthUri::parse_strict(&text), Ok(uri));
    }
}

/// Some services use different issuers in the label and in the parameter.
#[test]
fn two_issuers_are_kept_and_reported_or_refused() {
    let text = "otpauth://totp/org:user@org.com?secret=YZP7UN4EMN6LK2UYYDCTBNH4ZVXVEJ7C\
                &issuer=myorg&digits=6&period=30";
    let uri = OtpauthUri::parse(text).unwrap();
    assert!(uri.issuer_mismatch());
    assert_eq!(uri.label_issuer(), Some("org"));
    assert_eq!(uri.issuer_parameter(), Some("myorg"));
    assert_eq!(
        (uri.issuer(), uri.account()),
        (Some("myorg"), "user@org.com")
    );
    assert_eq!(uri.secret(), &secret());
    assert_eq!(uri.to_string(), text);
    assert_eq!(
        OtpauthUri::parse_strict(text),
        Err(OtpError::UriIssuerMismatch)
    );

    for one_name in [
        "otpauth://totp/org:user?secret=MZXW6YTB&issuer=org",
        "otpauth://totp/org:user?secret=MZXW6YTB",
        "otpauth://totp/user?secret=MZXW6YTB&issuer=org",
        "otpauth://totp/org:user?secret=MZXW6YTB&issuer=",
        "otpauth://totp/:user?secret=MZXW6YTB&issuer=org",
    ] {
        let uri = OtpauthUri::parse_strict(one_name).unwrap();
        assert_eq!(
            (uri.issuer(), uri.account()),
            (Some("org"), "user"),
            "{one_name}"
        );
    }
    // A label that begins with its colon names nobody, and is written back as it was.
    let text = "otpauth://totp/:user?secret=MZXW6YTB&digits=6&period=30";
    let nameless = OtpauthUri::parse_strict(text).unwrap();
    assert_eq!(
        (nameless.issuer(), nameless.label_issuer()),
        (None, Some(""))
    );
    assert_eq!(nameless.to_string(), text);
}

#[test]
fn what_differs_between_writers_is_read() {
    for text in [
        "otpauth://totp/ACME%20Co:john@example.com?secret=MZXW6YTB&issuer=ACME%20Co",
        "OTPAUTH://TOTP/ACME%20Co:john@example.com?secret=MZXW6YTB&issuer=ACME%20Co",
        "otpauth://Totp/ACME%20Co%3Ajohn@example.com?secret=mzxw6ytb&issuer=ACME%20Co",
        "otpauth://totp/ACME%20Co:%20%20john%40example.com?issuer=ACME%20Co&secret=MZXW-6YTB",
        "otpauth://totp/ACME Co: john@example.com?secret=MZXW 6YTB&issuer=ACME Co",
        "otpauth://totp/ACME%20Co:john@example.com?&secret=mzxw%206ytb&&issuer=ACME%20Co&",
        "otpauth://totp/ACME%20Co:john@example.com?secret=MZXW6YTB&issuer=ACME%20Co&algorithm=sha1&digits=6&period=030",
    ] {
        let uri = OtpauthUri::parse_strict(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let expected = OtpauthUri::new(
            Kind::TOTP,
            Some("ACME Co"),
            "john@example.com",
            Secret::from_bytes(b"fooba").unwrap(),
        );
        assert_eq!(Ok(uri), expected, "{text}");
    }
    let plus = OtpauthUri::parse("otpauth://totp/me+you?secret=MZXW6YTB&issuer=a+b").unwrap();
    assert_eq!((plus.account(), plus.issuer()), ("me+you", Some("a+b")));
    let no_label = OtpauthUri::parse("otpauth://totp?secret=MZXW6YTB").unwrap();
    assert_eq!((no_label.account(), no_label.issuer()), ("", None));
}

#[test]
fn what_a_type_does_not_know_is_kept_aside() {
    let text = "otpauth://totp/a?secret=MZXW6YTB&digits=6&period=30\
                &counter=7&image=https%3A%2F%2Fexample.com%2Fa.png&z=";
    let uri = OtpauthUri::parse(text).unwrap();
    assert_eq!(uri.kind(), Kind::TOTP);
    let other_parameters: Vec<_> = uri.other_parameters().collect();
    assert_eq!(
        other_parameters,
        [
            ("counter", "7"),
            ("image", "https://example.com/a.png"),
            ("z", "")
        ]
    );
    assert_eq!(uri.to_string(), text);
    assert!(uri.hotp().is_none());

    let uri = OtpauthUri::parse("otpauth://hotp/a?secret=MZXW6YTB&counter=7&period=30").unwrap();
    assert_eq!(uri.kind(), Kind::Hotp { counter: 7 });
    assert_eq!(
        uri.other_parameters().collect::<Vec<_>>(),
        [("period", "30")]
    );
    assert!(uri.totp().is_none());
}

#[test]
fn a_parsed_uri_computes_its_codes() {
    let key = "secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let totp = OtpauthUri::parse(&format!("otpauth://totp/a?{key}&digits=8&period=60")).unwrap();
    // RFC 6238's time of 59 s, scaled to the longer period.
    assert_eq!(totp.totp().unwrap().code(118).to_string(), "94287082");
    let hotp = OtpauthUri::parse(&format!("otpauth://hotp/a?{key}&counter=3")).unwrap();
    let (hotp, counter) = hotp.hotp().unwrap();
    assert_eq!(hotp.code(counter).to_string(), "969429");
}

#[test]
fn refusals_say_where() {
    let long = format!("otpauth://totp/a?secret={}", "A".repeat(208));
    for (text, error) in [
        ("", OtpError::UriScheme),
        ("otpauth:/totp/a?secret=AA", OtpError::UriScheme),
        ("https://totp/a?secret=AA", OtpError::UriScheme),
        ("otpauthé//totp", OtpError::UriScheme),
        ("otpauth://steam/a?secret=AA", OtpError::UriType { at: 10 }),
        ("otpauth:///a?secret=AA", OtpError::UriType { at: 10 }),
        (
            "otpauth://totp/a",
            OtpError::UriMissingParameter { name: "secret" },
        ),
        (
            "otpauth://totp/a?secret=",
            OtpError::UriMissingParameter { name: "secret" },
        ),
        (
            "otpauth://totp/a?secret=-%20-",
            OtpError::UriMissingParameter { name: "secret" },
        ),
        (
            "otpauth://totp/a?Secret=AA",
            OtpError::UriMissingParameter { name: "secret" },
        ),
        (
            "otpauth://hotp/a?secret=AA",
            OtpError::UriMissingParameter { name: "counter" },
        ),
        (
            "otpauth://totp/a?secret=AA&secret=AA",
            OtpError::UriDuplicateParameter { at: 27 },
        ),
        (
            "otpauth://totp/a?secret=AA&%73ecret=AA",
            OtpError::UriDuplicateParameter { at: 27 },
        ),
        (
            "otpauth://totp/a?x&secret=AA&x=1",
            OtpError::UriDuplicateParameter { at: 29 },
        ),
        ("otpauth://totp/a?secret=A1", OtpError::UriSecret { at: 24 }),
        (long.as_str(), OtpError::SecretTooLong),
        (
            "otpauth://totp/a?secret=AA&digits=5",
            OtpError::Digits { found: 5 },
        ),
        (
            "otpauth://totp/a?secret=AA&digits=11",
            OtpError::Digits { found: 11 },
        ),
        (
            "otpauth://totp/a?secret=AA&digits=256",
            OtpError::UriNumber { at: 34 },
        ),
        (
            "otpauth://totp/a?secret=AA&digits=+6",
            OtpError::UriNumber { at: 34 },
        ),
        (
            "otpauth://totp/a?secret=AA&digits=",
            OtpError::UriNumber { at: 34 },
        ),
        (
            "otpauth://totp/a?secret=AA&period=0",
            OtpError::UriNumber { at: 34 },
        ),
        (
            "otpauth://totp/a?secret=AA&period=30s",
            OtpError::UriNumber { at: 34 },
        ),
        (
            "otpauth://hotp/a?secret=AA&counter=18446744073709551616",
            OtpError::UriNumber { at: 35 },
        ),
        (
            "otpauth://totp/a?secret=AA&algorithm=MD5",
            OtpError::UnknownAlgorithm,
        ),
        (
            "otpauth://totp/a%2?secret=AA",
            OtpError::UriEscape { at: 16 },
        ),
        (
            "otpauth://totp/a%zz?secret=AA",
            OtpError::UriEscape { at: 16 },
        ),
        (
            "otpauth://totp/a:%FFb?secret=AA",
            OtpError::UriEscape { at: 17 },
        ),
        (
            "otpauth://totp/a?secret=AA&x=%C3",
            OtpError::UriEscape { at: 29 },
        ),
        (
            "otpauth://totp/a?secret=AA&issuer=C#",
            OtpError::UriFragment { at: 35 },
        ),
    ] {
        assert_eq!(OtpauthUri::parse(text), Err(error), "{text}");
    }
}

#[test]
fn names_that_readers_would_cut_are_not_built() {
    let new = |issuer, account| OtpauthUri::new(Kind::TOTP, issuer, account, secret());
    for (issuer, account) in [
        (None, ""),
        (None, "a:b"),
        (None, " a"),
        (Some(""), "a"),
        (Some("a:b"), "c"),
        (Some(" a"), "c"),
    ] {
        assert_eq!(
            new(issuer, account),
            Err(OtpError::UriLabel),
            "{issuer:?} {account:?}"
        );
    }
}

#[test]
fn debug_hides_the_secret() {
    let uri = OtpauthUri::new(Kind::TOTP, None, "alice", secret()).unwrap();
    let debug = format!("{uri:?}");
    assert!(debug.contains("Secret([redacted; 20])"), "{debug}");
    assert!(!debug.contains("YZP7"), "{debug}");
}

/// A name that `new` accepts, of any characters.
fn name() -> impl Strategy<Value = String> {
    "[^: ][^:]{0,20}"
}

proptest! {
    #[test]
    fn what_is_built_parses_to_itself(
        hotp in any::<bool>(),
        factor in 1_u64..,
        issuer in proptest::option::of(name()),
        account in name(),
        key in proptest::collection::vec(any::<u8>(), 1..=128),
        algorithm in prop::sample::select(vec![Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512]),
        digits in 6_u8..=10,
    ) {
        let kind = if hotp { Kind::Hotp { counter: factor } } else { period(factor) };
        let uri = OtpauthUri::new(kind, issuer.as_deref(), &account, Secret::from_bytes(&key).unwrap())
            .unwrap()
            .with_algorithm(algorithm)
            .with_digits(Digits::new(digits).unwrap());
        prop_assert_eq!(OtpauthUri::parse_strict(&uri.to_string()), Ok(uri));
    }

    /// URIs with oddities that occur in practice: two issuers, odd labels, foreign parameters.
    #[test]
    fn what_is_parsed_is_written_to_parse_to_itself(
        text in "otpauth://(totp|hotp)/[a:% 03A20]{0,9}[?]secret=AA&counter=1(&[a-c%25]{0,3}=?[x-z+%41]{0,3}){0,3}(&issuer=[a: ]{0,2})?",
    ) {
        if let Ok(uri) = OtpauthUri::parse(&text) {
            prop_assert_eq!(OtpauthUri::parse(&uri.to_string()), Ok(uri));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), tail in any::<String>()) {
        let _ = OtpauthUri::parse(&text);
        let _ = OtpauthUri::parse(&format!("otpauth://totp/{tail}"));
    }
}
