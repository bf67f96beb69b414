//! The structures, compared with those that a software TPM wrote.

#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

mod vectors;

use keyproof_tpm::{
    AttestType, Attested, EccCurve, EccScheme, HashAlgorithm, Hierarchy, Name, ObjectAttributes,
    PublicKey, QualifiedName, RsaScheme, Structure, SymmetricAlgorithm, SymmetricMode, TpmError,
    TpmsAttest, TpmsCreationData, TpmsNvPublic, TpmtPublic, TpmtSignature,
};
use proptest::prelude::*;

use vectors::read;

/// The key types for which the vectors are complete.
const KINDS: [&str; 2] = ["rsa2048", "eccp256"];

#[test]
fn public_areas_come_back_byte_for_byte() {
    for kind in KINDS {
        for object in ["ek", "ak", "dev", "srk"] {
            let sized = read(kind, &format!("{object}.pub.tpm2b"));
            let public = TpmtPublic::parse_sized(&sized).unwrap();
            assert_eq!(public.to_sized_bytes(), sized);
            assert_eq!(TpmtPublic::parse(&sized[2..]).unwrap(), public);
            assert_eq!(TpmtPublic::parse_any(&sized).unwrap(), public);
            assert_eq!(TpmtPublic::parse_any(&sized[2..]).unwrap(), public);
            assert_eq!(
                Name::of(&public).unwrap().as_bytes(),
                read(kind, &format!("{object}.name.bin"))
            );
        }
    }
}

#[test]
fn public_areas_say_what_the_tpm_said() {
    let ak = TpmtPublic::parse_sized(&read("rsa2048", "ak.pub.tpm2b")).unwrap();
    assert_eq!(ak.name_alg, Some(HashAlgorithm::Sha256));
    assert_eq!(ak.object_attributes.bits(), 0x0005_0072);
    assert_eq!(
        ak.object_attributes.to_string(),
        "fixedTPM|fixedParent|sensitiveDataOrigin|userWithAuth|restricted|sign"
    );
    let PublicKey::Rsa(rsa) = &ak.key else {
        panic!("{ak:?}")
    };
    assert_eq!(rsa.scheme, Some(RsaScheme::Rsassa(HashAlgorithm::Sha256)));
    assert_eq!(
        (rsa.key_bits, rsa.exponent, rsa.effective_exponent()),
        (2048, 0, 65_537)
    );

    let ak = TpmtPublic::parse_sized(&read("eccp256", "ak.pub.tpm2b")).unwrap();
    let PublicKey::Ecc(ecc) = &ak.key else {
        panic!("{ak:?}")
    };
    assert_eq!(ecc.scheme, Some(EccScheme::Ecdsa(HashAlgorithm::Sha256)));
    assert_eq!(
        (ecc.curve, ecc.symmetric, ecc.kdf),
        (EccCurve::NistP256, None, None)
    );

    let ek = TpmtPublic::parse_sized(&read("eccp256", "ek.pub.tpm2b")).unwrap();
    let PublicKey::Ecc(ecc) = &ek.key else {
        panic!("{ek:?}")
    };
    let symmetric = ecc.symmetric.unwrap();
    assert_eq!(symmetric.algorithm, SymmetricAlgorithm::Aes);
    assert_eq!(
        (symmetric.key_bits, symmetric.mode),
        (128, Some(SymmetricMode::Cfb))
    );
    assert!(
        ek.object_attributes
            .contains(ObjectAttributes::RESTRICTED | ObjectAttributes::DECRYPT)
    );
}

#[test]
fn qualified_names_follow_the_hierarchy() {
    for kind in KINDS {
        let ek = TpmtPublic::parse_sized(&read(kind, "ek.pub.tpm2b")).unwrap();
        let ak = TpmtPublic::parse_sized(&read(kind, "ak.pub.tpm2b")).unwrap();
        let ek_name = QualifiedName::of_primary(Hierarchy::Endorsement, &ek).unwrap();
        let ak_name = ek_name.of_child(&ak).unwrap();
        assert_eq!(ek_name.as_bytes(), read(kind, "ek.qname.bin"));
        assert_eq!(ak_name.as_bytes(), read(kind, "ak.qname.bin"));
    }
}

#[test]
fn a_name_is_read_as_it_is_printed() {
    let name = Name::parse(&read("rsa2048", "ak.name.bin")).unwrap();
    let printed = name.to_string();
    assert_eq!(printed.parse(), Ok(name.clone()));
    assert_eq!(printed.to_uppercase().parse(), Ok(name));
    for (wrong, at) in [
        (format!("{printed}0"), printed.len() + 1),
        (printed.replacen("000b", "000x", 1), 3),
        (format!("0x{printed}"), 1),
        ("0".repeat(134), 132),
    ] {
        let error = wrong.parse::<Name>().unwrap_err();
        assert_eq!(error, TpmError::NameText { at }, "{wrong}");
        assert_eq!(error.position(), Some(at));
    }
    // The longest Name, which is also the longest text.
    let longest = format!("000d{}", "5a".repeat(64));
    let name: Name = longest.parse().unwrap();
    assert_eq!((name.as_bytes().len(), name.to_string()), (66, longest));
    // Hexadecimal digits, but not of a digest's length.
    assert!(matches!(
        "000b00".parse::<Name>(),
        Err(TpmError::WrongSize { .. })
    ));
    assert!("".parse::<Name>().is_err());
}

/// As tpm2-tools print them.
#[test]
fn names_show_their_bytes_in_hexadecimal() {
    let ek = TpmtPublic::parse_sized(&read("eccp256", "ek.pub.tpm2b")).unwrap();
    let (name, bytes) = (Name::of(&ek).unwrap(), read("eccp256", "ek.name.bin"));
    let place = QualifiedName::of_primary(Hierarchy::Endorsement, &ek).unwrap();
    let place_bytes = read("eccp256", "ek.qname.bin");
    let digits = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    assert_eq!(name.to_string(), digits(&bytes));
    assert_eq!(format!("{name:?}"), format!("Name({})", digits(&bytes)));
    assert_eq!(place.to_string(), digits(&place_bytes));
    let debug = format!("QualifiedName({})", digits(&place_bytes));
    assert_eq!(format!("{place:?}"), debug);
    let (name, place): (&[u8], &[u8]) = (name.as_ref(), place.as_ref());
    assert_eq!((name, place), (&bytes[..], &place_bytes[..]));
}

#[test]
fn a_name_needs_an_algorithm_that_is_computed() {
    let ak = TpmtPublic::parse_sized(&read("eccp256", "ak.pub.tpm2b")).unwrap();
    let name = |name_alg| {
        Name::of(&TpmtPublic {
            name_alg,
            ..ak.clone()
        })
    };
    for hash in [
        HashAlgorithm::Sha1,
        HashAlgorithm::Sha256,
        HashAlgorithm::Sha384,
        HashAlgorithm::Sha512,
    ] {
        let name = name(Some(hash)).unwrap();
        assert_eq!(name.as_bytes().len(), 2 + hash.digest_size());
        assert_eq!(Name::parse(name.as_bytes()).as_ref(), Ok(&name));
    }
    for hash in [
        HashAlgorithm::Sm3,
        HashAlgorithm::Sha3_256,
        HashAlgorithm::Sha3_384,
        HashAlgorithm::Sha3_512,
    ] {
        assert_eq!(name(Some(hash)), Err(TpmError::UnsupportedHash { hash }));
    }
    assert_eq!(name(None), Err(TpmError::NoNameAlgorithm));
}

#[test]
fn attestations_come_back_byte_for_byte() {
    for kind in KINDS {
        for (file, attest_type) in [
            ("quote", AttestType::Quote),
            ("certify", AttestType::Certify),
            ("certifycreation", AttestType::Creation),
            ("gettime", AttestType::Time),
        ] {
            let bytes = read(kind, &format!("{file}.tpms_attest.bin"));
            let attest = TpmsAttest::parse(&bytes).unwrap();
            assert_eq!(attest.attest_type(), attest_type);
            assert_eq!(attest.to_bytes(), bytes);
            assert_eq!(*attest.qualified_signer, read(kind, "ak.qname.bin"));
            let signature = read(kind, &format!("{file}.tpmt_signature.bin"));
            assert_eq!(
                TpmtSignature::parse(&signature).unwrap().to_bytes(),
                signature
            );
        }
    }
}

#[test]
fn a_quote_says_what_the_tpm_said() {
    let attest = TpmsAttest::parse(&read("eccp256", "quote.tpms_attest.bin")).unwrap();
    assert_eq!(*attest.extra_data, read("eccp256", "quote.nonce.bin"));
    assert!(attest.clock_info.safe);
    assert_eq!(attest.firmware_version, 0x2019_1023_0016_3636);
    let Attested::Quote(quote) = &attest.attested else {
        panic!("{attest:?}")
    };
    assert_eq!(quote.pcr_select.to_string(), "sha256:0,1,2,3,4,5,6,7,16");
    let values = read("eccp256", "quote.pcrs.values.bin");
    assert_eq!(
        *quote.pcr_digest,
        HashAlgorithm::Sha256.digest(&[&values]).unwrap()
    );
}

#[test]
fn creation_data_comes_back_and_hashes() {
    for kind in KINDS {
        let sized = read(kind, "dev.creation_data.tpm2b");
        let creation = TpmsCreationData::parse_sized(&sized).unwrap();
        assert_eq!(creation.to_sized_bytes(), sized);
        assert_eq!(
            *creation.outside_info,
            b"\x00\x11\x22\x33\x44\x55\x66\x77"[..]
        );
        assert_eq!(*creation.parent_name, read(kind, "srk.name.bin"));
        // The TPM2B_DIGEST of the content, under the object's name algorithm.
        let hash = HashAlgorithm::Sha256.digest(&[&sized[2..]]).unwrap();
        assert_eq!(hash, &read(kind, "dev.creation_hash.tpm2b")[2..]);
    }
}

/// Parses a structure and encodes it again.
type RoundTrip = fn(&[u8]) -> Result<Vec<u8>, TpmError>;

/// Every structure of the vectors.
fn every_structure() -> Vec<(Vec<u8>, RoundTrip)> {
    fn bare<S: Structure>(bytes: &[u8]) -> Result<Vec<u8>, TpmError> {
        S::parse(bytes).map(|structure| structure.to_bytes())
    }
    fn sized<S: Structure>(bytes: &[u8]) -> Result<Vec<u8>, TpmError> {
        S::parse_sized(bytes).map(|structure| structure.to_sized_bytes())
    }
    let mut all: Vec<(Vec<u8>, RoundTrip)> = Vec::new();
    for kind in KINDS {
        for object in ["ek", "ak", "dev", "srk"] {
            all.push((
                read(kind, &format!("{object}.pub.tpm2b")),
                sized::<TpmtPublic>,
            ));
        }
        all.push((read(kind, "quote.tpms_attest.bin"), bare::<TpmsAttest>));
        all.push((
            read(kind, "quote.tpmt_signature.bin"),
            bare::<TpmtSignature>,
        ));
        all.push((
            read(kind, "dev.creation_data.tpm2b"),
            sized::<TpmsCreationData>,
        ));
    }
    all
}

#[test]
fn neither_shorter_nor_longer_is_taken() {
    for (bytes, parse) in every_structure() {
        assert_eq!(parse(&bytes).unwrap(), bytes);
        for end in 0..bytes.len() {
            let error = parse(&bytes[..end]).unwrap_err();
            assert!(
                matches!(error, TpmError::UnexpectedEnd { at } if at <= end),
                "{error:?}"
            );
        }
        let mut longer = bytes.clone();
        longer.push(0);
        let error = parse(&longer).unwrap_err();
        assert_eq!(
            error,
            TpmError::TrailingBytes {
                at: bytes.len(),
                count: 1
            }
        );
    }
}

/// The stated size of a content is one byte too small or too large.
#[test]
fn a_size_is_exact() {
    for kind in KINDS {
        let mut sized = read(kind, "ak.pub.tpm2b");
        let size = u16::from_be_bytes([sized[0], sized[1]]);
        sized[..2].copy_from_slice(&(size - 1).to_be_bytes());
        assert!(matches!(
            TpmtPublic::parse_sized(&sized),
            Err(TpmError::UnexpectedEnd { .. })
        ));
        sized[..2].copy_from_slice(&(size + 1).to_be_bytes());
        sized.push(0);
        let found = TpmtPublic::parse_sized(&sized);
        assert_eq!(
            found,
            Err(TpmError::TrailingBytes {
                at: sized.len() - 1,
                count: 1
            })
        );
    }
}

/// Replaces one byte of a structure, in each field that allows only some values.
#[test]
fn selectors_are_known_and_errors_say_where() {
    let unknown = |at, value, what| TpmError::UnknownSelector { at, value, what };
    let wrong_size = |at, found, what| TpmError::WrongSize { at, found, what };
    let rsa = read("rsa2048", "ek.pub.tpm2b");
    let ecc = read("eccp256", "ak.pub.tpm2b");
    for (bytes, at, byte, expected) in [
        (&rsa, 3, 0x25, unknown(2, 0x25, "TPMI_ALG_PUBLIC")),
        (&rsa, 5, 0x05, unknown(4, 5, "TPMI_ALG_HASH")),
        (
            &rsa,
            6,
            0x80,
            TpmError::ReservedBits {
                at: 6,
                found: 0x8000_0000,
            },
        ),
        (&rsa, 11, 31, wrong_size(10, 31, "authPolicy")),
        (&rsa, 45, 0x0a, unknown(44, 0x0a, "TPMI_ALG_SYM_OBJECT")),
        (&rsa, 47, 64, unknown(46, 64, "TPMU_SYM_KEY_BITS")),
        (&rsa, 49, 0x45, unknown(48, 0x45, "TPMI_ALG_SYM_MODE")),
        (&rsa, 51, 0x18, unknown(50, 0x18, "TPMI_ALG_RSA_SCHEME")),
        (&rsa, 52, 0x07, unknown(52, 0x0700, "TPMI_RSA_KEY_BITS")),
        (&rsa, 59, 0x01, wrong_size(58, 257, "TPM2B_PUBLIC_KEY_RSA")),
        (&ecc, 15, 0x14, unknown(14, 0x14, "TPMI_ALG_ECC_SCHEME")),
        (&ecc, 17, 0x10, unknown(16, 0x10, "TPMI_ALG_HASH")),
        (&ecc, 19, 0x06, unknown(18, 6, "TPM_ECC_CURVE")),
        (&ecc, 21, 0x11, unknown(20, 0x11, "TPMI_ALG_KDF")),
        (&ecc, 23, 0x21, wrong_size(22, 33, "TPM2B_ECC_PARAMETER")),
    ] {
        let mut changed = bytes.clone();
        assert_ne!(changed[at], byte);
        changed[at] = byte;
        assert_eq!(TpmtPublic::parse_sized(&changed), Err(expected));
    }

    let attest = read("rsa2048", "quote.tpms_attest.bin");
    for (at, byte, expected) in [
        (
            0,
            0xfe,
            TpmError::BadMagic {
                at: 0,
                found: 0xfe54_4347,
            },
        ),
        (5, 0x1b, unknown(4, 0x801b, "TPMI_ST_ATTEST")),
        (7, 67, wrong_size(6, 67, "TPM2B_NAME")),
        (9, 0x0c, wrong_size(8, 34, "TPM2B_NAME")),
        (9, 0x0a, unknown(8, 0x0a, "TPMI_ALG_HASH")),
        (43, 67, wrong_size(42, 67, "TPM2B_DATA")),
        (92, 2, unknown(92, 2, "TPMI_YES_NO")),
    ] {
        let mut changed = attest.clone();
        assert_ne!(changed[at], byte);
        changed[at] = byte;
        assert_eq!(TpmsAttest::parse(&changed), Err(expected));
    }

    let mut signature = read("eccp256", "quote.tpmt_signature.bin");
    signature[1] = 0x1a;
    assert_eq!(
        TpmtSignature::parse(&signature),
        Err(unknown(0, 0x1a, "TPMI_ALG_SIG_SCHEME"))
    );
    assert_eq!(
        TpmtSignature::parse(b"\0\x18\0\x0b\0\0\0\x01\x01"),
        Err(wrong_size(4, 0, "TPM2B_ECC_PARAMETER"))
    );
}

#[test]
fn the_public_area_of_an_nv_index_is_read_strictly() {
    let area = |attributes: u32, policy: &[u8]| {
        let policy_size = u16::try_from(policy.len()).unwrap().to_be_bytes();
        let attributes = attributes.to_be_bytes();
        let parts: [&[u8]; 5] = [
            b"\x01\x80\x00\x01\0\x0b",
            &attributes,
            &policy_size,
            policy,
            b"\0\x08",
        ];
        parts.concat()
    };
    // Every attribute that is defined, among them TPM_NT.
    for (attributes, policy) in [(0x2002_000a, &[][..]), (0xfe0f_fcff, &[7; 32])] {
        let bytes = area(attributes, policy);
        let index = TpmsNvPublic::parse(&bytes).unwrap();
        assert_eq!((index.nv_index, index.data_size), (0x0180_0001, 8));
        assert_eq!(index.name_alg, HashAlgorithm::Sha256);
        assert_eq!(
            (index.attributes, &*index.auth_policy),
            (attributes, policy)
        );
        assert_eq!(index.to_bytes(), bytes);
    }
    for found in [0x100, 0x200, 0x0010_0000, 0x0100_0000, 0x01f0_0300] {
        let bytes = area(0x2002_000a | found, &[]);
        let expected = TpmError::ReservedBits { at: 6, found };
        assert_eq!(TpmsNvPublic::parse(&bytes), Err(expected));
    }
    for found in [1, 20, 31, 33, 48] {
        let bytes = area(0x2002_000a, &vec![7; found]);
        let (at, what) = (10, "authPolicy");
        let expected = TpmError::WrongSize { at, found, what };
        assert_eq!(TpmsNvPublic::parse(&bytes), Err(expected));
    }
}

#[test]
fn short_r_and_s_are_kept_as_they_came() {
    let bytes = b"\0\x18\0\x0b\0\x01\x05\0\x02\x01\x02";
    let signature = TpmtSignature::parse(bytes).unwrap();
    assert_eq!(signature.to_bytes(), bytes);
    let TpmtSignature::Ecdsa { hash, r, s } = signature else {
        panic!("{signature:?}")
    };
    assert_eq!(
        (hash, &r[..], &s[..]),
        (HashAlgorithm::Sha256, &[5][..], &[1, 2][..])
    );
}

/// Each scheme, cipher and key derivation, encoded by hand.
#[test]
fn every_form_of_the_parameters_is_read() {
    let area = |key_type: &str, parameters: &str| {
        hex(&format!("{key_type} 000b 00000000 0000 {parameters}"))
    };
    let mut all = Vec::new();
    for symmetric in [
        "0010",
        "0006 0080 0043",
        "0006 00c0 0040",
        "0006 0100 0041",
        "0013 0080 0042",
        "0026 0080 0044",
        "0026 0100 0010",
        "0003 0080 0043",
        "0003 00c0 0043",
    ] {
        for scheme in ["0010", "0014 0004", "0015", "0016 000c", "0017 000d"] {
            for bits in ["0400", "0800", "0c00", "1000"] {
                all.push(area(
                    "0001",
                    &format!("{symmetric} {scheme} {bits} 00010001 0000"),
                ));
            }
        }
        for scheme in [
            "0010",
            "0018 000b",
            "0019 0012",
            "001a 000b 0007",
            "001b 0027",
            "001c 0028",
            "001d 0029",
        ] {
            for curve in [
                "0001", "0002", "0003", "0004", "0005", "0010", "0011", "0020", "0030", "0041",
            ] {
                for kdf in ["0010", "0007 000b", "0020 000b", "0021 000b", "0022 000b"] {
                    all.push(area(
                        "0023",
                        &format!("{symmetric} {scheme} {curve} {kdf} 0001 05 0000"),
                    ));
                }
            }
        }
    }
    for bytes in all {
        assert_eq!(TpmtPublic::parse(&bytes).unwrap().to_bytes(), bytes);
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

proptest! {
    /// Every accepted input encodes to the same bytes, and no input causes a panic.
    #[test]
    fn what_is_taken_comes_back(index in 0_usize..14, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let (mut bytes, parse) = every_structure().swap_remove(index);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(written) = parse(&bytes) {
            prop_assert_eq!(written, bytes);
        }
    }

    /// A text is either a valid Name, which prints the same in lower case, or rejected.
    #[test]
    fn a_names_text_is_read_or_refused(kind in prop::sample::select(vec!["000b", "000C", "000d", "0004", "0000", "é"]), digits in "[0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{96}|[0-9a-fA-F]{128}|[0-9a-fA-F]{0,140}|.{0,20}") {
        let text = format!("{kind}{digits}");
        if let Ok(name) = text.parse::<Name>() {
            prop_assert_eq!(name.to_string(), text.to_ascii_lowercase());
        }
    }

    #[test]
    fn a_names_digits_are_read(digest in any::<[u8; 32]>()) {
        let digits: String = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        let name = format!("000B{digits}").parse::<Name>().unwrap();
        prop_assert_eq!(&name.as_bytes()[2..], digest);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for (_, parse) in every_structure() {
            if let Ok(written) = parse(&bytes) {
                prop_assert_eq!(&written, &bytes);
            }
        }
    }
}
