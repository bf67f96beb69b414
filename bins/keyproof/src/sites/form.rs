//! A form as a browser sends it (`application/x-www-form-urlencoded`), read strictly: the fields that it has are those
//! that our page gave it, each once, in UTF-8, on one line, and no longer than it may be.

use form_urlencoded::parse;
use http::StatusCode;
use zeroize::Zeroizing;

/// The field that every form has, with the text of `csrf`.
pub(super) const CSRF: &str = "csrf";

/// The longest value of a field, in bytes.
pub(super) const MAX_VALUE: usize = 1024;

/// The fields with passwords, for which the use cases say how long one may be.
const PASSWORDS: [&str; 4] = ["new", "old", "password", "repeat"];

/// The longest password that is read, in bytes: a page lets 1024 units of UTF-16 be typed, each of at most three bytes.
const MAX_PASSWORD: usize = 3 * 1024;

/// What was filled in.
pub struct Form(Vec<(String, Zeroizing<String>)>);

/// Why a form is not read. A browser on a page of ours sends none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// It is something else than a form.
    #[error("not a form")]
    ContentType,
    /// It has a field that is not the page's, or one twice, or more than there may be.
    #[error("not a form of this page")]
    Fields,
    /// A value is not UTF-8, is longer than it may be, or has control characters.
    #[error("a field that cannot be filled in so")]
    Value,
}

impl FormError {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Fields | Self::Value => StatusCode::BAD_REQUEST,
        }
    }
}

impl Form {
    /// Reads a body that has no other fields than these, and the page's own.
    ///
    /// # Errors
    ///
    /// [`FormError`].
    pub fn parse(
        content_type: Option<&str>,
        body: &[u8],
        fields: &[&str],
    ) -> Result<Self, FormError> {
        let essence = content_type.and_then(|text| text.split(';').next());
        let is_form = essence.is_some_and(|essence| {
            essence
                .trim()
                .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        });
        if !is_form {
            return Err(FormError::ContentType);
        }
        let mut filled: Vec<(String, Zeroizing<String>)> = Vec::new();
        for (name, value) in parse(body) {
            let (name, value) = (name.into_owned(), Zeroizing::new(value.into_owned()));
            let is_known = name == CSRF || fields.contains(&name.as_str());
            // So the names bound how many there are.
            if !is_known || filled.iter().any(|(known, _)| *known == name) {
                return Err(FormError::Fields);
            }
            if value.len() > longest(&name) || value.contains(is_odd) {
                return Err(FormError::Value);
            }
            filled.push((name, value));
        }
        Ok(Self(filled))
    }

    /// What a field was filled in with; nothing if it was left out.
    pub fn text(&self, name: &str) -> &str {
        let mut fields = self.0.iter();
        let found = fields.find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// The longest value of this field, in bytes.
fn longest(field: &str) -> usize {
    if PASSWORDS.contains(&field) {
        MAX_PASSWORD
    } else {
        MAX_VALUE
    }
}

/// Whether nobody types this in a line. What is not UTF-8 has become U+FFFD.
pub(super) fn is_odd(c: char) -> bool {
    c.is_control() || c == char::REPLACEMENT_CHARACTER
}

/// Names only.
impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: Option<&str> = Some("application/x-www-form-urlencoded; charset=UTF-8");

    #[test]
    fn a_form_is_what_our_page_has() {
        let form = Form::parse(
            TYPE,
            b"csrf=t&name=a%40b+c&trust=on",
            &["name", "trust", "x"],
        );
        let form = form.unwrap();
        assert_eq!((form.text("csrf"), form.text("name")), ("t", "a@b c"));
        assert_eq!((form.text("trust"), form.text("x")), ("on", ""));
        assert_eq!(format!("{form:?}"), r#"["csrf", "name", "trust"]"#);
        assert_eq!(Form::parse(TYPE, b"", &[]).unwrap().text("name"), "");
    }

    #[test]
    fn whatever_else_is_none() {
        let of = |body: &[u8]| Form::parse(TYPE, body, &["name"]).err();
        assert_eq!(of(b"other=1"), Some(FormError::Fields));
        assert_eq!(of(b"name=1&name=2"), Some(FormError::Fields));
        assert_eq!(of(b"name=%00"), Some(FormError::Value));
        assert_eq!(of(b"name=a%0Ab"), Some(FormError::Value));
        assert_eq!(of(b"name=%ff"), Some(FormError::Value));
        assert_eq!(
            of(format!("name={}", "x".repeat(1025)).as_bytes()),
            Some(FormError::Value)
        );
        assert_eq!(of(format!("name={}", "x".repeat(1024)).as_bytes()), None);
        // How long a password may be is told by whoever judges it.
        let of = |length| {
            let body = format!("password={}", "x".repeat(length));
            Form::parse(TYPE, body.as_bytes(), &["password"]).err()
        };
        assert_eq!((of(3072), of(3073)), (None, Some(FormError::Value)));
        for wrong in [
            None,
            Some("text/plain"),
            Some("multipart/form-data; boundary=x"),
        ] {
            let refused = Form::parse(wrong, b"name=1", &["name"]).err();
            assert_eq!(refused, Some(FormError::ContentType));
        }
    }
}
