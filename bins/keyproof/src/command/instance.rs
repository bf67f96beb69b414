//! `keyproof instance`: Taler instances, changed while servers run.

use clap::{Args, Subcommand};
use keyproof_service::otp_devices::InstanceSummary;
use serde_json::json;

use super::{
    Failure, Outcome, console::PasswordSource, flags::StoreArguments, moment::Rfc3339,
    named::Named, output, store::with_service,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an instance, with a password
    Add(PasswordArguments),
    /// List the instances
    List(StoreArguments),
    /// Remove an instance with its devices and tokens
    Remove(Named),
    /// Set an instance's password; its login tokens end
    SetPassword(PasswordArguments),
}

#[derive(Args, Debug)]
pub(super) struct PasswordArguments {
    #[command(flatten)]
    instance: Named,
    #[command(flatten)]
    password: PasswordSource,
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Add(PasswordArguments { instance, password }) => {
            let password = password.read()?;
            instance.change("added", async |service, name, origin| {
                let devices = &service.otp_devices;
                devices.add_instance(name, password, origin).await
            })
        }
        Command::List(arguments) => list(&arguments),
        Command::Remove(instance) => instance.change("removed", async |service, name, origin| {
            service.otp_devices.remove_instance(name, origin).await
        }),
        Command::SetPassword(PasswordArguments { instance, password }) => {
            let password = password.read()?;
            instance.change("password_set", async |service, name, origin| {
                let devices = &service.otp_devices;
                devices.set_password(name, password, origin).await
            })
        }
    }
}

fn list(arguments: &StoreArguments) -> Outcome {
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
