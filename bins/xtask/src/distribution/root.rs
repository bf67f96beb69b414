//! Fresh Debian systems, created by mmdebstrap with this machine's apt sources.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    failure::Failure,
    process::{output, run},
    tools::{Program, need_programs},
};

const PROGRAMS: &[Program] = &[
    Program::on_path("mmdebstrap", "mmdebstrap"),
    Program::on_path("dpkg-deb", "dpkg"),
];

/// Unpacks packages and their dependencies into an empty folder without configuring them. Their files are kept.
pub(super) fn extract(packages: &str, into: &Path) -> Result<(), Failure> {
    let include = format!("--include={packages}");
    mmdebstrap(&["--variant=extract", &include, "--skip=cleanup/apt"], into)
}

/// Installs a complete small system.
pub(super) fn install(packages: &str, into: &Path) -> Result<(), Failure> {
    let include = format!("--include={packages}");
    mmdebstrap(&["--variant=minbase", &include], into)
}

fn mmdebstrap(arguments: &[&str], into: &Path) -> Result<(), Failure> {
    need_programs(PROGRAMS)?;
    let mut sources = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        sources.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    sources.retain(|path| {
        let kind = path.extension().unwrap_or_default();
        (kind == "list" || kind == "sources")
            && fs::read_to_string(path).is_ok_and(|text| text.contains("deb"))
    });
    sources.sort();
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = system
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or("stable");
    // This machine's apt options, which may be required to reach the archives.
    let options = env::temp_dir().join(format!("keyproof-apt-{}.conf", std::process::id()));
    let reached = output(Command::new("apt-config").arg("dump"))?;
    let reached: String = reached
        .lines()
        .filter(|line| {
            [
                "Acquire::http",
                "Acquire::https",
                "Acquire::ftp",
                "Acquire::Retries",
            ]
            .iter()
            .any(|name| line.starts_with(name))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&options, reached).map_err(Failure::at(&options))?;
    let done = run(Command::new("mmdebstrap")
        .arg("--quiet")
        .arg("--format=directory")
        .arg(format!("--aptopt={}", options.display()))
        .args(arguments)
        .arg(suite)
        .arg(into)
        .args(sources));
    let _ = fs::remove_file(&options);
    done
}
