//! The sites for people: pages that the server writes, for browsers. `/account` is for the owner of a second factor,
//! `/console` for an operator, and `/` says where they are.
//!
//! A site is an application as a dialect is, and calls the same use cases; it has a route table of its own, and no rules.
//! What it needs of a browser is plain HTML: links, forms and cookies. A script makes some pages more convenient and none
//! of them work.

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

/// The sites that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteName {
    /// `/account`.
    Account,
    /// `/console`.
    Console,
}

impl SiteName {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Account, Self::Console];

    /// Its name in the configuration, and in front of its paths.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Console => "console",
        }
    }

    /// Its table of the configuration.
    pub(crate) fn settings(self, settings: &mut Settings) -> &mut ServedSettings {
        match self {
            Self::Account => &mut settings.account,
            Self::Console => &mut settings.console,
        }
    }

    pub(crate) fn mount(self, service: Arc<Service>, around: &Arc<Around>) -> Arc<dyn Application> {
        match self {
            Self::Account => Arc::new(account::Account::new(service)),
            Self::Console => Arc::new(console::Console::new(service, Arc::clone(around))),
        }
    }
}

/// What a site may tell of the server that it is part of.
pub(crate) struct Around {
    metrics: Arc<Metrics>,
    /// What is served, as people call it, and where if that is not the main listener.
    served: Vec<(&'static str, String)>,
}

impl Around {
    /// As the configuration has it.
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
        }
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
