//! How keyproof measures: contenders take turns in one process, so that other load on the machine affects them alike, and the
//! reported figure is the ratio of their medians. Nothing here fails on a slow machine; the aims are printed beside the figures.

pub mod batches;
pub mod limits;
pub mod load;
pub mod population;
pub mod program;
pub mod reads;
pub mod usage;
pub mod users;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    error::Error,
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// One of several ways to do the same work.
pub struct Contender<'a> {
    name: &'static str,
    run: Box<dyn FnMut(u64) + 'a>,
}

impl<'a> Contender<'a> {
    /// Creates a contender. `run(n)` does the work `n` times.
    pub fn new(name: &'static str, run: impl FnMut(u64) + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }

    /// Creates a contender that does the same work each time. The compiler cannot remove its result.
    pub fn repeating<T>(name: &'static str, mut work: impl FnMut() -> T + 'a) -> Self {
        Self::new(name, move |times| {
            for _ in 0..times {
                black_box(work());
            }
        })
    }
}

/// Runs each contender `times` times per round, in turn, and returns the median nanoseconds of one execution, in the order given.
/// Also prints them.
pub fn medians<const N: usize>(
    mut contenders: [Contender<'_>; N],
    rounds: usize,
    times: u64,
) -> [f64; N] {
    let mut samples: [Vec<f64>; N] = [const { Vec::new() }; N];
    // The first round warms up caches and the clock, and is discarded.
    for round in 0..=rounds {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            let start = Instant::now();
            (contender.run)(times);
            let nanoseconds = start.elapsed().as_nanos() as f64 / times as f64;
            if round > 0 {
                samples.push(nanoseconds);
            }
        }
    }
    let medians = samples.map(median);
    for (contender, median) in contenders.iter().zip(medians) {
        println!("  {:<44} {median:>10.1} ns", contender.name);
    }
    medians
}

/// Returns the middle sample, or NaN if there is none.
pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The aim for a ratio.
#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

/// Prints a ratio beside its aim.
pub fn report(what: &str, ratio: f64, aim: Aim) {
    let (met, words, bound) = match aim {
        Aim::AtLeast(bound) => (ratio >= bound, "at least", bound),
        Aim::AtMost(bound) => (ratio <= bound, "at most", bound),
    };
    let verdict = if met { "met" } else { "MISSED" };
    println!("{what}: {ratio:.2} (aim {words} {bound:.2}: {verdict})");
}

/// Prints the progress of a measurement to standard error. Results go to standard output.
pub fn progress(what: &str, done: usize, of: usize) {
    eprintln!("  … {what} {done} of {of}");
}

/// The error of a measurement.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The result of a measurement.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Measures in a new folder, which is removed afterwards. It is made in `parent`, by default `target/`, which decides which disk is
/// measured.
pub fn in_folder_below(
    parent: Option<PathBuf>,
    name: &str,
    measure: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let parent = parent.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    // There is no `target/` where cargo builds elsewhere.
    fs::create_dir_all(&parent)?;
    let folder = parent
        .canonicalize()?
        .join(format!("bench-{name}-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let outcome = measure(&folder);
    fs::remove_dir_all(&folder)?;
    outcome
}

/// The system's allocator with a counter. A benchmark installs it as its `#[global_allocator]`.
pub struct CountingAllocator;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Returns the number of allocations of `work`, if nothing else runs meanwhile and [`CountingAllocator`] is installed.
pub fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    work();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Prints the number of allocations of `work`, which is one `what`, as [`allocations`] counts them.
pub fn report_allocations<T>(what: &str, work: impl FnOnce() -> T) {
    let allocated = allocations(|| drop(black_box(work())));
    println!("allocations a {what}: {allocated}\n");
}

#[expect(unsafe_code, reason = "the only way to count allocations")]
// SAFETY: every call goes to the system's allocator unchanged, which upholds the contract.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller upholds `alloc`'s contract, which is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout, see `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
