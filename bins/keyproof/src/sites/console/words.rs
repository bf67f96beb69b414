//! Errors and deeds, as the console says them.

/// The text of an error as a sentence.
pub(super) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(char::to_uppercase);
    let first = first.into_iter().flatten();
    first.chain(characters).chain(['.']).collect()
}

/// What is done, as a button has it, in the middle of a sentence.
pub(super) fn deed(button: &str) -> String {
    let mut characters = button.chars();
    let first = characters.next().map(char::to_lowercase);
    first.into_iter().flatten().chain(characters).collect()
}
