//! Preauth: may this key provision this device? Nothing is changed by asking.

use super::{
    ApiKey, ApiKeyRefusal, DeviceClaim, Kind, Metadata, Provisioning,
    grant::{Grant, Shown},
};
use crate::{Origin, StorageError, audit::Deed};
use keyproof_store::Timestamp;
use keyproof_tpm::TpmError;
use std::time::Duration;

/// What preauth finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreauthVerdict {
    /// Provision may be called.
    Granted,
    /// The key is no good.
    InvalidApiKey(ApiKeyRefusal),
    /// A property of the device is outside its limits.
    InvalidDevice(TpmError),
}

/// Why preauth finds nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreauthError {
    /// The key was used too often.
    #[error("the API key is used too often")]
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// No verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Provisioning {
    /// May this key provision this device? Which rule refused is noted in the audit trail and the log.
    ///
    /// # Errors
    /// [`PreauthError`].
    pub async fn preauth(
        &self,
        api_key: &str,
        device: &DeviceClaim,
        origin: &Origin,
    ) -> Result<PreauthVerdict, PreauthError> {
        let now = self.clock.now();
        let (whose, verdict) = match self.show_key(api_key, now).await? {
            Shown::Refused(refusal, whose) => (whose, PreauthVerdict::InvalidApiKey(refusal)),
            Shown::Granted(grant) => {
                if let Err(retry_after) = self.take_turn(&grant, now) {
                    return Err(PreauthError::RateLimited { retry_after });
                }
                let verdict = match device.judge() {
                    Ok(_) => PreauthVerdict::Granted,
                    Err(error) => PreauthVerdict::InvalidDevice(error),
                };
                (Some(grant.key.record.metadata), verdict)
            }
        };
        let rule = match &verdict {
            PreauthVerdict::Granted => return Ok(verdict),
            PreauthVerdict::InvalidApiKey(refusal) => refusal.to_string(),
            PreauthVerdict::InvalidDevice(error) => error.to_string(),
        };
        self.note_refusal("tpm.preauth", whose.as_ref(), rule, origin)
            .await;
        Ok(verdict)
    }

    pub(super) fn take_turn(&self, grant: &Grant, now: Timestamp) -> Result<(), Duration> {
        let Metadata {
            namespace, name, ..
        } = &grant.key.record.metadata;
        self.rate_limit.take(&format!("{namespace}/{name}"), now)
    }

    /// Writes down which rule refused a station's call.
    pub(super) async fn note_refusal(
        &self,
        action: &'static str,
        whose: Option<&Metadata>,
        rule: String,
        origin: &Origin,
    ) {
        let target = match whose {
            Some(key) => format!("{}/{}/{}", ApiKey::NAME, key.namespace, key.name),
            None => ApiKey::NAME.to_owned(),
        };
        tracing::info!(action, target, rule, "refused");
        let deed = Deed {
            action,
            target,
            detail: Some(rule),
            origin,
        };
        self.audit.refused(deed).await;
    }
}
