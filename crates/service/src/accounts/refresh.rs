//! Refresh tokens: for 30 days after a login, they yield new access tokens.
//!
//! By default a refresh token can be used any number of times. If tokens are *rotated*, each can be used once and yields a
//! successor with the same end. The tokens of one login are a *family*. If a used token is presented again, the client or a thief
//! has a copy, and since these cannot be distinguished, the whole family is revoked. But a client that did not receive its answer
//! has only the used token. So for a minute plus the tolerance for servers' clocks, and while the successor is unused, a used token
//! gets the same successor again. A family is therefore a single line of tokens at any time.
//!
//! The server does not store a successor's text. It is derived from the used token and random data drawn at that use, and both are
//! needed to compute it.

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use data_encoding::HEXLOWER;
use keyproof_auth::{TOKEN_BYTES, Token, TokenDigest};
use keyproof_store::{Batch, Key, ReadPlan, Timestamp};
use ring::hmac;
use zeroize::Zeroizing;

use super::{
    Accounts, AnswerError, REFRESH_TOKEN_LIFETIME, Reason, SessionId,
    access_token::Login,
    events::{FailedLogin, by, deed_on, new_event},
    records::{
        RefreshFamily, RefreshToken, Spent, User, UserStatus, refresh_family_key,
        refresh_family_name, refresh_token_key, user_key,
    },
};
use crate::{
    Action, Failure, Origin, StorageError,
    audit::UserPart,
    clock::{APART_AT_MOST, auth_millis},
    slot::{Slot, next_keys},
    storage::{Attempt, refuse, transact},
};

/// How long a used token gets the same successor again: a minute, which is longer than clients wait before a retry, plus the
/// tolerance for clocks, since the retry may reach another server than the one by whose clock the token was used.
const TRIED_AGAIN: Duration = Duration::from_secs(60 + APART_AT_MOST.as_secs());

/// After this number of attempts a use gets its own audit event instead of the shared one of its hour. Many concurrent uses of one
/// token would otherwise have to wait for one another.
const TRIES_TOGETHER: u32 = 3;

/// The result of a refresh.
pub struct Refreshed {
    /// The access token, for requests.
    pub access: Zeroizing<String>,
    /// The new refresh token, if tokens are rotated.
    pub refresh: Option<Zeroizing<String>>,
}

impl fmt::Debug for Refreshed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refreshed(..)")
    }
}

/// The keys of the records on which the result depends.
struct RefreshKeys {
    user: Key,
    family: Key,
    /// A family is created when its first token is used.
    has_family: bool,
    /// The successor, if the token was used before.
    successor: Option<Key>,
}

impl RefreshKeys {
    fn of(token: &Token, held: &RefreshToken, now: Timestamp) -> Self {
        let family = held.family_of(&token.digest(), now);
        let spent = held.spent.as_ref();
        Self {
            user: user_key(held.owner),
            family: refresh_family_key(held.owner, &family),
            has_family: !held.is_first(),
            successor: spent.map(|spent| refresh_token_key(&successor_of(token, spent))),
        }
    }

    fn places(self) -> Vec<Key> {
        let family = self.has_family.then_some(self.family);
        let all = [Some(self.user), family, self.successor];
        all.into_iter().flatten().collect()
    }
}

/// A presented token and the records on which the result depends.
struct PresentedToken {
    token: Token,
    held: Slot<RefreshToken>,
    record: RefreshToken,
    /// The owner of the token.
    user: Slot<User>,
    /// Absent if the family was revoked or does not exist yet: it is created when its first token is used.
    family: Slot<RefreshFamily>,
    /// The successor, if the token was used before.
    successor: Option<Slot<RefreshToken>>,
    now: Timestamp,
}

/// How a token is used.
enum TokenUse {
    /// Its state does not change: it stays valid, or it was used before, with this successor.
    Again(Option<Token>),
    /// It is used up now.
    Only,
    /// It was used before, and somebody has a copy.
    Copied,
}

impl Accounts {
    /// Issues a new access token for a refresh token and, if tokens are rotated, its successor.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Refused`].
    pub async fn refresh(
        &self,
        text: &str,
        origin: &Origin,
    ) -> Result<Refreshed, Failure<AnswerError>> {
        let Ok(token) = Token::parse(text) else {
            return Err(self
                .refused_token(Reason::RefreshTokenUnknown, origin)
                .await);
        };
        let tries = AtomicU32::new(0);
        transact("accounts.refresh", &self.store, || async {
            let alone = tries.fetch_add(1, Ordering::Relaxed) >= TRIES_TOGETHER;
            let Some(shown) = self.shown(&token).await? else {
                return Err(self
                    .refused_token(Reason::RefreshTokenUnknown, origin)
                    .await);
            };
            let Some(user) = shown.holder() else {
                let whose = shown.user.record();
                let whose = whose.map_or(FailedLogin::Unattributed, FailedLogin::User);
                let new_event = self.failed(whose, Reason::RefreshTokenUnknown, origin);
                self.audit.refused(new_event).await;
                return refuse(AnswerError::Refused);
            };
            let signer = self.signing.signer(shown.now).await?;
            let login = shown.record.login(&token.digest());
            let access = self.access_token(&signer, user, &login, None, shown.now)?;
            let mut batch = self.store.batch(shown.now);
            let refresh = match self.use_of(&shown, &mut batch) {
                TokenUse::Again(successor) => {
                    self.record_use(&mut batch, &shown, user, origin, alone)
                        .await?;
                    successor.map(|successor| successor.text())
                }
                TokenUse::Only => Some(self.spend(&mut batch, &shown, user, origin).text()),
                TokenUse::Copied => {
                    let new_event =
                        self.failed(FailedLogin::User(user), Reason::RefreshTokenCopied, origin);
                    self.audit.counted(&mut batch, shown.now, new_event).await?;
                    shown.family.remove(&mut batch);
                    return Ok(Attempt::Commit(batch, Err(AnswerError::Refused)));
                }
            };
            Ok(Attempt::Commit(batch, Ok(Refreshed { access, refresh })))
        })
        .await
    }

    /// Adds the first refresh token of a login.
    pub(super) fn add_refresh_token(
        &self,
        batch: &mut Batch,
        user: &User,
        login: &Login,
        now: Timestamp,
    ) -> Token {
        let token = self.draw_token(now);
        let record = RefreshToken {
            owner: user.owner(),
            generation: user.generation,
            key_changes: user.key_changes,
            created_at: now,
            family: None,
            spent: None,
            sid: Some(login.sid),
            shown: login.shown,
        };
        let ends = ends(&record);
        batch.insert(&refresh_token_key(&token), &record, Some(ends));
        token
    }

    async fn shown(&self, token: &Token) -> Result<Option<PresentedToken>, StorageError> {
        let now = self.clock.now();
        let place = refresh_token_key(token);
        let keys = {
            let token = token.clone();
            move |held: &RefreshToken| RefreshKeys::of(&token, held, now).places()
        };
        let plan = ReadPlan::new([place.clone()]).then(next_keys(place.clone(), keys));
        let reading = self.store.read(plan, now).await?;
        let held: Slot<RefreshToken> = Slot::of(&reading, place)?;
        let Some(record) = held.record() else {
            return Ok(None);
        };
        let RefreshKeys {
            user,
            family,
            has_family,
            successor,
        } = RefreshKeys::of(token, record, now);
        Ok(Some(PresentedToken {
            token: token.clone(),
            user: Slot::of(&reading, user)?,
            family: if has_family {
                Slot::of(&reading, family)?
            } else {
                Slot::unread(family)
            },
            successor: successor
                .map(|place| Slot::of(&reading, place))
                .transpose()?,
            record: record.clone(),
            held,
            now,
        }))
    }

    /// A used token yields its successor again only while both are unchanged, which the batch requires: the commit that used it may
    /// not have been durable.
    fn use_of(&self, shown: &PresentedToken, batch: &mut Batch) -> TokenUse {
        let Some(spent) = &shown.record.spent else {
            return if self.rotate_refresh_tokens {
                TokenUse::Only
            } else {
                TokenUse::Again(None)
            };
        };
        let is_fresh = shown.now.abs_diff(spent.at) < TRIED_AGAIN;
        let is_unused = |slot: &&Slot<RefreshToken>| {
            let kept = slot.record();
            kept.is_some_and(|kept| kept.spent.is_none())
        };
        match shown.successor.as_ref().filter(is_unused) {
            Some(unused) if is_fresh => {
                unused.require(batch);
                TokenUse::Again(Some(successor_of(&shown.token, spent)))
            }
            _ => TokenUse::Copied,
        }
    }

    /// Records in the audit trail that a token was used, and requires that the token and its user are unchanged.
    async fn record_use(
        &self,
        batch: &mut Batch,
        shown: &PresentedToken,
        user: &User,
        origin: &Origin,
        alone: bool,
    ) -> Result<(), StorageError> {
        let held = &shown.record;
        shown.user.require(batch);
        shown.held.require(batch);
        shown.family.require(batch);
        let login = held.login(&shown.token.digest()).sid;
        let (origin, part) = (by(user, origin), UserPart::Session(login.to_string()));
        let new_event = deed_on(Action::RefreshTokenUse, user, part, None, &origin);
        self.audit.used(batch, shown.now, new_event, alone).await
    }

    /// Uses up a token and adds its successor.
    fn spend(
        &self,
        batch: &mut Batch,
        shown: &PresentedToken,
        user: &User,
        origin: &Origin,
    ) -> Token {
        let spent = Spent {
            at: shown.now,
            drawn: HEXLOWER.encode(&self.random::<TOKEN_BYTES>()),
            is_timed: true,
        };
        let successor = successor_of(&shown.token, &spent);
        let digest = shown.token.digest();
        let held = RefreshToken {
            sid: Some(shown.record.login(&digest).sid),
            ..shown.record.clone()
        };
        let ends = Some(ends(&held));
        let next = RefreshToken {
            family: Some(held.family_of(&digest, shown.now)),
            ..held.clone()
        };
        let spent = RefreshToken {
            spent: Some(spent),
            ..held
        };
        shown.user.require(batch);
        shown.held.replace(batch, &spent, ends);
        batch.insert(&refresh_token_key(&successor), &next, ends);
        match shown.family.record() {
            Some(_) => shown.family.require(batch),
            None => shown.family.replace(batch, &RefreshFamily {}, ends),
        }
        let origin = by(user, origin);
        let new_event = new_event(Action::RefreshTokenRotate, user, None, &origin);
        self.audit.done(batch, shown.now, new_event);
        successor
    }
}

impl PresentedToken {
    /// Returns the owner if the token is valid. Without its family, none of a family's tokens is valid.
    fn holder(&self) -> Option<&User> {
        let held = &self.record;
        let user = self.user.record().filter(|user| {
            user.status == UserStatus::Active
                && user.generation == held.generation
                && user.key_changes == held.key_changes
        });
        user.filter(|_| held.is_first() || self.family.record().is_some())
    }
}

impl RefreshToken {
    /// Whether it is the unused first token of its login, which has no family yet.
    const fn is_first(&self) -> bool {
        self.family.is_none() && self.spent.is_none()
    }

    /// Returns the login that it comes from. A login of an earlier release has presented no factor.
    fn login(&self, digest: &TokenDigest) -> Login {
        // Named by the digest of the first token, as families were then.
        let of_earlier_release = || match &self.family {
            Some(family) => SessionId::of_login(family),
            None => SessionId::of_login(&digest.to_string()),
        };
        Login {
            sid: self.sid.unwrap_or_else(of_earlier_release),
            shown: self.shown,
        }
    }

    /// Returns the name of the family of this token, given its digest, or of the family that starts when the token is used now.
    fn family_of(&self, digest: &TokenDigest, now: Timestamp) -> String {
        match (&self.family, &self.spent) {
            (Some(family), _) => family.clone(),
            (None, Some(spent)) if !spent.is_timed => digest.to_string(),
            (None, Some(spent)) => refresh_family_name(spent.at, digest),
            (None, None) => refresh_family_name(now, digest),
        }
    }
}

/// Computes the successor of a used token (HMAC as a pseudorandom function, RFC 2104).
pub(super) fn successor_of(token: &Token, spent: &Spent) -> Token {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.text().as_bytes());
    let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
    let tag = hmac::sign(&key, spent.drawn.as_bytes());
    for (byte, tagged) in bytes.iter_mut().zip(tag.as_ref()) {
        *byte = *tagged;
    }
    if spent.is_timed {
        Token::from_random_at(*bytes, auth_millis(spent.at))
    } else {
        Token::from_random(*bytes)
    }
}

/// Returns when all tokens of a login expire.
fn ends(token: &RefreshToken) -> Timestamp {
    token.created_at.saturating_add(REFRESH_TOKEN_LIFETIME)
}
