//! A form with a file as a browser sends it (`multipart/form-data`, RFC 7578), parsed as strictly as in `form`: it has
//! only parts of our page, each at most once, and within its length limit. All of it stays in memory, and file names
//! are ignored.

use std::str;

use bytes::Bytes;
use http_body_util::{BodyDataStream, Full};
use multer::{Constraints, Field, SizeLimit};
use zeroize::Zeroizing;

use super::form::{CSRF, FormError, MAX_BYTES, is_line};

/// A part that a page's form has.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// A field with one line of text, validated like one of a plain form.
    Line(&'static str),
    /// A file, or a field of several lines, with its maximum length in bytes.
    Upload(&'static str, usize),
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Line(name) | Self::Upload(name, _) => name,
        }
    }

    const fn limit(self) -> usize {
        match self {
            Self::Line(_) => MAX_BYTES,
            Self::Upload(_, limit) => limit,
        }
    }
}

/// The longest boundary, RFC 2046, section 5.1.1.
const BOUNDARY: usize = 70;

/// The parts of a form with their contents.
pub struct Multipart(Vec<(&'static str, Zeroizing<Vec<u8>>)>);

impl Multipart {
    /// Parses a body that may have only these parts, and the page's own.
    ///
    /// # Errors
    ///
    /// [`FormError`].
    pub async fn parse(
        content_type: Option<&str>,
        body: Bytes,
        parts: &[Part],
    ) -> Result<Self, FormError> {
        let boundary = content_type.and_then(|text| multer::parse_boundary(text).ok());
        let boundary = boundary.filter(|boundary| boundary.len() <= BOUNDARY);
        let boundary = boundary.ok_or(FormError::ContentType)?;
        // multer would skip anything before it.
        let delimiter = body.strip_prefix(b"--");
        if !delimiter.is_some_and(|rest| rest.starts_with(boundary.as_bytes())) {
            return Err(FormError::Fields);
        }
        let csrf = Part::Line(CSRF);
        let known = || parts.iter().copied().chain([csrf]);
        let mut limits = SizeLimit::new().per_field(0);
        for part in known() {
            let limit = u64::try_from(part.limit()).unwrap_or(u64::MAX);
            limits = limits.for_field(part.name(), limit);
        }
        let names: Vec<&str> = known().map(Part::name).collect();
        let constraints = Constraints::new().allowed_fields(names).size_limit(limits);
        let stream = BodyDataStream::new(Full::new(body));
        let mut form = multer::Multipart::with_constraints(stream, boundary, constraints);
        let mut filled: Vec<(&'static str, Zeroizing<Vec<u8>>)> = Vec::new();
        while let Some(field) = form.next_field().await.map_err(|why| refusal(&why))? {
            let part = known().find(|part| field.name() == Some(part.name()));
            let part = part.filter(|part| !filled.iter().any(|(name, _)| *name == part.name()));
            // This also limits the number of parts.
            let part = part.ok_or(FormError::Fields)?;
            if !is_plain(&field) {
                return Err(FormError::Fields);
            }
            let value = field.bytes().await.map_err(|why| refusal(&why))?;
            let value = Zeroizing::new(Vec::from(value));
            if let Part::Line(_) = part
                && !str::from_utf8(&value).is_ok_and(is_line)
            {
                return Err(FormError::Value);
            }
            filled.push((part.name(), value));
        }
        Ok(Self(filled))
    }

    /// Returns a part's contents, or nothing if it is missing.
    pub fn bytes(&self, name: &str) -> &[u8] {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map_or(&[], |(_, value)| value)
    }

    /// Returns a part's contents as text, or an empty text if it is not UTF-8.
    pub fn text(&self, name: &str) -> &str {
        str::from_utf8(self.bytes(name)).unwrap_or_default()
    }
}

/// Prints only the names.
impl std::fmt::Debug for Multipart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

/// Whether a part has no transfer encoding. Browsers send none (RFC 7578, section 4.7).
fn is_plain(field: &Field<'_>) -> bool {
    let mut headers = field.headers().keys();
    headers.all(|name| ["content-disposition", "content-type"].contains(&name.as_str()))
}

fn refusal(why: &multer::Error) -> FormError {
    match why {
        multer::Error::FieldSizeExceeded { .. } => FormError::Value,
        _ => FormError::Fields,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sites::form::MAX_VALUE;

    const TYPE: Option<&str> = Some("multipart/form-data; boundary=----WebKitFormBoundary7MA4");

    const PARTS: [Part; 2] = [Part::Line("name"), Part::Upload("file", 100)];

    /// Builds a body from parts, each with a head and a value.
    fn body(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (head, value) in parts {
            body.extend_from_slice(b"------WebKitFormBoundary7MA4\r\n");
            body.extend_from_slice(
                format!("Content-Disposition: form-data; {head}\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(value);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"------WebKitFormBoundary7MA4--\r\n");
        body
    }

    async fn parse(body: Vec<u8>) -> Result<Multipart, FormError> {
        Multipart::parse(TYPE, body.into(), &PARTS).await
    }

    async fn refused(parts: &[(&str, &[u8])]) -> Option<FormError> {
        parse(body(parts)).await.err()
    }

    #[tokio::test]
    async fn a_form_is_what_our_page_has() {
        let file = b"\x30\x82\r\n--\r\n\0\xff";
        let form = parse(body(&[
            (r#"name="csrf""#, b"t"),
            (r#"name="name""#, "caf\u{e9} <b>".as_bytes()),
            ("name=\"file\"; filename=\"..\u{202e}/a;name=x.pem\"\r\nContent-Type: application/x-pem-file", file),
        ]))
        .await
        .unwrap();
        assert_eq!(form.text("csrf"), "t");
        assert_eq!(form.text("name"), "café <b>");
        assert_eq!(form.bytes("file"), file);
        assert_eq!(form.text("file"), "", "it is no text");
        assert_eq!(form.bytes("other"), b"");
        assert_eq!(format!("{form:?}"), r#"["csrf", "name", "file"]"#);
    }

    #[tokio::test]
    async fn a_file_that_was_not_chosen_is_empty() {
        let form = parse(body(&[(r#"name="file"; filename="""#, b"")])).await;
        assert_eq!(form.unwrap().bytes("file"), b"");
    }

    #[tokio::test]
    async fn what_the_page_has_not_is_refused() {
        let fields = Some(FormError::Fields);
        assert_eq!(refused(&[(r#"name="other""#, b"1")]).await, fields);
        assert_eq!(refused(&[(r#"filename="file""#, b"1")]).await, fields);
        let twice: [(&str, &[u8]); 2] = [(r#"name="name""#, b"1"), (r#"name="name""#, b"2")];
        assert_eq!(refused(&twice).await, fields);
        for head in [
            "name=\"file\"\r\nContent-Transfer-Encoding: base64",
            "name=\"file\"\r\nX-Other: 1",
        ] {
            assert_eq!(refused(&[(head, b"1")]).await, fields, "{head}");
        }
    }

    #[tokio::test]
    async fn what_is_too_long_or_no_line_is_refused() {
        let value = Some(FormError::Value);
        let head = r#"name="name""#;
        for text in ["x", "ü", "€"] {
            let name = text.repeat(MAX_VALUE);
            assert_eq!(refused(&[(head, name.as_bytes())]).await, None, "{text}");
            let longer = name + text;
            assert_eq!(refused(&[(head, longer.as_bytes())]).await, value, "{text}");
        }
        assert_eq!(refused(&[(head, "\u{fffd}".as_bytes())]).await, None);
        for wrong in [&b"a\nb"[..], b"\0", b"\xff"] {
            assert_eq!(refused(&[(head, wrong)]).await, value, "{wrong:?}");
        }
        let head = r#"name="file""#;
        assert_eq!(refused(&[(head, &[0; 101])]).await, value);
        assert_eq!(refused(&[(head, &[0; 100])]).await, None);
    }

    #[tokio::test]
    async fn what_is_no_such_form_is_refused() {
        let good = body(&[(r#"name="name""#, b"1")]);
        for wrong in [
            None,
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data"),
            Some("multipart/mixed; boundary=----WebKitFormBoundary7MA4"),
            Some(&*format!(
                "multipart/form-data; boundary={}",
                "x".repeat(71)
            )),
        ] {
            let form = Multipart::parse(wrong, good.clone().into(), &PARTS).await;
            assert_eq!(form.err(), Some(FormError::ContentType), "{wrong:?}");
        }
        for end in 0..good.len() - 4 {
            let cut = good.get(..end).unwrap().to_vec();
            assert_eq!(parse(cut).await.err(), Some(FormError::Fields), "{end}");
        }
        let preamble = [b"preamble\r\n", &*good].concat();
        assert_eq!(parse(preamble).await.err(), Some(FormError::Fields));
        assert_eq!(parse(Vec::new()).await.err(), Some(FormError::Fields));
    }

    #[tokio::test]
    async fn no_body_is_waited_for_or_broken_on() {
        let good = body(&[
            (r#"name="name""#, b"1"),
            (r#"name="file"; filename="a""#, b"\r\n--"),
        ]);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bad = good.clone();
            for _ in 0..random.usize(1..8) {
                let at = random.usize(..bad.len());
                match random.u8(..4) {
                    0 => bad[at] = random.u8(..),
                    1 => bad.truncate(at.max(1)),
                    2 => bad.insert(at, *random.choice(b"\r\n-\";:=\0").unwrap()),
                    _ => {
                        bad.remove(at.min(bad.len() - 1));
                    }
                }
                if bad.is_empty() {
                    bad.push(b'-');
                }
            }
            let _ = parse(bad).await;
        }
    }
}
