//! `keyproof user`: users' accounts, changed while servers run.

use clap::{Args, Subcommand};
use keyproof_service::accounts::{NewUser, Role, UserStatus, UserSummary};
use serde_json::json;

use super::{
    Failure, Outcome,
    console::PasswordSource,
    flags::StoreArguments,
    moment::Rfc3339,
    named::{Change, Doomed, Named},
    output::{self, printable},
    store::with_service,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Let a suspended user log in again
    Activate(Named),
    /// Make an account, with a password
    Add(AddArguments),
    /// List the users
    List(StoreArguments),
    /// Remove an account with its keys, devices and tokens
    Remove(Doomed),
    /// Set a user's password; their tokens and trusted devices end
    SetPassword(PasswordArguments),
    /// Keep a user from logging in; their tokens and trusted devices end
    Suspend(Named),
    /// Lift a user's lock
    Unlock(Named),
}

#[derive(Args, Debug)]
pub(super) struct AddArguments {
    #[command(flatten)]
    user: Named,
    /// The organisation, by name; made if it is new
    #[arg(long, value_name = "ORG")]
    organisation: String,
    /// User, Observer, Administrator or SuperAdmin
    #[arg(long, default_value = "User")]
    role: Role,
    #[command(flatten)]
    password: PasswordSource,
}

#[derive(Args, Debug)]
pub(super) struct PasswordArguments {
    #[command(flatten)]
    user: Named,
    #[command(flatten)]
    password: PasswordSource,
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

const PASSWORD_SET: Change = Change {
    member: "password_set",
    done: "set the password of the user {}; their tokens and trusted devices have ended",
};

const SUSPENDED: Change = Change {
    member: "suspended",
    done: "suspended the user {}; their tokens and trusted devices have ended",
};

const UNLOCKED: Change = Change {
    member: "unlocked",
    done: "lifted the lock of the user {}",
};

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Activate(user) => user.change(&ACTIVATED, async |service, name, origin| {
            service.accounts.activate_user(name, origin).await
        }),
        Command::Add(arguments) => add(arguments),
        Command::List(arguments) => list(&arguments),
        Command::Remove(user) => {
            let question = "Remove the user {} with their keys, devices and tokens";
            user.change(question, &REMOVED, async |service, name, origin| {
                service.accounts.remove_user(name, origin).await
            })
        }
        Command::SetPassword(PasswordArguments { user, password }) => {
            let password = password.read()?;
            user.change(&PASSWORD_SET, async |service, name, origin| {
                let accounts = &service.accounts;
                accounts.set_user_password(name, password, origin).await
            })
        }
        Command::Suspend(user) => user.change(&SUSPENDED, async |service, name, origin| {
            service.accounts.suspend_user(name, origin).await
        }),
        Command::Unlock(user) => user.change(&UNLOCKED, async |service, name, origin| {
            service.accounts.unlock_user(name, origin).await
        }),
    }
}

fn add(arguments: AddArguments) -> Outcome {
    let password = arguments.password.read()?;
    let new = NewUser {
        name: arguments.user.name().to_owned(),
        organisation: arguments.organisation,
        role: arguments.role,
    };
    arguments.user.change(&ADDED, async |service, _, origin| {
        service.accounts.add_user(&new, password, origin).await
    })
}

fn list(arguments: &StoreArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let users = service
            .accounts
            .all_users()
            .await
            .map_err(Failure::refused)?;
        if arguments.json {
            let users: Vec<_> = users.iter().map(document).collect();
            output::print_json(&json!({ "users": users }))?;
        } else {
            for user in users {
                let (name, organisation) = (printable(&user.name), printable(&user.organisation));
                let (status, created) = (status(user.status), Rfc3339(user.created_at));
                output::print(&format!(
                    "{name}\t{organisation}\t{}\t{status}\t{created}",
                    user.role
                ))?;
            }
        }
        Ok(())
    })
}

fn document(user: &UserSummary) -> serde_json::Value {
    json!({
        "id": user.id,
        "name": user.name,
        "organisation": user.organisation,
        "role": user.role.name(),
        "status": status(user.status),
        "created_at": Rfc3339(user.created_at).to_string(),
    })
}

const fn status(status: UserStatus) -> &'static str {
    match status {
        UserStatus::Active => "active",
        UserStatus::Suspended => "suspended",
    }
}
