//! Object identifiers as received: compared as bytes, displayed as dotted numbers.

use core::fmt;

use der::{
    ErrorKind, SliceReader, Tag,
    oid::{ObjectIdentifier, ObjectIdentifierRef},
};

use crate::reader::contents;

/// An object identifier (X.690 section 8.19).
///
/// Unlike `der`'s type it supports arcs of any size, because `2.25.<UUID>` occurs.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Oid<'a>(&'a [u8]);

impl<'a> Oid<'a> {
    /// Creates an OID from contents that are known to be well-formed.
    pub(crate) const fn of_octets(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(crate) fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        let bytes = contents(reader, Tag::ObjectIdentifier)?;
        if !is_well_formed(bytes) {
            return Err(reader.error(ErrorKind::OidMalformed));
        }
        Ok(Self(bytes))
    }

    /// Returns the contents octets (X.690 section 8.19), without tag and length.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// X.690 section 8.19.2: each arc uses the fewest octets, and the last one is complete.
fn is_well_formed(bytes: &[u8]) -> bool {
    let mut starts_arc = true;
    for &byte in bytes {
        if starts_arc && byte == 0x80 {
            return false;
        }
        starts_arc = byte & 0x80 == 0;
    }
    starts_arc && !bytes.is_empty()
}

impl PartialEq<ObjectIdentifier> for Oid<'_> {
    fn eq(&self, other: &ObjectIdentifier) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for Oid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(oid) = ObjectIdentifierRef::from_bytes(self.0) {
            return oid.fmt(f);
        }
        f.write_str("#06")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Oid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::is_well_formed;

    #[test]
    fn arcs_are_minimal_and_ended() {
        assert!(is_well_formed(&[0x55, 0x04, 0x03]));
        assert!(is_well_formed(&[0x2A, 0x86, 0x48]));
        for bad in [&[][..], &[0x55, 0x80, 0x03], &[0x80, 0x01], &[0x55, 0x84]] {
            assert!(!is_well_formed(bad), "{bad:?}");
        }
    }
}
