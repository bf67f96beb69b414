//! Operators' lists, page by page.

use keyproof_auth::operator::OperatorScopes;

use super::{add, command_line, enrol, pending, signed_in};
use crate::{
    StorageError, TooBusy,
    access::NewOperatorToken,
    accounts::{Caller, NewUser, Role, Sort, SortKey, UserQuery},
    pages::PAGE,
    testing::{Bench, PASSWORD, administrator, bench, origin, secret},
};

/// An operator whose token has these scopes.
async fn operator(bench: &Bench, scopes: Vec<String>) -> Caller {
    let new = NewOperatorToken {
        subject: "ops".to_owned(),
        scopes: OperatorScopes::parse(scopes.iter().map(|scope| &**scope)).unwrap(),
        lifetime: None,
    };
    let access = &bench.service.access;
    let token = access.create(new, &command_line()).await.unwrap();
    let operator = access.authenticate(&token.text).await.unwrap();
    Caller::new(&operator, &origin())
}

async fn add_organisation(bench: &Bench, organisation: &str) {
    let new = NewUser {
        name: format!("ada@{organisation}"),
        organisation: organisation.to_owned(),
        role: Role::User,
    };
    let accounts = &bench.service.accounts;
    accounts
        .add_user(&new, secret(PASSWORD), &command_line())
        .await
        .unwrap();
}

/// A scope may name an organisation that does not exist, or not yet.
#[tokio::test]
async fn organisations_are_seen_behind_however_many_that_are_not_there() {
    let bench = bench().await;
    for number in [50, 51, 120] {
        add_organisation(&bench, &format!("org{number:03}")).await;
    }
    let accounts = &bench.service.accounts;
    let names = |organisations: Vec<crate::accounts::Organisation>| -> Vec<String> {
        organisations.into_iter().map(|found| found.name).collect()
    };
    let scopes = |numbers: std::ops::Range<u32>| {
        let scope = |number| format!("users-read:org{number:03}");
        numbers.map(scope).collect::<Vec<_>>()
    };
    // Of 51 organisations only the last exists.
    let caller = operator(&bench, scopes(0..51)).await;
    let page = accounts.organisations(&caller, None).await.unwrap();
    assert_eq!(page.next, None);
    assert_eq!(names(page.rows), ["org050"]);

    let caller = operator(&bench, scopes(0..130)).await;
    let page = accounts.organisations(&caller, None).await.unwrap();
    assert_eq!(names(page.rows), ["org050", "org051"]);
    let page = accounts
        .organisations(&caller, page.next.as_deref())
        .await
        .unwrap();
    assert_eq!(page.next, None);
    assert_eq!(names(page.rows), ["org120"]);
}

/// All listings share the queue of CPU-bound work.
#[tokio::test(start_paused = true)]
async fn readings_of_one_organisation_shut_no_other_out() {
    let bench = bench().await;
    let accounts = &bench.service.accounts;
    let query = UserQuery::new(Vec::new(), Vec::new(), 1, 10).unwrap();
    let mut people = Vec::new();
    for organisation in ["one", "other"] {
        add_organisation(&bench, organisation).await;
        let name = format!("ada@{organisation}");
        people.push(signed_in(&bench, &name).await);
    }
    let [one, other] = &people[..] else { panic!() };
    let mut taken = Vec::new();
    while let Ok(place) = accounts.listings.take(&one.party()).await {
        taken.push(place);
    }
    let refused = accounts.users(one, &query).await;
    assert_eq!(refused.unwrap_err(), StorageError::Busy(TooBusy));
    assert_eq!(accounts.users(other, &query).await.unwrap().total, 1);
    // The caller counts, not the organisation that is listed.
    let caller = operator(&bench, vec!["users-read:one".to_owned()]).await;
    let organisation = one.owner.organisation;
    let seen = accounts.users_as(&caller, organisation, &query).await;
    assert_eq!(seen.unwrap().1.total, 1);
    taken.clear();
    assert_eq!(accounts.users(one, &query).await.unwrap().total, 1);
}

#[tokio::test]
async fn the_list_of_users_is_read_in_pages_and_has_each_once() {
    let bench = bench().await;
    let accounts = &bench.service.accounts;
    assert_eq!(accounts.all_users(None).await.unwrap(), []);
    let mut names: Vec<String> = (0..=PAGE)
        .map(|number| format!("user{number:03}"))
        .collect();
    for name in &names {
        add(&bench, name, Role::User).await;
    }
    let mut listed = Vec::new();
    loop {
        let page = accounts.all_users(listed.last()).await.unwrap();
        assert!(page.len() <= PAGE);
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    let mut found: Vec<String> = listed.into_iter().map(|user| user.name).collect();
    found.sort();
    names.sort();
    assert_eq!(found, names);
}

#[tokio::test]
async fn the_list_of_instances_is_read_in_pages_by_name() {
    let bench = bench().await;
    let devices = &bench.service.otp_devices;
    let mut names = vec!["default".to_owned()];
    for number in 0..PAGE {
        let name = format!("shop{number:03}");
        devices
            .add_instance(&administrator(&name), secret(PASSWORD))
            .await
            .unwrap();
        names.push(name);
    }
    let mut listed = Vec::new();
    for pages in [PAGE, 1, 0] {
        let page = devices.instances(listed.last()).await.unwrap();
        assert_eq!(page.len(), pages);
        listed.extend(page);
    }
    let found: Vec<String> = listed.into_iter().map(|instance| instance.name).collect();
    assert_eq!(found, names);
}

#[tokio::test]
async fn each_user_of_a_page_has_their_own_key() {
    let bench = bench().await;
    for (name, role) in [
        ("eve", Role::User),
        ("bob", Role::User),
        ("ada", Role::Administrator),
    ] {
        add(&bench, name, role).await;
    }
    let (_, ada, active) = enrol(&bench, "ada").await;
    let bob = signed_in(&bench, "bob").await;
    let (_, unfinished) = pending(&bench, &bob).await;
    let by_name = Sort {
        key: SortKey::Name,
        descending: false,
    };
    let mut listed = Vec::new();
    for page in [1, 2] {
        let query = UserQuery::new(vec![], vec![by_name], page, 2).unwrap();
        let found = bench.service.accounts.users(&ada, &query).await.unwrap();
        assert_eq!(found.total, 3);
        listed.extend(found.users);
    }
    let keys = listed.iter().map(|user| {
        let key = user.key.as_ref();
        let key = key.map(|key| (key.id, key.activated_at.is_some()));
        (&*user.name, key)
    });
    let expected = [
        ("ada", Some((active, true))),
        ("bob", Some((unfinished, false))),
        ("eve", None),
    ];
    assert!(keys.eq(expected), "{listed:?}");
}
