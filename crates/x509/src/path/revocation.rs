//! Revocation (RFC 5280 section 6.3): the lists that were given, asked of each certificate of a path.

use alloc::vec::Vec;

use super::extensions::subject_key_identifier;
use super::report::{PathFinding, Place, Reason};
use super::search::Search;
use crate::Error;
use crate::certificate::Certificate;
use crate::crl::Crl;

/// What the lists say of a path that none of them refuses.
#[derive(Default)]
pub(super) struct Revocations {
    /// Warnings, and which certificates no list is about.
    pub(super) findings: Vec<PathFinding>,
    /// Whether any list is about any of its certificates.
    pub(super) is_asked: bool,
}

impl<'s, 'a> Search<'s, 'a> {
    /// Asks of each certificate below the anchor whether its issuer has revoked it.
    pub(super) fn check_revocation(&mut self, walk: &[Place]) -> Result<Revocations, PathFinding> {
        let mut revocations = Revocations::default();
        if self.rules.crls.is_empty() {
            return Ok(revocations);
        }
        for (at, pair) in walk.windows(2).enumerate() {
            let [place, issuer] = *pair else { continue };
            let found = |reason| PathFinding { at, reason };
            match self.ask(place, issuer).map_err(found)? {
                None => revocations.findings.push(found(Reason::CrlMissing)),
                Some(warning) => {
                    revocations.is_asked = true;
                    revocations.findings.extend(warning.map(found));
                }
            }
        }
        Ok(revocations)
    }

    /// `None` if no list is about this certificate; else what there is to warn of.
    fn ask(&mut self, place: Place, issuer: Place) -> Result<Option<Option<Reason>>, Reason> {
        let (Some(member), Some(signer)) =
            (self.member(place).cloned(), self.member(issuer).cloned())
        else {
            return Ok(None);
        };
        let (certificate, signer) = (&member.certificate, &signer.certificate);
        let Some(crl) = self.newest_crl(certificate, signer, issuer)? else {
            return Ok(None);
        };
        if let Some(revocation) = crl.find(certificate.serial()) {
            return Err(Reason::Revoked {
                since: revocation.since,
                reason: revocation.reason,
            });
        }
        let now = i64::try_from(self.rules.now).unwrap_or(i64::MAX);
        Ok(Some(match crl.next_update() {
            _ if crl.this_update() > now => Some(Reason::CrlNotYetValid {
                this_update: crl.this_update(),
            }),
            Some(next_update) if next_update < now => Some(Reason::CrlStale { next_update }),
            Some(_) => None,
            None => Some(Reason::CrlWithoutEnd),
        }))
    }

    /// The newest list about a certificate that its issuer's key has signed.
    fn newest_crl(
        &mut self,
        certificate: &Certificate<'a>,
        signer: &Certificate<'a>,
        issuer: Place,
    ) -> Result<Option<&'s Crl<'s>>, Reason> {
        let crls = self.rules.crls;
        self.budget.compare(crls.len())?;
        let name = certificate.issuer().canonical();
        let key = subject_key_identifier(signer);
        let mut candidates: Vec<(usize, &'s Crl<'s>)> = crls
            .iter()
            .enumerate()
            .filter(|(_, crl)| crl.is_by(&name) && crl.covers(certificate))
            .filter(|(_, crl)| {
                // Of another key of that name.
                !matches!(
                    (crl.authority_key_identifier(), key),
                    (Some(authority), Some(key)) if authority != key
                )
            })
            .collect();
        if candidates.is_empty() {
            return Ok(None);
        }
        if !signer.may_sign_crls().map_err(Reason::ExtensionMalformed)? {
            return Err(Reason::CrlSignMissing);
        }
        candidates.sort_by_key(|(_, crl)| (crl.this_update(), crl.number()));
        let mut refused = None;
        for (index, crl) in candidates.into_iter().rev() {
            match self.is_crl_signed_by(index, signer, issuer)? {
                Ok(()) => return Ok(Some(crl)),
                Err(error) => {
                    refused.get_or_insert(error);
                }
            }
        }
        // Fail closed: a list of this name was given, and none counts.
        refused.map_or(Ok(None), |error| Err(Reason::CrlSignatureRefused(error)))
    }

    /// The outer error is the budget's.
    fn is_crl_signed_by(
        &mut self,
        index: usize,
        signer: &Certificate<'a>,
        issuer: Place,
    ) -> Result<Result<(), Error>, Reason> {
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
            None => Err(Error::Empty),
        };
        self.checked_crls.push((index, issuer, result.clone()));
        Ok(result)
    }
}
