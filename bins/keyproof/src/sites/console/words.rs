//! Errors, actions and times in the words of the console.

use std::{fmt::Display, time::Duration};

use keyproof_http::whole_seconds;

/// The error if no file was chosen and no text was pasted.
pub(super) const NO_FILE: &str = "Choose a file, or paste its text.";

/// Returns the text of an error as a sentence.
pub(super) fn sentence(error: &dyn Display) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    let first = characters.next().map(char::to_uppercase);
    let first = first.into_iter().flatten();
    first.chain(characters).chain(['.']).collect()
}

/// Formats a waiting time in whole seconds, rounded up.
pub(super) fn seconds(wait: Duration) -> String {
    match whole_seconds(wait) {
        1 => "1 second".to_owned(),
        seconds => format!("{seconds} seconds"),
    }
}

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    /// Whether it is quoted, and so shown unchanged.
    pub(super) is_quoted: bool,
}

/// Splits a report's text at its backticks, into quoted pieces and the words around them.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let parts: Vec<&str> = text.split('`').collect();
    // An unmatched backtick does not quote.
    let is_quoting = parts.len() % 2 == 1;
    let parts = if is_quoting { parts } else { vec![text] };
    let pieces = parts.into_iter().enumerate().map(|(number, part)| {
        let is_quoted = number % 2 == 1;
        let text = if is_quoted {
            part.to_owned()
        } else {
            printed(part)
        };
        Piece { text, is_quoted }
    });
    pieces.filter(|piece| !piece.text.is_empty()).collect()
}

/// Replaces apostrophes by typographic ones.
pub(super) fn printed(text: &str) -> String {
    let mut before = None;
    let mut characters = text.chars().peekable();
    let mut printed = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        let is_letter = |other: Option<char>| other.is_some_and(char::is_alphabetic);
        let is_apostrophe =
            character == '\'' && is_letter(before) && is_letter(characters.peek().copied());
        printed.push(if is_apostrophe { '’' } else { character });
        before = Some(character);
    }
    printed
}

/// Turns a button's text into the middle of a sentence.
pub(super) fn deed(button: &str) -> String {
    let mut characters = button.chars();
    let first = characters.next().map(char::to_lowercase);
    first.into_iter().flatten().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_too_short() {
        for (millis, told) in [
            (1, "1 second"),
            (1_000, "1 second"),
            (1_001, "2 seconds"),
            (59_000, "59 seconds"),
        ] {
            assert_eq!(seconds(Duration::from_millis(millis)), told);
        }
    }

    #[test]
    fn what_a_report_quotes_stands_as_it_is() {
        let shown = |text: &str| -> Vec<(String, bool)> {
            let pieces = pieces(text).into_iter();
            pieces.map(|piece| (piece.text, piece.is_quoted)).collect()
        };
        let piece = |text: &str, is_quoted| (text.to_owned(), is_quoted);
        assert_eq!(
            shown("the leaf's issuer is `CN=O'Hara`, and 'x' is none"),
            [
                piece("the leaf’s issuer is ", false),
                piece("CN=O'Hara", true),
                piece(", and 'x' is none", false),
            ]
        );
        assert_eq!(shown("`a``b`"), [piece("a", true), piece("b", true)]);
        assert_eq!(shown("a CA's ` name"), [piece("a CA’s ` name", false)]);
        assert!(shown("").is_empty());
    }
}
