//! Writes XML: fixed element names, escaped values, and a buffer that leaves no copies when it
//! grows.

use alloc::string::String;

use zeroize::Zeroizing;

use super::WriteError;
use crate::{
    Container,
    xml::{MAX_TEXT, is_blank},
};

/// Attributes: names and values.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a str)];

/// A document being written, one element a line.
pub(super) struct Document {
    /// Wiped when it is replaced by a larger one, and on drop.
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

    /// Begins an element with child elements.
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

    /// Writes an empty element.
    pub(super) fn empty(
        &mut self,
        name: &str,
        attributes: Attributes<'_>,
    ) -> Result<(), WriteError> {
        self.tag(name, attributes, "/>")
    }

    /// Writes an element with a text, if there is a text.
    pub(super) fn optional(
        &mut self,
        name: &'static str,
        text: Option<&str>,
    ) -> Result<(), WriteError> {
        text.map_or(Ok(()), |text| self.text(name, text))
    }

    /// Writes an element with a text.
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
                // Parsers would read a line feed otherwise.
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
                    // Parsers would read each as a space otherwise.
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

/// Checks that XML allows the text (XML 1.0 section 2.2), and that our parser accepts it.
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
