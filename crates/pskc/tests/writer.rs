//! Writing containers: the values of RFC 6030, RFC 3394 and RFC 5649, rejected keys, and reading back what was written.
#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

use std::convert::Infallible;

use keyproof_pskc::{
    ChallengeFormat, Cipher, Container, DecryptionKey, DeviceInfo, Encoding, Key, KeyData,
    KeyDerivation, KeyInfo, KeyProtection, KeyUsage, MacAlgorithm, PinPolicy, PinUsage, Policy,
    Prf, PskcError, ResponseFormat, Secret, WriteError, Writer,
};
use proptest::prelude::*;

const SECRET: &[u8] = b"12345678901234567890";
/// RFC 6030 figure 6: the pre-shared key.
const PRE_SHARED: [u8; 16] = [
    0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56, 0x78, 0x90, 0x12,
];

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .unwrap()
}

fn key(id: &str, secret: &[u8]) -> Key {
    let mut data = KeyData::default();
    data.secret = Some(Secret::from(secret));
    Key::new(KeyInfo::new(id), data)
}

/// A source of given random bytes. The test fails if more are requested.
fn drawn(bytes: &[u8]) -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
    let mut rest = bytes.to_vec();
    move |into| {
        into.copy_from_slice(&rest.drain(..into.len()).collect::<Vec<_>>());
        Ok(())
    }
}

/// A fixed random source, for tests that do not depend on it.
fn same(bytes: &mut [u8]) -> Result<(), Infallible> {
    bytes.fill(7);
    Ok(())
}

fn shared(cipher: Cipher, key: &[u8]) -> KeyProtection<'_> {
    KeyProtection::Key {
        cipher,
        key,
        name: "Pre-shared-key",
    }
}

/// Returns the texts of all elements with this name.
fn texts<'a>(document: &'a str, name: &str) -> Vec<&'a str> {
    let opening = format!("<{name}>");
    let rest = document.split(opening.as_str()).skip(1);
    rest.map(|rest| rest.split('<').next().unwrap()).collect()
}

/// RFC 6030 figure 6, with the RFC's random bytes.
#[test]
fn the_values_of_figure_6_come_out_again() {
    let random = [
        hex("1122334455667788990011223344556677889900"),
        hex("11223344556677889900112233445566"),
        hex("000102030405060708090a0b0c0d0e0f"),
    ]
    .concat();
    let document = Writer::new(shared(Cipher::Aes128Cbc, &PRE_SHARED))
        .with_mac(MacAlgorithm::HmacSha1)
        .write(&[key("12345678", SECRET)], drawn(&random))
        .unwrap();
    assert_eq!(
        texts(&document, "xenc:CipherValue"),
        [
            "ESIzRFVmd4iZABEiM0RVZgKn6WjLaTC1sbeBMSvIhRejN9vJa2BOlSaMrR7I5wSX",
            "AAECAwQFBgcICQoLDA0OD+cIHItlB3Wra1DUpxVvOx2lef1VmNPCMl8jwZqIUqGv"
        ]
    );
    assert_eq!(
        texts(&document, "ValueMAC"),
        ["Su+NvtQfmvfJzF6bmQiJqoLRExc="]
    );
    assert_eq!(texts(&document, "ds:KeyName"), ["Pre-shared-key"]);
}

/// RFC 6030 figure 7, whose initialisation vectors precede the values; the key is derived from its password.
#[test]
fn the_values_of_figure_7_come_out_again() {
    use cbc::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::Pkcs7};

    let [mac_key, secret] = [
        "2GTTnLwM3I4e5IO5FkufoOEiOhNj91fhKRQBtBJYluUDsPOLTfUvoU2dStyOwYZx",
        "oTvo+S22nsmS2Z/RtcoF8Hfh+jzMe0RkiafpoDpnoZTjPYZu6V+A4aEn032yCr4f",
    ];
    let salt = hex("123eff3c4a72129c");
    let mut derived = [0; 16];
    pbkdf2::pbkdf2_hmac::<sha1::Sha1>(b"qwerty", &salt, 1000, &mut derived);
    let vector = |value: &str| data_encoding::BASE64.decode(value.as_bytes()).unwrap();
    let (mac_key_bytes, secret_bytes) = (vector(mac_key), vector(secret));
    let (mac_iv, mac_blocks) = mac_key_bytes.split_at(16);
    let decryptor = cbc::Decryptor::<aes::Aes128>::new_from_slices(&derived, mac_iv).unwrap();
    let mut mac_blocks = mac_blocks.to_vec();
    let plain_mac_key = decryptor.decrypt_padded::<Pkcs7>(&mut mac_blocks).unwrap();
    let random = [plain_mac_key, mac_iv, secret_bytes.get(..16).unwrap()].concat();

    let derivation = KeyDerivation::new(Cipher::Aes128Cbc, Prf::HmacSha1, &salt)
        .and_then(|derivation| derivation.with_iterations(1000))
        .unwrap()
        .with_name("My Password 1");
    let lock = KeyProtection::Password {
        cipher: Cipher::Aes128Cbc,
        derivation: &derivation,
        password: "qwerty",
    };
    let document = Writer::new(lock)
        .with_mac(MacAlgorithm::HmacSha1)
        .write(&[key("123456", SECRET)], drawn(&random))
        .unwrap();
    assert_eq!(texts(&document, "xenc:CipherValue"), [mac_key, secret]);
    assert_eq!(
        texts(&document, "ValueMAC"),
        ["LP6xMvjtypbfT9PdkJhBZ+D6O4w="]
    );
    assert_eq!(texts(&document, "Specified"), ["Ej7/PEpyEpw="]);
    assert_eq!(texts(&document, "xenc11:MasterKeyName"), ["My Password 1"]);
    let read = Container::parse(&document).unwrap();
    assert_eq!(read.key_derivation(), Some(&derivation));
}

/// RFC 3394 sections 4.1, 4.3 and 4.6, and RFC 5649 section 6, which use nothing random.
#[test]
fn wrapped_keys_are_those_of_their_standards() {
    let kek: Vec<u8> = (0..32).collect();
    let kek_of_5649 = hex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
    let long = "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f";
    for (cipher, kek, secret, wrapped) in [
        (
            Cipher::Aes128KeyWrap,
            kek.get(..16).unwrap(),
            "00112233445566778899aabbccddeeff",
            "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5",
        ),
        (
            Cipher::Aes192KeyWrap,
            kek.get(..24).unwrap(),
            "00112233445566778899aabbccddeeff",
            "96778b25ae6ca435f92b5b97c050aed2468ab8a17ad84e5d",
        ),
        (
            Cipher::Aes256KeyWrap,
            &kek,
            long,
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
        ),
        (
            Cipher::Aes192KeyWrapPad,
            &kek_of_5649,
            "c37b7e6492584340bed12207808941155068f738",
            "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
        ),
        (
            Cipher::Aes192KeyWrapPad,
            &kek_of_5649,
            "466f7250617369",
            "afbeb0f07dfbf5419200f2ccb50bb24f",
        ),
    ] {
        let writer = Writer::new(shared(cipher, kek));
        let document = writer.write(&[key("1", &hex(secret))], drawn(&[])).unwrap();
        let expected = data_encoding::BASE64.encode(&hex(wrapped));
        assert_eq!(texts(&document, "xenc:CipherValue"), [expected]);
        // Key wrap authenticates itself.
        assert!(!document.contains("MAC"), "{cipher}");
    }
}

#[test]
fn each_secret_has_a_vector_of_its_own_and_keys_come_from_the_source() {
    let mut asked = Vec::new();
    let mut next = 0;
    let keys = [key("1", SECRET), key("2", SECRET)];
    let document = Writer::new(shared(Cipher::Aes128Cbc, &PRE_SHARED))
        .write(&keys, |bytes| {
            asked.push(bytes.len());
            next += 1;
            bytes.fill(next);
            Ok::<_, Infallible>(())
        })
        .unwrap();
    // HMAC-SHA-256's key and its initialisation vector, then one vector for each secret.
    assert_eq!(asked, [32, 16, 16, 16]);
    let values = texts(&document, "xenc:CipherValue");
    let vectors = values.iter().map(|value| {
        let bytes = data_encoding::BASE64.decode(value.as_bytes()).unwrap();
        *bytes.first_chunk::<16>().unwrap()
    });
    assert_eq!(vectors.collect::<Vec<_>>(), [[2; 16], [3; 16], [4; 16]]);
    let read = Container::parse(&document).unwrap();
    assert_eq!(read.mac_algorithm(), Some(MacAlgorithm::HmacSha256));
    assert_eq!(read.open(DecryptionKey::Key(&PRE_SHARED)).unwrap(), keys);
    assert!(read.open(DecryptionKey::Key(&[0; 16])).is_err());
}

fn plain(keys: &[Key]) -> Result<String, WriteError> {
    let written = Writer::new(KeyProtection::None).write(keys, drawn(&[]))?;
    Ok(written.to_string())
}

#[test]
fn what_would_be_read_otherwise_or_not_at_all_is_refused() {
    assert_eq!(plain(&[]), Err(WriteError::Empty));
    let twice = plain(&[key("1", b"a"), key("2", b"b"), key("1", b"c")]);
    assert_eq!(twice, Err(WriteError::Duplicate { id: "1".into() }));
    assert!(matches!(
        plain(&[key("1", b"")]),
        Err(WriteError::SecretLength { found: 0, .. })
    ));

    let with = |change: &dyn Fn(&mut Key)| {
        let mut key = key("1", SECRET);
        change(&mut key);
        plain(&[key])
    };
    let problem = |change: &dyn Fn(&mut Key)| match with(change) {
        Err(WriteError::Text { field, problem }) => format!("{field} {problem}"),
        other => format!("{other:?}"),
    };
    for blank in [" a", "a\n", "\ta", "a\r", " "] {
        let told = problem(&|key| key.info.issuer = Some(blank.to_owned()));
        assert_eq!(
            told,
            "Issuer begins or ends with a blank, which readers cut off"
        );
    }
    for wrong in ["a\u{0}b", "a\u{1b}[2Jb", "a\u{fffe}b", "\u{ffff}"] {
        let told = problem(&|key| key.info.device.serial_number = Some(wrong.to_owned()));
        assert_eq!(told, "SerialNo has a character that XML cannot have");
        let told = problem(&|key| key.info.id = wrong.to_owned());
        assert_eq!(told, "Id has a character that XML cannot have");
    }
    let long = "a".repeat(16 * 1024 + 1);
    let told = problem(&|key| key.info.user_id = Some(long.clone()));
    assert_eq!(told, "UserId is longer than 16384 bytes");
    let told = problem(&|key| key.data.secret = Some(Secret::from(vec![7; 12 * 1024 + 1])));
    assert_eq!(told, "PlainValue is longer than 16384 bytes");

    let above = i64::MAX as u64 + 1;
    assert_eq!(
        with(&|key| key.data.counter = Some(above)),
        Err(WriteError::Number { field: "Counter" })
    );
    assert!(with(&|key| key.data.counter = Some(above - 1)).is_ok());
    // Written without its unknown parts, a policy would permit more.
    let unknown = with(&|key| {
        let mut policy = Policy::default();
        policy.has_unknown = true;
        key.info.policy = Some(policy);
    });
    assert_eq!(unknown, Err(WriteError::UnknownPolicy { id: "1".into() }));

    let many: Vec<_> = (0..600)
        .map(|n| {
            let mut key = key(&n.to_string(), SECRET);
            key.info.friendly_name = Some("a".repeat(16 * 1024));
            key
        })
        .collect();
    assert_eq!(plain(&many), Err(WriteError::TooLong));
}

#[test]
fn a_document_has_one_element_a_line() {
    let mut token = key("1", SECRET);
    token.info.algorithm = Some(KeyInfo::HOTP.to_owned());
    token.info.device.serial_number = Some("987".to_owned());
    token.data.counter = Some(7);
    let document = r#"<?xml version="1.0" encoding="UTF-8"?>
<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc">
  <KeyPackage>
    <DeviceInfo>
      <SerialNo>987</SerialNo>
    </DeviceInfo>
    <Key Id="1" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp">
      <Data>
        <Secret>
          <PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue>
        </Secret>
        <Counter>
          <PlainValue>7</PlainValue>
        </Counter>
      </Data>
    </Key>
  </KeyPackage>
</KeyContainer>
"#;
    assert_eq!(plain(&[token]).as_deref(), Ok(document));
}

#[test]
fn the_longest_document_is_written_and_read_and_no_longer_one() {
    // 512 keys, whose names have this many bytes together.
    let document = |names: usize| {
        let keys = (0..512).map(|number| {
            let mut key = key(&format!("{number:03}"), SECRET);
            let len = names / 512 + usize::from(number < names % 512);
            key.info.friendly_name = Some("a".repeat(len));
            key
        });
        plain(&keys.collect::<Vec<_>>())
    };
    let names = Container::MAX_LEN - document(0).unwrap().len();
    let longest = document(names).unwrap();
    assert_eq!(longest.len(), Container::MAX_LEN);
    assert_eq!(Container::parse(&longest).unwrap().keys().len(), 512);
    assert_eq!(document(names + 1), Err(WriteError::TooLong));
    let longer = Container::parse(&(longest + "\n")).map(|_| ());
    assert_eq!(longer, Err(PskcError::TooLong));
}

#[test]
fn keys_of_another_length_and_bad_derivations_are_refused() {
    let keys = [key("1", SECRET)];
    for cipher in [Cipher::Aes256Cbc, Cipher::Aes256KeyWrapPad] {
        let written = Writer::new(shared(cipher, &PRE_SHARED)).write(&keys, same);
        let (expected, found) = (32, 16);
        assert_eq!(
            written.map(|_| ()),
            Err(WriteError::KeyLength {
                cipher,
                expected,
                found
            })
        );
    }
    // 20 bytes are not a whole number of half blocks, and eight bytes are only one.
    for secret in [SECRET, &[7; 8]] {
        let keys = [key("a", secret)];
        let written = Writer::new(shared(Cipher::Aes128KeyWrap, &PRE_SHARED)).write(&keys, same);
        let (id, found) = ("a".to_owned(), secret.len());
        assert_eq!(
            written.map(|_| ()),
            Err(WriteError::SecretLength { id, found })
        );
    }
    for salt in [0, 7, 1025] {
        let refused = KeyDerivation::new(Cipher::Aes128Cbc, Prf::HmacSha256, &vec![7; salt]);
        assert_eq!(refused, Err(WriteError::KeyDerivation { what: "salt" }));
    }
    let derivation = KeyDerivation::new(Cipher::Aes128Cbc, Prf::HmacSha1, &[7; 8]).unwrap();
    for iterations in [0, 10_000_001] {
        let refused = derivation.clone().with_iterations(iterations);
        assert_eq!(
            refused,
            Err(WriteError::KeyDerivation { what: "iterations" })
        );
    }
    assert!(derivation.clone().with_iterations(10_000_000).is_ok());
    let known = KeyProtection::Password {
        cipher: Cipher::Aes128Cbc,
        derivation: &derivation,
        password: "",
    };
    let refused = Writer::new(known).write(&keys, same);
    assert_eq!(refused.map(|_| ()), Err(WriteError::EmptyPassword));
    let lock = KeyProtection::Password {
        cipher: Cipher::Aes256Cbc,
        derivation: &derivation.with_iterations(1).unwrap(),
        password: "qwerty",
    };
    assert!(matches!(
        Writer::new(lock).write(&keys, same),
        Err(WriteError::KeyLength { .. })
    ));
    for id in ["", "1", "a b", "-a", "ä"] {
        let written = Writer::new(KeyProtection::None)
            .with_id(id)
            .write(&keys, same);
        assert!(
            matches!(written, Err(WriteError::Text { field: "Id", .. })),
            "{id}"
        );
    }
    let written = Writer::new(KeyProtection::None)
        .with_id("_a1.b-c")
        .write(&keys, same);
    assert_eq!(
        Container::parse(&written.unwrap()).unwrap().id(),
        Some("_a1.b-c")
    );
}

#[test]
fn nothing_is_written_where_a_random_source_fails() {
    let keys = [key("1", SECRET)];
    // The authentication key, its vector, and the vector of the secret.
    for good in 0..3 {
        let mut left = good;
        let fails = |bytes: &mut [u8]| {
            if left == 0 {
                return Err("no entropy");
            }
            left -= 1;
            bytes.fill(7);
            Ok(())
        };
        let written = Writer::new(shared(Cipher::Aes128Cbc, &PRE_SHARED)).write(&keys, fails);
        let detail = "no entropy".to_owned();
        assert_eq!(written.map(|_| ()), Err(WriteError::Random { detail }));
    }
}

/// The numbers of OWASP's Password Storage Cheat Sheet of 2023.
#[test]
fn as_many_iterations_as_are_recommended() {
    for (prf, iterations) in [
        (Prf::HmacSha1, 1_300_000),
        (Prf::HmacSha256, 600_000),
        (Prf::HmacSha384, 210_000),
        (Prf::HmacSha512, 210_000),
    ] {
        let derivation = KeyDerivation::new(Cipher::Aes128Cbc, prf, &[7; 16]).unwrap();
        assert_eq!(
            (derivation.iterations(), derivation.prf()),
            (iterations, prf)
        );
    }
}

#[test]
fn locks_hide_their_keys() {
    let derivation = KeyDerivation::new(Cipher::Aes128Cbc, Prf::HmacSha1, &[7; 8]).unwrap();
    let password = KeyProtection::Password {
        cipher: Cipher::Aes128Cbc,
        derivation: &derivation,
        password: "qwerty",
    };
    for lock in [shared(Cipher::Aes128Cbc, b"1234567890123456"), password] {
        let shown = format!("{:?}", Writer::new(lock));
        assert!(
            shown.contains("redacted") && !shown.contains("qwerty"),
            "{shown}"
        );
        assert!(
            !shown.contains("1234") && !shown.contains("49, 50"),
            "{shown}"
        );
    }
}

/// A text that a container can have: without white space at its ends.
fn text() -> impl Strategy<Value = String> {
    "[ -~\t\n\r\u{a0}-\u{ff}\u{20ac}\u{fffd}\u{10000}<>&\"']{0,12}"
        .prop_map(|text| text.trim_matches([' ', '\t', '\n', '\r']).to_owned())
}

fn maybe_text() -> impl Strategy<Value = Option<String>> {
    proptest::option::weighted(0.3, text())
}

fn encoding() -> impl Strategy<Value = Encoding> {
    proptest::sample::select(vec![
        Encoding::Decimal,
        Encoding::Hexadecimal,
        Encoding::Alphanumeric,
        Encoding::Base64,
        Encoding::Binary,
    ])
}

fn policy() -> impl Strategy<Value = Policy> {
    let usages = proptest::collection::vec(
        proptest::sample::select(vec![
            KeyUsage::Otp,
            KeyUsage::ChallengeResponse,
            KeyUsage::Derive,
        ]),
        0..3,
    );
    let usage = proptest::sample::select(vec![
        PinUsage::Local,
        PinUsage::Prepend,
        PinUsage::Append,
        PinUsage::Algorithmic,
    ]);
    let pin = (
        maybe_text(),
        proptest::option::of(usage),
        any::<[Option<u32>; 3]>(),
        proptest::option::of(encoding()),
    );
    let pin = pin.prop_map(|(key_id, usage, [failed, min, max], encoding)| {
        let mut pin = PinPolicy::default();
        (pin.key_id, pin.usage, pin.encoding) = (key_id, usage, encoding);
        (pin.max_failed_attempts, pin.min_len, pin.max_len) = (failed, min, max);
        pin
    });
    let parts = (
        [maybe_text(), maybe_text()],
        proptest::option::of(pin),
        usages,
        any::<Option<u64>>(),
    );
    parts.prop_map(|([start, expiry], pin, usages, transactions)| {
        let mut policy = Policy::default();
        (policy.start_date, policy.expiry_date, policy.pin) = (start, expiry, pin);
        (policy.usages, policy.transactions) = (usages, transactions);
        policy
    })
}

fn device() -> impl Strategy<Value = DeviceInfo> {
    proptest::collection::vec(maybe_text(), 8).prop_map(|mut texts| {
        let mut device = DeviceInfo::default();
        for place in [
            &mut device.manufacturer,
            &mut device.serial_number,
            &mut device.model,
            &mut device.issue_number,
            &mut device.binding,
            &mut device.start_date,
            &mut device.expiry_date,
            &mut device.user_id,
        ] {
            *place = texts.pop().flatten();
        }
        device
    })
}

fn info() -> impl Strategy<Value = KeyInfo> {
    let texts = proptest::collection::vec(maybe_text(), 8);
    let formats = (encoding(), any::<[u32; 2]>(), any::<bool>(), 0_u8..4);
    (texts, formats, device(), proptest::option::of(policy())).prop_map(
        |(mut texts, (encoding, [low, high], check_digits, which), device, policy)| {
            let mut info = KeyInfo::default();
            for place in [
                &mut info.algorithm,
                &mut info.issuer,
                &mut info.suite,
                &mut info.profile_id,
                &mut info.reference,
                &mut info.friendly_name,
                &mut info.user_id,
                &mut info.crypto_module,
            ] {
                *place = texts.pop().flatten();
            }
            if which & 1 != 0 {
                let mut challenge = ChallengeFormat::new(encoding, low, high);
                challenge.check_digits = check_digits;
                info.challenge = Some(challenge);
            }
            if which & 2 != 0 {
                let mut response = ResponseFormat::new(encoding, high);
                response.check_digits = check_digits;
                info.response = Some(response);
            }
            (info.device, info.policy) = (device, policy);
            info
        },
    )
}

fn data() -> impl Strategy<Value = KeyData> {
    // A length that every cipher accepts.
    let secret = proptest::option::of(
        (2..6_usize).prop_flat_map(|halves| proptest::collection::vec(any::<u8>(), halves * 8)),
    );
    let number = || proptest::option::of(0..=i64::MAX as u64);
    let numbers = (number(), number(), number(), any::<Option<i64>>());
    (secret, numbers).prop_map(|(secret, (counter, time, interval, drift))| {
        let mut data = KeyData::default();
        data.secret = secret.map(Secret::from);
        (data.counter, data.time) = (counter, time);
        (data.time_interval, data.time_drift) = (interval, drift);
        data
    })
}

fn keys() -> impl Strategy<Value = Vec<Key>> {
    proptest::collection::vec((info(), data()), 1..4).prop_map(|parts| {
        let numbered = parts.into_iter().enumerate();
        let key = |(number, (mut info, data)): (usize, (KeyInfo, KeyData))| {
            info.id = format!("<{number}>\t\"&'\n");
            Key::new(info, data)
        };
        numbered.map(key).collect()
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(keys in keys(), which in 0_usize..10, random in any::<u8>()) {
        let random = |bytes: &mut [u8]| {
            bytes.fill(random);
            Ok::<_, Infallible>(())
        };
        let shared_key = [9; 32];
        let ciphers = [
            Cipher::Aes128Cbc, Cipher::Aes192Cbc, Cipher::Aes256Cbc,
            Cipher::Aes128KeyWrap, Cipher::Aes192KeyWrap, Cipher::Aes256KeyWrap,
            Cipher::Aes128KeyWrapPad, Cipher::Aes192KeyWrapPad, Cipher::Aes256KeyWrapPad,
        ];
        let Some(cipher) = ciphers.get(which) else {
            let document = Writer::new(KeyProtection::None).write(&keys, random).unwrap();
            prop_assert_eq!(Container::parse(&document).unwrap().open(DecryptionKey::None).unwrap(), keys);
            return Ok(());
        };
        let with_key = shared_key.get(..cipher.key_len()).unwrap();
        let document = Writer::new(shared(*cipher, with_key)).with_mac(MacAlgorithm::HmacSha512).write(&keys, random).unwrap();
        let read = Container::parse(&document).unwrap();
        prop_assert_eq!(read.open(DecryptionKey::Key(with_key)).unwrap(), keys.clone());

        let derivation = KeyDerivation::new(*cipher, Prf::HmacSha384, &[7; 16]).unwrap().with_iterations(2).unwrap();
        let lock = KeyProtection::Password { cipher: *cipher, derivation: &derivation, password: "pässword" };
        let document = Writer::new(lock).write(&keys, random).unwrap();
        let read = Container::parse(&document).unwrap();
        prop_assert_eq!(read.open(DecryptionKey::Password("pässword")).unwrap(), keys);
    }
}
