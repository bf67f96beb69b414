//! XML as it is written: names of ours, escaped values, and no trace left of what was outgrown.

use alloc::string::String;

use zeroize::Zeroizing;

use super::WriteError;
use crate::{
    Container,
    xml::{MAX_TEXT, is_blank},
};

/// Attributes: names and values.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a str)];

/// A document that is being written, an element a line.
pub(super) struct Document {
    /// Wiped when it is outgrown, and when it is dropped.
    text: Zeroizing<String>,
    depth: usize,
}

impl Document {
    pub(super) fn new() -> Self {
        let declaration = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
        Self {
            text: Zeroizing::new(String::from(declaration)),
            depth: 0,
        }
    }

    /// Begins an element with others within.
    pub(super) fn begin(
        &mut self,
        name: &str,
        attributes: Attributes<'_>,
    ) -> Result<(), WriteError> {
        self.tag(name, attributes, ">")?;
        self.depth += 1;
        Ok(())
    }

    pub(super) fn end(&mut self, name: &str) {
        self.depth = self.depth.saturating_sub(1);
        self.line();
        self.push("</");
        self.push(name);
        self.push(">");
    }

    /// An element with nothing within.
    pub(super) fn empty(
        &mut self,
        name: &str,
        attributes: Attributes<'_>,
    ) -> Result<(), WriteError> {
        self.tag(name, attributes, "/>")
    }

    /// An element with a text within, if there is one.
    pub(super) fn optional(
        &mut self,
        name: &'static str,
        text: Option<&str>,
    ) -> Result<(), WriteError> {
        text.map_or(Ok(()), |text| self.text(name, text))
    }

    /// An element with a text within.
    pub(super) fn text(&mut self, name: &'static str, text: &str) -> Result<(), WriteError> {
        if text.starts_with(is_blank) || text.ends_with(is_blank) {
            let problem = "begins or ends with a blank, which readers cut off";
            return Err(WriteError::Text {
                field: name,
                problem,
            });
        }
        check(name, text)?;
        self.tag(name, &[], ">")?;
        for character in text.chars() {
            match character {
                '&' => self.push("&amp;"),
                '<' => self.push("&lt;"),
                '>' => self.push("&gt;"),
                // Readers take it for a line feed otherwise.
                '\r' => self.push("&#xD;"),
                other => self.push(other.encode_utf8(&mut [0; 4])),
            }
        }
        self.push("</");
        self.push(name);
        self.push(">");
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Zeroizing<String>, WriteError> {
        self.push("\n");
        if self.text.len() > Container::MAX_LEN {
            return Err(WriteError::TooLong);
        }
        Ok(self.text)
    }

    fn tag(&mut self, name: &str, attributes: Attributes<'_>, end: &str) -> Result<(), WriteError> {
        self.line();
        self.push("<");
        self.push(name);
        for &(name, value) in attributes {
            check(name, value)?;
            self.push(" ");
            self.push(name);
            self.push("=\"");
            for character in value.chars() {
                match character {
                    '&' => self.push("&amp;"),
                    '<' => self.push("&lt;"),
                    '"' => self.push("&quot;"),
                    // Readers take each for a space otherwise.
                    '\t' => self.push("&#x9;"),
                    '\n' => self.push("&#xA;"),
                    '\r' => self.push("&#xD;"),
                    other => self.push(other.encode_utf8(&mut [0; 4])),
                }
            }
            self.push("\"");
        }
        self.push(end);
        Ok(())
    }

    fn line(&mut self) {
        self.push("\n");
        for _ in 0..self.depth {
            self.push("  ");
        }
    }

    fn push(&mut self, text: &str) {
        let needed = self.text.len() + text.len();
        if needed > self.text.capacity() {
            let mut larger = Zeroizing::new(String::with_capacity(needed.max(4096) * 2));
            larger.push_str(&self.text);
            self.text = larger;
        }
        self.text.push_str(text);
    }
}

/// Whether XML can have it (XML 1.0 section 2.2), and our reader takes it.
fn check(field: &'static str, text: &str) -> Result<(), WriteError> {
    let is_character = |character: char| match character {
        '\t' | '\n' | '\r' => true,
        other => other >= ' ' && !matches!(other, '\u{FFFE}' | '\u{FFFF}'),
    };
    let problem = if text.len() > MAX_TEXT {
        "is longer than 16384 bytes"
    } else if !text.chars().all(is_character) {
        "has a character that XML cannot have"
    } else {
        return Ok(());
    };
    Err(WriteError::Text { field, problem })
}
