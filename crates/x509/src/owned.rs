//! A certificate that owns its bytes.

use alloc::boxed::Box;
use core::fmt;

use crate::{Certificate, X509Error};

/// A certificate that owns its DER, for use where a [`Certificate`] would outlive the bytes that it borrows.
///
/// Two of them are equal if their DER is. Each call of [`certificate`](Self::certificate) parses the DER again, which takes a few
/// microseconds; call it once if you need several fields.
///
/// ```
/// use keyproof_x509::{Curve, KeyKind, OwnedCertificate, Upload};
///
/// struct Tenant {
///     ca: OwnedCertificate,
/// }
///
/// let upload = Upload::decode(include_bytes!("../tests/data/p256-ca.pem"))?;
/// let tenant = Tenant { ca: upload.certificate()?.into() };
/// drop(upload);
/// assert_eq!(tenant.ca.certificate().public_key().kind()?, KeyKind::Ec(Curve::P256));
///
/// let stored = tenant.ca.as_der().to_vec();
/// assert_eq!(OwnedCertificate::from_der(stored)?, tenant.ca);
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct OwnedCertificate {
    der: Box<[u8]>,
}

impl OwnedCertificate {
    /// Parses a certificate from DER as [`Certificate::from_der`] does, and stores the DER.
    ///
    /// # Errors
    ///
    /// Those of [`Certificate::from_der`].
    pub fn from_der(der: impl Into<Box<[u8]>>) -> Result<Self, X509Error> {
        let der = der.into();
        Certificate::from_der(&der)?;
        Ok(Self { der })
    }

    /// Returns the certificate.
    pub fn certificate(&self) -> Certificate<'_> {
        // Strict DER is parsed alike, and the DER may be that of a certificate that was parsed leniently.
        #[expect(
            clippy::expect_used,
            reason = "the same bytes were parsed when the value was created"
        )]
        Certificate::from_der_lenient(&self.der).expect("DER that was read before")
    }

    /// Returns the complete received DER.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }
}

impl From<Certificate<'_>> for OwnedCertificate {
    fn from(certificate: Certificate<'_>) -> Self {
        Self::from(&certificate)
    }
}

impl From<&Certificate<'_>> for OwnedCertificate {
    /// Copies the DER. Redundant octets in the serial number are still accepted if they were before
    /// ([`Certificate::from_der_lenient`]).
    fn from(certificate: &Certificate<'_>) -> Self {
        let der = certificate.as_der().into();
        Self { der }
    }
}

impl AsRef<[u8]> for OwnedCertificate {
    fn as_ref(&self) -> &[u8] {
        &self.der
    }
}

impl fmt::Debug for OwnedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedCertificate")
            .field(&self.certificate().sha256_thumbprint())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Upload;
    use alloc::{format, vec::Vec};

    fn der() -> Vec<u8> {
        let upload = Upload::decode(include_bytes!("../tests/data/p256-ca.pem"));
        upload.map(Upload::into_der).unwrap_or_default()
    }

    #[test]
    fn it_says_what_the_borrowed_one_says() {
        let der = der();
        let borrowed = Certificate::from_der(&der).unwrap();
        let owned = OwnedCertificate::from(&borrowed);
        assert_eq!(owned, OwnedCertificate::from_der(der.clone()).unwrap());
        assert_eq!(owned.certificate().serial(), borrowed.serial());
        assert_eq!(owned.as_der(), borrowed.as_der());
        assert_eq!(AsRef::<[u8]>::as_ref(&owned), borrowed.as_der());
        let leaf = &include_bytes!("../tests/data/p256-leaf.der")[..];
        assert_ne!(owned, OwnedCertificate::from_der(leaf).unwrap());
        let shown = format!("OwnedCertificate({:?})", borrowed.sha256_thumbprint());
        assert_eq!(format!("{owned:?}"), shown);
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(OwnedCertificate::from_der(&b"\x30\x00"[..]).is_err());
    }

    #[test]
    fn a_padded_serial_number_is_read_again_if_it_was_before() {
        // One more zero octet in the serial number increases its length and those of the two enclosing sequences.
        let mut der = der();
        // Certificate 30 82 LL LL, TBSCertificate 30 82 LL LL, [0] A0 03 02 01 02, serialNumber 02 LL.
        assert_eq!(der[8..14], [0xA0, 3, 2, 1, 2, 2]);
        for at in [2, 6] {
            let length = u16::from_be_bytes([der[at], der[at + 1]]) + 1;
            der[at..at + 2].copy_from_slice(&length.to_be_bytes());
        }
        der[14] += 1;
        der.insert(15, 0);
        assert!(OwnedCertificate::from_der(der.clone()).is_err());
        let borrowed = Certificate::from_der_lenient(&der).unwrap();
        let owned = OwnedCertificate::from(borrowed.clone());
        assert_eq!(owned.certificate().serial(), borrowed.serial());
    }
}
