//! Rotated refresh tokens.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use keyproof_store::faults::CommitMode;

use super::{ADA, ADDRESS, DAY, add, change, set_password, tokens_of};
use crate::{
    Failure::{self, Refused},
    StorageError,
    accounts::{AnswerError, Role, UserChange},
    audit::Outcome,
    testing::{Bench, PASSWORD, bench_with, origin},
};

/// A minute, plus two for clock differences.
const AGAIN: Duration = Duration::from_secs(3 * 60);

/// A store with rotated tokens, and the first token of Ada's login.
async fn ada() -> (Arc<Bench>, String) {
    let bench = bench_with(|settings| settings.accounts.rotate_refresh_tokens = true).await;
    add(&bench, ADA, Role::User).await;
    let first = first(&bench).await;
    (Arc::new(bench), first)
}

async fn first(bench: &Bench) -> String {
    let given = tokens_of(bench, ADA).await;
    given.refresh.to_string()
}

/// The successor, after checking the access token.
async fn refresh(bench: &Bench, token: &str) -> Result<String, Failure<AnswerError>> {
    let accounts = &bench.service.accounts;
    let refreshed = accounts.refresh(token, &origin()).await?;
    let session = accounts.session(Some(&refreshed.access), ADDRESS).await;
    assert_eq!(session.unwrap().name(), ADA);
    Ok(refreshed.refresh.unwrap().to_string())
}

#[track_caller]
fn refused(answer: &Result<String, Failure<AnswerError>>) {
    assert_eq!(answer.as_ref().err(), Some(&Refused(AnswerError::Refused)));
}

/// How many rotations and ended families were recorded.
async fn told(bench: &Bench) -> (usize, usize) {
    let trail = &bench.service.audit;
    let events = trail.events(crate::testing::START, None).await.unwrap();
    let count = |outcome, says: &str| {
        let events = events.iter().map(|(_, event)| event);
        events
            .filter(|event| {
                let detail = event.detail.as_deref().unwrap_or_default();
                event.outcome == outcome && (event.action == says || detail.contains(says))
            })
            .count()
    };
    (
        count(Outcome::Done, "refresh_token.rotate"),
        count(Outcome::Refused, "RefreshTokenCopied"),
    )
}

#[tokio::test]
async fn each_token_gives_its_successor_until_the_login_is_30_days_old() {
    let (bench, mut token) = ada().await;
    let mut seen = BTreeSet::from([token.clone()]);
    for _ in 0..30 {
        token = refresh(&bench, &token).await.unwrap();
        assert!(seen.insert(token.clone()));
        bench.clock.advance(DAY - Duration::from_secs(1));
    }
    bench.clock.advance(Duration::from_secs(29));
    token = refresh(&bench, &token).await.unwrap();
    bench.clock.advance(Duration::from_secs(1));
    refused(&refresh(&bench, &token).await);
    assert_eq!(told(&bench).await, (31, 0));
}

#[tokio::test]
async fn a_client_whose_answer_was_lost_is_answered_the_same_for_a_while() {
    let (bench, first) = ada().await;
    // The change is committed, but the client gets an error. A retry fails as well, as long as it is unknown whether the change is
    // durable.
    bench.faults.commits(CommitMode::Lost);
    for _ in 0..2 {
        let lost = refresh(&bench, &first).await.err();
        assert!(matches!(
            lost,
            Some(Failure::Storage(StorageError::OutcomeUnknown(_)))
        ));
    }
    bench.faults.commits(CommitMode::Made);
    let second = refresh(&bench, &first).await.unwrap();
    bench.clock.advance(AGAIN - Duration::from_millis(1));
    assert_eq!(refresh(&bench, &first).await, Ok(second.clone()));
    assert_eq!(told(&bench).await, (1, 0));
    refresh(&bench, &second).await.unwrap();
}

#[tokio::test]
async fn a_spent_token_ends_its_family_once_that_while_is_over() {
    let (bench, mine) = ada().await;
    let other = first(&bench).await;
    let second = refresh(&bench, &mine).await.unwrap();
    bench.clock.advance(AGAIN);
    refused(&refresh(&bench, &mine).await);
    for token in [&mine, &second, &mine] {
        refused(&refresh(&bench, token).await);
    }
    assert_eq!(told(&bench).await, (1, 1));
    // Tokens of another login belong to another family.
    let next = refresh(&bench, &other).await.unwrap();
    refresh(&bench, &next).await.unwrap();
}

#[tokio::test]
async fn a_spent_token_ends_its_family_once_its_successor_was_used() {
    let (bench, first) = ada().await;
    let second = refresh(&bench, &first).await.unwrap();
    let third = refresh(&bench, &second).await.unwrap();
    assert_eq!(refresh(&bench, &second).await, Ok(third.clone()));
    refused(&refresh(&bench, &first).await);
    for token in [&first, &second, &third] {
        refused(&refresh(&bench, token).await);
    }
    assert_eq!(told(&bench).await, (2, 1));
}

#[tokio::test]
async fn many_at_once_with_one_token_are_one_rotation() {
    let (bench, first) = ada().await;
    let answers: Vec<_> = (0..100)
        .map(|_| {
            let (bench, first) = (Arc::clone(&bench), first.clone());
            tokio::spawn(async move { refresh(&bench, &first).await.unwrap() })
        })
        .collect();
    let mut successors = BTreeSet::new();
    for answer in answers {
        successors.insert(answer.await.unwrap());
    }
    assert_eq!(successors.len(), 1);
    assert_eq!(told(&bench).await, (1, 0));
    refresh(&bench, successors.first().unwrap()).await.unwrap();
}

#[tokio::test]
async fn an_end_that_overtakes_a_rotation_wins() {
    let (bench, first) = ada().await;
    let second = refresh(&bench, &first).await.unwrap();
    bench.clock.advance(AGAIN);
    let slow = refresh(&bench, &second);
    let overtaken = bench.faults.overtake(slow, async {
        refused(&refresh(&bench, &first).await);
    });
    refused(&overtaken.await);
    assert_eq!(told(&bench).await, (1, 1));

    // The other way round, the family ends with all its later tokens.
    let first = self::first(&bench).await;
    let second = refresh(&bench, &first).await.unwrap();
    bench.clock.advance(AGAIN);
    let slow = refresh(&bench, &first);
    let mut third = String::new();
    let overtaken = bench.faults.overtake(slow, async {
        third = refresh(&bench, &second).await.unwrap();
    });
    refused(&overtaken.await);
    refused(&refresh(&bench, &third).await);
}

#[tokio::test]
async fn a_suspension_that_overtakes_a_rotation_wins() {
    let (bench, first) = ada().await;
    let slow = refresh(&bench, &first);
    let overtaken = bench.faults.overtake(slow, async {
        change(&bench, ADA, UserChange::Suspend).await;
    });
    refused(&overtaken.await);
    assert_eq!(told(&bench).await, (0, 0));
}

#[tokio::test]
async fn all_of_a_family_ends_with_the_password() {
    let (bench, first) = ada().await;
    let second = refresh(&bench, &first).await.unwrap();
    set_password(&bench, ADA, PASSWORD).await;
    refused(&refresh(&bench, &first).await);
    refused(&refresh(&bench, &second).await);
    assert_eq!(told(&bench).await, (1, 0));
}

#[tokio::test]
async fn what_was_spent_stays_so_when_rotation_is_switched_off() {
    let (bench, first) = ada().await;
    let second = refresh(&bench, &first).await.unwrap();
    let service = bench.another(|_| {}).await;
    for _ in 0..2 {
        let refreshed = service.accounts.refresh(&second, &origin()).await.unwrap();
        assert!(refreshed.refresh.is_none());
    }
    // Rotation continues where it is enabled.
    let third = refresh(&bench, &second).await.unwrap();
    let copied = service.accounts.refresh(&first, &origin()).await;
    assert_eq!(copied.err(), Some(Refused(AnswerError::Refused)));
    let ended = service.accounts.refresh(&third, &origin()).await;
    assert_eq!(ended.err(), Some(Refused(AnswerError::Refused)));
}

#[tokio::test]
async fn a_token_of_before_is_rotated_too() {
    let bench = bench_with(|_| {}).await;
    add(&bench, ADA, Role::User).await;
    let old = first(&bench).await;
    let unrotated = bench.service.accounts.refresh(&old, &origin()).await;
    assert!(unrotated.unwrap().refresh.is_none());
    let rotate = |settings: &mut crate::Settings| settings.accounts.rotate_refresh_tokens = true;
    let service = bench.another(rotate).await;
    let refreshed = service.accounts.refresh(&old, &origin()).await.unwrap();
    let next = refreshed.refresh.unwrap();
    assert_ne!(*next, old);
    service.accounts.refresh(&next, &origin()).await.unwrap();
}
