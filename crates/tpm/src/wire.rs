//! The TPM's wire format: big-endian integers, and bytes prefixed with a 16-bit size.

use alloc::vec::Vec;
use core::{fmt, ops::Deref};

use crate::TpmError;

/// A structure of the TPM 2.0 Library, Part 2. It is parsed strictly and encodes to the same bytes.
///
/// Section numbers in this crate's documentation refer to revision 1.59.
///
/// This trait is sealed: only this crate implements it.
///
/// ```
/// use keyproof_tpm::{Structure, TpmsAttest, TpmError};
///
/// let bytes = include_bytes!("../tests/vectors/rsa2048/quote.tpms_attest.bin");
/// let attest = TpmsAttest::parse(bytes)?;
/// assert_eq!(attest.to_bytes(), bytes);
/// // The input must end exactly with the structure. The error contains the position.
/// assert!(TpmsAttest::parse(&bytes[..20]).unwrap_err().position().is_some());
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
pub trait Structure: Wire {
    /// Parses the structure, which must fill `bytes` exactly.
    ///
    /// # Errors
    ///
    /// The parsing variants of [`TpmError`], with offsets into `bytes`.
    fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new(bytes);
        let structure = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(structure)
    }

    /// Parses the structure's `TPM2B_` form: a 16-bit size, then the structure. Together they must
    /// fill `bytes` exactly.
    ///
    /// # Errors
    ///
    /// The parsing variants of [`TpmError`], with offsets into `bytes`.
    fn parse_sized(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new(bytes);
        let mut content = reader.sized(Self::NAME, usize::from(u16::MAX))?;
        let structure = Self::read(&mut content)?;
        content.finish()?;
        reader.finish()?;
        Ok(structure)
    }

    /// Encodes the structure.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Encodes the structure's `TPM2B_` form: a 16-bit size, then the structure.
    fn to_sized_bytes(&self) -> Vec<u8> {
        let content = self.to_bytes();
        let mut out = Vec::with_capacity(content.len().saturating_add(2));
        put_sized(&mut out, &content);
        out
    }
}

impl<S: Wire> Structure for S {}

/// Seals [`Structure`]; each structure implements its own encoding here.
#[expect(unnameable_types, reason = "sealed: only this crate implements it")]
pub trait Wire: Sized {
    /// The structure's name in Part 2.
    const NAME: &'static str;
    #[doc(hidden)]
    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError>;
    #[doc(hidden)]
    fn write(&self, out: &mut Vec<u8>);
}

/// The content of a `TPM2B_` structure: at most 65,535 bytes, so that the size fits its prefix.
///
/// ```
/// use keyproof_tpm::Buffer;
///
/// let nonce = Buffer::new(*b"a nonce")?;
/// assert_eq!((nonce.len(), &nonce[..2]), (7, &b"a "[..]));
/// assert!(Buffer::new(vec![0_u8; 65_536]).is_err());
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// Creates a buffer from at most 65,535 bytes.
    ///
    /// # Errors
    ///
    /// [`TpmError::WrongSize`] for more than 65,535 bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, TpmError> {
        let bytes = bytes.into();
        if bytes.len() > usize::from(u16::MAX) {
            return Err(TpmError::WrongSize {
                at: 0,
                found: bytes.len(),
                what: "TPM2B",
            });
        }
        Ok(Self(bytes))
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put_sized(out, &self.0);
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Buffer> for Vec<u8> {
    fn from(buffer: Buffer) -> Self {
        buffer.0
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Buffer(")?;
        for byte in &self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// `TPM_ALG_NULL` (Part 2, 6.3): no algorithm.
pub(crate) const ALG_NULL: u16 = 0x0010;

/// The longest digest, in bytes.
pub(crate) const MAX_DIGEST: usize = 64;

/// The largest `TPM2B_DATA` (Part 2, 10.4.3), in bytes: a `TPMT_HA` of the longest digest.
pub(crate) const MAX_DATA: usize = 2 + MAX_DIGEST;

/// The unread bytes, and their offset in the outermost input.
#[doc(hidden)]
#[derive(Clone, Debug)]
#[expect(unnameable_types, reason = "sealed: only this crate implements it")]
pub struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], TpmError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(TpmError::UnexpectedEnd { at: self.at })?;
        self.rest = rest;
        self.at = self.at.saturating_add(count);
        Ok(taken)
    }

    /// Returns the reader after `count` more bytes, if there are that many.
    pub(crate) fn skipped(mut self, count: usize) -> Option<Self> {
        self.take(count).ok().map(|_| self)
    }

    pub(crate) fn remainder(&mut self) -> &'a [u8] {
        self.at = self.at.saturating_add(self.rest.len());
        core::mem::take(&mut self.rest)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TpmError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, TpmError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, TpmError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, TpmError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, TpmError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn u16_le(&mut self) -> Result<u16, TpmError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32_le(&mut self) -> Result<u32, TpmError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64_le(&mut self) -> Result<u64, TpmError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads a `TPMI_YES_NO` (Part 2, 9.2).
    pub(crate) fn yes_no(&mut self) -> Result<bool, TpmError> {
        let at = self.at;
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(TpmError::UnknownSelector {
                at,
                value: other.into(),
                what: "TPMI_YES_NO",
            }),
        }
    }

    /// Reads a value with `read`, or `TPM_ALG_NULL` as `None`.
    pub(crate) fn unless_null<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, TpmError>,
    ) -> Result<Option<T>, TpmError> {
        let mut ahead = self.clone();
        if ahead.u16()? == ALG_NULL {
            *self = ahead;
            Ok(None)
        } else {
            read(self).map(Some)
        }
    }

    /// Reads a 16-bit size of at most `limit`, and returns a reader over that many bytes.
    pub(crate) fn sized(&mut self, what: &'static str, limit: usize) -> Result<Self, TpmError> {
        let size_at = self.at;
        let size = usize::from(self.u16()?);
        if size > limit {
            return Err(TpmError::WrongSize {
                at: size_at,
                found: size,
                what,
            });
        }
        let at = self.at;
        let rest = self.take(size)?;
        Ok(Reader { rest, at })
    }

    pub(crate) fn buffer(&mut self, what: &'static str, limit: usize) -> Result<Buffer, TpmError> {
        Ok(Buffer(self.sized(what, limit)?.remainder().to_vec()))
    }

    /// Reads a `TPM2B_DIGEST`.
    pub(crate) fn digest(&mut self) -> Result<Buffer, TpmError> {
        self.buffer("TPM2B_DIGEST", MAX_DIGEST)
    }

    /// Reads a buffer whose size must be one of `allowed`.
    pub(crate) fn buffer_of(
        &mut self,
        what: &'static str,
        allowed: &[usize],
    ) -> Result<Buffer, TpmError> {
        let at = self.at;
        let buffer = self.buffer(what, allowed.iter().copied().max().unwrap_or(0))?;
        if !allowed.contains(&buffer.len()) {
            return Err(TpmError::WrongSize {
                at,
                found: buffer.len(),
                what,
            });
        }
        Ok(buffer)
    }

    pub(crate) fn finish(self) -> Result<(), TpmError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(TpmError::TrailingBytes {
                at: self.at,
                count: self.rest.len(),
            })
        }
    }
}

pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Writes `bytes` after their 16-bit size.
///
/// Callers pass at most 65,535 bytes; for more, every parser would reject the size written.
pub(crate) fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    put_u16(out, size);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec};

    use super::*;

    /// More bytes would not fit the size that stands before them.
    #[test]
    fn a_buffer_is_as_long_as_its_size_can_say() {
        let longest = Buffer::new(vec![7_u8; 65_535]).unwrap();
        let mut out = Vec::new();
        longest.write(&mut out);
        assert_eq!((out.len(), &out[..3]), (65_537, &[0xff, 0xff, 7][..]));
        assert_eq!(
            Buffer::new(vec![7_u8; 65_536]),
            Err(TpmError::WrongSize {
                at: 0,
                found: 65_536,
                what: "TPM2B"
            })
        );
    }

    #[test]
    fn a_buffer_is_its_bytes() {
        let buffer = Buffer::new([0x0a_u8, 0xbc]).unwrap();
        let bytes: &[u8] = buffer.as_ref();
        assert_eq!(bytes, [0x0a, 0xbc]);
        assert_eq!(format!("{buffer:?}"), "Buffer(0abc)");
        assert_eq!(Vec::<u8>::from(buffer), [0x0a, 0xbc]);
    }
}
