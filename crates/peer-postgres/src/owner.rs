//! The user that the server runs as: PostgreSQL refuses to run as root.

use std::{
    fs, io,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::Command,
};

use rustix::process::geteuid;

#[derive(Debug)]
pub(crate) struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    /// Returns an unprivileged user if we are root: `postgres`, or else `nobody`.
    pub(crate) fn of_server() -> io::Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd")?;
        let found = ["postgres", "nobody"]
            .iter()
            .find_map(|name| users.lines().find_map(|line| Self::parse(line, name)));
        let missing = || io::Error::other("neither a user `postgres` nor `nobody`");
        found.map(Some).ok_or_else(missing)
    }

    pub(crate) fn own(&self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.user), Some(self.group))
    }

    pub(crate) fn runs(&self, command: &mut Command) {
        command.uid(self.user).gid(self.group);
    }

    /// Parses a line of `/etc/passwd` if it is that user's: name, password, user id, group id, and more.
    fn parse(line: &str, name: &str) -> Option<Self> {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        Some(Self {
            user: fields.nth(1)?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    }
}
