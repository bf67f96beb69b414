//! Thumbprints: hashes of a certificate's received DER.

use core::{fmt, str::FromStr};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::X509Error;

/// The SHA-1 hash of the received DER, as Azure and Windows display it. Use it only as a label.
///
/// ```
/// use keyproof_x509::{Certificate, Sha1Thumbprint};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let shown = ca.sha1_thumbprint().to_string();
/// assert_eq!((shown.len(), shown.parse::<Sha1Thumbprint>()?), (40, ca.sha1_thumbprint()));
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sha1Thumbprint([u8; 20]);

/// The SHA-256 hash of the received DER.
///
/// ```
/// use keyproof_x509::{Certificate, Sha256Thumbprint};
///
/// // Written by `openssl x509 -fingerprint -sha256`.
/// let pinned: Sha256Thumbprint =
///     "1F:34:66:F2:3F:32:59:A8:2B:33:94:DB:2C:2C:40:50:74:DA:1F:F5:E7:1F:A4:24:E0:01:2E:CE:1F:CA:4C:96".parse()?;
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// assert_eq!((ca.sha256_thumbprint(), Sha256Thumbprint::of_der(ca.as_der())), (pinned, pinned));
/// assert_eq!(pinned.as_bytes()[..2], [0x1F, 0x34]); // a column of bytes
/// assert!(pinned.to_string().starts_with("1F3466F2"));
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sha256Thumbprint([u8; 32]);

macro_rules! thumbprint {
    ($name:ident, $hash:ty, $len:literal, $kind:literal) => {
        impl $name {
            /// Hashes a certificate's DER.
            pub fn of_der(der: &[u8]) -> Self {
                Self(<$hash>::digest(der).into())
            }

            /// Returns the octets of the hash.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(octets: [u8; $len]) -> Self {
                Self(octets)
            }
        }

        impl FromStr for $name {
            type Err = X509Error;

            /// Parses hexadecimal digits in either case, without separators as Azure and `Display` write them, or with a colon
            /// between octets as `openssl x509 -fingerprint` writes them.
            ///
            /// # Errors
            ///
            /// [`X509Error::ThumbprintMalformed`].
            fn from_str(text: &str) -> Result<Self, X509Error> {
                let mut octets = [0; $len];
                match read(text, &mut octets) {
                    Ok(()) => Ok(Self(octets)),
                    Err(at) => Err(X509Error::ThumbprintMalformed {
                        kind: $kind,
                        digits: 2 * $len,
                        at,
                    }),
                }
            }
        }

        impl fmt::Display for $name {
            /// Writes upper-case hexadecimal without separators.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            /// Serialises the text of `Display`.
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            /// Accepts any text that `FromStr` parses.
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a ", $kind, " thumbprint in hexadecimal"))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

thumbprint!(Sha1Thumbprint, Sha1, 20, "SHA-1");
thumbprint!(Sha256Thumbprint, Sha256, 32, "SHA-256");

/// Fills the octets, or returns the index of the first wrong character.
fn read(text: &str, octets: &mut [u8]) -> Result<(), usize> {
    let mut characters = text.chars().enumerate().peekable();
    let has_colons = text.as_bytes().get(2) == Some(&b':');
    let length = text.chars().count();
    for (index, octet) in octets.iter_mut().enumerate() {
        if has_colons && index > 0 {
            match characters.next() {
                Some((_, ':')) => {}
                other => return Err(other.map_or(length, |(at, _)| at)),
            }
        }
        for _ in 0..2 {
            let (at, character) = characters.next().ok_or(length)?;
            let digit = character.to_digit(16).ok_or(at)?;
            // Each octet has two digits.
            *octet = (*octet << 4) | u8::try_from(digit).map_err(|_| at)?;
        }
    }
    characters.peek().map_or(Ok(()), |(at, _)| Err(*at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString};

    const DIGITS: &str = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";

    #[test]
    fn each_way_of_writing_one_is_read() {
        let expected = Sha256Thumbprint::of_der(b"");
        assert_eq!(expected.to_string(), DIGITS);
        let colons = DIGITS
            .as_bytes()
            .chunks(2)
            .map(|pair| core::str::from_utf8(pair).unwrap())
            .collect::<alloc::vec::Vec<_>>()
            .join(":");
        for text in [
            DIGITS,
            &DIGITS.to_lowercase(),
            &colons,
            &colons.to_lowercase(),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        let sha1 = Sha1Thumbprint::of_der(b"");
        assert_eq!(sha1.to_string().parse(), Ok(sha1));
    }

    #[test]
    fn a_wrong_one_is_refused_with_its_place() {
        let wrong_at = |text: &str| match text.parse::<Sha256Thumbprint>() {
            Err(X509Error::ThumbprintMalformed { digits: 64, at, .. }) => Some(at),
            _ => None,
        };
        assert_eq!(wrong_at(""), Some(0));
        assert_eq!(wrong_at(&DIGITS[..63]), Some(63));
        assert_eq!(wrong_at(&format!("{DIGITS}0")), Some(64));
        assert_eq!(wrong_at(&format!("{DIGITS}\n")), Some(64));
        assert_eq!(wrong_at(&DIGITS.replacen("B0", "G0", 1)), Some(2));
        assert_eq!(wrong_at(&DIGITS.replacen("B0", "é0", 1)), Some(2));
        assert_eq!(wrong_at(&DIGITS.replacen("B0", ":B", 1)), Some(5));
        assert_eq!(wrong_at(&DIGITS.replacen("C4", ":4", 1)), Some(4));
        assert_eq!(wrong_at("+3"), Some(0));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_keeps_it_as_people_write_it() {
        let thumbprint = Sha256Thumbprint::of_der(b"");
        let json = serde_json::to_string(&thumbprint).unwrap();
        assert_eq!(json, format!("\"{DIGITS}\""));
        let read = |json: &str| serde_json::from_str::<Sha256Thumbprint>(json);
        assert_eq!(read(&json).unwrap(), thumbprint);
        assert_eq!(read(&json.to_lowercase()).unwrap(), thumbprint);
        assert!(read(&json.replacen('E', "G", 1)).is_err());
        assert!(serde_json::from_str::<Sha1Thumbprint>(&json).is_err());
    }
}
