use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::{
    Action, Clock,
    audit::{
        NewEvent, Outcome, Window,
        tests::{all_of, counted, done},
    },
    testing::{Bench, READER, START, bench, console, origin},
};

#[tokio::test]
async fn the_latest_are_found_first_and_the_rest_page_by_page() {
    let bench = bench().await;
    let audit = &bench.service.audit;
    let origin = console();
    for number in 0..130_u64 {
        bench.clock.advance(Duration::from_secs(600));
        let user = if number % 2 == 0 { "7" } else { "77" };
        let new_event = NewEvent {
            action: Action::UserSuspend,
            target: format!("organisation/1/user/{user}").parse().unwrap(),
            detail: Some(number.to_string()),
            origin: &origin,
        };
        done(&bench, bench.clock.now(), new_event).await;
    }
    let search = Search {
        target: Some("organisation/1/user/7".to_owned()),
        ..Search::default()
    };
    let (told, pages) = all_of(&bench, &search, 20).await;
    let told = told.into_iter().map(|event| event.detail.unwrap());
    let told: Vec<_> = told.collect();
    let all = (0..130).rev().filter(|n| n % 2 == 0).map(|n| n.to_string());
    let all: Vec<_> = all.collect();
    assert_eq!(told, all);
    assert!((4..8).contains(&pages), "{pages}");
    // By caller or by target.
    let mine = Search {
        by: vec![origin.who.to_string()],
        outcome: Some(Outcome::Done),
        ..Search::default()
    };
    let found = audit
        .search(&READER, &mine, None, START, 500)
        .await
        .unwrap();
    assert_eq!((found.events.len(), found.before), (130, None));
}

/// Stores events as an earlier release did.
async fn keep(bench: &Bench, events: &[(Timestamp, Event)]) {
    for some in events.chunks(100) {
        let mut batch = bench.store.batch(bench.clock.now());
        for (end, event) in some {
            batch.insert(&bench.service.audit.key(*end), event, None);
        }
        bench.store.commit(batch).await.unwrap();
    }
}

fn event(at: Timestamp, who: &str, target: &str) -> Event {
    let json = serde_json::json!({
        "at": at, "action": "x.y", "target": target, "outcome": "done", "who": who,
    });
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn whoever_fills_the_trail_hides_nothing_in_it() {
    let bench = bench().await;
    let sign_in = bench.clock.now();
    let own = NewEvent {
        action: Action::UserAuthenticate,
        target: "organisation/1/user/7".parse().unwrap(),
        detail: None,
        origin: &origin().by(crate::Principal::User {
            subject: "1:7:0000000000".parse().unwrap(),
            application_token: None,
        }),
    };
    done(&bench, sign_in, own).await;
    keep(
        &bench,
        &[(sign_in, event(sign_in, "console:root", "instance/shop"))],
    )
    .await;
    bench.clock.advance(Duration::from_secs(2 * 60 * 60));
    let now = bench.clock.now();
    let fill = (0..8_000_u64).map(|number| {
        let at = now.saturating_sub(Duration::from_millis(450 * number));
        (at, event(at, "anonymous", "instance/default"))
    });
    keep(&bench, &fill.collect::<Vec<_>>()).await;
    let of_a_till = Search {
        target: Some("instance/shop".to_owned()),
        ..Search::default()
    };
    let (found, pages) = all_of(&bench, &of_a_till, 50).await;
    assert_eq!(found.len(), 1);
    assert!(pages <= 5, "{pages}");
    // A user's own events are not searched among others'.
    let own = Search {
        by: vec!["user:1:7:0000000000".to_owned(), "user:ada".to_owned()],
        of: vec!["organisation/1/user/7".to_owned()],
        named: vec![
            "user_name/1:7:0000000000".to_owned(),
            "user_name/ada".to_owned(),
        ],
        ..Search::default()
    };
    for search in [
        own,
        Search {
            target: Some("organisation/1/user/7".to_owned()),
            ..Search::default()
        },
    ] {
        let audit = &bench.service.audit;
        let found = audit.search(&READER, &search, None, START, 5).await;
        let found = found.unwrap();
        assert_eq!((found.events.len(), found.read, found.before), (1, 1, None));
    }
}

#[tokio::test]
async fn a_page_of_whatever_there_is_reads_little_more_than_it_shows() {
    let bench = bench().await;
    bench.clock.advance(Duration::from_secs(60 * 60));
    let now = bench.clock.now();
    let event = |number: u64| {
        let at = now.saturating_sub(Duration::from_millis(60 * number));
        (at, event(at, &number.to_string(), "instance/shop"))
    };
    keep(&bench, &(0..3_000).map(event).collect::<Vec<_>>()).await;
    let audit = &bench.service.audit;
    let everything = Search::default();
    let found = audit.search(&READER, &everything, None, START, 50);
    let read = found.await.unwrap().read;
    assert_eq!(read, 50);
    let (all, _) = all_of(&bench, &everything, 50).await;
    // Some events are from the server's start.
    let kept = all
        .into_iter()
        .filter(|event| event.target == "instance/shop");
    let all: Vec<_> = kept.map(|event| event.who).collect();
    let expected: Vec<_> = (0..3_000).map(|number| number.to_string()).collect();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn more_of_a_moment_than_a_page_reads_is_told_to_its_end() {
    let bench = bench().await;
    bench.clock.advance(Duration::from_secs(60));
    let now = bench.clock.now();
    let of = |number: u64| event(now, &number.to_string(), "instance/shop");
    let events: Vec<_> = (0..12_000).map(|number| (now, of(number))).collect();
    keep(&bench, &events).await;
    keep(&bench, &[(START, event(START, "first", "instance/shop"))]).await;
    let search = Search {
        target: Some("instance/shop".to_owned()),
        ..Search::default()
    };
    let (all, pages) = all_of(&bench, &search, 700).await;
    assert!(pages <= 30, "{pages}");
    assert_eq!(all.last().unwrap().who, "first");
    let each: BTreeSet<_> = all.iter().map(|event| &event.who).collect();
    assert_eq!((all.len(), each.len()), (12_001, 12_001));
    let audit = &bench.service.audit;
    let found = audit.search(&READER, &search, None, START, 20_000);
    let read = found.await.unwrap().read;
    assert_eq!(read, Search::MOST_READ);
}

/// Earlier releases stored texts of any length.
#[tokio::test]
async fn what_is_found_is_no_longer_than_an_event_may_be() {
    let bench = bench().await;
    let long = format!("instance/shop/{}", "x".repeat(500_000));
    keep(&bench, &[(START, event(START, &long, &long))]).await;
    let place = |text: &str| Some(text.to_owned());
    for target in [place(&long), place("instance/shop"), None] {
        let search = Search {
            target,
            action: place("x.y"),
            ..Search::default()
        };
        let (all, _) = all_of(&bench, &search, 50).await;
        assert_eq!(all.len(), 1);
        assert!(all[0].target.len() <= 512 && all[0].who.len() <= 512);
    }
}

/// A combined event has the time of its last event and is found by it, also in the index of a user's events.
#[tokio::test]
async fn what_is_of_several_is_found_at_the_end_of_its_time() {
    for target in ["user_name/x", "user_name/1:7:0000000000"] {
        let bench = bench().await;
        let origin = origin();
        for _ in 0..2 {
            bench.clock.advance(Duration::from_secs(1));
            let new_event = NewEvent {
                action: Action::UserAuthenticate,
                target: target.parse().unwrap(),
                detail: None,
                origin: &origin,
            };
            counted(&bench, new_event).await;
        }
        let search = Search {
            target: Some(target.to_owned()),
            ..Search::default()
        };
        let since = async |since| {
            let audit = &bench.service.audit;
            let found = audit.search(&READER, &search, None, since, 5);
            found.await.unwrap().events.len()
        };
        let last = bench.clock.now();
        let later = last.saturating_add(Duration::from_millis(1));
        assert_eq!((since(last).await, since(later).await), (1, 0), "{target}");
    }
}

#[tokio::test]
async fn what_a_machine_did_whose_clock_is_ahead_is_found_at_once() {
    let bench = bench().await;
    let now = bench.clock.now();
    let ahead = now.saturating_add(Duration::from_secs(60 * 60));
    let of = |at, who| (at, event(at, who, "instance/shop"));
    keep(&bench, &[of(now, "here"), of(ahead, "ahead")]).await;
    let search = Search {
        target: Some("instance/shop".to_owned()),
        ..Search::default()
    };
    let (all, _) = all_of(&bench, &search, 1).await;
    let who: Vec<_> = all.into_iter().map(|event| event.who).collect();
    assert_eq!(who, ["ahead", "here"]);
}

/// Otherwise whatever is used every hour would fill the first pages.
#[tokio::test]
async fn what_was_used_comes_before_nothing_later_until_its_hour_is_over() {
    let bench = bench().await;
    let now = bench.clock.now();
    let hour = Window::Hour.end(now);
    let after = hour.saturating_add(Duration::from_millis(1));
    let of = |at, who| (at, event(now, who, "instance/shop"));
    let all = [of(now, "latest"), of(hour, "used"), of(after, "ahead")];
    keep(&bench, &all).await;
    let search = Search {
        target: Some("instance/shop".to_owned()),
        ..Search::default()
    };
    let found = async |most| {
        let (all, _) = all_of(&bench, &search, most).await;
        let who = all.into_iter().map(|event| event.who);
        who.collect::<Vec<_>>()
    };
    for most in [1, 50] {
        assert_eq!(found(most).await, ["ahead", "latest"]);
    }
    bench.clock.set(after);
    for most in [1, 50] {
        assert_eq!(found(most).await, ["ahead", "used", "latest"]);
    }
}
