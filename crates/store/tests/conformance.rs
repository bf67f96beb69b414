//! Every engine of this crate, under the suite for all engines.
#![expect(clippy::expect_used, reason = "tests may")]

use std::sync::Arc;

use keyproof_store::memory::MemoryEngine;
use keyproof_store::{BoxFuture, Engine, conformance};

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
}
