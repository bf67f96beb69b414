//! The path of a request. It is split at `/` first and then percent-decoded, so that `%2F` can be part of an id.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::limits::MAX_SEGMENTS;

/// The segments of a request's path.
///
/// `/a/b` has the segments `a`, `b`; `/a/` has `a` and an empty one; `/` has one empty segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath {
    /// The decoded segments, concatenated.
    text: String,
    /// The end of each segment in `text`.
    ends: Vec<Result<usize, SegmentFault>>,
}

impl RequestPath {
    /// Splits and decodes a raw path from the request line, without its query.
    pub fn parse(raw: &str) -> Self {
        let raw = raw.strip_prefix('/').unwrap_or(raw);
        let mut text = String::with_capacity(raw.len());
        let slashes = raw.bytes().filter(|byte| *byte == b'/').count();
        let mut ends = Vec::with_capacity(slashes + 1);
        ends.extend(raw.split('/').map(|segment| {
            text.push_str(&decode(segment)?);
            Ok(text.len())
        }));
        Self { text, ends }
    }

    /// Parses a path, but at most one segment more than [`MAX_SEGMENTS`]. The application that claims it by its first
    /// segments has no path of that length, and reports that after authentication.
    pub(crate) fn of_target(raw: &str) -> Self {
        let behind = raw.match_indices('/').nth(MAX_SEGMENTS + 1);
        let looked_at = behind.and_then(|(end, _)| raw.get(..end));
        Self::parse(looked_at.unwrap_or(raw))
    }

    fn iter(&self) -> impl Iterator<Item = Result<&str, SegmentFault>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let end = (*end)?;
            let segment = self.text.get(start..end).unwrap_or_default();
            start = end;
            Ok(segment)
        })
    }

    /// Returns the decoded segments, for matching against slice patterns.
    ///
    /// # Errors
    ///
    /// [`PathError`] for the first segment that cannot be decoded.
    pub fn segments(&self) -> Result<Vec<&str>, PathError> {
        let mut segments = Vec::with_capacity(self.ends.len());
        for (segment, decoded) in self.iter().enumerate() {
            segments.push(decoded.map_err(|fault| PathError { segment, fault })?);
        }
        Ok(segments)
    }

    /// Returns the decoded segments, with `%` for those that cannot be decoded. For [`Application::claims`], where such a
    /// segment does not matter.
    ///
    /// [`Application::claims`]: crate::Application::claims
    pub fn lossy_segments(&self) -> Vec<&str> {
        self.iter().map(|segment| segment.unwrap_or("%")).collect()
    }

    /// Returns the first segment if it can be decoded. For an [`Application::claims`] with its own comparison.
    ///
    /// [`Application::claims`]: crate::Application::claims
    pub fn first(&self) -> Option<&str> {
        self.iter().next()?.ok()
    }

    /// Returns the decoded segment of a path with exactly one.
    pub(crate) fn only(&self) -> Option<&str> {
        match self.ends.as_slice() {
            [Ok(_)] => Some(&self.text),
            _ => None,
        }
    }

    /// Returns whether the path begins with these decoded segments. For [`Application::claims`].
    ///
    /// A segment that cannot be decoded equals nothing. Those after the prefix do not matter.
    ///
    /// [`Application::claims`]: crate::Application::claims
    pub fn starts_with(&self, prefix: &[&str]) -> bool {
        self.ends.len() >= prefix.len()
            && std::iter::zip(self.iter(), prefix)
                .all(|(segment, expected)| segment == Ok(*expected))
    }
}

/// A path segment that is not percent-encoded UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path segment {}: {fault}", segment + 1)]
pub struct PathError {
    /// The index of the segment, from 0.
    pub segment: usize,
    /// What is wrong with it.
    pub fault: SegmentFault,
}

/// What is wrong with a path segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentFault {
    /// The decoded bytes are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("a % that begins no escape")]
    StrayPercent,
}

fn decode(segment: &str) -> Result<Cow<'_, str>, SegmentFault> {
    if !segment.contains('%') {
        return Ok(segment.into());
    }
    // The library keeps an invalid `%` as it is, but in a path it is an error.
    let mut parts = segment.split('%');
    parts.next();
    let is_escape = |rest: &str| {
        let mut bytes = rest.bytes();
        let mut hex = || bytes.next().is_some_and(|b| b.is_ascii_hexdigit());
        hex() && hex()
    };
    if !parts.all(is_escape) {
        return Err(SegmentFault::StrayPercent);
    }
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| SegmentFault::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(raw: &str) -> Result<Vec<String>, PathError> {
        let path = RequestPath::parse(raw);
        Ok(path.segments()?.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn splits_before_it_decodes() {
        assert_eq!(segments("/a%2Fb/c").unwrap(), ["a/b", "c"]);
        assert_eq!(segments("/%C3%A9%00/").unwrap(), ["é\0", ""]);
        assert_eq!(segments("/").unwrap(), [""]);
        assert_eq!(segments("/a//b").unwrap(), ["a", "", "b"]);
        assert_eq!(segments("/a+b").unwrap(), ["a+b"]);
    }

    #[test]
    fn a_target_is_looked_at_as_far_as_one_segment_too_many() {
        for (segments, looked_at) in [(1, 1), (64, 64), (65, 65), (66, 65), (8_000, 65)] {
            let raw = "/a".repeat(segments);
            let path = RequestPath::of_target(&raw);
            assert_eq!(path.segments().unwrap(), vec!["a"; looked_at]);
        }
        assert_eq!(RequestPath::of_target("*"), RequestPath::parse("*"));
    }

    #[test]
    fn names_the_segment_that_does_not_decode() {
        let fault = |segment, fault| Err(PathError { segment, fault });
        for bad in ["/a/%", "/a/%4", "/a/%zz", "/a/%4g", "/a/%%41"] {
            assert_eq!(segments(bad), fault(1, SegmentFault::StrayPercent), "{bad}");
        }
        let first = segments("/%FF/%");
        assert_eq!(first, fault(0, SegmentFault::NotUtf8));
        // People count from one.
        assert_eq!(first.unwrap_err().to_string(), "path segment 1: not UTF-8");
    }

    #[test]
    fn compares_a_prefix_after_decoding() {
        let path = RequestPath::parse("/inst%61nces/%zz/private");
        assert!(path.starts_with(&[]));
        assert!(path.starts_with(&["instances"]));
        assert!(!path.starts_with(&["instances", "%zz"]));
        assert!(!RequestPath::parse("/a").starts_with(&["a", "b"]));
    }
}
