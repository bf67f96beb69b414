//! Parses certificates and CRLs in PKCS #7, as in `.p7b` files: signed data without signers (*certs-only* in RFC 5652 section 5.1;
//! RFC 2315 section 9.1).
//!
//! ```
//! use keyproof_x509::{Certificate, pkcs7::Pkcs7};
//!
//! // Written by `openssl crl2pkcs7 -nocrl -certfile p256-ca.pem -outform DER`.
//! let file = Pkcs7::from_der(include_bytes!("../tests/data/p256-ca.p7b"))?;
//! assert_eq!((file.certificates.len(), file.crls.len()), (1, 0));
//! let ca = Certificate::from_der(file.certificates[0])?;
//! assert_eq!(ca.as_der(), include_bytes!("../tests/data/p256-ca.der"));
//! # Ok::<(), keyproof_x509::X509Error>(())
//! ```

use alloc::vec::Vec;

use der::{Decode, ErrorKind, Reader, SliceReader, Tag, TagNumber, asn1::AnyRef};

use crate::{
    X509Error,
    oid::Oid,
    reader::{contents, explicit, nested, peek, read_whole, received},
};

/// The maximum number of certificates, and the maximum number of CRLs.
pub const MAX_ELEMENTS: usize = 10_000;

/// 1.2.840.113549.1.7.2.
pub(crate) const SIGNED_DATA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x02];

/// The contents of a PKCS #7 file. The elements are not parsed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Pkcs7<'a> {
    /// The certificates in DER, in the order received.
    pub certificates: Vec<&'a [u8]>,
    /// The CRLs in DER, in the order received.
    pub crls: Vec<&'a [u8]>,
}

impl<'a> Pkcs7<'a> {
    /// Parses signed data from DER. No data may follow it. Signers are ignored.
    ///
    /// # Errors
    ///
    /// [`X509Error::Malformed`] with field and offset, for anything but signed data, for BER, for attribute certificates and other
    /// alternatives to certificates, and for more than [`MAX_ELEMENTS`].
    pub fn from_der(der: &'a [u8]) -> Result<Self, X509Error> {
        read_whole(der, "ContentInfo", |reader, field| {
            nested(reader, Tag::Sequence, |reader| {
                *field = "contentType";
                if Oid::read(reader)?.as_bytes() != SIGNED_DATA {
                    return Err(reader.error(Tag::ObjectIdentifier.value_error()));
                }
                *field = "content";
                let read = explicit(reader, 0, |reader| {
                    nested(reader, Tag::Sequence, |reader| {
                        *field = "version";
                        contents(reader, Tag::Integer)?;
                        *field = "digestAlgorithms";
                        contents(reader, Tag::Set)?;
                        *field = "encapContentInfo";
                        contents(reader, Tag::Sequence)?;
                        *field = "certificates";
                        let certificates = elements(reader, 0)?;
                        *field = "crls";
                        let crls = elements(reader, 1)?;
                        *field = "signerInfos";
                        contents(reader, Tag::Set)?;
                        Ok(Self { certificates, crls })
                    })
                })?;
                *field = "content";
                read.ok_or_else(|| {
                    reader.error(ErrorKind::Incomplete {
                        expected_len: der::Length::ONE,
                        actual_len: der::Length::ZERO,
                    })
                })
            })
        })
    }
}

/// Parses an optional IMPLICIT SET OF SEQUENCEs, `[number]`.
fn elements<'a>(reader: &mut SliceReader<'a>, number: u32) -> der::Result<Vec<&'a [u8]>> {
    let tag = TagNumber(number).context_specific(true);
    let mut elements = Vec::new();
    if peek(reader)? != Some(tag) {
        return Ok(elements);
    }
    nested(reader, tag, |reader| {
        while !reader.is_finished() {
            if elements.len() == MAX_ELEMENTS {
                return Err(reader.error(ErrorKind::Overlength));
            }
            let (element, any) = received(reader, AnyRef::decode)?;
            der::Tagged::tag(&any).assert_eq(Tag::Sequence)?;
            elements.push(element);
        }
        Ok(())
    })?;
    Ok(elements)
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::vec;

    use super::*;

    pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut der = vec![tag];
        match u8::try_from(content.len()) {
            Ok(short) if short < 0x80 => der.push(short),
            Ok(len) => der.extend([0x81, len]),
            Err(_) => der.extend(
                [
                    &[0x82],
                    &u16::try_from(content.len()).unwrap().to_be_bytes()[..],
                ]
                .concat(),
            ),
        }
        der.extend(content);
        der
    }

    pub(crate) fn signed_data(certificates: &[u8], crls: &[u8]) -> Vec<u8> {
        let data = tlv(0x30, &[&tlv(0x06, &[&SIGNED_DATA[..8], &[1]])]);
        let signed = tlv(
            0x30,
            &[
                &[2, 1, 1],
                &tlv(0x31, &[]),
                &data,
                certificates,
                crls,
                &tlv(0x31, &[]),
            ],
        );
        tlv(0x30, &[&tlv(0x06, &[SIGNED_DATA]), &tlv(0xA0, &[&signed])])
    }

    #[test]
    fn certificates_and_lists_are_found_and_nothing_is_passed_over() {
        let (one, two, list) = ([0x30, 1, 5], [0x30, 0], [0x30, 2, 5, 0]);
        let both = tlv(0xA0, &[&one, &two]);
        let lists = tlv(0xA1, &[&list]);
        let der = signed_data(&both, &lists);
        let read = Pkcs7::from_der(&der).unwrap();
        assert_eq!(read.certificates, [&one[..], &two]);
        assert_eq!(read.crls, [&list[..]]);
        let none = signed_data(&[], &[]);
        assert_eq!(Pkcs7::from_der(&none).unwrap(), Pkcs7::default());
        let only_lists = signed_data(&[], &lists);
        assert_eq!(Pkcs7::from_der(&only_lists).unwrap().certificates.len(), 0);

        // An attribute certificate ([2]), truncated input, trailing data, and another content type.
        let is_refused_in = |der: &[u8], part: &str| {
            let refused = Pkcs7::from_der(der);
            matches!(refused, Err(X509Error::Malformed { field, .. }) if field == part)
        };
        let odd = tlv(0xA0, &[&one, &tlv(0xA2, &[&two])]);
        assert!(is_refused_in(&signed_data(&odd, &[]), "certificates"));
        for end in 0..der.len() {
            assert!(Pkcs7::from_der(&der[..end]).is_err(), "{end}");
        }
        assert!(Pkcs7::from_der(&[&der[..], &[0]].concat()).is_err());
        let mut other = der.clone();
        let last_arc = 2 + 2 + SIGNED_DATA.len() - 1;
        assert_eq!(other[last_arc], 2);
        other[last_arc] = 1;
        assert!(is_refused_in(&other, "contentType"));
        let many = tlv(0xA0, &[&two.repeat(MAX_ELEMENTS)]);
        assert_eq!(
            Pkcs7::from_der(&signed_data(&many, &[]))
                .unwrap()
                .certificates
                .len(),
            MAX_ELEMENTS
        );
        let more = tlv(0xA0, &[&two.repeat(MAX_ELEMENTS + 1)]);
        assert!(is_refused_in(&signed_data(&more, &[]), "certificates"));
    }
}
