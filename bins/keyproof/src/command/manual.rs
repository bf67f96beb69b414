//! `keyproof manual`: the pages that packages install.

use std::{fs, path::PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::{Cli, Failure, Outcome};
use crate::config::{Settings, reference};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The folder that the pages are written into
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let write = |name: String, page: &[u8]| {
        let path = arguments.folder.join(name);
        fs::write(&path, page)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
    };
    let mut cli = Cli::command();
    cli.build();
    let mut pages = Vec::new();
    collect(&cli, "keyproof", &mut pages)?;
    for (name, page) in pages {
        write(format!("{name}.1"), &page)?;
    }
    let keys = reference::roff(&Settings::keys());
    write("keyproof.toml.5".to_owned(), keys.as_bytes())
}

/// A page for a command, and one for each below it, as git has them: `keyproof-user-add`.
fn collect(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Outcome {
    let named = command.clone().display_name(name.to_owned());
    let mut page = Vec::new();
    Man::new(named).render(&mut page)?;
    pages.push((name.to_owned(), page));
    let shown = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    for below in shown.filter(|below| below.get_name() != "help") {
        collect(below, &format!("{name}-{}", below.get_name()), pages)?;
    }
    Ok(())
}
