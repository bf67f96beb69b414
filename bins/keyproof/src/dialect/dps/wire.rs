//! The wire format: header fields, and the JSON of requests and responses.

use std::io;

use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, StatusCode, header};
use jiff::{SignedDuration, civil, fmt::rfc2822::DateTimePrinter};
use keyproof_http::{Exchange, JsonObject, Response, with_body};
use keyproof_service::{
    Timestamp,
    certificates::{CertificateView, IssuedCode, Precondition, ProvisioningService, Upload},
};
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};
use serde_json::ser::Formatter;

use super::{
    errors::{Code, Refusal},
    version::ApiVersion,
};

/// The form of a certificate's subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectForm {
    /// `Acme Root`: only the common name, as recent versions of the real service return.
    CommonName,
    /// `CN=Acme Root,O=Acme`: the whole name, as in Azure's documentation.
    #[default]
    DistinguishedName,
}

/// The form of responses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) version: ApiVersion,
    pub(super) subject: SubjectForm,
}

/// Parses `If-Match` or `If-None-Match`. As clients differ, entity tags may be quoted or not, strong or weak.
pub(super) fn precondition(headers: &HeaderMap, name: HeaderName) -> Precondition {
    let mut tags = Vec::new();
    for field in headers.get_all(name) {
        for tag in field.to_str().unwrap_or_default().split(',') {
            let tag = tag.trim();
            if tag == "*" {
                return Precondition::Any;
            }
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            let quoted = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            tags.push(quoted.unwrap_or(tag).to_owned());
        }
    }
    if tags.is_empty() {
        Precondition::Missing
    } else {
        Precondition::OneOf(tags)
    }
}

/// Both forms of a PUT body: flat in versions up to 2021-10-15, nested in later ones.
#[derive(Default, Deserialize)]
struct CertificateBody {
    properties: Option<JsonObject<CertificateProperties>>,
    #[serde(flatten)]
    flat: CertificateProperties,
}

#[derive(Default, Deserialize)]
struct CertificateProperties {
    certificate: Option<String>,
    #[serde(rename = "isVerified")]
    is_verified: Option<bool>,
}

impl CertificateBody {
    /// Returns the nested properties if present, else the flat ones.
    fn properties(self) -> CertificateProperties {
        match self.properties {
            Some(JsonObject(nested)) => nested,
            None => self.flat,
        }
    }
}

/// Parses the body of a PUT.
pub(super) async fn upload(exchange: &mut Exchange, limit: usize) -> Result<Upload, Refusal> {
    let body: CertificateBody = json_body(exchange, limit).await?;
    let CertificateProperties {
        certificate,
        is_verified,
    } = body.properties();
    Ok(Upload {
        certificate: present(certificate)?,
        verified: is_verified,
    })
}

/// Parses the body of a verification.
pub(super) async fn leaf(exchange: &mut Exchange, limit: usize) -> Result<Vec<u8>, Refusal> {
    #[derive(Deserialize)]
    struct VerificationCodeRequest {
        certificate: Option<String>,
    }

    let body: VerificationCodeRequest = json_body(exchange, limit).await?;
    present(body.certificate)
}

fn present(certificate: Option<String>) -> Result<Vec<u8>, Refusal> {
    let present = certificate.filter(|text| !text.trim().is_empty());
    let present = present.ok_or(Code::CertificateMissing)?;
    Ok(present.into_bytes())
}

async fn json_body<T: DeserializeOwned>(
    exchange: &mut Exchange,
    limit: usize,
) -> Result<T, Refusal> {
    if !may_be_json(exchange.headers()) {
        return Err(Code::MediaTypeUnsupported.into());
    }
    let body = exchange.body(limit).await?;
    JsonObject::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Refusal::from(Code::BodyMalformed).because(&format_args!("line {line}, column {column}"))
    })
}

/// Returns whether the body may be JSON. By default, some tools label JSON as `text/plain` or as a form.
fn may_be_json(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|field| field.to_str().unwrap_or("?").split(','));
    if codings.any(|coding| !is_identity(coding.trim())) {
        return false;
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let value = value.to_str().unwrap_or("?").to_ascii_lowercase();
    let essence = value.split(';').next().unwrap_or_default().trim();
    match essence {
        "" | "application/octet-stream" | "application/x-www-form-urlencoded" | "text/plain" => {
            true
        }
        other => other.ends_with("/json") || other.ends_with("+json"),
    }
}

/// Returns whether this content coding is `identity`, which means none (RFC 9110, section 12.5.3).
fn is_identity(coding: &str) -> bool {
    coding.is_empty() || coding.eq_ignore_ascii_case("identity")
}

#[derive(Serialize)]
struct Envelope<'a, P> {
    properties: P,
    /// The certificate's path, with the names as they were first written.
    id: String,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    etag: String,
}

impl<'a, P> Envelope<'a, P> {
    fn of(view: &'a CertificateView, properties: P) -> Self {
        let CertificateView { service, name, .. } = view;
        let ProvisioningService {
            subscription,
            resource_group,
            name: service,
        } = service;
        Self {
            properties,
            id: format!(
                "/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/Microsoft.Devices\
                 /provisioningServices/{service}/certificates/{name}"
            ),
            name,
            kind: "Microsoft.Devices/provisioningServices/Certificates",
            etag: view.version.to_string(),
        }
    }
}

/// Bytes that [`Base64Octets`] encodes.
struct Octets<'a>(&'a [u8]);

impl Serialize for Octets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Formats compact JSON, with bytes as Base64 strings. These are written without a search for characters to escape, as
/// a certificate is most of a response.
struct Base64Octets;

impl Formatter for Base64Octets {
    fn write_byte_array<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        octets: &[u8],
    ) -> io::Result<()> {
        /// How many triples of bytes are encoded at once; each becomes four characters.
        const TRIPLES: usize = 256;
        let mut text = [0; 4 * TRIPLES];
        writer.write_all(b"\"")?;
        for part in octets.chunks(3 * TRIPLES) {
            // The buffer has room for a whole part.
            let room = text.get_mut(..BASE64.encode_len(part.len()));
            let text = room.unwrap_or_default();
            BASE64.encode_mut(part, text);
            writer.write_all(text)?;
        }
        writer.write_all(b"\"")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Properties<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_code: Option<&'a str>,
    subject: &'a str,
    expiry: String,
    thumbprint: &'a str,
    is_verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Octets<'a>>,
    created: String,
    updated: String,
}

impl<'a> Properties<'a> {
    fn of(view: &'a CertificateView, style: Style) -> Self {
        let description = &view.description;
        Self {
            verification_code: None,
            subject: match (style.subject, &description.subject_common_name) {
                (SubjectForm::CommonName, Some(name)) => name,
                _ => &description.subject,
            },
            expiry: http_date(description.not_after),
            thumbprint: &description.thumbprint,
            is_verified: view.verification.is_verified(),
            // azure-cli expects text here, so PEM is returned if PEM was uploaded.
            certificate: style.version.shows_certificate().then(|| match &view.pem {
                Some(pem) => Octets(pem.as_bytes()),
                None => Octets(&view.der),
            }),
            created: http_date_of(view.created_at),
            updated: http_date_of(view.updated_at),
        }
    }
}

pub(super) fn certificate(view: &CertificateView, style: Style) -> Response {
    ok(&Envelope::of(view, Properties::of(view, style)))
}

pub(super) fn list(views: &[CertificateView], style: Style) -> Response {
    #[derive(Serialize)]
    struct List<'a> {
        value: Vec<Envelope<'a, Properties<'a>>>,
    }

    let value = views
        .iter()
        .map(|view| Envelope::of(view, Properties::of(view, style)));
    ok(&List {
        value: value.collect(),
    })
}

pub(super) fn code(issued: &IssuedCode, style: Style) -> Response {
    let view = &issued.certificate;
    let properties = Properties {
        verification_code: Some(&issued.digits),
        ..Properties::of(view, style)
    };
    ok(&Envelope::of(view, properties))
}

/// The size of most responses, in bytes: one certificate with its PEM.
const ANSWER: usize = 4 * 1024;

fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

/// Returns a JSON response.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(ANSWER);
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, Base64Octets);
    // These types always serialise, as they have no maps with keys other than strings.
    if body.serialize(&mut serializer).is_err() {
        text.clear();
    }
    with_body(status, "application/json; charset=utf-8", text)
}

const HTTP_DATE: DateTimePrinter = DateTimePrinter::new();

/// Formats seconds since the Unix epoch as `Fri, 06 May 2022 17:50:01 GMT` (RFC 9110, section 5.6.7).
///
/// Certificates without an end are valid until the last second of the year 9999 (RFC 5280, section 4.1.2.5), which is
/// beyond `jiff`'s timestamps. Such times are formatted by `jiff`'s calendar types.
fn http_date(seconds: i64) -> String {
    let moment = jiff::Timestamp::from_second(seconds).ok();
    let written = moment.and_then(|at| HTTP_DATE.timestamp_to_rfc9110_string(&at).ok());
    if let Some(written) = written {
        return written;
    }
    let since = SignedDuration::from_secs(seconds);
    civil::date(1970, 1, 1)
        .at(0, 0, 0, 0)
        .saturating_add(since)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

fn http_date_of(time: Timestamp) -> String {
    http_date(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn dates_have_two_digit_days_and_reach_to_the_end_of_9999() {
        for (seconds, text) in [
            (-631_152_000, "Sun, 01 Jan 1950 00:00:00 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_651_859_401, "Fri, 06 May 2022 17:50:01 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(seconds), text);
        }
    }

    #[test]
    fn entity_tags_are_read_as_clients_write_them() {
        let of = |fields: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::IF_MATCH, HeaderValue::from_static(field));
            }
            precondition(&headers, header::IF_MATCH)
        };
        let tags =
            |tags: &[&str]| Precondition::OneOf(tags.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(of(&[]), Precondition::Missing);
        for field in ["abc", "\"abc\"", "W/\"abc\"", " abc ", "W/abc"] {
            assert_eq!(of(&[field]), tags(&["abc"]), "{field}");
        }
        for fields in [&["*"][..], &["\"a\", *"], &["\"a\"", "*"]] {
            assert_eq!(of(fields), Precondition::Any, "{fields:?}");
        }
        assert_eq!(of(&["\"a\", W/\"b\"", "c"]), tags(&["a", "b", "c"]));
        // A single quote mark is part of a tag, and an empty tag differs from an absent header.
        assert_eq!(of(&["\"abc"]), tags(&["\"abc"]));
        assert_eq!(of(&[""]), tags(&[""]));
        assert_eq!(of(&["\"*\""]), tags(&["*"]));
    }

    #[test]
    fn octets_are_one_text_in_base64_whatever_their_number() {
        for length in [0, 1, 2, 3, 767, 768, 769, 770, 1536, 3000] {
            let octets: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            let response = json(StatusCode::OK, &[Octets(&octets)]);
            let body = response.into_body().into_inner();
            let expected = format!(r#"["{}"]"#, BASE64.encode(&octets));
            assert_eq!(body.as_deref(), Some(expected.as_bytes()), "{length}");
        }
    }

    #[test]
    fn both_forms_of_a_body_are_read() {
        let read = |json: &str| {
            let body: CertificateBody = serde_json::from_str(json).unwrap();
            let properties = body.properties();
            (properties.certificate, properties.is_verified)
        };
        let certificate = || Some("abc".to_owned());
        for (json, verified) in [
            (r#"{"certificate":"abc"}"#, None),
            (
                r#"{"certificate":"abc","isVerified":null,"properties":null}"#,
                None,
            ),
            (r#"{"certificate":"abc","isVerified":true}"#, Some(true)),
            (
                r#"{"properties":{"certificate":"abc","isVerified":false}}"#,
                Some(false),
            ),
            (
                r#"{"name":"x","certificate":"not this","properties":{"certificate":"abc","subject":"x"}}"#,
                None,
            ),
        ] {
            assert_eq!(read(json), (certificate(), verified), "{json}");
        }
        for wrong in [
            "",
            "[]",
            "7",
            r#"{"certificate":7}"#,
            r#"{"isVerified":"true"}"#,
            r#"{"properties":[]}"#,
            r#"{"properties":["abc",true]}"#,
            r#"["abc",true]"#,
            r#"{"properties":"abc"}"#,
            r#"{"certificate":"a","certificate":"b"}"#,
        ] {
            assert!(
                serde_json::from_str::<JsonObject<CertificateBody>>(wrong).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn only_what_is_plainly_no_json_is_refused_for_its_type() {
        let may = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            may_be_json(&headers)
        };
        assert!(may_be_json(&HeaderMap::new()));
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "text/json",
            "application/merge-patch+json",
            "text/plain; charset=utf-8",
            "application/x-www-form-urlencoded",
            "application/octet-stream",
            "",
        ] {
            assert!(may(json), "{json}");
        }
        for other in [
            "application/xml",
            "text/html",
            "image/png",
            "application/pkix-cert",
        ] {
            assert!(!may(other), "{other}");
        }
    }
}
