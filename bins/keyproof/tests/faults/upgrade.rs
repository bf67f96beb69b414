//! The previous release and this one on one store, under load: `cargo xtask test upgrade`, which builds the previous one.
//!
//! The load continues all the time, with the tokens that the previous release issued, and is checked as after any fault: nothing
//! acknowledged is lost, no code is accepted twice, and each release reads what the other has written.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use keyproof_peer_postgres::Postgres;
use tokio::time::timeout;

use crate::{cluster::Cluster, installation::Installation, load::Load, node::PATIENCE, seed::Seed};

/// The environment variable with the previous release's program.
const BEFORE: &str = "KEYPROOF_RELEASE_BEFORE";

/// The number of changes in each phase.
const WHILE: u64 = 100;

/// The programs of both releases.
struct Releases {
    before: PathBuf,
    this: PathBuf,
}

impl Releases {
    fn find() -> Self {
        let before =
            env::var_os(BEFORE).expect("`cargo xtask test upgrade` names the release before");
        Self {
            before: before.into(),
            this: env!("CARGO_BIN_EXE_keyproof").into(),
        }
    }
}

impl Cluster {
    /// Ends a node, and starts it with another program.
    fn exchange(&mut self, node: usize, program: &Path) {
        self.kill(node);
        self.installation.run_by(program);
        self.bring_up(node);
    }
}

impl Load {
    /// Waits for many changes overall, and at least one by each client. Otherwise a client whose records a release cannot read
    /// would stall unnoticed among the others.
    async fn goes_on(&self) {
        let ledger = self.ledger();
        let names = self.names().map(|name| format!("{name}/"));
        let all_grow = self.grow(names.collect());
        ledger.acknowledged(ledger.count() + WHILE).await;
        all_grow.await;
    }

    /// Waits until a code of every phone is accepted once more: only this writes the user's phone record, and it takes half a
    /// minute.
    async fn goes_on_by_phone(&self) {
        let names = self.names().filter(|name| name.starts_with("emnify"));
        let steps = names.map(|name| format!("{name}/step ")).collect();
        self.grow(steps).await;
    }

    /// Waits for one more acknowledged change of the things with each of these prefixes.
    fn grow(&self, things: Vec<String>) -> impl Future<Output = ()> {
        let ledger = self.ledger();
        assert!(!things.is_empty());
        let mut waiting: Vec<_> = things
            .iter()
            .map(|things| (ledger.done_of(things), things.clone()))
            .collect();
        let all_grow = async move {
            loop {
                waiting.retain(|(before, things)| ledger.done_of(things) == *before);
                if waiting.is_empty() {
                    break;
                }
                ledger.acknowledged(ledger.count() + 1).await;
            }
        };
        let names = things.join(", ");
        async move {
            let grown = timeout(PATIENCE, all_grow).await;
            assert!(grown.is_ok(), "one of these stands still: {names}");
        }
    }
}

/// This release rebuilds the file, which the previous one can still use.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test upgrade` runs it"]
async fn a_file_is_upgraded_and_gone_back_from_under_load() {
    let Releases { before, this } = Releases::find();
    let installation = Installation::on_sqlite_by(&before).without_locks();
    let mut cluster = Cluster::start(installation, 1);
    let load = Load::start(&cluster, Seed::of_this_run()).await;
    load.goes_on().await;

    // Not while the previous release has it open.
    let file = cluster.installation.folder().join("k.db");
    let migrate = cluster.installation.program(&this, &["migrate"]).output();
    let migrate = migrate.unwrap();
    let complaint = String::from_utf8_lossy(&migrate.stderr);
    assert!(!migrate.status.success(), "{migrate:?}");
    assert!(complaint.contains("schema 1"), "{complaint}");
    assert_eq!(schema(&file), 1);
    load.goes_on().await;

    for (program, schema_after) in [(&this, 2), (&before, 2), (&this, 2)] {
        cluster.exchange(0, program);
        assert_eq!(schema(&file), schema_after);
        load.goes_on().await;
        load.goes_on_by_phone().await;
    }
    load.judge(&cluster.installation).await;
}

/// Nodes are replaced one by one. Then the database gets the schema of a future release, on which both continue.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test upgrade` runs it"]
async fn a_database_is_upgraded_node_by_node_under_load() {
    const NODES: usize = 3;
    let Releases { before, this } = Releases::find();
    let postgres = Postgres::start().unwrap();
    let url = postgres.database().unwrap();
    let installation = Installation::on_database_by(&before, &url).without_locks();
    let mut cluster = Cluster::start(installation, NODES);
    let load = Load::start(&cluster, Seed::of_this_run()).await;
    load.goes_on().await;
    for node in 0..NODES {
        cluster.exchange(node, &this);
        load.goes_on().await;
    }
    load.goes_on_by_phone().await;
    for node in 1..NODES {
        cluster.exchange(node, &before);
        load.goes_on().await;
    }
    // All releases so far have had one schema. The next one only adds to it, as the engine promises.
    let next = "BEGIN; \
                INSERT INTO keyproof_schema (version) VALUES (2); \
                ALTER TABLE keyproof_records ADD COLUMN of_a_release_to_come BYTEA; \
                CREATE TABLE keyproof_of_a_release_to_come (id BYTEA PRIMARY KEY); \
                COMMIT";
    let psql = postgres
        .program("psql")
        .args(["-Xq", "-v", "ON_ERROR_STOP=1", "-c", next, &url])
        .output()
        .unwrap();
    assert!(psql.status.success(), "{psql:?}");
    load.goes_on().await;
    // A node that is started on it also works.
    for (node, program) in [(0, &this), (1, &before), (2, &this)] {
        cluster.exchange(node, program);
        load.goes_on().await;
    }
    cluster.installation.run_by(&this);
    load.judge(&cluster.installation).await;
}

/// Returns the highest schema in an SQLite file: `user_version`, at byte 60 of its header.
fn schema(file: &Path) -> u32 {
    let header = fs::read(file).unwrap();
    u32::from_be_bytes(*header[60..].first_chunk().unwrap())
}
