//! Memory that was freed goes back to the system. The C library keeps what a burst of requests took for the next one,
//! which may never come.

use std::time::Duration;

/// How often.
const INTERVAL: Duration = Duration::from_secs(10);

/// Gives back what was freed, again and again, for ever.
pub(crate) async fn give_back() {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // It walks the heap, which may take milliseconds; an error is a runtime that ends.
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

/// Other C libraries give back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
