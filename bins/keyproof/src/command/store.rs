//! `keyproof store copy`: copies a whole store to another engine, byte for byte.

use clap::{Args, Subcommand};
use keyproof_service::Action;
use keyproof_store::{
    Engine, EngineError, EngineSnapshot, Fill, Key, PAGE_BYTES, Records, Rotation, Store,
    SystemEntropy, Tally, TallyBuilder, Timestamp, Version,
};
use serde_json::json;

use super::{
    Failure, Outcome,
    flags::KeyFlags,
    keys::listed,
    output,
    with_store::{block_on, must_be_shared_as, open_existing, record_event},
};
use crate::{config::Config, store::GivenKeys};

const WHAT_IS_COPIED: &str = "\
Every record is copied with its version, so entity tags and protection against replays remain valid; the master key stays the \
same, too. Open sessions and challenges continue in the copy. FROM may be in use meanwhile: the copy is a snapshot of one moment, \
and later changes are not in it. With --move, servers on FROM answer 503 once most is copied; then the rest is \
copied, and FROM is never served again.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Copy a whole store into an empty one
    Copy(Arguments),
}

#[derive(Args, Debug)]
#[command(after_help = WHAT_IS_COPIED)]
pub(super) struct Arguments {
    /// The store to copy: sqlite:PATH, postgres://…, or config:FILE for the store of another configuration file, so that no
    /// password is visible in the arguments
    from: String,
    /// The empty store to fill, or one that an interrupted copy of FROM has begun to fill; named like FROM
    to: String,
    /// Stop every server from using FROM, permanently, so that the copy misses nothing
    #[arg(long = "move")]
    is_move: bool,
    #[command(flatten)]
    flags: KeyFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> Outcome {
    let Command::Copy(arguments) = command;
    let from = arguments.flags.load(&arguments.from)?;
    let to = arguments.flags.load(&arguments.to)?;
    must_be_shared_as(&from, "FROM")?;
    must_be_shared_as(&to, "TO")?;
    if from.store.url == to.store.url {
        let message = format!("FROM and TO are the same store, {}", to.store);
        return Err(Failure::Usage(message));
    }
    block_on(async {
        let copied = match from.store.moved().await? {
            Some(_) if !arguments.is_move => {
                return Err(Failure::Refused(format!(
                    "{}: {}",
                    from.store,
                    EngineError::Relocated
                )));
            }
            Some(found) => end_move(found, &from, &to).await?,
            None => {
                let source = open_existing(&from).await?;
                let copied = copy(&source, &from, &to, arguments.is_move).await;
                source.close().await;
                copied?
            }
        };
        if arguments.is_move {
            let moved = open_existing(&to).await?;
            let detail = format!("from {}", from.store);
            let told = record_event(&moved, Action::StoreMove, Some(detail)).await;
            moved.close().await;
            told?;
        }
        arguments.report(&from, &to, copied)
    })
}

impl Arguments {
    fn report(&self, from: &Config, to: &Config, copied: Copied) -> Outcome {
        let (from, to) = (from.store.to_string(), to.store.to_string());
        let (records, written) = (copied.records, copied.written);
        let document = json!({
            "from": from,
            "to": to,
            "records": records,
            "written": written,
            "moved": self.is_move,
        });
        let outcome = if copied.was_complete {
            let records = output::counted(records, "record");
            format!("{to} already had all {records} of {from}, byte for byte")
        } else {
            let records = output::counted(records, "record");
            let writes = output::counted(written, "write");
            format!("copied {records} from {from} to {to} with {writes}, and compared them")
        };
        let notice = if self.is_move {
            format!("{from} is no longer served: serve {to}")
        } else {
            format!("what is written to {from} from now on is not in the copy")
        };
        output::print_either(self.json, &document, &format!("{outcome}\n{notice}"))
    }
}

/// The result of a copy.
struct Copied {
    records: u64,
    /// The number of writes.
    written: u64,
    /// Whether the copy was already complete before.
    was_complete: bool,
}

/// Copies a store. With `is_move`, fences it and copies again what was written meanwhile.
async fn copy(
    source: &Store,
    from: &Config,
    to: &Config,
    is_move: bool,
) -> Result<Copied, Failure> {
    let mut snapshot = source.snapshot().await?;
    let missing = missing_keys(&mut *snapshot, from, to).await?;
    into(to, snapshot, missing, async || {
        if is_move {
            let fenced = source.fence().await;
            fenced.map_err(|error| {
                Failure::Refused(format!(
                    "{}: {error}; it may be fenced now, so that its servers answer 503: run this again to complete the move",
                    from.store
                ))
            })?;
            Ok(Some(source.snapshot().await?))
        } else {
            Ok(None)
        }
    })
    .await
}

/// Completes a move that was interrupted after the store was fenced.
async fn end_move(
    found: Box<dyn EngineSnapshot>,
    from: &Config,
    to: &Config,
) -> Result<Copied, Failure> {
    let mut rest = from.store.confirm_fence(found).await?;
    let missing = missing_keys(&mut *rest, from, to).await?;
    let complete = complete_copy(&mut *rest, from, to).await?;
    let what_this_does = if complete.is_some() {
        format!("and {} has all its records", to.store)
    } else {
        "which is completed now".to_owned()
    };
    output::print_notice(&format!(
        "{} was fenced by an earlier move, {what_this_does}: do not serve any other copy of it",
        from.store
    ));
    let Some(copied) = complete else {
        return into(to, rest, missing, async || Ok(None)).await;
    };
    // Only now: a refused move must not write a key.
    if let Some(keys) = missing {
        keep_keys(&keys, to)?;
    }
    Ok(copied)
}

/// Returns the tally of `to` if it is already a store with exactly the records of the fenced store, so that at most the
/// event of the move is missing. Returns `None` if it is not (or not yet) a store with the same identity.
///
/// Copies have the identity and the audit trail of their original. So if a copy has any other records, it cannot be
/// determined whether it misses some: it may be a copy of an earlier moment.
async fn complete_copy(
    rest: &mut dyn EngineSnapshot,
    from: &Config,
    to: &Config,
) -> Result<Option<Copied>, Failure> {
    let identity = identity(rest).await?;
    let engine = to.store.open_to_fill().await?;
    let counted = async {
        if !is_filled(&*engine, identity).await? {
            return Ok(None);
        }
        let mut there = engine.snapshot().await?;
        Ok::<_, Failure>(Some(tally(&mut *there).await?))
    };
    let counted = counted.await;
    engine.close().await;
    let Some(there) = counted? else {
        return Ok(None);
    };
    if tally(rest).await? != there {
        return Err(Failure::Refused(format!(
            "{to} has other records than {from} had when it was fenced: it may be the store that {from} was moved to, changed \
             since, or a copy that misses some of them, which cannot be determined; nothing was changed",
            from = from.store,
            to = to.store
        )));
    }
    Ok(Some(Copied {
        records: there.records,
        written: 0,
        was_complete: true,
    }))
}

/// Fills a store from a snapshot, and then from the one that `more` returns. Missing keys are written once nothing can
/// refuse the copy any more.
async fn into(
    to: &Config,
    mut snapshot: Box<dyn EngineSnapshot>,
    missing: Option<GivenKeys>,
    more: impl AsyncFnOnce() -> Result<Option<Box<dyn EngineSnapshot>>, Failure>,
) -> Result<Copied, Failure> {
    let engine = to.store.open_to_fill().await?;
    let copied = async {
        let entropy = SystemEntropy::new();
        let name = format!("the store of {}", identity(&mut *snapshot).await?);
        let mut fill = Fill::begin(&*engine, &entropy, &name).await?;
        if let Some(keys) = &missing {
            fill = keep_keys_of(fill, keys, to).await?;
        }
        let mut filled = put(&fill, snapshot).await?;
        let mut written = filled.written;
        if let Some(rest) = more().await? {
            filled = put(&fill, rest).await?;
            written += filled.written;
        }
        let records = fill.finish(filled).await?.records;
        Ok(Copied {
            records,
            written,
            was_complete: false,
        })
    };
    let copied = copied.await;
    engine.close().await;
    copied
}

async fn put(
    fill: &Fill<'_>,
    snapshot: Box<dyn EngineSnapshot>,
) -> Result<keyproof_store::Filled, Failure> {
    let mut records = Records::new(snapshot);
    let next = async || records.next().await.map_err(Failure::from);
    fill.put(next, |_| ()).await
}

/// The key of the record that identifies a store's master keys.
fn identity_key() -> Key {
    Key::new("$store", ["master_key"])
}

/// Whether a store is completely filled and has this identity. Until then another record is in that place.
pub(super) async fn is_filled(engine: &dyn Engine, identity: Version) -> Result<bool, Failure> {
    let rows = engine.get_many(&[identity_key()], Timestamp::EPOCH).await;
    let row = rows?.pop().flatten();
    Ok(row.is_some_and(|row| row.version == identity))
}

/// Counts all records except the identity, as [`Fill`] does.
async fn tally(snapshot: &mut dyn EngineSnapshot) -> Result<Tally, Failure> {
    let identity = identity_key();
    let (mut counting, mut last) = (TallyBuilder::new(), None);
    loop {
        let mut page = snapshot.page(last.as_ref(), PAGE_BYTES).await?;
        for (key, row) in page.iter().filter(|(key, _)| *key != identity) {
            counting.add(key, row);
        }
        match page.pop() {
            Some((key, _)) => last = Some(key),
            None => return Ok(counting.finish()),
        }
    }
}

/// Returns the identity of a store: the version of the record with its master keys.
async fn identity(snapshot: &mut dyn EngineSnapshot) -> Result<Version, Failure> {
    let place = identity_key();
    let mut last = None;
    loop {
        let page = snapshot.page(last.as_ref(), 1).await?;
        let mut page = page.into_iter();
        match page.next() {
            Some((key, row)) if key == place => return Ok(row.version),
            Some((key, _)) if key < place => last = Some(key),
            _ => {
                let message = "the store to copy does not name its master key";
                return Err(Failure::Refused(message.to_owned()));
            }
        }
    }
}

/// Returns the master keys that must be written to the copy's key file; `None` if it already has them.
async fn missing_keys(
    snapshot: &mut dyn EngineSnapshot,
    from: &Config,
    to: &Config,
) -> Result<Option<GivenKeys>, Failure> {
    // Some records may still be under an older key.
    let needed = Rotation::from_snapshot(snapshot).await?.needed();
    match to.store.find_keys()? {
        None => {
            let keys = from.store.find_keys()?.ok_or_else(|| {
                Failure::Usage(format!(
                    "the copy needs the master key of {}, which is missing",
                    from.store
                ))
            })?;
            to.store.check_key_file()?;
            Ok(Some(keys))
        }
        Some(given) if needed.iter().any(|id| given.get(*id).is_none()) => {
            Err(Failure::Usage(format!(
                "{} is under master key {}, and {} would be under {}: a copy keeps the master key",
                from.store,
                listed(&needed),
                to.store,
                listed(&given.ids())
            )))
        }
        Some(_) => Ok(None),
    }
}

/// Writes the master keys before the store gets any record, so that it never has one that no key opens. If they cannot
/// be written, withdraws from the store, because otherwise nothing else could fill it.
pub(super) async fn keep_keys_of<'e>(
    fill: Fill<'e>,
    keys: &GivenKeys,
    to: &Config,
) -> Result<Fill<'e>, Failure> {
    let Err(refused) = keep_keys(keys, to) else {
        return Ok(fill);
    };
    if let Err(error) = fill.abort().await {
        output::warn(&format!(
            "{} is still marked as being filled: {error}",
            to.store
        ));
    }
    Err(refused)
}

/// Writes the master keys to the copy's key file.
fn keep_keys(keys: &GivenKeys, to: &Config) -> Outcome {
    let path = to.store.keep_keys(keys)?;
    output::print_notice(&format!("wrote the master key to {}", path.display()));
    Ok(())
}
