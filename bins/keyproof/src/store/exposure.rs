//! Permissions of files that contain secrets.

use std::{
    fmt,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// The access that users other than the owner may have to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// No access.
    Nobody,
    /// The file's group may read it.
    GroupReads,
    /// Everyone may read it.
    Read,
}

/// A file gives others more access than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// `read` or `written`.
    access: &'static str,
    /// The file's permission bits.
    mode: u32,
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { access, mode } = self;
        write!(f, "can be {access} by others (mode {mode:03o})")
    }
}

impl Exposure {
    /// Returns how a file exceeds the allowed access of others, if it does.
    pub(crate) fn of(metadata: &Metadata, others: Access) -> Option<Self> {
        let mode = metadata.mode() & 0o777;
        let kept_from = match others {
            Access::Nobody => 0o044,
            Access::GroupReads => 0o004,
            Access::Read => 0,
        };
        let access = if mode & 0o022 != 0 {
            "written"
        } else if mode & kept_from != 0 {
            "read"
        } else {
            return None;
        };
        Some(Self { access, mode })
    }

    /// Returns a warning, with the remedy, if others have more access to the file than allowed.
    pub(crate) fn of_file(path: &Path, others: Access) -> Option<String> {
        let metadata = fs::metadata(path).ok()?;
        // A pipe's contents cannot be read by others.
        let exposure = metadata.is_file().then(|| Self::of(&metadata, others));
        Some(format!(
            "{} {}: chmod 600 it, or 640 for the service's group",
            path.display(),
            exposure??
        ))
    }
}
