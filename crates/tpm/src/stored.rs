//! `serde` support in text form: the text that `Display` writes and `FromStr` parses.

use core::{fmt, marker::PhantomData, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

use crate::{EccCurve, HashAlgorithm, Name, TpmlPcrSelection};

macro_rules! as_text {
    ($($name:ty: $expecting:literal)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text($expecting, PhantomData))
            }
        }
    )*};
}

as_text! {
    EccCurve: "the name of an elliptic curve, such as P-256"
    HashAlgorithm: "the name of a hash algorithm, such as sha256"
    Name: "a Name in hexadecimal"
    TpmlPcrSelection: "a PCR selection, such as sha256:0,1,7"
}

struct Text<T>(&'static str, PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}
