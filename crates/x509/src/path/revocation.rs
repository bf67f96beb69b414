//! Revocation (RFC 5280 section 6.3): the lists that were given, asked of each certificate of a path.

use alloc::vec::Vec;

use super::{
    extensions::subject_key_identifier,
    report::{PathFinding, Place, Reason},
    search::Search,
};
use crate::{
    X509Error,
    certificate::Certificate,
    crl::{Crl, CrlNumber},
};

/// What the lists say of a path that none of them refuses.
#[derive(Default)]
pub(super) struct Revocations {
    /// Warnings, and of which certificates no list tells.
    pub(super) findings: Vec<PathFinding>,
    /// Whether any list is of the name of an issuer.
    pub(super) is_asked: bool,
}

impl Revocations {
    /// Adds what there is to tell of one certificate.
    pub(super) fn add(&mut self, told: Option<PathFinding>) {
        let is_missing = |finding: &PathFinding| finding.reason == Reason::CrlMissing;
        self.is_asked |= !told.as_ref().is_some_and(is_missing);
        // An anchor may have several issuers that are known.
        let new = told.filter(|finding| !self.findings.contains(finding));
        self.findings.extend(new);
    }
}

impl<'s, 'a> Search<'s, 'a> {
    /// Asks of each certificate below the anchor whether its issuer has revoked it, and of the anchor if anchors are judged.
    pub(super) fn check_revocation(&mut self, walk: &[Place]) -> Result<Revocations, PathFinding> {
        let mut revocations = Revocations::default();
        if self.rules.crls.is_empty() && !self.rules.require_crls {
            return Ok(revocations);
        }
        for (at, pair) in walk.windows(2).enumerate() {
            let [place, issuer] = *pair else { continue };
            let found = |reason| PathFinding { at, reason };
            let told = self.ask(place, issuer).map_err(found)?;
            revocations.add(self.refuse_if_required(told.map(found))?);
        }
        if let Some((&anchor, below)) = walk.split_last() {
            let at = below.len();
            let found = |reason| PathFinding { at, reason };
            for told in self.ask_of_anchor(anchor).map_err(found)? {
                revocations.add(self.refuse_if_required(told.map(found))?);
            }
        }
        Ok(revocations)
    }

    /// Where lists are required, whatever keeps a certificate from being known as free refuses it.
    fn refuse_if_required(
        &self,
        told: Option<PathFinding>,
    ) -> Result<Option<PathFinding>, PathFinding> {
        match told {
            Some(finding) if self.rules.require_crls => Err(finding),
            told => Ok(told),
        }
    }

    /// Whether a list of the name of a certificate's issuer tells of it.
    pub(super) fn has_list_about(&mut self, place: Place) -> Result<bool, Reason> {
        let crls = self.rules.crls;
        self.budget.compare(crls.len())?;
        Ok(self.member(place).is_some_and(|member| {
            let certificate = &member.certificate;
            let name = certificate.issuer().canonical();
            let mut crls = crls.iter();
            crls.any(|crl| crl.is_by(&name) && crl.covers(certificate))
        }))
    }

    /// What there is to tell of a certificate that no list refuses.
    pub(super) fn ask(&mut self, place: Place, issuer: Place) -> Result<Option<Reason>, Reason> {
        let (Some(member), Some(signer)) =
            (self.member(place).cloned(), self.member(issuer).cloned())
        else {
            return Ok(Some(Reason::CrlMissing));
        };
        let (certificate, signer) = (&member.certificate, &signer.certificate);
        let crl = match self.newest_crl(certificate, signer, issuer)? {
            Ok(crl) => crl,
            Err(none) => return Ok(Some(none)),
        };
        if let Some(revocation) = crl.find(certificate.serial()) {
            return Err(Reason::Revoked {
                since: revocation.since,
                reason: revocation.reason,
            });
        }
        let now = i64::try_from(self.rules.now).unwrap_or(i64::MAX);
        Ok(match crl.next_update() {
            _ if crl.this_update() > now => Some(Reason::CrlNotYetValid {
                this_update: crl.this_update(),
            }),
            Some(next_update) if next_update < now => Some(Reason::CrlStale { next_update }),
            Some(_) => None,
            None => Some(Reason::CrlWithoutEnd),
        })
    }

    /// The newest list about a certificate that its issuer's key has signed, or why none is.
    fn newest_crl(
        &mut self,
        certificate: &Certificate<'a>,
        signer: &Certificate<'a>,
        issuer: Place,
    ) -> Result<Result<&'s Crl<'s>, Reason>, Reason> {
        let crls = self.rules.crls;
        self.budget.compare(crls.len())?;
        let name = certificate.issuer().canonical();
        let key = subject_key_identifier(signer);
        // Key identifiers rule nothing out: a CA that is certified again under the same key may say another.
        let is_said_to_be_of_another = |crl: &Crl<'_>| {
            matches!(
                (crl.authority_key_identifier(), key),
                (Some(authority), Some(key)) if authority != key
            )
        };
        let (mut others, own): (Vec<_>, Vec<_>) = crls
            .iter()
            .enumerate()
            .filter(|(_, crl)| crl.is_by(&name) && crl.covers(certificate))
            .partition(|(_, crl)| is_said_to_be_of_another(crl));
        if own.is_empty() && others.is_empty() {
            return Ok(Err(Reason::CrlMissing));
        }
        let may_sign = signer.may_sign_crls().map_err(Reason::ExtensionMalformed)?;
        if !own.is_empty() && !may_sign {
            return Err(Reason::CrlSignMissing);
        }
        let (found, refused) = self.newest_signed(own, signer, issuer)?;
        // What is no newer would not count.
        others.retain(|(_, crl)| found.is_none_or(|found| age(crl) > age(found)));
        let (newer, _) = self.newest_signed(others, signer, issuer)?;
        match (newer.or(found), refused) {
            (Some(crl), _) if may_sign => Ok(Ok(crl)),
            (Some(_), _) => Err(Reason::CrlSignMissing),
            // Fail closed: a list of this name was given that claims to be of the issuer's key, and none counts.
            (None, Some(error)) => Err(Reason::CrlSignatureRefused(error)),
            (None, None) => Ok(Err(Reason::CrlOfAnotherKey)),
        }
    }

    /// The newest of some lists that a key has signed, if any, and why the newest of those that are newer is refused.
    fn newest_signed(
        &mut self,
        mut lists: Vec<(usize, &'s Crl<'s>)>,
        signer: &Certificate<'a>,
        issuer: Place,
    ) -> Result<(Option<&'s Crl<'s>>, Option<X509Error>), Reason> {
        lists.sort_by_key(|&(_, crl)| age(crl));
        let mut refused = None;
        for (index, crl) in lists.into_iter().rev() {
            match self.is_crl_signed_by(index, signer, issuer)? {
                Ok(()) => return Ok((Some(crl), refused)),
                Err(error) => {
                    refused.get_or_insert(error);
                }
            }
        }
        Ok((None, refused))
    }

    /// The outer error is the budget's.
    fn is_crl_signed_by(
        &mut self,
        index: usize,
        signer: &Certificate<'a>,
        issuer: Place,
    ) -> Result<Result<(), X509Error>, Reason> {
        let known = self
            .checked_crls
            .iter()
            .find(|(crl, place, _)| (*crl, *place) == (index, issuer));
        if let Some((_, _, result)) = known {
            return Ok(result.clone());
        }
        self.budget.check_signature()?;
        let result = match self.rules.crls.get(index) {
            Some(crl) => crl
                .verify(self.rules.algorithms, &signer.public_key())
                .map(drop),
            None => Err(X509Error::Empty),
        };
        self.checked_crls.push((index, issuer, result.clone()));
        Ok(result)
    }
}

/// By what the newest of several lists is told.
fn age<'c>(crl: &'c Crl<'_>) -> (i64, Option<&'c CrlNumber>) {
    (crl.this_update(), crl.number())
}
