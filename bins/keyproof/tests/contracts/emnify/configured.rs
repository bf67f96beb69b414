//! The configured values take effect: each number here differs from the default.

use std::{sync::Arc, time::Duration};

use keyproof::server::Server;
use keyproof_service::accounts::Role;
use keyproof_store::SystemEntropy;
use tokio::time::sleep;

use crate::{
    emnify::{
        dialect::{ADA, PASSWORD},
        site::Site,
    },
    stack::within,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_lock_lasts_for_as_long_as_is_configured() {
    let site = Site::configured(&[
        ("auth.address_limit", 0.into()),
        ("emnify.lockout_s", 60.into()),
    ])
    .await;
    site.add(ADA, "Example Org", Role::User).await;
    for _ in 0..3 {
        site.password(ADA, "wrong horse").await.is(401);
    }
    site.clock.advance(Duration::from_secs(60) - MILLISECOND);
    site.password(ADA, PASSWORD).await.is(401);
    site.clock.advance(MILLISECOND);
    site.password(ADA, PASSWORD).await.is(200);
}

#[tokio::test]
async fn the_window_of_an_address_is_as_long_as_is_configured() {
    let site = Site::configured(&[
        ("auth.address_limit", 1.into()),
        ("auth.address_window_s", 600.into()),
    ])
    .await;
    site.password("a", "b").await.is(401);
    let refused = site.password("a", "b").await;
    assert_eq!(refused.is(429).header("retry-after"), "600");
    site.clock.advance(Duration::from_secs(600));
    site.password("a", "b").await.is(401);
}

/// Returns whether the trail contains the creation of a user.
async fn tells_of_ada(site: &Site) -> bool {
    !site.events_of("user.add").await.is_empty()
}

#[tokio::test]
async fn the_audit_trail_is_kept_for_as_long_as_is_configured() {
    let site = Site::configured(&[
        ("audit.keep_days", 2.into()),
        ("audit.keep_refusals_days", 1.into()),
    ])
    .await;
    site.password("a", "b").await.is(401);
    let events = site.rows("audit").await;
    let ends: Vec<_> = events.iter().filter_map(|raw| raw.expires_at()).collect();
    let end = site.now().saturating_add(DAY);
    assert_eq!(ends, [end], "of the refusal alone");

    site.add(ADA, "Example Org", Role::User).await;
    assert!(tells_of_ada(&site).await);
    site.clock.advance(DAY * 2 + Duration::from_secs(1));
    // A server starts with its clean-up.
    let (config, clock) = (Arc::clone(&site.config), site.clock.clone());
    let entropy = Arc::new(SystemEntropy::new());
    let twin = Server::start(config, site.store.clone(), clock, entropy);
    let _twin = twin.await.unwrap();
    within(async {
        while tells_of_ada(&site).await {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
