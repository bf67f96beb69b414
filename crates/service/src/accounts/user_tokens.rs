//! The application tokens of one user, as operators see and end them.

use super::{
    Accounts, ApplicationTokenSummary, ChangeUserError,
    application_token::{REVOKE, deed, is_of, summary},
    records::{
        ApplicationToken, User, UserName, application_token_key, application_tokens_of, user_key,
        user_name_key,
    },
};
use crate::{
    Failure, Origin, StorageError,
    storage::{Attempt, settle},
};
use keyproof_store::Stored;

/// What became of an application token that an operator ends. Either way it has ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// It had ended before.
    Before,
    /// It ends now.
    Now,
}

/// Why an operator ended no application token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeApplicationTokenError {
    /// The user has none of this number.
    #[error("the user has no such application token")]
    Unknown,
    /// There is no user of that name.
    #[error("there is no such user")]
    UserUnknown,
}

impl Accounts {
    /// The application tokens that a user has made, oldest first; those that have ended are revoked.
    ///
    /// # Errors
    /// [`ChangeUserError`].
    pub async fn application_tokens_of(
        &self,
        name: &str,
    ) -> Result<Vec<ApplicationTokenSummary>, Failure<ChangeUserError>> {
        let user = self.user_called(name).await?;
        let user = user.ok_or(Failure::Refused(ChangeUserError::Unknown))?;
        let user = user.record;
        let all = application_tokens_of(user.organisation);
        let tokens = self.all::<ApplicationToken>(&all).await?.into_iter();
        let tokens = tokens.filter(|token| is_of(token, user.id, &user.name));
        let mut tokens: Vec<_> = tokens.map(|token| summary(token, Some(&user))).collect();
        tokens.sort_by_key(|token| (token.created_at, token.id));
        Ok(tokens)
    }

    /// Ends an application token of a user's for good. Nothing is changed of one that had ended before.
    ///
    /// # Errors
    /// [`RevokeApplicationTokenError`].
    pub async fn revoke_application_token(
        &self,
        name: &str,
        id: u32,
        origin: &Origin,
    ) -> Result<Revocation, Failure<RevokeApplicationTokenError>> {
        use RevokeApplicationTokenError::{Unknown, UserUnknown};
        settle("accounts.revoke_application_token", &self.store, || async {
            let user = self.user_called(name).await?;
            let user = user.ok_or(Failure::Refused(UserUnknown))?;
            let now = self.clock.now();
            let place = application_token_key(user.record.organisation, id);
            let stored = self.store.get::<ApplicationToken>(&place, now).await?;
            let stored = stored
                .filter(|stored| is_of(&stored.record, user.record.id, &user.record.name))
                .ok_or(Failure::Refused(Unknown))?;
            let mut batch = self.store.batch(now);
            if summary(stored.record.clone(), Some(&user.record)).is_revoked {
                // Whoever ended it may never have learnt so.
                batch.require(&user_key(user.record.owner()), user.version);
                batch.require(&place, stored.version);
                return Ok(Attempt::Commit(batch, Ok(Revocation::Before)));
            }
            let next = ApplicationToken {
                is_revoked: true,
                ..stored.record
            };
            batch.replace(&place, stored.version, &next, None);
            let deed = deed(REVOKE, user.record.organisation, id, origin);
            self.audit.done(&mut batch, now, deed);
            Ok(Attempt::Commit(batch, Ok(Revocation::Now)))
        })
        .await
    }

    async fn user_called(&self, name: &str) -> Result<Option<Stored<User>>, StorageError> {
        let now = self.clock.now();
        let place = user_name_key(name);
        let Some(named) = self.store.get::<UserName>(&place, now).await? else {
            return Ok(None);
        };
        Ok(self.store.get(&user_key(named.record.owner), now).await?)
    }
}
