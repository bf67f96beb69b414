//! The report of a path search: the certificates it visited from the leaf upwards, and the result of each check.

use alloc::{string::String, vec::Vec};
use core::fmt;

use super::policies::PolicySets;
use crate::{
    X509Error,
    crl::CrlReason,
    report::{Finding, Report, Severity},
    time::Moment,
};

crate::checks! {
    /// A check of path validation, in the order of reports. Names and order are stable.
    #[non_exhaustive]
    pub PathCheck {
        /// `issuer`: the issuer of each certificate was found, from the leaf up to an anchor.
        Issuer = "issuer", "it leads to an anchor";
        /// `signature`: each signature over the received bytes verifies under the key of the certificate above.
        Signature = "signature", "each signature verifies";
        /// `validity`: each certificate is currently valid.
        Validity = "validity", "each certificate is valid";
        /// `ca`: each certificate above the leaf is a CA certificate, may sign certificates, and has no more CAs below it than its
        /// path length allows.
        Ca = "ca", "each certificate above the leaf is a CA's";
        /// `extensions`: no extension is malformed or duplicated, and no critical extension is unknown.
        Extensions = "extensions", "all extensions are in order";
        /// `purpose`: each extended key usage extension below the anchor includes the required purpose.
        Purpose = "purpose", "each certificate is for the purpose";
        /// `names`: the certificates above permit each name.
        Names = "names", "all names are permitted";
        /// `policies`: the path is valid under a certificate policy, if one is required.
        Policies = "policies", "the certificate policies are in order";
        /// `revocation`: no certificate is on a given CRL of its issuer. The check passes if each certificate below the anchor was
        /// looked up in a current CRL. It is reported as not requested if no CRL belongs to an issuer in the path.
        Revocation = "revocation", "no certificate is revoked";
    }
}

/// Where a certificate of the chain was given.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CertificateSource {
    /// The anchors, with the index there. With [`PathOptions::validate_anchors`](super::PathOptions::validate_anchors) an anchor may also act as an
    /// intermediate.
    Anchor(usize),
    /// The intermediates, with the index there.
    Intermediate(usize),
    /// The certificate being validated.
    Leaf,
}

impl fmt::Display for CertificateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anchor(index) => write!(f, "anchor {}", index + 1),
            Self::Intermediate(index) => write!(f, "intermediate {}", index + 1),
            Self::Leaf => f.write_str("leaf"),
        }
    }
}

/// A certificate in a chain from the leaf upwards.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PathCertificate {
    /// The list from which it was taken.
    pub place: CertificateSource,
    /// Its subject as RFC 4514 text.
    pub subject: String,
}

impl fmt::Display for PathCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subject.is_empty() {
            write!(f, "{} without a subject", self.place)
        } else {
            write!(f, "{} `{}`", self.place, self.subject)
        }
    }
}

/// Why a path fails at a certificate of the chain. The messages describe that certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// The signature algorithm inside the signed part differs from the one outside.
    AlgorithmsDiffer,
    /// The certificate must be a CA's but has no basicConstraints. It may be an X.509 version 1 certificate.
    BasicConstraintsMissing,
    /// The search exceeded its budget, which is far above what legitimate certificates need.
    BudgetExhausted,
    /// No CRL of its issuer was given, although one of another issuer in the path was given or CRLs are required
    /// ([`PathOptions::require_crls`](super::PathOptions::require_crls)).
    CrlMissing,
    /// The CRLs of its issuer have a `thisUpdate` in the future: they were signed ahead of time, or a clock is wrong.
    CrlNotYetValid {
        /// The CRL's `thisUpdate`, in seconds since the Unix epoch.
        this_update: i64,
    },
    /// Each given CRL with its issuer's name identifies a key other than the issuer's, and the issuer's key signed none of them.
    CrlIssuerKeyMismatch,
    /// It is unclear whether the given CRLs of its issuer cover the certificate. Each covers only one distribution point, or only
    /// CAs or only end entities. The certificate does not clearly belong to that scope, or belongs to it only for some reasons.
    CrlScopeUnclear,
    /// The CRL of its issuer is invalid because the issuer's keyUsage lacks cRLSign.
    CrlSignMissing,
    /// The CRL with its issuer's name cannot be verified, or is signed by another key.
    CrlSignatureRefused(X509Error),
    /// The CRL of its issuer has expired. A newer one may exist.
    CrlExpired {
        /// The CRL's `nextUpdate`, in seconds since the Unix epoch.
        next_update: i64,
    },
    /// The CRL of its issuer has no `nextUpdate`.
    CrlNextUpdateMissing,
    /// A critical extension that is not processed.
    CriticalExtensionUnknown {
        /// Its OID.
        oid: String,
    },
    /// The certificate has expired.
    Expired {
        /// The last valid second, counted from the Unix epoch.
        not_after: i64,
    },
    /// Its extended key usage lacks the required purpose.
    ExtendedKeyUsage,
    /// An extension occurs more than once.
    ExtensionDuplicated {
        /// Its OID.
        oid: String,
    },
    /// An extension that must be parsed is malformed.
    ExtensionMalformed(X509Error),
    /// All its possible issuers are already in the chain, so the path would loop.
    IssuerLoop {
        /// The issuer's name as RFC 4514 text.
        issuer: String,
    },
    /// No given certificate has its issuer's name.
    IssuerUnknown {
        /// The issuer's name as RFC 4514 text.
        issuer: String,
    },
    /// The certificate must be a CA's but its keyUsage lacks keyCertSign.
    KeyCertSignMissing,
    /// It has a name that a certificate above excludes.
    NameExcluded {
        /// The name.
        name: String,
    },
    /// It has a name of a form that a certificate above constrains and that is not supported.
    NameFormUnsupported {
        /// The form.
        form: &'static str,
    },
    /// It has a name that a certificate above does not permit.
    NameNotPermitted {
        /// The name.
        name: String,
    },
    /// The certificate must be a CA's but its basicConstraints contain CA:FALSE.
    NotACa,
    /// It is self-issued and is not one of the anchors.
    NotAnAnchor,
    /// The certificate is not yet valid.
    NotYetValid {
        /// The first valid second, counted from the Unix epoch.
        not_before: i64,
    },
    /// More intermediates follow it than its path length allows.
    PathLength {
        /// The number of intermediates that it allows.
        limit: u32,
        /// The number of intermediates that follow.
        found: u32,
    },
    /// It maps anyPolicy to another policy, or another policy to anyPolicy.
    AnyPolicyMapped,
    /// A certificate policy is required, and none is valid from the anchor down to here.
    PolicyRequired,
    /// The certificate is revoked or on hold.
    Revoked {
        /// When it was revoked, in seconds since the Unix epoch.
        since: i64,
        /// The reason, if the CRL contains it.
        reason: Option<CrlReason>,
        /// The `thisUpdate` of the CRL that revokes it, in seconds since the Unix epoch, if that is in the future.
        ahead: Option<i64>,
    },
    /// None of the certificates with its issuer's name signed it, or its signature cannot be verified.
    SignatureRefused(X509Error),
    /// The path would exceed [`MAX_PATH_LEN`](super::MAX_PATH_LEN).
    TooLong {
        /// The maximum number of certificates above the leaf.
        limit: usize,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlgorithmsDiffer => f.write_str(
                "it names one signature algorithm inside its signed part and another outside",
            ),
            Self::BasicConstraintsMissing => {
                f.write_str("it has no basicConstraints and so is no CA")
            }
            Self::BudgetExhausted => {
                f.write_str("the search for its issuers took too much work and was given up")
            }
            Self::CrlMissing => f.write_str("no CRL of its issuer was given"),
            Self::CrlNotYetValid { this_update } => write!(
                f,
                "the CRL of its issuer is valid only from {}",
                Moment(*this_update)
            ),
            Self::CrlIssuerKeyMismatch => f.write_str(
                "the given CRLs with its issuer's name are of other keys than the issuer's",
            ),
            Self::CrlScopeUnclear => {
                f.write_str("it is unclear whether the given CRLs of its issuer cover it")
            }
            Self::CrlSignMissing => f.write_str(
                "the CRL of its issuer is not valid: the issuer's keyUsage lacks cRLSign",
            ),
            Self::CrlSignatureRefused(X509Error::SignatureInvalid { .. }) => {
                f.write_str("the CRL with its issuer's name is not signed by that issuer")
            }
            Self::CrlSignatureRefused(error) => {
                write!(f, "the CRL of its issuer cannot be verified: {error}")
            }
            Self::CrlExpired { next_update } => write!(
                f,
                "the CRL of its issuer has expired: the next one was due at {}",
                Moment(*next_update)
            ),
            Self::CrlNextUpdateMissing => {
                f.write_str("the CRL of its issuer does not say when the next one is due")
            }
            Self::CriticalExtensionUnknown { oid } => {
                write!(f, "its critical extension {oid} is unknown here")
            }
            Self::Expired { not_after } => write!(f, "it expired at {}", Moment(*not_after)),
            Self::ExtendedKeyUsage => {
                f.write_str("its extended key usage does not include the required one")
            }
            Self::ExtensionDuplicated { oid } => {
                write!(f, "it has the extension {oid} more than once")
            }
            Self::ExtensionMalformed(error) => write!(f, "an extension is malformed: {error}"),
            Self::IssuerLoop { issuer } => {
                write!(f, "its issuer `{issuer}` is already in the path")
            }
            Self::IssuerUnknown { issuer } => {
                write!(
                    f,
                    "its issuer `{issuer}` is not among the certificates given"
                )
            }
            Self::KeyCertSignMissing => f.write_str("its keyUsage leaves keyCertSign out"),
            Self::NameExcluded { name } => {
                write!(f, "its name `{name}` is excluded by a certificate above it")
            }
            Self::NameFormUnsupported { form } => write!(
                f,
                "it has a name of the form {form}, which a certificate above it constrains and which is not supported here"
            ),
            Self::NameNotPermitted { name } => {
                write!(
                    f,
                    "its name `{name}` is not permitted by a certificate above it"
                )
            }
            Self::NotACa => f.write_str("its basicConstraints say that it is no CA"),
            Self::NotAnAnchor => f.write_str("it is its own issuer, and not one of the anchors"),
            Self::NotYetValid { not_before } => {
                write!(f, "it is valid only from {}", Moment(*not_before))
            }
            Self::PathLength { limit, found } => write!(
                f,
                "{found} intermediates follow it, and its path length allows {limit}"
            ),
            Self::AnyPolicyMapped => f.write_str("it maps to or from anyPolicy"),
            Self::PolicyRequired => f.write_str(
                "a certificate policy is required, and none is valid from the anchor to here",
            ),
            Self::Revoked {
                since,
                reason,
                ahead,
            } => {
                let since = Moment(*since);
                match reason {
                    Some(CrlReason::CertificateHold) => write!(f, "it is on hold since {since}")?,
                    Some(reason) => {
                        write!(f, "it is revoked since {since}: {}", reason.name())?;
                    }
                    None => write!(f, "it is revoked since {since}")?,
                }
                match ahead {
                    Some(made) => write!(
                        f,
                        ", by a CRL of its issuer that is valid only from {}",
                        Moment(*made)
                    ),
                    None => Ok(()),
                }
            }
            Self::SignatureRefused(X509Error::SignatureInvalid { .. }) => {
                f.write_str("no certificate of its issuer's name that was given has signed it")
            }
            Self::SignatureRefused(error) => {
                write!(f, "its signature cannot be verified: {error}")
            }
            Self::TooLong { limit } => {
                write!(
                    f,
                    "more than {limit} certificates would stand above the leaf"
                )
            }
        }
    }
}

/// The result of a path search: the path found, or the chain that came furthest and why it failed.
///
/// `Display` writes one line for each certificate from the leaf upwards, then the verdict.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::path::{CertificatePool, PathOptions, TrustAnchors, find};
/// use keyproof_x509::{Certificate, algorithms::RING};
///
/// let ca: &[u8] = include_bytes!("../../tests/data/p256-ca.der");
/// let leaf = Certificate::from_der(include_bytes!("../../tests/data/p256-leaf.der"))?;
/// let (none, anchors) = (CertificatePool::default(), TrustAnchors::new(&[ca]));
/// let found = find(&leaf, &none, &anchors, &PathOptions::new(RING, 1_800_000_000));
/// assert!(found.accepted() && found.chain().len() == 2, "{found}");
///
/// let lost = find(&leaf, &none, &TrustAnchors::default(), &PathOptions::new(RING, 1_800_000_000));
/// assert!(lost.refusal().is_some(), "{lost}"); // the text shows where the chain ended
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "the report shows whether there is a path"]
pub struct PathReport {
    pub(super) chain: Vec<PathCertificate>,
    pub(super) checks: Report<PathFinding>,
    pub(super) policies: PolicySets,
    pub(super) signatures_checked: usize,
}

/// A finding about one certificate of the chain. `Display` does not name the certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PathFinding {
    /// The index in the chain of the certificate concerned; the leaf is 0.
    pub at: usize,
    /// The finding.
    pub reason: Reason,
}

impl fmt::Display for PathFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl Finding for PathFinding {
    type Check = PathCheck;

    fn check(&self) -> PathCheck {
        match self.reason {
            Reason::BudgetExhausted
            | Reason::IssuerLoop { .. }
            | Reason::IssuerUnknown { .. }
            | Reason::NotAnAnchor
            | Reason::TooLong { .. } => PathCheck::Issuer,
            Reason::AlgorithmsDiffer | Reason::SignatureRefused(_) => PathCheck::Signature,
            Reason::Expired { .. } | Reason::NotYetValid { .. } => PathCheck::Validity,
            Reason::BasicConstraintsMissing
            | Reason::KeyCertSignMissing
            | Reason::NotACa
            | Reason::PathLength { .. } => PathCheck::Ca,
            Reason::CriticalExtensionUnknown { .. }
            | Reason::ExtensionDuplicated { .. }
            | Reason::ExtensionMalformed(_) => PathCheck::Extensions,
            Reason::ExtendedKeyUsage => PathCheck::Purpose,
            Reason::NameExcluded { .. }
            | Reason::NameFormUnsupported { .. }
            | Reason::NameNotPermitted { .. } => PathCheck::Names,
            Reason::AnyPolicyMapped | Reason::PolicyRequired => PathCheck::Policies,
            Reason::CrlMissing
            | Reason::CrlNotYetValid { .. }
            | Reason::CrlIssuerKeyMismatch
            | Reason::CrlScopeUnclear
            | Reason::CrlSignMissing
            | Reason::CrlSignatureRefused(_)
            | Reason::CrlExpired { .. }
            | Reason::CrlNextUpdateMissing
            | Reason::Revoked { .. } => PathCheck::Revocation,
        }
    }

    fn severity(&self) -> Severity {
        match self.reason {
            // Rejections if CRLs are required.
            Reason::CrlMissing
            | Reason::CrlNotYetValid { .. }
            | Reason::CrlIssuerKeyMismatch
            | Reason::CrlScopeUnclear
            | Reason::CrlExpired { .. }
            | Reason::CrlNextUpdateMissing => Severity::Irregular,
            Reason::AlgorithmsDiffer
            | Reason::BasicConstraintsMissing
            | Reason::BudgetExhausted
            | Reason::CriticalExtensionUnknown { .. }
            | Reason::CrlSignMissing
            | Reason::CrlSignatureRefused(_)
            | Reason::Expired { .. }
            | Reason::ExtendedKeyUsage
            | Reason::ExtensionDuplicated { .. }
            | Reason::ExtensionMalformed(_)
            | Reason::IssuerLoop { .. }
            | Reason::IssuerUnknown { .. }
            | Reason::KeyCertSignMissing
            | Reason::NameExcluded { .. }
            | Reason::NameFormUnsupported { .. }
            | Reason::NameNotPermitted { .. }
            | Reason::NotACa
            | Reason::NotAnAnchor
            | Reason::NotYetValid { .. }
            | Reason::PathLength { .. }
            | Reason::AnyPolicyMapped
            | Reason::PolicyRequired
            | Reason::Revoked { .. }
            | Reason::SignatureRefused(_)
            | Reason::TooLong { .. } => Severity::Refusal,
        }
    }

    fn remedy(&self) -> &'static str {
        match self.reason {
            Reason::BudgetExhausted | Reason::TooLong { .. } => {
                "give only the certificates between this one and its root"
            }
            Reason::IssuerLoop { .. } | Reason::IssuerUnknown { .. } => {
                "add the certificate of that issuer to the intermediates, or to the anchors if it is to be trusted"
            }
            Reason::NotAnAnchor => "add it to the anchors if it is to be trusted",
            Reason::SignatureRefused(X509Error::SignatureInvalid { .. }) => {
                "give the certificate of the key that has signed it; another one of the same name is no help"
            }
            Reason::SignatureRefused(_) => {
                "have it issued with an algorithm and a key size that are verified here"
            }
            Reason::Expired { .. } | Reason::NotYetValid { .. } => {
                "have it renewed, and check the clock"
            }
            Reason::BasicConstraintsMissing
            | Reason::KeyCertSignMissing
            | Reason::NotACa
            | Reason::PathLength { .. } => {
                "have the certificates below it issued by a CA that may issue them"
            }
            Reason::CrlMissing => "give the CRL of its issuer as well",
            Reason::CrlNotYetValid { .. } => {
                "give the current CRL of its issuer as well, and check the clock"
            }
            Reason::CrlIssuerKeyMismatch => {
                "give the CRL that the issuer's own key has signed as well"
            }
            Reason::CrlScopeUnclear => "also give a CRL that covers all certificates of its issuer",
            Reason::CrlSignMissing | Reason::CrlSignatureRefused(_) => {
                "fetch the issuer's CRL again, or leave it out if it is of another key"
            }
            Reason::CrlExpired { .. } | Reason::CrlNextUpdateMissing => {
                "fetch the issuer's newest CRL"
            }
            Reason::Revoked { .. } => "do not trust it; have another one issued for a new key",
            Reason::ExtendedKeyUsage => "use a certificate that was issued for this purpose",
            Reason::NameExcluded { .. }
            | Reason::NameFormUnsupported { .. }
            | Reason::NameNotPermitted { .. } => {
                "have it issued with names that the CAs above it may certify"
            }
            Reason::AnyPolicyMapped | Reason::PolicyRequired => {
                "use certificates that were issued under a policy that is asked for"
            }
            Reason::AlgorithmsDiffer
            | Reason::CriticalExtensionUnknown { .. }
            | Reason::ExtensionDuplicated { .. }
            | Reason::ExtensionMalformed(_) => "have it issued anew without that fault",
        }
    }
}

impl PathReport {
    /// Returns whether a valid path from the leaf to an anchor was found.
    #[must_use = "it is the verdict"]
    pub fn accepted(&self) -> bool {
        self.checks.accepted()
    }

    /// Returns the chain from the leaf upwards, which ends at the anchor if there is a path. Each certificate signed the one before
    /// it.
    pub fn chain(&self) -> &[PathCertificate] {
        &self.chain
    }

    /// Returns the checks and their findings, from which the verdict is derived. If the search failed, one check contains the
    /// reason and the others were not evaluated.
    pub fn checks(&self) -> &Report<PathFinding> {
        &self.checks
    }

    /// Returns the policies under which the path is valid, or `None` if there is no path.
    pub fn policies(&self) -> Option<&PolicySets> {
        self.accepted().then_some(&self.policies)
    }

    /// Returns why the path was rejected, or `None` if it was accepted.
    pub fn refusal(&self) -> Option<&PathFinding> {
        self.checks.first_refusal()
    }

    /// Returns how many signatures were verified, at most [`MAX_SIGNATURE_CHECKS`](super::MAX_SIGNATURE_CHECKS).
    pub fn signatures_checked(&self) -> usize {
        self.signatures_checked
    }
}

impl fmt::Display for PathReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.chain {
            writeln!(f, "{step}")?;
        }
        match self.refusal() {
            None => f.write_str(if self.accepted() {
                "accepted"
            } else {
                "refused"
            }),
            Some(PathFinding { at, reason }) => match self.chain.get(*at) {
                Some(step) => write!(f, "refused at the {step}: {reason}"),
                None => write!(f, "refused: {reason}"),
            },
        }
    }
}
