//! The cache of verified access tokens.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{ADA, ADDRESS, change, signed_in, tokens_of, with_ada};
use crate::{
    Clock,
    Failure::{self, Refused},
    access::digest_of,
    accounts::{
        Session, SessionError, UserChange,
        access_token::Claims,
        signing_key::{self, PUBLISHED},
    },
    testing::Bench,
};

/// Ada and one of her access tokens.
async fn ada() -> (Bench, String) {
    let bench = with_ada().await;
    let given = tokens_of(&bench, ADA).await;
    (bench, given.access.to_string())
}

async fn asked(bench: &Bench, token: &str) -> Result<Session, Failure<SessionError>> {
    let accounts = &bench.service.accounts;
    accounts.session(Some(token), ADDRESS).await
}

async fn remove_key(bench: &Bench, id: &str) {
    let now = bench.clock.now();
    let place = signing_key::place(id);
    let found = bench
        .store
        .get_many(std::slice::from_ref(&place), now)
        .await
        .unwrap();
    let mut batch = bench.store.batch(now);
    batch.remove(&place, found[0].as_ref().unwrap().version());
    bench.store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_token_is_verified_once_and_its_user_asked_for_each_time() {
    let (bench, token) = ada().await;
    let accounts = &bench.service.accounts;
    assert_eq!(accounts.verified.len(), 0);
    for _ in 0..3 {
        assert_eq!(asked(&bench, &token).await.unwrap().name(), ADA);
        assert_eq!(accounts.verified.len(), 1);
    }
    // A cached text is accepted without checking its signature.
    let claims = accounts.verified.get(&digest_of(&token)).unwrap();
    accounts
        .verified
        .remember(digest_of("x.y.z"), Arc::clone(&claims));
    assert!(asked(&bench, "x.y.z").await.is_ok());
    change(&bench, ADA, UserChange::Suspend).await;
    for token in [&token, "x.y.z"] {
        let refused = asked(&bench, token).await.err();
        assert_eq!(refused, Some(Refused(SessionError::Invalid)));
    }
}

#[tokio::test]
async fn a_remembered_token_ends_at_its_time() {
    let (bench, token) = ada().await;
    bench.clock.advance(Duration::from_secs(240 * 60 - 1));
    assert!(asked(&bench, &token).await.is_ok());
    assert_eq!(bench.service.accounts.verified.len(), 1);
    bench.clock.advance(Duration::from_secs(1));
    for _ in 0..2 {
        let refused = asked(&bench, &token).await.err();
        assert_eq!(refused, Some(Refused(SessionError::Expired)));
        assert_eq!(bench.service.accounts.verified.len(), 0);
    }
}

#[tokio::test]
async fn a_token_ends_with_its_key_whether_or_not_it_is_remembered() {
    let (bench, token) = ada().await;
    let fresh = tokens_of(&bench, ADA).await.access;
    assert!(asked(&bench, &token).await.is_ok());
    let now = bench.clock.now();
    let accounts = &bench.service.accounts;
    let signer = accounts.signing.signer(now).await.unwrap();
    remove_key(&bench, &signer.id).await;
    for token in [&token, &*fresh] {
        let refused = asked(&bench, token).await.err();
        assert_eq!(refused, Some(Refused(SessionError::Invalid)));
    }
}

#[tokio::test]
async fn a_key_verifies_nothing_once_its_published_time_is_over() {
    let (bench, token) = ada().await;
    let own = session_of(&bench, &token).await;
    let accounts = &bench.service.accounts;
    let now = bench.clock.now();
    let signer = accounts.signing.signer(now).await.unwrap();
    // Valid for longer than any issued token.
    let claims: Claims = serde_json::from_value(json!({
        "sub": own.owner.user.to_string(), "org": own.owner.organisation, "role": "User",
        "gen": own.generation, "iat": now.as_secs(), "exp": now.as_secs() + 2 * PUBLISHED.as_secs(),
    }))
    .unwrap();
    let [remembered, fresh] = [(); 2].map(|()| signer.sign(&claims).unwrap());
    bench.clock.advance(PUBLISHED - Duration::from_secs(1));
    assert!(asked(&bench, &remembered).await.is_ok());
    let verifier = async || {
        let at = bench.clock.now();
        accounts.signing.verifier(&signer.id, at).await.unwrap()
    };
    assert!(verifier().await.is_some());
    bench.clock.advance(Duration::from_secs(1));
    assert!(verifier().await.is_none());
    for token in [remembered, fresh] {
        let refused = asked(&bench, &token).await.err();
        assert_eq!(refused, Some(Refused(SessionError::Invalid)));
    }
}

async fn session_of(bench: &Bench, token: &str) -> Session {
    asked(bench, token).await.unwrap()
}

#[tokio::test]
async fn what_did_not_verify_is_not_remembered() {
    let (bench, token) = ada().await;
    let (other, stranger) = ada().await;
    signed_in(&other, ADA).await;
    let cut = &token[..token.len() - 4];
    for wrong in ["", "x.y.z", cut, &format!("{token}A"), &stranger] {
        for _ in 0..2 {
            let refused = asked(&bench, wrong).await.err();
            assert_eq!(refused, Some(Refused(SessionError::Invalid)), "{wrong}");
        }
    }
    assert_eq!(bench.service.accounts.verified.len(), 0);
}
