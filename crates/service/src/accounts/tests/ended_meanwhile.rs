//! Changes are refused if the session, or the key that signed its token, has ended meanwhile.

use std::time::Duration;

use keyproof_store::faults::CommitMode;

use super::{
    ADA, LOCK, asks, command_line, in_browser, session, set_password, signed_in, tokens_of,
    with_ada,
};
use crate::{
    Action,
    Failure::{Refused, Storage},
    StorageError,
    accounts::{ChangePasswordError, PasswordRefused, Session, SessionError, SessionRefused},
    testing::{Bench, PASSWORD, origin},
};

/// Tries to change Ada's password in a session that has ended: the correct password changes nothing, and wrong ones are counted.
async fn changes_nothing(bench: &Bench, session: &Session) {
    let change = async |old: &str| {
        let changed = asks(bench).change_password(session, old, "another horse");
        changed.await.err()
    };
    let ended = ChangePasswordError::SessionRefused(SessionRefused::Ended);
    assert_eq!(change(PASSWORD).await, Some(Refused(ended)));
    assert_eq!(bench.times(Action::UserSetPassword).await, 0);
    let password_refused = |why| Some(Refused(ChangePasswordError::PasswordRefused(why)));
    for guess in 1..=2 {
        let wrong = password_refused(PasswordRefused::WrongPassword);
        assert_eq!(change("wrong horse").await, wrong, "guess {guess}");
    }
    for old in ["wrong horse", "wrong horse", PASSWORD] {
        let locked = password_refused(PasswordRefused::Locked { wait: LOCK });
        assert_eq!(change(old).await, locked, "{old}");
    }
    tokens_of(bench, ADA).await;
}

#[tokio::test]
async fn nothing_is_changed_in_a_browsers_session_that_was_ended_meanwhile() {
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let token = in_browser(&bench, ADA).await;
    let acting = accounts.session_for_change(&token).await.unwrap();
    accounts.sign_out(&token, &origin()).await.unwrap();
    changes_nothing(&bench, acting.session()).await;
    let ended = accounts.session_for_change(&token).await.map(|_| ());
    assert_eq!(ended, Err(Refused(SessionError::Invalid)));
}

#[tokio::test]
async fn a_browsers_session_that_is_gone_is_only_told_to_be_once_that_is_durable() {
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let (gone, dead) = (in_browser(&bench, ADA).await, in_browser(&bench, ADA).await);
    accounts.sign_out(&gone, &origin()).await.unwrap();
    // Its record is still there.
    set_password(&bench, ADA, "another horse").await;
    for session in [&gone, &dead] {
        bench.faults.commits(CommitMode::Lost);
        let again = accounts.sign_out(session, &origin()).await;
        assert!(
            matches!(again, Err(Storage(StorageError::OutcomeUnknown(_)))),
            "{again:?}"
        );
        bench.faults.commits(CommitMode::Made);
        for _ in 0..2 {
            assert_eq!(accounts.sign_out(session, &origin()).await, Ok(()));
        }
    }
    assert_eq!(accounts.sign_out("x", &origin()).await, Ok(()));
    assert_eq!(bench.times(Action::UserSessionEnd).await, 1);
}

#[tokio::test]
async fn nothing_is_changed_by_a_token_whose_signing_key_was_ended_meanwhile() {
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let own = signed_in(&bench, ADA).await;
    let keys = accounts.public_keys().await.unwrap();
    let ended = accounts.end_signing_key(&keys[0].id, &command_line()).await;
    ended.unwrap();
    changes_nothing(&bench, &own).await;
}

/// The session lives on under the token that its other window got, but the error is the same.
#[tokio::test]
async fn a_change_in_a_session_that_goes_on_under_another_token_is_refused_as_ended() {
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let token = in_browser(&bench, ADA).await;
    let acting = accounts.session_for_change(&token).await.unwrap();
    let renewed = accounts.renew_user_session(&token).await.unwrap();
    changes_nothing(&bench, acting.session()).await;
    assert!(accounts.session_for_change(&renewed).await.is_ok());
}

/// The former key stays valid for a shortened time, which changes its record.
#[tokio::test]
async fn a_change_by_a_token_whose_signing_key_was_replaced_meanwhile_is_to_be_asked_again() {
    let bench = with_ada().await;
    let given = tokens_of(&bench, ADA).await;
    let change = async |session: &Session| {
        let changed = asks(&bench).change_password(session, PASSWORD, "another horse");
        changed.await.err()
    };
    let before = session(&bench, &given).await;
    let replaced = bench
        .service
        .accounts
        .replace_signing_key(&command_line())
        .await;
    replaced.unwrap();
    let overtaken = change(&before).await;
    assert!(
        matches!(overtaken, Some(Storage(StorageError::Contended { .. }))),
        "{overtaken:?}"
    );
    assert_eq!(bench.times(Action::UserSetPassword).await, 0);
    assert_eq!(change(&session(&bench, &given).await).await, None);
}

/// Another window of the same browser regularly stores that the session is used.
#[tokio::test]
async fn a_change_goes_through_while_another_window_is_looked_at() {
    let bench = with_ada().await;
    let accounts = &bench.service.accounts;
    let token = in_browser(&bench, ADA).await;
    for seconds in [45, 59, 29] {
        bench.clock.advance(Duration::from_secs(seconds));
        let acting = accounts.session_for_change(&token).await.unwrap();
        bench.clock.advance(Duration::from_secs(29));
        accounts.user_session(&token).await.unwrap();
        let enrolled = asks(&bench).enrol_key(acting.session(), PASSWORD).await;
        assert!(enrolled.is_ok(), "{seconds}: {enrolled:?}");
    }
}
