//! Request bodies: inflated under the stack's limit, then read as one JSON object, member by member.

use std::{collections::BTreeMap, fmt, io::Read};

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::header;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::errors::{Code, Refusal};
use crate::http::Exchange;

/// The members of a JSON object, each still unread. Members that nobody asks for are ignored.
pub(super) struct Members {
    members: BTreeMap<String, Box<RawValue>>,
    /// How many were asked for: the `line` of an error.
    asked: usize,
}

/// Reads the body of a request as a JSON object.
pub(super) async fn members(exchange: &mut Exchange) -> Result<Members, Refusal> {
    let body = exchange.body().await?;
    let limit = exchange.body_limit();
    let codings = exchange.headers().get_all(header::CONTENT_ENCODING);
    let mut codings = codings.iter().map(|coding| coding.to_str().unwrap_or("?"));
    let body = match (codings.next(), codings.next()) {
        (None, _) => body,
        (Some(coding), None) => inflate(coding, body, limit)?,
        (Some(_), Some(_)) => return Err(Code::CompressionInvalid.into()),
    };
    Members::parse(&body)
}

/// Undoes one content coding (RFC 9110, section 8.4.1).
fn inflate(coding: &str, body: Bytes, limit: usize) -> Result<Bytes, Refusal> {
    match coding.to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => bounded(MultiGzDecoder::new(&*body), limit),
        "deflate" => bounded(ZlibDecoder::new(&*body), limit),
        "identity" | "" => Ok(body),
        _ => Err(Code::CompressionInvalid.into()),
    }
}

fn bounded(inflated: impl Read, limit: usize) -> Result<Bytes, Refusal> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    match inflated.take(most).read_to_end(&mut bytes) {
        Ok(length) if length > limit => Err(Code::UploadExceedsLimit.into()),
        Ok(_) => Ok(bytes.into()),
        Err(_) => Err(Code::CompressionInvalid.into()),
    }
}

impl Members {
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let outer: Box<RawValue> =
            serde_json::from_slice(body).map_err(|_| Refusal::from(Code::JsonInvalid))?;
        match serde_json::from_str(outer.get()) {
            Ok(Object(members)) => Ok(Self { members, asked: 0 }),
            // JSON, but no object, or one that says a thing twice.
            Err(_) => Err(Refusal::field(None, 0)),
        }
    }

    /// A member that must be there.
    pub(super) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Refusal> {
        self.required_with(name, |json| serde_json::from_str(json).ok())
    }

    /// A member that may be absent; `null` is absent.
    pub(super) fn optional<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, Refusal> {
        self.optional_with(name, |json| serde_json::from_str(json).ok())
    }

    /// A member that must be there, read in its own way; `None` refuses it.
    pub(super) fn required_with<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Refusal> {
        let value = self.optional_with(name, read)?;
        value.ok_or_else(|| Refusal::field(Some(name), self.asked - 1))
    }

    /// A member that may be absent, read in its own way; `None` refuses it.
    pub(super) fn optional_with<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let line = self.asked;
        self.asked += 1;
        match self.members.get(name).map(|raw| raw.get()) {
            None | Some("null") => Ok(None),
            Some(json) => read(json)
                .map(Some)
                .ok_or_else(|| Refusal::field(Some(name), line)),
        }
    }
}

/// An object none of whose members is there twice: two readers could read two different things in such a one.
struct Object(BTreeMap<String, Box<RawValue>>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object, M::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if members.insert(name, value).is_some() {
                        return Err(M::Error::custom("a member is there twice"));
                    }
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Once)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};

    use super::*;

    fn code<T>(result: Result<T, Refusal>) -> Option<Code> {
        result.err().map(|refusal| refusal.code())
    }

    fn of(json: &str) -> Members {
        Members::parse(json.as_bytes()).unwrap_or_else(|_| panic!("refused: {json}"))
    }

    #[test]
    fn members_are_read_strictly_one_by_one() {
        let mut members =
            of(r#" {"a": 5, "b": null, "c": "5", "d": 1.0, "e": -1, "more": {"a": 1}} "#);
        assert_eq!(members.required::<u64>("a").ok(), Some(5));
        assert_eq!(members.optional::<u64>("b").ok(), Some(None));
        assert_eq!(members.optional::<u64>("absent").ok(), Some(None));
        for name in ["c", "d", "e"] {
            assert_eq!(
                code(members.optional::<u64>(name)),
                Some(Code::JsonInvalid),
                "{name}"
            );
        }
        assert_eq!(code(members.required::<u64>("b")), Some(Code::JsonInvalid));
        assert_eq!(
            code(members.required::<String>("absent")),
            Some(Code::JsonInvalid)
        );
    }

    #[test]
    fn only_one_object_said_once_is_read() {
        let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for wrong in [
            "",
            "{",
            "[]",
            "7",
            "null",
            r#"{"a":1}{"b":2}"#,
            r#"{"a":1,"a":1}"#,
            "\u{feff}{}",
            &nested,
        ] {
            assert_eq!(
                code(Members::parse(wrong.as_bytes())),
                Some(Code::JsonInvalid),
                "{wrong:.40}"
            );
        }
        assert_eq!(
            code(Members::parse(b"{\"a\":\"\xff\"}")),
            Some(Code::JsonInvalid)
        );
        assert!(
            Members::parse(br#"{"a":{"b":1,"b":2}}"#).is_ok(),
            "what nobody asks for is ignored"
        );
    }

    #[test]
    fn bodies_inflate_within_the_limit_and_no_further() {
        let gzip = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(bytes).unwrap();
            Bytes::from(encoder.finish().unwrap())
        };
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"{}").unwrap();
        assert_eq!(&*inflate("GZip", gzip(b"{}"), 2).ok().unwrap(), b"{}");
        assert_eq!(
            &*inflate("deflate", zlib.finish().unwrap().into(), 2)
                .ok()
                .unwrap(),
            b"{}"
        );
        let bomb = gzip(&vec![b' '; 1 << 20]);
        assert!(bomb.len() < 2_000);
        assert_eq!(
            code(inflate("gzip", bomb, 10_000)),
            Some(Code::UploadExceedsLimit)
        );
        let whole = gzip(b"{}");
        for broken in [
            &whole[..whole.len() - 1],
            &whole[..10],
            b"{}",
            b"",
            &[&whole[..], b"junk"].concat(),
        ] {
            let refused = inflate("gzip", Bytes::copy_from_slice(broken), 100);
            assert_eq!(code(refused), Some(Code::CompressionInvalid), "{broken:?}");
        }
        assert_eq!(
            code(inflate("br", whole, 100)),
            Some(Code::CompressionInvalid)
        );
    }
}
