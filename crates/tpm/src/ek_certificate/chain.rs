//! From an endorsement certificate to a manufacturer's root, built by rustls-webpki.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use keyproof_x509::{BasicConstraints, Certificate};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use super::extensions::{EK_CERTIFICATE_USE, unknown_critical};

/// What a chain is built from and for when.
pub(super) struct Chain<'a> {
    pub(super) intermediates: &'a [&'a [u8]],
    pub(super) roots: &'a [&'a [u8]],
    /// Seconds since the Unix epoch.
    pub(super) now: u64,
    pub(super) algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

/// A root that may end a chain now.
struct Root {
    anchor: TrustAnchor<'static>,
    /// How many intermediates it lets stand below it.
    path_len: Option<u32>,
}

impl Chain<'_> {
    /// Builds the chain of a certificate; says how long it is, or why there is none.
    pub(super) fn build(&self, certificate: &Certificate<'_>) -> Result<String, Cow<'static, str>> {
        let roots = self.usable_roots()?;
        let anchors: Vec<TrustAnchor<'_>> = roots.iter().map(|root| root.anchor.clone()).collect();
        let intermediates: Vec<CertificateDer<'_>> = self
            .intermediates
            .iter()
            .filter(|der| !lacks_cert_sign(der))
            .map(|der| CertificateDer::from(*der))
            .collect();
        let der = CertificateDer::from(certificate.as_der());
        let end_entity =
            EndEntityCert::try_from(&der).map_err(|error| self.explain(&error, certificate))?;
        let path = end_entity
            .verify_for_usage(
                self.algorithms,
                &anchors,
                &intermediates,
                UnixTime::since_unix_epoch(Duration::from_secs(self.now)),
                KeyUsage::required_if_present(EK_CERTIFICATE_USE),
                None,
                Some(&|path| check_root_path_len(path, &roots)),
            )
            .map_err(|error| self.explain(&error, certificate))?;
        let count = path.intermediate_certificates().count();
        Ok(format!(
            "to one of {} roots, over {count} intermediates",
            roots.len()
        ))
    }

    /// rustls-webpki takes a root for what it is given as. Here one that has expired, or that says
    /// that it is no CA, ends no chain.
    fn usable_roots(&self) -> Result<Vec<Root>, Cow<'static, str>> {
        let mut roots = Vec::new();
        let mut reason = "no roots were given".into();
        for der in self.roots {
            match self.usable_root(der) {
                Ok(root) => roots.push(root),
                Err(unusable) => reason = unusable,
            }
        }
        if roots.is_empty() {
            Err(reason)
        } else {
            Ok(roots)
        }
    }

    fn usable_root(&self, der: &[u8]) -> Result<Root, Cow<'static, str>> {
        let root = Certificate::from_der(der).map_err(|error| format!("a root: {error}"))?;
        let subject = root.subject();
        let validity = root.validity();
        if !validity.has_begun(self.now) || validity.has_ended(self.now) {
            return Err(format!("the root {subject} is not valid at this time").into());
        }
        let constraints = root
            .basic_constraints()
            .map_err(|error| format!("the root {subject}: {error}"))?;
        if constraints.is_some_and(|constraints| !constraints.ca) {
            return Err(format!("the root {subject} says that it is no CA").into());
        }
        let usage = root
            .key_usage()
            .map_err(|error| format!("the root {subject}: {error}"))?;
        if usage.is_some_and(|usage| !usage.key_cert_sign()) {
            return Err(format!("the root {subject} may not sign certificates").into());
        }
        let anchor = anchor_from_trusted_cert(&CertificateDer::from(der))
            .map_err(|error| format!("the root {subject}: {error}"))?
            .to_owned();
        let path_len = constraints.and_then(|BasicConstraints { path_len, .. }| path_len);
        Ok(Root { anchor, path_len })
    }

    /// rustls-webpki's verdict in words, with what it does not say: which certificate it is about.
    fn explain(&self, error: &webpki::Error, certificate: &Certificate<'_>) -> Cow<'static, str> {
        match error {
            webpki::Error::UnsupportedCriticalExtension => self.explain_critical(certificate),
            webpki::Error::UnknownIssuer => self.explain_unknown(),
            webpki::Error::InvalidSignatureForPublicKey => {
                "a signature does not verify under its issuer's key".into()
            }
            webpki::Error::PathLenConstraintViolated => {
                "more intermediates than a CA above them allows".into()
            }
            webpki::Error::CertExpired { .. } => "a certificate in it has expired".into(),
            webpki::Error::CertNotValidYet { .. } => "a certificate in it is not valid yet".into(),
            webpki::Error::EndEntityUsedAsCa => "an intermediate is no CA".into(),
            webpki::Error::CaUsedAsEndEntity => "the endorsement certificate is a CA's".into(),
            webpki::Error::RequiredEkuNotFoundContext(_) => {
                "a certificate in it has an extended key usage without tcg-kp-EKCertificate".into()
            }
            webpki::Error::UnsupportedSignatureAlgorithmContext(_)
            | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                "a signature in it is of an algorithm that is not taken, such as one over SHA-1"
                    .into()
            }
            other => format!("{other}").into(),
        }
    }

    fn explain_unknown(&self) -> Cow<'static, str> {
        let left_out = self.intermediates.iter().find(|der| lacks_cert_sign(der));
        let left_out = left_out.and_then(|der| Certificate::from_der(der).ok());
        match left_out {
            None => "no root or intermediate that was given is its issuer".into(),
            Some(left_out) => format!(
                "no root or intermediate that was given and may sign certificates is its issuer: {} may not",
                left_out.subject()
            )
            .into(),
        }
    }

    fn explain_critical(&self, certificate: &Certificate<'_>) -> Cow<'static, str> {
        let intermediates: Vec<Certificate<'_>> = self
            .intermediates
            .iter()
            .filter_map(|der| Certificate::from_der(der).ok())
            .collect();
        // The endorsement certificate's own subject is empty, as a rule.
        let of_ek = core::iter::once((certificate, "the endorsement certificate".into()));
        let of_others = intermediates
            .iter()
            .map(|other| (other, format!("the intermediate {}", other.subject())));
        let found = of_ek.chain(of_others).find_map(|(certificate, whose)| {
            let unknown = unknown_critical(certificate)?;
            Some(format!(
                "the verifier of chains refuses the critical {unknown} of {whose}"
            ))
        });
        found.map_or(
            "a certificate has a critical extension that is not known".into(),
            Cow::Owned,
        )
    }
}

/// RFC 5280 section 6.1.4 (n), which rustls-webpki passes over: a key usage without keyCertSign. What cannot be read is
/// left to rustls-webpki.
fn lacks_cert_sign(der: &[u8]) -> bool {
    let usage = Certificate::from_der(der).map(|certificate| certificate.key_usage());
    match usage {
        Ok(Ok(usage)) => usage.is_some_and(|usage| !usage.key_cert_sign()),
        Ok(Err(_)) => true,
        Err(_) => false,
    }
}

/// RFC 5280 section 6.1.4 (l) and (m), for the root too, which rustls-webpki takes without its
/// constraints. Self-issued intermediates count: a chain of endorsement has none.
fn check_root_path_len(path: &VerifiedPath<'_>, roots: &[Root]) -> Result<(), webpki::Error> {
    let intermediates = path.intermediate_certificates().count();
    let allowed = roots.iter().any(|root| {
        root.anchor == *path.anchor()
            && root.path_len.is_none_or(|limit| {
                usize::try_from(limit).is_ok_and(|limit| intermediates <= limit)
            })
    });
    if allowed {
        Ok(())
    } else {
        Err(webpki::Error::PathLenConstraintViolated)
    }
}
