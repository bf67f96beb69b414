//! `keyproof instance`: Taler instances, changed while servers run.

use clap::{Args, Subcommand};
use keyproof_service::otp_devices::InstanceSummary;
use serde_json::json;

use super::{
    Failure, Outcome,
    console::{self, PasswordSource},
    flags::StoreFlags,
    moment::Rfc3339,
    output,
    store::with_service,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an instance, with a password
    Add(NewPasswordArguments),
    /// List the instances
    List(ListArguments),
    /// Remove an instance with its devices and tokens
    Remove(RemoveArguments),
    /// Set an instance's password; its login tokens end
    SetPassword(NewPasswordArguments),
}

#[derive(Args, Debug)]
pub(super) struct NewPasswordArguments {
    /// The instance
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
pub(super) struct ListArguments {
    #[command(flatten)]
    store: StoreFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct RemoveArguments {
    /// The instance
    name: String,
    #[command(flatten)]
    store: StoreFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Add(arguments) => add(&arguments),
        Command::List(arguments) => list(&arguments),
        Command::Remove(arguments) => remove(&arguments),
        Command::SetPassword(arguments) => set_password(&arguments),
    }
}

fn add(arguments: &NewPasswordArguments) -> Outcome {
    let password = arguments.password.read()?;
    with_service(&arguments.store, async |service| {
        let devices = &service.otp_devices;
        devices
            .add_instance(&arguments.name, password, &console::origin())
            .await
            .map_err(Failure::refused)
    })?;
    told(arguments.json, "added", &arguments.name)
}

fn set_password(arguments: &NewPasswordArguments) -> Outcome {
    let password = arguments.password.read()?;
    with_service(&arguments.store, async |service| {
        let devices = &service.otp_devices;
        devices
            .set_password(&arguments.name, password, &console::origin())
            .await
            .map_err(Failure::refused)
    })?;
    told(arguments.json, "password_set", &arguments.name)
}

fn remove(arguments: &RemoveArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let devices = &service.otp_devices;
        devices
            .remove_instance(&arguments.name, &console::origin())
            .await
            .map_err(Failure::refused)
    })?;
    told(arguments.json, "removed", &arguments.name)
}

fn list(arguments: &ListArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let instances = service
            .otp_devices
            .instances()
            .await
            .map_err(Failure::refused)?;
        if arguments.json {
            let instances: Vec<_> = instances.iter().map(summary).collect();
            output::print_json(&json!({ "instances": instances }))?;
        } else {
            for instance in instances {
                let password = if instance.has_password {
                    "password"
                } else {
                    "no password"
                };
                let created = Rfc3339(instance.created_at);
                output::print(&format!("{}\t{password}\t{created}", instance.name))?;
            }
        }
        Ok(())
    })
}

fn summary(instance: &InstanceSummary) -> serde_json::Value {
    json!({
        "name": instance.name,
        "has_password": instance.has_password,
        "created_at": Rfc3339(instance.created_at).to_string(),
    })
}

/// Says what was done, to programs; people see that there is nothing to complain about.
fn told(json: bool, done: &str, name: &str) -> Outcome {
    if json {
        output::print_json(&json!({ done: name }))?;
    }
    Ok(())
}
