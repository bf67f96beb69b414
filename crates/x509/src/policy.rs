//! What a check is run with: the algorithms, the clock's tolerance, and how strict to be.

use core::time::Duration;

use rustls_pki_types::SignatureVerificationAlgorithm;

/// The rules of a check, as data.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use core::time::Duration;
/// use keyproof_x509::{Certificate, Policy, VerificationCode, algorithms::RING, prove};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let leaf = include_bytes!("../tests/data/p256-leaf.der");
/// let code = VerificationCode::parse("7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638")?;
/// // A second too early for a clock that is trusted to the second.
/// let mut exact = Policy::new(RING);
/// exact.clock_skew = Duration::ZERO;
/// let just_before = 1_795_317_246;
/// assert!(!prove(&ca, leaf, &code, just_before, &exact).accepted());
/// assert!(prove(&ca, leaf, &code, just_before, &Policy::new(RING)).accepted());
/// # }
/// # Ok::<(), keyproof_x509::X509Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Policy<'a> {
    /// The signature algorithms on offer, such as [`algorithms::RING`](crate::algorithms).
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    /// By how much this clock and the makers' may differ: both ends of a validity period are moved outwards by it. Five minutes
    /// unless set. A code's expiry stands as it is: the clock that judges it has set it.
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
}
