//! Request bodies: decompressed within the stack's limit, then parsed as one JSON object.

use std::{collections::BTreeMap, io::Read};

use bytes::Bytes;
use flate2::bufread::{GzDecoder, ZlibDecoder};
use http::header;
use keyproof_http::{Exchange, UniqueMembers};
use keyproof_service::CpuQueue;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::errors::{Code, Refusal};

/// The unparsed members of a JSON object. Unknown members are ignored.
pub(super) struct Members {
    members: BTreeMap<String, Box<RawValue>>,
    fields: Fields,
}

/// The members that a body may have, in the order of the specification.
#[derive(Clone, Copy)]
pub(super) struct Fields(pub(super) &'static [&'static str]);

impl Fields {
    /// Returns the `line` of an error about this member: its position in the specification.
    pub(super) fn line(self, name: &str) -> usize {
        let place = self.0.iter().position(|field| *field == name);
        place.unwrap_or(self.0.len())
    }
}

/// The most members of a gzip file. Clients send one. Each costs the setup of a decoder, even if it is tiny.
const MAX_GZIP_MEMBERS: usize = 16;

/// Reads the body, of at most `needed` bytes, as a JSON object. Decompression counts against the party's share.
pub(super) async fn members(
    exchange: &mut Exchange,
    needed: usize,
    inflating: &CpuQueue,
    party: &str,
) -> Result<Members, Refusal> {
    let body = exchange.body(needed).await?;
    let limit = exchange.body_limit(needed);
    let codings = exchange.headers().get_all(header::CONTENT_ENCODING);
    let mut codings = codings.iter().map(|coding| coding.to_str().unwrap_or("?"));
    let coding = match (codings.next(), codings.next()) {
        (coding, None) => Coding::of(coding.unwrap_or_default())?,
        (_, Some(_)) => return Err(Code::CompressionInvalid.into()),
    };
    let body = match coding {
        Coding::Identity => body,
        coding => {
            inflating
                .run_for(party, move || coding.inflate(&body, limit))
                .await??
        }
    };
    Members::parse(&body)
}

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Clone, Copy)]
enum Coding {
    Deflate,
    Gzip,
    Identity,
}

impl Coding {
    fn of(name: &str) -> Result<Self, Refusal> {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            "identity" | "" => Ok(Self::Identity),
            _ => Err(Code::CompressionInvalid.into()),
        }
    }

    fn inflate(self, body: &[u8], limit: usize) -> Result<Bytes, Refusal> {
        let mut inflated = Vec::new();
        match self {
            Self::Deflate => {
                let mut rest = body;
                append(ZlibDecoder::new(&mut rest), &mut inflated, limit)?;
                if !rest.is_empty() {
                    return Err(Code::CompressionInvalid.into());
                }
            }
            Self::Gzip => gunzip(body, &mut inflated, limit)?,
            Self::Identity => return Ok(Bytes::copy_from_slice(body)),
        }
        Ok(inflated.into())
    }
}

/// Decompresses the members of a gzip file one after the other (RFC 1952, section 2.2).
fn gunzip(mut body: &[u8], inflated: &mut Vec<u8>, limit: usize) -> Result<(), Refusal> {
    for _ in 0..MAX_GZIP_MEMBERS {
        append(GzDecoder::new(&mut body), inflated, limit)?;
        if body.is_empty() {
            return Ok(());
        }
    }
    let detail = format!("more than {MAX_GZIP_MEMBERS} gzip members");
    Err(Refusal::from(Code::CompressionInvalid).with_detail(detail))
}

/// Appends the decompressed data, unless the whole would exceed the limit.
fn append(inflating: impl Read, inflated: &mut Vec<u8>, limit: usize) -> Result<(), Refusal> {
    let most = limit.saturating_sub(inflated.len()).saturating_add(1);
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    match inflating.take(most).read_to_end(inflated) {
        Ok(_) if inflated.len() > limit => Err(Code::UploadExceedsLimit.into()),
        Ok(_) => Ok(()),
        Err(_) => Err(Code::CompressionInvalid.into()),
    }
}

impl Members {
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let outer: Box<RawValue> =
            serde_json::from_slice(body).map_err(|_| Refusal::from(Code::JsonInvalid))?;
        match serde_json::from_str(outer.get()) {
            Ok(UniqueMembers(members)) => Ok(Self {
                members,
                fields: Fields(&[]),
            }),
            // Not an object, or an object with a duplicate member.
            Err(_) => Err(Refusal::field(None, 0)),
        }
    }

    /// Sets the specification of the members.
    pub(super) fn of(self, fields: Fields) -> Self {
        Self { fields, ..self }
    }

    /// Parses a required member.
    pub(super) fn required<T: DeserializeOwned>(&self, name: &str) -> Result<T, Refusal> {
        self.required_with(name, |json| serde_json::from_str(json).ok())
    }

    /// Parses an optional member; `null` is absent.
    pub(super) fn optional<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Refusal> {
        self.optional_with(name, |json| serde_json::from_str(json).ok())
    }

    /// Parses a required member with `read`, which returns `None` to reject it.
    pub(super) fn required_with<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Refusal> {
        let value = self.optional_with(name, read)?;
        value.ok_or_else(|| self.refuse(name))
    }

    /// Parses an optional member with `read`, which returns `None` to reject it.
    pub(super) fn optional_with<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        match self.members.get(name).map(|raw| raw.get()) {
            None | Some("null") => Ok(None),
            Some(json) => read(json).map(Some).ok_or_else(|| self.refuse(name)),
        }
    }

    fn refuse(&self, name: &str) -> Refusal {
        Refusal::field(Some(name), self.fields.line(name))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn code<T>(result: Result<T, Refusal>) -> Option<Code> {
        result.err().map(|refusal| refusal.code())
    }

    fn of(json: &str) -> Members {
        Members::parse(json.as_bytes()).unwrap_or_else(|_| panic!("refused: {json}"))
    }

    #[test]
    fn members_are_read_strictly_one_by_one() {
        let members = of(r#" {"a": 5, "b": null, "c": "5", "d": 1.0, "e": -1, "more": {"a": 1}} "#);
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

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(coding: &str, body: &[u8], limit: usize) -> Result<Bytes, Refusal> {
        Coding::of(coding)?.inflate(body, limit)
    }

    #[test]
    fn bodies_inflate_within_the_limit_and_no_further() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"{}").unwrap();
        let zlib = zlib.finish().unwrap();
        assert_eq!(&*inflate("GZip", &gzip(b"{}"), 2).ok().unwrap(), b"{}");
        assert_eq!(&*inflate("deflate", &zlib, 2).ok().unwrap(), b"{}");
        for broken in [&zlib[..zlib.len() - 1], &[&zlib[..], b"junk"].concat()] {
            let refused = inflate("deflate", broken, 100);
            assert_eq!(code(refused), Some(Code::CompressionInvalid), "{broken:?}");
        }
        let bomb = gzip(&vec![b' '; 1 << 20]);
        assert!(bomb.len() < 2_000);
        assert_eq!(
            code(inflate("gzip", &bomb, 10_000)),
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
            let refused = inflate("gzip", broken, 100);
            assert_eq!(code(refused), Some(Code::CompressionInvalid), "{broken:?}");
        }
        assert_eq!(
            code(inflate("br", &whole, 100)),
            Some(Code::CompressionInvalid)
        );
    }

    #[test]
    fn a_few_gzip_members_are_one_body_and_many_are_refused() {
        let halves = [gzip(b"{"), gzip(b"}")].concat();
        assert_eq!(&*inflate("gzip", &halves, 2).ok().unwrap(), b"{}");
        assert_eq!(
            code(inflate("gzip", &halves, 1)),
            Some(Code::UploadExceedsLimit)
        );
        let members = |number| [gzip(b"{}"), gzip(b"").repeat(number - 1)].concat();
        let most = inflate("gzip", &members(MAX_GZIP_MEMBERS), 2);
        assert_eq!(&*most.ok().unwrap(), b"{}");
        for number in [MAX_GZIP_MEMBERS + 1, (1 << 20) / gzip(b"").len()] {
            let refused = inflate("gzip", &members(number), 2);
            assert_eq!(code(refused), Some(Code::CompressionInvalid), "{number}");
        }
    }
}
