//! `keyproof migrate`

use keyproof_store::{Migration, SystemEntropy};
use serde_json::json;

use super::{Outcome, flags::StoreArguments, output, with_store};

pub(super) fn run(arguments: &StoreArguments) -> Outcome {
    let config = arguments.store.load()?;
    with_store::must_be_shared(&config)?;
    let migrate = async { Ok(config.store.migrate(&SystemEntropy::new()).await?) };
    let migration = with_store::block_on(migrate)?;
    let store = config.store.to_string();
    let from = migration.map(|migration| migration.from);
    let to = migration.map(|migration| migration.to);
    let document = json!({ "store": store, "from": from, "to": to });
    output::print_either(arguments.json, &document, &words(&store, migration))
}

/// Describes the migration in one line.
pub(super) fn words(store: &str, migration: Option<Migration>) -> String {
    match migration {
        None => format!("{store} has no schema"),
        Some(Migration { from: 0, to }) => format!("{store} has schema {to} now, and had none"),
        Some(Migration { from, to }) if from == to => format!("{store} has schema {to} already"),
        Some(Migration { from, to }) => format!("{store} has schema {to} now, and had {from}"),
    }
}
