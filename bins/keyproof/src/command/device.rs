//! `keyproof device`: devices that are bound to their TPMs.

use std::{fmt, str::FromStr};

use clap::{Args, Subcommand};
use keyproof_auth::operator::is_dns_label;
use keyproof_service::device_identity::{
    BoundDevice, DeviceAdministrator, DeviceKey, DevicePlace, LearntRegister, LoggedEvent,
    Registers, Verdict, Withdrawal,
};
use keyproof_store::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

use super::{
    Failure, Outcome,
    flags::StoreArguments,
    output::{self, printable},
    terminal::{self, Consent},
    with_store::{with_service, with_store},
};
use crate::rfc3339::Rfc3339;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Unbind a device from its TPM, and revoke its certificates
    Forget(ForgetArguments),
    /// List the devices that are bound to a TPM, with the result of their last attestation
    List(StoreArguments),
    /// Learn a device's expected registers again, from its next accepted attestation
    Relearn(DeviceArguments),
    /// Show a device with its attestation keys, learnt registers and last attestations
    Show(DeviceArguments),
}

#[derive(Args, Debug)]
pub(super) struct DeviceArguments {
    /// The device; a slash or a percent sign in vendor or serial number is written as %2F or %25
    #[arg(value_name = "NAMESPACE/MANAGER/VENDOR/SERIAL")]
    device: Place,
    #[command(flatten)]
    on: StoreArguments,
}

#[derive(Args, Debug)]
pub(super) struct ForgetArguments {
    #[command(flatten)]
    of: DeviceArguments,
    #[command(flatten)]
    consent: Consent,
}

/// A device as written on the command line: four texts between slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place(DevicePlace);

/// The characters that would split the text elsewhere.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'/').add(b'%');

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a device is NAMESPACE/MANAGER/VENDOR/SERIAL";
        let mut parts = text.split('/').map(|part| {
            let decoded = percent_decode_str(part).decode_utf8().ok()?;
            (!decoded.is_empty()).then(|| decoded.into_owned())
        });
        let mut next = || parts.next().flatten().ok_or(WRONG);
        let place = DevicePlace {
            namespace: next()?,
            manager: next()?,
            vendor: next()?,
            serial: next()?,
        };
        let are_labels = is_dns_label(&place.namespace) && is_dns_label(&place.manager);
        match parts.next() {
            None if are_labels => Ok(Self(place)),
            _ => Err(WRONG),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(DevicePlace {
            namespace,
            manager,
            vendor,
            serial,
        }) = self;
        let [vendor, serial] = [vendor, serial].map(|text| utf8_percent_encode(text, ESCAPED));
        write!(f, "{namespace}/{manager}/{vendor}/{serial}")
    }
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Forget(arguments) => forget(&arguments),
        Command::List(arguments) => list(&arguments),
        Command::Relearn(arguments) => relearn(&arguments),
        Command::Show(arguments) => show(&arguments),
    }
}

/// Returns the person who runs this command, with access to the devices of all namespaces.
fn device_administrator() -> DeviceAdministrator {
    DeviceAdministrator::of_command_line(&terminal::command_line())
}

fn forget(arguments: &ForgetArguments) -> Outcome {
    let DeviceArguments { device, on } = &arguments.of;
    with_store(&on.store, async |service, store| {
        let shown = printable(&device.to_string());
        let question =
            format!("Forget the device {shown}, and revoke its certificates (store {store})");
        arguments.consent.given(&question)?;
        let devices = &service.device_identity;
        let revoked = devices
            .forget_device(&device_administrator(), &device.0)
            .await
            .map_err(|error| Failure::from(error).of_store(store))?;
        let document = json!({ "forgotten": device.to_string(), "revoked": revoked });
        let certificates = output::counted(revoked as u64, "certificate");
        let told = format!("forgot the device {shown}; {certificates} revoked (store {store})");
        output::print_either(on.json, &document, &told)
    })
}

fn relearn(arguments: &DeviceArguments) -> Outcome {
    with_store(&arguments.on.store, async |service, store| {
        let devices = &service.device_identity;
        devices
            .relearn_device(&device_administrator(), &arguments.device.0)
            .await
            .map_err(|error| Failure::from(error).of_store(store))?;
        let device = arguments.device.to_string();
        let (document, device) = (json!({ "relearned": device }), printable(&device));
        let told = format!(
            "the registers of {device} are learnt from its next accepted attestation (store {store})"
        );
        output::print_either(arguments.on.json, &document, &told)
    })
}

fn list(arguments: &StoreArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        output::print_pages(
            "devices",
            arguments.json,
            async |last: Option<&BoundDevice>| {
                let after = last.map(|device| &device.place);
                Ok(service.device_identity.devices(after).await?)
            },
            |device| Ok(summary(device)),
            listed,
        )
        .await
    })
}

fn listed(device: &BoundDevice) -> String {
    let place = printable(&Place(device.place.clone()).to_string());
    let bound = Rfc3339(device.bound_at);
    let last = device.attestations.last().map_or_else(String::new, line);
    let left = if device.is_left { LEFT } else { "" };
    format!("{place}\t{bound}\t{last}{left}")
}

fn show(arguments: &DeviceArguments) -> Outcome {
    with_service(&arguments.on.store, async |service| {
        let devices = &service.device_identity;
        let (device, keys) = devices
            .device(&device_administrator(), &arguments.device.0)
            .await?;
        if arguments.on.json {
            output::print_json(&document(&device, &keys))?;
        } else {
            for line in lines(&device, &keys, service.now()) {
                output::print(&printable(&line))?;
            }
        }
        Ok(())
    })
}

/// The note on a device whose manager is deleted.
const LEFT: &str = " (its manager was deleted)";

/// Describes a device for people.
fn lines(device: &BoundDevice, keys: &[DeviceKey], now: Timestamp) -> Vec<String> {
    let left = if device.is_left { LEFT } else { "" };
    let mut lines = vec![
        format!("device   {}{left}", Place(device.place.clone())),
        format!("name     {}", device.name),
        format!("version  {}", device.version),
        format!("ek       {}", device.ek_name),
        format!("bound    {}", Rfc3339(device.bound_at)),
    ];
    for key in keys {
        lines.push(format!(
            "key      {} {}; certificate {} of {}, until {}",
            key.ak_name,
            state(key, now),
            key.certificate,
            key.category,
            Rfc3339(key.not_after)
        ));
    }
    for register in device.learnt.iter().flatten() {
        let (bank, index, value) = (&register.bank, register.index, &register.value);
        lines.push(format!("learnt   {bank}:{index} {value}"));
    }
    for verdict in &device.attestations {
        lines.push(format!("attest   {}", line(verdict)));
        lines.extend(verdict.told.iter().map(|told| format!("         {told}")));
    }
    lines
}

/// Describes a key's state. On hold, revoked and expired take precedence over active.
fn state(key: &DeviceKey, now: Timestamp) -> String {
    let (on_hold, revoked) = withdrawn(key);
    let active = match key.active_since {
        Some(_) if key.is_expired(now) => ("expired", Some(key.not_after)),
        since => ("active", since),
    };
    let states = [("revoked", revoked), ("on hold", on_hold), active];
    let since = |(state, since): (&str, Option<Timestamp>)| {
        Some(format!("{state} since {}", Rfc3339(since?)))
    };
    let shown = states.into_iter().find_map(since);
    shown.unwrap_or_else(|| "not active".to_owned())
}

/// Returns since when a key's certificate is on hold, and since when it is revoked, if so.
const fn withdrawn(key: &DeviceKey) -> (Option<Timestamp>, Option<Timestamp>) {
    match key.withdrawal {
        None => (None, None),
        Some(Withdrawal::OnHold { since }) => (Some(since), None),
        Some(
            Withdrawal::Forgotten { since }
            | Withdrawal::Revoked { since }
            | Withdrawal::Superseded { since },
        ) => (None, Some(since)),
    }
}

/// Formats a verdict in one line.
fn line(verdict: &Verdict) -> String {
    let outcome = if verdict.accepted {
        "accepted"
    } else {
        "refused"
    };
    format!("{} {outcome} {}", Rfc3339(verdict.at), verdict.selection)
}

/// Returns a device as JSON for the list.
fn summary(device: &BoundDevice) -> Value {
    json!({
        "device": Place(device.place.clone()).to_string(),
        "namespace": device.place.namespace,
        "manager": device.place.manager,
        "vendor": device.place.vendor,
        "serial": device.place.serial,
        "name": device.name,
        "version": device.version,
        "ek_name": device.ek_name,
        "bound_at": Rfc3339(device.bound_at).to_string(),
        "manager_deleted": device.is_left,
        "last_attestation": device.attestations.last().map(verdict),
    })
}

/// Returns a device as JSON with all details.
fn document(device: &BoundDevice, keys: &[DeviceKey]) -> Value {
    let mut document = summary(device);
    let keys: Vec<Value> = keys
        .iter()
        .map(|key| {
            let (on_hold, revoked) = withdrawn(key);
            let moment = |since: Option<Timestamp>| since.map(|since| Rfc3339(since).to_string());
            json!({
                "ak_name": key.ak_name,
                "category": key.category,
                "active_since": moment(key.active_since),
                "on_hold_since": moment(on_hold),
                "revoked_since": moment(revoked),
                "certificate": key.certificate,
                "not_after": Rfc3339(key.not_after).to_string(),
            })
        })
        .collect();
    let learnt = device.learnt.as_deref().map(registers);
    let attestations: Vec<Value> = device.attestations.iter().map(verdict).collect();
    if let Some(members) = document.as_object_mut() {
        members.insert("keys".to_owned(), keys.into());
        members.insert("learnt".to_owned(), learnt.into());
        members.insert("attestations".to_owned(), attestations.into());
    }
    document
}

fn verdict(verdict: &Verdict) -> Value {
    json!({
        "at": Rfc3339(verdict.at).to_string(),
        "category": verdict.category,
        "ak_name": verdict.ak,
        "pcr_selection": verdict.selection,
        "accepted": verdict.accepted,
        "told": verdict.told,
        "registers": match &verdict.registers {
            Registers::Values(values) => Some(registers(values)),
            Registers::Same | Registers::Unknown => None,
        },
        "events": verdict.events.iter().map(event).collect::<Vec<Value>>(),
    })
}

fn registers(registers: &[LearntRegister]) -> Vec<Value> {
    let registers = registers.iter().map(|register| {
        json!({ "bank": register.bank, "index": register.index, "value": register.value })
    });
    registers.collect()
}

/// Returns the logged event of a changed register as JSON.
fn event(event: &LoggedEvent) -> Value {
    json!({
        "bank": event.bank,
        "index": event.index,
        "type": event.kind,
        "digest": event.digest,
        "backed": event.backed,
        "hint": event.hint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> BoundDevice {
        BoundDevice {
            place: "default/acme/v%2F/s".parse::<Place>().unwrap().0,
            name: "device-0001".to_owned(),
            version: "1".to_owned(),
            ek_name: "000b".to_owned(),
            bound_at: Timestamp::EPOCH,
            is_left: false,
            learnt: None,
            attestations: Vec::new(),
        }
    }

    /// When the certificates of keys expire.
    const END: Timestamp = Timestamp::from_secs(1);

    fn key(active_since: Option<Timestamp>, withdrawal: Option<Withdrawal>) -> DeviceKey {
        DeviceKey {
            category: "edge".to_owned(),
            ak_name: "000b".to_owned(),
            active_since,
            certificate: "40:01".to_owned(),
            not_after: END,
            withdrawal,
        }
    }

    #[test]
    fn a_device_is_told_with_its_keys_registers_and_verdicts() {
        let device = BoundDevice {
            is_left: true,
            learnt: Some(vec![LearntRegister {
                bank: "sha256".to_owned(),
                index: 7,
                value: "00".to_owned(),
            }]),
            attestations: vec![Verdict {
                at: Timestamp::EPOCH,
                category: "edge".to_owned(),
                ak: "000b".to_owned(),
                selection: "sha256:7".to_owned(),
                accepted: false,
                told: vec!["fail pcr-policy: other".to_owned()],
                registers: Registers::Values(vec![LearntRegister {
                    bank: "sha256".to_owned(),
                    index: 7,
                    value: "01".to_owned(),
                }]),
                events: Vec::new(),
            }],
            ..device()
        };
        let keys = [key(None, None)];
        let epoch = "1970-01-01T00:00:00.000Z";
        assert_eq!(
            lines(&device, &keys, Timestamp::EPOCH),
            [
                "device   default/acme/v%2F/s (its manager was deleted)",
                "name     device-0001",
                "version  1",
                "ek       000b",
                &format!("bound    {epoch}"),
                "key      000b not active; certificate 40:01 of edge, until 1970-01-01T00:00:01.000Z",
                "learnt   sha256:7 00",
                &format!("attest   {epoch} refused sha256:7"),
                "         fail pcr-policy: other",
            ]
        );
        let document = document(&device, &keys);
        assert_eq!(document["device"], "default/acme/v%2F/s");
        assert_eq!(document["vendor"], "v/");
        assert_eq!(document["manager_deleted"], true);
        for since in ["active_since", "on_hold_since", "revoked_since"] {
            assert_eq!(document["keys"][0][since], Value::Null);
        }
        assert_eq!(document["learnt"][0]["bank"], "sha256");
        assert_eq!(
            document["attestations"],
            json!([document["last_attestation"]])
        );
        assert_eq!(document["attestations"][0]["accepted"], false);
    }

    #[test]
    fn a_key_whose_certificate_is_withdrawn_or_expired_is_not_said_to_be_active() {
        let of = |withdrawal| key(Some(Timestamp::EPOCH), withdrawal);
        let (since, epoch) = (Timestamp::EPOCH, "1970-01-01T00:00:00.000Z");
        let state_of = |key: &DeviceKey| state(key, since);
        assert_eq!(state_of(&of(None)), format!("active since {epoch}"));
        let expired = "expired since 1970-01-01T00:00:01.000Z";
        assert_eq!(state(&of(None), END), expired);
        assert_eq!(state(&key(None, None), END), "not active");
        let on_hold = of(Some(Withdrawal::OnHold { since }));
        assert_eq!(state_of(&on_hold), format!("on hold since {epoch}"));
        for withdrawal in [
            Withdrawal::Forgotten { since },
            Withdrawal::Revoked { since },
            Withdrawal::Superseded { since },
        ] {
            assert_eq!(
                state_of(&of(Some(withdrawal))),
                format!("revoked since {epoch}")
            );
        }
        let key = &document(&device(), &[on_hold])["keys"][0];
        assert_eq!(key["on_hold_since"], epoch);
        assert_eq!(key["revoked_since"], Value::Null);
        assert_eq!(key["active_since"], epoch);
    }

    #[test]
    fn a_device_is_four_texts_between_slashes() {
        let text = "default/acme/Example%2FCorp/50%25 SN";
        let place: Place = text.parse().unwrap();
        assert_eq!(place.0.vendor, "Example/Corp");
        assert_eq!(place.0.serial, "50% SN");
        assert_eq!(place.to_string(), text);
        for wrong in [
            "",
            "default/acme/v",
            "default/acme/v/s/t",
            "default/acme//s",
            "default/acme/v/",
            "Default/acme/v/s",
            "default/a.b/v/s",
            "default/acme/%ff/s",
        ] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
