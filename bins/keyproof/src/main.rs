//! The `keyproof` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyproof::command::run(std::env::args_os())
}
