//! The check of quotes: genuine ones by a TPM, and each way in which one can be wrong.

#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

mod software_tpm;
mod vectors;

use keyproof_tpm::{
    AttestationKeyCheck, AttestationKeyPolicy, AttestationReport, AttestationTemplate, Attested,
    Buffer, Check as _, EccCurve, EccScheme, Finding as _, HashAlgorithm, KdfAlgorithm, KdfScheme,
    ObjectAttributes, Outcome, PublicKey, QuoteCheck, QuoteEvidence, QuotePolicy, RsaScheme,
    Structure, SymmetricAlgorithm, SymmetricMode, SymmetricObject, TpmlPcrSelection, TpmsAttest,
    TpmsClockInfo, TpmtPublic, algorithms, check_quote,
};
use proptest::prelude::*;

use software_tpm::{SoftwareKey, ecdsa, quote};
use vectors::read;

/// The types of the software TPM's quoting keys: RSASSA, ECDSA P-256, RSAPSS, and ECDSA P-384 with
/// SHA-384.
const QUOTED: [(&str, &str); 4] = [
    ("rsa2048", "sha256:0,1,2,3,4,5,6,7,16"),
    ("eccp256", "sha256:0,1,2,3,4,5,6,7,16"),
    ("rsapss", "sha256:0,1,7+sha384:0,16"),
    ("eccp384", "sha256:0,1,7+sha384:0,16"),
];

/// A quote with all inputs of its check.
#[derive(Clone)]
struct Case {
    ak: TpmtPublic,
    ek: TpmtPublic,
    attest: Vec<u8>,
    signature: Vec<u8>,
    values: Vec<u8>,
    nonce: Vec<u8>,
    selection: TpmlPcrSelection,
    last_seen: TpmsClockInfo,
}

impl Case {
    fn of((kind, selection): (&str, &str)) -> Self {
        let attest = read(kind, "quote.tpms_attest.bin");
        let last_seen = TpmsAttest::parse(&attest).unwrap().clock_info;
        Self {
            ak: TpmtPublic::parse_sized(&read(kind, "ak.pub.tpm2b")).unwrap(),
            ek: TpmtPublic::parse_sized(&read(kind, "ek.pub.tpm2b")).unwrap(),
            attest,
            signature: read(kind, "quote.tpmt_signature.bin"),
            values: read(kind, "quote.pcrs.values.bin"),
            nonce: read(kind, "quote.nonce.bin"),
            selection: selection.parse().unwrap(),
            last_seen,
        }
    }

    fn policy(&self) -> QuotePolicy<'_> {
        let mut policy = QuotePolicy::new(&self.nonce, &self.selection, algorithms::RING);
        policy.ek = Some(&self.ek);
        policy.last_seen = Some(self.last_seen);
        policy
    }

    fn evidence(&self) -> QuoteEvidence<'_> {
        QuoteEvidence {
            attest: &self.attest,
            signature: &self.signature,
            pcr_values: Some(&self.values),
        }
    }

    fn check(&self) -> AttestationReport<QuoteCheck> {
        self.check_with(|_| ())
    }

    fn check_with(
        &self,
        change: impl FnOnce(&mut QuotePolicy<'_>),
    ) -> AttestationReport<QuoteCheck> {
        let mut policy = self.policy();
        change(&mut policy);
        check_quote(&self.ak, &self.evidence(), &policy).report
    }
}

/// A case signed by a software key. It is valid until a test changes something and signs again.
struct Forger {
    key: SoftwareKey,
    case: Case,
}

impl Forger {
    fn new() -> Self {
        let key = SoftwareKey::new(AttestationTemplate::ATTRIBUTES);
        let mut case = Case::of(QUOTED[1]);
        case.ak = key.public.clone();
        let mut forger = Self { key, case };
        let ek = keyproof_tpm::QualifiedName::of_primary(
            keyproof_tpm::Hierarchy::Endorsement,
            &forger.case.ek,
        );
        let signer = ek.unwrap().of_child(&forger.case.ak).unwrap();
        let signer = Buffer::new(signer.as_bytes()).unwrap();
        forger.change(|attest| attest.qualified_signer = signer);
        assert!(forger.case.check().accepted(), "{}", forger.case.check());
        forger
    }

    /// Changes the attestation and signs it again.
    fn change(&mut self, change: impl FnOnce(&mut TpmsAttest)) {
        let mut attest = TpmsAttest::parse(&self.case.attest).unwrap();
        change(&mut attest);
        self.set_attest(attest.to_bytes());
    }

    fn set_attest(&mut self, attest: Vec<u8>) {
        self.case.signature = self.key.signature(&attest);
        self.case.attest = attest;
    }
}

/// Asserts that exactly these checks fail.
#[track_caller]
fn refused(report: &AttestationReport<QuoteCheck>, by: &[QuoteCheck]) {
    let failed: Vec<QuoteCheck> = QuoteCheck::ALL
        .iter()
        .copied()
        .filter(|check| report.outcome(*check) == Outcome::Fail)
        .collect();
    assert_eq!(failed, by, "{report}");
    assert!(!report.accepted());
}

#[track_caller]
fn ends(report: &AttestationReport<QuoteCheck>, check: QuoteCheck, outcome: Outcome) {
    assert_eq!(report.outcome(check), outcome, "{report}");
    assert_eq!(report.accepted(), outcome != Outcome::Fail, "{report}");
}

#[test]
fn the_quotes_of_a_tpm_pass_every_check() {
    for quoted in QUOTED {
        let report = Case::of(quoted).check();
        assert!(report.accepted(), "{report}");
        for check in QuoteCheck::ALL {
            assert_eq!(report.outcome(*check), Outcome::Pass, "{report}");
        }
    }
}

#[test]
fn names_and_order_are_stable() {
    let report = Case::of(QUOTED[0]).check();
    let names: Vec<&str> = report.rows().map(|row| row.name).collect();
    assert_eq!(
        names,
        [
            "attesting-key",
            "signature",
            "magic",
            "type",
            "structure",
            "extra-data",
            "pcr-selection",
            "pcr-digest",
            "weak-hashes",
            "qualified-signer",
            "reset-counters",
            "clock",
        ]
    );
    assert_eq!(
        report.detail(QuoteCheck::Signature),
        "RSA PKCS#1 v1.5 with SHA-256"
    );
    assert_eq!(report.detail(QuoteCheck::PcrSelection), QUOTED[0].1);
    assert!(
        report.to_string().starts_with("pass     attesting-key"),
        "{report}"
    );
}

#[test]
fn every_byte_of_the_attestation_is_signed() {
    every_byte_counts(|case| &mut case.attest);
}

#[test]
fn every_byte_of_the_signature_counts() {
    every_byte_counts(|case| &mut case.signature);
}

/// Asserts that no quote is accepted with another bit in `part`.
#[track_caller]
fn every_byte_counts(part: fn(&mut Case) -> &mut Vec<u8>) {
    for quoted in QUOTED {
        let mut case = Case::of(quoted);
        for at in 0..part(&mut case).len() {
            let mut changed = case.clone();
            *part(&mut changed).get_mut(at).unwrap() ^= 1;
            let report = changed.check();
            let outcome = report.outcome(QuoteCheck::Signature);
            assert_eq!(outcome, Outcome::Fail, "{at} {report}");
            assert!(!report.accepted());
        }
    }
}

#[test]
fn another_key_of_the_same_type_is_refused() {
    for (kind, object) in [("rsa2048", "rsapss"), ("eccp256", "eccp256")] {
        let mut case = Case::of(QUOTED[if kind == "rsa2048" { 0 } else { 1 }]);
        let other = if kind == object {
            SoftwareKey::new(AttestationTemplate::ATTRIBUTES).public
        } else {
            // An RSAPSS key with a public area for RSASSA.
            let spki = Case::of(QUOTED[2]).ak.to_spki().unwrap();
            let template = AttestationTemplate::below(&case.ek).unwrap();
            TpmtPublic::attestation_from_spki(&spki, &template).unwrap()
        };
        case.ak = other;
        refused(
            &case.check(),
            &[QuoteCheck::Signature, QuoteCheck::QualifiedSigner],
        );
    }
}

#[test]
fn the_scheme_is_the_keys() {
    // An RSAPSS signature labelled RSASSA, and vice versa.
    for (quoted, scheme) in [(QUOTED[0], 0x16), (QUOTED[2], 0x14)] {
        let mut case = Case::of(quoted);
        case.signature[1] = scheme;
        refused(&case.check(), &[QuoteCheck::Signature]);
    }
    // The hash of the signature is not the key's.
    let mut case = Case::of(QUOTED[0]);
    case.signature[3] = 0x0c;
    refused(
        &case.check(),
        &[QuoteCheck::Signature, QuoteCheck::PcrDigest],
    );
    // A signature of another key type.
    let mut case = Case::of(QUOTED[0]);
    case.signature = Case::of(QUOTED[1]).signature;
    refused(&case.check(), &[QuoteCheck::Signature]);
}

/// A valid signature under another scheme than the key's.
#[test]
fn a_key_signs_by_its_own_scheme_alone() {
    let (sha256, sha512) = (HashAlgorithm::Sha256, HashAlgorithm::Sha512);
    for quoted in QUOTED {
        for (rsa, ecc) in [
            (RsaScheme::Rsassa(sha512), EccScheme::Ecdsa(sha512)),
            (RsaScheme::Rsapss(sha512), EccScheme::Ecschnorr(sha256)),
        ] {
            let mut case = Case::of(quoted);
            match &mut case.ak.key {
                PublicKey::Ecc(key) => key.scheme = Some(ecc),
                PublicKey::Rsa(key) => key.scheme = Some(rsa),
            }
            let report = case.check();
            assert_eq!(
                report.detail(QuoteCheck::Signature),
                "its scheme is not the key's"
            );
            assert_eq!(report.outcome(QuoteCheck::Signature), Outcome::Fail);
        }
        let mut case = Case::of(quoted);
        match &mut case.ak.key {
            PublicKey::Ecc(key) => key.scheme = None,
            PublicKey::Rsa(key) => key.scheme = None,
        }
        assert_eq!(case.check().outcome(QuoteCheck::Signature), Outcome::Fail);
    }
}

/// The form that a TPM outside FIPS mode may write: verified if the table supports it, otherwise
/// rejected.
#[test]
fn the_longest_salt_needs_its_algorithm() {
    let mut case = Case::of(QUOTED[2]);
    let software = TpmtPublic::parse_sized(&read("software", "rsa2048.ek.pub.tpm2b")).unwrap();
    if let (PublicKey::Rsa(ak), PublicKey::Rsa(software)) = (&mut case.ak.key, software.key) {
        ak.modulus = software.modulus;
    }
    case.signature = read("software", "rsa2048.longest-salt.tpmt_signature.bin");
    let judge = |case: &Case, algorithms| {
        let mut policy = case.policy();
        policy.ek = None;
        policy.algorithms = algorithms;
        check_quote(&case.ak, &case.evidence(), &policy).report
    };
    refused(&judge(&case, algorithms::RING), &[QuoteCheck::Signature]);
    for table in [algorithms::AWS_LC_RS, algorithms::ALL] {
        let report = judge(&case, table);
        assert!(report.accepted(), "{report}");
        let salt = "RSA PSS (longest salt) with SHA-256";
        assert_eq!(report.detail(QuoteCheck::Signature), salt);
        let mut changed = case.clone();
        changed.attest[100] ^= 1;
        assert!(!judge(&changed, table).accepted());
        let mut changed = case.clone();
        changed.signature[100] ^= 1;
        refused(&judge(&changed, table), &[QuoteCheck::Signature]);
    }
}

/// tpm2_checkquote accepts this: a key that is not restricted signs an attestation that no TPM
/// made.
#[test]
fn a_forged_attestation_is_refused_for_its_key() {
    let unrestricted = AttestationTemplate::ATTRIBUTES.without(ObjectAttributes::RESTRICTED);
    let key = SoftwareKey::new(unrestricted);
    let nonce = [9; 32];
    let selection: TpmlPcrSelection = "sha256:0,1".parse().unwrap();
    let attest = quote(&nonce, &selection).to_bytes();
    let policy = QuotePolicy::new(&nonce, &selection, algorithms::RING);
    let signature = key.signature(&attest);
    let evidence = QuoteEvidence {
        attest: &attest,
        signature: &signature,
        pcr_values: Some(&[0; 64]),
    };
    let report = check_quote(&key.public, &evidence, &policy).report;
    refused(&report, &[QuoteCheck::AttestingKey]);
    assert_eq!(
        report.detail(QuoteCheck::AttestingKey),
        "it is not restricted: it signs any forged attestation"
    );
    assert_eq!(report.outcome(QuoteCheck::Signature), Outcome::Pass);
}

#[test]
fn each_attribute_of_the_key_is_asked_for() {
    let good = Case::of(QUOTED[1]).ak;
    let policy = AttestationKeyPolicy::default();
    assert!(policy.check(&good).accepted());
    let without = |attribute| good.object_attributes.without(attribute);
    for (object_attributes, check) in [
        (
            without(ObjectAttributes::RESTRICTED),
            AttestationKeyCheck::Restricted,
        ),
        (without(ObjectAttributes::SIGN), AttestationKeyCheck::Sign),
        (
            good.object_attributes | ObjectAttributes::DECRYPT,
            AttestationKeyCheck::NotDecrypt,
        ),
        (
            without(ObjectAttributes::FIXED_TPM),
            AttestationKeyCheck::FixedTpm,
        ),
        (
            without(ObjectAttributes::FIXED_PARENT),
            AttestationKeyCheck::FixedParent,
        ),
        (
            without(ObjectAttributes::SENSITIVE_DATA_ORIGIN),
            AttestationKeyCheck::SensitiveDataOrigin,
        ),
    ] {
        let key = TpmtPublic {
            object_attributes,
            ..good.clone()
        };
        key_refused(&policy, &key, check);
        // A quote by this key is rejected too, even if everything else is right.
        let mut case = Case::of(QUOTED[1]);
        case.ak = key;
        assert_eq!(
            case.check().outcome(QuoteCheck::AttestingKey),
            Outcome::Fail
        );
    }
    // Harmless differences.
    let object_attributes = good.object_attributes | ObjectAttributes::NO_DA;
    assert!(
        policy
            .check(&TpmtPublic {
                object_attributes,
                ..good
            })
            .accepted()
    );
}

#[track_caller]
fn key_refused(policy: &AttestationKeyPolicy, key: &TpmtPublic, by: AttestationKeyCheck) {
    let report = policy.check(key);
    let failed: Vec<AttestationKeyCheck> = AttestationKeyCheck::ALL
        .iter()
        .copied()
        .filter(|check| report.outcome(*check) == Outcome::Fail)
        .collect();
    assert_eq!(failed, [by], "{report}");
    assert!(!report.accepted());
}

const AES: SymmetricObject = SymmetricObject {
    algorithm: SymmetricAlgorithm::Aes,
    key_bits: 128,
    mode: Some(SymmetricMode::Cfb),
};

const KDF: KdfScheme = KdfScheme {
    algorithm: KdfAlgorithm::Kdf1Sp800_108,
    hash: HashAlgorithm::Sha256,
};

#[test]
fn sizes_curves_schemes_and_names_are_on_the_allow_list() {
    let policy = AttestationKeyPolicy::default();
    let (rsa, ecc) = (Case::of(QUOTED[0]).ak, Case::of(QUOTED[1]).ak);
    let with = |public: &TpmtPublic, change: &dyn Fn(&mut TpmtPublic)| {
        let mut public = public.clone();
        change(&mut public);
        public
    };
    let rsa_with = |change: &dyn Fn(&mut keyproof_tpm::RsaPublic)| {
        with(&rsa, &|public| match &mut public.key {
            PublicKey::Rsa(key) => change(key),
            PublicKey::Ecc(_) => unreachable!(),
        })
    };
    let ecc_with = |change: &dyn Fn(&mut keyproof_tpm::EccPublic)| {
        with(&ecc, &|public| match &mut public.key {
            PublicKey::Ecc(key) => change(key),
            PublicKey::Rsa(_) => unreachable!(),
        })
    };
    use AttestationKeyCheck::{Key, NameAlgorithm, Scheme};
    for (key, check) in [
        (rsa_with(&|key| key.exponent = 3), Key),
        (rsa_with(&|key| key.modulus = Buffer::default()), Key),
        (
            rsa_with(&|key| key.modulus = Buffer::new([0; 256]).unwrap()),
            Key,
        ),
        (rsa_with(&|key| key.key_bits = 1024), Key),
        (rsa_with(&|key| key.scheme = None), Scheme),
        (rsa_with(&|key| key.scheme = Some(RsaScheme::Rsaes)), Scheme),
        (
            rsa_with(&|key| key.scheme = Some(RsaScheme::Oaep(HashAlgorithm::Sha256))),
            Scheme,
        ),
        (
            rsa_with(&|key| key.scheme = Some(RsaScheme::Rsassa(HashAlgorithm::Sha1))),
            Scheme,
        ),
        (
            rsa_with(&|key| key.scheme = Some(RsaScheme::Rsapss(HashAlgorithm::Sha1))),
            Scheme,
        ),
        (ecc_with(&|key| key.curve = EccCurve::BnP256), Key),
        (ecc_with(&|key| key.curve = EccCurve::Sm2P256), Key),
        (ecc_with(&|key| key.x = Buffer::default()), Key),
        (ecc_with(&|key| key.scheme = None), Scheme),
        (
            ecc_with(&|key| key.scheme = Some(EccScheme::Ecdaa(HashAlgorithm::Sha256, 0))),
            Scheme,
        ),
        (
            ecc_with(&|key| key.scheme = Some(EccScheme::Ecdsa(HashAlgorithm::Sha1))),
            Scheme,
        ),
        // Properties that only storage keys and key agreement keys have.
        (rsa_with(&|key| key.symmetric = Some(AES)), Scheme),
        (ecc_with(&|key| key.symmetric = Some(AES)), Scheme),
        (ecc_with(&|key| key.kdf = Some(KDF)), Scheme),
        (with(&ecc, &|key| key.name_alg = None), NameAlgorithm),
        (
            with(&ecc, &|key| key.name_alg = Some(HashAlgorithm::Sha1)),
            NameAlgorithm,
        ),
    ] {
        key_refused(&policy, &key, check);
    }
    let narrow = AttestationKeyPolicy {
        rsa_bits: vec![3072],
        curves: vec![EccCurve::NistP384],
    };
    key_refused(&narrow, &rsa, Key);
    key_refused(&narrow, &ecc, Key);
    assert!(narrow.check(&Case::of(QUOTED[3]).ak).accepted());
}

#[test]
fn magic_and_type_are_judged_by_name() {
    let mut forger = Forger::new();
    let mut attest = forger.case.attest.clone();
    attest[0] = 0xfe;
    forger.set_attest(attest);
    refused(
        &forger.case.check(),
        &[QuoteCheck::Magic, QuoteCheck::Structure],
    );
    assert_eq!(
        forger.case.check().outcome(QuoteCheck::ExtraData),
        Outcome::NotEvaluated
    );

    // A genuine, correctly signed attestation of another type.
    for file in ["certify", "certifycreation", "gettime"] {
        for quoted in [QUOTED[0], QUOTED[1]] {
            let mut case = Case::of(quoted);
            case.attest = read(quoted.0, &format!("{file}.tpms_attest.bin"));
            case.signature = read(quoted.0, &format!("{file}.tpmt_signature.bin"));
            let report = case.check();
            refused(&report, &[QuoteCheck::Type]);
            assert_eq!(report.outcome(QuoteCheck::Signature), Outcome::Pass);
        }
    }

    let mut forger = Forger::new();
    let mut attest = forger.case.attest.clone();
    attest[5] = 0x1b;
    forger.set_attest(attest);
    refused(
        &forger.case.check(),
        &[QuoteCheck::Type, QuoteCheck::Structure],
    );
}

#[test]
fn nothing_is_left_over_and_nothing_missing() {
    let mut forger = Forger::new();
    let mut attest = forger.case.attest.clone();
    attest.push(0);
    forger.set_attest(attest.clone());
    refused(&forger.case.check(), &[QuoteCheck::Structure]);
    attest.truncate(attest.len() - 2);
    forger.set_attest(attest);
    refused(&forger.case.check(), &[QuoteCheck::Structure]);
    forger.set_attest(Vec::new());
    refused(
        &forger.case.check(),
        &[QuoteCheck::Magic, QuoteCheck::Type, QuoteCheck::Structure],
    );
    let mut case = Case::of(QUOTED[1]);
    case.signature.push(0);
    refused(&case.check(), &[QuoteCheck::Signature]);
}

#[test]
fn the_nonce_is_the_one_that_was_sent() {
    let mut case = Case::of(QUOTED[0]);
    case.nonce[31] ^= 1;
    refused(&case.check(), &[QuoteCheck::ExtraData]);
    for shorter in [1, 16, 31] {
        let mut case = Case::of(QUOTED[0]);
        case.nonce.truncate(shorter);
        refused(&case.check(), &[QuoteCheck::ExtraData]);
    }
    let mut forger = Forger::new();
    forger.change(|attest| attest.extra_data = Buffer::default());
    refused(&forger.case.check(), &[QuoteCheck::ExtraData]);
    // An empty nonce that matches an empty field still proves nothing.
    forger.case.nonce.clear();
    refused(&forger.case.check(), &[QuoteCheck::ExtraData]);
    for (size, outcome) in [(15, Outcome::Warn), (16, Outcome::Pass)] {
        forger.case.nonce = vec![4; size];
        let nonce = Buffer::new(forger.case.nonce.clone()).unwrap();
        forger.change(|attest| attest.extra_data = nonce);
        ends(&forger.case.check(), QuoteCheck::ExtraData, outcome);
    }
}

#[test]
fn the_selection_is_the_one_that_was_asked_for() {
    for other in [
        "sha256:0,1,2,3,4,5,6,7",
        "sha256:0,1,2,3,4,5,6,7,16,17",
        "sha384:0,1,2,3,4,5,6,7,16",
        "sha256:0,1,2,3,4,5,6,7,16+sha384:0",
    ] {
        let mut case = Case::of(QUOTED[0]);
        case.selection = other.parse().unwrap();
        refused(&case.check(), &[QuoteCheck::PcrSelection]);
    }
    let mut case = Case::of(QUOTED[2]);
    case.selection = "sha384:0,16+sha256:0,1,7".parse().unwrap();
    refused(&case.check(), &[QuoteCheck::PcrSelection]);

    let report = Case::of(QUOTED[0]).check_with(|policy| policy.selection = None);
    ends(&report, QuoteCheck::PcrSelection, Outcome::Warn);
}

#[test]
fn an_empty_selection_is_refused_even_if_asked_for() {
    for empty in [&b"\0\0\0\0"[..], b"\0\0\0\x01\0\x0b\x03\0\0\0"] {
        let empty = TpmlPcrSelection::parse(empty).unwrap();
        let mut forger = Forger::new();
        forger.case.selection = empty.clone();
        forger.case.values.clear();
        forger.change(|attest| {
            *attest = TpmsAttest {
                attested: quote(b"", &empty).attested,
                ..attest.clone()
            }
        });
        refused(&forger.case.check(), &[QuoteCheck::PcrSelection]);
        let report = forger.case.check_with(|policy| policy.selection = None);
        refused(&report, &[QuoteCheck::PcrSelection]);
    }
}

#[test]
fn the_digest_is_over_all_banks_in_their_order() {
    for quoted in QUOTED {
        let case = Case::of(quoted);
        for at in [0, case.values.len() / 2, case.values.len() - 1] {
            let mut changed = case.clone();
            changed.values[at] ^= 1;
            refused(&changed.check(), &[QuoteCheck::PcrDigest]);
        }
        let mut longer = case.clone();
        longer.values.push(0);
        refused(&longer.check(), &[QuoteCheck::PcrDigest]);
        let (found, expected) = (longer.values.len(), case.values.len());
        assert_eq!(
            longer.check().detail(QuoteCheck::PcrDigest),
            format!("{found} bytes of register values, not the {expected} of the selection")
        );
        let mut shorter = case.clone();
        shorter.values.pop();
        refused(&shorter.check(), &[QuoteCheck::PcrDigest]);
        let mut none = case.clone();
        none.values.clear();
        refused(&none.check(), &[QuoteCheck::PcrDigest]);
    }
    // Only the first bank's values, then the banks in the wrong order.
    let mut case = Case::of(QUOTED[2]);
    let all = case.values.clone();
    case.values = all[..96].to_vec();
    refused(&case.check(), &[QuoteCheck::PcrDigest]);
    case.values = [&all[96..], &all[..96]].concat();
    refused(&case.check(), &[QuoteCheck::PcrDigest]);
}

#[test]
fn without_values_the_digest_is_not_judged_but_must_be_one() {
    let mut forger = Forger::new();
    let without = |case: &Case| {
        let evidence = QuoteEvidence {
            pcr_values: None,
            ..case.evidence()
        };
        check_quote(&case.ak, &evidence, &case.policy()).report
    };
    ends(
        &without(&forger.case),
        QuoteCheck::PcrDigest,
        Outcome::NotRequested,
    );
    forger.change(|attest| {
        if let Attested::Quote(quote) = &mut attest.attested {
            quote.pcr_digest = Buffer::new([0; 20]).unwrap();
        }
    });
    refused(&without(&forger.case), &[QuoteCheck::PcrDigest]);
}

/// An event log is compared with what an accepted quote returned, so a refused one returns nothing.
#[test]
fn only_an_accepted_quote_has_contents() {
    for quoted in QUOTED {
        let case = Case::of(quoted);
        let of = |case: &Case, evidence: &QuoteEvidence<'_>| {
            check_quote(&case.ak, evidence, &case.policy()).accepted
        };
        let accepted = of(&case, &case.evidence()).unwrap();
        assert_eq!(accepted.attest.to_bytes(), case.attest);
        let mut registers = accepted.registers.unwrap();
        assert!(registers.selection().selects_same(&case.selection));
        assert_eq!(registers.values(), case.values);
        registers.retain(|hash, index| hash == HashAlgorithm::Sha256 && index != 1);
        let kept: Vec<u8> = case
            .selection
            .split(&case.values)
            .unwrap()
            .into_iter()
            .filter(|(hash, index, _)| *hash == HashAlgorithm::Sha256 && *index != 1)
            .flat_map(|(.., value)| value.to_vec())
            .collect();
        assert_eq!(registers.values(), kept);
        assert_eq!(registers.selection().values_size(), kept.len());
        assert!(registers.selection().split(&kept).is_some());

        let without = QuoteEvidence {
            pcr_values: None,
            ..case.evidence()
        };
        assert_eq!(of(&case, &without).unwrap().registers, None);
        let mut other = case.clone();
        other.nonce[0] ^= 1;
        assert!(of(&other, &other.evidence()).is_none());
        let mut other = case.clone();
        other.values[0] ^= 1;
        assert!(of(&other, &other.evidence()).is_none());
    }
}

#[test]
fn weak_hashes_are_refused() {
    // A quoted SHA-1 bank.
    let mut forger = Forger::new();
    let selection: TpmlPcrSelection = "sha256:0+sha1:0".parse().unwrap();
    let nonce = forger.case.nonce.clone();
    forger.case.values = vec![0; 52];
    forger.case.selection = selection.clone();
    forger.change(|attest| attest.attested = quote(&nonce, &selection).attested);
    refused(&forger.case.check(), &[QuoteCheck::WeakHashes]);
    assert!(
        forger
            .case
            .check()
            .detail(QuoteCheck::WeakHashes)
            .contains("a quoted bank uses sha1")
    );

    // A bank without a selected register is harmless.
    let selection =
        TpmlPcrSelection::parse(b"\0\0\0\x02\0\x04\x03\0\0\0\0\x0b\x03\x01\0\0").unwrap();
    forger.case.values = vec![0; 32];
    forger.case.selection = selection.clone();
    forger.change(|attest| attest.attested = quote(&nonce, &selection).attested);
    assert!(forger.case.check().accepted(), "{}", forger.case.check());

    // A signature over SHA-1, by a key with that scheme.
    let mut case = Case::of(QUOTED[1]);
    case.signature[3] = 4;
    if let PublicKey::Ecc(key) = &mut case.ak.key {
        key.scheme = Some(EccScheme::Ecdsa(HashAlgorithm::Sha1));
    }
    refused(
        &case.check(),
        &[
            QuoteCheck::AttestingKey,
            QuoteCheck::Signature,
            QuoteCheck::PcrDigest,
            QuoteCheck::WeakHashes,
            QuoteCheck::QualifiedSigner,
        ],
    );
    assert_eq!(
        case.check().detail(QuoteCheck::Signature),
        "a signature over sha1 proves nothing"
    );

    // A SHA-1 Name.
    let mut case = Case::of(QUOTED[1]);
    case.ak.name_alg = Some(HashAlgorithm::Sha1);
    refused(
        &case.check(),
        &[
            QuoteCheck::AttestingKey,
            QuoteCheck::WeakHashes,
            QuoteCheck::QualifiedSigner,
        ],
    );
}

/// The key's qualified name is a digest over that of the endorsement key.
#[test]
fn an_endorsement_key_with_a_weak_name_is_refused() {
    let mut forger = Forger::new();
    forger.case.ek.name_alg = Some(HashAlgorithm::Sha1);
    let ek = keyproof_tpm::QualifiedName::of_primary(
        keyproof_tpm::Hierarchy::Endorsement,
        &forger.case.ek,
    );
    let signer = ek.unwrap().of_child(&forger.case.ak).unwrap();
    let signer = Buffer::new(signer.as_bytes()).unwrap();
    forger.change(|attest| attest.qualified_signer = signer);
    let report = forger.case.check();
    refused(&report, &[QuoteCheck::WeakHashes]);
    assert_eq!(
        report.detail(QuoteCheck::WeakHashes),
        "the parent's Name uses sha1, which is weak"
    );
}

#[test]
fn the_signer_is_this_key_below_this_endorsement_key() {
    let mut case = Case::of(QUOTED[0]);
    case.ek = Case::of(QUOTED[2]).ek;
    refused(&case.check(), &[QuoteCheck::QualifiedSigner]);

    // The same key with other attributes has another Name.
    let mut case = Case::of(QUOTED[0]);
    case.ak.object_attributes = case.ak.object_attributes | ObjectAttributes::NO_DA;
    refused(&case.check(), &[QuoteCheck::QualifiedSigner]);

    let mut forger = Forger::new();
    forger.change(|attest| attest.qualified_signer = Buffer::default());
    refused(&forger.case.check(), &[QuoteCheck::QualifiedSigner]);
    // The Name instead of the qualified name.
    let name = keyproof_tpm::Name::of(&forger.case.ak).unwrap();
    forger.change(|attest| attest.qualified_signer = Buffer::new(name.as_bytes()).unwrap());
    refused(&forger.case.check(), &[QuoteCheck::QualifiedSigner]);

    let report = Case::of(QUOTED[0]).check_with(|policy| policy.ek = None);
    ends(&report, QuoteCheck::QualifiedSigner, Outcome::NotRequested);
}

#[test]
fn clock_and_counters_do_not_go_back() {
    let seen = |clock, reset_count, restart_count, safe| TpmsClockInfo {
        clock,
        reset_count,
        restart_count,
        safe,
    };
    let last = seen(1000, 7, 3, true);
    let (pass, warn) = (Outcome::Pass, Outcome::Warn);
    let fail = Outcome::Fail;
    for (now, counters, clock) in [
        (seen(1000, 7, 3, true), pass, pass),
        (seen(1001, 7, 3, true), pass, pass),
        (seen(1001, 7, 4, true), pass, pass),
        (seen(1001, 8, 0, true), pass, pass),
        (seen(999, 7, 3, true), pass, fail),
        (seen(999, 7, 3, false), pass, fail),
        (seen(999, 7, 4, false), pass, fail),
        (seen(999, 8, 0, true), pass, fail),
        (seen(999, 8, 0, false), pass, warn),
        (seen(1001, 7, 2, true), fail, pass),
        (seen(1001, 6, 3, true), fail, pass),
        (seen(1001, 6, 9, true), fail, pass),
        (seen(0, 0, 0, true), fail, fail),
    ] {
        let mut forger = Forger::new();
        forger.case.last_seen = last;
        forger.change(|attest| attest.clock_info = now);
        let report = forger.case.check();
        assert_eq!(
            report.outcome(QuoteCheck::ResetCounters),
            counters,
            "{now:?} {report}"
        );
        assert_eq!(report.outcome(QuoteCheck::Clock), clock, "{now:?} {report}");
        assert_eq!(report.accepted(), counters != fail && clock != fail);
    }
    // Outside the endorsement hierarchy, the counters start anywhere and may wrap.
    for (last, now, accepted) in [
        (seen(1000, u32::MAX, 9, true), seen(1001, 0, 5, true), true),
        (seen(1000, 0, 9, true), seen(1001, u32::MAX, 5, true), false),
        (seen(1000, 7, u32::MAX, true), seen(1001, 7, 0, true), true),
        (seen(1000, 7, 0, true), seen(1001, 7, u32::MAX, true), false),
    ] {
        let mut forger = Forger::new();
        forger.case.last_seen = last;
        forger.change(|attest| attest.clock_info = now);
        let report = forger.case.check();
        assert_eq!(report.accepted(), accepted, "{last:?} {now:?} {report}");
    }

    let report = Case::of(QUOTED[0]).check_with(|policy| policy.last_seen = None);
    ends(&report, QuoteCheck::Clock, Outcome::NotRequested);
    ends(&report, QuoteCheck::ResetCounters, Outcome::NotRequested);
}

#[test]
fn a_report_says_how_far_counters_and_clock_went() {
    for (clock, reset_count, restart_count, counters, clocked) in [
        (
            1000,
            7,
            3,
            "neither reset nor restarted since",
            "0 ms later",
        ),
        (1001, 7, 4, "restarted 1 times since", "1 ms later"),
        (1500, 9, 0, "reset 2 times since", "500 ms later"),
        (999, 7, 1, "2 restarts fewer than before", "1 ms earlier"),
        (400, 4, 9, "3 resets fewer than before", "600 ms earlier"),
    ] {
        let mut forger = Forger::new();
        let seen = |clock, reset_count, restart_count| TpmsClockInfo {
            clock,
            reset_count,
            restart_count,
            safe: true,
        };
        forger.case.last_seen = seen(1000, 7, 3);
        forger.change(|attest| attest.clock_info = seen(clock, reset_count, restart_count));
        let report = forger.case.check();
        assert_eq!(report.detail(QuoteCheck::ResetCounters), counters);
        assert_eq!(report.detail(QuoteCheck::Clock), clocked);
    }
}

/// No key, signature or hash is called weak that is only not supported.
#[test]
fn a_hash_that_is_not_computed_is_not_called_weak() {
    let sha3 = HashAlgorithm::Sha3_256;
    for quoted in &QUOTED[..3] {
        let mut case = Case::of(*quoted);
        case.signature[3] = 0x27;
        match &mut case.ak.key {
            PublicKey::Ecc(key) => key.scheme = Some(EccScheme::Ecdsa(sha3)),
            PublicKey::Rsa(key) => {
                key.scheme = match key.scheme {
                    Some(RsaScheme::Rsapss(_)) => Some(RsaScheme::Rsapss(sha3)),
                    _ => Some(RsaScheme::Rsassa(sha3)),
                }
            }
        }
        let report = case.check();
        let detail = report.detail(QuoteCheck::Signature);
        assert_eq!(detail, "sha3_256 is not supported");
        assert_eq!(report.outcome(QuoteCheck::Signature), Outcome::Fail);
        assert_eq!(report.outcome(QuoteCheck::WeakHashes), Outcome::Pass);
    }
}

#[test]
fn what_passes_needs_nothing_and_what_fails_says_what_to_do() {
    const NOTHING: &str = "nothing: no problem found";
    let case = Case::of(QUOTED[0]);
    let report = case.check();
    let checks = QuoteCheck::ALL.iter();
    let found: Vec<_> = checks.flat_map(|check| report.findings(*check)).collect();
    assert!(!found.is_empty());
    for finding in found {
        assert_eq!(finding.remedy(), NOTHING, "{finding}");
    }
    let mut other = case.clone();
    other.nonce[0] ^= 1;
    let report = other.check();
    let refusal = report.first_refusal().unwrap();
    let remedy = "attest again with the nonce of this request";
    assert_eq!(refusal.remedy(), remedy);

    let policy = AttestationKeyPolicy::default();
    let report = policy.check(&case.ak);
    for (check, detail) in [
        (AttestationKeyCheck::Key, "RSA 2048 with exponent 65537"),
        (AttestationKeyCheck::Scheme, "RSASSA with sha256"),
        (AttestationKeyCheck::NameAlgorithm, "sha256"),
    ] {
        assert_eq!(report.detail(check), detail);
        let finding = report.findings(check).next().unwrap();
        assert_eq!(finding.remedy(), NOTHING);
    }
    let report = policy.check(&Case::of(QUOTED[3]).ak);
    assert_eq!(report.detail(AttestationKeyCheck::Key), "P-384");
    let report = policy.check(&case.ek);
    let remedy = report.first_refusal().unwrap().remedy();
    assert!(remedy.starts_with("make the key in the TPM as restricted"));
}

#[test]
fn short_and_padded_numbers_of_a_signature_verify() {
    let forger = Forger::new();
    let mut case = forger.case.clone();
    let (r, s) = loop {
        let (r, s) = forger.key.sign(&case.attest);
        if r[0] == 0 || s[0] == 0 {
            break (r, s);
        }
    };
    let stripped = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number[zeros..].to_vec()
    };
    for (r, s) in [(r.clone(), s.clone()), (stripped(&r), stripped(&s))] {
        case.signature = ecdsa(HashAlgorithm::Sha256, &r, &s);
        assert!(case.check().accepted(), "{}", case.check());
    }
    // Neither number may be zero, or exceed the order.
    for bad in [&[0][..], &[0xff; 32]] {
        case.signature = ecdsa(HashAlgorithm::Sha256, bad, &s);
        refused(&case.check(), &[QuoteCheck::Signature]);
        case.signature = ecdsa(HashAlgorithm::Sha256, &r, bad);
        refused(&case.check(), &[QuoteCheck::Signature]);
    }
}

/// An algorithm that is not in the table causes a rejection; the check is not skipped.
#[test]
fn an_algorithm_that_is_not_in_the_table_is_refused() {
    let report = Case::of(QUOTED[0]).check_with(|policy| policy.algorithms = &[]);
    refused(&report, &[QuoteCheck::Signature]);
}

proptest! {
    /// A modified quote of a TPM is never accepted.
    #[test]
    fn no_mutation_is_accepted(index in 0_usize..4, at in any::<prop::sample::Index>(), xor in 1_u8.., which in 0..3) {
        let mut case = Case::of(QUOTED[index]);
        let bytes = match which {
            0 => &mut case.attest,
            1 => &mut case.signature,
            _ => &mut case.values,
        };
        let at = at.index(bytes.len());
        bytes[at] ^= xor;
        prop_assert!(!case.check().accepted());
    }
}
