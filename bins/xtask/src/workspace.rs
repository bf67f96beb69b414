//! The workspace's members, and the binaries of a folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use toml::{Table, Value};

use crate::{failure::Failure, process::cargo};

/// One selection and one set of features for all commands, so that no dependency is rebuilt.
pub(crate) const WHOLE: [&str; 2] = ["--workspace", "--all-features"];

/// Changes to the workspace's root folder, wherever the program was started.
pub(crate) fn enter() -> Result<(), Failure> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    env::set_current_dir(&top).map_err(Failure::at(&top))
}

/// A package of the workspace, with its manifest.
pub(crate) struct Member {
    pub(crate) path: PathBuf,
    manifest: Table,
}

/// Returns all members, sorted by path.
pub(crate) fn members() -> Result<Vec<Member>, Failure> {
    let mut paths = Vec::new();
    for folder in member_patterns()? {
        match folder.strip_suffix("/*") {
            Some(parent) => paths.extend(entries(parent)?),
            None => paths.push(PathBuf::from(folder)),
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|folder| folder.join("Cargo.toml"))
        .map(|path| {
            Ok(Member {
                manifest: read(&path)?,
                path,
            })
        })
        .collect()
}

/// Returns the members that are published.
pub(crate) fn published() -> Result<Vec<Member>, Failure> {
    let mut members = members()?;
    members.retain(Member::is_published);
    Ok(members)
}

/// Returns the version of all members.
pub(crate) fn version() -> Result<String, Failure> {
    inherited("version")
}

/// Returns the oldest Rust release that all members support, such as `1.89`.
pub(crate) fn rust_version() -> Result<String, Failure> {
    inherited("rust-version")
}

/// Returns a field that members inherit.
fn inherited(field: &str) -> Result<String, Failure> {
    let path = Path::new("Cargo.toml");
    let manifest = read(path)?;
    let value = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("package")?.get(field)?.as_str());
    value
        .map(str::to_owned)
        .ok_or_else(|| Failure::wrong(path, format!("names no `{field}` for its members")))
}

/// Returns the command that runs a file of integration tests from the build of the whole workspace's tests.
pub(crate) fn integration_tests(file: &str) -> Command {
    let mut tests = cargo(["test", "--locked"]);
    tests.args(WHOLE).args(["--test", file]);
    tests
}

/// Returns an absolute path.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(Failure::at(path))
}

/// Returns cargo's target folder.
pub(crate) fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from)
}

/// Returns the variable that lets cargo share another workspace's builds with ours (from 1.91 on; older versions ignore
/// it).
pub(crate) fn shared_builds() -> Result<(&'static str, PathBuf), Failure> {
    Ok(("CARGO_BUILD_BUILD_DIR", absolute(&target_folder())?))
}

impl Member {
    pub(crate) fn name(&self) -> Result<&str, Failure> {
        self.package("name")
            .and_then(Value::as_str)
            .ok_or_else(|| Failure::wrong(&self.path, "has no package name"))
    }

    /// Returns its folder, relative to the workspace's root.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    pub(crate) fn is_published(&self) -> bool {
        self.package("publish")
            .is_none_or(|publish| publish.as_bool() != Some(false))
    }

    /// Returns the number of its features, without `default`.
    pub(crate) fn features(&self) -> usize {
        let features = self.manifest.get("features").and_then(Value::as_table);
        let names = features.into_iter().flat_map(Table::keys);
        names.filter(|name| *name != "default").count()
    }

    /// Returns the names of its programs.
    pub(crate) fn programs(&self) -> Result<Vec<String>, Failure> {
        let sources = self.folder().join("src");
        let folder = sources.join("bin");
        let mut programs = if folder.is_dir() {
            binaries(&folder.to_string_lossy())?
        } else {
            Vec::new()
        };
        if sources.join("main.rs").is_file() {
            programs.push(self.name()?.to_owned());
        }
        Ok(programs)
    }

    pub(crate) fn inherits_lints(&self) -> bool {
        let workspace = self
            .manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        workspace.and_then(Value::as_bool) == Some(true)
    }

    fn package(&self, field: &str) -> Option<&Value> {
        self.manifest.get("package")?.get(field)
    }
}

/// Returns the names of the `.rs` files in a folder, each of which is a binary.
pub(crate) fn binaries(folder: &str) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = entries(folder)?
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn member_patterns() -> Result<Vec<String>, Failure> {
    let path = Path::new("Cargo.toml");
    let manifest = read(path)?;
    let patterns = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("members"))
        .and_then(Value::as_array)
        .ok_or_else(|| Failure::wrong(path, "names no workspace members"))?;
    Ok(patterns
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect())
}

/// Reads a TOML file.
pub(crate) fn read(path: &Path) -> Result<Table, Failure> {
    let text = fs::read_to_string(path).map_err(Failure::at(path))?;
    text.parse()
        .map_err(|error: toml::de::Error| Failure::wrong(path, error.to_string()))
}

/// Returns the entries of a folder, sorted by name.
pub(crate) fn entries(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(Failure::at(&folder))?;
    let mut paths: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    Ok(paths)
}

/// Creates an empty folder, deleting an existing one.
pub(crate) fn empty(folder: &Path) -> Result<(), Failure> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Failure::at(folder))?;
    }
    fs::create_dir_all(folder).map_err(Failure::at(folder))
}

/// Writes a file, creating its folders.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, content))
        .map_err(Failure::at(path))
}

/// Copies a file. The error names the path that caused it.
pub(crate) fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), Failure> {
    let content = fs::read(&from).map_err(Failure::at(&from))?;
    write(to.as_ref(), &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_fails_names_the_file_that_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let failure = copy(&from, &to).unwrap_err();
        assert!(matches!(failure, Failure::File { path, .. } if path == from));
        fs::write(&from, "text").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "text");
        let below = to.join("below");
        let failure = copy(&from, &below).unwrap_err();
        assert!(matches!(failure, Failure::File { path, .. } if path == below));
    }

    #[test]
    fn nothing_is_left_in_a_folder_that_is_emptied() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("a").join("b");
        empty(&folder).unwrap();
        fs::write(folder.join("file"), "text").unwrap();
        empty(&folder).unwrap();
        assert_eq!(entries(&folder).unwrap(), [] as [PathBuf; 0]);
    }

    fn member(manifest: &str) -> Member {
        Member {
            path: PathBuf::from("Cargo.toml"),
            manifest: manifest.parse().unwrap(),
        }
    }

    #[test]
    fn a_manifest_inherits_lints_only_by_saying_so() {
        assert!(member("[lints]\nworkspace = true").inherits_lints());
        assert!(!member("[lints]\nworkspace = false").inherits_lints());
        assert!(!member("[lints.rust]\nunsafe_code = 'deny'").inherits_lints());
        assert!(!member("[package]\nname = 'x'").inherits_lints());
    }

    #[test]
    fn the_default_is_no_feature() {
        let features = "[features]\ndefault = ['a']\na = []\nb = []";
        assert_eq!(member(features).features(), 2);
        assert_eq!(member("").features(), 0);
    }

    #[test]
    fn a_package_is_published_unless_it_says_otherwise() {
        assert!(member("[package]\nname = 'x'").is_published());
        assert!(!member("[package]\npublish = false").is_published());
    }
}
