//! `keyproof completions`

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, Failure, Outcome, output};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    // Into memory first: the generator panics if it cannot write, for example to a closed pipe.
    let mut script = Vec::new();
    let mut cli = Cli::command();
    generate(arguments.shell, &mut cli, "keyproof", &mut script);
    let script = String::from_utf8(script).map_err(Failure::refused)?;
    output::print(script.trim_end())
}
