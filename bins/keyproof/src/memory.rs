//! Returns freed memory to the system. The C library keeps what a burst of requests used for the next one, which may
//! never come.

use std::time::Duration;

/// The interval.
const INTERVAL: Duration = Duration::from_secs(10);

/// Returns freed memory periodically, for ever.
pub(crate) async fn trim_periodically() {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Trimming walks the heap, which may take milliseconds. An error means that the runtime is shutting down.
        let _ = tokio::task::spawn_blocking(trim).await;
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    #[expect(unsafe_code, reason = "no safe wrapper of malloc_trim(3) is known")]
    // SAFETY: it takes no pointer, and may be called from any thread at any time (MT-Safe in malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries return memory by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
