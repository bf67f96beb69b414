//! Second steps of logins per second over HTTP, with a durable replay guard, compared with what limits them.
//!
//! `cargo xtask bench login`, or for a short look `cargo xtask bench login -- --connections 256 --rounds 2` (`--help` lists
//! the options). The folder, by default one below `target/`, decides which disk is measured.
//!
//! Each login answers a challenge of one user with that user's code, over one of the kept connections to a server in this process.
//! It is compared, on the same runtime, with the store alone: batches of the same shape (one replacement, three inserts) and
//! batches of one replacement each, from as many callers. It is also compared with a bare hyper server that parses JSON and writes
//! it back, over as many connections. All take turns. Users, keys and challenges are made between the turns.
//!
//! The processor time is that of the whole process, including clients and the writer's thread: the number of cores divided by it is
//! the maximum rate.
//!
//! `store` measures the same two kinds of batches, and their writes to disk. Its own commits of one record differ: each caller
//! replaces the same small record again and again, which is about three times as fast.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use clap::Parser;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keyproof::{
    config::{Config, Sources},
    server::Server,
};
use keyproof_benches::{
    Aim, Result,
    batches::{Batches, Shape},
    in_folder_below, load, median, progress, report,
    usage::processor_time,
    users::{self, Users},
};
use keyproof_service::ManualClock;
use keyproof_store::{MasterKey, Store, SystemEntropy, Timestamp};
use serde_json::Value;
use tokio::net::TcpListener;

/// The maximum number of connections. Here the aim compared with batches of one replacement is 9,200 second steps per second where
/// those reach 137,000.
const MANY: usize = 256;
/// The number of connections, and of logins per turn.
const TURNS: [(usize, usize); 3] = [(1, 128), (32, 1_024), (MANY, 2_048)];
const USERS: usize = 2_048;
/// A batch of one replacement is so fast that this many replace one login.
const SINGLES: usize = 16;
const START: Timestamp = Timestamp::from_secs(1_700_000_010);

#[derive(Parser)]
struct Options {
    /// Where the stores are made; by default below `target/`
    folder: Option<PathBuf>,
    /// Only this number of connections: 1, 32 or 256
    #[arg(long)]
    connections: Option<usize>,
    /// Turns of each, after a warm-up turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    in_folder_below(options.folder.clone(), "login", |folder| {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(measure(&options, folder))
    })
}

async fn measure(options: &Options, folder: &Path) -> Result<()> {
    println!("folder: {}", folder.display());
    println!("cores: {}", std::thread::available_parallelism()?);
    let mut site = Site::start(folder).await?;
    let mut batches = Batches::start(open(&folder.join("store.db")).await?, USERS, 0).await?;
    let echo = echo().await?;
    let is_wanted = |connections| options.connections.is_none_or(|only| only == connections);
    let turns = TURNS.into_iter().filter(|(at, _)| is_wanted(*at));
    let mut costs: Vec<_> = turns
        .map(|turn| (turn, [const { Vec::new() }; 4]))
        .collect();
    for round in 0..=options.rounds {
        progress("round", round, options.rounds);
        for ((connections, logins), costs) in &mut costs {
            let (connections, logins) = (*connections, *logins);
            let requests = site.challenge(logins).await?;
            let turn = [
                timed(
                    logins,
                    exchange(site.server.address(), connections, &requests),
                )
                .await?,
                timed(logins, batches.commit(Shape::Login, connections, logins, 1)).await?,
                timed(logins, exchange(echo, connections, &requests)).await?,
                timed(
                    logins * SINGLES,
                    batches.commit(Shape::Single, connections, logins, SINGLES),
                )
                .await?,
            ];
            // The first round warms up, and is discarded.
            if round > 0 {
                costs
                    .iter_mut()
                    .zip(turn)
                    .for_each(|(all, cost)| all.push(cost));
            }
        }
    }
    for ((connections, _), costs) in costs {
        let of = |figure: fn(&Cost) -> f64| {
            let figures = costs
                .each_ref()
                .map(|turns| turns.iter().map(figure).collect());
            figures.map(median)
        };
        let [logins, store, echo, singles] = of(|cost| cost.rate);
        println!("{connections} connections");
        let names = [
            "second steps of logins",
            "the store's batches alone",
            "a JSON echo on hyper alone",
            "the store's batches of one replacement",
        ];
        let rates = [logins, store, echo, singles];
        for ((name, rate), processor) in names.into_iter().zip(rates).zip(of(|cost| cost.processor))
        {
            println!("  {name:<34} {rate:>10.0}/s {processor:>8.1} us of processor time each");
        }
        // The rate if each request did both, one after the other, and both were bound by the cores.
        let both = 1.0 / (1.0 / store + 1.0 / echo);
        println!(
            "  logins, of a batch and an echo after it: {:.2}",
            logins / both
        );
        if connections == MANY {
            report(
                "  logins, of the store's batches",
                logins / store,
                Aim::AtLeast(0.5),
            );
            report(
                "  logins, of single replacements",
                logins / singles,
                Aim::AtLeast(9_200.0 / 137_000.0),
            );
        } else {
            println!("  logins, of the store's batches: {:.2}", logins / store);
        }
    }
    Ok(())
}

/// The result of a turn.
struct Cost {
    /// Operations per second.
    rate: f64,
    /// Microseconds of this process's processor time per operation.
    processor: f64,
}

/// Returns the cost of `count` operations. `work` does them and returns their rate per second.
async fn timed(count: usize, work: impl Future<Output = Result<f64>>) -> Result<Cost> {
    let before = processor_time("self").ok();
    let rate = work.await?;
    let used = before
        .zip(processor_time("self").ok())
        .map(|(before, after)| after - before);
    Ok(Cost {
        rate,
        processor: used.map_or(f64::NAN, |used| used * 1e6 / count as f64),
    })
}

/// A server, and users with active keys.
struct Site {
    server: Server,
    users: Users,
}

impl Site {
    async fn start(folder: &Path) -> Result<Self> {
        let config = Config::load(&Sources {
            flags: vec![
                ("http.listen", "127.0.0.1:0".into()),
                ("store.url", "memory:".into()),
                ("auth.address_limit", 0.into()),
            ],
            ..Sources::default()
        })?;
        let clock = Arc::new(ManualClock::new(START));
        let store = open(&folder.join("server.db")).await?;
        let entropy = Arc::new(SystemEntropy::new());
        let server = Server::start(Arc::new(config), store.clone(), clock.clone(), entropy);
        Ok(Self {
            server: server.await?,
            users: Users::enrol(store, clock, USERS).await?,
        })
    }

    /// Returns requests that answer a challenge of each of `count` users, at a step that none of them has used.
    async fn challenge(&mut self, count: usize) -> Result<Vec<String>> {
        self.users.next_step();
        let bodies = self.users.challenge(0, count).await?;
        let post = |body: String| load::request("POST", "/api/v1/authenticate", "", &body);
        Ok(bodies.into_iter().map(post).collect())
    }
}

async fn open(path: &Path) -> Result<Store> {
    users::open(path, &MasterKey::generate(&SystemEntropy::new()), START).await
}

/// Starts a server that parses JSON and writes it back.
async fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serve = service_fn(async |request: Request<hyper::body::Incoming>| {
                let body = request.into_body().collect().await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                let value: Value = serde_json::from_slice(&body).unwrap_or_default();
                let body = Bytes::from(value.to_string());
                Ok::<_, Infallible>(Response::new(Full::new(body)))
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), serve));
        }
    });
    Ok(address)
}

/// Returns the requests per second. No request may be refused.
async fn exchange(address: SocketAddr, connections: usize, requests: &[String]) -> Result<f64> {
    let turn = load::send(&address.to_string(), connections, requests).await?;
    if turn.refused > 0 {
        return Err(format!("{} of {} refused", turn.refused, turn.requests).into());
    }
    Ok(turn.rate)
}
