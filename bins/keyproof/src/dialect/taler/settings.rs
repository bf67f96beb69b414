//! `taler.*`

use std::sync::Arc;

use keyproof_http::Application;
use keyproof_otp::pos::Amount;
use keyproof_service::Service;
use serde::{Deserialize, Serialize};

use super::Taler;
use crate::{
    config::{AuthSettings, keys},
    dialect::{Dialect, DialectError},
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
struct CurrencyError;

impl Dialect for Settings {
    fn check(&mut self, _: &mut AuthSettings) -> Result<(), DialectError> {
        // `Amount` defines what a currency is.
        let amount = format!("{}:0", self.currency).parse::<Amount>();
        amount
            .map(drop)
            .map_err(|_| DialectError::of(CurrencyError))
    }

    fn mount(&self, service: Arc<Service>) -> Result<Arc<dyn Application>, DialectError> {
        Ok(Arc::new(Taler {
            inflating: service.inflating.clone(),
            service,
            currency: self.currency.clone(),
        }))
    }
}
