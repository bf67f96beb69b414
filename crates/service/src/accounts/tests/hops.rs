//! The number of accesses to the store.

use std::time::Duration;

use super::{
    ADA, ADDRESS, BOB, STEP, add, answer_challenge, asks, challenge, enrol, in_browser, laptop,
    log_in, log_in_by_code, tokens_of, with_ada,
};
use crate::{
    Action, Clock,
    Failure::Refused,
    accounts::{Role, SessionError, TargetUser, UserQuery},
    testing::{Bench, PASSWORD, bench, origin},
};

/// The number of accesses since the last call.
fn hops(bench: &Bench) -> usize {
    bench.faults.steps()
}

#[tokio::test]
async fn a_second_step_reads_once_and_commits_once() {
    let bench = with_ada().await;
    let (phone, ..) = enrol(&bench, ADA).await;
    let asked = challenge(log_in(&bench, ADA, PASSWORD, None).await);
    let code = phone.shows(bench.clock.now());
    hops(&bench);
    let answered = answer_challenge(&bench, &asked, &code, Some(&laptop())).await;
    answered.unwrap();
    assert_eq!(hops(&bench), 2);
}

/// The use of a session is not stored just before the session ends.
#[tokio::test]
async fn signing_out_of_a_browser_reads_once_and_commits_once() {
    let bench = with_ada().await;
    let (accounts, origin) = (&bench.service.accounts, origin());
    let session = in_browser(&bench, ADA).await;
    bench.clock.advance(Duration::from_secs(120));
    hops(&bench);
    accounts.sign_out(&session, &origin).await.unwrap();
    assert_eq!(hops(&bench), 2);
    assert_eq!(
        accounts.peek_session(&session).await.err(),
        Some(Refused(SessionError::Invalid))
    );
    assert_eq!(bench.times(Action::UserSessionEnd).await, 1);
}

#[tokio::test]
async fn devices_are_read_with_the_session_that_asks_for_them() {
    let bench = bench().await;
    add(&bench, ADA, Role::Administrator).await;
    add(&bench, BOB, Role::User).await;
    let (phone, bob, _) = enrol(&bench, BOB).await;
    let (accounts, origin) = (&bench.service.accounts, origin());
    log_in_by_code(&bench, BOB, &phone).await;
    bench.clock.advance(STEP);
    let access = tokens_of(&bench, ADA).await.access;
    let prefetch = async |whose| {
        let session = accounts.session_with_prefetch(Some(&access), ADDRESS, Some(whose));
        session.await.unwrap()
    };
    // The first use of a signing key reads it.
    prefetch(TargetUser::Mine).await;
    hops(&bench);
    let session = prefetch(TargetUser::Of(bob.owner.user)).await;
    let list = async |session, whose| {
        let act = Action::TrustedDeviceList;
        let manager = accounts.manager(session, act, whose, &origin).await;
        accounts.devices(&manager.unwrap()).await.unwrap()
    };
    let devices = list(session.clone(), TargetUser::Of(bob.owner.user)).await;
    assert_eq!((devices.len(), hops(&bench)), (1, 1));
    // Records that were not read with the session are read now.
    let none = list(session.clone(), TargetUser::Mine).await;
    assert_eq!((none.len(), hops(&bench)), (0, 1));
    // Decisions use the current records.
    let act = Action::TrustedDeviceRemove;
    let theirs = TargetUser::Of(bob.owner.user);
    let manager = accounts
        .manager(session.clone(), act, theirs, &origin)
        .await;
    accounts
        .remove_device(&manager.unwrap(), devices[0].id)
        .await
        .unwrap();
    assert_eq!(hops(&bench), 2);
    let devices = asks(&bench).devices(&session, theirs).await;
    assert_eq!(devices.unwrap().len(), 1, "as they were with the session");
}

#[tokio::test]
async fn a_page_of_users_is_a_scan_and_their_keys() {
    let bench = bench().await;
    add(&bench, ADA, Role::Administrator).await;
    add(&bench, BOB, Role::User).await;
    let (_, session, _) = enrol(&bench, ADA).await;
    hops(&bench);
    for (page, expected) in [(1, (2, 2)), (2, (0, 1))] {
        let query = UserQuery::new(vec![], vec![], page, 10).unwrap();
        let found = bench.service.accounts.users(&session, &query).await;
        assert_eq!((found.unwrap().users.len(), hops(&bench)), expected);
    }
}
