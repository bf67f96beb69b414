//! Sets the clock of a running server, and the phones' clocks with it, forward and back by an hour.
//!
//! libfaketime does this to the real process: it changes the wall clock, but not the monotonic clock that timers use, as on a
//! machine whose clock is set.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::{
    cluster::Cluster,
    installation::Installation,
    load::{Instance, Load, PASSWORD, User},
    seed::Seed,
};

const HOUR: i64 = 60 * 60;

/// The clocks' offset in seconds. It does not change while a reading is held.
#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<RwLock<i64>>);

/// A clock whose offset cannot change while this exists. Time still passes.
pub(crate) struct Reading(OwnedRwLockReadGuard<i64>);

impl Clock {
    pub(crate) async fn read(&self) -> Reading {
        Reading(Arc::clone(&self.0).read_owned().await)
    }
}

impl Reading {
    /// Returns the seconds since the Unix epoch.
    pub(crate) fn seconds(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs().checked_add_signed(*self.0).unwrap()
    }
}

/// The clock of a process, which is set through a file.
#[derive(Clone)]
pub(crate) struct Faketime {
    library: PathBuf,
    file: PathBuf,
}

impl Faketime {
    pub(crate) fn new(folder: &Path) -> Self {
        // The `faketime` program would share memory under its process id, which a killed process leaves behind.
        let folders = fs::read_dir("/usr/lib").unwrap().map(Result::unwrap);
        let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
        let library = libraries.find(|library| library.exists());
        Self {
            library: library.expect("libfaketime, as Debian's package has it"),
            file: folder.join("faketime"),
        }
    }

    /// Starts servers that read this clock.
    pub(crate) fn serve(&self, installation: Installation, nodes: usize) -> Cluster {
        let faketime = self.clone();
        Cluster::start_by(installation, nodes, move |command| faketime.under(command))
    }

    fn under(&self, mut command: Command) -> Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
        command
    }

    /// Sets both clocks at once.
    pub(crate) async fn set(&self, clock: &Clock, offset: i64) {
        let mut clock = clock.0.write().await;
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{offset:+}\n")).unwrap();
        fs::rename(next, &self.file).unwrap();
        *clock = offset;
    }
}

/// Starts a server on SQLite with clocks that are off by `offset`. Also returns the means to set them.
async fn serve(offset: i64) -> (Cluster, Faketime, Clock) {
    let installation = Installation::on_sqlite();
    let faketime = Faketime::new(installation.folder());
    let clock = Clock::default();
    faketime.set(&clock, offset).await;
    (faketime.serve(installation, 1), faketime, clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_clock_that_is_set() {
    let seed = Seed::of_this_run();
    let mut faults = seed.stream("faults");
    let (cluster, faketime, clock) = serve(-HOUR).await;
    let load = Load::start_by(&clock, &cluster, seed).await;
    let ledger = load.ledger();
    // Codes that were accepted at noon are tried again at noon, after the clock has shown one o'clock.
    for offset in [0, HOUR, 0, -HOUR].into_iter().cycle().take(24) {
        faketime.set(&clock, offset).await;
        ledger
            .acknowledged(ledger.count() + faults.u64(1..60))
            .await;
    }
    let ledger = load.judge(&cluster.installation).await;
    let records = ledger.records();
    let steps = records.things.iter();
    let steps = steps.filter(|(thing, _)| thing.contains("/step "));
    let again = steps.filter(|(_, rounds)| rounds.len() > 1).count();
    assert!(again > 0, "no code was tried again");
}

#[tokio::test]
async fn neither_codes_nor_guesses_come_back_with_the_clock() {
    let (cluster, faketime, clock) = serve(0).await;
    let (installation, fleet) = (&cluster.installation, &cluster.fleet);
    let set = async |offset| faketime.set(&clock, offset).await;
    let user = User::add(installation, fleet, &clock, "ada").await;
    let login = async |password| user.login(password).insist(fleet, 0).await;
    let answer = async |code: &str| {
        let challenge = login(PASSWORD).await.text("mfa_token");
        user.answer(&challenge, code).insist(fleet, 0).await.status
    };
    let shown = async || user.code(clock.read().await.seconds());

    set(60).await;
    let code = shown().await;
    assert_eq!(answer(&code).await, 200);
    for offset in [60, 60 - HOUR, 60, 60 + HOUR, 60] {
        set(offset).await;
        assert_eq!(answer(&code).await, 401, "{offset}");
    }
    // A code of the hour before is rejected too, even if it was never used.
    set(-HOUR).await;
    assert_eq!(answer(&shown().await).await, 401);
    set(120).await;
    assert_eq!(answer(&shown().await).await, 200);

    for _ in 0..3 {
        login("wrong horse").await;
    }
    // The lock lasts 300 seconds, and a few seconds pass between the lines.
    for (offset, is_locked) in [
        (120, true),
        (120 - HOUR, true),
        (120, true),
        (320, true),
        (421, false),
    ] {
        set(offset).await;
        let answer = login(PASSWORD).await;
        let locked = answer.json["error_code"] == 1105;
        assert_eq!(locked, is_locked, "{offset}: {answer:?}");
    }
}

#[tokio::test]
async fn expiry_goes_by_the_clock_as_it_is() {
    let (cluster, faketime, clock) = serve(0).await;
    let (installation, fleet) = (&cluster.installation, &cluster.fleet);
    let set = async |offset| faketime.set(&clock, offset).await;
    let shop = Instance::add(installation, fleet, "shop").await;
    let half_an_hour = 30 * 60 * 1_000_000_u64;
    let token = shop.login(half_an_hour.into()).insist(fleet, 0).await;
    let shop = shop.with_token(token.text("access_token"));
    for (offset, status) in [(0, 200), (HOUR, 401), (-HOUR, 200), (HOUR, 401)] {
        set(offset).await;
        let list = shop.list().insist(fleet, 0).await;
        assert_eq!(list.status, status, "{offset}");
    }
}
