//! `keyproof instance`: Taler instances, changed while servers run.

use clap::Subcommand;
use keyproof_service::otp_devices::{DEFAULT_INSTANCE, InstanceAdministrator, InstanceSummary};
use serde_json::json;

use super::{
    Outcome,
    flags::StoreArguments,
    named::{Change, PasswordArguments, Removal},
    output,
    terminal::command_line,
    with_store::with_service,
};
use crate::rfc3339::Rfc3339;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add an instance, with a password
    Add(PasswordArguments),
    /// List the instances
    List(StoreArguments),
    /// Remove an instance with its devices and tokens; `default` is emptied instead
    Remove(Removal),
    /// Set an instance's password, and revoke its login tokens
    SetPassword(PasswordArguments),
}

const ADDED: Change = Change {
    member: "added",
    done: "added the instance {}",
};

const REMOVED: Change = Change {
    member: "removed",
    done: "removed the instance {} with its devices and tokens",
};

const EMPTIED: Change = Change {
    member: "removed",
    done: "emptied the instance {}, which cannot be removed: its devices, tokens and password are deleted",
};

const PASSWORD_SET: Change = Change {
    member: "password_set",
    done: "set the password of the instance {}; its login tokens are revoked",
};

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Add(PasswordArguments { named, password }) => {
            named.change_with(&password, &ADDED, async |service, name, _, password| {
                let devices = &service.otp_devices;
                devices.add_instance(&administrator(name), password).await
            })
        }
        Command::List(arguments) => list(&arguments),
        Command::Remove(instance) => {
            let (question, words) = if instance.name() == DEFAULT_INSTANCE {
                (
                    "Empty the instance {} of its devices, tokens and password",
                    &EMPTIED,
                )
            } else {
                (
                    "Remove the instance {} with its devices and tokens",
                    &REMOVED,
                )
            };
            instance.change(question, async |service, name, _| {
                let devices = &service.otp_devices;
                let removed = devices.remove_instance(&administrator(name)).await;
                removed.map(|()| words)
            })
        }
        Command::SetPassword(PasswordArguments { named, password }) => named.change_with(
            &password,
            &PASSWORD_SET,
            async |service, name, _, password| {
                let devices = &service.otp_devices;
                devices.set_password(&administrator(name), password).await
            },
        ),
    }
}

fn administrator(instance: &str) -> InstanceAdministrator {
    InstanceAdministrator::of_command_line(&command_line(), instance)
}

fn list(arguments: &StoreArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        output::print_pages(
            "instances",
            arguments.json,
            async |last| Ok(service.otp_devices.instances(last).await?),
            |instance| Ok(summary(instance)),
            line,
        )
        .await
    })
}

fn line(instance: &InstanceSummary) -> String {
    let password = if instance.has_password {
        "password"
    } else {
        "no password"
    };
    let created = Rfc3339(instance.created_at);
    format!("{}\t{password}\t{created}", instance.name)
}

fn summary(instance: &InstanceSummary) -> serde_json::Value {
    json!({
        "name": instance.name,
        "has_password": instance.has_password,
        "created_at": Rfc3339(instance.created_at).to_string(),
    })
}
