//! The layers of a configuration: flags over environment over file over defaults.

use std::{ffi::OsString, path::Path};

use keyproof_store::file as named_file;
use serde::Deserialize;
use toml::{Table, Value};

use super::{ConfigError, Settings};
use crate::telemetry::LogFormat;

/// The longest file that is read, in bytes: many times a configuration that says everything.
const LONGEST_FILE: usize = 1024 * 1024;

/// What every variable of ours begins with.
const PREFIX: &str = "KEYPROOF_";

/// The master key has a variable, but no place in a file that is meant to be read.
pub(super) const MASTER_KEY_VARIABLE: &str = "KEYPROOF_STORE__MASTER_KEY_BASE64";

/// Sets one dotted key in a layer.
pub(super) fn set(layer: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            layer.insert(key.to_owned(), value);
        }
        Some((table, rest)) => {
            let table = layer.entry(table).or_insert_with(|| Table::new().into());
            // Flags name keys that exist, and a variable's layer is its own: nothing else stands in the way.
            if let Value::Table(table) = table {
                set(table, rest, value);
            }
        }
    }
}

/// Lays `over` upon `under`, table by table.
pub(super) fn overlay(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => overlay(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// Reads a file. It is checked alone, so that errors can say where.
pub(super) fn file(path: &Path) -> Result<Table, ConfigError> {
    let text =
        named_file::read_text(path, LONGEST_FILE).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    toml::from_str::<Settings>(&text)
        .and_then(|_| toml::from_str(&text))
        .map_err(|error| ConfigError::File {
            path: path.to_owned(),
            line: line(&text, &error),
            // Not the whole error: it quotes the line, which may contain a secret in the wrong place.
            message: error.message().to_owned(),
        })
}

/// `log.format` of a file of which the rest need not be right.
pub(super) fn log_format(path: &Path) -> Option<LogFormat> {
    let text = named_file::read_text(path, LONGEST_FILE).ok()?;
    let table: Table = toml::from_str(&text).ok()?;
    LogFormat::of(table.get("log")?.get("format")?.as_str()?)
}

fn line(text: &str, error: &toml::de::Error) -> usize {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.bytes().take(start);
    1 + before.filter(|byte| *byte == b'\n').count()
}

/// Reads the variables that begin with `KEYPROOF_`. A value is what its key's type makes of it: text where text is
/// wanted, otherwise as TOML writes it.
pub(super) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Table, ConfigError> {
    let mut layer = Table::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        if name == MASTER_KEY_VARIABLE {
            continue;
        }
        let refuse = |message: &str| ConfigError::Environment {
            variable: name.to_owned(),
            message: message.to_owned(),
        };
        let value = value.to_str().ok_or_else(|| refuse("not UTF-8"))?;
        let key = name
            .strip_prefix(PREFIX)
            .unwrap_or_default()
            .to_ascii_lowercase()
            .replace("__", ".");
        let typed = typed(&key, value).map_err(|error| refuse(error.message()))?;
        overlay(&mut layer, typed);
    }
    Ok(layer)
}

/// A layer of one key: its value as text if that fits, otherwise as TOML.
fn typed(key: &str, value: &str) -> Result<Table, toml::de::Error> {
    let text = layer_of(key, value.into());
    let error = match check(&text) {
        Ok(()) => return Ok(text),
        Err(error) => error,
    };
    let literal = toml::from_str::<Table>(&format!("value = {value}"));
    match literal.ok().and_then(|mut table| table.remove("value")) {
        Some(Value::String(_)) | None => Err(error),
        Some(literal) => {
            let literal = layer_of(key, literal);
            check(&literal).map(|()| literal)
        }
    }
}

fn layer_of(key: &str, value: Value) -> Table {
    let mut layer = Table::new();
    set(&mut layer, key, value);
    layer
}

fn check(layer: &Table) -> Result<(), toml::de::Error> {
    Settings::deserialize(layer.clone()).map(|_| ())
}
