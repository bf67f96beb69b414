//! `keyproof tpm trust`: the TPM manufacturers' CAs in the store, for all managers.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use data_encoding::HEXUPPER_PERMISSIVE;
use jiff::{SignedDuration, civil::DateTime};
use keyproof_service::device_identity::{AddTrustError, TrustEntry, TrustItem, TrustKind};
use keyproof_x509::Sha256Thumbprint;
use serde_json::{Value, json};

use super::files::wrong;
use crate::{
    command::{
        Failure, Outcome,
        files::read,
        flags::StoreArguments,
        output::{self, printable},
        report, terminal,
        with_store::{with_service, with_store},
    },
    rfc3339::Rfc3339,
};

#[derive(Debug, Subcommand)]
pub(in crate::command) enum Command {
    /// Add TPM manufacturers' CA certificates and certificate revocation lists (CRLs)
    Add(AddArguments),
    /// Check whether the bundle covers the manufacturer of a TPM, and what is missing
    Check(CheckArguments),
    /// List the CA certificates and CRLs by manufacturer
    List(StoreArguments),
    /// Remove a certificate or CRL
    Remove(RemoveArguments),
}

#[derive(Args, Debug)]
pub(in crate::command) struct AddArguments {
    /// CA certificates and CRLs in PEM or PKCS #7 (.p7b), or one of them in DER
    file: PathBuf,
    /// Make all certificates of the file roots, not only the self-signed ones
    #[arg(long)]
    roots: bool,
    #[command(flatten)]
    on: StoreArguments,
}

#[derive(Args, Debug)]
pub(in crate::command) struct CheckArguments {
    /// The endorsement certificate, in DER or PEM or as in a TPM's NV memory
    ek: PathBuf,
    #[command(flatten)]
    on: StoreArguments,
}

#[derive(Args, Debug)]
pub(in crate::command) struct RemoveArguments {
    /// The SHA-256 fingerprint of its DER in hexadecimal, with or without colons, as `list` shows it
    fingerprint: Fingerprint,
    #[command(flatten)]
    on: StoreArguments,
}

#[derive(Clone, Copy, Debug)]
struct Fingerprint(Sha256Thumbprint);

impl std::str::FromStr for Fingerprint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.replace(':', "");
        let octets = HEXUPPER_PERMISSIVE.decode(digits.as_bytes()).ok();
        let octets: Option<[u8; 32]> = octets.and_then(|octets| octets.try_into().ok());
        let octets = octets.ok_or("not a SHA-256 in hexadecimal: 64 digits")?;
        Ok(Self(octets.into()))
    }
}

pub(in crate::command) fn run(command: Command) -> Outcome {
    match command {
        Command::Add(arguments) => add(&arguments),
        Command::Check(arguments) => check(&arguments),
        Command::List(arguments) => list(&arguments),
        Command::Remove(arguments) => remove(&arguments),
    }
}

fn add(arguments: &AddArguments) -> Outcome {
    let items = TrustItem::read(&read(&arguments.file)?, arguments.roots)
        .map_err(|error| wrong(&arguments.file, &error))?;
    with_store(&arguments.on.store, async |service, store| {
        let devices = &service.device_identity;
        let added = devices
            .add_trust(&items, &terminal::command_line())
            .await
            .map_err(|error| match error {
                // These errors are not about the file.
                keyproof_service::Failure::Refused(AddTrustError::ClockApart(_))
                | keyproof_service::Failure::Storage(_) => Failure::from(error).of_store(store),
                error => wrong(&arguments.file, &error),
            })?;
        for fingerprint in &added.without_issuer {
            output::warn(&format!(
                "the issuer's certificate of the CRL {fingerprint} is not in the bundle, so this CRL replaces no older \
                 one; add that certificate, too"
            ));
        }
        if arguments.on.json {
            let new = added.added.iter().map(|(kind, fingerprint)| {
                json!({ "kind": kind, "fingerprint": fingerprint.to_string() })
            });
            let replaced = added.replaced.iter().map(ToString::to_string);
            return output::print_json(&json!({
                "added": new.collect::<Vec<_>>(),
                "replaced": replaced.collect::<Vec<_>>(),
                "known": added.known,
            }));
        }
        for (kind, fingerprint) in &added.added {
            output::print(&format!("added\t{fingerprint}\t{}", kind.words()))?;
        }
        for fingerprint in &added.replaced {
            output::print(&format!("replaced\t{fingerprint}\trevocation list"))?;
        }
        let (new, known) = (added.added.len(), added.known);
        output::print(&format!(
            "added {new}, {known} already existed (store {store})"
        ))
    })
}

fn check(arguments: &CheckArguments) -> Outcome {
    let stored = read(&arguments.ek)?;
    let stored = super::certificate(&stored).map_err(|problem| wrong(&arguments.ek, &problem))?;
    with_service(&arguments.on.store, async |service| {
        let checked = service.device_identity.check_trust(stored).await?;
        let facts = json!({ "maker": checked.maker, "missing": checked.missing });
        if !arguments.on.json {
            let maker = checked.maker.as_deref().unwrap_or("unknown");
            output::print(&format!("manufacturer: {}", printable(maker)))?;
            if let Some(missing) = &checked.missing {
                let missing = printable(missing);
                output::print(&format!("missing: the certificate of {missing}"))?;
            }
        }
        report::finish(&checked.report, arguments.on.json, &facts)
    })
}

fn list(arguments: &StoreArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let entries = service.device_identity.trust_entries().await?;
        let makers =
            entries.chunk_by(|one, next| one.maker.to_lowercase() == next.maker.to_lowercase());
        if arguments.json {
            let makers = makers.filter_map(|of| {
                let maker = &of.first()?.maker;
                let entries: Vec<Value> = of.iter().map(document).collect();
                Some(json!({ "maker": maker, "entries": entries }))
            });
            return output::print_json(&json!({ "makers": makers.collect::<Vec<_>>() }));
        }
        for of in makers {
            for (at, entry) in of.iter().enumerate() {
                if at == 0 {
                    output::print(&printable(&entry.maker))?;
                }
                output::print(&line(entry))?;
            }
        }
        Ok(())
    })
}

fn document(entry: &TrustEntry) -> Value {
    let until = entry.until.map(day);
    let (from_name, until_name) = match entry.kind {
        TrustKind::RevocationList => ("this_update", "next_update"),
        TrustKind::Root | TrustKind::Intermediate => ("not_before", "not_after"),
    };
    let mut document = json!({
        "kind": entry.kind,
        "fingerprint": entry.fingerprint.to_string(),
        "name": entry.name,
        "added_at": Rfc3339(entry.added_at).to_string(),
    });
    if let Some(members) = document.as_object_mut() {
        members.insert(from_name.to_owned(), day(entry.from).into());
        members.insert(until_name.to_owned(), until.into());
        if let Some(revoked) = entry.revoked {
            members.insert("revoked".to_owned(), revoked.into());
        }
    }
    document
}

fn line(entry: &TrustEntry) -> String {
    let until = entry.until.map_or("no end".to_owned(), day);
    let revoked = entry
        .revoked
        .map_or_else(String::new, |revoked| format!("\t{revoked} revoked"));
    format!(
        "  {}\t{}\t{} to {until}\t{}{revoked}",
        entry.fingerprint,
        entry.kind.words(),
        day(entry.from),
        printable(&entry.name),
    )
}

/// Formats a date by the calendar (RFC 3339). The `notAfter` of certificates without an end is the last second of the
/// year 9999, one day beyond `jiff`'s range.
fn day(seconds: i64) -> String {
    let epoch = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    let moment = epoch.checked_add(SignedDuration::from_secs(seconds));
    moment.map_or_else(|_| seconds.to_string(), |moment| format!("{moment}Z"))
}

fn remove(arguments: &RemoveArguments) -> Outcome {
    with_store(&arguments.on.store, async |service, store| {
        let Fingerprint(fingerprint) = &arguments.fingerprint;
        let devices = &service.device_identity;
        let command_line = terminal::command_line();
        let removed = devices.remove_trust(fingerprint, &command_line).await;
        removed.map_err(|error| Failure::from(error).of_store(store))?;
        let document = json!({ "removed": fingerprint.to_string() });
        let told = format!("removed {fingerprint} (store {store})");
        output::print_either(arguments.on.json, &document, &told)
    })
}
