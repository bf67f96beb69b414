//! Helpers for the tests of this domain.

use std::time::Duration;

use super::{
    Administrator, ApiKey, AttestationKeyTemplate, Category, DeviceClaim, DevicePlace,
    IssuedApiKey, Kind, Manager, Metadata, NewApiKey, NewCategory, ObjectOperation, PcrPolicy,
    ProvisionRequest, Station, StationOperation, TrustedMakers,
    authority::AkCertificate,
    certified::{Cause, Issued},
    identity::Device,
};
use crate::{
    Clock,
    testing::{Bench, START, bench, console, origin},
};

/// A new operator that may act on an object of this name in the namespace `default`.
pub(super) async fn may<K: Kind>(
    bench: &Bench,
    act: ObjectOperation,
    name: &str,
) -> Administrator<K> {
    let operator = bench.operator("tpm").await;
    let (devices, origin) = (&bench.service.device_identity, console());
    let permitted = devices.permit(&operator, act, "default", name, &origin);
    permitted.await.unwrap()
}

/// A station that provisions with a new operator's token.
pub(super) async fn station(bench: &Bench) -> Station {
    let operator = bench.operator("tpm-station").await;
    let (devices, origin) = (&bench.service.device_identity, origin());
    let permitted = devices.permit_station(&operator, StationOperation::Provision, None, &origin);
    permitted.await.unwrap()
}

/// A provision request with only this API key. It is validated and rejected.
pub(super) fn nothing_but(key: &IssuedApiKey) -> ProvisionRequest {
    let nothing = || Ok(Vec::new());
    ProvisionRequest {
        api_key: key.text.clone(),
        device: DeviceClaim::default(),
        ek_certificate: nothing(),
        ek_chain: None,
        ek_public_key: nothing(),
        ak_public_key: nothing(),
        certification_request: nothing(),
        ak_public: None,
    }
}

/// The metadata of a new object. Its namespace is set on creation.
pub(super) fn named(name: &str) -> Metadata {
    Metadata {
        name: name.to_owned(),
        ..Metadata::default()
    }
}

/// Creates a manager `m` and a category `c` below it, in the namespace `default`.
pub(super) async fn furnish(bench: &Bench) {
    let devices = &bench.service.device_identity;
    let managers = may::<Manager>(bench, ObjectOperation::Create, "m").await;
    let made = devices.create_manager(&managers, named("m"), TrustedMakers::default());
    made.await.unwrap();
    let category = NewCategory {
        metadata: named("c"),
        manager: "m".to_owned(),
        allow_list: Vec::new(),
        attestation_key: AttestationKeyTemplate::default(),
        pcr_policy: PcrPolicy::default(),
    };
    let categories = may::<Category>(bench, ObjectOperation::Create, "c").await;
    let made = devices.create_category(&categories, category).await;
    assert!(made.is_ok());
}

/// A device of the vendor `~v` in the namespace `default`, which is not bound.
pub(super) fn device(manager: &str, serial: &str) -> Device {
    Device {
        place: DevicePlace {
            namespace: "default".to_owned(),
            manager: manager.to_owned(),
            vendor: "~v".to_owned(),
            serial: serial.to_owned(),
        },
        name: "device".to_owned(),
        version: "1".to_owned(),
        ek: None,
        incarnation: String::new(),
        manager_incarnation: String::new(),
        bound_at: START,
        learnt: None,
        attestations: Vec::new(),
        keys: Vec::new(),
    }
}

/// A bench with a manager `m`, a category `c` below it, and a device that is bound to the EK `000b`.
pub(super) async fn bench_with_device() -> (Bench, DevicePlace) {
    let bench = bench().await;
    furnish(&bench).await;
    let device = Device {
        ek: Some("000b".to_owned()),
        ..device("m", "s")
    };
    let place = device.place.clone();
    let mut batch = bench.store.batch(START);
    batch.insert(&place.key(), &device, None);
    bench.store.commit(batch).await.unwrap();
    (bench, place)
}

/// A new certificate with this serial number, which expires a minute after the start.
pub(super) fn certificate(serial: &str) -> AkCertificate {
    AkCertificate {
        der: Vec::new(),
        serial: serial.to_owned(),
        not_after: START.saturating_add(Duration::from_secs(60)),
    }
}

/// Creates an API key `k` of the category `c`.
pub(super) async fn api_key(bench: &Bench) -> IssuedApiKey {
    let new = NewApiKey {
        metadata: named("k"),
        category: "c".to_owned(),
        need_mtls: false,
    };
    let keys = may::<ApiKey>(bench, ObjectOperation::Create, "k").await;
    let devices = &bench.service.device_identity;
    devices.create_api_key(&keys, new).await.unwrap()
}

/// Revokes certificates of the category `c` with these serial numbers. They expire in a day.
pub(super) async fn revoke(bench: &Bench, serials: impl Iterator<Item = usize>) {
    let now = bench.clock.now();
    let issued = serials.map(|serial| Issued {
        serial: format!("40:{serial:04x}"),
        made_at: now,
        not_after: now.saturating_add(Duration::from_secs(24 * 60 * 60)),
        api_key: "key".to_owned(),
        api_key_uid: None,
    });
    let issued: Vec<_> = issued.collect();
    let mut batch = bench.store.batch(now);
    let devices = &bench.service.device_identity;
    let place = ("default", "c");
    let revoked = devices.revoke(&mut batch, place, &issued, Cause::Forgotten, now);
    revoked.await.unwrap();
    bench.store.commit(batch).await.unwrap();
}
