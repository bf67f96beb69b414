//! What every page of the console has around it.

use keyproof_service::access::Operator;

use super::{
    Area, Signed, Visit, Visitor,
    addressing::{UNKEPT, has_private_key},
};
use crate::sites::{
    asset::RELEASE,
    entries::{Entries, Unfilled, Wrong},
    refusal::Refusal,
    visit::Bound,
};

/// What the page that comes next is told was done, and what it says of that.
const DONE: [(&str, &str); 20] = [
    ("activated", "The user may sign in again."),
    ("added", "The user is added."),
    ("category-deleted", "The category is deleted."),
    ("certificate-added", "The certificate is added."),
    ("certificate-deleted", "The certificate is deleted."),
    ("changed", "The change is made."),
    (
        "confirmed",
        "Your token is valid, and nothing is done yet. For five minutes you are not asked for it again.",
    ),
    ("device-forgotten", "The device is forgotten."),
    ("device-removed", "The device is removed."),
    ("ended", "All sessions of the user have ended."),
    ("instance-added", "The instance is added."),
    ("instance-removed", "The instance is removed."),
    ("key-deleted", "The API key is deleted."),
    ("manager-added", "The manager is added."),
    ("manager-deleted", "The manager is deleted."),
    (
        "no-lock",
        "There was no lock. Counted failures are reset.",
    ),
    (
        "relearning",
        "The device’s registers are learnt again from its next accepted attestation.",
    ),
    (
        "removed",
        "The phone’s key is removed. The user signs in with the password alone until they set up another phone.",
    ),
    (
        "suspended",
        "The user is suspended, and all their sessions and tokens have ended.",
    ),
    ("unlocked", "The locks are lifted."),
];

/// What is told at a field whose page has not again what was filled in there.
const LOST: &str = "What you filled in here is lost: do it again.";

/// What every page has around it.
pub(super) struct Frame {
    pub(super) release: &'static str,
    /// The area that the page belongs to, if it is in one.
    pub(super) area: Option<Area>,
    /// Who is signed in: whose their token is.
    pub(super) user: Option<String>,
    /// The areas that they are shown.
    pub(super) areas: Vec<Area>,
    /// What its forms are bound to.
    pub(super) csrf: String,
    pub(super) notice: Option<&'static str>,
    pub(super) entries: Entries,
}

impl Frame {
    /// Around a page for whoever it is.
    pub(super) fn of_nobody() -> Self {
        Self {
            release: RELEASE.as_str(),
            area: None,
            user: None,
            areas: Vec::new(),
            csrf: String::new(),
            notice: None,
            entries: Entries::default(),
        }
    }

    /// The areas: path, name, and whether the page belongs to it.
    pub(super) fn menu(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        self.areas.iter().map(|area| {
            let (path, name) = area.place();
            (path, name, Some(*area) == self.area)
        })
    }
}

/// Whom a page shows as signed in.
pub(in crate::sites) trait Known: Bound {
    fn operator(&self) -> Option<&Operator>;
}

impl Known for Visitor {
    fn operator(&self) -> Option<&Operator> {
        None
    }
}

impl Known for Signed {
    fn operator(&self) -> Option<&Operator> {
        Some(self.session.operator())
    }
}

impl<W: Known> Visit<W> {
    /// The frame of a page that belongs to no area.
    pub(super) fn frame(&self) -> Frame {
        let operator = self.who.operator();
        Frame {
            user: operator.map(|operator| operator.subject.clone()),
            areas: operator.map(Area::shown_to).unwrap_or_default(),
            csrf: self.csrf(),
            ..Frame::of_nobody()
        }
    }

    /// The frame of a page of this area; which says what was just done, if the address does.
    pub(super) fn frame_in(&self, area: Area) -> Frame {
        let done = self.sent_with("done");
        let notice = DONE.iter().find(|(name, _)| Some(*name) == done);
        Frame {
            area: Some(area),
            notice: notice.map(|(_, text)| *text),
            ..self.frame()
        }
    }

    /// The same, saying what is wrong with what was filled in, with these fields as they were.
    pub(super) fn frame_with(&self, area: Area, wrong: Wrong, filled: &[&'static str]) -> Frame {
        let typed = |field: &&'static str| (*field, self.typed(field).to_owned());
        let mut filled: Vec<_> = filled.iter().map(typed).collect();
        // What was pasted stays where something else is wrong.
        let pasted = self.typed("text");
        let stays = !pasted.is_empty() && !wrong.is_at("file") && !has_private_key(pasted);
        if stays {
            filled.push(("text", pasted.to_owned()));
        }
        let is_lost = |field: &&'static str| match *field {
            "file" => self.is_filled_in("file") || self.is_filled_in("text") && !stays,
            field => self.is_filled_in(field),
        };
        let lost = UNKEPT.into_iter().filter(is_lost);
        Frame {
            entries: Entries {
                lost: lost.map(|field| Wrong::at(field, LOST)).collect(),
                wrong: Some(wrong),
                filled,
            },
            ..self.frame_in(area)
        }
    }

    /// The same of a form that was not done, if there is a page to show.
    pub(super) fn frame_of(
        &self,
        area: Area,
        why: Unfilled,
        filled: &[&'static str],
    ) -> Result<Frame, Refusal> {
        match why {
            Unfilled::Wrong(wrong) => Ok(self.frame_with(area, wrong, filled)),
            Unfilled::Refused(refusal) => Err(refusal),
        }
    }

    /// The frame of a form in which these fields have what the address says of them, if no page elsewhere has led to it.
    pub(super) fn frame_asking(&self, area: Area, fields: &[&'static str]) -> Frame {
        let asked = fields.iter().filter_map(|field| {
            let text = self.sent_with(field)?;
            Some((*field, text.to_owned()))
        });
        let lost = fields.iter().copied().chain(UNKEPT);
        let lost = lost.filter(|field| self.is_told_lost(field));
        Frame {
            entries: Entries {
                wrong: None,
                filled: asked.collect(),
                lost: lost.map(|field| Wrong::at(field, LOST)).collect(),
            },
            ..self.frame_in(area)
        }
    }
}
