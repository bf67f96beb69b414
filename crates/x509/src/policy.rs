//! The policy of a proof: algorithms, clock skew and strictness.

use core::time::Duration;

use rustls_pki_types::SignatureVerificationAlgorithm;

use crate::report::Strictness;

/// The policy under which a proof is validated.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use core::time::Duration;
/// use keyproof_x509::{Certificate, Policy, VerificationCode, algorithms::RING, prove};
///
/// let ca = Certificate::from_der(include_bytes!("../tests/data/p256-ca.der"))?;
/// let leaf = include_bytes!("../tests/data/p256-leaf.der");
/// let code = VerificationCode::parse("7D9BDFF9BD7037666A250E4214735E3A0B1A063D7D81F638")?.bound_to(ca.sha256_thumbprint(), None);
/// // One second before the leaf is valid: rejected if no clock skew is allowed for.
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
    /// The supported signature algorithms, such as [`algorithms::RING`](crate::algorithms).
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    /// The clock skew allowed for: both ends of a validity period are extended by it. The default is five minutes. It does not
    /// apply to a code's expiry, because the same clock set it.
    pub clock_skew: Duration,
    /// Whether to refuse what RFC 5280 forbids but Azure's service accepts: version 1, missing basicConstraints, a CA as leaf,
    /// malformed extensions. The default is [`Strictness::Lenient`].
    pub strictness: Strictness,
}

impl<'a> Policy<'a> {
    /// Creates the default policy with a table of algorithms.
    pub const fn new(algorithms: &'a [&'a dyn SignatureVerificationAlgorithm]) -> Self {
        Self {
            algorithms,
            clock_skew: Duration::from_secs(5 * 60),
            strictness: Strictness::Lenient,
        }
    }
}
