//! Path validation (RFC 5280 section 6.1): finds a path from a certificate to a trust anchor over untrusted intermediates, and
//! validates it.
//!
//! ```
//! # fn check(leaf: &[u8], sub_ca: &[u8], root: &[u8], now: u64) -> Result<(), keyproof_x509::X509Error> {
//! use keyproof_x509::path::{CertificatePool, PathOptions, TrustAnchors, find};
//! use keyproof_x509::{Certificate, algorithms};
//!
//! let (intermediates, anchors) = (CertificatePool::new(&[sub_ca]), TrustAnchors::new(&[root]));
//! let leaf = Certificate::from_der(leaf)?;
//! let report = find(&leaf, &intermediates, &anchors, &PathOptions::new(algorithms::RING, now));
//! assert!(report.accepted(), "{report}");
//! # Ok(())
//! # }
//! ```
//!
//! A trust anchor is a certificate that is trusted because it is listed, self-signed or not. RFC 5280 uses only an anchor's name
//! and key. This module also requires that the anchor is currently valid, is not marked as a non-CA, and that its path length and
//! name constraints are met (RFC 5937). An anchor without basicConstraints, such as an X.509 version 1 root, is accepted, because
//! the caller chose to list it; a caller that takes anchors from others may be stricter. An anchor's policies and extended key usage
//! are ignored. If the anchors may include certificates that other anchors issued, set [`PathOptions::validate_anchors`].
//!
//! Revocation is checked against the CRLs in [`PathOptions::crls`]. A certificate on its issuer's CRL is rejected. An expired CRL is a
//! warning, and so is an issuer without a CRL if another issuer in the path has one. Without any CRL, revocation is not checked.
//! With [`PathOptions::require_crls`] each of these rejects the path, including a missing CRL. This module does not fetch CRLs.

mod anchors;
mod budget;
mod extensions;
mod names;
mod policies;
mod report;
mod revocation;
mod search;
mod state;

use alloc::vec::Vec;

use der::asn1::ObjectIdentifier;
use rustls_pki_types::SignatureVerificationAlgorithm;

use self::search::Search;
use crate::{X509Error, certificate::Certificate, crl::Crl, name::CanonicalName, oid::Oid};

pub use self::{
    policies::PolicySets,
    report::{CertificateSource, PathCertificate, PathCheck, PathFinding, PathReport, Reason},
};

/// The maximum number of signatures, including those of CRLs, that one search verifies.
pub const MAX_SIGNATURE_CHECKS: usize = 64;

/// The maximum number of certificates above the leaf, including the anchor.
pub const MAX_PATH_LEN: usize = 12;

/// The inputs and requirements of path validation.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::path::{CertificatePool, PathOptions, Purpose, TrustAnchors, find};
/// use keyproof_x509::{Certificate, algorithms::RING};
///
/// let ca: &[u8] = include_bytes!("../../tests/data/p256-ca.der");
/// let leaf = Certificate::from_der(include_bytes!("../../tests/data/p256-leaf.der"))?;
/// let (none, anchors) = (CertificatePool::default(), TrustAnchors::new(&[ca]));
/// let mut options = PathOptions::new(RING, 1_800_000_000);
/// options.crls = &[]; // the available CRLs
/// assert!(find(&leaf, &none, &anchors, &options).accepted());
/// // The leaf has no extended key usage extension: it is accepted for servers unless the extension is required.
/// options.purpose = Some(Purpose::required_if_present(Purpose::SERVER_AUTH.id()));
/// assert!(find(&leaf, &none, &anchors, &options).accepted());
/// options.purpose = Some(Purpose::SERVER_AUTH);
/// assert!(!find(&leaf, &none, &anchors, &options).accepted());
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PathOptions<'a> {
    /// The supported signature algorithms, such as [`algorithms::RING`](crate::algorithms).
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    /// The current time in seconds since the Unix epoch. No clock skew is allowed for.
    pub now: u64,
    /// The required purpose of the leaf's key. `None` accepts a certificate for any purpose, for example an email certificate
    /// presented by a server.
    pub purpose: Option<Purpose>,
    /// Critical extensions that the caller processes itself.
    pub processed_extensions: &'a [ObjectIdentifier],
    /// Certificate revocation lists (CRLs) of any issuers, in any order. If there are several from one issuer, the newest current
    /// one counts. A CRL whose `thisUpdate` is in the future can revoke a certificate, but cannot clear one.
    pub crls: &'a [Crl<'a>],
    /// Requires a current CRL from the issuer of every certificate below the trust anchor. The path is rejected if a CRL is
    /// missing, expired, not yet valid, has no `nextUpdate`, might not cover the certificate, or is signed by another key. When
    /// `false`, these findings are warnings, and revocation is not checked at all if no CRL matches any issuer in the path.
    ///
    /// ```
    /// # fn check(leaf: &[u8], root: &[u8], list: &[u8], now: u64) -> Result<(), keyproof_x509::X509Error> {
    /// use keyproof_x509::crl::Crl;
    /// use keyproof_x509::path::{CertificatePool, PathOptions, TrustAnchors, find};
    /// use keyproof_x509::{Certificate, algorithms};
    ///
    /// let lists = [Crl::from_der(list)?];
    /// let mut options = PathOptions::new(algorithms::RING, now);
    /// options.require_crls = true;
    /// let (leaf, none, roots) = (Certificate::from_der(leaf)?, CertificatePool::default(), TrustAnchors::new(&[root]));
    /// assert!(!find(&leaf, &none, &roots, &options).accepted());
    /// options.crls = &lists;
    /// assert!(find(&leaf, &none, &roots, &options).accepted());
    /// # Ok(())
    /// # }
    /// ```
    pub require_crls: bool,
    /// The acceptable policies: user-initial-policy-set (RFC 5280 section 6.1.1 (c)). `None` means any-policy, as does a list with
    /// anyPolicy.
    pub policies: Option<&'a [ObjectIdentifier]>,
    /// Requires the path to be valid under one of [`policies`](Self::policies): initial-explicit-policy (RFC 5280 section 6.1.1
    /// (f)).
    pub require_explicit_policy: bool,
    /// Forbids policy mapping: initial-policy-mapping-inhibit (RFC 5280 section 6.1.1 (e)).
    pub inhibit_policy_mapping: bool,
    /// Ignores anyPolicy in certificates: initial-any-policy-inhibit (RFC 5280 section 6.1.1 (g)).
    pub inhibit_any_policy: bool,
    /// Allows anchors to be listed together with certificates that they issued, such as a manufacturer's CAs in one file.
    ///
    /// An anchor that another, currently valid anchor issued does not end a path. It is treated as an intermediate: it is looked up
    /// in its issuer's CRL, and its issuer's constraints apply. An anchor whose issuer is not an anchor ends paths, unless its
    /// issuer is known (as an intermediate or an expired anchor) and a CRL of that issuer revokes it. A self-signed root always
    /// ends paths. Whether a certificate issued another is decided by verifying the signature, within the search budget.
    ///
    /// ```
    /// # fn check(leaf: &[u8], sub_ca: &[u8], root: &[u8], list: &[u8], now: u64) -> Result<(), keyproof_x509::X509Error> {
    /// use keyproof_x509::crl::Crl;
    /// use keyproof_x509::path::{CertificatePool, PathOptions, TrustAnchors, find};
    /// use keyproof_x509::{Certificate, algorithms};
    ///
    /// let lists = [Crl::from_der(list)?];
    /// let mut options = PathOptions::new(algorithms::RING, now);
    /// options.crls = &lists;
    /// options.validate_anchors = true;
    /// let (none, listed) = (CertificatePool::default(), TrustAnchors::new(&[sub_ca, root]));
    /// let report = find(&Certificate::from_der(leaf)?, &none, &listed, &options);
    /// // The path runs over the CA to the root that issued it. The root's CRL does not list the CA.
    /// assert!(report.accepted() && report.chain().len() == 3, "{report}");
    /// # Ok(())
    /// # }
    /// ```
    pub validate_anchors: bool,
}

impl<'a> PathOptions<'a> {
    /// Creates options from a table of algorithms and the current time in seconds since the Unix epoch. Any purpose and any policy
    /// are accepted, and no CRLs are set.
    pub const fn new(algorithms: &'a [&'a dyn SignatureVerificationAlgorithm], now: u64) -> Self {
        Self {
            algorithms,
            now,
            purpose: None,
            processed_extensions: &[],
            crls: &[],
            require_crls: false,
            policies: None,
            require_explicit_policy: false,
            inhibit_policy_mapping: false,
            inhibit_any_policy: false,
            validate_anchors: false,
        }
    }
}

/// A required extended key usage (RFC 5280 section 4.2.1.12). A CA below the anchor with this extension must list the usage or
/// anyExtendedKeyUsage.
///
/// ```
/// use keyproof_x509::{ObjectIdentifier, path::Purpose};
///
/// assert_eq!(Purpose::CLIENT_AUTH.id().to_string(), "1.3.6.1.5.5.7.3.2"); // id-kp-clientAuth
/// // Any other usage: accepts only certificates that list id-kp-codeSigning.
/// const CODE: Purpose = Purpose::required(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3"));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Purpose {
    id: ObjectIdentifier,
    /// Whether a leaf without the extension is refused too.
    is_required: bool,
}

impl Purpose {
    /// id-kp-clientAuth: TLS clients. The leaf must list it.
    pub const CLIENT_AUTH: Self = Self::required(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"));
    /// id-kp-serverAuth: TLS servers. The leaf must list it.
    pub const SERVER_AUTH: Self = Self::required(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"));

    /// Requires the leaf to list the key purpose with this OID.
    pub const fn required(id: ObjectIdentifier) -> Self {
        Self {
            id,
            is_required: true,
        }
    }

    /// Requires the leaf to list the key purpose with this OID if it has the extension at all. A leaf without the extension may be
    /// used for any purpose.
    pub const fn required_if_present(id: ObjectIdentifier) -> Self {
        Self {
            id,
            is_required: false,
        }
    }

    /// Returns the OID of the key purpose.
    pub const fn id(self) -> ObjectIdentifier {
        self.id
    }
}

/// Returns whether path validation processes this extension, so that it may be critical.
pub fn is_processed_extension(extension: Oid<'_>) -> bool {
    extensions::PROCESSED
        .iter()
        .any(|known| extension == *known)
}

/// A set of untrusted DER certificates in which issuers are looked up, each identified by its index in the order given.
///
/// Serial numbers may have redundant leading octets, because the CAs of some TPM manufacturers issue them. Certificates that cannot
/// be parsed are skipped ([`CertificatePool::unreadable`]).
///
/// ```
/// use keyproof_x509::path::CertificatePool;
/// use keyproof_x509::pem_bundle;
///
/// let roots = pem_bundle::certificates(include_bytes!("../../tests/data/p256-ca.pem"))?;
/// let mut pool: CertificatePool<'_> = roots.iter().map(|block| block.der.as_slice()).collect();
/// pool.extend([&b"no certificate"[..]]);
/// assert_eq!(pool.unreadable()[0].0, 1);
/// assert!(CertificatePool::new(&[roots[0].der.as_slice()]).unreadable().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CertificatePool<'a> {
    members: Vec<Member<'a>>,
    unreadable: Vec<(usize, X509Error)>,
}

#[derive(Clone, Debug)]
struct Member<'a> {
    index: usize,
    certificate: Certificate<'a>,
    subject: CanonicalName<'a>,
    key_identifier: Option<&'a [u8]>,
}

impl Member<'_> {
    fn is_self_issued(&self) -> bool {
        self.certificate.issuer().canonical() == self.subject
    }
}

impl<'a> CertificatePool<'a> {
    /// Creates a pool from DER certificates, which are parsed as by [`Certificate::from_der_lenient`]. Certificates that cannot
    /// be parsed are skipped.
    pub fn new(certificates: &[&'a [u8]]) -> Self {
        certificates.iter().copied().collect()
    }

    /// Returns the indices of the certificates that could not be parsed, each with its error.
    pub fn unreadable(&self) -> &[(usize, X509Error)] {
        &self.unreadable
    }

    fn get(&self, index: usize) -> Option<&Member<'a>> {
        let place = self
            .members
            .binary_search_by_key(&index, |member| member.index);
        self.members.get(place.ok()?)
    }
}

impl<'a> Extend<&'a [u8]> for CertificatePool<'a> {
    fn extend<I: IntoIterator<Item = &'a [u8]>>(&mut self, certificates: I) {
        let known = self.members.len() + self.unreadable.len();
        for (index, der) in (known..).zip(certificates) {
            match Certificate::from_der_lenient(der) {
                Ok(certificate) => self.members.push(Member {
                    index,
                    subject: certificate.subject().canonical(),
                    key_identifier: extensions::subject_key_identifier(&certificate),
                    certificate,
                }),
                Err(error) => self.unreadable.push((index, error)),
            }
        }
    }
}

impl<'a> FromIterator<&'a [u8]> for CertificatePool<'a> {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(certificates: I) -> Self {
        let mut pool = Self::default();
        pool.extend(certificates);
        pool
    }
}

/// The certificates that are trusted because they are listed, each identified by its index in the order given.
///
/// They are parsed and skipped like those of a [`CertificatePool`]. The type differs, so that the certificates of a peer cannot be
/// passed as anchors by mistake.
///
/// ```
/// use keyproof_x509::path::TrustAnchors;
///
/// let ca: &[u8] = include_bytes!("../../tests/data/p256-ca.der");
/// let mut anchors = TrustAnchors::new(&[ca]);
/// anchors.extend([&b"no certificate"[..]]);
/// assert_eq!(anchors.unreadable()[0].0, 1);
/// ```
///
/// ```compile_fail,E0308
/// use keyproof_x509::path::{CertificatePool, PathOptions, TrustAnchors, find};
/// # use keyproof_x509::{Certificate, path::PathReport};
///
/// # fn check(leaf: &Certificate<'_>, sent: &CertificatePool<'_>, roots: &TrustAnchors<'_>, options: &PathOptions<'_>) -> PathReport {
/// find(leaf, roots, sent, options) // the wrong way round
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct TrustAnchors<'a>(CertificatePool<'a>);

impl<'a> TrustAnchors<'a> {
    /// Creates a set from DER certificates, which are parsed as by [`Certificate::from_der_lenient`]. Certificates that cannot be
    /// parsed are skipped.
    pub fn new(certificates: &[&'a [u8]]) -> Self {
        Self(CertificatePool::new(certificates))
    }

    /// Returns the indices of the certificates that could not be parsed, each with its error.
    pub fn unreadable(&self) -> &[(usize, X509Error)] {
        self.0.unreadable()
    }
}

impl<'a> Extend<&'a [u8]> for TrustAnchors<'a> {
    fn extend<I: IntoIterator<Item = &'a [u8]>>(&mut self, certificates: I) {
        self.0.extend(certificates);
    }
}

impl<'a> FromIterator<&'a [u8]> for TrustAnchors<'a> {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(certificates: I) -> Self {
        Self(certificates.into_iter().collect())
    }
}

/// Finds a path from `leaf` to one of `anchors`, over any of `intermediates`, and validates it.
///
/// All paths are tried until one is valid, within a budget that no set of intermediates can exceed.
///
/// This function does not check whose certificate it is: it compares no host name, address or client name. Of the leaf's permitted
/// uses it checks only [`PathOptions::purpose`], if set, and not the keyUsage.
pub fn find(
    leaf: &Certificate<'_>,
    intermediates: &CertificatePool<'_>,
    anchors: &TrustAnchors<'_>,
    options: &PathOptions<'_>,
) -> PathReport {
    Search::new(leaf, intermediates, &anchors.0, options).run()
}
