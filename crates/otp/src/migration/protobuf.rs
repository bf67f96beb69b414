//! The part of the Protocol Buffers wire format that the export needs. Fields are read in order
//! from a slice, and written into a buffer that was allocated before.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use crate::OtpError;

/// Reads the fields of one message. Positions are byte offsets into the outermost message.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

/// A field's number and value, and where the field begins.
pub(super) struct Field<'a> {
    pub(super) number: u64,
    pub(super) value: Value<'a>,
    pub(super) at: usize,
}

pub(super) enum Value<'a> {
    Varint(u64),
    /// Bytes, a text or a message.
    Bytes(&'a [u8]),
    /// A fixed number of 32 or 64 bits, which no known field has.
    Fixed,
}

impl<'a> Field<'a> {
    pub(super) fn varint(&self) -> Result<u64, OtpError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(OtpError::MigrationEncoding { at: self.at }),
        }
    }

    pub(super) fn bytes(&self) -> Result<&'a [u8], OtpError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(OtpError::MigrationEncoding { at: self.at }),
        }
    }
}

impl<'a> Reader<'a> {
    /// `at` is the position of the message in the outermost one.
    pub(super) const fn new(message: &'a [u8], at: usize) -> Self {
        Self { rest: message, at }
    }

    /// The position of the next field.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, OtpError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let at = self.at;
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                // `take` rejects a length beyond the message; nothing is allocated for it.
                Value::Bytes(self.take(usize::try_from(len).unwrap_or(usize::MAX))?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups, which are long deprecated, and undefined types.
            _ => return Err(OtpError::MigrationEncoding { at }),
        };
        let number = tag >> 3;
        if number == 0 || number >= 1 << 29 {
            return Err(OtpError::MigrationEncoding { at });
        }
        Ok(Some(Field { number, value, at }))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], OtpError> {
        let split = self.rest.split_at_checked(len);
        let (taken, rest) = split.ok_or(OtpError::MigrationEncoding { at: self.at })?;
        self.rest = rest;
        self.at += len;
        Ok(taken)
    }

    /// Seven bits per byte, the lowest first: at most 64 bits in ten bytes.
    fn varint(&mut self) -> Result<u64, OtpError> {
        let at = self.at;
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?.first().copied().unwrap_or_default();
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(OtpError::MigrationEncoding { at })
    }
}

/// A message being written. It contains secrets, so it is wiped on drop and must not grow beyond
/// its capacity, which would leave a copy behind.
pub(super) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// Negative numbers take ten bytes, as the format defines for `int32` and `int64`.
    pub(super) fn varint(&mut self, number: u8, value: i64) {
        self.raw(u64::from(number) << 3);
        self.raw(value.cast_unsigned());
    }

    pub(super) fn bytes(&mut self, number: u8, bytes: &[u8]) {
        self.raw(u64::from(number) << 3 | 2);
        self.raw(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
