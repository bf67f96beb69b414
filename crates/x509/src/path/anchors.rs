//! Which anchors end paths, where they may be listed together with what they have issued
//! ([`Rules::judging_anchors`](super::Rules::judging_anchors)).

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
        if !self.rules.judge_anchors || !self.is_below_another(place, walk)? {
            return Ok(true);
        }
        if let Some(between) = self.member(place) {
            // Of what stands between more is asked than of an anchor.
            self.check_issuer(between, false, below)?;
        }
        Ok(false)
    }

    /// Whether another anchor has issued the last one of a walk.
    fn is_below_another(&mut self, place: Place, walk: &[Place]) -> Result<bool, Reason> {
        for issuer in self.possible_issuers(place)? {
            let (Place::Anchor(_), Some(member)) = (issuer, self.member(issuer)) else {
                continue;
            };
            // One that has ended ends no path, and what it has issued stays listed for itself.
            let (validity, now) = (member.certificate.validity(), self.rules.now);
            let is_valid = validity.has_begun(now) && !validity.has_ended(now);
            // CAs that have certified each other, and that nobody else has, are as good as one another.
            let is_another = is_valid && !self.is_on(walk, issuer, member);
            if is_another && self.has_issued(issuer, place)? {
                return Ok(true);
            }
        }
        Ok(false)
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
        let is_self_issued = anchor.is_self_issued();
        let mut issuers = self.issuers_by_name(anchor);
        issuers.retain(|issuer| {
            let member = self.member(*issuer);
            member.is_some_and(|member| !self.is_on(&[place], *issuer, member))
        });
        // A CA may certify its own name under another key, which makes no root.
        if is_self_issued && !issuers.is_empty() && self.has_issued(place, place)? {
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
