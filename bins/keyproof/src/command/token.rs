//! `keyproof token`: the bearer tokens of operators and services.

use std::io;

use clap::{Args, Subcommand};
use keyproof_auth::operator::{AccessLevel, OperatorScope, OperatorScopes};
use keyproof_service::access::{IssuedOperatorToken, NewOperatorToken, OperatorToken};
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Failure, Outcome,
    flags::StoreArguments,
    moment::Lifetime,
    output::{self, printable},
    terminal,
    with_store::{with_service, with_store},
};
use crate::rfc3339::Rfc3339;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a token, which is shown only once
    Create(CreateArguments),
    /// List the valid tokens
    List(StoreArguments),
    /// Revoke a token
    Revoke(RevokeArguments),
}

const EXAMPLE: &str = "\
Example: keyproof token create --scope users:Acme --subject help-desk --lifetime 30d";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(super) struct CreateArguments {
    /// What it allows: admin, audit, certificates[:SUB[/GROUP[/SERVICE]]], instances[:NAME], status, tpm[:NAMESPACE],
    /// tpm-station, users[:ORGANISATION]; with `-read` behind audit, instances, status or users for reading alone
    #[arg(long, value_name = "SCOPE", num_args = 1.., required = true)]
    scope: Vec<OperatorScope>,
    /// The token's owner
    #[arg(long, value_name = "NAME", default_value = "operator")]
    subject: String,
    /// How long it is valid, such as 8h, 30d or forever
    #[arg(long, default_value = "8h")]
    lifetime: Lifetime,
    /// Print only the token
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    #[command(flatten)]
    on: StoreArguments,
}

#[derive(Args, Debug)]
pub(super) struct RevokeArguments {
    /// The token's id, as `token list` shows it
    id: String,
    #[command(flatten)]
    on: StoreArguments,
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::Create(arguments) => create(&arguments),
        Command::List(arguments) => list(&arguments),
        Command::Revoke(arguments) => revoke(&arguments),
    }
}

fn create(arguments: &CreateArguments) -> Outcome {
    output::must_be_seen("token")?;
    for scope in &arguments.scope {
        if let Some(reading) = for_reading(scope) {
            output::warn(&printable(&format!(
                "{scope} allows changes, to what has exactly this name; the scope for reading alone is {reading}"
            )));
        }
    }
    let scopes = OperatorScopes::new(arguments.scope.iter().cloned()).map_err(Failure::refused)?;
    with_store(&arguments.on.store, async |service, store| {
        let new = NewOperatorToken {
            subject: arguments.subject.clone(),
            scopes,
            lifetime: arguments.lifetime.0,
        };
        let command = terminal::command_line();
        let issued = service.access.create(new, &command).await?;
        let text = arguments.words(&issued, store)?;
        let Err(error) = output::deliver(&text) else {
            return Ok(());
        };
        // Nobody has this token, but it would remain valid.
        let id = &issued.token.id;
        let revoked = service.access.revoke(id, &command).await;
        Err(Failure::Refused(match revoked {
            Ok(()) => format!("the token could not be printed, so it was revoked: {error}"),
            Err(why) => format!(
                "the token could neither be printed ({error}) nor revoked ({why}): run keyproof token revoke {id}"
            ),
        }))
    })
}

/// Returns the scope that was probably meant if the name ends in the suffix for reading alone.
fn for_reading(scope: &OperatorScope) -> Option<OperatorScope> {
    let meant = |name: &str| {
        let name = name.strip_suffix("-read")?;
        (!name.is_empty()).then(|| name.to_owned())
    };
    match scope {
        OperatorScope::Instances(AccessLevel::Change, Some(name)) => Some(
            OperatorScope::Instances(AccessLevel::Read, Some(meant(name)?)),
        ),
        OperatorScope::Users(AccessLevel::Change, Some(name)) => {
            Some(OperatorScope::Users(AccessLevel::Read, Some(meant(name)?)))
        }
        _ => None,
    }
}

impl CreateArguments {
    /// Returns all that is printed of a new token.
    fn words(
        &self,
        issued: &IssuedOperatorToken,
        store: &str,
    ) -> Result<Zeroizing<String>, Failure> {
        let IssuedOperatorToken { text, token } = issued;
        Ok(Zeroizing::new(if self.on.json {
            serde_json::to_string_pretty(&Document {
                token: Some(text),
                ..Document::of(token)
            })
            .map_err(io::Error::from)?
        } else if self.quiet {
            text.to_string()
        } else {
            format!(
                "token    {}\nid       {}\nsubject  {}\nscopes   {}\nexpires  {}\nstore    {store}",
                **text,
                token.id,
                printable(&token.subject),
                printable_scopes(token),
                expiry(token),
            )
        }))
    }
}

fn list(arguments: &StoreArguments) -> Outcome {
    with_service(&arguments.store, async |service| {
        let mut tokens = service.access.list().await?;
        tokens.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        if arguments.json {
            let tokens: Vec<_> = tokens.iter().map(Document::of).collect();
            output::print_json(&json!({ "tokens": tokens }))?;
        } else {
            for token in tokens {
                let (id, expires) = (&token.id, expiry(&token));
                let (subject, scopes) = (printable(&token.subject), printable_scopes(&token));
                output::print(&format!("{id}\t{subject}\t{scopes}\t{expires}"))?;
            }
        }
        Ok(())
    })
}

fn revoke(arguments: &RevokeArguments) -> Outcome {
    with_store(&arguments.on.store, async |service, store| {
        let command = terminal::command_line();
        let revoked = service.access.revoke(&arguments.id, &command).await;
        revoked.map_err(|error| Failure::from(error).of_store(store))?;
        let document = json!({ "revoked": arguments.id });
        let id = printable(&arguments.id);
        let text = format!("revoked the token {id} (store {store})");
        output::print_either(arguments.on.json, &document, &text)
    })
}

/// A token in JSON.
#[derive(Serialize)]
struct Document<'a> {
    /// The token itself, if it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    id: &'a str,
    subject: &'a str,
    scopes: Vec<String>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

impl<'a> Document<'a> {
    fn of(token: &'a OperatorToken) -> Self {
        Self {
            token: None,
            id: &token.id,
            subject: &token.subject,
            scopes: token.scopes.iter().map(ToString::to_string).collect(),
            created_at: Rfc3339(token.created_at).to_string(),
            expires_at: token.expires_at.map(|at| Rfc3339(at).to_string()),
        }
    }
}

/// Returns the scopes, whose names may contain characters that hide or reorder others.
fn printable_scopes(token: &OperatorToken) -> String {
    printable(&token.scopes.to_string())
}

fn expiry(token: &OperatorToken) -> String {
    token
        .expires_at
        .map_or("never".to_owned(), |at| Rfc3339(at).to_string())
}
