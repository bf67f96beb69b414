//! Header fields for the trace collector, such as an API key. As they are secret, the configuration contains only their
//! location.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use keyproof_store::file::NamedFile;
use zeroize::Zeroizing;

use crate::store::{Access, Exposure};

/// The name of the systemd credential (`LoadCredential=keyproof-otlp-headers:…`).
const CREDENTIAL: &str = "keyproof-otlp-headers";

/// The largest file, in bytes.
const LONGEST_FILE: usize = 16 * 1024;

/// The header fields that each request to the collector already has.
const OURS: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TRANSFER_ENCODING,
];

/// The location of the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorFields {
    path: PathBuf,
    /// The access that others may have to the file. systemd protects its own.
    others: Access,
}

/// Why the fields could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CollectorFieldsError {
    /// The file cannot be read.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// A line is malformed.
    #[error("{}:{line}: {problem}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Others may read or write the file.
    #[error("{} {exposure}: chmod 600 it", .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Their access.
        exposure: Exposure,
    },
}

impl CollectorFields {
    /// Returns the first location that is present: a named file, or a credentials directory that contains the
    /// credential.
    pub(crate) fn choose(file: Option<PathBuf>, credentials: Option<PathBuf>) -> Option<Self> {
        let named = file.map(|path| Self {
            path,
            others: Access::Nobody,
        });
        named.or_else(|| {
            let path = credentials?.join(CREDENTIAL);
            path.exists().then_some(Self {
                path,
                others: Access::Read,
            })
        })
    }

    /// Reads the fields.
    ///
    /// # Errors
    ///
    /// [`CollectorFieldsError`], which does not quote the file.
    pub fn read(&self) -> Result<HeaderMap, CollectorFieldsError> {
        let path = || self.path.clone();
        let failed = |source| CollectorFieldsError::File {
            path: path(),
            source,
        };
        let file = NamedFile::open(&self.path).map_err(failed)?;
        if let Some(exposure) = Exposure::of(file.metadata(), self.others) {
            return Err(CollectorFieldsError::Permissions {
                path: path(),
                exposure,
            });
        }
        let text = file.read(LONGEST_FILE).map_err(failed)?;
        parse(&text, &self.path)
    }
}

/// Parses `name: value` lines. Ignores empty lines and those that begin with `#`.
fn parse(text: &[u8], path: &Path) -> Result<HeaderMap, CollectorFieldsError> {
    let mut fields = HeaderMap::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let (name, value) = field(line).map_err(|problem| CollectorFieldsError::Line {
            path: path.to_owned(),
            line: number + 1,
            problem,
        })?;
        fields.append(name, value);
    }
    Ok(fields)
}

fn field(line: &[u8]) -> Result<(HeaderName, HeaderValue), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.ok_or("not `name: value`")?);
    let name = HeaderName::from_bytes(name).map_err(|_| "not the name of a header field")?;
    if OURS.contains(&name) {
        return Err("a field that each request has already");
    }
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    // Zeroised when the last request that uses it is dropped.
    let value = Bytes::from_owner(Zeroizing::new(value.to_vec()));
    let mut value =
        HeaderValue::from_maybe_shared(value).map_err(|_| "not the value of a header field")?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<HeaderMap, CollectorFieldsError> {
        parse(text.as_bytes(), Path::new("fields"))
    }

    #[test]
    fn fields_are_lines_and_what_is_none_is_refused_without_being_quoted() {
        let fields =
            parsed("# of the vendor\n\nApi-Key: hunter2:3\r\nx-scope:a\nx-scope: b").unwrap();
        assert_eq!(fields["api-key"], "hunter2:3");
        assert_eq!(fields.get_all("x-scope").iter().count(), 2);
        assert!(fields.values().all(HeaderValue::is_sensitive));
        assert!(!format!("{fields:?}").contains("hunter2"));
        assert!(parsed("").unwrap().is_empty());
        for (text, says) in [
            ("hunter2", "fields:1: not `name: value`"),
            ("a: b\n: hunter2", "fields:2: not the name"),
            ("hunter 2: x", "fields:1: not the name"),
            ("a: hunter\u{7f}2", "fields:1: not the value"),
            ("Host: hunter2", "fields:1: a field that each request"),
            ("content-type: hunter2", "fields:1: a field that each"),
        ] {
            let refused = parsed(text).unwrap_err().to_string();
            assert!(refused.starts_with(says), "{refused}");
            assert!(!refused.contains("hunter2"));
        }
    }
}
