//! Tests each check of `prove` with a certificate that differs from a valid one only in that respect.
#![cfg(all(feature = "prover", feature = "ring"))]

mod forge;

use std::time::Duration;

use data_encoding::BASE64;
use keyproof_x509::{
    Certificate, Check as _, Encoding, Finding as _, Hash, Layer, Outcome, ParametersProblem,
    Policy, ProofCheck, ProofFinding, ReadExtension, Redemption, Report, Role, SerialOddity,
    Upload, Validity, VerificationCode, X509Error, algorithms, prove,
    prover::{PrivateKey, RingSigner, VerificationLeaf},
};
use ring::rand::SystemRandom;

use forge::*;

/// Asserts that the named checks have these outcomes and that all others pass.
#[track_caller]
fn assert_only(report: &Report<ProofFinding>, expected: &[(ProofCheck, Outcome)]) {
    for check in ProofCheck::ALL.iter().copied() {
        let wanted = expected
            .iter()
            .find(|(named, _)| *named == check)
            .map_or(Outcome::Pass, |(_, outcome)| *outcome);
        assert_eq!(report.outcome(check), wanted, "{check}\n{report}");
    }
    let refuses = expected.iter().any(|(_, outcome)| outcome.refuses());
    assert_eq!(report.accepted(), !refuses, "{report}");
    assert_eq!(report.first_refusal().is_none(), !refuses, "{report}");
}

/// Asserts that the proof is refused under both policies, for one reason.
#[track_caller]
fn assert_refused(ca: &[u8], leaf: &[u8], check: ProofCheck, finding: &ProofFinding) {
    for policy in [DEFAULT, STRICT] {
        let report = judge(ca, leaf, &policy);
        assert_only(&report, &[(check, Outcome::Fail)]);
        assert_eq!(report.first_refusal(), Some(finding), "{report}");
    }
}

/// Asserts a warning by default and a refusal under the strict policy.
#[track_caller]
fn assert_irregular(ca: &[u8], leaf: &[u8], checks: &[ProofCheck], finding: &ProofFinding) {
    let with = |outcome| {
        checks
            .iter()
            .map(|check| (*check, outcome))
            .collect::<Vec<_>>()
    };
    assert_only(&judge(ca, leaf, &DEFAULT), &with(Outcome::Warn));
    let strict = judge(ca, leaf, &STRICT);
    assert_only(&strict, &with(Outcome::Fail));
    assert_eq!(strict.first_refusal(), Some(finding), "{strict}");
}

#[test]
fn a_sound_pair_passes_every_check() {
    for policy in [DEFAULT, STRICT] {
        assert_only(&judge(CA_PEM, &Forged::leaf().sign(), &policy), &[]);
        assert_only(
            &judge(&Forged::ca().sign(), &Forged::leaf().sign(), &policy),
            &[],
        );
    }
}

#[test]
fn the_issuer_must_be_the_ca() {
    let mut leaf = Forged::leaf();
    leaf.issuer = common_name("Another CA");
    assert_refused(
        CA_PEM,
        &leaf.sign(),
        ProofCheck::Issuer,
        &ProofFinding::IssuerMismatch {
            issuer: "CN=Another CA".into(),
            ca_subject: "CN=P-256 CA,O=Keyproof Tests".into(),
        },
    );
}

#[test]
fn the_issuer_may_differ_in_case_blanks_and_string_type() {
    let mut leaf = Forged::leaf();
    leaf.issuer = name(&[
        &[attribute(O, PRINTABLE, b"  KEYPROOF   tests ")],
        &[attribute(CN, UTF8, b"p-256 ca")],
    ]);
    let report = judge(CA_PEM, &leaf.sign(), &STRICT);
    assert_only(&report, &[]);
    assert_eq!(
        report.findings(ProofCheck::Issuer).next(),
        Some(&ProofFinding::IssuerFolded)
    );

    // The order of relative distinguished names is significant, and so is their grouping.
    for issuer in [
        name(&[
            &[attribute(CN, UTF8, b"P-256 CA")],
            &[attribute(O, UTF8, b"Keyproof Tests")],
        ]),
        name(&[&[
            attribute(O, UTF8, b"Keyproof Tests"),
            attribute(CN, UTF8, b"P-256 CA"),
        ]]),
        name(&[&[attribute(O, UTF8, b"Keyproof Tests")]]),
        name(&[
            &[attribute(O, UTF8, b"KeyproofTests")],
            &[attribute(CN, UTF8, b"P-256 CA")],
        ]),
    ] {
        leaf.issuer = issuer;
        let report = judge(CA_PEM, &leaf.sign(), &DEFAULT);
        assert_eq!(
            report.outcome(ProofCheck::Issuer),
            Outcome::Fail,
            "{report}"
        );
    }
}

#[test]
fn relative_names_of_several_attributes_are_sets() {
    let (one, two) = (attribute(O, UTF8, b"One"), attribute(O, UTF8, b"Two"));
    let mut ca = Forged::ca();
    let mut leaf = Forged::leaf();
    ca.subject = name(&[&[one.clone(), two.clone()]]);
    leaf.issuer = name(&[&[two.clone(), one.clone()]]);
    assert_only(&judge(&ca.sign(), &leaf.sign(), &DEFAULT), &[]);
    leaf.issuer = name(&[&[two.clone(), two]]);
    assert_only(
        &judge(&ca.sign(), &leaf.sign(), &DEFAULT),
        &[(ProofCheck::Issuer, Outcome::Fail)],
    );
}

#[test]
fn empty_names_on_both_sides_are_irregular() {
    let (mut ca, mut leaf) = (Forged::ca(), Forged::leaf());
    ca.subject = name(&[]);
    leaf.issuer = name(&[]);
    assert_irregular(
        &ca.sign(),
        &leaf.sign(),
        &[ProofCheck::Issuer],
        &ProofFinding::IssuerEmpty,
    );
}

#[test]
fn the_signature_is_over_the_received_bytes() {
    let leaf = Forged::leaf();
    let mut tbs = leaf.tbs();
    let signature = sign(&tbs);
    // Changes the serial number, so that nothing else is wrong.
    let place = tbs
        .windows(2)
        .position(|pair| pair == [0x11, 0x22])
        .unwrap();
    tbs[place] = 0x12;
    assert_refused(
        CA_PEM,
        &assemble(&tbs, ECDSA_SHA256, &signature),
        ProofCheck::Signature,
        &ProofFinding::SignatureRefused(X509Error::SignatureInvalid {
            algorithm: "ECDSA P-256 with SHA-256",
        }),
    );
}

#[test]
fn the_two_algorithm_identifiers_must_be_the_same() {
    let mut leaf = Forged::leaf();
    leaf.inner_algorithm = ECDSA_SHA384.to_vec();
    // The signature verifies under the outer algorithm.
    assert_refused(
        CA_PEM,
        &leaf.sign(),
        ProofCheck::Signature,
        &ProofFinding::AlgorithmsDiffer,
    );
}

#[test]
fn the_algorithm_must_belong_to_the_key() {
    let mut leaf = Forged::leaf();
    leaf.inner_algorithm = RSA_SHA256.to_vec();
    leaf.outer_algorithm = RSA_SHA256.to_vec();
    assert_refused(
        CA_PEM,
        &leaf.sign(),
        ProofCheck::Signature,
        &ProofFinding::SignatureRefused(X509Error::AlgorithmMismatch {
            algorithm: "sha256WithRSAEncryption".into(),
            key: "id-ecPublicKey".into(),
        }),
    );
}

#[test]
fn a_table_without_the_algorithm_refuses() {
    let report = judge(CA_PEM, &Forged::leaf().sign(), &Policy::new(&[]));
    assert_only(&report, &[(ProofCheck::Signature, Outcome::Fail)]);
}

#[test]
fn the_common_name_must_be_the_one_code() {
    let mismatch = |characters, nearly| ProofFinding::CommonNameMismatch { characters, nearly };
    let cn = |tag, text: &[u8]| attribute(CN, tag, text);
    let with_nul = [CODE.as_bytes(), b"\0"].concat();
    let with_tail = [CODE.as_bytes(), b"\0.example.com"].concat();
    let wide: Vec<u8> = CODE.bytes().flat_map(|byte| [0, byte]).collect();
    let cases = [
        (name(&[]), ProofFinding::CommonNameMissing),
        (
            name(&[&[attribute(O, UTF8, CODE.as_bytes())]]),
            ProofFinding::CommonNameMissing,
        ),
        (common_name(""), mismatch(0, false)),
        (common_name("no code"), mismatch(7, false)),
        (common_name(&CODE[..47]), mismatch(47, false)),
        (common_name(&CODE.to_lowercase()), mismatch(48, true)),
        (common_name(&format!(" {CODE}")), mismatch(49, true)),
        (name(&[&[cn(UTF8, &with_nul)]]), mismatch(49, false)),
        (name(&[&[cn(UTF8, &with_tail)]]), mismatch(61, false)),
        (
            name(&[&[cn(UTF8, &[0xFF])]]),
            ProofFinding::CommonNameUnreadable,
        ),
        (
            name(&[&[cn(0x04, CODE.as_bytes())]]),
            ProofFinding::CommonNameUnreadable,
        ),
        (
            name(&[&[cn(UTF8, CODE.as_bytes())], &[cn(UTF8, CODE.as_bytes())]]),
            ProofFinding::CommonNameNotUnique { count: 2 },
        ),
        (
            name(&[&[cn(UTF8, b"A"), cn(UTF8, CODE.as_bytes())]]),
            ProofFinding::CommonNameNotUnique { count: 2 },
        ),
    ];
    for (subject, finding) in cases {
        let mut leaf = Forged::leaf();
        leaf.subject = subject;
        assert_refused(CA_PEM, &leaf.sign(), ProofCheck::CommonName, &finding);
    }

    // Any string type of a DirectoryString is accepted, and so are other attributes beside the one common name.
    let wider: Vec<u8> = CODE.bytes().flat_map(|byte| [0, 0, 0, byte]).collect();
    for subject in [
        name(&[&[cn(UTF8, CODE.as_bytes())]]),
        name(&[&[cn(TELETEX, CODE.as_bytes())]]),
        name(&[&[cn(BMP, &wide)]]),
        name(&[&[cn(UNIVERSAL, &wider)]]),
        name(&[
            &[cn(PRINTABLE, CODE.as_bytes()), attribute(O, UTF8, b"x")],
            &[attribute(O, UTF8, b"y")],
        ]),
    ] {
        let mut leaf = Forged::leaf();
        leaf.subject = subject;
        assert_only(&judge(CA_PEM, &leaf.sign(), &STRICT), &[]);
    }
}

#[test]
fn a_code_in_any_string_type_is_compared_exactly() {
    let in_units = |width: usize| -> Vec<u8> {
        let lower = CODE.to_lowercase();
        lower
            .bytes()
            .flat_map(|byte| [vec![0; width - 1], vec![byte]].concat())
            .collect()
    };
    for (tag, value) in [
        (TELETEX, in_units(1)),
        (BMP, in_units(2)),
        (UNIVERSAL, in_units(4)),
    ] {
        let mut leaf = Forged::leaf();
        leaf.subject = name(&[&[attribute(CN, tag, &value)]]);
        let finding = ProofFinding::CommonNameMismatch {
            characters: 48,
            nearly: true,
        };
        assert_refused(CA_PEM, &leaf.sign(), ProofCheck::CommonName, &finding);
    }
}

/// Returns a text in every string type, for comparisons that ignore ASCII letter case and whitespace.
fn in_every_string_type(text: &str) -> Vec<(u8, Vec<u8>)> {
    let latin_1 = text.chars().map(|character| character as u8).collect();
    let utf16 = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let utf32 = text
        .chars()
        .flat_map(|character| u32::from(character).to_be_bytes())
        .collect();
    let mut types = vec![
        (UTF8, text.as_bytes().to_vec()),
        (TELETEX, latin_1),
        (BMP, utf16),
        (UNIVERSAL, utf32),
    ];
    if text.is_ascii() {
        types.push((PRINTABLE, text.as_bytes().to_vec()));
        types.push((IA5, text.as_bytes().to_vec()));
    }
    types
}

#[test]
fn names_compare_by_their_text_whatever_string_type_holds_it() {
    for (one, other) in [
        ("Acme Root", "Acme Root"),
        ("Acme Root", " aCME  \t ROOT "),
        ("Müller", "mÜLLER".replace('Ü', "ü").as_str()),
        ("", "  "),
    ] {
        for (ca_tag, ca_value) in in_every_string_type(one) {
            for (tag, value) in in_every_string_type(other) {
                let (mut ca, mut leaf) = (Forged::ca(), Forged::leaf());
                ca.subject = name(&[&[attribute(UNKNOWN, ca_tag, &ca_value)]]);
                leaf.issuer = name(&[&[attribute(UNKNOWN, tag, &value)]]);
                let report = judge(&ca.sign(), &leaf.sign(), &STRICT);
                assert_only(&report, &[]);
            }
        }
    }
}

#[test]
fn beyond_ascii_letters_and_blanks_a_difference_is_one_and_can_be_seen() {
    for (ca_name, issuer, told) in [
        ("Ärzte", "ärzte", ["CN=\\C3\\A4rzte", "CN=\\C3\\84rzte"]),
        // One character, or a letter and a combining mark: they look the same.
        (
            "Caf\u{e9} CA",
            "Cafe\u{301} CA",
            ["CN=Cafe\\CC\\81 CA", "CN=Caf\\C3\\A9 CA"],
        ),
        ("A B", "A\u{a0}B", ["CN=A\\C2\\A0B", "CN=A B"]),
        ("Acme", "\u{410}cme", ["CN=\\D0\\90cme", "CN=Acme"]),
        ("ÄX", "ÄY", ["CN=ÄY", "CN=ÄX"]),
    ] {
        let (mut ca, mut leaf) = (Forged::ca(), Forged::leaf());
        ca.subject = name(&[&[attribute(CN, UTF8, ca_name.as_bytes())]]);
        leaf.issuer = name(&[&[attribute(CN, UTF8, issuer.as_bytes())]]);
        let [issuer, ca_subject] = told.map(str::to_owned);
        let finding = ProofFinding::IssuerMismatch { issuer, ca_subject };
        assert_refused(&ca.sign(), &leaf.sign(), ProofCheck::Issuer, &finding);
    }
    // A value without text is shown as its DER, including the string type.
    let (mut ca, mut leaf) = (Forged::ca(), Forged::leaf());
    ca.subject = name(&[&[attribute(CN, UTF8, b"X")]]);
    leaf.issuer = name(&[&[attribute(CN, BMP, b"X")]]);
    let report = judge(&ca.sign(), &leaf.sign(), &DEFAULT);
    assert!(report.to_string().contains("`CN=#1E0158`"), "{report}");
}

#[test]
fn no_report_tells_the_code() {
    let mut leaf = Forged::leaf();
    leaf.subject = common_name(&CODE.to_lowercase());
    let report = judge(CA_PEM, &leaf.sign(), &DEFAULT);
    let shown = format!("{:?}", code());
    assert!(shown.starts_with("VerificationCode { certificate: None"));
    let told = format!("{report} {report:?} {shown} {}", report.reasons()).to_uppercase();
    assert!(!told.contains(CODE), "{told}");
}

#[test]
fn a_leafs_serial_number_has_its_second_bit_set_and_not_its_first() {
    let upload = Upload::decode(CA_PEM).unwrap();
    let ca = upload.certificate().unwrap();
    let key = PrivateKey::from_pem_or_der(CA_KEY).unwrap();
    let random = SystemRandom::new();
    let signer = RingSigner::new(&key, &ca, &random).unwrap();
    let code = code();
    for (drawn, first) in [(0x00, 0x40), (0x40, 0x40), (0x7F, 0x7F), (0xBF, 0x7F)] {
        let leaf = VerificationLeaf {
            ca: &ca,
            code: &code,
            validity: Validity::between(NOW, NOW + DAY),
            serial: [drawn; 16],
        };
        let der = leaf.sign(&signer, algorithms::RING).unwrap();
        let mut serial = [drawn; 16];
        serial[0] = first;
        let made = Certificate::from_der(&der).unwrap();
        assert_eq!(made.serial().as_bytes(), serial);
        assert!(made.basic_constraints().unwrap().is_some_and(|it| !it.ca));
        assert!(
            made.key_usage()
                .unwrap()
                .is_some_and(|usage| !usage.key_cert_sign())
        );
    }
}

#[test]
fn a_leaf_is_made_for_times_from_1970_to_9999() {
    let upload = Upload::decode(CA_PEM).unwrap();
    let ca = upload.certificate().unwrap();
    let key = PrivateKey::from_pem_or_der(CA_KEY).unwrap();
    let random = SystemRandom::new();
    let signer = RingSigner::new(&key, &ca, &random).unwrap();
    let code = code();
    let (last, in_milliseconds) = (253_402_300_799, NOW as i64 * 1_000);
    for (not_before, not_after, wrong) in [
        (0, last, None),
        (2_524_607_999, 2_524_608_000, None),
        (-1, last, Some(-1)),
        (0, last + 1, Some(last + 1)),
        (in_milliseconds, last, Some(in_milliseconds)),
        (0, i64::MAX, Some(i64::MAX)),
    ] {
        let validity = Validity {
            not_before,
            not_after,
        };
        let leaf = VerificationLeaf {
            ca: &ca,
            code: &code,
            validity,
            serial: [7; 16],
        };
        match (leaf.sign(&signer, algorithms::RING), wrong) {
            (Ok(der), None) => {
                assert_eq!(Certificate::from_der(&der).unwrap().validity(), validity);
            }
            (refused, Some(seconds)) => {
                assert_eq!(refused, Err(X509Error::TimeOutOfRange { seconds }));
            }
            (refused, None) => panic!("{refused:?}"),
        }
    }
}

/// The texts that people see and that are logged.
#[test]
fn reports_say_whose_and_what() {
    let mut leaf = Forged::leaf();
    leaf.serial = vec![0x80];
    leaf.extensions.push(extension(UNKNOWN, true, b""));
    leaf.subject = common_name("another");
    let report = judge(CA_PEM, &leaf.sign(), &DEFAULT);
    let told = report.to_string();
    for says in [
        "read from DER",
        "the serial number of the leaf is negative",
        "the leaf has the critical extension 1.2.3.4, which is unknown here",
    ] {
        assert!(told.contains(says), "{told}");
    }
    assert_eq!(
        report.reasons(),
        "the leaf's common name is not the code (it has 7 characters); \
         the leaf has the critical extension 1.2.3.4, which is unknown here"
    );
    for (shown, expected) in [
        (Role::Ca.to_string(), "the CA certificate"),
        (ReadExtension::KeyUsage.to_string(), "keyUsage"),
        (Encoding::Base64Pem.to_string(), "base64 of PEM"),
        (Layer::InsideBase64.to_string(), "inside the base64"),
        (Outcome::NotRequested.to_string(), "skipped"),
        (Hash::Sha384.to_string(), "SHA-384"),
        (ParametersProblem::NotNull.to_string(), "they must be NULL"),
        (
            ParametersProblem::ExplicitCurve.to_string(),
            "they must name the curve",
        ),
        (ProofCheck::NotTheCa.to_string(), "not-the-ca"),
    ] {
        assert_eq!(shown, expected);
    }
}

#[test]
fn validity_has_a_stated_skew_at_both_ends() {
    let skew = 300;
    let cases = [
        (NOW + skew, NOW + DAY, Outcome::Pass),
        (NOW + skew + 1, NOW + DAY, Outcome::Fail),
        (NOW - DAY, NOW - skew, Outcome::Pass),
        (NOW - DAY, NOW - skew - 1, Outcome::Fail),
    ];
    for (not_before, not_after, outcome) in cases {
        let mut leaf = Forged::leaf();
        (leaf.not_before, leaf.not_after) = (not_before, not_after);
        let report = judge(CA_PEM, &leaf.sign(), &DEFAULT);
        assert_only(&report, &[(ProofCheck::LeafValidity, outcome)]);
        let mut ca = Forged::ca();
        (ca.not_before, ca.not_after) = (not_before, not_after);
        let report = judge(&ca.sign(), &Forged::leaf().sign(), &DEFAULT);
        assert_only(&report, &[(ProofCheck::CaValidity, outcome)]);
    }
    let mut leaf = Forged::leaf();
    leaf.not_after = NOW - 1;
    let mut exact = DEFAULT;
    exact.clock_skew = Duration::ZERO;
    assert_refused_as_expired(&judge(CA_PEM, &leaf.sign(), &exact), NOW as i64 - 1);
    // The extreme values of u64 neither wrap nor panic.
    let ca = Upload::decode(CA_PEM).unwrap();
    for now in [0, u64::MAX] {
        let mut far = DEFAULT;
        far.clock_skew = Duration::from_secs(u64::MAX);
        let report = prove(
            &ca.certificate().unwrap(),
            &Forged::leaf().sign(),
            &code().bound_to(ca.certificate().unwrap().sha256_thumbprint(), None),
            now,
            &far,
        );
        assert!(report.accepted(), "{report}");
    }
}

#[track_caller]
fn assert_refused_as_expired(report: &Report<ProofFinding>, not_after: i64) {
    let expired = ProofFinding::Expired {
        role: Role::Leaf,
        not_after,
    };
    assert_eq!(report.first_refusal(), Some(&expired));
}

#[test]
fn certificates_may_begin_in_1950() {
    let (begun_in_1950, never_ends) = (b"500101000000Z", b"99991231235959Z");
    let contents = [tlv(0x17, begun_in_1950), tlv(0x18, never_ends)].concat();
    let ca = Forged {
        validity: Some(contents.clone()),
        ..Forged::ca()
    };
    let leaf = Forged {
        validity: Some(contents),
        ..Forged::leaf()
    };
    let report = judge(&ca.sign(), &leaf.sign(), &STRICT);
    assert_only(&report, &[]);
    let over = [tlv(0x17, begun_in_1950), tlv(0x17, b"691231235959Z")].concat();
    let leaf = Forged {
        validity: Some(over),
        ..Forged::leaf()
    };
    let report = judge(CA_PEM, &leaf.sign(), &DEFAULT);
    assert_refused_as_expired(&report, -1);
    assert!(
        report.to_string().contains("1969-12-31T23:59:59Z"),
        "{report}"
    );
}

#[test]
fn an_early_generalized_time_is_irregular() {
    let early = [tlv(0x18, b"20200101000000Z"), tlv(0x18, b"20500101000000Z")].concat();
    let leaf = Forged {
        validity: Some(early.clone()),
        ..Forged::leaf()
    };
    let finding = |role| ProofFinding::EarlyGeneralizedTime { role };
    let check = [ProofCheck::LeafValidity];
    assert_irregular(CA_PEM, &leaf.sign(), &check, &finding(Role::Leaf));
    let ca = Forged {
        validity: Some(early),
        ..Forged::ca()
    };
    let leaf = Forged::leaf().sign();
    let check = [ProofCheck::CaValidity];
    assert_irregular(&ca.sign(), &leaf, &check, &finding(Role::Ca));
}

#[test]
fn a_check_of_another_time_says_at_that_time() {
    let report = judge(CA_PEM, &Forged::leaf().sign(), &DEFAULT);
    assert_eq!(report.to_string().matches("valid now").count(), 2);
    let report = report.at_requested_time();
    assert!(report.accepted());
    let told = report.to_string();
    assert_eq!(told.matches("valid at that time").count(), 2, "{told}");
    assert!(!told.contains("valid now"), "{told}");
}

#[test]
fn a_list_of_no_extensions_is_irregular() {
    let empty = |forged: Forged| Forged {
        extensions: Vec::new(),
        empty_extensions: true,
        ..forged
    };
    let leaf = empty(Forged::leaf()).sign();
    let finding = |role| ProofFinding::ExtensionsEmpty { role };
    let check = [ProofCheck::LeafExtensions];
    assert_irregular(CA_PEM, &leaf, &check, &finding(Role::Leaf));
    let report = judge(&empty(Forged::ca()).sign(), &Forged::leaf().sign(), &STRICT);
    let found = report.findings(ProofCheck::CaExtensions).next();
    assert_eq!(found, Some(&finding(Role::Ca)), "{report}");
}

#[test]
fn directory_strings_of_other_types_are_irregular() {
    let mut leaf = Forged::leaf();
    leaf.subject = name(&[&[attribute(CN, IA5, CODE.as_bytes())]]);
    let finding = |role, attribute| ProofFinding::StringTypeForbidden { role, attribute };
    let check = [ProofCheck::CommonName];
    assert_irregular(CA_PEM, &leaf.sign(), &check, &finding(Role::Leaf, "CN"));
    let (mut ca, mut leaf) = (Forged::ca(), Forged::leaf());
    ca.subject = name(&[&[attribute(O, IA5, b"Acme")]]);
    leaf.issuer = name(&[&[attribute(O, UTF8, b"Acme")]]);
    let check = [ProofCheck::Issuer];
    let report = judge(&ca.sign(), &leaf.sign(), &STRICT);
    assert_only(&report, &[(check[0], Outcome::Fail)]);
    assert_eq!(report.first_refusal(), Some(&finding(Role::Ca, "O")));
}

#[test]
fn compressed_points_are_called_that() {
    let mut ca = Forged::ca();
    let key = Upload::decode(CA_PEM).unwrap().into_der();
    let key = Certificate::from_der(&key)
        .unwrap()
        .public_key()
        .key()
        .to_vec();
    let sign = 0x02 + (key[64] & 1);
    let p256: &[u8] = &[
        0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86,
        0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07,
    ];
    let point = [&[0x00, sign], &key[1..33]].concat();
    ca.public_key = sequence(&[p256, &tlv(0x03, &point)]);
    let finding = ProofFinding::SignatureRefused(X509Error::PublicKeyCompressed {
        key: "P-256".into(),
    });
    let leaf = Forged::leaf().sign();
    assert_refused(&ca.sign(), &leaf, ProofCheck::Signature, &finding);
    assert!(finding.to_string().contains("compressed"), "{finding}");
    assert!(finding.remedy().contains("uncompressed"));
}

#[test]
fn the_ca_itself_is_no_leaf() {
    let mut ca = Forged::ca();
    // The CA's name is the code, so that nothing else is wrong.
    ca.subject = common_name(CODE);
    ca.issuer = common_name(CODE);
    let der = ca.sign();
    let report = judge(&der, &der, &DEFAULT);
    assert_only(
        &report,
        &[
            (ProofCheck::NotTheCa, Outcome::Fail),
            (ProofCheck::LeafConstraints, Outcome::Warn),
        ],
    );
    // With a new signature (ECDSA is randomised) it is still the same certificate.
    let again = ca.sign();
    assert_ne!(der, again);
    assert_eq!(
        judge(&der, &again, &DEFAULT).first_refusal(),
        Some(&ProofFinding::LeafIsTheCa)
    );
}

#[test]
fn the_ca_must_be_let_issue() {
    let leaf = Forged::leaf().sign();
    let with = |extensions| Forged::ca().with_extensions(extensions).sign();
    let constraints = |value: &[u8]| extension(BASIC_CONSTRAINTS, true, value);
    let usage = |value: &[u8]| extension(KEY_USAGE, true, value);
    let malformed = |extension| ProofFinding::ExtensionMalformed {
        role: Role::Ca,
        extension,
    };
    for (extensions, check, finding) in [
        // CA:FALSE as the default and explicitly encoded.
        (
            vec![constraints(&[0x30, 0x00])],
            ProofCheck::CaConstraints,
            ProofFinding::CaFalse,
        ),
        (
            vec![constraints(&[0x30, 0x03, 0x01, 0x01, 0x00])],
            ProofCheck::CaConstraints,
            ProofFinding::CaFalse,
        ),
        // Only digitalSignature.
        (
            vec![constraints(CA_TRUE), usage(&[0x03, 0x02, 0x07, 0x80])],
            ProofCheck::CaKeyUsage,
            ProofFinding::KeyCertSignMissing,
        ),
        (
            vec![constraints(&[0x05, 0x00])],
            ProofCheck::CaConstraints,
            malformed(ReadExtension::BasicConstraints),
        ),
        (
            vec![constraints(CA_TRUE), usage(&[0x03, 0x02, 0x00, 0x06, 0x00])],
            ProofCheck::CaKeyUsage,
            malformed(ReadExtension::KeyUsage),
        ),
        // Two of them are ambiguous.
        (
            vec![constraints(CA_TRUE); 2],
            ProofCheck::CaExtensions,
            ProofFinding::ExtensionDuplicated {
                role: Role::Ca,
                oid: "2.5.29.19".into(),
                needed: true,
            },
        ),
    ] {
        assert_refused(&with(extensions), &leaf, check, &finding);
    }
    for (extensions, finding) in [
        (
            vec![usage(CERT_SIGN)],
            ProofFinding::BasicConstraintsMissing,
        ),
        (
            vec![extension(BASIC_CONSTRAINTS, false, CA_TRUE)],
            ProofFinding::BasicConstraintsNotCritical,
        ),
    ] {
        let check = [ProofCheck::CaConstraints];
        assert_irregular(&with(extensions), &leaf, &check, &finding);
    }
    let without_usage = with(vec![constraints(CA_TRUE)]);
    assert_only(&judge(&without_usage, &leaf, &STRICT), &[]);
}

/// Two extensions of one kind are ambiguous, which matters if a check reads them.
#[test]
fn doubled_extensions_refuse_where_a_check_depends_on_them() {
    let leaf = Forged::leaf().sign();
    let with = |[one, two]: [Vec<u8>; 2]| {
        let ca_true = extension(BASIC_CONSTRAINTS, true, CA_TRUE);
        Forged::ca().with_extensions(vec![ca_true, one, two]).sign()
    };
    let twice = |role, oid: &str, needed| ProofFinding::ExtensionDuplicated {
        role,
        oid: oid.to_owned(),
        needed,
    };
    let cert_sign = extension(KEY_USAGE, true, CERT_SIGN);
    assert_refused(
        &with([cert_sign.clone(), cert_sign]),
        &leaf,
        ProofCheck::CaExtensions,
        &twice(Role::Ca, "2.5.29.15", true),
    );
    let unknown = extension(UNKNOWN, false, b"");
    assert_irregular(
        &with([unknown.clone(), unknown]),
        &leaf,
        &[ProofCheck::CaExtensions],
        &twice(Role::Ca, "1.2.3.4", false),
    );
    let not_a_ca = extension(BASIC_CONSTRAINTS, true, &[0x30, 0x00]);
    let of_leaf = Forged::leaf().with_extensions(vec![not_a_ca; 2]);
    assert_irregular(
        CA_PEM,
        &of_leaf.sign(),
        &[ProofCheck::LeafExtensions],
        &twice(Role::Leaf, "2.5.29.19", false),
    );
}

#[test]
fn a_leaf_that_is_a_ca_or_malformed_is_irregular() {
    let with = |extensions| Forged::leaf().with_extensions(extensions).sign();
    let malformed = |extension| ProofFinding::ExtensionMalformed {
        role: Role::Leaf,
        extension,
    };
    let alt_name = sequence(&[&tlv(0x82, format!("CN={CODE}").as_bytes())]);
    let unknown = extension(UNKNOWN, false, b"");
    let cert_sign = extension(KEY_USAGE, true, CERT_SIGN);
    for (extensions, check, finding) in [
        (
            vec![extension(BASIC_CONSTRAINTS, true, CA_TRUE)],
            ProofCheck::LeafConstraints,
            ProofFinding::LeafIsCa,
        ),
        // Azure's service has accepted this one and the next.
        (
            vec![extension(
                BASIC_CONSTRAINTS,
                true,
                &[0x30, 0x03, 0x02, 0x01, 0x00],
            )],
            ProofCheck::LeafConstraints,
            ProofFinding::PathLenWithoutCa,
        ),
        (
            vec![extension(SUBJECT_ALT_NAME, false, &alt_name)],
            ProofCheck::LeafExtensions,
            malformed(ReadExtension::SubjectAltName),
        ),
        (
            vec![extension(BASIC_CONSTRAINTS, false, b"broken")],
            ProofCheck::LeafConstraints,
            malformed(ReadExtension::BasicConstraints),
        ),
        (
            vec![unknown.clone(); 3],
            ProofCheck::LeafExtensions,
            ProofFinding::ExtensionDuplicated {
                role: Role::Leaf,
                oid: "1.2.3.4".into(),
                needed: false,
            },
        ),
        (
            vec![cert_sign.clone()],
            ProofCheck::LeafConstraints,
            ProofFinding::KeyCertSignWithoutCa,
        ),
        (
            vec![extension(BASIC_CONSTRAINTS, true, &[0x30, 0x00]), cert_sign],
            ProofCheck::LeafConstraints,
            ProofFinding::KeyCertSignWithoutCa,
        ),
        (
            vec![extension(KEY_USAGE, true, b"?")],
            ProofCheck::LeafExtensions,
            malformed(ReadExtension::KeyUsage),
        ),
    ] {
        assert_irregular(CA_PEM, &with(extensions), &[check], &finding);
    }
    // An extension that no check needs is not parsed: its value is not DER.
    assert_only(&judge(CA_PEM, &with(vec![unknown]), &STRICT), &[]);
    // A key usage without keyCertSign passes: digitalSignature.
    let signs = with(vec![extension(KEY_USAGE, true, &[0x03, 0x02, 0x07, 0x80])]);
    assert_only(&judge(CA_PEM, &signs, &STRICT), &[]);
    // Valid host names pass.
    let hosts = sequence(&[&tlv(0x82, b"*.example.com"), &tlv(0x82, b"a_b.example")]);
    let hosts = with(vec![extension(SUBJECT_ALT_NAME, true, &hosts)]);
    assert_only(&judge(CA_PEM, &hosts, &STRICT), &[]);
}

#[test]
fn unknown_critical_extensions_are_refused() {
    let unknown = extension(UNKNOWN, true, b"");
    let finding = |role| ProofFinding::CriticalExtensionUnknown {
        role,
        oid: "1.2.3.4".into(),
    };
    let mut leaf = Forged::leaf();
    leaf.extensions.push(unknown.clone());
    assert_refused(
        CA_PEM,
        &leaf.sign(),
        ProofCheck::LeafExtensions,
        &finding(Role::Leaf),
    );
    let mut ca = Forged::ca();
    ca.extensions.push(unknown);
    assert_refused(
        &ca.sign(),
        &Forged::leaf().sign(),
        ProofCheck::CaExtensions,
        &finding(Role::Ca),
    );

    let mut ca = Forged::ca();
    ca.extensions.push(extension(NAME_CONSTRAINTS, true, b""));
    assert_irregular(
        &ca.sign(),
        &Forged::leaf().sign(),
        &[ProofCheck::CaExtensions],
        &ProofFinding::ConstraintNotApplied {
            role: Role::Ca,
            oid: "2.5.29.30".into(),
        },
    );
}

#[test]
fn old_versions_are_irregular() {
    let old = |role| ProofFinding::VersionOld { role, version: 1 };
    let v1 = Forged {
        version: None,
        extensions: Vec::new(),
        ..Forged::leaf()
    };
    assert_irregular(CA_PEM, &v1.sign(), &[ProofCheck::Version], &old(Role::Leaf));
    let v1_ca = Forged {
        version: None,
        extensions: Vec::new(),
        ..Forged::ca()
    };
    assert_irregular(
        &v1_ca.sign(),
        &Forged::leaf().sign(),
        &[ProofCheck::CaConstraints, ProofCheck::Version],
        &ProofFinding::BasicConstraintsMissing,
    );
    let with_extensions = Forged {
        version: None,
        ..Forged::leaf()
    };
    assert_irregular(
        CA_PEM,
        &with_extensions.sign(),
        &[ProofCheck::LeafExtensions, ProofCheck::Version],
        &ProofFinding::ExtensionsBeforeV3 { role: Role::Leaf },
    );
    // An unknown critical extension is refused in version 1 too.
    let mut sneaky = with_extensions;
    sneaky.extensions.push(extension(UNKNOWN, true, b""));
    assert!(!judge(CA_PEM, &sneaky.sign(), &DEFAULT).accepted());
}

#[test]
fn odd_serial_numbers_are_irregular() {
    let cases = [
        (vec![0x00], SerialOddity::Zero),
        (vec![0x80], SerialOddity::Negative),
        (vec![0x01; 21], SerialOddity::TooLong { octets: 21 }),
    ];
    for (serial, oddity) in cases {
        let finding = |role| ProofFinding::SerialOdd { role, oddity };
        let leaf = Forged {
            serial: serial.clone(),
            ..Forged::leaf()
        };
        assert_irregular(
            CA_PEM,
            &leaf.sign(),
            &[ProofCheck::Serial],
            &finding(Role::Leaf),
        );
        let ca = Forged {
            serial,
            ..Forged::ca()
        };
        assert_irregular(
            &ca.sign(),
            &Forged::leaf().sign(),
            &[ProofCheck::Serial],
            &finding(Role::Ca),
        );
    }
}

#[test]
fn weak_hashes_count_on_the_leaf_alone() {
    let weak = |forged: Forged| Forged {
        inner_algorithm: RSA_SHA1.to_vec(),
        outer_algorithm: RSA_SHA1.to_vec(),
        ..forged
    };
    let report = judge(CA_PEM, &weak(Forged::leaf()).sign(), &DEFAULT);
    assert_only(
        &report,
        &[
            (ProofCheck::HashStrength, Outcome::Fail),
            (ProofCheck::Signature, Outcome::NotEvaluated),
        ],
    );
    assert_eq!(
        report.first_refusal(),
        Some(&ProofFinding::WeakHash {
            role: Role::Leaf,
            hash: "SHA-1"
        })
    );
    for policy in [DEFAULT, STRICT] {
        let report = judge(&weak(Forged::ca()).sign(), &Forged::leaf().sign(), &policy);
        assert_only(&report, &[(ProofCheck::HashStrength, Outcome::Warn)]);
    }
    // RSASSA-PSS defaults to SHA-1 if no hash is given (RFC 4055 section 3.1).
    let rsassa_pss = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A];
    let of_sha1 = sequence(&[&tlv(0x06, &rsassa_pss), &[0x30, 0x00]]);
    let leaf = Forged {
        inner_algorithm: of_sha1.clone(),
        outer_algorithm: of_sha1,
        ..Forged::leaf()
    };
    let report = judge(CA_PEM, &leaf.sign(), &DEFAULT);
    assert_eq!(
        report.first_refusal(),
        Some(&ProofFinding::WeakHash {
            role: Role::Leaf,
            hash: "SHA-1"
        })
    );
}

#[test]
fn a_certificate_after_the_leaf_is_a_warning() {
    let leaf = BASE64.encode(&Forged::leaf().sign());
    let once = format!("-----BEGIN CERTIFICATE-----\n{leaf}\n-----END CERTIFICATE-----\n");
    let twice = once.repeat(2);
    for policy in [DEFAULT, STRICT] {
        assert_only(&judge(CA_PEM, once.as_bytes(), &policy), &[]);
        let report = judge(CA_PEM, twice.as_bytes(), &policy);
        assert_only(&report, &[(ProofCheck::Leaf, Outcome::Warn)]);
    }
}

#[test]
fn an_unreadable_leaf_leaves_its_checks_unjudged() {
    let mut trailing = Forged::leaf().sign();
    trailing.push(0);
    for leaf in [&b""[..], b"hello", &trailing, CA_KEY] {
        let report = judge(CA_PEM, leaf, &DEFAULT);
        assert!(
            matches!(
                report.first_refusal(),
                Some(ProofFinding::LeafUnreadable(_))
            ),
            "{report}"
        );
        for check in [
            ProofCheck::Issuer,
            ProofCheck::Signature,
            ProofCheck::CommonName,
            ProofCheck::Serial,
        ] {
            assert_eq!(report.outcome(check), Outcome::NotEvaluated, "{report}");
            assert!(report.detail(check).contains("the leaf cannot be read"));
        }
        assert_eq!(report.outcome(ProofCheck::CaConstraints), Outcome::Pass);
    }
}

#[test]
fn codes_are_bound_expire_and_are_spent_once() {
    let upload = Upload::decode(CA_PEM).unwrap();
    let ca = upload.certificate().unwrap();
    let issued = |expires_at| VerificationCode::issue(&[0xAB; 24], &ca, expires_at);
    assert_eq!(issued(None).digits(), "AB".repeat(24));
    assert_eq!(issued(None).certificate(), Some(ca.sha256_thumbprint()));
    let leaf = Forged {
        subject: common_name(&"AB".repeat(24)),
        ..Forged::leaf()
    }
    .sign();

    let other = Forged::ca().sign();
    let other = Upload::decode(&other).unwrap();
    let report = prove(
        &other.certificate().unwrap(),
        &leaf,
        &issued(None),
        NOW,
        &DEFAULT,
    );
    assert_eq!(
        report.first_refusal(),
        Some(&ProofFinding::CodeForAnotherCertificate)
    );

    // No clock skew is allowed for.
    let report = prove(&ca, &leaf, &issued(Some(NOW)), NOW, &DEFAULT);
    let expired = ProofFinding::CodeExpired { expired_at: NOW };
    assert_eq!(report.first_refusal(), Some(&expired));
    let last = 253_402_300_799;
    let report = prove(&ca, &leaf, &issued(Some(last)), NOW, &DEFAULT);
    assert_only(&report, &[]);
    for expires_at in [last + 1, (NOW + 60) * 1_000, u64::MAX] {
        let report = prove(&ca, &leaf, &issued(Some(expires_at)), NOW, &DEFAULT);
        let endless = ProofFinding::CodeExpiryOutOfRange { expires_at };
        assert_eq!(report.first_refusal(), Some(&endless));
        assert_only(&report, &[(ProofCheck::Code, Outcome::Fail)]);
    }

    // The digits alone contain neither an expiry nor the certificate.
    let digits: VerificationCode = issued(None).digits().parse().unwrap();
    let report = prove(&ca, &leaf, &digits, NOW, &DEFAULT);
    assert_eq!(report.first_refusal(), Some(&ProofFinding::CodeUnbound));
    assert_only(&report, &[(ProofCheck::Code, Outcome::Fail)]);

    let wrong = Forged::leaf().sign();
    let Redemption::Kept { report, code } =
        issued(Some(NOW + 1)).redeem(&ca, &wrong, NOW, &DEFAULT)
    else {
        panic!("a refused proof spends no code");
    };
    assert!(!report.accepted());
    let Redemption::Spent { report } = code.redeem(&ca, &leaf, NOW, &DEFAULT) else {
        panic!("an accepted proof spends its code");
    };
    assert!(report.accepted());
}

#[test]
fn codes_are_48_upper_case_hexadecimal_digits() {
    assert!(VerificationCode::parse(CODE).is_ok());
    let at = |text: &str| match VerificationCode::parse(text) {
        Err(X509Error::CodeMalformed { at }) => at,
        other => panic!("{other:?}"),
    };
    assert_eq!(at(""), 0);
    assert_eq!(at(&CODE[1..]), 47);
    assert_eq!(at(&format!("{CODE}0")), 48);
    assert_eq!(at(&CODE.replace('D', "d")), 1);
    assert_eq!(at(&format!(" {CODE}")), 0);
}

#[test]
fn a_report_is_one_json_object_and_one_line_a_check() {
    let report = judge(CA_PEM, &Forged::leaf().sign(), &DEFAULT);
    let text = report.to_string();
    assert_eq!(text.lines().count(), ProofCheck::ALL.len() + 1);
    assert!(text.ends_with("accepted"), "{text}");
    #[cfg(feature = "serde")]
    {
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["accepted"], true);
        assert_eq!(json["policy"], "default");
        let checks = json["checks"].as_array().unwrap();
        let names: Vec<_> = checks
            .iter()
            .map(|row| row["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ProofCheck::ALL
                .iter()
                .map(|check| check.name())
                .collect::<Vec<_>>()
        );
        assert_eq!(checks[3]["outcome"], "pass");
        assert_eq!(
            checks[3]["detail"],
            "ECDSA P-256 with SHA-256 over the received bytes"
        );
    }
}
