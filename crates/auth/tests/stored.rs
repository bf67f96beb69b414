//! Stored types have the same text in serde as in `Display` and `FromStr`.
#![cfg(feature = "serde")]

use core::fmt::Debug;
use std::hash::{BuildHasher, RandomState};

use keyproof_auth::{
    Cost, Generation, HashingMemory, PasswordHash, Scopes, Token, TokenDigest, UnixMillis,
    Validity, operator::OperatorScopes, taler::LoginScope,
};
use serde::{Serialize, de::DeserializeOwned};

/// Asserts that the value is this text in JSON, is read back from it, and is rejected for other texts.
#[track_caller]
fn is_stored_as<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, text: &str) {
    let json = serde_json::to_string(value).unwrap_or_default();
    assert_eq!(json, format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<T>(&json).ok().as_ref(), Some(value));
    for wrong in [format!("\"{text}!\""), "7".to_owned(), "null".to_owned()] {
        assert!(serde_json::from_str::<T>(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn texts() {
    is_stored_as(&Generation::from_random([0xab; 16]), &"ab".repeat(16));
    let digest = Token::from_random([0; 32]).digest();
    is_stored_as(
        &digest,
        "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925",
    );
    assert_eq!(digest.to_string().parse(), Ok(digest));
    for wrong in ["", "00", &"0".repeat(63), &"0".repeat(65), &"G".repeat(64)] {
        assert!(wrong.parse::<TokenDigest>().is_err(), "{wrong}");
    }
    let told = serde_json::from_str::<TokenDigest>("7").unwrap_err();
    let expected = "expected 64 lower-case hexadecimal digits";
    assert!(told.to_string().contains(expected), "{told}");
    is_stored_as(
        &"readonly:refreshable".parse::<LoginScope>().unwrap(),
        "readonly:refreshable",
    );
    let scopes = "tpm:factory certificates:sub/group"
        .parse::<OperatorScopes>()
        .unwrap();
    is_stored_as(&scopes, "certificates:sub/group tpm:factory");
    for wrong in ["", " ", "admin ", "admin  tpm", "nonsense"] {
        assert!(wrong.parse::<OperatorScopes>().is_err(), "{wrong:?}");
    }
    let scopes = "profile orders:read".parse::<Scopes>().unwrap();
    let json = serde_json::to_string(&scopes).unwrap();
    assert_eq!(json, r#""orders:read profile""#);
    assert_eq!(serde_json::from_str::<Scopes>(&json).ok(), Some(scopes));
    assert!(serde_json::from_str::<Scopes>(r#""orders:read  profile""#).is_err());
}

#[test]
fn a_validity_counts_milliseconds() {
    let generation = Generation::from_random([0xab; 16]);
    let validity = |expires_at| Validity {
        generation,
        expires_at,
    };
    let text = "ab".repeat(16);
    for (value, end) in [
        (
            validity(Some(UnixMillis::from_secs(1_800_000_000))),
            "1800000000000",
        ),
        (validity(None), "null"),
    ] {
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(
            json,
            format!(r#"{{"generation":"{text}","expires_at":{end}}}"#)
        );
        assert_eq!(serde_json::from_str::<Validity>(&json).ok(), Some(value));
    }
    // It would never expire.
    let endless = format!(r#"{{"generation":"{text}"}}"#);
    assert!(serde_json::from_str::<Validity>(&endless).is_err());
}

#[test]
fn a_cost_is_read_within_its_bounds() {
    let cost = Cost::new(65_536, 3, 1).unwrap();
    let json = serde_json::to_string(&cost).unwrap();
    assert_eq!(json, r#"{"memory_kib":65536,"iterations":3,"lanes":1}"#);
    assert_eq!(serde_json::from_str::<Cost>(&json).ok(), Some(cost));
    for wrong in [
        r#"{"memory_kib":8,"iterations":3,"lanes":1}"#,
        r#"{"memory_kib":65536,"iterations":3,"lanes":17}"#,
        r#"{"memory_kib":65536,"iterations":3}"#,
        r#"{"memory_kib":65536,"iterations":3,"lanes":1,"threads":1}"#,
    ] {
        assert!(serde_json::from_str::<Cost>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn password_hashes() {
    let cost = Cost::insecure_for_tests(8, 1, 1).unwrap();
    let mut memory = HashingMemory::new();
    let hash = PasswordHash::create(b"correct horse", [7; 16], cost, &mut memory).unwrap();
    let json = serde_json::to_string(&hash).unwrap();
    assert_eq!(json, format!("\"{}\"", hash.to_phc()));
    let read: PasswordHash = serde_json::from_str(&json).unwrap();
    assert!(
        read.verify(b"correct horse", &mut memory)
            .unwrap()
            .is_correct()
    );
    assert!(serde_json::from_str::<PasswordHash>("\"$argon2i$x\"").is_err());
}

/// Different digests have different hashes in a hash table.
#[test]
fn digests_hash_by_what_they_are() {
    let hasher = RandomState::new();
    let [one, two] = [1, 2].map(|byte| Token::from_random([byte; 32]).digest());
    assert_eq!(hasher.hash_one(one), hasher.hash_one(one));
    assert_ne!(hasher.hash_one(one), hasher.hash_one(two));
}
