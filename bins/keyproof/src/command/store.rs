//! `keyproof store copy`: a whole store in another engine, to the byte.

use clap::{Args, Subcommand};
use keyproof_service::Action;
use keyproof_store::{
    Counting, Engine, EngineError, EngineSnapshot, Fill, Key, PAGE_BYTES, Records, Rotation, Store,
    SystemEntropy, Tally, Timestamp, Version,
};
use serde_json::json;

use super::{
    Failure, Outcome,
    flags::KeyFlags,
    keys::listed,
    output,
    with_store::{block_on, must_be_shared, open_existing, tell},
};
use crate::{config::Config, store::GivenKeys};

const WHAT_IS_COPIED: &str = "\
Every record is copied with its version, so that entity tags and what guards against a second use stay as they are, and the \
master key stays the same. What was begun goes on where it was. A store that is in use goes on meanwhile: the copy is of one \
moment, and what is written after it is not in it. With --move, servers on FROM answer 503 once most is copied, the rest is \
copied then, and FROM is never served again.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Copy a whole store into an empty one
    Copy(Arguments),
}

#[derive(Args, Debug)]
#[command(after_help = WHAT_IS_COPIED)]
pub(super) struct Arguments {
    /// The store: sqlite:PATH, postgres://…, or config:FILE for that of another configuration file, so that no password is seen
    /// among the arguments
    from: String,
    /// The empty store to fill, or one that an interrupted copy of FROM has begun to fill; named as FROM is
    to: String,
    /// Stop every server from using FROM, for good, so that the copy misses nothing
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
    must_be_shared(&from)?;
    must_be_shared(&to)?;
    if from.store.url == to.store.url {
        return Err(Failure::Usage("both are the same store".to_owned()));
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
            let told = tell(&moved, Action::StoreMove, Some(detail)).await;
            moved.close().await;
            told?;
        }
        arguments.tell(&from, &to, copied)
    })
}

impl Arguments {
    fn tell(&self, from: &Config, to: &Config, copied: Copied) -> Outcome {
        let (from, to) = (from.store.to_string(), to.store.to_string());
        let Copied {
            records,
            written,
            was_complete,
        } = copied;
        let document = json!({
            "from": from,
            "to": to,
            "records": records,
            "written": written,
            "moved": self.is_move,
        });
        let outcome = if was_complete {
            format!("{to} had all {records} records of {from} already, byte for byte")
        } else {
            format!(
                "copied {records} records from {from} to {to} and compared them; {written} times one had to be written"
            )
        };
        let notice = if self.is_move {
            format!("{from} is served no more: serve {to}")
        } else {
            format!("what is written to {from} from now on is not in the copy")
        };
        output::print_either(self.json, &document, &format!("{outcome}\n{notice}"))
    }
}

/// What came of a copy.
struct Copied {
    records: u64,
    /// How often one had to be written.
    written: u64,
    /// Whether the copy was a store already, with all records.
    was_complete: bool,
}

/// Copies what is there; with `is_move` a second time, once nothing is written any more.
async fn copy(
    source: &Store,
    from: &Config,
    to: &Config,
    is_move: bool,
) -> Result<Copied, Failure> {
    let mut snapshot = source.snapshot().await.map_err(Failure::refused)?;
    let missing = missing_keys(&mut *snapshot, from, to).await?;
    into(to, snapshot, missing, async || {
        if is_move {
            source.fence().await.map_err(Failure::refused)?;
            source.snapshot().await.map(Some).map_err(Failure::refused)
        } else {
            Ok(None)
        }
    })
    .await
}

/// Ends a move that was interrupted when nothing was written any more.
async fn end_move(
    found: Box<dyn EngineSnapshot>,
    from: &Config,
    to: &Config,
) -> Result<Copied, Failure> {
    let mut rest = from.store.confirm_fence(found).await?;
    let missing = missing_keys(&mut *rest, from, to).await?;
    let complete = complete_copy(&mut *rest, from, to).await?;
    let what_this_does = if complete.is_some() {
        format!("and {} has all that it had then", to.store)
    } else {
        "which this ends".to_owned()
    };
    output::say(&format!(
        "{} was fenced by a move before, {what_this_does}: let no other copy of it serve",
        from.store
    ));
    let Some(copied) = complete else {
        return into(to, rest, missing, async || Ok(None)).await;
    };
    // Only now: a move that is refused writes no key.
    if let Some(keys) = missing {
        keep_keys(&keys, to)?;
    }
    Ok(copied)
}

/// What `to` has, if it is a store already and has all that the fenced store had, and nothing else: then at most the event of the
/// move is missing. `None` if it is not, or not yet, a store that is called the same.
///
/// Copies are called the same as what they were made of, and have its audit trail. So of one that has anything else nothing says
/// whether it misses something: it may be a copy of an earlier moment.
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
        let mut there = engine.snapshot().await.map_err(Failure::refused)?;
        Ok::<_, Failure>(Some(tally(&mut *there).await?))
    };
    let counted = counted.await;
    engine.close().await;
    let Some(there) = counted? else {
        return Ok(None);
    };
    if tally(rest).await? != there {
        return Err(Failure::Refused(format!(
            "{to} has other records than {from} had when it was fenced: it may be what {from} was moved to, changed since, or a \
             copy that misses some of them, and nothing here says which; nothing was changed",
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

/// Fills a store from a snapshot, and from another one if there is more to come. The keys that are missing are written once
/// nothing refuses it.
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
    let mut records = Records::of(snapshot);
    let next = async || records.next().await.map_err(Failure::refused);
    fill.put(next, |_| ()).await
}

/// Where the record is by which a store knows its master keys.
fn identity_key() -> Key {
    Key::new("$store", ["master_key"])
}

/// Whether a store was filled to its end from one that is named so: until then another record has its place.
pub(super) async fn is_filled(engine: &dyn Engine, identity: Version) -> Result<bool, Failure> {
    let rows = engine.get_many(&[identity_key()], Timestamp::EPOCH).await;
    let row = rows.map_err(Failure::refused)?.pop().flatten();
    Ok(row.is_some_and(|row| row.version == identity))
}

/// All records but that one, as [`Fill`] counts them.
async fn tally(snapshot: &mut dyn EngineSnapshot) -> Result<Tally, Failure> {
    let identity = identity_key();
    let (mut counting, mut last) = (Counting::new(), None);
    loop {
        let page = snapshot.page(last.as_ref(), PAGE_BYTES).await;
        let mut page = page.map_err(Failure::refused)?;
        for (key, row) in page.iter().filter(|(key, _)| *key != identity) {
            counting.add(key, row);
        }
        match page.pop() {
            Some((key, _)) => last = Some(key),
            None => return Ok(counting.finish()),
        }
    }
}

/// What names a store: the version of the record by which it knows its master keys.
async fn identity(snapshot: &mut dyn EngineSnapshot) -> Result<Version, Failure> {
    let place = identity_key();
    let mut last = None;
    loop {
        let page = snapshot.page(last.as_ref(), 1).await;
        let mut page = page.map_err(Failure::refused)?.into_iter();
        match page.next() {
            Some((key, row)) if key == place => return Ok(row.version),
            Some((key, _)) if key < place => last = Some(key),
            _ => {
                let message = "the store that is copied does not say under which master key it is";
                return Err(Failure::Refused(message.to_owned()));
            }
        }
    }
}

/// The master keys that are to be written where those of the copy are looked for; `None` if it has them there.
async fn missing_keys(
    snapshot: &mut dyn EngineSnapshot,
    from: &Config,
    to: &Config,
) -> Result<Option<GivenKeys>, Failure> {
    // Some of it may be under an older key still.
    let needed = Rotation::at(snapshot).await?.needed();
    match to.store.find_keys()? {
        None => {
            let keys = from.store.find_keys()?.ok_or_else(|| {
                Failure::Usage(format!(
                    "there is no master key of {}, which its copy needs",
                    from.store
                ))
            })?;
            to.store.check_key_file()?;
            Ok(Some(keys))
        }
        Some(given) if needed.iter().any(|id| given.get(*id).is_none()) => {
            Err(Failure::Usage(format!(
                "{} is under master key {}, and {} would be under {}: a copy keeps its key",
                from.store,
                listed(&needed),
                to.store,
                listed(&given.ids())
            )))
        }
        Some(_) => Ok(None),
    }
}

/// Keeps the master keys of what a store is being filled with, before any record: none is there that no key opens. Where they
/// cannot be kept, the store is left as it was, or nothing else could fill it.
pub(super) async fn keep_keys_of<'e>(
    fill: Fill<'e>,
    keys: &GivenKeys,
    to: &Config,
) -> Result<Fill<'e>, Failure> {
    let Err(refused) = keep_keys(keys, to) else {
        return Ok(fill);
    };
    if let Err(error) = fill.withdraw().await {
        output::warn(&format!(
            "{} still says that it is being filled: {error}",
            to.store
        ));
    }
    Err(refused)
}

/// Keeps the master keys where those of the copy are looked for.
fn keep_keys(keys: &GivenKeys, to: &Config) -> Outcome {
    let path = to.store.keep_keys(keys)?;
    output::say(&format!("wrote the master key to {}", path.display()));
    Ok(())
}
