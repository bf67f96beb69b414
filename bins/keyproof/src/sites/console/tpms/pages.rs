//! The templates of *TPMs*.

use keyproof_service::{
    Timestamp,
    device_identity::{
        AllowedCertificate, ApiKey, BoundDevice, Category, CoveredMaker, DeviceKey, DevicePlace,
        ExpectedRegister, LoggedEvent, Manager, Object, PcrPolicy, Withdrawal,
    },
};

use super::{
    super::{Frame, addressing::query},
    HERE,
};
use crate::sites::{
    moment::{Moment, moment, moment_of},
    page::pages,
};

pages! {
    #[derive(::askama::Template)]
    pub(super) Frame;

    NamespacesPage("console/tpms.html") {
        namespaces: Vec<String>,
        is_first: bool,
        next: Option<String>,
    }
    NamespacePage("console/tpm_namespace.html") {
        namespace: &'a str,
        managers: Section<ManagerRow>,
        categories: Section<CategoryRow>,
        keys: Section<KeyRow>,
        /// The devices whose managers are deleted.
        left: Section<DeviceRow>,
    }
    KeyAddPage("console/tpm_key_add.html") {
        namespace: &'a str,
        categories: Choice,
    }
    CategoryAddPage("console/tpm_category_add.html") {
        namespace: &'a str,
        managers: Choice,
    }
    CategoryMadePage("console/tpm_category_made.html") {
        name: &'a str,
        /// Whether it existed, and its client certificate was renewed.
        is_renewed: bool,
        link: String,
        key: &'a str,
        certificate: &'a str,
    }
    CategoryPage("console/tpm_category.html") {
        namespace: &'a str,
        name: &'a str,
        description: &'a str,
        is_disabled: bool,
        manager: &'a str,
        ca: &'a str,
        ends: Moment,
        /// Whether there are any, on this page or an earlier one.
        has_keys: bool,
        keys: Vec<String>,
        more_keys: Option<String>,
        policy: &'static str,
        /// The fingerprint of the policy that the form was filled in over.
        shown: String,
        expected: &'a [ExpectedRegister],
        /// Whether there are any, on this page or an earlier one.
        has_allowed: bool,
        allowed: Vec<AllowedRow>,
        more_allowed: Option<String>,
        certificate: &'a str,
        client_ends: Option<Moment>,
        /// Its fingerprint.
        latest: String,
        /// How many earlier client certificates are accepted beside it.
        earlier_certificates: usize,
        confirm: Option<String>,
    }
    ManagerAddPage("console/tpm_manager_add.html") {
        namespace: &'a str,
    }
    KeyMadePage("console/tpm_key_made.html") {
        namespace: &'a str,
        name: &'a str,
        category: &'a str,
        key: &'a str,
        /// Whether it needs a client certificate, which no listener of this server requests.
        is_refused_here: bool,
    }
    KeyPage("console/tpm_key.html") {
        namespace: &'a str,
        name: &'a str,
        category: &'a str,
        description: &'a str,
        state: &'static str,
        reason: &'a str,
        needs_certificate: bool,
        /// Whether no listener of this server requests the client certificate that it needs.
        is_refused_here: bool,
        is_disabled: bool,
        /// Whether it was created disabled, which nothing changes.
        is_unusable: bool,
        /// Whether its category or manager is disabled.
        is_closed: bool,
        is_revoked: bool,
        confirm: Option<String>,
    }
    ManagerPage("console/tpm_manager.html") {
        namespace: &'a str,
        name: &'a str,
        description: &'a str,
        is_disabled: bool,
        root: &'a str,
        /// Whether there are any, on this page or an earlier one.
        has_categories: bool,
        categories: Vec<String>,
        more_categories: Option<String>,
        has_bundle: bool,
        /// Whether there are any, on this page or an earlier one.
        has_makers: bool,
        makers: Vec<MakerRow>,
        more_makers: Option<String>,
        devices: Vec<DeviceRow>,
        is_first: bool,
        next: Option<String>,
        confirm: Option<String>,
    }
    DevicePage("console/tpm_device.html") {
        namespace: &'a str,
        manager: &'a str,
        vendor: &'a str,
        serial: &'a str,
        query: String,
        is_left: bool,
        name: &'a str,
        version: &'a str,
        bound: Moment,
        ek: &'a str,
        keys: Vec<DeviceKeyRow>,
        attestations: Vec<AttestationRow>,
        shown: Option<Shown>,
        confirm: Option<String>,
    }
}

/// A part of the objects of a kind, on the page of a namespace.
pub(super) struct Section<T> {
    pub(super) rows: Vec<T>,
    /// The address of the next part, if there is one.
    pub(super) more: Option<String>,
    /// Whether there are any at all, on this page or an earlier one.
    pub(super) has_any: bool,
}

impl<T> Section<T> {
    pub(super) fn map<U>(self, row: impl FnMut(T) -> U) -> Section<U> {
        Section {
            rows: self.rows.into_iter().map(row).collect(),
            more: self.more,
            has_any: self.has_any,
        }
    }
}

pub(super) struct ManagerRow {
    pub(super) name: String,
    pub(super) is_disabled: bool,
    pub(super) description: String,
    pub(super) trusts: String,
    pub(super) made: Moment,
}

pub(super) struct CategoryRow {
    pub(super) name: String,
    pub(super) is_disabled: bool,
    pub(super) manager: String,
    pub(super) description: String,
    pub(super) allowed: String,
    pub(super) registers: &'static str,
}

pub(super) struct KeyRow {
    pub(super) name: String,
    pub(super) category: String,
    pub(super) state: &'static str,
    pub(super) reason: Option<String>,
    pub(super) made: Moment,
}

/// The possible values of a field.
pub(super) enum Choice {
    /// One of these.
    Of(Vec<String>),
    /// There are more than a page lists, so the name is typed.
    ByName,
}

impl Choice {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Of(names) if names.is_empty())
    }

    /// Whether a name is filled in that is none of these, such as that of an object that was deleted meanwhile.
    pub(super) fn lacks(&self, name: &str) -> bool {
        !name.is_empty()
            && matches!(self, Self::Of(names) if !names.iter().any(|known| known == name))
    }
}

pub(super) struct AllowedRow {
    pub(super) issuer: String,
    pub(super) serial: String,
    pub(super) ends: Moment,
    pub(super) fingerprint: String,
}

pub(super) struct MakerRow {
    pub(super) maker: String,
    pub(super) ca: String,
    pub(super) source: &'static str,
    pub(super) ends: Moment,
    /// Its fingerprint, if it can be removed from the manager's list.
    pub(super) fingerprint: Option<String>,
}

pub(super) struct DeviceRow {
    pub(super) manager: String,
    pub(super) serial: String,
    pub(super) vendor: String,
    pub(super) name: String,
    pub(super) bound: Moment,
    /// The last attestation, if there is one.
    pub(super) last: Option<Moment>,
    pub(super) is_refused: bool,
    pub(super) link: String,
}

pub(super) struct DeviceKeyRow {
    pub(super) ak: String,
    pub(super) category: String,
    pub(super) active: Option<Moment>,
    /// What is wrong with its certificate, if anything.
    pub(super) wrong: Option<&'static str>,
    pub(super) certificate: String,
    pub(super) ends: Moment,
}

pub(super) struct AttestationRow {
    pub(super) when: Moment,
    pub(super) category: String,
    pub(super) is_accepted: bool,
    pub(super) told: Vec<String>,
    pub(super) changed: String,
    pub(super) link: String,
    pub(super) is_shown: bool,
}

/// The attestation whose registers are compared.
pub(super) struct Shown {
    pub(super) when: Moment,
    pub(super) registers: Vec<RegisterRow>,
    pub(super) events: Vec<LoggedEvent>,
}

pub(super) struct RegisterRow {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) before: Option<String>,
    pub(super) learnt: Option<String>,
    pub(super) is_changed: bool,
    pub(super) is_other: bool,
}

pub(super) fn query_of(place: &DevicePlace) -> String {
    query(&[("vendor", &place.vendor), ("serial", &place.serial)])
}

pub(super) fn link_of(place: &DevicePlace) -> String {
    let DevicePlace {
        namespace, manager, ..
    } = place;
    let query = query_of(place);
    format!("{HERE}/{namespace}/managers/{manager}/device?{query}")
}

/// Describes the state of an API key at a moment. `is_closed` is whether its category or manager is disabled.
pub(super) fn state(key: &Object<ApiKey>, is_closed: bool, now: Timestamp) -> &'static str {
    let is_disabled = key.spec.is_disabled;
    match key.spec.revoked_at {
        Some(_) if key.is_revoked(now) && is_disabled => "revoked, and disabled",
        Some(_) if key.is_revoked(now) => "revoked",
        // It was created disabled.
        _ if key.metadata.disable => "disabled for good",
        _ if is_closed => "unusable below a disabled category or manager",
        Some(_) if is_disabled => "disabled, and will be revoked",
        Some(_) => "will be revoked",
        None if is_disabled => "disabled",
        None => "in use",
    }
}

impl ManagerRow {
    pub(super) fn of(manager: Object<Manager>) -> Self {
        let own = match manager.spec.ek_roots.len() {
            0 => None,
            1 => Some("1 entry of manufacturers’ CAs".to_owned()),
            own => Some(format!("{own} entries of manufacturers’ CAs")),
        };
        Self {
            trusts: match (own, manager.spec.ek_trust_bundle) {
                (Some(own), true) => format!("{own}, and the trust bundle"),
                (Some(own), false) => own,
                (None, true) => "the trust bundle".to_owned(),
                (None, false) => "no manufacturer".to_owned(),
            },
            name: manager.metadata.name,
            is_disabled: manager.metadata.disable,
            description: manager.metadata.description,
            made: moment(manager.system.created_at),
        }
    }
}

impl CategoryRow {
    pub(super) fn of(category: Object<Category>) -> Self {
        let allowed = category.spec.allow_list.len();
        Self {
            allowed: match allowed {
                1 => "1 certificate".to_owned(),
                _ => format!("{allowed} certificates"),
            },
            registers: match category.spec.pcr_policy {
                PcrPolicy::Any => "any values",
                PcrPolicy::Expected(_) => "given values",
                PcrPolicy::Learn => "as learnt from each device",
            },
            name: category.metadata.name,
            is_disabled: category.metadata.disable,
            manager: category.spec.manager,
            description: category.metadata.description,
        }
    }
}

impl KeyRow {
    pub(super) fn of(key: Object<ApiKey>, is_closed: bool, now: Timestamp) -> Self {
        let reason = &key.spec.revoke_reason;
        Self {
            category: key.spec.category.clone(),
            state: state(&key, is_closed, now),
            reason: (!reason.is_empty()).then(|| reason.clone()),
            made: moment(key.system.created_at),
            name: key.metadata.name,
        }
    }
}

impl DeviceRow {
    pub(super) fn of(device: BoundDevice) -> Self {
        let last = device.attestations.last();
        Self {
            last: last.map(|last| moment(last.at)),
            is_refused: last.is_some_and(|last| !last.accepted),
            link: link_of(&device.place),
            manager: device.place.manager,
            serial: device.place.serial,
            vendor: device.place.vendor,
            name: device.name,
            bound: moment(device.bound_at),
        }
    }
}

impl DeviceKeyRow {
    pub(super) fn of(key: DeviceKey, now: Timestamp) -> Self {
        let was_active = key.active_since.is_some();
        Self {
            wrong: match key.withdrawal {
                None => (was_active && key.is_expired(now)).then_some("expired"),
                Some(Withdrawal::OnHold { .. }) => Some("on hold"),
                Some(
                    Withdrawal::Forgotten { .. }
                    | Withdrawal::Revoked { .. }
                    | Withdrawal::Superseded { .. },
                ) => Some("revoked"),
            },
            ak: key.ak_name,
            category: key.category,
            active: key.active_since.map(moment),
            certificate: key.certificate,
            ends: moment(key.not_after),
        }
    }
}

impl MakerRow {
    pub(super) fn of(maker: CoveredMaker) -> Self {
        Self {
            maker: maker.maker,
            ca: maker.name,
            source: if maker.is_of_bundle {
                "the trust bundle"
            } else {
                "the manager"
            },
            ends: moment_of(maker.not_after),
            fingerprint: (!maker.is_of_bundle).then(|| maker.fingerprint.to_string()),
        }
    }
}

impl AllowedRow {
    pub(super) fn of(certificate: AllowedCertificate) -> Self {
        Self {
            issuer: certificate.issuer,
            serial: certificate.serial,
            ends: moment_of(certificate.not_after),
            fingerprint: certificate.fingerprint.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use keyproof_service::device_identity::{Metadata, SystemMetadata};
    use serde_json::json;

    use super::*;

    fn key(revoked_at: Option<Timestamp>, is_disabled: bool) -> Object<ApiKey> {
        let spec = json!({
            "category": "gateways",
            "need_mtls": false,
            "is_disabled": is_disabled,
            "revoke_reason": "",
            "revoked_at": revoked_at,
        });
        Object {
            metadata: Metadata::default(),
            system: SystemMetadata {
                uid: String::new(),
                creator: String::new(),
                created_at: Timestamp::EPOCH,
                modified_at: Timestamp::EPOCH,
            },
            spec: serde_json::from_value(spec).unwrap(),
        }
    }

    #[test]
    fn a_key_that_is_revoked_and_disabled_is_said_to_be_both() {
        let now = Timestamp::from_secs(10);
        let (before, after) = (Timestamp::from_secs(9), Timestamp::from_secs(11));
        let closed = "unusable below a disabled category or manager";
        for (revoked_at, is_disabled, is_unusable, is_closed, text) in [
            (None, false, false, false, "in use"),
            (None, true, false, false, "disabled"),
            (Some(now), false, false, false, "revoked"),
            (Some(before), true, false, false, "revoked, and disabled"),
            (Some(after), false, false, false, "will be revoked"),
            (
                Some(after),
                true,
                false,
                false,
                "disabled, and will be revoked",
            ),
            (None, false, true, false, "disabled for good"),
            (Some(after), true, true, false, "disabled for good"),
            (Some(now), false, true, false, "revoked"),
            (None, false, false, true, closed),
            (Some(after), true, false, true, closed),
            (None, false, true, true, "disabled for good"),
            (Some(now), false, false, true, "revoked"),
        ] {
            let mut key = key(revoked_at, is_disabled);
            key.metadata.disable = is_unusable;
            assert_eq!(state(&key, is_closed, now), text, "{key:?}");
        }
        // The clock of the server that revoked it was ahead.
        let mut key = key(Some(after), false);
        key.system.modified_at = after;
        assert_eq!(state(&key, false, now), "revoked");
    }
}
