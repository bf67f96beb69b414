//! The packages in `fuzz/`, each with its own workspace, and their targets.

use std::{
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::{
    failure::Failure,
    process::{cargo, output},
    workspace,
};

/// A shared target folder, so that common dependencies are built once.
pub(crate) const SHARED_TARGET: [&str; 2] = ["--target-dir", "target"];

/// cargo-fuzz's default of one unit would build the server for minutes.
pub(crate) const UNITS: [&str; 2] = ["--codegen-units", "16"];

/// As many runs of a target as show that it works.
pub(crate) const FEW_RUNS: &str = "-runs=1000";

/// A package of fuzz targets.
pub(crate) struct Harness {
    pub(crate) folder: PathBuf,
}

/// A fuzz target of a package.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
}

/// The options of a target for libFuzzer and ClusterFuzz.
pub(crate) struct Options {
    /// The longest input, in bytes.
    pub(crate) max_len: u64,
    /// The longest run, in seconds.
    pub(crate) timeout: u64,
}

impl Harness {
    /// Returns all packages, sorted by name.
    pub(crate) fn all() -> Result<Vec<Self>, Failure> {
        let mut folders = workspace::entries("fuzz")?;
        folders.retain(|folder| folder.join("Cargo.toml").is_file());
        Ok(folders.into_iter().map(|folder| Self { folder }).collect())
    }

    /// Returns all packages, or only the requested ones.
    pub(crate) fn select(wanted: &[String]) -> Result<Vec<Self>, Failure> {
        let mut all = Self::all()?;
        let known = all.iter().map(Self::name).collect();
        Failure::unless_known("fuzz package", wanted, known)?;
        all.retain(|harness| wanted.is_empty() || wanted.contains(&harness.name()));
        Ok(all)
    }

    pub(crate) fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.folder.join("Cargo.toml")
    }

    pub(crate) fn targets(&self) -> Result<Vec<Target>, Failure> {
        let binaries = workspace::binaries(&self.folder.join("fuzz_targets").to_string_lossy())?;
        let target = |name| Target {
            folder: self.folder.clone(),
            name,
        };
        Ok(binaries.into_iter().map(target).collect())
    }

    /// Returns the source folders of the fuzzed crates, which are those that it patches.
    pub(crate) fn sources(&self) -> Result<Vec<PathBuf>, Failure> {
        let manifest = workspace::read(&self.manifest())?;
        let patched = manifest
            .get("patch")
            .and_then(|patch| patch.get("crates-io"))
            .and_then(Value::as_table);
        let paths = patched.into_iter().flat_map(Table::values);
        let from_top =
            paths.filter_map(|patch| patch.get("path")?.as_str()?.strip_prefix("../../"));
        Ok(from_top.map(|path| Path::new(path).join("src")).collect())
    }

    /// Updates the lock file from the workspace's. Cargo drops what the package does not use.
    pub(crate) fn lock(&self) -> Result<(), Failure> {
        let lock = self.folder.join("Cargo.lock");
        workspace::copy("Cargo.lock", &lock)?;
        let metadata = ["metadata", "--format-version", "1", "--manifest-path"];
        output(cargo(metadata).arg(self.manifest()))?;
        Ok(())
    }
}

/// Returns the targets of all packages, or only the requested ones in their order.
pub(crate) fn select(harnesses: &[Harness], wanted: &[String]) -> Result<Vec<Target>, Failure> {
    let mut known = Vec::new();
    for harness in harnesses {
        known.extend(harness.targets()?);
    }
    if wanted.is_empty() {
        return Ok(known);
    }
    let names = known.iter().map(|target| target.name.clone()).collect();
    Failure::unless_known("fuzz target", wanted, names)?;
    let find = |wanted: &String| known.iter().find(|target| target.name == *wanted).cloned();
    Ok(wanted.iter().filter_map(find).collect())
}

impl Target {
    pub(crate) fn corpus(&self) -> PathBuf {
        self.folder.join("corpus").join(&self.name)
    }

    /// Returns the folder of inputs that were findings, if there is one.
    pub(crate) fn regressions(&self) -> Option<PathBuf> {
        let folder = self.folder.join("regressions").join(&self.name);
        folder.is_dir().then_some(folder)
    }

    /// Returns the target's dictionary, if there is one. Targets whose names begin alike share one.
    pub(crate) fn dictionary(&self) -> Option<PathBuf> {
        let (family, _) = self.name.split_once('_')?;
        let file = self.folder.join("dictionaries").join(family);
        Some(file.with_extension("dict")).filter(|file| file.is_file())
    }

    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let path = self.folder.join("options").join(&self.name);
        let path = path.with_extension("options");
        let options = Options::read(&workspace::read(&path)?);
        options.map_err(|problem| Failure::wrong(&path, problem))
    }

    /// Checks the corpus against the length limit: libFuzzer would truncate longer inputs, and so lose their purpose.
    pub(crate) fn keeps_to_its_options(&self) -> Result<(), Failure> {
        let longest = self.options()?.max_len;
        for folder in [Some(self.corpus()), self.regressions()]
            .into_iter()
            .flatten()
        {
            for input in workspace::entries(folder)? {
                let length = fs::metadata(&input).map_err(Failure::at(&input))?.len();
                if length > longest {
                    let problem = format!("{length} bytes, of which libFuzzer reads {longest}");
                    return Err(Failure::wrong(&input, problem));
                }
            }
        }
        Ok(())
    }
}

impl Options {
    pub(crate) fn read(table: &Table) -> Result<Self, &'static str> {
        let number = |name: &str| {
            let number = table.get("libfuzzer").and_then(|section| section.get(name));
            let number = number
                .and_then(Value::as_integer)
                .filter(|number| *number > 0);
            number.and_then(|number| u64::try_from(number).ok())
        };
        Ok(Self {
            max_len: number("max_len").ok_or("says no max_len")?,
            timeout: number("timeout").ok_or("says no timeout")?,
        })
    }

    /// Returns the flags, with `patience` times the time limit: on a busy machine, a slow input is not the target's
    /// fault.
    pub(crate) fn flags(&self, patience: u32) -> [String; 3] {
        [
            format!("-max_len={}", self.max_len),
            // Long inputs from the start, because a short run would not reach them.
            "-len_control=0".to_owned(),
            format!("-timeout={}", self.timeout * u64::from(patience)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Options, &'static str> {
        Options::read(&text.parse().unwrap())
    }

    #[test]
    fn a_target_is_run_within_its_own_options() {
        let options = read("# Why.\n[libfuzzer]\nmax_len = 131072\ntimeout = 1\n").unwrap();
        assert_eq!(
            options.flags(1),
            ["-max_len=131072", "-len_control=0", "-timeout=1"]
        );
        assert_eq!(options.flags(10)[2], "-timeout=10");
    }

    #[test]
    fn a_target_without_options_is_not_run() {
        let refused = |text| read(text).err();
        assert_eq!(refused(""), Some("says no max_len"));
        assert_eq!(refused("max_len = 1\ntimeout = 1"), Some("says no max_len"));
        let zero = "[libfuzzer]\nmax_len = 0\ntimeout = 1";
        assert_eq!(refused(zero), Some("says no max_len"));
        assert_eq!(refused("[libfuzzer]\nmax_len = 1"), Some("says no timeout"));
    }

    #[test]
    fn an_input_longer_than_libfuzzer_reads_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target {
            folder: folder.path().to_owned(),
            name: "a_b".to_owned(),
        };
        for subfolder in ["corpus/a_b", "regressions/a_b", "options", "dictionaries"] {
            fs::create_dir_all(folder.path().join(subfolder)).unwrap();
        }
        let write = |path, text| fs::write(folder.path().join(path), text).unwrap();
        write(
            "options/a_b.options",
            "[libfuzzer]\nmax_len = 3\ntimeout = 1",
        );
        write("corpus/a_b/short", "abc");
        assert!(target.keeps_to_its_options().is_ok());
        write("regressions/a_b/long", "abcd");
        let refused = target.keeps_to_its_options().err().unwrap().to_string();
        assert!(
            refused.contains("4 bytes, of which libFuzzer reads 3"),
            "{refused}"
        );

        assert_eq!(target.dictionary(), None);
        write("dictionaries/a.dict", "\"word\"");
        let dictionary = folder.path().join("dictionaries/a.dict");
        assert_eq!(target.dictionary(), Some(dictionary));
    }
}
