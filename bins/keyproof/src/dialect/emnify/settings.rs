//! `emnify.*`

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use keyproof_http::Application;
use keyproof_service::{Service, Settings as Rules};
use serde::{Deserialize, Serialize};

use super::{Emnify, events};
use crate::{
    config::{AuthSettings, keys},
    dialect::{Dialect, DialectError},
};

keys! {
    /// `emnify.*`
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct Settings {
        /// An older name of `auth.address_limit`.
        #[serde(skip_serializing_if = "Option::is_none")]
        authenticate_limit: Option<u32> = None,
        /// An older name of `auth.address_window`.
        #[serde(skip_serializing_if = "Option::is_none")]
        authenticate_window_s: Option<NonZeroU32> = None,
        /// How many consecutive failures cause a lock. They are counted per session or known address that they come from, or
        /// else per user name, and per Taler instance; wrong passwords from a trusted device are counted for it as well. As many
        /// unknown fingerprints of devices, with the right password, lock fingerprints: every login then requires a code.
        lockout_failures: NonZeroU32 = NonZeroU32::MIN.saturating_add(2),
        /// How long a lock lasts. A lock to which wrong codes contributed lasts twice as long as the previous such lock, up to a
        /// day.
        lockout_s: NonZeroU32 = NonZeroU32::MIN.saturating_add(299),
        /// Whether a refresh token can be used only once. Each use then returns a new one.
        rotate_refresh_tokens: bool = false,
    }
}

const LIMIT: (&str, &str) = ("auth.address_limit", "emnify.authenticate_limit");
const WINDOW: (&str, &str) = ("auth.address_window_s", "emnify.authenticate_window_s");

/// A key and its older name have different values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} and {older} are the same key, but have different values: set only {name}")]
struct Contradiction {
    name: &'static str,
    older: &'static str,
}

impl Dialect for Settings {
    fn renamed() -> &'static [(&'static str, &'static str)] {
        &[LIMIT, WINDOW]
    }

    fn check(&mut self, auth: &mut AuthSettings) -> Result<(), DialectError> {
        let limit = self.authenticate_limit.take();
        adopt(LIMIT, &mut auth.address_limit, limit)?;
        let window = self.authenticate_window_s.take();
        adopt(WINDOW, &mut auth.address_window_s, window)
    }

    fn rule(&self, rules: &mut Rules) {
        let accounts = &mut rules.accounts;
        accounts.policy.lockout_failures = self.lockout_failures;
        accounts.policy.lockout = Duration::from_secs(self.lockout_s.get().into());
        accounts.rotate_refresh_tokens = self.rotate_refresh_tokens;
        accounts.wording = events::word;
    }

    fn mount(&self, service: Arc<Service>) -> Result<Arc<dyn Application>, DialectError> {
        Ok(Arc::new(Emnify { service }))
    }
}

/// Adopts the value set under the key's older name.
fn adopt<T: PartialEq>(
    (name, older): (&'static str, &'static str),
    value: &mut Option<T>,
    under_older: Option<T>,
) -> Result<(), DialectError> {
    match (&*value, &under_older) {
        (Some(value), Some(other)) if value != other => {
            return Err(DialectError::of(Contradiction { name, older }));
        }
        (None, _) => *value = under_older,
        (Some(_), _) => {}
    }
    Ok(())
}
