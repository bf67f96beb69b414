//! Devices added, changed, listed and removed, alone and in races.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use keyproof_store::{Prefix, faults::CommitMode};

use super::*;
use crate::{
    clock::auth_millis,
    otp_devices::Lifetime,
    testing::{
        DEVICE_KEY, START, Warnings, bench, command_line, origin, otp_device as device, refusal,
        secret,
    },
};

fn change(description: &str) -> DeviceChange {
    DeviceChange {
        description: description.to_owned(),
        key: None,
        algorithm: None,
        counter: None,
    }
}

#[tokio::test]
async fn the_same_again_is_no_error_and_anything_else_a_conflict() {
    let bench = bench().await;
    let session = bench.session("shop").await;
    let add = async |details: DeviceDetails| session.add(&details).await;
    assert_eq!(add(device("till")).await, Ok(()));
    assert_eq!(add(device("till")).await, Ok(()));
    let others: [fn(&mut DeviceDetails); 4] = [
        |details| details.description = "Till".to_owned(),
        |details| details.key = secret(&DEVICE_KEY.to_lowercase()),
        |details| details.algorithm = PosAlgorithm::TotpWithPrice,
        |details| details.counter = Some(0),
    ];
    for (number, alter) in others.into_iter().enumerate() {
        let mut other = device("till");
        alter(&mut other);
        assert_eq!(
            add(other).await.err(),
            refusal(AddDeviceError::Conflict),
            "{number}"
        );
    }
    let added = bench.times(Action::OtpDeviceAdd).await;
    assert_eq!(added, 1);
}

/// The existing record may be on this server alone, and be lost with it.
#[tokio::test]
async fn the_same_again_is_acknowledged_only_once_it_lasts() {
    let bench = bench().await;
    let session = bench.session("shop").await;
    let details = device("till");
    bench.faults.commits(CommitMode::Lost);
    for _ in 0..2 {
        let added = session.add(&details).await;
        assert!(matches!(
            added,
            Err(Failure::Storage(StorageError::OutcomeUnknown(_)))
        ));
    }
    bench.faults.commits(CommitMode::Made);
    let added = session.add(&details).await;
    assert_eq!(added, Ok(()));
}

/// A request may take long between its head and its last byte.
#[tokio::test]
async fn nothing_is_changed_by_a_token_that_was_revoked_meanwhile() {
    let bench = bench().await;
    let session = bench.session("shop").await;
    let devices = &bench.service.otp_devices;
    let caller = session.caller::<Writing>(None).await;
    let other = session.caller::<crate::otp_devices::AnyToken>(None).await;
    devices.revoke(&other).await.unwrap();
    let refused = devices.add_device(&caller, &device("till")).await;
    let ended = AddDeviceError::Ended(ValidityError::Superseded);
    assert_eq!(refused.err(), refusal(ended));
    assert_eq!(bench.times(Action::OtpDeviceAdd).await, 0);

    // An operator learns it at the next request, and nothing is tried again.
    let ops = bench.operator("instances:shop").await;
    let act = Action::OtpDeviceAdd;
    let origin = origin();
    let permitted = devices.permit_operator(&ops, act, "shop", None, &origin);
    let caller: Caller<Writing> = permitted.await.unwrap();
    let administrator = devices.permit_administrator(&ops, act, "shop", &origin);
    let administrator = administrator.await.unwrap();
    let access = &bench.service.access;
    for token in access.list().await.unwrap() {
        access.revoke(&token.id, &command_line()).await.unwrap();
    }
    let lost = StorageError::Contended { tries: 1 };
    let refused = devices.add_device(&caller, &device("till")).await;
    assert_eq!(refused, Err(Failure::Storage(lost.clone())));
    let refused = devices.remove_instance(&administrator).await;
    assert_eq!(refused, Err(Failure::Storage(lost)));
}

/// The record of a token is kept for a day after its end.
#[tokio::test]
async fn nothing_is_changed_by_a_token_that_expired_meanwhile() {
    let bench = bench().await;
    let (devices, minute) = (&bench.service.otp_devices, Duration::from_secs(60));
    let token = bench.token("shop", "all", Lifetime::For(minute)).await;
    let caller = bench.permitted::<Writing>("shop", &token).await.unwrap();
    devices.add_device(&caller, &device("till")).await.unwrap();
    bench.clock.advance(minute);
    let at = auth_millis(START.saturating_add(minute));
    let expired = ValidityError::Expired { at };
    for id in ["till", "late"] {
        let added = devices.add_device(&caller, &device(id)).await;
        assert_eq!(added.err(), refusal(AddDeviceError::Ended(expired)), "{id}");
    }
    let changed = devices.change_device::<()>(&caller, "till", Ok(change("late")));
    let ended = ChangeDeviceError::Ended(expired);
    assert_eq!(changed.await.err(), refusal(ended));
    let removed = devices.remove_device(&caller, "till").await;
    let ended = RemoveDeviceError::Ended(expired);
    assert_eq!(removed.err(), refusal(ended));
    assert_eq!(bench.times(Action::OtpDeviceAdd).await, 1);
    for act in [Action::OtpDeviceChange, Action::OtpDeviceRemove] {
        assert_eq!(bench.times(act).await, 0, "{act}");
    }
}

#[tokio::test]
async fn keys_have_no_least_length_and_one_alphabet() {
    let bench = bench().await;
    let session = bench.session("shop").await;
    for (number, key) in ["", "A", "ab", "AB=", &"A".repeat(4000)]
        .into_iter()
        .enumerate()
    {
        let mut details = device(&format!("good-{number}"));
        details.key = secret(key);
        assert_eq!(session.add(&details).await, Ok(()), "{number}");
        let view = session.show(&details.id, Some(59), None).await.unwrap();
        assert_eq!(view.codes.unwrap().lines().count(), 5);
    }
    for key in ["0", "A B", "A===", "A=A", "1"] {
        let mut details = device("bad");
        details.key = secret(key);
        let refused = session.add(&details).await;
        assert!(
            matches!(refused, Err(Failure::Refused(AddDeviceError::Key(_)))),
            "{key:?}"
        );
    }
    let mut details = device("");
    details.key = secret("");
    assert_eq!(
        session.add(&details).await.err(),
        refusal(AddDeviceError::Id)
    );
}

#[tokio::test]
async fn a_weak_key_is_warned_of_once() {
    let bench = bench().await;
    let session = bench.session("shop").await;
    let (warnings, _counting) = Warnings::counted("otp_devices::devices");
    let mut details = device("till");
    details.key = secret("");
    for _ in 0..2 {
        assert_eq!(session.add(&details).await, Ok(()));
        assert_eq!(warnings.load(Ordering::Relaxed), 1);
    }
    assert_eq!(session.add(&device("strong")).await, Ok(()));
    assert_eq!(warnings.load(Ordering::Relaxed), 1);
    details.id = "kiosk".to_owned();
    assert_eq!(session.add(&details).await, Ok(()));
    assert_eq!(warnings.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn ids_and_descriptions_are_bounded() {
    let bench = bench().await;
    let session = bench.session("shop").await;
    let (longest_id, longest) = ("x".repeat(4096), "x".repeat(16_384));
    let mut details = device(&longest_id);
    details.description = longest.clone();
    assert_eq!(session.add(&details).await, Ok(()));
    details.description.push('x');
    let refused = session.add(&details).await;
    assert_eq!(refused.err(), refusal(AddDeviceError::Description));
    for id in [".", "..", &format!("{longest_id}x")] {
        let refused = session.add(&device(id)).await;
        assert_eq!(refused.err(), refusal(AddDeviceError::Id), "{id}");
    }
    for id in ["...", ".a", "a..", " ."] {
        assert_eq!(session.add(&device(id)).await, Ok(()), "{id}");
    }
    assert_eq!(session.change(&longest_id, change(&longest)).await, Ok(()));
    let refused = session
        .change(&longest_id, change(&details.description))
        .await;
    assert_eq!(refused.err(), refusal(ChangeDeviceError::Description));
}

#[tokio::test]
async fn codes_are_those_of_the_moment_and_the_price() {
    let bench = bench().await;
    let session = bench.session("shop").await;
    let mut priced = device("priced");
    priced.algorithm = PosAlgorithm::TotpWithPrice;
    let mut silent = device("silent");
    silent.algorithm = PosAlgorithm::None;
    for details in [device("plain"), priced, silent] {
        session.add(&details).await.unwrap();
    }
    let codes = async |id: &str, at, price: Option<&str>| {
        let price = price.map(|price| price.parse::<Amount>().unwrap());
        let view = session.show(id, at, price).await.unwrap();
        (view.at, view.codes.map(|codes| codes.to_string()))
    };
    let of = |text: &str| Some(text.replace(' ', "\n"));
    assert_eq!(
        codes("plain", Some(59), None).await,
        (59, of("84755224 84755224 94287082 37359152 26969429"))
    );
    assert_eq!(codes("plain", None, None).await.0, 1_700_000_000);
    assert_eq!(
        codes("priced", None, Some("EUR:1.23")).await,
        (
            1_700_000_000,
            of("11189900 65266997 89090266 62934818 61670786")
        )
    );
    assert_eq!(codes("priced", None, None).await.1, None);
    assert_eq!(codes("silent", None, Some("EUR:1")).await.1, None);
}

#[tokio::test]
async fn a_change_leaves_what_it_does_not_name() {
    let bench = bench().await;
    let session = bench.session("shop").await;
    let mut details = device("till");
    details.counter = Some(7);
    session.add(&details).await.unwrap();
    let before = session.show("till", Some(59), None).await.unwrap();

    let patch = async |change: DeviceChange| session.change("till", change).await;
    assert_eq!(patch(change("new")).await, Ok(()));
    let after = session.show("till", Some(59), None).await.unwrap();
    assert_eq!(after.description, "new");
    assert_eq!((after.counter, &after.codes), (Some(7), &before.codes));

    let mut same_algorithm = change("new");
    same_algorithm.algorithm = Some(PosAlgorithm::TotpWithoutPrice);
    same_algorithm.key = Some(secret("MFRGGZDF"));
    same_algorithm.counter = Some(8);
    assert_eq!(patch(same_algorithm).await, Ok(()));
    let after = session.show("till", Some(59), None).await.unwrap();
    assert_eq!(after.counter, Some(8));
    assert_ne!(after.codes, before.codes);

    let mut other_algorithm = change("newer");
    other_algorithm.algorithm = Some(PosAlgorithm::TotpWithPrice);
    assert_eq!(
        patch(other_algorithm).await.err(),
        refusal(ChangeDeviceError::Algorithm)
    );
    let after = session.show("till", Some(59), None).await.unwrap();
    assert_eq!(after.description, "new");

    let unknown = session.change("none", change("x")).await;
    assert_eq!(unknown.err(), refusal(ChangeDeviceError::Unknown));
}

#[tokio::test]
async fn of_equal_adds_at_once_one_is_written_and_of_unequal_ones_one_wins() {
    let bench = bench().await;
    let session = Arc::new(bench.session("shop").await);
    let race = async |alter: fn(usize, &mut DeviceDetails), id: &str| {
        let mut racers = tokio::task::JoinSet::new();
        for number in 0..16 {
            let session = session.clone();
            let mut details = device(id);
            alter(number, &mut details);
            racers.spawn(async move { session.add(&details).await });
        }
        let outcomes = racers.join_all().await;
        outcomes.iter().filter(|outcome| outcome.is_ok()).count()
    };
    assert_eq!(race(|_, _| {}, "equal").await, 16);
    let unequal = race(
        |number, details| details.counter = Some(number as u64),
        "unequal",
    );
    assert_eq!(unequal.await, 1);
    let added = bench.times(Action::OtpDeviceAdd).await;
    assert_eq!(added, 2);
}

#[tokio::test]
async fn no_change_is_lost_among_many() {
    let bench = bench().await;
    let session = Arc::new(bench.session("shop").await);
    session.add(&device("till")).await.unwrap();
    let mut racers = tokio::task::JoinSet::new();
    for number in 0..8_u64 {
        let session = session.clone();
        racers.spawn(async move {
            // Half of the changes set the counter, the others only the description.
            let mut change = change(&format!("by {number}"));
            change.counter = (number % 2 == 0).then_some(number);
            session.change("till", change).await
        });
    }
    assert!(racers.join_all().await.iter().all(Result::is_ok));
    let view = session.show("till", None, None).await.unwrap();
    assert!(
        view.counter.is_some_and(|counter| counter % 2 == 0),
        "{:?}",
        view.counter
    );
    let changed = bench.times(Action::OtpDeviceChange).await;
    assert_eq!(changed, 8);
}

#[tokio::test]
async fn no_key_is_in_the_store_in_the_clear() {
    let bench = bench().await;
    let session = bench.session("shop").await;
    session.add(&device("till")).await.unwrap();
    let rows = bench.rows(&Prefix::all()).await;
    assert!(rows.len() > 3);
    for row in rows {
        let body = String::from_utf8_lossy(row.json()).into_owned();
        assert!(!body.contains(DEVICE_KEY), "{body}");
    }
}

#[tokio::test]
async fn removal_is_final_and_told_once() {
    let bench = bench().await;
    let session = bench.session("shop").await;
    session.add(&device("a/b é")).await.unwrap();
    assert!(session.show("a/b é", None, None).await.is_ok());
    assert_eq!(session.remove("a/b é").await, Ok(()));
    assert_eq!(
        session.remove("a/b é").await.err(),
        refusal(RemoveDeviceError::Unknown)
    );
    assert_eq!(
        session.show("a/b é", None, None).await.err(),
        refusal(ShowDeviceError::Unknown)
    );
}

#[tokio::test]
async fn lists_are_by_id_and_of_one_instance() {
    let bench = bench().await;
    let (one, other) = (bench.session("one").await, bench.session("other").await);
    let long = "b".repeat(300);
    for id in ["c", &long, "a"] {
        one.add(&device(id)).await.unwrap();
    }
    let ids: Vec<_> = one
        .list()
        .await
        .unwrap()
        .into_iter()
        .map(|d| d.id)
        .collect();
    assert_eq!(ids, ["a", &long, "c"]);
    assert_eq!(other.list().await.unwrap(), []);
}

#[tokio::test]
async fn nothing_is_done_that_the_store_did_not_take() {
    let bench = bench().await;
    let session = bench.session("shop").await;
    bench.faults.commits(CommitMode::NotApplied);
    let refused = session.add(&device("till")).await;
    assert!(matches!(
        refused,
        Err(Failure::Storage(StorageError::NotApplied(_)))
    ));
    bench.faults.commits(CommitMode::Made);
    assert_eq!(session.list().await.unwrap(), []);

    let caller = session.caller(None).await;
    bench.faults.fail_reads(true);
    let refused = bench.service.otp_devices.devices(&caller).await;
    assert!(matches!(refused, Err(StorageError::Unavailable(_))));
}

#[tokio::test]
async fn a_key_that_no_record_holds_is_named_too_large() {
    let bench = bench().await;
    let session = bench.session("shop").await;
    let mut details = device("till");
    details.key = secret(&"A".repeat(900_000));
    let refused = session.add(&details).await;
    assert!(matches!(
        refused,
        Err(Failure::Storage(StorageError::TooLarge { .. }))
    ));
}
