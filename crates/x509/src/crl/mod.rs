//! Certificate revocation lists (CRLs, RFC 5280 section 5): complete ones of version 2, parsed from the received bytes.
//!
//! Path validation with a CRL ([`PathOptions::crls`](crate::path::PathOptions::crls)) rejects the certificates on it. Delta CRLs, indirect CRLs
//! and those limited to some reasons are rejected with a specific error, because a missing entry must not be taken for *not
//! revoked*.
//!
//! ```
//! # #[cfg(all(feature = "prover", feature = "ring"))] {
//! use keyproof_x509::crl::{Crl, CrlReason, RevocationList, Revoked};
//! use keyproof_x509::prover::{PrivateKey, RingSigner};
//! use keyproof_x509::ring::rand::SystemRandom;
//! use keyproof_x509::{Certificate, algorithms::RING};
//!
//! let ca = Certificate::from_der(include_bytes!("../../tests/data/p256-ca.der"))?;
//! let leaf = Certificate::from_der(include_bytes!("../../tests/data/p256-leaf.der"))?;
//! // The CA revokes the certificate.
//! let (key, random) = (PrivateKey::from_pem_or_der(include_bytes!("../../tests/data/p256-ca.key"))?, SystemRandom::new());
//! let revoked = [Revoked { serial: leaf.serial(), since: 1_800_000_000, reason: Some(CrlReason::KeyCompromise) }];
//! let list = RevocationList { ca: &ca, number: 1, this_update: 1_800_000_000, next_update: 1_800_604_800, revoked: &revoked };
//! let der = list.sign(&RingSigner::new(&key, &ca, &random)?, RING)?;
//! // A relying party verifies the CRL and looks the certificate up. `path::find` does both with `path::PathOptions::crls`.
//! let list = Crl::from_der(&der)?;
//! list.verify(RING, &ca.public_key())?;
//! assert!(list.find(leaf.serial()).is_some() && list.find(ca.serial()).is_none());
//! # }
//! # Ok::<(), keyproof_x509::X509Error>(())
//! ```

mod entry;
mod extensions;
#[cfg(feature = "prover")]
mod revocation_list;

use alloc::{string::ToString, vec::Vec};
use core::cmp::Ordering;

use der::{Decode, ErrorKind, Reader, SliceReader, Tag};
use rustls_pki_types::SignatureVerificationAlgorithm;

use self::extensions::CrlExtensions;
use crate::{
    X509Error,
    algorithm::{AlgorithmIdentifier, Scheme, verify},
    certificate::{Certificate, Serial, whole_octets},
    extension::Extension,
    name::{CanonicalName, Name},
    public_key::SubjectPublicKeyInfo,
    reader::{Field, explicit, nested, peek, read_whole, received},
    time::read_time,
};

pub(crate) use self::extensions::Coverage;
#[cfg(feature = "prover")]
pub use self::revocation_list::{RevocationList, Revoked};
pub use self::{
    entry::{CrlReason, Revocation},
    extensions::CrlNumber,
};

/// The maximum length of a CRL in bytes; longer ones are not parsed. 100,000 entries take about four million bytes.
pub const MAX_CRL_LEN: usize = 16 * 1024 * 1024;

/// A certificate revocation list, parsed from strict DER and borrowing from it. Only serial numbers may have redundant leading
/// octets, because some manufacturers' certificates have them, and what stands beside the key identifier is not parsed. Parsing does
/// not verify the signature.
///
/// Parsing takes one pass over the bytes, plus n log n comparisons to sort n entries that are not in order. Each entry takes 40
/// bytes of memory on a 64-bit platform. Looking up a serial number takes log n comparisons.
///
/// ```
/// # #[cfg(all(feature = "prover", feature = "ring"))] {
/// # use keyproof_x509::crl::{RevocationList, Revoked};
/// # use keyproof_x509::prover::{PrivateKey, RingSigner};
/// # use keyproof_x509::ring::rand::SystemRandom;
/// # use keyproof_x509::{Certificate, Serial, algorithms::RING};
/// use keyproof_x509::crl::Crl;
///
/// # let ca = Certificate::from_der(include_bytes!("../../tests/data/p256-ca.der"))?;
/// # let (key, random) = (PrivateKey::from_pem_or_der(include_bytes!("../../tests/data/p256-ca.key"))?, SystemRandom::new());
/// # let revoked = [Revoked { serial: Serial::from_bytes(&[7])?, since: 1_799_999_000, reason: None }];
/// # let list = RevocationList { ca: &ca, number: 9, this_update: 1_800_000_000, next_update: 1_800_604_800, revoked: &revoked };
/// # let der = list.sign(&RingSigner::new(&key, &ca, &random)?, RING)?;
/// let list = Crl::from_der(&der)?;
/// list.verify(RING, &ca.public_key())?; // `from_der` does not verify
/// assert_eq!(list.issuer().to_string(), ca.subject().to_string());
/// assert_eq!((list.this_update(), list.next_update()), (1_800_000_000, Some(1_800_604_800)));
/// assert_eq!(list.number().unwrap().to_string(), "09");
/// for revoked in list.revocations() {
///     println!("{} since {}", revoked.serial, revoked.since);
/// }
/// # assert_eq!(list.revocations().len(), 1);
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Crl<'a> {
    der: &'a [u8],
    tbs: &'a [u8],
    issuer: Name<'a>,
    canonical_issuer: CanonicalName<'a>,
    this_update: i64,
    next_update: Option<i64>,
    /// Sorted by serial number.
    revocations: Vec<Revocation<'a>>,
    extensions: CrlExtensions,
    algorithm: AlgorithmIdentifier<'a>,
    signature: &'a [u8],
}

impl<'a> Crl<'a> {
    /// Parses a CRL from DER. No data may follow it. A caller that leaves out a CRL with an error accepts what it revokes.
    ///
    /// # Errors
    ///
    /// [`X509Error::CrlUnsupported`], [`X509Error::CriticalExtensionUnknown`], [`X509Error::Malformed`] with field and offset,
    /// [`X509Error::TooLong`] and [`X509Error::TooMany`].
    pub fn from_der(der: &'a [u8]) -> Result<Self, X509Error> {
        if der.len() > MAX_CRL_LEN {
            return Err(X509Error::TooLong {
                found: der.len(),
                limit: MAX_CRL_LEN,
            });
        }
        let mut refusal = None;
        let read = read_whole(der, "CertificateList", |reader, field| {
            reader.sequence(|reader| {
                let (tbs, fields) = received(reader, |reader| {
                    TbsFields::read(reader, field, &mut refusal)
                })?;
                *field = "signatureAlgorithm";
                let algorithm = AlgorithmIdentifier::read(reader)?;
                if algorithm.as_der() != fields.algorithm.as_der() {
                    // RFC 5280 section 5.1.1.2.
                    return Err(reader.error(Tag::Sequence.value_error()));
                }
                *field = "signatureValue";
                let signature = whole_octets(reader)?;
                *field = "CertificateList";
                Ok((tbs, fields, algorithm, signature))
            })
        });
        let (tbs, fields, algorithm, signature) =
            read.map_err(|error| refusal.take().unwrap_or(error))?;
        fields.issuer.check_size("issuer")?;
        let mut revocations = fields.revocations;
        revocations.sort_by(|one, other| one.serial.as_bytes().cmp(other.serial.as_bytes()));
        Ok(Self {
            der,
            tbs,
            issuer: fields.issuer,
            canonical_issuer: fields.issuer.canonical(),
            this_update: fields.this_update,
            next_update: fields.next_update,
            revocations,
            extensions: CrlExtensions::of(&fields.extensions)?,
            algorithm,
            signature,
        })
    }

    /// Returns the complete received DER.
    pub fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// Returns the received TBSCertList, which the signature covers.
    pub fn tbs(&self) -> &'a [u8] {
        self.tbs
    }

    /// Returns the issuer's name.
    pub fn issuer(&self) -> Name<'a> {
        self.issuer
    }

    /// Returns `thisUpdate`, the time of issue, in seconds since the Unix epoch.
    pub fn this_update(&self) -> i64 {
        self.this_update
    }

    /// Returns `nextUpdate`, by which the next CRL is due, in seconds since the Unix epoch. RFC 5280 section 5.1.2.5 requires it.
    pub fn next_update(&self) -> Option<i64> {
        self.next_update
    }

    /// Returns the CRL number, if present (RFC 5280 section 5.2.3).
    pub fn number(&self) -> Option<&CrlNumber> {
        self.extensions.number.as_ref()
    }

    /// Returns the identifier of the key that signed it (RFC 5280 section 5.2.1), or `None` if it is absent or malformed.
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.extensions.authority_key_identifier.as_deref()
    }

    /// Returns the entries, sorted by serial number.
    pub fn revocations(&self) -> &[Revocation<'a>] {
        &self.revocations
    }

    /// Returns the entry for a serial number, found by binary search.
    ///
    /// `None` does not mean that the certificate is not revoked: the CRL may be forged, expired or another issuer's, or may not cover
    /// the certificate. [`path::find`](crate::path::find) decides that.
    #[must_use = "an entry means that the certificate is revoked or on hold"]
    pub fn find(&self, serial: Serial<'_>) -> Option<&Revocation<'a>> {
        let place = self
            .revocations
            .binary_search_by(|entry| entry.serial.as_bytes().cmp(serial.as_bytes()));
        self.revocations.get(place.ok()?)
    }

    /// Verifies the signature over the received bytes. Does not check whether the key may sign CRLs.
    ///
    /// # Errors
    ///
    /// Those of [`verify`](crate::verify()).
    pub fn verify(
        &self,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
        key: &SubjectPublicKeyInfo<'_>,
    ) -> Result<Scheme, X509Error> {
        verify(algorithms, key, &self.algorithm, self.tbs, self.signature)
    }

    /// Returns whether this CRL is newer than `other`: issued later without a lower number, or at the same time with a higher
    /// number. If time and number contradict each other, neither is newer: a CRL signed ahead of time lacks what was revoked since
    /// under a higher number. The caller must ensure that the same key signed both.
    pub fn is_newer_than(&self, other: &Crl<'_>) -> bool {
        let numbers = self.number().zip(other.number());
        let by_number = numbers.map(|(own, other)| own.cmp(other));
        match self.this_update.cmp(&other.this_update) {
            Ordering::Less => false,
            Ordering::Equal => by_number == Some(Ordering::Greater),
            Ordering::Greater => by_number != Some(Ordering::Less),
        }
    }

    /// Returns whether this CRL covers each certificate that `other` covers, according to their issuingDistributionPoints (RFC 5280
    /// section 5.2.5). Only then can it replace `other`. Does not check whether both have the same issuer or which is newer.
    pub fn includes_scope_of(&self, other: &Crl<'_>) -> bool {
        self.extensions.scope.includes(&other.extensions.scope)
    }

    pub(crate) fn is_by(&self, issuer: &CanonicalName<'_>) -> bool {
        self.canonical_issuer == *issuer
    }

    /// Returns whether it covers a certificate of its issuer, according to its issuingDistributionPoint (RFC 5280 section 6.3.3
    /// (b)). If that excludes the certificate but there is an entry for its serial number, which is unique per issuer, the coverage
    /// is unclear.
    pub(crate) fn coverage(&self, certificate: &Certificate<'_>) -> Coverage {
        match self.extensions.scope.coverage(certificate) {
            Coverage::None if self.find(certificate.serial()).is_some() => Coverage::Doubtful,
            coverage => coverage,
        }
    }
}

/// The fields of a TBSCertList (RFC 5280 section 5.1.2).
struct TbsFields<'a> {
    algorithm: AlgorithmIdentifier<'a>,
    issuer: Name<'a>,
    this_update: i64,
    next_update: Option<i64>,
    revocations: Vec<Revocation<'a>>,
    extensions: Vec<Extension<'a>>,
}

impl<'a> TbsFields<'a> {
    /// Parses the fields. `refusal` receives the error if the CRL is rejected for another reason than its structure.
    fn read(
        reader: &mut SliceReader<'a>,
        field: &mut Field,
        refusal: &mut Option<X509Error>,
    ) -> der::Result<Self> {
        *field = "tbsCertList";
        reader.sequence(|reader| {
            *field = "version";
            if Tag::peek(reader)? != Tag::Integer {
                *refusal = Some(X509Error::CrlUnsupported { what: "version 1" });
                return Err(reader.error(Tag::Integer.value_error()));
            }
            if u8::decode(reader)? != 1 {
                return Err(reader.error(Tag::Integer.value_error()));
            }
            *field = "signature";
            let algorithm = AlgorithmIdentifier::read(reader)?;
            *field = "issuer";
            let issuer = Name::read(reader)?;
            *field = "thisUpdate";
            let (this_update, _) = read_time(reader)?;
            *field = "nextUpdate";
            let next_update = match peek(reader)? {
                Some(Tag::UtcTime | Tag::GeneralizedTime) => Some(read_time(reader)?.0),
                _ => None,
            };
            *field = "revokedCertificates";
            let mut revocations = Vec::new();
            if peek(reader)? == Some(Tag::Sequence) {
                nested(reader, Tag::Sequence, |reader| {
                    while !reader.is_finished() {
                        revocations.push(Revocation::read(reader, refusal)?);
                    }
                    Ok(())
                })?;
            }
            *field = "crlExtensions";
            let extensions = explicit(reader, 0, |reader| {
                nested(reader, Tag::Sequence, |reader| {
                    let mut extensions: Vec<Extension<'a>> = Vec::new();
                    while !reader.is_finished() {
                        let extension = Extension::read(reader)?;
                        let is_repeated =
                            extensions.iter().any(|earlier| earlier.id == extension.id);
                        if is_repeated || extensions.len() == MAX_CRL_EXTENSIONS {
                            return Err(reader.error(ErrorKind::Overlength));
                        }
                        extensions.push(extension);
                    }
                    Ok(extensions)
                })
            })?;
            *field = "tbsCertList";
            Ok(Self {
                algorithm,
                issuer,
                this_update,
                next_update,
                revocations,
                extensions: extensions.unwrap_or_default(),
            })
        })
    }
}

/// The maximum number of extensions of a CRL or an entry, against input crafted to cost time.
const MAX_CRL_EXTENSIONS: usize = 20;

/// Returns the error for an unsupported critical extension of a CRL or an entry.
fn unknown(extension: &Extension<'_>) -> X509Error {
    X509Error::CriticalExtensionUnknown {
        oid: extension.id.to_string(),
    }
}
