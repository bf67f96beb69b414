//! The CA certificates of all provisioning services that expire soon.

use keyproof_store::Timestamp;

use super::{Certificates, records::Certificate};
use crate::{
    StorageError,
    expiry::{Expiries, Expiry},
};

impl Certificates {
    /// Returns the certificates that expire before `until` or have expired.
    pub(crate) async fn expiry(&self, until: Timestamp) -> Result<Expiries, StorageError> {
        let (first, now) = (&self.first_to_end, self.clock.now());
        first.before(until, &self.store, now, of).await
    }

    /// Returns when the next certificate expires, as of the last look by the upkeep.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        self.first_to_end.next()
    }

    /// Reads all certificates and remembers those that expire first.
    pub(crate) async fn look_for_ends(&self) -> Result<(), StorageError> {
        let now = self.clock.now();
        self.first_to_end.scan(&self.store, now, of).await
    }
}

fn of(certificate: &Certificate) -> Option<Expiry> {
    let seconds = match &certificate.description {
        Some(description) => description.not_after,
        // Records of earlier releases contain it only in the DER.
        None => {
            let read = keyproof_x509::Certificate::from_der(&certificate.der);
            read.ok()?.validity().not_after
        }
    };
    let place = &certificate.place;
    Some(Expiry {
        // Anything that expired before 1970 counts as expired at the epoch.
        at: Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0)),
        what: place.target(&certificate.name).to_string(),
        needed: place.scope(),
        kind: "a CA certificate",
    })
}
