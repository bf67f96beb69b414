//! `keyproof user`: users' accounts, changed while servers run.

use clap::{Args, Subcommand};
use keyproof_service::accounts::{NewUser, Role, UserStatus, UserSummary};
use serde_json::json;

use super::{
    Failure, Outcome,
    console::{self, PasswordSource},
    flags::StoreFlags,
    moment::Rfc3339,
    output::{self, printable},
    store::with_service,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Let a suspended user log in again
    Activate(NameArguments),
    /// Make an account, with a password
    Add(AddArguments),
    /// List the users
    List(ListArguments),
    /// Remove an account with its keys, devices and tokens
    Remove(NameArguments),
    /// Set a user's password; their tokens and trusted devices end
    SetPassword(PasswordArguments),
    /// Keep a user from logging in; their tokens and trusted devices end
    Suspend(NameArguments),
    /// Lift a user's lock
    Unlock(NameArguments),
}

#[derive(Args, Debug)]
pub(super) struct AddArguments {
    /// What the user logs in with
    name: String,
    /// The organisation, by name; made if it is new
    #[arg(long, value_name = "ORG")]
    organisation: String,
    /// User, Observer, Administrator or SuperAdmin
    #[arg(long, default_value = "User")]
    role: Role,
    #[command(flatten)]
    password: PasswordSource,
    #[command(flatten)]
    store: StoreFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct PasswordArguments {
    /// The user
    name: String,
    #[command(flatten)]
    password: PasswordSource,
    #[command(flatten)]
    store: StoreFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct NameArguments {
    /// The user
    name: String,
    #[command(flatten)]
    store: StoreFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ListArguments {
    #[command(flatten)]
    store: StoreFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Activate(arguments) => activate(&arguments),
        Command::Add(arguments) => add(&arguments),
        Command::List(arguments) => list(&arguments),
        Command::Remove(arguments) => remove(&arguments),
        Command::SetPassword(arguments) => set_password(&arguments),
        Command::Suspend(arguments) => suspend(&arguments),
        Command::Unlock(arguments) => unlock(&arguments),
    }
}

fn add(arguments: &AddArguments) -> Outcome {
    let password = arguments.password.read()?;
    let new = NewUser {
        name: arguments.name.clone(),
        organisation: arguments.organisation.clone(),
        role: arguments.role,
    };
    with_service(&arguments.store, async |service| {
        service
            .accounts
            .add_user(&new, password, &console::origin())
            .await
            .map_err(Failure::refused)
    })?;
    told(arguments.json, "added", &arguments.name)
}

fn set_password(arguments: &PasswordArguments) -> Outcome {
    let password = arguments.password.read()?;
    with_service(&arguments.store, async |service| {
        let accounts = &service.accounts;
        accounts
            .set_user_password(&arguments.name, password, &console::origin())
            .await
            .map_err(Failure::refused)
    })?;
    told(arguments.json, "password_set", &arguments.name)
}

fn remove(arguments: &NameArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let accounts = &service.accounts;
        accounts
            .remove_user(&arguments.name, &console::origin())
            .await
            .map_err(Failure::refused)
    })?;
    told(arguments.json, "removed", &arguments.name)
}

fn suspend(arguments: &NameArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let accounts = &service.accounts;
        accounts
            .suspend_user(&arguments.name, &console::origin())
            .await
            .map_err(Failure::refused)
    })?;
    told(arguments.json, "suspended", &arguments.name)
}

fn activate(arguments: &NameArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let accounts = &service.accounts;
        accounts
            .activate_user(&arguments.name, &console::origin())
            .await
            .map_err(Failure::refused)
    })?;
    told(arguments.json, "activated", &arguments.name)
}

fn unlock(arguments: &NameArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let accounts = &service.accounts;
        accounts
            .unlock_user(&arguments.name, &console::origin())
            .await
            .map_err(Failure::refused)
    })?;
    told(arguments.json, "unlocked", &arguments.name)
}

fn list(arguments: &ListArguments) -> Outcome {
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

/// Says what was done, to programs; people see that there is nothing to complain about.
fn told(json: bool, done: &str, name: &str) -> Outcome {
    if json {
        output::print_json(&json!({ done: name }))?;
    }
    Ok(())
}
