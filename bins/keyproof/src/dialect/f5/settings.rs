//! `f5.*`

use std::sync::Arc;

use keyproof_http::{Application, BoxFuture};
use keyproof_service::{
    DeviceIdentitySettings, Service, Settings as Rules, device_identity::Metadata,
};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{F5, PublicUrl};
use crate::{
    config::{forms, keys},
    dialect::{Dialect, DialectError},
};

keys! {
    /// `f5.*`
    #[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
    pub struct Settings {
        /// Whether stations must authenticate with a token or a client certificate in addition to their API key.
        station_auth: StationAuth = StationAuth::default(),
        /// Whether the listener requests client certificates, which stations have from their category. If not, API keys with
        /// `need_mtls` are always refused.
        client_certificates: bool = false,
        /// The maximum number of calls per minute with one API key, on each server; 0 means no limit.
        rate_limit_per_minute: u32 = DeviceIdentitySettings::default().rate_limit_per_minute,
        /// The API's public base URL. If set, certificates of attestation keys contain the URL of their category's CRL.
        #[serde(skip_serializing_if = "Option::is_none")]
        public_url: Option<PublicUrl> = None,
    }
}

forms! {
    PublicUrl: "URL",
    StationAuth: "authorization, api_key_only",
}

/// How stations authenticate besides the API key in their requests' bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StationAuth {
    /// Not at all.
    ApiKeyOnly,
    /// With an operator's token.
    #[default]
    Authorization,
}

impl Dialect for Settings {
    fn asks_for_client_certificates(&self) -> bool {
        self.client_certificates
    }

    fn warning(&self) -> Option<&'static str> {
        let is_unlimited = self.rate_limit_per_minute == 0;
        is_unlimited
            .then_some("f5.rate_limit_per_minute: calls with one API key are not limited (remove it for the default, 600)")
    }

    fn rule(&self, rules: &mut Rules) {
        let public_url = self.public_url.as_ref();
        rules.device_identity = DeviceIdentitySettings {
            rate_limit_per_minute: self.rate_limit_per_minute,
            revocation_list_url: public_url.map(PublicUrl::revocation_list),
        };
    }

    fn review(&self, service: Arc<Service>) -> BoxFuture<()> {
        let are_requested = self.client_certificates;
        Box::pin(async move {
            if are_requested {
                return;
            }
            match service.device_identity.key_with_client_certificate().await {
                Ok(None) => {}
                Ok(Some(Metadata {
                    namespace, name, ..
                })) => warn!(
                    namespace,
                    name,
                    "this server refuses API keys that need a client certificate, such as this one: none is requested \
                     (f5.client_certificates)"
                ),
                Err(error) => {
                    warn!(%error, "cannot look for API keys that need a client certificate");
                }
            }
        })
    }

    fn mount(&self, service: Arc<Service>) -> Result<Arc<dyn Application>, DialectError> {
        Ok(Arc::new(F5 {
            service,
            station_auth: self.station_auth,
            client_certificates: self.client_certificates,
        }))
    }
}
