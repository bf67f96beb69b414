//! The trust bundle: which managers use it, and that running servers notice additions and removals.

use std::{fs, process::Command, sync::Arc, time::Duration};

use keyproof_service::device_identity::{AddTrustError, TrustEntry, TrustItem, TrustKind};
use keyproof_x509::Sha256Thumbprint;
use rcgen::CrlScope;
use serde_json::json;

use crate::f5::{
    device::{Device, Manufacturer},
    dialect::{MANAGERS, PROVISION, START},
    faults::FaultyEngine,
    site::{Answer, Site, command_line},
};

fn items(pem: &str) -> Vec<TrustItem> {
    TrustItem::read(pem.as_bytes(), false).unwrap()
}

fn fingerprint(pem: &str) -> Sha256Thumbprint {
    items(pem)[0].fingerprint()
}

async fn add(site: &Site, pem: &str) {
    let devices = &site.console.device_identity;
    let added = devices.add_trust(&items(pem), &command_line()).await;
    assert_eq!(added.unwrap().added.len(), items(pem).len());
}

async fn remove(site: &Site, pem: &str) {
    let devices = &site.console.device_identity;
    let fingerprint = fingerprint(pem);
    let removed = devices.remove_trust(&fingerprint, &command_line()).await;
    removed.unwrap();
}

/// Returns the CRLs of the bundle.
async fn lists(site: &Site) -> Vec<TrustEntry> {
    let entries = site.console.device_identity.trust_entries().await;
    let mut entries = entries.unwrap();
    entries.retain(|entry| entry.kind == TrustKind::RevocationList);
    entries
}

/// Returns a site whose manager trusts these roots, and an API key.
async fn site(roots: &[&str], trusts_bundle: Option<bool>) -> (Site, String) {
    let site = Site::start().await;
    let key = furnish(&site, roots, trusts_bundle).await;
    (site, key)
}

async fn furnish(site: &Site, roots: &[&str], trusts_bundle: Option<bool>) -> String {
    let spec = json!({ "ek_root_certificates": roots, "ek_trust_bundle": trusts_bundle });
    site.create(MANAGERS, "manager", spec).await.is(200);
    site.category("category").await.is(200);
    site.api_key("station").await
}

async fn provision(site: &Site, key: &str, device: &Device) -> Answer {
    site.post(PROVISION, &device.request(key)).await
}

#[tokio::test]
async fn the_roots_of_the_bundle_count_for_managers_that_say_so() {
    let maker = Manufacturer::new();
    let device = Device::new(&maker, "SN0001");
    let (site, key) = site(&[], None).await;
    add(&site, &maker.root).await;
    let manager = format!("{MANAGERS}/manager");
    let trusts = async || site.get(&manager).await.json["spec"]["ek_trust_bundle"].clone();
    assert_eq!(trusts().await, false);
    let refused = provision(&site, &key, &device).await;
    refused.refuses(403, 7).saying("not trusted");
    let say = async |spec| site.replace(MANAGERS, "manager", spec).await;
    say(json!({ "ek_trust_bundle": true })).await.is(200);
    assert_eq!(trusts().await, true);
    provision(&site, &key, &device).await.is(200);
    // A client that does not know the member resets it.
    say(json!({})).await.is(200);
    assert_eq!(trusts().await, false);
    provision(&site, &key, &device).await.refuses(403, 7);
    say(json!({ "ek_trust_bundle": "yes" }))
        .await
        .refuses(400, 3);
    say(json!({ "ek_trust_bundle": true })).await.is(200);
    provision(&site, &key, &device).await.is(200);
    // No restart is needed.
    remove(&site, &maker.root).await;
    provision(&site, &key, &device).await.refuses(403, 7);
}

/// Though no root of the bundle has anything to do with the certificate.
#[tokio::test]
async fn an_issuer_that_the_bundle_lacks_is_named() {
    let maker = Manufacturer::new();
    let device = Device::new(&maker.below_as("Stranger"), "SN0001");
    let (site, key) = site(&[], Some(true)).await;
    add(&site, &maker.root).await;
    let refused = provision(&site, &key, &device).await;
    refused
        .refuses(403, 7)
        .saying("its issuer `CN=Stranger` is not among the certificates given");
}

#[tokio::test]
async fn the_intermediates_of_the_bundle_stand_between_for_every_manager() {
    let maker = Manufacturer::new();
    let intermediate = maker.below();
    let device = Device::new(&intermediate, "SN0001");
    let (site, key) = site(&[&maker.root], None).await;
    let refused = provision(&site, &key, &device).await;
    refused
        .refuses(403, 7)
        .saying("is not among the certificates given");
    add(&site, &intermediate.root).await;
    provision(&site, &key, &device).await.is(200);
    remove(&site, &intermediate.root).await;
    provision(&site, &key, &device).await.refuses(403, 7);

    // It does not end a chain, even for a manager that trusts the bundle.
    let (site, key) = self::site(&[], Some(true)).await;
    add(&site, &intermediate.root).await;
    provision(&site, &key, &device).await.refuses(403, 7);
    add(&site, &maker.root).await;
    provision(&site, &key, &device).await.is(200);
}

#[tokio::test]
async fn the_revocation_lists_of_the_bundle_are_asked_for_every_manager() {
    let maker = Manufacturer::new();
    let device = Device::new(&maker, "SN0001");
    let (site, key) = site(&[&maker.root], None).await;
    provision(&site, &key, &device).await.is(200);
    add(&site, &maker.root).await;
    add(&site, &maker.revocation_list(START - 60, false)).await;
    provision(&site, &key, &device).await.is(200);
    let revoking = maker.revocation_list(START, true);
    add(&site, &revoking).await;
    let refused = provision(&site, &key, &device).await;
    refused.refuses(403, 7).saying("revoked");
    // An expired CRL only causes warnings about certificates that it does not contain; its entries stay revoked.
    site.clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
    provision(&site, &key, &device).await.refuses(403, 7);
    let later = maker.revocation_list(START + 60, false);
    add(&site, &later).await;
    provision(&site, &key, &device).await.is(200);

    // An older CRL is rejected, and a newer one has replaced the others.
    let devices = &site.console.device_identity;
    let older = devices.add_trust(&items(&revoking), &command_line()).await;
    let refused = AddTrustError::Older { block: Some(1) };
    assert_eq!(older, Err(keyproof_service::Failure::Refused(refused)));
    let lists = lists(&site).await;
    assert_eq!(lists.len(), 1);
    assert_eq!(lists[0].fingerprint, fingerprint(&later));
    assert_eq!(lists[0].revoked, Some(0));
}

/// An offline CA signs several CRLs at once; later a key is stolen.
#[tokio::test]
async fn a_revocation_list_that_was_signed_ahead_takes_no_place_before_its_time() {
    const HOUR: u64 = 60 * 60;
    let maker = Manufacturer::new();
    let device = Device::new(&maker, "SN0001");
    let numbered =
        |number, at, revokes| maker.revocation_list_numbered(number, at, at + 24 * HOUR, revokes);
    let first = numbered(10, START - 2 * HOUR, false);
    let ahead = numbered(11, START + HOUR, false) + &numbered(12, START + 4 * HOUR, false);
    let emergency = numbered(20, START - 60, true);
    let signed_at_once = format!("{first}{ahead}");
    let all = format!("{signed_at_once}{emergency}");
    let orders: [(&[&str], usize); 3] = [
        (&[&signed_at_once, &emergency], 3),
        (&[&emergency, &ahead], 3),
        (&[&all], 4),
    ];
    for (files, there) in orders {
        let (site, key) = site(&[&maker.root], None).await;
        let devices = &site.console.device_identity;
        add(&site, &maker.root).await;
        for file in files {
            add(&site, file).await;
        }
        assert_eq!(lists(&site).await.len(), there);
        // Also after the start of each one's validity.
        for hours in [0, 2, 2] {
            site.clock.advance(Duration::from_secs(hours * HOUR));
            let refused = provision(&site, &key, &device).await;
            refused.refuses(403, 7).saying("it is revoked");
        }
        // It replaces all except the one that starts later.
        let lifted = numbered(21, START + 4 * HOUR - 60, false);
        add(&site, &lifted).await;
        assert_eq!(lists(&site).await.len(), 2);
        provision(&site, &key, &device).await.is(200);
        let older = devices.add_trust(&items(&emergency), &command_line()).await;
        let refused = AddTrustError::Older { block: Some(1) };
        assert_eq!(older, Err(keyproof_service::Failure::Refused(refused)));
        // A CRL that has become valid meanwhile is replaced when the next one is added.
        add(&site, &numbered(22, START + 5 * HOUR, false)).await;
        assert_eq!(lists(&site).await.len(), 3);
        site.clock.advance(Duration::from_secs(2 * HOUR));
        add(&site, &numbered(23, START + 9 * HOUR, false)).await;
        assert_eq!(lists(&site).await.len(), 2);
    }
}

/// For CRLs of the same time, the higher number is newer, as in path validation.
#[tokio::test]
async fn a_revocation_list_takes_the_place_of_one_of_its_time_by_a_higher_number_alone() {
    let maker = Manufacturer::new();
    let device = Device::new(&maker, "SN0001");
    let numbered =
        |number, revokes| maker.revocation_list_numbered(number, START, START + 60, revokes);
    let (site, key) = site(&[&maker.root], None).await;
    let devices = &site.console.device_identity;
    add(&site, &maker.root).await;
    add(&site, &numbered(6, true)).await;
    let older = items(&numbered(5, false));
    let older = devices.add_trust(&older, &command_line()).await;
    let refused = AddTrustError::Older { block: Some(1) };
    assert_eq!(older, Err(keyproof_service::Failure::Refused(refused)));
    // For two with the same number, neither is known to be newer.
    add(&site, &numbered(6, false)).await;
    assert_eq!(lists(&site).await.len(), 2);
    let refused = provision(&site, &key, &device).await;
    refused.refuses(403, 7).saying("it is revoked");
    add(&site, &numbered(7, false)).await;
    assert_eq!(lists(&site).await.len(), 1);
    provision(&site, &key, &device).await.is(200);
}

/// A CRL that ends before an older one does not replace it.
#[tokio::test]
async fn a_revocation_list_takes_the_place_of_none_that_is_good_for_longer() {
    let maker = Manufacturer::new();
    let device = Device::new(&maker, "SN0001");
    let long = maker.revocation_list_numbered(1, START - 60, START + 3 * 60, true);
    let short = maker.revocation_list_numbered(2, START, START + 60, false);
    for order in [[&long, &short], [&short, &long]] {
        let (site, key) = site(&[&maker.root], None).await;
        add(&site, &maker.root).await;
        for list in order {
            add(&site, list).await;
        }
        assert_eq!(lists(&site).await.len(), 2);
        provision(&site, &key, &device).await.is(200);
        site.clock.advance(Duration::from_secs(2 * 60));
        let refused = provision(&site, &key, &device).await;
        refused.refuses(403, 7).saying("it is revoked");
    }
}

/// A CA may have another key, and its CRLs may not contain which key they are of.
#[tokio::test]
async fn a_revocation_list_takes_the_place_of_none_of_its_issuers_other_key() {
    let [first, second] = Manufacturer::indistinct();
    let device = Device::new(&first, "SN0001");
    let (site, key) = site(&[&first.root, &second.root], None).await;
    for maker in [&first, &second] {
        add(&site, &maker.root).await;
    }
    add(&site, &first.revocation_list(START - 120, false)).await;
    provision(&site, &key, &device).await.is(200);
    add(&site, &second.revocation_list(START - 60, true)).await;
    assert_eq!(lists(&site).await.len(), 2);
    provision(&site, &key, &device).await.is(200);
    // It does not block an older one either.
    add(&site, &first.revocation_list(START - 90, true)).await;
    assert_eq!(lists(&site).await.len(), 2);
    let refused = provision(&site, &key, &device).await;
    refused.refuses(403, 7).saying("it is revoked");
}

#[tokio::test]
async fn a_revocation_list_whose_issuer_is_not_there_takes_no_place_and_stands_in_nobodys_way() {
    let [maker, forger] = Manufacturer::indistinct();
    let device = Device::new(&maker, "SN0001");
    let (site, key) = site(&[&maker.root], None).await;
    add(&site, &maker.revocation_list(START - 60, true)).await;
    add(&site, &forger.revocation_list(START, false)).await;
    assert_eq!(lists(&site).await.len(), 2);
    let refused = provision(&site, &key, &device).await;
    refused.refuses(403, 7).saying("it is revoked");
    // The result names each CRL that has no known issuer.
    let another = maker.revocation_list(START - 120, false);
    let devices = &site.console.device_identity;
    let added = devices.add_trust(&items(&another), &command_line()).await;
    assert_eq!(added.unwrap().without_issuer, [fingerprint(&another)]);
    assert_eq!(lists(&site).await.len(), 3);
    // Once the issuer's certificate is in the bundle, its CRLs are known.
    add(&site, &maker.root).await;
    let latest = maker.revocation_list(START - 30, false);
    add(&site, &latest).await;
    let left: Vec<_> = lists(&site)
        .await
        .iter()
        .map(|list| list.fingerprint)
        .collect();
    assert_eq!(left.len(), 2);
    assert!(left.contains(&fingerprint(&latest)));
    provision(&site, &key, &device).await.is(200);
}

/// A CRL for CAs does not cover endorsement certificates.
#[tokio::test]
async fn a_revocation_list_takes_the_place_of_those_that_tell_of_nothing_else() {
    let maker = Manufacturer::new();
    let device = Device::new(&maker, "SN0001").endorsed_with_a_list(&maker);
    let of_users = |at, has_all| maker.revocation_list_of(CrlScope::UserCertsOnly, at, has_all);
    let users = of_users(START, true);
    let cas = maker.revocation_list_of(CrlScope::CaCertsOnly, START + 60, false);
    for lists in [[&users, &cas], [&cas, &users]] {
        let (site, key) = site(&[&maker.root], None).await;
        site.clock.advance(Duration::from_secs(180));
        let devices = &site.console.device_identity;
        let there = async || self::lists(&site).await.len();
        add(&site, &maker.root).await;
        provision(&site, &key, &device).await.is(200);
        for list in lists {
            add(&site, list).await;
        }
        assert_eq!(there().await, 2);
        let refused = provision(&site, &key, &device).await;
        refused.refuses(403, 7).saying("revoked");
        let lifted = of_users(START + 1, false);
        add(&site, &lifted).await;
        assert_eq!(there().await, 2);
        provision(&site, &key, &device).await.is(200);

        // A CRL that covers all certificates replaces both, and neither replaces it.
        add(&site, &maker.revocation_list(START + 120, false)).await;
        assert_eq!(there().await, 1);
        let older = of_users(START + 119, false);
        let older = devices.add_trust(&items(&older), &command_line()).await;
        let refused = AddTrustError::Older { block: Some(1) };
        assert_eq!(older, Err(keyproof_service::Failure::Refused(refused)));
        add(&site, &of_users(START + 180, true)).await;
        assert_eq!(there().await, 2);
        provision(&site, &key, &device).await.refuses(403, 7);
        // An older CRL with a wider scope is also kept, for what the newer one does not cover.
        add(&site, &maker.revocation_list(START + 150, false)).await;
        assert_eq!(there().await, 2);
        provision(&site, &key, &device).await.refuses(403, 7);
    }
}

/// A manufacturer's intermediate may be in a manager's list together with its root, or alone.
#[tokio::test]
async fn an_intermediate_that_a_manager_lists_is_none_once_its_issuer_has_revoked_it() {
    let maker = Manufacturer::new();
    let intermediate = maker.below();
    let lower = intermediate.below_as("TPM lower intermediate");
    let both = format!("{}{}", maker.root, intermediate.root);
    let (of_it, of_lower) = (
        Device::new(&intermediate, "SN0001"),
        Device::new(&lower, "SN0002"),
    );
    let revoking = maker.revocation_list(START, true);
    // With its root, in one block or two; alone; and with a CA below it.
    let listings: [(&[&str], &Device); 5] = [
        (&[&both], &of_it),
        (&[&intermediate.root, &maker.root], &of_it),
        (&[&intermediate.root], &of_it),
        (&[&lower.root, &intermediate.root], &of_lower),
        (&[&lower.root, &intermediate.root, &maker.root], &of_lower),
    ];
    for (listed, device) in listings {
        let (site, key) = site(listed, None).await;
        site.clock.advance(Duration::from_secs(60));
        provision(&site, &key, device).await.is(200);
        // Its issuer's CRL applies once the issuer is known.
        add(&site, &maker.revocation_list(START - 60, false)).await;
        add(&site, &maker.root).await;
        provision(&site, &key, device).await.is(200);
        add(&site, &revoking).await;
        let refused = provision(&site, &key, device).await;
        refused.refuses(403, 7).saying("not trusted");
        let later = maker.revocation_list(START + 60, false);
        add(&site, &later).await;
        provision(&site, &key, device).await.is(200);
    }

    // The same for a root in the bundle that is not self-signed.
    let (site, key) = site(&[], Some(true)).await;
    let devices = &site.console.device_identity;
    let as_root = TrustItem::read(intermediate.root.as_bytes(), true).unwrap();
    let added = devices.add_trust(&as_root, &command_line()).await;
    assert_eq!(added.unwrap().added[0].0, TrustKind::Root);
    provision(&site, &key, &of_it).await.is(200);
    add(&site, &maker.root).await;
    add(&site, &revoking).await;
    let refused = provision(&site, &key, &of_it).await;
    refused.refuses(403, 7).saying("not trusted");
}

/// Every accepted form of a manager's roots is used.
#[tokio::test]
async fn roots_count_in_every_form_that_is_taken() {
    let maker = Manufacturer::new();
    let intermediate = maker.below();
    let (of_root, of_intermediate) = (
        Device::new(&maker, "SN0001"),
        Device::new(&intermediate, "SN0002"),
    );
    let packed = pkcs7(&maker.root);
    assert!(packed.starts_with("-----BEGIN PKCS7-----"), "{packed}");
    let indented = maker.root.replace('\n', "\n    ");
    for root in [packed, indented, maker.root.replace('\n', "\r")] {
        let (site, key) = site(&[&root, &intermediate.root], None).await;
        provision(&site, &key, &of_root).await.is(200);
        provision(&site, &key, &of_intermediate).await.is(200);
        // It is also the intermediate's issuer.
        add(&site, &maker.revocation_list(START, true)).await;
        for device in [&of_root, &of_intermediate] {
            let refused = provision(&site, &key, device).await;
            refused.refuses(403, 7).saying("it is revoked");
        }
    }
}

/// Returns a certificate as OpenSSL packs it.
fn pkcs7(certificate: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("root.pem");
    fs::write(&file, certificate).unwrap();
    let output = Command::new("openssl")
        .args(["crl2pkcs7", "-nocrl", "-certfile"])
        .arg(file)
        .output()
        .expect("the peer `openssl` cannot be run: install the package openssl");
    String::from_utf8(output.stdout).unwrap()
}

/// Without CRLs, a listed root may be cross-certified by a CA that is unknown, expired or only has the same name.
#[tokio::test]
async fn an_intermediate_that_a_manager_lists_alone_ends_chains() {
    let maker = Manufacturer::new();
    let (intermediate, stranger) = (maker.below(), Manufacturer::new());
    let device = Device::new(&intermediate, "SN0001");
    let ended = maker.ended();
    // The stranger has the same name as its issuer.
    for listed in [
        &[&*intermediate.root][..],
        &[&*stranger.root, &*intermediate.root],
        &[&*ended, &*intermediate.root],
    ] {
        let (site, key) = site(listed, None).await;
        provision(&site, &key, &device).await.is(200);
        add(&site, &stranger.root).await;
        add(&site, &stranger.revocation_list(START, true)).await;
        provision(&site, &key, &device).await.is(200);
    }
}

/// The issuer's constraints apply: its path length.
#[tokio::test]
async fn the_constraints_of_a_root_count_for_an_intermediate_beside_it() {
    let maker = Manufacturer::with_path_len(0);
    let intermediate = maker.below();
    let device = Device::new(&intermediate, "SN0001");
    let (site, key) = site(&[&maker.root, &intermediate.root], None).await;
    let refused = provision(&site, &key, &device).await;
    refused.refuses(403, 7).saying("not trusted");
}

/// The search for issuers has a limit, so that it does not slow down every provision.
#[tokio::test]
async fn a_list_of_namesakes_is_given_up_and_stands_in_nobodys_way_who_says_whose_key_it_is() {
    let (lost, maker) = (Manufacturer::new(), Manufacturer::new());
    let intermediate = maker.below();
    // All have the same name as the roots, and none of them has issued another.
    let namesakes: Vec<_> = (0..300).map(|_| lost.below_as("TPM root")).collect();
    let mut listed: Vec<&str> = namesakes.iter().map(|ca| &*ca.root).collect();
    listed.extend([&*intermediate.root, &*maker.root]);
    let (site, key) = site(&listed, None).await;
    let refused = provision(&site, &key, &Device::new(&namesakes[0], "SN0001")).await;
    refused.refuses(403, 7).saying("took too much work");
    let honest = Device::new(&intermediate, "SN0002");
    provision(&site, &key, &honest).await.is(200);
    add(&site, &maker.root).await;
    add(&site, &maker.revocation_list(START, true)).await;
    // Its own issuer has revoked it, so all the namesakes are tried after that.
    let refused = provision(&site, &key, &honest).await;
    refused.refuses(403, 7).saying("took too much work");
}

#[tokio::test]
async fn a_revocation_list_that_its_issuer_has_not_signed_is_refused_where_that_is_seen() {
    let (maker, stranger) = (Manufacturer::new(), Manufacturer::new());
    let (site, _) = site(&[], None).await;
    let devices = &site.console.device_identity;
    // Both have the same name.
    add(&site, &maker.root).await;
    let forged = stranger.revocation_list(START, false);
    let refused = devices.add_trust(&items(&forged), &command_line()).await;
    let not_signed = AddTrustError::NotSigned { block: Some(1) };
    assert_eq!(refused, Err(keyproof_service::Failure::Refused(not_signed)));
    assert_eq!(devices.trust_entries().await.unwrap().len(), 1);
    // Together with its issuer's certificate it is accepted as that one's.
    let both = format!("{}{forged}", stranger.root);
    let added = devices.add_trust(&items(&both), &command_line()).await;
    let kinds: Vec<TrustKind> = added.unwrap().added.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [TrustKind::Root, TrustKind::RevocationList]);
}

#[tokio::test]
async fn a_provision_is_judged_again_when_the_bundle_changed_meanwhile() {
    let engine = FaultyEngine::new();
    let site = Site::on(engine.clone(), &[]).await;
    let key = furnish(&site, &[], Some(true)).await;
    let maker = Manufacturer::new();
    add(&site, &maker.root).await;
    let device = Device::new(&maker, "SN0001");
    let answer = engine.overtake(provision(&site, &key, &device), remove(&site, &maker.root));
    answer.await.refuses(403, 7);
    assert_eq!(site.records("tpm_device").await, 0);
}

/// A provision cannot have read any record of the bundle yet.
#[tokio::test]
async fn a_provision_is_judged_again_when_the_bundle_began_meanwhile() {
    let engine = FaultyEngine::new();
    let site = Site::on(engine.clone(), &[]).await;
    let maker = Manufacturer::new();
    let key = furnish(&site, &[&maker.root], None).await;
    let device = Device::new(&maker, "SN0001");
    let revoking = maker.revocation_list(START, true);
    let answer = engine.overtake(provision(&site, &key, &device), add(&site, &revoking));
    answer.await.refuses(403, 7).saying("revoked");
    assert_eq!(site.records("tpm_device").await, 0);

    // Two provisions without a bundle both succeed, and what is added then applies.
    let site = Site::on(FaultyEngine::new(), &[]).await;
    let key = furnish(&site, &[&maker.root], None).await;
    let other = Device::new(&maker, "SN0002");
    let (one, other) = tokio::join!(
        provision(&site, &key, &device),
        provision(&site, &key, &other)
    );
    one.is(200);
    other.is(200);
    assert!(
        site.console
            .device_identity
            .trust_entries()
            .await
            .unwrap()
            .is_empty()
    );
    add(&site, &revoking).await;
    let refused = provision(&site, &key, &device).await;
    refused.refuses(403, 7).saying("revoked");
}

#[tokio::test]
async fn files_added_at_once_are_all_there() {
    let (site, _) = site(&[], None).await;
    let makers: Vec<_> = (0..8).map(|_| Manufacturer::new().root).collect();
    let adding = makers.iter().map(|root| {
        let (console, items) = (Arc::clone(&site.console), items(root));
        tokio::spawn(async move {
            let devices = &console.device_identity;
            let added = devices.add_trust(&items, &command_line()).await;
            assert_eq!(added.unwrap().known, 0);
        })
    });
    for adding in adding.collect::<Vec<_>>() {
        adding.await.unwrap();
    }
    let devices = &site.console.device_identity;
    assert_eq!(devices.trust_entries().await.unwrap().len(), 8);
    let again = devices.add_trust(&items(&makers[0]), &command_line()).await;
    let again = again.unwrap();
    assert_eq!((again.added.len(), again.known), (0, 1));
    let added = site.events_of("tpm_trust.add").await;
    assert_eq!(added.len(), 8);
    let of_first = format!("tpm_trust/{}", fingerprint(&makers[0]));
    assert!(added.iter().any(|event| event.target == of_first));
    assert!(
        added
            .iter()
            .all(|event| event.detail.as_deref() == Some("root"))
    );
}
