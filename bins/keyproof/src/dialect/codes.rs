//! A dialect's table of codes, a line a code.

/// Makes `Code`, an enum with a variant a line, and `parts`, what each line says of it. A line is the code's name, its number
/// as the contract has it (of the type that stands first), the status that it comes with, and what a client is told; a code
/// whose line has no text is told by its name. Lines are sorted by number.
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
            /// All of them, for the test that compares them with a page of the documentation.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$code,)+];

            /// Its number, the status that it comes with, and what a client is told.
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
