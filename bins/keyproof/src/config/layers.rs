//! The layers of a configuration: flags over environment over file over defaults.

use std::{ffi::OsString, path::Path};

use keyproof_store::file as named_file;
use serde::Deserialize;
use toml::{
    Deserializer, Spanned, Table, Value,
    de::{DeTable, DeValue},
};

use super::{ConfigError, Key, Settings};
use crate::{dialect::DialectName, telemetry::LogFormat};

/// The longest file that is read, in bytes: many times the size of a file that sets every key.
const LONGEST_FILE: usize = 1024 * 1024;

/// The prefix of all variables.
const PREFIX: &str = "KEYPROOF_";

/// The master key has a variable but no key in the file, because files are meant to be read.
pub(super) const MASTER_KEY_VARIABLE: &str = "KEYPROOF_STORE__MASTER_KEY_BASE64";

/// Sets one dotted key in a layer.
pub(super) fn set(layer: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            layer.insert(key.to_owned(), value);
        }
        Some((table, rest)) => {
            let table = layer.entry(table).or_insert_with(|| Table::new().into());
            // Flags name keys that exist, and a variable has its own layer, so nothing else is in the way.
            if let Value::Table(table) = table {
                set(table, rest, value);
            }
        }
    }
}

/// Puts a layer over those below it, which it replaces under either name of a key that has two.
pub(super) fn put_over(under: &mut Table, mut over: Table) {
    let dialects = DialectName::ALL.iter();
    for (name, older) in dialects.flat_map(|dialect| dialect.renamed()) {
        for (given, other) in [(name, older), (older, name)] {
            let found = place(&mut over, given);
            if found.is_some_and(|(table, name)| table.contains_key(name))
                && let Some((table, name)) = place(under, other)
            {
                table.remove(name);
            }
        }
    }
    overlay(under, over);
}

/// Returns the table of a layer that may contain a key, and the key's name in it.
fn place<'t, 'k>(layer: &'t mut Table, key: &'k str) -> Option<(&'t mut Table, &'k str)> {
    match key.split_once('.') {
        None => Some((layer, key)),
        Some((table, rest)) => place(layer.get_mut(table)?.as_table_mut()?, rest),
    }
}

/// Merges `over` into `under`, table by table.
fn overlay(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => overlay(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// Reads a file. It is checked alone, so that errors can give the line.
pub(super) fn file(path: &Path) -> Result<Table, ConfigError> {
    let text =
        named_file::read_text(path, LONGEST_FILE).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    parse(&text).map_err(|wrong| ConfigError::File {
        path: path.to_owned(),
        line: line(&text, wrong.at),
        message: wrong.message,
    })
}

/// An error in a file's text, with its byte offset.
struct Wrong {
    at: usize,
    message: String,
}

impl From<toml::de::Error> for Wrong {
    fn from(error: toml::de::Error) -> Self {
        Self {
            at: error.span().map_or(0, |span| span.start),
            // Not the whole error: it quotes the line, which may contain a misplaced secret.
            message: in_words(error.message()),
        }
    }
}

/// Returns the parser's message in the words of the reference: the parser names numbers and tables by their Rust types,
/// and keys by their fields.
pub(super) fn in_words(message: &str) -> String {
    let (said, names) = match message.split_once(", expected one of ") {
        Some((said, names)) => (said, Some(names)),
        None => (message, None),
    };
    let mut words = said.to_owned();
    for (kind, form) in [
        ("a nonzero u32", "a whole number from 1 to 4294967295"),
        ("a nonzero usize", "a whole number from 1"),
        ("u32", "a whole number from 0 to 4294967295"),
    ] {
        if let Some(before) = said.strip_suffix(&format!(", expected {kind}")) {
            words = format!("{before}, expected {form}");
            break;
        }
    }
    if let Some((found, _)) = said.split_once(", expected struct ") {
        // A text is not quoted: in the place of `store`, it is a database's URL with its password.
        let kind = found.split_once(" \"").map_or(found, |(kind, _)| kind);
        words = format!("{kind}, expected a table");
    }
    let Some(names) = names else { return words };
    let mut names = names.to_owned();
    for key in Settings::keys() {
        if let Some(older) = &key.older {
            let last = |name: &str| format!("`{}`", name.rsplit('.').next().unwrap_or(name));
            names = names.replace(&last(&older.name), &last(&key.name));
        }
    }
    format!("{words}, expected one of {names}")
}

/// Parses a file as a layer. Times and sizes with units become numbers under their keys' older names.
fn parse(text: &str) -> Result<Table, Wrong> {
    let keys = Settings::keys();
    let quantities = quantities(&DeTable::parse(text)?, &keys)?;
    let mut document = DeTable::parse(text)?;
    for (key, older, number) in &quantities {
        let Some((table, name)) = parent(document.get_mut(), key) else {
            continue;
        };
        let Some(written) = table.remove(name) else {
            continue;
        };
        let number = DeValue::parse(number)?.into_inner();
        let older = older.rsplit('.').next().unwrap_or(older);
        // Errors about the number then refer to the line where it was written.
        table.insert(
            Spanned::new(written.span(), older.into()),
            Spanned::new(written.span(), number),
        );
    }
    Settings::deserialize(Deserializer::from(document.clone()))?;
    Ok(Table::deserialize(Deserializer::from(document))?)
}

/// Returns the times and sizes of a file: their keys, older names and numbers.
fn quantities<'k>(
    document: &Spanned<DeTable<'_>>,
    keys: &'k [Key],
) -> Result<Vec<(&'k str, &'k str, String)>, Wrong> {
    let mut found = Vec::new();
    for key in keys {
        let Some(older) = &key.older else { continue };
        let Some(written) = find(document.get_ref(), &key.name) else {
            continue;
        };
        if let Some(number) = find(document.get_ref(), &older.name) {
            return Err(Wrong {
                at: written.span().start.max(number.span().start),
                message: contradiction(&key.name, &older.name),
            });
        }
        let text = written.get_ref().as_str();
        let number = text.ok_or_else(|| older.quantity.wrong());
        let number = number.and_then(|text| older.quantity.read(text));
        let number = number.map_err(|wrong| Wrong {
            at: written.span().start,
            message: format!("{}: {wrong}", key.name),
        })?;
        found.push((&*key.name, &*older.name, number.to_string()));
    }
    Ok(found)
}

fn contradiction(one: &str, other: &str) -> String {
    format!("{one} and {other} are the same: give one of them")
}

fn find<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    match key.split_once('.') {
        None => table.get(key),
        Some((name, rest)) => find(table.get(name)?.get_ref().as_table()?, rest),
    }
}

/// Returns the table that contains a key, and the key's name in it.
fn parent<'t, 'i, 'k>(
    table: &'t mut DeTable<'i>,
    key: &'k str,
) -> Option<(&'t mut DeTable<'i>, &'k str)> {
    match key.split_once('.') {
        None => Some((table, key)),
        Some((name, rest)) => match table.get_mut(name)?.get_mut() {
            DeValue::Table(table) => parent(table, rest),
            _ => None,
        },
    }
}

/// Returns `log.format` of a file whose other keys may be wrong.
pub(super) fn log_format(path: &Path) -> Option<LogFormat> {
    let text = named_file::read_text(path, LONGEST_FILE).ok()?;
    let table: Table = toml::from_str(&text).ok()?;
    LogFormat::of(table.get("log")?.get("format")?.as_str()?)
}

fn line(text: &str, at: usize) -> usize {
    let before = text.bytes().take(at);
    1 + before.filter(|byte| *byte == b'\n').count()
}

/// Reads the variables that begin with `KEYPROOF_`. A value is taken as text where the key's type allows it, otherwise
/// as TOML.
pub(super) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Table, ConfigError> {
    let keys = Settings::keys();
    let mut layer = Table::new();
    let mut quantities: Vec<(&Key, String)> = Vec::new();
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
        let own = name.strip_prefix(PREFIX).unwrap_or_default();
        if is_service_link(own, value) {
            continue;
        }
        let key = own.to_ascii_lowercase().replace("__", ".");
        let mut all = keys.iter();
        let quantity = all.find_map(|line| {
            let older = line.older.as_ref()?;
            (line.name == key || older.name == key).then_some((line, older))
        });
        let (field, value) = match quantity {
            None => (&key, value.to_owned()),
            Some((line, older)) => {
                if let Some((_, other)) = quantities.iter().find(|(seen, _)| *seen == line) {
                    return Err(refuse(&contradiction(name, other)));
                }
                quantities.push((line, name.to_owned()));
                let number = if older.name == key {
                    value.to_owned()
                } else {
                    let number = older.quantity.read(value);
                    let number = number.map_err(|wrong| refuse(&wrong.to_string()))?;
                    number.to_string()
                };
                (&older.name, number)
            }
        };
        let typed = typed(field, &value);
        let typed = typed.map_err(|error| refuse(&in_words(error.message())))?;
        overlay(&mut layer, typed);
    }
    Ok(layer)
}

/// Whether a variable, without its prefix, is one that Kubernetes sets in each pod when a service is called `keyproof`.
/// No key has such a name: each key is in a table, so its variable has two underscores.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_link = match name {
        "SERVICE_HOST" | "SERVICE_PORT" => true,
        // A link is a URL. A number would be meant for keyproof.
        "PORT" => value.contains("://"),
        _ => name.starts_with("SERVICE_PORT_") || name.starts_with("PORT_"),
    };
    is_link && !name.contains("__")
}

/// Returns a layer with one key: its value as text if that fits, otherwise as TOML.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_the_name_of_a_service_link() {
        for key in Settings::keys() {
            assert!(key.name.contains('.'), "{}", key.name);
            let name = key.name.to_ascii_uppercase().replace('.', "__");
            assert!(!is_service_link(&name, "tcp://192.0.2.1:80"), "{name}");
        }
    }
}
