//! Types that accept only JSON objects. Derived serde structs also accept an array of their members in order.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A value that is deserialised only from a JSON object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonObject<T>(
    /// The value.
    pub T,
);

impl<T: DeserializeOwned> JsonObject<T> {
    /// Parses a text that consists of one JSON object. A byte order mark before it is ignored, as RFC 8259 allows in
    /// section 8.1: some editors and shells write one.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not JSON, or not an object that `T` accepts. The error may quote the text.
    pub fn from_slice(text: &[u8]) -> Result<T, serde_json::Error> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        serde_json::from_slice(text).map(|Self(value)| value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for JsonObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor(PhantomData))
    }
}

struct MembersVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
    type Value = JsonObject<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(JsonObject)
    }
}

/// All members of a JSON object, by name. A member that occurs twice is refused, as another parser could use the other
/// one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UniqueMembers<T>(
    /// The members.
    pub BTreeMap<String, T>,
);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for UniqueMembers<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueMembersVisitor(PhantomData))
    }
}

struct UniqueMembersVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for UniqueMembersVisitor<T> {
    type Value = UniqueMembers<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = all.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member occurs twice"));
            }
        }
        Ok(UniqueMembers(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        inner: Option<JsonObject<Inner>>,
        list: Option<Vec<JsonObject<Inner>>>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        text: Option<String>,
    }

    #[test]
    fn arrays_are_no_objects() {
        let read = serde_json::from_str::<JsonObject<Outer>>;
        let inner = |text: &str| {
            JsonObject(Inner {
                text: Some(text.to_owned()),
            })
        };
        let JsonObject(outer) =
            read(r#"{"inner":{"text":"a","more":1},"list":[{"text":"b"}]}"#).unwrap();
        assert_eq!(outer.inner, Some(inner("a")));
        assert_eq!(outer.list, Some(vec![inner("b")]));
        let JsonObject(outer) = read(r#"{"inner":null}"#).unwrap();
        assert_eq!((outer.inner, outer.list), (None, None));
        for wrong in [
            "[]",
            "[null,null]",
            r#"[{"text":"a"},null]"#,
            r#"{"inner":["a"]}"#,
            r#"{"list":[["a"]]}"#,
            r#"{"list":{}}"#,
            r#"{"inner":{"text":"a","text":"a"}}"#,
            r#""inner""#,
            "null",
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.is_data() && error.line() == 1, "{wrong}: {error}");
        }
    }

    #[test]
    fn a_member_occurs_once() {
        let read = serde_json::from_str::<UniqueMembers<u8>>;
        let UniqueMembers(members) = read(r#"{"a":1,"b":2}"#).unwrap();
        assert!(
            members
                .into_iter()
                .eq([("a".to_owned(), 1), ("b".to_owned(), 2)])
        );
        for wrong in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, "[]", "null"] {
            assert!(read(wrong).unwrap_err().is_data(), "{wrong}");
        }
    }

    #[test]
    fn one_byte_order_mark_before_an_object_is_ignored() {
        let read = |text: &str| JsonObject::<Inner>::from_slice(text.as_bytes());
        for text in [r#"{"text":"a"}"#, "\u{feff} {\"text\":\"a\"}"] {
            assert_eq!(read(text).unwrap().text.as_deref(), Some("a"), "{text:?}");
        }
        let marked = "{\"text\":\"\u{feff}a\"}";
        assert_eq!(read(marked).unwrap().text.as_deref(), Some("\u{feff}a"));
        for wrong in [
            "",
            "\u{feff}",
            "\u{feff}\u{feff}{}",
            " \u{feff}{}",
            "{}\u{feff}",
            "[]",
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
