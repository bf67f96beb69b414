//! Writes a key, in the order of RFC 6030's schema (section 11).

use alloc::{string::ToString, vec::Vec};

use super::{Sealer, WriteError, document::Document};
use crate::{
    key::{DeviceInfo, Key, KeyData, KeyInfo},
    policy::{PinPolicy, Policy},
};

pub(super) fn write_package(
    document: &mut Document,
    key: &Key,
    sealer: &mut Sealer<'_>,
) -> Result<(), WriteError> {
    let info = &key.info;
    document.begin("KeyPackage", &[])?;
    write_device(document, &info.device)?;
    if let Some(module) = &info.crypto_module {
        document.begin("CryptoModuleInfo", &[])?;
        document.text("Id", module)?;
        document.end("CryptoModuleInfo");
    }
    let mut attributes = Vec::from([("Id", info.id.as_str())]);
    attributes.extend(info.algorithm.as_deref().map(|uri| ("Algorithm", uri)));
    document.begin("Key", &attributes)?;
    document.optional("Issuer", info.issuer.as_deref())?;
    write_parameters(document, info)?;
    document.optional("KeyProfileId", info.profile_id.as_deref())?;
    document.optional("KeyReference", info.reference.as_deref())?;
    document.optional("FriendlyName", info.friendly_name.as_deref())?;
    write_data(document, &info.id, &key.data, sealer)?;
    document.optional("UserId", info.user_id.as_deref())?;
    if let Some(policy) = &info.policy {
        if policy.has_unknown {
            let id = info.id.clone();
            return Err(WriteError::UnknownPolicy { id });
        }
        write_policy(document, policy)?;
    }
    document.end("Key");
    document.end("KeyPackage");
    Ok(())
}

fn write_device(document: &mut Document, device: &DeviceInfo) -> Result<(), WriteError> {
    if *device == DeviceInfo::default() {
        return Ok(());
    }
    document.begin("DeviceInfo", &[])?;
    for (name, text) in [
        ("Manufacturer", &device.manufacturer),
        ("SerialNo", &device.serial_number),
        ("Model", &device.model),
        ("IssueNo", &device.issue_number),
        ("DeviceBinding", &device.binding),
        ("StartDate", &device.start_date),
        ("ExpiryDate", &device.expiry_date),
        ("UserId", &device.user_id),
    ] {
        document.optional(name, text.as_deref())?;
    }
    document.end("DeviceInfo");
    Ok(())
}

fn write_parameters(document: &mut Document, info: &KeyInfo) -> Result<(), WriteError> {
    if info.suite.is_none() && info.challenge.is_none() && info.response.is_none() {
        return Ok(());
    }
    document.begin("AlgorithmParameters", &[])?;
    document.optional("Suite", info.suite.as_deref())?;
    let flag = |flag: bool| flag.then_some(("CheckDigits", "true"));
    if let Some(challenge) = &info.challenge {
        let (min, max) = (challenge.min.to_string(), challenge.max.to_string());
        let mut attributes = Vec::from([
            ("Encoding", challenge.encoding.name()),
            ("Min", min.as_str()),
            ("Max", max.as_str()),
        ]);
        attributes.extend(flag(challenge.check_digits));
        document.empty("ChallengeFormat", &attributes)?;
    }
    if let Some(response) = &info.response {
        let length = response.length.to_string();
        let mut attributes = Vec::from([
            ("Encoding", response.encoding.name()),
            ("Length", length.as_str()),
        ]);
        attributes.extend(flag(response.check_digits));
        document.empty("ResponseFormat", &attributes)?;
    }
    document.end("AlgorithmParameters");
    Ok(())
}

fn write_data(
    document: &mut Document,
    id: &str,
    data: &KeyData,
    sealer: &mut Sealer<'_>,
) -> Result<(), WriteError> {
    if *data == KeyData::default() {
        return Ok(());
    }
    document.begin("Data", &[])?;
    if let Some(secret) = &data.secret {
        sealer.write_secret(document, id, secret)?;
    }
    for (name, number) in [
        ("Counter", data.counter),
        ("Time", data.time),
        ("TimeInterval", data.time_interval),
    ] {
        let number = number.map(i64::try_from).transpose();
        let number = number.map_err(|_| WriteError::Number { field: name })?;
        write_number(document, name, number)?;
    }
    write_number(document, "TimeDrift", data.time_drift)?;
    document.end("Data");
    Ok(())
}

fn write_number(
    document: &mut Document,
    name: &'static str,
    number: Option<i64>,
) -> Result<(), WriteError> {
    let Some(number) = number else {
        return Ok(());
    };
    document.begin(name, &[])?;
    document.text("PlainValue", &number.to_string())?;
    document.end(name);
    Ok(())
}

fn write_policy(document: &mut Document, policy: &Policy) -> Result<(), WriteError> {
    document.begin("Policy", &[])?;
    document.optional("StartDate", policy.start_date.as_deref())?;
    document.optional("ExpiryDate", policy.expiry_date.as_deref())?;
    if let Some(pin) = &policy.pin {
        write_pin_policy(document, pin)?;
    }
    for usage in &policy.usages {
        document.text("KeyUsage", usage.name())?;
    }
    let transactions = policy.transactions.map(|number| number.to_string());
    document.optional("NumberOfTransactions", transactions.as_deref())?;
    document.end("Policy");
    Ok(())
}

fn write_pin_policy(document: &mut Document, pin: &PinPolicy) -> Result<(), WriteError> {
    let numbers = [
        ("MaxFailedAttempts", pin.max_failed_attempts),
        ("MinLength", pin.min_len),
        ("MaxLength", pin.max_len),
    ]
    .map(|(name, number)| (name, number.map(|number| number.to_string())));
    let texts = [
        ("PINKeyId", pin.key_id.as_deref()),
        ("PINUsageMode", pin.usage.map(|usage| usage.name())),
        ("PINEncoding", pin.encoding.map(|encoding| encoding.name())),
    ];
    let numbers = numbers
        .iter()
        .map(|(name, number)| (*name, number.as_deref()));
    let attributes: Vec<_> = texts
        .into_iter()
        .chain(numbers)
        .filter_map(|(name, text)| Some((name, text?)))
        .collect();
    document.empty("PINPolicy", &attributes)
}
