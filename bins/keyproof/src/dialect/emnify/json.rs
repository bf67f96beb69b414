//! JSON objects, parsed as leniently as the contract's clients need: `null` is absent, whole numbers may have a zero
//! fraction, and unknown members are ignored. Duplicate members are rejected, as another reader of the body might use
//! the other one.

use std::{collections::BTreeMap, fmt};

use keyproof_http::UniqueMembers;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use zeroize::Zeroizing;

use super::body::BodyError;

/// The length that codes are padded to, in digits. A client that handles them as numbers drops leading zeros.
const CODE_DIGITS: usize = 6;

/// The members of an object. Each can be taken once.
pub(super) struct Members(BTreeMap<String, Value>);

/// A JSON value, as far as it is used.
enum Value {
    Null,
    Object(Members),
    /// An array, `true`, `false`, or a number that is not whole.
    Other,
    Text(Zeroizing<String>),
    Whole(i64),
}

impl Members {
    pub(super) fn parse(body: &[u8]) -> Result<Self, BodyError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => Err(BodyError::NotAnObject),
            // No types are rejected here, so this is a duplicate.
            Err(error) if error.is_data() => Err(BodyError::Repeated),
            Err(_) => Err(BodyError::NotJson),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let value = self.0.remove(name)?;
        (!matches!(value, Value::Null)).then_some(value)
    }

    pub(super) fn secret(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Zeroizing<String>>, BodyError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(BodyError::Type(name, "a String")),
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, BodyError> {
        Ok(self
            .secret(name)?
            .map(|mut text| std::mem::take(&mut *text)))
    }

    pub(super) fn object(&mut self, name: &'static str) -> Result<Option<Self>, BodyError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(members)),
            Some(_) => Err(BodyError::Type(name, "an Object")),
        }
    }

    pub(super) fn number(&mut self, name: &'static str) -> Result<Option<i64>, BodyError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Whole(number)) => Ok(Some(number)),
            Some(_) => Err(BodyError::Type(name, "a Number")),
        }
    }

    /// Takes `code` as a string or number, padded if it is numeric.
    pub(super) fn code(&mut self) -> Result<Option<Zeroizing<String>>, BodyError> {
        let text = match self.take("code") {
            None => return Ok(None),
            Some(Value::Text(text)) => text,
            Some(Value::Whole(number @ 0..)) => Zeroizing::new(number.to_string()),
            Some(_) => return Err(BodyError::Type("code", "a String")),
        };
        let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        Ok(Some(if is_digits {
            Zeroizing::new(format!("{:0>CODE_DIGITS$}", *text))
        } else {
            text
        }))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Whole(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Other, Value::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(whole(number).map_or(Value::Other, Value::Whole))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Value, A::Error> {
        let members = UniqueMembers::deserialize(MapAccessDeserializer::new(entries));
        members.map(|UniqueMembers(members)| Value::Object(Members(members)))
    }
}

/// Returns the integer that a float stands for, if it is whole.
pub(super) fn whole(number: f64) -> Option<i64> {
    /// Integers of up to 15 digits are exact as floats.
    const EXACT: f64 = 1e15;
    if number.fract() != 0.0 || number.abs() >= EXACT {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "an integer in range")]
    Some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(json: &str) -> Members {
        Members::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn only_objects_are_read() {
        let deep = r#"{"a":"#.repeat(100_000);
        for wrong in [
            "",
            "{",
            r#"{"a":1}{}"#,
            r#"{"a":1e400}"#,
            "\"\u{1}\"",
            &deep,
        ] {
            assert_eq!(
                Members::parse(wrong.as_bytes()).err(),
                Some(BodyError::NotJson)
            );
        }
        for wrong in ["[]", "7", "null", "true", "\"{}\"", "-1", "1.5"] {
            let error = Members::parse(wrong.as_bytes()).err();
            assert_eq!(error, Some(BodyError::NotAnObject), "{wrong}");
        }
    }

    #[test]
    fn a_member_is_there_once() {
        for twice in [
            r#"{"code":"1","code":"2"}"#,
            r#"{"code":"1","c\u006fde":"1"}"#,
            r#"{"code":null,"code":"1"}"#,
            r#"{"status":{"id":1,"id":1}}"#,
        ] {
            let error = Members::parse(twice.as_bytes()).err();
            assert_eq!(error, Some(BodyError::Repeated), "{twice}");
        }
        // The same name in another object is not a duplicate.
        assert!(
            members(r#"{"code":"1","status":{"code":"1"}}"#)
                .code()
                .is_ok()
        );
    }

    #[test]
    fn whole_numbers_may_have_a_fraction_of_nothing() {
        for (text, expected) in [
            ("1", Some(1)),
            ("1.0", Some(1)),
            ("10e-1", Some(1)),
            ("-0.0", Some(0)),
            ("-1", Some(-1)),
            ("999999999999999.0", Some(999_999_999_999_999)),
            ("1.5", None),
            ("1000000000000000.0", None),
            ("18446744073709551615", None),
            ("1e300", None),
            ("\"1\"", None),
            ("[1]", None),
        ] {
            let read = members(&format!(r#"{{"id":{text}}}"#)).number("id");
            assert_eq!(read.ok().flatten(), expected, "{text}");
        }
    }

    #[test]
    fn null_is_absent_and_every_type_is_told() {
        let mut nulls = members(r#"{"s":null,"o":null,"n":null,"code":null}"#);
        assert_eq!(nulls.secret("s"), Ok(None));
        assert!(nulls.object("o").unwrap().is_none());
        assert_eq!(nulls.number("n"), Ok(None));
        assert_eq!(nulls.code(), Ok(None));
        let mut wrong = members(r#"{"s":1,"o":"{}","n":"1","code":[1]}"#);
        assert_eq!(wrong.text("s"), Err(BodyError::Type("s", "a String")));
        assert_eq!(
            wrong.object("o").err(),
            Some(BodyError::Type("o", "an Object"))
        );
        assert_eq!(wrong.number("n"), Err(BodyError::Type("n", "a Number")));
        assert_eq!(wrong.code(), Err(BodyError::Type("code", "a String")));
    }

    #[test]
    fn codes_are_padded_if_they_have_digits_only() {
        for (json, expected) in [
            (r#""123456""#, "123456"),
            (r#""12345""#, "012345"),
            ("12345.0", "012345"),
            ("7", "000007"),
            ("0", "000000"),
            (r#""1234567""#, "1234567"),
            (r#""""#, ""),
            (r#"" 12345""#, " 12345"),
            (r#""ABCD-EFGH""#, "ABCD-EFGH"),
            ("\"\u{ff11}\"", "\u{ff11}"),
        ] {
            let code = members(&format!(r#"{{"code":{json}}}"#)).code();
            assert_eq!(code.unwrap().unwrap().as_str(), expected, "{json}");
        }
        for json in ["1.5", "-1", "true", "1e300"] {
            assert!(
                members(&format!(r#"{{"code":{json}}}"#)).code().is_err(),
                "{json}"
            );
        }
    }
}
