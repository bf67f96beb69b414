//! The trust bundle: certificates and CRLs of TPM manufacturers' CAs that an operator has added for all managers.
//!
//! Its certificates are available as intermediates, and its CRLs are checked, for every chain. Its roots are trust
//! anchors only for managers that use the bundle, so that trust never widens implicitly.
//!
//! Each entry has its own record. Another record is rewritten with every change, so that its version shows whether a
//! bundle in memory is current.

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

/// The most bytes of DER in total, as each server keeps them in memory.
const MOST_BYTES: usize = 16 * 1024 * 1024;
