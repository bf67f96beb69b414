//! Genuine attestations of a TPM, checked under policies other than those they were made for.

use keyproof_tpm::{
    AttestationEvidence, AttestationKeyPolicy, AttestationPolicy, Buffer, CertifyPolicy,
    CreationEvidence, CreationPolicy, DevIdKeyPolicy, Hierarchy, KeyProfile, Name, ObjectParent,
    QualifiedName, QuoteEvidence, QuotePolicy, Structure, TimePolicy, TpmlPcrSelection, TpmsAttest,
    TpmsClockInfo, TpmtPublic, TpmtTkCreation, algorithms, check_certify, check_creation,
    check_quote, check_time,
};

use crate::{report::sound, vectors::vector};

const HIERARCHIES: [Hierarchy; 4] = [
    Hierarchy::Endorsement,
    Hierarchy::Null,
    Hierarchy::Owner,
    Hierarchy::Platform,
];

/// The requirements beside the signature, read from the input: one byte for each.
struct Asked<'a> {
    nonce: Option<&'a [u8]>,
    signer: Option<QualifiedName>,
    last_seen: Option<TpmsClockInfo>,
    keys: AttestationKeyPolicy,
    parent: Option<Hierarchy>,
    is_below_object: bool,
    profile: KeyProfile,
    rest: &'a [u8],
}

impl<'a> Asked<'a> {
    fn read(data: &'a [u8], attest: &'a TpmsAttest) -> Option<Self> {
        let [nonce, signer, seen, keys, place, rest @ ..] = data else {
            return None;
        };
        let known = TpmsClockInfo {
            ..attest.clock_info
        };
        Some(Self {
            nonce: match nonce % 4 {
                0 => None,
                1 => Some(&attest.extra_data),
                2 => Some(&[]),
                _ => Some(rest),
            },
            signer: HIERARCHIES.get(usize::from(*signer)).map(|hierarchy| {
                let ek =
                    QualifiedName::of_primary(*hierarchy, &key(vector!("eccp256/ek.pub.tpm2b")));
                let ak = key(vector!("eccp256/ak.pub.tpm2b"));
                ek.and_then(|ek| ek.of_child(&ak)).expect("keys with Names")
            }),
            last_seen: (*seen != 0).then(|| {
                let moved = |by: u8, now: u32| now.wrapping_add(u32::from(by & 3)).wrapping_sub(1);
                TpmsClockInfo {
                    clock: known
                        .clock
                        .wrapping_add(u64::from(seen & 3))
                        .wrapping_sub(1),
                    reset_count: moved(seen >> 2, known.reset_count),
                    restart_count: moved(seen >> 4, known.restart_count),
                    ..known
                }
            }),
            keys: match keys % 2 {
                0 => AttestationKeyPolicy::default(),
                _ => AttestationKeyPolicy {
                    rsa_bits: vec![2048],
                    curves: Vec::new(),
                },
            },
            parent: HIERARCHIES.get(usize::from(place & 7)).copied(),
            is_below_object: place & 8 != 0,
            profile: match place >> 4 & 3 {
                0 => KeyProfile::Any,
                1 => KeyProfile::Attestation(AttestationKeyPolicy::default()),
                2 => KeyProfile::DevId(DevIdKeyPolicy {
                    rsa_bits: vec![2048],
                    curves: Vec::new(),
                }),
                _ => KeyProfile::DevId(DevIdKeyPolicy::default()),
            },
            rest,
        })
    }

    fn attestation(&self) -> AttestationPolicy<'_> {
        let mut policy = AttestationPolicy::without_nonce(algorithms::RING);
        policy.nonce = self.nonce;
        policy.qualified_signer = self.signer.as_ref();
        policy.last_seen = self
            .last_seen
            .as_ref()
            .map(|seen| TpmsClockInfo { ..*seen });
        policy.key_policy = self.keys.clone();
        policy
    }

    /// Asserts that an accepted attestation meets the requirements: its nonce, its key, and a time that is not before the last one.
    fn is_answered(&self, attest: &TpmsAttest) {
        assert!(
            self.nonce
                .is_none_or(|nonce| !nonce.is_empty() && *nonce == *attest.extra_data)
        );
        assert!(!self.keys.curves.is_empty());
        let signer = self.signer.as_ref();
        assert!(signer.is_none_or(|name| name.as_bytes() == &*attest.qualified_signer));
        let now = &attest.clock_info;
        assert!(self.last_seen.as_ref().is_none_or(|seen| {
            now.reset_count.wrapping_sub(seen.reset_count).cast_signed() >= 0
                && (now.clock >= seen.clock || !now.safe)
        }));
    }

    /// Returns whether nothing is required that not every attestation has.
    fn is_plain(&self) -> bool {
        self.nonce.is_none()
            && self.signer.is_none()
            && self.last_seen.is_none()
            && !self.keys.curves.is_empty()
    }
}

fn key(sized: &[u8]) -> TpmtPublic {
    TpmtPublic::parse_sized(sized).expect("a public area")
}

/// Byte 0 selects the type of the attestation. Only an attestation that meets all requirements is accepted, and one with no extra
/// requirements is accepted.
pub fn policy(data: &[u8]) {
    match data {
        [0, asked @ ..] => certify(asked),
        [1, asked @ ..] => creation(asked),
        [2, asked @ ..] => time(asked),
        [3, asked @ ..] => quote(asked),
        _ => {}
    }
}

fn certify(data: &[u8]) {
    let bytes = vector!("eccp256/certify.tpms_attest.bin");
    let attest = TpmsAttest::parse(bytes).expect("an attestation");
    let Some(asked) = Asked::read(data, &attest) else {
        return;
    };
    let object = key(vector!("eccp256/dev.pub.tpm2b"));
    let ek = key(vector!("eccp256/ek.pub.tpm2b"));
    let name = Name::of(&ek).expect("a Name");
    let qualified_name =
        QualifiedName::of_primary(Hierarchy::Endorsement, &ek).expect("a qualified name");
    let evidence = AttestationEvidence {
        attest: bytes,
        signature: vector!("eccp256/certify.tpmt_signature.bin"),
    };
    let mut policy = CertifyPolicy::new(asked.attestation(), &object, asked.profile.clone());
    policy.parent = if asked.is_below_object {
        Some(ObjectParent::Object {
            name: &name,
            qualified_name: &qualified_name,
        })
    } else {
        asked.parent.map(ObjectParent::Hierarchy)
    };
    let report = check_certify(&key(vector!("eccp256/ak.pub.tpm2b")), evidence, &policy).report;
    sound(&report);
    if report.accepted() {
        asked.is_answered(&attest);
        assert!(!matches!(asked.profile, KeyProfile::Attestation(_)));
        // Its parent is the storage key, which none of the policies requires.
        assert!(policy.parent.is_none(), "{report}");
    }
    if asked.is_plain() && policy.parent.is_none() && asked.profile == KeyProfile::Any {
        assert!(report.accepted(), "{report}");
    }
}

fn creation(data: &[u8]) {
    let bytes = vector!("eccp256/certifycreation.tpms_attest.bin");
    let attest = TpmsAttest::parse(bytes).expect("an attestation");
    let Some(asked) = Asked::read(data, &attest) else {
        return;
    };
    let object = key(vector!("eccp256/dev.pub.tpm2b"));
    let ek = key(vector!("eccp256/ek.pub.tpm2b"));
    let name = Name::of(&ek).expect("a Name");
    let qualified_name =
        QualifiedName::of_primary(Hierarchy::Endorsement, &ek).expect("a qualified name");
    let made = TpmtTkCreation {
        hierarchy: asked.parent.unwrap_or(Hierarchy::Endorsement),
        digest: Buffer::new(asked.rest.get(..32).unwrap_or_default()).expect("a digest"),
    };
    let ticket = match asked.rest.first() {
        None | Some(0) => None,
        Some(1) => Some(made.to_bytes()),
        Some(_) => Some(asked.rest.to_vec()),
    };
    let evidence = CreationEvidence {
        attestation: AttestationEvidence {
            attest: bytes,
            signature: vector!("eccp256/certifycreation.tpmt_signature.bin"),
        },
        creation_data: &vector!("eccp256/dev.creation_data.tpm2b")[2..],
        ticket: ticket.as_deref(),
    };
    let mut policy = CreationPolicy::new(asked.attestation(), &object, asked.profile.clone());
    policy.parent = if asked.is_below_object {
        Some(ObjectParent::Object {
            name: &name,
            qualified_name: &qualified_name,
        })
    } else {
        asked.parent.map(ObjectParent::Hierarchy)
    };
    policy.outside_info = asked.rest.get(32..);
    let report = check_creation(&key(vector!("eccp256/ak.pub.tpm2b")), &evidence, &policy).report;
    sound(&report);
    if report.accepted() {
        asked.is_answered(&attest);
        assert!(ticket.is_none_or(|ticket| TpmtTkCreation::parse(&ticket).is_ok()));
        assert!(policy.parent.is_none(), "{report}");
        let info = policy.outside_info;
        assert!(info.is_none_or(|info| info == b"\x00\x11\x22\x33\x44\x55\x66\x77"));
    }
}

fn time(data: &[u8]) {
    let bytes = vector!("eccp256/gettime.tpms_attest.bin");
    let attest = TpmsAttest::parse(bytes).expect("an attestation");
    let Some(asked) = Asked::read(data, &attest) else {
        return;
    };
    let evidence = AttestationEvidence {
        attest: bytes,
        signature: vector!("eccp256/gettime.tpmt_signature.bin"),
    };
    let firmware_version = match asked.rest {
        [0, ..] => Some(attest.firmware_version),
        [1, ..] => Some(!attest.firmware_version),
        _ => None,
    };
    let mut policy = TimePolicy::new(asked.attestation());
    policy.firmware_version = firmware_version;
    let report = check_time(&key(vector!("eccp256/ak.pub.tpm2b")), evidence, &policy).report;
    sound(&report);
    if report.accepted() {
        asked.is_answered(&attest);
        assert!(firmware_version.is_none_or(|version| version == attest.firmware_version));
    }
    // It is accepted under the policy that it was made for.
    if asked.is_plain() && firmware_version.is_none() {
        assert!(report.accepted(), "{report}");
    }
}

fn quote(data: &[u8]) {
    let bytes = vector!("eccp256/quote.tpms_attest.bin");
    let attest = TpmsAttest::parse(bytes).expect("an attestation");
    let Some(asked) = Asked::read(data, &attest) else {
        return;
    };
    let evidence = QuoteEvidence {
        attest: bytes,
        signature: vector!("eccp256/quote.tpmt_signature.bin"),
        pcr_values: match asked.parent {
            None => None,
            Some(Hierarchy::Owner) => Some(asked.rest),
            Some(_) => Some(vector!("eccp256/quote.pcrs.values.bin")),
        },
    };
    let text = str::from_utf8(asked.rest).ok();
    let selection = text.and_then(|text| text.parse().ok());
    let ek = key(vector!("eccp256/ek.pub.tpm2b"));
    let mut policy =
        QuotePolicy::without_selection(asked.nonce.unwrap_or_default(), algorithms::RING);
    policy.selection = selection.as_ref();
    policy.ek = asked.is_below_object.then_some(&ek);
    policy.last_seen = asked
        .last_seen
        .as_ref()
        .map(|seen| TpmsClockInfo { ..*seen });
    policy.key_policy = asked.keys.clone();
    let report = check_quote(&key(vector!("eccp256/ak.pub.tpm2b")), &evidence, &policy).report;
    sound(&report);
    if report.accepted() {
        assert!(
            asked
                .nonce
                .is_some_and(|nonce| *nonce == *attest.extra_data)
        );
        assert!(!asked.keys.curves.is_empty());
        let quoted: TpmlPcrSelection = "sha256:0,1,2,3,4,5,6,7,16".parse().expect("a selection");
        assert!(
            policy
                .selection
                .is_none_or(|asked| asked.selects_same(&quoted))
        );
        let genuine = &vector!("eccp256/quote.pcrs.values.bin")[..];
        assert!(evidence.pcr_values.is_none_or(|values| values == genuine));
    }
}
