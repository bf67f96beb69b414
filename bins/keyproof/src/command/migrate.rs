//! `keyproof migrate`

use keyproof_store::{Migration, SystemEntropy};
use serde_json::json;

use super::{Outcome, flags::StoreArguments, output, with_store};

pub(super) fn run(arguments: &StoreArguments) -> Outcome {
    let config = arguments.store.load()?;
    with_store::must_be_shared(&config)?;
    let migrate = async { Ok(config.store.migrate(&SystemEntropy::new()).await?) };
    let migration = with_store::block_on(migrate)?;
    if arguments.json {
        let from = migration.map(|migration| migration.from);
        let to = migration.map(|migration| migration.to);
        output::print_json(&json!({ "store": config.store.to_string(), "from": from, "to": to }))?;
    } else {
        output::print(&words(&config.store.to_string(), migration))?;
    }
    Ok(())
}

/// What was done to the store, in one line.
pub(super) fn words(store: &str, migration: Option<Migration>) -> String {
    match migration {
        None => format!("{store} has no schema"),
        Some(Migration { from: 0, to }) => format!("{store} has schema {to} now, and had none"),
        Some(Migration { from, to }) if from == to => format!("{store} has schema {to} already"),
        Some(Migration { from, to }) => format!("{store} has schema {to} now, and had {from}"),
    }
}
