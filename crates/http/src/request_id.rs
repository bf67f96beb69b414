//! The id of a request in answers, logs and the audit trail.

use std::{fmt, str};

use data_encoding::HEXLOWER;

use crate::FillRandom;

/// 128 random bits, generated for each request. Shown and stored as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// Generates a new id.
    pub(crate) fn draw(draw: &FillRandom) -> Self {
        let mut bytes = [0; 16];
        draw(&mut bytes);
        let mut text = [0; 32];
        HEXLOWER.encode_mut(&bytes, &mut text);
        Self(text)
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}
