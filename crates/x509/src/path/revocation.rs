//! Revocation (RFC 5280 section 6.3): looks up each certificate of a path in the given CRLs.

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::{
    extensions::subject_key_identifier,
    report::{CertificateSource, PathFinding, Reason},
    search::Search,
};
use crate::{
    X509Error,
    certificate::Certificate,
    crl::{Coverage, Crl},
    time::signed,
};

/// The revocation findings of a path that no CRL rejects.
#[derive(Default)]
pub(super) struct Revocations {
    /// Warnings, including certificates for which no CRL was given.
    pub(super) findings: Vec<PathFinding>,
    /// Whether any CRL matches the name of an issuer.
    pub(super) is_asked: bool,
}

impl Revocations {
    /// Adds the result for one certificate.
    pub(super) fn add(&mut self, told: Option<PathFinding>) {
        let is_missing = |finding: &PathFinding| finding.reason == Reason::CrlMissing;
        self.is_asked |= !told.as_ref().is_some_and(is_missing);
        // An anchor may have several known issuers.
        let new = told.filter(|finding| !self.findings.contains(finding));
        self.findings.extend(new);
    }
}

impl<'s, 'a> Search<'s, 'a> {
    /// Checks whether each certificate below the anchor is revoked by its issuer. Checks the anchor too with `validate_anchors`.
    pub(super) fn check_revocation(
        &mut self,
        chain: &[CertificateSource],
    ) -> Result<Revocations, PathFinding> {
        let mut revocations = Revocations::default();
        if self.options.crls.is_empty() && !self.options.require_crls {
            return Ok(revocations);
        }
        for (at, pair) in chain.windows(2).enumerate() {
            let [place, issuer] = *pair else { continue };
            let found = |reason| PathFinding { at, reason };
            let told = self.check_status(place, issuer).map_err(found)?;
            revocations.add(self.refuse_if_required(told.map(found))?);
        }
        if let Some((&anchor, below)) = chain.split_last() {
            let at = below.len();
            let found = |reason| PathFinding { at, reason };
            for told in self.check_anchor_status(anchor).map_err(found)? {
                revocations.add(self.refuse_if_required(told.map(found))?);
            }
        }
        Ok(revocations)
    }

    /// Turns a warning into a rejection if CRLs are required.
    fn refuse_if_required(
        &self,
        told: Option<PathFinding>,
    ) -> Result<Option<PathFinding>, PathFinding> {
        match told {
            Some(finding) if self.options.require_crls => Err(finding),
            told => Ok(told),
        }
    }

    /// Returns whether a CRL with the name of the certificate's issuer may cover it.
    pub(super) fn has_crl_for(&mut self, place: CertificateSource) -> Result<bool, Reason> {
        let crls = self.options.crls;
        self.budget.compare(crls.len())?;
        Ok(self.member(place).is_some_and(|member| {
            let certificate = &member.certificate;
            let name = certificate.issuer().canonical();
            let mut crls = crls.iter();
            crls.any(|crl| crl.is_by(&name) && crl.coverage(certificate) != Coverage::None)
        }))
    }

    /// Looks up a certificate in its issuer's CRLs. Fails if it is rejected, and returns a warning or nothing otherwise.
    pub(super) fn check_status(
        &mut self,
        place: CertificateSource,
        issuer: CertificateSource,
    ) -> Result<Option<Reason>, Reason> {
        let (Some(member), Some(signer)) =
            (self.member(place).cloned(), self.member(issuer).cloned())
        else {
            return Ok(Some(Reason::CrlMissing));
        };
        let (certificate, signer) = (&member.certificate, &signer.certificate);
        let lists = self.crls_for(certificate, signer)?;
        if lists.is_empty() {
            return Ok(Some(Reason::CrlMissing));
        }
        if !signer.may_sign_crls().map_err(Reason::ExtensionMalformed)? {
            let is_own = lists.iter().any(|list| !list.names_another_key)
                || self.first_signed(&lists, issuer)?.is_ok();
            return if is_own {
                Err(Reason::CrlSignMissing)
            } else {
                Ok(Some(Reason::CrlIssuerKeyMismatch))
            };
        }
        for list in &lists {
            if let Some(revocation) = list.crl.find(certificate.serial())
                && !self.is_superseded(list, &lists, issuer)?
                && self.is_crl_signed_by(list.index, issuer)?.is_ok()
            {
                let ahead = list.time == Time::Ahead;
                return Err(Reason::Revoked {
                    since: revocation.since,
                    reason: revocation.reason,
                    ahead: ahead.then(|| list.crl.this_update()),
                });
            }
        }
        match self.first_signed(&lists, issuer)? {
            Ok(list) => Ok(match list.crl.next_update() {
                _ if list.time == Time::Ahead => Some(Reason::CrlNotYetValid {
                    this_update: list.crl.this_update(),
                }),
                _ if list.is_doubtful => Some(Reason::CrlScopeUnclear),
                _ if list.time == Time::Current => None,
                Some(next_update) => Some(Reason::CrlExpired { next_update }),
                None => Some(Reason::CrlNextUpdateMissing),
            }),
            // Fail closed: a given CRL claims to be by the issuer's key, but none can be verified.
            Err(Some(error)) => Err(Reason::CrlSignatureRefused(error)),
            Err(None) => Ok(Some(Reason::CrlIssuerKeyMismatch)),
        }
    }

    /// Returns the CRLs with the issuer's name that may cover the certificate, the most conclusive first.
    fn crls_for(
        &mut self,
        certificate: &Certificate<'a>,
        signer: &Certificate<'a>,
    ) -> Result<Vec<Listed<'s>>, Reason> {
        let crls = self.options.crls;
        self.budget.compare(crls.len())?;
        let now = signed(self.options.now);
        let name = certificate.issuer().canonical();
        let key = subject_key_identifier(signer);
        let of_issuer = crls
            .iter()
            .enumerate()
            .filter(|(_, crl)| crl.is_by(&name))
            .map(|(index, crl)| (index, crl, crl.coverage(certificate)));
        let mut lists: Vec<Listed<'s>> = of_issuer
            .filter(|(.., coverage)| *coverage != Coverage::None)
            .map(|(index, crl, coverage)| Listed {
                index,
                crl,
                is_doubtful: coverage != Coverage::Whole,
                time: Time::of(crl, now),
                names_another_key: matches!(
                    (crl.authority_key_identifier(), key),
                    (Some(authority), Some(key)) if authority != key
                ),
            })
            .collect();
        lists.sort_by_key(|list| {
            let age = (list.crl.this_update(), list.crl.number());
            (
                list.is_doubtful,
                list.time,
                Reverse(age),
                list.names_another_key,
            )
        });
        Ok(lists)
    }

    /// Returns the first CRL that the issuer's key signed. If there is none, returns the error of the first CRL that claims to be
    /// by that key.
    fn first_signed(
        &mut self,
        lists: &[Listed<'s>],
        issuer: CertificateSource,
    ) -> Result<Result<Listed<'s>, Option<X509Error>>, Reason> {
        let mut refused = None;
        for list in lists {
            match self.is_crl_signed_by(list.index, issuer)? {
                Ok(()) => return Ok(Ok(*list)),
                Err(error) if !list.names_another_key => {
                    refused.get_or_insert(error);
                }
                Err(_) => {}
            }
        }
        Ok(Err(refused))
    }

    /// Returns whether another CRL of the issuer's key supersedes this one.
    fn is_superseded(
        &mut self,
        list: &Listed<'s>,
        lists: &[Listed<'s>],
        issuer: CertificateSource,
    ) -> Result<bool, Reason> {
        self.budget.compare(lists.len())?;
        for other in lists {
            if other.supersedes(list) && self.is_crl_signed_by(other.index, issuer)?.is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Verifies a CRL's signature, or returns the cached result. The outer error is the budget's.
    fn is_crl_signed_by(
        &mut self,
        index: usize,
        issuer: CertificateSource,
    ) -> Result<Result<(), X509Error>, Reason> {
        let known = self
            .checked_crls
            .iter()
            .find(|(crl, place, _)| (*crl, *place) == (index, issuer));
        if let Some((_, _, result)) = known {
            return Ok(result.clone());
        }
        self.budget.check_signature()?;
        let result = match (self.options.crls.get(index), self.member(issuer)) {
            (Some(crl), Some(signer)) => crl
                .verify(self.options.algorithms, &signer.certificate.public_key())
                .map(drop),
            _ => Err(X509Error::Empty),
        };
        self.checked_crls.push((index, issuer, result.clone()));
        Ok(result)
    }
}

/// A CRL that may cover a certificate.
#[derive(Clone, Copy)]
struct Listed<'s> {
    /// Its index in [`PathOptions::crls`](super::PathOptions::crls).
    index: usize,
    crl: &'s Crl<'s>,
    /// Whether it may cover only other certificates, or only some reasons.
    is_doubtful: bool,
    time: Time,
    /// Whether its key identifier differs from the issuer's. It may still be the issuer's, because a CA that is certified again
    /// under the same key may get another identifier.
    names_another_key: bool,
}

impl Listed<'_> {
    /// Returns whether this CRL supersedes `other`, which is by the same key: it must be newer, and current unless `other` is not.
    /// A CRL that is not yet valid or has an unclear scope can revoke a certificate, but cannot clear one.
    fn supersedes(&self, other: &Self) -> bool {
        let may_free = self.time != Time::Ahead && !self.is_doubtful;
        may_free && self.time <= other.time && self.crl.is_newer_than(other.crl)
    }
}

/// The validity of a CRL at the current time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Time {
    Current,
    /// Expired, or without a `nextUpdate`.
    Over,
    Ahead,
}

impl Time {
    fn of(crl: &Crl<'_>, now: i64) -> Self {
        if crl.this_update() > now {
            Self::Ahead
        } else if crl.next_update().is_some_and(|next| next >= now) {
            Self::Current
        } else {
            Self::Over
        }
    }
}
