//! The allowed dependencies of each crate, as in ARCHITECTURE.md: checks the complete dependency lists, and for folders
//! of one crate the names in their sources.

use std::path::Path;

use crate::{
    failure::Failure,
    process::{cargo, output},
    sources, workspace,
};

struct Layer {
    package: &'static str,
    /// The workspace's crates that it may depend on.
    ours: &'static [&'static str],
    /// The other crates that it may not depend on, with all features on.
    never: &'static [&'static str],
}

const LAYERS: &[Layer] = &[
    Layer {
        package: "keyproof",
        ours: &[
            "keyproof-auth",
            "keyproof-http",
            "keyproof-mfa",
            "keyproof-otp",
            "keyproof-pskc",
            "keyproof-service",
            "keyproof-store",
            "keyproof-tpm",
            "keyproof-x509",
        ],
        never: &["openssl"],
    },
    Layer {
        package: "keyproof-auth",
        ours: &[],
        never: IO,
    },
    Layer {
        package: "keyproof-http",
        ours: &[],
        never: &["openssl", "rusqlite", "tokio-postgres"],
    },
    Layer {
        package: "keyproof-mfa",
        ours: &["keyproof-otp"],
        never: IO,
    },
    Layer {
        package: "keyproof-otp",
        ours: &[],
        never: IO,
    },
    Layer {
        package: "keyproof-pskc",
        ours: &[],
        never: IO,
    },
    Layer {
        package: "keyproof-service",
        ours: &[
            "keyproof-auth",
            "keyproof-mfa",
            "keyproof-otp",
            "keyproof-store",
            "keyproof-tpm",
            "keyproof-x509",
        ],
        never: HTTP,
    },
    Layer {
        package: "keyproof-store",
        ours: &[],
        never: HTTP,
    },
    Layer {
        package: "keyproof-tpm",
        ours: &["keyproof-x509"],
        never: IO,
    },
    Layer {
        package: "keyproof-x509",
        ours: &[],
        never: IO,
    },
];

/// Protocol crates do no input or output.
const IO: &[&str] = &[
    "http",
    "hyper",
    "mio",
    "openssl",
    "rustls",
    "serde_json",
    "tokio",
];

/// The use cases and the store do not know HTTP.
const HTTP: &[&str] = &["http", "hyper"];

/// A name that the sources of some folders may not contain.
struct Unnamed {
    what: &'static str,
    folders: &'static [&'static str],
    /// The only file that may contain it.
    but: Option<&'static str>,
    why: &'static str,
}

const STORE: &str = "keyproof_store";
const DIALECTS: &str = "bins/keyproof/src/dialect";
const SITES: &str = "bins/keyproof/src/sites";

const UNNAMED: [Unnamed; 3] = [
    Unnamed {
        what: "CommandLine",
        folders: &[DIALECTS, SITES],
        but: None,
        why: "it permits everything, to whoever runs a command",
    },
    Unnamed {
        what: STORE,
        folders: &[DIALECTS, SITES],
        but: None,
        why: "what is stored, the use cases say",
    },
    Unnamed {
        what: "OperatorScope",
        folders: &[SITES],
        but: Some("bins/keyproof/src/sites/console/area.rs"),
        why: "what a scope allows, the use cases say",
    },
];

/// Checks every published crate and every crate in the table. A published crate that is not in the table is an error.
pub(crate) fn check() -> Result<(), Failure> {
    for member in workspace::members()? {
        let name = member.name()?;
        if let Some(layer) = LAYERS.iter().find(|layer| layer.package == name) {
            layer.holds()?;
        } else if member.is_published() {
            let problem = format!("`LAYERS` of {} does not say what it may depend on", file!());
            return Err(Failure::wrong(member.path, problem));
        }
    }
    for unnamed in UNNAMED {
        for folder in unnamed.folders {
            unnamed.holds(folder)?;
        }
    }
    Ok(())
}

impl Unnamed {
    fn holds(&self, folder: &str) -> Result<(), Failure> {
        let Self { what, but, why, .. } = self;
        for (path, text) in sources::below(Path::new(folder))? {
            if but.is_some_and(|but| path == Path::new(but)) {
                continue;
            }
            if let Some(line) = line_naming(what, &text) {
                let problem = format!("line {line} names {what}: {why}");
                return Err(Failure::wrong(path, problem));
            }
        }
        println!("{folder}: no {what}");
        Ok(())
    }
}

/// Returns the first line of code that contains this.
fn line_naming(what: &str, source: &str) -> Option<usize> {
    let names = |line: &str| line.contains(what) && !line.trim_start().starts_with("//");
    source.lines().position(names).map(|line| line + 1)
}

impl Layer {
    fn holds(&self) -> Result<(), Failure> {
        let dependencies = dependencies(self.package)?;
        match dependencies.iter().find(|name| !self.allows(name)) {
            Some(dependency) => Err(Failure::KeptOut {
                package: self.package,
                dependency: dependency.clone(),
            }),
            None => {
                println!("{}: {} dependencies", self.package, dependencies.len());
                Ok(())
            }
        }
    }

    fn allows(&self, name: &str) -> bool {
        if name.starts_with("keyproof") {
            self.ours.contains(&name)
        } else {
            !self.never.contains(&name)
        }
    }
}

/// Returns the names of all packages that one depends on, with all its features, on any platform.
fn dependencies(package: &str) -> Result<Vec<String>, Failure> {
    let tree = output(
        cargo(["tree", "--locked", "--package", package, "--all-features"])
            .args(["--edges", "normal", "--target", "all"])
            .args(["--prefix", "none", "--format", "{p}"]),
    )?;
    let mut names: Vec<String> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty() && *name != package)
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_keeps_out_io_and_what_is_not_below_it() {
        let mfa = LAYERS
            .iter()
            .find(|layer| layer.package == "keyproof-mfa")
            .unwrap();
        assert!(mfa.allows("hmac"));
        assert!(mfa.allows("keyproof-otp"));
        assert!(!mfa.allows("tokio"));
        assert!(!mfa.allows("keyproof-store"));
    }

    #[test]
    fn a_folder_is_found_to_know_a_store_by_its_code_alone() {
        let source =
            "//! As keyproof_store has it.\nuse bytes::Bytes;\nuse keyproof_store::Store;\n";
        assert_eq!(line_naming(STORE, source), Some(3));
        assert_eq!(line_naming(STORE, "// keyproof_store\n"), None);
    }

    #[test]
    fn no_two_crates_may_depend_on_each_other() {
        for layer in LAYERS {
            for below in LAYERS
                .iter()
                .filter(|other| layer.ours.contains(&other.package))
            {
                assert!(!below.ours.contains(&layer.package), "{}", layer.package);
            }
        }
    }
}
