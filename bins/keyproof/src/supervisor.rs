//! What systemd is told (sd_notify(3)): that the server is ready, reads its files again, lives, and ends.
//!
//! Where no supervisor listens (`NOTIFY_SOCKET` is absent) nothing is told, and nothing waits for it.

use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::{
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};
use tracing::warn;

/// Tells that the server is ready, and from then on that it lives.
///
/// The sign of life comes from the async runtime: one that has come to a halt gives none. A store that does not answer
/// is no reason for a restart; `/readyz` tells of it.
pub(crate) struct Supervisor {
    watchdog: Option<AbortHandle>,
}

impl Supervisor {
    /// The server answers.
    pub(crate) fn ready() -> Self {
        tell(&[NotifyState::Ready]);
        let watchdog = watchdog_enabled().map(|deadline| {
            // sd_watchdog_enabled(3) recommends half of it.
            tokio::spawn(live(deadline / 2)).abort_handle()
        });
        Self { watchdog }
    }

    /// Reads files again, and then says that this is over.
    pub(crate) fn reload<T>(&self, reload: impl FnOnce() -> T) -> T {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
        let outcome = reload();
        tell(&[NotifyState::Ready]);
        outcome
    }

    /// The server drains, which takes at most so long: where that is more than the supervisor would wait, it waits. It lives
    /// until it has ended.
    pub(crate) fn stopping(&self, longest: Duration) {
        let longest = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
        tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(longest),
        ]);
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
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        warn!(%error, "the supervisor cannot be told");
    }
}
