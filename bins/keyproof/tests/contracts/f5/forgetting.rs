//! What operators at the machine see of devices, and how a binding is undone.

use std::time::Duration;

use keyproof_service::{
    Action, Failure, StorageError,
    device_identity::{DeviceAdministrator, DeviceError, DevicePlace},
};
use keyproof_x509::crl::{Crl, CrlReason};
use serde_json::{Value, json};

use crate::f5::{
    device::{Device, Manufacturer},
    dialect::{ACTIVATE, CATEGORIES, MANAGERS, PROVISION},
    faults::{CommitMode, FaultyEngine},
    machine::Machine,
    provision::{furnished, furnished_on},
    site::{Site, command_line},
};

pub(crate) fn place(serial: &str) -> DevicePlace {
    DevicePlace {
        namespace: "default".to_owned(),
        manager: "manager".to_owned(),
        vendor: "ExampleCorp".to_owned(),
        serial: serial.to_owned(),
    }
}

/// Returns an operator at the machine, with the devices of all namespaces.
pub(crate) fn device_administrator() -> DeviceAdministrator {
    DeviceAdministrator::of_command_line(&command_line())
}

impl Site {
    /// Returns what is known of a device.
    pub(crate) async fn device(&self, serial: &str) -> Value {
        let devices = &self.console.device_identity;
        let (device, keys) = devices
            .device(&device_administrator(), &place(serial))
            .await
            .unwrap();
        let told = |verdict: &keyproof_service::device_identity::Verdict| json!({ "accepted": verdict.accepted, "told": verdict.told });
        let attestations: Vec<Value> = device.attestations.iter().map(told).collect();
        let learnt = device.learnt.map(|learnt| {
            let values = learnt.into_iter().map(|register| json!(register.value));
            values.collect::<Vec<Value>>()
        });
        json!({
            "attestations": attestations,
            "learnt": learnt,
            "active": keys.iter().filter(|key| key.active_since.is_some()).count(),
            "keys": keys.len(),
        })
    }

    pub(crate) async fn relearn(&self, serial: &str) {
        let devices = &self.console.device_identity;
        let relearned = devices
            .relearn_device(&device_administrator(), &place(serial))
            .await;
        relearned.unwrap();
    }

    async fn forget(&self, serial: &str) -> Result<usize, Failure<DeviceError>> {
        let devices = &self.console.device_identity;
        devices
            .forget_device(&device_administrator(), &place(serial))
            .await
    }

    /// Returns the reason of each entry on the category's CRL.
    async fn revoked(&self) -> Vec<Option<CrlReason>> {
        let list = self.call("GET", &format!("{CATEGORIES}/category/crl"));
        let list = list.send().await.is(200).body.to_vec();
        let crl = Crl::from_der(&list).unwrap();
        crl.revocations().iter().map(|entry| entry.reason).collect()
    }
}

#[tokio::test]
async fn a_forgotten_device_is_free_its_certificates_are_revoked_and_its_tickets_are_void() {
    let (site, manufacturer, key) = Site::start_furnished().await;
    let device = Device::new(&manufacturer, "SN0001");
    site.activated(&key, &device).await;
    let second = device.clone().with_new_ak();
    let old = second.activation(&site.provisioned(&key, &second).await);
    let mut machine = Machine::new(device.clone());
    machine.attested(&site).await.accepts();
    assert_eq!(site.revoked().await, []);
    let renamed = device.clone().with_serial("SN0002");
    site.post(PROVISION, &renamed.request(&key))
        .await
        .refuses(409, 6);

    // Its own certificates, including one whose credential was never opened.
    assert_eq!(site.forget("SN0001").await, Ok(2));
    let ceased = Some(CrlReason::CessationOfOperation);
    assert_eq!(site.revoked().await, [ceased, ceased]);
    assert_eq!(site.records("tpm_attestation_key").await, 0);
    assert_eq!(site.records("tpm_endorsement_key").await, 0);
    let unknown = Err(Failure::Refused(DeviceError::Unknown));
    assert_eq!(site.forget("SN0001").await, unknown);
    let refused = machine.attested(&site).await;
    assert_eq!(refused.fails(), ["activation"]);
    // An old ticket that was never used, with its proof.
    let refused = site.post(ACTIVATE, &old).await;
    refused.refuses(403, 7).saying("forgotten");

    // The endorsement key may become another device's, and the device may get another.
    site.activated(&key, &renamed).await;
    let other_tpm = Device::new(&manufacturer, "SN0001");
    let answer = site.activated(&key, &other_tpm).await;
    assert!(other_tpm.opens(&answer, &other_tpm.ak_public()).is_some());
    assert_eq!(site.revoked().await.len(), 2);
    let told = site.events_of("tpm_device.forget").await;
    let told = told.first().unwrap();
    assert_eq!(told.target, "tpm_device/default/manager/ExampleCorp/SN0001");
    let detail = told.detail.as_deref().unwrap();
    assert!(detail.starts_with("endorsement key 000b"), "{detail}");
}

/// Stations that know nothing but F5's own operations activate no key, and their devices have certificates all the same.
#[tokio::test]
async fn a_device_that_was_never_activated_is_forgotten_too() {
    let engine = FaultyEngine::new();
    let (site, key, device) = furnished_on(engine.clone()).await;
    let unknown = Err(Failure::Refused(DeviceError::Unknown));
    let ceased = Some(CrlReason::CessationOfOperation);
    assert_eq!(site.forget("SN0001").await, unknown);
    assert_eq!(site.records("tpm_device").await, 0);
    // The second time it has been forgotten before.
    let mut last = None;
    for revoked in 1..3 {
        let answer = site.provisioned(&key, &device).await;
        let certificate = Some(device.certificate(&answer));
        assert_ne!(certificate, last);
        last = certificate;
        assert_eq!(site.forget("SN0002").await, unknown);
        let activation = device.activation(&answer);
        let forget = async {
            assert_eq!(site.forget("SN0001").await, Ok(1));
        };
        let slow = site.post(ACTIVATE, &activation);
        let answer = engine.overtake(slow, forget).await;
        answer.refuses(403, 7).saying("forgotten");
        assert_eq!(site.revoked().await, vec![ceased; revoked]);
        assert_eq!(site.forget("SN0001").await, unknown);
    }
    let told = site.events_of("tpm_device.forget").await;
    let told: Vec<_> = told.iter().map(|event| event.detail.as_deref()).collect();
    assert_eq!(told, [None, None]);

    site.activated(&key, &device).await;
    let known = site.device("SN0001").await;
    assert_eq!((&known["active"], &known["keys"]), (&json!(1), &json!(1)));
    assert_eq!(site.revoked().await, [ceased, ceased]);
}

/// A new manager knows nothing of what a former one of its name has bound or forgotten.
#[tokio::test]
async fn a_device_that_a_former_manager_knows_is_forgotten_below_the_new_one() {
    for was_forgotten in [true, false] {
        let (site, manufacturer, key) = Site::start_furnished().await;
        let device = Device::new(&manufacturer, "SN0001");
        site.activated(&key, &device).await;
        site.strip().await;
        if was_forgotten {
            assert_eq!(site.forget("SN0001").await, Ok(1));
        }
        let roots = json!({ "ek_root_certificates": [manufacturer.root] });
        site.create(MANAGERS, "manager", roots).await.is(200);
        site.category("another").await.is(200);
        let key = site.api_key_in("another", "station").await;
        if was_forgotten {
            let unknown = Err(Failure::Refused(DeviceError::Unknown));
            assert_eq!(site.forget("SN0001").await, unknown);
        }
        let activation = device.activation(&site.provisioned(&key, &device).await);
        let (revoked, forgotten) = if was_forgotten { (1, 2) } else { (2, 1) };
        assert_eq!(site.forget("SN0001").await, Ok(revoked));
        let refused = site.post(ACTIVATE, &activation).await;
        refused.refuses(403, 7).saying("forgotten");
        let told = site.events_of("tpm_device.forget").await;
        assert_eq!(told.len(), forgotten);
        site.activated(&key, &device).await;
        assert_eq!(site.device("SN0001").await["active"], 1);
    }
}

/// Whatever fails on the way, the next call revokes the rest.
#[tokio::test]
async fn what_was_interrupted_after_a_device_was_forgotten_is_gone_on_with() {
    for made in 0..3 {
        let engine = FaultyEngine::new();
        let (site, key, device) = furnished_on(engine.clone()).await;
        site.activated(&key, &device).await;
        // A certificate is made just before the first of its commits.
        let meanwhile = async {
            let second = device.clone().with_new_ak();
            site.provisioned(&key, &second).await;
            engine.commits(CommitMode::MadeOnly(made));
        };
        let first = engine.overtake(site.forget("SN0001"), meanwhile).await;
        engine.commits(CommitMode::Made);
        match first {
            Ok(revoked) => assert_eq!(revoked, 2),
            Err(_) => assert!(site.forget("SN0001").await.is_ok(), "after {made}"),
        }
        let ceased = Some(CrlReason::CessationOfOperation);
        assert_eq!(site.revoked().await, [ceased, ceased], "after {made}");
        let unknown = Err(Failure::Refused(DeviceError::Unknown));
        assert_eq!(site.forget("SN0001").await, unknown);
        // Certificates made for the device from then on stay valid.
        site.activated(&key, &device).await;
        assert_eq!(site.revoked().await.len(), 2);
        assert_eq!(site.device("SN0001").await["active"], 1);
    }
}

/// What forgetting has left, the next certificate of the key revokes.
#[tokio::test]
async fn the_trail_names_what_a_provision_revokes_of_a_forgotten_device() {
    let engine = FaultyEngine::new();
    let (site, key, device) = furnished_on(engine.clone()).await;
    site.activated(&key, &device).await;
    let provisions = site.trail("tpm.provision").await;
    let [(_, made)] = &*provisions else {
        panic!("{provisions:?}");
    };
    let serial = made.strip_prefix("certificate made: serial ").unwrap();
    let (serial, _) = serial.split_once(',').unwrap();
    engine.commits(CommitMode::MadeOnly(1));
    assert!(site.forget("SN0001").await.is_err());
    engine.commits(CommitMode::Made);
    assert_eq!(site.revoked().await, []);
    site.provisioned(&key, &device).await;
    assert_eq!(
        site.revoked().await,
        [Some(CrlReason::CessationOfOperation)]
    );
    let told = site.trail("tpm.provision").await;
    let revoked = format!("; revoked {serial}");
    let telling = told.iter().filter(|(_, how)| how.ends_with(&revoked));
    assert_eq!((telling.count(), told.len()), (1, 2), "{told:?}");
}

#[tokio::test]
async fn an_operator_whose_token_was_revoked_meanwhile_forgets_nothing() {
    let (site, key, device) = furnished().await;
    site.activated(&key, &device).await;
    let (access, devices) = (&site.console.access, &site.console.device_identity);
    let token = site.operator_token(&["tpm:default"], None).await;
    let operator = access.authenticate(&token).await.unwrap();
    let (act, target) = (Action::TpmDeviceForget, place("SN0001").target());
    let command = command_line();
    let device_administrator =
        devices.permit_device_administrator(&operator, act, "default", target, command.origin());
    let device_administrator = device_administrator.await.unwrap();
    for listed in access.list().await.unwrap() {
        if listed.scopes.to_string() == "tpm:default" {
            access.revoke(&listed.id, &command).await.unwrap();
        }
    }
    let forgotten = devices
        .forget_device(&device_administrator, &place("SN0001"))
        .await;
    assert!(
        matches!(
            forgotten,
            Err(Failure::Storage(StorageError::Contended { .. }))
        ),
        "{forgotten:?}"
    );
    assert_eq!(site.revoked().await, []);
    assert_eq!(site.records("tpm_revoked_certificate").await, 0);
    assert_eq!(site.device("SN0001").await["active"], 1);
    assert_eq!(site.trail("tpm_device.forget").await, []);
    Machine::new(device).attested(&site).await.accepts();
}

/// A TPM has several endorsement keys, and a station may try one after the other.
#[tokio::test]
async fn a_device_whose_key_was_certified_under_two_endorsement_keys_is_forgotten_too() {
    let (engine, manufacturer) = (FaultyEngine::new(), Manufacturer::new());
    let site = Site::on(engine.clone(), &[]).await;
    let key = site.furnished(&manufacturer).await;
    let device = Device::new(&manufacturer, "SN0001");
    // Nobody opens its credential, so nothing is bound yet.
    site.provisioned(&key, &device).await;
    let device = device.with_another_ek(&manufacturer);
    let activation = device.activation(&site.provisioned(&key, &device).await);
    // The activation is interrupted before it has revoked the first certificate.
    engine.commits(CommitMode::MadeOnly(1));
    site.post(ACTIVATE, &activation).await.is(204);
    engine.commits(CommitMode::Made);
    let mut machine = Machine::new(device);
    machine.attested(&site).await.accepts();
    assert_eq!(site.forget("SN0001").await, Ok(2));
    let ceased = Some(CrlReason::CessationOfOperation);
    assert_eq!(site.revoked().await, [ceased, ceased]);
    assert_eq!(machine.attested(&site).await.fails(), ["activation"]);
}

/// All its certificates have expired, so nothing shows any more which keys were certified.
#[tokio::test]
async fn the_key_of_a_forgotten_device_is_free_though_its_certificate_has_ended_long_ago() {
    let (site, manufacturer, key) = Site::start_furnished().await;
    let device = Device::new(&manufacturer, "SN0001");
    site.activated(&key, &device).await;
    // With another endorsement key it is rejected while the certificate is valid, whichever device is claimed.
    let elsewhere = device.clone().with_serial("SN0002");
    let elsewhere = elsewhere.with_another_ek(&manufacturer);
    let answer = site.provisioned(&key, &elsewhere).await;
    let refused = site.post(ACTIVATE, &elsewhere.activation(&answer)).await;
    refused.refuses(409, 6).saying("another endorsement key");
    site.clock
        .advance(Duration::from_secs((5 * 365 + 3) * 24 * 60 * 60));
    assert_eq!(site.records("tpm_ak_certificate").await, 0);
    assert_eq!(site.forget("SN0001").await, Ok(0));
    assert_eq!(site.records("tpm_attestation_key").await, 1);
    let other_ek = device.with_another_ek(&manufacturer);
    site.activated(&key, &other_ek).await;
    Machine::new(other_ek).attested(&site).await.accepts();
    assert_eq!(site.records("tpm_attestation_key").await, 1);
}

#[tokio::test]
async fn a_device_that_comes_back_has_new_certificates_and_learns_anew() {
    let (site, key, device) = furnished().await;
    let first = site.activated(&key, &device).await;
    let mut machine = Machine::new(device.clone());
    machine.attested(&site).await.accepts();
    site.forget("SN0001").await.unwrap();
    machine.extends(0, 8, b"new firmware");
    let second = site.activated(&key, &device).await;
    assert_ne!(device.certificate(&first), device.certificate(&second));
    machine.attested(&site).await.accepts();
    assert_eq!(site.device("SN0001").await["keys"], 1);
    assert_eq!(site.revoked().await.len(), 1);
    // Each incarnation has its own tickets.
    let third = device.activation(&site.provisioned(&key, &device).await);
    site.forget("SN0001").await.unwrap();
    site.post(ACTIVATE, &third).await.refuses(403, 7);
    assert_eq!(site.revoked().await.len(), 2);
}

#[tokio::test]
async fn a_device_that_is_forgotten_while_it_is_activated_is_not() {
    let engine = FaultyEngine::new();
    let (site, key, device) = furnished_on(engine.clone()).await;
    site.activated(&key, &device).await;
    let device = device.with_new_ak();
    let activation = device.activation(&site.provisioned(&key, &device).await);
    let forget = async {
        site.forget("SN0001").await.unwrap();
    };
    let slow = site.post(ACTIVATE, &activation);
    let answer = engine.overtake(slow, forget).await;
    answer.refuses(403, 7).saying("forgotten");
    // A certificate that is made meanwhile belongs to the new incarnation, or is revoked.
    site.activated(&key, &device).await;
    let request = device.clone().with_new_ak().request(&key);
    let forget = async {
        site.forget("SN0001").await.unwrap();
    };
    let slow = site.post(PROVISION, &request);
    engine.overtake(slow, forget).await.is(200);
    assert_eq!(site.revoked().await.len(), 3, "all of before");
    assert_eq!(site.records("tpm_ak_certificate").await, 1);
}

#[tokio::test]
async fn devices_are_listed_once_they_are_active() {
    let (site, manufacturer, key) = Site::start_furnished().await;
    let devices = &site.console.device_identity;
    assert_eq!(devices.devices(None).await.unwrap(), []);
    for serial in ["SN0001", "SN0002", "SN0003"] {
        let device = Device::new(&manufacturer, serial);
        site.provisioned(&key, &device).await;
        if serial != "SN0002" {
            site.activated(&key, &device).await;
        }
    }
    let listed = devices.devices(None).await.unwrap();
    let serials: Vec<&str> = listed.iter().map(|device| &*device.place.serial).collect();
    assert_eq!(serials, ["SN0001", "SN0003"]);
    let after = devices.devices(Some(&place("SN0001"))).await.unwrap();
    assert_eq!(after.len(), 1);
    site.forget("SN0001").await.unwrap();
    assert_eq!(devices.devices(None).await.unwrap().len(), 1);
    let shown = devices
        .device(&device_administrator(), &place("SN0001"))
        .await;
    assert_eq!(shown, Err(Failure::Refused(DeviceError::Unknown)));
    assert_eq!(site.device("SN0003").await["active"], 1);
}

#[tokio::test]
async fn the_last_sixteen_attestations_are_remembered() {
    let (site, key, device) = furnished().await;
    site.activated(&key, &device).await;
    let mut machine = Machine::new(device);
    for _ in 0..17 {
        machine.attested(&site).await.accepts();
    }
    machine.extends(7, 8, b"tampered with");
    machine.attested(&site).await.fails();
    let known = site.device("SN0001").await;
    let attestations = known["attestations"].as_array().unwrap();
    assert_eq!(attestations.len(), 16);
    assert_eq!(attestations[14]["accepted"], true);
    assert_eq!(attestations[15]["accepted"], false);
    assert_eq!(
        attestations[15]["told"],
        json!(["fail pcr-policy: other than learnt: sha256:7"])
    );
}
