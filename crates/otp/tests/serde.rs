//! The `serde` feature: types without a secret survive a round trip through JSON, and are validated
//! when they are read.
#![cfg(feature = "serde")]
#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

use keyproof_otp::{
    Algorithm, Digits, Hotp, LookAhead, Totp, Window,
    ocra::Suite,
    pos::{Amount, PosAlgorithm},
};
use serde::de::DeserializeOwned;

fn assert_json<T>(value: T, json: &str)
where
    T: serde::Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    assert_eq!(serde_json::to_string(&value).unwrap(), json);
    assert_eq!(serde_json::from_str::<T>(json).unwrap(), value);
}

#[test]
fn values_survive() {
    assert_json(Algorithm::Sha512, r#""SHA512""#);
    assert_json(Digits::EIGHT, "8");
    assert_json(LookAhead::new(10).unwrap(), "10");
    assert_json(
        Window {
            before: 2,
            after: 0,
        },
        r#"{"before":2,"after":0}"#,
    );
    assert_json("EUR:1.5".parse::<Amount>().unwrap(), r#""EUR:1.5""#);
    let suite = "OCRA-1:HOTP-SHA512-8:C-QN08-T1M";
    assert_json(suite.parse::<Suite>().unwrap(), &format!("\"{suite}\""));
    for number in 0..3_u8 {
        let algorithm = PosAlgorithm::try_from(number).unwrap();
        assert_json(algorithm, &format!("\"{algorithm}\""));
    }
}

#[test]
fn what_was_accepted_is_written() {
    let totp = Totp::from(Hotp::from_key(b"key", Algorithm::Sha1, Digits::EIGHT));
    let accepted = totp.verify(&totp.code(60), 90, None).unwrap();
    let json = serde_json::to_string(&accepted).unwrap();
    assert_eq!(json, r#"{"step":2,"drift":-1}"#);
}

#[test]
fn bounds_hold() {
    assert!(serde_json::from_str::<Digits>("5").is_err());
    assert!(serde_json::from_str::<LookAhead>("1001").is_err());
    assert!(serde_json::from_str::<Amount>(r#""EUR:""#).is_err());
    assert!(serde_json::from_str::<Algorithm>(r#""MD5""#).is_err());
    assert!(serde_json::from_str::<Window>(r#"{"before":256,"after":0}"#).is_err());
    assert!(serde_json::from_str::<Suite>(r#""OCRA-1:HOTP-SHA1-3:QN08""#).is_err());
}

#[test]
fn a_value_of_another_type_is_told_what_is_expected() {
    let amount = serde_json::from_str::<Amount>("1.23").unwrap_err();
    let suite = serde_json::from_str::<Suite>("null").unwrap_err();
    for (error, expected) in [
        (amount, "expected an amount like EUR:1.23"),
        (suite, "expected an OCRA suite like OCRA-1:HOTP-SHA1-6:QN08"),
    ] {
        assert!(error.to_string().contains(expected), "{error}");
    }
}
