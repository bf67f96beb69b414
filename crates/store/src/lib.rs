#![doc = include_str!("../README.md")]
//!
//! ## Two layers
//!
//! [`Store`] handles JSON, types and sealing. [`Engine`] is the interface below it, which moves bytes. What an engine
//! must do, and what it may rely on, is documented at [`Engine`] only.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(clippy::missing_errors_doc, missing_debug_implementations)]

#[cfg(feature = "backup")]
pub mod backup;
mod batch;
mod body;
#[cfg(feature = "conformance")]
pub mod conformance;
mod engine;
mod entropy;
mod error;
#[cfg(feature = "faults")]
pub mod faults;
pub mod file;
mod fill;
mod fingerprint;
mod hex;
mod key;
mod keyring;
pub mod memory;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod migration;
mod observer;
mod pool;
#[cfg(feature = "postgres")]
pub mod postgres;
mod reading;
mod record;
mod rotation;
mod scan;
mod seal;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod standbys;
mod store;
mod time;
mod version;

pub use batch::{Batch, CommitOutcome};
pub use body::Body;
pub use engine::{BoxFuture, Change, Changes, Engine, Entry, Row};
pub use entropy::{Entropy, SystemEntropy};
pub use error::{CommitError, EngineError, NotApplied, OpenError, StoreError, UnsealError};
pub use fill::{Fill, FillError, Filled};
pub use key::{Key, ParseKeyError, Prefix, Segment, Segments};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use migration::Migration;
pub use observer::CommitObserver;
pub use pool::PoolStatus;
pub use reading::{ReadPlan, Reading, Snapshot};
pub use record::{Raw, Record, Stored};
pub use rotation::{RotateError, Rotation};
pub use scan::{EngineSnapshot, PAGE_BYTES, PAGE_ROWS, Records, Tally, TallyBuilder};
pub use seal::{KeyId, MasterKey, MasterKeys, ParseKeyIdError, Sealed};
/// The version of serde_json whose values [`Record::upgrade`] takes.
pub use serde_json;
pub use standbys::Standbys;
pub use store::Store;
pub use time::{TimeOutOfRange, Timestamp};
pub use version::{ParseVersionError, Version};
