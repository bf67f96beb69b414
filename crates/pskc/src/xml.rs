//! XML with limits: the parser's cost is bounded by the document's length, and elements are matched
//! strictly.

use alloc::{string::String, vec::Vec};

use roxmltree::{Document, Node, ParsingOptions};
use zeroize::Zeroizing;

use crate::PskcError;

pub(crate) const PSKC: &str = "urn:ietf:params:xml:ns:keyprov:pskc";
pub(crate) const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
pub(crate) const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
pub(crate) const XENC11: &str = "http://www.w3.org/2009/xmlenc11#";
pub(crate) const PKCS5: &str = "http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#";

/// A container's deepest element is at level 8; extensions and signatures go deeper.
const MAX_DEPTH: usize = 32;
const MAX_ATTRIBUTES: usize = 32;
/// The declarations in scope at one element.
const MAX_NAMESPACES: usize = 32;
const MAX_NODES: u32 = 500_000;
/// Enough for names, dates, identifiers, and the Base64 of any key.
pub(crate) const MAX_TEXT: usize = 16 * 1024;

/// Parses a document that is within the limits of `check`.
pub(crate) fn parse(text: &str) -> Result<Document<'_>, PskcError> {
    check(text)?;
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::NodesLimitReached => PskcError::Excessive {
            what: "elements",
            at: text.len(),
        },
        error => {
            let position = error.pos();
            PskcError::Xml {
                line: position.row,
                column: position.col,
            }
        }
    })
}

/// Bounds the parser's work that is more than linear: for each element, it copies the namespaces in
/// scope and compares the attributes with one another. Scans the document once, and sees the same
/// tags as the parser, which rejects what is not well-formed.
fn check(text: &str) -> Result<(), PskcError> {
    let mut scopes = [0_usize; MAX_DEPTH + 1];
    let (mut depth, mut at) = (0_usize, 0_usize);
    while let Some((before, rest)) = text.get(at..).and_then(|rest| rest.split_once('<')) {
        at += before.len();
        // The position after the tag. The parser rejects a tag without an end.
        let skip = |opening: &str, closing: &str| {
            let inside = rest.strip_prefix(opening)?;
            let len = inside.find(closing).map(|len| len + closing.len());
            Some(opening.len() + len.unwrap_or(inside.len()))
        };
        let others = [("!--", "-->"), ("![CDATA[", "]]>"), ("?", "?>")];
        if let Some(len) = others
            .iter()
            .find_map(|(opening, closing)| skip(opening, closing))
        {
            at += 1 + len;
            continue;
        }
        if rest.starts_with('!') {
            return Err(PskcError::DocumentType { at });
        }
        if let Some(len) = skip("/", ">") {
            depth = depth.saturating_sub(1);
            at += 1 + len;
            continue;
        }
        let tag = Tag::scan(rest);
        if tag.attributes > MAX_ATTRIBUTES {
            return Err(excessive("attributes", at));
        }
        let outer = scopes.get(depth).copied().unwrap_or_default();
        let in_force = outer + tag.namespaces;
        if in_force > MAX_NAMESPACES {
            return Err(excessive("namespaces", at));
        }
        if !tag.is_empty {
            depth += 1;
            *scopes.get_mut(depth).ok_or(excessive("depth", at))? = in_force;
        }
        at += 1 + tag.len;
    }
    Ok(())
}

const fn excessive(what: &'static str, at: usize) -> PskcError {
    PskcError::Excessive { what, at }
}

/// A start tag, from after its `<` on.
struct Tag {
    /// The length up to and including its `>`.
    len: usize,
    is_empty: bool,
    attributes: usize,
    namespaces: usize,
}

impl Tag {
    fn scan(text: &str) -> Self {
        let mut tag = Self {
            len: text.len(),
            is_empty: false,
            attributes: 0,
            namespaces: 0,
        };
        let mut quote = None;
        let mut last = b' ';
        for (index, byte) in text.bytes().enumerate() {
            match (quote, byte) {
                (Some(open), _) if byte == open => quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'=') => tag.attributes += 1,
                (None, b'>') => {
                    tag.len = index + 1;
                    tag.is_empty = last == b'/';
                    break;
                }
                (None, b'x')
                    if text
                        .get(index..)
                        .is_some_and(|rest| rest.starts_with("xmlns")) =>
                {
                    tag.namespaces += 1;
                }
                (None, _) => {}
            }
            last = byte;
        }
        tag
    }
}

/// An element, whose parts are found by namespace and name. The prefix is ignored.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a, 'input>(Node<'a, 'input>);

impl<'a, 'input> Element<'a, 'input> {
    pub(crate) fn root(document: &'a Document<'input>) -> Self {
        Self(document.root_element())
    }

    pub(crate) fn is(self, namespace: &str, name: &str) -> bool {
        self.namespace() == namespace && self.name() == name
    }

    pub(crate) fn name(self) -> &'a str {
        self.0.tag_name().name()
    }

    /// Empty if there is none.
    pub(crate) fn namespace(self) -> &'a str {
        self.0.tag_name().namespace().unwrap_or_default()
    }

    pub(crate) fn at(self) -> usize {
        self.0.range().start
    }

    /// Returns an attribute without a namespace.
    pub(crate) fn attribute(self, name: &str) -> Option<&'a str> {
        // The library's own search would return one of any namespace.
        let mut attributes = self.0.attributes();
        let found = attributes.find(|found| found.namespace().is_none() && found.name() == name);
        found.map(|found| found.value())
    }

    /// Whether there is an attribute that is not one of these, which have no namespace.
    pub(crate) fn has_other_attributes(self, known: &[&str]) -> bool {
        self.0
            .attributes()
            .any(|found| found.namespace().is_some() || !known.contains(&found.name()))
    }

    pub(crate) fn needed(self, name: &'static str) -> Result<&'a str, PskcError> {
        let missing = PskcError::Attribute {
            name,
            at: self.at(),
        };
        self.attribute(name).ok_or(missing)
    }

    /// Parses a decimal attribute, if there is one.
    pub(crate) fn number(self, name: &'static str) -> Result<Option<u32>, PskcError> {
        let wrong = PskcError::Attribute {
            name,
            at: self.at(),
        };
        self.attribute(name)
            .map(|text| {
                decimal(text)
                    .and_then(|number| u32::try_from(number).ok())
                    .ok_or(wrong)
            })
            .transpose()
    }

    /// Parses an `xs:boolean` attribute; `false` if it is missing.
    pub(crate) fn flag(self, name: &'static str) -> Result<bool, PskcError> {
        match self.attribute(name).map(str::trim) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(PskcError::Attribute {
                name,
                at: self.at(),
            }),
        }
    }

    /// Returns the child elements. Text between them is rejected unless it is white space.
    pub(crate) fn children(self) -> Result<impl Iterator<Item = Self>, PskcError> {
        let stray = self
            .0
            .children()
            .find(|node| node.is_text() && !node.text().unwrap_or_default().chars().all(is_blank));
        if let Some(stray) = stray {
            return Err(PskcError::Text {
                at: stray.range().start,
            });
        }
        Ok(self.0.children().filter(Node::is_element).map(Element))
    }

    /// Returns the only child element, which must have this name; any other is rejected.
    pub(crate) fn only_child(self, namespace: &str, name: &'static str) -> Result<Self, PskcError> {
        let mut only = None;
        for child in self.children()? {
            if !child.is(namespace, name) {
                return Err(child.unexpected());
            }
            once(&mut only, child, child)?;
        }
        only.ok_or(PskcError::MissingElement {
            name,
            at: self.at(),
        })
    }

    /// Returns the element's text without leading and trailing white space. Child elements,
    /// comments and processing instructions are rejected, because other parsers would see only a
    /// part of the text.
    pub(crate) fn text(self) -> Result<&'a str, PskcError> {
        let mut parts = self.0.children();
        let (first, second) = (parts.next(), parts.next());
        match (first, second) {
            (None, _) => Ok(""),
            (Some(text), None) if text.is_text() => {
                let text = text.text().unwrap_or_default().trim_matches(is_blank);
                if text.len() > MAX_TEXT {
                    return Err(excessive("text", self.at()));
                }
                Ok(text)
            }
            _ => Err(PskcError::Text { at: self.at() }),
        }
    }

    pub(crate) fn owned_text(self) -> Result<String, PskcError> {
        self.text().map(String::from)
    }

    /// Decodes Base64 with padding; white space is allowed anywhere.
    pub(crate) fn base64(self) -> Result<Zeroizing<Vec<u8>>, PskcError> {
        let text = self.text()?;
        let mut symbols = Zeroizing::new(Vec::with_capacity(text.len()));
        symbols.extend(text.bytes().filter(|byte| !is_blank(char::from(*byte))));
        let wrong = PskcError::Base64 { at: self.at() };
        // The library accepts padding in the middle, as in concatenated texts.
        let data = symbols
            .iter()
            .position(|symbol| *symbol == b'=')
            .unwrap_or(symbols.len());
        if symbols.len() - data > 2 {
            return Err(wrong);
        }
        let Ok(len) = data_encoding::BASE64.decode_len(symbols.len()) else {
            return Err(wrong);
        };
        let mut bytes = Zeroizing::new(alloc::vec![0; len]);
        match data_encoding::BASE64.decode_mut(&symbols, &mut bytes) {
            Ok(len) => {
                bytes.truncate(len);
                Ok(bytes)
            }
            Err(_) => Err(wrong),
        }
    }

    pub(crate) fn unexpected(self) -> PskcError {
        PskcError::UnexpectedElement { at: self.at() }
    }
}

/// Stores a value, and rejects a second one.
pub(crate) fn once<T>(
    place: &mut Option<T>,
    value: T,
    element: Element<'_, '_>,
) -> Result<(), PskcError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(PskcError::Duplicate { at: element.at() }),
    }
}

/// XML's white space.
pub(crate) const fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

/// Parses a decimal number without a sign.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
