//! `keyproof backup`: the whole store in one encrypted file.

use std::{
    fs,
    io::{self, ErrorKind, IsTerminal, Write, stdout},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use clap::Args;
use keyproof_service::{Clock, SystemClock};
use keyproof_store::{
    MasterKey, Records, Store, SystemEntropy, Tally, Timestamp, backup::BackupWriter,
};
use serde_json::json;

use super::{
    Failure, Outcome, flags::StoreFlags, output, store::with_records, terminal::PassphraseSource,
};
use crate::{config::Config, rfc3339::Rfc3339, whole_file::Draft};

const ABOUT_KEYS: &str = "\
The backup opens with the store's master key alone. Keep that elsewhere too: a backup without it is lost, and a backup beside \
it is as good as the store.";

/// What the backups of a folder are called, around their time.
const NAME: (&str, &str) = ("keyproof-", ".backup");

#[derive(Args, Debug)]
#[command(after_help = ABOUT_KEYS)]
pub(super) struct Arguments {
    /// The file to write, replaced only once the backup is complete; - for standard output; with --keep, a folder
    file: PathBuf,
    /// Include the master key, encrypted under a passphrase
    #[arg(long)]
    with_master_key: bool,
    /// Name the backup by its time, and remove all but the latest N from the folder
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroUsize>,
    #[command(flatten)]
    passphrase: PassphraseSource,
    #[command(flatten)]
    store: StoreFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn is_to_standard_output(&self) -> bool {
        self.file == Path::new("-")
    }

    /// Refuses, before anybody is asked for a passphrase, a place where no backup can be written.
    fn check(&self) -> Outcome {
        let refuse = |message: String| Err(Failure::Usage(message));
        if self.is_to_standard_output() {
            if self.json || self.keep.is_some() {
                return refuse(
                    "with -, the backup goes to standard output: --json and --keep cannot be given"
                        .to_owned(),
                );
            }
            if stdout().is_terminal() {
                return refuse("a backup cannot be written to a terminal".to_owned());
            }
            return Ok(());
        }
        let shown = self.file.display();
        match fs::metadata(&self.file) {
            Ok(found) if self.keep.is_some() && !found.is_dir() => {
                refuse(format!("{shown} is not a folder, as --keep needs it"))
            }
            Ok(found) if self.keep.is_none() && !found.is_file() => {
                refuse(format!("{shown} exists and is not a file"))
            }
            Err(error) if error.kind() != ErrorKind::NotFound || self.keep.is_some() => {
                refuse(format!("{shown}: {error}"))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    arguments.check()?;
    let passphrase = match arguments.with_master_key {
        true => Some(arguments.passphrase.read_new()?),
        false => None,
    };
    with_records(&arguments.store, async |store, config| {
        let keys = config.store.find_keys()?;
        let key = keys.as_ref().and_then(|keys| keys.get(store.sealing_key()));
        let key = key.ok_or_else(|| {
            Failure::Refused(format!(
                "master key {}, which seals the store, is gone from where it was read a moment ago: put it back",
                store.sealing_key()
            ))
        })?;
        let rotation = store.rotation().await?;
        if arguments.with_master_key && !rotation.opening.is_empty() {
            return Err(Failure::Refused(
                "some of the store is under an older master key still, and one key goes along: keyproof keys rotate finish"
                    .to_owned(),
            ));
        }
        let making = Making {
            store,
            key,
            passphrase: passphrase.as_ref().map(|text| text.as_bytes()),
            made_at: SystemClock.now(),
        };
        if arguments.is_to_standard_output() {
            return making.write(stdout().lock()).await.map(drop);
        }
        let path = match arguments.keep {
            None => arguments.file.clone(),
            Some(_) => arguments.file.join(name(making.made_at)),
        };
        let mut removed = match arguments.keep {
            None => Vec::new(),
            // First, for the room that they take.
            Some(_) => Draft::remove_abandoned(&arguments.file)?,
        };
        let tally = making.write_file(&path).await.map_err(|failure| {
            let at = path.display();
            match failure {
                Failure::Refused(message) => Failure::Refused(format!("{at}: {message}")),
                other => other,
            }
        })?;
        if let Some(keep) = arguments.keep {
            removed.extend(remove_older(&arguments.file, keep)?);
        }
        arguments.tell(config, &making, &path, tally, &removed)
    })
}

impl Arguments {
    fn tell(
        &self,
        config: &Config,
        making: &Making<'_>,
        path: &Path,
        tally: Tally,
        removed: &[PathBuf],
    ) -> Outcome {
        let (store, made_at) = (config.store.to_string(), Rfc3339(making.made_at));
        let records = tally.records;
        if self.json {
            output::print_json(&json!({
                "store": store,
                "file": path,
                "made_at": made_at.to_string(),
                "records": records,
                "master_key": making.key.id(),
                "has_master_key": self.with_master_key,
                "removed": removed,
            }))?;
            return Ok(());
        }
        output::print(&format!(
            "backed up {records} records of {store}, as they were at {made_at}, to {}",
            path.display()
        ))?;
        for path in removed {
            output::print(&format!("removed {}", path.display()))?;
        }
        let key = making.key.id();
        output::print(&match self.with_master_key {
            true => format!("master key {key} goes along: restore it with the passphrase"),
            false => format!("to restore it, master key {key} is needed: keep that elsewhere"),
        })?;
        Ok(())
    }
}

struct Making<'m> {
    store: &'m Store,
    key: &'m MasterKey,
    passphrase: Option<&'m [u8]>,
    made_at: Timestamp,
}

impl Making<'_> {
    async fn write<W: Write>(&self, output: W) -> Result<(W, Tally), Failure> {
        let snapshot = self.store.snapshot().await.map_err(Failure::refused)?;
        let mut records = Records::of(snapshot);
        let entropy = SystemEntropy::new();
        let writer = BackupWriter::new(output, self.key, self.passphrase, self.made_at, &entropy);
        let mut writer = writer.map_err(Failure::refused)?;
        while let Some((key, row)) = records.next().await.map_err(Failure::refused)? {
            writer.record(&key, &row).map_err(Failure::refused)?;
        }
        writer.finish().map_err(Failure::refused)
    }

    async fn write_file(&self, path: &Path) -> Result<Tally, Failure> {
        let (draft, tally) = self.write(Draft::of(path)?).await?;
        draft.replace()?;
        Ok(tally)
    }
}

/// Sorts as the time does.
fn name(made_at: Timestamp) -> String {
    let (before, after) = NAME;
    let time: String = Rfc3339(made_at)
        .to_string()
        .chars()
        .filter(|character| !['-', ':', '.'].contains(character))
        .collect();
    format!("{before}{time}{after}")
}

/// Whether a file is called as backups of a folder are.
fn is_name(name: &str) -> bool {
    let (before, after) = NAME;
    let time = name
        .strip_prefix(before)
        .and_then(|name| name.strip_suffix(after));
    // As in 20261129T220500123Z.
    time.is_some_and(|time| {
        time.len() == 19
            && time.char_indices().all(|(at, character)| match at {
                8 => character == 'T',
                18 => character == 'Z',
                _ => character.is_ascii_digit(),
            })
    })
}

/// Removes the backups of a folder but for the latest, and names them.
fn remove_older(folder: &Path, keep: NonZeroUsize) -> io::Result<Vec<PathBuf>> {
    let mut backups = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(is_name) && entry.file_type()?.is_file() {
            backups.push(entry.path());
        }
    }
    backups.sort_unstable();
    backups.truncate(backups.len().saturating_sub(keep.get()));
    for path in &backups {
        fs::remove_file(path)?;
    }
    Ok(backups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_backups_are_kept_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let at = |seconds: u64| name(Timestamp::from_secs(1_700_000_000 + seconds));
        assert_eq!(at(0), "keyproof-20231114T221320000Z.backup");
        let others = [
            "keyproof.backup",
            "keyproof-20231114T221320000Z.backup.gpg",
            "keyproof-2023-1114T22132000Z.backup",
        ];
        for file in others
            .map(str::to_owned)
            .into_iter()
            .chain([at(3), at(1), at(2)])
        {
            fs::write(folder.path().join(file), "x").unwrap();
        }
        let keep = NonZeroUsize::new(2).unwrap();
        assert_eq!(
            remove_older(folder.path(), keep).unwrap(),
            [folder.path().join(at(1))]
        );
        assert_eq!(
            remove_older(folder.path(), keep).unwrap(),
            [""; 0].map(PathBuf::from)
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
    }
}
