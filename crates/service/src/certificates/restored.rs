//! How a restore from a backup changes a certificate's record.

use keyproof_store::Raw;

use super::records::Certificate;
use crate::collections::{Ended, Outcome, RestoreError, Restoring};

/// Removes a live code, since a proof made with it may have been disclosed.
pub(crate) fn without_code(raw: Raw, restoring: &Restoring<'_>) -> Result<Outcome, RestoreError> {
    let mut certificate = raw.decode::<Certificate>()?.record;
    if certificate.code.take().is_none() {
        return Ok((Some(raw), None));
    }
    let left = raw.rewritten(&certificate, restoring.entropy)?;
    Ok((Some(left), Some(Ended::VerificationCodes)))
}
