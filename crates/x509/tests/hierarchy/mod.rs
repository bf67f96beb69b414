//! CA hierarchies for the tests of path search.

#![allow(
    dead_code,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test file uses its own part, and fails if making them does"
)]

use std::{
    process::{Command, Output},
    sync::Arc,
};

use data_encoding::BASE64_MIME;
use keyproof_x509::{
    Certificate,
    crl::Crl,
    path::{
        CertificatePool, CertificateSource, PathOptions, PathReport, Reason, TrustAnchors, find,
    },
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, date_time_ymd,
};

/// 2027-01-15.
pub(crate) const NOW: u64 = 1_800_000_000;

/// A CA's name and key.
#[derive(Clone)]
pub(crate) struct Authority {
    pub(crate) name: String,
    pub(crate) key: Arc<KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            key: Arc::new(KeyPair::generate().unwrap()),
        }
    }

    /// Returns a CA with the same name and another key.
    pub(crate) fn with_new_key(&self) -> Self {
        Self::new(&self.name)
    }

    /// Issues a CA certificate for this CA, signed by another CA or by itself.
    pub(crate) fn certified_by(
        &self,
        issuer: &Self,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Vec<u8> {
        let mut params = params(&self.name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        issuer.sign(&params, &self.key)
    }

    pub(crate) fn root(&self) -> Vec<u8> {
        self.certified_by(self, |_| {})
    }

    /// Issues a leaf with this common name and the host name `host.example.com`.
    pub(crate) fn leaf(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = params(name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.subject_alt_names = vec![dns("host.example.com")];
        change(&mut params);
        self.sign(&params, &KeyPair::generate().unwrap())
    }

    pub(crate) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        let own = self.params();
        let issuer = Issuer::from_params(&own, &*self.key);
        params.signed_by(key, &issuer).unwrap().der().to_vec()
    }

    /// Issues a CRL that revokes these certificates, made in January 2027 and valid for that year.
    pub(crate) fn revoke(
        &self,
        certificates: &[&[u8]],
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> Vec<u8> {
        let revoked = certificates.iter().map(|der| {
            let certificate = Certificate::from_der(der).unwrap();
            RevokedCertParams {
                serial_number: certificate.serial().as_bytes().to_vec().into(),
                revocation_time: date_time_ymd(2026, 12, 24),
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            }
        });
        let mut params = CertificateRevocationListParams {
            this_update: date_time_ymd(2027, 1, 1),
            next_update: date_time_ymd(2028, 1, 1),
            crl_number: 7.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        let own = self.params();
        let issuer = Issuer::from_params(&own, &*self.key);
        params.signed_by(&issuer).unwrap().der().to_vec()
    }

    fn params(&self) -> CertificateParams {
        let mut own = CertificateParams::default();
        own.distinguished_name = named(&self.name);
        own
    }
}

/// A root, a CA below it that may also sign CRLs, and a leaf below that.
pub(crate) struct Chain {
    pub(crate) top: Authority,
    pub(crate) sub: Authority,
    pub(crate) root: Vec<u8>,
    pub(crate) ca: Vec<u8>,
    pub(crate) leaf: Vec<u8>,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self::with(|_| {}, |_| {})
    }

    pub(crate) fn with(
        root: impl FnOnce(&mut CertificateParams),
        ca: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let (top, sub) = (Authority::new("Root"), Authority::new("Sub"));
        Self {
            root: top.certified_by(&top, |params| {
                crl_signer(params);
                root(params);
            }),
            ca: sub.certified_by(&top, |params| {
                crl_signer(params);
                ca(params);
            }),
            leaf: sub.leaf("Leaf", |_| {}),
            top,
            sub,
        }
    }
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub(crate) fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

pub(crate) fn expired(params: &mut CertificateParams) {
    params.not_after = date_time_ymd(2026, 1, 1);
}

pub(crate) fn not_yet_valid(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2030, 1, 1);
}

pub(crate) fn path_len(limit: u8) -> impl Fn(&mut CertificateParams) {
    move |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(limit))
}

/// Allows a CA to sign CRLs as well.
pub(crate) fn crl_signer(params: &mut CertificateParams) {
    params.key_usages.push(KeyUsagePurpose::CrlSign);
}

pub(crate) fn parsed<'a>(crls: &[&'a [u8]]) -> Vec<Crl<'a>> {
    crls.iter().map(|der| Crl::from_der(der).unwrap()).collect()
}

pub(crate) fn pem(label: &str, ders: &[&[u8]]) -> String {
    let blocks = ders.iter().map(|der| {
        let body = BASE64_MIME.encode(der);
        format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n")
    });
    blocks.collect()
}

/// Runs a command of `openssl`, which must be installed.
pub(crate) fn run_openssl(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!("the peer `openssl` cannot be run ({error}): install the package openssl")
    })
}

/// Searches a path from a leaf to one of these anchors.
pub(crate) fn search(
    leaf: &[u8],
    intermediates: &[&[u8]],
    anchors: &[&[u8]],
    options: &PathOptions<'_>,
) -> PathReport {
    let leaf = Certificate::from_der(leaf).unwrap();
    find(
        &leaf,
        &CertificatePool::new(intermediates),
        &TrustAnchors::new(anchors),
        options,
    )
}

#[track_caller]
pub(crate) fn assert_path(report: &PathReport, places: &[CertificateSource]) {
    assert!(report.accepted(), "{report}");
    let walked: Vec<_> = report.chain().iter().map(|step| step.place).collect();
    assert_eq!(walked, places, "{report}");
}

/// Asserts a refusal that refers to this certificate of the chain.
#[track_caller]
pub(crate) fn assert_refused(
    report: &PathReport,
    place: CertificateSource,
    is_right: impl Fn(&Reason) -> bool,
) {
    let refusal = report.refusal().unwrap_or_else(|| panic!("{report}"));
    assert_eq!(report.chain()[refusal.at].place, place, "{report}");
    assert!(is_right(&refusal.reason), "{report}");
}
