//! What others on the machine may do with a file that holds secrets.

use std::{
    fs::{self, Metadata},
    path::Path,
};

/// What others may do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing.
    Nobody,
    /// Its group may read it.
    GroupReads,
    /// All may read it.
    Read,
}

/// Others may do more with a file than they should.
pub(crate) struct Exposure {
    /// `read` or `written`.
    pub(crate) access: &'static str,
    /// The file's permission bits.
    pub(crate) mode: u32,
}

impl Exposure {
    /// What is wrong with a file of which others may do this, if anything.
    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata, others: Access) -> Option<Self> {
        let mode = std::os::unix::fs::MetadataExt::mode(metadata) & 0o777;
        if mode & 0o022 != 0 {
            let access = "written";
            return Some(Self { access, mode });
        }
        let kept_from = match others {
            Access::Nobody => 0o044,
            Access::GroupReads => 0o004,
            Access::Read => 0,
        };
        if mode & kept_from != 0 {
            let access = "read";
            return Some(Self { access, mode });
        }
        None
    }

    #[cfg(not(unix))]
    pub(crate) fn of(_: &Metadata, _: Access) -> Option<Self> {
        None
    }

    /// What a warning says of a file, and what mends it, if others may do more than this with it.
    pub(crate) fn of_file(path: &Path, others: Access) -> Option<String> {
        let metadata = fs::metadata(path).ok()?;
        // What is written to a pipe is nobody's to read.
        let exposure = metadata.is_file().then(|| Self::of(&metadata, others));
        let Self { access, mode } = exposure??;
        Some(format!(
            "{} can be {access} by others (mode {mode:03o}): chmod 600 it, or 640 for the service's group",
            path.display()
        ))
    }
}
