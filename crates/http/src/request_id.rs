//! The name of one request, in answers, logs and the audit trail.

use std::fmt;

use crate::Draw;

/// 128 random bits, drawn for each request; shown as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u128);

impl RequestId {
    /// Draws one.
    pub(crate) fn draw(draw: &Draw) -> Self {
        let mut bytes = [0; 16];
        draw(&mut bytes);
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}
