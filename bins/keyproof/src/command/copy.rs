//! `keyproof store copy`: a whole store in another engine, to the byte.

use clap::{Args, Subcommand};
use keyproof_store::{Engine, Fill, Records, Store, SystemEntropy};
use serde_json::json;

use super::{
    Failure, Outcome,
    flags::KeyFlags,
    output,
    store::{block_on, failure, must_be_shared, open_existing},
};
use crate::{config::Config, store};

const WHAT_IS_COPIED: &str = "\
Every record is copied with its version, so that entity tags and what guards against a second use stay as they are, and the \
master key stays the same. What was begun goes on where it was. A store that is in use goes on meanwhile: the copy is of one \
moment, and what is written after it is not in it.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Copy a whole store into an empty one
    Copy(Arguments),
}

#[derive(Args, Debug)]
#[command(after_help = WHAT_IS_COPIED)]
pub(super) struct Arguments {
    /// The store: sqlite:PATH or postgres://…
    from: String,
    /// The empty one, or one that a copy of the same store was begun to
    to: String,
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
    if from.store == to.store {
        return Err(Failure::Usage("both are the same store".to_owned()));
    }
    block_on(async {
        let source = open_existing(&from).await?;
        let copied = copy(&source, &from, &to).await;
        source.close().await;
        let (records, written) = copied?;
        let (from, to) = (from.store.to_string(), to.store.to_string());
        if arguments.json {
            output::print_json(
                &json!({ "from": from, "to": to, "records": records, "written": written }),
            )?;
        } else {
            output::print(&format!(
                "copied {records} records from {from} to {to} and compared them; {written} of them had to be written\n\
                 what is written to {from} from now on is not in the copy"
            ))?;
        }
        Ok(())
    })
}

/// How many records there are in the end, and how many had to be written.
async fn copy(source: &Store, from: &Config, to: &Config) -> Result<(u64, u64), Failure> {
    let entropy = SystemEntropy::new();
    let identity = source.identity().await.map_err(Failure::refused)?;
    let identity =
        identity.ok_or_else(|| Failure::Refused(format!("{} has no fingerprint", from.store)))?;
    let key = find_key(from)?
        .ok_or_else(|| Failure::Refused(format!("the master key of {} is gone", from.store)))?;
    let other = find_key(to)?;
    if let Some(other) = other.as_ref().filter(|other| other.id() != key.id()) {
        return Err(Failure::Usage(format!(
            "{} is under master key {}, and {} would be under {}: a copy keeps its key",
            from.store,
            key.id(),
            to.store,
            other.id()
        )));
    }
    if other.is_none() {
        let kept = store::keep_key(&to.store, &to.master_key, &key, &entropy);
        let path = kept.map_err(|error| failure(to, &error))?;
        output::say(&format!("wrote the master key to {}", path.display()));
    }
    let engine = store::open_to_fill(&to.store).await;
    let engine = engine.map_err(|error| failure(to, &error))?;
    let copied = async {
        let name = format!("the store of {identity}");
        let fill = Fill::begin(&*engine, &entropy, &name).await?;
        let snapshot = source.snapshot().await.map_err(Failure::refused)?;
        let mut records = Records::of(snapshot);
        let next = async || records.next().await.map_err(Failure::refused);
        let filled = fill.put(next, |_| ()).await?;
        let written = filled.written;
        Ok((fill.finish(filled).await?.records, written))
    };
    let copied = copied.await;
    Engine::close(&*engine).await;
    copied
}

fn find_key(config: &Config) -> Result<Option<keyproof_store::MasterKey>, Failure> {
    store::find_key(&config.store, &config.master_key).map_err(|error| failure(config, &error))
}
