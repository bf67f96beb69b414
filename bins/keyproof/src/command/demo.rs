//! `keyproof demo`

use clap::Args;
use tokio::runtime::Builder;

use super::{Failure, Outcome, output, with_store};
use crate::demo;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Keep the server running afterwards until Ctrl-C, with a user who can sign in
    #[arg(long, conflicts_with = "json")]
    stay: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let runtime = with_store::runtime(Builder::new_multi_thread().worker_threads(2))?;
    let mut lost = None;
    let mut tell = |line: &str| {
        if !arguments.json
            && let Err(error) = output::print(line)
        {
            // Failed output does not end the demo: its exit code still matters.
            lost.get_or_insert(error);
        }
    };
    let findings = runtime.block_on(demo::run(&mut tell, arguments.stay));
    if arguments.json {
        output::print_json(&findings)?;
    }
    if !findings.passed() {
        return Err(Failure::Negative);
    }
    tell("\nEvery step passed.");
    match lost {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
