//! Passwords, and what the tokens issued for them allow.

use keyproof_auth::{Cost, HashingMemory, PasswordHash};
use keyproof_store::faults::CommitMode;

use super::*;
use crate::{
    StorageError,
    otp_devices::{DEFAULT_INSTANCE, LoginError, NotPermitted, Writing},
    testing::{Bench, PASSWORD, START, administrator, bench, origin, refusal, scope, secret},
};

fn request(wanted: &str) -> TokenRequest {
    TokenRequest {
        scope: scope(wanted),
        lifetime: Lifetime::Default,
        description: None,
    }
}

/// Stores a hash of a password for the instance `shop`, as another server may.
async fn store_hash(bench: &Bench, password: &str, cost: Cost) {
    let key = instance_key("shop");
    let stored = bench.store.get::<Instance>(&key, START).await;
    let stored = stored.unwrap().unwrap();
    let hash = PasswordHash::create(
        password.as_bytes(),
        [3; 16],
        cost,
        &mut HashingMemory::new(),
    );
    let next = Instance {
        password: Some(hash.unwrap().to_phc()),
        ..stored.record
    };
    let mut batch = bench.store.batch(START);
    batch.replace(&key, stored.version, &next, None);
    bench.store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_token_is_valid_to_its_last_millisecond() {
    let bench = bench().await;
    let token = bench
        .token("shop", "all", Lifetime::For(Duration::from_millis(1_500)))
        .await;
    let session = async || bench.permitted::<AnyToken>("shop", &token).await;
    bench
        .clock
        .set(START.saturating_add(Duration::from_millis(1_499)));
    assert!(session().await.is_ok());
    bench
        .clock
        .set(START.saturating_add(Duration::from_millis(1_500)));
    assert_eq!(session().await.err(), refusal(NotPermitted::Expired));
    // For a day it was reported as expired, and not as unknown.
    bench.clock.advance(REMEMBERED);
    assert_eq!(session().await.err(), refusal(NotPermitted::TokenUnknown));
}

#[tokio::test]
async fn an_unknown_instance_comes_before_anything_about_the_token() {
    let bench = bench().await;
    let devices = &bench.service.otp_devices;
    let token = bench.token("shop", "all", Lifetime::Default).await;
    for (instance, token, expected) in [
        ("nowhere", None, NotPermitted::InstanceUnknown),
        ("nowhere", Some("x"), NotPermitted::InstanceUnknown),
        ("nowhere", Some(&*token), NotPermitted::InstanceUnknown),
        ("shop", None, NotPermitted::Missing),
        ("shop", Some("x"), NotPermitted::Malformed),
        ("default", Some(&*token), NotPermitted::TokenUnknown),
    ] {
        let refused = devices
            .permit::<AnyToken>(instance, token, None, &origin())
            .await;
        assert_eq!(refused.err(), refusal(expected), "{instance} {token:?}");
    }
}

#[tokio::test]
async fn a_login_needs_the_name_and_the_password() {
    let bench = bench().await;
    let devices = &bench.service.otp_devices;
    devices
        .add_instance(&administrator("shop"), secret(PASSWORD))
        .await
        .unwrap();
    for (instance, name, password, expected) in [
        ("nowhere", "nowhere", PASSWORD, LoginError::InstanceUnknown),
        ("shop", "default", PASSWORD, LoginError::Refused),
        ("shop", "shop", "correct hors", LoginError::Refused),
        ("shop", "shop", "", LoginError::Refused),
    ] {
        let refused = bench.log_in(instance, name, password).await;
        assert_eq!(refused.err(), refusal(expected), "{instance} {name}");
        // Three failures in a row would lock the instance.
        bench.clock.advance(DEFAULT_LIFETIME);
    }
    assert!(bench.log_in("shop", "shop", PASSWORD).await.is_ok());
    let refused = bench.times(Action::LoginTokenIssue).await;
    assert_eq!(
        refused, 3,
        "each refusal by an instance that exists is in the trail"
    );
}

#[tokio::test]
async fn scopes_only_narrow() {
    let bench = bench().await;
    let devices = &bench.service.otp_devices;
    let token = bench
        .token("shop", "readonly:refreshable", Lifetime::Default)
        .await;
    let issuer = Issuer::from(bench.permitted("shop", &token).await.unwrap());
    assert!(devices.issue(&issuer, &request("readonly")).await.is_ok());
    for more in ["all", "write", "order-simple"] {
        let refused = devices.issue(&issuer, &request(more)).await;
        assert_eq!(refused.err(), refusal(IssueError::ScopeExceeded), "{more}");
    }
    let plain = bench.token("shop", "all", Lifetime::Default).await;
    let refused = bench.permitted::<Refreshing>("shop", &plain).await;
    assert_eq!(refused.err(), refusal(NotPermitted::Forbidden));
    let refused = bench.permitted::<Writing>("shop", &token).await;
    assert_eq!(refused.err(), refusal(NotPermitted::Forbidden));
}

#[tokio::test]
async fn a_revoked_token_is_gone_and_issues_nothing() {
    let bench = bench().await;
    let devices = &bench.service.otp_devices;
    let token = bench
        .token("shop", "all:refreshable", Lifetime::Forever)
        .await;
    let session = bench.permitted::<AnyToken>("shop", &token).await.unwrap();
    let issuer = Issuer::from(bench.permitted("shop", &token).await.unwrap());
    devices.revoke(&session).await.unwrap();
    assert_eq!(
        devices.revoke(&session).await.err(),
        refusal(RevokeError::Ended)
    );
    let refused = bench.permitted::<AnyToken>("shop", &token).await;
    assert_eq!(refused.err(), refusal(NotPermitted::TokenUnknown));
    let refused = devices.issue(&issuer, &request("all")).await;
    assert_eq!(refused.err(), refusal(IssueError::Ended));
}

/// The body of a refresh may arrive after the token's end, whose record is kept for a day.
#[tokio::test]
async fn a_token_that_expires_after_its_permission_issues_nothing() {
    let bench = bench().await;
    let devices = &bench.service.otp_devices;
    let lifetime = Lifetime::For(Duration::from_millis(1_500));
    let token = bench.token("shop", "all:refreshable", lifetime).await;
    let issuer = Issuer::from(bench.permitted("shop", &token).await.unwrap());
    bench
        .clock
        .set(START.saturating_add(Duration::from_millis(1_499)));
    assert!(devices.issue(&issuer, &request("all")).await.is_ok());
    bench
        .clock
        .set(START.saturating_add(Duration::from_millis(1_500)));
    let refused = devices.issue(&issuer, &request("all")).await;
    assert_eq!(refused.err(), refusal(IssueError::Expired));
}

#[tokio::test]
async fn a_password_that_changed_after_login_issues_nothing() {
    let bench = bench().await;
    let devices = &bench.service.otp_devices;
    let issuer = bench.logged_in("shop").await;
    bench.set_password("shop", PASSWORD).await;
    let refused = devices.issue(&issuer, &request("all")).await;
    assert_eq!(refused.err(), refusal(IssueError::Ended));
}

#[tokio::test]
async fn a_login_brings_an_old_hash_up_to_the_cost_in_force() {
    let bench = bench().await;
    let token = bench.token("shop", "all", Lifetime::Forever).await;
    let dearer = Cost::insecure_for_tests(64, 2, 1).unwrap();
    store_hash(&bench, PASSWORD, dearer).await;
    assert!(bench.log_in("shop", "shop", PASSWORD).await.is_ok());
    let key = instance_key("shop");
    let stored = bench.store.get::<Instance>(&key, START).await;
    let hash = stored.unwrap().unwrap().record.password;
    assert!(hash.unwrap().contains("$m=8,t=1,p=1$"));
    assert!(bench.permitted::<AnyToken>("shop", &token).await.is_ok());
}

#[tokio::test]
async fn no_token_without_its_commit() {
    let bench = bench().await;
    let devices = &bench.service.otp_devices;
    let issuer = bench.logged_in("shop").await;
    bench.faults.commits(CommitMode::NotApplied);
    let refused = devices.issue(&issuer, &request("all")).await;
    assert!(matches!(
        refused.err(),
        Some(Failure::Storage(StorageError::NotApplied(_)))
    ));
    bench.faults.commits(CommitMode::Made);
    bench.faults.commits(CommitMode::Lost);
    let unknown = devices.issue(&issuer, &request("all")).await;
    assert!(matches!(
        unknown.err(),
        Some(Failure::Storage(StorageError::OutcomeUnknown(_)))
    ));
}

#[test]
fn descriptions_are_cut_between_characters() {
    assert_eq!(kept("till"), "till");
    assert_eq!(kept(&"é".repeat(MAX_DESCRIPTION)).len(), MAX_DESCRIPTION);
    assert_eq!(
        kept(&format!("x{}", "é".repeat(MAX_DESCRIPTION))).len(),
        MAX_DESCRIPTION - 1
    );
}

#[tokio::test]
async fn nothing_is_hashed_for_an_instance_without_a_password() {
    let bench = bench().await;
    let devices = &bench.service.otp_devices;
    let before = devices.hashing.asked();
    for user in [DEFAULT_INSTANCE, "shop", ""] {
        let refused = bench.log_in(DEFAULT_INSTANCE, user, PASSWORD).await;
        assert_eq!(refused.err(), refusal(LoginError::Refused));
    }
    assert_eq!(devices.hashing.asked(), before);
    bench.set_password(DEFAULT_INSTANCE, PASSWORD).await;
    // If there is a password, a hash is computed whatever the name is.
    for user in [DEFAULT_INSTANCE, "shop"] {
        let before = devices.hashing.asked();
        let refused = bench.log_in(DEFAULT_INSTANCE, user, "wrong horse").await;
        assert_eq!(refused.err(), refusal(LoginError::Refused));
        assert_eq!(devices.hashing.asked(), before + 1);
    }
}

#[tokio::test]
async fn a_token_of_an_earlier_release_holds_until_it_ends_and_one_with_another_time_is_unknown() {
    let bench = bench().await;
    let devices = &bench.service.otp_devices;
    let lifetime = Lifetime::For(Duration::from_secs(60));
    let token = bench.token("shop", "all", lifetime).await;
    let session = async |token: &str| bench.permitted::<AnyToken>("shop", token).await;
    for other in Bench::at_other_times(&token) {
        let refused = session(&other).await.err();
        assert_eq!(refused, refusal(NotPermitted::TokenUnknown), "{other}");
    }
    let old = bench.token_of_before::<LoginToken>("shop", &token).await;
    assert_eq!(
        session(&token).await.err(),
        refusal(NotPermitted::TokenUnknown)
    );
    let held = session(&old).await.unwrap();
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(session(&old).await.err(), refusal(NotPermitted::Expired));
    devices.revoke(&held).await.unwrap();
    assert_eq!(
        session(&old).await.err(),
        refusal(NotPermitted::TokenUnknown)
    );
}

#[tokio::test]
async fn tokens_of_an_instance_are_kept_in_order_of_time() {
    let bench = bench().await;
    let mut before = Vec::new();
    for _ in 0..8 {
        bench.token("shop", "all", Lifetime::Forever).await;
        let all = crate::otp_devices::records::all_tokens("shop");
        let found =
            bench
                .store
                .scan::<LoginToken>(&all, None, 100, crate::Clock::now(&*bench.clock));
        let found = found.await.unwrap().into_iter();
        let found: Vec<_> = found.map(|(key, _)| key).collect();
        assert_eq!(found.len(), before.len() + 1);
        assert!(found.starts_with(&before), "{found:?}");
        before = found;
        bench.clock.advance(Duration::from_millis(1));
    }
}

/// The password may change while its hash is computed. The result applies only to the old one.
#[tokio::test]
async fn a_password_that_is_changed_while_it_is_judged_lets_nobody_in() {
    let bench = bench().await;
    bench.token("shop", "all", Lifetime::Forever).await;
    let login = bench.log_in("shop", "shop", PASSWORD);
    let cost = Cost::insecure_for_tests(8, 1, 1).unwrap();
    let change = store_hash(&bench, "another horse", cost);
    let (let_in, ()) = tokio::join!(login, change);
    assert_eq!(let_in.err(), refusal(LoginError::Refused));
}
