//! `keyproof otp migration`: Google Authenticator's exports, offline.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use keyproof_otp::{
    Strength,
    migration::{Migration, join},
    otpauth::{Kind, OtpauthUri},
};
use keyproof_store::{Entropy, SystemEntropy};
use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{draw, uri_if_any};
use crate::command::{Failure, Outcome, files::read_text, output};

#[derive(Debug, Subcommand)]
pub(in crate::command) enum Command {
    /// Show the accounts of an export
    Read(ReadArguments),
    /// Write an export; its codes contain the secrets
    Write(WriteArguments),
}

#[derive(Args, Debug)]
pub(in crate::command) struct ReadArguments {
    /// A file with the text of each QR code of the export on a separate line
    file: PathBuf,
    /// Print the otpauth URIs, which contain the secrets
    #[arg(long)]
    show_secrets: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(in crate::command) struct WriteArguments {
    /// A file with an otpauth URI on each line
    file: PathBuf,
    /// Draw the QR codes for a phone, each above its text
    #[arg(long, conflicts_with = "json")]
    qr: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Read(arguments) => read(&arguments),
        Command::Write(arguments) => write(&arguments),
    }
}

/// Parses each line that is not empty. The error names the file and the line.
pub(super) fn lines<T>(
    file: &Path,
    parse: impl Fn(&str) -> Result<T, keyproof_otp::OtpError>,
) -> Result<Vec<T>, Failure> {
    let text = read_text(file)?;
    let lines = text.lines().enumerate();
    lines
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            parse(line)
                .map_err(|error| Failure::Refused(format!("line {number}: {error}")).about(file))
        })
        .collect()
}

fn read(arguments: &ReadArguments) -> Outcome {
    let accounts = join(lines(&arguments.file, Migration::parse)?)?;
    if arguments.json {
        let documents = accounts.iter().map(|account| AccountDocument {
            facts: facts(account),
            uri: arguments.show_secrets.then_some(account),
        });
        return output::print_secret_json(&ExportDocument {
            accounts: documents.collect(),
        });
    }
    for account in &accounts {
        if arguments.show_secrets {
            output::print(&Zeroizing::new(account.to_string()))?;
        } else {
            output::print(&describe(account))?;
        }
    }
    Ok(())
}

/// The contents of an export as JSON.
#[derive(Serialize)]
struct ExportDocument<'a> {
    accounts: Vec<AccountDocument<'a>>,
}

/// An account as JSON.
#[derive(Serialize)]
struct AccountDocument<'a> {
    #[serde(flatten)]
    facts: Map<String, Value>,
    /// The URI, which contains the secret.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "uri_if_any")]
    uri: Option<&'a OtpauthUri>,
}

/// The codes of an export as JSON.
#[derive(Serialize)]
struct CodesDocument<'a> {
    accounts: usize,
    codes: Vec<&'a str>,
}

/// Returns all of an account except its secret.
fn facts(account: &OtpauthUri) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut fact = |name: &str, value: Value| facts.insert(name.to_owned(), value);
    fact("issuer", account.issuer().into());
    fact("account", account.account().into());
    fact("algorithm", account.algorithm().name().into());
    fact("digits", account.digits().get().into());
    let weak = account.secret().strength() == Strength::BelowRequired;
    fact("weak", weak.into());
    match account.kind() {
        Kind::Hotp { counter } => fact("counter", counter.into()),
        Kind::Totp { period } => fact("period", period.get().into()),
    };
    facts
}

fn describe(account: &OtpauthUri) -> String {
    let issuer = account
        .issuer()
        .map(|issuer| format!("{issuer}: "))
        .unwrap_or_default();
    let kind = match account.kind() {
        Kind::Hotp { counter } => format!("HOTP from counter {counter}"),
        Kind::Totp { period } => format!("TOTP every {period} s"),
    };
    let (algorithm, digits) = (account.algorithm(), account.digits());
    let line = format!(
        "{issuer}{} ({kind}, {algorithm}, {digits} digits)",
        account.account()
    );
    output::printable(&line)
}

fn write(arguments: &WriteArguments) -> Outcome {
    let accounts = lines(&arguments.file, OtpauthUri::parse)?;
    if accounts.is_empty() {
        return Err(Failure::refused("no account").about(&arguments.file));
    }
    let mut id = [0; 4];
    SystemEntropy::new().fill(&mut id);
    let codes = Migration::batch(&accounts, i32::from_be_bytes(id))?;
    let texts: Vec<Zeroizing<String>> = codes
        .iter()
        .map(|code| Zeroizing::new(code.to_string()))
        .collect();
    if arguments.json {
        return output::print_secret_json(&CodesDocument {
            accounts: accounts.len(),
            codes: texts.iter().map(|text| text.as_str()).collect(),
        });
    }
    for text in &texts {
        if arguments.qr {
            output::print(&draw(text)?)?;
        }
        output::print(text)?;
    }
    Ok(())
}
