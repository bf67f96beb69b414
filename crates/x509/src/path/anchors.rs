//! Which anchors end paths, where they may be listed together with what they have issued
//! ([`Rules::judging_anchors`](super::Rules::judging_anchors)).

use alloc::vec;
use alloc::vec::Vec;

use super::report::{Place, Reason};
use super::search::Search;

impl Search<'_, '_> {
    /// Whether a walk ends at the issuer that it has come to, or goes on from there.
    pub(super) fn is_at_its_end(&mut self, walk: &[Place]) -> Result<bool, Reason> {
        let Some((&place, below)) = walk.split_last() else {
            return Ok(false);
        };
        if !matches!(place, Place::Anchor(_)) {
            return Ok(false);
        }
        if !self.rules.judge_anchors || !self.is_below_another(place)? {
            return Ok(true);
        }
        if let Some(between) = self.member(place) {
            // Of what stands between more is asked than of an anchor.
            self.check_issuer(between, false, below)?;
        }
        Ok(false)
    }

    /// Whether an anchor of another CA stands above this one, and not below it as well: CAs that have certified each other, and
    /// that nobody else has, are as good as one another.
    fn is_below_another(&mut self, place: Place) -> Result<bool, Reason> {
        let own = self.ca_of(place);
        let issuers = self.listed_issuers(own)?;
        if issuers.is_empty() || self.is_root(place)? {
            return Ok(false);
        }
        let mut above = vec![(own, issuers)];
        let mut looked_at = 0;
        while let Some((_, issuers)) = above.get(looked_at).cloned() {
            looked_at += 1;
            for issuer in issuers {
                if above.iter().any(|(known, _)| *known == issuer) {
                    continue;
                }
                let its_own = self.listed_issuers(issuer)?;
                if its_own.is_empty() {
                    return Ok(true);
                }
                above.push((issuer, its_own));
            }
        }
        // Those of them that stand below this one, too.
        let mut equals = vec![own];
        while let Some((ca, _)) = above.iter().find(|(ca, issuers)| {
            !equals.contains(ca) && issuers.iter().any(|issuer| equals.contains(issuer))
        }) {
            equals.push(*ca);
        }
        Ok(equals.len() < above.len())
    }

    /// The CAs among the anchors that have issued a certificate of this one.
    fn listed_issuers(&mut self, ca: Place) -> Result<Vec<Place>, Reason> {
        let mut issuers = Vec::new();
        for certificate in self.anchors_of(ca) {
            for issuer in self.possible_issuers(certificate)? {
                let (Place::Anchor(_), Some(member)) = (issuer, self.member(issuer)) else {
                    continue;
                };
                // One that has ended ends no path, and what it has issued stays listed for itself.
                let (validity, now) = (member.certificate.validity(), self.rules.now);
                let is_valid = validity.has_begun(now) && !validity.has_ended(now);
                if is_valid && self.has_issued(issuer, certificate)? {
                    let issuer = self.ca_of(issuer);
                    if !issuers.contains(&issuer) {
                        issuers.push(issuer);
                    }
                }
            }
        }
        Ok(issuers)
    }

    /// The anchors of the CA whose certificate this is: of one name and key.
    fn anchors_of(&self, place: Place) -> Vec<Place> {
        let members = self.anchors.members.iter();
        let same =
            members.filter(|member| self.is_on(&[place], Place::Anchor(member.index), member));
        same.map(|member| Place::Anchor(member.index)).collect()
    }

    /// The first of them, which stands for the CA.
    fn ca_of(&self, place: Place) -> Place {
        self.anchors_of(place).first().copied().unwrap_or(place)
    }

    /// Whether a certificate is signed by its own key.
    fn is_root(&mut self, place: Place) -> Result<bool, Reason> {
        let is_self_issued = self
            .member(place)
            .is_some_and(|member| member.is_self_issued());
        Ok(is_self_issued && self.has_issued(place, place)?)
    }

    /// What each issuer that is known tells of an anchor by its revocation list. Whether that is valid, and trusted, makes no
    /// difference: the anchor's signature is under its key.
    pub(super) fn ask_of_anchor(&mut self, place: Place) -> Result<Vec<Option<Reason>>, Reason> {
        let mut told = Vec::new();
        if !self.rules.judge_anchors || !self.has_list_about(place)? {
            return Ok(told);
        }
        for issuer in self.possible_issuers(place)? {
            if self.has_issued(issuer, place)? {
                told.push(self.ask(place, issuer)?);
            }
        }
        Ok(told)
    }

    /// The certificates of other keys that may have issued an anchor, by name. A root has signed itself: nobody has issued it.
    fn possible_issuers(&mut self, place: Place) -> Result<Vec<Place>, Reason> {
        let Some(anchor) = self.member(place) else {
            return Ok(Vec::new());
        };
        let mut issuers = self.issuers_by_name(anchor);
        issuers.retain(|issuer| {
            let member = self.member(*issuer);
            member.is_some_and(|member| !self.is_on(&[place], *issuer, member))
        });
        // A CA may certify its own name under another key, which makes no root.
        if !issuers.is_empty() && self.is_root(place)? {
            issuers.clear();
        }
        Ok(issuers)
    }

    fn has_issued(&mut self, issuer: Place, place: Place) -> Result<bool, Reason> {
        let Some(member) = self.member(place).cloned() else {
            return Ok(false);
        };
        Ok(self.is_signed_by(&member, place, issuer)?.is_ok())
    }
}
