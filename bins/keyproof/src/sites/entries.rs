//! What the form of a page has in it from the start, and what is wrong with what was filled in.

use keyproof_service::StorageError;

use super::refusal::Refusal;

/// What fields have in them from the start, and what is wrong with one of them.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) wrong: Option<Wrong>,
    pub(super) filled: Vec<(&'static str, String)>,
    /// What had something in it that is not there again, and would do something else if it were left so.
    pub(super) lost: Vec<Wrong>,
}

/// What is wrong with what was filled in.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The field, or none of them.
    field: &'static str,
    text: String,
}

/// Why a form is not done.
#[derive(Debug)]
pub(super) enum Unfilled {
    /// It is not taken as it stands: the page is shown again.
    Wrong(Wrong),
    /// There is no page to show.
    Refused(Refusal),
}

impl Wrong {
    /// At this field.
    pub(super) fn at(field: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { field, text }
    }

    /// Of no field alone.
    pub(super) fn of_all(text: impl Into<String>) -> Self {
        Self::at("", text)
    }

    pub(super) fn is_at(&self, field: &str) -> bool {
        self.field == field
    }
}

impl Entries {
    /// What is wrong with this field; with none of them, if it has no name.
    pub(super) fn error(&self, field: &str) -> Option<&str> {
        let mut all = self.wrong.iter().chain(&self.lost);
        let wrong = all.find(|wrong| wrong.field == field);
        wrong.map(|wrong| &*wrong.text)
    }

    /// Whether a browser is to be led to this field: what is wrong comes before what is to be filled in again.
    pub(super) fn is_first(&self, field: &str) -> bool {
        let mut all = self.wrong.iter().chain(&self.lost);
        all.next().is_some_and(|wrong| wrong.field == field)
    }

    /// What a field has in it from the start.
    pub(super) fn text(&self, field: &str) -> &str {
        let mut filled = self.filled.iter();
        let found = filled.find(|(known, _)| *known == field);
        found.map_or("", |(_, text)| text)
    }
}

impl From<Wrong> for Unfilled {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<Refusal> for Unfilled {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StorageError> for Unfilled {
    fn from(error: StorageError) -> Self {
        Self::Refused(error.into())
    }
}
