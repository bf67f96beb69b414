//! `cargo xtask screenshots`: takes pictures of every page of both sites in a browser: light, dark and narrow.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    failure::Failure,
    process::{run as execute, run_named_tests},
    tools::{self, need_programs},
    workspace,
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The folder for the pictures
    #[arg(long, default_value = "docs/pictures")]
    folder: PathBuf,
}

/// The number of colours of a picture. Text needs few, and the repository keeps every picture for ever.
const COLOURS: &str = "24";

/// Runs the walk through each site, which takes the pictures of tested pages. Replaces the old ones once all are
/// complete.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    need_programs(tools::PEERS)?;
    need_programs(tools::PICTURES)?;
    let taken = workspace::target_folder().join("screenshots");
    clear(&taken)?;
    // The tests run in their package's folder.
    let taken = workspace::absolute(&taken)?;
    let mut tests = workspace::integration_tests("peers");
    run_named_tests(
        tests
            .args(["--", "browser::"])
            .env("KEYPROOF_PICTURES", &taken),
    )?;
    let pictures = pictures(&taken)?;
    let mut fewer = Command::new("pngquant");
    fewer.args([
        "--force", "--strip", "--speed", "1", "--ext", ".png", COLOURS, "--",
    ]);
    execute(fewer.args(&pictures))?;
    clear(&options.folder)?;
    for picture in pictures {
        let name = picture.file_name().unwrap_or_default();
        workspace::copy(&picture, options.folder.join(name))?;
    }
    Ok(())
}

/// Creates the folder if necessary, and deletes the pictures in it.
fn clear(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(Failure::at(folder))?;
    for picture in pictures(folder)? {
        fs::remove_file(&picture).map_err(Failure::at(&picture))?;
    }
    Ok(())
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut pictures = workspace::entries(folder)?;
    pictures.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
    Ok(pictures)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_shown_is_there_and_what_is_there_is_shown() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut shown = BTreeSet::new();
        for page in ["README.md", "docs/account.md", "docs/console.md"] {
            let text = fs::read_to_string(root.join(page)).unwrap();
            let rest = text.split("pictures/").skip(1);
            let names = rest.filter_map(|rest| Some(rest.split_once(".png)")?.0.to_owned()));
            shown.extend(names.filter(|name| !name.contains(char::is_whitespace)));
        }
        let there = pictures(&root.join("docs/pictures")).unwrap();
        let there: BTreeSet<_> = there
            .iter()
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(shown, there);
    }
}
