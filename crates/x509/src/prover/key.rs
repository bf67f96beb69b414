//! Private keys from files: PKCS#8, PKCS#1 or SEC1, in PEM or DER.

use alloc::vec::Vec;
use core::{fmt, str};

use der::{
    Decode, Reader, SliceReader, Tag,
    asn1::{AnyRef, OctetStringRef},
    pem::{self, Decoder},
};
use zeroize::Zeroizing;

use crate::{
    X509Error,
    algorithm::{
        AlgorithmIdentifier, ID_EC_PUBLIC_KEY, ID_ED25519, ID_RSA_ENCRYPTION, ID_RSASSA_PSS,
    },
};

/// A private key, wiped on drop. `Debug` shows only its kind.
///
/// ```
/// use keyproof_x509::prover::PrivateKey;
///
/// let key = PrivateKey::from_pem_or_der(include_bytes!("../../tests/data/p256-ca.key"))?;
/// assert!(!format!("{key:?}").contains("BEGIN"));
/// assert!(PrivateKey::from_pem_or_der(include_bytes!("../../tests/data/p256-ca.pem")).is_err());
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
pub struct PrivateKey(pub(super) Material);

pub(super) enum Material {
    /// The private scalar.
    Ec(Zeroizing<Vec<u8>>),
    /// The seed.
    Ed25519(Zeroizing<Vec<u8>>),
    /// An RSAPrivateKey (RFC 8017 appendix A.1.2).
    Rsa(Zeroizing<Vec<u8>>),
}

impl PrivateKey {
    /// Parses an unencrypted key in PEM or DER. In PEM, text around the key and an `EC PARAMETERS` block are skipped, and the lines
    /// may have any length, the same for all but the last.
    ///
    /// # Errors
    ///
    /// [`X509Error::PrivateKeyUnusable`], which reveals nothing about the contents of the key.
    pub fn from_pem_or_der(input: &[u8]) -> Result<Self, X509Error> {
        let Some(pem) = private_key_block(input) else {
            return Self::from_der(input);
        };
        // `openssl` writes the second form with `-traditional` (RFC 1421 section 4.6.1.1).
        if pem.starts_with("-----BEGIN ENCRYPTED ") || pem.contains("\nProc-Type: 4,ENCRYPTED") {
            return Err(X509Error::PrivateKeyUnusable {
                kind: "ENCRYPTED PRIVATE KEY; decrypt it first",
            });
        }
        let der = decoded(pem).map_err(|_| X509Error::PrivateKeyUnusable { kind: "broken PEM" })?;
        Self::from_der(&der)
    }

    fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        let unknown = X509Error::PrivateKeyUnusable {
            kind: "no RSA, EC or Ed25519 key in PKCS#8, PKCS#1 or SEC 1",
        };
        read(der).ok().flatten().map(Self).ok_or(unknown)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Material::Ec(_) => "PrivateKey(EC)",
            Material::Ed25519(_) => "PrivateKey(Ed25519)",
            Material::Rsa(_) => "PrivateKey(RSA)",
        })
    }
}

/// Returns the text from the private key's BEGIN line to its end. `openssl ecparam -genkey` writes another block before it.
fn private_key_block(input: &[u8]) -> Option<&str> {
    let text = str::from_utf8(input).ok()?;
    text.match_indices("-----BEGIN ")
        .filter_map(|(at, _)| text.get(at..))
        .find(|block| {
            block
                .lines()
                .next()
                .is_some_and(|line| line.trim_end().ends_with("PRIVATE KEY-----"))
        })
        .map(through_end_line)
}

/// Removes text after the END line, which `der` does not accept.
fn through_end_line(block: &str) -> &str {
    let end = block
        .find("-----END ")
        .and_then(|end| Some(end + block.get(end..)?.find("KEY-----")? + "KEY-----".len()));
    end.and_then(|end| block.get(..end)).unwrap_or(block)
}

fn decoded(pem: &str) -> pem::Result<Zeroizing<Vec<u8>>> {
    let mut decoder = Decoder::new_detect_wrap(pem.as_bytes())?;
    // Large enough from the start, because growing would leave a copy behind that nobody wipes.
    let mut der = Zeroizing::new(Vec::<u8>::with_capacity(decoder.remaining_len()));
    decoder.decode_to_end(&mut der)?;
    Ok(der)
}

/// The three structures begin with a version and differ in the next field.
fn read(der: &[u8]) -> der::Result<Option<Material>> {
    after_version(der, |reader| match Tag::peek(reader)? {
        Tag::Sequence => read_pkcs8(reader),
        Tag::OctetString => read_scalar(reader).map(Some),
        Tag::Integer => Ok(Some(Material::Rsa(Zeroizing::new(der.to_vec())))),
        _ => Ok(None),
    })
}

fn after_version<'a, T>(
    der: &'a [u8],
    parse: impl FnOnce(&mut SliceReader<'a>) -> der::Result<T>,
) -> der::Result<T> {
    AnyRef::from_der(der)?.sequence(|reader| {
        reader.decode::<u8>()?;
        let value = parse(reader)?;
        // Attributes, parameters and public parts are skipped; the CA certificate contains what is needed of them.
        reader.drain(reader.remaining_len())?;
        Ok(value)
    })
}

/// Parses the privateKey of an ECPrivateKey (RFC 5915 section 3).
fn read_scalar(reader: &mut SliceReader<'_>) -> der::Result<Material> {
    let scalar = <&OctetStringRef>::decode(reader)?.as_bytes();
    Ok(Material::Ec(Zeroizing::new(scalar.to_vec())))
}

/// Parses the rest of a PrivateKeyInfo (RFC 5208 section 5) after its version.
fn read_pkcs8(reader: &mut SliceReader<'_>) -> der::Result<Option<Material>> {
    let algorithm = AlgorithmIdentifier::read(reader)?.oid();
    let key = <&OctetStringRef>::decode(reader)?.as_bytes();
    if algorithm == ID_RSA_ENCRYPTION || algorithm == ID_RSASSA_PSS {
        return Ok(Some(Material::Rsa(Zeroizing::new(key.to_vec()))));
    }
    if algorithm == ID_EC_PUBLIC_KEY {
        return after_version(key, read_scalar).map(Some);
    }
    if algorithm == ID_ED25519 {
        // RFC 8410 section 7: an OCTET STRING within the OCTET STRING.
        let seed = <&OctetStringRef>::from_der(key)?.as_bytes();
        return Ok(Some(Material::Ed25519(Zeroizing::new(seed.to_vec()))));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkcs7::tests::tlv;

    /// A key within a key could be so deep that parsing it overflows the stack.
    #[test]
    fn an_ec_key_in_pkcs_8_is_an_ec_private_key_and_nothing_else() {
        let ec_public_key = tlv(0x06, &[ID_EC_PUBLIC_KEY.as_bytes()]);
        let pkcs8 = |key: &[u8]| -> Vec<u8> {
            let algorithm = tlv(0x30, &[&ec_public_key]);
            tlv(0x30, &[&[2, 1, 0], &algorithm, &tlv(0x04, &[key])])
        };
        let sec1 = tlv(0x30, &[&[2, 1, 1], &tlv(0x04, &[&[7; 32]])]);
        let read = |der: &[u8]| PrivateKey::from_pem_or_der(der);
        assert!(matches!(
            read(&pkcs8(&sec1)),
            Ok(PrivateKey(Material::Ec(scalar))) if *scalar == [7; 32]
        ));
        assert!(matches!(
            read(&pkcs8(&pkcs8(&sec1))),
            Err(X509Error::PrivateKeyUnusable { .. })
        ));
    }
}
