//! Refresh tokens with `emnify.rotate_refresh_tokens`, on SQLite.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::json;
use tempfile::TempDir;

use crate::emnify::{
    dialect::{ADA, PASSWORD},
    site::{Answer, Site},
};

async fn refresh(site: &Site, token: &str) -> Answer {
    site.authenticate(json!({ "refresh_token": token })).await
}

/// Returns the second token of an answer. Asserts that the first is valid, and that the answer contains nothing else.
async fn successor(site: &Site, answer: &Answer) -> String {
    let members = answer.is(200).json.as_object().unwrap();
    let names: Vec<_> = members.keys().collect();
    assert_eq!(names, ["auth_token", "refresh_token"]);
    let bearer = answer.text("auth_token");
    let users = site.users(&bearer).await;
    users.is(200);
    answer.text("refresh_token")
}

#[tokio::test]
async fn each_use_gives_the_next_token_and_a_copy_ends_them_all() {
    let folder = TempDir::new().unwrap();
    let site = Site::rotating(folder.path()).await;
    let first = site.password(ADA, PASSWORD).await.text("refresh_token");
    let second = successor(&site, &refresh(&site, &first).await).await;
    assert_ne!(second, first);
    // The answer was lost, and the client retries.
    let again = successor(&site, &refresh(&site, &first).await).await;
    assert_eq!(again, second);
    let third = successor(&site, &refresh(&site, &second).await).await;
    site.clock.advance(Duration::from_secs(3 * 60));
    let fourth = successor(&site, &refresh(&site, &third).await).await;
    for token in [&first, &fourth, &third, &second] {
        refresh(&site, token).await.is_empty(401);
    }
    let mut trail = site.console.audit.events(site.now(), None).await.unwrap();
    let unnamed = trail.iter_mut().map(|(_, event)| event);
    site.console.accounts.name_subjects(unnamed).await.unwrap();
    let ended = trail.iter().filter(|(_, event)| {
        let detail = event.detail.as_deref().unwrap_or_default();
        detail.starts_with("type 6: Failed authentication request from 'ada@example.org'")
            && detail.contains("Refresh token used twice")
    });
    assert_eq!(ended.count(), 1);
    // A login starts a new family.
    let first = site.password(ADA, PASSWORD).await.text("refresh_token");
    successor(&site, &refresh(&site, &first).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_with_one_token_are_one_rotation() {
    let folder = TempDir::new().unwrap();
    let site = Arc::new(Site::rotating(folder.path()).await);
    let first = site.password(ADA, PASSWORD).await.text("refresh_token");
    let answers: Vec<_> = (0..100)
        .map(|_| {
            let (site, first) = (Arc::clone(&site), first.clone());
            tokio::spawn(async move { refresh(&site, &first).await })
        })
        .collect();
    let mut successors = BTreeSet::new();
    for answer in answers {
        let answer = answer.await.unwrap();
        successors.insert(answer.is(200).text("refresh_token"));
    }
    assert_eq!(successors.len(), 1);
    let trail = site.console.audit.events(site.now(), None).await.unwrap();
    let rotations = trail
        .iter()
        .filter(|(_, event)| event.action == "refresh_token.rotate");
    assert_eq!(rotations.count(), 1);
    let next = refresh(&site, successors.first().unwrap()).await;
    successor(&site, &next).await;
}
