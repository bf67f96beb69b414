//! Checks the units in `contrib/systemd` with systemd's own tools.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use tempfile::TempDir;

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contrib/systemd");

/// The maximum exposure that `systemd-analyze security` may report, in tenths: 0 is no access to the machine, 100 full access.
const EXPOSURE: &str = "20";

#[test]
fn the_units_are_valid_and_the_services_have_little_of_the_machine() {
    let folder = TempDir::new().unwrap();
    let mut units = Vec::new();
    for entry in fs::read_dir(UNITS).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        // The program has another path here.
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("/usr/local/bin/keyproof", env!("CARGO_BIN_EXE_keyproof"));
        let unit = folder.path().join(name);
        fs::write(&unit, text).unwrap();
        units.push(unit);
    }
    assert!(!units.is_empty());
    // Without manual pages: it would read the pages of everything that a unit names.
    let verify = ["verify", "--man=no"];
    analyze(&verify, units.iter().map(|unit| unit.as_path()));
    let threshold = format!("--threshold={EXPOSURE}");
    let security = ["security", "--offline=true", &threshold];
    for service in ["keyproof.service", "keyproof-backup.service"] {
        analyze(&security, [folder.path().join(service).as_path()]);
    }
}

/// A missed backup is made at the next boot, perhaps before the database runs and the clock is set.
#[test]
fn a_backup_waits_for_the_server_and_all_that_the_server_waits_for() {
    let waits_for = |unit: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(Path::new(UNITS).join(unit)).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("After="));
        let units = lines.flat_map(str::split_ascii_whitespace);
        units.map(str::to_owned).collect()
    };
    let mut expected = waits_for("keyproof.service");
    assert!(expected.contains("postgresql.service"));
    expected.insert("keyproof.service".to_owned());
    assert_eq!(waits_for("keyproof-backup.service"), expected);
}

const PRESET: &str = include_str!("../../../../contrib/debian/keyproof.preset");

/// The first boot of a system image that contains the package.
#[test]
fn the_first_boot_of_a_system_turns_on_the_service_alone() {
    let states_after = |preset: &str| {
        let root = TempDir::new().unwrap();
        let systemd = root.path().join("usr/lib/systemd");
        let units = systemd.join("system");
        for folder in [&units, &systemd.join("system-preset")] {
            fs::create_dir_all(folder).unwrap();
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(UNITS).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), units.join(entry.file_name())).unwrap();
            names.push(entry.file_name().into_string().unwrap());
        }
        fs::write(systemd.join("system-preset/50-keyproof.preset"), preset).unwrap();
        let systemctl = |arguments: &[&str]| {
            let mut systemctl = Command::new("systemctl");
            let root = format!("--root={}", root.path().display());
            systemctl.arg(root).args(arguments).output().unwrap()
        };
        let done = systemctl(&["preset-all", "--preset-mode=enable-only"]);
        assert!(done.status.success(), "{done:?}");
        let state = |name: String| {
            let told = systemctl(&["is-enabled", &name]).stdout;
            (name, String::from_utf8(told).unwrap().trim().to_owned())
        };
        names.sort();
        names.into_iter().map(state).collect::<Vec<_>>()
    };
    let expected = [
        ("keyproof-backup.service", "static"),
        ("keyproof-backup.timer", "disabled"),
        ("keyproof.service", "enabled"),
        ("keyproof.socket", "disabled"),
    ];
    let expected = expected.map(|(name, state)| (name.to_owned(), state.to_owned()));
    assert_eq!(states_after(PRESET), expected);
    // Units that no preset names are enabled.
    assert_ne!(states_after(""), expected);
}

#[track_caller]
fn analyze<'a>(arguments: &[&str], units: impl IntoIterator<Item = &'a Path>) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .args(units)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}");
    // `verify` succeeds even if it ignores an unknown key.
    assert!(!said.contains("Unknown key"), "{said}");
}
