//! What whoever knows a password comes to without the code.

use std::time::Duration;

use super::{add, challenge, enrol, log_in_from};
use crate::{
    Action, Origin,
    accounts::{Role, Session},
    audit::{Event, Outcome},
    testing::{Bench, PASSWORD, START, bench, origin},
};

const ADA: &str = "ada@example.org";

/// What the session's user sees of such logins, the newest first.
async fn seen(bench: &Bench, own: &Session) -> Vec<Event> {
    let (looker, search) = (own.looker(), own.search());
    let audit = &bench.service.audit;
    let found = audit.search(&looker, &search, None, START, 50).await;
    let mut events = found.unwrap().events;
    events.retain(|event| event.action == Action::UserChallenge.name());
    events
}

#[tokio::test]
async fn a_right_password_is_told_to_its_user_though_no_code_comes() {
    let bench = bench().await;
    add(&bench, ADA, Role::User).await;
    let (_, own, _) = enrol(&bench, ADA).await;
    assert!(seen(&bench, &own).await.is_empty());
    let from = |last: u8| Origin {
        address: Some([203, 0, 113, last].into()),
        ..origin()
    };
    let log_in = async |last: u8| {
        challenge(log_in_from(&bench, ADA, PASSWORD, None, &from(last)).await);
    };
    for last in [1, 2, 1] {
        log_in(last).await;
    }
    bench.clock.advance(Duration::from_secs(60));
    log_in(3).await;
    let told = seen(&bench, &own).await;
    let counts: Vec<_> = told.iter().map(Event::count).collect();
    assert_eq!(counts, [1, 3], "those of a minute are one");
    for event in &told {
        assert_eq!(event.outcome, Outcome::Done);
        assert!(event.who.starts_with("user:"), "{}", event.who);
    }
    assert_eq!(told[0].address, from(3).address);
    let addresses = &told[1].repeats.as_ref().unwrap().addresses;
    let expected = [1, 2].map(|last| from(last).address.unwrap());
    assert_eq!(*addresses, expected);
}
