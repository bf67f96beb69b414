//! Commands that change one thing of a store, which its name tells from others.

use std::fmt::Display;

use clap::Args;
use keyproof_service::{Origin, Service};
use serde_json::json;

use super::{Failure, Outcome, console, flags::StoreFlags, output, store::with_service};

/// Which thing, and in which store.
#[derive(Args, Debug)]
pub(super) struct Named {
    /// Its name
    name: String,
    #[command(flatten)]
    store: StoreFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Named {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes a change and says so to programs; people see that there is nothing to complain about.
    pub(super) fn change<E: Display>(
        &self,
        done: &str,
        change: impl AsyncFnOnce(&Service, &str, &Origin) -> Result<(), E>,
    ) -> Outcome {
        with_service(&self.store, async |service| {
            change(&service, &self.name, &console::origin())
                .await
                .map_err(Failure::refused)
        })?;
        if self.json {
            output::print_json(&json!({ done: self.name }))?;
        }
        Ok(())
    }
}
