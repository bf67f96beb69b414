//! Public areas derived from bare public keys, compared with the Names that a software TPM
//! computed.

mod vectors;

use keyproof_tpm::{
    AttestationTemplate, EccCurve, EccScheme, EndorsementTemplate, HashAlgorithm, Name,
    ObjectAttributes, PublicKey, RsaScheme, Structure, TpmError, TpmtPublic,
};

use vectors::read;

/// The key types for which the vectors are complete.
const KINDS: [&str; 2] = ["rsa2048", "eccp256"];

#[test]
fn a_bare_key_and_its_template_give_the_tpms_name() {
    for kind in KINDS {
        let ek = TpmtPublic::endorsement_from_spki(&read(kind, "ek.pub.spki.der")).unwrap();
        assert_eq!(ek.to_sized_bytes(), read(kind, "ek.pub.tpm2b"));
        assert_eq!(Name::of(&ek).unwrap().as_bytes(), read(kind, "ek.name.bin"));

        let template = AttestationTemplate::below(&ek).unwrap();
        let ak = TpmtPublic::attestation_from_spki(&read(kind, "ak.pub.spki.der"), &template);
        let ak = ak.unwrap();
        assert_eq!(ak.to_sized_bytes(), read(kind, "ak.pub.tpm2b"));
        assert_eq!(Name::of(&ak).unwrap().as_bytes(), read(kind, "ak.name.bin"));
    }
}

#[test]
fn a_public_area_gives_its_bare_key_back() {
    for kind in KINDS {
        for object in ["ek", "ak"] {
            let public = TpmtPublic::parse_sized(&read(kind, &format!("{object}.pub.tpm2b")));
            assert_eq!(
                public.unwrap().to_spki().unwrap(),
                read(kind, &format!("{object}.pub.spki.der"))
            );
        }
    }
}

#[test]
fn another_template_is_another_name() {
    let ek = TpmtPublic::parse_sized(&read("rsa2048", "ek.pub.tpm2b")).unwrap();
    let spki = read("rsa2048", "ak.pub.spki.der");
    let usual = AttestationTemplate::below(&ek).unwrap();
    let no_da = usual.object_attributes | ObjectAttributes::NO_DA;
    assert_eq!(no_da.bits(), 0x0005_0472);
    for other in [
        AttestationTemplate {
            object_attributes: no_da,
            ..usual
        },
        AttestationTemplate {
            scheme_hash: HashAlgorithm::Sha384,
            ..usual
        },
        AttestationTemplate {
            name_alg: HashAlgorithm::Sha384,
            ..usual
        },
    ] {
        let ak = TpmtPublic::attestation_from_spki(&spki, &other).unwrap();
        assert_ne!(
            Name::of(&ak).unwrap().as_bytes(),
            read("rsa2048", "ak.name.bin")
        );
    }
}

fn mismatch(property: &'static str) -> Result<EndorsementTemplate, TpmError> {
    Err(TpmError::TemplateMismatch { property })
}

#[test]
fn an_endorsement_key_follows_its_template_in_everything() {
    for (kind, name) in [("rsa2048", "L-1"), ("eccp256", "L-2")] {
        let bytes = read(kind, "ek.pub.tpm2b");
        let ek = TpmtPublic::parse_sized(&bytes).unwrap();
        assert_eq!(EndorsementTemplate::of(&ek).unwrap().name(), name);
        // Offsets on the wire, including the size prefix.
        for (at, xor, property) in [
            (9, 0x40, "attributes"),
            (12, 0x01, "policy"),
            (47, 0x80 ^ 0xc0, "symmetric algorithm"),
            (49, 0x43 ^ 0x42, "symmetric algorithm"),
        ] {
            let mut changed = bytes.clone();
            changed[at] ^= xor;
            let changed = TpmtPublic::parse_sized(&changed).unwrap();
            assert_eq!(EndorsementTemplate::of(&changed), mismatch(property));
        }
    }
    let mut exponent = read("rsa2048", "ek.pub.tpm2b");
    exponent[57] = 3;
    let exponent = TpmtPublic::parse_sized(&exponent).unwrap();
    assert_eq!(EndorsementTemplate::of(&exponent), mismatch("exponent"));
    for kind in KINDS {
        let ek = TpmtPublic::parse_sized(&read(kind, "ek.pub.tpm2b")).unwrap();
        let name_alg = Some(HashAlgorithm::Sha384);
        let other = TpmtPublic {
            name_alg,
            ..ek.clone()
        };
        assert_eq!(EndorsementTemplate::of(&other), mismatch("name algorithm"));
        let mut with_scheme = ek.clone();
        match &mut with_scheme.key {
            PublicKey::Ecc(key) => key.scheme = Some(EccScheme::Ecdh(HashAlgorithm::Sha256)),
            PublicKey::Rsa(key) => key.scheme = Some(RsaScheme::Oaep(HashAlgorithm::Sha256)),
        }
        assert_eq!(EndorsementTemplate::of(&with_scheme), mismatch("scheme"));
        let mut other_size = ek.clone();
        match &mut other_size.key {
            PublicKey::Ecc(key) => key.curve = EccCurve::NistP521,
            PublicKey::Rsa(key) => key.key_bits = 1024,
        }
        assert_eq!(
            EndorsementTemplate::of(&other_size),
            mismatch("size or curve")
        );
    }
    let ak = TpmtPublic::parse_sized(&read("rsa2048", "ak.pub.tpm2b")).unwrap();
    assert_eq!(EndorsementTemplate::of(&ak), mismatch("attributes"));
    let dev = TpmtPublic::parse_sized(&read("eccp256", "dev.pub.tpm2b")).unwrap();
    assert_eq!(EndorsementTemplate::of(&dev), mismatch("attributes"));
}

#[test]
fn only_exact_public_keys_are_taken() {
    let rsa = read("rsa2048", "ek.pub.spki.der");
    let ecc = read("eccp256", "ek.pub.spki.der");
    for spki in [&rsa, &ecc] {
        assert!(TpmtPublic::endorsement_from_spki(spki).is_ok());
        for end in 0..spki.len() {
            assert!(TpmtPublic::endorsement_from_spki(&spki[..end]).is_err());
        }
        let mut longer = spki.clone();
        longer.push(0);
        assert!(TpmtPublic::endorsement_from_spki(&longer).is_err());
    }
    let refused = |spki: &[u8]| match TpmtPublic::endorsement_from_spki(spki) {
        Err(TpmError::UnsupportedPublicKey { what }) => what,
        other => panic!("{other:?}"),
    };
    // Each byte of the exponent, at the end of the key.
    for from_the_end in 1..=3 {
        let mut exponent = rsa.clone();
        let at = exponent.len() - from_the_end;
        exponent[at] ^= 2;
        assert_eq!(refused(&exponent), "its RSA exponent is not 65537");
    }
    // NULL is replaced by an empty OCTET STRING.
    let mut parameters = rsa.clone();
    let null = parameters
        .windows(2)
        .position(|pair| pair == [5, 0])
        .unwrap();
    parameters[null] = 4;
    assert_eq!(refused(&parameters), "its RSA parameters are not NULL");
    // The first byte of a compressed point, and a curve without a template.
    let mut point = ecc.clone();
    let prefix = point.len() - 65;
    point[prefix] = 2;
    assert_eq!(refused(&point), "its point is not in uncompressed form");
    let mut curve = ecc.clone();
    curve[prefix - 4] ^= 1;
    assert_eq!(refused(&curve), "its curve is not P-256, P-384 or P-521");
}

/// A DER value with a length of up to two bytes.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let head = match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head[..], content].concat()
}

/// A SubjectPublicKeyInfo with this AlgorithmIdentifier's content and this key.
fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let bits = [&[0][..], key].concat();
    tlv(0x30, &[tlv(0x30, algorithm), tlv(0x03, &bits)].concat())
}

/// A modulus of another size is a weaker key than its template says.
#[test]
fn a_modulus_has_every_bit_of_its_size() {
    let rsa_encryption = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\0";
    // Without parameters, or with any: RFC 4055 section 4.1.
    let rsaes_oaep = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07";
    let read = |algorithm: &[u8], first: u8, size: usize| {
        let mut modulus = vec![0xff; size];
        modulus[0] = first;
        let sign = if first >> 7 == 1 { &[0][..] } else { &[] };
        let numbers = [tlv(2, &[sign, &modulus].concat()), tlv(2, &[1, 0, 1])].concat();
        TpmtPublic::endorsement_from_spki(&spki(algorithm, &tlv(0x30, &numbers)))
    };
    let what = "its RSA size is not 2048, 3072 or 4096";
    let refused = Err(TpmError::UnsupportedPublicKey { what });
    for algorithm in [&rsa_encryption[..], rsaes_oaep] {
        for (size, bits) in [(256, 2048), (384, 3072), (512, 4096)] {
            let PublicKey::Rsa(key) = read(algorithm, 0x80, size).unwrap().key else {
                panic!("not an RSA key");
            };
            assert_eq!((key.key_bits, key.modulus.len()), (bits, size));
            assert_eq!(read(algorithm, 0x7f, size), refused);
            assert_eq!(read(algorithm, 0x80, size - 1), refused);
            assert_eq!(read(algorithm, 0x80, size + 1), refused);
        }
    }
}

#[test]
fn a_point_has_two_coordinates_of_its_curves_size() {
    let p256 = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    let read = |coordinates: usize| {
        let point = [&[4][..], &vec![7; coordinates]].concat();
        TpmtPublic::endorsement_from_spki(&spki(p256, &point))
    };
    assert!(read(64).is_ok());
    let what = "its point is not in uncompressed form";
    let refused = Err(TpmError::UnsupportedPublicKey { what });
    for wrong in [0, 32, 63, 65, 66, 96] {
        assert_eq!(read(wrong), refused, "{wrong}");
    }
}
