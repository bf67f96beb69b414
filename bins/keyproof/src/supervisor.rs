//! Notifies systemd (sd_notify(3)) that the server is ready, reloads its files, is alive, and stops.
//!
//! Without a supervisor (`NOTIFY_SOCKET` is unset), notifications do nothing.

use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::{
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};
use tracing::warn;

/// Notifies the supervisor that the server is ready, and from then on that it is alive.
///
/// The watchdog's signal comes from the async runtime, so it stops if the runtime hangs. A store that does not respond
/// is not a reason for a restart; `/readyz` reports it.
pub(crate) struct Supervisor {
    watchdog: Option<AbortHandle>,
}

impl Supervisor {
    /// Notifies that the server is ready.
    pub(crate) fn ready() -> Self {
        send_states(&[NotifyState::Ready]);
        let watchdog = watchdog_enabled().map(|deadline| {
            // sd_watchdog_enabled(3) recommends half of the deadline.
            tokio::spawn(live(deadline / 2)).abort_handle()
        });
        Self { watchdog }
    }

    /// Runs a reload, and notifies its beginning and its end.
    pub(crate) fn reload<T>(&self, reload: impl FnOnce() -> T) -> T {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            send_states(&[NotifyState::Reloading, now]);
        }
        let outcome = reload();
        send_states(&[NotifyState::Ready]);
        outcome
    }

    /// Notifies that the server drains, which takes at most `longest`, so that the supervisor waits long enough. The
    /// watchdog continues until the end.
    pub(crate) fn stopping(&self, longest: Duration) {
        // The library's own state has 32 bits: after 71 minutes, systemd would kill a server that may drain for hours.
        let longest = format!("EXTEND_TIMEOUT_USEC={}", longest.as_micros());
        send_states(&[NotifyState::Stopping, NotifyState::Custom(&longest)]);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.abort();
        }
    }
}

async fn live(period: Duration) {
    let mut ticks = interval(period.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        send_states(&[NotifyState::Watchdog]);
    }
}

fn send_states(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        warn!(%error, "the supervisor cannot be notified");
    }
}
