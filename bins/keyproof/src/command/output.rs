//! Standard output and standard error, either of which may be closed.

use std::io::{self, ErrorKind, Write, stderr, stdout};

use serde::Serialize;

/// Prints a line on standard output. A reader that has seen enough is no failure.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints a JSON document on standard output.
pub(super) fn print_json(document: &impl Serialize) -> io::Result<()> {
    print(&serde_json::to_string_pretty(document)?)
}

/// Says on standard error why a command ends.
pub(super) fn complain(message: &str) {
    say(&format!("keyproof: {message}"));
}

/// Prints a line on standard error, if there is one.
pub(super) fn say(text: &str) {
    // There is no one left to tell.
    let _ = writeln!(stderr(), "{text}");
}
