//! Issues a CRL. Its issuer must be the CA's subject as received.

use alloc::vec::Vec;

use der::{Encode, Sequence, Tag, asn1::AnyRef};
use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_cert::{
    ext::{Extensions, pkix::CrlNumber},
    time::Time,
};

use super::{
    entry::{CrlReason, REASON_CODE},
    extensions::CRL_NUMBER,
};
use crate::{
    X509Error,
    certificate::{Certificate, Serial},
    prover::{
        Signer,
        written::{
            algorithm_identifier, authority_key_identifier, element, extension, sign, unwritable,
        },
    },
    time::{signed, to_time},
};

/// The contents of a CRL to be issued. The CRL is complete and of version 2, with the CRL number and the CA's key identifier that
/// RFC 5280 sections 5.2.1 and 5.2.3 require.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::crl::{Crl, CrlReason, RevocationList, Revoked};
/// use keyproof_x509::prover::{PrivateKey, RingSigner};
/// use keyproof_x509::ring::rand::SystemRandom;
/// use keyproof_x509::{Certificate, Serial, algorithms::RING};
///
/// let ca = Certificate::from_der(include_bytes!("../../tests/data/p256-ca.der"))?;
/// let (key, random) = (PrivateKey::from_pem_or_der(include_bytes!("../../tests/data/p256-ca.key"))?, SystemRandom::new());
/// let revoked = [Revoked { serial: Serial::from_bytes(&[7])?, since: 1_799_999_000, reason: Some(CrlReason::Superseded) }];
/// let list = RevocationList { ca: &ca, number: 1, this_update: 1_800_000_000, next_update: 1_800_604_800, revoked: &revoked };
/// let der = list.sign(&RingSigner::new(&key, &ca, &random)?, RING)?; // verified before it is returned
/// assert_eq!(Crl::from_der(&der)?.revocations()[0].reason, Some(CrlReason::Superseded));
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RevocationList<'a> {
    /// The CA certificate. Its subject becomes the issuer, byte for byte. Its keyUsage must allow it to sign CRLs.
    pub ca: &'a Certificate<'a>,
    /// The CRL number, which must increase with each CRL of the CA.
    pub number: u64,
    /// The time of issue, in seconds since the Unix epoch.
    pub this_update: u64,
    /// The time by which the next CRL is due, in seconds since the Unix epoch.
    pub next_update: u64,
    /// The certificates that it revokes.
    pub revoked: &'a [Revoked<'a>],
}

/// A certificate to be revoked.
#[derive(Clone, Copy, Debug)]
pub struct Revoked<'a> {
    /// The serial number of the certificate.
    pub serial: Serial<'a>,
    /// The revocation date, in seconds since the Unix epoch.
    pub since: u64,
    /// The reason. RFC 5280 section 5.3.1 recommends `None` over *unspecified*.
    pub reason: Option<CrlReason>,
}

impl RevocationList<'_> {
    /// Signs the CRL and returns its DER.
    ///
    /// # Errors
    ///
    /// [`X509Error::KeyUsageForbids`] if the CA may not sign CRLs, [`X509Error::TimeOutOfRange`], [`X509Error::Malformed`] for a
    /// malformed keyUsage or a CRL that would be too long, the signer's errors, and those of
    /// [`Scheme::verify`](crate::Scheme::verify), such as [`X509Error::SignatureInvalid`] if the signer's key is not the CA's.
    pub fn sign(
        &self,
        signer: &dyn Signer,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Vec<u8>, X509Error> {
        if !self.ca.may_sign_crls()? {
            return Err(X509Error::KeyUsageForbids { usage: "cRLSign" });
        }
        let algorithm = algorithm_identifier(signer.scheme())?;
        let to_be_signed = self.tbs(&algorithm)?;
        sign(&to_be_signed, self.ca, signer, algorithms)
    }

    fn tbs(&self, algorithm: &[u8]) -> Result<Vec<u8>, X509Error> {
        let time = |seconds| to_time(signed(seconds));
        let revoked = self.revoked.iter().map(|revoked| {
            let reason = revoked
                .reason
                .map(|reason| extension(REASON_CODE, false, &reason.code()));
            Ok(Entry {
                serial: AnyRef::new(Tag::Integer, revoked.serial.as_bytes()).map_err(unwritable)?,
                since: time(revoked.since)?,
                extensions: reason.transpose()?.map(|reason| Vec::from([reason])),
            })
        });
        let revoked = revoked.collect::<Result<Vec<_>, X509Error>>()?;
        let number = CrlNumber::try_from(self.number).map_err(unwritable)?;
        let to_be_signed = ToBeSigned {
            version: 1,
            algorithm: element(algorithm)?,
            issuer: element(self.ca.subject().as_der())?,
            this_update: time(self.this_update)?,
            next_update: time(self.next_update)?,
            // RFC 5280 section 5.1.2.6: absent rather than empty.
            revoked: (!revoked.is_empty()).then_some(revoked),
            extensions: Vec::from([
                authority_key_identifier(self.ca)?,
                extension(CRL_NUMBER, false, &number)?,
            ]),
        };
        to_be_signed.to_der().map_err(unwritable)
    }
}

/// Like x509-cert's `TbsCertList`, but containing received bytes.
#[derive(Sequence)]
struct ToBeSigned<'a> {
    version: u8,
    algorithm: AnyRef<'a>,
    issuer: AnyRef<'a>,
    this_update: Time,
    next_update: Time,
    #[asn1(optional = "true")]
    revoked: Option<Vec<Entry<'a>>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Extensions,
}

#[derive(Sequence)]
struct Entry<'a> {
    serial: AnyRef<'a>,
    since: Time,
    #[asn1(optional = "true")]
    extensions: Option<Extensions>,
}
