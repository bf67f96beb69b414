//! Shortens callers' texts before they are stored.

/// Returns at most the first `most` bytes of a text, in whole characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_cut_in_two() {
        for (text, most, kept) in [
            ("", 0, ""),
            ("abc", 0, ""),
            ("abc", 2, "ab"),
            ("abc", 3, "abc"),
            ("abc", 4, "abc"),
            ("a\u{e9}b", 2, "a"),
            ("a\u{e9}b", 3, "a\u{e9}"),
            ("\u{1f511}", 3, ""),
        ] {
            assert_eq!(cut(text, most), kept, "{text} {most}");
        }
    }
}
