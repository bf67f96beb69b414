//! What surrounds every page of the console.

use keyproof_service::access::Operator;

use super::{Area, Signed, Visit, Visitor, addressing::has_private_key};
use crate::sites::{
    asset::RELEASE,
    entries::{Entries, Unfilled, Wrong},
    refusal::Refusal,
    visit::Bound,
};

/// The notices about what was just done, by the word in the next page's address.
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
    ("no-lock", "There was no lock. Counted failures are reset."),
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

/// The fields whose input no page shows again, with the notice in its place. Without it, somebody might send the form
/// without a file or a key, which does something else.
const UNKEPT: [(&str, &str); 4] = [
    (
        "file",
        "This is not kept: choose the file again, or paste its text again.",
    ),
    (
        "key",
        "This is not kept, because it is secret: type it again.",
    ),
    (
        "password",
        "This is not kept, because it is secret: type it again.",
    ),
    (
        "text",
        "This is not kept, because it contains a private key: paste only the certificates.",
    ),
];

/// What surrounds every page.
pub(super) struct Frame {
    pub(super) release: &'static str,
    /// The page's area, if it has one.
    pub(super) area: Option<Area>,
    /// The owner of the token of who is signed in.
    pub(super) user: Option<String>,
    /// The areas that they may see.
    pub(super) areas: Vec<Area>,
    /// The token in the page's forms.
    pub(super) csrf: String,
    /// Whether forms whose action weakens something ask for the operator's token.
    pub(super) asks_token: bool,
    pub(super) notice: Option<&'static str>,
    pub(super) entries: Entries,
}

impl Frame {
    /// Creates the frame of a page for anybody.
    pub(super) fn of_nobody() -> Self {
        Self {
            release: RELEASE.as_str(),
            area: None,
            user: None,
            areas: Vec::new(),
            csrf: String::new(),
            asks_token: false,
            notice: None,
            entries: Entries::default(),
        }
    }

    /// Returns the menu: path, name, and whether it is the page's area.
    pub(super) fn menu(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        self.areas.iter().map(|area| {
            let (path, name) = area.place();
            (path, name, Some(*area) == self.area)
        })
    }
}

/// A visitor whom a page may show as signed in.
pub(in crate::sites) trait Known: Bound {
    fn operator(&self) -> Option<&Operator>;

    /// Whether the token was shown recently.
    fn is_fresh(&self) -> bool;
}

impl Known for Visitor {
    fn operator(&self) -> Option<&Operator> {
        None
    }

    fn is_fresh(&self) -> bool {
        false
    }
}

impl Known for Signed {
    fn operator(&self) -> Option<&Operator> {
        Some(self.session.operator())
    }

    fn is_fresh(&self) -> bool {
        self.session.is_fresh()
    }
}

impl<W: Known> Visit<W> {
    /// Creates the frame of a page without an area.
    pub(super) fn frame(&self) -> Frame {
        let operator = self.who.operator();
        Frame {
            user: operator.map(|operator| operator.subject.clone()),
            areas: operator.map(Area::shown_to).unwrap_or_default(),
            csrf: self.csrf(),
            asks_token: !self.who.is_fresh(),
            ..Frame::of_nobody()
        }
    }

    /// Creates the frame of a page in this area, with a notice of what was just done if the address has one.
    pub(super) fn frame_in(&self, area: Area) -> Frame {
        let done = self.sent_with("done");
        let notice = DONE.iter().find(|(name, _)| Some(*name) == done);
        Frame {
            area: Some(area),
            notice: notice.map(|(_, text)| *text),
            ..self.frame()
        }
    }

    /// Creates the frame with an error, and with the input of these fields.
    pub(super) fn frame_with(&self, area: Area, wrong: Wrong, filled: &[&'static str]) -> Frame {
        let typed = |field: &&'static str| (*field, self.typed(field).to_owned());
        let mut filled: Vec<_> = filled.iter().map(typed).collect();
        // Without a file, the text is what was read.
        let reads_text = !self.is_filled_in("file") && self.is_filled_in("text");
        let wrong = if wrong.is_at("file") && reads_text {
            wrong.moved_to("text")
        } else {
            wrong
        };
        // A pasted text remains if another field is wrong.
        let pasted = self.typed("text");
        let has_key = has_private_key(pasted);
        if !pasted.is_empty() && !wrong.is_at("text") && !has_key {
            filled.push(("text", pasted.to_owned()));
        }
        let is_lost = |field: &str| match field {
            "text" => has_key,
            field => self.is_filled_in(field),
        };
        let lost = UNKEPT.into_iter().filter(|(field, _)| is_lost(field));
        Frame {
            entries: Entries {
                lost: lost.map(|(field, text)| Wrong::at(field, text)).collect(),
                wrong: Some(wrong),
                filled,
            },
            ..self.frame_in(area)
        }
    }

    /// Creates the frame for a form that was not processed, if there is a page to show.
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

    /// Creates the frame of a form whose fields are filled in from the address, unless another site's page has led
    /// here.
    pub(super) fn frame_asking(&self, area: Area, fields: &[&'static str]) -> Frame {
        let asked = fields.iter().filter_map(|field| {
            let text = self.sent_with(field)?;
            Some((*field, text.to_owned()))
        });
        Frame {
            entries: Entries {
                filled: asked.collect(),
                ..Entries::default()
            },
            ..self.frame_in(area)
        }
    }
}
