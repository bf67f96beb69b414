//! Runs the conformance suite on every engine of this crate.
#![expect(clippy::expect_used, reason = "tests may")]

use std::sync::Arc;

use keyproof_store::{BoxFuture, Engine, conformance, memory::MemoryEngine};

mod memory {
    use super::*;

    struct Memory(Arc<MemoryEngine>);

    impl conformance::Database for Memory {
        fn open(&self) -> BoxFuture<'_, Arc<dyn Engine>> {
            let engine: Arc<dyn Engine> = self.0.clone();
            Box::pin(async { engine })
        }

        fn is_durable(&self) -> bool {
            false
        }
    }

    conformance::tests!(Memory(Arc::new(MemoryEngine::new())));
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use keyproof_store::sqlite::{SqliteEngine, SqliteOptions};
    use tempfile::TempDir;

    use super::*;

    struct Sqlite(TempDir);

    impl conformance::Database for Sqlite {
        fn open(&self) -> BoxFuture<'_, Arc<dyn Engine>> {
            let engine =
                SqliteEngine::open(self.0.path().join("store.db"), &SqliteOptions::default());
            let engine: Arc<dyn Engine> =
                Arc::new(engine.expect("a store in a temporary directory"));
            Box::pin(async { engine })
        }

        fn is_durable(&self) -> bool {
            true
        }
    }

    conformance::tests!(Sqlite(TempDir::new().expect("a temporary directory")));

    /// A file created by the previous release.
    mod rebuilt {
        use rusqlite::Connection;

        use super::*;

        fn database() -> Sqlite {
            let folder = TempDir::new().expect("a temporary directory");
            Connection::open(folder.path().join("store.db"))
                .and_then(|old| old.execute_batch(include_str!("fixture/schema_1.sql")))
                .expect("the earlier schema");
            Sqlite(folder)
        }

        conformance::tests!(database());
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use keyproof_peer_postgres::Postgres;
    use keyproof_store::postgres::{PostgresEngine, PostgresOptions, PostgresUrl};

    use super::*;

    /// A separate database in a server that all cases share.
    struct Database {
        _server: Arc<Postgres>,
        url: PostgresUrl,
    }

    impl Database {
        fn new() -> Self {
            let server = Postgres::shared().expect("a server of our own");
            let url = server.database().expect("an empty database");
            let url = url.parse().expect("a database's URL");
            Self {
                _server: server,
                url,
            }
        }
    }

    impl conformance::Database for Database {
        fn open(&self) -> BoxFuture<'_, Arc<dyn Engine>> {
            Box::pin(async {
                let mut options = PostgresOptions::default();
                // Engines of several cases run at once and share the server's connections.
                options.connections = 5;
                let migrated = PostgresEngine::migrate(&self.url, &options).await;
                migrated.expect("a schema");
                let engine = PostgresEngine::open(&self.url, &options).await;
                let engine: Arc<dyn Engine> = Arc::new(engine.expect("a migrated database"));
                engine
            })
        }

        fn is_durable(&self) -> bool {
            true
        }
    }

    conformance::tests!(Database::new());
}
