//! `keyproof tpm replay-log`: replays a platform's event log, and compares the result with its registers.

use std::path::PathBuf;

use clap::Args;
use keyproof_tpm::{
    BootVariable, EventLog, EventLogPolicy, ReplayedLog, TpmlPcrSelection, check_event_log,
};
use serde_json::{Value, json};

use super::{
    files::{PcrFile, pcr_file, wrong},
    hex,
};
use crate::command::{Failure, Outcome, files::read, output, report};

#[derive(Args, Debug)]
pub(in crate::command) struct Arguments {
    /// The log, in either of the TCG's formats, such as Linux's binary_bios_measurements
    log: PathBuf,
    /// The expected values of the registers, in the formats of check-quote
    #[arg(long, value_name = "FILE")]
    pcrs: Option<PathBuf>,
    /// Which registers those are, such as sha256:0,1,2; required if the file does not name them
    #[arg(long)]
    selection: Option<TpmlPcrSelection>,
    /// Refuse unless Secure Boot is on
    #[arg(long)]
    secure_boot: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let bytes = read(&arguments.log)?;
    let registers = registers(arguments)?;
    let mut policy = match &registers {
        Some((selection, values)) => EventLogPolicy::with_unverified_registers(selection, values),
        None => EventLogPolicy::without_registers(),
    };
    policy.require_secure_boot = arguments.secure_boot;
    let replayed = check_event_log(&bytes, &policy);
    let registers = match registers {
        Some(_) => compared(&replayed),
        None => led_to(&replayed),
    };
    let lines: Vec<String> = registers
        .iter()
        .map(|register| {
            let text = |name: &str| register[name].as_str().unwrap_or("?").to_owned();
            let matched = match register["matched"].as_bool() {
                None => "",
                Some(true) => "  matched",
                Some(false) => "  NOT MATCHED",
            };
            let (bank, pcr) = (text("bank"), &register["pcr"]);
            format!("{bank}:{pcr}  {}{matched}", text("replayed"))
        })
        .collect();
    let facts = json!({
        "form": replayed.log.as_ref().map(|log| log.form.name()),
        "banks": replayed.log.as_ref().map(banks),
        "startup_locality": replayed.locality,
        "registers": registers,
        "secure_boot": {
            "enabled": replayed.secure_boot.enabled,
            "debug_mode": replayed.secure_boot.debug_mode,
            "dma_protection_disabled": replayed.secure_boot.dma_protection_disabled,
            "variables": variables(&replayed.secure_boot.variables),
            "authorities": variables(&replayed.secure_boot.authorities),
        },
        "events": events(&replayed),
    });
    if !arguments.json && !lines.is_empty() {
        output::print(&lines.join("\n"))?;
    }
    report::finish(&replayed.report, arguments.json, &facts)
}

/// Reads the registers to compare, and their values.
fn registers(arguments: &Arguments) -> Result<Option<(TpmlPcrSelection, Vec<u8>)>, Failure> {
    let Some(path) = &arguments.pcrs else {
        return match arguments.selection {
            None => Ok(None),
            Some(_) => Err(Failure::Usage("--selection requires --pcrs".to_owned())),
        };
    };
    let PcrFile { selection, values } = pcr_file(path)?;
    match (&arguments.selection, selection) {
        (Some(asked), Some(named)) if !asked.selects_same(&named) => Err(wrong(
            path,
            &format!("it has values of {named}, not of {asked}"),
        )),
        (Some(asked), _) => Ok(Some((asked.clone(), values))),
        (None, Some(named)) => Ok(Some((named, values))),
        (None, None) => {
            let path = path.display();
            Err(Failure::Usage(format!(
                "{path} does not name its registers: use --selection"
            )))
        }
    }
}

fn banks(log: &EventLog<'_>) -> Vec<&'static str> {
    log.banks().map(|hash| hash.name()).collect()
}

fn compared(replayed: &ReplayedLog<'_>) -> Vec<Value> {
    let registers = replayed.registers.iter();
    registers
        .map(|register| {
            json!({
                "bank": register.hash.name(),
                "pcr": register.index,
                "value": hex(&register.value),
                "replayed": register.replayed.as_deref().map(hex),
                "events": register.events,
                "matched": register.is_matched(),
            })
        })
        .collect()
}

/// Returns the replayed value of each register that has events, in each bank of the log.
fn led_to(replayed: &ReplayedLog<'_>) -> Vec<Value> {
    let Some(log) = &replayed.log else {
        return Vec::new();
    };
    let mut registers = Vec::new();
    for hash in log.banks() {
        let Ok(replay) = log.replay(hash, replayed.locality) else {
            continue;
        };
        for index in (0..32).filter(|index| replay.events(*index) > 0) {
            registers.push(json!({
                "bank": hash.name(),
                "pcr": index,
                "replayed": replay.value(index).map(hex),
                "events": replay.events(index),
            }));
        }
    }
    registers
}

fn variables(variables: &[BootVariable<'_>]) -> Vec<Value> {
    let variables = variables.iter();
    variables
        .map(|variable| json!({ "name": variable.name, "event": variable.event, "bytes": variable.data.len() }))
        .collect()
}

fn events(replayed: &ReplayedLog<'_>) -> Vec<Value> {
    let Some(log) = &replayed.log else {
        return Vec::new();
    };
    let events = log.events.iter().zip(&replayed.trust);
    events
        .map(|(event, trust)| {
            json!({
                "pcr": event.pcr,
                "type": event.event_type.to_string(),
                "trust": trust.name(),
            })
        })
        .collect()
}
