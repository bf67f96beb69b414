//! A pseudo-terminal for a command.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
};

use rustix::{
    fs::OFlags,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

/// A pseudo-terminal, as seen from the user's side.
pub(crate) struct Terminal {
    pub(crate) person: File,
    path: String,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let path = ptsname(&person, Vec::new()).unwrap();
        Self {
            person: person.into(),
            path: path.into_string().unwrap(),
        }
    }

    /// Returns the program's side.
    pub(crate) fn end(&self) -> File {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed());
        options.open(&self.path).unwrap()
    }

    /// Returns everything that the user has seen, once no program has the terminal open any more.
    pub(crate) fn seen(mut self) -> String {
        let mut seen = Vec::new();
        // The end is reported as an error.
        let _ = self.person.read_to_end(&mut seen);
        String::from_utf8(seen).unwrap()
    }
}
