//! `keyproof otp`: one-time codes, offline.

mod migration;
mod ocra;
mod pskc;

use std::{
    borrow::Borrow,
    fmt, iter,
    num::NonZeroU64,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{Args, Subcommand};
use keyproof_otp::{
    Accepted, Algorithm, Base32Profile, Code, Digits, Hotp, LookAhead, Refused, Secret, Strength,
    Totp, Window,
    otpauth::{Kind, OtpauthUri},
};
use keyproof_service::{Clock, SystemClock};
use keyproof_store::{Entropy, SystemEntropy};
use keyproof_x509::{Finding, Report, Severity, checks};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    Failure, Outcome,
    files::read_text,
    flags::{UNIX, number},
    output, report,
};
use crate::qr;

/// The warning for a secret that is too short.
const WEAK: &str = "the secret has less than 128 bits (RFC 4226, R6)";
/// The remedy for it.
const STRENGTHEN: &str = "draw another: keyproof otp secret";

checks! {
    /// The checks of a code.
    CodeCheck {
        /// `code`: the code is that of a counter or step within the window.
        Code = "code", "it is right";
        /// `secret`: the secret is as long as RFC 4226 requires (R6).
        Secret = "secret", "it has the 128 bits that RFC 4226 requires (R6)";
    }
}

/// The result of checking a code.
enum CodeFinding {
    /// The code is right; the next counter.
    NextCounter(u64),
    /// None of these counters has this code.
    NoCounter { first: u64, last: u64 },
    /// No step within the window has this code.
    NoStep(Refused),
    /// The code is right.
    Step(Accepted),
    /// The secret is too short.
    WeakSecret,
}

impl Finding for CodeFinding {
    type Check = CodeCheck;

    fn check(&self) -> CodeCheck {
        match self {
            Self::WeakSecret => CodeCheck::Secret,
            Self::NextCounter(_) | Self::NoCounter { .. } | Self::NoStep(_) | Self::Step(_) => {
                CodeCheck::Code
            }
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::NextCounter(_) | Self::Step(_) => Severity::Remark,
            Self::NoCounter { .. } | Self::NoStep(_) => Severity::Refusal,
            Self::WeakSecret => Severity::Warning,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::NextCounter(_) | Self::Step(_) => "nothing: no problem found",
            Self::NoCounter { .. } => "check secret and counter, or widen the window",
            Self::NoStep(_) => "check secret and clock, or widen the window",
            Self::WeakSecret => STRENGTHEN,
        }
    }
}

impl fmt::Display for CodeFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NextCounter(next) => write!(f, "the next counter is {next}"),
            Self::NoCounter {
                first: u64::MAX, ..
            } => f.write_str(
                "the counter is at its end: no code is taken any more, for none would be next",
            ),
            Self::NoCounter { first, last } => {
                write!(f, "no counter from {first} to {last} has this code")
            }
            Self::NoStep(refused) => refused.fmt(f),
            Self::Step(Accepted { step, drift, .. }) => {
                write!(f, "the code of step {step}, drift {drift}")
            }
            Self::WeakSecret => f.write_str(WEAK),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the code for a moment, or for a counter
    Code(CodeArguments),
    /// Read and write Google Authenticator's exports (otpauth-migration)
    #[command(subcommand)]
    Migration(migration::Command),
    /// Compute and check responses to challenges (OCRA, RFC 6287)
    #[command(subcommand)]
    Ocra(ocra::Command),
    /// Read and write containers of token keys (PSKC, RFC 6030)
    #[command(subcommand)]
    Pskc(pskc::Command),
    /// Generate a secret, in Base32
    Secret(SecretArguments),
    /// Build an otpauth URI, which contains the secret
    Uri(UriArguments),
    /// Check a code
    Verify(VerifyArguments),
}

#[derive(Args, Debug)]
pub(super) struct CodeArguments {
    #[command(flatten)]
    key: KeyArguments,
    #[command(flatten)]
    moment: Moment,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct SecretArguments {
    /// The length in bytes: at least 16, and 20 by default (RFC 4226, R6)
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20,
        value_parser = number::<u8>("a whole number of bytes", 16, Some(Secret::MAX_LEN as u8))
    )]
    bytes: u8,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLE: &str = "\
Example: keyproof otp verify --secret-file secret.txt --window 1,1 123456";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    key: KeyArguments,
    /// The code
    code: String,
    #[command(flatten)]
    moment: Moment,
    /// Steps accepted before and after the current one; counters after the expected one for HOTP
    #[arg(long, value_name = "B,A", default_value = "1,1")]
    window: WindowArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct UriArguments {
    #[command(flatten)]
    key: KeyArguments,
    /// The account that the key is for
    #[arg(long)]
    account: Option<String>,
    /// The issuer of the key
    #[arg(long)]
    issuer: Option<String>,
    /// Draw a QR code of it for a phone, above its text
    #[arg(long, conflicts_with = "json")]
    qr: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where the key comes from, and how codes are computed from it.
#[derive(Args, Debug)]
struct KeyArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// SHA1 (the default), SHA256 or SHA512
    #[arg(long, conflicts_with = "uri")]
    algorithm: Option<Algorithm>,
    /// 6 to 10 digits; 6 by default
    #[arg(long, conflicts_with = "uri", value_parser = digits)]
    digits: Option<Digits>,
    /// The length of a step in seconds; 30 by default
    #[arg(
        long,
        value_name = "SECONDS",
        conflicts_with_all = ["uri", "counter"],
        value_parser = number("a whole number of seconds", NonZeroU64::MIN, None)
    )]
    period: Option<NonZeroU64>,
    /// Compute HOTP from this counter, instead of TOTP
    #[arg(long, conflicts_with = "uri", value_parser = number::<u64>("a whole number", 0, None))]
    counter: Option<u64>,
}

/// The source of the key: exactly one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct SourceArguments {
    /// An otpauth URI, whose secret others on this machine can see while the command runs
    #[arg(long)]
    uri: Option<String>,
    /// A file with the secret in Base32, in any common spelling
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Moment {
    /// The moment in Unix seconds; now by default
    #[arg(long, value_name = "UNIX", value_parser = number::<u64>(UNIX, 0, None))]
    at: Option<u64>,
}

impl Moment {
    const fn is_named(&self) -> bool {
        self.at.is_some()
    }

    /// Refuses --at, because a counter's code does not depend on the time.
    fn is_not_of_a_counter(&self) -> Outcome {
        if self.is_named() {
            let why = "--at is for TOTP: a counter's code does not depend on the time";
            return Err(Failure::Usage(why.to_owned()));
        }
        Ok(())
    }

    fn seconds(&self) -> u64 {
        self.at.unwrap_or_else(|| SystemClock.now().as_secs())
    }
}

#[derive(Clone, Copy, Debug)]
struct WindowArgument(Window);

impl FromStr for WindowArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "two whole numbers from 0 to 255 with a comma between, such as 1,1";
        let (before, after) = text.split_once(',').ok_or(WRONG)?;
        Ok(Self(Window {
            before: before.parse().map_err(|_| WRONG)?,
            after: after.parse().map_err(|_| WRONG)?,
        }))
    }
}

fn digits(text: &str) -> Result<Digits, String> {
    let number = number("a whole number", Digits::MIN, Some(Digits::MAX));
    Digits::new(number(text)?).map_err(|error| error.to_string())
}

/// A key with the kind of code that it generates.
struct Key {
    secret: Secret,
    algorithm: Algorithm,
    digits: Digits,
    kind: Kind,
    /// From the URI.
    account: Option<String>,
    issuer: Option<String>,
}

impl KeyArguments {
    fn read(&self) -> Result<Key, Failure> {
        let SourceArguments { uri, secret_file } = &self.source;
        let key = match (uri, secret_file) {
            (Some(uri), _) => {
                let uri = OtpauthUri::parse(uri)?;
                if uri.issuer_mismatch() {
                    output::warn("the URI's label and its parameter name different issuers");
                }
                Key {
                    secret: uri.secret().clone(),
                    algorithm: uri.algorithm(),
                    digits: uri.digits(),
                    kind: uri.kind(),
                    account: Some(uri.account().to_owned()),
                    issuer: uri.issuer().map(str::to_owned),
                }
            }
            (None, Some(file)) => Key {
                secret: read_secret(file)?,
                algorithm: self.algorithm.unwrap_or_default(),
                digits: self.digits.unwrap_or_default(),
                kind: match (self.counter, self.period) {
                    (Some(counter), _) => Kind::Hotp { counter },
                    (None, Some(period)) => Kind::Totp { period },
                    (None, None) => Kind::TOTP,
                },
                account: None,
                issuer: None,
            },
            (None, None) => return Err(Failure::Usage("neither --uri nor --secret-file".into())),
        };
        warn_of_weakness(&key.secret);
        Ok(key)
    }
}

/// Reads a secret in Base32 from a file.
fn read_secret(path: &Path) -> Result<Secret, Failure> {
    let text = read_text(path)?;
    let read = Secret::from_base32(text.trim(), Base32Profile::Lenient);
    read.map_err(|error| Failure::from(error).about(path))
}

fn is_weak(secret: &Secret) -> bool {
    secret.strength() == Strength::BelowRequired
}

fn warn_of_weakness(secret: &Secret) {
    if is_weak(secret) {
        output::warn(WEAK);
    }
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Code(arguments) => code(&arguments),
        Command::Migration(command) => migration::run(command),
        Command::Ocra(command) => ocra::run(command),
        Command::Pskc(command) => pskc::run(command),
        Command::Secret(arguments) => secret(&arguments),
        Command::Uri(arguments) => uri(arguments),
        Command::Verify(arguments) => verify(&arguments),
    }
}

fn code(arguments: &CodeArguments) -> Outcome {
    let key = arguments.key.read()?;
    let hotp = Hotp::new(&key.secret, key.algorithm, key.digits);
    let (code, facts) = match key.kind {
        Kind::Hotp { counter } => {
            arguments.moment.is_not_of_a_counter()?;
            let code = hotp.code(counter).to_string();
            let facts = json!({ "code": code, "counter": counter });
            (code, facts)
        }
        Kind::Totp { period } => {
            let totp = Totp::from(hotp).with_period(period);
            let at = arguments.moment.seconds();
            let step = totp.step_at(at);
            let code = totp.code(at).to_string();
            let until = step.saturating_add(1).saturating_mul(period.get());
            let facts = json!({ "code": code, "step": step, "valid_until": until });
            (code, facts)
        }
    };
    output::print_either(arguments.json, &facts, &code)
}

fn verify(arguments: &VerifyArguments) -> Outcome {
    let key = arguments.key.read()?;
    let hotp = Hotp::new(&key.secret, key.algorithm, key.digits);
    let code = Code::parse(&arguments.code, key.digits)?;
    let WindowArgument(window) = arguments.window;
    let (finding, facts) = match key.kind {
        Kind::Hotp { counter } => {
            arguments.moment.is_not_of_a_counter()?;
            let look_ahead = LookAhead::new(window.after.into())?;
            match hotp.verify(&code, counter, look_ahead) {
                Some(next) => (
                    CodeFinding::NextCounter(next.get()),
                    json!({ "next_counter": next.get() }),
                ),
                None => {
                    let last = counter.saturating_add(window.after.into());
                    let first = counter;
                    (CodeFinding::NoCounter { first, last }, Value::Null)
                }
            }
        }
        Kind::Totp { period } => {
            let totp = Totp::from(hotp).with_period(period).with_window(window);
            match totp.verify(&code, arguments.moment.seconds(), None) {
                Ok(accepted @ Accepted { step, drift, .. }) => (
                    CodeFinding::Step(accepted),
                    json!({ "step": step, "drift": drift }),
                ),
                Err(refused) => (CodeFinding::NoStep(refused), Value::Null),
            }
        }
    };
    let mut found = Report::new();
    found.judged(CodeCheck::Code, finding);
    let weak = is_weak(&key.secret).then_some(CodeFinding::WeakSecret);
    found.judged(CodeCheck::Secret, weak);
    conclude(&found, arguments.json, &facts)
}

/// Prints a report. In text, the first line has only the verdict.
fn conclude<F: Finding>(found: &Report<F>, json: bool, facts: &Value) -> Outcome {
    if json {
        report::print_json(found, facts)?;
    } else {
        let verdict = if found.accepted() {
            "accepted"
        } else {
            "refused"
        };
        let rows = found.rows().map(|row| {
            let (outcome, name, detail) = (row.outcome, row.name, row.detail);
            format!("  {outcome}  {name}: {detail}")
        });
        let lines: Vec<_> = iter::once(verdict.to_owned()).chain(rows).collect();
        output::print(&lines.join("\n"))?;
    }
    report::verdict(found)
}

fn secret(arguments: &SecretArguments) -> Outcome {
    output::must_be_seen("secret")?;
    let mut bytes = Zeroizing::new([0; Secret::MAX_LEN]);
    let drawn = bytes.get_mut(..arguments.bytes.into()).unwrap_or_default();
    SystemEntropy::new().fill(drawn);
    let text = Zeroizing::new(Secret::from_bytes(drawn)?.base32().to_string());
    if arguments.json {
        output::print_secret_json(&SecretDocument {
            bytes: arguments.bytes,
            secret: &text,
        })
    } else {
        output::print(&text)
    }
}

fn uri(arguments: UriArguments) -> Outcome {
    let key = arguments.key.read()?;
    let account = arguments.account.or(key.account);
    let account = account.ok_or_else(|| Failure::Usage("--account is missing".into()))?;
    let issuer = arguments.issuer.or(key.issuer);
    let uri = OtpauthUri::new(key.kind, issuer.as_deref(), &account, key.secret)?
        .with_algorithm(key.algorithm)
        .with_digits(key.digits);
    let text = Zeroizing::new(uri.to_string());
    if arguments.json {
        return output::print_secret_json(&UriDocument {
            account: &account,
            issuer: issuer.as_deref(),
            uri: &text,
        });
    }
    if arguments.qr {
        output::print(&draw(&text)?)?;
    }
    output::print(&text)
}

/// Draws a QR code for a phone.
fn draw(text: &str) -> Result<Zeroizing<String>, Failure> {
    let drawing = qr::draw(text);
    let drawing = drawing.map_err(|error| Failure::Refused(format!("no QR code: {error}")))?;
    Ok(Zeroizing::new(drawing))
}

/// A new secret as JSON.
#[derive(Serialize)]
struct SecretDocument<'a> {
    bytes: u8,
    secret: &'a str,
}

/// An otpauth URI as JSON.
#[derive(Serialize)]
struct UriDocument<'a> {
    account: &'a str,
    issuer: Option<&'a str>,
    uri: &'a str,
}

/// Serialises a URI as its text, without an intermediate copy.
fn uri_if_any<S: Serializer>(
    uri: &Option<impl Borrow<OtpauthUri>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let Some(uri) = uri else {
        return serializer.serialize_none();
    };
    let uri: &OtpauthUri = uri.borrow();
    serializer.collect_str(uri)
}
