//! A dialect's table of error codes, one line per code.

/// Defines `Code`, an enum with a variant per line, and `parts`, which returns the values of a line. A line has the
/// code's name, its number in the contract (of the type given first), its status, and the message for the client.
/// Without a message, the code's name is the message. Lines are sorted by number; texts are in the order
/// of the contract's page.
macro_rules! codes {
    (@text $code:ident) => { stringify!($code) };
    (@text $code:ident $text:expr) => { $text };
    ($(#[$doc:meta])* $number:ty; $($(#[$of:meta])* $code:ident = $value:expr, $status:ident $(, $text:expr)?;)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Code {
            $($(#[$of])* $code,)+
        }

        impl Code {
            /// All codes, for the test that compares them with a page of the documentation.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$code,)+];

            /// Returns the code's number, status and message.
            const fn parts(self) -> ($number, ::http::StatusCode, &'static str) {
                match self {
                    $(Self::$code => (
                        $value,
                        ::http::StatusCode::$status,
                        $crate::dialect::codes::codes!(@text $code $($text)?),
                    ),)+
                }
            }
        }
    };
}
pub(super) use codes;
