//! Which of the CAs that are listed as roots end chains. Makers' intermediates are often listed beside their roots: below those
//! they only stand between, so that their issuers' constraints and revocation lists count for them.

use keyproof_store::Timestamp;
use keyproof_x509::{Certificate, Error, algorithms, verify};

use super::bundle::Related;

impl<'a> Related<'a> {
    /// Those of these CAs that end no chain: another of them has issued them, or is above that; or they are on the revocation
    /// list of their issuer, wherever that is known from.
    pub(in super::super) fn subordinate(
        &self,
        listed: &[&'a [u8]],
        now: Timestamp,
    ) -> Vec<&'a [u8]> {
        let read = listed
            .iter()
            .filter_map(|&der| Certificate::from_der(der).ok());
        let (mut tops, mut rest): (Vec<_>, Vec<_>) = read.partition(is_self_signed);
        let may_issue = |issuer: &Certificate<'_>, certificate: &Certificate<'_>| {
            let validity = issuer.validity();
            let is_valid = validity.has_begun(now.as_secs()) && !validity.has_ended(now.as_secs());
            // One that has ended ends no chain, and what it has issued stays listed for itself.
            is_valid && has_issued(issuer, certificate)
        };
        let mut between: Vec<Certificate<'a>> = Vec::new();
        loop {
            let is_below = |certificate: &Certificate<'_>| {
                let mut above = tops.iter().chain(&between);
                above.any(|issuer| may_issue(issuer, certificate))
            };
            if let Some(at) = rest.iter().position(is_below) {
                between.push(rest.swap_remove(at));
                continue;
            }
            let is_highest = |certificate: &Certificate<'_>| {
                !rest.iter().any(|issuer| may_issue(issuer, certificate))
            };
            // CAs that have certified each other, and nobody else: one of them is as good as another.
            let at = rest.iter().position(is_highest).unwrap_or(0);
            if rest.is_empty() {
                break;
            }
            let top = rest.swap_remove(at);
            match self.is_revoked(&top, listed) {
                true => {
                    let (subject, serial) = (top.subject(), top.serial());
                    tracing::warn!(%subject, %serial, "a CA that is listed as a root is revoked by its issuer");
                    between.push(top);
                }
                false => tops.push(top),
            }
        }
        between.iter().map(Certificate::as_der).collect()
    }

    /// Whether a list that its issuer has signed has its serial number.
    fn is_revoked(&self, certificate: &Certificate<'_>, listed: &[&'a [u8]]) -> bool {
        let lists = self.lists.iter().filter(|list| {
            list.issuer().compare(&certificate.issuer()).is_match()
                && list.find(certificate.serial()).is_some()
        });
        let mut lists = lists.peekable();
        if lists.peek().is_none() {
            return false;
        }
        let known = self.intermediates.iter().chain(listed);
        let issuers: Vec<_> = known
            .filter_map(|der| Certificate::from_der(der).ok())
            .filter(|issuer| has_issued(issuer, certificate))
            .collect();
        lists.any(|list| {
            let mut issuers = issuers.iter();
            issuers.any(|issuer| list.verify(algorithms::ALL, &issuer.public_key()).is_ok())
        })
    }
}

/// A CA may certify its own name under another key, which makes no root.
pub(super) fn is_self_signed(certificate: &Certificate<'_>) -> bool {
    has_issued(certificate, certificate)
}

fn has_issued(issuer: &Certificate<'_>, certificate: &Certificate<'_>) -> bool {
    let verified = || -> Result<_, Error> {
        verify(
            algorithms::ALL,
            &issuer.public_key(),
            &certificate.algorithm(),
            certificate.tbs(),
            certificate.signature(),
        )
    };
    issuer.subject().compare(&certificate.issuer()).is_match() && verified().is_ok()
}
