//! The manufacturers that a manager covers, for display.

use keyproof_x509::{Certificate, Sha256Thumbprint};

use super::{
    super::{Administrator, DeviceIdentity, Manager, Object, endorsement::listed_roots},
    TrustKind,
    bundle::maker,
};
use crate::StorageError;

/// A CA that is trusted for EK certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoveredMaker {
    /// The manufacturer: the organisation in the subject, else its common name, else the whole name.
    pub maker: String,
    /// The certificate's subject, as RFC 4514 text.
    pub name: String,
    /// `notAfter`, in seconds since the Unix epoch.
    pub not_after: i64,
    /// Whether it is in the trust bundle; otherwise it is in the manager's own list.
    pub is_of_bundle: bool,
    /// The SHA-256 of its DER.
    pub fingerprint: Sha256Thumbprint,
}

impl DeviceIdentity {
    /// Lists the CAs that a manager trusts, by manufacturer: its own, and the trust bundle's roots if it uses the
    /// bundle.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn covered_makers(
        &self,
        administrator: &Administrator<Manager>,
        manager: &Object<Manager>,
    ) -> Result<Vec<CoveredMaker>, StorageError> {
        let roots = manager.spec.ek_roots.clone();
        let mut covered = self
            .on_cpu_queue(administrator.who(), move || own(&roots))
            .await?;
        if manager.spec.ek_trust_bundle {
            let entries = self.trust_entries().await?.into_iter();
            let entries = entries.filter(|entry| entry.kind == TrustKind::Root);
            covered.extend(entries.map(|entry| CoveredMaker {
                maker: entry.maker,
                name: entry.name,
                not_after: entry.until.unwrap_or_default(),
                is_of_bundle: true,
                fingerprint: entry.fingerprint,
            }));
        }
        covered.sort_by_cached_key(|covered| (covered.maker.to_lowercase(), covered.name.clone()));
        Ok(covered)
    }
}

/// The manager's own CAs, which were validated when they were added.
fn own(roots: &[String]) -> Vec<CoveredMaker> {
    let mut covered = Vec::new();
    for text in roots {
        for der in listed_roots(text) {
            if let Ok(root) = Certificate::from_der_lenient(&der) {
                covered.push(CoveredMaker {
                    maker: maker(&root.subject()),
                    name: root.subject().to_string(),
                    not_after: root.validity().not_after,
                    is_of_bundle: false,
                    fingerprint: Sha256Thumbprint::of_der(&der),
                });
            }
        }
    }
    covered
}
