//! The search: climbs from the leaf by names and signatures, then descends to apply the constraints of the certificates above.

use alloc::{string::ToString, vec, vec::Vec};

use super::{
    MAX_PATH_LEN, Member, PolicySets, Pool, Rules,
    budget::Budget,
    extensions::{ANY_EXTENDED_KEY_USAGE, authority_key_identifier, is_for},
    processes,
    report::{PathCheck, PathFinding, PathReport, Place, Reason, Step},
    revocation::Revocations,
    state::State,
};
use crate::{
    X509Error,
    algorithm::verify,
    certificate::Certificate,
    extension::BasicConstraints,
    report::{Check, Finding, Report},
};

pub(super) struct Search<'s, 'a> {
    leaf: Member<'a>,
    intermediates: &'s Pool<'a>,
    pub(super) anchors: &'s Pool<'a>,
    pub(super) rules: &'s Rules<'s>,
    pub(super) budget: Budget,
    /// Verified certificate signatures: the certificate, the signer, and the result.
    checked: Vec<(Place, Place, Result<(), X509Error>)>,
    /// Verified CRL signatures: the CRL's index, the signer, and the result.
    pub(super) checked_crls: Vec<(usize, Place, Result<(), X509Error>)>,
    /// The walk that reached an anchor or, failing that, the longest one.
    best: Option<Failure>,
}

struct Failure {
    walk: Vec<Place>,
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
        intermediates: &'s Pool<'a>,
        anchors: &'s Pool<'a>,
        rules: &'s Rules<'s>,
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
            rules,
            budget: Budget::new(),
            checked: Vec::new(),
            checked_crls: Vec::new(),
            best: None,
        }
    }

    pub(super) fn run(mut self) -> PathReport {
        let mut walk = vec![Place::Leaf];
        let verdict = match self.check_leaf() {
            Ok(()) => self.climb(&mut walk),
            Err(reason) => {
                self.fail(&walk, 0, reason);
                Err(Stop::Failed)
            }
        };
        let mut checks = Report::new();
        if self.rules.require_crls {
            // CRL irregularities are rejections then.
            checks = checks.under_policy(true);
        }
        let (places, policies) = match verdict {
            Ok((policies, revocations)) => {
                for check in PathCheck::ALL {
                    checks.done(*check);
                }
                if self.rules.purpose.is_none() {
                    checks.not_asked(PathCheck::Purpose, "no purpose was asked for");
                }
                if revocations.is_asked {
                    for finding in revocations.findings {
                        checks.add(finding);
                    }
                } else {
                    checks.not_asked(
                        PathCheck::Revocation,
                        "no revocation list of an issuer was given",
                    );
                }
                (walk, policies)
            }
            Err(_) => {
                // Each stop recorded a failure before.
                let best = self.best.take().unwrap_or_else(|| Failure {
                    walk: vec![Place::Leaf],
                    reached_anchor: false,
                    refusal: PathFinding {
                        at: 0,
                        reason: Reason::BudgetSpent,
                    },
                });
                checks.judged(best.refusal.check(), best.refusal);
                checks.others_not_judged("not judged: there is no path");
                (best.walk, PolicySets::default())
            }
        };
        PathReport {
            walk: places
                .into_iter()
                .map(|place| Step {
                    place,
                    subject: self.subject_of(place),
                })
                .collect(),
            checks,
            policies,
            signatures_checked: self.budget.signatures_checked(),
        }
    }

    fn subject_of(&self, place: Place) -> alloc::string::String {
        let member = self.member(place);
        member.map_or_else(Default::default, |member| {
            member.certificate.subject().to_string()
        })
    }

    pub(super) fn member(&self, place: Place) -> Option<&Member<'a>> {
        match place {
            Place::Anchor(index) => self.anchors.get(index),
            Place::Intermediate(index) => self.intermediates.get(index),
            Place::Leaf => Some(&self.leaf),
        }
    }

    /// Records why a walk failed, unless an earlier one came further.
    fn fail(&mut self, walk: &[Place], at: usize, reason: Reason) {
        let reached_anchor = matches!(walk.last(), Some(Place::Anchor(_)));
        let came_further = self.best.as_ref().is_none_or(|best| {
            (reached_anchor, walk.len()) > (best.reached_anchor, best.walk.len())
        });
        if came_further || reason == Reason::BudgetSpent {
            self.best = Some(Failure {
                walk: walk.to_vec(),
                reached_anchor,
                refusal: PathFinding { at, reason },
            });
        }
    }

    /// Continues from the last certificate of the walk to an anchor.
    fn climb(&mut self, walk: &mut Vec<Place>) -> Result<(PolicySets, Revocations), Stop> {
        let last = walk.len().saturating_sub(1);
        let top = walk.last().and_then(|place| self.member(*place)).cloned();
        let Some(top) = top else {
            return Err(Stop::Failed);
        };
        let place = walk.last().copied().unwrap_or(Place::Leaf);
        if let Err(reason) = self.budget.step() {
            self.fail(walk, last, reason);
            return Err(Stop::Spent);
        }
        if walk.len() > MAX_PATH_LEN {
            let limit = MAX_PATH_LEN;
            self.fail(walk, last, Reason::TooLong { limit });
            return Err(Stop::Failed);
        }
        let candidates = self.candidates(&top, walk);
        if candidates.is_empty() {
            let issuer = top.certificate.issuer();
            let (name, text) = (issuer.canonical(), issuer.to_string());
            let mut members = self.intermediates.members.iter();
            let reason = if top.is_self_issued() {
                Reason::NotAnAnchor
            } else if members.any(|member| member.subject == name) {
                Reason::IssuerInCircle { issuer: text }
            } else {
                Reason::IssuerUnknown { issuer: text }
            };
            self.fail(walk, last, reason);
            return Err(Stop::Failed);
        }
        let mut refused = None;
        for Candidate {
            place: issuer,
            problem,
        } in candidates
        {
            match self.is_signed_by(&top, place, issuer) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    refused.get_or_insert(error);
                    continue;
                }
                Err(reason) => {
                    self.fail(walk, last, reason);
                    return Err(Stop::Spent);
                }
            }
            walk.push(issuer);
            let found = match problem {
                Some(reason) => Err(self.stop(walk, last + 1, reason)),
                None => self.go_on(walk),
            };
            let stop = match found {
                Ok(found) => return Ok(found),
                Err(stop) => stop,
            };
            walk.pop();
            if matches!(stop, Stop::Spent) {
                return Err(stop);
            }
        }
        // If a candidate signed it, the longer walk is reported instead.
        if let Some(error) = refused {
            self.fail(walk, last, Reason::SignatureRefused(error));
        }
        Err(Stop::Failed)
    }

    /// Continues from an issuer that was just added: climbs on, or validates the walk if it ends there.
    fn go_on(&mut self, walk: &mut Vec<Place>) -> Result<(PolicySets, Revocations), Stop> {
        let refusal = match self.is_at_its_end(walk) {
            Ok(false) => return self.climb(walk),
            Ok(true) => match self.judge(walk) {
                Ok(found) => return Ok(found),
                Err(refusal) => refusal,
            },
            Err(reason) => PathFinding {
                at: walk.len().saturating_sub(1),
                reason,
            },
        };
        Err(self.stop(walk, refusal.at, refusal.reason))
    }

    /// Records why a walk failed and returns how the search goes on.
    fn stop(&mut self, walk: &[Place], at: usize, reason: Reason) -> Stop {
        let stop = match reason {
            Reason::BudgetSpent => Stop::Spent,
            _ => Stop::Failed,
        };
        self.fail(walk, at, reason);
        stop
    }

    /// Returns the possible issuers of the walk's last certificate, matched by name, the most promising first.
    fn candidates(&self, top: &Member<'a>, walk: &[Place]) -> Vec<Candidate> {
        let issuers = self.issuers_by_name(top).into_iter();
        let mut candidates: Vec<Candidate> = issuers
            .filter_map(|place| {
                let member = self.member(place)?;
                let is_anchor = matches!(place, Place::Anchor(_));
                (!self.is_on(walk, place, member)).then(|| Candidate {
                    place,
                    problem: self.problem(member, is_anchor, walk),
                })
            })
            .collect();
        candidates.sort_by_key(|candidate| candidate.problem.is_some());
        candidates
    }

    /// Returns the certificates whose subject is the issuer of `below`. Those without a conflicting key identifier come first, and
    /// among these the anchors.
    pub(super) fn issuers_by_name(&self, below: &Member<'a>) -> Vec<Place> {
        let issuer = below.certificate.issuer().canonical();
        let wanted = authority_key_identifier(&below.certificate);
        let pools = [
            (self.anchors, Place::Anchor as fn(usize) -> Place),
            (self.intermediates, Place::Intermediate),
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

    /// Returns whether the walk already contains this name and key, so that it would loop. An anchor is compared only with the
    /// anchors in the walk, so that it may end a walk that contains the same CA as an intermediate.
    pub(super) fn is_on(&self, walk: &[Place], place: Place, member: &Member<'a>) -> bool {
        let is_anchor = |place: &Place| matches!(place, Place::Anchor(_));
        walk.iter()
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
        top: &Member<'a>,
        place: Place,
        issuer: Place,
    ) -> Result<Result<(), X509Error>, Reason> {
        let known = self
            .checked
            .iter()
            .find(|(subject, signer, _)| (*subject, *signer) == (place, issuer));
        if let Some((_, _, result)) = known {
            return Ok(result.clone());
        }
        self.budget.check_signature()?;
        let certificate = &top.certificate;
        let result = match self.member(issuer) {
            Some(signer) => verify(
                self.rules.algorithms,
                &signer.certificate.public_key(),
                &certificate.algorithm(),
                certificate.tbs(),
                certificate.signature(),
            )
            .map(drop),
            None => Err(X509Error::Empty),
        };
        self.checked.push((place, issuer, result.clone()));
        Ok(result)
    }

    fn check_leaf(&self) -> Result<(), Reason> {
        let leaf = &self.leaf.certificate;
        self.check_itself(leaf)?;
        let Some(purpose) = self.rules.purpose else {
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
        if !validity.has_begun(self.rules.now) {
            return Err(Reason::NotYetValid {
                not_before: validity.not_before,
            });
        }
        if validity.has_ended(self.rules.now) {
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
            let is_processed = processes(extension.id)
                || self
                    .rules
                    .processed
                    .iter()
                    .any(|known| extension.id == *known);
            if extension.critical && !is_processed {
                return Err(Reason::CriticalExtensionUnknown { oid: oid() });
            }
        }
        Ok(())
    }

    /// Returns why a certificate cannot be the issuer of the walk's last one. Does not check the signature.
    fn problem(&self, member: &Member<'a>, is_anchor: bool, walk: &[Place]) -> Option<Reason> {
        self.check_issuer(member, is_anchor, walk).err()
    }

    pub(super) fn check_issuer(
        &self,
        member: &Member<'a>,
        is_anchor: bool,
        walk: &[Place],
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
            let found = self.counted_intermediates(walk);
            if found > limit {
                return Err(Reason::PathLength { limit, found });
            }
        }
        if let Some(purpose) = self.rules.purpose
            && !is_anchor
        {
            let purposes = [purpose.id, ANY_EXTENDED_KEY_USAGE];
            if is_for(certificate, &purposes).map_err(malformed)? == Some(false) {
                return Err(Reason::ExtendedKeyUsage);
            }
        }
        Ok(())
    }

    /// Counts the intermediates of a walk that a path length limits: not the leaf, and not self-issued ones.
    fn counted_intermediates(&self, walk: &[Place]) -> u32 {
        let counted = walk
            .iter()
            .skip(1)
            .filter_map(|place| self.member(*place))
            .filter(|member| !member.is_self_issued())
            .count();
        u32::try_from(counted).unwrap_or(u32::MAX)
    }

    /// Validates a walk that has reached an anchor and whose signatures are verified.
    fn judge(&mut self, walk: &[Place]) -> Result<(PolicySets, Revocations), PathFinding> {
        let policies = self.descend(walk)?;
        Ok((policies, self.check_revocation(walk)?))
    }

    /// Applies name constraints and policies from the anchor downwards (section 6.1.3 onwards).
    fn descend(&mut self, walk: &[Place]) -> Result<PolicySets, PathFinding> {
        let (Some((anchor, below)), rules) = (walk.split_last(), self.rules) else {
            return Ok(PolicySets::default());
        };
        let mut state = State::new(rules, below.len());
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
            .sets(rules)
            .map_err(|reason| PathFinding { at: 0, reason })
    }
}

struct Candidate {
    place: Place,
    problem: Option<Reason>,
}
