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
mod form;
mod front;
mod language;
mod multipart;
mod page;
mod refusal;
mod user_agent;
mod visit;
mod visitor;

use std::{fmt, sync::Arc};

use keyproof_http::Application;
use keyproof_service::Service;

use crate::config::{Settings, SiteSettings};

pub use form::{Form, FormError};
pub use front::{Front, Place};

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
    pub(crate) fn settings(self, settings: &mut Settings) -> &mut SiteSettings {
        match self {
            Self::Account => &mut settings.account,
            Self::Console => &mut settings.console,
        }
    }

    pub(crate) fn mount(self, service: Arc<Service>) -> Arc<dyn Application> {
        match self {
            Self::Account => Arc::new(account::Account::new(service)),
            Self::Console => Arc::new(console::Console::new(service)),
        }
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
