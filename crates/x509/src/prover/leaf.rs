//! Issues a verification leaf. Its issuer must be the CA's subject as received.

use alloc::vec::Vec;

use der::{
    Encode, Sequence, Tag,
    asn1::{Any, AnyRef},
};
use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_cert::{
    attr::AttributeTypeAndValue,
    ext::{
        Extensions,
        pkix::{BasicConstraints, KeyUsage, KeyUsages},
    },
    name::{RdnSequence, RelativeDistinguishedName},
    time::Time,
};

use super::{
    CertificationRequest, Signer,
    written::{
        algorithm_identifier, authority_key_identifier, element, extension, sign, unwritable,
    },
};
use crate::{
    X509Error,
    certificate::Certificate,
    code::VerificationCode,
    extension::{BASIC_CONSTRAINTS, KEY_USAGE},
    name::COMMON_NAME,
    time::{Validity, to_time},
};

/// The contents of a verification leaf. The leaf has version 3, CA:FALSE, digitalSignature, and the CA's key identifier.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use keyproof_x509::prover::{CertificationRequest, PrivateKey, RingSigner, VerificationLeaf};
/// use keyproof_x509::ring::rand::SystemRandom;
/// use keyproof_x509::{Certificate, Policy, Validity, VerificationCode, algorithms::RING, prove};
///
/// let ca = &Certificate::from_der(include_bytes!("../../tests/data/p256-ca.der"))?;
/// let key = PrivateKey::from_pem_or_der(include_bytes!("../../tests/data/p256-ca.key"))?;
/// let code = &VerificationCode::parse("7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638")?.bound_to(ca.sha256_thumbprint(), None);
/// let (now, random) = (1_800_000_000, SystemRandom::new());
/// let leaf = VerificationLeaf { ca, code, validity: Validity::between(now - 3_600, now + 86_400), serial: [7; 16] };
/// let leaf = leaf.sign(&RingSigner::new(&key, ca, &random)?, RING)?;
/// assert!(prove(ca, &leaf, code, now, &Policy::new(RING)).accepted());
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct VerificationLeaf<'a> {
    /// The CA certificate. Its subject becomes the issuer, byte for byte.
    pub ca: &'a Certificate<'a>,
    /// The code, which becomes the only common name of the subject.
    pub code: &'a VerificationCode,
    /// The validity period. A few days are enough; begin an hour early to allow for slow clocks.
    pub validity: Validity,
    /// Random bytes for the serial number.
    pub serial: [u8; 16],
}

impl VerificationLeaf<'_> {
    /// Signs a leaf from the code alone. It contains the CA's own public key, because the leaf is not used afterwards.
    ///
    /// # Errors
    ///
    /// [`X509Error::TimeOutOfRange`], the signer's errors, those of [`Scheme::verify`](crate::Scheme::verify), such as
    /// [`X509Error::SignatureInvalid`] if the signer's key is not the CA's, and [`X509Error::Malformed`] if the leaf would be too
    /// long.
    pub fn sign(
        &self,
        signer: &dyn Signer,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Vec<u8>, X509Error> {
        let subject = self.subject().map_err(unwritable)?;
        self.assemble(&subject, self.ca.public_key().as_der(), signer, algorithms)
    }

    /// Signs a leaf for a certification request (RFC 2986), whose subject and public key are copied as received.
    ///
    /// # Errors
    ///
    /// [`X509Error::CsrCommonName`], the errors of verifying the request's signature, and those of [`VerificationLeaf::sign`].
    pub fn sign_request(
        &self,
        request: &CertificationRequest<'_>,
        signer: &dyn Signer,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Vec<u8>, X509Error> {
        request.verify(algorithms)?;
        let mut names = request.subject().common_names();
        match (names.next().and_then(|name| name.text()), names.next()) {
            (Some(name), None) if self.code.is_name(&name) => {}
            _ => return Err(X509Error::CsrCommonName),
        }
        self.assemble(
            request.subject().as_der(),
            request.public_key().as_der(),
            signer,
            algorithms,
        )
    }

    /// Encodes a subject with the code as its only common name.
    fn subject(&self) -> der::Result<Vec<u8>> {
        let name = AttributeTypeAndValue {
            oid: COMMON_NAME,
            value: Any::new(Tag::PrintableString, self.code.digits().as_bytes())?,
        };
        let name = RelativeDistinguishedName::try_from(Vec::from([name]))?;
        RdnSequence::from(Vec::from([name])).to_der()
    }

    fn assemble(
        &self,
        subject: &[u8],
        public_key: &[u8],
        signer: &dyn Signer,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Vec<u8>, X509Error> {
        let algorithm = algorithm_identifier(signer.scheme())?;
        let serial = self.positive_serial();
        let to_be_signed = ToBeSigned {
            version: 2,
            serial: AnyRef::new(Tag::Integer, &serial).map_err(unwritable)?,
            algorithm: element(&algorithm)?,
            issuer: element(self.ca.subject().as_der())?,
            validity: Period {
                not_before: to_time(self.validity.not_before)?,
                not_after: to_time(self.validity.not_after)?,
            },
            subject: element(subject)?,
            public_key: element(public_key)?,
            extensions: self.extensions()?,
        };
        let to_be_signed = to_be_signed.to_der().map_err(unwritable)?;
        sign(&to_be_signed, self.ca, signer, algorithms)
    }

    /// RFC 5280 section 4.1.2.2: the number is positive, and because the second bit is set, no octet is redundant.
    fn positive_serial(&self) -> [u8; 16] {
        let [first, rest @ ..] = self.serial;
        let mut serial = [first & 0x7F | 0x40; 16];
        let (_, tail) = serial.split_at_mut(1);
        tail.copy_from_slice(&rest);
        serial
    }

    fn extensions(&self) -> Result<Extensions, X509Error> {
        let not_a_ca = BasicConstraints {
            ca: false,
            path_len_constraint: None,
        };
        let digital_signature = KeyUsage(KeyUsages::DigitalSignature.into());
        Ok(Vec::from([
            extension(BASIC_CONSTRAINTS, true, &not_a_ca)?,
            extension(KEY_USAGE, true, &digital_signature)?,
            authority_key_identifier(self.ca)?,
        ]))
    }
}

/// Like x509-cert's `TbsCertificate`, but containing received bytes.
#[derive(Sequence)]
struct ToBeSigned<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: AnyRef<'a>,
    algorithm: AnyRef<'a>,
    issuer: AnyRef<'a>,
    validity: Period,
    subject: AnyRef<'a>,
    public_key: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Extensions,
}

#[derive(Sequence)]
struct Period {
    not_before: Time,
    not_after: Time,
}
