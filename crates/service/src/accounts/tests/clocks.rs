//! Servers on one store whose clocks differ from each other and from the database's.

use std::{sync::Arc, time::Duration};

use super::{ADA, ADDRESS, DAY, add, log_in, tokens};
use crate::{
    Clock as _, ManualClock, Service, Settings,
    accounts::Role,
    testing::{Bench, PASSWORD, bench_with, cheap_hashing, command_line, origin},
};

const MINUTE: Duration = Duration::from_secs(60);

fn rotating(settings: &mut Settings) {
    settings.accounts.rotate_refresh_tokens = true;
}

/// A server with the database's clock, and another on the same store that is ahead by `ahead`, with its clock.
async fn two(ahead: Duration) -> (Bench, Arc<Service>, Arc<ManualClock>) {
    let bench = bench_with(rotating).await;
    add(&bench, ADA, Role::User).await;
    bench.faults.set_server_time(bench.clock.now());
    let clock = Arc::new(ManualClock::new(bench.clock.now().saturating_add(ahead)));
    let mut settings = Settings::from(cheap_hashing());
    rotating(&mut settings);
    let other = Service::start(bench.store.clone(), clock.clone(), settings);
    (bench, other.await.unwrap(), clock)
}

/// Such a server would treat the current signing key as expired, and date the next key in the future.
#[tokio::test]
async fn tokens_outlive_a_server_whose_clock_is_a_month_ahead() {
    let (bench, other, _) = two(DAY * 31).await;
    let accounts = &bench.service.accounts;
    let token = tokens(log_in(&bench, ADA, PASSWORD, None).await).access;
    let keys = accounts.public_keys().await.unwrap();
    assert_eq!(keys.len(), 1);
    for _ in 0..2 {
        assert_eq!(other.accounts.public_keys().await.unwrap(), keys);
        other.clean_up_once().await;
        bench.service.clean_up_once().await;
        assert!(accounts.session(Some(&token), ADDRESS).await.is_ok());
        assert_eq!(accounts.public_keys().await.unwrap(), keys);
    }
}

/// By a clock that was set forward the key has expired, and by one that was set back it is from the future.
#[tokio::test]
async fn the_key_that_signs_makes_way_only_once_the_clocks_agree() {
    let (bench, _, _) = two(Duration::ZERO).await;
    let accounts = &bench.service.accounts;
    let keys = accounts.public_keys().await.unwrap();
    let made = bench.clock.now();
    let month = DAY * 31;
    let later = made.saturating_add(month);
    for now in [made.saturating_sub(month), later] {
        bench.clock.set(now);
        assert_eq!(accounts.public_keys().await.unwrap(), keys);
    }
    bench.faults.set_server_time(later);
    assert_ne!(accounts.public_keys().await.unwrap(), keys);
}

/// Its upkeep removes and renews nothing, but it must stop signing with a revoked key.
#[tokio::test]
async fn a_server_whose_clock_is_apart_notices_that_its_key_was_ended() {
    let (bench, other, _) = two(Duration::ZERO).await;
    let holds = async || {
        let token = tokens(log_in(&bench, ADA, PASSWORD, None).await).access;
        let session = bench.service.accounts.session(Some(&token), ADDRESS).await;
        session.is_ok()
    };
    assert!(holds().await);
    bench.clock.advance(MINUTE + Duration::from_secs(1));
    let before = other.accounts.public_keys().await.unwrap();
    let (others, command) = (&other.accounts, command_line());
    let ended = others.end_signing_key(&before[0].id, &command).await;
    let signing = ended.unwrap().signing.unwrap();
    assert_eq!(bench.service.ready().await, Ok(()));
    let difference = bench.service.clock_difference().unwrap();
    assert!(difference.is_too_much(), "{difference}");

    assert!(!bench.service.clean_up_once().await);
    assert!(holds().await, "signed with {}", before[0].id);
    let keys = bench.service.accounts.public_keys().await.unwrap();
    assert_eq!((keys.len(), &keys[0].id), (1, &signing));
}

/// Of two servers that both do the upkeep, one may be a minute ahead of the database and one a minute behind.
#[tokio::test]
async fn a_refresh_token_that_is_tried_again_at_a_server_whose_clock_is_apart_is_no_copy() {
    let (bench, other, clock) = two(MINUTE).await;
    let first = tokens(log_in(&bench, ADA, PASSWORD, None).await).refresh;
    bench.clock.set(bench.clock.now().saturating_sub(MINUTE));
    for server in [&bench.service, &other] {
        assert_eq!(server.ready().await, Ok(()));
    }
    let next = async |server: &Service, token: &str| {
        let refreshed = server.accounts.refresh(token, &origin()).await;
        refreshed.unwrap().refresh.unwrap().to_string()
    };
    let second = next(&bench.service, &first).await;
    clock.advance(MINUTE - Duration::from_millis(1));
    assert_eq!(next(&other, &first).await, second);
    let third = next(&other, &second).await;
    assert_eq!(next(&bench.service, &second).await, third);
}
