//! Finds PostgreSQL's programs: Debian installs each version's in a separate folder, off the path.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

const VERSIONS: &str = "/usr/lib/postgresql";

/// The environment variable with the folder of another version's programs.
const PROGRAMS: &str = "KEYPROOF_POSTGRES_PROGRAMS";

/// Returns the folder that the variable names, that of the newest version's programs, or the one on the path.
///
/// # Errors
///
/// If PostgreSQL is not installed.
pub fn folder() -> io::Result<PathBuf> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    let on_path = env::var_os("PATH").unwrap_or_default();
    let mut folders = versions
        .into_iter()
        .rev()
        .map(|(_, folder)| folder)
        .chain(env::split_paths(&on_path));
    let has_all = |folder: &PathBuf| {
        ["createdb", "initdb", "postgres"]
            .iter()
            .all(|name| folder.join(name).is_file())
    };
    if let Some(named) = env::var_os(PROGRAMS) {
        let named = PathBuf::from(named);
        // Another version instead would test something else.
        return has_all(&named).then_some(named).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no PostgreSQL in the folder that {PROGRAMS} names"),
            )
        });
    }
    let found = folders.find(has_all);
    let missing = || {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!(
                "no PostgreSQL: neither below {VERSIONS} nor on the path (`cargo xtask test tools` installs it)"
            ),
        )
    };
    found.ok_or_else(missing)
}

/// Returns the folder of that version's own libraries. Otherwise a standby's receiver would load the system's libpq, which may be
/// too old for the settings that this version's programs write for it.
pub(crate) fn libraries(programs: &Path) -> Option<PathBuf> {
    env::var_os(PROGRAMS)?;
    let libraries = programs.parent()?.join("lib");
    libraries.is_dir().then_some(libraries)
}
