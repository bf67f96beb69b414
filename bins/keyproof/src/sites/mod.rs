//! The sites for people: pages that the server renders for browsers. `/account` is for the owner of a second factor,
//! `/console` for an operator, and `/` links to them.
//!
//! A site is an application, as a dialect is, and calls the same use cases. It has its own route table, and no rules.
//! Pages need only plain HTML: links, forms and cookies. A script makes some pages more convenient, and no page needs
//! it.

pub mod account;
mod asset;
pub mod console;
mod cookies;
mod csrf;
mod entries;
mod form;
mod front;
mod language;
mod moment;
mod multipart;
mod operation;
mod page;
mod refusal;
mod user_agent;
mod visit;
mod visitor;

use std::{fmt, net::SocketAddr, sync::Arc};

use keyproof_http::Application;
use keyproof_service::Service;

use crate::{
    config::{Config, ServedSettings, Settings},
    metrics::Metrics,
};

pub use form::{Form, FormError};
pub use front::{Front, Place};
pub use multipart::{Multipart, Part};

/// The sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteName {
    /// `/account`.
    Account,
    /// `/console`.
    Console,
}

impl SiteName {
    /// All sites.
    pub const ALL: [Self; 2] = [Self::Account, Self::Console];

    /// Its name in the configuration, and the first segment of its paths.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Console => "console",
        }
    }

    /// Returns its table of the configuration.
    pub(crate) fn settings(self, settings: &mut Settings) -> &mut ServedSettings {
        match self {
            Self::Account => &mut settings.account,
            Self::Console => &mut settings.console,
        }
    }

    pub(crate) fn mount(
        self,
        service: Arc<Service>,
        server_context: &Arc<ServerContext>,
    ) -> Arc<dyn Application> {
        match self {
            Self::Account => Arc::new(account::Account::new(service)),
            Self::Console => Arc::new(console::Console::new(service, Arc::clone(server_context))),
        }
    }
}

/// Facts about the server that a site may show.
pub(crate) struct ServerContext {
    metrics: Arc<Metrics>,
    /// The names of what is served, and where if that is not the main listener.
    served: Vec<(&'static str, String)>,
    /// Whether any listener requests client certificates.
    requests_client_certificates: bool,
}

impl ServerContext {
    /// Collects the facts from the configuration.
    pub(crate) fn of(config: &Config, metrics: Arc<Metrics>) -> Self {
        let place =
            |listen: Option<SocketAddr>| listen.map(|at| at.to_string()).unwrap_or_default();
        let dialects = config.dialects.iter();
        let dialects = dialects.map(|(name, listen)| (name.title(), place(*listen)));
        let sites = config.sites.iter();
        let sites = sites.map(|(name, listen)| (name.as_str(), place(*listen)));
        Self {
            metrics,
            served: dialects.chain(sites).collect(),
            requests_client_certificates: config.requests_client_certificates(),
        }
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
