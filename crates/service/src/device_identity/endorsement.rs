//! Which EK certificates are trusted.
//!
//! - Certificates on the category's allow-list, compared byte for byte. They may depart from the EK certificate
//!   profile, but must be for the EK, valid, and not a CA's.
//! - Certificates that chain to a root of the category's manager, or of the trust bundle if the manager uses it. They
//!   must match the profile. A manager's list may also have intermediates beside their roots.

use keyproof_store::Timestamp;
use keyproof_tpm::{
    Check, EkCertificate, EkCertificateCheck, EkCertificatePolicy, EkChain, Outcome,
    check_ek_certificate,
};
use keyproof_x509::{
    algorithms,
    pem_bundle::{self, InvalidBlock, PemBlock},
};
use rustls_pki_types::pem::{PemObject, SectionKind};

use super::{
    Category, DecodedRequest, DerTextError, Manager, decode_der,
    trust::{TrustBundle, certificate_of_ca},
};

/// Why an entry of an allow-list or of a manager's roots was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {entry}{}: {problem}", .block.map(|block| format!(", block {block}")).unwrap_or_default())]
pub struct TrustListError {
    /// The entry's index, from 0.
    pub entry: usize,
    /// The block of its PEM, from 1; `None` if it has only one or that does not matter.
    pub block: Option<usize>,
    /// What is wrong with it.
    pub problem: String,
}

/// Why an EK certificate was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementError {
    /// The EK is not the certificate's, or is invalid.
    #[error("endorsement key: {0}")]
    Key(String),
    /// The certificate is not trusted.
    #[error("the endorsement certificate is not trusted: {0}")]
    Untrusted(String),
}

/// Validates the entries of an allow-list: one certificate each, in PEM or Base64-encoded DER.
pub(super) fn check_allow_list(entries: &[String]) -> Result<(), TrustListError> {
    for (entry, text) in entries.iter().enumerate() {
        let wrong = |problem| TrustListError {
            entry,
            block: None,
            problem,
        };
        if is_more_than_one(text) {
            return Err(TrustListError {
                entry,
                block: Some(2),
                problem: "an entry is one certificate, and nothing may follow it".to_owned(),
            });
        }
        let der = allowed(text).map_err(|error| wrong(error.to_string()))?;
        EkCertificate::parse(&der).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(())
}

/// Validates a manager's manufacturer roots: PEM of one or more certificates each.
pub(super) fn check_roots(entries: &[String]) -> Result<(), TrustListError> {
    for (entry, text) in entries.iter().enumerate() {
        let wrong = |block, problem| TrustListError {
            entry,
            block,
            problem,
        };
        let roots =
            roots(text).map_err(|InvalidBlock { block, problem }| wrong(Some(block), problem))?;
        if roots.is_empty() {
            let problem = "it holds no certificate in PEM".to_owned();
            return Err(wrong(None, problem));
        }
        for root in roots {
            certificate_of_ca(&root.der).map_err(|problem| wrong(Some(root.block), problem))?;
        }
    }
    Ok(())
}

pub(super) fn allowed(text: &str) -> Result<Vec<u8>, DerTextError> {
    decode_der(text, &["CERTIFICATE"])
}

/// Returns whether an allow-list entry has more than one PEM block, of which only the first would be used.
fn is_more_than_one(text: &str) -> bool {
    text.matches("-----BEGIN").nth(1).is_some()
}

/// Returns the roots of a stored entry.
pub(super) fn listed_roots(text: &str) -> Vec<Vec<u8>> {
    if let Ok(roots) = roots(text) {
        return roots.into_iter().map(|root| root.der).collect();
    }
    // An earlier release accepted the entry and skipped blocks that are not certificates.
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
    sections
        .filter_map(|section| match section {
            Ok((SectionKind::Certificate, der)) => Some(der),
            _ => None,
        })
        .collect()
}

/// Parses the certificates of an entry. Validation and later use share this.
fn roots(text: &str) -> Result<Vec<PemBlock>, InvalidBlock> {
    pem_bundle::certificates(text.as_bytes())
}

/// Verifies an EK certificate and that it is for the request's EK.
pub(super) fn verify(
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
        // Without any, the report would be that there are no roots.
        if roots.is_empty() {
            roots = bundle.roots();
        }
    }
    let intermediates = [carried, related.intermediates].concat();
    let allowed: Vec<Vec<u8>> = category
        .allow_list
        .iter()
        .filter_map(|text| allowed(text).ok())
        .collect();
    // Without the header and padding of a TPM's memory, as the certificate is compared without them.
    let allowed: Vec<&[u8]> = allowed
        .iter()
        .filter_map(|der| Some(EkCertificate::parse(der).ok()?.as_der()))
        .collect();
    let now = now.as_secs();
    let mut policy = EkCertificatePolicy::new(&request.ek, &roots, now, algorithms::ALL);
    policy.allowed = &allowed;
    policy.intermediates = &intermediates;
    policy.crls = &related.lists;
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
                "an endorsement certificate is accepted with a warning"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use keyproof_x509::Certificate;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::{super::trust::TrustItem, *};

    /// A CA certificate, in DER and in PEM.
    fn ca() -> (Vec<u8>, String) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        (made.der().to_vec(), made.pem())
    }

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        match length {
            [0, short @ 0..0x80] => [&[tag, short][..], &content].concat(),
            [0, longer] => [&[tag, 0x81, longer][..], &content].concat(),
            [high, low] => [&[tag, 0x82, high, low][..], &content].concat(),
        }
    }

    /// Returns the contents of the first element, and what follows it.
    fn split(der: &[u8]) -> (&[u8], &[u8]) {
        let (head, size) = match der[1] {
            0x81 => (3, usize::from(der[2])),
            0x82 => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
            short => (2, usize::from(short)),
        };
        der[head..].split_at(size)
    }

    /// The same certificate with redundant leading octets in its serial number. Its signature does not match.
    fn padded(der: &[u8]) -> Vec<u8> {
        let (tbs, signature) = split(split(der).0);
        let (version, rest) = tbs.split_at(5);
        let (serial, rest) = split(rest);
        let serial = tlv(0x02, &[&[0, 0], serial]);
        let tbs = tlv(0x30, &[version, &serial, rest]);
        tlv(0x30, &[&tbs, signature])
    }

    /// PKCS #7 signed data without signers.
    fn pkcs7(label: &str, certificates: &[&[u8]]) -> String {
        let kind = |last| [0x06, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 7, last];
        let (none, data) = (tlv(0x31, &[]), tlv(0x30, &[&kind(1)]));
        let certificates = tlv(0xA0, certificates);
        let signed = tlv(0x30, &[&[2, 1, 1], &none, &data, &certificates, &none]);
        let whole = tlv(0x30, &[&kind(2), &tlv(0xA0, &[&signed])]);
        let base64 = BASE64.encode(&whole);
        format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
    }

    /// Every accepted entry is used, in whichever form it was sent.
    #[test]
    fn the_roots_that_are_checked_are_those_that_are_used() {
        let ((one, one_pem), (other, other_pem)) = (ca(), ca());
        let blocks = [
            (one_pem, vec![&one]),
            (other_pem, vec![&other]),
            (pkcs7("PKCS7", &[&one, &other]), vec![&one, &other]),
            (pkcs7("CMS", &[&other]), vec![&other]),
        ];
        let mut texts = vec![(String::new(), Vec::new())];
        for (block, roots) in &blocks {
            texts.push((block.clone(), roots.clone()));
            for (next, more) in &blocks {
                let both = [&roots[..], more].concat();
                texts.push((format!("{block}{next}"), both.clone()));
                texts.push((
                    format!("the first:\n{block}\n\nthe second:\n{next}--\n"),
                    both,
                ));
            }
        }
        let forms: [fn(&str) -> String; 6] = [
            str::to_owned,
            |text| text.replace('\n', "\r\n"),
            |text| text.replace('\n', "\r"),
            |text| text.replace('\n', "\n\t "),
            |text| text.replace('\n', " \n"),
            |text| text.trim_end().to_owned(),
        ];
        let mut taken = 0;
        for (text, roots) in &texts {
            for form in forms {
                let text = form(text);
                let is_taken = check_roots(std::slice::from_ref(&text)).is_ok();
                assert_eq!(is_taken, !roots.is_empty(), "{text}");
                if is_taken {
                    assert_eq!(
                        listed_roots(&text).iter().collect::<Vec<_>>(),
                        *roots,
                        "{text}"
                    );
                    taken += 1;
                }
            }
        }
        assert_eq!(taken, forms.len() * (texts.len() - 1));
    }

    #[test]
    fn an_entry_of_an_allow_list_is_one_certificate() {
        let ((der, one), (_, other)) = (ca(), ca());
        let entries = [
            one.clone(),
            BASE64.encode(&der),
            format!("of one TPM:\n{other}"),
        ];
        assert_eq!(check_allow_list(&entries), Ok(()));
        let key = KeyPair::generate().unwrap().serialize_pem();
        for next in [&other, &one, &key] {
            let entries = [one.clone(), format!("{one}{next}")];
            let refused = check_allow_list(&entries).unwrap_err();
            assert_eq!((refused.entry, refused.block), (1, Some(2)));
        }
    }

    /// Path validation accepts version 1 roots, which have no basicConstraints. A list of CAs does not.
    #[test]
    fn what_does_not_say_that_it_is_a_cas_is_no_root_here() {
        for (is_ca, is_taken) in [
            (IsCa::Ca(BasicConstraints::Unconstrained), true),
            (IsCa::ExplicitNoCa, false),
            (IsCa::NoCa, false),
        ] {
            let mut params = CertificateParams::default();
            params.is_ca = is_ca;
            let pem = params
                .self_signed(&KeyPair::generate().unwrap())
                .unwrap()
                .pem();
            let of_bundle = TrustItem::read(pem.as_bytes(), true);
            assert_eq!(of_bundle.is_ok(), is_taken);
            assert_eq!(check_roots(&[pem]).is_ok(), is_taken);
        }
    }

    /// Some manufacturers' CAs have serial numbers with redundant leading octets, which is not DER.
    #[test]
    fn the_ca_of_an_old_maker_is_taken_as_it_was_issued() {
        let der = padded(&ca().0);
        assert!(Certificate::from_der(&der).is_err());
        let base64 = BASE64.encode(&der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
        assert_eq!(check_roots(std::slice::from_ref(&pem)), Ok(()));
        assert_eq!(listed_roots(&pem), std::slice::from_ref(&der));
        let items = TrustItem::read(&der, true).unwrap();
        assert_eq!(items[0].der, der);
    }

    /// Earlier releases accepted blocks with unknown labels beside the certificates.
    #[test]
    fn what_an_earlier_release_has_taken_is_used_as_it_was() {
        let (der, pem) = ca();
        let key = KeyPair::generate().unwrap().serialize_pem();
        let text = format!("{key}{pem}");
        assert!(check_roots(std::slice::from_ref(&text)).is_err());
        assert_eq!(listed_roots(&text), [der]);
    }
}
