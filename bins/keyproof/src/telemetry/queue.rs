//! The queue of log lines for standard error. Lines are collected in memory and written by a separate thread. So a slow
//! or absent reader of the log does not delay requests, and a line needs no system call of its own.
//!
//! After a pause, a line is written at once. Lines that follow within [`PAUSE`] are written together. Lines beyond
//! [`LIMIT`] are dropped, and their number is logged.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing::warn;

/// The most bytes in the queue.
const LIMIT: usize = 1 << 20;
/// The additional bytes for urgent lines.
const RESERVE: usize = 64 << 10;
/// How long lines are collected.
const PAUSE: Duration = Duration::from_millis(5);

/// The lines to be written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Notified when there are lines to write, or urgent ones.
    arrived: Condvar,
    /// Notified when lines were written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// How many lines were dropped since this was last logged.
    lost: u64,
    /// Whether the thread waits for a first line.
    is_idle: bool,
    /// Whether the thread should write at once.
    is_urgent: bool,
    /// Whether lines are being written.
    is_writing: bool,
}

/// Whether a line needs an operator's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    None,
    Urgent,
}

impl Queue {
    /// Creates a queue, and the thread that writes its lines as long as the process lives.
    pub(super) fn start(sink: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let writer = Arc::clone(&queue);
        thread::Builder::new()
            .name("keyproof-log".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || writer.write_on(sink))?;
        Ok(queue)
    }

    /// Adds a line with its newline. Never waits for the thread.
    pub(super) fn add(&self, line: &[u8], urgency: Urgency) {
        let mut waiting = self.waiting();
        let room = match urgency {
            Urgency::None => LIMIT,
            Urgency::Urgent => LIMIT + RESERVE,
        };
        if waiting.lines.len() + line.len() > room {
            waiting.lost += 1;
            return;
        }
        waiting.lines.extend_from_slice(line);
        waiting.is_urgent |= urgency == Urgency::Urgent;
        if waiting.is_idle || urgency == Urgency::Urgent {
            waiting.is_idle = false;
            // Unlocked first, as the thread would otherwise wake up only to wait for the lock.
            drop(waiting);
            self.arrived.notify_one();
        }
    }

    /// Waits until all lines are written, for `patience` at most.
    pub(super) fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mut waiting = self.waiting();
        while !waiting.lines.is_empty() || waiting.is_writing {
            waiting.is_urgent = true;
            self.arrived.notify_one();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = self.written.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn write_on(&self, mut sink: impl Write) {
        let mut lines = Vec::new();
        loop {
            let lost = self.take(&mut lines);
            // A write error cannot be reported anywhere.
            let _ = sink.write_all(&lines);
            lines.clear();
            // Frees the memory of a burst.
            lines.shrink_to(RESERVE);
            let mut waiting = self.waiting();
            waiting.is_writing = false;
            self.written.notify_all();
            if lost > 0 {
                drop(waiting);
                warn!(lost, "the log was read too slowly: lines are missing");
                continue;
            }
            if !waiting.is_urgent {
                let paused = self
                    .arrived
                    .wait_timeout_while(waiting, PAUSE, |waiting| !waiting.is_urgent);
                drop(paused);
            }
        }
    }

    /// Waits for lines and takes them all. Returns the number of dropped lines.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        let mut waiting = self.waiting();
        while waiting.lines.is_empty() {
            waiting.is_idle = true;
            let woken = self.arrived.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
        waiting.is_idle = false;
        waiting.is_urgent = false;
        waiting.is_writing = true;
        std::mem::swap(&mut waiting.lines, lines);
        std::mem::take(&mut waiting.lost)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // The lock cannot be poisoned, as no code that can panic runs under it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    /// A sink whose writes wait until they are received.
    struct Gate(SyncSender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A queue whose thread waits at each write until the test receives it.
    fn queue() -> (Arc<Queue>, Receiver<Vec<u8>>) {
        let (gate, written) = sync_channel(0);
        (Queue::start(Gate(gate)).unwrap(), written)
    }

    #[test]
    fn lines_are_written_in_their_order_and_whole() {
        let (queue, written) = queue();
        let mut expected = Vec::new();
        for number in 0..1_000 {
            let line = format!("line {number}\n");
            queue.add(line.as_bytes(), Urgency::None);
            expected.extend_from_slice(line.as_bytes());
        }
        let mut found = Vec::new();
        while found.len() < expected.len() {
            found.extend(written.recv().unwrap());
        }
        assert_eq!(found, expected);
        queue.flush(Duration::from_secs(60));
        assert!(queue.waiting().lines.is_empty());
        // Each line wakes the thread, and no line is written twice.
        for line in ["one\n", "two\n", "three\n"] {
            while !queue.waiting().is_idle {
                thread::yield_now();
            }
            queue.add(line.as_bytes(), Urgency::None);
            let found = written.recv_timeout(Duration::from_secs(60));
            assert_eq!(found.unwrap(), line.as_bytes());
        }
    }

    #[test]
    fn nobody_waits_for_a_log_that_is_not_read_and_the_loss_is_counted() {
        let (queue, written) = queue();
        queue.add(b"first\n", Urgency::None);
        // The thread is writing this line until the test receives it.
        while !queue.waiting().is_writing {
            thread::yield_now();
        }
        let line = [b'x'; 1_024];
        for _ in 0..2 * LIMIT / line.len() {
            queue.add(&line, Urgency::None);
        }
        assert!(queue.waiting().lines.len() <= LIMIT);
        let lost = queue.waiting().lost;
        assert!(lost > 0);
        queue.add(b"urgent\n", Urgency::Urgent);
        assert_eq!(
            queue.waiting().lost,
            lost,
            "there is room for what is urgent"
        );
        queue.flush(Duration::from_millis(1));
        let mut found = Vec::new();
        while !found.ends_with(b"urgent\n") {
            found.extend(written.recv().unwrap());
        }
        assert!(found.starts_with(b"first\n"));
        let kept = (found.len() - b"first\nurgent\n".len()) / line.len();
        assert_eq!(kept as u64 + lost, (2 * LIMIT / line.len()) as u64);
        assert_eq!(queue.waiting().lost, 0, "it is told once");
    }

    #[test]
    fn what_is_urgent_has_a_bound_of_its_own() {
        let (queue, written) = queue();
        queue.add(b"first\n", Urgency::None);
        // The thread is writing this line until the end of the test.
        while !queue.waiting().is_writing {
            thread::yield_now();
        }
        let line = [b'x'; 1_024];
        for _ in 0..2 * (LIMIT + RESERVE) / line.len() {
            queue.add(&line, Urgency::Urgent);
        }
        let waiting = queue.waiting().lines.len();
        assert!((LIMIT..=LIMIT + RESERVE).contains(&waiting), "{waiting}");
        assert!(queue.waiting().lost > 0);
        drop(written);
    }

    /// Flushing also waits for the line that is being written.
    #[test]
    fn whoever_flushes_waits_for_the_line_that_is_being_written() {
        let (queue, written) = queue();
        queue.add(b"last words\n", Urgency::None);
        while !queue.waiting().is_writing {
            thread::yield_now();
        }
        assert!(queue.waiting().lines.is_empty());
        let flushing = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.flush(Duration::from_secs(60))
        });
        // A flush that does not wait would have returned by now.
        thread::sleep(Duration::from_millis(50));
        assert!(!flushing.is_finished());
        assert_eq!(written.recv().unwrap(), b"last words\n");
        flushing.join().unwrap();
        assert!(!queue.waiting().is_writing);
    }

    #[test]
    fn a_line_that_cannot_be_written_does_not_end_the_log() {
        struct Failing<W>(Option<io::Error>, W);

        impl<W: Write> Write for Failing<W> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.take().map_or_else(|| self.1.write(bytes), Err)
            }

            fn flush(&mut self) -> io::Result<()> {
                self.1.flush()
            }
        }

        let (gate, written) = sync_channel(1);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let queue = Queue::start(Failing(Some(full), Gate(gate))).unwrap();
        queue.add(b"lost\n", Urgency::None);
        queue.flush(Duration::from_secs(60));
        queue.add(b"written\n", Urgency::None);
        assert_eq!(written.recv().unwrap(), b"written\n");
    }
}
