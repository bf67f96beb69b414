//! `keyproof keys rotate`: replaces the master key while all nodes serve. `keys signing`: the keys of access tokens.

use std::{thread, time::Instant};

use clap::{Args, Subcommand};
use keyproof_service::{Action, Failure as NotEnded};
use keyproof_store::{Batch, KeyId, MasterKey, RotateError, Rotation, Store, SystemEntropy};
use serde_json::json;

use super::{
    Failure, Outcome,
    flags::StoreArguments,
    output,
    progress::Progress,
    terminal,
    with_store::{add_event, block_on, must_be_shared, open_existing, with_records, with_service},
};
use crate::{config::Config, rfc3339::Rfc3339};

const STEPS: &str = "\
prepare adds a new key to the key file: copy that file to every node and restart them, one by one. switch makes the new key seal, \
and re-seals what is under the old one, while all nodes serve; if interrupted, run it again. finish checks the whole store, and \
refuses if anything is under the old key; then remove the old key's line from every node's file.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Rotate the master key, while servers run
    #[command(subcommand, after_help = STEPS)]
    Rotate(Step),
    /// Manage the keys that sign access tokens
    #[command(subcommand)]
    Signing(Signing),
}

#[derive(Debug, Subcommand)]
pub(super) enum Signing {
    /// Sign with a new key from now on; earlier tokens remain valid until they expire
    Rotate(StoreArguments),
    /// Revoke a key that has leaked: every server rejects its tokens from now on
    End(EndArguments),
    /// List the keys that verify access tokens, the newest first
    List(StoreArguments),
}

#[derive(Args, Debug)]
pub(super) struct EndArguments {
    /// The key's id, as `jwks.json` and a token's `kid` have it
    // It is Base64url, so one id of 64 begins with a hyphen.
    #[arg(value_name = "KID", allow_hyphen_values = true)]
    id: String,
    #[command(flatten)]
    store: StoreArguments,
}

#[derive(Debug, Subcommand)]
pub(super) enum Step {
    /// Create a new key and add it to the key file
    Prepare(PrepareArguments),
    /// Seal with the new key from now on, and re-seal everything
    Switch(StoreArguments),
    /// Check that nothing is under the old key, and forget it
    Finish(StoreArguments),
}

#[derive(Args, Debug)]
pub(super) struct PrepareArguments {
    /// The id of a prepared key that no server has any more; another replaces it
    #[arg(long, value_name = "KEY")]
    lost: Option<KeyId>,
    #[command(flatten)]
    store: StoreArguments,
}

pub(super) fn run(command: &Command) -> Outcome {
    match command {
        Command::Rotate(Step::Prepare(arguments)) => prepare(arguments),
        Command::Rotate(Step::Switch(arguments)) => {
            with_records(&arguments.store, async |store, _| {
                switch(store, arguments.json).await
            })
        }
        Command::Rotate(Step::Finish(arguments)) => {
            with_records(&arguments.store, async |store, _| {
                finish(store, arguments.json).await
            })
        }
        Command::Signing(Signing::End(arguments)) => end_signing_key(arguments),
        Command::Signing(Signing::List(arguments)) => list_signing_keys(arguments),
        Command::Signing(Signing::Rotate(arguments)) => replace_signing_key(arguments),
    }
}

fn replace_signing_key(arguments: &StoreArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let command = terminal::command_line();
        let replaced = service.accounts.replace_signing_key(&command).await?;
        let signing = &replaced.signing;
        let mut text =
            format!("key {signing} signs access tokens; running servers notice within a minute");
        let (former, until) = replaced.former.unzip();
        let until = until.map(|until| Rfc3339(until).to_string());
        if let (Some(former), Some(until)) = (&former, &until) {
            text += &format!(
                "\ntokens of key {former} remain valid until they expire, and it is published until {until}"
            );
        }
        let document = json!({ "signing": signing, "former": former, "published_until": until });
        output::print_either(arguments.json, &document, &text)
    })
}

fn end_signing_key(arguments: &EndArguments) -> Outcome {
    let EndArguments { id, store } = arguments;
    with_service(&store.store, async |service| {
        let command = terminal::command_line();
        let ended = service
            .accounts
            .end_signing_key(id, &command)
            .await
            .map_err(|error| match error {
                NotEnded::Refused(unknown) => Failure::Refused(format!(
                    "{unknown}: `keyproof keys signing list` prints those that do"
                )),
                NotEnded::Storage(error) => error.into(),
            })?;
        let mut text = format!(
            "key {} is revoked: every server refuses its tokens, and their users must log in again",
            ended.ended
        );
        if let Some(signing) = &ended.signing {
            text += &format!("\nkey {signing} signs access tokens");
        }
        let document = json!({ "ended": ended.ended, "signing": ended.signing });
        output::print_either(store.json, &document, &text)
    })
}

fn list_signing_keys(arguments: &StoreArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let keys = service.accounts.public_keys().await?;
        if arguments.json {
            let keys = keys.iter().map(|key| &*key.id);
            output::print_json(&keys.collect::<Vec<_>>())?;
        } else {
            for key in keys {
                output::print(&key.id)?;
            }
        }
        Ok(())
    })
}

fn prepare(
    PrepareArguments {
        lost,
        store: arguments,
    }: &PrepareArguments,
) -> Outcome {
    let config = arguments.store.load()?;
    must_be_shared(&config)?;
    block_on(async {
        let before = open_existing(&config).await?;
        let rotation = before.rotation().await;
        before.close().await;
        let rotation = rotation?;
        let id = next_key(&config, &rotation, *lost)?;
        let lost = rotation.next.filter(|next| *next != id);
        // Opened again, with the new key.
        let store = open_existing(&config).await?;
        let event = |batch: &mut Batch, _: &Rotation| {
            let detail = match lost {
                Some(lost) => format!("to {id}, in place of {lost}"),
                None => format!("to {id}"),
            };
            add_event(&store, batch, Action::MasterKeyPrepare, detail);
        };
        let prepared = store.prepare_rotation_with(id, lost, event).await;
        store.close().await;
        prepared?;
        let (sealing, file) = (rotation.sealing, config.store.key_file());
        let file = file.map(|file| file.display().to_string());
        let document =
            json!({ "sealing": sealing, "next": id, "in_place_of": lost, "key_file": file });
        let replaced = lost.map_or_else(String::new, |lost| {
            format!("{id} replaces the prepared master key {lost}, under which nothing is sealed\n")
        });
        let (place, gift) = match file {
            Some(file) => (format!(" in {file}"), "copy that file"),
            None => (String::new(), "give both keys"),
        };
        let text = format!(
            "{replaced}master key {id} is prepared{place}, and {sealing} still seals\n\
             {gift} to every node and restart them one by one; then: keyproof keys rotate switch"
        );
        output::print_either(arguments.json, &document, &text)
    })
}

/// Returns the key that is to seal next: the prepared one, else the first in the file after the one that seals, else a
/// new one.
///
/// A prepared key that is missing here may be on another node, so it is replaced only if the operator names it as lost.
fn next_key(config: &Config, rotation: &Rotation, lost: Option<KeyId>) -> Result<KeyId, Failure> {
    if let Some(from) = rotation.opening.first() {
        let to = rotation.sealing;
        return Err(RotateError::UnderWay { from: *from, to }.into());
    }
    let given = config.store.find_keys()?;
    let given = given.as_ref();
    // A command that gives up a key for the second time has replaced it the first time.
    if let Some(next) = rotation.next
        && given.is_some_and(|keys| keys.get(next).is_some())
        && lost != Some(rotation.sealing)
    {
        return Ok(next);
    }
    if let Some(lost) = lost
        && rotation.next != Some(lost)
    {
        let prepared = match rotation.next {
            Some(next) => format!("the prepared key is {next}"),
            None => "no key is prepared".to_owned(),
        };
        return Err(Failure::Usage(format!(
            "--lost {lost}: this is not the prepared key: {prepared}"
        )));
    }
    if let (None, Some(next)) = (lost, rotation.next) {
        return Err(RotateError::UnknownKey { id: next }.into());
    }
    let sealing = rotation.sealing;
    if let Some(id) = given.and_then(|keys| keys.after(sealing)) {
        return Ok(id);
    }
    // Another process may add one meanwhile, which is then the next for both.
    let new = MasterKey::generate(&SystemEntropy::new());
    Ok(config.store.key_after(sealing, &new)?)
}

async fn switch(store: &Store, json: bool) -> Outcome {
    let event = |batch: &mut Batch, before: &Rotation| {
        if let Some(next) = before.next {
            let detail = format!("from {} to {next}", before.sealing);
            add_event(store, batch, Action::MasterKeySwitch, detail);
        }
    };
    store.switch_key_with(event).await?;
    let rotation = store.rotation().await?;
    let mut progress = Progress::over(store).await;
    let told = paced(|read| progress.show(read));
    let resealed = store.reseal_all(told).await?;
    progress.end();
    let sealing = rotation.sealing;
    let document = json!({ "sealing": sealing, "opening": rotation.opening, "resealed": resealed });
    let records = output::counted(resealed, "record");
    let told = format!("master key {sealing} seals; {records} re-sealed");
    let text = format!("{told}\nthen: keyproof keys rotate finish");
    output::print_either(json, &document, &text)
}

/// Blocks after each page of records for as long as it took, so that servers can write. An SQLite file has one writer at a
/// time, and a process that waits for its turn only looks now and then: between two records it hardly ever gets one.
fn paced(mut told: impl FnMut(u64)) -> impl FnMut(u64) {
    let mut began = Instant::now();
    move |read| {
        told(read);
        thread::sleep(began.elapsed());
        began = Instant::now();
    }
}

async fn finish(store: &Store, json: bool) -> Outcome {
    let before = store.rotation().await?;
    let mut progress = Progress::over(store).await;
    let event = |batch: &mut Batch, before: &Rotation| {
        let detail = format!("all is sealed under {}", before.sealing);
        add_event(store, batch, Action::MasterKeyFinish, detail);
    };
    let finished = store.finish_rotation_with(|read| progress.show(read), event);
    finished.await?;
    progress.end();
    let sealing = before.sealing;
    // Told even if this fails: the store does not name them any more when it is run again.
    let mut removals = String::new();
    for id in &before.opening {
        removals += &format!(
            "\nremove master key {id} from every node's key file; archived logs and backups may still need it"
        );
    }
    store.compact().await.map_err(|error| {
        Failure::Refused(format!(
            "all records are sealed under master key {sealing}, but the file still contains what was under another: {error}: \
             run this again{removals}"
        ))
    })?;
    let text = format!("all records are sealed under master key {sealing}{removals}");
    let document = json!({ "sealing": sealing, "forgotten": before.opening });
    output::print_either(json, &document, &text)
}

/// Lists the keys' ids for a message.
pub(super) fn listed(ids: &[KeyId]) -> String {
    let ids: Vec<_> = ids.iter().map(KeyId::to_string).collect();
    ids.join(", ")
}

impl From<RotateError> for Failure {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::NotPrepared => {
                Self::Refused(format!("{error}: run keyproof keys rotate prepare"))
            }
            RotateError::Unfinished { .. } => {
                Self::Refused(format!("{error}: run keyproof keys rotate switch"))
            }
            RotateError::UnderWay { .. } => Self::Refused(format!(
                "{error}: run keyproof keys rotate switch, and then finish"
            )),
            RotateError::UnknownKey { id } => Self::Usage(format!(
                "{error}: add it to the key file, or, only if no server has it any more, run keyproof keys rotate prepare --lost {id}"
            )),
            other => Self::refused(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    #[test]
    fn servers_have_the_store_for_as_long_as_a_page_took() {
        const PAGE: Duration = Duration::from_millis(50);
        let shown = Cell::new(0);
        let mut told = paced(|read| shown.set(read));
        for read in [64, 128] {
            thread::sleep(PAGE);
            let began = Instant::now();
            told(read);
            assert!(began.elapsed() >= PAGE);
            assert_eq!(shown.get(), read);
        }
    }
}
