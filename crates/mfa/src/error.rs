use thiserror::Error;

/// Why an input was not taken. No variant contains any part of a code, a fingerprint or a secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MfaError {
    /// A text about a device that is too long.
    #[error("a device's {field} of {found} bytes is longer than {limit}")]
    DeviceTextTooLong {
        /// Which text.
        field: &'static str,
        /// Its length in bytes.
        found: usize,
        /// The most bytes it may have.
        limit: usize,
    },
    /// An empty fingerprint: it would tell no device from another.
    #[error("the device's fingerprint is empty: it would tell no device from another")]
    FingerprintEmpty,
    /// A fingerprint that is too long.
    #[error("a device's fingerprint of {found} bytes is longer than {limit}")]
    FingerprintTooLong {
        /// Its length in bytes.
        found: usize,
        /// The most bytes it may have.
        limit: usize,
    },
    /// A stored record of another type, or of a version newer than this release reads.
    #[error(
        "the record is neither {newest} nor an older version of it: a later release may have written it, which reads it"
    )]
    RecordForm {
        /// The type and the newest version that this release reads.
        newest: &'static str,
    },
    /// A stored record that says something no record of this crate says.
    #[error("the record's {field} is not possible")]
    RecordValue {
        /// Which field.
        field: &'static str,
    },
    /// A recovery code of another length than 16 symbols, separators not counted.
    #[error("the recovery code has {found} symbols, not 16")]
    RecoveryCodeLength {
        /// How many it has.
        found: usize,
    },
    /// A symbol that no recovery code has.
    #[error("not a symbol of a recovery code at byte {at}")]
    RecoveryCodeSymbol {
        /// Where it begins.
        at: usize,
    },
    /// A time that is before the Unix epoch or too late.
    #[error("the time is before 1970 or beyond what can be represented")]
    Time,
}
