//! Refresh tokens: what a login leaves behind, so that access tokens can be had for 30 days without it.
//!
//! Unless operators say otherwise one is good as often as its client likes. Where they have them *rotated*, each is
//! good once: it is spent on a successor, which ends when it would have ended itself. The tokens of one login are a
//! *family*, and a spent one that is shown again ends all of it, for somebody has a copy: the client or a thief, and
//! nobody can tell which. But a client whose answer was lost knows only the token that it has spent. For a minute,
//! and while its successor is unused, a spent token is therefore answered as it was the first time: with that very
//! successor, so that a family is one line of tokens at any time.
//!
//! The server keeps no successor's text. It is made of the spent token and of what was drawn when it was spent; so it
//! takes both to know it.

use super::{
    Accounts, AnswerError, REFRESH_TOKEN_LIFETIME, SessionId,
    access_token::Login,
    deeds::{by, deed, failed, target},
    records::{
        RefreshFamily, RefreshToken, Spent, User, UserStatus, refresh_family_key,
        refresh_family_name, refresh_token_key, user_key,
    },
    snapshot::{Snapshot, decode},
};
use crate::{
    Failure, Origin, StorageError,
    audit::Deed,
    storage::{Attempt, settle},
};
use data_encoding::HEXLOWER;
use keyproof_auth::{TOKEN_BYTES, Token, TokenDigest};
use keyproof_store::{Batch, Key, Stored, Timestamp};
use ring::hmac;
use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use zeroize::Zeroizing;

/// How long a spent token is answered as it was the first time: longer than clients wait before they try again.
const TRIED_AGAIN: Duration = Duration::from_secs(60);

/// After so many tries the use of a token is told apart from others of its hour: many at once with one token would each
/// wait for all before it.
const TRIES_TOGETHER: u32 = 3;

/// What the audit trail is told of a token that is unknown or over.
const BAD_TOKEN: &str = "Invalid refresh token";

/// What a refresh token gives.
pub struct Refreshed {
    /// For requests.
    pub access: Zeroizing<String>,
    /// The token to be used from now on, if tokens are rotated.
    pub refresh: Option<Zeroizing<String>>,
}

impl fmt::Debug for Refreshed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refreshed(..)")
    }
}

/// A token that was shown, and all that its answer rests on.
struct Shown {
    token: Token,
    place: Key,
    held: Stored<RefreshToken>,
    /// Whose it is.
    user: Option<Stored<User>>,
    family_place: Key,
    /// `None` if it has ended, or not begun: a family begins with its first token's end.
    family: Option<Stored<RefreshFamily>>,
    /// The token that it was spent on.
    successor: Option<Stored<RefreshToken>>,
    now: Timestamp,
}

/// What becomes of a token.
enum Use {
    /// It stays as good as it is.
    Again,
    /// It is spent now.
    Only,
    /// It was spent before, on this one.
    TriedAgain(Token),
    /// It was spent before, and somebody has a copy.
    Copied,
}

impl Accounts {
    /// A new access token for a refresh token, and its successor, if tokens are rotated.
    ///
    /// # Errors
    /// [`AnswerError::Refused`].
    pub async fn refresh(
        &self,
        text: &str,
        origin: &Origin,
    ) -> Result<Refreshed, Failure<AnswerError>> {
        let Ok(token) = Token::parse(text) else {
            return Err(self.refused_token(BAD_TOKEN, origin).await);
        };
        let tries = AtomicU32::new(0);
        settle("accounts.refresh", &self.store, || async {
            let alone = tries.fetch_add(1, Ordering::Relaxed) >= TRIES_TOGETHER;
            let Some(shown) = self.shown(&token).await? else {
                return Err(self.refused_token(BAD_TOKEN, origin).await);
            };
            let Some(user) = shown.holder() else {
                let name = shown.user.as_ref().map(|user| &*user.record.name);
                let deed = failed(name.unwrap_or_default(), BAD_TOKEN, origin);
                self.audit.refused(deed).await;
                return Err(Failure::Refused(AnswerError::Refused));
            };
            let signer = self.signing.signer(shown.now).await?;
            let login = shown.held.record.login(&token.digest());
            let access = self.access_token(&signer, &user.record, &login, None, shown.now)?;
            let mut batch = self.store.batch(shown.now);
            let refresh = match self.use_of(&shown, &mut batch) {
                Use::Again => {
                    self.told_use(&mut batch, &shown, user, origin, alone)
                        .await?;
                    None
                }
                Use::TriedAgain(successor) => {
                    self.told_use(&mut batch, &shown, user, origin, alone)
                        .await?;
                    Some(successor.text())
                }
                Use::Only => Some(self.spend(&mut batch, &shown, user, origin).text()),
                Use::Copied => {
                    let reason = "Refresh token used twice: all of its login end";
                    let deed = failed(&user.record.name, reason, origin);
                    self.audit.counted(&mut batch, shown.now, deed).await?;
                    if let Some(family) = &shown.family {
                        batch.remove(&shown.family_place, family.version);
                    }
                    return Ok(Attempt::Commit(batch, Err(AnswerError::Refused)));
                }
            };
            Ok(Attempt::Commit(batch, Ok(Refreshed { access, refresh })))
        })
        .await
    }

    /// Adds a login's first token.
    pub(super) fn add_refresh_token(
        &self,
        batch: &mut Batch,
        snapshot: &Snapshot,
        login: &Login,
    ) -> Token {
        let token = self.draw_token(snapshot.now);
        if let Some(user) = snapshot.active_user() {
            let record = RefreshToken {
                owner: user.owner(),
                generation: user.generation,
                key_changes: user.key_changes,
                created_at: snapshot.now,
                family: None,
                spent: None,
                sid: Some(login.sid),
                shown: login.shown,
            };
            let ends = ends(&record);
            batch.insert(&refresh_token_key(&token), &record, Some(ends));
        }
        token
    }

    async fn shown(&self, token: &Token) -> Result<Option<Shown>, StorageError> {
        let now = self.clock.now();
        let place = refresh_token_key(token);
        let Some(held) = self.store.get::<RefreshToken>(&place, now).await? else {
            return Ok(None);
        };
        let owner = held.record.owner;
        let family = held.record.family_of(&token.digest(), now);
        let family_place = refresh_family_key(owner, &family);
        let successor = held.record.spent.as_ref();
        let successor_place = successor.map(|spent| refresh_token_key(&successor_of(token, spent)));
        let has_family = !held.record.is_first();
        let mut keys = vec![user_key(owner)];
        keys.extend(has_family.then(|| family_place.clone()));
        keys.extend(successor_place);
        let mut found = self.store.get_many(&keys, now).await?.into_iter();
        let mut next = || found.next().flatten();
        let user = decode(next())?;
        let family = match has_family {
            true => decode(next())?,
            false => None,
        };
        Ok(Some(Shown {
            token: token.clone(),
            place,
            held,
            user,
            family_place,
            family,
            successor: decode(next())?,
            now,
        }))
    }

    /// A token that was spent on another gives that again only while both are as they were, and outlive this server:
    /// whoever spent it may never have learnt so.
    fn use_of(&self, shown: &Shown, batch: &mut Batch) -> Use {
        let Some(spent) = &shown.held.record.spent else {
            return match self.rotate_refresh_tokens {
                true => Use::Only,
                false => Use::Again,
            };
        };
        let is_unused = |kept: &&Stored<RefreshToken>| kept.record.spent.is_none();
        let unused = shown.successor.as_ref().filter(is_unused);
        let is_fresh = shown.now.saturating_since(spent.at) < TRIED_AGAIN;
        let Some(unused) = unused.filter(|_| is_fresh) else {
            return Use::Copied;
        };
        let successor = successor_of(&shown.token, spent);
        batch.require(&refresh_token_key(&successor), unused.version);
        Use::TriedAgain(successor)
    }

    /// Tells the audit trail that a token was used, if it and its user are still as they were read.
    async fn told_use(
        &self,
        batch: &mut Batch,
        shown: &Shown,
        user: &Stored<User>,
        origin: &Origin,
        alone: bool,
    ) -> Result<(), StorageError> {
        let held = &shown.held.record;
        batch.require(&user_key(held.owner), user.version);
        batch.require(&shown.place, shown.held.version);
        if let Some(family) = &shown.family {
            batch.require(&shown.family_place, family.version);
        }
        let login = held.login(&shown.token.digest()).sid;
        let origin = by(&user.record, origin);
        let deed = Deed {
            action: "refresh_token.use",
            target: format!("{}/session/{login}", target(&user.record)),
            detail: None,
            origin: &origin,
        };
        self.audit.used(batch, shown.now, deed, alone).await
    }

    /// Spends a token, and adds its successor.
    fn spend(
        &self,
        batch: &mut Batch,
        shown: &Shown,
        user: &Stored<User>,
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
            sid: Some(shown.held.record.login(&digest).sid),
            ..shown.held.record.clone()
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
        batch.require(&user_key(spent.owner), user.version);
        batch.replace(&shown.place, shown.held.version, &spent, ends);
        batch.insert(&refresh_token_key(&successor), &next, ends);
        match &shown.family {
            Some(family) => batch.require(&shown.family_place, family.version),
            None => {
                batch.insert(&shown.family_place, &RefreshFamily {}, ends);
            }
        }
        let origin = by(&user.record, origin);
        let deed = deed("refresh_token.rotate", &user.record, None, &origin);
        self.audit.done(batch, shown.now, deed);
        successor
    }
}

impl Shown {
    /// Whose the token is, if it holds. With a family all of its tokens have ended.
    fn holder(&self) -> Option<&Stored<User>> {
        let held = &self.held.record;
        let user = self.user.as_ref().filter(|Stored { record: user, .. }| {
            user.status == UserStatus::Active
                && user.generation == held.generation
                && user.key_changes == held.key_changes
        });
        user.filter(|_| held.is_first() || self.family.is_some())
    }
}

impl RefreshToken {
    /// Is it its login's own, and not spent? Then there is no family yet.
    const fn is_first(&self) -> bool {
        self.family.is_none() && self.spent.is_none()
    }

    /// The login that it comes from; one under an earlier release has shown nothing.
    fn login(&self, digest: &TokenDigest) -> Login {
        // Named by its first token's digest, as families were then.
        let of_earlier_release = || match &self.family {
            Some(family) => SessionId::of_login(family),
            None => SessionId::of_login(&digest.to_string()),
        };
        Login {
            sid: self.sid.unwrap_or_else(of_earlier_release),
            shown: self.shown,
        }
    }

    /// The name of the family of this token, whose digest this is, or of the one that begins with its end now.
    fn family_of(&self, digest: &TokenDigest, now: Timestamp) -> String {
        match (&self.family, &self.spent) {
            (Some(family), _) => family.clone(),
            (None, Some(spent)) if !spent.is_timed => digest.to_string(),
            (None, Some(spent)) => refresh_family_name(spent.at, digest),
            (None, None) => refresh_family_name(now, digest),
        }
    }
}

/// The token that one is spent on (HMAC as a pseudorandom function, RFC 2104).
pub(super) fn successor_of(token: &Token, spent: &Spent) -> Token {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.text().as_bytes());
    let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
    let tag = hmac::sign(&key, spent.drawn.as_bytes());
    for (byte, tagged) in bytes.iter_mut().zip(tag.as_ref()) {
        *byte = *tagged;
    }
    match spent.is_timed {
        true => Token::made_at(spent.at.as_millis(), *bytes),
        false => Token::from_random(*bytes),
    }
}

/// When all of a login's tokens end.
fn ends(token: &RefreshToken) -> Timestamp {
    token.created_at.saturating_add(REFRESH_TOKEN_LIFETIME)
}
