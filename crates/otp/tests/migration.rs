//! Google Authenticator's exports: published ones, rejected ones, batches.
#![cfg(feature = "alloc")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

use keyproof_otp::{
    Algorithm, Digits, OtpError, Secret,
    migration::{Migration, Part, join},
    otpauth::{Kind, OtpauthUri},
};
use proptest::{collection::vec, prelude::*};

/// Exports from the documentation of other implementations (dim13/otpauth,
/// johncallahan/otpauth_migration, jens-duttke/otp-migration-parser), with the contents that it
/// gives.
#[test]
fn published_exports() {
    let read = |data: &str| {
        let code = Migration::parse(&format!("otpauth-migration://offline?data={data}")).unwrap();
        assert_eq!(Migration::parse(&code.to_string()).unwrap(), code);
        code.accounts()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let alice = "otpauth://totp/Example:alice@google.com?secret=JBSWY3DPEHPK3PXP&issuer=Example&digits=6&period=30";
    assert_eq!(
        read("CjEKCkhlbGxvId6tvu8SGEV4YW1wbGU6YWxpY2VAZ29vZ2xlLmNvbRoHRXhhbXBsZTAC"),
        [alice]
    );
    let john = "otpauth://totp/ACME%20Co:john.doe@example.com?secret=HXDMVJECJJWSRB3HWIZR4IFUGFTMXBOZ&issuer=ACME%20Co&digits=6&period=30";
    assert_eq!(
        read(
            "CkMKFD3GyqSCSm0oh2eyMx4gtDFmy4XZEhxBQ01FIENvOmpvaG4uZG9lQGV4YW1wbGUuY29tGgdBQ01FIENvIAEoATACCjUKCkhlbGxvId6tvu8SGEV4YW1wbGU6YWxpY2VAZ29vZ2xlLmNvbRoHRXhhbXBsZSABKAEwAhABGAEgACjn4Pv4Ag=="
        ),
        [john, alice]
    );
    let website = read(
        "CkoKDZePmX7z8qHgFlH9yVcSIlRoaXNfaXNfYW5fRXhhbXBsZTplbWFpbEBlbWFpbC5jb20aD0V4YW1wbGVfV2Vic2l0ZSABKAEwAhABGAEgAA%3D%3D",
    );
    assert_eq!(
        website,
        [
            "otpauth://totp/This_is_an_Example:email@email.com?secret=S6HZS7XT6KQ6AFSR7XEVO&issuer=Example_Website&digits=6&period=30"
        ]
    );
}

/// Decodes a message in hexadecimal, ignoring blanks.
fn message(hex: &str) -> Result<Migration, OtpError> {
    let hex: String = hex.split_whitespace().collect();
    Migration::from_message(&data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap())
}

/// Builds a message with one account: a secret of three bytes, then these fields.
fn account(hex: &str) -> Result<OtpauthUri, OtpError> {
    let hex: String = hex.split_whitespace().collect();
    let len = 5 + hex.len() / 2;
    Ok(message(&format!("0a {len:02x} 0a03616263 {hex}"))?.accounts()[0].clone())
}

#[test]
fn what_is_left_out_is_the_default() {
    let uri = account("").unwrap();
    assert_eq!(
        uri.to_string(),
        "otpauth://totp/?secret=MFRGG&digits=6&period=30"
    );
    let uri = account("2000 2800 3000 3800").unwrap();
    assert_eq!(
        (uri.algorithm(), uri.digits(), uri.kind()),
        (Algorithm::Sha1, Digits::SIX, Kind::TOTP)
    );
    let uri = account("2003 2802 3001 38ffffffffffffffff7f").unwrap();
    assert_eq!(
        (uri.algorithm(), uri.digits()),
        (Algorithm::Sha512, Digits::EIGHT)
    );
    assert_eq!(
        uri.kind(),
        Kind::Hotp {
            counter: u64::MAX / 2
        }
    );

    let part = message("").unwrap().part();
    assert_eq!((part.id, part.size, part.index), (0, 1, 0));
    let part = message("1001 1803 2002 28ffffffffffffffffff01")
        .unwrap()
        .part();
    assert_eq!((part.id, part.size, part.index), (-1, 3, 2));
}

#[test]
fn unknown_fields_are_skipped() {
    // A varint, 64 bits, bytes and 32 bits, then a text under a field number of several bytes.
    let unknown = "7801 79 0102030405060708 7a 01ff 7d 01020304 c2 3e 00";
    assert_eq!(account(unknown).unwrap(), account("").unwrap());
    assert_eq!(message(unknown).unwrap(), message("").unwrap());
}

#[test]
fn what_is_damaged_is_told_where() {
    let encoding = |at| OtpError::MigrationEncoding { at };
    for (hex, at) in [
        ("0a", 1),
        ("0a0161 0a", 0),                // a truncated field in the account
        ("1001 0a05", 4),                // longer than the message
        ("0affffffffffffffffff01", 11),  // longer than memory
        ("10ffffffffffffffffffff01", 1), // a varint of more than 64 bits
        ("10ffffffffffffffffff02", 1),
        ("1080", 2),
        ("1001 0b", 2), // a group
        ("0f", 0),
        ("0001", 0), // field 0
        ("1201", 2),
        ("120161", 0),       // a text instead of a number
        ("0801", 0),         // a number instead of an account
        ("0a03 0801 10", 2), // a number instead of a secret
        ("7d010203", 1),
    ] {
        let error = message(hex).unwrap_err();
        if hex == "0a0161 0a" {
            assert_eq!(error, encoding(4));
        } else {
            assert_eq!(error, encoding(at), "{hex}");
        }
    }
}

#[test]
fn what_is_wrong_is_told_where() {
    let value = |at| Err(OtpError::MigrationValue { at });
    for hex in [
        "2004",
        "2005",
        "2803",
        "3003",
        "38ffffffffffffffffff01",
        "1201ff",
        "1a01ff",
    ] {
        assert_eq!(account(hex), value(7), "{hex}");
    }
    for hex in ["18ffffffff0f", "28ffffffff0f", "1080808080f8ffffffff00"] {
        assert_eq!(
            message(hex),
            Err(OtpError::MigrationValue { at: 0 }),
            "{hex}"
        );
    }
    assert_eq!(
        account("0a0161"),
        Err(OtpError::MigrationDuplicate { at: 7 })
    );
    assert_eq!(
        account("12001200"),
        Err(OtpError::MigrationDuplicate { at: 9 })
    );
    assert_eq!(
        message("10011001"),
        Err(OtpError::MigrationDuplicate { at: 2 })
    );
    for hex in ["0a00", "0a020a00", "0a03120161"] {
        assert_eq!(
            message(hex),
            Err(OtpError::MigrationSecret { at: 2 }),
            "{hex}"
        );
    }
    for hex in [
        "1865",
        "1803 2003",
        "2001",
        "18ffffffffffffffffff01",
        "20ffffffffffffffffff01",
    ] {
        assert_eq!(message(hex), Err(OtpError::MigrationBatch), "{hex}");
    }
    let long = format!("0a8401 0a8101 {}", "61".repeat(129));
    assert_eq!(message(&long), Err(OtpError::SecretTooLong));
    let longest = Migration::MAX_MESSAGE_LEN;
    let unknown = [&[0x7a, 0xfc, 0x7f][..], &vec![0; longest - 4]].concat();
    assert_eq!(unknown.len(), longest - 1);
    assert!(Migration::from_message(&unknown).is_ok());
    let too_long = Err(OtpError::MigrationTooLong);
    assert_eq!(Migration::from_message(&vec![0; longest + 1]), too_long);
    // Below the limit as read, but above it once omitted fields are written out.
    assert_eq!(
        Migration::from_message(&b"\x0a\x03\x0a\x01a".repeat(longest / 5)),
        too_long
    );
}

#[test]
fn the_longest_message_fits_the_longest_uri_and_nothing_longer_is_read() {
    // One unknown field fills the message.
    let message = [&[0x7a, 0xfd, 0x7f][..], &vec![0; 16 * 1024 - 3]].concat();
    assert_eq!(message.len(), Migration::MAX_MESSAGE_LEN);
    let read = Migration::from_message(&message).unwrap();
    let mut uri = String::from("otpauth-migration://offline?data=");
    for symbol in data_encoding::BASE64.encode(&message).bytes() {
        uri += &format!("%{symbol:02X}");
    }
    assert_eq!(uri.len(), Migration::MAX_URI_LEN);
    assert_eq!(Migration::parse(&uri), Ok(read));
    let too_long = Err(OtpError::MigrationTooLong);
    assert_eq!(Migration::parse(&format!("{uri}A")), too_long);

    // An account with a long name, without what has a default, which is written: 14 bytes more.
    let varint = |number: usize| [(number & 0x7f) as u8 | 0x80, (number >> 7) as u8];
    let read = |len: usize| {
        let name = "n".repeat(len);
        let account = [&b"\x0a\x01a\x12"[..], &varint(len), name.as_bytes()].concat();
        let message = [&b"\x0a"[..], &varint(account.len()), &account].concat();
        assert!(message.len() < Migration::MAX_MESSAGE_LEN);
        Migration::from_message(&message)
    };
    assert!(read(16_361).is_ok());
    assert_eq!(read(16_362), too_long);
}

#[test]
fn uris_are_read_as_they_come() {
    let data = "CjEKCkhlbGxvId6tvu8SGEV4YW1wbGU6YWxpY2VAZ29vZ2xlLmNvbRoHRXhhbXBsZTAC";
    assert!(Migration::parse(&format!("OTPAUTH-MIGRATION://offline?data={data}")).is_ok());
    // With escaped padding, unescaped padding, and none.
    for padding in ["%3D%3D", "==", ""] {
        assert!(
            Migration::parse(&format!("otpauth-migration://offline?data=GAEgAA{padding}")).is_ok()
        );
    }
    for wrong in [
        "",
        "otpauth://totp/a?secret=MFRGG",
        "otpauth-migration://online?data=",
        "otpauth-migration://offline?date=AAAA",
    ] {
        assert_eq!(
            Migration::parse(wrong),
            Err(OtpError::MigrationScheme),
            "{wrong}"
        );
    }
    for wrong in [
        "GAEgAA=",
        "GAEgAA==GAEgAA==",
        "GAEgAB==",
        "GAEgA",
        "GAE gAA",
        "GAEgAA&x=1",
        "GAEgAA#",
        "GAE_",
    ] {
        let uri = format!("otpauth-migration://offline?data={wrong}");
        assert_eq!(
            Migration::parse(&uri),
            Err(OtpError::MigrationBase64 { at: 33 }),
            "{wrong}"
        );
    }
    let escape = "otpauth-migration://offline?data=GAEgA%4";
    assert_eq!(
        Migration::parse(escape),
        Err(OtpError::UriEscape { at: 38 })
    );
    let long = format!(
        "otpauth-migration://offline?data={}",
        "A".repeat(Migration::MAX_URI_LEN)
    );
    assert_eq!(Migration::parse(&long), Err(OtpError::MigrationTooLong));
}

fn named(account: &str) -> OtpauthUri {
    OtpauthUri::new(
        Kind::TOTP,
        Some("ACME"),
        account,
        Secret::from_bytes(&[7; 20]).unwrap(),
    )
    .unwrap()
}

#[test]
fn many_accounts_are_several_codes_in_any_order() {
    let accounts: Vec<OtpauthUri> = (0..23).map(|number| named(&number.to_string())).collect();
    let mut codes = Migration::batch(&accounts, -5).unwrap();
    let parts: Vec<Part> = codes.iter().map(Migration::part).collect();
    assert_eq!(
        codes
            .iter()
            .map(|code| code.accounts().len())
            .collect::<Vec<_>>(),
        [10, 10, 3]
    );
    assert!(
        parts
            .iter()
            .zip(0..)
            .all(|(part, index)| (part.id, part.size, part.index) == (-5, 3, index))
    );
    codes.reverse();
    codes.push(codes[0].clone());
    assert_eq!(join(codes.clone()).unwrap(), accounts);

    codes.truncate(2);
    assert_eq!(
        join(codes.clone()),
        Err(OtpError::MigrationIncomplete { missing: 0 })
    );
    let other = Migration::batch(&accounts, -6).unwrap();
    codes.extend(other);
    assert_eq!(join(codes), Err(OtpError::MigrationBatch));
    assert_eq!(join([]), Err(OtpError::MigrationIncomplete { missing: 0 }));
    // Two different codes for the same part.
    let [first, second] =
        ["a", "b"].map(|name| Migration::batch(&[named(name)], 1).unwrap().remove(0));
    assert_eq!(join([first, second]), Err(OtpError::MigrationBatch));
    assert_eq!(Migration::batch(&[], 1), Ok(vec![]));
}

#[test]
fn codes_fit_a_qr_code() {
    let accounts: Vec<OtpauthUri> = (0..9)
        .map(|number| named(&"ä".repeat(200 + number)))
        .collect();
    let codes = Migration::batch(&accounts, i32::MIN).unwrap();
    assert!(codes.len() > 1);
    assert!(codes.iter().all(|code| code.to_string().len() < 2953));
    assert_eq!(join(codes).unwrap(), accounts);
    // The longest account that is exported fits a code of its own.
    let [code] = &Migration::batch(&[named(&"x".repeat(1408))], 1).unwrap()[..] else {
        unreachable!()
    };
    assert!(code.to_string().len() < 2953);
    for longer in [1409, 1500] {
        assert_eq!(
            Migration::batch(&[named(&"x".repeat(longer))], 1),
            Err(OtpError::MigrationTooLong)
        );
    }
    let too_many = vec![named("a"); 1001];
    assert_eq!(
        Migration::batch(&too_many, 1),
        Err(OtpError::MigrationTooLong)
    );
    assert_eq!(Migration::batch(&too_many[..1000], 1).unwrap().len(), 100);
}

#[test]
fn what_an_export_has_no_place_for_is_refused_or_left_out() {
    let unsupported = |uri: &str, what| {
        let account = OtpauthUri::parse(uri).unwrap();
        assert_eq!(
            Migration::batch(&[account], 1),
            Err(OtpError::MigrationUnsupported { what }),
            "{uri}"
        );
    };
    unsupported("otpauth://totp/a?secret=MFRGG&period=60", "period");
    unsupported("otpauth://totp/a?secret=MFRGG&digits=7", "digits");
    unsupported(
        "otpauth://hotp/a?secret=MFRGG&counter=9223372036854775808",
        "counter",
    );
    unsupported("otpauth://totp/a%3Ab:c?secret=MFRGG", "label");
    let account = OtpauthUri::parse("otpauth://totp/a?secret=MFRGG&issuer=&image=x").unwrap();
    let [code] = &Migration::batch(&[account], 1).unwrap()[..] else {
        unreachable!()
    };
    assert_eq!(
        code.accounts()[0].to_string(),
        "otpauth://totp/a?secret=MFRGG&digits=6&period=30"
    );
    assert_eq!(&Migration::parse(&code.to_string()).unwrap(), code);
}

#[test]
fn debug_hides_secrets() {
    let code = Migration::batch(&[named("ada")], 1).unwrap().remove(0);
    let shown = format!("{code:?}");
    assert!(
        shown.contains("redacted") && !shown.contains("MFRGG"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        accounts in vec((vec(any::<u8>(), 1..=128), "[^:]{0,20}", proptest::option::of("[^:]{1,9}"), 0_usize..3, any::<bool>(), proptest::option::of(0..=u64::MAX / 2)), 1..30),
        id in any::<i32>(),
    ) {
        let accounts: Vec<OtpauthUri> = accounts.into_iter().filter_map(|(secret, account, issuer, algorithm, long, counter)| {
            let kind = counter.map_or(Kind::TOTP, |counter| Kind::Hotp { counter });
            let uri = OtpauthUri::new(kind, issuer.as_deref(), &account, Secret::from_bytes(&secret).unwrap()).ok()?;
            let algorithm = [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512][algorithm];
            Some(uri.with_algorithm(algorithm).with_digits(if long { Digits::EIGHT } else { Digits::SIX }))
        }).collect();
        let codes = Migration::batch(&accounts, id).unwrap();
        let texts: Vec<String> = codes.iter().map(ToString::to_string).collect();
        let read: Vec<Migration> = texts.iter().map(|text| text.parse().unwrap()).collect();
        prop_assert_eq!(&read, &codes);
        if !codes.is_empty() {
            prop_assert_eq!(join(read).unwrap(), accounts);
        }
    }

    #[test]
    fn no_message_panics(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(code) = Migration::from_message(&bytes) {
            prop_assert_eq!(Migration::parse(&code.to_string()).unwrap(), code);
        }
    }
}
