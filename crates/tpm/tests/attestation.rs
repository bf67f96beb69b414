//! The checks of certifications, creations, times and NV indices: genuine ones by a TPM, and each
//! way in which one can be wrong.

#![expect(clippy::unwrap_used, reason = "a test reports by a panic")]

mod software_tpm;
mod vectors;

use keyproof_tpm::{
    AttestationEvidence, AttestationKeyPolicy, AttestationPolicy, AttestationReport,
    AttestationTemplate, Attested, Buffer, CertifyCheck, CertifyPolicy, Check as _, CreationCheck,
    CreationEvidence, CreationPolicy, DevIdKeyPolicy, EccScheme, Finding, HashAlgorithm, Hierarchy,
    KdfAlgorithm, KdfScheme, KeyProfile, Name, NvCertifyCheck, NvCertifyPolicy, ObjectAttributes,
    ObjectParent, Outcome, PublicKey, QualifiedName, Report, Structure, SymmetricAlgorithm,
    SymmetricMode, SymmetricObject, TimeCheck, TimePolicy, TpmsAttest, TpmsCertifyInfo,
    TpmsClockInfo, TpmsCreationData, TpmsCreationInfo, TpmsNvCertifyInfo, TpmsNvDigestCertifyInfo,
    TpmsNvPublic, TpmsTimeAttestInfo, TpmtPublic, TpmtTkCreation, algorithms, check_certify,
    check_creation, check_nv_certify, check_time,
};

use software_tpm::{SoftwareKey, attest, quote};
use vectors::read;

/// The key types for which the vectors are complete.
const KINDS: [&str; 2] = ["rsa2048", "eccp256"];

const NONCE: &[u8] = b"the nonce of these tests";

/// The qualifying data of `tpm2_certify`, in place of a nonce.
const TPM2_CERTIFY_DATA: [u8; 4] = [0x00, 0xff, 0x55, 0xaa];

fn public(kind: &str, object: &str) -> TpmtPublic {
    TpmtPublic::parse_sized(&read(kind, &format!("{object}.pub.tpm2b"))).unwrap()
}

fn policy<'a>(
    nonce: Option<&'a [u8]>,
    qualified_signer: Option<&'a QualifiedName>,
) -> AttestationPolicy<'a> {
    let mut policy = AttestationPolicy::without_nonce(algorithms::RING);
    policy.nonce = nonce;
    policy.qualified_signer = qualified_signer;
    policy
}

fn failed<F: Finding>(report: &Report<F>) -> Vec<&'static str> {
    let rows = report.rows();
    rows.filter(|row| row.outcome == Outcome::Fail)
        .map(|row| row.name)
        .collect()
}

/// Asserts that exactly these checks fail.
#[track_caller]
fn refused<F: Finding>(report: &Report<F>, by: &[&str]) {
    assert_eq!(failed(report), by, "{report}");
    assert_eq!(report.accepted(), by.is_empty(), "{report}");
}

fn buffer(bytes: &[u8]) -> Buffer {
    Buffer::new(bytes).unwrap()
}

fn name(object: &TpmtPublic) -> Buffer {
    buffer(Name::of(object).unwrap().as_bytes())
}

/// An attestation and its signature, from a software TPM.
struct Made {
    attest: Vec<u8>,
    signature: Vec<u8>,
    nonce: Vec<u8>,
}

impl Made {
    fn read(kind: &str, what: &str) -> Self {
        let attest = read(kind, &format!("{what}.tpms_attest.bin"));
        Self {
            nonce: TpmsAttest::parse(&attest).unwrap().extra_data.to_vec(),
            signature: read(kind, &format!("{what}.tpmt_signature.bin")),
            attest,
        }
    }

    fn evidence(&self) -> AttestationEvidence<'_> {
        AttestationEvidence {
            attest: &self.attest,
            signature: &self.signature,
        }
    }
}

/// The keys of a TPM, and their qualified names.
struct Keys {
    ak: TpmtPublic,
    dev: TpmtPublic,
    ak_qualified: QualifiedName,
    srk_name: Name,
    srk_qualified: QualifiedName,
}

impl Keys {
    fn read(kind: &str) -> Self {
        let (ek, ak, srk) = (public(kind, "ek"), public(kind, "ak"), public(kind, "srk"));
        let ek_qualified = QualifiedName::of_primary(Hierarchy::Endorsement, &ek).unwrap();
        Self {
            ak_qualified: ek_qualified.of_child(&ak).unwrap(),
            dev: public(kind, "dev"),
            srk_name: Name::of(&srk).unwrap(),
            srk_qualified: QualifiedName::of_primary(Hierarchy::Owner, &srk).unwrap(),
            ak,
        }
    }

    fn srk(&self) -> ObjectParent<'_> {
        ObjectParent::Object {
            name: &self.srk_name,
            qualified_name: &self.srk_qualified,
        }
    }
}

fn dev_id() -> KeyProfile {
    KeyProfile::DevId(DevIdKeyPolicy::default())
}

#[test]
fn a_tpms_certification_passes_every_check_with_its_nonce_and_warns_without() {
    for kind in KINDS {
        let keys = Keys::read(kind);
        let made = Made::read(kind, "certify");
        assert_eq!(made.nonce, TPM2_CERTIFY_DATA);
        let check = |nonce| {
            let mut policy =
                CertifyPolicy::new(policy(nonce, Some(&keys.ak_qualified)), &keys.dev, dev_id());
            policy.parent = Some(keys.srk());
            check_certify(&keys.ak, made.evidence(), &policy).report
        };
        let report = check(None);
        refused(&report, &[]);
        assert_eq!(report.outcome(CertifyCheck::ExtraData), Outcome::Warn);
        for of in [
            CertifyCheck::AttestingKey,
            CertifyCheck::Signature,
            CertifyCheck::ObjectName,
            CertifyCheck::ObjectQualifiedName,
            CertifyCheck::ObjectProfile,
            CertifyCheck::QualifiedSigner,
        ] {
            assert_eq!(report.outcome(of), Outcome::Pass, "{report}");
        }
        // A nonce of four bytes may repeat.
        let report = check(Some(&TPM2_CERTIFY_DATA));
        assert_eq!(report.outcome(CertifyCheck::ExtraData), Outcome::Warn);
        refused(&check(Some(NONCE)), &["extra-data"]);
        refused(&check(Some(b"")), &["extra-data"]);
    }
}

#[test]
fn a_tpms_certified_creation_passes_every_check() {
    for kind in KINDS {
        let keys = Keys::read(kind);
        let made = Made::read(kind, "certifycreation");
        let creation_data = read(kind, "dev.creation_data.tpm2b");
        let ticket = TpmtTkCreation {
            hierarchy: Hierarchy::Owner,
            digest: buffer(&[7; 32]),
        };
        let ticket_bytes = ticket.to_bytes();
        let evidence = CreationEvidence {
            attestation: made.evidence(),
            creation_data: &creation_data[2..],
            ticket: Some(&ticket_bytes),
        };
        let mut policy = CreationPolicy::new(
            policy(Some(&made.nonce), Some(&keys.ak_qualified)),
            &keys.dev,
            dev_id(),
        );
        policy.parent = Some(keys.srk());
        policy.outside_info = Some(b"\x00\x11\x22\x33\x44\x55\x66\x77");
        let report = check_creation(&keys.ak, &evidence, &policy).report;
        for check in CreationCheck::ALL {
            let asked = !matches!(check, CreationCheck::ResetCounters | CreationCheck::Clock);
            let outcome = if asked {
                Outcome::Pass
            } else {
                Outcome::NotRequested
            };
            assert_eq!(report.outcome(*check), outcome, "{report}");
        }
    }
}

#[test]
fn a_tpms_time_passes_every_check() {
    for kind in KINDS {
        let keys = Keys::read(kind);
        let made = Made::read(kind, "gettime");
        let mut policy = TimePolicy::new(policy(Some(&made.nonce), Some(&keys.ak_qualified)));
        policy.firmware_version = Some(0x2019_1023_0016_3636);
        let certified = TpmsAttest::parse(&read(kind, "certify.tpms_attest.bin")).unwrap();
        policy.attestation.last_seen = Some(certified.clock_info);
        let checked = check_time(&keys.ak, made.evidence(), &policy);
        let report = &checked.report;
        for check in TimeCheck::ALL {
            assert_eq!(report.outcome(*check), Outcome::Pass, "{report}");
        }
        assert_eq!(checked.accepted.unwrap().to_bytes(), made.attest);
        policy.firmware_version = Some(1);
        let checked = check_time(&keys.ak, made.evidence(), &policy);
        refused(&checked.report, &["firmware-version"]);
        // Nobody reads the clock of an attestation that was refused.
        assert!(checked.accepted.is_none());
    }
}

/// Each check accepts only its own attestation type.
#[test]
fn another_type_is_refused() {
    let keys = Keys::read("eccp256");
    let types = ["certify", "certifycreation", "gettime", "quote"];
    for what in types {
        let made = Made::read("eccp256", what);
        let attestation = policy(Some(&made.nonce), None);
        let certify = CertifyPolicy::new(attestation.clone(), &keys.dev, dev_id());
        let by = |own: &str| if own == what { vec![] } else { vec!["type"] };
        let report = check_certify(&keys.ak, made.evidence(), &certify).report;
        refused(&report, &by("certify"));
        let creation = CreationPolicy::new(attestation.clone(), &keys.dev, dev_id());
        let creation_data = read("eccp256", "dev.creation_data.tpm2b");
        let evidence = CreationEvidence {
            attestation: made.evidence(),
            creation_data: &creation_data[2..],
            ticket: None,
        };
        let report = check_creation(&keys.ak, &evidence, &creation).report;
        refused(&report, &by("certifycreation"));
        let time = TimePolicy::new(attestation.clone());
        let report = check_time(&keys.ak, made.evidence(), &time).report;
        refused(&report, &by("gettime"));
        let index = nv_index();
        let nv = NvCertifyPolicy::new(attestation, &index);
        let report = check_nv_certify(&keys.ak, made.evidence(), &nv).report;
        refused(&report, &["type"]);
    }
}

/// A software attestation key and a device key made the same way.
struct Forger {
    ak: SoftwareKey,
    dev: TpmtPublic,
}

impl Forger {
    fn new() -> Self {
        let dev =
            SoftwareKey::new(AttestationTemplate::ATTRIBUTES.without(ObjectAttributes::RESTRICTED));
        Self {
            ak: SoftwareKey::new(AttestationTemplate::ATTRIBUTES),
            dev: dev.public,
        }
    }

    fn sign(&self, attested: Attested) -> Made {
        self.sign_attest(&attest(NONCE, attested))
    }

    fn sign_attest(&self, attest: &TpmsAttest) -> Made {
        let attest = attest.to_bytes();
        Made {
            signature: self.ak.signature(&attest),
            attest,
            nonce: NONCE.to_vec(),
        }
    }

    fn certify(&self, object: &TpmtPublic, profile: KeyProfile) -> AttestationReport<CertifyCheck> {
        let made = self.sign(Attested::Certify(TpmsCertifyInfo {
            name: name(object),
            qualified_name: Buffer::default(),
        }));
        let policy = CertifyPolicy::new(policy(Some(NONCE), None), object, profile);
        check_certify(&self.ak.public, made.evidence(), &policy).report
    }
}

#[test]
fn a_certification_is_of_the_object_in_its_place() {
    let forger = Forger::new();
    let other = Forger::new().dev;
    let parent = Name::of(&other).unwrap();
    let parent_qualified = QualifiedName::of_primary(Hierarchy::Owner, &other).unwrap();
    let right = parent_qualified.of_child(&forger.dev).unwrap();
    for (named, qualified, by) in [
        (&forger.dev, buffer(right.as_bytes()), &[][..]),
        (&other, buffer(right.as_bytes()), &["object-name"]),
        (&forger.dev, name(&forger.dev), &["object-qualified-name"]),
        (&forger.dev, Buffer::default(), &["object-qualified-name"]),
    ] {
        let made = forger.sign(Attested::Certify(TpmsCertifyInfo {
            name: name(named),
            qualified_name: qualified,
        }));
        let mut policy = CertifyPolicy::new(policy(Some(NONCE), None), &forger.dev, dev_id());
        policy.parent = Some(ObjectParent::Object {
            name: &parent,
            qualified_name: &parent_qualified,
        });
        let report = check_certify(&forger.ak.public, made.evidence(), &policy).report;
        refused(&report, by);
    }
}

#[test]
fn a_parent_with_a_weak_name_is_refused() {
    let forger = Forger::new();
    let mut parent = Forger::new().dev;
    parent.name_alg = Some(HashAlgorithm::Sha1);
    let parent_name = Name::of(&parent).unwrap();
    let parent_qualified = QualifiedName::of_primary(Hierarchy::Owner, &parent).unwrap();
    let below = ObjectParent::Object {
        name: &parent_name,
        qualified_name: &parent_qualified,
    };
    let qualified = parent_qualified.of_child(&forger.dev).unwrap();
    let made = forger.sign(Attested::Certify(TpmsCertifyInfo {
        name: name(&forger.dev),
        qualified_name: buffer(qualified.as_bytes()),
    }));
    let mut policy = CertifyPolicy::new(policy(Some(NONCE), None), &forger.dev, dev_id());
    policy.parent = Some(below);
    let report = check_certify(&forger.ak.public, made.evidence(), &policy).report;
    refused(&report, &["weak-hashes"]);

    let mut creation = Creation::new();
    creation.data.parent_name_alg = Some(HashAlgorithm::Sha1);
    creation.data.parent_name = buffer(parent_name.as_bytes());
    creation.data.parent_qualified_name = buffer(parent_qualified.as_bytes());
    refused(&creation.check_below(below), &["weak-hashes"]);
}

#[test]
fn a_device_identity_key_cannot_leave_its_tpm_and_is_not_restricted() {
    let forger = Forger::new();
    refused(&forger.certify(&forger.dev, dev_id()), &[]);
    let own = forger.dev.object_attributes;
    for changed in [
        own.without(ObjectAttributes::FIXED_TPM),
        own.without(ObjectAttributes::FIXED_PARENT),
        own.without(ObjectAttributes::SENSITIVE_DATA_ORIGIN),
        own.without(ObjectAttributes::SIGN),
        own | ObjectAttributes::RESTRICTED,
        own | ObjectAttributes::DECRYPT,
        own | ObjectAttributes::X509_SIGN,
    ] {
        let mut key = forger.dev.clone();
        key.object_attributes = changed;
        refused(&forger.certify(&key, dev_id()), &["object-profile"]);
        let report = forger.certify(&key, KeyProfile::Any);
        assert_eq!(report.outcome(CertifyCheck::ObjectProfile), Outcome::Warn);
    }
    // Each of them is named, with what to do about it.
    for (attribute, detail) in [
        (
            ObjectAttributes::RESTRICTED,
            "it is restricted: it signs only what the TPM made itself",
        ),
        (
            ObjectAttributes::X509_SIGN,
            "it is x509sign: it signs certificates and attestations, but no other data",
        ),
        (ObjectAttributes::DECRYPT, "it may decrypt as well as sign"),
    ] {
        let mut key = forger.dev.clone();
        key.object_attributes = own | attribute;
        let report = DevIdKeyPolicy::default().check(&key);
        let refusal = report.first_refusal().unwrap();
        assert_eq!(refusal.to_string(), detail);
        let remedy = refusal.remedy();
        assert!(
            remedy.ends_with("without restricted, decrypt and x509sign"),
            "{remedy}"
        );
    }
    // The TCG's IDevID template sets adminWithPolicy beside userWithAuth.
    let mut key = forger.dev.clone();
    key.object_attributes = own | ObjectAttributes::ADMIN_WITH_POLICY;
    refused(&forger.certify(&key, dev_id()), &[]);
    // The scheme may be left open, but a fixed one must not use a weak hash.
    let scheme = |scheme| {
        let mut key = forger.dev.clone();
        if let PublicKey::Ecc(ecc) = &mut key.key {
            ecc.scheme = scheme;
        }
        forger.certify(&key, dev_id())
    };
    refused(&scheme(None), &[]);
    // A fixed scheme must be one for signatures that can be verified.
    for other in [
        EccScheme::Ecdh(HashAlgorithm::Sha256),
        EccScheme::Ecdaa(HashAlgorithm::Sha256, 0),
    ] {
        refused(&scheme(Some(other)), &["object-profile"]);
    }
    // An open scheme must be one for signatures, so a cipher or a key derivation is rejected.
    let open_with = |change: &dyn Fn(&mut keyproof_tpm::EccPublic)| {
        let mut key = forger.dev.clone();
        if let PublicKey::Ecc(ecc) = &mut key.key {
            ecc.scheme = None;
            change(ecc);
        }
        forger.certify(&key, dev_id())
    };
    let cipher = SymmetricObject {
        algorithm: SymmetricAlgorithm::Aes,
        key_bits: 128,
        mode: Some(SymmetricMode::Cfb),
    };
    let kdf = KdfScheme {
        algorithm: KdfAlgorithm::Kdf1Sp800_108,
        hash: HashAlgorithm::Sha256,
    };
    refused(
        &open_with(&|ecc| ecc.symmetric = Some(cipher)),
        &["object-profile"],
    );
    refused(&open_with(&|ecc| ecc.kdf = Some(kdf)), &["object-profile"]);
    let weak = Some(EccScheme::Ecdsa(HashAlgorithm::Sha1));
    refused(&scheme(weak), &["object-profile"]);
    // An IAK certifies an attestation key.
    let attestation = || KeyProfile::Attestation(AttestationKeyPolicy::default());
    refused(&forger.certify(&forger.ak.public, attestation()), &[]);
    refused(
        &forger.certify(&forger.dev, attestation()),
        &["object-profile"],
    );
    // A Name with a weak hash.
    let mut key = forger.dev.clone();
    key.name_alg = Some(HashAlgorithm::Sha1);
    refused(
        &forger.certify(&key, dev_id()),
        &["object-profile", "weak-hashes"],
    );
}

/// A creation in the owner's hierarchy. Tests change what the TPM returns.
struct Creation {
    data: TpmsCreationData,
    ticket: TpmtTkCreation,
    hash: Option<Vec<u8>>,
    parent: Hierarchy,
    outside_info: &'static [u8],
}

impl Creation {
    fn new() -> Self {
        let owner = buffer(&Hierarchy::Owner.handle().to_be_bytes());
        Self {
            data: TpmsCreationData {
                pcr_select: "sha256:0".parse().unwrap(),
                pcr_digest: buffer(&[3; 32]),
                locality: 1,
                parent_name_alg: None,
                parent_name: owner.clone(),
                parent_qualified_name: owner,
                outside_info: buffer(b"outside"),
            },
            ticket: TpmtTkCreation {
                hierarchy: Hierarchy::Owner,
                digest: buffer(&[4; 32]),
            },
            hash: None,
            parent: Hierarchy::Owner,
            outside_info: b"outside",
        }
    }

    fn check(&self) -> AttestationReport<CreationCheck> {
        self.check_bytes(&self.data.to_bytes(), &self.ticket.to_bytes())
    }

    fn check_below(&self, parent: ObjectParent<'_>) -> AttestationReport<CreationCheck> {
        self.judge(&self.data.to_bytes(), &self.ticket.to_bytes(), parent)
    }

    fn check_bytes(&self, data: &[u8], ticket: &[u8]) -> AttestationReport<CreationCheck> {
        self.judge(data, ticket, ObjectParent::Hierarchy(self.parent))
    }

    fn judge(
        &self,
        data: &[u8],
        ticket: &[u8],
        parent: ObjectParent<'_>,
    ) -> AttestationReport<CreationCheck> {
        let forger = Forger::new();
        let hash = HashAlgorithm::Sha256.digest(&[data]).unwrap();
        let made = forger.sign(Attested::Creation(TpmsCreationInfo {
            object_name: name(&forger.dev),
            creation_hash: buffer(self.hash.as_ref().unwrap_or(&hash)),
        }));
        let evidence = CreationEvidence {
            attestation: made.evidence(),
            creation_data: data,
            ticket: Some(ticket),
        };
        let mut policy = CreationPolicy::new(policy(Some(NONCE), None), &forger.dev, dev_id());
        policy.parent = Some(parent);
        policy.outside_info = Some(self.outside_info);
        check_creation(&forger.ak.public, &evidence, &policy).report
    }
}

#[test]
fn a_creation_is_judged_by_its_data_hash_and_ticket() {
    type Change = fn(&mut Creation);
    let cases: [(&str, Change, &[&str]); 10] = [
        ("none", |_| {}, &[]),
        (
            "another hash",
            |creation| creation.hash = Some(vec![0; 32]),
            &["creation-hash"],
        ),
        (
            "another parent",
            |creation| creation.parent = Hierarchy::Endorsement,
            &["parent"],
        ),
        (
            "other outsideInfo",
            |creation| creation.outside_info = b"inside",
            &["outside-info"],
        ),
        (
            "a parent without an algorithm that is no hierarchy",
            |creation| creation.data.parent_name = name(&Forger::new().dev),
            &["creation-data"],
        ),
        (
            "a parent by another algorithm",
            |creation| {
                let parent = name(&Forger::new().dev);
                creation.data.parent_name_alg = Some(HashAlgorithm::Sha384);
                creation.data.parent_name = parent.clone();
                creation.data.parent_qualified_name = parent;
            },
            &["creation-data"],
        ),
        (
            "a digest of registers by another algorithm",
            |creation| creation.data.pcr_digest = buffer(&[3; 48]),
            &["creation-data"],
        ),
        (
            "a NULL ticket",
            |creation| creation.ticket.digest = Buffer::default(),
            &["ticket"],
        ),
        (
            "a ticket of another hierarchy",
            |creation| creation.ticket.hierarchy = Hierarchy::Platform,
            &["ticket"],
        ),
        (
            "an object of the NULL hierarchy",
            |creation| {
                let null = buffer(&Hierarchy::Null.handle().to_be_bytes());
                creation.parent = Hierarchy::Null;
                creation.data.parent_name = null.clone();
                creation.data.parent_qualified_name = null;
                creation.ticket.hierarchy = Hierarchy::Null;
            },
            &[],
        ),
    ];
    for (what, change, by) in cases {
        let mut creation = Creation::new();
        change(&mut creation);
        let report = creation.check();
        assert_eq!(failed(&report), by, "{what}: {report}");
    }
    // The NULL hierarchy causes a warning.
    let mut creation = Creation::new();
    creation.ticket.hierarchy = Hierarchy::Null;
    let null = buffer(&Hierarchy::Null.handle().to_be_bytes());
    creation.data.parent_name = null.clone();
    creation.data.parent_qualified_name = null;
    let report = creation.check();
    assert_eq!(report.outcome(CreationCheck::Ticket), Outcome::Warn);
    let creation = Creation::new();
    let (data, ticket) = (creation.data.to_bytes(), creation.ticket.to_bytes());
    let report = creation.check_bytes(&[&data[..], b"\0"].concat(), &ticket);
    refused(&report, &["creation-data"]);
    // A ticket of another type: TPM_ST_VERIFIED.
    let verified = [b"\x80\x22", &ticket[2..]].concat();
    refused(&creation.check_bytes(&data, &verified), &["ticket"]);
}

/// A parent must match in both its Name and its qualified name.
#[test]
fn a_parent_is_known_by_both_of_its_names() {
    let parent = Forger::new().dev;
    let here = QualifiedName::of_primary(Hierarchy::Owner, &parent).unwrap();
    let elsewhere = QualifiedName::of_primary(Hierarchy::Platform, &parent).unwrap();
    let other = Forger::new().dev;
    let own_name = Name::of(&parent).unwrap();
    let below = |name: Buffer, qualified: Buffer| {
        let mut creation = Creation::new();
        creation.data.parent_name_alg = Some(HashAlgorithm::Sha256);
        creation.data.parent_name = name;
        creation.data.parent_qualified_name = qualified;
        creation
    };
    let asked = ObjectParent::Object {
        name: &own_name,
        qualified_name: &here,
    };
    let (here, elsewhere) = (buffer(here.as_bytes()), buffer(elsewhere.as_bytes()));
    for (name, qualified, by) in [
        (name(&parent), here.clone(), &[][..]),
        (name(&parent), elsewhere, &["parent"]),
        (name(&other), here.clone(), &["parent"]),
    ] {
        let creation = below(name, qualified);
        refused(&creation.check_below(asked), by);
    }
    // Each name in turn uses another algorithm.
    let by_sha384 = buffer(&[&[0, 0x0c][..], &[1; 48]].concat());
    for (name, qualified) in [
        (by_sha384.clone(), here.clone()),
        (name(&parent), by_sha384),
    ] {
        let creation = below(name, qualified);
        assert_eq!(failed(&creation.check_below(asked)), ["creation-data"]);
    }
    // For a hierarchy, both names are its handle.
    let [owner, platform] =
        [Hierarchy::Owner, Hierarchy::Platform].map(|of| buffer(&of.handle().to_be_bytes()));
    let mut creation = Creation::new();
    creation.data.parent_qualified_name = platform.clone();
    refused(&creation.check(), &["parent"]);
    creation.data.parent_name = platform;
    creation.data.parent_qualified_name = owner;
    refused(&creation.check(), &["parent", "ticket"]);
}

#[test]
fn a_time_whose_parts_disagree_warns() {
    let forger = Forger::new();
    let own = attest(NONCE, Attested::Quote(quote_body())).clock_info;
    let check = |clock_info: TpmsClockInfo| {
        let made = forger.sign(Attested::Time(TpmsTimeAttestInfo {
            time: 5,
            clock_info,
            firmware_version: 9,
        }));
        let mut policy = TimePolicy::new(policy(Some(NONCE), None));
        policy.firmware_version = Some(9);
        let report = check_time(&forger.ak.public, made.evidence(), &policy).report;
        assert!(report.accepted(), "{report}");
        report.outcome(TimeCheck::TimeInfo)
    };
    assert_eq!(check(own), Outcome::Pass);
    // Outside the endorsement hierarchy, the counters in the head are obfuscated.
    let counters = TpmsClockInfo {
        reset_count: 99,
        restart_count: 98,
        ..own
    };
    assert_eq!(check(counters), Outcome::Pass);
    assert_eq!(check(TpmsClockInfo { clock: 1, ..own }), Outcome::Warn);
    assert_eq!(check(TpmsClockInfo { safe: false, ..own }), Outcome::Warn);
}

fn quote_body() -> keyproof_tpm::TpmsQuoteInfo {
    match quote(NONCE, &"sha256:0".parse().unwrap()).attested {
        Attested::Quote(body) => body,
        other => unreachable!("{other:?}"),
    }
}

fn nv_index() -> TpmsNvPublic {
    TpmsNvPublic {
        nv_index: 0x0180_0001,
        name_alg: HashAlgorithm::Sha256,
        attributes: 1 << 29 | 0x0002_0002,
        auth_policy: Buffer::default(),
        data_size: 8,
    }
}

#[test]
fn an_nv_index_is_the_one_asked_for_and_holds_what_it_should() {
    let forger = Forger::new();
    let index = nv_index();
    let index_name = |index: &TpmsNvPublic| buffer(Name::of_nv_index(index).unwrap().as_bytes());
    let check = |attested: Attested, index: &TpmsNvPublic, contents: &[u8], offset| {
        let made = forger.sign(attested);
        let mut policy = NvCertifyPolicy::new(policy(Some(NONCE), None), index);
        policy.contents = Some(contents);
        policy.offset = offset;
        check_nv_certify(&forger.ak.public, made.evidence(), &policy).report
    };
    let part = |index: &TpmsNvPublic, offset, contents: &[u8]| {
        Attested::Nv(TpmsNvCertifyInfo {
            index_name: index_name(index),
            offset,
            nv_contents: buffer(contents),
        })
    };
    let report = check(part(&index, 2, b"held"), &index, b"held", 2);
    refused(&report, &[]);
    assert_eq!(report.outcome(NvCertifyCheck::Contents), Outcome::Pass);
    let report = check(part(&index, 2, b"held"), &index, b"hell", 2);
    refused(&report, &["contents"]);
    let report = check(part(&index, 0, b"held"), &index, b"held", 2);
    refused(&report, &["contents"]);
    let mut other = index.clone();
    other.nv_index += 1;
    let report = check(part(&other, 0, b"held"), &index, b"held", 0);
    refused(&report, &["index-name"]);
    let mut unwritten = index.clone();
    unwritten.attributes = 0x0002_0002;
    let report = check(part(&unwritten, 0, b"held"), &unwritten, b"held", 0);
    refused(&report, &["index-written"]);
    let mut weak = index.clone();
    weak.name_alg = HashAlgorithm::Sha1;
    let report = check(part(&weak, 0, b"held"), &weak, b"held", 0);
    refused(&report, &["weak-hashes"]);

    let digest = |contents: &[u8]| {
        Attested::NvDigest(TpmsNvDigestCertifyInfo {
            index_name: index_name(&index),
            nv_digest: buffer(&HashAlgorithm::Sha256.digest(&[contents]).unwrap()),
        })
    };
    refused(&check(digest(b"all of it"), &index, b"all of it", 0), &[]);
    let report = check(digest(b"all of it"), &index, b"some of it", 0);
    refused(&report, &["contents"]);
    let report = check(digest(b"all of it"), &index, b"all of it", 4);
    refused(&report, &["contents"]);
}

/// The checks common to all types apply to every type.
#[test]
fn the_frame_is_judged_for_every_type() {
    let forger = Forger::new();
    let body = Attested::Certify(TpmsCertifyInfo {
        name: name(&forger.dev),
        qualified_name: Buffer::default(),
    });
    let elsewhere = QualifiedName::of_primary(Hierarchy::Owner, &forger.dev).unwrap();
    let check = |made: &Made, ak: &TpmtPublic, last_seen| {
        let mut attestation = policy(Some(NONCE), Some(&elsewhere));
        attestation.last_seen = last_seen;
        let policy = CertifyPolicy::new(attestation, &forger.dev, dev_id());
        check_certify(ak, made.evidence(), &policy).report
    };
    let mut signed = attest(NONCE, body);
    let made = forger.sign_attest(&signed);
    refused(
        &check(&made, &forger.ak.public, None),
        &["qualified-signer"],
    );
    signed.qualified_signer = buffer(elsewhere.as_bytes());
    let made = forger.sign_attest(&signed);
    refused(&check(&made, &forger.ak.public, None), &[]);
    let later = TpmsClockInfo {
        clock: signed.clock_info.clock + 1,
        reset_count: signed.clock_info.reset_count + 1,
        ..signed.clock_info
    };
    refused(
        &check(&made, &forger.ak.public, Some(later)),
        &["reset-counters", "clock"],
    );
    let mut free = forger.ak.public.clone();
    free.object_attributes = free.object_attributes.without(ObjectAttributes::RESTRICTED);
    refused(&check(&made, &free, None), &["attesting-key"]);
    let mut changed = forger.sign_attest(&signed);
    changed.attest[60] ^= 1;
    let report = check(&changed, &forger.ak.public, None);
    assert!(failed(&report).contains(&"signature"), "{report}");
}
