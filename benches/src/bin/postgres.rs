//! Durable commits per second through the PostgreSQL engine, compared with `pgbench` running the same statements.
//!
//! `cargo xtask bench postgres`: two minutes, on a temporary server in the system's temporary folder, with `fsync` on. Client and
//! server share one machine's cores. `--help` lists the options.
//!
//! Two kinds of commit: *one* replaces a caller's record, about 200 bytes, at the version that it wrote last; *three* also inserts
//! a new record and requires one that all callers share. `pgbench` runs the engine's own statements, including the insert of the
//! batch's id, over its prepared protocol: one statement after the other, and pipelined, as the engine sends them. Both have as
//! many connections as there are callers; the engine's rate with its default of 16 is also printed. The engine also deletes the ids
//! again. All take turns.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use keyproof_benches::{Aim, Result, median, progress, report};
use keyproof_peer_postgres::{Postgres, Setup};
use keyproof_store::{
    Change, Changes, Engine, Entropy, Key, Row, SystemEntropy, Timestamp, Version,
    postgres::{PostgresEngine, PostgresOptions, PostgresUrl},
};
use tokio::task::JoinSet;

const CALLERS: [usize; 3] = [1, 16, 64];
const SECONDS: u64 = 1;
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const BODY: [u8; 200] = [b'x'; 200];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    One,
    Three,
}

#[derive(Parser)]
struct Options {
    /// Only this number of callers: 1, 16 or 64
    #[arg(long)]
    callers: Option<usize>,
    /// Turns of each, after a warm-up turn
    #[arg(long, default_value_t = 2)]
    rounds: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    println!("cores: {}", std::thread::available_parallelism()?);
    let server = Setup::default().setting("max_connections", "200").start()?;
    let url = server.database()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let default = runtime.block_on(open(&url, PostgresOptions::default().connections))?;
    let folder = tempfile::tempdir()?;
    for kind in [Kind::One, Kind::Three] {
        for callers in CALLERS {
            if options.callers.is_some_and(|only| only != callers) {
                continue;
            }
            let pgbench = Pgbench::write(folder.path(), &server, &url, kind, callers)?;
            let equal = runtime.block_on(open(&url, callers))?;
            let mut rates = [const { Vec::new() }; 4];
            for round in 0..=options.rounds {
                progress("round", round, options.rounds);
                let of_round = [
                    pgbench.rate(Pipelining::Off)?,
                    pgbench.rate(Pipelining::On)?,
                    runtime.block_on(rate(&equal, kind, callers))?,
                    runtime.block_on(rate(&default, kind, callers))?,
                ];
                // The first round warms up, and is discarded.
                if round > 0 {
                    rates
                        .iter_mut()
                        .zip(of_round)
                        .for_each(|(all, rate)| all.push(rate));
                }
            }
            runtime.block_on(equal.close());
            let [serial, pipelined, ours, by_default] = rates.map(median);
            let what = format!("{kind:?}, {callers} callers");
            println!(
                "{what}: {ours:.0}/s, {by_default:.0}/s by default; pgbench {serial:.0}/s, {pipelined:.0}/s pipelined"
            );
            let aim = Aim::AtLeast(0.7);
            report(&format!("{what}, of pgbench"), ours / serial, aim);
            report(
                &format!("{what}, of pgbench pipelined"),
                ours / pipelined,
                aim,
            );
        }
    }
    runtime.block_on(default.close());
    Ok(())
}

async fn open(url: &str, connections: usize) -> Result<Arc<PostgresEngine>> {
    let url: PostgresUrl = url.parse()?;
    let mut options = PostgresOptions::default();
    options.connections = connections;
    PostgresEngine::migrate(&url, &options).await?;
    Ok(Arc::new(PostgresEngine::open(&url, &options).await?))
}

/// Measures callers that each change their own record repeatedly.
async fn rate(engine: &Arc<PostgresEngine>, kind: Kind, callers: usize) -> Result<f64> {
    let entropy = SystemEntropy::new();
    let shared = row(&entropy);
    let run = Version::random(&entropy);
    let shared_key = key(run, "shared");
    let mut rows = vec![(shared_key.clone(), Change::Insert(shared.clone()))];
    let mut tasks = Vec::new();
    for caller in 0..callers {
        let row = row(&entropy);
        let caller = Caller {
            engine: engine.clone(),
            kind,
            key: key(run, &caller.to_string()),
            at: row.version,
            shared: (shared_key.clone(), shared.version),
        };
        rows.push((caller.key.clone(), Change::Insert(row)));
        tasks.push(caller);
    }
    engine.commit(Changes::new(rows, NOW, &entropy)?).await?;
    let start = Instant::now();
    let mut running = JoinSet::new();
    for caller in tasks {
        running.spawn(caller.work(start));
    }
    let mut commits = 0;
    while let Some(done) = running.join_next().await {
        commits += done??;
    }
    Ok(commits as f64 / start.elapsed().as_secs_f64())
}

struct Caller {
    engine: Arc<PostgresEngine>,
    kind: Kind,
    key: Key,
    at: Version,
    shared: (Key, Version),
}

impl Caller {
    async fn work(mut self, start: Instant) -> Result<u64> {
        let entropy = SystemEntropy::new();
        let mut commits = 0;
        while start.elapsed() < Duration::from_secs(SECONDS) {
            let next = row(&entropy);
            let (at, version) = (self.at, next.version);
            let mut batch = vec![(self.key.clone(), Change::Replace { at, row: next })];
            if self.kind == Kind::Three {
                let (shared, at) = self.shared.clone();
                batch.push((shared, Change::Require { at }));
                let event = row(&entropy);
                let event_key = Key::new("bench", [event.version.as_bytes()]);
                batch.push((event_key, Change::Insert(event)));
            }
            self.engine
                .commit(Changes::new(batch, NOW, &entropy)?)
                .await?;
            self.at = version;
            commits += 1;
        }
        Ok(commits)
    }
}

fn row(entropy: &dyn Entropy) -> Row {
    Row {
        version: Version::random(entropy),
        body: BODY.to_vec().into(),
        expires_at: None,
    }
}

fn key(run: Version, name: &str) -> Key {
    Key::new("bench", [run.to_string().as_str(), name])
}

#[derive(Clone, Copy)]
enum Pipelining {
    Off,
    On,
}

/// The same changes by PostgreSQL's own load generator.
struct Pgbench<'s> {
    server: &'s Postgres,
    folder: &'s Path,
    url: &'s str,
    callers: usize,
}

impl<'s> Pgbench<'s> {
    /// Writes the scripts. A version is a number written twice. As with the engine, only the client itself can predict its next
    /// one.
    fn write(
        folder: &'s Path,
        server: &'s Postgres,
        url: &'s str,
        kind: Kind,
        callers: usize,
    ) -> Result<Self> {
        let name = "INSERT INTO keyproof_commits (id, applied) VALUES
            (int8send(:id) || int8send(:next) || '\\x00'::bytea, true)";
        let check = "SELECT 1 / count(*) FROM changed";
        let replace = "UPDATE keyproof_records SET version = int8send(:next) || int8send(:next),
            body = convert_to(:body, 'UTF8'), expires_at = NULL
            WHERE key = int8send(:client_id) AND version = int8send(:at) || int8send(:at)
            AND (expires_at IS NULL OR expires_at > :now) RETURNING 1";
        let insert = "INSERT INTO keyproof_records AS stored (key, version, body, expires_at) VALUES
            (int8send(:id) || int8send(:next), int8send(:next) || int8send(:next), convert_to(:body, 'UTF8'), NULL)
            ON CONFLICT (key) DO UPDATE SET
            version = excluded.version, body = excluded.body, expires_at = excluded.expires_at
            WHERE stored.expires_at <= :now RETURNING 1";
        let require = "SELECT 1 FROM keyproof_records
            WHERE key = int8send(-1) AND version = int8send(0) || int8send(0)
            AND (expires_at IS NULL OR expires_at > :now) FOR SHARE";
        let statements = match kind {
            Kind::One => format!("WITH named AS ({name}), changed AS ({replace}) {check};"),
            Kind::Three => {
                let mark = "keyproof.transaction";
                let is_open = format!("WHERE current_setting('{mark}', true) = 'open'");
                let named =
                    format!("WITH named AS ({name} RETURNING 1) SELECT 1 / count(*) FROM named");
                let checks = [insert, replace, require]
                    .map(|change| format!("WITH changed AS ({change}) {check} {is_open};"));
                format!(
                    "BEGIN;\nSET LOCAL {mark} = 'open';\n{named} {is_open};\n{}\nCOMMIT;",
                    checks.join("\n")
                )
            }
        };
        for (file, [before, after]) in [
            ("serial.sql", ["", ""]),
            ("pipelined.sql", ["\\startpipeline\n", "\n\\endpipeline"]),
        ] {
            let script = format!(
                "\\set id random(1, 9000000000000000000)\n\
                 \\set next random(1, 9000000000000000000)\n\
                 {before}{statements}{after}\n\\set at :next\n"
            );
            fs::write(folder.join(file), script)?;
        }
        Ok(Self {
            server,
            folder,
            url,
            callers,
        })
    }

    /// Measures a number of transactions that takes about as long as a round: a fixed time would include connecting.
    fn rate(&self, pipelining: Pipelining) -> Result<f64> {
        let guess = self.run(pipelining, 10)?;
        let transactions = guess * SECONDS as f64 / self.callers as f64;
        self.run(pipelining, (transactions as u64).max(10))
    }

    fn run(&self, pipelining: Pipelining, transactions: u64) -> Result<f64> {
        let callers = self.callers;
        let records = format!(
            "TRUNCATE keyproof_commits;
             DELETE FROM keyproof_records WHERE length(key) = 8;
             INSERT INTO keyproof_records
                 SELECT int8send(client), int8send(0) || int8send(0), convert_to(repeat('x', 200), 'UTF8'), NULL
                 FROM generate_series(-1, {callers} - 1) AS client"
        );
        output(
            self.server
                .program("psql")
                .args(["-Xq", "-c", &records, self.url]),
        )?;
        let body = format!("body={}", String::from_utf8_lossy(&BODY));
        let script = match pipelining {
            Pipelining::Off => "serial.sql",
            Pipelining::On => "pipelined.sql",
        };
        let told = output(
            self.server
                .program("pgbench")
                .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
                .arg(format!("--client={callers}"))
                .arg(format!("--transactions={transactions}"))
                .args([
                    "-D",
                    "at=0",
                    "-D",
                    &format!("now={}", NOW.as_millis()),
                    "-D",
                    &body,
                ])
                .arg("--file")
                .arg(self.folder.join(script))
                .arg(self.url),
        )?;
        let rate = told
            .lines()
            .find_map(|line| line.strip_prefix("tps = "))
            .and_then(|rest| rest.split(' ').next())
            .ok_or_else(|| format!("pgbench says no rate: {told}"))?;
        Ok(rate.parse()?)
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || words.contains("aborted") {
        return Err(format!("{:?} failed: {words}", command.get_program()).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
