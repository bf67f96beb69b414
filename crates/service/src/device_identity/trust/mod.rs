//! The trust bundle: certificates and revocation lists of TPM makers' CAs that an operator has put into the store, for all
//! managers.
//!
//! Its certificates stand between for every chain, and its revocation lists are asked for every chain. Its roots end only
//! the chains of managers that say so, so that nobody's trust widens unasked.
//!
//! Each entry is a record of its own, and one record beside them is written over with every change: whoever has its version
//! knows whether what they have read is still the bundle.

mod bundle;
mod change;
mod covered;
mod file;

pub(super) use bundle::{KnownBundle, TrustBundle, place, version};
pub use bundle::{TrustCheck, TrustEntry, TrustKind};
pub use change::{AddTrustError, RemoveTrustError, TrustAdded};
pub use covered::CoveredMaker;
pub(super) use file::certificate_of_ca;
pub use file::{TrustFileError, TrustItem};

/// The most entries.
const MOST_ENTRIES: usize = 2_000;

/// The most that all of them have, in bytes of DER: each server keeps them in memory.
const MOST_BYTES: usize = 16 * 1024 * 1024;
