//! Tokens that contain their time of creation, and those of earlier releases, which do not.

use std::{sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use keyproof_auth::Token;
use keyproof_store::{Key, Prefix, Record, Stored};

use super::{
    ADA, ADDRESS, DAY, add, answer_challenge, asks, challenge, enrol, log_in, signed_in, tokens_of,
    with_ada,
};
use crate::{
    Clock,
    Failure::Refused,
    Service, Settings,
    accounts::{
        AnswerError, ApplicationLoginError, Role,
        records::{
            ApplicationTokenText, ChallengeRecord, RefreshFamily, RefreshToken, Spent,
            refresh_token_key,
        },
        refresh::successor_of,
    },
    testing::{Bench, PASSWORD, bench, bench_with, origin},
};

async fn rotating(bench: &Bench) -> Arc<Service> {
    let rotate = |settings: &mut Settings| settings.accounts.rotate_refresh_tokens = true;
    bench.another(rotate).await
}

async fn keys<R: Record>(bench: &Bench) -> Vec<Key> {
    let all = Prefix::collection(R::TYPE);
    let now = bench.clock.now();
    let found = bench.store.scan::<R>(&all, None, 100, now).await.unwrap();
    found.into_iter().map(|(key, _)| key).collect()
}

#[tokio::test]
async fn challenges_of_an_earlier_release_are_answered_and_end() {
    let bench = with_ada().await;
    let (phone, ..) = enrol(&bench, ADA).await;
    let old = async || {
        let asked = challenge(log_in(&bench, ADA, PASSWORD, None).await);
        bench.token_of_before::<ChallengeRecord>("_", &asked).await
    };
    let asked = old().await;
    let code = phone.shows(bench.clock.now());
    let answer = async |code| answer_challenge(&bench, &asked, code, None).await;
    assert!(answer(&code).await.is_ok());
    assert_eq!(
        answer(&code).await.err(),
        Some(Refused(AnswerError::Refused))
    );
    assert_eq!(old().await, asked);
    bench.clock.advance(Duration::from_secs(600));
    let code = phone.shows(bench.clock.now());
    assert_eq!(
        answer(&code).await.err(),
        Some(Refused(AnswerError::Refused))
    );
}

#[tokio::test]
async fn refresh_tokens_of_an_earlier_release_are_good_until_they_end() {
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let given = tokens_of(&bench, ADA).await;
    let old = bench
        .token_of_before::<RefreshToken>("_", &given.refresh)
        .await;
    let moved = accounts.refresh(&given.refresh, &origin()).await;
    assert_eq!(moved.err(), Some(Refused(AnswerError::Refused)));
    bench.clock.advance(DAY * 30 - Duration::from_secs(1));
    assert!(accounts.refresh(&old, &origin()).await.is_ok());
    bench.clock.advance(Duration::from_secs(1));
    let over = accounts.refresh(&old, &origin()).await;
    assert_eq!(over.err(), Some(Refused(AnswerError::Refused)));
}

#[tokio::test]
async fn application_tokens_of_an_earlier_release_are_good() {
    let bench = bench().await;
    add(&bench, ADA, Role::Administrator).await;
    let accounts = asks(&bench);
    let ada = signed_in(&bench, ADA).await;
    let text = accounts.application_token(&ada).await;
    let text = text.unwrap();
    let log_in = async |text: &str| accounts.application_login(text, ADDRESS, &origin()).await;
    for other in Bench::at_other_times(&text) {
        assert_eq!(
            log_in(&other).await.err(),
            Some(Refused(ApplicationLoginError::Refused)),
            "{other}"
        );
    }
    assert!(log_in(&text).await.is_ok());
    let old = bench
        .token_of_before::<ApplicationTokenText>("_", &text)
        .await;
    assert!(log_in(&old).await.is_ok());
}

#[tokio::test]
async fn a_token_whose_time_was_altered_is_unknown() {
    let bench = with_ada().await;
    let (phone, ..) = enrol(&bench, ADA).await;
    let accounts = &bench.service.accounts;
    let asked = challenge(log_in(&bench, ADA, PASSWORD, None).await);
    let code = phone.shows(bench.clock.now());
    for other in Bench::at_other_times(&asked) {
        let refused = answer_challenge(&bench, &other, &code, None).await;
        assert_eq!(
            refused.err(),
            Some(Refused(AnswerError::Refused)),
            "{other}"
        );
    }
    let given = answer_challenge(&bench, &asked, &code, None).await;
    let given = given.unwrap();
    for other in Bench::at_other_times(&given.refresh) {
        let refused = accounts.refresh(&other, &origin()).await;
        assert_eq!(
            refused.err(),
            Some(Refused(AnswerError::Refused)),
            "{other}"
        );
    }
    assert!(accounts.refresh(&given.refresh, &origin()).await.is_ok());
}

#[tokio::test]
async fn what_logins_leave_is_kept_in_order_of_time() {
    let bench = bench_with(|settings| settings.accounts.rotate_refresh_tokens = true).await;
    add(&bench, ADA, Role::User).await;
    let (phone, ..) = enrol(&bench, ADA).await;
    let accounts = &bench.service.accounts;
    // Every further login's records of these kinds sort after the existing ones.
    let (mut challenges, mut refreshes, mut families) = (Vec::new(), Vec::new(), Vec::new());
    let added = async |before: &mut Vec<Key>, after: Vec<Key>, count: usize| {
        assert_eq!(after.len(), before.len() + count);
        assert!(after.starts_with(before), "{after:?}");
        *before = after;
    };
    refreshes.extend(keys::<RefreshToken>(&bench).await);
    for _ in 0..8 {
        bench.clock.advance(super::STEP);
        let asked = challenge(log_in(&bench, ADA, PASSWORD, None).await);
        added(&mut challenges, keys::<ChallengeRecord>(&bench).await, 1).await;
        let code = phone.shows(bench.clock.now());
        let given = answer_challenge(&bench, &asked, &code, None).await;
        let given = given.unwrap();
        challenges = keys::<ChallengeRecord>(&bench).await;
        added(&mut refreshes, keys::<RefreshToken>(&bench).await, 1).await;
        bench.clock.advance(Duration::from_millis(1));
        let next = accounts
            .refresh(&given.refresh, &origin())
            .await
            .unwrap()
            .refresh
            .unwrap();
        added(&mut refreshes, keys::<RefreshToken>(&bench).await, 1).await;
        added(&mut families, keys::<RefreshFamily>(&bench).await, 1).await;
        accounts.refresh(&next, &origin()).await.unwrap();
        refreshes = keys::<RefreshToken>(&bench).await;
    }
}

/// A login's first token as the previous release stored it: without session and time.
async fn first_of_before(bench: &Bench) -> (String, Key) {
    let given = tokens_of(bench, ADA).await;
    let old = bench
        .token_of_before::<RefreshToken>("_", &given.refresh)
        .await;
    let place = refresh_token_key(&Token::parse(&old).unwrap());
    change(bench, &place, |record| record.sid = None).await;
    (old, place)
}

async fn kept(bench: &Bench, place: &Key) -> Stored<RefreshToken> {
    let stored = bench.store.get(place, bench.clock.now()).await;
    stored.unwrap().unwrap()
}

async fn change(bench: &Bench, place: &Key, change: impl FnOnce(&mut RefreshToken)) {
    let stored = kept(bench, place).await;
    let mut next = stored.record;
    change(&mut next);
    let mut batch = bench.store.batch(bench.clock.now());
    batch.replace(place, stored.version, &next, stored.expires_at);
    bench.store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_login_of_before_is_one_session_when_its_token_is_spent() {
    let bench = with_ada().await;
    let (first, _) = first_of_before(&bench).await;
    let accounts = &bench.service.accounts;
    let sid = async |access: &str| accounts.session(Some(access), ADDRESS).await.unwrap().sid();
    let before = accounts.refresh(&first, &origin()).await.unwrap();
    let before = sid(&before.access).await;
    let service = rotating(&bench).await;
    let mut token = first.clone();
    for _ in 0..3 {
        bench.clock.advance(Duration::from_secs(1));
        let spent = service.accounts.refresh(&token, &origin()).await.unwrap();
        assert_eq!(sid(&spent.access).await, before);
        // The client retries as if the answer was lost.
        let again = service.accounts.refresh(&token, &origin()).await.unwrap();
        assert_eq!(sid(&again.access).await, before);
        assert_eq!(again.refresh, spent.refresh);
        token = spent.refresh.unwrap().to_string();
    }
    // A copy of the first token revokes all of them.
    let copied = service.accounts.refresh(&first, &origin()).await;
    assert_eq!(copied.err(), Some(Refused(AnswerError::Refused)));
    let ended = service.accounts.refresh(&token, &origin()).await;
    assert_eq!(ended.err(), Some(Refused(AnswerError::Refused)));
}

#[tokio::test]
async fn a_token_that_an_earlier_release_spent_gives_its_successor_for_the_rest_of_the_minute() {
    let bench = with_ada().await;
    let (first, place) = first_of_before(&bench).await;
    let (next, next_place, family) = spent_before(&bench, &first, &place).await;
    let service = rotating(&bench).await;
    let again = service.accounts.refresh(&first, &origin()).await.unwrap();
    assert_eq!(again.refresh.as_deref(), Some(&next));
    let third = service.accounts.refresh(&next, &origin()).await.unwrap();
    let third = third.refresh.unwrap();
    assert_eq!(third.len(), 52);
    kept(&bench, &next_place).await;
    assert_eq!(keys::<RefreshFamily>(&bench).await, [family]);
    // A copy revokes them all, whichever release issued them.
    let copied = service.accounts.refresh(&first, &origin()).await;
    assert_eq!(copied.err(), Some(Refused(AnswerError::Refused)));
    let ended = service.accounts.refresh(&third, &origin()).await;
    assert_eq!(ended.err(), Some(Refused(AnswerError::Refused)));
}

/// Uses up a first token as an earlier release did. Returns its successor, and the keys of successor and family.
async fn spent_before(bench: &Bench, first: &str, place: &Key) -> (String, Key, Key) {
    let now = bench.clock.now();
    let first = Token::parse(first).unwrap();
    let spent: Spent = serde_json::from_value(serde_json::json!({
        "at": now,
        "drawn": HEXLOWER.encode(&[9; 32]),
    }))
    .unwrap();
    let next = successor_of(&first, &spent);
    let stored = kept(bench, place).await;
    let owner = stored.record.owner;
    let digest = first.digest().to_string();
    let record = RefreshToken {
        family: Some(digest.clone()),
        ..stored.record
    };
    change(bench, place, |record| record.spent = Some(spent)).await;
    let next_place = Key::new("refresh_token", ["_", &next.digest().to_string()]);
    let (organisation, user) = (owner.organisation.to_string(), owner.user.to_string());
    let family = Key::new("refresh_family", [&organisation, &user, &digest]);
    let mut batch = bench.store.batch(now);
    batch.insert(&next_place, &record, stored.expires_at);
    batch.insert(&family, &RefreshFamily {}, stored.expires_at);
    bench.store.commit(batch).await.unwrap();
    (next.text().to_string(), next_place, family)
}
