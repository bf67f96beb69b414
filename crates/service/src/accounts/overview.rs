//! The state of a user's second factor, for their own page.

use std::time::Duration;

use keyproof_mfa::KeyKind;

use super::{
    Accounts, KeySummary, Session, SessionError,
    directory::{UserView, view},
    session::INVALID,
};
use crate::Failure;

/// The state of a second factor as its user sees it.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The user, with their key.
    pub user: UserView,
    /// How many seconds the phone's clock was ahead when its last code was accepted. A whole number of time steps, at most two
    /// either way; one step behind counts as none.
    pub clock_ahead: i64,
    /// The number of unused recovery codes; `None` if none were created.
    pub recovery_codes: Option<usize>,
    /// Whether the session may manage the second factor.
    pub may_decide: bool,
    /// Whether the session may create recovery codes without a code.
    pub may_leave_code_out: bool,
    /// How long guesses in this session are not checked, if they are locked out.
    pub locked: Option<Duration>,
}

impl Accounts {
    /// Returns all that a user's own page shows except their devices.
    ///
    /// # Errors
    ///
    /// [`SessionError::Invalid`] if the session has ended meanwhile.
    pub async fn overview(&self, session: &Session) -> Result<Overview, Failure<SessionError>> {
        let account = self.account_of(session.name(), session.owner).await?;
        let user = account
            .user
            .record()
            .filter(|user| session.is_of(user))
            .ok_or(INVALID)?;
        let key = account.second_factor.record();
        let records = account.records();
        let auth_method = session.auth_method(user);
        let active = account.active_key().map(|active| active.key);
        let clock_ahead = active.and_then(|key| {
            let KeyKind::Totp(parameters) = key.kind() else {
                return None;
            };
            let period = i64::try_from(parameters.period.get()).ok()?;
            let steps = match key.drift_steps()? {
                // A code that was read just before its step ended arrives one step late although the clock is right.
                -1 => 0,
                steps => steps,
            };
            Some(i64::from(steps).saturating_mul(period))
        });
        let recovery = records.recovery.as_ref().filter(|_| active.is_some());
        let lock = records.check_session_lockout(session.counter(), account.at());
        Ok(Overview {
            user: view(user, key.map(KeySummary::of)),
            clock_ahead: clock_ahead.unwrap_or_default(),
            recovery_codes: recovery.map(keyproof_mfa::RecoveryCodes::left),
            may_decide: records.require_factor(auth_method).is_ok(),
            may_leave_code_out: records.may_leave_code_out(auth_method, account.at()),
            locked: lock.err().map(|lock| account.wait(lock.until)),
        })
    }
}
