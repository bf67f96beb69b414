//! The search: extends the path from the leaf by names and signatures, then descends to apply the constraints of the certificates
//! above.

use alloc::{string::ToString, vec, vec::Vec};

use super::{
    CertificatePool, MAX_PATH_LEN, Member, PathOptions, PolicySets,
    budget::Budget,
    extensions::{ANY_EXTENDED_KEY_USAGE, authority_key_identifier, is_for},
    is_processed_extension,
    report::{CertificateSource, PathCertificate, PathCheck, PathFinding, PathReport, Reason},
    revocation::Revocations,
    state::State,
};
use crate::{
    X509Error,
    certificate::Certificate,
    extension::BasicConstraints,
    report::{Check, Finding, Report, Strictness},
};

pub(super) struct Search<'s, 'a> {
    leaf: Member<'a>,
    intermediates: &'s CertificatePool<'a>,
    pub(super) anchors: &'s CertificatePool<'a>,
    pub(super) options: &'s PathOptions<'s>,
    pub(super) budget: Budget,
    /// Verified certificate signatures: the certificate, the signer, and the result.
    checked: Vec<(CertificateSource, CertificateSource, Result<(), X509Error>)>,
    /// Verified CRL signatures: the CRL's index, the signer, and the result.
    pub(super) checked_crls: Vec<(usize, CertificateSource, Result<(), X509Error>)>,
    /// The chain that reached an anchor or, failing that, the longest one.
    best: Option<Failure>,
}

struct Failure {
    chain: Vec<CertificateSource>,
    reached_anchor: bool,
    refusal: PathFinding,
}

/// Why the search stops here: `Failed` goes on with the next candidate, `Spent` ends the search.
enum Stop {
    Failed,
    Spent,
}

impl<'s, 'a> Search<'s, 'a> {
    pub(super) fn new(
        leaf: &Certificate<'a>,
        intermediates: &'s CertificatePool<'a>,
        anchors: &'s CertificatePool<'a>,
        options: &'s PathOptions<'s>,
    ) -> Self {
        Self {
            leaf: Member {
                index: 0,
                certificate: leaf.clone(),
                subject: leaf.subject().canonical(),
                key_identifier: None,
            },
            intermediates,
            anchors,
            options,
            budget: Budget::new(),
            checked: Vec::new(),
            checked_crls: Vec::new(),
            best: None,
        }
    }

    pub(super) fn run(mut self) -> PathReport {
        let mut chain = vec![CertificateSource::Leaf];
        let verdict = match self.check_leaf() {
            Ok(()) => self.extend_path(&mut chain),
            Err(reason) => Err(self.stop(&chain, 0, reason)),
        };
        let mut checks = Report::new();
        if self.options.require_crls {
            // CRL irregularities are rejections then.
            checks = checks.with_strictness(Strictness::Strict);
        }
        let (places, policies) = match verdict {
            Ok((policies, revocations)) => {
                for check in PathCheck::ALL {
                    checks.done(*check);
                }
                if self.options.purpose.is_none() {
                    checks.not_requested(PathCheck::Purpose, "no purpose was requested");
                }
                if revocations.is_asked {
                    for finding in revocations.findings {
                        checks.add(finding);
                    }
                } else {
                    checks.not_requested(PathCheck::Revocation, "no CRL of an issuer was given");
                }
                (chain, policies)
            }
            Err(_) => {
                // Each stop recorded a failure before.
                let best = self.best.take().unwrap_or_else(|| Failure {
                    chain: vec![CertificateSource::Leaf],
                    reached_anchor: false,
                    refusal: PathFinding {
                        at: 0,
                        reason: Reason::BudgetExhausted,
                    },
                });
                checks.judged(best.refusal.check(), best.refusal);
                checks.remaining_not_evaluated("not checked: there is no path");
                (best.chain, PolicySets::default())
            }
        };
        PathReport {
            chain: places
                .into_iter()
                .map(|place| PathCertificate {
                    place,
                    subject: self
                        .member(place)
                        .map(|member| member.certificate.subject().to_string())
                        .unwrap_or_default(),
                })
                .collect(),
            checks,
            policies,
            signatures_checked: self.budget.signatures_checked(),
        }
    }

    pub(super) fn member(&self, place: CertificateSource) -> Option<&Member<'a>> {
        match place {
            CertificateSource::Anchor(index) => self.anchors.get(index),
            CertificateSource::Intermediate(index) => self.intermediates.get(index),
            CertificateSource::Leaf => Some(&self.leaf),
        }
    }

    /// Continues from the last certificate of the chain to an anchor.
    fn extend_path(
        &mut self,
        chain: &mut Vec<CertificateSource>,
    ) -> Result<(PolicySets, Revocations), Stop> {
        let last = chain.len().saturating_sub(1);
        let place = chain.last().copied().unwrap_or(CertificateSource::Leaf);
        let Some(top) = self.member(place).cloned() else {
            return Err(Stop::Failed);
        };
        if let Err(reason) = self.budget.step() {
            return Err(self.stop(chain, last, reason));
        }
        if chain.len() > MAX_PATH_LEN {
            let limit = MAX_PATH_LEN;
            return Err(self.stop(chain, last, Reason::TooLong { limit }));
        }
        let candidates = self.candidates(&top, chain);
        if candidates.is_empty() {
            let issuer = top.certificate.issuer();
            let (name, text) = (issuer.canonical(), issuer.to_string());
            let mut members = self.intermediates.members.iter();
            let reason = if top.is_self_issued() {
                Reason::NotAnAnchor
            } else if members.any(|member| member.subject == name) {
                Reason::IssuerLoop { issuer: text }
            } else {
                Reason::IssuerUnknown { issuer: text }
            };
            return Err(self.stop(chain, last, reason));
        }
        let mut refused = None;
        for Candidate {
            place: issuer,
            problem,
        } in candidates
        {
            match self.is_signed_by(place, issuer) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    refused.get_or_insert(error);
                    continue;
                }
                Err(reason) => return Err(self.stop(chain, last, reason)),
            }
            chain.push(issuer);
            let found = match problem {
                Some(reason) => Err(self.stop(chain, last + 1, reason)),
                None => self.try_issuers(chain),
            };
            let stop = match found {
                Ok(found) => return Ok(found),
                Err(stop) => stop,
            };
            chain.pop();
            if matches!(stop, Stop::Spent) {
                return Err(stop);
            }
        }
        // If a candidate signed it, the longer chain is reported instead.
        Err(match refused {
            Some(error) => self.stop(chain, last, Reason::SignatureRefused(error)),
            None => Stop::Failed,
        })
    }

    /// Continues from an issuer that was just added: extends the path further, or validates the chain if it ends there.
    fn try_issuers(
        &mut self,
        chain: &mut Vec<CertificateSource>,
    ) -> Result<(PolicySets, Revocations), Stop> {
        let refusal = match self.ends_at_anchor(chain) {
            Ok(false) => return self.extend_path(chain),
            Ok(true) => match self.validate_chain(chain) {
                Ok(found) => return Ok(found),
                Err(refusal) => refusal,
            },
            Err(reason) => PathFinding {
                at: chain.len().saturating_sub(1),
                reason,
            },
        };
        Err(self.stop(chain, refusal.at, refusal.reason))
    }

    /// Records why a chain failed, unless an earlier one came further, and returns how the search goes on.
    fn stop(&mut self, chain: &[CertificateSource], at: usize, reason: Reason) -> Stop {
        let is_spent = reason == Reason::BudgetExhausted;
        let reached_anchor = matches!(chain.last(), Some(CertificateSource::Anchor(_)));
        let came_further = self.best.as_ref().is_none_or(|best| {
            (reached_anchor, chain.len()) > (best.reached_anchor, best.chain.len())
        });
        if came_further || is_spent {
            self.best = Some(Failure {
                chain: chain.to_vec(),
                reached_anchor,
                refusal: PathFinding { at, reason },
            });
        }
        if is_spent { Stop::Spent } else { Stop::Failed }
    }

    /// Returns the possible issuers of the chain's last certificate, matched by name, the most promising first.
    fn candidates(&self, top: &Member<'a>, chain: &[CertificateSource]) -> Vec<Candidate> {
        let issuers = self.issuers_by_name(top).into_iter();
        let mut candidates: Vec<Candidate> = issuers
            .filter_map(|place| {
                let member = self.member(place)?;
                let is_anchor = matches!(place, CertificateSource::Anchor(_));
                (!self.is_on(chain, place, member)).then(|| Candidate {
                    place,
                    problem: self.check_issuer(member, is_anchor, chain).err(),
                })
            })
            .collect();
        candidates.sort_by_key(|candidate| candidate.problem.is_some());
        candidates
    }

    /// Returns the certificates whose subject is the issuer of `below`. Those without a conflicting key identifier come first, and
    /// among these the anchors.
    pub(super) fn issuers_by_name(&self, below: &Member<'a>) -> Vec<CertificateSource> {
        let issuer = below.certificate.issuer().canonical();
        let wanted = authority_key_identifier(&below.certificate);
        let pools = [
            (
                self.anchors,
                CertificateSource::Anchor as fn(usize) -> CertificateSource,
            ),
            (self.intermediates, CertificateSource::Intermediate),
        ];
        let mut issuers = Vec::new();
        for (pool, place_of) in pools {
            let members = pool.members.iter();
            for member in members.filter(|member| member.subject == issuer) {
                let key_is_another = match (wanted, member.key_identifier) {
                    (Some(wanted), Some(found)) => wanted != found,
                    _ => false,
                };
                issuers.push((key_is_another, place_of(member.index)));
            }
        }
        issuers.sort_by_key(|(key_is_another, _)| *key_is_another);
        issuers.into_iter().map(|(_, place)| place).collect()
    }

    /// Returns whether the chain already contains this name and key, so that it would loop. An anchor is compared only with the
    /// anchors in the chain, so that it may end a chain that contains the same CA as an intermediate.
    pub(super) fn is_on(
        &self,
        chain: &[CertificateSource],
        place: CertificateSource,
        member: &Member<'a>,
    ) -> bool {
        let is_anchor = |place: &CertificateSource| matches!(place, CertificateSource::Anchor(_));
        chain
            .iter()
            .filter(|earlier| is_anchor(earlier) || !is_anchor(&place))
            .filter_map(|place| self.member(*place))
            .any(|earlier| {
                let key = |member: &Member<'a>| member.certificate.public_key().as_der();
                earlier.subject == member.subject && key(earlier) == key(member)
            })
    }

    /// Verifies a certificate's signature, or returns the cached result. The outer error is the budget's.
    pub(super) fn is_signed_by(
        &mut self,
        place: CertificateSource,
        issuer: CertificateSource,
    ) -> Result<Result<(), X509Error>, Reason> {
        let known = self
            .checked
            .iter()
            .find(|(subject, signer, _)| (*subject, *signer) == (place, issuer));
        if let Some((_, _, result)) = known {
            return Ok(result.clone());
        }
        self.budget.check_signature()?;
        let result = match (self.member(place), self.member(issuer)) {
            (Some(Member { certificate, .. }), Some(signer)) => certificate
                .verify_signature(self.options.algorithms, &signer.certificate.public_key())
                .map(drop),
            _ => Err(X509Error::Empty),
        };
        self.checked.push((place, issuer, result.clone()));
        Ok(result)
    }

    fn check_leaf(&self) -> Result<(), Reason> {
        let leaf = &self.leaf.certificate;
        self.check_itself(leaf)?;
        let Some(purpose) = self.options.purpose else {
            return Ok(());
        };
        match is_for(leaf, &[purpose.id]).map_err(Reason::ExtensionMalformed)? {
            Some(true) => Ok(()),
            None if !purpose.is_required => Ok(()),
            _ => Err(Reason::ExtendedKeyUsage),
        }
    }

    /// Checks a certificate on its own.
    fn check_itself(&self, certificate: &Certificate<'a>) -> Result<(), Reason> {
        if certificate.algorithm().as_der() != certificate.tbs_algorithm().as_der() {
            return Err(Reason::AlgorithmsDiffer);
        }
        let validity = certificate.validity();
        if !validity.has_begun(self.options.now) {
            return Err(Reason::NotYetValid {
                not_before: validity.not_before,
            });
        }
        if validity.has_ended(self.options.now) {
            return Err(Reason::Expired {
                not_after: validity.not_after,
            });
        }
        let extensions = certificate.extensions();
        for (index, extension) in extensions.iter().enumerate() {
            let oid = || extension.id.to_string();
            let mut earlier = extensions.iter().take(index);
            if earlier.any(|earlier| earlier.id == extension.id) {
                return Err(Reason::ExtensionDuplicated { oid: oid() });
            }
            let is_processed = is_processed_extension(extension.id)
                || self
                    .options
                    .processed_extensions
                    .iter()
                    .any(|known| extension.id == *known);
            if extension.critical && !is_processed {
                return Err(Reason::CriticalExtensionUnknown { oid: oid() });
            }
        }
        Ok(())
    }

    /// Checks that a certificate may be the issuer of the chain's last one. Does not check the signature.
    pub(super) fn check_issuer(
        &self,
        member: &Member<'a>,
        is_anchor: bool,
        chain: &[CertificateSource],
    ) -> Result<(), Reason> {
        let certificate = &member.certificate;
        self.check_itself(certificate)?;
        let malformed = Reason::ExtensionMalformed;
        let path_len = match certificate.basic_constraints().map_err(malformed)? {
            Some(BasicConstraints { ca: false, .. }) => return Err(Reason::NotACa),
            Some(BasicConstraints { path_len, .. }) => path_len,
            // X.509 version 1 roots are trusted because they are listed.
            None if is_anchor => None,
            None => return Err(Reason::BasicConstraintsMissing),
        };
        let usage = certificate.key_usage().map_err(malformed)?;
        if usage.is_some_and(|usage| !usage.key_cert_sign()) {
            return Err(Reason::KeyCertSignMissing);
        }
        if let Some(limit) = path_len {
            let found = self.counted_intermediates(chain);
            if found > limit {
                return Err(Reason::PathLength { limit, found });
            }
        }
        if let Some(purpose) = self.options.purpose
            && !is_anchor
        {
            let purposes = [purpose.id, ANY_EXTENDED_KEY_USAGE];
            if is_for(certificate, &purposes).map_err(malformed)? == Some(false) {
                return Err(Reason::ExtendedKeyUsage);
            }
        }
        Ok(())
    }

    /// Counts the intermediates of a chain that a path length limits: not the leaf, and not self-issued ones.
    fn counted_intermediates(&self, chain: &[CertificateSource]) -> u32 {
        let counted = chain
            .iter()
            .skip(1)
            .filter_map(|place| self.member(*place))
            .filter(|member| !member.is_self_issued())
            .count();
        u32::try_from(counted).unwrap_or(u32::MAX)
    }

    /// Validates a chain that has reached an anchor and whose signatures are verified.
    fn validate_chain(
        &mut self,
        chain: &[CertificateSource],
    ) -> Result<(PolicySets, Revocations), PathFinding> {
        let policies = self.descend(chain)?;
        Ok((policies, self.check_revocation(chain)?))
    }

    /// Applies name constraints and policies from the anchor downwards (section 6.1.3 onwards).
    fn descend(&mut self, chain: &[CertificateSource]) -> Result<PolicySets, PathFinding> {
        let (Some((anchor, below)), options) = (chain.split_last(), self.options) else {
            return Ok(PolicySets::default());
        };
        let mut state = State::new(options, below.len());
        if let Some(anchor) = self.member(*anchor).cloned() {
            let refused = |reason| PathFinding {
                at: below.len(),
                reason,
            };
            state
                .constrain_names(&anchor.certificate)
                .map_err(refused)?;
        }
        for (at, place) in below.iter().enumerate().rev() {
            let Some(member) = self.member(*place).cloned() else {
                continue;
            };
            state
                .pass(&member, at == 0, &mut self.budget)
                .map_err(|reason| PathFinding { at, reason })?;
        }
        state
            .sets(options)
            .map_err(|reason| PathFinding { at: 0, reason })
    }
}

struct Candidate {
    place: CertificateSource,
    problem: Option<Reason>,
}
