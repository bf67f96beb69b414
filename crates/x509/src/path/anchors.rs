//! Decides which anchors end a path if the anchors may include certificates that other anchors issued
//! ([`PathOptions::validate_anchors`](super::PathOptions::validate_anchors)).

use alloc::{vec, vec::Vec};

use super::{
    report::{CertificateSource, Reason},
    search::Search,
};

impl Search<'_, '_> {
    /// Returns whether the chain ends at its last certificate.
    pub(super) fn ends_at_anchor(&mut self, chain: &[CertificateSource]) -> Result<bool, Reason> {
        let Some((&place, below)) = chain.split_last() else {
            return Ok(false);
        };
        if !matches!(place, CertificateSource::Anchor(_)) {
            return Ok(false);
        }
        let goes_on = self.options.validate_anchors
            && (self.is_of_another(place, chain)? || self.is_below_another(place)?);
        if !goes_on {
            return Ok(true);
        }
        if let Some(between) = self.member(place) {
            // An intermediate must meet stricter requirements than an anchor.
            self.check_issuer(between, false, below)?;
        }
        Ok(false)
    }

    /// Returns whether an anchor of a CA that is not in the chain issued the certificate at `place`.
    fn is_of_another(
        &mut self,
        place: CertificateSource,
        chain: &[CertificateSource],
    ) -> Result<bool, Reason> {
        for issuer in self.possible_issuers(place)? {
            let member = self.member(issuer);
            let is_another = member.is_some_and(|member| !self.is_on(chain, issuer, member));
            if is_another && self.has_listed(issuer, place)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether the CA at `place` is below another anchor's CA that is not also below it. CAs that only certified each other
    /// count as equals.
    fn is_below_another(&mut self, place: CertificateSource) -> Result<bool, Reason> {
        let own = self.ca_of(place);
        let mut above = Vec::new();
        if self.is_below_one_that_nobody_has_issued(own, &mut above)? {
            return Ok(true);
        }
        // Find the CAs in `above` that are also below this one.
        let mut equals = vec![own];
        while let Some((ca, _)) = above.iter().find(|(ca, issuers)| {
            !equals.contains(ca) && issuers.iter().any(|issuer| equals.contains(issuer))
        }) {
            equals.push(*ca);
        }
        Ok(equals.len() < above.len())
    }

    /// Searches depth-first from `ca` for the CAs that issued its certificates, and returns whether it found one that no other
    /// anchor issued. Records each CA visited in `above`, with its issuers.
    fn is_below_one_that_nobody_has_issued(
        &mut self,
        ca: CertificateSource,
        above: &mut Vec<(CertificateSource, Vec<CertificateSource>)>,
    ) -> Result<bool, Reason> {
        let is_above = !above.is_empty();
        let certificates = self.anchors_of(ca);
        let mut issuers = Vec::new();
        above.push((ca, Vec::new()));
        for certificate in &certificates {
            for issuer in self.possible_issuers(*certificate)? {
                if !self.has_listed(issuer, *certificate)? {
                    continue;
                }
                // A CA with a self-signed certificate is a root, even if others cross-certified it.
                for certificate in &certificates {
                    if self.is_in_force(*certificate) && self.is_root(*certificate)? {
                        return Ok(is_above);
                    }
                }
                let issuer = self.ca_of(issuer);
                issuers.push(issuer);
                if let Some((_, known)) = above.iter_mut().find(|(known, _)| *known == ca) {
                    known.push(issuer);
                }
                let is_new = !above.iter().any(|(known, _)| *known == issuer);
                if is_new && self.is_below_one_that_nobody_has_issued(issuer, above)? {
                    return Ok(true);
                }
            }
        }
        Ok(is_above && issuers.is_empty())
    }

    /// Returns whether `issuer` is a currently valid anchor that issued `certificate`. An expired anchor ends no path, so the
    /// anchors that it issued still end paths themselves.
    fn has_listed(
        &mut self,
        issuer: CertificateSource,
        certificate: CertificateSource,
    ) -> Result<bool, Reason> {
        let is_listed = matches!(issuer, CertificateSource::Anchor(_)) && self.is_in_force(issuer);
        Ok(is_listed && self.has_issued(issuer, certificate)?)
    }

    fn is_in_force(&self, place: CertificateSource) -> bool {
        self.member(place).is_some_and(|member| {
            let (validity, now) = (member.certificate.validity(), self.options.now);
            validity.has_begun(now) && !validity.has_ended(now)
        })
    }

    /// Returns the anchors with the same name and key as the one at `place`.
    fn anchors_of(&self, place: CertificateSource) -> Vec<CertificateSource> {
        let members = self.anchors.members.iter();
        let same = members
            .filter(|member| self.is_on(&[place], CertificateSource::Anchor(member.index), member));
        same.map(|member| CertificateSource::Anchor(member.index))
            .collect()
    }

    /// Returns the first anchor of a CA, which represents the CA.
    fn ca_of(&self, place: CertificateSource) -> CertificateSource {
        self.anchors_of(place).first().copied().unwrap_or(place)
    }

    /// Returns whether a certificate is self-signed.
    fn is_root(&mut self, place: CertificateSource) -> Result<bool, Reason> {
        let is_self_issued = self
            .member(place)
            .is_some_and(|member| member.is_self_issued());
        Ok(is_self_issued && self.has_issued(place, place)?)
    }

    /// Looks up an anchor in the CRL of each known issuer. The issuer itself need not be valid or trusted, because its key signed
    /// the anchor.
    pub(super) fn check_anchor_status(
        &mut self,
        place: CertificateSource,
    ) -> Result<Vec<Option<Reason>>, Reason> {
        let mut told = Vec::new();
        if !self.options.validate_anchors || !self.has_crl_for(place)? {
            return Ok(told);
        }
        for issuer in self.possible_issuers(place)? {
            if self.has_issued(issuer, place)? {
                told.push(self.check_status(place, issuer)?);
            }
        }
        Ok(told)
    }

    /// Returns the certificates with other keys that may have issued the anchor, matched by name. A root has none.
    fn possible_issuers(
        &mut self,
        place: CertificateSource,
    ) -> Result<Vec<CertificateSource>, Reason> {
        let Some(anchor) = self.member(place) else {
            return Ok(Vec::new());
        };
        let mut issuers = self.issuers_by_name(anchor);
        issuers.retain(|issuer| {
            let member = self.member(*issuer);
            member.is_some_and(|member| !self.is_on(&[place], *issuer, member))
        });
        // A CA may also certify its own name under another key, which does not make it a root.
        if !issuers.is_empty() && self.is_root(place)? {
            issuers.clear();
        }
        Ok(issuers)
    }

    fn has_issued(
        &mut self,
        issuer: CertificateSource,
        place: CertificateSource,
    ) -> Result<bool, Reason> {
        Ok(self.is_signed_by(place, issuer)?.is_ok())
    }
}
