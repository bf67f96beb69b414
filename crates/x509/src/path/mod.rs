//! Paths from a certificate to an anchor (RFC 5280 section 6.1): found among intermediates that nobody vouches for, and judged.
//!
//! ```
//! # fn check(leaf: &[u8], sub_ca: &[u8], root: &[u8], now: u64) -> Result<(), keyproof_x509::X509Error> {
//! use keyproof_x509::path::{Pool, Rules, find};
//! use keyproof_x509::{Certificate, algorithms};
//!
//! let (intermediates, anchors) = (Pool::of(&[sub_ca]), Pool::of(&[root]));
//! let leaf = Certificate::from_der(leaf)?;
//! let report = find(&leaf, &intermediates, &anchors, &Rules::new(algorithms::RING, now));
//! assert!(report.accepted(), "{report}");
//! # Ok(())
//! # }
//! ```
//!
//! An anchor is a certificate that is trusted by being listed, self-signed or not. Beyond RFC 5280, which looks at an anchor's
//! name and key alone, it must be valid at the time, must not say that it is no CA, and its path length and name constraints
//! must be met (RFC 5937). One without basicConstraints, as a root of X.509 version 1, is taken, because listing it is what makes
//! it trusted: who takes lists from others may ask more of them, as keyproof's server does. Its policies do not count. Where anchors
//! may be listed together with what they have issued, [`Rules::judge_anchors`] has the latter only stand between.
//!
//! Revocation is judged by the lists that are given ([`Rules::crls`]): a certificate on its issuer's list is refused, a list
//! that is past its time warns, and so does an issuer without a list where another issuer of the path has one. Without any, nothing
//! is asked. [`Rules::require_crls`] refuses all of that. Fetching lists is for the caller.

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
    report::{PathCheck, PathFinding, PathReport, Place, Reason, Step},
};

/// How many signatures a search checks before it is given up, those of revocation lists included.
pub const MAX_SIGNATURE_CHECKS: usize = 64;

/// How many certificates stand above the leaf at most, the anchor included.
pub const MAX_PATH_LEN: usize = 12;

/// What a path is judged by.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::path::{Pool, Purpose, Rules, find};
/// use keyproof_x509::{Certificate, algorithms::RING};
///
/// let ca: &[u8] = include_bytes!("../../tests/data/p256-ca.der");
/// let leaf = Certificate::from_der(include_bytes!("../../tests/data/p256-leaf.der"))?;
/// let (none, anchors) = (Pool::default(), Pool::of(&[ca]));
/// let mut rules = Rules::new(RING, 1_800_000_000);
/// rules.crls = &[]; // the revocation lists that there are
/// assert!(find(&leaf, &none, &anchors, &rules).accepted());
/// // The leaf names no extended key usage: it will do for servers unless it must name theirs.
/// rules.purpose = Some(Purpose { is_required: false, ..Purpose::SERVER_AUTH });
/// assert!(find(&leaf, &none, &anchors, &rules).accepted());
/// rules.purpose = Some(Purpose::SERVER_AUTH);
/// assert!(!find(&leaf, &none, &anchors, &rules).accepted());
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Rules<'a> {
    /// The signature algorithms on offer, such as [`algorithms::RING`](crate::algorithms).
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    /// The time, in seconds since the Unix epoch. No skew is granted.
    pub now: u64,
    /// What the leaf's key is to be used for, if that is asked. Without it a certificate for any use is accepted, such as one of a
    /// mail address for a server.
    pub purpose: Option<Purpose>,
    /// Critical extensions that the caller processes itself.
    pub processed: &'a [ObjectIdentifier],
    /// Revocation lists, of any issuers and in any order. Of several of one issuer the newest that is in force counts; one of a later
    /// time may revoke, and frees nothing.
    pub crls: &'a [Crl<'a>],
    /// Each certificate below the anchor must be looked up in a current list of its issuer. Where that is missing, is past its time
    /// or not yet of it, says no end, is doubtful in what it tells of, or is of another key than the issuer's, the path is refused, as under a strict
    /// [`Report`](crate::Report); unless this is set that warns, or is not asked where no list is of any issuer of the path.
    ///
    /// ```
    /// # fn check(leaf: &[u8], root: &[u8], list: &[u8], now: u64) -> Result<(), keyproof_x509::X509Error> {
    /// use keyproof_x509::crl::Crl;
    /// use keyproof_x509::path::{Pool, Rules, find};
    /// use keyproof_x509::{Certificate, algorithms};
    ///
    /// let lists = [Crl::from_der(list)?];
    /// let mut rules = Rules::new(algorithms::RING, now);
    /// rules.require_crls = true;
    /// let (leaf, none, roots) = (Certificate::from_der(leaf)?, Pool::of(&[]), Pool::of(&[root]));
    /// assert!(!find(&leaf, &none, &roots, &rules).accepted());
    /// rules.crls = &lists;
    /// assert!(find(&leaf, &none, &roots, &rules).accepted());
    /// # Ok(())
    /// # }
    /// ```
    pub require_crls: bool,
    /// The policies of which the path is to be valid under one: user-initial-policy-set (RFC 5280 section 6.1.1 (c)). `None` is
    /// any-policy.
    pub policies: Option<&'a [ObjectIdentifier]>,
    /// The path must be valid under one of the policies: initial-explicit-policy (RFC 5280 section 6.1.1 (f)).
    pub require_policy: bool,
    /// Policies are not mapped: initial-policy-mapping-inhibit (RFC 5280 section 6.1.1 (e)).
    pub inhibit_mapping: bool,
    /// anyPolicy stands for none: initial-any-policy-inhibit (RFC 5280 section 6.1.1 (g)).
    pub inhibit_any_policy: bool,
    /// Anchors may be listed together with what they have issued, such as the CAs of a maker in one file.
    ///
    /// An anchor that another one has issued, which is valid at the time, ends no path: it only stands between, so that it is asked
    /// for in its issuer's revocation list, and what its issuer lets it do counts. One whose issuer is no anchor ends paths, unless
    /// its issuer is known, among the intermediates or as an anchor that has ended, and a list of that revokes it. A root, which
    /// has signed itself, always ends paths. Who has issued whom is judged by signatures, within the budget of the search.
    ///
    /// ```
    /// # fn check(leaf: &[u8], sub_ca: &[u8], root: &[u8], list: &[u8], now: u64) -> Result<(), keyproof_x509::X509Error> {
    /// use keyproof_x509::crl::Crl;
    /// use keyproof_x509::path::{Pool, Rules, find};
    /// use keyproof_x509::{Certificate, algorithms};
    ///
    /// let lists = [Crl::from_der(list)?];
    /// let mut rules = Rules::new(algorithms::RING, now);
    /// rules.crls = &lists;
    /// rules.judge_anchors = true;
    /// let (none, listed) = (Pool::of(&[]), Pool::of(&[sub_ca, root]));
    /// let report = find(&Certificate::from_der(leaf)?, &none, &listed, &rules);
    /// // Over the CA that the root has issued to the root, whose list does not have the CA.
    /// assert!(report.accepted() && report.walk().len() == 3, "{report}");
    /// # Ok(())
    /// # }
    /// ```
    pub judge_anchors: bool,
}

impl<'a> Rules<'a> {
    /// A table of algorithms and a time in seconds since the Unix epoch; for any purpose, under any policy or none, and without
    /// revocation lists.
    pub const fn new(algorithms: &'a [&'a dyn SignatureVerificationAlgorithm], now: u64) -> Self {
        Self {
            algorithms,
            now,
            purpose: None,
            processed: &[],
            crls: &[],
            require_crls: false,
            policies: None,
            require_policy: false,
            inhibit_mapping: false,
            inhibit_any_policy: false,
            judge_anchors: false,
        }
    }
}

/// An extended key usage that is asked for (RFC 5280 section 4.2.1.12). A CA with such an extension must name it, or any.
///
/// ```
/// use keyproof_x509::{ObjectIdentifier, path::Purpose};
///
/// assert_eq!(Purpose::CLIENT_AUTH.id.to_string(), "1.3.6.1.5.5.7.3.2"); // id-kp-clientAuth
/// // Any other: only certificates that name id-kp-codeSigning.
/// const CODE: Purpose = Purpose { id: ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3"), is_required: true };
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Purpose {
    /// Its OID.
    pub id: ObjectIdentifier,
    /// Whether the leaf must name it, or may also be without the extension.
    pub is_required: bool,
}

impl Purpose {
    /// id-kp-clientAuth: TLS clients. The leaf must name it.
    pub const CLIENT_AUTH: Self = Self {
        id: ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"),
        is_required: true,
    };
    /// id-kp-serverAuth: TLS servers. The leaf must name it.
    pub const SERVER_AUTH: Self = Self {
        id: ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
        is_required: true,
    };
}

/// Whether path search processes extensions of a kind, so that they may be critical.
pub fn processes(extension: Oid<'_>) -> bool {
    extension == extensions::SUBJECT_ALT_NAMES
        || extensions::PROCESSED
            .iter()
            .any(|known| extension == *known)
}

/// Certificates among which issuers are looked for, in DER but for octets to spare in serial numbers, which CAs of some makers of
/// TPMs have; each has its place in the order in which they came. Those that cannot be read are left out
/// ([`Pool::unreadable`]).
///
/// ```
/// use keyproof_x509::path::Pool;
/// use keyproof_x509::pem_bundle;
///
/// let roots = pem_bundle::certificates(include_bytes!("../../tests/data/p256-ca.pem"))?;
/// let mut pool: Pool<'_> = roots.iter().map(|block| block.der.as_slice()).collect();
/// pool.extend([&b"no certificate"[..]]);
/// assert_eq!(pool.unreadable()[0].0, 1);
/// assert!(Pool::of(&[roots[0].der.as_slice()]).unreadable().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Pool<'a> {
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

impl<'a> Pool<'a> {
    /// Of certificates in DER, as [`Certificate::from_der_as_issued`] reads them. Those that cannot be read are left out.
    pub fn of(certificates: &[&'a [u8]]) -> Self {
        certificates.iter().copied().collect()
    }

    /// The places of those that cannot be read, and why.
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

impl<'a> Extend<&'a [u8]> for Pool<'a> {
    fn extend<I: IntoIterator<Item = &'a [u8]>>(&mut self, certificates: I) {
        let known = self.members.len() + self.unreadable.len();
        for (index, der) in (known..).zip(certificates) {
            match Certificate::from_der_as_issued(der) {
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

impl<'a> FromIterator<&'a [u8]> for Pool<'a> {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(certificates: I) -> Self {
        let mut pool = Self::default();
        pool.extend(certificates);
        pool
    }
}

/// Finds a path from `leaf` to one of `anchors`, over any of `intermediates`, and judges it.
///
/// Whose certificate it is, is for the caller to ask: no host name, address or client's name is compared, and of what the leaf is
/// for only [`Rules::purpose`], where that is set, not its keyUsage.
///
/// Every path is tried until one is valid, within a budget that no set of intermediates exceeds.
pub fn find(
    leaf: &Certificate<'_>,
    intermediates: &Pool<'_>,
    anchors: &Pool<'_>,
    rules: &Rules<'_>,
) -> PathReport {
    Search::new(leaf, intermediates, anchors, rules).run()
}
