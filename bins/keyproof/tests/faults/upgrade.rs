//! The release before and this one on one store, under load: `cargo xtask test upgrade`, which builds the former.
//!
//! The load goes on through all of it, with the tokens that the former gave out, and is judged as after any fault: nothing
//! acknowledged is lost, no code is accepted twice, and each release reads what the other has written.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use keyproof_peer_postgres::Postgres;
use tokio::time::timeout;

use crate::{cluster::Cluster, installation::Installation, load::Load, node::PATIENCE, seed::Seed};

/// The variable that names the program of the release before.
const BEFORE: &str = "KEYPROOF_RELEASE_BEFORE";

/// Changes that each state of affairs lasts for.
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
    /// All of them together get a good way, and each of them somewhere: one whose records a release cannot read stands still, and
    /// the others would hide it.
    async fn goes_on(&self) {
        let ledger = self.ledger();
        let names = self.names().map(|name| format!("{name}/"));
        let all_grow = self.grow(names.collect());
        ledger.acknowledged(ledger.count() + WHILE).await;
        all_grow.await;
    }

    /// Every phone's code is accepted once more: what a user has of a phone is written by that alone, and that takes half a minute.
    async fn goes_on_by_phone(&self) {
        let names = self.names().filter(|name| name.starts_with("emnify"));
        let steps = names.map(|name| format!("{name}/step ")).collect();
        self.grow(steps).await;
    }

    /// Of each of these beginnings of things' names, one more is acknowledged than are now.
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

/// The file is rebuilt by this release, and then serves the one before, too.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test upgrade` runs it"]
async fn a_file_is_upgraded_and_gone_back_from_under_load() {
    let Releases { before, this } = Releases::find();
    let installation = Installation::on_sqlite_by(&before).without_locks();
    let mut cluster = Cluster::start(installation, 1);
    let load = Load::start(&cluster, Seed::of_this_run()).await;
    load.goes_on().await;

    // Not while the release before has it open.
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

/// Nodes are exchanged one by one; then the database gets the schema of a release to come, on which both go on.
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
    // Releases so far have had one schema. The next one's only adds, as its engine promises.
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
    // And whoever starts on it, too.
    for (node, program) in [(0, &this), (1, &before), (2, &this)] {
        cluster.exchange(node, program);
        load.goes_on().await;
    }
    cluster.installation.run_by(&this);
    load.judge(&cluster.installation).await;
}

/// The schema that a SQLite file names: `user_version`, at byte 60 of its header, the highest first.
fn schema(file: &Path) -> u32 {
    let header = fs::read(file).unwrap();
    u32::from_be_bytes(*header[60..].first_chunk().unwrap())
}
