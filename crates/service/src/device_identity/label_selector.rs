//! Label selectors in Kubernetes syntax: `env in (staging, testing), tier != web, !legacy`.

use std::collections::BTreeMap;

/// Requirements on an object's labels, all of which must match. An empty selector matches every object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    label: String,
    asked: Asked,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Absent,
    Present,
    /// The value is one of these.
    In(Vec<String>),
    /// The label is absent, or its value is none of these.
    NotIn(Vec<String>),
}

/// A text is not a valid selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected} is expected at character {at}")]
pub struct LabelSelectorError {
    /// What was expected.
    pub expected: &'static str,
    /// The position, in characters from 0.
    pub at: usize,
}

impl LabelSelector {
    /// Parses requirements separated by commas: `label`, `!label`, `label = value` (also `==`), `label != value`,
    /// `label in (value, …)` and `label notin (value, …)`. A value may be empty. An empty text matches every object.
    ///
    /// # Errors
    ///
    /// [`LabelSelectorError`].
    pub fn parse(text: &str) -> Result<Self, LabelSelectorError> {
        let mut reader = Reader::new(text);
        let mut requirements = Vec::new();
        if reader.peek().is_none() {
            return Ok(Self(requirements));
        }
        loop {
            requirements.push(reader.requirement()?);
            if !reader.take(",") {
                break;
            }
        }
        match reader.peek() {
            None => Ok(Self(requirements)),
            Some(_) => Err(reader.expected("a comma, or the end")),
        }
    }

    /// Returns whether an object with these labels matches.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|Requirement { label, asked }| {
            let value = labels.get(label);
            match asked {
                Asked::Absent => value.is_none(),
                Asked::Present => value.is_some(),
                Asked::In(values) => value.is_some_and(|value| values.contains(value)),
                Asked::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let rest = text.trim_start();
        Self { text, rest }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn expected(&self, expected: &'static str) -> LabelSelectorError {
        let read = self.text.len().saturating_sub(self.rest.len());
        let before = self.text.get(..read).unwrap_or_default();
        LabelSelectorError {
            expected,
            at: before.chars().count(),
        }
    }

    /// Consumes `mark` and the white space after it, if it comes next.
    fn take(&mut self, mark: &str) -> bool {
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    /// Consumes the text up to the next mark or white space; may be empty.
    fn word(&mut self) -> &'a str {
        let ends =
            |c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')' | '=' | '!' | '<' | '>');
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest.trim_start();
        word
    }

    fn requirement(&mut self) -> Result<Requirement, LabelSelectorError> {
        let is_absent = self.take("!");
        let label = self.label()?;
        let asked = if is_absent {
            Asked::Absent
        } else if self.take("!=") {
            Asked::NotIn(vec![self.word().to_owned()])
        } else if self.take("==") || self.take("=") {
            Asked::In(vec![self.word().to_owned()])
        } else if matches!(self.peek(), None | Some(',')) {
            Asked::Present
        } else {
            let start = self.rest;
            match self.word() {
                "in" => Asked::In(self.values()?),
                "notin" => Asked::NotIn(self.values()?),
                _ => {
                    self.rest = start;
                    return Err(self.expected("a comma, =, ==, !=, in or notin"));
                }
            }
        };
        Ok(Requirement { label, asked })
    }

    fn label(&mut self) -> Result<String, LabelSelectorError> {
        match self.word() {
            "" => Err(self.expected("a label")),
            label => Ok(label.to_owned()),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, LabelSelectorError> {
        if !self.take("(") {
            return Err(self.expected("("));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.word().to_owned());
            if self.take(")") {
                return Ok(values);
            }
            if !self.take(",") {
                return Err(self.expected("a comma, or )"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        owned.collect()
    }

    #[test]
    fn all_that_is_asked_must_be_so() {
        let web = labels(&[("env", "testing"), ("tier", "web"), ("empty", "")]);
        for (text, expected) in [
            ("", true),
            ("  ", true),
            // The example of the API's documentation.
            ("env in (staging, testing), tier in (web, db)", true),
            ("env in (staging), tier in (web, db)", false),
            ("env in(testing),tier=web", true),
            ("env == testing", true),
            ("env=staging", false),
            ("env!=staging", true),
            ("env != testing", false),
            ("other != testing", true),
            ("env notin (staging, production)", true),
            ("env notin (staging, testing)", false),
            ("other notin (a)", true),
            ("env", true),
            ("other", false),
            ("!other", true),
            ("! env", false),
            ("env,!other,tier", true),
            ("empty=", true),
            ("empty in ()", true),
            ("env in (, testing)", true),
            ("env=", false),
            ("Env=testing", false),
            ("env=Testing", false),
            // Operators are allowed as names.
            ("in", false),
            ("notin in (a)", false),
            ("f5.com/site-a_b.c!=d", true),
        ] {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(selector.matches(&web), expected, "{text}");
        }
        assert!(
            LabelSelector::parse("in=a")
                .unwrap()
                .matches(&labels(&[("in", "a")]))
        );
    }

    #[test]
    fn what_is_no_selector_is_refused_where_it_goes_wrong() {
        for (text, at, expected) in [
            (",", 0, "a label"),
            ("env,", 4, "a label"),
            ("=a", 0, "a label"),
            ("!", 1, "a label"),
            ("!!env", 1, "a label"),
            ("env testing", 4, "a comma, =, ==, !=, in or notin"),
            ("env > 3", 4, "a comma, =, ==, !=, in or notin"),
            ("env in testing", 7, "("),
            ("env in (testing", 15, "a comma, or )"),
            ("env in (a b)", 10, "a comma, or )"),
            ("env notin (a,", 13, "a comma, or )"),
            ("env=a=b", 5, "a comma, or the end"),
            ("env=a b", 6, "a comma, or the end"),
            ("é in (a) b", 9, "a comma, or the end"),
            ("!env=a", 4, "a comma, or the end"),
        ] {
            let refused = LabelSelector::parse(text).unwrap_err();
            assert_eq!((refused.at, refused.expected), (at, expected), "{text}");
        }
    }
}
