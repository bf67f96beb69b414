//! Compares the duration of the hot operations in stores of ten thousand, a hundred thousand and a million records.
//!
//! `cargo xtask bench growth [-- --postgres] [--records 10000,…] [--folder FOLDER]`; the folder, by default one below
//! `target/`, decides which disk is measured. Ten million records take SQLite a quarter of an hour and 8 GB.
//!
//! Each store is filled by the use cases (`population`). Its organisations, instances and provisioning services have a fixed size,
//! and a larger store has more of them. Then one new process per store does a turn of each operation, with one caller, spread over
//! the whole store. The processes take turns, so that other load on the machine affects them alike. A login's second step includes
//! its durable commit; a page of users is one of an organisation of 50; a page of the audit trail has the latest 50 events. Memory
//! is the resident set of the process after its last turn.

use std::{
    collections::BTreeMap,
    env, fs, io,
    io::{BufRead, BufReader, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use keyproof_auth::operator::AccessLevel;
use keyproof_benches::{
    Aim, Result, in_folder_below,
    population::{self, District, Founder, QUEUE, START},
    report, usage,
    users::{self, STEP, origin, password_of, sent},
};
use keyproof_peer_postgres::{Postgres, programs_folder};
use keyproof_service::{
    Action, Audit, Clock, ManualClock, Principal, Service,
    accounts::{FirstStep, Sort, SortKey, UserQuery},
    audit::Search,
    certificates::Precondition,
    otp_devices::{Caller, Moment, Reading},
};
use keyproof_store::{
    Engine, MasterKey, MasterKeys, Prefix, Store, SystemEntropy, Timestamp,
    postgres::{PostgresEngine, PostgresOptions, PostgresUrl},
    sqlite::{SqliteEngine, SqliteOptions},
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

/// Districts that are made concurrently.
const AT_ONCE: usize = 8;
/// The maximum number of districts that measurements use.
const SAMPLE: usize = 2_000;
/// Records per page when they are counted.
const PAGE: usize = 10_000;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    part: Option<Part>,
    /// The sizes of the stores in records, smallest first
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    records: Vec<usize>,
    /// Also measures PostgreSQL, on a temporary server
    #[arg(long)]
    postgres: bool,
    /// Where the SQLite files are made
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The number of turns for each store
    #[arg(long, default_value_t = 10)]
    turns: usize,
    /// The number of times that each operation is done in a turn
    #[arg(long, default_value_t = 200)]
    times: usize,
    /// Two small stores and two short turns, to test that it runs
    #[arg(long, conflicts_with_all = ["records", "turns", "times"])]
    smoke: bool,
}

/// The part of a worker process for one store.
#[derive(Subcommand)]
enum Part {
    /// Fills the store
    #[command(hide = true)]
    Fill {
        store: String,
        records: usize,
        sample: PathBuf,
    },
    /// Does a turn for each line of standard input
    #[command(hide = true)]
    Measure {
        store: String,
        sample: PathBuf,
        times: usize,
    },
}

/// What the measurements need to know of a filled store.
#[derive(Serialize, Deserialize)]
struct Sample {
    records: usize,
    operator: String,
    now: u64,
    districts: Vec<District>,
}

/// The durations of a turn in nanoseconds, by operation.
#[derive(Default, Serialize, Deserialize)]
struct Turn {
    times: BTreeMap<String, Vec<u64>>,
    /// Resident memory after the turn, in bytes.
    resident: u64,
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    let runtime = Runtime::new()?;
    match &options.part {
        Some(Part::Fill {
            store,
            records,
            sample,
        }) => return runtime.block_on(fill(store, *records, sample)),
        Some(Part::Measure {
            store,
            sample,
            times,
        }) => return measure(&runtime, store, sample, *times),
        None => {}
    }
    if options.smoke {
        (options.records, options.turns, options.times) = (vec![500, 1_500], 2, 5);
    }
    println!("cores: {}", std::thread::available_parallelism()?);
    in_folder_below(options.folder.clone(), "growth", |folder| {
        println!("folder: {}", folder.display());
        let url = |records| -> Result<String> {
            Ok(format!("sqlite:{}", sqlite_file(folder, records).display()))
        };
        let size = |records| sqlite_size(&sqlite_file(folder, records));
        compare("SQLite", &options, folder, url, size)?;
        if options.postgres {
            let server = Postgres::start()?;
            let mut urls = BTreeMap::new();
            for records in &options.records {
                urls.insert(*records, server.database()?);
            }
            let url = |records: usize| -> Result<String> {
                Ok(urls.get(&records).ok_or("no database")?.clone())
            };
            let size = |records: usize| -> Result<u64> { database_size(&url(records)?) };
            compare("PostgreSQL", &options, folder, url, size)?;
        }
        Ok(())
    })
}

fn sqlite_file(folder: &Path, records: usize) -> PathBuf {
    folder.join(format!("{records}.db"))
}

/// Fills a store of each size and measures them in turns.
fn compare(
    engine: &str,
    options: &Options,
    folder: &Path,
    url: impl Fn(usize) -> Result<String>,
    size: impl Fn(usize) -> Result<u64>,
) -> Result<()> {
    let mut workers = Vec::new();
    for records in &options.records {
        let store = url(*records)?;
        let sample = folder.join(format!("{engine}-{records}.json"));
        let start = Instant::now();
        let filled = program()?
            .args(["fill", &store, &records.to_string()])
            .arg(&sample)
            .status()?;
        if !filled.success() {
            return Err("a store was not filled".into());
        }
        let found: Sample = serde_json::from_slice(&fs::read(&sample)?)?;
        println!(
            "{engine}, {} records: {:.1} MB, filled at {:.0} a second",
            found.records,
            size(*records)? as f64 / 1e6,
            found.records as f64 / start.elapsed().as_secs_f64()
        );
        let worker = Worker::start(&store, &sample, options.times)?;
        workers.push((found.records, worker));
    }
    let mut totals: Vec<Turn> = workers.iter().map(|_| Turn::default()).collect();
    // The first turn warms caches, and is discarded.
    for turn in 0..=options.turns {
        for ((_, worker), total) in workers.iter_mut().zip(&mut totals) {
            let took = worker.turn()?;
            if turn > 0 {
                total.add(took);
            }
        }
    }
    let mut first: Option<(usize, Turn)> = None;
    for ((records, _), mut turn) in workers.into_iter().zip(totals) {
        println!("{engine}, {records} records");
        for (what, times) in &mut turn.times {
            times.sort_unstable();
            let [p50, p99] = [0.5, 0.99].map(|share| at(times, share) / 1e3);
            println!("  {what:<32} p50 {p50:>9.1} us  p99 {p99:>9.1} us");
        }
        let resident = turn.resident as f64;
        println!("  {:<32} {:>13.1} MB", "resident memory", resident / 1e6);
        let Some((least, of)) = &first else {
            first = Some((records, turn));
            continue;
        };
        for (what, times) in &turn.times {
            let least_times = of.times.get(what).map(Vec::as_slice).unwrap_or_default();
            for (name, share, bound) in [("p50", 0.5, 1.5), ("p99", 0.99, 3.0)] {
                report(
                    &format!("  {what}, {name}, of that at {least}"),
                    at(times, share) / at(least_times, share),
                    Aim::AtMost(bound),
                );
            }
        }
        report(
            &format!("  resident memory, of that at {least}"),
            resident / of.resident as f64,
            Aim::AtMost(1.5),
        );
    }
    Ok(())
}

/// Returns the quantile `share` of the sorted times.
fn at(times: &[u64], share: f64) -> f64 {
    let index = (times.len() as f64 * share) as usize;
    times.get(index).map_or(f64::NAN, |time| *time as f64)
}

impl Turn {
    fn add(&mut self, other: Self) {
        for (what, times) in other.times {
            self.times.entry(what).or_default().extend(times);
        }
        self.resident = other.resident;
    }
}

fn program() -> Result<Command> {
    Ok(Command::new(env::current_exe()?))
}

/// Returns the size in bytes, including the log that is not yet in the file.
fn sqlite_size(file: &Path) -> Result<u64> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let log = fs::metadata(log).map_or(0, |log| log.len());
    Ok(fs::metadata(file)?.len() + log)
}

/// Returns the size in bytes.
fn database_size(url: &str) -> Result<u64> {
    let psql = Command::new(programs_folder()?.join("psql"))
        .args(["-XAtq", "-c", "SELECT pg_database_size(current_database())"])
        .arg(url)
        .output()?;
    Ok(String::from_utf8(psql.stdout)?.trim().parse()?)
}

/// A process that measures one store.
struct Worker {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start(store: &str, sample: &Path, times: usize) -> Result<Self> {
        let mut child = program()?
            .args(["measure", store])
            .arg(sample)
            .arg(times.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().ok_or("no standard input")?;
        let answers = child.stdout.take().ok_or("no standard output")?;
        Ok(Self {
            child,
            orders,
            answers: BufReader::new(answers),
        })
    }

    fn turn(&mut self) -> Result<Turn> {
        self.orders.write_all(b"\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Already ended, if a turn failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn open(url: &str, now: Timestamp) -> Result<Store> {
    let engine: Arc<dyn Engine> = match url.strip_prefix("sqlite:") {
        Some(path) => Arc::new(SqliteEngine::open(path, &SqliteOptions::default())?),
        None => {
            let (url, options): (PostgresUrl, _) = (url.parse()?, PostgresOptions::default());
            PostgresEngine::migrate(&url, &options).await?;
            Arc::new(PostgresEngine::open(&url, &options).await?)
        }
    };
    let keys = MasterKeys::new(&MasterKey::from_bytes(&[7; 32]).ok_or("no key")?);
    Ok(Store::open(engine, keys, Arc::new(SystemEntropy::new()), now).await?)
}

/// Makes districts until the store has this number of records.
async fn fill(url: &str, records: usize, sample: &Path) -> Result<()> {
    let clock = Arc::new(ManualClock::new(START));
    let store = open(url, START).await?;
    let founder = Arc::new(Founder::start(store.clone(), clock.clone()).await?);
    let mut progress = Progress::start(records);
    let (mut count, mut made) = (0, 0);
    let mut districts: Vec<District> = Vec::new();
    let mut every = 1;
    while count < records {
        let each = count.checked_div(made).unwrap_or(records);
        let missing = (records - count).div_ceil(each);
        let founded = founder.found(made, missing.min(AT_ONCE)).await?;
        made += founded.len();
        districts.extend(founded.into_iter().filter(|one| one.number % every == 0));
        if districts.len() > SAMPLE {
            every *= 2;
            districts.retain(|one| one.number % every == 0);
        }
        // The number of records per district is counted once, and all records again at the end.
        if count == 0 || missing <= AT_ONCE {
            founder.clean_up().await?;
            count = count_of(&store, clock.now()).await?;
        } else {
            count += each * AT_ONCE;
        }
        progress.tell(count);
    }
    progress.end();
    let filled = Sample {
        records: count,
        operator: founder.operator().to_owned(),
        now: clock.now().as_secs(),
        districts,
    };
    fs::write(sample, serde_json::to_vec(&filled)?)?;
    store.close().await;
    Ok(())
}

/// Returns the number of stored records.
async fn count_of(store: &Store, now: Timestamp) -> Result<usize> {
    let (all, mut count, mut after) = (Prefix::all(), 0, None);
    loop {
        let page = store.scan_raw(&all, after.as_ref(), PAGE, now).await?;
        count += page.len();
        match page.last() {
            Some(last) => after = Some(last.key().clone()),
            None => return Ok(count),
        }
    }
}

/// Does turns as long as they are requested.
fn measure(runtime: &Runtime, url: &str, sample: &Path, times: usize) -> Result<()> {
    let sample: Sample = serde_json::from_slice(&fs::read(sample)?)?;
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(sample.now)));
    let store = runtime.block_on(open(url, clock.now()))?;
    let service = runtime.block_on(users::service(store.clone(), clock.clone(), QUEUE))?;
    let mut site = Site {
        service,
        clock,
        sample,
        done: 0,
    };
    for line in io::stdin().lock().lines() {
        line?;
        let mut turn = Turn::default();
        for _ in 0..times {
            runtime.block_on(site.once(&mut turn.times))?;
        }
        turn.resident = usage::resident_kib("self")? * 1024;
        println!("{}", serde_json::to_string(&turn)?);
    }
    runtime.block_on(store.close());
    Ok(())
}

/// A store's use cases, and where to look.
struct Site {
    service: Arc<Service>,
    clock: Arc<ManualClock>,
    sample: Sample,
    done: usize,
}

impl Site {
    /// Does each operation once, in the district that was used longest ago.
    async fn once(&mut self, times: &mut BTreeMap<String, Vec<u64>>) -> Result<()> {
        let Self {
            service,
            clock,
            sample,
            done,
        } = self;
        let count = sample.districts.len();
        if *done % count == 0 {
            // A user's code is accepted only once.
            clock.advance(STEP);
        }
        // Steps by a prime that does not divide the number of districts.
        let place = done.wrapping_mul(7_919) % count;
        let district = sample.districts.get(place).ok_or("no district")?;
        let anonymous = origin(Principal::Anonymous);
        *done += 1;
        let mut took = |what: &str, start: Instant| {
            let time = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            times.entry(what.to_owned()).or_default().push(time);
        };

        let (instance, device) = (district.instance(), population::device(*done));
        let start = Instant::now();
        let devices = &service.otp_devices;
        let caller: Caller<Reading> = devices
            .permit(&instance, Some(&district.token), Some(&device), &anonymous)
            .await?;
        let now = Moment {
            at: None,
            price: None,
        };
        devices.device(&caller, sent(now))?;
        took("read of a device", start);

        let (name, hub) = (
            population::certificate(*done),
            district.provisioning_service(),
        );
        let start = Instant::now();
        let operator = service.access.authenticate(&sample.operator).await?;
        let act = Action::CertificateGet;
        let certificates = &service.certificates;
        let caller = certificates
            .permit(&operator, act, hub, &name, &anonymous)
            .await?;
        certificates
            .get(&caller, &name, &Precondition::Missing)
            .await?;
        took("read of a certificate", start);

        let accounts = &service.accounts;
        let step = accounts.login(password_of(&district.user), &anonymous);
        let FirstStep::Challenged(token) = step.await? else {
            return Err("no code was asked for".into());
        };
        let code = district.code(clock.now())?;
        let start = Instant::now();
        let tokens = accounts
            .answer_challenge(&token, &code, None, &anonymous)
            .await?;
        took("second step of a login", start);

        let address = [127, 0, 0, 1].into();
        let session = accounts.session(Some(&tokens.access), address).await?;
        let by_name = Sort {
            key: SortKey::Name,
            descending: false,
        };
        let query = UserQuery::new(Vec::new(), vec![by_name], 1, 25)?;
        let start = Instant::now();
        accounts.users(&session, &query).await?;
        took("page of users", start);

        let reader = Audit::permit_reader(&operator, AccessLevel::Read)?;
        let start = Instant::now();
        service
            .audit
            .search(&reader, &Search::default(), None, Timestamp::EPOCH, 50)
            .await?;
        took("page of the audit trail", start);
        Ok(())
    }
}

/// A line on the terminal that shows the progress of filling a store.
struct Progress {
    of: usize,
    start: Instant,
    told: Option<Instant>,
}

impl Progress {
    const PAUSE: Duration = Duration::from_millis(200);

    fn start(of: usize) -> Self {
        Self {
            of,
            start: Instant::now(),
            told: None,
        }
    }

    fn tell(&mut self, count: usize) {
        let is_due = self.told.is_none_or(|told| told.elapsed() > Self::PAUSE);
        if !io::stderr().is_terminal() || !is_due {
            return;
        }
        self.told = Some(Instant::now());
        let share = (count as f64 / self.of as f64).min(1.0);
        let left = self
            .start
            .elapsed()
            .mul_f64((1.0 - share) / share.max(1e-9));
        let bar = "#".repeat((share * 30.0) as usize);
        eprint!(
            "\r[{bar:<30}] {count} of {} records, {} s left ",
            self.of,
            left.as_secs()
        );
    }

    fn end(&self) {
        if io::stderr().is_terminal() {
            eprintln!();
        }
    }
}
