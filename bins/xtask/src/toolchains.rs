//! The builds that published crates must support: their own `rust-version`, every set of their features, and targets
//! without an operating system.

use std::{panic::resume_unwind, thread};

use crate::{
    failure::Failure,
    postgres::{self, Unpacked},
    process::{cargo, run},
    sources,
    tools::{self, Toolchain, need_cargo_tool, need_programs, need_targets},
    workspace::{self, Member},
};

/// Tests each published crate with all features, on exactly the workspace's `rust-version`. Checks the server on its own,
/// because people build it from source, too.
pub(crate) fn test_on_rust_version() -> Result<(), Failure> {
    need_programs(tools::PEERS)?;
    let toolchain = Toolchain::release(&workspace::rust_version()?)?;
    let published = workspace::published()?;
    let mut packages = vec!["--locked", "--quiet", "--all-features"];
    for member in &published {
        packages.extend(["--package", member.name()?]);
    }
    let test = || {
        let mut test = toolchain.cargo(["test"]);
        test.args(&packages);
        test
    };
    run(test().arg("--no-run"))?;
    let server = postgres::unpacked_for_rust_version()?;
    let mut check = toolchain.cargo(["check", "--locked", "--quiet", "--package", SERVER]);
    // The tests of the store wait for databases, and so leave time to compile.
    thread::scope(|scope| {
        let check = scope.spawn(|| run(&mut check));
        run(test().envs(server.iter().flat_map(Unpacked::variables)))?;
        check.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

const SERVER: &str = "keyproof";

/// How many features are combined. Conditions in code name at most two features, so any problem also appears with some
/// two of them, or with all.
const TOGETHER: usize = 2;

const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

/// Runs Clippy on each published crate alone, with every one and two of its features and with all. Runs it on
/// unpublished crates, too, because each must declare what it needs.
pub(crate) fn lint_each_set_of_features() -> Result<(), Failure> {
    need_cargo_tool(&tools::CARGO_HACK)?;
    let published = workspace::published()?;
    for member in &published {
        if member.features() > TOGETHER {
            ask_for_few_features(member)?;
        }
    }
    let mut hack = cargo([
        "hack",
        "clippy",
        "--locked",
        "--quiet",
        "--feature-powerset",
    ]);
    hack.args(["--depth", &TOGETHER.to_string()]);
    // `default` only enables other features, each of which is in the set.
    hack.args(["--skip", "default"]);
    for member in &published {
        hack.args(["--package", member.name()?]);
    }
    for package in ["keyproof-http", "keyproof-service", "keyproof"] {
        hack.args(["--package", package]);
    }
    run(hack.args(DENY_WARNINGS))?;
    // With one package skipped, it leaves out all of them.
    for member in &published {
        if member.features() > TOGETHER {
            let clippy = ["clippy", "--locked", "--quiet", "--all-features"];
            run(cargo(clippy)
                .args(["--package", member.name()?])
                .args(DENY_WARNINGS))?;
        }
    }
    Ok(())
}

/// Rejects a condition in the crate's sources that no such set of features enables.
fn ask_for_few_features(member: &Member) -> Result<(), Failure> {
    for (path, text) in sources::below(&member.folder().join("src"))? {
        if let Some(condition) = conditions(&text).find(|condition| !asks_for_few(condition)) {
            let problem = format!(
                "`{condition}` asks for more than {TOGETHER} features: `TOGETHER` of {} is then too low",
                file!()
            );
            return Err(Failure::wrong(path, problem));
        }
    }
    Ok(())
}

fn asks_for_few(condition: &str) -> bool {
    condition.matches("feature =").count() <= TOGETHER
}

/// Returns the conditions in each `cfg(…)` and `cfg!(…)`, and the first in each `cfg_attr(…)`.
fn conditions(text: &str) -> impl Iterator<Item = &str> {
    let openings = ["cfg(", "cfg!(", "cfg_attr("];
    let all = openings
        .into_iter()
        .flat_map(|opening| text.split(opening).skip(1));
    all.map(|rest| {
        let mut depth = 0_u32;
        let end = rest.find(|character| {
            let is_end = depth == 0 && matches!(character, ')' | ',');
            match character {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            is_end
        });
        end.map_or(rest, |end| rest.split_at(end).0)
    })
}

/// Targets without an operating system: WebAssembly for browsers and runtimes, and a microcontroller.
const BARE_TARGETS: &[&str] = &["thumbv7em-none-eabi", "wasm32-unknown-unknown"];

/// Features that need no cryptography in C or assembly: the embedder provides a table of algorithms.
const BARE_FEATURES: &[(&str, &[&str])] = &[
    ("keyproof-auth", &["serde"]),
    ("keyproof-mfa", &["serde"]),
    ("keyproof-otp", &["alloc", "serde"]),
    ("keyproof-pskc", &["serde"]),
    ("keyproof-tpm", &["activate", "provision", "serde"]),
    ("keyproof-x509", &["prover", "serde"]),
];

/// Builds the protocol crates for those targets with the features available there, and checks them without features.
///
/// All at once, so that a dependency is compiled once. That each crate enables what it needs itself is found by
/// [`lint_each_set_of_features`].
pub(crate) fn build_for_bare_targets() -> Result<(), Failure> {
    need_targets(BARE_TARGETS)?;
    let on_each = |verb| {
        let mut command = cargo([verb, "--locked", "--quiet", "--no-default-features"]);
        for (package, _) in BARE_FEATURES {
            command.args(["--package", package]);
        }
        for target in BARE_TARGETS {
            command.args(["--target", target]);
        }
        command
    };
    run(&mut on_each("check"))?;
    let mut build = on_each("build");
    for (package, features) in BARE_FEATURES {
        for feature in *features {
            build.args(["--features", &format!("{package}/{feature}")]);
        }
    }
    run(&mut build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_found_in_every_form() {
        let text = r#"
            #![cfg_attr(all(feature = "a", unix), doc = "(")]
            #[cfg(any(
                feature = "a",
                feature = "b"
            ))]
            if cfg!(test) {}"#;
        let found: Vec<_> = conditions(text).collect();
        let several = found[0].split_whitespace().collect::<String>();
        assert_eq!(several, r#"any(feature="a",feature="b")"#);
        assert_eq!(found[1..], ["test", r#"all(feature = "a", unix)"#]);
    }

    #[test]
    fn a_condition_that_few_features_do_not_show_is_refused() {
        assert!(asks_for_few("not(unix)"));
        assert!(asks_for_few(r#"all(feature = "a", feature = "b")"#));
        let three = r#"any(feature = "a", feature = "b", feature = "c")"#;
        assert!(!asks_for_few(three));
    }
}
