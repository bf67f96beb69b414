//! `keyproof user`: users' accounts, changed while servers run.

use clap::{Args, Subcommand};
use keyproof_service::{
    Timestamp,
    accounts::{
        AccountTarget, ApplicationTokenSummary, Forgetting, NewUser, Revocation, Role, Unlocking,
        UserChange, UserStatus, UserView,
    },
};
use serde_json::json;

use super::{
    Failure, Outcome,
    flags::StoreArguments,
    named::{Change, Named, PasswordArguments, Removal},
    output::{self, printable},
    terminal::{self, PasswordSource},
    with_store::{with_service, with_store},
};
use crate::rfc3339::Rfc3339;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Let a suspended user log in again
    Activate(Named),
    /// Add a user's account, with a password
    Add(AddArguments),
    /// List the users, grouped by organisation
    List(StoreArguments),
    /// Remove an account with its keys, devices and tokens, including application tokens
    Remove(RemoveArguments),
    /// Set a user's password, and revoke their tokens, application tokens and trusted devices
    SetPassword(PasswordArguments),
    /// Keep a user from logging in, and revoke their tokens, application tokens and trusted devices
    Suspend(Named),
    /// List or revoke a user's application tokens
    Tokens(TokensArguments),
    /// Lift a user's lock
    Unlock(Named),
}

const EXAMPLE: &str = "\
Example: keyproof user add ada --organisation Acme --role Administrator";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(super) struct AddArguments {
    #[command(flatten)]
    user: Named,
    /// The organisation's name; a new one is created
    #[arg(long, value_name = "ORG")]
    organisation: String,
    /// User, Observer, Administrator or SuperAdmin
    #[arg(long, default_value = "User")]
    role: Role,
    #[command(flatten)]
    password: PasswordSource,
}

#[derive(Args, Debug)]
pub(super) struct RemoveArguments {
    #[command(flatten)]
    user: Removal,
    /// Also forget the name, even if the user is already removed: the audit trail then shows a number instead
    #[arg(long)]
    forget: bool,
}

const ACTIVATED: Change = Change {
    member: "activated",
    done: "activated the user {}",
};

const ADDED: Change = Change {
    member: "added",
    done: "added the user {}",
};

const REMOVED: Change = Change {
    member: "removed",
    done: "removed the user {} with their keys, devices and tokens",
};

const FORGOTTEN: Change = Change {
    member: "forgotten",
    done: "removed the user {} with their keys, devices and tokens, and forgot the name",
};

const NAME_FORGOTTEN: Change = Change {
    member: "forgotten",
    done: "the user {} was already removed; forgot the name",
};

const PASSWORD_SET: Change = Change {
    member: "password_set",
    done: "set the password of the user {}; their tokens, application tokens and trusted devices are revoked",
};

const SUSPENDED: Change = Change {
    member: "suspended",
    done: "suspended the user {}; their tokens, application tokens and trusted devices are revoked",
};

const UNLOCKED: Change = Change {
    member: "unlocked",
    done: "lifted the lock of the user {}",
};

const NO_LOCK: Change = Change {
    member: "unlocked",
    done: "the user {} had no lock to lift",
};

#[derive(Args, Debug)]
pub(super) struct TokensArguments {
    /// The user's name
    name: String,
    #[command(subcommand)]
    command: TokensCommand,
}

#[derive(Debug, Subcommand)]
enum TokensCommand {
    /// List the tokens
    List(StoreArguments),
    /// Revoke a token
    Revoke(RevokeArguments),
}

#[derive(Args, Debug)]
struct RevokeArguments {
    /// The token's id, as `tokens NAME list` shows it
    #[arg(value_parser = token_id)]
    id: u32,
    #[command(flatten)]
    on: StoreArguments,
}

fn token_id(text: &str) -> Result<u32, &'static str> {
    text.parse()
        .map_err(|_| "a number, as `user tokens NAME list` shows it")
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Activate(user) => change(&user, UserChange::Activate, &ACTIVATED),
        Command::Add(arguments) => add(arguments),
        Command::List(arguments) => list(&arguments),
        Command::Remove(RemoveArguments {
            user,
            forget: false,
        }) => {
            let question = "Remove the user {} with their keys, devices and tokens";
            user.change(question, async |service, name, command| {
                let removed = service.accounts.remove_user(name, command).await;
                removed.map(|()| &REMOVED)
            })
        }
        Command::Remove(RemoveArguments { user, forget: true }) => {
            let question =
                "Remove the user {} with their keys, devices and tokens, and forget the name";
            user.change(question, async |service, name, command| {
                let forgotten = service.accounts.forget_user(name, command).await;
                forgotten.map(|forgetting| match forgetting {
                    Forgetting::Removed => &FORGOTTEN,
                    Forgetting::RemovedBefore => &NAME_FORGOTTEN,
                })
            })
        }
        Command::SetPassword(PasswordArguments { named, password }) => named.change_with(
            &password,
            &PASSWORD_SET,
            async |service, name, command, password| {
                let accounts = &service.accounts;
                accounts.set_user_password(name, password, command).await
            },
        ),
        Command::Suspend(user) => change(&user, UserChange::Suspend, &SUSPENDED),
        Command::Tokens(TokensArguments { name, command }) => match command {
            TokensCommand::List(arguments) => list_tokens(&name, &arguments),
            TokensCommand::Revoke(arguments) => revoke_token(&name, &arguments),
        },
        Command::Unlock(user) => change(&user, UserChange::Unlock, &UNLOCKED),
    }
}

fn change(user: &Named, change: UserChange, words: &'static Change) -> Outcome {
    user.change_reporting(async |service, name, command| {
        let account_target = AccountTarget::Named(command, name);
        let changed = service.accounts.change_user(account_target, change).await;
        changed.map(|unlocking| match unlocking {
            Some(Unlocking::NoLock) => &NO_LOCK,
            Some(Unlocking::Lifted) | None => words,
        })
    })
}

fn add(arguments: AddArguments) -> Outcome {
    let (user, password) = (arguments.user, arguments.password);
    let new = NewUser {
        name: user.name().to_owned(),
        organisation: arguments.organisation,
        role: arguments.role,
    };
    user.change_with(&password, &ADDED, async |service, _, command, password| {
        service.accounts.add_user(&new, password, command).await
    })
}

fn list(arguments: &StoreArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        output::print_pages(
            "users",
            arguments.json,
            async |last| Ok(service.accounts.all_users(last).await?),
            |user| Ok(document(user)),
            line,
        )
        .await
    })
}

fn line(user: &UserView) -> String {
    let (name, organisation) = (printable(&user.name), printable(&user.organisation_name));
    let (status, created) = (status(user.status), Rfc3339(user.created_at));
    format!("{name}\t{organisation}\t{}\t{status}\t{created}", user.role)
}

fn document(user: &UserView) -> serde_json::Value {
    json!({
        "id": user.id,
        "name": user.name,
        "organisation": user.organisation_name,
        "role": user.role.name(),
        "status": status(user.status),
        "created_at": Rfc3339(user.created_at).to_string(),
    })
}

fn list_tokens(name: &str, arguments: &StoreArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let tokens = service.accounts.application_tokens_of(name).await?;
        let now = service.now();
        if arguments.json {
            let tokens = tokens.iter().map(|token| token_document(token, now));
            let tokens: Vec<_> = tokens.collect();
            output::print_json(&json!({ "tokens": tokens }))?;
        } else {
            for token in tokens {
                let (status, created) = (token_status(&token, now), Rfc3339(token.created_at));
                let expires = token.valid_until.map(|end| Rfc3339(end).to_string());
                let expires = expires.as_deref().unwrap_or("never");
                let network = token.network.map(|network| network.to_string());
                let network = network.as_deref().unwrap_or("anywhere");
                let description = token.description.as_deref().unwrap_or_default();
                output::print(&format!(
                    "{}\t{status}\t{created}\t{expires}\t{network}\t{}",
                    token.id,
                    printable(description)
                ))?;
            }
        }
        Ok(())
    })
}

fn revoke_token(name: &str, arguments: &RevokeArguments) -> Outcome {
    with_store(&arguments.on.store, async |service, store| {
        let accounts = &service.accounts;
        let command = terminal::command_line();
        let revoked = accounts.revoke_application_token(name, arguments.id, &command);
        let revocation = revoked
            .await
            .map_err(|error| Failure::from(error).of_store(store))?;
        let (id, name) = (arguments.id, printable(name));
        let told = match revocation {
            Revocation::Before => {
                format!("the application token {id} of the user {name} was already revoked")
            }
            Revocation::Now => format!("revoked the application token {id} of the user {name}"),
        };
        let (document, text) = (json!({ "revoked": id }), format!("{told} (store {store})"));
        output::print_either(arguments.on.json, &document, &text)
    })
}

fn token_document(token: &ApplicationTokenSummary, now: Timestamp) -> serde_json::Value {
    json!({
        "id": token.id,
        "description": token.description,
        "status": token_status(token, now),
        "created_at": Rfc3339(token.created_at).to_string(),
        "expires_at": token.valid_until.map(|end| Rfc3339(end).to_string()),
        "network": token.network.map(|network| network.to_string()),
    })
}

fn token_status(token: &ApplicationTokenSummary, now: Timestamp) -> &'static str {
    if token.is_revoked {
        "revoked"
    } else if token.valid_until.is_some_and(|end| now >= end) {
        "expired"
    } else {
        "active"
    }
}

const fn status(status: UserStatus) -> &'static str {
    match status {
        UserStatus::Active => "active",
        UserStatus::Suspended => "suspended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_active_until_it_expires_or_is_revoked() {
        let now = Timestamp::from_secs(10);
        for (end, is_revoked, status) in [
            (None, false, "active"),
            (Some(11), false, "active"),
            (Some(10), false, "expired"),
            (Some(10), true, "revoked"),
            (None, true, "revoked"),
        ] {
            let token = ApplicationTokenSummary {
                id: 1,
                description: None,
                created_at: Timestamp::EPOCH,
                valid_until: end.map(Timestamp::from_secs),
                network: None,
                is_revoked,
                creator: 1,
                creator_name: "ada".to_owned(),
            };
            assert_eq!(token_status(&token, now), status);
        }
    }
}
