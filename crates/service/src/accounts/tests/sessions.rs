//! What a session is known by, and what it has shown.

use super::{add, challenge, enrol, laptop, log_in, session, tokens};
use crate::{
    Clock,
    accounts::{
        Role, Session, SessionId, Tokens,
        access_token::{Claims, Login},
        records::{RefreshToken, refresh_token_key},
    },
    testing::{Bench, PASSWORD, bench, bench_with, origin},
};
use keyproof_auth::Token;
use keyproof_mfa::{Shown, ShownFactor};
use serde_json::json;

const ADA: &str = "ada@example.org";

/// What an access token says of its login.
async fn said(bench: &Bench, access: &str) -> Login {
    let claims = bench.service.accounts.claims(access).await.unwrap();
    claims.login(claims.owner().unwrap())
}

/// An access token of a release that did not know of sessions.
async fn of_earlier_release(bench: &Bench, session: &Session) -> String {
    let now = bench.clock.now();
    let claims = json!({
        "sub": session.owner.user.to_string(), "org": session.owner.organisation, "role": "User",
        "gen": session.generation, "iat": now.as_secs(), "exp": now.as_secs() + 60,
    });
    let claims: Claims = serde_json::from_value(claims).unwrap();
    let signer = bench.service.accounts.signing.signer(now).await.unwrap();
    signer.sign(&claims).unwrap().to_string()
}

#[tokio::test]
async fn a_session_keeps_its_id_and_what_it_has_shown_over_refreshes() {
    for rotates in [false, true] {
        let bench = bench_with(|settings| settings.accounts.rotate_refresh_tokens = rotates).await;
        add(&bench, ADA, Role::User).await;
        let accounts = &bench.service.accounts;
        let alone = tokens(log_in(&bench, ADA, PASSWORD, None).await);
        assert_eq!(said(&bench, &alone.access).await.shown, None);
        let (phone, ..) = enrol(&bench, ADA).await;
        let at = bench.clock.now();
        let asked = challenge(log_in(&bench, ADA, PASSWORD, None).await);
        let answered = accounts
            .answer_challenge(&asked, &phone.shows(at), Some(&laptop()), &origin())
            .await
            .unwrap();
        let login = said(&bench, &answered.access).await;
        let shown = login.shown.unwrap();
        assert_eq!(shown.factor, ShownFactor::Code);
        assert_eq!(shown.at.as_secs(), at.as_secs());
        let mut refresh = answered.refresh.to_string();
        for _ in 0..3 {
            bench.clock.advance(super::STEP);
            let refreshed = accounts.refresh(&refresh, &origin()).await.unwrap();
            assert_eq!(said(&bench, &refreshed.access).await, login);
            refresh = refreshed.refresh.map_or(refresh, |next| next.to_string());
        }
        // A trusted device shows nothing, and each login is a session of its own.
        let device = tokens(log_in(&bench, ADA, PASSWORD, Some("laptop")).await);
        let device = said(&bench, &device.access).await;
        assert_eq!(device.shown, None);
        assert_ne!(device.sid, login.sid);
    }
}

#[tokio::test]
async fn tokens_of_earlier_releases_have_shown_nothing_and_are_one_session() {
    let bench = bench().await;
    add(&bench, ADA, Role::User).await;
    let accounts = &bench.service.accounts;
    let given: Tokens = tokens(log_in(&bench, ADA, PASSWORD, None).await);
    let new = session(&bench, &given).await;
    let mut sids = Vec::<SessionId>::new();
    for _ in 0..2 {
        let access = of_earlier_release(&bench, &new).await;
        assert_eq!(said(&bench, &access).await.shown, None);
        sids.push(said(&bench, &access).await.sid);
        bench.clock.advance(super::STEP);
    }
    assert_eq!(sids[0], sids[1]);
    assert_ne!(sids[0], new.sid());

    // Its refresh token, as an earlier release left it.
    let place = refresh_token_key(&Token::parse(&given.refresh).unwrap().digest());
    let now = bench.clock.now();
    let stored = bench.store.get::<RefreshToken>(&place, now).await.unwrap();
    let stored = stored.unwrap();
    let old = RefreshToken {
        sid: None,
        shown: None,
        ..stored.record
    };
    let members = serde_json::to_value(&old).unwrap();
    assert_eq!(
        members.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["created_at", "generation", "key_changes", "owner"]
    );
    let mut batch = bench.store.batch(now);
    batch.replace(&place, stored.version, &old, None);
    bench.store.commit(batch).await.unwrap();
    let mut of_login = Vec::new();
    for _ in 0..2 {
        let refreshed = accounts.refresh(&given.refresh, &origin()).await.unwrap();
        let login = said(&bench, &refreshed.access).await;
        assert_eq!(login.shown, None::<Shown>);
        of_login.push(login.sid);
    }
    assert_eq!(of_login[0], of_login[1]);
    assert!(!sids.contains(&of_login[0]));
}
