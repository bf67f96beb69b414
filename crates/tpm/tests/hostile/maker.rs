//! Generates the vectors: attestations by a software key, each with one defect, and their sound
//! twins.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

use std::convert::Infallible;

use keyproof_tpm::{
    AttestationTemplate, Attested, AwsLcRs, Buffer, EccScheme, HashAlgorithm, Hierarchy,
    KdfAlgorithm, KdfScheme, Name, ObjectAttributes, PublicKey, QualifiedName, Structure,
    SymmetricAlgorithm, SymmetricMode, SymmetricObject, TpmlPcrSelection, TpmsAttest,
    TpmsCertifyInfo, TpmsClockInfo, TpmsCreationData, TpmsCreationInfo, TpmsNvCertifyInfo,
    TpmsNvDigestCertifyInfo, TpmsNvPublic, TpmsQuoteInfo, TpmsTimeAttestInfo, TpmtPublic,
    TpmtTkCreation, make_credential,
};
use serde_json::{Map, Value, json};

use crate::{
    event_log_maker::{
        CRTM_VERSION, EFI_ACTION, GLOBAL, IPL, LogMaker, NO_ACTION, SEPARATOR, VARIABLE_CONFIG,
        variable,
    },
    software_tpm::{SoftwareKey, attest, ecdsa},
    vector::{Vector, hex},
    vectors::read,
};

const NONCE: &[u8] = b"a nonce of thirty-two bytes, new";
const FIRMWARE: u64 = 0x2026_0001_0000_0002;
const OUTSIDE: &[u8] = b"outside";

pub(crate) fn all() -> Vec<Vector> {
    let mut made = Vec::new();
    quotes(&mut made);
    certifications(&mut made);
    creations(&mut made);
    times(&mut made);
    nv_indices(&mut made);
    event_logs(&mut made);
    credentials(&mut made);
    keys(&mut made);
    made
}

fn vector(kind: &str, name: &str, what: &str, fails: &[&str], input: Map<String, Value>) -> Vector {
    let mut vector =
        json!({ "name": name, "kind": kind, "what": what, "fails": fails, "input": input });
    if !fails.is_empty() {
        vector["twin"] = kind.into();
    }
    Vector(vector)
}

fn buffer(bytes: &[u8]) -> Buffer {
    Buffer::new(bytes).unwrap()
}

fn name_of(object: &TpmtPublic) -> Buffer {
    buffer(Name::of(object).unwrap().as_bytes())
}

/// The qualified name of an attestation key below its endorsement key.
fn place(ek: &TpmtPublic, ak: &TpmtPublic) -> Buffer {
    let parent = QualifiedName::of_primary(Hierarchy::Endorsement, ek).unwrap();
    buffer(parent.of_child(ak).unwrap().as_bytes())
}

/// The keys of a TPM that signs what it should not.
struct Tpm {
    key: SoftwareKey,
    ek: TpmtPublic,
    device: TpmtPublic,
}

impl Tpm {
    fn new() -> Self {
        let device = AttestationTemplate::ATTRIBUTES.without(ObjectAttributes::RESTRICTED);
        Self {
            key: SoftwareKey::new(AttestationTemplate::ATTRIBUTES),
            ek: TpmtPublic::parse_sized(&read("eccp256", "ek.pub.tpm2b")).unwrap(),
            device: SoftwareKey::new(device).public,
        }
    }
}

/// An attestation under construction, with the verifier's input.
struct Case {
    /// The key claimed to have signed.
    ak: TpmtPublic,
    ek: TpmtPublic,
    attest: TpmsAttest,
    /// Further input of the verifier, by field.
    input: Map<String, Value>,
    /// Changes the bytes of the attestation before it is signed.
    before: fn(&mut Vec<u8>),
    /// Changes attestation and signature after signing.
    after: fn(&mut Vec<u8>, &mut Vec<u8>),
    /// Whether `qualifiedSigner` is finally set to the qualified name of `ak`.
    placed: bool,
}

impl Case {
    fn new(tpm: &Tpm, attested: Attested) -> Self {
        let mut case = Self {
            ak: tpm.key.public.clone(),
            ek: tpm.ek.clone(),
            attest: attest(NONCE, attested),
            input: Map::new(),
            before: |_| {},
            after: |_, _| {},
            placed: true,
        };
        case.attest.firmware_version = FIRMWARE;
        case.set("nonce", NONCE);
        case
    }

    fn set(&mut self, field: &str, bytes: &[u8]) {
        self.input.insert(field.to_owned(), hex(bytes).into());
    }

    fn set_text(&mut self, field: &str, text: &str) {
        self.input.insert(field.to_owned(), text.into());
    }

    fn set_last_seen(&mut self, last: TpmsClockInfo) {
        let last = json!({
            "clock": last.clock,
            "reset_count": last.reset_count,
            "restart_count": last.restart_count,
            "safe": last.safe,
        });
        self.input.insert("last_seen".to_owned(), last);
    }

    fn attributes(&mut self, change: impl FnOnce(ObjectAttributes) -> ObjectAttributes) {
        self.ak.object_attributes = change(self.ak.object_attributes);
    }

    /// Signs the attestation and returns the verifier's input.
    fn finish(mut self, tpm: &Tpm) -> Map<String, Value> {
        if self.placed {
            self.attest.qualified_signer = place(&self.ek, &self.ak);
        }
        let mut bytes = self.attest.to_bytes();
        (self.before)(&mut bytes);
        let mut signature = tpm.key.signature(&bytes);
        (self.after)(&mut bytes, &mut signature);
        self.set("ak", &self.ak.to_bytes());
        self.set("ek", &self.ek.to_bytes());
        self.set("attest", &bytes);
        self.set("signature", &signature);
        self.input
    }
}

/// If a key lacks one of these attributes, its attestations prove nothing.
const ATTRIBUTES: [(&str, ObjectAttributes, &str); 5] = [
    ("unrestricted", ObjectAttributes::RESTRICTED, "restricted"),
    ("not-fixed-tpm", ObjectAttributes::FIXED_TPM, "fixed-tpm"),
    (
        "not-fixed-parent",
        ObjectAttributes::FIXED_PARENT,
        "fixed-parent",
    ),
    (
        "imported",
        ObjectAttributes::SENSITIVE_DATA_ORIGIN,
        "sensitive-data-origin",
    ),
    ("not-for-signatures", ObjectAttributes::SIGN, "sign"),
];

/// Each register has a different value: its number, repeated.
fn values(selection: &TpmlPcrSelection) -> Vec<u8> {
    let mut values = Vec::new();
    for bank in selection.banks() {
        for index in bank.registers() {
            values.extend(vec![index; bank.hash().digest_size()]);
        }
    }
    values
}

const ASKED: &str = "sha256:0,1,7";

fn quote_of(tpm: &Tpm, quoted: &TpmlPcrSelection) -> Case {
    let values = values(quoted);
    let digest = HashAlgorithm::Sha256.digest(&[&values]).unwrap();
    let mut case = Case::new(
        tpm,
        Attested::Quote(TpmsQuoteInfo {
            pcr_select: quoted.clone(),
            pcr_digest: buffer(&digest),
        }),
    );
    case.set_text("selection", ASKED);
    case.set("pcr_values", &values);
    let clock = case.attest.clock_info;
    case.set_last_seen(clock);
    case
}

fn set_digest(case: &mut Case, digest: &[u8]) {
    if let Attested::Quote(body) = &mut case.attest.attested {
        body.pcr_digest = buffer(digest);
    }
}

fn ecc(case: &mut Case) -> &mut keyproof_tpm::EccPublic {
    match &mut case.ak.key {
        PublicKey::Ecc(key) => key,
        PublicKey::Rsa(_) => unreachable!(),
    }
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn quotes(made: &mut Vec<Vector>) {
    type Change = fn(&mut Case);
    let tpm = Tpm::new();
    let sound: TpmlPcrSelection = ASKED.parse().unwrap();
    let mut put = |name: &str, what: &str, fails: &[&str], case: Case| {
        made.push(vector("quote", name, what, fails, case.finish(&tpm)));
    };
    put("quote", "A sound quote.", &[], quote_of(&tpm, &sound));
    for (short, attribute, _) in ATTRIBUTES {
        let mut case = quote_of(&tpm, &sound);
        case.attributes(|own| own.without(attribute));
        let what = format!("The attestation key is {}.", short.replace('-', " "));
        put(
            &format!("quote-key-{short}"),
            &what,
            &["attesting-key"],
            case,
        );
    }
    for (short, quoted, what) in [
        (
            "pcr-outside-the-selection",
            "sha256:0,1,7,16",
            "A register more than was asked for is quoted.",
        ),
        (
            "pcr-missing",
            "sha256:0,1",
            "A register fewer than was asked for is quoted.",
        ),
        (
            "other-pcrs",
            "sha256:16,17,23",
            "As many registers as were asked for are quoted, but others.",
        ),
        (
            "other-bank",
            "sha384:0,1,7",
            "The registers that were asked for are quoted, from another bank.",
        ),
        (
            "more-banks",
            "sha256:0,1,7+sha384:0,1,7",
            "Another bank is quoted beside the one asked for.",
        ),
    ] {
        let case = quote_of(&tpm, &quoted.parse().unwrap());
        put(&format!("quote-{short}"), what, &["pcr-selection"], case);
    }
    let case = quote_of(&tpm, &TpmlPcrSelection::default());
    let what = "No register is quoted at all.";
    put("quote-no-pcrs", what, &["pcr-selection"], case);
    let mut case = quote_of(&tpm, &"sha1:0,1,7".parse().unwrap());
    case.set_text("selection", "sha1:0,1,7");
    let what = "The SHA-1 bank was asked for, and is quoted.";
    put("quote-sha1-bank", what, &["weak-hashes"], case);

    let cases: [(&str, &str, &[&str], Change); 39] = [
        (
            "stale-nonce",
            "The nonce is that of an earlier request.",
            &["extra-data"],
            |case| case.attest.extra_data = buffer(b"a nonce of thirty-two bytes, old"),
        ),
        (
            "no-nonce",
            "It carries no nonce.",
            &["extra-data"],
            |case| case.attest.extra_data = Buffer::default(),
        ),
        (
            "nonce-cut",
            "It carries the beginning of the nonce.",
            &["extra-data"],
            |case| case.attest.extra_data = buffer(&NONCE[..16]),
        ),
        (
            "nonce-longer",
            "It carries more than the nonce.",
            &["extra-data"],
            |case| case.attest.extra_data = buffer(&[NONCE, b"!"].concat()),
        ),
        (
            "empty-nonce-asked",
            "The verifier asked with an empty nonce, and got it.",
            &["extra-data"],
            |case| {
                case.attest.extra_data = Buffer::default();
                case.set("nonce", b"");
            },
        ),
        (
            "other-values",
            "One bit of the values differs from what was quoted.",
            &["pcr-digest"],
            |case| {
                let mut values = values(&ASKED.parse().unwrap());
                values[40] ^= 1;
                case.set("pcr_values", &values);
            },
        ),
        (
            "values-in-other-order",
            "The values are in another order than the selection.",
            &["pcr-digest"],
            |case| {
                let mut values = values(&ASKED.parse().unwrap());
                values.rotate_left(32);
                case.set("pcr_values", &values);
            },
        ),
        (
            "values-cut",
            "A value is missing.",
            &["pcr-digest"],
            |case| {
                let values = values(&ASKED.parse().unwrap());
                case.set("pcr_values", &values[..64]);
            },
        ),
        (
            "values-longer",
            "There is a value too many.",
            &["pcr-digest"],
            |case| {
                let mut values = values(&ASKED.parse().unwrap());
                values.extend([0; 32]);
                case.set("pcr_values", &values);
            },
        ),
        (
            "digest-cut",
            "The digest is cut to 16 bytes.",
            &["pcr-digest"],
            |case| {
                let values = values(&ASKED.parse().unwrap());
                let digest = HashAlgorithm::Sha256.digest(&[&values]).unwrap();
                set_digest(case, &digest[..16]);
            },
        ),
        (
            "digest-empty",
            "The digest is empty.",
            &["pcr-digest"],
            |case| set_digest(case, &[]),
        ),
        (
            "digest-by-another-hash",
            "The digest is by another hash than the signature.",
            &["pcr-digest"],
            |case| {
                let values = values(&ASKED.parse().unwrap());
                set_digest(case, &HashAlgorithm::Sha384.digest(&[&values]).unwrap());
            },
        ),
        (
            "key-decrypts",
            "The attestation key may decrypt as well.",
            &["attesting-key"],
            |case| case.attributes(|own| own | ObjectAttributes::DECRYPT),
        ),
        (
            "key-with-kdf",
            "The attestation key has a key derivation.",
            &["attesting-key"],
            |case| {
                ecc(case).kdf = Some(KdfScheme {
                    algorithm: KdfAlgorithm::Kdf1Sp800_108,
                    hash: HashAlgorithm::Sha256,
                });
            },
        ),
        (
            "key-with-cipher",
            "The attestation key has a symmetric algorithm.",
            &["attesting-key"],
            |case| {
                ecc(case).symmetric = Some(SymmetricObject {
                    algorithm: SymmetricAlgorithm::Aes,
                    key_bits: 128,
                    mode: Some(SymmetricMode::Cfb),
                });
            },
        ),
        (
            "key-without-scheme",
            "The attestation key has no scheme of its own.",
            &["attesting-key", "signature"],
            |case| ecc(case).scheme = None,
        ),
        (
            "key-with-another-hash",
            "The attestation key is bound to SHA-384, and has signed with SHA-256.",
            &["signature"],
            |case| ecc(case).scheme = Some(EccScheme::Ecdsa(HashAlgorithm::Sha384)),
        ),
        (
            "key-with-sha1-name",
            "The attestation key's Name is by SHA-1.",
            &["attesting-key", "weak-hashes"],
            |case| case.ak.name_alg = Some(HashAlgorithm::Sha1),
        ),
        (
            "key-off-its-curve",
            "The attestation key's point is not on its curve.",
            &["signature"],
            |case| {
                let mut y = ecc(case).y.to_vec();
                y[31] ^= 1;
                ecc(case).y = buffer(&y);
            },
        ),
        (
            "key-on-another-curve",
            "The attestation key is on a Barreto-Naehrig curve.",
            &["attesting-key", "signature"],
            |case| ecc(case).curve = keyproof_tpm::EccCurve::BnP256,
        ),
        (
            "signed-by-another-key",
            "Another key of the same kind has signed.",
            &["signature"],
            |case| case.ak = SoftwareKey::new(AttestationTemplate::ATTRIBUTES).public,
        ),
        (
            "changed-after-signing",
            "One bit of the firmware version was changed after signing.",
            &["signature"],
            |case| case.after = |attest, _| attest[6 + 2 + 34 + 2 + 32 + 20] ^= 1,
        ),
        (
            "signature-swapped",
            "The two numbers of the signature are exchanged.",
            &["signature"],
            |case| case.after = |_, signature| signature[6..].rotate_left(34),
        ),
        (
            "signature-zero",
            "Both numbers of the signature are zero.",
            &["signature"],
            |case| {
                case.after = |_, signature| {
                    *signature = ecdsa(HashAlgorithm::Sha256, &[0; 32], &[0; 32]);
                };
            },
        ),
        (
            "signature-empty",
            "The numbers of the signature are empty.",
            &["signature"],
            |case| case.after = |_, signature| *signature = b"\x00\x18\x00\x0b\0\0\0\0".to_vec(),
        ),
        (
            "signature-trailing",
            "A byte follows the signature.",
            &["signature"],
            |case| case.after = |_, signature| signature.push(0),
        ),
        (
            "signature-of-another-kind",
            "The signature says RSASSA, and the key is ECC.",
            &["signature"],
            |case| {
                case.after = |_, signature| {
                    *signature = [b"\x00\x14\x00\x0b\x01\x00", &[1; 256][..]].concat();
                };
            },
        ),
        (
            "wrong-magic",
            "It does not begin with TPM_GENERATED_VALUE: a key that is not restricted may sign it.",
            &["magic", "structure"],
            |case| case.before = |attest| attest[0] = 0xfe,
        ),
        (
            "trailing",
            "A byte follows the attestation, and is signed.",
            &["structure"],
            |case| case.before = |attest| attest.push(0),
        ),
        (
            "cut",
            "The attestation ends within its digest, and is signed.",
            &["structure"],
            |case| case.before = |attest| attest.truncate(attest.len() - 1),
        ),
        (
            "extra-data-overrun",
            "The size of extraData is more than there is.",
            &["structure"],
            |case| case.before = |attest| attest[6 + 2 + 34] = 0x7f,
        ),
        (
            "safe-is-neither",
            "The flag safe is neither YES nor NO.",
            &["structure"],
            |case| case.before = |attest| attest[6 + 2 + 34 + 2 + 32 + 16] = 2,
        ),
        (
            "unknown-bank",
            "A bank of an unknown hash is selected.",
            &["structure"],
            |case| case.before = |attest| attest[6 + 2 + 34 + 2 + 32 + 25 + 4] = 0x77,
        ),
        (
            "empty-bitmap",
            "A selection has a bitmap of no bytes.",
            &["structure"],
            |case| case.before = |attest| attest[6 + 2 + 34 + 2 + 32 + 25 + 6] = 0,
        ),
        (
            "of-another-tpm",
            "The key stands below another endorsement key.",
            &["qualified-signer"],
            |case| {
                let other = TpmtPublic::parse_sized(&read("rsa2048", "ek.pub.tpm2b")).unwrap();
                case.attest.qualified_signer = place(&other, &case.ak);
                case.placed = false;
            },
        ),
        (
            "signer-is-a-name",
            "qualifiedSigner is the key's Name, whatever it stands below.",
            &["qualified-signer"],
            |case| {
                case.attest.qualified_signer = name_of(&case.ak);
                case.placed = false;
            },
        ),
        (
            "reset-count-fell",
            "The TPM was reset more often when it was last seen.",
            &["reset-counters"],
            |case| {
                let mut last = case.attest.clock_info;
                last.reset_count += 1;
                case.set_last_seen(last);
            },
        ),
        (
            "restart-count-fell",
            "The TPM was restarted more often when it was last seen.",
            &["reset-counters"],
            |case| {
                let mut last = case.attest.clock_info;
                last.restart_count += 1;
                case.set_last_seen(last);
            },
        ),
        (
            "clock-fell",
            "The clock was ahead when it was last seen, and is called safe.",
            &["clock"],
            |case| {
                let mut last = case.attest.clock_info;
                last.clock += 1;
                last.reset_count -= 1;
                case.set_last_seen(last);
            },
        ),
    ];
    for (name, what, fails, change) in cases {
        let mut case = quote_of(&tpm, &sound);
        change(&mut case);
        put(&format!("quote-{name}"), what, fails, case);
    }
    let mut case = quote_of(&tpm, &sound);
    case.attest.attested = Attested::Certify(TpmsCertifyInfo {
        name: name_of(&tpm.device),
        qualified_name: Buffer::default(),
    });
    let what = "A certification in place of a quote.";
    put("quote-is-a-certification", what, &["type"], case);
}

/// A certification of `object` in the place of the primary object `placed`.
fn certification(object: &TpmtPublic, hierarchy: Hierarchy, placed: &TpmtPublic) -> Attested {
    let qualified = QualifiedName::of_primary(hierarchy, placed).unwrap();
    Attested::Certify(TpmsCertifyInfo {
        name: name_of(object),
        qualified_name: buffer(qualified.as_bytes()),
    })
}

fn certify_of(tpm: &Tpm, object: &TpmtPublic) -> Case {
    let mut case = Case::new(tpm, certification(object, Hierarchy::Owner, object));
    case.set("object", &object.to_bytes());
    case.set_text("profile", "devid");
    case
}

fn certifications(made: &mut Vec<Vector>) {
    let tpm = Tpm::new();
    let mut put = |name: &str, what: &str, fails: &[&str], case: Case| {
        made.push(vector("certify", name, what, fails, case.finish(&tpm)));
    };
    let what = "A sound certification of a device identity key.";
    put("certify", what, &[], certify_of(&tpm, &tpm.device));
    for (short, attribute, _) in ATTRIBUTES {
        if attribute == ObjectAttributes::RESTRICTED {
            continue;
        }
        let mut device = tpm.device.clone();
        device.object_attributes = device.object_attributes.without(attribute);
        let what = format!("The certified key is {}.", short.replace('-', " "));
        let case = certify_of(&tpm, &device);
        put(
            &format!("certify-{short}"),
            &what,
            &["object-profile"],
            case,
        );
    }
    let with = |change: &dyn Fn(&mut TpmtPublic)| {
        let mut device = tpm.device.clone();
        change(&mut device);
        certify_of(&tpm, &device)
    };
    let case = with(&|device| {
        device.object_attributes = device.object_attributes | ObjectAttributes::RESTRICTED;
    });
    let what = "The certified key is restricted: it signs no handshake.";
    put("certify-restricted", what, &["object-profile"], case);
    let case = with(&|device| {
        device.object_attributes = device.object_attributes | ObjectAttributes::DECRYPT;
    });
    let what = "The certified key may decrypt as well.";
    put("certify-decrypts", what, &["object-profile"], case);
    let case = with(&|device| device.name_alg = Some(HashAlgorithm::Sha1));
    let fails = ["object-profile", "weak-hashes"];
    let what = "The certified key's Name is by SHA-1.";
    put("certify-sha1-name", what, &fails, case);
    let mut case = certify_of(&tpm, &tpm.device);
    case.set_text("profile", "attestation");
    let what = "An attestation key was asked for, and a key that signs anything is certified.";
    put(
        "certify-no-attestation-key",
        what,
        &["object-profile"],
        case,
    );

    let mut case = certify_of(&tpm, &tpm.device);
    let other = SoftwareKey::new(tpm.device.object_attributes).public;
    case.attest.attested = certification(&other, Hierarchy::Owner, &tpm.device);
    let what = "Another key is certified.";
    put("certify-another-key", what, &["object-name"], case);
    let mut case = certify_of(&tpm, &tpm.device);
    case.attest.attested = certification(&tpm.device, Hierarchy::Null, &tpm.device);
    let what = "The certified key is of the NULL hierarchy, and gone after the next reset.";
    put("certify-elsewhere", what, &["object-qualified-name"], case);
    let mut case = certify_of(&tpm, &tpm.device);
    case.attest.extra_data = buffer(b"\x00\xff\x55\xaa");
    let what = "It carries the constant of tpm2_certify in place of the nonce.";
    put("certify-stale-nonce", what, &["extra-data"], case);
    let mut case = certify_of(&tpm, &tpm.device);
    case.attributes(|own| own.without(ObjectAttributes::RESTRICTED));
    let what = "The certifying key is not restricted: it signs any forged certification.";
    put(
        "certify-by-an-unrestricted-key",
        what,
        &["attesting-key"],
        case,
    );
}

/// A creation in the owner's hierarchy.
struct Creation {
    data: TpmsCreationData,
    ticket: TpmtTkCreation,
    ticket_bytes: Option<Vec<u8>>,
    after_data: &'static [u8],
    object: Option<TpmtPublic>,
    hash: Option<Vec<u8>>,
}

fn creation_of(tpm: &Tpm, change: impl FnOnce(&mut Creation)) -> Case {
    let owner = buffer(&Hierarchy::Owner.handle().to_be_bytes());
    let mut creation = Creation {
        data: TpmsCreationData {
            pcr_select: TpmlPcrSelection::default(),
            pcr_digest: buffer(&HashAlgorithm::Sha256.digest(&[]).unwrap()),
            locality: 1,
            parent_name_alg: None,
            parent_name: owner.clone(),
            parent_qualified_name: owner,
            outside_info: buffer(OUTSIDE),
        },
        ticket: TpmtTkCreation {
            hierarchy: Hierarchy::Owner,
            digest: buffer(&[0x5a; 32]),
        },
        ticket_bytes: None,
        after_data: b"",
        object: None,
        hash: None,
    };
    change(&mut creation);
    let data = [&creation.data.to_bytes()[..], creation.after_data].concat();
    let hash = HashAlgorithm::Sha256.digest(&[&data]).unwrap();
    let mut case = Case::new(
        tpm,
        Attested::Creation(TpmsCreationInfo {
            object_name: name_of(creation.object.as_ref().unwrap_or(&tpm.device)),
            creation_hash: buffer(creation.hash.as_ref().unwrap_or(&hash)),
        }),
    );
    let ticket = creation.ticket_bytes.unwrap_or(creation.ticket.to_bytes());
    case.set("object", &tpm.device.to_bytes());
    case.set("creation_data", &data);
    case.set("ticket", &ticket);
    case.set("outside_info", OUTSIDE);
    case.set_text("profile", "devid");
    case
}

fn creations(made: &mut Vec<Vector>) {
    type Change = fn(&mut Creation);
    let tpm = Tpm::new();
    let cases: [(&str, &str, &[&str], Change); 11] = [
        ("", "A sound certified creation.", &[], |_| {}),
        (
            "-other-data",
            "The creation data is not what was hashed.",
            &["creation-hash"],
            |creation| {
                creation.hash = Some(vec![0x11; 32]);
            },
        ),
        (
            "-hash-cut",
            "The hash is cut to 16 bytes.",
            &["creation-hash"],
            |creation| {
                let hash = HashAlgorithm::Sha256
                    .digest(&[&creation.data.to_bytes()])
                    .unwrap();
                creation.hash = Some(hash[..16].to_vec());
            },
        ),
        (
            "-another-object",
            "Another object was made.",
            &["object-name"],
            |creation| {
                creation.object = Some(SoftwareKey::new(AttestationTemplate::ATTRIBUTES).public);
            },
        ),
        (
            "-elsewhere",
            "It was made in the platform's hierarchy, not the owner's.",
            &["parent"],
            |creation| {
                let platform = buffer(&Hierarchy::Platform.handle().to_be_bytes());
                creation.data.parent_name = platform.clone();
                creation.data.parent_qualified_name = platform;
                creation.ticket.hierarchy = Hierarchy::Platform;
            },
        ),
        (
            "-other-outside-info",
            "It was made for another purpose, says outsideInfo.",
            &["outside-info"],
            |creation| creation.data.outside_info = buffer(b"another"),
        ),
        (
            "-trailing-data",
            "A byte follows the creation data, and is hashed.",
            &["creation-data"],
            |creation| creation.after_data = b"\0",
        ),
        (
            "-parent-without-algorithm",
            "The parent is an object, and has no name algorithm.",
            &["creation-data"],
            |creation| {
                creation.data.parent_name = buffer(&[&[0, 0x0b][..], &[1; 32]].concat());
            },
        ),
        (
            "-null-ticket",
            "The ticket is the one that proves nothing.",
            &["ticket"],
            |creation| creation.ticket.digest = Buffer::default(),
        ),
        (
            "-ticket-of-another-hierarchy",
            "The ticket is of another hierarchy than the parent.",
            &["ticket"],
            |creation| creation.ticket.hierarchy = Hierarchy::Endorsement,
        ),
        (
            "-ticket-of-another-kind",
            "The ticket is one of a verified signature.",
            &["ticket"],
            |creation| {
                let mut ticket = creation.ticket.to_bytes();
                ticket[1] = 0x22;
                creation.ticket_bytes = Some(ticket);
            },
        ),
    ];
    for (name, what, fails, change) in cases {
        let input = creation_of(&tpm, change).finish(&tpm);
        made.push(vector(
            "creation",
            &format!("creation{name}"),
            what,
            fails,
            input,
        ));
    }
}

fn times(made: &mut Vec<Vector>) {
    type Change = fn(&mut Case);
    let tpm = Tpm::new();
    let cases: [(&str, &str, &[&str], Change); 4] = [
        ("", "A sound attested time.", &[], |_| {}),
        (
            "-older-firmware",
            "The TPM has other firmware than it should.",
            &["firmware-version"],
            |case| case.set("firmware_version", &(FIRMWARE + 1).to_be_bytes()),
        ),
        (
            "-reset-count-fell",
            "The TPM was reset more often when it was last seen.",
            &["reset-counters"],
            |case| {
                let mut last = case.attest.clock_info;
                last.reset_count += 5;
                case.set_last_seen(last);
            },
        ),
        (
            "-clock-fell",
            "The clock was ahead when it was last seen.",
            &["clock"],
            |case| {
                let mut last = case.attest.clock_info;
                last.clock += 100;
                case.set_last_seen(last);
            },
        ),
    ];
    for (name, what, fails, change) in cases {
        let clock_info = attest(NONCE, certify_of(&tpm, &tpm.device).attest.attested).clock_info;
        let mut case = Case::new(
            &tpm,
            Attested::Time(TpmsTimeAttestInfo {
                time: 500,
                clock_info,
                firmware_version: FIRMWARE,
            }),
        );
        case.set("firmware_version", &FIRMWARE.to_be_bytes());
        case.set_last_seen(clock_info);
        change(&mut case);
        let name = format!("time{name}");
        made.push(vector("time", &name, what, fails, case.finish(&tpm)));
    }
}

fn nv_indices(made: &mut Vec<Vector>) {
    let tpm = Tpm::new();
    let index = TpmsNvPublic {
        nv_index: 0x0180_0001,
        name_alg: HashAlgorithm::Sha256,
        attributes: 0x2002_0002,
        auth_policy: Buffer::default(),
        data_size: 8,
    };
    let name = |index: &TpmsNvPublic| buffer(Name::of_nv_index(index).unwrap().as_bytes());
    let contents = |index: &TpmsNvPublic, offset, contents: &[u8]| {
        Attested::Nv(TpmsNvCertifyInfo {
            index_name: name(index),
            offset,
            nv_contents: buffer(contents),
        })
    };
    let mut put = |short: &str, what: &str, fails: &[&str], known: &TpmsNvPublic, attested| {
        let mut case = Case::new(&tpm, attested);
        case.set("index", &known.to_bytes());
        case.set("contents", b"held");
        case.set("offset", &[0, 0]);
        let name = format!("nv{short}");
        made.push(vector("nv", &name, what, fails, case.finish(&tpm)));
    };
    let what = "A sound certified NV index.";
    put("", what, &[], &index, contents(&index, 0, b"held"));
    let what = "The index holds something else.";
    let attested = contents(&index, 0, b"hell");
    put("-other-contents", what, &["contents"], &index, attested);
    let what = "The contents were read from another offset.";
    let attested = contents(&index, 4, b"held");
    put("-other-offset", what, &["contents"], &index, attested);
    let mut other = index.clone();
    other.nv_index += 1;
    let what = "Another index is certified.";
    let attested = contents(&other, 0, b"held");
    put("-another-index", what, &["index-name"], &index, attested);
    let mut open = index.clone();
    open.attributes |= 0x0004_0004;
    let what = "The index at this handle was defined anew, with other attributes.";
    let attested = contents(&open, 0, b"held");
    put("-redefined", what, &["index-name"], &index, attested);
    let mut unwritten = index.clone();
    unwritten.attributes &= !0x2000_0000;
    let what = "The index was never written.";
    let attested = contents(&unwritten, 0, b"held");
    put("-unwritten", what, &["index-written"], &unwritten, attested);
    let digest = Attested::NvDigest(TpmsNvDigestCertifyInfo {
        index_name: name(&index),
        nv_digest: buffer(&HashAlgorithm::Sha256.digest(&[b"hell"]).unwrap()),
    });
    let what = "The digest is of other contents.";
    put("-other-digest", what, &["contents"], &index, digest);
}

const LOGGED: &str = "sha256:0,1,4,5,7,8";
const BANKS: [HashAlgorithm; 2] = [HashAlgorithm::Sha256, HashAlgorithm::Sha384];

fn event_logs(made: &mut Vec<Vector>) {
    let mut put =
        |short: &str, what: &str, fails: &[&str], log: &[u8], selection: &str, values: &[u8]| {
            let mut input = Map::new();
            input.insert("event_log".to_owned(), hex(log).into());
            input.insert("selection".to_owned(), selection.into());
            input.insert("pcr_values".to_owned(), hex(values).into());
            made.push(vector(
                "event-log",
                &format!("event-log{short}"),
                what,
                fails,
                input,
            ));
        };
    let asked: TpmlPcrSelection = LOGGED.parse().unwrap();
    let mut booted = LogMaker::agile(&BANKS);
    booted.boot(true);
    let values = booted.values(&asked);
    let log = &booted.bytes;
    let what = "A sound log of a boot with Secure Boot on.";
    put("", what, &[], log, LOGGED, &values);
    let events = keyproof_tpm::EventLog::parse(log).unwrap().events;
    let at = |number: usize| events[number].at;
    let last = at(events.len() - 1);

    // Changes by an attacker.
    let mut changed = |short: &str, what: &str, fails: &[&str], log: &[u8]| {
        put(short, what, fails, log, LOGGED, &values);
    };
    let what = "The log ends within an event.";
    changed("-cut", what, &["event-log"], &log[..last + 30]);
    let what = "The last event is left out.";
    changed("-without-its-end", what, &["registers"], &log[..last]);
    let without = [&log[..at(1)], &log[at(2)..]].concat();
    let what = "An event in the middle is left out.";
    changed("-without-an-event", what, &["registers"], &without);
    let swapped = [
        &log[..at(0)],
        &log[at(1)..at(2)],
        &log[at(0)..at(1)],
        &log[at(2)..],
    ]
    .concat();
    let what = "Two events of one register are exchanged.";
    changed("-in-other-order", what, &["registers"], &swapped);
    let mut other = log.clone();
    other[at(1) + 14] ^= 1;
    let what = "One bit of a digest is changed.";
    changed("-other-digest", what, &["registers"], &other);
    let mut hidden = log.clone();
    hidden[at(1) + 4..at(1) + 8].copy_from_slice(&NO_ACTION.to_le_bytes());
    let what = "An event is called EV_NO_ACTION, which is not extended.";
    changed("-hidden-event", what, &["registers"], &hidden);
    let mut moved = log.clone();
    moved[at(1)] = 5;
    let what = "An event is said to be of another register.";
    changed("-moved-event", what, &["registers"], &moved);
    let mut huge = log.clone();
    let size_at = last + 12 + 2 + 32 + 2 + 48;
    huge[size_at..size_at + 4].copy_from_slice(&[0xff; 4]);
    let what = "The size of an event is 4 GiB.";
    changed("-overrun", what, &["event-log"], &huge);
    let mut unknown = log.clone();
    unknown[last + 12 + 1] = 0x77;
    let what = "A digest is of a hash that nobody says the size of.";
    changed("-unknown-digest", what, &["event-log"], &unknown);
    let head = &log[..at(0)];
    let what = "The head announces SHA-256 digests of 20 bytes.";
    let mut short = log.clone();
    short[32 + 16 + 8 + 4 + 2] = 20;
    changed("-short-digests", what, &["event-log"], &short);
    let mut beyond = log.clone();
    beyond[last..last + 4].copy_from_slice(&99_u32.to_le_bytes());
    let what = "An event is of PCR 99.";
    changed(
        "-no-such-register",
        what,
        &["digests", "registers"],
        &beyond,
    );
    let zeros = vec![0; asked.values_size()];
    let what = "A head alone, of a TPM in which nothing was measured.";
    let fails = ["event-log", "secure-boot"];
    put("-head-alone", what, &fails, head, LOGGED, &zeros);

    // Truthful logs of a platform in a bad state.
    let mut truthful =
        |short: &str, what: &str, fails: &[&str], selection: &str, log: &LogMaker| {
            let values = log.values(&selection.parse().unwrap());
            put(short, what, fails, &log.bytes, selection, &values);
        };
    let (off, on) = (
        variable(&GLOBAL, "SecureBoot", &[0]),
        variable(&GLOBAL, "SecureBoot", &[1]),
    );
    let fails = ["secure-boot"];
    let what = "Secure Boot is off.";
    let mut log = LogMaker::agile(&BANKS);
    log.boot(false);
    truthful("-secure-boot-off", what, &fails, LOGGED, &log);
    let what = "Secure Boot is off; a boot loader measured that it was on, after the firmware had handed over.";
    let mut log = LogMaker::agile(&BANKS);
    log.hand_over();
    log.measure(7, VARIABLE_CONFIG, &on);
    truthful("-secure-boot-said-late", what, &fails, "sha256:7", &log);
    let what = "Secure Boot is off; the log says in the event's data that it is on, which is not what was measured.";
    let mut log = LogMaker::agile(&BANKS);
    log.measure_as(7, VARIABLE_CONFIG, &off, &on);
    log.hand_over();
    truthful("-secure-boot-exchanged", what, &fails, "sha256:7", &log);
    let what = "Secure Boot is off; the log calls that event and the separator by other types, which no digest covers, \
                and a boot loader measured that it was on.";
    let mut log = LogMaker::agile(&BANKS);
    log.measure(7, EFI_ACTION, &off);
    log.measure(7, EFI_ACTION, &[0; 4]);
    log.measure(7, VARIABLE_CONFIG, &on);
    truthful("-secure-boot-renamed", what, &fails, "sha256:7", &log);
    let what = "PCR 7, which Secure Boot is measured into, is not among the registers.";
    let mut log = LogMaker::agile(&BANKS);
    log.boot(true);
    truthful("-without-pcr-7", what, &fails, "sha256:0,1", &log);
    let what = "The firmware met an error, says a separator.";
    let mut log = LogMaker::agile(&BANKS);
    log.measure(2, CRTM_VERSION, b"1");
    log.measure(2, SEPARATOR, &[1, 0, 0, 0]);
    log.measure(7, VARIABLE_CONFIG, &on);
    log.measure(7, SEPARATOR, &[0; 4]);
    truthful(
        "-error-separator",
        what,
        &["separators"],
        "sha256:2,7",
        &log,
    );
    let what = "Two localities are said to have started the TPM.";
    let mut log = LogMaker::agile(&BANKS);
    log.say_locality(0);
    log.say_locality(3);
    log.boot(true);
    truthful("-two-localities", what, &["startup-locality"], LOGGED, &log);
    let what = "Only the SHA-1 bank is compared.";
    let mut log = LogMaker::agile(&[HashAlgorithm::Sha1, HashAlgorithm::Sha256]);
    log.boot(true);
    truthful("-sha1-bank", what, &["weak-hashes"], "sha1:0,7", &log);
    let fails = ["digests", "registers"];
    let what = "An event has two digests of the compared bank.";
    let mut log = LogMaker::agile(&BANKS[..1]);
    log.boot(true);
    let digest = (HashAlgorithm::Sha256.id(), vec![9; 32]);
    log.raw(8, IPL, &[digest.clone(), digest], b"");
    truthful("-two-digests", what, &fails, "sha256:7,8", &log);
    let what = "An event has no digest of the compared bank.";
    let mut log = LogMaker::agile(&BANKS);
    log.boot(true);
    log.raw(8, IPL, &[(HashAlgorithm::Sha384.id(), vec![9; 48])], b"");
    truthful("-no-digest", what, &fails, "sha256:7,8", &log);
    let what = "A register was extended by what the log does not say.";
    let mut log = LogMaker::agile(&BANKS);
    log.boot(true);
    log.extend(4, b"an implant");
    truthful("-silent-extend", what, &["registers"], "sha256:4,7", &log);
    let what = "A register that the log does not mention was extended.";
    let mut log = LogMaker::agile(&BANKS);
    log.boot(true);
    log.extend(9, b"an implant");
    truthful("-silent-register", what, &["registers"], "sha256:7,9", &log);
}

fn credentials(made: &mut Vec<Vector>) {
    let ek = TpmtPublic::parse_sized(&read("software", "eccp256.ek.pub.tpm2b")).unwrap();
    let name = Name::parse(&read("software", "eccp256.name.bin")).unwrap();
    let mut next = 0_u8;
    let mut random = |bytes: &mut [u8]| {
        for byte in bytes {
            next = next.wrapping_add(37);
            *byte = next;
        }
        Ok::<_, Infallible>(())
    };
    let secret = b"a secret of this credential";
    let credential = make_credential(&AwsLcRs, &ek, &name, secret, &mut random).unwrap();
    let bytes = credential.to_bytes();
    let other = Name::parse(&[&[0, 0x0b][..], &[7; 32]].concat()).unwrap();
    let mut put = |short: &str, what: &str, fails: &[&str], name: &Name, bytes: &[u8]| {
        let mut input = Map::new();
        for (field, bytes) in [
            ("ek", &ek.to_bytes()[..]),
            ("ek_private_key", &read("software", "eccp256.ek.pkcs8.der")),
            ("name", name.as_bytes()),
            ("credential", bytes),
            ("secret", secret),
        ] {
            input.insert(field.to_owned(), hex(bytes).into());
        }
        made.push(vector(
            "credential",
            &format!("credential{short}"),
            what,
            fails,
            input,
        ));
    };
    let fails = ["credential"];
    let what = "A sound credential, as tpm2-tools keep it.";
    put("", what, &[], &name, &bytes);
    let what = "The credential is for a key with another Name.";
    put("-of-another-name", what, &fails, &other, &bytes);
    // Offsets behind the header, two sizes, and the HMAC.
    for (short, at, what) in [
        ("-hmac-changed", 12, "One bit of the HMAC is changed."),
        (
            "-identity-changed",
            46,
            "One bit of the encrypted secret is changed.",
        ),
        (
            "-seed-changed",
            bytes.len() - 1,
            "One bit of the ephemeral point is changed.",
        ),
    ] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        put(short, what, &fails, &name, &changed);
    }
}

const AK: &str = "attestation-key";
const DEVICE: &str = "device-key";

fn keys(made: &mut Vec<Vector>) {
    let ak = SoftwareKey::new(AttestationTemplate::ATTRIBUTES).public;
    let device =
        SoftwareKey::new(ak.object_attributes.without(ObjectAttributes::RESTRICTED)).public;
    let mut put = |kind: &str, short: &str, what: &str, fails: &[&str], key: &TpmtPublic| {
        let mut input = Map::new();
        input.insert("public".to_owned(), hex(&key.to_bytes()).into());
        made.push(vector(kind, &format!("{kind}{short}"), what, fails, input));
    };
    let with = |key: &TpmtPublic, attributes| TpmtPublic {
        object_attributes: attributes,
        ..key.clone()
    };
    let what = "A sound attestation key.";
    put(AK, "", what, &[], &ak);
    let what = "A sound device identity key.";
    put(DEVICE, "", what, &[], &device);
    for (short, attribute, line) in ATTRIBUTES {
        let key = with(&ak, ak.object_attributes.without(attribute));
        let what = format!("The attestation key is {}.", short.replace('-', " "));
        put(AK, &format!("-{short}"), &what, &[line], &key);
        if attribute != ObjectAttributes::RESTRICTED {
            let key = with(&device, device.object_attributes.without(attribute));
            let what = format!("The device identity key is {}.", short.replace('-', " "));
            put(DEVICE, &format!("-{short}"), &what, &[line], &key);
        }
    }
    let key = with(
        &device,
        device.object_attributes | ObjectAttributes::RESTRICTED,
    );
    let what = "The device identity key is restricted: it signs no handshake.";
    put(DEVICE, "-restricted", what, &["not-restricted"], &key);
    let key = with(&ak, ak.object_attributes | ObjectAttributes::DECRYPT);
    let what = "The attestation key may decrypt as well.";
    put(AK, "-decrypts", what, &["not-decrypt"], &key);
    let rsa = TpmtPublic::parse_sized(&read("rsa2048", "ak.pub.tpm2b")).unwrap();
    let mut exponent = rsa.clone();
    if let PublicKey::Rsa(key) = &mut exponent.key {
        key.exponent = 3;
    }
    let what = "The attestation key's exponent is 3.";
    put(AK, "-exponent-3", what, &["key"], &exponent);
    let mut weak = ak.clone();
    if let PublicKey::Ecc(key) = &mut weak.key {
        key.scheme = Some(EccScheme::Ecdsa(HashAlgorithm::Sha1));
    }
    let what = "The attestation key signs with SHA-1.";
    put(AK, "-sha1", what, &["scheme"], &weak);
}
