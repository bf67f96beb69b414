//! What every page of the console has around it.

use keyproof_service::access::Operator;

use super::{Area, Signed, Visit, Visitor};
use crate::sites::{asset::RELEASE, visit::Bound};

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
    pub(super) wrong: Option<Wrong>,
    /// What fields have in them from the start.
    pub(super) filled: Vec<(&'static str, String)>,
}

/// What is wrong with what was filled in.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The field, or none of them.
    pub(super) field: &'static str,
    pub(super) text: String,
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
            wrong: None,
            filled: Vec::new(),
        }
    }

    /// What is wrong with this field.
    pub(super) fn error(&self, field: &str) -> Option<&str> {
        let wrong = self.wrong.as_ref();
        let wrong = wrong.filter(|wrong| wrong.field == field);
        wrong.map(|wrong| &*wrong.text)
    }

    /// What a field has in it from the start.
    pub(super) fn filled(&self, field: &str) -> &str {
        let mut filled = self.filled.iter();
        let found = filled.find(|(known, _)| *known == field);
        found.map_or("", |(_, text)| text)
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

    /// The frame of a page of this area.
    pub(super) fn frame_in(&self, area: Area) -> Frame {
        Frame {
            area: Some(area),
            ..self.frame()
        }
    }

    /// The same, saying what is wrong with what was filled in, with these fields as they were.
    pub(super) fn frame_with(
        &self,
        area: Area,
        field: &'static str,
        text: impl Into<String>,
        filled: &[&'static str],
    ) -> Frame {
        let typed = |field: &&'static str| (*field, self.typed(field).to_owned());
        Frame {
            wrong: Some(Wrong {
                field,
                text: text.into(),
            }),
            filled: filled.iter().map(typed).collect(),
            ..self.frame_in(area)
        }
    }
}
