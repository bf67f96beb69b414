//! Adding to and removing from a manager's CAs and a category's allow-list, for the console: from a file, or one by
//! one. The contracts always replace the whole list.

use std::borrow::Cow;

use keyproof_tpm::EkCertificate;
use keyproof_x509::{
    Sha256Thumbprint,
    pem_bundle::{self, InvalidBlock},
};
use pem_rfc7468::LineEnding;

use super::{
    Administrator, Category, CategoryChange, DeviceIdentity, Manager, Object, PcrPolicy,
    ReplaceCategoryError, ReplaceManagerError, TrustFileError, TrustItem, TrustKind, TrustedMakers,
    decode_der,
    endorsement::{allowed, listed_roots},
};
use crate::{Failure, StorageError};

/// Why a list was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// The file was rejected.
    #[error(transparent)]
    File(#[from] TrustFileError),
    /// No certificate of the list has this fingerprint.
    #[error("no certificate of the list has this fingerprint")]
    NotListed,
}

/// Why a PCR policy was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyChangeError<B> {
    /// The body was refused.
    #[error("the body was refused")]
    Body(B),
    /// The category has another policy than the one that was shown.
    #[error("the policy was changed meanwhile")]
    NotShown,
}

/// An EK certificate on a category's allow-list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedCertificate {
    /// The certificate's issuer, as RFC 4514 text.
    pub issuer: String,
    /// Its serial number in colon-separated hexadecimal, as for keyproof's own certificates.
    pub serial: String,
    /// `notAfter`, in seconds since the Unix epoch.
    pub not_after: i64,
    /// The SHA-256 of its DER.
    pub fingerprint: Sha256Thumbprint,
}

impl DeviceIdentity {
    /// Parses a file of CAs and returns each in PEM, for [`TrustedMakers`]. The file is PEM, PKCS #7, or one
    /// certificate in DER; or the last two in Base64.
    ///
    /// # Errors
    ///
    /// [`TrustFileError`], also for a CRL, which belongs in the trust bundle.
    pub async fn read_makers(
        &self,
        administrator: &Administrator<Manager>,
        file: &[u8],
    ) -> Result<Result<Vec<String>, TrustFileError>, StorageError> {
        let file = file.to_vec();
        self.on_cpu_queue(administrator.who(), move || makers(&file))
            .await
    }

    /// Parses a file of EK certificates and returns each in PEM, for an allow-list. The file is PEM, or one certificate
    /// in DER or as a TPM stores it; or the last two in Base64.
    ///
    /// # Errors
    ///
    /// [`TrustFileError`].
    pub async fn read_endorsements(
        &self,
        administrator: &Administrator<Category>,
        file: &[u8],
    ) -> Result<Result<Vec<String>, TrustFileError>, StorageError> {
        let file = file.to_vec();
        self.on_cpu_queue(administrator.who(), move || endorsements(&file))
            .await
    }

    /// Adds the CAs of a file to a manager's own.
    ///
    /// # Errors
    ///
    /// [`ReplaceManagerError`].
    pub async fn add_makers(
        &self,
        administrator: &Administrator<Manager>,
        name: &str,
        file: &[u8],
    ) -> Result<(), Failure<ReplaceManagerError<ListingError>>> {
        let read = self.read_makers(administrator, file).await?;
        self.change_manager(administrator, name, |manager| {
            let mut trusted = TrustedMakers::of(manager);
            let known: Vec<_> = trusted
                .ek_roots
                .iter()
                .flat_map(|text| listed_roots(text))
                .collect();
            let new = read.clone()?.into_iter();
            let new = new.filter(|text| listed_roots(text).iter().any(|der| !known.contains(der)));
            trusted.ek_roots.extend(new);
            Ok(trusted)
        })
        .await
    }

    /// Removes a CA from a manager's own.
    ///
    /// # Errors
    ///
    /// [`ReplaceManagerError`].
    pub async fn remove_maker(
        &self,
        administrator: &Administrator<Manager>,
        name: &str,
        fingerprint: &Sha256Thumbprint,
    ) -> Result<(), Failure<ReplaceManagerError<ListingError>>> {
        let is_it = |der: &Vec<u8>| Sha256Thumbprint::of_der(der) == *fingerprint;
        self.change_manager(administrator, name, |manager| {
            let mut trusted = TrustedMakers::of(manager);
            let mut is_found = false;
            let mut left = Vec::new();
            for text in trusted.ek_roots {
                let mut roots = listed_roots(&text);
                if !roots.iter().any(is_it) {
                    left.push(text);
                    continue;
                }
                // An entry may have several certificates, of which the others stay.
                is_found = true;
                roots.retain(|der| !is_it(der));
                for der in roots {
                    left.push(pem(None, &der)?);
                }
            }
            trusted.ek_roots = left;
            if is_found {
                Ok(trusted)
            } else {
                Err(ListingError::NotListed)
            }
        })
        .await
    }

    /// Sets whether a manager trusts the roots of the trust bundle.
    ///
    /// # Errors
    ///
    /// [`ReplaceManagerError::Unknown`].
    pub async fn set_trust_bundle(
        &self,
        administrator: &Administrator<Manager>,
        name: &str,
        is_trusted: bool,
    ) -> Result<(), Failure<ReplaceManagerError<ListingError>>> {
        self.change_manager(administrator, name, |manager| {
            let mut trusted = TrustedMakers::of(manager);
            trusted.ek_trust_bundle = is_trusted;
            Ok(trusted)
        })
        .await
    }

    /// Adds the EK certificates of a file to a category's allow-list.
    ///
    /// # Errors
    ///
    /// [`ReplaceCategoryError`].
    pub async fn allow(
        &self,
        administrator: &Administrator<Category>,
        name: &str,
        file: &[u8],
    ) -> Result<(), Failure<ReplaceCategoryError<ListingError>>> {
        let read = self.read_endorsements(administrator, file).await?;
        self.change_category(administrator, name, |category| {
            let mut change = CategoryChange::of(category);
            let known = change.allow_list.iter();
            let known: Vec<_> = known.filter_map(|text| fingerprint(text)).collect();
            let new = read.clone()?.into_iter();
            let new = new.filter(|text| fingerprint(text).is_some_and(|new| !known.contains(&new)));
            change.allow_list.extend(new);
            Ok(change)
        })
        .await
    }

    /// Removes an EK certificate from a category's allow-list.
    ///
    /// # Errors
    ///
    /// [`ReplaceCategoryError`].
    pub async fn disallow(
        &self,
        administrator: &Administrator<Category>,
        name: &str,
        certificate: &Sha256Thumbprint,
    ) -> Result<(), Failure<ReplaceCategoryError<ListingError>>> {
        self.change_category(administrator, name, |category| {
            let mut change = CategoryChange::of(category);
            let allow_list = &mut change.allow_list;
            allow_list.retain(|text| fingerprint(text).as_ref() != Some(certificate));
            if change.allow_list.len() == category.allow_list.len() {
                return Err(ListingError::NotListed);
            }
            Ok(change)
        })
        .await
    }

    /// Sets the PCR policy of a category, if its policy still has the fingerprint `shown`; `None` does not compare. An error in
    /// `body` is returned only then.
    ///
    /// # Errors
    ///
    /// [`ReplaceCategoryError`].
    pub async fn set_pcr_policy<B: Clone>(
        &self,
        administrator: &Administrator<Category>,
        name: &str,
        shown: Option<&str>,
        body: Result<PcrPolicy, B>,
    ) -> Result<(), Failure<ReplaceCategoryError<PolicyChangeError<B>>>> {
        self.change_category(administrator, name, |category| {
            if shown.is_some_and(|shown| shown != category.pcr_policy.fingerprint()) {
                return Err(PolicyChangeError::NotShown);
            }
            let policy = body.clone().map_err(PolicyChangeError::Body)?;
            Ok(CategoryChange {
                pcr_policy: Some(policy),
                ..CategoryChange::of(category)
            })
        })
        .await
    }

    /// Lists the certificates on a category's allow-list, in its order.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn allowed_certificates(
        &self,
        administrator: &Administrator<Category>,
        category: &Object<Category>,
    ) -> Result<Vec<AllowedCertificate>, StorageError> {
        let entries = category.spec.allow_list.clone();
        self.on_cpu_queue(administrator.who(), move || {
            entries.iter().filter_map(|text| described(text)).collect()
        })
        .await
    }
}

/// Decodes a file that is Base64, as it is pasted. Any other file is returned unchanged.
fn decoded(file: &[u8]) -> Cow<'_, [u8]> {
    let text = std::str::from_utf8(file).ok();
    let der = text.and_then(|text| decode_der(text, &[]).ok());
    der.map_or(Cow::Borrowed(file), Cow::Owned)
}

fn makers(file: &[u8]) -> Result<Vec<String>, TrustFileError> {
    let items = TrustItem::read(&decoded(file), true)?.into_iter();
    let texts = items.map(|TrustItem { block, kind, der }| match kind {
        TrustKind::RevocationList => Err(TrustFileError {
            block,
            problem: "a CRL, which belongs in the trust bundle".to_owned(),
        }),
        TrustKind::Root | TrustKind::Intermediate => pem(block, &der),
    });
    texts.collect()
}

fn endorsements(file: &[u8]) -> Result<Vec<String>, TrustFileError> {
    let broken = |InvalidBlock { block, problem }| TrustFileError {
        block: Some(block),
        problem,
    };
    let blocks = pem_bundle::certificates(file).map_err(broken)?.into_iter();
    let mut ders: Vec<_> = blocks.map(|found| (Some(found.block), found.der)).collect();
    if ders.is_empty() {
        ders.push((None, decoded(file).into_owned()));
    }
    let texts = ders.into_iter().map(|(block, der)| {
        let read = EkCertificate::parse(&der).map_err(|error| TrustFileError {
            block,
            problem: error.to_string(),
        })?;
        pem(block, read.as_der())
    });
    texts.collect()
}

/// Encodes a certificate in PEM (RFC 7468).
fn pem(block: Option<usize>, der: &[u8]) -> Result<String, TrustFileError> {
    let text = pem_rfc7468::encode_string("CERTIFICATE", LineEnding::LF, der);
    text.map_err(|error| TrustFileError {
        block,
        problem: error.to_string(),
    })
}

/// Returns the fingerprint of an allow-list entry.
fn fingerprint(text: &str) -> Option<Sha256Thumbprint> {
    described(text).map(|described| described.fingerprint)
}

/// Formats bytes as colon-separated hexadecimal.
fn octets(bytes: &[u8]) -> String {
    let octets: Vec<String> = bytes.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}

fn described(text: &str) -> Option<AllowedCertificate> {
    let der = allowed(text).ok()?;
    let read = EkCertificate::parse(&der).ok()?;
    let certificate = read.certificate();
    Some(AllowedCertificate {
        issuer: certificate.issuer().to_string(),
        serial: octets(certificate.serial().as_bytes()),
        not_after: certificate.validity().not_after,
        fingerprint: certificate.sha256_thumbprint(),
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use data_encoding::BASE64;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::{
        super::{
            ExpectedRegister, ObjectOperation,
            testing::{furnish, may},
        },
        *,
    };
    use crate::testing::bench;

    /// Two operators may send their forms at the same moment.
    #[tokio::test]
    async fn no_policy_is_written_over_one_that_was_not_shown() {
        let bench = bench().await;
        furnish(&bench).await;
        let devices = &bench.service.device_identity;
        let changing = may::<Category>(&bench, ObjectOperation::Replace, "c").await;
        let shown = PcrPolicy::Learn.fingerprint();
        let set = async |policy| {
            let body = Ok::<_, Infallible>(policy);
            let set = devices.set_pcr_policy(&changing, "c", Some(&shown), body);
            set.await
        };
        let required = PcrPolicy::Expected(vec![ExpectedRegister {
            bank: "sha256".to_owned(),
            index: 7,
            values: vec!["0a".repeat(32)],
        }]);
        let late = bench
            .faults
            .overtake(set(PcrPolicy::Any), async {
                set(required.clone()).await.unwrap();
            })
            .await;
        let refused = ReplaceCategoryError::Body(PolicyChangeError::NotShown);
        assert_eq!(late, Err(Failure::Refused(refused)));
        let stored = devices.load::<Category>("default", "c").await.unwrap();
        assert_eq!(stored.unwrap().record.spec.pcr_policy, required);
    }

    /// As the console's forms state.
    #[test]
    fn what_is_pasted_as_base64_is_decoded() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let der = made.der().to_vec();
        let base64 = BASE64.encode(&der);
        let (begin, end) = base64.split_at(64);
        for pasted in [base64.clone(), format!("{begin}\r\n{end}\r\n")] {
            let pem = vec![pem(None, &der).unwrap()];
            assert_eq!(makers(pasted.as_bytes()), Ok(pem.clone()));
            assert_eq!(endorsements(pasted.as_bytes()), Ok(pem));
        }
        for wrong in ["nothing", "AAAA", &base64[1..]] {
            assert!(makers(wrong.as_bytes()).is_err(), "{wrong}");
            assert!(endorsements(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
