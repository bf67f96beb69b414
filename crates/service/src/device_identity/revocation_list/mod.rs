//! The CRL of a category, signed by its CA: the certificates that their API keys no longer keep valid, and individual
//! revocations.
//!
//! A CRL is made on request if none is current, and stored. Every batch that changes which certificates are revoked or
//! on hold rewrites the CRL's record, as does the batch that stores a new CRL. If a change and a new CRL overlap, one
//! of the two commits fails and is retried.

mod making;
mod record;
mod sharing;

pub(super) use making::{Entries, ListMaking};
pub(super) use record::Latest;
pub(super) use sharing::SharedLists;

use std::time::Duration;

use super::{AuthorityError, DeviceIdentity, Metadata};

/// The time from a CRL's `thisUpdate` to its `nextUpdate`.
pub(super) const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a certificate stays listed after its expiry, so that one later CRL contains it (RFC 5280, section 3.3).
pub(super) const LISTED_BEYOND_END: Duration = LIFE.saturating_mul(2);

/// The age at which a CRL is no longer served.
const HALF_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// The most entries of a CRL. At 49 bytes each, they fit in what `keyproof_x509::crl` parses.
const MOST: usize = if cfg!(test) { 40 } else { 300_000 };

/// Why there is no CRL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationListError {
    /// The CRL could not be made or signed.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// More certificates are revoked or on hold than fit in a CRL.
    #[error("more than {MOST} certificates are revoked or on hold")]
    TooMany,
    /// The category does not exist.
    #[error("there is no such tpm_category")]
    Unknown,
}

impl DeviceIdentity {
    /// Returns the URL of a category's CRL, if one is configured.
    pub(super) fn revocation_list_url(&self, category: &Metadata) -> Option<String> {
        let template = self.revocation_list_url.as_deref()?;
        // Both are DNS labels and need no escaping.
        let url = template.replace("{namespace}", &category.namespace);
        Some(url.replace("{name}", &category.name))
    }
}
