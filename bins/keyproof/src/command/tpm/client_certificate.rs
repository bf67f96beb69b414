//! `keyproof tpm client-certificate`: renews the client certificate of a category's stations.

use std::{fmt, path::PathBuf, str::FromStr};

use clap::{Args, Subcommand};
use keyproof_auth::operator::is_dns_label;
use keyproof_service::device_identity::{Administrator, Category};
use serde_json::json;

use crate::{
    command::{
        Failure, Outcome,
        files::{NewFile, is_same_file, unusable},
        flags::StoreArguments,
        output,
        terminal::{self, Consent},
        with_store::with_store,
    },
    rfc3339::Rfc3339,
};

#[derive(Debug, Subcommand)]
pub(in crate::command) enum Command {
    /// End all client certificates of a category except the latest: no server accepts them any more
    EndEarlier(EndArguments),
    /// Issue a new client certificate for a category's stations; the earlier ones stay accepted
    Renew(RenewArguments),
}

#[derive(Args, Debug)]
pub(in crate::command) struct EndArguments {
    /// The category
    #[arg(value_name = "NAMESPACE/CATEGORY")]
    category: Place,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    on: StoreArguments,
}

#[derive(Args, Debug)]
pub(in crate::command) struct RenewArguments {
    /// The category
    #[arg(value_name = "NAMESPACE/CATEGORY")]
    category: Place,
    /// The new file to write the certificate to, in PEM
    #[arg(long, value_name = "FILE")]
    cert_out: PathBuf,
    /// The new file to write the private key to, in PEM; the key is not stored anywhere else
    #[arg(long, value_name = "FILE")]
    key_out: PathBuf,
    #[command(flatten)]
    on: StoreArguments,
}

/// A category as written on the command line.
#[derive(Clone, Debug)]
struct Place {
    namespace: String,
    name: String,
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if is_dns_label(namespace) && is_dns_label(name) => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err("a category is NAMESPACE/CATEGORY"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Place {
    /// Returns the person who runs this command, with access to the categories of this namespace.
    fn administrator(&self) -> Administrator<Category> {
        Administrator::of_command_line(&terminal::command_line(), self.namespace.clone())
    }
}

pub(in crate::command) fn run(command: Command) -> Outcome {
    match command {
        Command::EndEarlier(arguments) => end_earlier(&arguments),
        Command::Renew(arguments) => renew(&arguments),
    }
}

fn end_earlier(arguments: &EndArguments) -> Outcome {
    let EndArguments {
        category,
        consent,
        on,
    } = arguments;
    with_store(&on.store, async |service, store| {
        let question = format!(
            "End all client certificates of the category {category} except the latest (store {store})"
        );
        consent.given(&question)?;
        let devices = &service.device_identity;
        let ended = devices
            .end_earlier_clients(&category.administrator(), &category.name, None)
            .await
            .map_err(|error| Failure::from(error).of_store(store))?;
        let document = json!({ "category": category.to_string(), "ended": ended });
        let ended = output::counted(ended as u64, "earlier client certificate");
        let told = format!("ended {ended} of {category} (store {store})");
        output::print_either(on.json, &document, &told)
    })
}

fn renew(arguments: &RenewArguments) -> Outcome {
    let RenewArguments {
        category,
        cert_out,
        key_out,
        on,
    } = arguments;
    if is_same_file(cert_out, key_out) {
        return Err(unusable(key_out, &"name another file for the certificate"));
    }
    with_store(&on.store, async |service, store| {
        let devices = &service.device_identity;
        // Once the certificate is issued, it would be too late to notice that a file cannot be created. But a signal that
        // ends the wait for a store would leave both.
        let (new_cert, new_key) = (NewFile::create(cert_out)?, NewFile::create(key_out)?);
        let issued = devices
            .renew_client(&category.administrator(), &category.name, None)
            .await
            .map_err(|error| Failure::from(error).of_store(store))?;
        let written = new_key.fill(issued.key.as_bytes());
        let written = written.and_then(|()| new_cert.fill(issued.certificate.as_bytes()));
        written.map_err(unwritten)?;
        let until = Rfc3339(issued.not_after).to_string();
        let told = format!(
            "renewed the client certificate of {category}: the new one is valid until {until}, and the earlier ones stay \
             accepted until `keyproof tpm client-certificate end-earlier {category}` (store {store})"
        );
        let document = json!({ "category": category.to_string(), "not_after": until });
        output::print_either(on.json, &document, &told)
    })
}

/// The certificate is the category's latest already, although nobody has its key.
fn unwritten(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(reason) | Failure::Usage(reason) => Failure::Refused(format!(
            "the certificate was issued, but its files are not complete: renew it again, into new files: {reason}"
        )),
        Failure::Negative => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_is_a_namespace_and_a_name() {
        let place: Place = "default/line-2".parse().unwrap();
        assert_eq!(place.to_string(), "default/line-2");
        for wrong in [
            "",
            "line-2",
            "default/",
            "/line-2",
            "default/a/b",
            "Default/a",
        ] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
