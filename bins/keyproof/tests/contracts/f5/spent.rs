//! How long a used ticket or nonce is recorded: another server's clock may be behind, and still take it for valid.

use std::time::Duration;

use crate::f5::{
    dialect::{ACTIVATE, ATTEST},
    machine::{Machine, SELECTION},
    provision::furnished,
    site::Site,
};

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const LIFE_OF_NONCE: Duration = Duration::from_secs(5 * 60);
const LIFE_OF_TICKET: Duration = HOUR;

/// Asserts that the record of a ticket or nonce issued now expires an hour after it.
async fn outlives(site: &Site, collection: &str, life: Duration) {
    site.clock.advance(life + HOUR - MILLISECOND);
    assert_eq!(site.records(collection).await, 1, "a clock may be behind");
    site.clock.advance(MILLISECOND);
    assert_eq!(site.records(collection).await, 0);
}

#[tokio::test]
async fn a_used_nonce_is_kept_for_an_hour_after_its_end() {
    let (site, key, device) = furnished().await;
    site.activated(&key, &device).await;
    let machine = Machine::new(device);
    let nonce = machine.nonce(&site, SELECTION).await;
    let body = machine.attests(&nonce, SELECTION);
    site.post(ATTEST, &body).await.accepts();
    outlives(&site, "tpm_spent_nonce", LIFE_OF_NONCE).await;
}

#[tokio::test]
async fn a_used_ticket_is_kept_for_an_hour_after_its_end() {
    let (site, key, device) = furnished().await;
    let activation = device.activation(&site.provisioned(&key, &device).await);
    site.post(ACTIVATE, &activation).await.is(204);
    outlives(&site, "tpm_spent_ticket", LIFE_OF_TICKET).await;
}
