//! What a session may do, by its role and by whether a person has logged in; and that more was asked for.

use super::{Accounts, Session, Whose, records::Owner};
use crate::{Origin, audit::Deed};

/// What a session may ask for that not everybody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Activate a key.
    ActivateKey,
    /// Make an application token.
    AddApplicationToken,
    /// Enrol a key.
    AddKey,
    /// Change or revoke an application token.
    ChangeApplicationToken,
    /// See which devices are trusted.
    ListDevices,
    /// Make recovery codes.
    MakeRecoveryCodes,
    /// Trust a device no more.
    RemoveDevice,
    /// Remove a key.
    RemoveKey,
    /// Set the user's own password.
    SetPassword,
}

/// The session may not do it, as the audit trail was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not permitted")]
pub struct NotPermitted;

impl Act {
    /// As the audit trail calls it.
    pub(super) const fn action(self) -> &'static str {
        match self {
            Self::ActivateKey => "mfa_key.activate",
            Self::AddApplicationToken => "application_token.add",
            Self::AddKey => "mfa_key.add",
            Self::ChangeApplicationToken => "application_token.change",
            Self::ListDevices => "trusted_device.list",
            Self::MakeRecoveryCodes => "recovery_codes.make",
            Self::RemoveDevice => "trusted_device.remove",
            Self::RemoveKey => "mfa_key.remove",
            Self::SetPassword => "user.set_password",
        }
    }

    fn is_permitted(self, session: &Session, whose: Whose) -> bool {
        match self {
            Self::AddApplicationToken => session.may_change_organisation(),
            // Everybody's own; which others' is judged by the token.
            Self::ChangeApplicationToken => session.is_person(),
            Self::ActivateKey
            | Self::AddKey
            | Self::ListDevices
            | Self::MakeRecoveryCodes
            | Self::RemoveDevice
            | Self::RemoveKey
            | Self::SetPassword => session.may_manage(whose),
        }
    }
}

impl Accounts {
    /// May the session do this to what is this user's? Second factors and passwords are persons': applications have
    /// none. Where the request says more, to be asked before that is looked at.
    ///
    /// # Errors
    /// [`NotPermitted`].
    pub async fn permit(
        &self,
        session: &Session,
        act: Act,
        whose: Whose,
        origin: &Origin,
    ) -> Result<(), NotPermitted> {
        if act.is_permitted(session, whose) {
            return Ok(());
        }
        let Owner { organisation, user } = session.owner_of(whose);
        let why = match session.is_person() {
            true => format!("the role {} does not allow this", session.role()),
            false => "an application may not do this".to_owned(),
        };
        self.audit
            .refused(Deed {
                action: act.action(),
                target: format!("organisation/{organisation}/user/{user}"),
                detail: Some(why),
                origin: &session.origin(origin),
            })
            .await;
        Err(NotPermitted)
    }
}
