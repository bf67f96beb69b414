//! Preauth: whether a key may provision a device. Nothing is changed by asking.

use std::time::Duration;

use keyproof_tpm::TpmError;

use super::{ApiKeyRefusal, DeviceClaim, DeviceIdentity, Station, StationAct, grant::Shown};
use crate::{Failure, storage::refuse};

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
}

impl DeviceIdentity {
    /// Whether this key may provision this device. Which rule refused is noted in the audit trail and the log.
    ///
    /// # Errors
    ///
    /// [`PreauthError`].
    pub async fn preauth(
        &self,
        station: &Station,
        api_key: &str,
        device: &DeviceClaim,
    ) -> Result<PreauthVerdict, Failure<PreauthError>> {
        let now = self.clock.now();
        let (target, verdict) = match self.show_key(api_key, station, now).await? {
            Shown::Refused(refusal, target) => (target, PreauthVerdict::InvalidApiKey(refusal)),
            Shown::Granted(grant) => {
                if let Err(retry_after) = self.take_turn(&grant, now) {
                    return refuse(PreauthError::RateLimited { retry_after });
                }
                let verdict = match device.judge() {
                    Ok(_) => PreauthVerdict::Granted,
                    Err(error) => PreauthVerdict::InvalidDevice(error),
                };
                (grant.target(), verdict)
            }
        };
        let why = match &verdict {
            PreauthVerdict::Granted => return Ok(verdict),
            PreauthVerdict::InvalidApiKey(refusal) => refusal.to_string(),
            PreauthVerdict::InvalidDevice(error) => error.to_string(),
        };
        self.note_refusal(StationAct::Preauth, target, why, station)
            .await;
        Ok(verdict)
    }
}
