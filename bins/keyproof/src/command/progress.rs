//! The progress of a command that reads a whole store, on a terminal.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use keyproof_store::Store;

use super::output;

/// The progress.
pub(super) struct Progress {
    is_shown: bool,
    /// The approximate number of records, if the store can estimate it.
    of: Option<u64>,
    read: u64,
    shown: Option<Instant>,
}

impl Progress {
    pub(super) async fn over(store: &Store) -> Self {
        let is_shown = stderr().is_terminal();
        let of = if is_shown {
            // Without an estimate, only the count is shown.
            store.estimate().await.ok().flatten()
        } else {
            None
        };
        Self {
            is_shown,
            of,
            read: 0,
            shown: None,
        }
    }

    pub(super) fn show(&mut self, read: u64) {
        const OFTEN: Duration = Duration::from_millis(100);
        self.read = read;
        if self.is_shown && self.shown.is_none_or(|at| at.elapsed() >= OFTEN) {
            self.shown = Some(Instant::now());
            tell_how_far(&drawn(read, self.of), "");
        }
    }

    /// Everything was read: shows the final count.
    pub(super) fn end(mut self) {
        if self.is_shown {
            tell_how_far(&drawn(self.read, self.of.map(|_| self.read)), "\n");
        }
        self.shown = None;
    }
}

impl Drop for Progress {
    /// An error that interrupts is printed on its own line.
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = writeln!(stderr());
        }
    }
}

/// Overwrites the previous progress. A failed write is ignored.
fn tell_how_far(drawn: &str, end: &str) {
    const TO_THE_LINES_END: &str = "\u{1b}[K";
    let _ = write!(stderr(), "\r{drawn}{TO_THE_LINES_END}{end}");
}

/// Formats "read of total". If more was read than estimated, the total is omitted.
fn drawn(read: u64, of: Option<u64>) -> String {
    const WIDTH: u64 = 30;
    let done = |of: u64| usize::try_from(WIDTH.saturating_mul(read).checked_div(of)?).ok();
    let of = of.filter(|of| read <= *of);
    match of.and_then(|of| Some((of, done(of)?))) {
        Some((of, done)) => {
            let records = output::counted(of, "record");
            format!("[{:<30}] {read} of {records}", "#".repeat(done))
        }
        None => output::counted(read, "record"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_drawn_as_its_share_of_what_there_is() {
        for (read, of, bar) in [
            (0, 40, 0),
            (1, 40, 0),
            (20, 40, 15),
            (39, 40, 29),
            (40, 40, 30),
        ] {
            let expected = format!(
                "[{}{}] {read} of {of} records",
                "#".repeat(bar),
                " ".repeat(30 - bar)
            );
            assert_eq!(drawn(read, Some(of)), expected);
        }
        for of in [None, Some(0), Some(40)] {
            assert_eq!(drawn(41, of), "41 records");
        }
        assert_eq!(drawn(0, Some(0)), "0 records");
        assert_eq!(drawn(1, None), "1 record");
        let most = drawn(u64::MAX, Some(u64::MAX));
        assert!(most.ends_with("of 18446744073709551615 records"), "{most}");
    }
}
