//! Names of a fixed number of bytes, whose text is lower-case hexadecimal digits.

/// Writes such a name, a tuple of its bytes, and reads exactly what is written of it.
macro_rules! hexadecimal {
    ($name:ident, $bytes:literal, $error:ident) => {
        #[doc = concat!("Two lower-case hexadecimal digits for each of its ", $bytes, " bytes.")]
        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let mut text = [0; 2 * $bytes];
                ::data_encoding::HEXLOWER.encode_mut(&self.0, &mut text);
                f.write_str(::std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $error;

            /// Takes exactly what [`Display`](::std::fmt::Display) prints.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                ::data_encoding::HEXLOWER
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or($error)
            }
        }
    };
}

pub(crate) use hexadecimal;
