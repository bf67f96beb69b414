//! Fixed-length byte identifiers whose text form is lower-case hexadecimal.

/// Implements formatting and parsing for such an identifier, a tuple struct of its bytes.
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

            /// Accepts exactly what [`Display`](::std::fmt::Display) prints.
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
