//! Gives each number, time and size invalid values: zero, negative, without a unit, with another unit, and too large.
//! Each must be refused by name.

use super::{Key, Quantity};
use crate::config::{Config, ConfigError, Settings, Sources};

/// Loads a configuration with one key set by its variable.
fn with(key: &Key, value: &str) -> Result<Config, ConfigError> {
    let variable = key.variable().unwrap();
    Config::load(&Sources {
        environment: vec![
            ("HOME".into(), "/nowhere".into()),
            (variable.into(), value.into()),
        ],
        ..Sources::default()
    })
}

#[track_caller]
fn refuses(key: &Key, value: &str) {
    let Err(error) = with(key, value) else {
        panic!("{} takes {value:?}", key.name);
    };
    let said = error.to_string();
    let variable = key.variable().unwrap();
    // The costs of hashing are checked together.
    let group = key.name.split_inclusive('_').next().unwrap();
    assert!(
        said.contains(&variable) || said.contains(&key.name) || said.contains(group),
        "{}: {value:?}: {said}",
        key.name
    );
}

/// Returns the keys of this form that have a variable.
fn of(form: &str) -> Vec<Key> {
    let keys = Settings::keys().into_iter();
    let keys: Vec<_> = keys
        .filter(|key| key.form.starts_with(form) && key.variable().is_some())
        .collect();
    assert!(keys.len() > 1, "{form}");
    keys
}

#[test]
fn a_time_has_a_unit_and_an_end() {
    for key in of("time") {
        for wrong in [
            "",
            "5",
            "-5s",
            "0s",
            "0ms",
            "5 parsecs",
            "5KiB",
            "1mo",
            "1y",
            "1.5ms",
            "2000000h",
            "99999999999999999999s",
            "1e9s",
            "inf",
            "\u{0665}s",
        ] {
            refuses(&key, wrong);
        }
        for right in ["1s", "1m", "1m 30s"] {
            assert!(with(&key, right).is_ok(), "{}: {right}", key.name);
        }
    }
}

#[test]
fn a_size_has_a_unit_and_an_end() {
    for key in of("size") {
        for wrong in [
            "",
            "5",
            "-5MiB",
            "0B",
            "0MiB",
            "5 parsecs",
            "5s",
            "5GiB",
            "1TiB",
            "16EiB",
            "99999999999999999999B",
            "infB",
            "NaNB",
        ] {
            refuses(&key, wrong);
        }
        let right = match key.older.as_ref().unwrap().quantity {
            // Less than this is under the minimum.
            Quantity::Kibibytes => "19MiB",
            _ => "64KiB",
        };
        assert!(with(&key, right).is_ok(), "{}: {right}", key.name);
    }
}

#[test]
fn a_number_is_whole_and_has_an_end() {
    for key in of("number") {
        for wrong in [
            "",
            "-1",
            "1.5",
            "4294967296000",
            "99999999999999999999",
            "5s",
            "many",
            "0x1g",
        ] {
            refuses(&key, wrong);
        }
        if key.form == "number from 1" {
            refuses(&key, "0");
        }
        assert!(
            with(&key, &key.default).is_ok() || key.default.contains(' ') || key.default == "none"
        );
    }
}

#[test]
fn what_is_counted_together_has_an_end_below_what_its_type_has() {
    let keys = Settings::keys();
    for (name, most) in [
        ("store.max_connections", "1000"),
        ("auth.argon2_concurrency", "1024"),
        ("auth.argon2_iterations", "16"),
        ("auth.argon2_memory", "256MiB"),
        ("http.max_body", "1GiB"),
    ] {
        let key = keys.iter().find(|key| key.name == name).unwrap();
        assert!(with(key, most).is_ok(), "{name}");
        let more = match most {
            "1GiB" => "1073741825B".to_owned(),
            "256MiB" => "262145KiB".to_owned(),
            most => (most.parse::<u32>().unwrap() + 1).to_string(),
        };
        refuses(key, &more);
    }
}
