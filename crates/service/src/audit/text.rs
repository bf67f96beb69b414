//! Limits the length of an event's texts. Clients choose some of them, and an event must not become as long as a request.

use std::borrow::Cow;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};

/// The maximum length of a text in an event, in bytes.
pub(crate) const MOST: usize = 512;

/// Marks where a text was cut, before the SHA-256 of the whole text.
const CUT: &str = "…sha256:";

/// The number of hexadecimal digits of the digest.
const DIGITS: usize = 64;

/// Returns the text if it is short enough, otherwise its beginning and its digest, which distinguishes texts with the same
/// beginning.
pub(crate) fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= MOST {
        return Cow::Borrowed(text);
    }
    let mut ends = (0..=MOST - CUT.len() - DIGITS).rev();
    let head = ends.find_map(|end| text.get(..end)).unwrap_or_default();
    let digest = HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref());
    Cow::Owned(format!("{head}{CUT}{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_its_beginning_and_its_digest() {
        let fits = "é".repeat(MOST / 2);
        assert_eq!(bounded(&fits), fits);
        for (text, other) in [("a", "b"), ("é", "e"), ("\u{1f511}", "x")] {
            for length in MOST..MOST + 8 {
                let long = format!("{}{}", "x".repeat(length % 5), text.repeat(length));
                if long.len() <= MOST {
                    continue;
                }
                let cut = bounded(&long);
                assert!((MOST - 3..=MOST).contains(&cut.len()), "{}", cut.len());
                let (head, digest) = cut.split_once(CUT).unwrap();
                assert!(long.starts_with(head));
                assert_eq!(digest.len(), DIGITS);
                assert_ne!(cut, bounded(&format!("{long}{other}")));
            }
        }
        let cut = "a".repeat(513);
        let cut = bounded(&cut);
        let digest = "02425c0f5b0dabf3d2b9115f3f7723a02ad8bcfb1534a0d231614fd42b8188f6";
        assert!(cut.ends_with(digest), "{cut}");
    }
}
