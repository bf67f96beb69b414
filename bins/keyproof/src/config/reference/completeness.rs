//! Compares the table with the settings: both have the same keys, and the same defaults.

use std::collections::BTreeSet;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        DeserializeSeed, MapAccess, SeqAccess, Visitor,
        value::{Error, StrDeserializer},
    },
    forward_to_deserialize_any,
};
use toml::{Table, Value};

use super::{Key, keys, page::is_value};
use crate::config::{Config, Settings, Sources};

keys! {
    /// A dialect's table without keys.
    #[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
    struct Nothing {}
}

#[test]
fn a_section_may_have_no_key() {
    assert!(Nothing::keys("nothing").is_empty());
    let read = toml::from_str::<Nothing>;
    assert_eq!(read("").unwrap(), Nothing::default());
    assert!(read("key = 1").is_err());
}

#[test]
fn every_key_that_settings_take_is_in_the_table_and_no_other() {
    let mut taken = BTreeSet::new();
    collect(&mut Vec::new(), &mut taken);
    let keys = Settings::keys();
    let listed: BTreeSet<String> = keys.iter().map(|key| key.field().to_owned()).collect();
    assert_eq!(listed.len(), keys.len());
    assert_eq!(taken, listed);
    let names: BTreeSet<&str> = keys.iter().map(|key| &*key.name).collect();
    assert_eq!(names.len(), keys.len());
    for key in keys.iter().filter(|key| key.older.is_some()) {
        assert!(!listed.contains(&key.name), "{}", key.name);
    }
}

#[test]
fn defaults_are_what_is_in_force_where_nothing_is_said() {
    let config = Config::load(&Sources {
        environment: vec![("HOME".into(), "/nowhere".into())],
        ..Sources::default()
    })
    .unwrap();
    let effective = Table::try_from(&config.settings).unwrap();
    for key in Settings::keys() {
        let found = find(&effective, key.field());
        if !is_value(&key.default) {
            // Words describe a default that no file can express, or that depends on the machine.
            assert!(found.is_none() || key.name == "store.url", "{key:?}");
        } else if !key.name.contains("[]") {
            assert_eq!(found, Some(&value(&key)), "{key:?}");
        }
    }
    assert_eq!(
        config.settings.store.url.unwrap(),
        "sqlite:/nowhere/.local/state/keyproof/keyproof.db"
    );
    let cores = std::thread::available_parallelism().unwrap();
    assert_eq!(config.hashing.threads, cores);
}

#[test]
fn a_key_has_its_meaning_in_sentences() {
    for key in Settings::keys() {
        assert!(key.meaning.ends_with('.'), "{key:?}");
        assert!(!key.form.is_empty() && !key.default.is_empty(), "{key:?}");
    }
}

/// Returns the default as settings have it.
fn value(key: &Key) -> Value {
    let table: Table = format!("value = {}", key.default).parse().unwrap();
    let value = table.get("value").unwrap().clone();
    match &key.older {
        None => value,
        Some(older) => {
            let number = older.quantity.read(value.as_str().unwrap()).unwrap();
            i64::try_from(number).unwrap().into()
        }
    }
}

fn find<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((name, rest)) => find(table.get(name)?.as_table()?, rest),
    }
}

/// Collects the names of all keys below `path`: the fields that deserializing the settings asks for.
fn collect(path: &mut Vec<String>, keys: &mut BTreeSet<String>) {
    let (mut fields, mut is_listed) = (None, false);
    let probe = Probe {
        path,
        fields: &mut fields,
        is_listed: &mut is_listed,
    };
    // This always fails, because no value is ever given.
    let _ = Settings::deserialize(probe);
    if is_listed && let Some(last) = path.last_mut() {
        last.push_str("[]");
    }
    let name = path.join(".");
    // A list of tables is also a key itself.
    if let Some(name) = name.strip_suffix("[]") {
        keys.insert(name.to_owned());
    }
    match fields {
        None => {
            keys.insert(name);
        }
        Some(fields) => {
            for field in fields {
                path.push((*field).to_owned());
                collect(path, keys);
                path.pop();
            }
        }
    }
}

/// Follows one path, and records the fields that are requested at its end.
struct Probe<'p> {
    path: &'p [String],
    fields: &'p mut Option<&'static [&'static str]>,
    is_listed: &'p mut bool,
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("no value"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.path.is_empty() {
            *self.fields = Some(fields);
            return self.deserialize_any(visitor);
        }
        visitor.visit_map(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (mut fields, is_listed) = (None, &mut *self.is_listed);
        let element = Probe {
            path: self.path,
            fields: &mut fields,
            is_listed: &mut false,
        };
        let nothing = visitor.visit_seq(element);
        *is_listed = self.path.is_empty() && fields.is_some();
        if fields.is_some() {
            *self.fields = fields;
        }
        nothing
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> SeqAccess<'de> for Probe<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        seed.deserialize(Probe {
            path: self.path,
            fields: self.fields,
            is_listed: self.is_listed,
        })
        .map(Some)
    }
}

impl<'de> MapAccess<'de> for Probe<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let name = self.path[0].trim_end_matches("[]");
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Probe {
            path: &self.path[1..],
            fields: self.fields,
            is_listed: self.is_listed,
        })
    }
}
