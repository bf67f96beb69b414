//! Making a verification leaf, DER by DER: the issuer must be the CA's subject as received.

use alloc::vec::Vec;

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Tag, TagNumber};
use rustls_pki_types::SignatureVerificationAlgorithm;
use sha1::{Digest, Sha1};

use super::{CertificationRequest, Signer};
use crate::certificate::Certificate;
use crate::code::VerificationCode;
use crate::extension::{BASIC_CONSTRAINTS, KEY_USAGE};
use crate::name::COMMON_NAME;
use crate::time::{Validity, to_der};
use crate::{Error, Scheme};

const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");

/// What a verification leaf is made of: version 3, CA:FALSE, digitalSignature, and the CA's key identifier.
#[derive(Clone, Copy, Debug)]
pub struct VerificationLeaf<'a> {
    /// The CA certificate: its subject becomes the issuer, byte for byte.
    pub ca: &'a Certificate<'a>,
    /// The code: the subject's one common name.
    pub code: &'a VerificationCode,
    /// From when until when it is to be valid. A few days suffice; begin an hour early for clocks that are late.
    pub validity: Validity,
    /// Random bytes for the serial number.
    pub serial: [u8; 16],
}

impl VerificationLeaf<'_> {
    /// Makes the leaf from the code alone. Its key is the CA's own public key: nobody needs another for a leaf that is thrown away.
    ///
    /// # Errors
    /// [`Error::TimeOutOfRange`], [`Error::SignatureInvalid`] if the signer's key is not the CA's, and the signer's own.
    pub fn sign(
        &self,
        signer: &dyn Signer,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Vec<u8>, Error> {
        let common_name = sequence(&[
            &COMMON_NAME.to_der().map_err(too_long)?,
            &tlv(Tag::PrintableString, self.code.digits().as_bytes())?,
        ])?;
        let subject = sequence(&[&tlv(Tag::Set, &common_name)?])?;
        self.assemble(&subject, self.ca.public_key().as_der(), signer, algorithms)
    }

    /// Makes the leaf for a certification request (RFC 2986): its subject and its key are taken over as received.
    ///
    /// # Errors
    /// [`Error::CsrCommonName`], those of verifying the request's own signature, and those of [`VerificationLeaf::sign`].
    pub fn sign_request(
        &self,
        request: &CertificationRequest<'_>,
        signer: &dyn Signer,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Vec<u8>, Error> {
        request.verify(algorithms)?;
        let mut names = request.subject().common_names();
        match (names.next().and_then(|name| name.text()), names.next()) {
            (Some(name), None) if self.code.is_name(&name) => {}
            _ => return Err(Error::CsrCommonName),
        }
        self.assemble(
            request.subject().as_der(),
            request.public_key().as_der(),
            signer,
            algorithms,
        )
    }

    fn assemble(
        &self,
        subject: &[u8],
        public_key: &[u8],
        signer: &dyn Signer,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Vec<u8>, Error> {
        let scheme = signer.scheme();
        let algorithm = algorithm_identifier(scheme)?;
        let tbs = sequence(&[
            &explicit(0, &2u8.to_der().map_err(too_long)?)?,
            &tlv(Tag::Integer, &self.positive_serial())?,
            &algorithm,
            self.ca.subject().as_der(),
            &sequence(&[
                &to_der(self.validity.not_before)?,
                &to_der(self.validity.not_after)?,
            ])?,
            subject,
            public_key,
            &explicit(3, &self.extensions()?)?,
        ])?;
        let signature = signer.sign(&tbs)?;
        // A signature by another key would only be found out by the verifier, after the upload.
        scheme.verify(algorithms, &self.ca.public_key(), &tbs, &signature)?;
        let signature = BitStringRef::from_bytes(&signature)
            .and_then(|bits| bits.to_der())
            .map_err(too_long)?;
        sequence(&[&tbs, &algorithm, &signature])
    }

    /// RFC 5280 section 4.1.2.2: positive, and with the second bit set it has no octet to spare.
    fn positive_serial(&self) -> [u8; 16] {
        let [first, rest @ ..] = self.serial;
        let mut serial = [first & 0x7F | 0x40; 16];
        let (_, tail) = serial.split_at_mut(1);
        tail.copy_from_slice(&rest);
        serial
    }

    fn extensions(&self) -> Result<Vec<u8>, Error> {
        let not_a_ca = sequence(&[])?;
        let digital_signature = BitStringRef::new(7, &[0x80])
            .and_then(|bits| bits.to_der())
            .map_err(too_long)?;
        let key_identifier = tlv(
            TagNumber(0).context_specific(false),
            &self.ca_key_identifier(),
        )?;
        sequence(&[
            &extension(BASIC_CONSTRAINTS, true, &not_a_ca)?,
            &extension(KEY_USAGE, true, &digital_signature)?,
            &extension(
                AUTHORITY_KEY_IDENTIFIER,
                false,
                &sequence(&[&key_identifier])?,
            )?,
        ])
    }

    /// The CA's own subjectKeyIdentifier, whatever it is made of, else that of RFC 5280 section 4.2.1.2 method 1.
    fn ca_key_identifier(&self) -> Vec<u8> {
        let own = self.ca.extension(SUBJECT_KEY_IDENTIFIER);
        own.and_then(|value| <&OctetStringRef>::from_der(value).ok())
            .map_or_else(
                || Sha1::digest(self.ca.public_key().key()).to_vec(),
                |identifier| identifier.as_bytes().to_vec(),
            )
    }
}

/// The contents come from the table of algorithms, so that what is signed is what is verified.
fn algorithm_identifier(scheme: Scheme) -> Result<Vec<u8>, Error> {
    tlv(Tag::Sequence, scheme.signature_id().as_ref())
}

fn extension(id: ObjectIdentifier, critical: bool, value: &[u8]) -> Result<Vec<u8>, Error> {
    let id = id.to_der().map_err(too_long)?;
    let value = tlv(Tag::OctetString, value)?;
    match critical {
        true => sequence(&[&id, &true.to_der().map_err(too_long)?, &value]),
        false => sequence(&[&id, &value]),
    }
}

fn explicit(number: u32, contents: &[u8]) -> Result<Vec<u8>, Error> {
    tlv(TagNumber(number).context_specific(true), contents)
}

fn sequence(fields: &[&[u8]]) -> Result<Vec<u8>, Error> {
    tlv(Tag::Sequence, &fields.concat())
}

fn tlv(tag: Tag, contents: &[u8]) -> Result<Vec<u8>, Error> {
    AnyRef::new(tag, contents)
        .and_then(|any| any.to_der())
        .map_err(too_long)
}

/// The only way in which writing DER can fail.
fn too_long(error: der::Error) -> Error {
    Error::Malformed {
        field: "verification leaf",
        at: 0,
        reason: error.kind(),
    }
}
