//! Commands that change one thing in a store, which they identify by its name.

use std::fmt::Display;

use clap::Args;
use keyproof_service::{CommandLine, Service};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Failure, Outcome,
    flags::StoreArguments,
    output::{self, printable},
    terminal::{self, Consent, PasswordSource},
    with_store::with_store,
};

/// The thing's name, and its store.
#[derive(Args, Debug)]
pub(super) struct Named {
    /// The name of the user or instance
    name: String,
    #[command(flatten)]
    on: StoreArguments,
}

/// The thing whose password is set, and where the password comes from.
#[derive(Args, Debug)]
pub(super) struct PasswordArguments {
    #[command(flatten)]
    pub(super) named: Named,
    #[command(flatten)]
    pub(super) password: PasswordSource,
}

/// The thing to remove, and whether to ask first.
#[derive(Args, Debug)]
pub(super) struct Removal {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    consent: Consent,
}

/// The texts that describe a change.
pub(super) struct Change {
    /// The member's name in JSON.
    pub(super) member: &'static str,
    /// The message for people; `{}` is replaced by the thing's name.
    pub(super) done: &'static str,
}

impl Change {
    fn words(words: &str, name: &str) -> String {
        words.replacen("{}", &printable(name), 1)
    }
}

impl Named {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes a change with a new password, which it asks for once the store is open. Prints the change and the store.
    pub(super) fn change_with<E: Display>(
        &self,
        password: &PasswordSource,
        words: &Change,
        change: impl AsyncFnOnce(&Service, &str, &CommandLine, Zeroizing<String>) -> Result<(), E>,
    ) -> Outcome {
        self.change_if(
            |_| password.read_new(),
            async |service, name, command, password| {
                let changed = change(service, name, command, password).await;
                changed.map(|()| words)
            },
        )
    }

    /// Makes a change, and prints the message that it returns and the store.
    pub(super) fn change_reporting<'a, E: Display>(
        &self,
        change: impl AsyncFnOnce(&Service, &str, &CommandLine) -> Result<&'a Change, E>,
    ) -> Outcome {
        self.change_if(
            |_| Ok(()),
            async |service, name, command, ()| change(service, name, command).await,
        )
    }

    /// Opens the store, asks the person at the terminal, and makes the change with the answer.
    fn change_if<'a, A, E: Display>(
        &self,
        wanted: impl FnOnce(&str) -> Result<A, Failure>,
        change: impl AsyncFnOnce(&Service, &str, &CommandLine, A) -> Result<&'a Change, E>,
    ) -> Outcome {
        with_store(&self.on.store, async |service, store| {
            let answer = wanted(store)?;
            let changed = change(&service, &self.name, &terminal::command_line(), answer).await;
            let words = changed.map_err(|error| {
                let name = printable(&self.name);
                Failure::Refused(format!("{name}: {error}")).of_store(store)
            })?;
            let document = json!({ words.member: self.name });
            let done = Change::words(words.done, &self.name);
            output::print_either(self.on.json, &document, &format!("{done} (store {store})"))
        })
    }
}

impl Removal {
    pub(super) fn name(&self) -> &str {
        self.named.name()
    }

    /// Makes a change that cannot be undone, once the person at the terminal has agreed to it. Prints the message that it
    /// returns and the store.
    pub(super) fn change<'a, E: Display>(
        &self,
        question: &str,
        change: impl AsyncFnOnce(&Service, &str, &CommandLine) -> Result<&'a Change, E>,
    ) -> Outcome {
        let question = Change::words(question, self.name());
        let agreed = |store: &str| self.consent.given(&format!("{question} (store {store})"));
        self.named
            .change_if(agreed, async |service, name, command, ()| {
                change(service, name, command).await
            })
    }
}
