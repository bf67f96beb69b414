use std::{collections::BTreeMap, time::Duration};

use keyproof_store::faults::CommitMode;

use super::{
    allowance::{OF_ONE, OF_STRANGERS, OF_THE_KNOWN},
    *,
};
use crate::{
    Failure,
    otp_devices::LoginError,
    testing::{Bench, READER, START, administrator, bench, origin, secret},
};

/// How long refusals are kept by default.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Records an action on this instance.
pub(super) async fn tell(bench: &Bench, at: Timestamp, instance: &str) {
    let origin = origin().by(Principal::Keyproof);
    let new_event = NewEvent {
        action: Action::AuditLeaveOut,
        target: Target::Instance(instance.to_owned()),
        detail: None,
        origin: &origin,
    };
    done(bench, at, new_event).await;
}

/// Commits the event of a change.
pub(super) async fn done(bench: &Bench, at: Timestamp, new_event: NewEvent<'_>) {
    let mut batch = bench.store.batch(at);
    bench.service.audit.done(&mut batch, at, new_event);
    bench.store.commit(batch).await.unwrap();
}

/// Commits the event of a refusal in the counting form.
pub(super) async fn counted(bench: &Bench, new_event: NewEvent<'_>) {
    let at = bench.clock.now();
    let mut batch = bench.store.batch(at);
    let audit = &bench.service.audit;
    audit.counted(&mut batch, at, new_event).await.unwrap();
    bench.store.commit(batch).await.unwrap();
}

/// Searches all pages. Returns the events found, and the number of pages.
pub(super) async fn all_of(bench: &Bench, search: &Search, most: usize) -> (Vec<Event>, usize) {
    let (mut all, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let audit = &bench.service.audit;
        let found = audit.search(&READER, search, before.clone(), START, most);
        let found = found.await.unwrap();
        assert!(found.events.len() <= most);
        all.extend(found.events);
        pages += 1;
        assert!(found.before.is_none() || found.before != before, "it moves");
        before = found.before;
        if before.is_none() {
            return (all, pages);
        }
    }
}

/// Refuses a caller an action that it can request.
async fn refuse(bench: &Bench, who: Principal, times: u32) {
    let action = match who {
        Principal::External { .. } | Principal::Operator { .. } => Action::CertificateGet,
        Principal::Instance { .. } => Action::LoginTokenUse,
        Principal::User { .. } => Action::UserSetPassword,
        _ => Action::UserAuthenticate,
    };
    let origin = origin().by(who);
    for _ in 0..times {
        let new_event = NewEvent {
            action,
            target: Target::Store,
            detail: None,
            origin: &origin,
        };
        bench.service.audit.refused(new_event).await;
    }
}

#[tokio::test]
async fn an_event_says_who_what_when_and_on_which_request() {
    let bench = bench().await;
    let devices = &bench.service.otp_devices;
    bench.clock.advance(Duration::from_secs(5));
    devices
        .set_password(&administrator("default"), secret("correct horse"))
        .await
        .unwrap();
    let wrong = devices
        .log_in("default", "default", secret("wrong"), &origin())
        .await;
    assert_eq!(wrong.err(), Some(Failure::Refused(LoginError::Refused)));
    let since = START.saturating_add(Duration::from_secs(5));
    let mut events = bench.service.audit.events(since, None).await.unwrap();
    // Within one millisecond the order is random.
    events.sort_by_key(|(_, event)| event.outcome == Outcome::Refused);
    let [(_, set), (_, refused)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(
        (&*set.action, &*set.target, &*set.who, set.at),
        (
            "instance.set_password",
            "instance/default",
            "console:root",
            since
        )
    );
    assert_eq!(set.outcome, Outcome::Done);
    assert_eq!(refused.who, "anonymous");
    assert_eq!(refused.request_id.as_deref(), Some("0123"));
    assert_eq!(refused.address, Some([127, 0, 0, 1].into()));
    let json = format!("{set:?}{refused:?}");
    assert!(
        !json.contains("wrong\"") && !json.contains("horse"),
        "{json}"
    );
}

async fn told(bench: &Bench, action: Action) -> Vec<Event> {
    let mut all = all(bench).await;
    all.retain(|event| event.action == action.name());
    all
}

async fn refusals(bench: &Bench) -> Vec<Event> {
    let mut all = all(bench).await;
    all.retain(|event| event.outcome == Outcome::Refused && event.who != "keyproof");
    all
}

async fn all(bench: &Bench) -> Vec<Event> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let audit = &bench.service.audit;
        let page = audit.events(START, after.as_ref()).await.unwrap();
        let Some((last, _)) = page.last() else {
            return all;
        };
        after = Some(last.clone());
        all.extend(page.into_iter().map(|(_, event)| event));
    }
}

#[tokio::test]
async fn refusals_are_bounded_counted_and_forgotten_in_the_end() {
    let bench = bench().await;
    refuse(&bench, Principal::Anonymous, OF_STRANGERS + 30).await;
    assert_eq!(refusals(&bench).await.len(), OF_STRANGERS as usize);
    assert_eq!(told(&bench, Action::AuditLeaveOut).await, []);
    bench.clock.advance(Duration::from_secs(60));
    refuse(&bench, Principal::Anonymous, 1).await;
    assert_eq!(refusals(&bench).await.len(), OF_STRANGERS as usize + 1);
    let left_out = told(&bench, Action::AuditLeaveOut).await;
    let [left_out] = left_out.as_slice() else {
        panic!("{left_out:?}");
    };
    assert_eq!(
        (left_out.left_out, &*left_out.target, &*left_out.who),
        (30, "anonymous", "keyproof")
    );
    assert_eq!(
        left_out.detail.as_deref(),
        Some("refusals that came too fast: 30 user.authenticate")
    );
    bench.clock.advance(KEPT);
    assert_eq!(refusals(&bench).await, []);
    assert_eq!(told(&bench, Action::AuditLeaveOut).await, []);
    assert!(
        bench.actions().await.contains(&"instance.add".to_owned()),
        "changes stay"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_left_out_is_told_though_nothing_follows() {
    let bench = bench().await;
    refuse(&bench, Principal::Anonymous, OF_STRANGERS + 7).await;
    let service = Arc::clone(&bench.service);
    let upkeep = tokio::spawn(async move { service.run_upkeep().await });
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(told(&bench, Action::AuditLeaveOut).await, []);
    bench.clock.advance(Duration::from_secs(60));
    // Until then the trail cannot be written.
    bench.faults.commits(CommitMode::NotApplied);
    tokio::time::sleep(Duration::from_secs(30)).await;
    bench.faults.commits(CommitMode::Made);
    tokio::time::sleep(Duration::from_secs(30)).await;
    upkeep.abort();
    let left_out = told(&bench, Action::AuditLeaveOut).await;
    let counts: Vec<_> = left_out.iter().map(|event| event.left_out).collect();
    assert_eq!(counts, [7]);
}

#[tokio::test]
async fn what_a_process_left_out_is_told_at_its_end() {
    let bench = bench().await;
    refuse(&bench, Principal::Anonymous, OF_STRANGERS + 7).await;
    bench.service.audit.finish().await;
    bench.service.audit.finish().await;
    let left_out = told(&bench, Action::AuditLeaveOut).await;
    assert_eq!(left_out.len(), 1);
    assert_eq!(left_out[0].left_out, 7);
}

fn subject(user: u32) -> Subject {
    Subject {
        organisation: 1,
        user,
        since: Timestamp::EPOCH,
    }
}

#[tokio::test]
async fn whoever_has_many_tokens_has_one_allowance() {
    let text = |token: u32| format!("{token:016x}");
    let kinds: [(&str, &dyn Fn(u32) -> Principal); 4] = [
        ("user:1:2:0000000000", &|token| Principal::User {
            subject: subject(2),
            application_token: token.checked_sub(1),
        }),
        ("instance:shop", &|token| Principal::Instance {
            name: "shop".to_owned(),
            token: (token > 0).then(|| text(token)),
        }),
        ("operator_subject:ci", &|token| Principal::Operator {
            token: text(token),
            subject: "ci".to_owned(),
        }),
        ("external:https://idp/ci", &|_| Principal::External {
            issuer: "https://idp".to_owned(),
            subject: "ci".to_owned(),
        }),
    ];
    for (told_as, kind) in kinds {
        let bench = bench().await;
        for token in 0..10 {
            refuse(&bench, kind(token), OF_ONE).await;
        }
        let refused = refusals(&bench).await;
        assert_eq!(refused.len(), OF_ONE as usize, "{told_as}");
        // So the allowance of others remains.
        let ada = Principal::User {
            subject: subject(1),
            application_token: None,
        };
        refuse(&bench, ada, 1).await;
        let refused = refusals(&bench).await;
        assert!(
            refused
                .iter()
                .any(|event| event.who == "user:1:1:0000000000")
        );
        bench.service.audit.finish().await;
        let left_out = told(&bench, Action::AuditLeaveOut).await;
        let left_out: Vec<_> = left_out
            .iter()
            .map(|event| (&*event.target, event.left_out))
            .collect();
        assert_eq!(left_out, [(told_as, u64::from(9 * OF_ONE))]);
    }
}

#[tokio::test]
async fn strangers_hide_no_insider_and_no_insider_another() {
    let bench = bench().await;
    let audit = &bench.service.audit;
    let refuse = async |who: Principal, times: u32| refuse(&bench, who, times).await;
    let user = |number: u32| Principal::User {
        subject: subject(number),
        application_token: None,
    };
    refuse(Principal::Anonymous, OF_STRANGERS * 3).await;
    refuse(user(1), OF_ONE + 5).await;
    refuse(user(2), 1).await;
    let of = async |who: &str| {
        let refused = refusals(&bench).await;
        refused.iter().filter(|event| event.who == who).count()
    };
    assert_eq!(of("anonymous").await, OF_STRANGERS as usize);
    assert_eq!(of("user:1:1:0000000000").await, OF_ONE as usize);
    assert_eq!(of("user:1:2:0000000000").await, 1);
    // However many callers there are.
    for number in 0..OF_THE_KNOWN {
        refuse(user(10 + number), 1).await;
    }
    refuse(user(2), 1).await;
    audit.finish().await;
    let left_out = told(&bench, Action::AuditLeaveOut).await;
    let left_out: BTreeMap<_, _> = left_out
        .iter()
        .map(|event| (&*event.target, event.left_out))
        .collect();
    let expected = [
        ("anonymous", u64::from(OF_STRANGERS * 2)),
        ("others", u64::from(OF_ONE + 1)),
        ("user:1:1:0000000000", 5),
        ("user:1:2:0000000000", 1),
    ];
    assert_eq!(left_out, BTreeMap::from(expected));
}

/// Records a failure of an unknown user in the counting form.
pub(super) async fn count(bench: &Bench, target: &str, detail: &str, from: u8, request: &str) {
    let origin = Origin {
        who: Principal::Anonymous,
        request_id: Some(request.to_owned()),
        address: Some([192, 0, 2, from].into()),
        ..origin()
    };
    let new_event = NewEvent {
        action: Action::UserAuthenticate,
        target: target.parse().unwrap(),
        detail: Some(detail.to_owned()),
        origin: &origin,
    };
    counted(bench, new_event).await;
}

#[tokio::test]
async fn failures_of_a_name_are_one_event_a_minute() {
    let bench = bench().await;
    let first = bench.clock.now();
    for number in 0..12 {
        let detail = if number < 11 { "wrong" } else { "locks" };
        count(
            &bench,
            "user_name/ada",
            detail,
            number,
            &format!("request{number}"),
        )
        .await;
        bench.clock.advance(Duration::from_secs(1));
    }
    count(&bench, "user_name/bob", "wrong", 1, "other").await;
    let events = refusals(&bench).await;
    let [ada] = &*events
        .iter()
        .filter(|event| event.target == "user_name/ada")
        .collect::<Vec<_>>()
    else {
        panic!("{events:?}");
    };
    assert_eq!(events.len(), 2);
    assert_eq!((ada.at, ada.detail.as_deref()), (first, Some("locks")));
    assert_eq!(ada.request_id.as_deref(), Some("request0"));
    assert_eq!(ada.address, Some([192, 0, 2, 0].into()));
    let repeats = ada.repeats.as_ref().unwrap();
    assert_eq!(repeats.count, 12);
    assert_eq!(
        repeats.last_at,
        first.saturating_add(Duration::from_secs(11))
    );
    assert_eq!(repeats.last_request_id.as_deref(), Some("request11"));
    assert_eq!(repeats.request_ids.len(), 8);
    let addresses: Vec<IpAddr> = (0..8).map(|from| [192, 0, 2, from].into()).collect();
    assert_eq!(ada.addresses(), addresses);
    let details = repeats.details.iter();
    let details: Vec<_> = details.map(|told| (&*told.detail, told.count)).collect();
    assert_eq!(details, [("wrong", 11), ("locks", 1)]);
    // The next minute has its own event.
    bench.clock.advance(Duration::from_secs(60));
    count(&bench, "user_name/ada", "wrong", 1, "later").await;
    let events = refusals(&bench).await;
    assert_eq!(events.len(), 3);
    assert_eq!(events.last().unwrap().repeats, None);
    bench.clock.advance(KEPT);
    assert_eq!(refusals(&bench).await, []);
}

#[tokio::test]
async fn failures_of_one_moment_are_all_counted() {
    let bench = Arc::new(bench().await);
    let at = bench.clock.now();
    let origin = origin();
    let new_event = || NewEvent {
        action: Action::UserAuthenticate,
        target: "user_name/ada".parse().unwrap(),
        detail: None,
        origin: &origin,
    };
    let audit = &bench.service.audit;
    let (mut first, mut second) = (bench.store.batch(at), bench.store.batch(at));
    audit.counted(&mut first, at, new_event()).await.unwrap();
    audit.counted(&mut second, at, new_event()).await.unwrap();
    bench.store.commit(first).await.unwrap();
    let lost = bench.store.commit(second).await;
    assert!(
        matches!(lost, Err(CommitError::Conflict { .. })),
        "{lost:?}"
    );
}

/// A combined event that ended before a time is not among the events since that time, although its minute was not over.
#[tokio::test]
async fn an_event_of_several_is_told_of_the_time_of_its_last() {
    let bench = bench().await;
    count(&bench, "user_name/ada", "wrong", 1, "first").await;
    bench.clock.advance(Duration::from_secs(1));
    let between = bench.clock.now();
    count(&bench, "user_name/bob", "wrong", 1, "second").await;
    let since = async |since| {
        let events = bench.service.audit.events(since, None).await.unwrap();
        events
            .into_iter()
            .map(|(_, event)| event.target)
            .collect::<Vec<_>>()
    };
    assert_eq!(since(between).await, ["user_name/bob"]);
    count(&bench, "user_name/ada", "wrong", 1, "third").await;
    assert_eq!(since(between).await.len(), 2);
    assert_eq!(
        since(between.saturating_add(Duration::from_secs(1))).await,
        [""; 0]
    );
}

/// An event of an earlier release is read, and that release can read what this one writes.
#[test]
fn events_of_before_are_read() {
    let json = r#"{"at":1700000000000,"action":"a.b","target":"t","outcome":"refused","who":"anonymous","left_out":3}"#;
    let event: Event = serde_json::from_str(json).unwrap();
    assert_eq!((event.left_out, event.count()), (3, 1));
    assert_eq!(event.repeats, None);
    assert_eq!(serde_json::to_string(&event).unwrap(), json);
}

#[tokio::test]
async fn a_change_that_is_not_made_leaves_no_event() {
    let bench = bench().await;
    let before = bench.actions().await.len();
    bench.faults.commits(CommitMode::NotApplied);
    let devices = &bench.service.otp_devices;
    let removed = devices.remove_instance(&administrator("default")).await;
    assert!(
        matches!(removed, Err(Failure::Storage(StorageError::NotApplied(_)))),
        "{removed:?}"
    );
    bench.faults.commits(CommitMode::Made);
    assert_eq!(bench.actions().await.len(), before);
}

#[tokio::test]
async fn pages_meet_without_gap_or_overlap() {
    let bench = bench().await;
    let total = PAGE + 7;
    for number in 0..total {
        let at = START.saturating_add(Duration::from_millis(10 + number as u64 / 3));
        tell(&bench, at, "shop").await;
    }
    let since = START.saturating_add(Duration::from_millis(10));
    let audit = &bench.service.audit;
    let first = audit.events(since, None).await.unwrap();
    assert_eq!(first.len(), PAGE);
    let second = audit
        .events(since, first.last().map(|(key, _)| key))
        .await
        .unwrap();
    assert_eq!(second.len(), 7);
    let keys: std::collections::BTreeSet<_> = first
        .iter()
        .chain(&second)
        .map(|(key, _)| key.clone())
        .collect();
    assert_eq!(keys.len(), total);
    assert!(
        first
            .iter()
            .zip(first.iter().skip(1))
            .all(|((_, a), (_, b))| a.at <= b.at)
    );
}

#[tokio::test]
async fn a_follower_of_a_long_trail_gets_all_of_it_page_by_page() {
    let bench = bench().await;
    for number in 0..PAGE * 2 {
        let at = START.saturating_add(Duration::from_millis(number as u64));
        tell(&bench, at, "shop").await;
    }
    bench.clock.advance(Duration::from_secs(3600));
    let mut follower = Follower::new(START);
    let mut told = 0;
    loop {
        let events = follower.poll(&bench.service.audit).await.unwrap();
        if events.is_empty() {
            break;
        }
        told += events.len();
    }
    assert_eq!(told, PAGE * 2 + 1);
}

#[tokio::test]
async fn a_follower_tells_an_event_of_several_again_as_it_grows() {
    let bench = bench().await;
    let audit = &bench.service.audit;
    let mut follower = Follower::new(bench.clock.now());
    let poll = async |follower: &mut Follower| {
        let events = follower.poll(audit).await.unwrap();
        let counts = events
            .iter()
            .filter(|event| event.outcome == Outcome::Refused);
        counts.map(Event::count).collect::<Vec<_>>()
    };
    // Past the end of the minute.
    bench.clock.advance(Duration::from_secs(20));
    count(&bench, "user_name/ada", "wrong", 1, "first").await;
    assert_eq!(poll(&mut follower).await, [1]);
    assert_eq!(poll(&mut follower).await, [0; 0]);
    count(&bench, "user_name/ada", "wrong", 1, "second").await;
    count(&bench, "user_name/ada", "wrong", 1, "third").await;
    assert_eq!(poll(&mut follower).await, [3]);
    assert_eq!(poll(&mut follower).await, [0; 0]);
    bench.clock.advance(Duration::from_secs(120));
    assert_eq!(poll(&mut follower).await, [0; 0]);
    count(&bench, "user_name/ada", "wrong", 1, "later").await;
    assert_eq!(poll(&mut follower).await, [1]);
}

#[tokio::test]
async fn texts_of_an_event_are_as_long_as_they_may_be_and_no_longer() {
    let bench = bench().await;
    let long = "x".repeat(120_000);
    let origin = origin().by(Principal::External {
        issuer: long.clone(),
        subject: long.clone(),
    });
    for end in ["a", "b"] {
        let new_event = |detail: &str| NewEvent {
            action: Action::CertificateVerify,
            target: Target::Certificate {
                subscription: format!("{long}{end}"),
                resource_group: String::new(),
                service: String::new(),
                name: String::new(),
            },
            detail: Some(format!("{long}{detail}")),
            origin: &origin,
        };
        counted(&bench, new_event("")).await;
        for number in 0..10 {
            counted(&bench, new_event(&number.to_string())).await;
        }
    }
    let events = refusals(&bench).await;
    let [one, other] = &*events else {
        panic!("{} events", events.len());
    };
    assert_ne!(one.target, other.target, "though they begin alike");
    for event in events {
        let json = serde_json::to_string(&event).unwrap();
        assert!(json.len() < 16 * text::MOST, "{}", json.len());
        assert!(event.target.starts_with("certificate/xxx"));
        assert!(event.who.starts_with("external:xxx"));
    }
}
