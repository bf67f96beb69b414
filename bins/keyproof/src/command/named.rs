//! Commands that change one thing of a store, which its name tells from others.

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

/// Which thing, and in which store.
#[derive(Args, Debug)]
pub(super) struct Named {
    /// Its name
    name: String,
    #[command(flatten)]
    on: StoreArguments,
}

/// Which thing to remove, and whether that was asked already.
#[derive(Args, Debug)]
pub(super) struct Doomed {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    consent: Consent,
}

/// A change in words.
pub(super) struct Change {
    /// What programs call it, done.
    pub(super) member: &'static str,
    /// What people are told, done: the thing's name stands for `{}`.
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

    /// Makes a change with a new password, which is asked for once the store is open, and says so, and in which store.
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

    /// Makes a change whose outcome says in which words it is told, and in which store.
    pub(super) fn change_telling<'a, E: Display>(
        &self,
        change: impl AsyncFnOnce(&Service, &str, &CommandLine) -> Result<&'a Change, E>,
    ) -> Outcome {
        self.change_if(
            |_| Ok(()),
            async |service, name, command, ()| change(service, name, command).await,
        )
    }

    /// Makes a change with what the person at the terminal is asked for once the store is known, if that is still wanted then.
    fn change_if<'a, A, E: Display>(
        &self,
        wanted: impl FnOnce(&str) -> Result<A, Failure>,
        change: impl AsyncFnOnce(&Service, &str, &CommandLine, A) -> Result<&'a Change, E>,
    ) -> Outcome {
        with_store(&self.on.store, async |service, store| {
            let answer = wanted(store)?;
            let words = change(&service, &self.name, &terminal::command_line(), answer)
                .await
                .map_err(Failure::refused)?;
            let document = json!({ words.member: self.name });
            let done = Change::words(words.done, &self.name);
            output::print_either(self.on.json, &document, &format!("{done} (store {store})"))
        })
    }
}

impl Doomed {
    pub(super) fn name(&self) -> &str {
        self.named.name()
    }

    /// Makes a change that is not undone, once the person at the terminal has agreed to it.
    pub(super) fn change<E: Display>(
        &self,
        question: &str,
        words: &Change,
        change: impl AsyncFnOnce(&Service, &str, &CommandLine) -> Result<(), E>,
    ) -> Outcome {
        let question = Change::words(question, self.name());
        let agreed = |store: &str| self.consent.given(&format!("{question} (store {store})"));
        self.named
            .change_if(agreed, async |service, name, command, ()| {
                change(service, name, command).await.map(|()| words)
            })
    }
}
