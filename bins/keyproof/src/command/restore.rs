//! `keyproof restore`: creates a store from a backup.
//!
//! The backup is read twice: first to its end, so that a truncated or altered one changes nothing, and then into the
//! store.

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, stdin},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use clap::Args;
use keyproof_service::{Action, Clock, Restoring, SystemClock};
use keyproof_store::{
    CommitError, Fill, FillError, KeyId, MasterKey, Rotation, SystemEntropy, Timestamp,
    backup::{BackupError, BackupHeader, BackupReader},
};
use serde_json::{Map, Value, json};

use super::{
    Failure, Outcome,
    files::unusable,
    flags::StoreArguments,
    keys::listed,
    output,
    store::{is_filled, keep_keys_of},
    terminal::PassphraseSource,
    with_store::{block_on, must_be_shared, open_existing, record_event},
};
use crate::{config::Config, rfc3339::Rfc3339, store::GivenKeys};

const WHAT_ENDS: &str = "\
A backup does not show what was used or revoked after it was made. So a restore revokes whatever is valid once or \
until it is revoked: sessions, tokens, challenges, verification codes, trusted devices and recovery codes. Codes of second \
factors are refused up to now. What was changed, revoked or removed since is undone: check passwords, second factors, API keys, \
certificates and users.";

/// What may have been changed, revoked or removed since a backup was made and is restored with it, by its name in JSON.
const AS_THEY_WERE: [&str; 5] = [
    "passwords",
    "second_factors",
    "api_keys",
    "certificates",
    "users",
];

#[derive(Args, Debug)]
#[command(after_help = WHAT_ENDS)]
pub(super) struct Arguments {
    /// The backup's file; - for standard input
    file: PathBuf,
    /// Revoke nothing: only for a store that is known to have stopped before the backup was made
    #[arg(long)]
    unspent: bool,
    #[command(flatten)]
    passphrase: PassphraseSource,
    #[command(flatten)]
    on: StoreArguments,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    if arguments.file == Path::new("-") && arguments.passphrase.is_standard_input() {
        return Err(Failure::Usage(
            "with -, the backup comes from standard input, so the passphrase cannot: leave out --stdin, or name a file"
                .to_owned(),
        ));
    }
    let config = arguments.on.store.load()?;
    must_be_shared(&config)?;
    let mut file = open(&arguments.file)?;
    let head = BackupHeader::read(&mut BufReader::new(&file))
        .map_err(|error| Failure::from(error).about(&arguments.file))?;
    let found = config.store.find_keys()?;
    let key = match &found {
        // If the key is not among them, the backup's reader reports which one it is.
        Some(keys) => keys.get(head.master_key()).unwrap_or(keys.first()).clone(),
        None => arguments.key_of(&head, &config)?,
    };
    let given = found
        .as_ref()
        .map_or_else(|| vec![key.id()], GivenKeys::ids);
    let now = SystemClock.now();
    let theirs = block_on(async { config.store.server_time().await.map_err(Failure::from) })?;
    let restore = |entropy| {
        let restoring = Restoring::new(now, entropy).of_backup_made_at(head.made_at());
        match theirs {
            Some(theirs) => restoring.with_database_clock(theirs),
            None => restoring,
        }
    };

    // Read to its end before anything is written.
    let entropy = SystemEntropy::new();
    let mut backup = Backup::read(&mut file, &key)?;
    let mut restoring = restore(&entropy);
    let mut identity = None;
    while let Some((place, row)) = arguments.next(&mut backup, &mut restoring)? {
        if let Some(named) = Rotation::from_record(&place, &row)? {
            must_have(&named.needed(), &given)?;
            identity = Some(row.version);
        }
    }

    // Before anything is written, while there is a choice.
    let codes_until = head.made_at().max(theirs.unwrap_or(now));
    arguments.warn_of_clocks(&head, now, codes_until);
    block_on(async {
        let engine = config.store.open_to_fill().await?;
        let filled = async {
            if let Some(identity) = identity
                && is_filled(&*engine, identity).await?
            {
                return Err(Failure::Refused(format!(
                    "{} is a store that this backup may be of (the original, a copy or an earlier restore): nothing was changed",
                    config.store
                )));
            }
            let from = format!("the backup {}", head.name());
            let mut fill = Fill::begin(&*engine, &entropy, &from).await?;
            // Only now: a refused restore must not write a key.
            if found.is_none() {
                fill = keep_keys_of(fill, &key.clone().into(), &config).await?;
            }
            let mut backup = Backup::read(&mut file, &key)?;
            let mut restoring = restore(&entropy);
            let next = async || arguments.next(&mut backup, &mut restoring);
            let filled = fill.put(next, |_| ()).await?;
            Ok::<_, Failure>((fill.finish(filled).await?.records, restoring))
        };
        let filled = filled.await;
        engine.close().await;
        let (records, restoring) = filled?;
        let store = open_existing(&config).await?;
        let detail = arguments.detail(&head);
        let told = record_event(&store, Action::StoreRestore, Some(detail)).await;
        store.close().await;
        told?;
        arguments.report(&config, &head, records, now, &restoring)
    })
}

impl Arguments {
    /// Returns the next record as it is to be restored.
    fn next(
        &self,
        backup: &mut Backup<'_>,
        restoring: &mut Restoring<'_>,
    ) -> Result<Option<(keyproof_store::Key, keyproof_store::Row)>, Failure> {
        while let Some((key, row)) = backup.0.next()? {
            if self.unspent {
                return Ok(Some((key, row)));
            }
            if let Some(record) = restoring.record(key, row)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Returns the detail for the audit trail.
    fn detail(&self, head: &BackupHeader) -> String {
        let ended = if self.unspent {
            "nothing was revoked"
        } else {
            "what may have been used since is revoked"
        };
        format!("from a backup of {}: {ended}", Rfc3339(head.made_at()))
    }

    /// Returns the master key that the backup contains.
    fn key_of(&self, head: &BackupHeader, config: &Config) -> Result<MasterKey, Failure> {
        if !head.has_key() {
            let place = config.store.key_file();
            let place = place.map_or_else(
                || format!("where {} looks for its key", config.store),
                |file| format!("at {}", file.display()),
            );
            return Err(Failure::Usage(format!(
                "the backup was made under master key {}, which it does not contain: put that {place}, or name its file \
                 (--master-key FILE)",
                head.master_key(),
            )));
        }
        config.store.check_key_file()?;
        let prompt = format!("Passphrase of master key {}: ", head.master_key());
        let passphrase = self.passphrase.read(&prompt)?;
        Ok(head.open_key(passphrase.as_bytes())?)
    }

    /// Warns that a clock is wrong if the backup is from the future, and of the consequence for codes.
    fn warn_of_clocks(&self, head: &BackupHeader, now: Timestamp, codes_until: Timestamp) {
        if ahead(head, now) == 0 {
            return;
        }
        let consequence = if self.unspent {
            String::new()
        } else {
            format!(
                "; codes of second factors are refused up to {}: if the store is known to have stopped before the backup was \
                 made, restore it with --unspent into another empty one instead",
                Rfc3339(codes_until)
            )
        };
        output::warn(&format!(
            "the backup is from the future: the clock of this machine is wrong, or that of the machine where it was \
             made{consequence}"
        ));
    }

    fn report(
        &self,
        config: &Config,
        head: &BackupHeader,
        records: u64,
        now: Timestamp,
        restoring: &Restoring<'_>,
    ) -> Outcome {
        let (store, made_at) = (config.store.to_string(), Rfc3339(head.made_at()));
        let age = now.saturating_since(head.made_at()).as_secs();
        let ahead = ahead(head, now);
        if self.on.json {
            let ended: Map<String, Value> = restoring
                .ended()
                .iter()
                .map(|(ended, count)| (ended.name().to_owned(), json!(count)))
                .collect();
            return output::print_json(&json!({
                "store": store,
                "records": records,
                "made_at": made_at.to_string(),
                "age_s": age,
                "ahead_s": ahead,
                "master_key": head.master_key(),
                "unspent": self.unspent,
                "ended": ended,
                "as_they_were": AS_THEY_WERE,
            }));
        }
        output::print(&format!(
            "restored {} to {store}, as of {made_at}, {}",
            output::counted(records, "record"),
            if ahead > 0 {
                format!("{} from now", words(ahead))
            } else {
                format!("{} ago", words(age))
            }
        ))?;
        if self.unspent {
            return output::print(
                "nothing was revoked: what was used since the backup was made can be used again",
            );
        }
        for (ended, count) in restoring.ended() {
            output::print(&format!("ended {count:>6}  {ended}"))?;
        }
        output::print(
            "what was changed, revoked, removed or suspended since then is undone: check passwords, second factors, \
             API keys, certificates and users",
        )
    }
}

/// Returns by how many seconds the backup is from the future; 0 if it is not.
fn ahead(head: &BackupHeader, now: Timestamp) -> u64 {
    head.made_at().saturating_since(now).as_secs()
}

/// Refuses a store that could not be opened: during a rotation, some records are still under an older key.
fn must_have(needed: &[KeyId], given: &[KeyId]) -> Outcome {
    if needed.iter().all(|id| given.contains(id)) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "the backup's records are under master keys {}, but only {} would be available: add the others to the key file \
         (store.master_key, --master-key FILE)",
        listed(needed),
        listed(given)
    )))
}

/// Opens the backup as a file that can be read twice.
fn open(path: &Path) -> Result<File, Failure> {
    let unusable = |error: io::Error| unusable(path, &error);
    if path == Path::new("-") {
        return Ok(spooled(&mut stdin().lock())?);
    }
    let mut file = File::open(path).map_err(unusable)?;
    let kind = file.metadata().map_err(unusable)?.file_type();
    if kind.is_dir() {
        return Err(unusable(ErrorKind::IsADirectory.into()));
    }
    if kind.is_fifo() {
        return Ok(spooled(&mut file)?);
    }
    // Any other file that can be read again.
    file.stream_position().map_err(unusable)?;
    Ok(file)
}

/// Copies what can be read only once into a file without a name, which disappears with this process. A backup is
/// encrypted.
fn spooled(input: &mut impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(input, &mut file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// A backup, positioned at its first record.
struct Backup<'f>(BackupReader<BufReader<&'f File>>);

impl<'f> Backup<'f> {
    fn read(file: &'f mut File, key: &MasterKey) -> Result<Self, Failure> {
        file.seek(SeekFrom::Start(0))?;
        let mut input = BufReader::new(&*file);
        let head = BackupHeader::read(&mut input)?;
        Ok(Self(BackupReader::new(&head, input, key)?))
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let remedy = match error {
            BackupError::Altered { .. }
            | BackupError::Truncated { .. }
            | BackupError::Header
            | BackupError::Malformed { .. }
            | BackupError::OutOfOrder { .. }
            | BackupError::Trailing { .. } => {
                "nothing was restored: use another copy of it, or another backup"
            }
            BackupError::MasterKey { .. } => {
                "name the file that has it (store.master_key, --master-key FILE)"
            }
            BackupError::NewerFormat { .. } => {
                "restore with the release that made it, or a later one"
            }
            _ => return Self::refused(error),
        };
        Self::Refused(format!("{error}: {remedy}"))
    }
}

impl From<FillError> for Failure {
    fn from(error: FillError) -> Self {
        let remedy = match error {
            FillError::NotEmpty => {
                "name another; or end what uses it, and move its files away (for a database: create and `keyproof migrate` another)"
            }
            FillError::Other { .. } => {
                "complete that by running the same command again, or fill another, empty store; only the latter if a step of \
                 `keyproof keys rotate` was made since a copy was begun"
            }
            FillError::Overtaken => {
                "let that end; if it does not, stop it and run this again, which continues from there"
            }
            FillError::Commit(CommitError::Conflict { .. }) | FillError::Differs { .. } => {
                "stop whatever else uses it, and run this again, which continues from there"
            }
            _ => return Self::refused(error),
        };
        Self::Refused(format!("{error}: {remedy}"))
    }
}

/// Formats a duration, truncated to its two largest units.
fn words(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_units() {
        for (seconds, expected) in [
            (0, "0 s"),
            (61, "1 min 1 s"),
            (3_600, "1 h 0 min"),
            (90_061, "1 d 1 h"),
        ] {
            assert_eq!(words(seconds), expected);
        }
    }
}
