//! `keyproof manual`: the man pages that packages install.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::{Cli, Outcome, files::write};
use crate::config::{Settings, reference};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The folder for the pages
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    // `help` has no page, so none may name one.
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let mut pages = Vec::new();
    collect(&cli, "keyproof", &mut pages)?;
    for (name, page) in pages {
        write(&arguments.folder.join(format!("{name}.1")), &page, &[])?;
    }
    let keys = reference::roff(&Settings::keys());
    write(
        &arguments.folder.join("keyproof.toml.5"),
        keys.as_bytes(),
        &[],
    )
}

/// Collects a page for a command and for each subcommand, named as git names its pages: `keyproof-user-add`.
fn collect(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Outcome {
    let named = command.clone().display_name(name.to_owned());
    let mut page = Vec::new();
    Man::new(named).render(&mut page)?;
    pages.push((name.to_owned(), page));
    let shown = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    for below in shown {
        collect(below, &format!("{name}-{}", below.get_name()), pages)?;
    }
    Ok(())
}
