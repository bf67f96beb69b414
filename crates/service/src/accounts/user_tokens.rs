//! The application tokens of one user, for operators: listing and revoking them.

use super::{
    Accounts, ApplicationTokenSummary, UnknownUser,
    application_tokens::{is_of, new_event, summary},
    records::{
        ApplicationToken, Owner, User, application_token_key, application_tokens_of, user_key,
    },
};
use crate::{
    Action, CommandLine, Failure,
    pages::Pages,
    slot::Slot,
    storage::{Attempt, transact},
};

/// The result of revoking an application token. In either case it has ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// It had already ended.
    Before,
    /// It was revoked now.
    Now,
}

/// The error when an operator revokes no application token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeApplicationTokenError {
    /// The user has no application token with this number.
    #[error("the user has no such application token")]
    Unknown,
    /// There is no user with this name.
    #[error("there is no such user")]
    UserUnknown,
}

impl Accounts {
    /// Returns a user's application tokens, oldest first. Tokens that have ended are listed as revoked.
    ///
    /// # Errors
    ///
    /// [`UnknownUser`].
    pub async fn application_tokens_of(
        &self,
        name: &str,
    ) -> Result<Vec<ApplicationTokenSummary>, Failure<UnknownUser>> {
        let (_, user) = self.read_named(name, |_| None).await?;
        let user = user.and_then(Slot::into_record);
        let user = user.ok_or(Failure::Refused(UnknownUser))?;
        let all = application_tokens_of(user.organisation);
        let pages = Pages::<ApplicationToken>::of(&self.store, all);
        let theirs = |token: ApplicationToken| is_of(&token, user.id, &user.name).then_some(token);
        let tokens = pages.collect(&*self.clock, theirs).await?;
        // Read last: compared with an earlier state of its creator, a token would count as ended.
        let creator = Slot::<User>::read(&self.store, user_key(user.owner()), self.clock.now());
        let creator = creator.await?;
        let tokens = tokens.into_iter();
        let tokens = tokens.map(|token| summary(token, creator.record()));
        let mut tokens: Vec<_> = tokens.collect();
        tokens.sort_by_key(|token| (token.created_at, token.id));
        Ok(tokens)
    }

    /// Revokes a user's application token for good. A token that had already ended is not changed.
    ///
    /// # Errors
    ///
    /// [`RevokeApplicationTokenError`].
    pub async fn revoke_application_token(
        &self,
        name: &str,
        id: u32,
        command: &CommandLine,
    ) -> Result<Revocation, Failure<RevokeApplicationTokenError>> {
        use RevokeApplicationTokenError::{Unknown, UserUnknown};
        let origin = command.origin();
        transact("accounts.revoke_application_token", &self.store, || async {
            let place = move |owner: Owner| application_token_key(owner.organisation, id);
            let called = self.read_named(name, move |owner| Some(place(owner)));
            let (reading, user_slot) = called.await?;
            let user_slot = user_slot.ok_or(Failure::Refused(UserUnknown))?;
            let user = user_slot.record().ok_or(Failure::Refused(UserUnknown))?;
            let slot: Slot<ApplicationToken> = Slot::of(&reading, place(user.owner()))?;
            let token = slot
                .record()
                .filter(|token| is_of(token, user.id, &user.name))
                .ok_or(Failure::Refused(Unknown))?;
            let mut batch = self.store.batch(reading.now());
            if summary(token.clone(), Some(user)).is_revoked {
                // The commit that ended it may not be durable, so this result requires its records.
                user_slot.require(&mut batch);
                slot.require(&mut batch);
                origin.require(&mut batch);
                return Ok(Attempt::Commit(batch, Ok(Revocation::Before)));
            }
            let next = ApplicationToken {
                is_revoked: true,
                ..token.clone()
            };
            self.put_revoked(&mut batch, &slot, &next, reading.now())
                .await?;
            let new_event = new_event(
                Action::ApplicationTokenRevoke,
                user.organisation,
                id,
                origin,
            );
            self.audit.done(&mut batch, reading.now(), new_event);
            Ok(Attempt::Commit(batch, Ok(Revocation::Now)))
        })
        .await
    }
}
