use std::time::Duration;

use keyproof_auth::operator::{OperatorScope, OperatorScopes};
use keyproof_store::{Prefix, Timestamp, faults::CommitMode};

use super::*;
use crate::{
    StorageError,
    access::{IssuedOperatorToken, NewOperatorToken},
    audit::Outcome,
    testing::{Bench, bench, command_line, origin},
};

const MINUTE: Duration = Duration::from_secs(60);

async fn create(bench: &Bench, scope: &str, lifetime: Option<Duration>) -> IssuedOperatorToken {
    let new = NewOperatorToken {
        subject: "ops".to_owned(),
        scopes: OperatorScopes::parse([scope]).unwrap(),
        lifetime,
    };
    let access = &bench.service.access;
    access.create(new, &command_line()).await.unwrap()
}

async fn sign_in(bench: &Bench, token: &IssuedOperatorToken) -> Zeroizing<String> {
    let origin = origin();
    let signed = bench.service.access.sign_in(&token.text, None, &origin);
    signed.await.unwrap()
}

async fn is_live(bench: &Bench, session: &str) -> bool {
    bench.service.access.operator_session(session).await.is_ok()
}

#[tokio::test]
async fn a_session_reaches_what_its_token_does_now_and_nothing_without_it() {
    let bench = bench().await;
    let access = &bench.service.access;
    let token = create(&bench, "users-read", Some(60 * MINUTE)).await;
    let session = sign_in(&bench, &token).await;
    let seen = access.operator_session(&session).await.unwrap();
    let may = |scope: &str| {
        seen.operator()
            .may(&scope.parse::<OperatorScope>().unwrap())
    };
    assert!(may("users-read:Org") && !may("users:Org") && seen.is_fresh());
    access
        .revoke(&token.token.id, &command_line())
        .await
        .unwrap();
    assert!(!is_live(&bench, &session).await);

    let token = create(&bench, "admin", Some(10 * MINUTE)).await;
    let session = sign_in(&bench, &token).await;
    bench.clock.advance(10 * MINUTE - Duration::from_millis(1));
    assert!(is_live(&bench, &session).await);
    bench.clock.advance(Duration::from_millis(1));
    assert!(!is_live(&bench, &session).await);
}

#[tokio::test]
async fn it_ends_unused_and_after_eight_hours_even_if_the_token_is_shown_again() {
    let bench = bench().await;
    let access = &bench.service.access;
    let token = create(&bench, "admin", None).await;
    let mut session = sign_in(&bench, &token).await;
    for _ in 0..34 {
        bench.clock.advance(14 * MINUTE);
        let seen = access.operator_session(&session).await.unwrap();
        let origin = origin();
        let confirmed = access.confirm(&token.text, &session, &seen, &origin);
        session = confirmed.await.unwrap();
    }
    assert!(is_live(&bench, &session).await);
    bench.clock.advance(4 * MINUTE);
    assert!(!is_live(&bench, &session).await);

    let session = sign_in(&bench, &token).await;
    bench.clock.advance(15 * MINUTE);
    assert!(!is_live(&bench, &session).await);

    // Requests that a page makes by itself keep no session alive.
    let session = sign_in(&bench, &token).await;
    for _ in 0..14 {
        bench.clock.advance(MINUTE);
        assert!(access.peek_session(&session).await.is_ok());
    }
    bench.clock.advance(MINUTE);
    let ended = access.peek_session(&session).await;
    assert_eq!(ended.err(), Some(Failure::Refused(NoSession)));
}

#[tokio::test]
async fn it_ends_unused_after_the_clock_was_set_back_too() {
    let bench = bench().await;
    let token = create(&bench, "admin", None).await;
    let right = crate::Clock::now(&*bench.clock);
    bench.clock.advance(60 * MINUTE);
    let session = sign_in(&bench, &token).await;
    bench.clock.set(right);
    assert!(is_live(&bench, &session).await);
    bench.clock.advance(15 * MINUTE);
    assert!(!is_live(&bench, &session).await);
}

#[tokio::test]
async fn its_text_is_another_at_each_step_and_the_one_before_is_none() {
    let bench = bench().await;
    let access = &bench.service.access;
    let (token, other) = (
        create(&bench, "admin", None).await,
        create(&bench, "tpm", None).await,
    );
    let first = sign_in(&bench, &token).await;
    let second = access.sign_in(&token.text, Some(&first), &origin()).await;
    let second = second.unwrap();
    assert!(!is_live(&bench, &first).await);

    let began = crate::Clock::now(&*bench.clock);
    bench.clock.set(began.saturating_sub(5 * MINUTE));
    let seen = access.operator_session(&second).await.unwrap();
    assert!(!seen.is_fresh(), "the clock was set back");
    bench.clock.set(began.saturating_add(5 * MINUTE));
    let seen = access.operator_session(&second).await.unwrap();
    assert!(!seen.is_fresh());
    // Only the session's own token confirms it.
    for (wrong, why) in [
        (&**other.text, SignInError::Another),
        ("keyproof_x", SignInError::Unknown),
    ] {
        let refused = access.confirm(wrong, &second, &seen, &origin()).await;
        assert_eq!(refused, Err(Failure::Refused(why)));
    }
    let third = access.confirm(&token.text, &second, &seen, &origin()).await;
    let third = third.unwrap();
    assert!(!is_live(&bench, &second).await);
    assert!(access.operator_session(&third).await.unwrap().is_fresh());
    // A session that has ended cannot be confirmed.
    let late = access.confirm(&token.text, &second, &seen, &origin()).await;
    assert_eq!(late, Err(Failure::Refused(SignInError::Another)));

    access.sign_out(&third, &origin()).await.unwrap();
    assert!(!is_live(&bench, &third).await);
    access.sign_out(&third, &origin()).await.unwrap();
    access.sign_out("x", &origin()).await.unwrap();
}

#[tokio::test]
async fn all_sessions_of_a_token_end_at_once_and_the_token_stays() {
    let bench = bench().await;
    let access = &bench.service.access;
    let (token, other) = (
        create(&bench, "admin", None).await,
        create(&bench, "admin", None).await,
    );
    let (here, there) = (sign_in(&bench, &token).await, sign_in(&bench, &token).await);
    let others = sign_in(&bench, &other).await;
    let seen = access.operator_session(&here).await.unwrap();
    access.sign_out_everywhere(&seen, &origin()).await.unwrap();
    assert!(!is_live(&bench, &here).await && !is_live(&bench, &there).await);
    assert!(is_live(&bench, &others).await);
    assert!(access.authenticate(&token.text).await.is_ok());
    let again = sign_in(&bench, &token).await;
    assert!(is_live(&bench, &again).await);
}

#[tokio::test]
async fn nothing_is_changed_in_a_session_that_was_ended_meanwhile() {
    let bench = bench().await;
    let access = &bench.service.access;
    let token = create(&bench, "admin", None).await;
    let (here, there) = (sign_in(&bench, &token).await, sign_in(&bench, &token).await);
    let acting = access.session_for_change(&here).await.unwrap();
    access.sign_out(&here, &origin()).await.unwrap();
    let late = access.sign_out_everywhere(&acting, &origin()).await;
    assert_eq!(late, Err(Failure::Refused(NoSession)));
    assert!(is_live(&bench, &there).await);
    let ended = access.session_for_change(&here).await.map(|_| ());
    assert_eq!(ended, Err(Failure::Refused(NoSession)));
}

#[tokio::test]
async fn a_session_that_is_gone_is_only_told_to_be_once_that_is_durable() {
    let bench = bench().await;
    let access = &bench.service.access;
    let token = create(&bench, "admin", None).await;
    let session = sign_in(&bench, &token).await;
    access.sign_out(&session, &origin()).await.unwrap();
    bench.faults.commits(CommitMode::Lost);
    let again = access.sign_out(&session, &origin()).await;
    assert!(
        matches!(
            again,
            Err(Failure::Storage(StorageError::OutcomeUnknown(_)))
        ),
        "{again:?}"
    );
    bench.faults.commits(CommitMode::Made);
    for _ in 0..2 {
        assert_eq!(access.sign_out(&session, &origin()).await, Ok(()));
    }
    assert!(!is_live(&bench, &session).await);
}

#[tokio::test]
async fn a_change_is_not_in_the_way_of_what_is_only_looked_at() {
    let bench = bench().await;
    let access = &bench.service.access;
    let token = create(&bench, "admin", None).await;
    let session = sign_in(&bench, &token).await;
    for seconds in [45, 59, 29] {
        bench.clock.advance(Duration::from_secs(seconds));
        let acting = access.session_for_change(&session).await.unwrap();
        bench.clock.advance(Duration::from_secs(29));
        access.operator_session(&session).await.unwrap();
        let mut batch = bench.store.batch(crate::Clock::now(&*bench.clock));
        origin().by_operator(acting.operator()).require(&mut batch);
        assert_eq!(batch.len(), 2, "the token and the session");
        bench.store.commit(batch).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_that_is_revoked_while_it_is_shown_begins_no_session() {
    let bench = bench().await;
    let access = &bench.service.access;
    let token = create(&bench, "admin", None).await;
    let revoke = async {
        access
            .revoke(&token.token.id, &command_line())
            .await
            .unwrap();
    };
    let begun = bench.faults.overtake(
        async { access.sign_in(&token.text, None, &origin()).await },
        revoke,
    );
    assert_eq!(begun.await, Err(Failure::Refused(SignInError::Unknown)));
    let all = bench.service.audit.events(Timestamp::EPOCH, None).await;
    let begun = all.unwrap().into_iter().map(|(_, event)| event);
    let begun = begun.filter(|event| event.action == "operator_session.begin");
    let outcomes: Vec<_> = begun.map(|event| event.outcome).collect();
    assert_eq!(outcomes, [Outcome::Refused]);
}

#[tokio::test]
async fn what_is_tried_is_in_the_trail_and_no_secret_in_the_store() {
    let bench = bench().await;
    let access = &bench.service.access;
    let token = create(&bench, "admin", None).await;
    for wrong in ["", "x", "keyproof_", &token.text[..token.text.len() - 1]] {
        let refused = access.sign_in(wrong, None, &origin()).await;
        assert_eq!(
            refused,
            Err(Failure::Refused(SignInError::Unknown)),
            "{wrong}"
        );
    }
    let session = sign_in(&bench, &token).await;
    let all = bench.service.audit.events(Timestamp::EPOCH, None).await;
    let begun = all.unwrap().into_iter().map(|(_, event)| event);
    let begun = begun.filter(|event| event.action == "operator_session.begin");
    let told: Vec<_> = begun.map(|event| (event.outcome, event.who)).collect();
    let done = (Outcome::Done, format!("operator:{}", token.token.id));
    assert!(told.contains(&done), "{told:?}");
    let refused = told
        .iter()
        .filter(|(outcome, _)| *outcome == Outcome::Refused);
    assert_eq!(refused.count(), 4, "{told:?}");

    let rows = bench
        .store
        .scan_raw(&Prefix::all(), None, usize::MAX, Timestamp::EPOCH)
        .await;
    let bare = token.text.trim_start_matches("keyproof_");
    for row in rows.unwrap() {
        let text = format!("{}{}", row.key(), String::from_utf8_lossy(row.json()));
        assert!(!text.contains(bare) && !text.contains(&**session), "{text}");
    }
}

#[tokio::test]
async fn a_restore_ends_it() {
    let bench = bench().await;
    let token = create(&bench, "admin", None).await;
    let session = sign_in(&bench, &token).await;
    let (restored, ended) = bench.restored(Duration::ZERO).await;
    assert_eq!(ended.get(&crate::Ended::Sessions), Some(&1));
    assert!(!is_live(&restored, &session).await);
}
