//! The report of a path search: the walk from the leaf upwards, and why it ends where it does.

use alloc::{string::String, vec::Vec};
use core::fmt;

use super::policies::PolicySets;
use crate::{
    X509Error,
    crl::{CrlReason, reason_name},
    report::{Finding, Report, Severity},
    time::Moment,
};

crate::checks! {
    /// What is asked of a path, in the order of reports. Names and order are stable.
    #[non_exhaustive]
    pub PathCheck {
        /// `issuer`: from the leaf to an anchor, the issuer of each certificate was found.
        Issuer = "issuer", "it leads to an anchor";
        /// `signature`: each signature verifies over the received bytes under the key of the certificate above.
        Signature = "signature", "each signature verifies";
        /// `validity`: each certificate is valid at the time.
        Validity = "validity", "each certificate is valid";
        /// `ca`: each certificate above the leaf is a CA's, may sign certificates, and has no more CAs below it than its path
        /// length lets.
        Ca = "ca", "each certificate above the leaf is a CA's";
        /// `extensions`: no extension is malformed or there twice, and no critical one is unknown.
        Extensions = "extensions", "all extensions are in order";
        /// `purpose`: each extended key usage below the anchor includes the purpose.
        Purpose = "purpose", "each certificate is for the purpose";
        /// `names`: each name is one that the certificates above permit.
        Names = "names", "all names are permitted";
        /// `policies`: the path is valid under a certificate policy, where that is required.
        Policies = "policies", "the certificate policies are in order";
        /// `revocation`: no certificate is on the revocation list of its issuer, of those lists that were given. It passes if each
        /// certificate below the anchor was looked up in a current one, and was not asked if no list is of an issuer of the path.
        Revocation = "revocation", "no certificate is revoked";
    }
}

/// Where a certificate of a walk was given.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Place {
    /// Among the anchors, by its place there; it may stand between if they are judged
    /// ([`Rules::judge_anchors`](super::Rules::judge_anchors)).
    Anchor(usize),
    /// Among the intermediates, by its place there.
    Intermediate(usize),
    /// The certificate that is judged.
    Leaf,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anchor(index) => write!(f, "anchor {}", index + 1),
            Self::Intermediate(index) => write!(f, "intermediate {}", index + 1),
            Self::Leaf => f.write_str("leaf"),
        }
    }
}

/// A certificate of a walk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// Where it was given.
    pub place: Place,
    /// Its subject, as RFC 4514 text.
    pub subject: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subject.is_empty() {
            write!(f, "{} without a subject", self.place)
        } else {
            write!(f, "{} `{}`", self.place, self.subject)
        }
    }
}

/// Why a path ends at a certificate of the walk. The texts say it of that certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// The signature algorithm inside its signed part is not the one outside.
    AlgorithmsDiffer,
    /// It would have to be a CA, and has no basicConstraints; it may be of X.509 version 1.
    BasicConstraintsMissing,
    /// The search took more work than any honest set of certificates does; it was given up.
    BudgetSpent,
    /// No revocation list of its issuer was given, though one of another issuer of the path was, or lists are required
    /// ([`Rules::require_crls`](super::Rules::require_crls)).
    CrlMissing,
    /// The revocation lists of its issuer are of a later time: they were signed ahead, or a clock is wrong.
    CrlNotYetValid {
        /// When it was made, in seconds since the Unix epoch.
        this_update: i64,
    },
    /// Revocation lists of its issuer's name were given; each names another key than the issuer's, whose key has signed none of
    /// them.
    CrlOfAnotherKey,
    /// Whether a revocation list of its issuer tells of it is doubtful: each that was given tells of what is at a distribution point,
    /// or of CAs or others alone, and the certificate does not say clearly that it is of those, or says so for some reasons alone.
    CrlScopeDoubtful,
    /// Its issuer's revocation list does not count, because its keyUsage leaves cRLSign out.
    CrlSignMissing,
    /// The revocation list of its issuer's name cannot be verified, or is of another key.
    CrlSignatureRefused(X509Error),
    /// The revocation list of its issuer is past its time: there may be a newer one.
    CrlStale {
        /// When the next one was due, in seconds since the Unix epoch.
        next_update: i64,
    },
    /// The revocation list of its issuer does not say when the next one is due.
    CrlWithoutEnd,
    /// A critical extension that is not processed.
    CriticalExtensionUnknown {
        /// Its OID.
        oid: String,
    },
    /// Its validity is over.
    Expired {
        /// The last valid second, since the Unix epoch.
        not_after: i64,
    },
    /// Its extended key usage leaves out the one that is asked for.
    ExtendedKeyUsage,
    /// An extension occurs more than once.
    ExtensionDuplicated {
        /// Its OID.
        oid: String,
    },
    /// An extension that has to be read is malformed.
    ExtensionMalformed(X509Error),
    /// Its issuers are on the walk already: they only lead round in a circle.
    IssuerInCircle {
        /// Their name, as RFC 4514 text.
        issuer: String,
    },
    /// No certificate that was given has its issuer's name.
    IssuerUnknown {
        /// That name, as RFC 4514 text.
        issuer: String,
    },
    /// It would have to be a CA, and its keyUsage leaves keyCertSign out.
    KeyCertSignMissing,
    /// It has a name that a certificate above it excludes.
    NameExcluded {
        /// The name.
        name: String,
    },
    /// It has a name of a form that a certificate above it constrains, and that cannot be compared.
    NameFormUnsupported {
        /// The form.
        form: &'static str,
    },
    /// It has a name that a certificate above it does not permit.
    NameNotPermitted {
        /// The name.
        name: String,
    },
    /// It would have to be a CA, and says that it is none.
    NotACa,
    /// It names itself as its issuer, and is not one of the anchors.
    NotAnAnchor,
    /// Its validity has not begun.
    NotYetValid {
        /// The first valid second, since the Unix epoch.
        not_before: i64,
    },
    /// More intermediates follow it than its path length lets.
    PathLength {
        /// How many it lets follow.
        limit: u32,
        /// How many follow.
        found: u32,
    },
    /// It maps anyPolicy, or to it.
    PolicyMappedAny,
    /// A certificate policy has to be valid for the path, and none is from here on.
    PolicyRequired,
    /// It is revoked, or on hold.
    Revoked {
        /// Since when, in seconds since the Unix epoch.
        since: i64,
        /// Why, if its issuer says it.
        reason: Option<CrlReason>,
        /// When the list that says so was made, in seconds since the Unix epoch, if that is of a later time.
        ahead: Option<i64>,
    },
    /// None of the certificates with its issuer's name has signed it, or its signature cannot be verified.
    SignatureRefused(X509Error),
    /// The path would be longer than any honest one.
    TooLong {
        /// How many certificates may stand above the leaf.
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
            Self::BudgetSpent => {
                f.write_str("the search for its issuers took too much work and was given up")
            }
            Self::CrlMissing => f.write_str("no revocation list of its issuer was given"),
            Self::CrlNotYetValid { this_update } => write!(
                f,
                "the revocation list of its issuer was made only at {}",
                Moment(*this_update)
            ),
            Self::CrlOfAnotherKey => f.write_str(
                "the revocation lists of its issuer's name that were given are of other keys than the issuer's",
            ),
            Self::CrlScopeDoubtful => f.write_str(
                "whether the revocation lists of its issuer that were given tell of it is doubtful",
            ),
            Self::CrlSignMissing => f.write_str(
                "the revocation list of its issuer does not count: the issuer's keyUsage leaves cRLSign out",
            ),
            Self::CrlSignatureRefused(X509Error::SignatureInvalid { .. }) => {
                f.write_str("the revocation list of its issuer's name is not signed by that issuer")
            }
            Self::CrlSignatureRefused(error) => write!(
                f,
                "the revocation list of its issuer cannot be verified: {error}"
            ),
            Self::CrlStale { next_update } => write!(
                f,
                "the revocation list of its issuer is stale: the next one was due at {}",
                Moment(*next_update)
            ),
            Self::CrlWithoutEnd => f.write_str(
                "the revocation list of its issuer does not say when the next one is due",
            ),
            Self::CriticalExtensionUnknown { oid } => {
                write!(f, "its critical extension {oid} is unknown here")
            }
            Self::Expired { not_after } => write!(f, "it expired at {}", Moment(*not_after)),
            Self::ExtendedKeyUsage => {
                f.write_str("its extended key usage leaves out the one that is asked for")
            }
            Self::ExtensionDuplicated { oid } => {
                write!(f, "it has the extension {oid} more than once")
            }
            Self::ExtensionMalformed(error) => write!(f, "an extension is malformed: {error}"),
            Self::IssuerInCircle { issuer } => {
                write!(f, "its issuer `{issuer}` only leads round in a circle")
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
                "it has an {form}, which a certificate above it constrains and which is not compared here"
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
                "{found} intermediates follow it, and its path length lets {limit}"
            ),
            Self::PolicyMappedAny => f.write_str("it maps anyPolicy, or to it"),
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
                        let reason = reason_name(*reason);
                        write!(f, "it is revoked since {since}: {reason}")?;
                    }
                    None => write!(f, "it is revoked since {since}")?,
                }
                match ahead {
                    Some(made) => write!(
                        f,
                        ", by a revocation list of its issuer that was made only at {}",
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

/// What a search found: the path, or the walk that came furthest and why it ended.
///
/// `Display` draws a line for each certificate from the leaf upwards, and the verdict.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::path::{Pool, Rules, find};
/// use keyproof_x509::{Certificate, algorithms::RING};
///
/// let ca: &[u8] = include_bytes!("../../tests/data/p256-ca.der");
/// let leaf = Certificate::from_der(include_bytes!("../../tests/data/p256-leaf.der"))?;
/// let (none, anchors) = (Pool::of(&[]), Pool::of(&[ca]));
/// let found = find(&leaf, &none, &anchors, &Rules::new(RING, 1_800_000_000));
/// assert!(found.accepted() && found.walk().len() == 2, "{found}");
///
/// let lost = find(&leaf, &none, &none, &Rules::new(RING, 1_800_000_000));
/// assert!(lost.refusal().is_some(), "{lost}"); // and says where the walk ended
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "it says whether there is a path"]
pub struct PathReport {
    pub(super) walk: Vec<Step>,
    pub(super) checks: Report<PathFinding>,
    pub(super) policies: PolicySets,
    pub(super) signatures_checked: usize,
}

/// Something that was found of one certificate of the walk. `Display` says it without naming the certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathFinding {
    /// Which certificate of the walk it is about, counted from the leaf, which is 0.
    pub at: usize,
    /// What was found.
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
            Reason::BudgetSpent
            | Reason::IssuerInCircle { .. }
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
            Reason::PolicyMappedAny | Reason::PolicyRequired => PathCheck::Policies,
            Reason::CrlMissing
            | Reason::CrlNotYetValid { .. }
            | Reason::CrlOfAnotherKey
            | Reason::CrlScopeDoubtful
            | Reason::CrlSignMissing
            | Reason::CrlSignatureRefused(_)
            | Reason::CrlStale { .. }
            | Reason::CrlWithoutEnd
            | Reason::Revoked { .. } => PathCheck::Revocation,
        }
    }

    fn severity(&self) -> Severity {
        match self.reason {
            // Refusals where lists are required.
            Reason::CrlMissing
            | Reason::CrlNotYetValid { .. }
            | Reason::CrlOfAnotherKey
            | Reason::CrlScopeDoubtful
            | Reason::CrlStale { .. }
            | Reason::CrlWithoutEnd => Severity::Irregular,
            Reason::AlgorithmsDiffer
            | Reason::BasicConstraintsMissing
            | Reason::BudgetSpent
            | Reason::CriticalExtensionUnknown { .. }
            | Reason::CrlSignMissing
            | Reason::CrlSignatureRefused(_)
            | Reason::Expired { .. }
            | Reason::ExtendedKeyUsage
            | Reason::ExtensionDuplicated { .. }
            | Reason::ExtensionMalformed(_)
            | Reason::IssuerInCircle { .. }
            | Reason::IssuerUnknown { .. }
            | Reason::KeyCertSignMissing
            | Reason::NameExcluded { .. }
            | Reason::NameFormUnsupported { .. }
            | Reason::NameNotPermitted { .. }
            | Reason::NotACa
            | Reason::NotAnAnchor
            | Reason::NotYetValid { .. }
            | Reason::PathLength { .. }
            | Reason::PolicyMappedAny
            | Reason::PolicyRequired
            | Reason::Revoked { .. }
            | Reason::SignatureRefused(_)
            | Reason::TooLong { .. } => Severity::Refusal,
        }
    }

    fn remedy(&self) -> &'static str {
        match self.reason {
            Reason::BudgetSpent | Reason::TooLong { .. } => {
                "give only the certificates between this one and its root"
            }
            Reason::IssuerInCircle { .. } | Reason::IssuerUnknown { .. } => {
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
            Reason::CrlMissing => "give the revocation list of its issuer as well",
            Reason::CrlNotYetValid { .. } => {
                "give the revocation list of its issuer that is in force as well, and check the clock"
            }
            Reason::CrlOfAnotherKey => {
                "give the revocation list that the issuer's own key has signed as well"
            }
            Reason::CrlScopeDoubtful => {
                "give a revocation list of its issuer as well that tells of all its certificates"
            }
            Reason::CrlSignMissing | Reason::CrlSignatureRefused(_) => {
                "fetch the issuer's revocation list anew, or leave it out if it is of another key"
            }
            Reason::CrlStale { .. } | Reason::CrlWithoutEnd => {
                "fetch the issuer's newest revocation list"
            }
            Reason::Revoked { .. } => "do not trust it; have another one issued for a new key",
            Reason::ExtendedKeyUsage => "use a certificate that was issued for this purpose",
            Reason::NameExcluded { .. }
            | Reason::NameFormUnsupported { .. }
            | Reason::NameNotPermitted { .. } => {
                "have it issued with names that the CAs above it may certify"
            }
            Reason::PolicyMappedAny | Reason::PolicyRequired => {
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
    /// Whether there is a path from the leaf to an anchor.
    pub fn accepted(&self) -> bool {
        self.checks.accepted()
    }

    /// The walk from the leaf upwards: to the anchor if there is a path. Each has signed the one before it.
    pub fn walk(&self) -> &[Step] {
        &self.walk
    }

    /// The checks and what they found; the verdict is derived from it. Of a search that fails, one check says why, and the others
    /// were not judged.
    pub fn checks(&self) -> &Report<PathFinding> {
        &self.checks
    }

    /// The policies under which the path is valid, if there is one.
    pub fn policies(&self) -> Option<&PolicySets> {
        self.accepted().then_some(&self.policies)
    }

    /// Why there is none.
    pub fn refusal(&self) -> Option<&PathFinding> {
        self.checks.first_refusal()
    }

    /// How many signatures were checked, at most [`MAX_SIGNATURE_CHECKS`](super::MAX_SIGNATURE_CHECKS).
    pub fn signatures_checked(&self) -> usize {
        self.signatures_checked
    }
}

impl fmt::Display for PathReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.walk {
            writeln!(f, "{step}")?;
        }
        match self.refusal() {
            None => f.write_str(if self.accepted() {
                "accepted"
            } else {
                "refused"
            }),
            Some(PathFinding { at, reason }) => match self.walk.get(*at) {
                Some(step) => write!(f, "refused at the {step}: {reason}"),
                None => write!(f, "refused: {reason}"),
            },
        }
    }
}
