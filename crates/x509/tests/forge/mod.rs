//! Arbitrary, even malformed certificates, signed with the key of `tests/data/p256-ca.pem`.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its own part, and fails if forging does"
)]

use core::time::Duration;

use der::{
    Encode,
    asn1::{GeneralizedTime, UtcTime},
};
use keyproof_x509::{
    Policy, ProofFinding, Report, Strictness, Upload, VerificationCode, algorithms, prove,
    prover::{PrivateKey, RingSigner, Signer},
};
use ring::rand::SystemRandom;

pub(crate) const CA_PEM: &[u8] = include_bytes!("../data/p256-ca.pem");
pub(crate) const CA_KEY: &[u8] = include_bytes!("../data/p256-ca.key");
/// 2027-01-15T08:00:00Z, within the validity of `CA_PEM`.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 86_400;
pub(crate) const CODE: &str = "7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638";

pub(crate) const CN: &[u8] = &[0x55, 0x04, 0x03];
pub(crate) const O: &[u8] = &[0x55, 0x04, 0x0A];
pub(crate) const PRINTABLE: u8 = 0x13;
pub(crate) const UTF8: u8 = 0x0C;
pub(crate) const IA5: u8 = 0x16;
pub(crate) const TELETEX: u8 = 0x14;
pub(crate) const UNIVERSAL: u8 = 0x1C;
pub(crate) const BMP: u8 = 0x1E;
pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1D, 0x13];
pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1D, 0x0F];
pub(crate) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1D, 0x11];
pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1D, 0x1E];
/// 1.2.3.4
pub(crate) const UNKNOWN: &[u8] = &[0x2A, 0x03, 0x04];
/// SEQUENCE { TRUE }
pub(crate) const CA_TRUE: &[u8] = &[0x30, 0x03, 0x01, 0x01, 0xFF];
/// keyCertSign and cRLSign
pub(crate) const CERT_SIGN: &[u8] = &[0x03, 0x02, 0x01, 0x06];
pub(crate) const ECDSA_SHA256: &[u8] = &[
    0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02,
];
pub(crate) const ECDSA_SHA384: &[u8] = &[
    0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03,
];
pub(crate) const RSA_SHA1: &[u8] = &[
    0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x05, 0x05, 0x00,
];
pub(crate) const RSA_SHA256: &[u8] = &[
    0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B, 0x05, 0x00,
];

pub(crate) fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut out = vec![tag];
    match length {
        0..=0x7F => out.push(length as u8),
        0x80..=0xFF => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend(contents);
    out
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn attribute(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    sequence(&[&tlv(0x06, kind), &tlv(tag, value)])
}

/// Encodes a name of relative distinguished names, each of one or more attributes.
pub(crate) fn name(rdns: &[&[Vec<u8>]]) -> Vec<u8> {
    let sets: Vec<_> = rdns.iter().map(|rdn| tlv(0x31, &rdn.concat())).collect();
    tlv(0x30, &sets.concat())
}

pub(crate) fn common_name(text: &str) -> Vec<u8> {
    name(&[&[attribute(CN, PRINTABLE, text.as_bytes())]])
}

pub(crate) fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let flag: &[u8] = if critical { &[0x01, 0x01, 0xFF] } else { &[] };
    sequence(&[&tlv(0x06, id), flag, &tlv(0x04, value)])
}

/// Encodes UTCTime up to 2049, GeneralizedTime later.
pub(crate) fn time(seconds: u64) -> Vec<u8> {
    let seconds = Duration::from_secs(seconds);
    match UtcTime::from_unix_duration(seconds) {
        Ok(time) => time.to_der(),
        Err(_) => GeneralizedTime::from_unix_duration(seconds)
            .unwrap()
            .to_der(),
    }
    .unwrap()
}

/// The fields of a certificate to be forged.
#[derive(Clone)]
pub(crate) struct Forged {
    /// The contents of `[0]`; `None` for version 1.
    pub(crate) version: Option<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) inner_algorithm: Vec<u8>,
    pub(crate) outer_algorithm: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    /// Replaces the two above: the contents of the SEQUENCE.
    pub(crate) validity: Option<Vec<u8>>,
    pub(crate) subject: Vec<u8>,
    pub(crate) public_key: Vec<u8>,
    pub(crate) extensions: Vec<Vec<u8>>,
    /// Whether to write an empty list of extensions.
    pub(crate) empty_extensions: bool,
}

impl Forged {
    /// Returns a valid leaf for [`CODE`].
    pub(crate) fn leaf() -> Self {
        let ca = Upload::decode(CA_PEM).unwrap();
        let ca = ca.certificate().unwrap();
        Self {
            version: Some(2),
            serial: vec![0x11, 0x22],
            inner_algorithm: ECDSA_SHA256.to_vec(),
            outer_algorithm: ECDSA_SHA256.to_vec(),
            issuer: ca.subject().as_der().to_vec(),
            not_before: NOW - DAY,
            not_after: NOW + DAY,
            validity: None,
            subject: common_name(CODE),
            public_key: ca.public_key().as_der().to_vec(),
            extensions: vec![extension(BASIC_CONSTRAINTS, true, &[0x30, 0x00])],
            empty_extensions: false,
        }
    }

    /// Returns a valid CA with the key and subject of [`CA_PEM`].
    pub(crate) fn ca() -> Self {
        let leaf = Self::leaf();
        Self {
            subject: leaf.issuer.clone(),
            extensions: vec![
                extension(BASIC_CONSTRAINTS, true, CA_TRUE),
                extension(KEY_USAGE, true, CERT_SIGN),
            ],
            ..leaf
        }
    }

    pub(crate) fn with_extensions(self, extensions: Vec<Vec<u8>>) -> Self {
        Self { extensions, ..self }
    }

    pub(crate) fn tbs(&self) -> Vec<u8> {
        let version = self
            .version
            .map_or_else(Vec::new, |version| tlv(0xA0, &tlv(0x02, &[version])));
        let extensions = if self.extensions.is_empty() && !self.empty_extensions {
            Vec::new()
        } else {
            tlv(0xA3, &tlv(0x30, &self.extensions.concat()))
        };
        sequence(&[
            &version,
            &tlv(0x02, &self.serial),
            &self.inner_algorithm,
            &self.issuer,
            &match &self.validity {
                Some(contents) => tlv(0x30, contents),
                None => sequence(&[&time(self.not_before), &time(self.not_after)]),
            },
            &self.subject,
            &self.public_key,
            &extensions,
        ])
    }

    pub(crate) fn sign(&self) -> Vec<u8> {
        let tbs = self.tbs();
        let signature = sign(&tbs);
        assemble(&tbs, &self.outer_algorithm, &signature)
    }
}

pub(crate) fn assemble(tbs: &[u8], algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    let bits = [&[0x00], signature].concat();
    sequence(&[tbs, algorithm, &tlv(0x03, &bits)])
}

/// Signs with the key of [`CA_PEM`], ECDSA P-256 with SHA-256.
pub(crate) fn sign(message: &[u8]) -> Vec<u8> {
    let ca = Upload::decode(CA_PEM).unwrap();
    let ca = ca.certificate().unwrap();
    let random = SystemRandom::new();
    let key = PrivateKey::from_pem_or_der(CA_KEY).unwrap();
    RingSigner::new(&key, &ca, &random)
        .unwrap()
        .sign(message)
        .unwrap()
}

pub(crate) fn code() -> VerificationCode {
    VerificationCode::parse(CODE).unwrap()
}

pub(crate) const DEFAULT: Policy<'static> = Policy::new(algorithms::RING);

pub(crate) const STRICT: Policy<'static> = {
    let mut policy = DEFAULT;
    policy.strictness = Strictness::Strict;
    policy
};

/// Proves with a forged leaf under a CA at [`NOW`].
pub(crate) fn judge(ca: &[u8], leaf: &[u8], policy: &Policy<'_>) -> Report<ProofFinding> {
    let ca = Upload::decode(ca).unwrap();
    let ca = ca.certificate().unwrap();
    let code = code().bound_to(ca.sha256_thumbprint(), None);
    prove(&ca, leaf, &code, NOW, policy)
}
