use crate::{Key, KeyId};

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The engine could not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store's current master key was not given.
    #[error("the store is sealed under master key {sealing} now, but only {} was given", list(.given))]
    MasterKey {
        /// The key that the store names.
        sealing: KeyId,
        /// The keys that were given.
        given: Vec<KeyId>,
    },
    /// The record's data is not valid for its type and version.
    ///
    /// The error quotes neither the data nor the parser's message, since both may contain secrets.
    #[error("record {key}: the data is not a valid {kind} of version {version} (column {column})")]
    Malformed {
        /// The record's key.
        key: Key,
        /// The record's type.
        kind: String,
        /// The version in the record.
        version: u32,
        /// The column at which parsing failed, from 1; 0 if unknown.
        column: usize,
    },
    /// The record was written by a later release.
    #[error("record {key}: {kind} of version {found}, but this release knows up to {known}")]
    NewerVersion {
        /// The record's key.
        key: Key,
        /// The record's type.
        kind: String,
        /// The version in the record.
        found: u32,
        /// The newest version that this release supports.
        known: u32,
    },
    /// The record's type has no upgrade from so old a version.
    #[error("record {key}: a {kind} of version {found} cannot be upgraded to version {known}")]
    NoUpgrade {
        /// The record's key.
        key: Key,
        /// The record's type.
        kind: String,
        /// The version in the record.
        found: u32,
        /// The version that this release writes.
        known: u32,
    },
    /// The body is not the JSON envelope of a record.
    #[error("record {key}: the body is not a record")]
    NotARecord {
        /// The record's key.
        key: Key,
    },
    /// The record was not among those read, whether or not it exists: a bug in the caller.
    #[error("record {key}: it was not among those to be read")]
    NotRead {
        /// The record's key.
        key: Key,
    },
    /// A plan requested more than [`ReadPlan::MAX_KEYS`](crate::ReadPlan::MAX_KEYS) keys.
    #[error("a read plan has more than {limit} keys")]
    TooManyKeys {
        /// The maximum number of keys.
        limit: usize,
    },
    /// A plan requested more than [`ReadPlan::MAX_ROUNDS`](crate::ReadPlan::MAX_ROUNDS) rounds.
    #[error("a read plan has more than {limit} rounds")]
    TooManyRounds {
        /// The maximum number of rounds.
        limit: usize,
    },
    /// The record has another type than was requested.
    #[error("record {key}: expected {expected}, found {found}")]
    WrongType {
        /// The record's key.
        key: Key,
        /// The requested type.
        expected: &'static str,
        /// The record's type.
        found: String,
    },
}

/// Why a commit failed, or is not known to have succeeded. It is exhaustive, since a caller must tell the three apart:
/// a batch whose outcome is unknown may have been applied.
///
/// ```
/// # use std::sync::Arc;
/// # use keyproof_store::memory::MemoryEngine;
/// # use keyproof_store::{Key, MasterKey, MasterKeys, Record, Store, SystemEntropy, Timestamp};
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// # struct Voucher { cents: u64 }
/// # impl Record for Voucher { const TYPE: &'static str = "voucher"; const VERSION: u32 = 1; }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (engine, entropy) = (Arc::new(MemoryEngine::new()), Arc::new(SystemEntropy::new()));
/// # let (keys, now) = (MasterKeys::new(&MasterKey::generate(&*entropy)), Timestamp::from_secs(1_700_000_000));
/// # let store = Store::open(engine, keys, entropy, now).await?;
/// # let mut batch = store.batch(now);
/// # batch.insert(&Key::new("voucher", ["shop", "4711"]), &Voucher { cents: 500 }, None);
/// use keyproof_store::CommitError;
///
/// match store.commit(batch).await {
///     Ok(()) => println!("done, and it stays so"),
///     Err(CommitError::Conflict { .. }) => println!("somebody else was faster: read, decide and commit again"),
///     Err(CommitError::Unknown(_)) => println!("say neither that it was done nor that it was not"),
///     Err(CommitError::NotApplied(why)) => return Err(why.into()), // nothing was applied
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A record was not in the state that an entry requires. Nothing was applied.
    ///
    /// Load, decide and commit again. If several entries conflict, this is the first one in key order.
    #[error(
        "entry {entry} of the batch: the record is not in the state that the entry requires; read, decide and commit again"
    )]
    Conflict {
        /// Index of the entry, in the order in which entries were added.
        entry: usize,
    },
    /// Nothing was applied, and nothing will be.
    #[error("nothing was applied: {0}")]
    NotApplied(#[from] NotApplied),
    /// The outcome is unknown: either the whole batch was applied, or may still be, or nothing was.
    #[error("it is unknown whether the batch was applied: {0}")]
    Unknown(EngineError),
}

/// Why a batch was not applied, other than because of a conflict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotApplied {
    /// A body exceeds [`Changes::MAX_BODY_LEN`](crate::Changes::MAX_BODY_LEN).
    #[error("entry {entry}: a body of {len} bytes, more than {limit}")]
    BodyTooLong {
        /// Index of the entry, in the order in which entries were added.
        entry: usize,
        /// The body's length in bytes.
        len: usize,
        /// The maximum length of a body in bytes.
        limit: usize,
    },
    /// Two entries refer to the same record.
    #[error("entries {first} and {second} name the same record")]
    DuplicateKey {
        /// Index of the earlier entry.
        first: usize,
        /// Index of the later entry.
        second: usize,
    },
    /// The engine could not apply it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store's current master key was not given.
    #[error(
        "the store is sealed under master key {sealing} now, which was not given: give that key too"
    )]
    MasterKey {
        /// The key that the store names.
        sealing: KeyId,
    },
    /// A body with a sealed value is not JSON.
    #[error("record {key}: the body is not a record")]
    NotARecord {
        /// The record's key.
        key: Key,
    },
    /// A record could not be serialised.
    #[error("entry {entry}: the {kind} cannot be written as JSON")]
    NotSerializable {
        /// Index of the entry, in the order in which entries were added.
        entry: usize,
        /// The record's type.
        kind: &'static str,
    },
    /// A value that had to be sealed again could not be opened.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// More entries than [`Changes::MAX_ENTRIES`](crate::Changes::MAX_ENTRIES).
    #[error("{count} entries, more than {limit}")]
    TooManyEntries {
        /// The number of entries.
        count: usize,
        /// The maximum number of entries in a batch.
        limit: usize,
    },
}

/// Why an engine failed. `detail` is the engine's own message, for the log only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Other work kept the store busy for too long. Retrying may succeed.
    #[error("the store is busy: {detail}")]
    Busy {
        /// The engine's message.
        detail: String,
    },
    /// The engine was closed.
    #[error("the store is closed")]
    Closed,
    /// Something local that the connection needs cannot be used, such as a file. Retrying does not help.
    #[error("the connection cannot be set up: {detail}")]
    Configuration {
        /// What cannot be used, and why.
        detail: String,
    },
    /// The stored data is inconsistent.
    #[error("the store is damaged: {detail}")]
    Corrupt {
        /// The engine's message.
        detail: String,
    },
    /// The disk, or the quota, is full.
    #[error("the store's disk is full: {detail}")]
    Full {
        /// The engine's message.
        detail: String,
    },
    /// The database is reached through a pooler that may give each transaction another session.
    #[error(
        "the database is reached through a pooler that gives each transaction another session: \
         let it give each connection a session of its own (of PgBouncer, pool_mode = session), \
         or name the server itself in the store's URL"
    )]
    TransactionPooling,
    /// Reading or writing failed, or the connection was lost.
    #[error("the store cannot be reached: {detail}")]
    Io {
        /// The engine's message.
        detail: String,
    },
    /// A file of the store was moved or replaced after it was opened. What is written to it would be lost at the next
    /// start.
    #[error("the store was renamed, deleted or replaced while it was open: {detail}")]
    FileReplaced {
        /// Which file, and what was found in its place.
        detail: String,
    },
    /// The records were moved to another store, for good.
    #[error(
        "the store was moved to another one by `keyproof store copy --move`, and nothing is served from it any more"
    )]
    Relocated,
    /// Anything else; most likely a bug in the engine.
    #[error("the store failed: {detail}")]
    Other {
        /// The engine's message.
        detail: String,
    },
}

/// Why a store could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The fingerprint could not be written.
    #[error("the store's fingerprint of its master key could not be written: {0}")]
    Commit(#[from] CommitError),
    /// The engine could not be opened.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The file exists and belongs to another program.
    #[error("not a keyproof store: {detail}")]
    Foreign {
        /// Why it is not a store.
        detail: String,
    },
    /// The fingerprint could not be read.
    #[error("the store's fingerprint of its master key could not be read: {0}")]
    Fingerprint(StoreError),
    /// The store must be rewritten for this release, and another process has it open.
    #[error(
        "the store has schema {found} and must be rewritten for this release, but another process has it open: \
         end every keyproof that uses it first"
    )]
    InUse {
        /// The store's schema.
        found: u32,
    },
    /// The store's secrets are sealed under master keys that were not given.
    #[error("the store is sealed under master key {}, but {} was given", list(.sealed), list(.given))]
    MasterKey {
        /// The keys that the store names.
        sealed: Vec<KeyId>,
        /// The keys that were given, the current one first.
        given: Vec<KeyId>,
    },
    /// The store has records but no fingerprint of a master key.
    #[error("the store has records but does not name its master key")]
    MissingFingerprint,
    /// The store was written by a release too far ahead.
    #[error("the store has schema {found}, but this release runs on {newest} at most")]
    NewerSchema {
        /// The store's schema.
        found: u32,
        /// The newest schema that this release runs on.
        newest: u32,
    },
    /// The store is being filled from another store or a backup, or that was not finished.
    #[error(
        "the store is being filled from {from}, or that was not finished: run it again to continue"
    )]
    Unfinished {
        /// The source of its records.
        from: String,
    },
    /// The store must be migrated before this release runs on it.
    #[error("the store has {}, but this release needs {oldest} at least", schema(*.found))]
    OlderSchema {
        /// The store's schema, 0 if it has none.
        found: u32,
        /// The oldest schema that this release runs on.
        oldest: u32,
    },
}

/// Why a sealed value could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// It was altered, or sealed for another record or field.
    #[error("a sealed value of record {key} does not open under master key {master}")]
    Inauthentic {
        /// The record that contains it.
        key: Key,
        /// The master key that it names.
        master: KeyId,
    },
    /// It is sealed under a master key that was not given.
    #[error("a sealed value of record {key} needs master key {master}")]
    UnknownMasterKey {
        /// The record that contains it.
        key: Key,
        /// The master key that it names.
        master: KeyId,
    },
}

fn list(ids: &[KeyId]) -> String {
    let ids: Vec<_> = ids.iter().map(KeyId::to_string).collect();
    ids.join(", ")
}

fn schema(found: u32) -> String {
    match found {
        0 => "no schema".to_owned(),
        found => format!("schema {found}"),
    }
}
