//! Parsing: uploads layer by layer, strict DER with error offsets, and names as text.
#![cfg(all(feature = "prover", feature = "ring"))]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a sound certificate that cannot be read fails the test"
)]

mod forge;

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
};

use data_encoding::BASE64;
use keyproof_x509::{
    Certificate, Encoding, KeyKind, Layer, MAX_UPLOAD_LEN, OwnedCertificate, Serial, SerialOddity,
    SubjectPublicKeyInfo, Upload, Version, X509Error, algorithms,
    prover::{CertificationRequest, PrivateKey, RingSigner, Signer as _},
};
use ring::rand::SystemRandom;

use forge::*;

fn error(upload: &[u8]) -> X509Error {
    match Upload::decode(upload) {
        Ok(upload) => upload.certificate().map(drop).unwrap_err(),
        Err(error) => error,
    }
}

fn pem() -> String {
    String::from_utf8(CA_PEM.to_vec()).unwrap()
}

#[test]
fn every_layer_comes_off() {
    let der = Upload::decode(CA_PEM).unwrap().into_der();
    let base64 = BASE64.encode(&der);
    let wrapped: String = base64
        .as_bytes()
        .chunks(7)
        .map(|chunk| format!(" {}\t\r\n", std::str::from_utf8(chunk).unwrap()))
        .collect();
    let cases = [
        (der.clone(), Encoding::Der),
        (base64.clone().into_bytes(), Encoding::Base64Der),
        (
            base64.trim_end_matches('=').as_bytes().to_vec(),
            Encoding::Base64Der,
        ),
        (
            format!("\u{feff}{wrapped}").into_bytes(),
            Encoding::Base64Der,
        ),
        (BASE64.encode(CA_PEM).into_bytes(), Encoding::Base64Pem),
        (
            BASE64
                .encode(format!("\u{feff}{}", pem()).as_bytes())
                .into_bytes(),
            Encoding::Base64Pem,
        ),
        (pem().replace('\n', "\r\n").into_bytes(), Encoding::Pem),
        (pem().replace('\n', "\n  ").into_bytes(), Encoding::Pem),
        (
            format!("subject=CN = x\n0 text\n{}after", pem()).into_bytes(),
            Encoding::Pem,
        ),
        (
            format!("-----BEGIN CERTIFICATE-----{wrapped}-----END CERTIFICATE-----").into_bytes(),
            Encoding::Pem,
        ),
        (
            pem()
                .replace("CERTIFICATE", "X509 CERTIFICATE")
                .into_bytes(),
            Encoding::Pem,
        ),
    ];
    for (upload, encoding) in cases {
        let read = Upload::decode(&upload).unwrap_or_else(|error| panic!("{encoding}: {error}"));
        assert_eq!((read.as_der(), read.encoding()), (der.as_slice(), encoding));
        assert_eq!(read.further_certificates(), 0);
    }
}

#[test]
fn of_several_certificates_the_first_counts() {
    let leaf = BASE64.encode(&Forged::leaf().sign());
    let chain = format!(
        "{}-----BEGIN CERTIFICATE-----\n{leaf}\n-----END CERTIFICATE-----\n{}",
        pem(),
        pem()
    );
    for upload in [
        chain.clone().into_bytes(),
        BASE64.encode(chain.as_bytes()).into_bytes(),
    ] {
        let read = Upload::decode(&upload).unwrap();
        assert_eq!(read.further_certificates(), 2);
        assert_eq!(read.as_der(), Upload::decode(CA_PEM).unwrap().as_der());
    }
}

#[test]
fn errors_say_which_layer_and_where() {
    let not_base64 = |layer, at| X509Error::Base64 { layer, at };
    let in_base64 = |text: &str| BASE64.encode(text.as_bytes()).into_bytes();
    let broken = pem().replacen("MII", "M!I", 1);
    let at = broken.find('!').unwrap();
    let utf16: Vec<u8> = format!("\u{feff}{broken}")
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    let request = pem().replace("CERTIFICATE-", "CERTIFICATE REQUEST-");
    let long = vec![b'A'; MAX_UPLOAD_LEN + 1];
    let too_long = X509Error::TooLong {
        found: MAX_UPLOAD_LEN + 1,
        limit: MAX_UPLOAD_LEN,
    };
    let no_certificate = X509Error::NotACertificate {
        layer: Layer::InsideBase64,
    };
    for (upload, expected) in [
        (Vec::new(), X509Error::Empty),
        (b" \r\n".to_vec(), X509Error::Empty),
        (b"hello, world".to_vec(), not_base64(Layer::Upload, 5)),
        // The same after a byte order mark of three bytes.
        (
            "\u{feff}hello, world".as_bytes().to_vec(),
            not_base64(Layer::Upload, 8),
        ),
        (broken.clone().into_bytes(), not_base64(Layer::Upload, at)),
        (in_base64(&broken), not_base64(Layer::InsideBase64, at)),
        (utf16, not_base64(Layer::Upload, 2 + 2 * at)),
        (in_base64("just text, thank you"), no_certificate.clone()),
        (
            format!("text\n{}", &pem()[..100]).into_bytes(),
            X509Error::PemUnterminated {
                layer: Layer::Upload,
                at: 5,
            },
        ),
        (
            request.into_bytes(),
            X509Error::PemWithoutCertificate {
                layer: Layer::Upload,
                label: "CERTIFICATE REQUEST".into(),
            },
        ),
        (long[1..].to_vec(), no_certificate),
        (long, too_long.clone()),
    ] {
        assert_eq!(error(&upload), expected);
    }
    // The limit also applies to a certificate that was not uploaded.
    let long = vec![0x30; MAX_UPLOAD_LEN + 1];
    assert_eq!(Certificate::from_der(&long).unwrap_err(), too_long);
    let longest = Certificate::from_der(&long[1..]);
    assert!(matches!(longest, Err(X509Error::Malformed { .. })));
}

#[test]
fn private_keys_are_refused_by_name() {
    let key = String::from_utf8(CA_KEY.to_vec()).unwrap();
    let der = BASE64.decode(
        key.lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<String>()
            .as_bytes(),
    );
    let der = der.unwrap();
    for upload in [
        CA_KEY.to_vec(),
        format!("{}{key}", pem()).into_bytes(),
        BASE64.encode(CA_KEY).into_bytes(),
        BASE64.encode(&der).into_bytes(),
        key.replace("END", "AND").into_bytes(),
        pem()
            .replace("CERTIFICATE", "OPENSSH PRIVATE KEY")
            .into_bytes(),
        der,
    ] {
        let refused = error(&upload);
        assert!(
            matches!(refused, X509Error::PrivateKeyInUpload { .. }),
            "{refused}"
        );
        let told = refused.to_string();
        assert!(told.len() < 150 && !told.contains(&key[40..60]), "{told}");
    }
}

/// Private keys are recognised by their first fields, which no certificate has.
#[test]
fn private_keys_in_der_are_refused_by_their_kind() {
    let (zero, one, three) = ([2, 1, 0], [2, 1, 1], [2, 1, 3]);
    let (number, octets, empty) = ([2, 1, 5], tlv(0x04, &[7; 200]), [0x30, 0x00]);
    let algorithm = sequence(&[&tlv(0x06, UNKNOWN)]);
    for (der, expected) in [
        (sequence(&[&three, &empty]), "PKCS#12"),
        (sequence(&[&zero, &algorithm, &octets]), "PKCS#8"),
        (sequence(&[&one, &algorithm, &octets]), "PKCS#8"),
        (sequence(&[&zero, &number]), "RSA PRIVATE KEY"),
        (sequence(&[&one, &octets]), "EC PRIVATE KEY"),
        (sequence(&[&algorithm, &octets]), "ENCRYPTED PRIVATE KEY"),
    ] {
        let kind = expected.to_owned();
        assert_eq!(error(&der), X509Error::PrivateKeyInUpload { kind });
    }
}

#[test]
fn pkcs_7_is_refused_by_its_name() {
    let file = include_bytes!("data/p256-ca.p7b");
    for upload in [file.to_vec(), BASE64.encode(file).into_bytes()] {
        assert_eq!(error(&upload), X509Error::Pkcs7InUpload);
    }
}

#[test]
fn anything_but_der_is_refused_where_it_is() {
    let sound = Forged::leaf().sign();
    assert!(Certificate::from_der(&sound).is_ok());
    let refused = |der: &[u8]| match Certificate::from_der(der) {
        Err(X509Error::Malformed { field, at, .. }) => (field, at),
        other => panic!("{other:?}"),
    };
    // Trailing bytes.
    assert_eq!(
        refused(&[sound.as_slice(), &[0]].concat()),
        ("Certificate", sound.len())
    );
    let told = Certificate::from_der(b"hello").unwrap_err().to_string();
    let reason = told.split_once(": ").map(|(_, reason)| reason);
    assert!(reason.is_some_and(|reason| !reason.is_empty()), "{told}");
    // Truncated.
    assert!(refused(&sound[..sound.len() - 1]).1 <= sound.len());
    // A serial number with redundant octets, and an empty one.
    for serial in [&[0x00, 0x11][..], &[0xFF, 0x80], &[]] {
        let leaf = Forged {
            serial: serial.to_vec(),
            ..Forged::leaf()
        };
        let (field, at) = refused(&leaf.sign());
        assert_eq!(field, "serialNumber");
        assert!((9..20).contains(&at), "{at}");
    }
    // A length with redundant octets, in the outermost SEQUENCE.
    let [0x30, 0x82, high, low, rest @ ..] = sound.as_slice() else {
        panic!("{sound:?}")
    };
    assert!(Certificate::from_der(&[&[0x30, 0x83, 0, *high, *low], rest].concat()).is_err());
    // Indefinite length.
    assert!(Certificate::from_der(&[&[0x30, 0x80], rest, &[0, 0]].concat()).is_err());
    // Unused bits in the signature.
    let signature = Certificate::from_der(&sound).unwrap().signature().len();
    let place = sound.len() - signature - 1;
    let mut bits = sound.clone();
    bits[place] = 1;
    bits[sound.len() - 1] &= 0xFE;
    assert_eq!(refused(&bits).0, "signatureValue");
    // TRUE must be 0xFF.
    let true_is_one = [
        &tlv(0x06, UNKNOWN)[..],
        &[0x01, 0x01, 0x01],
        &tlv(0x04, b""),
    ]
    .concat();
    let leaf = Forged::leaf().with_extensions(vec![tlv(0x30, &true_is_one)]);
    assert_eq!(refused(&leaf.sign()).0, "extensions");
    // An empty relative distinguished name.
    let leaf = Forged {
        subject: name(&[&[]]),
        ..Forged::leaf()
    };
    assert_eq!(refused(&leaf.sign()).0, "subject");
    // A version that does not exist.
    let leaf = Forged {
        version: Some(3),
        ..Forged::leaf()
    };
    assert_eq!(
        Certificate::from_der(&leaf.sign()).map(drop),
        Err(X509Error::VersionUnknown { version: 4 })
    );
}

#[test]
fn written_out_defaults_are_tolerated() {
    let critical_false = [
        &tlv(0x06, UNKNOWN)[..],
        &[0x01, 0x01, 0x00],
        &tlv(0x04, b""),
    ]
    .concat();
    let leaf = Forged {
        version: Some(0),
        extensions: vec![tlv(0x30, &critical_false)],
        ..Forged::leaf()
    }
    .sign();
    let leaf = Certificate::from_der(&leaf).unwrap();
    assert_eq!(leaf.version(), Version::V1);
    assert!(!leaf.extensions()[0].critical);
}

#[test]
fn endless_lists_are_refused() {
    let rdn = [attribute(O, UTF8, b"x")];
    let leaf = Forged {
        subject: name(&[rdn.as_slice(); 101]),
        ..Forged::leaf()
    };
    let too_many = |field| Err(X509Error::TooMany { field, limit: 100 });
    assert_eq!(
        Certificate::from_der(&leaf.sign()).map(drop),
        too_many("subject")
    );
    let leaf = Forged::leaf().with_extensions(vec![extension(UNKNOWN, false, b""); 101]);
    assert_eq!(
        Certificate::from_der(&leaf.sign()).map(drop),
        too_many("extensions")
    );
    let longest = Forged {
        subject: name(&[rdn.as_slice(); 100]),
        extensions: vec![extension(UNKNOWN, false, b""); 100],
        ..Forged::leaf()
    };
    assert_eq!(Certificate::from_der(&longest.sign()).map(drop), Ok(()));
}

/// RFC 5280 section 4.1.2.8: unique identifiers are unused but still occur.
#[test]
fn unique_identifiers_are_passed_over() {
    let mut leaf = Forged::leaf();
    leaf.version = Some(1);
    leaf.extensions = Vec::new();
    for tag in [0x81, 0x82] {
        // They follow the public key.
        leaf.public_key.extend(tlv(tag, &[0x00, 0xAB]));
        let der = leaf.sign();
        let read = Certificate::from_der(&der).unwrap();
        assert_eq!((read.version(), read.version().number()), (Version::V2, 2));
    }
}

#[test]
fn a_serial_number_is_made_from_the_octets_of_an_integer() {
    for (octets, shown) in [
        (&[0x00][..], "00"),
        (&[0x7F], "7F"),
        (&[0x00, 0xFE], "FE"),
        (&[0xFE], "FE"),
    ] {
        let serial = Serial::from_bytes(octets).unwrap();
        assert_eq!((serial.as_bytes(), &*serial.to_string()), (octets, shown));
    }
    for other in [&[][..], &[0x00, 0x7F], &[0xFF, 0xFE]] {
        let refused = Serial::from_bytes(other);
        assert!(
            matches!(refused, Err(X509Error::Malformed { .. })),
            "{other:?}"
        );
    }
}

#[test]
fn a_serial_number_is_its_number_and_says_if_it_was_padded() {
    let ders = [&[0, 0x11][..], &[0x11], &[0x12]].map(|serial| {
        let leaf = Forged {
            serial: serial.to_vec(),
            ..Forged::leaf()
        };
        leaf.sign()
    });
    assert!(Certificate::from_der(&ders[0]).is_err());
    let [padded, minimal, other] = ders.each_ref().map(|der| {
        let issued = Certificate::from_der_lenient(der).unwrap();
        issued.serial()
    });
    assert_eq!(padded.oddity(), Some(SerialOddity::Padded));
    assert!(SerialOddity::Padded.to_string().contains("not DER"));
    assert_eq!((minimal.oddity(), padded), (None, minimal));
    assert_ne!(minimal, other);
    let hasher = RandomState::new();
    assert_eq!(hasher.hash_one(padded), hasher.hash_one(minimal));
    assert_ne!(hasher.hash_one(minimal), hasher.hash_one(other));
    let [one, two] =
        [&ders[1], &ders[2]].map(|der| OwnedCertificate::from_der(der.as_slice()).unwrap());
    assert_eq!(hasher.hash_one(&one), hasher.hash_one(one.clone()));
    assert_ne!(hasher.hash_one(&one), hasher.hash_one(&two));
}

#[test]
fn a_certificate_with_another_issuer_is_not_self_issued() {
    let (ca, leaf) = (Upload::decode(CA_PEM).unwrap(), Forged::leaf().sign());
    assert!(ca.certificate().unwrap().is_self_issued());
    assert!(!Certificate::from_der(&leaf).unwrap().is_self_issued());
}

#[test]
fn a_private_key_is_found_in_the_text_around_it() {
    let key = String::from_utf8(CA_KEY.to_vec()).unwrap();
    let parameters =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    for text in [
        format!("{parameters}{key}"),
        format!("before\n{key}after\n"),
    ] {
        assert!(PrivateKey::from_pem_or_der(text.as_bytes()).is_ok());
    }
}

#[test]
fn a_private_key_may_stand_in_lines_of_any_length() {
    let key = String::from_utf8(CA_KEY.to_vec()).unwrap();
    let lines: Vec<_> = key.lines().collect();
    let [begin, body @ .., end] = lines.as_slice() else {
        panic!("{key}")
    };
    let body = body.concat();
    for width in [20, 64, 70, 76, body.len()] {
        let lines: Vec<_> = body
            .as_bytes()
            .chunks(width)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        for line_end in ["\n", "\r\n"] {
            let text = [&[*begin][..], &lines[..], &[*end]].concat().join(line_end);
            let read = PrivateKey::from_pem_or_der(text.as_bytes());
            assert!(read.is_ok(), "{width} {line_end:?}: {read:?}");
        }
    }
}

#[test]
fn an_encrypted_private_key_is_to_be_decrypted_first() {
    let key = String::from_utf8(CA_KEY.to_vec()).unwrap();
    let headers = "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n";
    let traditional = key.replacen("KEY-----\n", headers, 1);
    assert_ne!(traditional, key);
    for text in [
        key.replace("EC PRIVATE", "ENCRYPTED PRIVATE"),
        traditional.replace("EC PRIVATE", "RSA PRIVATE"),
        traditional.replace('\n', "\r\n"),
    ] {
        let refused = PrivateKey::from_pem_or_der(text.as_bytes());
        assert!(
            matches!(refused, Err(X509Error::PrivateKeyUnusable { kind }) if kind.contains("decrypt")),
            "{refused:?}"
        );
    }
}

#[test]
fn debugging_shows_names_as_text_and_keys_by_their_kind() {
    let leaf = Forged {
        subject: name(&[&[attribute(CN, UTF8, b"A")]]),
        ..Forged::leaf()
    };
    let der = leaf.sign();
    let subject = Certificate::from_der(&der).unwrap().subject();
    let rdn = subject.rdns().next().unwrap();
    let first = rdn.attributes().next().unwrap();
    assert_eq!(format!("{subject:?} {rdn:?}"), "Name(CN=A) Rdn(CN=A)");
    assert_eq!(
        format!("{first:?}"),
        r#"Attribute { kind: Oid(2.5.4.3), value: Value(Utf8, "A") }"#
    );
    let key = PrivateKey::from_pem_or_der(CA_KEY).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey(EC)");
    let random = SystemRandom::new();
    let ca = Upload::decode(CA_PEM).unwrap();
    let signer = RingSigner::new(&key, &ca.certificate().unwrap(), &random).unwrap();
    assert_eq!(
        format!("{signer:?}"),
        format!("RingSigner({})", signer.scheme())
    );
}

#[test]
fn a_relative_name_has_at_most_16_attributes() {
    let with = |count| {
        let attributes = vec![attribute(O, UTF8, &[b'x'; 1_000]); count];
        let leaf = Forged {
            subject: name(&[&attributes]),
            ..Forged::leaf()
        };
        Certificate::from_der(&leaf.sign()).map(drop)
    };
    assert_eq!(with(16), Ok(()));
    let refused = Err(X509Error::TooMany {
        field: "RelativeDistinguishedName",
        limit: 16,
    });
    assert_eq!(with(17), refused);
}

#[test]
fn the_pem_file_is_kept_if_it_is_one_certificate_and_nothing_else() {
    let pem = pem();
    let der = Upload::decode(pem.as_bytes()).unwrap().into_der();
    let longest = 4 * der.len();
    let base64 = |text: &str| BASE64.encode(text.as_bytes());
    let sole = |upload: &[u8]| {
        let upload = Upload::decode(upload).unwrap();
        upload.certificate().unwrap();
        upload
            .sole_pem()
            .map(|pem| String::from_utf8(pem.to_vec()).unwrap())
    };
    for file in [
        pem.clone(),
        pem.replace('\n', "\r\n"),
        format!("\n{pem}\n \n"),
        pem.trim_end().to_owned(),
        // The longest file that is kept.
        format!("{pem:<longest$}"),
    ] {
        assert_eq!(sole(file.as_bytes()).as_ref(), Some(&file));
        assert_eq!(sole(base64(&file).as_bytes()).as_ref(), Some(&file));
    }
    let utf16: Vec<u8> = format!("\u{feff}{pem}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for other in [
        format!("{pem}{pem}").into_bytes(),
        format!("subject=CN = x\n{pem}").into_bytes(),
        format!("{pem}after").into_bytes(),
        format!("{pem}-----BEGIN X-----\n-----END X-----\n").into_bytes(),
        format!("\u{feff}{pem}").into_bytes(),
        base64(&format!("\u{feff}{pem}")).into_bytes(),
        format!("{pem:<longest$} ").into_bytes(),
        format!("{pem}{}", " ".repeat(100 * 1024)).into_bytes(),
        utf16,
        BASE64.encode(&der).into_bytes(),
        der,
    ] {
        assert_eq!(sole(&other), None, "{}", String::from_utf8_lossy(&other));
    }
    // Another kind of block is not a further certificate.
    let beside = format!("{pem}-----BEGIN X-----\n-----END X-----\n");
    let upload = Upload::decode(beside.as_bytes()).unwrap();
    assert_eq!(upload.further_certificates(), 0);
}

#[test]
fn key_usages_are_named_in_the_order_of_their_bits() {
    let upload = Upload::decode(CA_PEM).unwrap();
    let usage = upload.certificate().unwrap().key_usage().unwrap().unwrap();
    assert!(usage.names().eq(["keyCertSign", "cRLSign"]));
}

#[test]
fn the_common_name_is_the_most_specific_one_if_it_is_text() {
    let found = |subject: Vec<u8>| {
        let leaf = Forged {
            subject,
            ..Forged::leaf()
        }
        .sign();
        let subject = Certificate::from_der(&leaf).unwrap().subject();
        subject.common_name().map(Cow::into_owned)
    };
    let cn = |tag, value: &[u8]| vec![attribute(CN, tag, value)];
    assert_eq!(found(name(&[])), None);
    let (first, last) = (cn(PRINTABLE, b"first"), cn(UTF8, b"last"));
    assert_eq!(found(name(&[&first, &last])).as_deref(), Some("last"));
    // A UTF8String that is not UTF-8.
    assert_eq!(found(name(&[&first, &cn(UTF8, &[0xFF])])), None);
}

#[test]
fn names_are_rfc_4514_text() {
    let text = |subject: Vec<u8>| {
        let leaf = Forged {
            subject,
            ..Forged::leaf()
        }
        .sign();
        Certificate::from_der(&leaf).unwrap().subject().to_string()
    };
    let cn = |tag, value: &[u8]| name(&[&[attribute(CN, tag, value)]]);
    assert_eq!(text(name(&[])), "");
    // RFC 4514 section 4: the last comes first, and a plus sign joins several attributes in one.
    let email = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x01];
    assert_eq!(
        text(name(&[
            &[attribute(O, UTF8, b"Sue, Grabbit and Runn")],
            &[
                attribute(CN, UTF8, b"L. Eagle"),
                attribute(email, 0x16, b"l@example")
            ],
        ])),
        "CN=L. Eagle+emailAddress=l@example,O=Sue\\, Grabbit and Runn"
    );
    assert_eq!(
        text(cn(UTF8, b" # a=b;<c>\"\\ ")),
        "CN=\\ # a=b\\;\\<c\\>\\\"\\\\\\ "
    );
    assert_eq!(text(cn(UTF8, b"#a")), "CN=\\#a");
    assert_eq!(text(cn(UTF8, " ".as_bytes())), "CN=\\ ");
    assert_eq!(text(cn(UTF8, b"a\0\n\x7Fb")), "CN=a\\00\\0A\\7Fb");
    assert_eq!(text(cn(UTF8, "Lučić\u{85}".as_bytes())), "CN=Lučić\\C2\\85");
    assert_eq!(text(cn(0x14, &[0xC4, 0x70])), "CN=Äp");
    assert_eq!(
        text(cn(0x1E, &[0x00, 0xC4, 0xD8, 0x3D, 0xDE, 0x00])),
        "CN=Ä😀"
    );
    let universal = [[0, 0, 0, 0xC4], [0, 1, 0xF6, 0x00]].concat();
    assert_eq!(text(cn(UNIVERSAL, &universal)), "CN=Ä😀");
    for broken in [&[0, 0, 0xD8, 0x00][..], &[0, 0x11, 0, 0], &[0, 0, 0]] {
        assert!(text(cn(UNIVERSAL, broken)).starts_with("CN=#1C0"));
    }
    // A value without text, or of an unnamed type, is hexadecimal.
    assert_eq!(text(cn(UTF8, &[0xFF])), "CN=#0C01FF");
    assert_eq!(text(cn(0x1E, &[0xD8, 0x3D])), "CN=#1E02D83D");
    assert_eq!(
        text(name(&[&[attribute(UNKNOWN, UTF8, b"Hi")]])),
        "1.2.3.4=#0C024869"
    );
    // 2.25 and a UUID: an arc of 128 bits.
    let uuid = [&[0x69, 0x83][..], &[0xFF; 17], &[0x7F]].concat();
    assert!(text(name(&[&[attribute(&uuid, UTF8, b"x")]])).starts_with("#0669"));
}

#[test]
fn public_keys_are_read_on_their_own() {
    let ca = Upload::decode(CA_PEM).unwrap();
    let ca = ca.certificate().unwrap();
    let der = ca.public_key().as_der();
    let key = SubjectPublicKeyInfo::from_der(der).unwrap();
    assert_eq!(key.kind().unwrap().to_string(), "P-256");
    assert!(matches!(key.kind(), Ok(KeyKind::Ec(_))));
    assert_eq!(key.bits(), Some(256));
    assert!(SubjectPublicKeyInfo::from_der(&[der, &[0]].concat()).is_err());
}

/// Signed by a key in a TPM with tpm2-openssl 1.1.1, which adds NULL to ecdsa-with-SHA256 (RFC 5758 section 3.2 forbids
/// parameters).
#[test]
fn a_request_may_have_null_parameters_and_nothing_else() {
    let der = include_bytes!("data/tpm2-openssl.csr.der");
    let verify = |der: &[u8]| {
        let request = CertificationRequest::from_der(der).unwrap();
        request.verify(algorithms::RING)
    };
    assert_eq!(verify(der), Ok(()));
    let null = der
        .windows(4)
        .rposition(|bytes| bytes == [3, 2, 5, 0])
        .unwrap();
    let mut other = *der;
    // An empty OCTET STRING.
    other[null + 2] = 4;
    assert!(matches!(
        verify(&other),
        Err(X509Error::AlgorithmParameters { .. })
    ));
    let mut forged = *der;
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(
        verify(&forged),
        Err(X509Error::SignatureInvalid { .. })
    ));
}
