use ring::rand::{SecureRandom, SystemRandom};

/// A source of unpredictable bytes for versions, nonces, and the embedder's own use.
///
/// Tests pass a seeded one; everything else uses [`SystemEntropy`].
///
/// ```
/// use std::sync::atomic::{AtomicU8, Ordering};
/// use keyproof_store::{Entropy, MasterKey};
///
/// /// The same bytes in each run.
/// struct Counted(AtomicU8);
///
/// impl Entropy for Counted {
///     fn fill(&self, dest: &mut [u8]) {
///         dest.fill(self.0.fetch_add(1, Ordering::Relaxed));
///     }
/// }
///
/// let entropy = Counted(AtomicU8::new(7));
/// assert_eq!(MasterKey::generate(&entropy).as_bytes(), &[7; 32]);
/// assert_eq!(MasterKey::generate(&entropy).as_bytes(), &[8; 32]);
/// ```
pub trait Entropy: Send + Sync {
    /// Fills all of `dest` with bytes that nobody can predict.
    fn fill(&self, dest: &mut [u8]);
}

/// The operating system's generator, through ring.
///
/// ```
/// use keyproof_store::{Entropy, SystemEntropy};
///
/// let mut salt = [0; 16];
/// SystemEntropy::new().fill(&mut salt);
/// assert_ne!(salt, [0; 16]);
/// ```
#[derive(Clone, Debug)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    /// Creates a handle to the operating system's generator.
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    /// # Panics
    ///
    /// If the operating system provides no randomness. Without it a process can draw neither a version nor a nonce, so
    /// ending the task is the safest outcome. On systems with `getrandom(2)` it cannot happen once the kernel's pool is
    /// initialised.
    #[expect(clippy::panic, reason = "no caller can continue without randomness")]
    fn fill(&self, dest: &mut [u8]) {
        if self.0.fill(dest).is_err() {
            panic!("the operating system gave no randomness");
        }
    }
}
