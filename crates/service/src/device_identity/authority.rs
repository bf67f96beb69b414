//! The CAs: a root for each manager, a CA below it for each category, and the certificates that those issue for
//! attestation keys and stations.

use std::time::Duration;

use keyproof_store::{Entropy, Key, Sealed, Store, Timestamp};
use keyproof_tpm::{AkCertificateExtension, TpmAttributes, TpmtPublic, ak_certificate_extensions};
use keyproof_x509::{Curve, KeyKind, SubjectPublicKeyInfo};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
    PublicKeyData, RevocationReason, RevokedCertParams, SerialNumber, SignatureAlgorithm,
    date_time_ymd,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Category, Manager, Metadata, Object,
    api_keys::Withdrawal,
    revocation_list::{Entries, LIFE},
};
use crate::{StorageError, keys::draw_bytes};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

// No certificate outlives its issuer.
const ROOT_LIFE: Duration = YEAR.saturating_mul(30);
const SUB_CA_LIFE: Duration = YEAR.saturating_mul(20);
const CLIENT_LIFE: Duration = YEAR.saturating_mul(10);
pub(super) const ATTESTATION_KEY_LIFE: Duration = YEAR.saturating_mul(5);

/// How long before its expiry a category's CA is renewed: one year before it would shorten the validity of AK
/// certificates.
const RENEWED_BEFORE_END: Duration = ATTESTATION_KEY_LIFE.saturating_add(YEAR);

/// Until 9999-12-31T23:59:59Z, the last second that a certificate can express (RFC 5280, section 4.1.2.5).
const ALL_TIME: Validity = Validity {
    not_before: Timestamp::EPOCH,
    not_after: Timestamp::from_secs(253_402_300_799),
};

/// Why a certificate was not issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The issuing CA's own certificate has expired.
    #[error("the CA {name:?} has expired")]
    Expired {
        /// Its commonName.
        name: String,
    },
    /// The certificate could not be encoded or signed. This is a defect.
    #[error("a certificate could not be made: {0}")]
    Making(String),
    /// The CA's private key could not be unsealed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Making(error.to_string())
    }
}

/// A CA, as it is stored in the record of its manager or category.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Authority {
    /// Its commonName.
    pub(super) name: String,
    /// In PEM.
    pub(super) certificate: String,
    validity: Validity,
    /// PKCS#8, sealed under the record's key.
    key: Sealed,
}

/// A certificate's validity in whole seconds, both ends included.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Validity {
    not_before: Timestamp,
    not_after: Timestamp,
}

/// The name of the sealed field.
const KEY_FIELD: &str = "key";

/// A new AK certificate.
pub(super) struct AkCertificate {
    pub(super) der: Vec<u8>,
    pub(super) serial: String,
    pub(super) not_after: Timestamp,
}

/// A new client certificate for a category's stations, with its private key, which is not stored.
#[derive(Clone)]
pub struct ClientCertificate {
    /// In PEM.
    pub certificate: String,
    /// In PEM.
    pub key: Zeroizing<String>,
    /// The last moment at which it is valid.
    pub not_after: Timestamp,
}

impl Authority {
    /// Creates a manager's root CA.
    pub(super) fn root(
        store: &Store,
        owner: &Metadata,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let name = draw_name("AK Root CA", store.entropy());
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
        let (mut params, validity) = params(store.entropy(), now, ROOT_LIFE, None)?;
        as_ca(&mut params, BasicConstraints::Unconstrained);
        params.distinguished_name = subject(owner, &name);
        let certificate = params.self_signed(&pair)?.pem();
        let record = owner.key::<Manager>();
        let own = Self::sealed(store, &record, name, certificate, validity, &pair);
        Ok(own)
    }

    /// Creates a category's CA below its manager's root, and the client certificate of its stations.
    pub(super) fn below(
        manager: &Object<Manager>,
        store: &Store,
        owner: &Metadata,
        now: Timestamp,
    ) -> Result<(Self, ClientCertificate), AuthorityError> {
        let name = draw_name("AK Sub CA", store.entropy());
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
        let (certificate, validity) = certify_sub_ca(&name, &pair, manager, store, owner, now)?;
        let record = owner.key::<Category>();
        let own = Self::sealed(store, &record, name, certificate, validity, &pair);
        let client = own.client(&pair, store.entropy(), owner, now)?;
        Ok((own, client))
    }

    /// Returns the last moment at which the CA's certificate is valid.
    pub(super) const fn ends_at(&self) -> Timestamp {
        self.validity.not_after
    }

    /// Returns whether this category CA is due for renewal: it expires soon, has not expired, and renewal would extend
    /// it.
    pub(super) fn is_to_be_renewed(&self, root: &Self, now: Timestamp) -> bool {
        let ends = self.validity.not_after;
        let is_near = ends > now && ends < now.saturating_add(RENEWED_BEFORE_END);
        let until = now.saturating_add(SUB_CA_LIFE);
        is_near && until.min(root.validity.not_after) > ends
    }

    /// Issues another client certificate for a category's stations.
    pub(super) fn issue_client(
        category: &Object<Category>,
        store: &Store,
        now: Timestamp,
    ) -> Result<ClientCertificate, AuthorityError> {
        let (authority, owner) = (&category.spec.authority, &category.metadata);
        let own = IssuerParts::of(authority, store, &owner.key::<Category>(), owner)?;
        authority.client(&own.pair, store.entropy(), owner, now)
    }

    /// Returns this category CA with a new certificate for the same name and key. Existing signatures stay valid.
    pub(super) fn renewed(
        &self,
        manager: &Object<Manager>,
        store: &Store,
        owner: &Metadata,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let own = IssuerParts::of(self, store, &owner.key::<Category>(), owner)?;
        let (certificate, validity) =
            certify_sub_ca(&self.name, &own.pair, manager, store, owner, now)?;
        Ok(Self {
            certificate,
            validity,
            ..self.clone()
        })
    }

    /// Returns this CA with its key sealed for another record.
    pub(super) fn moved(self, store: &Store, from: &Key, to: &Key) -> Result<Self, StorageError> {
        let pkcs8 = store.unseal(from, KEY_FIELD, &self.key)?;
        let key = store.seal(to, KEY_FIELD, &pkcs8);
        Ok(Self { key, ..self })
    }

    fn sealed(
        store: &Store,
        record: &Key,
        name: String,
        certificate: String,
        validity: Validity,
        pair: &KeyPair,
    ) -> Self {
        let pkcs8 = Zeroizing::new(pair.serialize_der());
        Self {
            name,
            certificate,
            validity,
            key: store.seal(record, KEY_FIELD, &pkcs8),
        }
    }

    /// Issues the client certificate for a category's stations.
    fn client(
        &self,
        own_key: &KeyPair,
        entropy: &dyn Entropy,
        owner: &Metadata,
        now: Timestamp,
    ) -> Result<ClientCertificate, AuthorityError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let (mut params, validity) = params(entropy, now, CLIENT_LIFE, Some(self))?;
        params.distinguished_name = subject(owner, &draw_name("Station", entropy));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let issuer_params = issuer_params(owner, &self.name);
        let issuer = Issuer::from_params(&issuer_params, own_key);
        Ok(ClientCertificate {
            certificate: params.signed_by(&pair, &issuer)?.pem(),
            key: Zeroizing::new(pair.serialize_pem()),
            not_after: validity.not_after,
        })
    }

    /// Issues an AK certificate: no subject, and the extensions of its profile.
    pub(super) fn certify_attestation_key(
        category: &Object<Category>,
        store: &Store,
        ak: &TpmtPublic,
        tpm: Option<&TpmAttributes>,
        device_serial: &str,
        revocation_list_url: Option<String>,
        now: Timestamp,
    ) -> Result<AkCertificate, AuthorityError> {
        let authority = &category.spec.authority;
        let key = AttestationKey::of(ak)?;
        let (mut params, validity) =
            params(store.entropy(), now, ATTESTATION_KEY_LIFE, Some(authority))?;
        params.is_ca = IsCa::ExplicitNoCa;
        let extensions = ak_certificate_extensions(tpm, device_serial)
            .map_err(|error| AuthorityError::Making(error.to_string()))?;
        params.custom_extensions = extensions.iter().map(as_custom).collect();
        params.crl_distribution_points = revocation_list_url
            .map(|url| CrlDistributionPoint { uris: vec![url] })
            .into_iter()
            .collect();
        let serial = params
            .serial_number
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let record = category.metadata.key::<Category>();
        let issuer = IssuerParts::of(authority, store, &record, &category.metadata)?;
        let certificate = params.signed_by(&key, &issuer.issuer())?;
        Ok(AkCertificate {
            der: certificate.der().to_vec(),
            serial,
            not_after: validity.not_after,
        })
    }

    /// Makes a category's CRL, in DER. `record` is where the category is stored.
    pub(super) fn revocation_list(
        category: &Object<Category>,
        record: &Key,
        store: &Store,
        number: u64,
        now: Timestamp,
        entries: &Entries,
    ) -> Result<Vec<u8>, AuthorityError> {
        let at = |at: Timestamp| {
            let seconds = at.min(ALL_TIME.not_after).as_secs();
            date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        let revoked = |(serial, withdrawal): (&Vec<u8>, &Withdrawal)| {
            let (since, reason_code) = match *withdrawal {
                Withdrawal::OnHold { since } => (since, Some(RevocationReason::CertificateHold)),
                // The operator's reason is free text, so there is no reason code.
                Withdrawal::Revoked { since } => (since, None),
                Withdrawal::Forgotten { since } => {
                    (since, Some(RevocationReason::CessationOfOperation))
                }
                Withdrawal::Superseded { since } => (since, Some(RevocationReason::Superseded)),
            };
            RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial),
                // A server whose clock is ahead may have recorded it.
                revocation_time: at(since.min(now)),
                reason_code,
                invalidity_date: None,
            }
        };
        let authority = &category.spec.authority;
        let issuer = IssuerParts::of(authority, store, record, &category.metadata)?;
        let list = CertificateRevocationListParams {
            this_update: at(now),
            next_update: at(now.saturating_add(LIFE)),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: entries.iter().map(revoked).collect(),
            key_identifier_method: issuer.params.key_identifier_method.clone(),
        };
        Ok(list.signed_by(&issuer.issuer())?.der().to_vec())
    }
}

/// Issues the certificate of a category's CA, in PEM, and returns its validity.
fn certify_sub_ca(
    name: &str,
    pair: &KeyPair,
    manager: &Object<Manager>,
    store: &Store,
    owner: &Metadata,
    now: Timestamp,
) -> Result<(String, Validity), AuthorityError> {
    let root = &manager.spec.root;
    let (mut params, validity) = params(store.entropy(), now, SUB_CA_LIFE, Some(root))?;
    as_ca(&mut params, BasicConstraints::Constrained(0));
    params.distinguished_name = subject(owner, name);
    let record = manager.metadata.key::<Manager>();
    let issuer = IssuerParts::of(root, store, &record, &manager.metadata)?;
    Ok((params.signed_by(pair, &issuer.issuer())?.pem(), validity))
}

/// A CA with its private key unsealed.
struct IssuerParts {
    params: CertificateParams,
    pair: KeyPair,
}

impl IssuerParts {
    fn of(
        authority: &Authority,
        store: &Store,
        record: &Key,
        owner: &Metadata,
    ) -> Result<Self, AuthorityError> {
        let pkcs8 = store
            .unseal(record, KEY_FIELD, &authority.key)
            .map_err(StorageError::from)?;
        let pair = KeyPair::try_from(pkcs8.as_slice())?;
        Ok(Self {
            params: issuer_params(owner, &authority.name),
            pair,
        })
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.pair)
    }
}

/// Returns the parts of a CA's certificate that the certificates it issues repeat.
fn issuer_params(owner: &Metadata, name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(owner, name);
    as_ca(&mut params, BasicConstraints::Unconstrained);
    params
}

fn as_ca(params: &mut CertificateParams, constraints: BasicConstraints) {
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
}

/// Returns what all certificates have: a random serial number, and a validity within the issuer's.
fn params(
    entropy: &dyn Entropy,
    now: Timestamp,
    life: Duration,
    issuer: Option<&Authority>,
) -> Result<(CertificateParams, Validity), AuthorityError> {
    let second = |at: Timestamp| Timestamp::from_secs(at.as_secs());
    let bounds = issuer.map_or(ALL_TIME, |issuer| issuer.validity);
    let validity = Validity {
        // The issuer may have been created by a server whose clock is ahead.
        not_before: second(now).max(bounds.not_before),
        not_after: second(now.saturating_add(life)).min(bounds.not_after),
    };
    if validity.not_after <= validity.not_before {
        return Err(match issuer {
            Some(issuer) => AuthorityError::Expired {
                name: issuer.name.clone(),
            },
            None => AuthorityError::Making("the validity period would be empty".to_owned()),
        });
    }
    let mut serial = draw_bytes::<16>(entropy);
    // Positive and without leading zero octets, so that its encoding is unambiguous (RFC 5280, section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = issuer.is_some();
    let at = |at: Timestamp| date_time_ymd(1970, 1, 1) + Duration::from_secs(at.as_secs());
    params.not_before = at(validity.not_before);
    params.not_after = at(validity.not_after);
    Ok((params, validity))
}

/// Draws a unique commonName of at most 64 characters, the limit.
fn draw_name(what: &str, entropy: &dyn Entropy) -> String {
    format!("{what} {:016x}", u64::from_be_bytes(draw_bytes(entropy)))
}

fn subject(owner: &Metadata, name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, &*owner.namespace);
    subject.push(DnType::OrganizationalUnitName, &*owner.name);
    subject.push(DnType::CommonName, name);
    subject
}

fn as_custom(extension: &AkCertificateExtension) -> CustomExtension {
    let id: Vec<u64> = extension.id.arcs().map(u64::from).collect();
    let mut custom = CustomExtension::from_oid_content(&id, extension.value.clone());
    custom.set_criticality(extension.critical);
    custom
}

/// An AK in the form that rcgen needs.
struct AttestationKey {
    bits: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl AttestationKey {
    fn of(ak: &TpmtPublic) -> Result<Self, AuthorityError> {
        let refused = |error: String| AuthorityError::Making(error);
        let spki = ak.to_spki().map_err(|error| refused(error.to_string()))?;
        let key =
            SubjectPublicKeyInfo::from_der(&spki).map_err(|error| refused(error.to_string()))?;
        // rcgen takes only the key's algorithm identifier from it.
        let algorithm = match key.kind() {
            Ok(KeyKind::Rsa) => &PKCS_RSA_SHA256,
            Ok(KeyKind::Ec(Curve::P256)) => &PKCS_ECDSA_P256_SHA256,
            Ok(KeyKind::Ec(Curve::P384)) => &PKCS_ECDSA_P384_SHA384,
            _ => return Err(refused("no certificates for keys of this kind".to_owned())),
        };
        Ok(Self {
            bits: key.key().to_vec(),
            algorithm,
        })
    }
}

impl PublicKeyData for AttestationKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::{rand::SystemRandom, signature::EcdsaKeyPair};

    /// Stores contain CA keys that earlier releases made with ring, and an earlier release may still run on the store.
    #[test]
    fn keys_of_cas_are_read_whichever_library_wrote_them() {
        let (algorithm, random) = (
            &ring::signature::ECDSA_P384_SHA384_ASN1_SIGNING,
            SystemRandom::new(),
        );
        let earlier = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let read = KeyPair::try_from(earlier.as_ref()).unwrap();
        assert!(read.is_compatible(&PKCS_ECDSA_P384_SHA384));
        let now = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let read = EcdsaKeyPair::from_pkcs8(algorithm, &now.serialize_der(), &random).unwrap();
        let public = ring::signature::KeyPair::public_key(&read);
        assert_eq!(public.as_ref(), now.public_key_raw());
    }
}
