//! The prefilled values of a page's form, and what is wrong with its input.

use keyproof_service::StorageError;

use super::refusal::Refusal;

/// The prefilled values of fields, and what is wrong with one of them.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) wrong: Option<Wrong>,
    pub(super) filled: Vec<(&'static str, String)>,
    /// Fields whose input is not kept, with the notice in its place.
    pub(super) lost: Vec<Wrong>,
}

/// What is wrong with the input.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    /// The field; empty for the form as a whole.
    field: &'static str,
    text: String,
}

/// Why a form is not processed.
#[derive(Clone, Debug)]
pub(super) enum Unfilled {
    /// Its input is not accepted: the page is shown again.
    Wrong(Wrong),
    /// There is no page to show.
    Refused(Refusal),
}

impl Wrong {
    /// An error at this field.
    pub(super) fn at(field: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { field, text }
    }

    /// An error of the form as a whole.
    pub(super) fn of_all(text: impl Into<String>) -> Self {
        Self::at("", text)
    }

    pub(super) fn is_at(&self, field: &str) -> bool {
        self.field == field
    }

    /// The same error at another field.
    pub(super) fn moved_to(self, field: &'static str) -> Self {
        Self { field, ..self }
    }
}

impl Entries {
    /// Returns the error at this field; an empty name stands for the form as a whole.
    pub(super) fn error(&self, field: &str) -> Option<&str> {
        let mut all = self.wrong.iter().chain(&self.lost);
        let wrong = all.find(|wrong| wrong.field == field);
        wrong.map(|wrong| &*wrong.text)
    }

    /// Whether this field gets the focus: one with an error comes before one to fill in again.
    pub(super) fn is_first(&self, field: &str) -> bool {
        let mut all = self.wrong.iter().chain(&self.lost);
        all.next().is_some_and(|wrong| wrong.field == field)
    }

    /// Returns a field's prefilled value.
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
