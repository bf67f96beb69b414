//! `keyproof tpm station`: a device's side of provisioning and attestation, on a machine with a TPM and tpm2-tools.

mod attest;
mod endorsement;
mod files;
mod provision;
mod server;
mod tools;
mod tpm;

use std::{
    io::{IsTerminal, stderr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use keyproof_tpm::{DeviceInfo, DeviceProperties};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::{
    files::Folder,
    server::{Server, ServerError},
    tools::ToolError,
    tpm::{Tpm, TpmUseError},
};
use super::files::trusted;
use crate::{
    command::{
        Failure, Outcome,
        files::{read_text, unusable},
        flags::number,
        output,
        with_store::block_on,
    },
    http_client::{HttpClient, ServerUrl},
    interruption::Interruption,
    server_certificate::{TlsNames, of_client},
    store::{Access, Exposure},
};

#[derive(Debug, Subcommand)]
pub(in crate::command) enum Command {
    /// Attest the device: the TPM quotes its registers, and the server checks the quote
    Attest(attest::Arguments),
    /// Create an attestation key, have it certified, and prove that the TPM can open the certificate
    Provision(provision::Arguments),
}

/// The arguments of both commands.
#[derive(Args, Debug)]
struct StationArguments {
    /// The server's URL, such as https://tpm.example.com
    #[arg(long)]
    url: ServerUrl,
    #[command(flatten)]
    credential: CredentialArguments,
    /// The client certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// A file whose first line is the API key
    #[arg(long, value_name = "FILE")]
    api_key_file: PathBuf,
    /// The namespace of the API key's category
    #[arg(long)]
    namespace: String,
    /// The API key's category
    #[arg(long)]
    category: String,
    /// The CAs of the server's certificate, in PEM; if absent, those that the system trusts
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A file that describes the device, in JSON: {"name": …, "vendor": …, "serial": …, "version": …}
    #[arg(long, value_name = "FILE")]
    device: PathBuf,
    /// The folder for the attestation key and its certificate; if absent, keyproof/station in the user's state folder
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Allow plain HTTP to another machine: others on the network can then read the API key
    #[arg(long)]
    insecure_http: bool,
    /// A file whose first line is the authorization of the TPM's endorsement hierarchy, if it is not empty
    #[arg(long, value_name = "FILE")]
    endorsement_auth_file: Option<PathBuf>,
    /// The time limit for each request and each call of tpm2-tools
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 120,
        value_parser = number::<u64>("a whole number of seconds", 1, Some(3600))
    )]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How the station authenticates: by exactly one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct CredentialArguments {
    /// A file whose first line is the station's token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The station's client certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
}

/// The device's description of itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Device {
    name: String,
    vendor: String,
    serial: String,
    version: String,
}

/// The signature schemes of attestation keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scheme {
    Ecdsa,
    Rsapss,
    Rsassa,
}

impl Scheme {
    const fn name(self) -> &'static str {
        match self {
            Self::Ecdsa => "ecdsa",
            Self::Rsapss => "rsapss",
            Self::Rsassa => "rsassa",
        }
    }
}

/// A station with the contents of all its files.
struct Station {
    namespace: String,
    category: String,
    device: Device,
    api_key: Zeroizing<String>,
    server: Server,
    folder: Folder,
    json: bool,
}

pub(super) fn run(command: Command) -> Outcome {
    let outcome = match command {
        Command::Attest(arguments) => attest::run(&arguments),
        Command::Provision(arguments) => provision::run(&arguments),
    };
    match outcome {
        Err(Failure::Refused(reason)) => {
            output::print_error(&output::coloured(&reason, false, stderr().is_terminal()));
            Err(Failure::Negative)
        }
        other => other,
    }
}

impl StationArguments {
    fn read(&self) -> Result<Station, Failure> {
        if self.url.is_exposed() && !self.insecure_http {
            let message = "--url: plain HTTP to another machine: use https://, or --insecure-http";
            return Err(Failure::Usage(message.to_owned()));
        }
        self.warn_of_open_files();
        let device: Device = serde_json::from_str(&read_text(&self.device)?).map_err(|error| {
            let problem = format!("not a device's name, vendor, serial and version: {error}");
            Failure::Refused(problem).about(&self.device)
        })?;
        // Checked here, because the server's response does not name the wrong one.
        DeviceInfo::new(DeviceProperties {
            name: &device.name,
            serial: &device.serial,
            vendor: &device.vendor,
            version: &device.version,
        })
        .map_err(|error| Failure::from(error).about(&self.device))?;
        let roots = self.ca_file.as_deref().map(trusted).transpose()?;
        let CredentialArguments {
            token_file,
            client_cert,
        } = &self.credential;
        let own = match (client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => {
                let names = TlsNames {
                    certificate: "--client-cert",
                    key: "--client-key",
                };
                let loaded = of_client(names, certificate, key);
                Some(loaded.map_err(|error| Failure::Usage(error.to_string()))?)
            }
            _ => None,
        };
        let client = HttpClient::new(self.url.clone(), roots.as_deref(), own, self.limit());
        let client = client.map_err(|error| Failure::Usage(error.to_string()))?;
        let token = token_file.as_deref().map(first_line).transpose()?;
        Ok(Station {
            namespace: self.namespace.clone(),
            category: self.category.clone(),
            device,
            api_key: first_line(&self.api_key_file)?,
            server: Server::new(client, token.as_ref().map(|token| token.as_str()))?,
            folder: Folder::open(self.state.as_deref())?,
            json: self.json,
        })
    }

    /// Warns, like `config check`, of files that others can read.
    fn warn_of_open_files(&self) {
        let files = [
            ("--token-file", self.credential.token_file.as_deref()),
            ("--client-key", self.client_key.as_deref()),
            ("--api-key-file", Some(&*self.api_key_file)),
            (
                "--endorsement-auth-file",
                self.endorsement_auth_file.as_deref(),
            ),
        ];
        let named = files
            .iter()
            .filter_map(|(name, path)| Some((name, (*path)?)));
        for (name, path) in named {
            if let Some(open) = Exposure::of_file(path, Access::GroupReads) {
                output::warn(&format!("{name}: {open}"));
            }
        }
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// Runs work with the TPM, and frees everything in it in any case.
    fn with_tpm(&self, work: impl AsyncFnOnce(&mut Tpm) -> Outcome) -> Outcome {
        let authorization = self
            .endorsement_auth_file
            .as_deref()
            .map(first_line)
            .transpose()?;
        block_on(async {
            // Before anything is loaded into the TPM.
            let mut interruption = Interruption::listen()?;
            let authorization = authorization.as_ref().map(|text| text.as_bytes());
            let mut tpm = Tpm::new(self.limit(), authorization)?;
            let outcome = tokio::select! {
                outcome = work(&mut tpm) => outcome,
                _ = interruption.comes() => Err(Failure::Refused("interrupted".to_owned())),
            };
            tpm.close().await;
            outcome
        })
    }
}

impl Station {
    /// Prints a line of progress, unless JSON is printed.
    fn report(&self, line: &str) -> Outcome {
        if !self.json {
            output::print(&output::printable(line))?;
        }
        Ok(())
    }
}

/// Reads the first line of a file, without its line end.
fn first_line(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = read_text(path)?;
    let end = text.find(['\r', '\n']).unwrap_or(text.len());
    text.truncate(end);
    if text.is_empty() {
        return Err(unusable(path, &"it is empty"));
    }
    Ok(text)
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        Self::refused(error)
    }
}

impl From<TpmUseError> for Failure {
    fn from(error: TpmUseError) -> Self {
        match error {
            TpmUseError::OtherPlace(_) | TpmUseError::Tool(ToolError::Missing { .. }) => {
                Self::Usage(error.to_string())
            }
            _ => Self::refused(error),
        }
    }
}
