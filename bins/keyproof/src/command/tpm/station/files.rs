//! The files that a station keeps for a device: the attestation key, its certificate, and whether it is active.

use std::{
    fs::{DirBuilder, File, TryLockError},
    io::{self, ErrorKind, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use keyproof_service::{Clock, SystemClock};
use keyproof_store::file;
use keyproof_tpm::{Structure, TpmtPublic};
use serde::{Deserialize, Serialize};

use super::{Device, server::Activation};
use crate::{
    command::{
        Failure,
        files::{unusable, unwritten},
        output,
    },
    config::Sources,
    whole_file::Draft,
};

/// Larger than any file that is written here.
const LONGEST_FILE: usize = 256 * 1024;

/// The TPM2B_PUBLIC of the attestation key, as `tpm2_load -u` reads it.
const PUBLIC: &str = "ak.pub";
/// Its TPM2B_PRIVATE, which only its TPM can use: `tpm2_load -r`.
const PRIVATE: &str = "ak.priv";
/// Its certificate, in PEM.
const CERTIFICATE: &str = "ak.pem";
/// The certificates of the CAs above it, in PEM.
const CHAIN: &str = "chain.pem";
/// The endorsement certificate, in DER.
const EK_CERTIFICATE: &str = "ek.der";
/// The other facts about the device.
const RECORD: &str = "station.json";

/// How long servers' activation tickets are valid, in seconds.
const TICKET_LIFE: u64 = 60 * 60;

/// The folder, which only its owner can use, and only one command at a time.
pub(super) struct Folder {
    path: PathBuf,
    /// Locked until it is closed.
    _lock: File,
}

/// The contents of the folder.
pub(super) struct Kept {
    pub(super) record: Record,
    pub(super) ek_certificate: Vec<u8>,
    pub(super) public: TpmtPublic,
    pub(super) private: Vec<u8>,
}

/// The result of an enrolment.
pub(super) struct Enrolled<'a> {
    pub(super) record: &'a Record,
    pub(super) ek_certificate: &'a [u8],
    pub(super) public: &'a TpmtPublic,
    pub(super) private: &'a [u8],
    pub(super) certificate: &'a str,
    pub(super) chain: &'a str,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Record {
    pub(super) namespace: String,
    pub(super) category: String,
    pub(super) device: Device,
    /// The template of the endorsement key that is the attestation key's parent.
    pub(super) endorsement_key: String,
    pub(super) state: State,
}

/// Whether the server knows that the TPM has opened the credential.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Active,
    Pending {
        #[serde(flatten)]
        activation: Activation,
        /// In seconds since 1970.
        since: u64,
    },
}

impl State {
    pub(super) fn pending(activation: Activation) -> Self {
        Self::Pending {
            activation,
            since: SystemClock.now().as_secs(),
        }
    }

    /// Whether a new ticket is needed from the server.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Active => false,
            Self::Pending { since, .. } => {
                SystemClock.now().as_secs().abs_diff(*since) >= TICKET_LIFE
            }
        }
    }
}

impl Folder {
    /// Opens the named folder, or the one in the platform's state folder. Creates it if it is missing. Waits for another
    /// command that uses it: what that one writes must not be mixed with what this one has read.
    pub(super) fn open(named: Option<&Path>) -> Result<Self, Failure> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => {
                let state = Sources::of_this_process().state_folder();
                let missing =
                    "neither XDG_STATE_HOME nor HOME has an absolute path: name a folder (--state)";
                state
                    .ok_or_else(|| Failure::Usage(missing.to_owned()))?
                    .join("keyproof")
                    .join("station")
            }
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| unwritten(&path, &error))?;
        let lock = locked(&path).map_err(|error| unwritten(&path, &error))?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what an earlier provision has left, if there was one.
    pub(super) fn read(&self) -> Result<Option<Kept>, Failure> {
        let path = self.path.join(RECORD);
        let text = match file::read(&path, LONGEST_FILE) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| unusable(&path, &error))?,
        };
        let record = serde_json::from_slice(&text).map_err(|error| unusable(&path, &error))?;
        let path = self.path.join(PUBLIC);
        let public = TpmtPublic::parse_sized(&self.bytes(PUBLIC)?);
        Ok(Some(Kept {
            record,
            ek_certificate: self.bytes(EK_CERTIFICATE)?,
            public: public.map_err(|error| unusable(&path, &error))?,
            private: self.bytes(PRIVATE)?,
        }))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let path = self.path.join(name);
        let read = file::read(&path, LONGEST_FILE).map_err(|error| unusable(&path, &error))?;
        Ok(read.to_vec())
    }

    /// Writes everything, the record last.
    pub(super) fn write(&self, enrolled: &Enrolled<'_>) -> Result<(), Failure> {
        let Enrolled {
            record,
            ek_certificate,
            public,
            private,
            certificate,
            chain,
        } = enrolled;
        self.put(EK_CERTIFICATE, ek_certificate)?;
        self.put(PUBLIC, &public.to_sized_bytes())?;
        self.put(PRIVATE, private)?;
        self.put(CERTIFICATE, certificate.as_bytes())?;
        self.put(CHAIN, chain.as_bytes())?;
        self.write_record(record)
    }

    pub(super) fn write_record(&self, record: &Record) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(record).map_err(Failure::refused)?;
        self.put(RECORD, &text)
    }

    fn put(&self, name: &str, contents: &[u8]) -> Result<(), Failure> {
        let path = self.path.join(name);
        let written = || -> io::Result<()> {
            let mut draft = Draft::of(&path)?;
            draft.write_all(contents)?;
            draft.replace()
        };
        written().map_err(|error| unwritten(&path, &error))
    }
}

/// Opens a folder and locks it. On a file system that cannot lock folders, such as NFS, it stays unlocked.
fn locked(path: &Path) -> io::Result<File> {
    let folder = File::open(path)?;
    if let Err(TryLockError::WouldBlock) = folder.try_lock() {
        let shown = path.display();
        output::print_notice(&format!(
            "waiting for another `keyproof tpm station` in {shown}"
        ));
        folder.lock()?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn a_folder_is_used_by_one_command_at_a_time() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("station");
        let open = || Folder::open(Some(&path)).unwrap();
        let first = open();
        let other = File::open(&path).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        let (report, order) = mpsc::channel();
        thread::scope(|scope| {
            let waits = report.clone();
            scope.spawn(move || {
                let second = open();
                waits.send("second").unwrap();
                drop(second);
            });
            report.send("first").unwrap();
            drop(first);
        });
        drop(report);
        assert_eq!(order.iter().collect::<Vec<_>>(), ["first", "second"]);
        assert!(other.try_lock().is_ok());
    }
}
