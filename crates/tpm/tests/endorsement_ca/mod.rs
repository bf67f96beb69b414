//! A fictitious manufacturer: a root, intermediates, and endorsement certificates with one defect
//! each.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

use der::{
    Decode, Encode, Reader, SliceReader, Tag,
    asn1::{AnyRef, BitStringRef, UintRef},
};
use keyproof_tpm::TpmtPublic;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, PublicKeyData, RevokedCertParams,
    SignatureAlgorithm, SigningKey, date_time_ymd,
};

/// 2027-01-15.
pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
pub(crate) const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
pub(crate) const SUBJECT_DIRECTORY_ATTRIBUTES: &[u64] = &[2, 5, 29, 9];
pub(crate) const CERTIFICATE_POLICIES: &[u64] = &[2, 5, 29, 32];

pub(crate) struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) certificate: Certificate,
}

impl Ca {
    pub(crate) fn root(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = ca_params("root");
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            params,
            key,
            certificate,
        }
    }

    pub(crate) fn intermediate(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = ca_params(name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        Self {
            params,
            key,
            certificate,
        }
    }

    /// An endorsement certificate that is valid except for what `change` does.
    pub(crate) fn endorse(
        &self,
        key: &impl PublicKeyData,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2036, 1, 1);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
        params.custom_extensions = vec![
            extension(
                SUBJECT_ALT_NAME,
                true,
                tpm_names(&["id:49465800", "SLB9670", "id:0755"]),
            ),
            extension(
                SUBJECT_DIRECTORY_ATTRIBUTES,
                false,
                tpm_specification("2.0"),
            ),
        ];
        change(&mut params);
        params
            .signed_by(key, &self.issuer())
            .unwrap()
            .der()
            .to_vec()
    }

    /// A CRL with these serial numbers, valid in 2027.
    pub(crate) fn revoke(
        &self,
        serials: &[&[u8]],
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> Vec<u8> {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: serial.to_vec().into(),
            revocation_time: date_time_ymd(2026, 12, 24),
            reason_code: None,
            invalidity_date: None,
        });
        let mut params = CertificateRevocationListParams {
            this_update: date_time_ymd(2027, 1, 1),
            next_update: date_time_ymd(2028, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        params.signed_by(&self.issuer()).unwrap().der().to_vec()
    }

    /// The same certificate with another encoding of its serial number, signed again.
    pub(crate) fn with_serial(&self, certificate: &[u8], serial: &[u8]) -> Vec<u8> {
        let mut tbs = parts(&parts(certificate)[0]);
        tbs[1] = any(Tag::Integer, serial);
        self.signed_anew(certificate, &sequence(&tbs))
    }

    /// The same CRL with another encoding of its first entry's serial number, signed again.
    pub(crate) fn with_first_entry(&self, list: &[u8], serial: &[u8]) -> Vec<u8> {
        let mut tbs = parts(&parts(list)[0]);
        let mut entries = parts(&tbs[5]);
        let mut entry = parts(&entries[0]);
        entry[0] = any(Tag::Integer, serial);
        entries[0] = sequence(&entry);
        tbs[5] = sequence(&entries);
        self.signed_anew(list, &sequence(&tbs))
    }

    fn signed_anew(&self, whole: &[u8], tbs: &[u8]) -> Vec<u8> {
        let mut whole = parts(whole);
        whole[0] = tbs.to_vec();
        let signature = self.key.sign(tbs).unwrap();
        whole[2] = BitStringRef::from_bytes(&signature)
            .unwrap()
            .to_der()
            .unwrap();
        sequence(&whole)
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

/// The elements of a SEQUENCE.
fn parts(bytes: &[u8]) -> Vec<Vec<u8>> {
    let sequence = AnyRef::from_der(bytes).unwrap();
    let mut reader = SliceReader::new(sequence.value()).unwrap();
    let mut parts = Vec::new();
    while !reader.is_finished() {
        parts.push(AnyRef::decode(&mut reader).unwrap().to_der().unwrap());
    }
    parts
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    any(Tag::Sequence, &parts.concat())
}

fn any(tag: Tag, contents: &[u8]) -> Vec<u8> {
    AnyRef::new(tag, contents).unwrap().to_der().unwrap()
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(crate) fn extension(oid: &[u64], critical: bool, content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(critical);
    extension
}

/// Replaces the extension of the same kind, or removes it.
pub(crate) fn replace(params: &mut CertificateParams, oid: &[u64], with: Option<CustomExtension>) {
    params
        .custom_extensions
        .retain(|extension| !extension.oid_components().eq(oid.iter().copied()));
    params.custom_extensions.extend(with);
}

/// A subjectAltName of one directoryName with manufacturer, model and version, or some of them.
pub(crate) fn tpm_names(values: &[&str]) -> Vec<u8> {
    let attributes: Vec<Vec<u8>> = values
        .iter()
        .zip(1_u8..)
        .map(|(value, arc)| tlv(0x31, &tpm_attribute(arc, value)))
        .collect();
    alt_names(&[directory_name(&attributes.concat())])
}

pub(crate) fn alt_names(names: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &names.concat())
}

pub(crate) fn directory_name(rdns: &[u8]) -> Vec<u8> {
    tlv(0xa4, &tlv(0x30, rdns))
}

/// 2.23.133.2.`arc` with a UTF8String.
pub(crate) fn tpm_attribute(arc: u8, value: &str) -> Vec<u8> {
    let oid = tlv(0x06, &[0x67, 0x81, 0x05, 0x02, arc]);
    tlv(0x30, &[oid, tlv(0x0c, value.as_bytes())].concat())
}

/// subjectDirectoryAttributes with a TPM specification of level 0, revision 138.
pub(crate) fn tpm_specification(family: &str) -> Vec<u8> {
    let specification = tlv(
        0x30,
        &[
            tlv(0x0c, family.as_bytes()),
            vec![2, 1, 0],
            vec![2, 2, 0, 138],
        ]
        .concat(),
    );
    let oid = tlv(0x06, &[0x67, 0x81, 0x05, 0x02, 0x10]);
    tlv(0x30, &tlv(0x30, &[oid, tlv(0x31, &specification)].concat()))
}

/// DER with a length below 128.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 128);
    [&[tag, length], content].concat()
}

pub(crate) fn ek_of(key: &KeyPair) -> TpmtPublic {
    TpmtPublic::endorsement_from_spki(&key.subject_public_key_info()).unwrap()
}

/// An RSA public key whose private part nobody has.
pub(crate) struct RsaKey(Vec<u8>);

impl RsaKey {
    pub(crate) fn new(modulus: &[u8], exponent: u32) -> Self {
        let modulus = UintRef::new(modulus).unwrap().to_der().unwrap();
        let numbers = [modulus, exponent.to_der().unwrap()].concat();
        Self(
            AnyRef::new(Tag::Sequence, &numbers)
                .unwrap()
                .to_der()
                .unwrap(),
        )
    }
}

impl PublicKeyData for RsaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}
