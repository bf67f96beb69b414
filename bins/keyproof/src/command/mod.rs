//! The command line.

mod audit;
mod backup;
mod completions;
mod config;
mod demo;
mod device;
mod files;
mod flags;
mod instance;
mod keys;
mod manual;
mod migrate;
mod moment;
mod named;
mod otp;
mod output;
mod progress;
mod report;
mod restore;
mod serve;
mod store;
mod terminal;
mod token;
mod tpm;
mod unopened;
mod user;
mod with_store;
mod x509;

use std::{ffi::OsString, io, path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::config::ConfigError;

const EXIT_CODES: &str = "\
Exit codes: 0, done or accepted; 1, refused or failed; 2, wrong flags, unreadable files, or a wrong configuration.";

/// Proves possession of keys: a server that speaks existing wire contracts, and its commands
#[derive(Debug, Parser)]
#[command(name = "keyproof", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the audit trail
    Audit(audit::Arguments),
    /// Write the whole store to one encrypted file, while servers run
    Backup(backup::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
    /// Check the configuration, or print a reference of all keys
    #[command(subcommand)]
    Config(config::Command),
    /// Demonstrate what keyproof does, against a temporary server
    Demo(demo::Arguments),
    /// Manage devices that are bound to their TPMs
    #[command(subcommand)]
    Device(device::Command),
    /// Manage Taler instances
    #[command(subcommand)]
    Instance(instance::Command),
    /// Rotate the master key, or the key that signs access tokens
    #[command(subcommand)]
    Keys(keys::Command),
    /// Write the man pages, for packages
    #[command(hide = true)]
    Manual(manual::Arguments),
    /// Migrate the store to this release's schema
    Migrate(flags::StoreArguments),
    /// Compute and check one-time codes, offline
    #[command(subcommand)]
    Otp(otp::Command),
    /// Restore a backup into an empty store, and revoke what may have been used since
    Restore(restore::Arguments),
    /// Run the server
    Serve(flags::ServeFlags),
    /// Copy a whole store
    #[command(subcommand)]
    Store(store::Command),
    /// Manage operators' and services' bearer tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Check quotes and endorsement certificates and make credentials, offline; provision a device with a TPM
    #[command(subcommand)]
    Tpm(tpm::Command),
    /// Manage users' accounts
    #[command(subcommand)]
    User(user::Command),
    /// Make and check proofs of possession of a CA's private key, offline
    #[command(subcommand)]
    X509(x509::Command),
}

/// Why a command did not succeed.
#[derive(Debug)]
enum Failure {
    /// Exit code 1: refused or failed, including an input that does not parse or verify.
    Refused(String),
    /// Exit code 1; the output already contains the reason.
    Negative,
    /// Exit code 2: wrong flags, unreadable files, wrong configuration.
    Usage(String),
}

type Outcome = Result<(), Failure>;

/// The remedy for files that this user may not use.
const ANOTHER_USER: &str = "this user may not: run this as the files' owner (runuser -u keyproof -- keyproof …), or as root";

impl Failure {
    /// A refusal for this reason.
    fn refused(error: impl std::fmt::Display) -> Self {
        Self::Refused(error.to_string())
    }

    /// Adds the file that a refusal is about.
    fn about(self, path: &Path) -> Self {
        match self {
            Self::Refused(message) => Self::Refused(format!("{}: {message}", path.display())),
            other => other,
        }
    }

    /// Adds the store that was asked, by its name: another may have been meant.
    fn of_store(self, store: &str) -> Self {
        match self {
            Self::Refused(message) => Self::Refused(format!("{message} (store {store})")),
            other => other,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        match &error {
            ConfigError::Unreadable { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Self::Usage(format!("{error}: {ANOTHER_USER}"))
            }
            _ => Self::Usage(error.to_string()),
        }
    }
}

impl<E: std::fmt::Display> From<keyproof_service::Failure<E>> for Failure {
    fn from(failure: keyproof_service::Failure<E>) -> Self {
        Self::refused(failure)
    }
}

/// Errors whose text is complete.
macro_rules! refusals {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::refused(error)
            }
        })+
    };
}

refusals! {
    io::Error,
    keyproof_otp::OtpError,
    keyproof_pskc::PskcError,
    keyproof_pskc::WriteError,
    keyproof_service::RestoreError,
    keyproof_service::StorageError,
    keyproof_store::EngineError,
    keyproof_store::StoreError,
    keyproof_tpm::DeviceInfoError,
    keyproof_tpm::TpmError,
    keyproof_x509::X509Error,
}

/// Runs the command that the arguments name. The first argument is the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are not errors. A closed pipe is ignored.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let outcome = match cli.command {
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Backup(arguments) => backup::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Config(command) => config::run(command),
        Command::Instance(command) => instance::run(command),
        Command::Device(command) => device::run(command),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Keys(command) => keys::run(&command),
        Command::Manual(arguments) => manual::run(&arguments),
        Command::Migrate(arguments) => migrate::run(&arguments),
        Command::Otp(command) => otp::run(command),
        Command::Restore(arguments) => restore::run(&arguments),
        Command::Serve(flags) => serve::run(&flags),
        Command::Store(command) => store::run(&command),
        Command::Token(command) => token::run(command),
        Command::User(command) => user::run(command),
        Command::Tpm(command) => tpm::run(command),
        Command::X509(command) => x509::run(command),
    };
    let (message, code) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Negative) => return ExitCode::from(1),
        Err(Failure::Refused(message)) => (message, 1),
        Err(Failure::Usage(message)) => (message, 2),
    };
    output::print_error(&message);
    ExitCode::from(code)
}
