//! `keyproof otp pskc`: containers of token keys (RFC 6030), offline.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use keyproof_otp::{
    Algorithm, Digits, Secret,
    otpauth::{Kind, OtpauthUri},
};
use keyproof_pskc::{Container, Encoding, KeyData, KeyInfo, KeyUsage, PskcError, Unlock};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::command::{Failure, Outcome, files::read_text, output};

#[derive(Debug, Subcommand)]
pub(in crate::command) enum Command {
    /// Show the keys of a container
    Show(ShowArguments),
}

#[derive(Args, Debug)]
pub(in crate::command) struct ShowArguments {
    /// The container
    file: PathBuf,
    /// A file that holds the key of an encrypted container, in hexadecimal
    #[arg(long, value_name = "FILE", conflicts_with = "password_file")]
    key_file: Option<PathBuf>,
    /// A file whose first line is the password of an encrypted container
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Print the secrets: as otpauth URIs where there is one for the key, else in hexadecimal
    #[arg(long)]
    show_secrets: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl From<PskcError> for Failure {
    fn from(error: PskcError) -> Self {
        Self::Refused(error.to_string())
    }
}

pub(super) fn run(command: Command) -> Outcome {
    let Command::Show(arguments) = command;
    show(&arguments)
}

/// What a container is opened with, as it was read.
enum Given {
    Key(Zeroizing<Vec<u8>>),
    Nothing,
    Password(Zeroizing<String>),
}

impl ShowArguments {
    fn given(&self) -> Result<Given, Failure> {
        if let Some(file) = &self.key_file {
            let text = read_text(file)?;
            let key = HEXLOWER_PERMISSIVE
                .decode(text.trim().as_bytes())
                .map(Zeroizing::new);
            let wrong = |_| Failure::Refused(format!("{}: not hexadecimal", file.display()));
            return key.map(Given::Key).map_err(wrong);
        }
        let Some(file) = &self.password_file else {
            return Ok(Given::Nothing);
        };
        let text = read_text(file)?;
        Ok(Given::Password(Zeroizing::new(
            text.lines().next().unwrap_or_default().to_owned(),
        )))
    }
}

fn show(arguments: &ShowArguments) -> Outcome {
    let document = read_text(&arguments.file)?;
    let container = Container::parse(&document)?;
    let given = arguments.given()?;
    if container.is_signed() {
        output::say("keyproof: warning: the container's signature is not verified");
    }
    let unlock = match &given {
        Given::Key(key) => Unlock::Key(key),
        Given::Nothing => Unlock::Nothing,
        Given::Password(password) => Unlock::Password(password),
    };
    let mut shown = Vec::new();
    // Without a key there is still something to see, but no secret to be shown.
    if matches!(given, Given::Nothing) && container.is_encrypted() && !arguments.show_secrets {
        output::say("keyproof: the container is encrypted: its values are not shown");
        shown.extend(container.keys().map(Shown::closed));
    } else {
        let keys = container.open(unlock)?;
        shown.extend(
            keys.iter()
                .map(|key| Shown::open(&key.info, &key.data, arguments.show_secrets)),
        );
    }
    if arguments.json {
        let keys: Vec<_> = shown.iter().map(|key| &key.facts).collect();
        return Ok(output::print_json(&json!({
            "id": container.id(),
            "encrypted": container.is_encrypted(),
            "signed": container.is_signed(),
            "keys": keys,
        }))?);
    }
    shown
        .iter()
        .try_for_each(|key| output::print(&key.line))
        .map_err(Failure::from)
}

/// A key in both forms of output.
struct Shown {
    facts: Map<String, Value>,
    line: Zeroizing<String>,
}

impl Shown {
    fn closed(info: &KeyInfo) -> Self {
        Self {
            facts: facts(info),
            line: Zeroizing::new(output::printable(&line(info))),
        }
    }

    fn open(info: &KeyInfo, data: &KeyData, show_secrets: bool) -> Self {
        let mut shown = Self::closed(info);
        let secret = data.secret.as_ref().map(|secret| secret.as_bytes());
        let values = [
            ("secret_bytes", secret.map(|secret| json!(secret.len()))),
            ("counter", data.counter.map(Value::from)),
            ("time", data.time.map(Value::from)),
            ("time_interval", data.time_interval.map(Value::from)),
            ("time_drift", data.time_drift.map(Value::from)),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                shown
                    .line
                    .push_str(&format!(", {} {value}", name.replace('_', " ")));
                shown.facts.insert(name.to_owned(), value);
            }
        }
        if let (true, Some(secret)) = (show_secrets, secret) {
            let hex = Zeroizing::new(HEXLOWER.encode(secret));
            let uri = uri(info, data, secret).map(|uri| Zeroizing::new(uri.to_string()));
            shown.facts.insert("secret".to_owned(), json!(*hex));
            shown.facts.insert("uri".to_owned(), json!(uri.as_deref()));
            // A key that is to be used goes into other programs as it is.
            match uri {
                Some(uri) => shown.line = uri,
                None => {
                    let line = Zeroizing::new(format!("{}, secret {}", *shown.line, *hex));
                    shown.line = line;
                }
            }
        }
        shown
    }
}

fn facts(info: &KeyInfo) -> Map<String, Value> {
    let policy = info.policy.as_ref().map(|policy| {
        json!({
            "start_date": policy.start_date,
            "expiry_date": policy.expiry_date,
            "usages": policy.usages.iter().map(|usage| usage.name()).collect::<Vec<_>>(),
            "transactions": policy.transactions,
            "permits_codes": policy.permits(KeyUsage::Otp),
        })
    });
    let facts = [
        ("id", json!(info.id)),
        ("algorithm", json!(info.algorithm)),
        ("issuer", json!(info.issuer)),
        ("suite", json!(info.suite)),
        (
            "digits",
            json!(info.response.map(|response| response.length)),
        ),
        (
            "user",
            json!(info.user_id.as_ref().or(info.device.user_id.as_ref())),
        ),
        ("friendly_name", json!(info.friendly_name)),
        ("manufacturer", json!(info.device.manufacturer)),
        ("serial", json!(info.device.serial_number)),
        ("model", json!(info.device.model)),
        ("policy", json!(policy)),
    ];
    facts
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

fn line(info: &KeyInfo) -> String {
    let algorithm = match info.algorithm.as_deref() {
        Some(KeyInfo::HOTP) => "HOTP",
        Some(KeyInfo::TOTP) => "TOTP",
        Some(KeyInfo::PIN) => "PIN",
        Some(other) => other,
        None => "of no named algorithm",
    };
    let mut line = format!("key {}: {algorithm}", info.id);
    let device = &info.device;
    for (name, value) in [
        ("manufacturer", &device.manufacturer),
        ("serial", &device.serial_number),
        ("issuer", &info.issuer),
        ("user", &info.user_id),
    ] {
        if let Some(value) = value {
            line += &format!(", {name} {value}");
        }
    }
    if let Some(policy) = &info.policy {
        if let Some(start) = &policy.start_date {
            line += &format!(", from {start}");
        }
        if let Some(expiry) = &policy.expiry_date {
            line += &format!(", until {expiry}");
        }
        if !policy.permits(KeyUsage::Otp) {
            line += ", not to be used for codes";
        }
    }
    line
}

/// The key as an otpauth URI, if there is one that says the same.
fn uri(info: &KeyInfo, data: &KeyData, secret: &[u8]) -> Option<OtpauthUri> {
    let algorithm = match info.suite.as_deref() {
        None | Some("HMAC-SHA1" | "SHA1") => Algorithm::Sha1,
        Some("HMAC-SHA256" | "SHA256") => Algorithm::Sha256,
        Some("HMAC-SHA512" | "SHA512") => Algorithm::Sha512,
        Some(_) => return None,
    };
    let digits = match info.response {
        None => Digits::SIX,
        Some(response) if response.encoding == Encoding::Decimal && !response.check_digits => {
            Digits::new(u8::try_from(response.length).ok()?).ok()?
        }
        Some(_) => return None,
    };
    let kind = match info.algorithm.as_deref() {
        Some(KeyInfo::HOTP) => Kind::Hotp {
            counter: data.counter.unwrap_or_default(),
        },
        Some(KeyInfo::TOTP) => match data.time_interval {
            None => Kind::TOTP,
            Some(seconds) => Kind::Totp {
                period: seconds.try_into().ok()?,
            },
        },
        _ => return None,
    };
    let secret = Secret::from_bytes(secret).ok()?;
    // Whatever name a URI can have: no colon in it.
    let names = [
        &info.user_id,
        &info.device.user_id,
        &info.device.serial_number,
    ];
    let mut names = names.into_iter().flatten().chain([&info.id]);
    names.find_map(|name| {
        let uri = OtpauthUri::new(kind, info.issuer.as_deref(), name, secret.clone());
        Some(uri.ok()?.with_algorithm(algorithm).with_digits(digits))
    })
}
