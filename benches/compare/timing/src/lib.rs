//! Runs a task repeatedly for about a second, and prints the nanoseconds that one run takes.

use std::{
    error::Error,
    time::{Duration, Instant},
};

/// A task that fails does not count.
pub fn run(mut task: impl FnMut() -> Result<(), Box<dyn Error>>) {
    let mut samples = Vec::new();
    let end = Instant::now() + Duration::from_secs(1);
    while samples.len() < 3 || Instant::now() < end {
        let start = Instant::now();
        task().unwrap();
        samples.push(start.elapsed().as_nanos());
    }
    samples.sort_unstable();
    println!("{}", samples[samples.len() / 2]);
}
