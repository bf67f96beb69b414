//! The `serde` feature: the description of a key survives a round trip through JSON, and no secret is serialised.
#![cfg(feature = "serde")]
#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

use std::marker::PhantomData;

use keyproof_pskc::{
    ChallengeFormat, Container, Encoding, Key, KeyData, KeyInfo, KeyUsage, PinUsage, Policy, Secret,
};
use serde_json::{Value, json};

/// A description with every field set.
const DOCUMENT: &str = r#"<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc"><KeyPackage>
  <DeviceInfo><Manufacturer>ACME</Manufacturer><SerialNo>7</SerialNo><Model>M</Model><IssueNo>1</IssueNo>
    <DeviceBinding>IMEI</DeviceBinding><StartDate>2026-01-01T00:00:00Z</StartDate>
    <ExpiryDate>2031-01-01T00:00:00Z</ExpiryDate><UserId>UID=ada</UserId></DeviceInfo>
  <CryptoModuleInfo><Id>CM</Id></CryptoModuleInfo>
  <Key Id="k" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp">
    <Issuer>I</Issuer>
    <AlgorithmParameters><Suite>HMAC-SHA256</Suite>
      <ChallengeFormat Encoding="HEXADECIMAL" Min="4" Max="8" CheckDigits="true"/>
      <ResponseFormat Encoding="DECIMAL" Length="8"/></AlgorithmParameters>
    <KeyProfileId>p</KeyProfileId><KeyReference>r</KeyReference><FriendlyName>f</FriendlyName>
    <Data><Secret><PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue></Secret></Data>
    <UserId>UID=bob</UserId>
    <Policy><StartDate>2026-01-01T00:00:00Z</StartDate><ExpiryDate>2031-01-01T00:00:00Z</ExpiryDate>
      <PINPolicy PINKeyId="pin" PINUsageMode="Append" MaxFailedAttempts="3" MinLength="4" MaxLength="8" PINEncoding="DECIMAL"/>
      <KeyUsage>OTP</KeyUsage><KeyUsage>CR</KeyUsage><NumberOfTransactions>9</NumberOfTransactions></Policy>
  </Key></KeyPackage></KeyContainer>"#;

fn info() -> KeyInfo {
    let container = Container::parse(DOCUMENT).unwrap();
    container.keys().next().unwrap().clone()
}

fn stored() -> Value {
    let (start, end) = ("2026-01-01T00:00:00Z", "2031-01-01T00:00:00Z");
    json!({
        "id": "k", "algorithm": KeyInfo::HOTP, "issuer": "I", "suite": "HMAC-SHA256",
        "challenge": {"encoding": "HEXADECIMAL", "min": 4, "max": 8, "check_digits": true},
        "response": {"encoding": "DECIMAL", "length": 8, "check_digits": false},
        "profile_id": "p", "reference": "r", "friendly_name": "f", "user_id": "UID=bob", "crypto_module": "CM",
        "device": {
            "manufacturer": "ACME", "serial_number": "7", "model": "M", "issue_number": "1", "binding": "IMEI",
            "start_date": start, "expiry_date": end, "user_id": "UID=ada",
        },
        "policy": {
            "start_date": start, "expiry_date": end,
            "pin": {"key_id": "pin", "usage": "Append", "max_failed_attempts": 3, "min_len": 4, "max_len": 8, "encoding": "DECIMAL"},
            "usages": ["OTP", "CR"], "transactions": 9, "has_unknown": false,
        },
    })
}

#[test]
fn what_is_said_of_a_key_survives() {
    assert_eq!(serde_json::to_value(info()).unwrap(), stored());
    assert_eq!(serde_json::from_value::<KeyInfo>(stored()).unwrap(), info());
}

#[test]
fn what_nobody_says_may_be_left_out() {
    let read: KeyInfo = serde_json::from_value(json!({"id": "k", "device": {}})).unwrap();
    assert_eq!(read, KeyInfo::new("k"));
    for lacks in ["id", "device"] {
        let mut less = stored();
        less.as_object_mut().unwrap().remove(lacks);
        assert!(serde_json::from_value::<KeyInfo>(less).is_err(), "{lacks}");
    }
}

#[test]
fn a_policy_never_permits_more_than_was_stored() {
    for lacks in ["usages", "has_unknown"] {
        let mut less = stored()["policy"].clone();
        less.as_object_mut().unwrap().remove(lacks);
        assert!(serde_json::from_value::<Policy>(less).is_err(), "{lacks}");
    }
    // A usage or a restriction of a later release.
    let mut other = stored();
    other["policy"]["usages"][0] = json!("Sign");
    assert!(serde_json::from_value::<KeyInfo>(other).is_err());
    for at in [
        "",
        "/device",
        "/policy",
        "/policy/pin",
        "/challenge",
        "/response",
    ] {
        let mut more = stored();
        more.pointer_mut(at).unwrap()["more"] = json!(1);
        assert!(serde_json::from_value::<KeyInfo>(more).is_err(), "{at}");
    }
}

#[test]
fn words_are_those_of_the_container() {
    for usage in [
        "OTP",
        "CR",
        "Encrypt",
        "Integrity",
        "Verify",
        "Unlock",
        "Decrypt",
        "KeyWrap",
        "Unwrap",
        "Derive",
        "Generate",
    ] {
        let read: KeyUsage = serde_json::from_value(json!(usage)).unwrap();
        assert_eq!((read.name(), json!(read)), (usage, json!(usage)));
    }
    for encoding in ["DECIMAL", "HEXADECIMAL", "ALPHANUMERIC", "BASE64", "BINARY"] {
        let read: Encoding = serde_json::from_value(json!(encoding)).unwrap();
        assert_eq!((read.name(), json!(read)), (encoding, json!(encoding)));
    }
    for usage in ["Local", "Prepend", "Append", "Algorithmic"] {
        let read: PinUsage = serde_json::from_value(json!(usage)).unwrap();
        assert_eq!((read.name(), json!(read)), (usage, json!(usage)));
    }
}

/// Shows whether a type is serialisable: the inherent constant, if there is one, takes precedence over the trait's.
#[allow(dead_code, reason = "only its constants are used")]
struct Probe<T>(PhantomData<T>);

trait Otherwise {
    const IS_SERIALISED: bool = false;
}

impl<T> Otherwise for Probe<T> {}

impl<T: serde::Serialize> Probe<T> {
    const IS_SERIALISED: bool = true;
}

#[test]
fn no_secret_is_serialised() {
    let serialised = [
        Probe::<KeyInfo>::IS_SERIALISED,
        Probe::<ChallengeFormat>::IS_SERIALISED,
    ];
    assert_eq!(serialised, [true; 2]);
    let serialised = [
        Probe::<Secret>::IS_SERIALISED,
        Probe::<KeyData>::IS_SERIALISED,
        Probe::<Key>::IS_SERIALISED,
        Probe::<Container>::IS_SERIALISED,
    ];
    assert_eq!(serialised, [false; 4]);
}
