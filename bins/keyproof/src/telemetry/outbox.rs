//! An outbox for data that leaves the process besides responses, for a receiver that may be slow or absent. Adding
//! never waits, the queue is bounded, and losses are counted.

use std::{
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus::IntCounter;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{info, warn};

/// How long sending the rest of the queue may take once the server has drained.
pub(crate) const LAST: Duration = Duration::from_secs(2);

/// The size of the queue and the timing of sending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// The most items in the queue, besides those being sent.
    pub(crate) waiting: usize,
    /// The most items sent at once.
    pub(crate) at_once: usize,
    /// The pause after sending fewer than that, for more to arrive.
    pub(crate) pause: Duration,
    /// The timeout for sending.
    pub(crate) patience: Duration,
}

/// The counters of items that were delivered and lost.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    pub(crate) delivered: IntCounter,
    pub(crate) lost: IntCounter,
}

/// Tracks the outcome of each added item.
#[derive(Clone, Debug)]
struct DeliveryTracker {
    counts: Counts,
    /// How many items were added and have no outcome yet.
    open: Arc<AtomicUsize>,
}

impl DeliveryTracker {
    fn add(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    fn close(&self, delivered: usize, lost: usize) {
        self.open.fetch_sub(delivered + lost, Ordering::Relaxed);
        // Exact: a usize has at most 64 bits.
        let exact = |many: usize| u64::try_from(many).unwrap_or(u64::MAX);
        self.counts.delivered.inc_by(exact(delivered));
        self.counts.lost.inc_by(exact(lost));
    }
}

/// Sends items to the receiver.
pub(crate) trait Exporter<T>: Send + 'static {
    /// Why no items arrived.
    type Error: fmt::Display + Send;

    /// Describes the items and the receiver, for the log.
    const WHAT: &'static str;

    /// Sends these items. Returns how many of them the receiver rejected.
    fn export(&mut self, all: Vec<T>) -> impl Future<Output = Result<usize, Self::Error>> + Send;
}

/// The sender's side of the queue. Adding never waits.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    queue: mpsc::Sender<T>,
    tracker: DeliveryTracker,
}

impl<T: Send + 'static> Outbox<T> {
    /// Creates an outbox, and the task that sends its items until it is finished or the runtime ends.
    pub(crate) fn start(
        room: Room,
        exporter: impl Exporter<T>,
        counts: Counts,
    ) -> (Self, Outgoing) {
        let (queue, waiting) = mpsc::channel(room.waiting);
        let (closing, closes) = watch::channel(false);
        let open = Arc::default();
        let tracker = DeliveryTracker { counts, open };
        let task = tokio::spawn(export(room, exporter, waiting, closes, tracker.clone()));
        let outgoing = Outgoing {
            closing,
            task,
            tracker: tracker.clone(),
        };
        (Self { queue, tracker }, outgoing)
    }

    /// Adds an item. It is lost if the queue is full.
    pub(crate) fn add(&self, one: T) {
        self.tracker.add();
        if self.queue.try_send(one).is_err() {
            self.tracker.close(0, 1);
        }
    }
}

/// The task that sends the items. Dropping it aborts the task and loses the queue.
pub(crate) struct Outgoing {
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
    tracker: DeliveryTracker,
}

impl Outgoing {
    /// Closes the queue, and waits up to [`LAST`] until it is sent. The rest is lost. Its number is logged, as the
    /// counters may not be scraped any more.
    pub(crate) async fn finish(mut self) {
        self.closing.send_replace(true);
        if timeout(LAST, &mut self.task).await.is_ok() {
            return;
        }
        self.task.abort();
        let _ = (&mut self.task).await;
        let lost = self.tracker.open.load(Ordering::Relaxed);
        self.tracker.close(0, lost);
        warn!(lost, "not everything was delivered before the shutdown");
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn export<T, C: Exporter<T>>(
    room: Room,
    mut exporter: C,
    mut waiting: mpsc::Receiver<T>,
    mut closes: watch::Receiver<bool>,
    tracker: DeliveryTracker,
) {
    let mut arrives = true;
    let mut leaving = Vec::new();
    loop {
        tokio::select! {
            biased;
            // Items already in the queue are still received.
            () = is_true(&mut closes), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
            received = waiting.recv_many(&mut leaving, room.at_once) => if received == 0 {
                return;
            }
        }
        let many = leaving.len();
        let carried = timeout(room.patience, exporter.export(mem::take(&mut leaving))).await;
        let failed = match carried {
            Ok(Ok(refused)) => {
                let refused = many.min(refused);
                tracker.close(many - refused, refused);
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!(
                "nothing was taken within {} ms",
                room.patience.as_millis()
            )),
        };
        // Logs only when this changes, not on each failure.
        match &failed {
            None if !arrives => info!("{} again", C::WHAT),
            Some(error) if arrives => warn!(error, "no {}: losses are counted", C::WHAT),
            None | Some(_) => {}
        }
        arrives = failed.is_none();
        if !arrives {
            tracker.close(0, many);
        }
        if many < room.at_once && !room.pause.is_zero() {
            tokio::select! {
                () = is_true(&mut closes) => {}
                () = sleep(room.pause) => {}
            }
        }
    }
}

/// Waits until the flag is set; forever if its sender is gone.
async fn is_true(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|value| *value).await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        convert::Infallible,
        sync::{Arc, Mutex},
    };
    use tokio::sync::Semaphore;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// An exporter that sends only what it has permits for.
    #[derive(Clone)]
    struct Gate(Arc<(Semaphore, Mutex<Vec<Vec<u32>>>)>);

    impl Gate {
        fn with(permits: usize) -> Self {
            Self(Arc::new((Semaphore::new(permits), Mutex::default())))
        }

        fn carried(&self) -> Vec<Vec<u32>> {
            self.0.1.lock().unwrap().clone()
        }
    }

    impl Exporter<u32> for Gate {
        type Error = Infallible;

        const WHAT: &'static str = "numbers";

        async fn export(&mut self, all: Vec<u32>) -> Result<usize, Infallible> {
            self.0.0.acquire().await.unwrap().forget();
            let refused = all.iter().filter(|number| **number == 13).count();
            self.0.1.lock().unwrap().push(all);
            Ok(refused)
        }
    }

    fn counts() -> Counts {
        let counter = |name| IntCounter::new(name, "On purpose.").unwrap();
        Counts {
            delivered: counter("delivered"),
            lost: counter("lost"),
        }
    }

    fn room(waiting: usize, patience: Duration) -> Room {
        Room {
            waiting,
            at_once: 3,
            pause: PATIENCE,
            patience,
        }
    }

    #[tokio::test]
    async fn what_waits_leaves_in_its_order_and_all_of_it_at_the_end() {
        let (gate, counts) = (Gate::with(10), counts());
        let (outbox, outgoing) = Outbox::start(room(10, PATIENCE), gate.clone(), counts.clone());
        for number in [1, 2, 3, 4, 13, 6, 7] {
            outbox.add(number);
        }
        // It does not wait for the end of the pause.
        timeout(PATIENCE, outgoing.finish()).await.unwrap();
        assert_eq!(gate.carried(), [vec![1, 2, 3], vec![4, 13, 6], vec![7]]);
        assert_eq!((counts.delivered.get(), counts.lost.get()), (6, 1));
        outbox.add(8);
        assert_eq!(counts.lost.get(), 2, "it is closed");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_reader_that_hangs_and_the_loss_is_counted() {
        let (gate, counts) = (Gate::with(0), counts());
        let (outbox, outgoing) = Outbox::start(room(5, PATIENCE), gate.clone(), counts.clone());
        for number in 0..100 {
            outbox.add(number);
        }
        assert_eq!(counts.lost.get(), 95);
        gate.0.0.add_permits(10);
        timeout(PATIENCE, outgoing.finish()).await.unwrap();
        assert_eq!(gate.carried(), [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!((counts.delivered.get(), counts.lost.get()), (5, 95));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_in_time_is_lost_and_the_end_does_not_wait_for_it() {
        let (gate, counts) = (Gate::with(0), counts());
        let (outbox, outgoing) = Outbox::start(
            room(5, Duration::from_millis(10)),
            gate.clone(),
            counts.clone(),
        );
        outbox.add(1);
        outgoing.finish().await;
        assert_eq!((counts.delivered.get(), counts.lost.get()), (0, 1));

        // Three items are being sent, and one is in the queue.
        let (outbox, outgoing) = Outbox::start(room(5, PATIENCE), gate, counts.clone());
        for number in 1..=4 {
            outbox.add(number);
        }
        outgoing.finish().await;
        assert_eq!((counts.delivered.get(), counts.lost.get()), (0, 5));
    }
}
