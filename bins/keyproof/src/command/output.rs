//! Standard output and standard error, either of which may be closed.

use std::{
    env,
    fs::{self, File},
    io::{self, ErrorKind, Write, stderr, stdout},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
};

use serde::Serialize;
use serde_json::Value;
use tracing::Level;
use zeroize::Zeroizing;

use super::{Failure, Outcome};
use crate::telemetry;

pub(super) use crate::telemetry::{print_error, printable};

/// Prints a line on standard output. A closed pipe is not a failure.
pub(super) fn print(text: &str) -> Outcome {
    print_on(text)?;
    Ok(())
}

/// Prints a line that somebody must receive: a closed pipe is a failure.
pub(super) fn deliver(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|error| io::Error::new(error.kind(), format!("standard output: {error}")))
}

/// Refuses to create a secret that is shown only once if nobody would see it. If standard output was closed, Rust's runtime
/// has opened /dev/null instead.
pub(super) fn must_be_seen(secret: &str) -> Outcome {
    if is_null()? {
        let message = format!("standard output is /dev/null: the {secret} would be lost");
        return Err(Failure::Usage(message));
    }
    Ok(())
}

fn is_null() -> io::Result<bool> {
    // Without a /dev/null, nothing can be it.
    let Ok(null) = fs::metadata("/dev/null") else {
        return Ok(false);
    };
    let out = File::from(stdout().as_fd().try_clone_to_owned()?).metadata()?;
    Ok(out.file_type().is_char_device() && out.rdev() == null.rdev())
}

/// Prints one of many lines on standard output. Returns false once the pipe is closed.
pub(super) fn print_on(text: &str) -> io::Result<bool> {
    match deliver(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// Formats a count of things, whose plural ends in s: `1 record`, `2 records`.
pub(super) fn counted(count: u64, thing: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{end}")
}

/// Colours a verdict green or red for a terminal. Returns it unchanged for other outputs and if colours are off
/// (https://no-color.org).
pub(super) fn coloured(verdict: &str, good: bool, is_terminal: bool) -> String {
    let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match (is_terminal && !unwanted, good) {
        (false, _) => verdict.to_owned(),
        (true, true) => format!("\u{1b}[32m{verdict}\u{1b}[0m"),
        (true, false) => format!("\u{1b}[31m{verdict}\u{1b}[0m"),
    }
}

/// Prints a JSON document on standard output.
pub(super) fn print_json(document: &impl Serialize) -> Outcome {
    print(&serde_json::to_string_pretty(document).map_err(Failure::refused)?)
}

/// Prints a command's result: a document for programs, or a text for people.
pub(super) fn print_either(json: bool, document: &Value, text: &str) -> Outcome {
    if json {
        print_json(document)
    } else {
        print(text)
    }
}

/// Prints a JSON document that contains secrets on standard output, and wipes the buffer.
pub(super) fn print_secret_json(document: &impl Serialize) -> Outcome {
    // Measured first: a buffer that grows leaves its old contents behind.
    let mut length = Length(0);
    serde_json::to_writer_pretty(&mut length, document).map_err(Failure::refused)?;
    let mut text = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer_pretty(&mut *text, document).map_err(Failure::refused)?;
    print(str::from_utf8(&text).map_err(Failure::refused)?)
}

/// A writer that counts bytes.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints a list page by page, for there may be more than fits into memory: a line an entry, or one JSON document with this
/// member. `next` gives the page behind an entry, an empty one at the end.
pub(super) async fn print_pages<T>(
    member: &str,
    json: bool,
    mut next: impl AsyncFnMut(Option<&T>) -> Result<Vec<T>, Failure>,
    document: impl Fn(&T) -> io::Result<Value>,
    line: impl Fn(&T) -> String,
) -> Outcome {
    // First, so that a list that cannot be read is not the beginning of a document.
    let mut page = next(None).await?;
    if json {
        print(&format!("{{\"{member}\": ["))?;
    }
    let mut separator = "  ";
    while !page.is_empty() {
        for entry in &page {
            let text = if json {
                format!("{separator}{}", document(entry)?)
            } else {
                line(entry)
            };
            if !print_on(&text)? {
                return Ok(());
            }
            separator = ", ";
        }
        let following = next(page.last()).await?;
        page = following;
    }
    if json { print("]}") } else { Ok(()) }
}

/// Prints a warning on standard error.
pub(super) fn warn(message: &str) {
    telemetry::print_line(Level::WARN, &format!("warning: {message}"));
}

/// Prints a line on standard error, if it is open.
pub(super) fn print_notice(text: &str) {
    telemetry::print_line(Level::INFO, text);
}

/// Prints a question on standard error, without a line end.
pub(super) fn ask(question: &str) {
    let mut error = stderr();
    // Somebody who cannot see the question cannot answer it.
    let _ = write!(error, "{question}").and_then(|()| error.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_no_plural() {
        for (count, expected) in [(0, "0 records"), (1, "1 record"), (2, "2 records")] {
            assert_eq!(counted(count, "record"), expected);
        }
    }
}
