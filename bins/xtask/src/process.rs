//! Runs programs: each command is shown before it runs, and its failure is an error.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use crate::failure::Failure;

/// Returns the cargo that runs this program, so that a run uses one toolchain.
///
/// Removes cargo's variables about this package, because ring is rebuilt whenever they differ.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command.env("PATH", search_path());
    command.envs(test_threads());
    for (name, _) in env::vars_os() {
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if of_package
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Returns the variable for the number of tests that run at once: two for each processor, because many wait for servers and disks.
pub(crate) fn test_threads() -> Option<(&'static str, String)> {
    let is_set = env::var_os(TEST_THREADS).is_some();
    let processors = thread::available_parallelism().ok().filter(|_| !is_set)?;
    Some((TEST_THREADS, (2 * processors.get()).to_string()))
}

const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// Where Debian has ccache under the names of compilers.
const CCACHE: &str = "/usr/lib/ccache";

/// Returns the folders of programs, ccache's first: builds in different folders and with different toolchains compile the same C.
pub(crate) fn search_path() -> OsString {
    let mut folders = OsString::from(CCACHE);
    if let Some(others) = env::var_os("PATH") {
        folders.push(":");
        folders.push(others);
    }
    folders
}

/// Shows the command, runs it to its end, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = status(command)?;
    succeeded(command, status)
}

/// Shows the command, runs it to its end, and returns how it ended.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus, Failure> {
    let line = line(command);
    println!("$ {line}");
    let status = command.stdin(Stdio::null()).status();
    status.map_err(|source| Failure::Start { line, source })
}

fn succeeded(command: &Command, status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    Err(Failure::Command {
        line: line(command),
        status,
    })
}

/// Shows the command and its standard output while it runs, and returns that output. Fails as [`run`] does.
pub(crate) fn echoed(command: &mut Command) -> Result<String, Failure> {
    let mut printed = String::new();
    command.stdout(Stdio::piped());
    watch(
        command,
        |child| child.stdout.take(),
        |written| {
            println!("{written}");
            printed += written;
            printed.push('\n');
        },
    )?;
    Ok(printed)
}

/// Runs tests that are selected by name, as [`run`] does. Also fails if no test ran: libtest reports success if no test
/// has the name.
pub(crate) fn run_named_tests(command: &mut Command) -> Result<(), Failure> {
    match passed(&echoed(command)?) {
        0 => Err(Failure::NoTests {
            line: line(command),
        }),
        _ => Ok(()),
    }
}

/// Returns the number of passed tests, from libtest's reports.
fn passed(printed: &str) -> usize {
    let results = printed.split("test result: ok. ").skip(1);
    let counts = results.filter_map(|rest| rest.split_once(" passed")?.0.parse::<usize>().ok());
    counts.sum()
}

/// Shows the command and runs it to its end, passing on each line that it writes to a pipe. Fails as [`run`] does.
pub(crate) fn watch<R: Read>(
    command: &mut Command,
    pipe: impl FnOnce(&mut Child) -> Option<R>,
    mut each: impl FnMut(&str),
) -> Result<(), Failure> {
    let line = line(command);
    println!("$ {line}");
    let start = |source| Failure::Start {
        line: line.clone(),
        source,
    };
    let mut child = command.stdin(Stdio::null()).spawn().map_err(start)?;
    let written = pipe(&mut child).map(BufReader::new);
    // The output of servers in a test may have any bytes.
    for text in written.into_iter().flat_map(|written| written.split(b'\n')) {
        each(&String::from_utf8_lossy(&text.map_err(start)?));
    }
    succeeded(command, child.wait().map_err(start)?)
}

/// Returns the command's standard output. Fails as [`run`] does.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&bytes(command)?).into_owned())
}

/// Returns the bytes of the command's standard output. Fails as [`run`] does.
pub(crate) fn bytes(command: &mut Command) -> Result<Vec<u8>, Failure> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|source| Failure::Start {
        line: line(command),
        source,
    })?;
    succeeded(command, output.status)?;
    Ok(output.stdout)
}

/// Unpacks a tar archive into a folder.
pub(crate) fn extract(archive: &Path, into: &Path, options: &[&str]) -> Result<(), Failure> {
    run(Command::new("tar")
        .arg("--extract")
        .args(options)
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(into))
}

/// Variables that sudo removes, and that change root's cargo or tests. None is a secret.
const TAKEN_ALONG: [&str; 10] = [
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "KEYPROOF_CUTS",
    "KEYPROOF_FAULT_SEED",
    "KEYPROOF_FIELD_DATA",
    "KEYPROOF_POSTGRES_PROGRAMS",
    "KEYPROOF_SEED",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "SOURCE_DATE_EPOCH",
];

/// Returns a cargo command line for root, with the path, the home, and those of these variables that are passed on.
pub(crate) fn as_root(line: &str, variables: impl Iterator<Item = (OsString, OsString)>) -> String {
    let mut text = "sudo env \"PATH=$PATH\" \"HOME=$HOME\"".to_owned();
    for (name, value) in variables {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        if TAKEN_ALONG.contains(&&*name) {
            text += &format!(" {name}={}", quoted(&value));
        }
    }
    format!("{text} {line}")
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Formats the command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let variables = command.get_envs().filter(|(name, _)| *name != "PATH");
    let variables = variables.filter_map(|(name, value)| {
        let value = quoted(&value?.to_string_lossy());
        Some(format!("{}={value}", name.to_string_lossy()))
    });
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or(&program).to_owned();
    let arguments = command
        .get_args()
        .map(|argument| quoted(&argument.to_string_lossy()));
    variables
        .chain([name])
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_command_reads_as_one_types_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command
            .args(["doc", "--no-deps", "it's"])
            .env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            line(&command),
            r"RUSTDOCFLAGS='-D warnings' cargo doc --no-deps 'it'\''s'"
        );
    }

    #[test]
    fn a_command_for_root_is_run_as_it_is_pasted() {
        let folder = tempfile::tempdir().unwrap();
        symlink("/usr/bin/printenv", folder.path().join("cargo")).unwrap();
        let variables = [
            ("CARGO_HOME", "/it's $here"),
            ("KEYPROOF_KEY", "secret"),
            ("KEYPROOF_POSTGRES_PROGRAMS", "/usr/lib/postgresql/17/bin"),
            ("KEYPROOF_SEED", "7"),
            ("SOURCE_DATE_EPOCH", "0"),
        ];
        let asked = "HOME CARGO_HOME KEYPROOF_POSTGRES_PROGRAMS KEYPROOF_SEED SOURCE_DATE_EPOCH";
        let variables =
            variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let pasted = as_root(&format!("cargo {asked}"), variables.into_iter());
        assert!(!pasted.contains("secret"), "{pasted}");
        let sudo = "sudo() { unset CARGO_HOME; \"$@\"; }";
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("{sudo}\n{pasted}")])
            .env("PATH", path)
            .env("HOME", "/home/ada lovelace");
        assert_eq!(
            output(&mut shell).unwrap(),
            "/home/ada lovelace\n/it's $here\n/usr/lib/postgresql/17/bin\n7\n0\n"
        );
    }

    #[test]
    fn a_command_that_fails_or_is_absent_is_a_failure() {
        assert!(matches!(
            run(&mut Command::new("false")),
            Err(Failure::Command { .. })
        ));
        let absent = &mut Command::new("keyproof-no-such-program");
        assert!(matches!(run(absent), Err(Failure::Start { .. })));
        assert_eq!(output(Command::new("echo").arg("one")).unwrap(), "one\n");
        assert_eq!(echoed(Command::new("echo").arg("one")).unwrap(), "one\n");
        assert!(matches!(
            echoed(&mut Command::new("false")),
            Err(Failure::Command { .. })
        ));
        assert_eq!(status(&mut Command::new("false")).unwrap().code(), Some(1));
    }

    #[test]
    fn tests_of_a_name_that_none_has_are_a_failure() {
        let none =
            "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 9 filtered out\n";
        let some =
            "\nrunning 3 tests\n\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 filtered out\n";
        assert_eq!([none, some, ""].map(passed), [0, 3, 0]);
        assert_eq!(passed(&[some, none, some].concat()), 6);
        let tests = |printed: &str| run_named_tests(Command::new("echo").arg(printed));
        assert!(tests(some).is_ok());
        assert!(matches!(tests(none), Err(Failure::NoTests { .. })));
    }
}
