//! The encoding of record keys, whose byte order is the order of the segments.
//!
//! A key is a list of segments, the collection first. Their encodings are concatenated:
//!
//! | segment | bytes |
//! |---|---|
//! | plain | its bytes, each `00` followed by `FF`; then `00 01` |
//! | too long | `00 02`, then the 32 bytes of its SHA-256 |
//!
//! Inside a plain segment, `00` is always followed by `FF`. So no plain segment ends early or looks like a digest, and
//! the encoding of one list is a prefix of another's exactly if the list is. `01 < 02 < FF` keeps the order: shorter
//! before longer, an empty segment first of all. A segment is too long if its plain form would exceed 128 bytes. There
//! are at most eight segments, so no key exceeds 1,024 bytes.

use std::{borrow::Cow, fmt, sync::Arc};

use ring::digest::{SHA256, digest};
use smallvec::SmallVec;

const ESCAPE: u8 = 0x00;
const END: u8 = 0x01;
const DIGEST: u8 = 0x02;
const ZERO: u8 = 0xFF;
const DIGEST_LEN: usize = 32;
/// Greater than the first byte of every key, since a collection is UTF-8.
const AFTER_ALL: u8 = 0xFF;

/// The maximum length of a segment's plain form, in bytes, including its end marker.
const MAX_SEGMENT_LEN: usize = 128;

/// The key of a record: a collection and up to seven path segments, tenant first.
///
/// Keys are ordered and compared by their encoded bytes, which is the order of the lists of segments. A segment whose
/// plain form would exceed 128 bytes is replaced by its SHA-256. Equality and prefixes work as before, but such
/// segments are ordered by their digests, and a record that needs the original must contain it in its body.
///
/// ```
/// use keyproof_store::{Key, Prefix};
///
/// let key = Key::new("otp_device", ["shop", "till-1"]);
/// assert!(Prefix::new("otp_device", ["shop"]).contains(&key));
/// assert!(!Prefix::new("otp_device", ["sho"]).contains(&key));
/// assert_eq!(key.to_string(), "otp_device/shop/till-1");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The maximum length of an encoded key, in bytes.
    pub const MAX_LEN: usize = Self::MAX_SEGMENTS * MAX_SEGMENT_LEN;
    /// The maximum number of segments, including the collection.
    pub const MAX_SEGMENTS: usize = 8;

    /// Creates the key of `segments` in `collection`. More than seven segments do not compile.
    pub fn new<S: AsRef<[u8]>, const N: usize>(collection: &str, segments: [S; N]) -> Self {
        const { assert!(N < Self::MAX_SEGMENTS, "a key has at most seven segments") };
        Self(encode(collection, &segments).as_slice().into())
    }

    /// Decodes the result of [`Key::as_bytes`].
    ///
    /// # Errors
    ///
    /// If `bytes` is not exactly the encoding of some key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ParseKeyError> {
        let mut at = 0;
        let mut count = 0;
        while at < bytes.len() {
            let (piece, next) = split(bytes, at)?;
            if count == Self::MAX_SEGMENTS {
                return Err(ParseKeyError::TooManySegments {
                    limit: Self::MAX_SEGMENTS,
                });
            }
            if count == 0 && !piece.is_text() {
                return Err(ParseKeyError::CollectionNotText);
            }
            at = next;
            count += 1;
        }
        if count == 0 {
            return Err(ParseKeyError::Empty);
        }
        Ok(Self(bytes.into()))
    }

    /// The encoded key: 2 to 1,024 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the segments, the collection first.
    pub fn segments(&self) -> Segments<'_> {
        Segments {
            bytes: &self.0,
            at: 0,
        }
    }
}

/// A sequence of whole leading segments: all records of a collection, or of one tenant in it.
///
/// ```
/// use keyproof_store::{Key, Prefix};
///
/// let (one, other) = (Key::new("device", ["shop", "till-1"]), Key::new("device", ["inn", "till-1"]));
/// let of_the_shop = Prefix::new("device", ["shop"]);
/// assert!(of_the_shop.contains(&one) && !of_the_shop.contains(&other));
/// assert!(Prefix::collection("device").contains(&other) && Prefix::all().contains(&other));
/// // As the range that an engine scans.
/// assert!(of_the_shop.start() <= one.as_bytes() && one.as_bytes() < of_the_shop.end().as_slice());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Prefix(Box<[u8]>);

impl Prefix {
    /// Matches every key of `collection` that starts with `segments`. More than seven do not compile.
    pub fn new<S: AsRef<[u8]>, const N: usize>(collection: &str, segments: [S; N]) -> Self {
        const { assert!(N < Key::MAX_SEGMENTS, "a key has at most seven segments") };
        Self(encode(collection, &segments).as_slice().into())
    }

    /// Matches every key of `collection`.
    pub fn collection(collection: &str) -> Self {
        Self::new::<&[u8], 0>(collection, [])
    }

    /// Matches every key.
    pub fn all() -> Self {
        Self(Box::default())
    }

    /// Whether `key` starts with these segments. A key equal to the prefix does.
    pub fn contains(&self, key: &Key) -> bool {
        key.0.starts_with(&self.0)
    }

    /// The smallest bytes that a key with this prefix can have.
    pub fn start(&self) -> &[u8] {
        &self.0
    }

    /// Bytes greater than every key with this prefix, and not greater than any later key.
    pub fn end(&self) -> Vec<u8> {
        let mut end = self.0.to_vec();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                return end;
            }
        }
        vec![AFTER_ALL]
    }
}

/// A segment of a [`Key`], as it is encoded.
///
/// Segments are ordered as their encodings: the empty one, then the digests, then all others by byte.
///
/// ```
/// use keyproof_store::{Key, Segment};
///
/// let long = "long".repeat(50);
/// let key = Key::new("device", ["shop", long.as_str()]);
/// let segments: Vec<Segment> = key.segments().collect();
/// assert_eq!(segments[1], Segment::Plain(b"shop".to_vec()));
/// assert_eq!(segments[2], Segment::new(long.as_bytes())); // as its digest
/// assert!(matches!(segments[2], Segment::Digest(_)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// The SHA-256 of a segment that is too long for the plain form.
    Digest([u8; DIGEST_LEN]),
    /// The segment itself.
    Plain(Vec<u8>),
}

impl Segment {
    /// Encodes `segment` as in a key.
    pub fn new(segment: &[u8]) -> Self {
        if is_too_long(segment, zeroes(segment)) {
            Self::Digest(digest_of(segment))
        } else {
            Self::Plain(segment.to_vec())
        }
    }
}

impl Ord for Segment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        fn rank(segment: &Segment) -> (u8, &[u8]) {
            match segment {
                Segment::Plain(plain) if plain.is_empty() => (0, plain),
                Segment::Digest(digest) => (1, digest),
                Segment::Plain(plain) => (2, plain),
            }
        }
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for Segment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Segment {
    /// Prints printable ASCII unchanged, except that `/`, `%` and every other byte become `%XX`. A digest is printed as
    /// `sha256:` and 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => write!(f, "sha256:{}", data_encoding::HEXLOWER.encode(digest)),
            Self::Plain(plain) => plain.iter().try_for_each(|&byte| match byte {
                b'/' | b'%' => write!(f, "%{byte:02X}"),
                b'!'..=b'~' => write!(f, "{}", char::from(byte)),
                _ => write!(f, "%{byte:02X}"),
            }),
        }
    }
}

/// The segments of a [`Key`], in order.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        if self.at >= self.bytes.len() {
            return None;
        }
        // A `Key` contains only whole segments, so `Err` cannot occur.
        let (piece, next) = split(self.bytes, self.at).ok()?;
        self.at = next;
        Some(piece.segment())
    }
}

impl fmt::Display for Key {
    /// Prints the segments, separated by `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            segment.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prefix(")?;
        for segment in (Segments {
            bytes: &self.0,
            at: 0,
        }) {
            write!(f, "{segment}/")?;
        }
        f.write_str(")")
    }
}

/// Bytes that are not a [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseKeyError {
    /// A `00` is followed by a byte that is no marker.
    #[error("unknown marker at byte {at}")]
    BadMarker {
        /// Offset of the byte after the `00`.
        at: usize,
    },
    /// The collection is not UTF-8.
    #[error("the collection is not UTF-8")]
    CollectionNotText,
    /// There is no segment.
    #[error("a key has at least one segment")]
    Empty,
    /// The bytes end within a segment.
    #[error("the key ends within the segment that starts at byte {start}")]
    Incomplete {
        /// Offset of the unfinished segment.
        start: usize,
    },
    /// A plain segment should have been replaced by its digest.
    #[error("the segment that starts at byte {start} exceeds {MAX_SEGMENT_LEN} bytes")]
    SegmentTooLong {
        /// Offset of the segment.
        start: usize,
    },
    /// There are more segments than a key may have.
    #[error("a key has at most {limit} segments")]
    TooManySegments {
        /// [`Key::MAX_SEGMENTS`].
        limit: usize,
    },
}

/// A buffer for encoding, large enough for most keys, so that only the key itself is allocated.
type Encoded = SmallVec<[u8; 2 * MAX_SEGMENT_LEN]>;

fn encode<S: AsRef<[u8]>>(collection: &str, segments: &[S]) -> Encoded {
    let mut out = Encoded::new();
    encode_segment(collection.as_bytes(), &mut out);
    for segment in segments {
        encode_segment(segment.as_ref(), &mut out);
    }
    out
}

fn encode_segment(segment: &[u8], out: &mut Encoded) {
    let zeroes = zeroes(segment);
    if is_too_long(segment, zeroes) {
        out.extend_from_slice(&[ESCAPE, DIGEST]);
        out.extend_from_slice(&digest_of(segment));
        return;
    }
    if zeroes == 0 {
        out.extend_from_slice(segment);
    } else {
        for run in segment.split_inclusive(|&byte| byte == ESCAPE) {
            out.extend_from_slice(run);
            if run.ends_with(&[ESCAPE]) {
                out.push(ZERO);
            }
        }
    }
    out.extend_from_slice(&[ESCAPE, END]);
}

fn zeroes(segment: &[u8]) -> usize {
    segment.iter().filter(|&&byte| byte == ESCAPE).count()
}

/// Whether a segment with this many zero bytes is too long for the plain form.
const fn is_too_long(segment: &[u8], zeroes: usize) -> bool {
    segment.len().saturating_add(zeroes).saturating_add(2) > MAX_SEGMENT_LEN
}

/// The digest that replaces a segment that is too long.
fn digest_of(segment: &[u8]) -> [u8; DIGEST_LEN] {
    let mut bytes = [0; DIGEST_LEN];
    bytes.copy_from_slice(digest(&SHA256, segment).as_ref());
    bytes
}

/// A segment as encoded in a key.
enum Piece<'a> {
    Digest([u8; DIGEST_LEN]),
    /// Without its end marker, and with its escapes.
    Plain(&'a [u8]),
}

impl Piece<'_> {
    /// Whether it is UTF-8. The segment behind a digest was.
    fn is_text(&self) -> bool {
        match self {
            Self::Digest(_) => true,
            Self::Plain(plain) => std::str::from_utf8(&unescaped(plain)).is_ok(),
        }
    }

    fn segment(&self) -> Segment {
        match self {
            Self::Digest(digest) => Segment::Digest(*digest),
            Self::Plain(plain) => Segment::Plain(unescaped(plain).into_owned()),
        }
    }
}

/// Removes the escapes from a plain segment.
fn unescaped(plain: &[u8]) -> Cow<'_, [u8]> {
    if !plain.contains(&ESCAPE) {
        return plain.into();
    }
    let mut segment = Vec::with_capacity(plain.len());
    let mut bytes = plain.iter().copied();
    while let Some(byte) = bytes.next() {
        segment.push(byte);
        if byte == ESCAPE {
            bytes.next();
        }
    }
    segment.into()
}

/// Returns the segment that starts at `start`, and where the next one starts.
fn split(bytes: &[u8], start: usize) -> Result<(Piece<'_>, usize), ParseKeyError> {
    let mut rest = bytes.iter().copied().enumerate().skip(start);
    while let Some((at, byte)) = rest.next() {
        if at - start >= MAX_SEGMENT_LEN {
            return Err(ParseKeyError::SegmentTooLong { start });
        }
        if byte != ESCAPE {
            continue;
        }
        match rest.next() {
            Some((_, ZERO)) => {}
            Some((end, END)) if end - start >= MAX_SEGMENT_LEN => {
                return Err(ParseKeyError::SegmentTooLong { start });
            }
            Some((end, END)) => {
                let plain = bytes.get(start..at).unwrap_or_default();
                return Ok((Piece::Plain(plain), end + 1));
            }
            Some((at, DIGEST)) if at == start + 1 => {
                let digest = bytes
                    .get(at + 1..at + 1 + DIGEST_LEN)
                    .and_then(|digest| digest.try_into().ok())
                    .ok_or(ParseKeyError::Incomplete { start })?;
                return Ok((Piece::Digest(digest), at + 1 + DIGEST_LEN));
            }
            Some((at, _)) => return Err(ParseKeyError::BadMarker { at }),
            None => break,
        }
    }
    Err(ParseKeyError::Incomplete { start })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(segments: &[Vec<u8>; 2]) -> Key {
        Key::new("c", [&segments[0], &segments[1]])
    }

    /// Short segments over an adverse alphabet, so that neighbours and prefixes are frequent.
    fn segment() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            Just(0u8),
            Just(1),
            Just(2),
            Just(0xFE),
            Just(0xFF),
            Just(b'a'),
            any::<u8>()
        ];
        prop_oneof![
            8 => proptest::collection::vec(byte.clone(), 0..4),
            1 => proptest::collection::vec(byte, 60..140),
        ]
    }

    proptest! {
        #[test]
        fn byte_order_is_segment_order(a: Vec<u8>, b: Vec<u8>, c: Vec<u8>, d: Vec<u8>) {
            order(&[a, b], &[c, d])?;
        }

        #[test]
        fn byte_order_is_segment_order_among_neighbours(
            a in [segment(), segment()],
            b in [segment(), segment()],
        ) {
            order(&a, &b)?;
        }

        #[test]
        fn bytes_and_segments_round_trip(segments in [segment(), segment()]) {
            let key = key(&segments);
            prop_assert!(key.as_bytes().len() <= Key::MAX_LEN);
            let read = Key::from_bytes(key.as_bytes());
            prop_assert_eq!(read.as_ref(), Ok(&key));
            let want = [Segment::new(b"c"), Segment::new(&segments[0]), Segment::new(&segments[1])];
            prop_assert_eq!(key.segments().collect::<Vec<_>>(), want);
        }

        #[test]
        fn prefixes_are_whole_segments(a in segment(), b in segment(), c in segment()) {
            let prefix = Prefix::new("c", [&a]);
            let inside = Key::new("c", [&a, &c]);
            let beside = Key::new("c", [&b, &c]);
            prop_assert!(prefix.contains(&inside));
            prop_assert_eq!(prefix.contains(&beside), a == b);
            for key in [inside, beside] {
                let in_range = key.as_bytes() >= prefix.start() && key.as_bytes() < &prefix.end()[..];
                prop_assert_eq!(in_range, prefix.contains(&key));
            }
        }
    }

    fn order(a: &[Vec<u8>; 2], b: &[Vec<u8>; 2]) -> Result<(), TestCaseError> {
        let (left, right) = (key(a), key(b));
        let by_segments = left.segments().cmp(right.segments());
        prop_assert_eq!(left.cmp(&right), by_segments);
        if left
            .segments()
            .chain(right.segments())
            .all(|s| matches!(s, Segment::Plain(_)))
        {
            prop_assert_eq!(left.cmp(&right), a.cmp(b));
        }
        Ok(())
    }

    #[test]
    fn no_key_exceeds_1024_bytes() {
        for len in [0, 1, 125, 126, 127, 128, 5_000] {
            for byte in [0, b'x', 0xFF] {
                let long = vec![byte; len];
                let collection = "c".repeat(len);
                let key = Key::new(
                    &collection,
                    [&long, &long, &long, &long, &long, &long, &long],
                );
                assert!(key.as_bytes().len() <= 1_024, "{len} of {byte}");
                assert_eq!(key.segments().count(), 8);
                assert_eq!(Key::from_bytes(key.as_bytes()), Ok(key));
            }
        }
    }

    #[test]
    fn the_longest_plain_segment_has_126_bytes_and_63_zeroes() {
        for (segment, plain) in [
            (vec![b'x'; 126], true),
            (vec![b'x'; 127], false),
            (vec![0; 63], true),
            (vec![0; 64], false),
        ] {
            assert_eq!(matches!(Segment::new(&segment), Segment::Plain(_)), plain);
        }
    }

    #[test]
    fn a_plain_segment_never_looks_like_a_digest() {
        let long = vec![b'x'; 200];
        let Segment::Digest(digest) = Segment::new(&long) else {
            panic!("plain")
        };
        let mut forged = vec![ESCAPE, DIGEST];
        forged.extend(digest);
        assert_ne!(Key::new("c", [&long]), Key::new("c", [&forged]));
    }

    #[test]
    fn wrong_bytes_are_named() {
        let cases: [(&[u8], ParseKeyError); 9] = [
            (b"", ParseKeyError::Empty),
            (b"c", ParseKeyError::Incomplete { start: 0 }),
            (b"c\x00", ParseKeyError::Incomplete { start: 0 }),
            (b"c\x00\x01x", ParseKeyError::Incomplete { start: 3 }),
            (b"c\x00\x03", ParseKeyError::BadMarker { at: 2 }),
            (b"c\x00\x02", ParseKeyError::BadMarker { at: 2 }),
            (b"\x00\x02short", ParseKeyError::Incomplete { start: 0 }),
            (b"\xFF\x00\x01", ParseKeyError::CollectionNotText),
            (&[b'x'; 4_096], ParseKeyError::SegmentTooLong { start: 0 }),
        ];
        for (bytes, error) in cases {
            assert_eq!(Key::from_bytes(bytes), Err(error), "{bytes:02X?}");
        }
        let mut over = vec![b'x'; 127];
        over.extend([ESCAPE, END]);
        assert_eq!(
            Key::from_bytes(&over),
            Err(ParseKeyError::SegmentTooLong { start: 0 })
        );
        assert_eq!(
            Key::from_bytes(&[ESCAPE, END].repeat(9)),
            Err(ParseKeyError::TooManySegments { limit: 8 })
        );
    }

    #[test]
    fn text_escapes_what_would_mislead() {
        let key = Key::new("c", ["a/b%", "\u{e9} \n"]);
        assert_eq!(key.to_string(), "c/a%2Fb%25/%C3%A9%20%0A");
    }
}
