//! `keyproof config`

use clap::{Args, Subcommand, ValueEnum};
use keyproof_service::{Clock, SystemClock};
use serde::Serialize;

use super::{Failure, Outcome, flags::ServeFlags, output};
use crate::{
    config::{Settings, reference},
    server_certificate::untimely,
    telemetry,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Validate the configuration, and print the effective values without secrets
    Check(Box<CheckArguments>),
    /// Print every key with its type, default and meaning
    Reference(ReferenceArguments),
}

/// The format of the table of all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PageFormat {
    /// The man page keyproof.toml(5)
    Man,
    /// The page docs/operate/configuration.md
    Markdown,
    /// Text for a terminal
    Text,
}

#[derive(Args, Debug)]
pub(super) struct ReferenceArguments {
    /// The format
    #[arg(long, value_enum, default_value = "text")]
    format: PageFormat,
}

#[derive(Args, Debug)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    flags: ServeFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print only warnings
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Check(arguments) => check(&arguments),
        Command::Reference(arguments) => {
            let page = match arguments.format {
                PageFormat::Man => reference::roff,
                PageFormat::Markdown => reference::markdown,
                PageFormat::Text => reference::text,
            };
            output::print(&page(&Settings::keys()))
        }
    }
}

fn check(arguments: &CheckArguments) -> Outcome {
    let config = arguments.flags.load()?;
    let mut warnings = config.warnings();
    if let Some(source) = &config.tls {
        let certificate = source.load(config.settings.http.listen.ip());
        let certificate = certificate.map_err(|error| Failure::Usage(error.to_string()))?;
        let untimely = untimely(&certificate, SystemClock.now());
        warnings.extend(untimely.map(|why| format!("tls.certificate: {why}")));
    }
    for (name, _) in &config.dialects {
        let checked = name.of(&config.settings).check_files();
        warnings.extend(checked.map_err(|error| Failure::Usage(error.to_string()))?);
    }
    telemetry::check_collector(&config)?;
    config.store.check()?;
    if arguments.json {
        output::print_json(&Effective {
            settings: &config.settings,
            warnings,
        })?;
    } else {
        for warning in &warnings {
            output::warn(warning);
        }
        if !arguments.quiet {
            output::print(config.to_toml().trim_end())?;
        }
    }
    Ok(())
}

/// What `config check --json` prints.
#[derive(Serialize)]
struct Effective<'a> {
    #[serde(flatten)]
    settings: &'a Settings,
    /// Unwise settings.
    warnings: Vec<String>,
}
