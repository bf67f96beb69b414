//! `keyproof backup`: the whole store in one encrypted file.

use std::{
    fs::{self, File},
    io::{self, BufReader, ErrorKind, IsTerminal, Write, stdout},
    mem,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use clap::Args;
use keyproof_service::{Clock, SystemClock};
use keyproof_store::{
    EngineSnapshot, MasterKey, Records, Rotation, SystemEntropy, Tally, Timestamp,
    backup::{BackupError, BackupHeader, BackupWriter},
};
use serde_json::json;

use super::{
    Failure, Outcome,
    files::{self, is_same_file, is_shortage},
    flags::{StoreArguments, number},
    keys::listed,
    output,
    terminal::PassphraseSource,
    with_store::with_records_of,
};
use crate::{
    config::Config,
    rfc3339::Rfc3339,
    store::GivenKeys,
    whole_file::{Draft, folder_of},
};

const ABOUT_KEYS: &str = "\
Only the store's master key opens the backup. Keep that key elsewhere, too: without it a backup is lost, and whoever has both \
has the store.";

/// The names of backups in a folder, before and after their time.
const NAME: (&str, &str) = ("keyproof-", ".backup");

#[derive(Args, Debug)]
#[command(after_help = ABOUT_KEYS)]
pub(super) struct Arguments {
    /// The file to write; an older backup there is replaced once the new one is complete, any other file is not; - for standard
    /// output; with --keep, a folder
    file: PathBuf,
    /// Include the master key, encrypted under a passphrase
    #[arg(long)]
    with_master_key: bool,
    /// Name the backup by its time, and remove all but the latest N backups from the folder
    #[arg(
        long,
        value_name = "N",
        value_parser = number("a whole number of backups", NonZeroUsize::MIN, None)
    )]
    keep: Option<NonZeroUsize>,
    #[command(flatten)]
    passphrase: PassphraseSource,
    #[command(flatten)]
    on: StoreArguments,
}

impl Arguments {
    fn is_to_standard_output(&self) -> bool {
        self.file == Path::new("-")
    }

    /// Refuses a place where no backup can be written, before anybody is asked for a passphrase.
    fn check(&self) -> Outcome {
        let refuse = |message: String| Err(Failure::Usage(message));
        if self.passphrase.is_standard_input() && !self.with_master_key {
            return refuse(
                "--stdin is for the passphrase of the master key: use it with --with-master-key"
                    .to_owned(),
            );
        }
        if self.is_to_standard_output() {
            if self.on.json || self.keep.is_some() {
                return refuse(
                    "with -, the backup goes to standard output: --json and --keep cannot be used"
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
            Err(_) => match fs::metadata(folder_of(&self.file)) {
                Err(error) => Err(files::unusable(folder_of(&self.file), &error)),
                Ok(_) => Ok(()),
            },
            Ok(_) => Ok(()),
        }
    }

    /// Refuses to replace a file that the store needs, whether or not it exists yet, and an existing file that is not a
    /// backup.
    fn check_target(&self, config: &Config) -> Outcome {
        if self.is_to_standard_output() || self.keep.is_some() {
            return Ok(());
        }
        let of_the_store = config.store.files();
        let configured = self.on.store.config_file().map(Path::to_owned);
        let mut needed = of_the_store.iter().chain(&configured);
        if needed.any(|file| is_same_file(file, &self.file)) {
            return Err(Failure::Usage(format!(
                "{} is one of the store's own files, its master key or its configuration: name another",
                self.file.display()
            )));
        }
        check_replaced(&self.file)
    }
}

/// Refuses to replace what is neither a backup nor empty, because it may be somebody's only copy. Refuses a dangling
/// link, too, because its target may only be unavailable for now.
fn check_replaced(path: &Path) -> Outcome {
    let unusable = |error: &dyn std::fmt::Display| files::unusable(path, error);
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(unusable(&"it is a dangling link: name another"));
            }
            return Ok(());
        }
        Err(error) => return Err(unusable(&error)),
        Ok(found) if found.len() == 0 => return Ok(()),
        Ok(_) => {}
    }
    let file = File::open(path).map_err(|error| unusable(&error))?;
    match BackupHeader::read(&mut BufReader::new(file)) {
        Err(BackupError::NotABackup) => Err(unusable(
            &"it exists and is not a backup, so it is not replaced: name another",
        )),
        Err(error @ BackupError::Io { .. }) => Err(unusable(&error)),
        // A backup of a later release or a damaged one is still a backup.
        Ok(_) | Err(_) => Ok(()),
    }
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    arguments.check()?;
    let config = arguments.on.store.load()?;
    arguments.check_target(&config)?;
    let passphrase = if arguments.with_master_key {
        Some(arguments.passphrase.read_new()?)
    } else {
        None
    };
    with_records_of(&config, async |store| {
        let keys = config.store.find_keys()?;
        let passphrase = passphrase.as_ref().map(|text| text.as_bytes());
        let made_at = SystemClock.now();
        let snapshot = store.snapshot().await?;
        let making = Making::begin(snapshot, made_at, keys.as_ref(), passphrase).await?;
        if arguments.is_to_standard_output() {
            let written = making.write(stdout().lock()).await.map(drop);
            return written.map_err(|failure| failure.about(Path::new("standard output")));
        }
        let summary = making.summary.clone();
        let path = match arguments.keep {
            None => arguments.file.clone(),
            Some(_) => arguments.file.join(name(summary.made_at)),
        };
        let made = match arguments.keep {
            None => making.write_file(&path).await,
            Some(keep) => making.write_among_others(&path, keep).await,
        };
        let (tally, removed) = made.map_err(|failure| failure.about(&path))?;
        arguments.report(&config, &summary, &path, tally, &removed)
    })
}

impl Arguments {
    fn report(
        &self,
        config: &Config,
        summary: &BackupSummary,
        path: &Path,
        tally: Tally,
        removed: &[PathBuf],
    ) -> Outcome {
        let (store, made_at) = (config.store.to_string(), Rfc3339(summary.made_at));
        let records = tally.records;
        if self.on.json {
            // A path need not be valid Unicode, which JSON cannot express.
            let removed = removed.iter().map(|path| path.display().to_string());
            return output::print_json(&json!({
                "store": store,
                "file": path.display().to_string(),
                "made_at": made_at.to_string(),
                "records": records,
                "master_key": summary.rotation.sealing,
                "has_master_key": self.with_master_key,
                "removed": removed.collect::<Vec<_>>(),
            }));
        }
        output::print(&format!(
            "backed up {} of {store}, as of {made_at}, to {}",
            output::counted(records, "record"),
            path.display()
        ))?;
        for path in removed {
            output::print(&format!("removed {}", path.display()))?;
        }
        let sealing = summary.rotation.sealing;
        output::print(&match (self.with_master_key, &*summary.rotation.needed()) {
            (true, _) => {
                format!("it contains master key {sealing}: restore it with the passphrase")
            }
            (false, [_]) => {
                format!("to restore it, master key {sealing} is needed: keep that elsewhere")
            }
            (false, all) => format!(
                "to restore it, master keys {} are needed: keep them elsewhere",
                listed(all)
            ),
        })
    }
}

/// A backup in progress, of one past moment.
struct Making<'p> {
    snapshot: Box<dyn EngineSnapshot>,
    /// The key that sealed at that moment.
    key: MasterKey,
    /// The passphrase that encrypts that key in the backup.
    passphrase: Option<&'p [u8]>,
    summary: BackupSummary,
}

/// When a backup was made, and the master keys of its store.
#[derive(Clone)]
struct BackupSummary {
    made_at: Timestamp,
    rotation: Rotation,
}

impl<'p> Making<'p> {
    /// The master keys are read from the snapshot, because they may be rotated at any time.
    async fn begin(
        mut snapshot: Box<dyn EngineSnapshot>,
        made_at: Timestamp,
        keys: Option<&GivenKeys>,
        passphrase: Option<&'p [u8]>,
    ) -> Result<Self, Failure> {
        let rotation = Rotation::from_snapshot(&mut *snapshot).await?;
        let key = keys.and_then(|keys| keys.get(rotation.sealing));
        let key = key.cloned().ok_or_else(|| {
            Failure::Refused(format!(
                "master key {}, which seals the store, was not given: add it where the store's keys are read",
                rotation.sealing
            ))
        })?;
        if passphrase.is_some() && !rotation.opening.is_empty() {
            return Err(Failure::Refused(
                "some records are still under an older master key, and a backup contains only one: run keyproof keys rotate finish"
                    .to_owned(),
            ));
        }
        Ok(Self {
            snapshot,
            key,
            passphrase,
            summary: BackupSummary { made_at, rotation },
        })
    }

    async fn write<W: Write>(self, output: W) -> Result<(W, Tally), Failure> {
        let mut records = Records::new(self.snapshot);
        let entropy = SystemEntropy::new();
        let made_at = self.summary.made_at;
        let writer = BackupWriter::new(output, &self.key, self.passphrase, made_at, &entropy);
        let mut writer = writer.map_err(Failure::refused)?;
        while let Some((key, row)) = records.next().await? {
            writer.record(&key, &row).map_err(Failure::refused)?;
        }
        writer.finish().map_err(Failure::refused)
    }

    /// Writes the file, and removes what killed commands have left beside it, if possible. Returns what was removed.
    async fn write_file(self, path: &Path) -> Result<(Tally, Vec<PathBuf>), Failure> {
        // A link stays one, because its target may be on another disk.
        let target = path.is_symlink().then(|| fs::canonicalize(path));
        let target = target.transpose();
        let target = target.map_err(|error| files::unusable(path, &error))?;
        let path = target.as_deref().unwrap_or(path);
        let removed = Draft::remove_abandoned(folder_of(path)).unwrap_or_default();
        let (draft, tally) = self.write(draft(path)?).await?;
        // Another file may have been put there meanwhile.
        check_replaced(path)?;
        draft.replace()?;
        Ok((tally, removed))
    }

    /// Writes the backup into a folder, and removes the excess ones there. Returns what was removed.
    async fn write_among_others(
        self,
        path: &Path,
        keep: NonZeroUsize,
    ) -> Result<(Tally, Vec<PathBuf>), Failure> {
        let folder = folder_of(path);
        // First, to free their space.
        let mut removed = Draft::remove_abandoned(folder)?;
        let (draft, tally) = self.write(draft(path)?).await?;
        draft.replace()?;
        let now = SystemClock.now();
        let mut others = Others::of(path, now)?;
        removed.extend(others.keep(keep)?);
        if let Some(latest) = others.later_than(now) {
            output::print_notice(&format!(
                "{} has a name from the future, and counts as the latest of the others: check the clock, and rename or remove it",
                latest.display()
            ));
        }
        Ok((tally, removed))
    }
}

/// Begins to write beside a backup's place. If that is not possible, the place is wrong.
fn draft(path: &Path) -> Result<Draft, Failure> {
    Draft::of(path).map_err(|error| {
        if is_shortage(&error) {
            error.into()
        } else {
            files::unusable(path, &error)
        }
    })
}

/// Returns a name that sorts by time.
fn name(made_at: Timestamp) -> String {
    let (before, after) = NAME;
    let time: String = Rfc3339(made_at)
        .to_string()
        .chars()
        .filter(|character| !['-', ':', '.'].contains(character))
        .collect();
    format!("{before}{time}{after}")
}

/// Whether a file has the name of a backup in a folder.
fn is_name(name: &str) -> bool {
    let (before, after) = NAME;
    let time = name
        .strip_prefix(before)
        .and_then(|name| name.strip_suffix(after));
    // Such as 20261129T220500123Z.
    time.is_some_and(|time| {
        time.len() == 19
            && time.char_indices().all(|(at, character)| match at {
                8 => character == 'T',
                18 => character == 'Z',
                _ => character.is_ascii_digit(),
            })
    })
}

/// The other backups beside a new one, in the order of their names.
struct Others(Vec<PathBuf>);

impl Others {
    /// Returns the others, except those that were made meanwhile: their own commands clean this folder up. Of two
    /// concurrent commands, the one that began earlier leaves the other's backup alone.
    fn of(new: &Path, now: Timestamp) -> io::Result<Self> {
        let (now, new_name) = (name(now), new.file_name().unwrap_or_default());
        let mut others = Vec::new();
        for entry in fs::read_dir(folder_of(new))? {
            let entry = entry?;
            let name = entry.file_name();
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let is_backup = is_file && name.to_str().is_some_and(is_name);
            let is_of_meanwhile = *name > *new_name && *name <= *now;
            if is_backup && name != new_name && !is_of_meanwhile {
                others.push(entry.path());
            }
        }
        others.sort_unstable();
        Ok(Self(others))
    }

    /// Removes all but the latest, so that `keep` remain with the new one, and returns their paths. The new one remains
    /// whatever the others' names are: a clock may have been ahead.
    fn keep(&mut self, keep: NonZeroUsize) -> io::Result<Vec<PathBuf>> {
        let kept = self.0.len().min(keep.get() - 1);
        let latest = self.0.split_off(self.0.len() - kept);
        let removed = mem::replace(&mut self.0, latest);
        for path in &removed {
            match fs::remove_file(path) {
                // Another command removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done?,
            }
        }
        Ok(removed)
    }

    /// Returns the latest of the others, if its name is later than `now`.
    fn later_than(&self, now: Timestamp) -> Option<&Path> {
        let latest = self.0.last()?;
        (latest.file_name() > Some(name(now).as_ref())).then_some(latest.as_path())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyproof_store::{MasterKeys, Store, memory::MemoryEngine};

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
        let new = folder.path().join(at(3));
        let now = Timestamp::from_secs(1_700_000_003);
        let keep = |count: usize| {
            let mut others = Others::of(&new, now).unwrap();
            others.keep(NonZeroUsize::new(count).unwrap()).unwrap()
        };
        assert_eq!(keep(2), [folder.path().join(at(1))]);
        assert_eq!(keep(2), [""; 0].map(PathBuf::from));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
        assert_eq!(keep(1), [folder.path().join(at(2))]);
        assert!(new.exists());
    }

    /// The situation after a clock that was ahead has been corrected.
    #[test]
    fn the_new_backup_is_kept_although_others_are_called_later() {
        let folder = tempfile::tempdir().unwrap();
        let day = |days: u64| Timestamp::from_secs(1_700_000_000 + 86_400 * days);
        let at = |days: u64| folder.path().join(name(day(days)));
        for days in [365, 366, 367, 0] {
            fs::write(at(days), "x").unwrap();
        }
        let new = at(0);
        let mut others = Others::of(&new, day(1)).unwrap();
        assert_eq!(
            others.keep(NonZeroUsize::new(3).unwrap()).unwrap(),
            [at(365)]
        );
        assert_eq!(others.later_than(day(1)), Some(at(367).as_path()));
        assert_eq!(others.later_than(day(367)), None);
        assert!(new.exists());
        let mut others = Others::of(&new, day(1)).unwrap();
        assert_eq!(others.keep(NonZeroUsize::MIN).unwrap().len(), 2);
        assert_eq!(others.later_than(day(1)), None);
        assert!(new.exists());
    }

    #[test]
    fn of_two_backups_at_once_the_later_stays() {
        let folder = tempfile::tempdir().unwrap();
        let moment = |seconds: u64| Timestamp::from_secs(1_700_000_000 + seconds);
        let [before, first, second] = [0, 10, 20].map(|seconds| {
            let path = folder.path().join(name(moment(seconds)));
            fs::write(&path, "x").unwrap();
            path
        });
        let removed = |new: &Path, now| {
            let mut others = Others::of(new, now).unwrap();
            others.keep(NonZeroUsize::MIN).unwrap()
        };
        assert_eq!(removed(&first, moment(20)), [before]);
        assert_eq!(removed(&second, moment(21)), [first]);
        // The clock was set back meanwhile.
        assert_eq!(removed(&second, moment(0)), [""; 0].map(PathBuf::from));
    }

    /// `keys rotate switch` may run at any time.
    #[tokio::test]
    async fn a_backup_is_under_the_keys_of_its_moment() {
        let entropy = Arc::new(SystemEntropy::new());
        let [old, new] = [(); 2].map(|()| MasterKey::generate(&*entropy));
        let both = MasterKeys::new(&old).with(&new);
        let engine = Arc::new(MemoryEngine::new());
        let store = Store::open(engine, both, entropy, SystemClock.now()).await;
        let store = store.unwrap();
        let moment = async || store.snapshot().await.unwrap();
        let before = moment().await;
        store.prepare_rotation(new.id()).await.unwrap();
        store.switch_key().await.unwrap();
        let between = moment().await;
        store.finish_rotation(|_| ()).await.unwrap();
        let after = moment().await;

        let begin = async |snapshot, key: &MasterKey, passphrase| {
            let keys = GivenKeys::from(key.clone());
            let making = Making::begin(snapshot, Timestamp::EPOCH, Some(&keys), passphrase).await;
            making.map(|making| making.key.id())
        };
        let passphrase = Some(&b"battery staple"[..]);
        assert_eq!(begin(before, &old, passphrase).await.unwrap(), old.id());
        // One key would not open all of it.
        let refused = begin(between, &new, passphrase).await;
        assert!(matches!(refused, Err(Failure::Refused(why)) if why.contains("rotate finish")));
        let refused = begin(after, &old, None).await;
        assert!(
            matches!(refused, Err(Failure::Refused(why)) if why.contains("add it where the store's keys are read"))
        );
        assert_eq!(
            begin(moment().await, &new, passphrase).await.unwrap(),
            new.id()
        );
    }
}
