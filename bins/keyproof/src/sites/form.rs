//! A form as a browser sends it (`application/x-www-form-urlencoded`), parsed strictly: it has only fields of our page,
//! each at most once, in UTF-8, on one line, and within its length limit.

use form_urlencoded::parse;
use http::StatusCode;
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

/// The field with the token of `csrf`, which every form has.
pub(super) const CSRF: &str = "csrf";

/// The longest value of a field, in units of UTF-16: a page's field (`maxlength`) counts in these.
pub(super) const MAX_VALUE: usize = 1024;

/// The password fields. The use cases limit their length.
const PASSWORDS: [&str; 4] = ["new", "old", "password", "repeat"];

/// The longest value in bytes: each unit of UTF-16 has at most three.
pub(super) const MAX_BYTES: usize = 3 * MAX_VALUE;

/// The hidden field with the address of the page to return to.
const RETURN: &str = "to";

/// The longest address of a page to return to, in bytes. Names in it are escaped, with three bytes for each byte. It is
/// escaped again in the query of another address, which stays within the server's limit.
pub(super) const MAX_PAGE: usize = 8 * 1024;

/// The fields of a form with their values.
pub struct Form(Vec<(String, Zeroizing<String>)>);

/// Why a form is rejected. A browser on one of our pages never causes this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The body is not a form.
    #[error("not a form")]
    ContentType,
    /// It has a field that is not the page's, a field twice, or too many.
    #[error("not a form of this page")]
    Fields,
    /// A value is not UTF-8, is too long, or has a control character other than a tab.
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
    /// Parses a body that may have only these fields, and the page's own.
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
        let is_utf8 = || {
            let decoded: Vec<u8> = percent_decode(body).collect();
            str::from_utf8(&Zeroizing::new(decoded)).is_ok()
        };
        let mut filled: Vec<(String, Zeroizing<String>)> = Vec::new();
        for (name, value) in parse(body) {
            let (name, value) = (name.into_owned(), Zeroizing::new(value.into_owned()));
            let is_known = name == CSRF || fields.contains(&name.as_str());
            // This also limits the number of fields.
            if !is_known || filled.iter().any(|(known, _)| *known == name) {
                return Err(FormError::Fields);
            }
            let fits = match &*name {
                RETURN => value.len() <= MAX_PAGE && !value.contains(is_odd),
                name if PASSWORDS.contains(&name) => {
                    value.len() <= MAX_BYTES && !value.contains(is_odd)
                }
                _ => is_line(&value),
            };
            // Either somebody typed this, or bytes that are not UTF-8 became it.
            let is_text = !value.contains(char::REPLACEMENT_CHARACTER) || is_utf8();
            if !fits || !is_text {
                return Err(FormError::Value);
            }
            filled.push((name, value));
        }
        Ok(Self(filled))
    }

    /// Returns a field's value, or an empty text if it is missing.
    pub fn text(&self, name: &str) -> &str {
        let mut fields = self.0.iter();
        let found = fields.find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Whether a page's field takes a value.
pub(super) fn is_line(value: &str) -> bool {
    value.encode_utf16().count() <= MAX_VALUE && !value.contains(is_odd)
}

/// Whether a character cannot be typed or pasted in a line, as a tab can.
fn is_odd(c: char) -> bool {
    c.is_control() && c != '\t'
}

/// Prints only the names.
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
        assert_eq!(of(b"name=a%09b"), None, "it can be pasted");
        assert_eq!(of(b"name=%ff"), Some(FormError::Value));
        assert_eq!(of(b"name=\xff"), Some(FormError::Value));
        // This can be pasted, too: it may be what another program made of a text.
        assert_eq!(of(b"name=a+%EF%BF%BD%"), None);
        assert_eq!(of("name=\u{fffd}".as_bytes()), None);
        let both = of(b"name=%EF%BF%BD&csrf=%ff");
        assert_eq!(both, Some(FormError::Value));
        assert_eq!(
            of(format!("name={}", "x".repeat(1025)).as_bytes()),
            Some(FormError::Value)
        );
        assert_eq!(of(format!("name={}", "x".repeat(1024)).as_bytes()), None);
        // A browser's field takes 1024 units of UTF-16, however many bytes these are.
        for (text, units) in [("ü", 1), ("€", 1), ("😀", 2)] {
            let name = |count| format!("name={}", text.repeat(count));
            let most = 1024 / units;
            assert_eq!(of(name(most).as_bytes()), None, "{text}");
            let more = of(name(most + 1).as_bytes());
            assert_eq!(more, Some(FormError::Value), "{text}");
        }
        // No page has a field for the address of a page.
        let of = |length| {
            let body = format!("to={}", "x".repeat(length));
            Form::parse(TYPE, body.as_bytes(), &["to"]).err()
        };
        assert_eq!((of(8192), of(8193)), (None, Some(FormError::Value)));
        // The use case limits a password's length.
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
