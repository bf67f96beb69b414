//! Names in the audit trail, and forgetting them.

use keyproof_store::{Key, Prefix};

use super::*;
use crate::{
    accounts::{Forgetting, UnknownUser},
    audit::{Event, EventKey, Search},
};

/// A text that occurs nowhere else in the store.
const ADA: &str = "ada.lovelace";

async fn trail(bench: &Bench) -> Vec<(EventKey, Event)> {
    let events = bench.service.audit.events(Timestamp::EPOCH, None);
    events.await.unwrap()
}

/// The trail as its readers see it, as text.
async fn shown(bench: &Bench) -> String {
    let mut events = trail(bench).await;
    let unnamed = events.iter_mut().map(|(_, event)| event);
    bench.service.accounts.name_subjects(unnamed).await.unwrap();
    format!("{events:#?}")
}

/// The collections that contain the name.
async fn named(bench: &Bench) -> Vec<String> {
    let all = bench.rows(&Prefix::all()).await;
    let found = all.into_iter().filter(|raw| {
        let body = String::from_utf8_lossy(raw.json());
        body.contains(ADA) || raw.key().to_string().contains(ADA)
    });
    let collection = |text: String| text.split('/').next().unwrap_or_default().to_owned();
    found.map(|raw| collection(raw.key().to_string())).collect()
}

/// Gives a user a history: logins, including failed ones, a key, a trusted device, and an application token that is used.
async fn live(bench: &Bench) {
    let (phone, session, _) = enrol(bench, ADA).await;
    let (accounts, origin) = (asks(bench), &origin());
    let text = accounts.application_token(&session);
    let text = text.await.unwrap();
    let access = accounts.application_login(&text, ADDRESS, origin).await;
    access.unwrap();
    log_in(bench, ADA, "wrong horse", None).await.unwrap_err();
    log_in_by_code(bench, ADA, &phone).await;
    // Challenges contain the name until they expire.
    bench.clock.advance(DAY);
    bench.service.upkeep.remove_expired().await.unwrap();
}

#[tokio::test]
async fn a_name_is_shown_in_the_trail_until_it_is_forgotten() {
    let bench = bench().await;
    let accounts = &bench.service.accounts;
    add(&bench, ADA, Role::User).await;
    live(&bench).await;
    assert_eq!(named(&bench).await, ["application_token", "user"]);
    let by_name = shown(&bench).await;
    for told in [
        format!("who: \"user:{ADA}\""),
        format!("who: \"user:{ADA}/application_token:"),
        format!("target: \"user_name/{ADA}\""),
        format!("{ADA} in Example Org, role User"),
    ] {
        assert!(by_name.contains(&told), "{told}: {by_name}");
    }

    accounts.remove_user(ADA, &command_line()).await.unwrap();
    assert_eq!(named(&bench).await, ["application_token", "removed_user"]);
    assert!(shown(&bench).await.contains(&format!("user_name/{ADA}")));

    // The name now belongs to another user, who must not be credited with the first user's events.
    add(&bench, ADA, Role::Observer).await;
    let of_the_first = trail(&bench).await.len();
    accounts.remove_user(ADA, &command_line()).await.unwrap();
    assert_eq!(
        accounts.forget_user(ADA, &command_line()).await,
        Ok(Forgetting::RemovedBefore)
    );
    assert_eq!(named(&bench).await, Vec::<String>::new());
    let by_number = shown(&bench).await;
    assert!(!by_number.contains(ADA), "{by_number}");
    let events = trail(&bench).await;
    let forgotten = events
        .iter()
        .filter(|(_, event)| event.action == "user.forget");
    assert_eq!(forgotten.count(), 2, "both who had the name");
    assert!(events.len() > of_the_first, "the events stay");
    assert_eq!(
        accounts.forget_user(ADA, &command_line()).await,
        Err(Failure::Refused(UnknownUser))
    );
}

#[tokio::test]
async fn an_account_is_removed_and_forgotten_at_once() {
    let bench = bench().await;
    add(&bench, ADA, Role::User).await;
    add(&bench, "bob", Role::User).await;
    live(&bench).await;
    let accounts = &bench.service.accounts;
    assert_eq!(
        accounts.forget_user(ADA, &command_line()).await,
        Ok(Forgetting::Removed)
    );
    assert_eq!(named(&bench).await, Vec::<String>::new());
    // The token's text is gone at once, the token after a month.
    let left = async |collection: &str| bench.rows(&Prefix::collection(collection)).await.len();
    assert_eq!(left("application_token_text").await, 0);
    bench.clock.advance(DAY * 30 - Duration::from_secs(1));
    bench.service.upkeep.remove_expired().await.unwrap();
    assert_eq!(left("application_token").await, 1);
    bench.clock.advance(Duration::from_secs(1));
    bench.service.upkeep.remove_expired().await.unwrap();
    assert_eq!(left("application_token").await, 0);
    assert_eq!(
        log_in(&bench, ADA, PASSWORD, None).await.err(),
        Some(Failure::Refused(LoginError::Refused))
    );
    let trail = shown(&bench).await;
    assert!(!trail.contains(ADA), "{trail}");
    assert!(trail.contains("bob in Example Org"), "{trail}");
}

/// Earlier releases recorded the name itself.
#[tokio::test]
async fn events_of_earlier_releases_are_read_as_they_are() {
    let bench = bench().await;
    let (target, detail) = ("organisation/1/user/2", "by password");
    keep(&bench, 0, "user:old.ada", target, detail).await;
    let shown = shown(&bench).await;
    assert!(shown.contains("user:old.ada"), "{shown}");
}

/// Stores an event of a release that accepted any text.
async fn keep(bench: &Bench, number: usize, who: &str, target: &str, detail: &str) {
    let now = bench.clock.now();
    let event: Event = serde_json::from_value(serde_json::json!({
        "at": now,
        "action": "otp_device.add",
        "target": target,
        "outcome": "done",
        "who": who,
        "detail": detail,
    }))
    .unwrap();
    let id = format!("{number:016}");
    let key = Key::new("audit", ["_", "0000018bcfe56800", &id]);
    let mut batch = bench.store.batch(now);
    batch.insert(&key, &event, None);
    bench.store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn however_many_are_told_of_they_are_named() {
    let bench = bench().await;
    add(&bench, ADA, Role::User).await;
    for user in 0..1_100 {
        let subject = format!("4711:{user}:0000000000");
        keep(&bench, user, &format!("user:{subject}"), "x", "y").await;
    }
    let mut events = trail(&bench).await;
    let mut after = events.last().unwrap().0.clone();
    loop {
        let next = bench.service.audit.events(Timestamp::EPOCH, Some(&after));
        let next = next.await.unwrap();
        let Some((last, _)) = next.last() else { break };
        after = last.clone();
        events.extend(next);
    }
    assert!(events.len() > 1_100);
    let unnamed = events.iter_mut().map(|(_, event)| event);
    bench.service.accounts.name_subjects(unnamed).await.unwrap();
    assert!(format!("{events:?}").contains(&format!("{ADA} in Example Org")));
}

/// A device id chosen by a client that looks like a user names nobody and does not make the trail unreadable.
#[tokio::test]
async fn a_clients_text_names_nobody_and_stops_no_reader() {
    let bench = bench().await;
    add(&bench, ADA, Role::User).await;
    let subject = bench.service.accounts.subject_named(ADA).await.unwrap();
    let like = (0..600).map(|user| format!("{user}:7:0000000000"));
    let like = like.chain([subject.unwrap().to_string()]);
    let target = format!(
        "instance/shop/device/{}",
        like.collect::<Vec<_>>().join(" ")
    );
    keep(&bench, 0, "instance:shop", &target, &target).await;
    let shown = shown(&bench).await;
    assert!(shown.contains(&format!("target: \"{target}\"")));
}

#[tokio::test]
async fn a_user_sees_no_strangers_failures_whatever_they_are_called() {
    let bench = bench().await;
    for name in ["unknown", "unknown/x", ADA] {
        add(&bench, name, Role::User).await;
    }
    log_in(&bench, "nobody", PASSWORD, None).await.unwrap_err();
    log_in(&bench, ADA, "wrong horse", None).await.unwrap_err();
    let session = signed_in(&bench, "unknown").await;
    let (reader, search) = (session.audit_reader(), Search::default());
    // As the previous release recorded this name.
    keep(&bench, 0, "user:unknown/x", "user_name/unknown/x", "y").await;
    for index in [true, false] {
        if !index {
            bench.remove(&Prefix::collection("audit_users")).await;
        }
        let found = bench
            .service
            .audit
            .search(&reader, &search, None, Timestamp::EPOCH, 50);
        let mut actions: Vec<_> = found.await.unwrap().events;
        actions.sort_by(|a, b| a.action.cmp(&b.action));
        let actions: Vec<_> = actions
            .iter()
            .map(|event| (&*event.action, event.outcome))
            .collect();
        let done = crate::audit::Outcome::Done;
        assert_eq!(
            actions,
            [("user.add", done), ("user.authenticate", done)],
            "{index}"
        );
    }
}
