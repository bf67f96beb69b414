//! Tokens of operators and services: creation, listing, revocation, and authentication of each request.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use keyproof_auth::{
    Token,
    operator::{OperatorScope, OperatorScopes},
};
use keyproof_store::{
    Key, Prefix, ReadPlan, Record, Snapshot, Store, StoreError, Stored, Timestamp,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::issuers::{ExternalTokenError, Issuers};
use crate::{
    Action, Audit, Clock, CommandLine, Failure, Principal, StorageError,
    audit::{NewEvent, Target, Warrant},
    keys::{draw_token, token_name},
    pages::Pages,
    storage::{Attempt, refuse, transact},
};

/// The prefix of a token's text, which lets scanners for leaked secrets find it.
const TEXT_PREFIX: &str = "keyproof_";

/// Operators' tokens.
pub struct Access {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) audit: Arc<Audit>,
}

/// The properties of a new token.
#[derive(Clone, Debug)]
pub struct NewOperatorToken {
    /// The name of the bearer, for people.
    pub subject: String,
    /// The scopes that the token allows.
    pub scopes: OperatorScopes,
    /// The lifetime; `None` means until revoked.
    pub lifetime: Option<Duration>,
}

/// A new token, with its text, which is shown only once.
pub struct IssuedOperatorToken {
    /// The token's text, for `Authorization: Bearer`.
    pub text: Zeroizing<String>,
    /// The stored properties of the token.
    pub token: OperatorToken,
}

/// The properties of a token, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorToken {
    /// Its name in lists and in the audit trail: the first 16 hex digits of its digest.
    pub id: String,
    /// The name of the bearer.
    pub subject: String,
    /// The scopes that the token allows.
    pub scopes: OperatorScopes,
    /// When it was created.
    pub created_at: Timestamp,
    /// The first moment at which it is no longer valid; `None` means never.
    pub expires_at: Option<Timestamp>,
}

/// The bearer of a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The name in the audit trail.
    pub who: Principal,
    /// The name of the bearer.
    pub subject: String,
    /// The scopes that the token allows, possibly none.
    pub(super) scopes: Vec<OperatorScope>,
    /// The records that were read together with the token.
    pub(crate) prefetch: Prefetched,
    /// The token's record and that of the browser session, if any. Tokens of external issuers have none.
    pub(crate) warrants: Vec<Warrant>,
    /// The first moment at which an external issuer's token is no longer valid. Keyproof's own tokens end with their record.
    pub(crate) expires_at: Option<Timestamp>,
}

/// The keys to read in the same snapshot as an operator's token, for what is shown to the operator.
#[derive(Clone, Debug, Default)]
pub struct Prefetch(pub(crate) Vec<Key>);

/// The records that were read together with a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefetched(Arc<Snapshot>);

impl Prefetched {
    /// Returns the record at this key. `None`: not read with the token. `Some(None)`: read, and absent. `Some(Some(_))`: read.
    pub(crate) fn get<R: Record>(
        &self,
        place: &Key,
    ) -> Result<Option<Option<Stored<Arc<R>>>>, StoreError> {
        match self.0.get_shared(place) {
            Err(StoreError::NotRead { .. }) => Ok(None),
            read => read.map(Some),
        }
    }
}

impl Operator {
    /// Returns the scopes of the operator.
    pub fn scopes(&self) -> impl Iterator<Item = &OperatorScope> {
        self.scopes.iter()
    }

    /// Whether one of the scopes covers the needed one.
    pub fn may(&self, needed: &OperatorScope) -> bool {
        self.scopes.iter().any(|scope| scope.covers(needed))
    }
}

/// The error when an operator's scopes do not cover the action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it needs {needed}")]
pub struct OutOfScope {
    /// The missing scope.
    pub needed: OperatorScope,
}

/// The error for a token that is no operator's, has expired or was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is unknown, expired or revoked")]
pub struct NoOperator;

/// The error when a bearer is neither an operator nor authenticated by an external issuer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    /// It is neither a token of keyproof's own form nor a valid one of an issuer.
    #[error(transparent)]
    External(#[from] ExternalTokenError),
    /// It has the form of keyproof's own tokens, but is no operator's token.
    #[error(transparent)]
    Operator(#[from] NoOperator),
}

/// The error when no token is created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateTokenError {
    /// The subject is empty, too long, or contains control characters.
    #[error("a subject has 1 to 128 characters, none of them control characters")]
    Subject,
}

/// The error when no token is revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeTokenError {
    /// No token has this id.
    #[error("no token has this id")]
    Unknown,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct OperatorTokenRecord {
    id: String,
    subject: String,
    #[serde(with = "texts")]
    scopes: OperatorScopes,
    created_at: Timestamp,
    /// How often all browser sessions were ended. Sessions of an earlier generation are invalid.
    #[serde(default, skip_serializing_if = "crate::storage::is_zero")]
    pub(super) sessions: u64,
}

impl OperatorTokenRecord {
    /// Returns the token with all its sessions invalidated.
    pub(super) fn without_sessions(self) -> Self {
        Self {
            sessions: self.sessions.wrapping_add(1),
            ..self
        }
    }
}

record!(OperatorTokenRecord, "operator_token");

impl Access {
    /// Creates the use cases for this store's tokens.
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>, audit: Arc<Audit>) -> Self {
        Self {
            store,
            clock,
            audit,
        }
    }

    /// Creates a token.
    ///
    /// # Errors
    ///
    /// [`CreateTokenError`].
    pub async fn create(
        &self,
        new: NewOperatorToken,
        by: &CommandLine,
    ) -> Result<IssuedOperatorToken, Failure<CreateTokenError>> {
        let length = new.subject.chars().count();
        if !(1..=128).contains(&length) || new.subject.chars().any(char::is_control) {
            return refuse(CreateTokenError::Subject);
        }
        transact("access.create", &self.store, || async {
            let now = self.clock.now();
            let secret = draw_token(self.store.entropy(), None);
            let digest = secret.digest();
            let expires_at = new.lifetime.map(|lifetime| now.saturating_add(lifetime));
            let record = OperatorTokenRecord {
                id: token_name(&digest),
                subject: new.subject.clone(),
                scopes: new.scopes.clone(),
                created_at: now,
                sessions: 0,
            };
            let mut batch = self.store.batch(now);
            batch.insert(&token_place(&digest.to_string()), &record, expires_at);
            let token = describe(record, expires_at);
            self.audit.done(
                &mut batch,
                now,
                NewEvent {
                    action: Action::OperatorTokenCreate,
                    target: Target::OperatorToken(Some(token.id.clone())),
                    detail: Some(format!("for {:?}: {}", token.subject, token.scopes)),
                    origin: by.origin(),
                },
            );
            let issued = IssuedOperatorToken {
                text: Zeroizing::new(format!("{TEXT_PREFIX}{}", *secret.text())),
                token,
            };
            Ok(Attempt::Commit(batch, Ok(issued)))
        })
        .await
    }

    /// Authenticates a token and returns its bearer. Call it for every request, because a token may be revoked at any time.
    ///
    /// # Errors
    ///
    /// [`NoOperator`].
    pub async fn authenticate(&self, text: &str) -> Result<Operator, Failure<NoOperator>> {
        self.authenticate_with_prefetch(text, Prefetch::default())
            .await
    }

    /// Like [`authenticate`](Self::authenticate), and reads `prefetch` in the same snapshot.
    ///
    /// # Errors
    ///
    /// [`NoOperator`].
    pub async fn authenticate_with_prefetch(
        &self,
        text: &str,
        prefetch: Prefetch,
    ) -> Result<Operator, Failure<NoOperator>> {
        const NONE: Failure<NoOperator> = Failure::Refused(NoOperator);
        let token = token_of(text).map_err(Failure::Refused)?;
        let place = token_place(&token.digest().to_string());
        let plan = ReadPlan::new(prefetch.0.into_iter().chain([place.clone()]));
        let read = self.store.read(plan, self.clock.now()).await?;
        let stored = read.get_shared::<OperatorTokenRecord>(&place)?;
        let stored = stored.ok_or(NONE)?;
        Ok(operator_of(&place, &stored, Prefetched(Arc::new(read))))
    }

    /// Like [`authenticate_with_prefetch`](Self::authenticate_with_prefetch), but also accepts tokens of these issuers. `prefetch` is read only with
    /// keyproof's own tokens.
    ///
    /// # Errors
    ///
    /// [`BearerError`].
    pub async fn authenticate_with_issuers(
        &self,
        text: &str,
        issuers: &Issuers,
        prefetch: Prefetch,
    ) -> Result<Operator, Failure<BearerError>> {
        if text.starts_with(TEXT_PREFIX) {
            let operator = self.authenticate_with_prefetch(text, prefetch).await;
            operator.map_err(|failure| failure.map(BearerError::Operator))
        } else {
            let operator = issuers.authenticate(text, self.clock.now()).await;
            operator.map_err(|error| Failure::Refused(error.into()))
        }
    }

    /// Returns every valid token, in no particular order.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn list(&self) -> Result<Vec<OperatorToken>, StorageError> {
        let mut tokens = Vec::new();
        let mut pages = Pages::<OperatorTokenRecord>::of(&self.store, all_tokens());
        while let Some(page) = pages.next(self.clock.now()).await? {
            let page = page.into_iter();
            tokens.extend(page.map(|(_, stored)| describe(stored.record, stored.expires_at)));
        }
        Ok(tokens)
    }

    /// Returns the subjects of the tokens with these ids. Tokens that were revoked or have expired are absent.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn subjects_of(
        &self,
        ids: BTreeSet<&str>,
    ) -> Result<BTreeMap<String, String>, StorageError> {
        let mut subjects = BTreeMap::new();
        for id in ids {
            if let Some((_, Stored { record, .. })) = self.find(id).await? {
                subjects.insert(record.id, record.subject);
            }
        }
        Ok(subjects)
    }

    /// Revokes a token.
    ///
    /// # Errors
    ///
    /// [`RevokeTokenError`].
    pub async fn revoke(
        &self,
        id: &str,
        by: &CommandLine,
    ) -> Result<(), Failure<RevokeTokenError>> {
        transact("access.revoke", &self.store, || async {
            let Some((key, stored)) = self.find(id).await? else {
                return refuse(RevokeTokenError::Unknown);
            };
            let now = self.clock.now();
            let mut batch = self.store.batch(now);
            batch.remove(&key, stored.version);
            self.audit.done(
                &mut batch,
                now,
                NewEvent {
                    action: Action::OperatorTokenRevoke,
                    target: Target::OperatorToken(Some(id.to_owned())),
                    detail: Some(format!("of {:?}", stored.record.subject)),
                    origin: by.origin(),
                },
            );
            Ok(Attempt::Commit(batch, Ok(())))
        })
        .await
    }

    /// Finds the token with this id, which is the beginning of its digest.
    async fn find(
        &self,
        id: &str,
    ) -> Result<Option<(Key, Stored<OperatorTokenRecord>)>, StorageError> {
        let (all, before, now) = (all_tokens(), token_place(id), self.clock.now());
        let found = self.store.scan(&all, Some(&before), 1, now).await?;
        let is_it = |(_, stored): &(Key, Stored<OperatorTokenRecord>)| stored.record.id == id;
        Ok(found.into_iter().next().filter(is_it))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl fmt::Debug for IssuedOperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedOperatorToken")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// Parses the text of a token.
pub(super) fn token_of(text: &str) -> Result<Token, NoOperator> {
    let token = text.strip_prefix(TEXT_PREFIX);
    let token = token.and_then(|text| Token::parse(text).ok());
    token.ok_or(NoOperator)
}

/// Returns the key of the record of the token with this digest.
pub(super) fn token_place(digest: &str) -> Key {
    Key::new("operator_token", ["_", digest])
}

fn all_tokens() -> Prefix {
    Prefix::new("operator_token", ["_"])
}

/// Returns the bearer of a token that was read.
pub(super) fn operator_of(
    place: &Key,
    stored: &Stored<Arc<OperatorTokenRecord>>,
    prefetch: Prefetched,
) -> Operator {
    let record = &stored.record;
    Operator {
        warrants: vec![Warrant {
            place: place.clone(),
            version: stored.version,
        }],
        who: Principal::Operator {
            token: record.id.clone(),
            subject: record.subject.clone(),
        },
        subject: record.subject.clone(),
        scopes: record.scopes.iter().cloned().collect(),
        prefetch,
        expires_at: None,
    }
}

fn describe(record: OperatorTokenRecord, expires_at: Option<Timestamp>) -> OperatorToken {
    OperatorToken {
        id: record.id,
        subject: record.subject,
        scopes: record.scopes,
        created_at: record.created_at,
        expires_at,
    }
}

/// Serialises scopes as texts.
mod texts {
    use keyproof_auth::operator::OperatorScopes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        scopes: &OperatorScopes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(scopes.iter())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<OperatorScopes, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        OperatorScopes::parse(texts.iter().map(String::as_str)).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, bench, command_line};
    use keyproof_store::Prefix;

    async fn create(bench: &Bench, scopes: &[&str], lifetime: Option<u64>) -> IssuedOperatorToken {
        let new = NewOperatorToken {
            subject: "ops".to_owned(),
            scopes: OperatorScopes::parse(scopes.iter().copied()).unwrap(),
            lifetime: lifetime.map(Duration::from_secs),
        };
        let access = &bench.service.access;
        access.create(new, &command_line()).await.unwrap()
    }

    #[tokio::test]
    async fn a_token_reaches_what_its_scopes_cover() {
        let bench = bench().await;
        let issued = create(&bench, &["certificates:sub", "tpm-station"], None).await;
        assert!(issued.text.starts_with("keyproof_"));
        let operator = bench.service.access.authenticate(&issued.text).await;
        let operator = operator.unwrap();
        let who = format!("operator:{}", issued.token.id);
        assert_eq!((operator.who.to_string(), &*operator.subject), (who, "ops"));
        assert!(operator.may(&OperatorScope::certificates(["SUB", "group"])));
        assert!(operator.may(&OperatorScope::TpmStation));
        assert!(!operator.may(&OperatorScope::Admin));
    }

    #[tokio::test]
    async fn an_expired_or_revoked_token_is_unknown() {
        let bench = bench().await;
        let access = &bench.service.access;
        let (short, long) = (
            create(&bench, &["admin"], Some(10)).await,
            create(&bench, &["admin"], None).await,
        );
        bench.clock.advance(Duration::from_millis(9_999));
        assert!(access.authenticate(&short.text).await.is_ok());
        assert_eq!(access.list().await.unwrap().len(), 2);
        bench.clock.advance(Duration::from_millis(1));
        let unknown = Err(Failure::Refused(NoOperator));
        assert_eq!(access.authenticate(&short.text).await, unknown);
        assert_eq!(
            access.list().await.unwrap(),
            std::slice::from_ref(&long.token)
        );

        assert_eq!(access.revoke(&long.token.id, &command_line()).await, Ok(()));
        assert_eq!(access.authenticate(&long.text).await, unknown);
        assert_eq!(
            access.revoke(&long.token.id, &command_line()).await,
            Err(Failure::Refused(RevokeTokenError::Unknown))
        );
    }

    #[tokio::test]
    async fn a_token_is_known_by_its_id_as_long_as_it_is_valid() {
        let bench = bench().await;
        let access = &bench.service.access;
        let (short, long) = (
            create(&bench, &["admin"], Some(10)).await.token,
            create(&bench, &["tpm"], None).await.token,
        );
        let known = async || {
            let other = "0".repeat(16);
            let ids = [&*short.id, &long.id, &other, "", "x"];
            let subjects = access.subjects_of(ids.into()).await.unwrap();
            assert!(subjects.values().all(|subject| subject == "ops"));
            subjects.into_keys().collect::<BTreeSet<String>>()
        };
        let both = BTreeSet::from([short.id.clone(), long.id.clone()]);
        assert_eq!(known().await, both);
        bench.clock.advance(Duration::from_secs(10));
        assert_eq!(known().await, BTreeSet::from([long.id.clone()]));
        access.revoke(&long.id, &command_line()).await.unwrap();
        assert_eq!(known().await, BTreeSet::new());
    }

    #[tokio::test]
    async fn other_texts_are_no_tokens() {
        let bench = bench().await;
        let issued = create(&bench, &["admin"], None).await;
        let bare = issued.text.trim_start_matches(TEXT_PREFIX);
        let cut = &issued.text[..issued.text.len() - 1];
        for wrong in ["", "keyproof_", bare, cut, "secret-token:x"] {
            let refused = bench.service.access.authenticate(wrong).await;
            assert_eq!(refused, Err(Failure::Refused(NoOperator)), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn no_token_is_in_the_store_in_the_clear() {
        let bench = bench().await;
        let issued = create(&bench, &["admin"], None).await;
        let bare = issued.text.trim_start_matches(TEXT_PREFIX);
        let all = Prefix::all();
        let rows = bench
            .store
            .scan_raw(&all, None, usize::MAX, Timestamp::EPOCH)
            .await
            .unwrap();
        assert!(rows.len() > 2);
        for row in rows {
            assert!(!String::from_utf8_lossy(row.json()).contains(bare));
            assert!(!row.key().to_string().contains(bare));
        }
    }

    #[tokio::test]
    async fn subjects_are_names() {
        let bench = bench().await;
        for subject in ["", "a\nb", &"x".repeat(129)] {
            let new = NewOperatorToken {
                subject: subject.to_owned(),
                scopes: OperatorScopes::parse(["admin"]).unwrap(),
                lifetime: None,
            };
            let refused = bench.service.access.create(new, &command_line()).await;
            assert_eq!(
                refused.err(),
                Some(Failure::Refused(CreateTokenError::Subject))
            );
        }
    }
}
