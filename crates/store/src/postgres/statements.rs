//! The statements, prepared once on each connection.
//!
//! They use only SQL that the databases with PostgreSQL's protocol share: no advisory locks, no `LISTEN`, no sequences.
//! A check that fails is an error of its statement, so that the `COMMIT` already sent behind it rolls everything back.
//!
//! Everything is sent before `BEGIN` is known to have succeeded. If `BEGIN` failed, for example by a cancellation,
//! every statement behind it would be a transaction of its own. So [`BEGIN`] sets a mark that ends with its
//! transaction, and every statement that belongs to a transaction fails without that mark.

use tokio_postgres::{Client, Error, Statement, types::Type};

/// Requires the record to be absent, or expired at the batch's time.
const INSERT: &str =
    "INSERT INTO keyproof_records AS stored (key, version, body, expires_at) VALUES ($1, $2, $3, $4)
     ON CONFLICT (key) DO UPDATE SET
         version = excluded.version, body = excluded.body, expires_at = excluded.expires_at
         WHERE stored.expires_at <= $5
     RETURNING 1";
const REMOVE: &str = "DELETE FROM keyproof_records WHERE key = $1 AND version = $2 RETURNING 1";
const REPLACE: &str = "UPDATE keyproof_records SET version = $3, body = $4, expires_at = $5
     WHERE key = $1 AND version = $2 AND (expires_at IS NULL OR expires_at > $6) RETURNING 1";
/// Batches that require the same record share its lock.
const REQUIRE: &str = "SELECT 1 FROM keyproof_records
     WHERE key = $1 AND version = $2 AND (expires_at IS NULL OR expires_at > $3) FOR SHARE";
const RESEAL: &str = "UPDATE keyproof_records SET body = $3
     WHERE key = $1 AND version = $2 AND (expires_at IS NULL OR expires_at > $4) RETURNING 1";

pub(super) const BEGIN: &str = "BEGIN; SET LOCAL keyproof.transaction = 'open'";
const IS_OPEN: &str = "current_setting('keyproof.transaction', true) = 'open'";

const NAME: &str = "INSERT INTO keyproof_commits (id, applied) VALUES ($1, true)";
/// Waits for a transaction that is inserting the same id. It writes in either case: only a transaction that writes
/// waits for the standbys, which then have the attempt that it found as well.
const FATE: &str = "INSERT INTO keyproof_commits AS asked (id, applied) VALUES ($1, false)
     ON CONFLICT (id) DO UPDATE SET applied = asked.applied RETURNING applied";
const FORGET: &str = "DELETE FROM keyproof_commits WHERE id = ANY ($1)";
const FORGET_OLD: &str = "DELETE FROM keyproof_commits WHERE id IN
     (SELECT id FROM keyproof_commits WHERE at < now() - INTERVAL '1 day' LIMIT 10000)";

pub(super) const GET: &str = "SELECT key, version, body, expires_at FROM keyproof_records
     WHERE key = ANY ($1) AND (expires_at IS NULL OR expires_at > $2)";
pub(super) const SCAN: &str = "SELECT key, version, body, expires_at FROM keyproof_records
     WHERE key >= $1 AND key < $2 AND (expires_at IS NULL OR expires_at > $3)
     ORDER BY key LIMIT $4";
pub(super) const SCAN_BACK: &str = "SELECT key, version, body, expires_at FROM keyproof_records
     WHERE key >= $1 AND key < $2 AND (expires_at IS NULL OR expires_at > $3)
     ORDER BY key DESC LIMIT $4";
pub(super) const EXPIRED: &str = "SELECT key, version FROM keyproof_records
     WHERE expires_at IS NOT NULL AND expires_at BETWEEN $1 AND $2 ORDER BY expires_at, key LIMIT $3";
const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT 1 FROM keyproof_records)";

pub(super) struct Statements {
    pub(super) insert: Check,
    pub(super) remove: Check,
    pub(super) replace: Check,
    pub(super) require: Check,
    pub(super) reseal: Check,

    pub(super) name: Statement,
    pub(super) fate: Statement,
    pub(super) forget: Statement,
    pub(super) forget_old: Statement,

    pub(super) get: Statement,
    pub(super) scan: Statement,
    pub(super) scan_back: Statement,
    pub(super) expired: Statement,
    pub(super) is_empty: Statement,
}

/// A change that fails unless its record is in the required state.
pub(super) struct Check {
    /// As one of several in a transaction.
    pub(super) among_others: Statement,
    /// As a whole batch, with the batch's id as an additional parameter.
    pub(super) alone: Statement,
}

impl Statements {
    /// Prepares all statements in one round trip.
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        const BYTES: Type = Type::BYTEA;
        const INT: Type = Type::INT8;
        let prepare = async |sql: &str, types: &[Type]| client.prepare_typed(sql, types).await;
        let (insert, remove, replace, require, reseal) = tokio::try_join!(
            Check::prepare(client, INSERT, &[BYTES, BYTES, BYTES, INT, INT]),
            Check::prepare(client, REMOVE, &[BYTES, BYTES]),
            Check::prepare(client, REPLACE, &[BYTES, BYTES, BYTES, BYTES, INT, INT]),
            Check::prepare(client, REQUIRE, &[BYTES, BYTES, INT]),
            Check::prepare(client, RESEAL, &[BYTES, BYTES, BYTES, INT]),
        )?;
        let name = name_among_others();
        let (name, fate, forget, forget_old) = tokio::try_join!(
            prepare(&name, &[BYTES]),
            prepare(FATE, &[BYTES]),
            prepare(FORGET, &[Type::BYTEA_ARRAY]),
            prepare(FORGET_OLD, &[]),
        )?;
        let (get, scan, scan_back, expired, is_empty) = tokio::try_join!(
            prepare(GET, &[Type::BYTEA_ARRAY, INT]),
            prepare(SCAN, &[BYTES, BYTES, INT, INT]),
            prepare(SCAN_BACK, &[BYTES, BYTES, INT, INT]),
            prepare(EXPIRED, &[INT, INT, INT]),
            prepare(IS_EMPTY, &[]),
        )?;
        Ok(Self {
            insert,
            remove,
            replace,
            require,
            reseal,
            name,
            fate,
            forget,
            forget_old,
            get,
            scan,
            scan_back,
            expired,
            is_empty,
        })
    }
}

/// Inserts the id of a batch with several entries. It fails outside their transaction, where it would mark the batch as
/// applied.
fn name_among_others() -> String {
    format!("WITH named AS ({NAME} RETURNING 1) SELECT 1 / count(*) FROM named WHERE {IS_OPEN}")
}

impl Check {
    async fn prepare(client: &Client, change: &str, types: &[Type]) -> Result<Self, Error> {
        let count = "SELECT 1 / count(*) FROM changed";
        let among_others = format!("WITH changed AS ({change}) {count} WHERE {IS_OPEN}");
        let id = types.len() + 1;
        let name = NAME.replace("$1", &format!("${id}"));
        let alone = format!("WITH named AS ({name}), changed AS ({change}) {count}");
        let types_and_id = [types, &[Type::BYTEA]].concat();
        let (among_others, alone) = tokio::try_join!(
            client.prepare_typed(&among_others, types),
            client.prepare_typed(&alone, &types_and_id),
        )?;
        Ok(Self {
            among_others,
            alone,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::testing;

    #[tokio::test]
    async fn reads_go_by_an_index_and_sort_nothing() {
        let (_, client, _server) = testing::database().await;
        // Enough rows that an index pays off, and the plan that serves every parameter.
        client
            .batch_execute(
                "INSERT INTO keyproof_records
                     SELECT sha256(i::text::bytea), '\\x00', '\\x00', CASE i % 2 WHEN 0 THEN i END
                     FROM generate_series(1, 20000) AS i;
                 ANALYZE keyproof_records;
                 SET plan_cache_mode = force_generic_plan",
            )
            .await
            .unwrap();
        for (name, sql, parameters, index) in [
            (
                "get",
                GET,
                "ARRAY['\\x00'::BYTEA], 0",
                "keyproof_records_pkey",
            ),
            (
                "scan",
                SCAN,
                "'\\x00', '\\xff', 0, 10",
                "keyproof_records_pkey",
            ),
            (
                "scan_back",
                SCAN_BACK,
                "'\\x00', '\\xff', 0, 10",
                "keyproof_records_pkey",
            ),
            ("expired", EXPIRED, "0, 0, 10", "keyproof_records_by_expiry"),
            (
                "replace",
                REPLACE,
                "'\\x00', '\\x00', '\\x00', '\\x00', 0, 0",
                "keyproof_records_pkey",
            ),
            (
                "remove",
                REMOVE,
                "'\\x00', '\\x00'",
                "keyproof_records_pkey",
            ),
            (
                "require",
                REQUIRE,
                "'\\x00', '\\x00', 0",
                "keyproof_records_pkey",
            ),
            ("fate", FATE, "'\\x00'", "keyproof_commits_pkey"),
        ] {
            let types = match name {
                "scan" | "scan_back" => "(BYTEA, BYTEA, BIGINT, BIGINT)",
                "expired" => "(BIGINT, BIGINT, BIGINT)",
                _ => "",
            };
            client
                .batch_execute(&format!("PREPARE {name} {types} AS {sql}"))
                .await
                .unwrap();
            let explain = format!("EXPLAIN EXECUTE {name} ({parameters})");
            let plan: Vec<String> = client
                .query(&explain, &[])
                .await
                .unwrap()
                .iter()
                .map(|row| row.get(0))
                .collect();
            let plan = plan.join("\n");
            assert!(plan.contains(index), "{name}: {plan}");
            assert!(
                !plan.contains("Seq Scan") && !plan.contains("Sort"),
                "{name}: {plan}"
            );
        }
    }
}
