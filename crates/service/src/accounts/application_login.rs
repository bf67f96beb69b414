//! The login of a program with an application token instead of a user's password and code.

use std::{net::IpAddr, sync::Arc};

use keyproof_auth::Token;
use keyproof_store::{Key, ReadPlan, StoreError, Stored, Timestamp, Version};
use zeroize::Zeroizing;

use super::{
    Accounts, ApplicationTokenState, Detail,
    application_tokens::{has_ended, is_valid, new_event},
    records::{
        ApplicationToken, ApplicationTokenText, User, UserStatus, application_token_key,
        application_token_text_key, user_key,
    },
};
use crate::{
    Action, Failure, Origin, Principal, StorageError,
    audit::{NewEvent, Target},
    slot::Slot,
    storage::{Attempt, refuse, transact},
};

/// The error when an application token yields no access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplicationLoginError {
    /// The token is unknown or not valid, or its creator was removed or suspended.
    #[error("the application token is not valid")]
    Refused,
}

impl Accounts {
    /// Issues an access token for an application token.
    ///
    /// # Errors
    ///
    /// [`ApplicationLoginError`].
    pub async fn application_login(
        &self,
        text: &str,
        address: IpAddr,
        origin: &Origin,
    ) -> Result<Zeroizing<String>, Failure<ApplicationLoginError>> {
        transact("accounts.application_login", &self.store, || async {
            let now = self.clock.now();
            let Holder { user, id, token } = match self.holder(text, address, now).await? {
                Ok(holder) => holder,
                Err(Refusal { id, why }) => {
                    let new_event = NewEvent {
                        action: Action::ApplicationAuthenticate,
                        target: Target::ShownApplicationToken(id),
                        detail: self.worded(&Detail::ApplicationRefused { why }),
                        origin,
                    };
                    self.audit.refused(new_event).await;
                    return refuse(ApplicationLoginError::Refused);
                }
            };
            let signer = self.signing.signer(now).await?;
            let login = self.begin_session(None, now);
            let access = self.access_token(&signer, &user.record, &login, Some(id), now)?;
            let owner = user.record.owner();
            let origin = origin.by(Principal::User {
                subject: user.record.subject(),
                application_token: Some(id),
            });
            let mut batch = self.store.batch(now);
            batch.require(&user_key(owner), user.version);
            batch.require(&application_token_key(owner.organisation, id), token);
            let new_event = new_event(
                Action::ApplicationAuthenticate,
                owner.organisation,
                id,
                &origin,
            );
            self.audit.done(&mut batch, now, new_event);
            Ok(Attempt::Commit(batch, Ok(access)))
        })
        .await
    }

    /// Returns the user for whom a token acts, or why it is refused.
    async fn holder(
        &self,
        text: &str,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Result<Holder, Refusal>, StorageError> {
        let unknown = Refusal {
            id: None,
            why: ApplicationTokenState::Unknown,
        };
        let Ok(token) = Token::parse(text) else {
            return Ok(Err(unknown));
        };
        let place = application_token_text_key(&token);
        let reading = self.store.read(plan(place.clone()), now).await?;
        let text: Slot<ApplicationTokenText> = Slot::of(&reading, place)?;
        let Some(ApplicationTokenText { organisation, id }) = text.into_record() else {
            return Ok(Err(unknown));
        };
        let token: Slot<ApplicationToken> =
            Slot::of(&reading, application_token_key(organisation, id))?;
        let Some(token) = token.stored else {
            return Ok(Err(unknown));
        };
        let refused = |why| Err(Refusal { id: Some(id), why });
        if let Err(why) = is_valid(&token.record, address, now) {
            return Ok(refused(why));
        }
        let creator = user_key(token.record.creator_in(organisation));
        let user: Slot<User> = Slot::of(&reading, creator)?;
        let user = user.stored;
        let user = user.filter(|stored| stored.record.status == UserStatus::Active);
        Ok(match user {
            Some(user) if has_ended(&token.record, Some(&user.record)) => {
                refused(ApplicationTokenState::Revoked)
            }
            Some(user) => Ok(Holder {
                user,
                id,
                token: token.version,
            }),
            None => refused(ApplicationTokenState::CreatorGone),
        })
    }
}

/// Reads the token by its text, then its creator.
fn plan(text: Key) -> ReadPlan {
    ReadPlan::new([text.clone()]).then(move |found| {
        let Some(text) = found.get::<ApplicationTokenText>(&text)? else {
            return Ok(Vec::new());
        };
        let ApplicationTokenText { organisation, id } = text.record;
        let place = application_token_key(organisation, id);
        let token = match found.get::<ApplicationToken>(&place) {
            Err(StoreError::NotRead { .. }) => None,
            read => read?,
        };
        let creator = token.map(|token| user_key(token.record.creator_in(organisation)));
        Ok([place].into_iter().chain(creator).collect())
    })
}

/// The user for whom a token acts, and the records that this depends on.
struct Holder {
    user: Stored<Arc<User>>,
    /// The token's number.
    id: u32,
    /// The version of the token that was read.
    token: Version,
}

/// Why a token is refused, and its number, if known.
#[derive(Clone, Copy)]
struct Refusal {
    id: Option<u32>,
    why: ApplicationTokenState,
}
