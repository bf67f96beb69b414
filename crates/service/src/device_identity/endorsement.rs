//! Which endorsement certificates are trusted: those on a category's allow-list, byte for byte, and those that chain to
//! a root of the category's manager, or of the trust bundle if the manager says so; an intermediate that is listed beside its
//! root stands below it. The latter must keep the profile of endorsement certificates; the former may depart
//! from it, but must be of the key, valid, and no CA's.

use keyproof_store::Timestamp;
use keyproof_tpm::{
    Check, EkCertificate, EkCertificateCheck, EkCertificatePolicy, EkChain, Outcome,
    check_ek_certificate,
};
use keyproof_x509::{
    Certificate, algorithms,
    pem_bundle::{self, BrokenBlock},
};
use rustls_pki_types::pem::{PemObject, SectionKind};

use super::{Category, DecodedRequest, DerTextError, Manager, decode_der, trust::TrustBundle};

/// Why a certificate is not put on a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {entry}{}: {problem}", .block.map(|block| format!(", block {block}")).unwrap_or_default())]
pub struct TrustListError {
    /// Which, the first being 0.
    pub entry: usize,
    /// Which block of its PEM, the first being 1; none if that makes no difference.
    pub block: Option<usize>,
    /// What is wrong with it.
    pub problem: String,
}

/// Why an endorsement certificate does not speak for its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementError {
    /// The key is not the certificate's, or not one at all.
    #[error("endorsement key: {0}")]
    Key(String),
    /// Nobody vouches for it.
    #[error("the endorsement certificate is not trusted: {0}")]
    Untrusted(String),
}

/// Checks the entries of an allow-list: each one certificate, in PEM or Base64 of its DER.
pub(super) fn check_allow_list(entries: &[String]) -> Result<(), TrustListError> {
    for (entry, text) in entries.iter().enumerate() {
        let wrong = |problem| TrustListError {
            entry,
            block: None,
            problem,
        };
        let der = allowed(text).map_err(|error| wrong(error.to_string()))?;
        EkCertificate::parse(&der).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(())
}

/// Checks the entries of a manager's list of manufacturers' roots: PEM of one or more certificates each.
pub(super) fn check_roots(entries: &[String]) -> Result<(), TrustListError> {
    for (entry, text) in entries.iter().enumerate() {
        let wrong = |block, problem| TrustListError {
            entry,
            block,
            problem,
        };
        let roots = pem_bundle::certificates(text.as_bytes())
            .map_err(|BrokenBlock { block, problem }| wrong(Some(block), problem))?;
        if roots.is_empty() {
            let problem = "it holds no certificate in PEM".to_owned();
            return Err(wrong(None, problem));
        }
        for root in roots {
            let wrong = |problem| wrong(Some(root.block), problem);
            let certificate =
                Certificate::from_der(&root.der).map_err(|error| wrong(error.to_string()))?;
            if !matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.ca) {
                return Err(wrong("it is not the certificate of a CA".to_owned()));
            }
        }
    }
    Ok(())
}

pub(super) fn allowed(text: &str) -> Result<Vec<u8>, DerTextError> {
    decode_der(text, &[SectionKind::Certificate])
}

/// The roots of an entry that was listed, by an earlier release too, which took blocks of unknown labels beside them.
pub(super) fn listed_roots(text: &str) -> Vec<Vec<u8>> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
    sections
        .filter_map(|section| match section {
            Ok((SectionKind::Certificate, der)) => Some(der),
            _ => None,
        })
        .collect()
}

/// Judges an endorsement certificate and the key that it is said to be of.
pub(super) fn judge(
    request: &DecodedRequest<'_>,
    category: &Category,
    manager: &Manager,
    bundle: &TrustBundle,
    now: Timestamp,
) -> Result<(), EndorsementError> {
    let certificate = request.ek_certificate;
    let carried = request.ek_chain.iter().flat_map(EkChain::certificates);
    let carried: Vec<&[u8]> = carried.collect();
    let listed: Vec<Vec<u8>> = manager
        .ek_roots
        .iter()
        .flat_map(|text| listed_roots(text))
        .collect();
    let mut roots: Vec<&[u8]> = listed.iter().map(Vec::as_slice).collect();
    let related = bundle.related(certificate, &carried, &roots);
    if manager.ek_trust_bundle {
        roots.extend(&related.roots);
    }
    let intermediates = [carried, related.intermediates].concat();
    let allowed: Vec<Vec<u8>> = category
        .allow_list
        .iter()
        .filter_map(|text| allowed(text).ok())
        .collect();
    // As the certificate is compared: without what stands around it in a TPM's memory.
    let allowed: Vec<&[u8]> = allowed
        .iter()
        .filter_map(|der| Some(EkCertificate::parse(der).ok()?.as_der()))
        .collect();
    let policy = EkCertificatePolicy {
        ek: Some(&request.ek),
        allowed: &allowed,
        roots: &roots,
        intermediates: &intermediates,
        crls: &related.lists,
        now: now.as_secs(),
        algorithms: algorithms::ALL,
    };
    let report = check_ek_certificate(certificate, &policy);
    for check in [EkCertificateCheck::Key, EkCertificateCheck::PublicKey] {
        if report.outcome(check).refuses() {
            return Err(EndorsementError::Key(report.detail(check)));
        }
    }
    let mut checks = EkCertificateCheck::ALL.iter();
    if let Some(check) = checks.find(|check| report.outcome(**check).refuses()) {
        let reason = format!("{}: {}", check.name(), report.detail(*check));
        return Err(EndorsementError::Untrusted(reason));
    }
    for check in EkCertificateCheck::ALL {
        if report.outcome(*check) == Outcome::Warn {
            tracing::warn!(
                check = check.name(),
                detail = report.detail(*check),
                "an endorsement certificate is taken with a warning"
            );
        }
    }
    Ok(())
}
