//! Certificate revocation lists (RFC 5280 section 5): complete ones of version 2, read over the received bytes.
//!
//! A list that is given to a path search ([`Rules::crls`](crate::path::Rules::crls)) refuses the certificates on it.
//! Delta lists, indirect ones, and those that leave some reasons out are refused by name: what they leave unsaid would be taken
//! for *not revoked*.
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
//! // The CA takes the certificate back.
//! let (key, random) = (PrivateKey::from_pem_or_der(include_bytes!("../../tests/data/p256-ca.key"))?, SystemRandom::new());
//! let revoked = [Revoked { serial: leaf.serial().as_bytes(), since: 1_800_000_000, reason: Some(CrlReason::KeyCompromise) }];
//! let list = RevocationList { ca: &ca, number: 1, this_update: 1_800_000_000, next_update: 1_800_604_800, revoked: &revoked };
//! let der = list.sign(&RingSigner::new(&key, &ca, &random)?, RING)?;
//! // Whoever relies on it looks it up; a path search with it in `path::Rules::crls` does both.
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
    reader::{Field, explicit, nested, read_whole, received},
    time::read_time,
};

pub use x509_cert::ext::pkix::CrlReason;

#[cfg(feature = "prover")]
pub use self::revocation_list::{RevocationList, Revoked};
pub use self::{entry::Revocation, extensions::CrlNumber};
pub(crate) use self::{entry::reason_name, extensions::Coverage};

/// Revocation lists of more bytes than this are refused unread. 100,000 entries are some four million bytes.
pub const MAX_CRL_LEN: usize = 16 * 1024 * 1024;

/// A certificate revocation list, read from strict DER and borrowing from it; serial numbers alone may have octets to spare, as some
/// makers' certificates have them. Its signature is not verified by reading it.
///
/// Reading costs one pass over the bytes and, unless its entries are in order already, sorting them: n log n comparisons for n
/// entries, each of which takes 32 bytes of memory. Looking up a serial number costs log n comparisons.
///
/// ```
/// # #[cfg(all(feature = "prover", feature = "ring"))] {
/// # use keyproof_x509::crl::{RevocationList, Revoked};
/// # use keyproof_x509::prover::{PrivateKey, RingSigner};
/// # use keyproof_x509::ring::rand::SystemRandom;
/// # use keyproof_x509::{Certificate, algorithms::RING};
/// use keyproof_x509::crl::Crl;
///
/// # let ca = Certificate::from_der(include_bytes!("../../tests/data/p256-ca.der"))?;
/// # let (key, random) = (PrivateKey::from_pem_or_der(include_bytes!("../../tests/data/p256-ca.key"))?, SystemRandom::new());
/// # let revoked = [Revoked { serial: &[7], since: 1_799_999_000, reason: None }];
/// # let list = RevocationList { ca: &ca, number: 9, this_update: 1_800_000_000, next_update: 1_800_604_800, revoked: &revoked };
/// # let der = list.sign(&RingSigner::new(&key, &ca, &random)?, RING)?;
/// let list = Crl::from_der(&der)?;
/// list.verify(RING, &ca.public_key())?; // reading it does not
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
    /// By serial number.
    revocations: Vec<Revocation<'a>>,
    extensions: CrlExtensions,
    algorithm: AlgorithmIdentifier<'a>,
    signature: &'a [u8],
}

impl<'a> Crl<'a> {
    /// Reads a list from DER; nothing may follow it.
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

    /// The received DER, whole.
    pub fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// The received TBSCertList: what the signature is over.
    pub fn tbs(&self) -> &'a [u8] {
        self.tbs
    }

    /// The issuer's name.
    pub fn issuer(&self) -> Name<'a> {
        self.issuer
    }

    /// When it was made, in seconds since the Unix epoch.
    pub fn this_update(&self) -> i64 {
        self.this_update
    }

    /// When the next one is due at the latest, in seconds since the Unix epoch. RFC 5280 section 5.1.2.5 wants it to be there.
    pub fn next_update(&self) -> Option<i64> {
        self.next_update
    }

    /// Its number, if it says it (RFC 5280 section 5.2.3).
    pub fn number(&self) -> Option<&CrlNumber> {
        self.extensions.number.as_ref()
    }

    /// The identifier of the key that has signed it, if it says it (RFC 5280 section 5.2.1).
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.extensions.authority_key_identifier.as_deref()
    }

    /// What it revokes, by serial number.
    pub fn revocations(&self) -> &[Revocation<'a>] {
        &self.revocations
    }

    /// The entry of a serial number. It costs as many comparisons as the number of entries has binary digits.
    pub fn find(&self, serial: Serial<'_>) -> Option<&Revocation<'a>> {
        let place = self
            .revocations
            .binary_search_by(|entry| entry.serial.as_bytes().cmp(serial.as_bytes()));
        self.revocations.get(place.ok()?)
    }

    /// Verifies its signature over the received bytes, by the tables of certificates. Whether that key may sign revocation lists
    /// is for the caller to ask.
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

    /// Whether it is newer than another list: made later and not under a lower number, or at the same time under a higher one. Where
    /// time and number contradict each other, neither list is the newer: one that was signed ahead of its time does not know what
    /// was signed since under a higher number. Whether both are of one issuer's key is for the caller to ask.
    pub fn is_newer_than(&self, other: &Crl<'_>) -> bool {
        let numbers = self.number().zip(other.number());
        let by_number = numbers.map(|(own, other)| own.cmp(other));
        match self.this_update.cmp(&other.this_update) {
            Ordering::Less => false,
            Ordering::Equal => by_number == Some(Ordering::Greater),
            Ordering::Greater => by_number != Some(Ordering::Less),
        }
    }

    /// Whether it tells of each certificate that another list tells of, by their issuingDistributionPoints (RFC 5280 section
    /// 5.2.5): only then it can take the other one's place. Whether both are of one issuer, and which is newer, is for the caller
    /// to ask.
    pub fn includes_scope_of(&self, other: &Crl<'_>) -> bool {
        self.extensions.scope.includes(&other.extensions.scope)
    }

    pub(crate) fn is_by(&self, issuer: &CanonicalName<'_>) -> bool {
        self.canonical_issuer == *issuer
    }

    /// Whether it tells of this certificate of its issuer's: by its issuingDistributionPoint (RFC 5280 section 6.3.3 (b)), and by
    /// an entry of that serial number, which the issuer has given to no other.
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
    /// `refusal` is why it is refused, where that is not the structure.
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

/// Lists with more extensions than this, and entries likewise, are made to cost time.
const MAX_CRL_EXTENSIONS: usize = 20;

fn peek(reader: &SliceReader<'_>) -> der::Result<Option<Tag>> {
    if reader.is_finished() {
        Ok(None)
    } else {
        Tag::peek(reader).map(Some)
    }
}

/// A critical extension of a list or an entry that is not processed.
fn unknown(extension: &Extension<'_>) -> X509Error {
    X509Error::CriticalExtensionUnknown {
        oid: extension.id.to_string(),
    }
}
