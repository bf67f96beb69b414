//! What operators list, a page at a time.

use super::add;
use crate::{
    accounts::Role,
    pages::PAGE,
    testing::{PASSWORD, bench, console, secret},
};

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
            .add_instance(&name, secret(PASSWORD), &console())
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
