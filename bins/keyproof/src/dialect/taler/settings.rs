//! `taler.*`

use std::sync::Arc;

use keyproof_otp::pos::Amount;
use keyproof_service::Service;
use serde::{Deserialize, Serialize};

use super::Taler;
use crate::{
    config::{AuthSettings, keys},
    dialect::Dialect,
};

keys! {
    /// `taler.*`
    #[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct Settings {
        /// The currency of amounts: 1 to 11 letters A to Z.
        currency: String = "KUDOS".to_owned(),
    }
}

/// `taler.currency` is not a valid currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("taler.currency: not 1 to 11 letters A to Z")]
pub struct CurrencyError;

impl Dialect for Taler {
    type Settings = Settings;
    type Error = CurrencyError;

    fn check(settings: &mut Settings, _: &mut AuthSettings) -> Result<(), CurrencyError> {
        // `Amount` defines what a currency is.
        let amount = format!("{}:0", settings.currency).parse::<Amount>();
        amount.map_err(|_| CurrencyError).map(drop)
    }

    fn mount(settings: &Settings, service: Arc<Service>) -> Result<Self, CurrencyError> {
        Ok(Self {
            inflating: service.cpu_queue.with_shared_turns(),
            service,
            currency: settings.currency.clone(),
        })
    }
}
