//! Which anchors end paths, where they may be listed together with what they have issued
//! ([`Rules::judge_anchors`](super::Rules::judge_anchors)).

use alloc::{vec, vec::Vec};

use super::{
    report::{Place, Reason},
    search::Search,
};

impl Search<'_, '_> {
    /// Whether a walk ends at the issuer that it has come to, or goes on from there.
    pub(super) fn is_at_its_end(&mut self, walk: &[Place]) -> Result<bool, Reason> {
        let Some((&place, below)) = walk.split_last() else {
            return Ok(false);
        };
        if !matches!(place, Place::Anchor(_)) {
            return Ok(false);
        }
        let goes_on = self.rules.judge_anchors
            && (self.is_of_another(place, walk)? || self.is_below_another(place)?);
        if !goes_on {
            return Ok(true);
        }
        if let Some(between) = self.member(place) {
            // Of what stands between more is asked than of an anchor.
            self.check_issuer(between, false, below)?;
        }
        Ok(false)
    }

    /// Whether an anchor of a CA that the walk has not come to has issued the last one of it.
    fn is_of_another(&mut self, place: Place, walk: &[Place]) -> Result<bool, Reason> {
        for issuer in self.possible_issuers(place)? {
            let member = self.member(issuer);
            let is_another = member.is_some_and(|member| !self.is_on(walk, issuer, member));
            if is_another && self.has_listed(issuer, place)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an anchor of another CA stands above this one, and not below it as well: CAs that have certified each other, and
    /// that nobody else has, are as good as one another.
    fn is_below_another(&mut self, place: Place) -> Result<bool, Reason> {
        let own = self.ca_of(place);
        let mut above = Vec::new();
        if self.is_below_one_that_nobody_has_issued(own, &mut above)? {
            return Ok(true);
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

    /// Climbs from this CA to those that have issued a certificate of it, and on from each, up to the first that nobody has
    /// issued. Each that was come to, and who has issued it, is written down.
    fn is_below_one_that_nobody_has_issued(
        &mut self,
        ca: Place,
        above: &mut Vec<(Place, Vec<Place>)>,
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
                // A root is one, whoever else has certified it.
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

    /// Whether an anchor has issued another. One that has ended ends no path, and what it has issued stays listed for itself.
    fn has_listed(&mut self, issuer: Place, certificate: Place) -> Result<bool, Reason> {
        let is_listed = matches!(issuer, Place::Anchor(_)) && self.is_in_force(issuer);
        Ok(is_listed && self.has_issued(issuer, certificate)?)
    }

    fn is_in_force(&self, place: Place) -> bool {
        self.member(place).is_some_and(|member| {
            let (validity, now) = (member.certificate.validity(), self.rules.now);
            validity.has_begun(now) && !validity.has_ended(now)
        })
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
