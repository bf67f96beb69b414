//! Credentials that a TPM activated, that tpm2-tools made, and that this crate makes and opens.

#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

mod vectors;

use std::convert::Infallible;

use keyproof_tpm::{
    ActivationProvider, Agreement, AwsLcRs, Buffer, Credential, CredentialError, EccCurve,
    EncryptedSecret, HashAlgorithm, Name, ObjectAttributes, ProviderError, PublicKey, Structure,
    SymmetricAlgorithm, SymmetricMode, SymmetricObject, TpmError, TpmsIdObject, TpmtPublic,
    activate, make_credential, make_credential_with_seed,
};
use proptest::prelude::*;

use vectors::read;

/// The key types for which the vectors are complete.
const KINDS: [&str; 2] = ["rsa2048", "eccp256"];

/// Software endorsement keys, each with a credential made by tpm2-tools.
const SOFTWARE: [&str; 5] = ["rsa2048", "rsa3072", "rsa4096", "eccp256", "eccp384"];

struct Software {
    ek: TpmtPublic,
    pkcs8: Vec<u8>,
    name: Name,
    secret: Vec<u8>,
    credential: Credential,
}

fn software(kind: &str) -> Software {
    let file = |suffix: &str| read("software", &format!("{kind}.{suffix}"));
    Software {
        ek: TpmtPublic::parse_sized(&file("ek.pub.tpm2b")).unwrap(),
        pkcs8: file("ek.pkcs8.der"),
        name: Name::parse(&file("name.bin")).unwrap(),
        secret: file("secret.bin"),
        credential: Credential::parse(&file("cred.bin")).unwrap(),
    }
}

/// Returns different bytes at every call.
fn counting() -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
    let mut next = 1_u8;
    move |slice| {
        for byte in slice {
            *byte = next;
            next = next.wrapping_mul(5).wrapping_add(1);
        }
        Ok(())
    }
}

#[test]
fn from_the_seed_on_it_is_what_the_tpm_activated() {
    for kind in KINDS {
        let ek = TpmtPublic::parse_sized(&read(kind, "ek.pub.tpm2b")).unwrap();
        let name = Name::parse(&read(kind, "ak.name.bin")).unwrap();
        let seed = read(kind, "refcred.seed.bin");
        let secret = read(kind, "refcred.activated.bin");
        let id_object = make_credential_with_seed(&AwsLcRs, &ek, &name, &secret, &seed).unwrap();
        assert_eq!(
            id_object.to_sized_bytes(),
            read(kind, "refcred.id_object.tpm2b")
        );

        let sealed = read(kind, "refcred.encrypted_secret.tpm2b");
        let credential = Credential {
            id_object,
            encrypted_secret: EncryptedSecret::parse_sized(&sealed).unwrap(),
        };
        assert_eq!(
            credential.to_bytes(),
            read(kind, "refcred.blob.tpm2tools.bin")
        );
    }
}

#[test]
fn credential_files_of_tpm2_tools_come_back_byte_for_byte() {
    for kind in KINDS {
        let file = read(kind, "cred.blob.tpm2tools.bin");
        assert_eq!(Credential::parse(&file).unwrap().to_bytes(), file);
        for end in 0..file.len() {
            let error = Credential::parse(&file[..end]).unwrap_err();
            assert!(
                matches!(error, TpmError::UnexpectedEnd { at } if at <= end),
                "{error:?}"
            );
        }
        let mut longer = file.clone();
        longer.push(0);
        let error = Credential::parse(&longer).unwrap_err();
        assert_eq!(
            error,
            TpmError::TrailingBytes {
                at: file.len(),
                count: 1
            }
        );
        for (at, expected) in [
            (
                0,
                TpmError::BadMagic {
                    at: 0,
                    found: 0xbbdc_c0de,
                },
            ),
            (
                7,
                TpmError::UnknownSelector {
                    at: 4,
                    value: 0,
                    what: "credential file version",
                },
            ),
            (
                11,
                TpmError::WrongSize {
                    at: 10,
                    found: 33,
                    what: "integrityHMAC",
                },
            ),
        ] {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert_eq!(Credential::parse(&changed), Err(expected));
        }
    }
}

#[test]
fn the_parts_of_a_credential_are_bounded() {
    let integrity = [&[0, 32][..], &[1; 32]].concat();
    for (size, taken) in [(0, false), (1, true), (66, true), (67, false)] {
        let id_object = [&integrity[..], &vec![2; size]].concat();
        let expected = TpmError::WrongSize {
            at: 34,
            found: size,
            what: "encIdentity",
        };
        assert_eq!(
            TpmsIdObject::parse(&id_object).err(),
            (!taken).then_some(expected)
        );
    }
    for (size, taken) in [(0, false), (1, true), (512, true), (513, false)] {
        let what = "TPM2B_ENCRYPTED_SECRET";
        let expected = TpmError::WrongSize {
            at: 0,
            found: size,
            what,
        };
        let found = EncryptedSecret::parse(&vec![3; size]);
        assert_eq!(found.err(), (!taken).then_some(expected));
    }
}

/// The largest of each part, in a file: with SHA-512 and RSA-4096.
#[test]
fn the_size_of_an_id_object_is_bounded_in_a_file() {
    let file = |identity: usize| {
        let id_object = [&[0, 64][..], &[1; 64], &vec![2; identity]].concat();
        let size = u16::try_from(id_object.len()).unwrap().to_be_bytes();
        let head = b"\xba\xdc\xc0\xde\0\0\0\x01";
        let secret = [&[2, 0][..], &[3; 512]].concat();
        [&head[..], &size, &id_object, &secret].concat()
    };
    let largest = file(66);
    let credential = Credential::parse(&largest).unwrap();
    assert_eq!(credential.id_object.enc_identity.len(), 66);
    assert_eq!(credential.to_bytes(), largest);
    assert_eq!(
        Credential::parse(&file(67)),
        Err(TpmError::WrongSize {
            at: 8,
            found: 133,
            what: "TPM2B_ID_OBJECT"
        })
    );
}

#[test]
fn what_tpm2_tools_makes_opens() {
    for kind in SOFTWARE {
        let Software {
            ek,
            pkcs8,
            name,
            secret,
            credential,
        } = software(kind);
        let opened = activate(&AwsLcRs, &ek, &pkcs8, &name, &credential).unwrap();
        assert_eq!(*opened, secret, "{kind}");
    }
}

#[test]
fn what_we_make_opens_for_its_key_and_name_only() {
    for kind in SOFTWARE {
        let Software {
            ek, pkcs8, name, ..
        } = software(kind);
        let secret = b"0123456789abcdef0123456789abcdef";
        let made = make_credential(&AwsLcRs, &ek, &name, secret, &mut counting()).unwrap();
        let made = Credential::parse(&made.to_bytes()).unwrap();
        let open = |pkcs8: &[u8], name: &Name, credential: &Credential| {
            activate(&AwsLcRs, &ek, pkcs8, name, credential)
        };
        assert_eq!(**open(&pkcs8, &name, &made).unwrap(), *secret);

        let other = if kind.starts_with("rsa") {
            "rsa2048"
        } else {
            "eccp256"
        };
        let mut other_name = name.as_bytes().to_vec();
        *other_name.last_mut().unwrap() ^= 1;
        let other_name = Name::parse(&other_name).unwrap();
        assert_eq!(
            open(&pkcs8, &other_name, &made),
            Err(TpmError::CredentialRefused)
        );
        if kind != other {
            let other = software(other).pkcs8;
            assert_eq!(open(&other, &name, &made), Err(TpmError::CredentialRefused));
        }

        // Every byte is protected.
        let file = made.to_bytes();
        let mut parsed = 0;
        for at in (0..file.len()).step_by(if kind.starts_with("rsa") { 13 } else { 1 }) {
            let mut changed = file.clone();
            changed[at] ^= 0x40;
            if let Ok(changed) = Credential::parse(&changed) {
                assert_eq!(
                    open(&pkcs8, &name, &changed),
                    Err(TpmError::CredentialRefused),
                    "{at}"
                );
                parsed += 1;
            }
        }
        // All but the header and the lengths can still be read.
        assert!(parsed > 0, "{kind}");
    }
}

#[test]
fn the_secret_is_no_longer_than_the_name_algorithms_digest() {
    for (kind, limit) in [
        ("rsa2048", 32),
        ("eccp256", 32),
        ("rsa3072", 48),
        ("eccp384", 48),
    ] {
        let Software {
            ek, pkcs8, name, ..
        } = software(kind);
        for size in [1, 16, limit] {
            let secret = vec![7; size];
            let made = make_credential(&AwsLcRs, &ek, &name, &secret, &mut counting()).unwrap();
            assert_eq!(
                *activate(&AwsLcRs, &ek, &pkcs8, &name, &made).unwrap(),
                secret
            );
        }
        for found in [0, limit + 1] {
            let secret = vec![7; found];
            let refused = Err(TpmError::SecretSize { found, limit });
            let made = make_credential(&AwsLcRs, &ek, &name, &secret, &mut counting());
            assert_eq!(made.map(|_| ()).map_err(TpmError::from), refused);
            let seed = vec![1; limit];
            assert_eq!(
                make_credential_with_seed(&AwsLcRs, &ek, &name, &secret, &seed).map(|_| ()),
                refused
            );
        }
        for found in [0, 16, limit - 1, limit + 1] {
            let made = make_credential_with_seed(&AwsLcRs, &ek, &name, b"s", &vec![1; found]);
            let what = "credential seed";
            assert_eq!(made, Err(TpmError::WrongSize { at: 0, found, what }));
        }
    }
}

#[test]
fn randomness_is_the_callers() {
    let Software { ek, name, .. } = software("eccp256");
    let make = |random: &mut dyn FnMut(&mut [u8]) -> Result<(), Infallible>| {
        make_credential(&AwsLcRs, &ek, &name, b"secret", random).unwrap()
    };
    let always = |byte: u8| {
        move |slice: &mut [u8]| {
            slice.fill(byte);
            Ok::<_, Infallible>(())
        }
    };
    let refused = Err(CredentialError::Tpm(TpmError::Provider));
    assert_eq!(make(&mut counting()), make(&mut counting()));
    let mut shared = counting();
    assert_ne!(make(&mut shared), make(&mut shared));
    // All ones exceeds the order of P-256, so another scalar is drawn.
    let mut draws = 0;
    let after_a_bad_draw = make(&mut |slice| {
        draws += 1;
        slice.fill(if draws == 1 { 0xff } else { 0x11 });
        Ok(())
    });
    assert_eq!(draws, 2);
    assert_eq!(after_a_bad_draw, make(&mut always(0x11)));
    // A source that never returns a valid scalar causes an error, not an endless loop.
    let stuck = make_credential(&AwsLcRs, &ek, &name, b"secret", &mut always(0xff));
    assert_eq!(stuck, refused);
    let zero = make_credential(&AwsLcRs, &ek, &name, b"secret", &mut always(0));
    assert_eq!(zero, refused);
    // For RSA, `random` generates the seed.
    let Software { ek, name, .. } = software("rsa2048");
    let made = make_credential(&AwsLcRs, &ek, &name, b"secret", &mut always(3)).unwrap();
    assert_eq!(
        made.id_object,
        make_credential_with_seed(&AwsLcRs, &ek, &name, b"secret", &[3; 32]).unwrap()
    );
}

/// If the source fails, the seed is still all zero. It must not be used.
#[test]
fn without_randomness_there_is_no_credential() {
    for kind in SOFTWARE {
        let Software { ek, name, .. } = software(kind);
        for filled in [None, Some(7)] {
            let made = make_credential(&AwsLcRs, &ek, &name, b"secret", &mut |slice| {
                if let Some(byte) = filled {
                    slice.fill(byte);
                }
                Err("exhausted")
            });
            assert_eq!(made, Err(CredentialError::Random("exhausted")), "{kind}");
        }
    }
    let error = CredentialError::Random("exhausted");
    assert_eq!(error.to_string(), "no randomness: exhausted");
}

#[test]
fn only_endorsement_keys_are_taken() {
    let refused = |ek: &TpmtPublic| {
        let name = software("rsa2048").name;
        match make_credential(&AwsLcRs, ek, &name, b"secret", &mut counting()) {
            Err(CredentialError::Tpm(TpmError::UnsupportedEndorsementKey { what })) => what,
            other => panic!("{other:?}"),
        }
    };
    let ak = TpmtPublic::parse_sized(&read("rsa2048", "ak.pub.tpm2b")).unwrap();
    assert_eq!(refused(&ak), "attributes");
    for kind in SOFTWARE {
        let ek = software(kind).ek;
        for missing in [ObjectAttributes::RESTRICTED, ObjectAttributes::DECRYPT] {
            let mut changed = ek.clone();
            changed.object_attributes = ek.object_attributes.without(missing);
            assert_eq!(refused(&changed), "attributes");
        }
        for name_alg in [None, Some(HashAlgorithm::Sha1), Some(HashAlgorithm::Sha512)] {
            let mut changed = ek.clone();
            changed.name_alg = name_alg;
            assert_eq!(refused(&changed), "name algorithm");
        }
        let with_cipher = |symmetric| {
            let mut changed = ek.clone();
            match &mut changed.key {
                PublicKey::Ecc(key) => key.symmetric = symmetric,
                PublicKey::Rsa(key) => key.symmetric = symmetric,
            }
            changed
        };
        let aes_cfb = SymmetricObject {
            algorithm: SymmetricAlgorithm::Aes,
            key_bits: 128,
            mode: Some(SymmetricMode::Cfb),
        };
        for symmetric in [
            None,
            Some(SymmetricObject {
                algorithm: SymmetricAlgorithm::Camellia,
                ..aes_cfb
            }),
            Some(SymmetricObject {
                mode: None,
                ..aes_cfb
            }),
            Some(SymmetricObject {
                mode: Some(SymmetricMode::Ctr),
                ..aes_cfb
            }),
        ] {
            assert_eq!(refused(&with_cipher(symmetric)), "symmetric algorithm");
        }
        // A key that no KDF derives: no whole bytes, or more than a digest.
        for key_bits in [100, 512] {
            let symmetric = Some(SymmetricObject {
                key_bits,
                ..aes_cfb
            });
            assert_eq!(refused(&with_cipher(symmetric)), "symmetric key size");
        }
    }
    let (mut short, mut other_curve) = (software("rsa2048").ek, software("eccp256").ek);
    if let PublicKey::Rsa(key) = &mut short.key {
        key.key_bits = 1024;
        key.modulus = Buffer::new([0xff; 128]).unwrap();
    }
    assert_eq!(refused(&short), "size");
    if let PublicKey::Ecc(key) = &mut other_curve.key {
        key.curve = EccCurve::BnP256;
    }
    assert_eq!(refused(&other_curve), "curve");
}

/// A TPM may omit leading zeros of a coordinate. The key derivation includes them.
#[test]
fn a_coordinate_may_come_without_its_leading_zeros() {
    let software = software("eccp256");
    let (pair, spki) = loop {
        let pair = rcgen::KeyPair::generate().unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&pair);
        // The last 64 bytes are x and y.
        if spki[spki.len() - 64] == 0 || spki[spki.len() - 32] == 0 {
            break (pair, spki);
        }
    };
    let padded = TpmtPublic::endorsement_from_spki(&spki).unwrap();
    let mut short = padded.clone();
    let PublicKey::Ecc(key) = &mut short.key else {
        panic!("not an EC key");
    };
    let stripped = |coordinate: &[u8]| {
        let zeros = coordinate.iter().take_while(|byte| **byte == 0).count();
        Buffer::new(&coordinate[zeros..]).unwrap()
    };
    (key.x, key.y) = (stripped(&key.x), stripped(&key.y));
    assert_ne!(short, padded);
    assert_eq!(short.to_spki(), padded.to_spki());

    let make = |ek: &TpmtPublic| {
        make_credential(&AwsLcRs, ek, &software.name, b"secret", &mut counting()).unwrap()
    };
    assert_eq!(make(&short), make(&padded));
    for ek in [&short, &padded] {
        let pkcs8 = pair.serialize_der();
        let opened = activate(&AwsLcRs, ek, &pkcs8, &software.name, &make(&padded));
        assert_eq!(**opened.unwrap(), *b"secret");
    }
}

/// A point off the curve must not be multiplied: the result would leak the private key.
#[test]
fn a_point_off_the_curve_is_refused() {
    for kind in ["eccp256", "eccp384"] {
        let Software {
            mut ek,
            pkcs8,
            name,
            mut credential,
            ..
        } = software(kind);
        let sealed = credential.encrypted_secret.0.to_vec();
        let mut off = sealed.clone();
        *off.last_mut().unwrap() ^= 1;
        credential.encrypted_secret.0 = Buffer::new(off).unwrap();
        let opened = activate(&AwsLcRs, &ek, &pkcs8, &name, &credential);
        assert_eq!(opened, Err(TpmError::CredentialRefused));

        if let PublicKey::Ecc(key) = &mut ek.key {
            let mut y = key.y.to_vec();
            *y.last_mut().unwrap() ^= 1;
            key.y = Buffer::new(y).unwrap();
        }
        let made = make_credential(&AwsLcRs, &ek, &name, b"secret", &mut counting());
        assert_eq!(made, Err(CredentialError::Tpm(TpmError::Provider)));
    }
}

#[test]
fn the_shared_secret_of_an_agreement_is_not_shown() {
    let shared_x = vec![0xab_u8; 2].into();
    let agreement = Agreement {
        public_key: vec![4, 5, 6],
        shared_x,
    };
    let shown = format!("{agreement:?}");
    assert_eq!(shown, "Agreement { public_key: [4, 5, 6], .. }");
}

#[test]
fn aes_cfb_agrees_with_its_inverse_for_every_key_size() {
    use keyproof_tpm::CredentialProvider;

    for size in [16, 24, 32] {
        let mut data = *b"a block and a half, and bit more";
        AwsLcRs.aes_cfb_encrypt(&vec![5; size], &mut data).unwrap();
        assert_ne!(&data, b"a block and a half, and bit more");
        AwsLcRs.aes_cfb_decrypt(&vec![5; size], &mut data).unwrap();
        assert_eq!(&data, b"a block and a half, and bit more");
    }
    assert_eq!(
        AwsLcRs.aes_cfb_encrypt(&[5; 17], &mut [0; 4]),
        Err(ProviderError)
    );
}

proptest! {
    #[test]
    fn any_secret_comes_back(secret in prop::collection::vec(any::<u8>(), 1..=48), seed in any::<[u8; 48]>()) {
        let Software { ek, pkcs8, name, .. } = software("eccp384");
        let made = make_credential(&AwsLcRs, &ek, &name, &secret, &mut |slice| {
            slice.copy_from_slice(&seed);
            Ok::<_, Infallible>(())
        });
        let opened = activate(&AwsLcRs, &ek, &pkcs8, &name, &made.unwrap());
        prop_assert_eq!(opened.unwrap().to_vec(), secret);
    }
}
