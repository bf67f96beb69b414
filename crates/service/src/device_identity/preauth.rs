//! Preauth: checks whether an API key may provision a device. It changes nothing.

use std::time::Duration;

use keyproof_tpm::DeviceInfoError;

use super::{ApiKeyRefusal, DeviceClaim, DeviceIdentity, Station, StationOperation};
use crate::{Failure, storage::refuse};

/// The result of a preauth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreauthVerdict {
    /// The device may be provisioned.
    Granted,
    /// The API key is rejected.
    InvalidApiKey(ApiKeyRefusal),
    /// A property of the device exceeds its limits.
    InvalidDevice(DeviceInfoError),
}

/// Why a preauth has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreauthError {
    /// The API key exceeded its rate limit.
    #[error("the API key is used too often")]
    RateLimited {
        /// How long to wait before a retry.
        retry_after: Duration,
    },
}

impl DeviceIdentity {
    /// Checks whether this API key may provision this device. The reason of a refusal is in the audit trail and the
    /// log.
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
        let (target, verdict) = match self.show_key(api_key, station, now).await {
            Err(failure) => {
                let (target, refusal) = failure.refusal()?;
                (target, PreauthVerdict::InvalidApiKey(refusal))
            }
            Ok(grant) => {
                if let Err(retry_after) = self.take_turn(&grant, now) {
                    return refuse(PreauthError::RateLimited { retry_after });
                }
                let verdict = match device.check() {
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
        self.note_refusal(StationOperation::Preauth, target, why, station)
            .await;
        Ok(verdict)
    }
}
