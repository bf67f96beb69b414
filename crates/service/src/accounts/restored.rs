//! How a restore from a backup changes users' records.

use keyproof_store::Raw;

use super::records::{ApplicationToken, SecondFactor};
use crate::{
    clock::millis,
    collections::{Ended, Outcome, RestoreError, Restoring},
};

/// Makes a second factor refuse every code that may have been used before the restore. A pending one is dropped and must be
/// enrolled again, because the step of a code that may have activated it is unknown.
pub(crate) fn without_steps(raw: Raw, restoring: &Restoring<'_>) -> Result<Outcome, RestoreError> {
    let mut factor = raw.decode::<SecondFactor>()?.record;
    Ok(
        match factor.key.spent_until(millis(restoring.codes_until)) {
            Some(key) => {
                factor.key = key;
                let left = raw.rewritten(&factor, restoring.entropy)?;
                (Some(left), Some(Ended::Steps))
            }
            None => (None, Some(Ended::PendingKeys)),
        },
    )
}

/// Revokes an application token. Its text is dropped separately.
pub(crate) fn without_validity(
    raw: Raw,
    restoring: &Restoring<'_>,
) -> Result<Outcome, RestoreError> {
    let mut token = raw.decode::<ApplicationToken>()?.record;
    if token.is_revoked {
        return Ok((Some(raw), None));
    }
    token.is_revoked = true;
    let left = raw.rewritten(&token, restoring.entropy)?;
    // Counted with their texts.
    Ok((Some(left), None))
}
