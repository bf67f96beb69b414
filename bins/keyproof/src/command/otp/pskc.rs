//! `keyproof otp pskc`: containers of token keys (RFC 6030), offline.

use std::{convert::Infallible, path::PathBuf};

use clap::{Args, Subcommand};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use keyproof_otp::{
    Algorithm, Digits, Secret,
    otpauth::{Kind, OtpauthUri},
};
use keyproof_pskc::{
    Cipher, Container, DecryptionKey, Encoding, Key, KeyData, KeyDerivation, KeyInfo,
    KeyProtection, KeyUsage, PinUsage, Policy, Prf, ResponseFormat, Writer,
};
use keyproof_store::{Entropy, SystemEntropy};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{migration::lines, uri_if_any};
use crate::command::{
    Failure, Outcome,
    files::{read_text, write_secret},
    flags::{NOT_HEX, number},
    output,
};

#[derive(Debug, Subcommand)]
pub(in crate::command) enum Command {
    /// Show the keys of a container
    Show(ShowArguments),
    /// Write a container with the keys of otpauth URIs, encrypted with a key or a password, or unencrypted
    Write(WriteArguments),
}

#[derive(Args, Debug)]
pub(in crate::command) struct ShowArguments {
    /// The container
    file: PathBuf,
    #[command(flatten)]
    given: GivenArguments,
    /// Print the secrets: as otpauth URIs if the key has one, else in hexadecimal
    #[arg(long)]
    show_secrets: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What encryption protects, and what not.
const WHAT_IS_PROTECTED: &str = "\
Encryption (AES-CBC with HMAC-SHA-256) keeps the secrets from whoever has neither the key nor the password, and an altered \
secret is detected. Nothing else is protected: whoever can change the file can change names and counters and exchange the \
secrets of two keys, and if they know one of the secrets, as the owner of its token may, they can forge others, because the key \
of the authentication codes is encrypted with the same key and without a code (RFC 6030, section 6).";

#[derive(Args, Debug)]
#[command(after_help = WHAT_IS_PROTECTED)]
pub(in crate::command) struct WriteArguments {
    /// A file with an otpauth URI on each line
    file: PathBuf,
    #[command(flatten)]
    given: GivenArguments,
    /// The name by which both sides know the key or the password
    #[arg(long, value_name = "NAME", default_value = "pre-shared")]
    name: String,
    /// The number of iterations of PBKDF2 (HMAC-SHA-256) that derive the key from the password
    #[arg(
        long,
        value_name = "N",
        requires = "password_file",
        default_value_t = Prf::HmacSha256.recommended_iterations(),
        value_parser = number("a whole number", 1, Some(KeyDerivation::MAX_ITERATIONS))
    )]
    iterations: u32,
    /// The manufacturer of the devices
    #[arg(long, value_name = "NAME")]
    manufacturer: Option<String>,
    /// The container's file, which must be new and which only its owner can read; printed if absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print a container that is not encrypted, which contains the secrets
    #[arg(long)]
    show_secrets: bool,
}

/// The key or password of a container.
#[derive(Args, Debug)]
struct GivenArguments {
    /// A file with the key of an encrypted container, in hexadecimal
    #[arg(long, value_name = "FILE", conflicts_with = "password_file")]
    key_file: Option<PathBuf>,
    /// A file whose first line is the password of an encrypted container
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Show(arguments) => show(&arguments),
        Command::Write(arguments) => write(&arguments),
    }
}

/// The key or password of a container, read from its file.
enum Given {
    Key(Zeroizing<Vec<u8>>),
    None,
    Password(Zeroizing<String>),
}

impl GivenArguments {
    fn read(&self) -> Result<Given, Failure> {
        if let Some(file) = &self.key_file {
            let text = read_text(file)?;
            let key = HEXLOWER_PERMISSIVE
                .decode(text.trim().as_bytes())
                .map(Zeroizing::new);
            let wrong = |_| Failure::refused(NOT_HEX).about(file);
            return key.map(Given::Key).map_err(wrong);
        }
        let Some(file) = &self.password_file else {
            return Ok(Given::None);
        };
        let text = read_text(file)?;
        Ok(Given::Password(Zeroizing::new(
            text.lines().next().unwrap_or_default().to_owned(),
        )))
    }
}

fn show(arguments: &ShowArguments) -> Outcome {
    let document = read_text(&arguments.file)?;
    let container =
        Container::parse(&document).map_err(|error| Failure::from(error).about(&arguments.file))?;
    let given = arguments.given.read()?;
    if container.has_unverified_signature() {
        output::warn("the container's signature is not verified");
    }
    let unlock = match &given {
        Given::Key(key) => DecryptionKey::Key(key),
        Given::None => DecryptionKey::None,
        Given::Password(password) => DecryptionKey::Password(password),
    };
    let mut shown = Vec::new();
    // Without a key, the container can be listed but no secret shown.
    if matches!(given, Given::None) && container.is_encrypted() && !arguments.show_secrets {
        output::print_notice(
            "the container is encrypted, so its values are not shown: give --key-file or --password-file to see them",
        );
        shown.extend(container.keys().map(Shown::closed));
    } else {
        let opened = container.open(unlock);
        let opened = opened.map_err(|error| Failure::from(error).about(&arguments.file))?;
        for Key { info, data, .. } in opened {
            let key = Shown::open(&info, &data, arguments.show_secrets);
            if key.has_uri() && is_limited(&info) {
                let id = output::printable(&info.id);
                output::warn(&format!(
                    "key {id} is limited by dates, a number of uses or a PIN, which an otpauth URI cannot express"
                ));
            }
            shown.push(key);
        }
    }
    if shown.is_empty() {
        output::print_notice("the container has no key");
    }
    if arguments.json {
        return output::print_secret_json(&Document {
            encrypted: container.is_encrypted(),
            id: container.id(),
            keys: &shown,
            signed: container.has_unverified_signature(),
        });
    }
    shown.iter().try_for_each(|key| output::print(&key.line))
}

fn write(arguments: &WriteArguments) -> Outcome {
    let accounts = lines(&arguments.file, OtpauthUri::parse)?;
    let given = arguments.given.read()?;
    let prints_secrets = matches!(given, Given::None) && arguments.out.is_none();
    if prints_secrets && !arguments.show_secrets {
        let ways = "--out FILE writes it to a private file, --key-file or --password-file encrypts it, --show-secrets prints it";
        return Err(Failure::Usage(format!(
            "the container would contain the secrets unencrypted: {ways}"
        )));
    }
    let entropy = SystemEntropy::new();
    let mut random = |bytes: &mut [u8]| entropy.fill(bytes);
    let keys: Vec<Key> = accounts
        .iter()
        .map(|account| key(account, arguments.manufacturer.as_deref(), &mut random))
        .collect();
    let derivation;
    let lock = match &given {
        Given::None => KeyProtection::None,
        Given::Key(key) => KeyProtection::Key {
            cipher: cipher_for(key)?,
            key,
            name: &arguments.name,
        },
        Given::Password(password) => {
            let mut salt = [0; 16];
            random(&mut salt);
            let cipher = Cipher::Aes256Cbc;
            derivation = KeyDerivation::new(cipher, Prf::HmacSha256, &salt)?
                .with_iterations(arguments.iterations)?
                .with_name(&*arguments.name);
            KeyProtection::Password {
                cipher,
                derivation: &derivation,
                password,
            }
        }
    };
    let document = Writer::new(lock).write(&keys, |bytes| {
        random(bytes);
        Ok::<_, Infallible>(())
    })?;
    match &arguments.out {
        Some(file) => write_secret(file, document.as_bytes()),
        None => Ok(output::deliver(document.trim_end())?),
    }
}

fn cipher_for(key: &[u8]) -> Result<Cipher, Failure> {
    let ciphers = [Cipher::Aes128Cbc, Cipher::Aes192Cbc, Cipher::Aes256Cbc];
    let cipher = ciphers
        .into_iter()
        .find(|cipher| cipher.key_len() == key.len());
    cipher.ok_or_else(|| {
        let found = key.len();
        Failure::Refused(format!(
            "AES takes a key of 16, 24 or 32 bytes, not {found}"
        ))
    })
}

/// Converts an account to a key with a random identifier.
fn key(account: &OtpauthUri, manufacturer: Option<&str>, random: &mut dyn FnMut(&mut [u8])) -> Key {
    let mut id = [0; 16];
    random(&mut id);
    let mut info = KeyInfo::new(HEXLOWER.encode(&id));
    let mut data = KeyData::default();
    data.secret = Some(account.secret().as_bytes().into());
    let algorithm = match account.kind() {
        Kind::Hotp { counter } => {
            data.counter = Some(counter);
            KeyInfo::HOTP
        }
        Kind::Totp { period } => {
            data.time_interval = Some(period.get());
            KeyInfo::TOTP
        }
    };
    info.algorithm = Some(algorithm.to_owned());
    info.suite = match account.algorithm() {
        Algorithm::Sha1 => None,
        Algorithm::Sha256 => Some("HMAC-SHA256".to_owned()),
        Algorithm::Sha512 => Some("HMAC-SHA512".to_owned()),
    };
    let digits = u32::from(account.digits().get());
    info.response = Some(ResponseFormat::new(Encoding::Decimal, digits));
    info.issuer = account.issuer().map(str::to_owned);
    info.user_id = Some(account.account().to_owned());
    info.device.manufacturer = manufacturer.map(str::to_owned);
    let mut policy = Policy::default();
    policy.usages.push(KeyUsage::Otp);
    info.policy = Some(policy);
    Key::new(info, data)
}

/// A container as JSON.
#[derive(Serialize)]
struct Document<'a> {
    encrypted: bool,
    id: Option<&'a str>,
    keys: &'a [Shown],
    signed: bool,
}

/// A key in both output formats.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    facts: Map<String, Value>,
    #[serde(flatten)]
    secrets: Option<Secrets>,
    #[serde(skip)]
    line: Zeroizing<String>,
}

/// The parts that are shown only on request.
#[derive(Serialize)]
struct Secrets {
    /// The key in hexadecimal.
    #[serde(serialize_with = "text")]
    secret: Zeroizing<String>,
    #[serde(serialize_with = "uri_if_any")]
    uri: Option<OtpauthUri>,
}

fn text<S: Serializer>(secret: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret)
}

impl Shown {
    fn closed(info: &KeyInfo) -> Self {
        Self {
            facts: facts(info),
            secrets: None,
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
            let uri = uri(info, data, secret);
            // The URI is for other programs, so it is not escaped.
            shown.line = Zeroizing::new(match &uri {
                Some(uri) => uri.to_string(),
                None => format!("{}, secret {}", *shown.line, *hex),
            });
            shown.secrets = Some(Secrets { secret: hex, uri });
        }
        shown
    }

    fn has_uri(&self) -> bool {
        let secrets = self.secrets.as_ref();
        secrets.is_some_and(|secrets| secrets.uri.is_some())
    }
}

fn facts(info: &KeyInfo) -> Map<String, Value> {
    let policy = info.policy.as_ref().map(|policy| {
        json!({
            "start_date": policy.start_date,
            "expiry_date": policy.expiry_date,
            "usages": policy.usages.iter().map(|usage| usage.name()).collect::<Vec<_>>(),
            "transactions": policy.transactions,
            "pin": policy.pin.as_ref().map(|pin| json!({ "usage": pin.usage.map(PinUsage::name) })),
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
        ("device_start_date", json!(info.device.start_date)),
        ("device_expiry_date", json!(info.device.expiry_date)),
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
        None => "of an unnamed algorithm",
    };
    let mut line = format!("key {}: {algorithm}", info.id);
    let device = &info.device;
    for (name, value) in [
        ("manufacturer", &device.manufacturer),
        ("serial", &device.serial_number),
        ("issuer", &info.issuer),
        ("user", &info.user_id),
        ("suite", &info.suite),
    ] {
        if let Some(value) = value {
            line += &format!(", {name} {value}");
        }
    }
    if let Some(start) = &device.start_date {
        line += &format!(", device from {start}");
    }
    if let Some(expiry) = &device.expiry_date {
        line += &format!(", device until {expiry}");
    }
    if let Some(policy) = &info.policy {
        if let Some(start) = &policy.start_date {
            line += &format!(", from {start}");
        }
        if let Some(expiry) = &policy.expiry_date {
            line += &format!(", until {expiry}");
        }
        if let Some(pin) = &policy.pin {
            line += ", with a PIN";
            if let Some(usage) = pin.usage {
                line += &format!(" ({usage})");
            }
        }
        if !policy.permits(KeyUsage::Otp) {
            line += ", not to be used for codes";
        }
    }
    line
}

/// Whether the key or its device is limited by dates, by a number of uses or by a PIN.
fn is_limited(info: &KeyInfo) -> bool {
    let device = &info.device;
    let is_policy_limited = info.policy.as_ref().is_some_and(|policy| {
        policy.start_date.is_some()
            || policy.expiry_date.is_some()
            || policy.transactions.is_some()
            || policy.pin.is_some()
    });
    is_policy_limited || device.start_date.is_some() || device.expiry_date.is_some()
}

/// Returns the key as an otpauth URI, if one can express it and the key may be used for codes that include no PIN.
fn uri(info: &KeyInfo, data: &KeyData, secret: &[u8]) -> Option<OtpauthUri> {
    let policy = info.policy.as_ref();
    let pin = policy.and_then(|policy| policy.pin.as_ref()?.usage);
    if policy.is_some_and(|policy| !policy.permits(KeyUsage::Otp))
        || pin.is_some_and(PinUsage::is_part_of_code)
    {
        return None;
    }
    let algorithm: Algorithm = info.hash()?.parse().ok()?;
    let digits = Digits::new(u8::try_from(info.digits()?).ok()?).ok()?;
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
    // The first name that a URI can contain: it has no colon.
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
