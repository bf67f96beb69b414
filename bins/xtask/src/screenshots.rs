//! `cargo xtask screenshots`: every page of both sites as a browser shows it, in light, dark and narrow.

use std::fs;
use std::path::PathBuf;

use crate::failure::Failure;
use crate::process::{cargo, run as execute};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The folder that they are written to
    #[arg(long, default_value = "docs/pictures")]
    folder: PathBuf,
}

/// The walk through each site writes them: so they are of pages that are as they should be.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let file = |source| Failure::File {
        path: options.folder.clone(),
        source,
    };
    fs::create_dir_all(&options.folder).map_err(file)?;
    // A test runs in its package's folder, and not in ours.
    let folder = fs::canonicalize(&options.folder).map_err(file)?;
    let mut tests = cargo([
        "test",
        "--locked",
        "--package",
        "keyproof",
        "--test",
        "peers",
        "--",
        "browser::",
    ]);
    execute(tests.env("KEYPROOF_PICTURES", &folder))
}
