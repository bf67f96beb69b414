//! `keyproof config`

use clap::{Args, Subcommand};

use super::{Failure, Outcome, flags::ServeFlags, output, store};
use crate::{dialect::DialectName, server_certificate::check_certificate};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Validate, and print the effective configuration without secrets
    Check(CheckArguments),
}

#[derive(Args, Debug)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    flags: ServeFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: Command) -> Outcome {
    let Command::Check(arguments) = command;
    let config = arguments.flags.load()?;
    if let Some(source) = &config.tls {
        check_certificate(source).map_err(|error| Failure::Usage(error.to_string()))?;
    }
    for name in DialectName::ALL {
        let checked = name.check_files(&config.settings);
        checked.map_err(|error| Failure::Usage(error.to_string()))?;
    }
    store::check(&config)?;
    if arguments.json {
        output::print_json(&config.settings)?;
    } else {
        output::print(config.to_toml().trim_end())?;
    }
    Ok(())
}
