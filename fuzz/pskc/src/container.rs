//! The targets of `keyproof-pskc`.

use std::convert::Infallible;

use keyproof_pskc::{
    Cipher, Container, DecryptionKey, Key, KeyDerivation, KeyProtection, MacAlgorithm, Prf,
    PskcError, WriteError, Writer,
};

/// RFC 6030 figure 6, with its key and its secret.
const GENUINE: &str = include_str!("../corpus/pskc_container/figure_6.xml");
const KEY: [u8; 16] = [
    0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56, 0x78, 0x90, 0x12,
];
const SECRET: &[u8] = b"12345678901234567890";

/// Any document: error positions are within the document, encrypted containers open only with a key, parameters are within their
/// limits, and an opened container can be written and reads back the same.
pub fn container(data: &[u8]) {
    let Ok(document) = str::from_utf8(data) else {
        return;
    };
    let container = match Container::parse(document) {
        Ok(container) => container,
        Err(error) => return assert_position(&error, document),
    };
    assert_eq!(
        document.parse::<Container>().is_ok(),
        Container::parse(document).is_ok()
    );
    says(&container);
    let opened = container.open(DecryptionKey::None);
    assert_eq!(opened.is_ok(), !container.is_encrypted(), "{opened:?}");
    if let Ok(keys) = opened {
        written(&keys);
    }
    for len in [16, 24, 32] {
        let key: Vec<u8> = KEY.into_iter().cycle().take(len).collect();
        match container.open(DecryptionKey::Key(&key)) {
            Ok(keys) => {
                assert_eq!(keys.len(), container.keys().len());
                let has_secret = keys.iter().any(|key| key.data.secret.is_some());
                assert!(container.is_encrypted() || !has_secret, "{container:?}");
                // Secrets are compared as bytes, in constant time, and are not displayed.
                assert_eq!(Ok(&keys), container.open(DecryptionKey::Key(&key)).as_ref());
                for secret in keys.iter().filter_map(|key| key.data.secret.as_ref()) {
                    let len = secret.as_bytes().len();
                    assert_eq!(format!("{secret:?}"), format!("Secret([redacted; {len}])"));
                }
                written(&keys);
            }
            Err(error) => assert_position(&error, document),
        }
    }
    if let Some(derivation) = container.key_derivation() {
        assert!((8..=1024).contains(&derivation.salt().len()));
        assert!((1..=10_000_000).contains(&derivation.iterations()));
        // More iterations would only be slower.
        if derivation.iterations() <= 1000 {
            let _ = container.open(DecryptionKey::Password("qwerty"));
        }
    }
}

/// Reads what a container contains in plain text about itself and its keys.
fn says(container: &Container) {
    assert!(!format!("{container:?}").is_empty());
    let _ = (container.id(), container.has_unverified_signature());
    let derivation = container.key_derivation();
    assert!(derivation.is_none() || container.key_names().is_empty());
    if let Some(derivation) = derivation {
        assert!(derivation.key_len() > 0 && !derivation.prf().uri().is_empty());
        let _ = derivation.names();
    }
    assert!(
        container
            .mac_algorithm()
            .is_none_or(|algorithm| !algorithm.uri().is_empty())
    );
    for key in container.keys() {
        let hash = key.hash();
        assert!(hash.is_none_or(|hash| key.suite.is_none() || hash.starts_with("SHA")));
        assert!(key.response.is_some() || key.digits() == Some(6));
        let Some(policy) = &key.policy else {
            continue;
        };
        for usage in &policy.usages {
            assert_eq!(usage.to_string().parse(), Ok(*usage));
            assert_eq!(policy.permits(*usage), !policy.has_unknown);
        }
    }
    for unlock in [
        DecryptionKey::Key(&KEY),
        DecryptionKey::None,
        DecryptionKey::Password("qwerty"),
    ] {
        let shown = format!("{unlock:?}");
        assert!(shown == "None" || shown.ends_with("([redacted])"));
    }
}

/// Each combination of encryption and MAC; ciphers with their own authentication need no MAC.
const SEALED: [(Cipher, MacAlgorithm); 9] = [
    (Cipher::Aes128Cbc, MacAlgorithm::HmacSha1),
    (Cipher::Aes192Cbc, MacAlgorithm::HmacSha256),
    (Cipher::Aes256Cbc, MacAlgorithm::HmacSha384),
    (Cipher::Aes128KeyWrap, MacAlgorithm::HmacSha512),
    (Cipher::Aes192KeyWrap, MacAlgorithm::HmacSha512),
    (Cipher::Aes256KeyWrap, MacAlgorithm::HmacSha512),
    (Cipher::Aes128KeyWrapPad, MacAlgorithm::HmacSha512),
    (Cipher::Aes192KeyWrapPad, MacAlgorithm::HmacSha512),
    (Cipher::Aes256KeyWrapPad, MacAlgorithm::HmacSha512),
];

/// What was read can be written, except as the error says, and reads back the same.
fn written(keys: &[Key]) {
    let derivation = KeyDerivation::new(Cipher::Aes256KeyWrapPad, Prf::HmacSha512, &KEY)
        .and_then(|derivation| derivation.with_iterations(1))
        .expect("within bounds");
    let long = [KEY, KEY].concat();
    let mut locks = vec![
        (
            KeyProtection::None,
            DecryptionKey::None,
            MacAlgorithm::HmacSha256,
        ),
        (
            KeyProtection::Password {
                cipher: Cipher::Aes256KeyWrapPad,
                derivation: &derivation,
                password: "qwerty",
            },
            DecryptionKey::Password("qwerty"),
            MacAlgorithm::HmacSha256,
        ),
    ];
    locks.extend(SEALED.map(|(cipher, mac)| {
        let key = &long[..cipher.key_len()];
        let name = "shared";
        (
            KeyProtection::Key { cipher, key, name },
            DecryptionKey::Key(key),
            mac,
        )
    }));
    for (lock, unlock, mac) in locks {
        let takes_any_length = !matches!(
            lock,
            KeyProtection::Key {
                cipher: Cipher::Aes128KeyWrap | Cipher::Aes192KeyWrap | Cipher::Aes256KeyWrap,
                ..
            }
        );
        let writer = Writer::new(lock).with_id("written").with_mac(mac);
        match writer.write(keys, random) {
            Ok(document) => {
                let again =
                    Container::parse(&document).and_then(|container| container.open(unlock));
                assert_eq!(again.as_deref(), Ok(keys), "{lock:?}");
            }
            Err(WriteError::Empty) => assert!(keys.is_empty()),
            Err(WriteError::UnknownPolicy { id }) => {
                let key = keys
                    .iter()
                    .find(|key| key.info.id == id)
                    .expect("one of these");
                assert!(
                    key.info
                        .policy
                        .as_ref()
                        .is_some_and(|policy| policy.has_unknown)
                );
            }
            // RFC 3394 wraps whole blocks of eight bytes, at least two.
            Err(WriteError::SecretLength { id, found }) => {
                assert!(keys.iter().any(|key| key.info.id == id));
                assert!(found == 0 || !takes_any_length && (found < 16 || found % 8 != 0));
            }
            // Attributes of any length are read, and our encoding of a document can be longer than the original.
            Err(WriteError::Text { .. } | WriteError::TooLong) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Changes to a genuine container, four bytes each: the offset, the number of bytes to replace, and the replacement. If it still
/// opens, it contains the original secret or none.
pub fn changed(data: &[u8]) {
    let mut document = GENUINE.as_bytes().to_vec();
    for change in data.as_chunks::<4>().0 {
        let [high, low, len, by] = *change;
        let at = usize::from(u16::from_be_bytes([high, low])).checked_rem(document.len());
        let at = at.unwrap_or_default();
        let end = (at + usize::from(len % 32)).min(document.len());
        document.splice(at..end, Some(by).filter(|by| *by != 0));
    }
    let Ok(document) = str::from_utf8(&document) else {
        return;
    };
    let Ok(container) = Container::parse(document) else {
        return;
    };
    for key in container.open(DecryptionKey::Key(&KEY)).unwrap_or_default() {
        if let Some(secret) = key.data.secret {
            assert_eq!(secret.as_bytes(), SECRET, "{document}");
        }
    }
    let genuine = Container::parse(GENUINE).expect("the genuine one is read");
    assert!(genuine.open(DecryptionKey::Key(&KEY)).is_ok());
}

/// Asserts that an error's position, if it has one, is in the document or directly after it.
fn assert_position(error: &PskcError, document: &str) {
    let at = match error {
        PskcError::Algorithm { at, .. }
        | PskcError::Attribute { at, .. }
        | PskcError::Base64 { at }
        | PskcError::CipherValue { at }
        | PskcError::DocumentType { at }
        | PskcError::Duplicate { at }
        | PskcError::EmptySecret { at }
        | PskcError::Excessive { at, .. }
        | PskcError::KeyDerivation { at, .. }
        | PskcError::Mac { at }
        | PskcError::MissingElement { at, .. }
        | PskcError::Number { at }
        | PskcError::PlainSecret { at }
        | PskcError::Text { at }
        | PskcError::UnexpectedElement { at }
        | PskcError::Unsupported { at, .. } => *at,
        _ => 0,
    };
    assert!(
        at <= document.len() && document.is_char_boundary(at),
        "{error:?}"
    );
}

fn random(bytes: &mut [u8]) -> Result<(), Infallible> {
    bytes.fill(7);
    Ok(())
}
