use thiserror::Error;

/// Why an input was rejected. No variant contains any part of a code, a fingerprint or a secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MfaError {
    /// A text about a device is too long.
    #[error("a device's {field} of {found} bytes is longer than {limit}")]
    DeviceTextTooLong {
        /// Which text.
        field: &'static str,
        /// Its length in bytes.
        found: usize,
        /// The maximum length in bytes.
        limit: usize,
    },
    /// The fingerprint is empty, so it cannot identify a device.
    #[error("the device's fingerprint is empty: it would tell no device from another")]
    FingerprintEmpty,
    /// A fingerprint is too long.
    #[error("a device's fingerprint of {found} bytes is longer than {limit}")]
    FingerprintTooLong {
        /// Its length in bytes.
        found: usize,
        /// The maximum length in bytes.
        limit: usize,
    },
    /// A text is neither an IPv4 address nor an IPv6 /64.
    #[error("not a network: it must be an IPv4 address or an IPv6 /64")]
    Network,
    /// A stored record has another type, or a version newer than this release reads. Only serde's
    /// errors contain it, as their text.
    #[error("the record is not {newest} or an older version of it: it may need a later release")]
    RecordForm {
        /// The type and the newest version that this release reads.
        newest: &'static str,
    },
    /// A stored record contains a value that this crate never writes. Only serde's errors contain
    /// it, as their text.
    #[error("the record has an invalid {field}")]
    RecordValue {
        /// Which field.
        field: &'static str,
    },
    /// A recovery code does not have 16 symbols, not counting separators.
    #[error("the recovery code has {found} symbols, not 16")]
    RecoveryCodeLength {
        /// How many it has.
        found: usize,
    },
    /// A recovery code contains a symbol that no recovery code has.
    #[error("not a symbol of a recovery code at byte {at}")]
    RecoveryCodeSymbol {
        /// The byte offset of the symbol.
        at: usize,
    },
    /// A time is before the Unix epoch or too far in the future.
    #[error("the time is before 1970 or beyond what can be represented")]
    Time,
}
