//! What a restore from a backup leaves of users' records.

use keyproof_store::Raw;

use super::records::{ApplicationToken, SecondFactor};
use crate::{
    clock::millis,
    collections::{Ended, Outcome, RestoreError, Restoring},
};

/// A second factor that refuses every code that it may have taken before the restore. One that is pending is enrolled anew:
/// nobody knows of which step its activation's code was.
pub(crate) fn without_steps(raw: Raw, restoring: &Restoring<'_>) -> Result<Outcome, RestoreError> {
    let mut factor = raw.decode::<SecondFactor>()?.record;
    Ok(
        match factor.key.spent_until(millis(restoring.codes_until)) {
            Some(key) => {
                factor.key = key;
                Outcome {
                    left: Some(raw.rewritten(&factor, restoring.entropy)?),
                    ended: Some(Ended::Steps),
                }
            }
            None => Outcome {
                left: None,
                ended: Some(Ended::PendingKeys),
            },
        },
    )
}

/// An application token that is revoked; its text is forgotten besides.
pub(crate) fn without_validity(
    raw: Raw,
    restoring: &Restoring<'_>,
) -> Result<Outcome, RestoreError> {
    let mut token = raw.decode::<ApplicationToken>()?.record;
    if token.is_revoked {
        return Ok(Outcome {
            left: Some(raw),
            ended: None,
        });
    }
    token.is_revoked = true;
    Ok(Outcome {
        left: Some(raw.rewritten(&token, restoring.entropy)?),
        // Counted by their texts.
        ended: None,
    })
}
