//! What a check is run with: the algorithms, the clock's tolerance, and how strict to be.

use core::time::Duration;

use rustls_pki_types::SignatureVerificationAlgorithm;

/// The rules of a check, as data.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Policy<'a> {
    /// The signature algorithms on offer, such as [`algorithms::RING`](crate::algorithms).
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    /// By how much this clock and the makers' may differ: both ends of a validity period, and a code's expiry, are moved outwards by
    /// it. Five minutes unless set.
    pub clock_skew: Duration,
    /// Whether to refuse what RFC 5280 forbids though the real service takes it: version 1, missing basicConstraints, a CA as
    /// leaf, malformed extensions. Off unless set.
    pub strict: bool,
}

impl<'a> Policy<'a> {
    /// The default policy over a table of algorithms.
    pub const fn new(algorithms: &'a [&'a dyn SignatureVerificationAlgorithm]) -> Self {
        Self {
            algorithms,
            clock_skew: Duration::from_secs(5 * 60),
            strict: false,
        }
    }

    /// The same policy, but following RFC 5280 to the letter.
    pub const fn strict(self) -> Self {
        Self {
            strict: true,
            ..self
        }
    }

    /// The same policy with another tolerance for clocks.
    pub const fn with_clock_skew(self, clock_skew: Duration) -> Self {
        Self { clock_skew, ..self }
    }
}
