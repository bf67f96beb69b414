//! Path validation by `keyproof-x509` over sets of certificates whose faults are known.
//!
//! The signer, the validity and the permission to issue of every certificate are known by construction, and every accepted path is
//! checked against them. Extensions come from the input, so that their parsers run on correctly signed certificates.

use std::sync::LazyLock;

use keyproof_x509::{
    Certificate, ObjectIdentifier, algorithms,
    path::{
        CertificatePool, CertificateSource, MAX_PATH_LEN, MAX_SIGNATURE_CHECKS, PathOptions,
        PathReport, Purpose, TrustAnchors, find,
    },
};
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::report::sound;

/// 2027-01-15T08:00:00Z.
const NOW: u64 = 1_800_000_000;

/// The maximum number of certificates of a set, including the leaf.
const MAX_CERTIFICATES: usize = 8;

static KEYS: LazyLock<Vec<Ed25519KeyPair>> = LazyLock::new(|| {
    let seeds = 1..=4_u8;
    seeds
        .map(|seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("32 octets"))
        .collect()
});

/// The parts of a certificate.
#[derive(Clone, Copy)]
struct Plan<'a> {
    /// The name and key of the subject and of the signer: indices into four of each.
    subject: u8,
    key: u8,
    issuer: u8,
    signer: u8,
    flags: u8,
    path_len: u8,
    /// An extension and its value. The extension is an index into [`EXTENSIONS`], and critical if the first bit is set.
    extension: u8,
    value: &'a [u8],
}

const IS_CA: u8 = 1;
const HAS_CONSTRAINTS: u8 = 1 << 1;
const HAS_USAGE: u8 = 1 << 2;
const MAY_SIGN: u8 = 1 << 3;
const IS_OVER: u8 = 1 << 4;
const HAS_PATH_LEN: u8 = 1 << 5;
const IS_FORGED: u8 = 1 << 6;
const IS_ANCHOR: u8 = 1 << 7;

/// A bit of the switches.
const JUDGES_ANCHORS: u8 = 1 << 7;

/// The last arc of 2.5.29: nameConstraints, certificatePolicies, policyMappings, policyConstraints, inhibitAnyPolicy, extKeyUsage,
/// subjectAltName, and an unknown one.
const EXTENSIONS: [u8; 8] = [30, 32, 33, 36, 54, 37, 17, 99];

impl<'a> Plan<'a> {
    /// Reads six octets and a value with a length prefix.
    fn read(data: &mut &'a [u8]) -> Option<Self> {
        let [
            subject_key,
            issuer_signer,
            flags,
            path_len,
            extension,
            length,
            rest @ ..,
        ] = *data
        else {
            return None;
        };
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        *data = rest;
        Some(Self {
            subject: subject_key & 3,
            key: subject_key >> 2 & 3,
            issuer: issuer_signer & 3,
            signer: issuer_signer >> 2 & 3,
            flags: *flags,
            path_len: path_len & 3,
            extension: *extension,
            value,
        })
    }

    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn certificate(&self) -> Vec<u8> {
        let key = KEYS.get(usize::from(self.key)).expect("four keys");
        let signer = KEYS.get(usize::from(self.signer)).expect("four keys");
        let end: &[u8] = if self.is(IS_OVER) {
            b"260101000000Z"
        } else {
            b"300101000000Z"
        };
        let validity = [tlv(0x17, b"200101000000Z"), tlv(0x17, end)].concat();
        let point = [&[0_u8][..], key.public_key().as_ref()].concat();
        let tbs = [
            tlv(0xA0, &[0x02, 0x01, 0x02]),
            tlv(0x02, &[0x01]),
            ED25519.to_vec(),
            name(self.issuer),
            tlv(0x30, &validity),
            name(self.subject),
            tlv(0x30, &[ED25519, &tlv(0x03, &point)].concat()),
            self.extensions(),
        ];
        let tbs = tlv(0x30, &tbs.concat());
        let mut signature = [&[0][..], signer.sign(&tbs).as_ref()].concat();
        if self.is(IS_FORGED)
            && let Some(last) = signature.last_mut()
        {
            *last ^= 1;
        }
        tlv(0x30, &[&tbs, ED25519, &tlv(0x03, &signature)].concat())
    }

    fn extensions(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        if self.is(HAS_CONSTRAINTS) {
            let ca: &[u8] = if self.is(IS_CA) {
                &[0x01, 0x01, 0xFF]
            } else {
                &[]
            };
            let path_len = if self.is(HAS_PATH_LEN) && self.is(IS_CA) {
                tlv(0x02, &[self.path_len])
            } else {
                Vec::new()
            };
            let constraints = tlv(0x30, &[ca, &path_len].concat());
            extensions.push(extension(19, true, &constraints));
        }
        if self.is(HAS_USAGE) {
            let bit = if self.is(MAY_SIGN) { 0x04 } else { 0x80 };
            extensions.push(extension(15, true, &[0x03, 0x02, 0x00, bit]));
        }
        if !self.value.is_empty()
            && let Some(id) = EXTENSIONS.get(usize::from(self.extension >> 1 & 7))
        {
            extensions.push(extension(*id, self.extension & 1 == 1, self.value));
        }
        // The policies beside another extension, such as policyMappings: any policy, 1.2.1, or 1.2.1 and 1.2.2.
        let policies: &[&[u8]] = match self.extension >> 4 & 3 {
            1 => &[ANY_POLICY],
            2 => &[&[0x2A, 1]],
            3 => &[&[0x2A, 1], &[0x2A, 2]],
            _ => &[],
        };
        if !policies.is_empty() && self.extension >> 1 & 7 != 1 {
            let information = policies.iter().map(|policy| tlv(0x30, &tlv(0x06, policy)));
            let value = tlv(0x30, &information.collect::<Vec<_>>().concat());
            extensions.push(extension(32, false, &value));
        }
        if extensions.is_empty() {
            Vec::new()
        } else {
            tlv(0xA3, &tlv(0x30, &extensions.concat()))
        }
    }
}

/// 2.5.29.32.0.
const ANY_POLICY: &[u8] = &[0x55, 0x1D, 0x20, 0x00];

const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70];

fn name(index: u8) -> Vec<u8> {
    let attribute = [
        &[0x06, 0x03, 0x55, 0x04, 0x03][..],
        &tlv(0x0C, &[b'A' + index]),
    ]
    .concat();
    tlv(0x30, &tlv(0x31, &tlv(0x30, &attribute)))
}

fn extension(id: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let flag: &[u8] = if critical { &[0x01, 0x01, 0xFF] } else { &[] };
    tlv(
        0x30,
        &[&[0x06, 0x03, 0x55, 0x1D, id], flag, &tlv(0x04, value)].concat(),
    )
}

fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let header: &[u8] = match length {
        0..=0x7F => &[tag, low],
        0x80..=0xFF => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [header, contents].concat()
}

/// A set of certificates: the first is the leaf, the others are possible issuers.
pub fn path(data: &[u8]) {
    let Some((switches, mut rest)) = data.split_first() else {
        return;
    };
    let mut plans = Vec::new();
    while plans.len() < MAX_CERTIFICATES
        && let Some(plan) = Plan::read(&mut rest)
    {
        plans.push(plan);
    }
    let Some((leaf_plan, above)) = plans.split_first() else {
        return;
    };
    let (anchors, intermediates): (Vec<_>, Vec<_>) =
        above.iter().copied().partition(|plan| plan.is(IS_ANCHOR));
    let made = |plans: &[Plan<'_>]| plans.iter().map(Plan::certificate).collect::<Vec<_>>();
    let (anchor_ders, intermediate_ders) = (made(&anchors), made(&intermediates));
    let leaf_der = leaf_plan.certificate();
    let leaf = Certificate::from_der(&leaf_der).expect("DER by construction");
    let anchor_slices: Vec<&[u8]> = anchor_ders.iter().map(Vec::as_slice).collect();
    let intermediate_slices: Vec<&[u8]> = intermediate_ders.iter().map(Vec::as_slice).collect();
    let policies = [ObjectIdentifier::new_unwrap("1.2.1")];
    let mut options = PathOptions::new(algorithms::RING, NOW);
    options.require_explicit_policy = switches & 1 != 0;
    options.inhibit_policy_mapping = switches & 2 != 0;
    options.inhibit_any_policy = switches & 4 != 0;
    // For TLS servers, or with the unknown extension processed by the caller.
    let purpose = if switches & 16 != 0 {
        Purpose::SERVER_AUTH
    } else {
        Purpose::required_if_present(Purpose::SERVER_AUTH.id())
    };
    let unknown = [ObjectIdentifier::new_unwrap("2.5.29.99")];
    let is_processed = switches >> 5 & 3 == 2;
    match switches >> 5 & 3 {
        1 => options.purpose = Some(purpose),
        2 => options.processed_extensions = &unknown,
        _ => {}
    }
    options.policies = (switches & 8 != 0).then_some(&policies[..]);
    options.validate_anchors = switches & JUDGES_ANCHORS != 0;
    let report = find(
        &leaf,
        &CertificatePool::new(&intermediate_slices),
        &TrustAnchors::new(&anchor_slices),
        &options,
    );
    sound(report.checks());
    assert!(!report.chain().is_empty(), "{report}");
    assert!(
        report
            .chain()
            .iter()
            .all(|step| !step.to_string().is_empty())
    );
    if let Some(refusal) = report.refusal() {
        assert!(
            report.to_string().contains(&refusal.to_string()),
            "{report}"
        );
    }
    assert!(report.chain().len() <= MAX_PATH_LEN + 1, "{report}");
    assert!(report.signatures_checked() <= MAX_SIGNATURE_CHECKS);
    if let Some(refusal) = report.refusal() {
        assert!(refusal.at < report.chain().len(), "{report}");
    }
    let walked: Option<Vec<Plan<'_>>> = report
        .chain()
        .iter()
        .map(|step| match step.place {
            CertificateSource::Anchor(index) => anchors.get(index).copied(),
            CertificateSource::Intermediate(index) => intermediates.get(index).copied(),
            CertificateSource::Leaf => Some(*leaf_plan),
        })
        .collect();
    let walked = walked.expect("a walk over what was given");
    // Even in a path that is refused, each certificate has signed the one before it.
    for pair in walked.windows(2) {
        let [below, above] = pair else { continue };
        let is_signed =
            below.issuer == above.subject && below.signer == above.key && !below.is(IS_FORGED);
        assert!(is_signed, "{report}");
    }
    if report.accepted() {
        assert_may_issue(&walked, is_processed, &report);
        if switches & JUDGES_ANCHORS != 0 {
            assert_is_an_end(&walked, &anchors, &report);
        }
        let sets = report.policies().expect("there is a path");
        // If a policy is required, there is one, and it is among the requested ones.
        assert!(switches & 1 == 0 || !sets.user.is_empty(), "{report}");
        let is_asked = |policy: &String| switches & 8 == 0 || policy == "1.2.1";
        assert!(sets.user.iter().all(is_asked), "{report}");
        // If the leaf must declare its purpose, it does.
        let usage = ObjectIdentifier::new_unwrap("2.5.29.37");
        let says = leaf.extensions().iter().any(|known| known.id == usage);
        let must_say = switches >> 5 & 3 == 1 && switches & 16 != 0;
        assert!(says || !must_say, "{report}");
    }
}

/// If anchors are validated, an anchor that was issued by another one, and did not itself issue that one, does not end a path.
fn assert_is_an_end(walked: &[Plan<'_>], anchors: &[Plan<'_>], report: &PathReport) {
    let is_by = |plan: &Plan<'_>, issuer: &Plan<'_>| {
        plan.issuer == issuer.subject && plan.signer == issuer.key && !plan.is(IS_FORGED)
    };
    let is_same =
        |one: &Plan<'_>, other: &Plan<'_>| one.subject == other.subject && one.key == other.key;
    // Returns all CAs above this one, according to all its certificates among the anchors.
    let all_above = |ca: &Plan<'_>| {
        let mut above: Vec<usize> = Vec::new();
        let mut below = vec![*ca];
        while let Some(ca) = below.pop() {
            let certificates = || anchors.iter().filter(|anchor| is_same(anchor, &ca));
            // A root has no other issuer.
            if certificates().any(|root| !root.is(IS_OVER) && is_by(root, root)) {
                continue;
            }
            for certificate in certificates() {
                for (at, issuer) in anchors.iter().enumerate() {
                    let is_above =
                        !issuer.is(IS_OVER) && !is_same(issuer, &ca) && is_by(certificate, issuer);
                    if is_above && !above.contains(&at) {
                        above.push(at);
                        below.push(*issuer);
                    }
                }
            }
        }
        above
    };
    let end = walked.last().expect("a walk has a leaf");
    let mut above = all_above(end).into_iter();
    let is_below = above.any(|ca| {
        let mut theirs = all_above(&anchors[ca]).into_iter();
        !is_same(&anchors[ca], end) && !theirs.any(|at| is_same(&anchors[at], end))
    });
    assert!(is_by(end, end) || !is_below, "{report}");
}

fn assert_may_issue(walked: &[Plan<'_>], is_processed: bool, report: &PathReport) {
    assert!(walked.len() > 1, "{report}");
    assert!(
        walked.last().is_some_and(|plan| plan.is(IS_ANCHOR)),
        "{report}"
    );
    let unknown = |plan: &Plan<'_>| {
        let is_critical = plan.extension & 1 == 1 && !plan.value.is_empty();
        plan.extension >> 1 & 7 == 7 && is_critical && !is_processed
    };
    let mut counted = 0;
    for (place, plan) in walked.iter().enumerate() {
        assert!(!plan.is(IS_OVER) && !unknown(plan), "{report}");
        if place == 0 {
            continue;
        }
        let is_anchor = place + 1 == walked.len();
        let is_ca = if plan.is(HAS_CONSTRAINTS) {
            plan.is(IS_CA)
        } else {
            is_anchor
        };
        assert!(is_ca, "{report}");
        assert!(!plan.is(HAS_USAGE) || plan.is(MAY_SIGN), "{report}");
        let is_limited = plan.is(HAS_CONSTRAINTS) && plan.is(HAS_PATH_LEN);
        assert!(!is_limited || counted <= plan.path_len, "{report}");
        counted += u8::from(plan.issuer != plan.subject);
    }
}
