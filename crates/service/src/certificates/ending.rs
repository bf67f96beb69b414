//! Which CA certificates end soon, of all provisioning services.

use keyproof_store::{Prefix, Record, Timestamp};

use super::{Certificates, records::Certificate};
use crate::{
    StorageError,
    ending::{Ending, Endings},
};

impl Certificates {
    /// The certificates that end before a moment, or have ended.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn ending(&self, until: Timestamp) -> Result<Endings, StorageError> {
        let all = Prefix::collection(Certificate::TYPE);
        Endings::of(&self.store, all, self.clock.now(), until, of).await
    }
}

fn of(certificate: &Certificate) -> Option<Ending> {
    // Those of earlier releases say it in their DER alone.
    let seconds = certificate.description.as_ref()?.not_after;
    let place = &certificate.place;
    Some(Ending {
        // What ended before 1970 has ended.
        at: Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0)),
        what: format!(
            "certificate/{}/{}/{}/{}",
            place.subscription, place.resource_group, place.service, certificate.name
        ),
    })
}
