//! F5 Distributed Cloud's TPM API: managers, categories, API keys, preauth and provision.
//!
//! Refusals come in this order: authentication, path, method, permission, existence, body.

mod authorization;
mod body;
mod errors;
mod route;
mod wire;

pub use body::provision_request;

use std::sync::Arc;

use authorization::token;
use errors::Refusal;
use http::{HeaderValue, Method, header};
use keyproof_auth::OperatorScope;
use keyproof_service::{
    Origin, Service,
    access::Operator,
    provisioning::{ApiKey, Category, Kind, Manager, NotPermitted},
};
use route::{Call, Collection, Route};
use serde::{Deserialize, Serialize};
use wire::{Related, ResponseFormat};

use super::{DialectName, origin};
use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal,
};

/// The dialect.
pub struct F5 {
    service: Arc<Service>,
    station_auth: StationAuth,
}

/// What stations show beside the API key in their requests' bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StationAuth {
    /// Nothing.
    ApiKeyOnly,
    /// An operator's token.
    #[default]
    Authorization,
}

type Answered = Result<Response, Refusal>;

impl F5 {
    /// The dialect over these use cases.
    #[must_use]
    pub fn new(service: Arc<Service>, station_auth: StationAuth) -> Self {
        Self {
            service,
            station_auth,
        }
    }

    async fn answer(&self, mut exchange: Exchange) -> Answered {
        let operator = self.operator(&exchange).await?;
        let route = Route::of(exchange.path());
        if operator.is_none() && !self.is_open(&route) {
            return Err(Refusal::unauthenticated());
        }
        let route = route?;
        exchange.matched(route.template());
        // HEAD is GET whose answer's body is not sent, which the stack sees to.
        let method = match exchange.method().clone() {
            Method::HEAD => Method::GET,
            method => method,
        };
        let call = route.call(&method)?;
        match call {
            Call::Preauth | Call::Provision => {
                let origin = self.station(operator, call, &exchange).await?;
                match call {
                    Call::Preauth => self.preauth(&mut exchange, &origin).await,
                    _ => self.provision(&mut exchange, &origin).await,
                }
            }
            Call::Create { namespace, of } => {
                let origin = self
                    .administrator(operator, call, namespace, &exchange)
                    .await?;
                self.create(of, namespace, &mut exchange, &origin).await
            }
            Call::Replace {
                namespace,
                of,
                name,
            } => {
                let origin = self
                    .administrator(operator, call, namespace, &exchange)
                    .await?;
                let object = (namespace, name);
                self.replace(of, object, &mut exchange, &origin).await
            }
            Call::List { namespace, of } => {
                self.administrator(operator, call, namespace, &exchange)
                    .await?;
                match of {
                    Collection::ApiKeys => self.list::<ApiKey>(namespace, &exchange).await,
                    Collection::Categories => self.list::<Category>(namespace, &exchange).await,
                    Collection::Managers => self.list::<Manager>(namespace, &exchange).await,
                }
            }
            Call::Get {
                namespace,
                of,
                name,
            } => {
                self.administrator(operator, call, namespace, &exchange)
                    .await?;
                let object = (namespace, name);
                match of {
                    Collection::ApiKeys => self.get::<ApiKey>(object, &exchange).await,
                    Collection::Categories => self.get::<Category>(object, &exchange).await,
                    Collection::Managers => self.get::<Manager>(object, &exchange).await,
                }
            }
        }
    }

    async fn preauth(&self, exchange: &mut Exchange, origin: &Origin) -> Answered {
        let request = body::preauth(exchange).await?;
        let provisioning = &self.service.provisioning;
        let verdict = provisioning.preauth(&request.api_key, &request.device, origin);
        Ok(wire::preauth(&verdict.await?))
    }

    async fn provision(&self, exchange: &mut Exchange, origin: &Origin) -> Answered {
        let request = body::provision(exchange).await?;
        let provisioned = self.service.provisioning.provision(&request, origin);
        Ok(wire::provisioned(&provisioned.await?))
    }

    async fn create(
        &self,
        of: Collection,
        namespace: &str,
        exchange: &mut Exchange,
        origin: &Origin,
    ) -> Answered {
        let provisioning = &self.service.provisioning;
        match of {
            Collection::ApiKeys => {
                let new = body::new_api_key(exchange, namespace).await?;
                let issued = provisioning.create_api_key(new, origin).await?;
                Ok(wire::issued_api_key(&issued))
            }
            Collection::Categories => {
                let new = body::new_category(exchange, namespace).await?;
                let issued = provisioning.create_category(new, origin).await?;
                Ok(wire::issued_category(&issued))
            }
            Collection::Managers => {
                let (metadata, roots) = body::new_manager(exchange, namespace).await?;
                let manager = provisioning.create_manager(metadata, roots, origin).await?;
                Ok(wire::created(&manager))
            }
        }
    }

    async fn replace(
        &self,
        of: Collection,
        object: (&str, &str),
        exchange: &mut Exchange,
        origin: &Origin,
    ) -> Answered {
        let provisioning = &self.service.provisioning;
        let (namespace, name) = object;
        match of {
            Collection::ApiKeys => {
                provisioning.find::<ApiKey>(namespace, name).await?;
                let change = body::api_key_change(exchange, object).await?;
                provisioning
                    .replace_api_key(namespace, name, &change, origin)
                    .await?;
            }
            Collection::Categories => {
                provisioning.find::<Category>(namespace, name).await?;
                let allow_list = body::allow_list(exchange, object).await?;
                provisioning
                    .replace_category(namespace, name, allow_list, origin)
                    .await?;
            }
            Collection::Managers => {
                provisioning.find::<Manager>(namespace, name).await?;
                let roots = body::ek_roots(exchange, object).await?;
                provisioning
                    .replace_manager(namespace, name, roots, origin)
                    .await?;
            }
        }
        Ok(wire::replaced())
    }

    async fn list<K: Kind + wire::Spec>(&self, namespace: &str, exchange: &Exchange) -> Answered {
        let objects = self.service.provisioning.list::<K>(namespace).await?;
        let full = exchange.query().all("report_fields").next().is_some();
        Ok(wire::list(&objects, full))
    }

    async fn get<K: Kind + wire::Spec>(
        &self,
        (namespace, name): (&str, &str),
        exchange: &Exchange,
    ) -> Answered {
        let provisioning = &self.service.provisioning;
        let object = provisioning.find::<K>(namespace, name).await?;
        let asked = exchange.query().first("response_format");
        let format = ResponseFormat::parse(asked.unwrap_or_default())
            .ok_or_else(|| Refusal::invalid("response_format is not a known one"))?;
        let mut related = Related::default();
        match format {
            ResponseFormat::BrokenReferences => {
                related.disabled_referred = provisioning.disabled_referred(&object).await?;
            }
            ResponseFormat::ReferringObjects => {
                related.referring = provisioning.referring(&object).await?;
            }
            ResponseFormat::Default | ResponseFormat::ForCreate | ResponseFormat::ForReplace => {}
        }
        Ok(wire::object(&object, format, &related))
    }

    /// Whoever holds the token, if one was sent. One that is no good is never overlooked.
    async fn operator(&self, exchange: &Exchange) -> Result<Option<Operator>, Refusal> {
        match token(exchange)? {
            None => Ok(None),
            Some(token) => Ok(Some(self.service.access.authenticate(&token).await?)),
        }
    }

    /// May anybody ask here, who shows no token?
    fn is_open(&self, route: &Result<Route, Refusal>) -> bool {
        self.station_auth == StationAuth::ApiKeyOnly
            && matches!(route, Ok(Route::Preauth | Route::Provision))
    }

    /// May stations' calls be made?
    async fn station(
        &self,
        operator: Option<Operator>,
        call: Call<'_>,
        exchange: &Exchange,
    ) -> Result<Origin, Refusal> {
        match operator {
            Some(operator) => {
                let why = "it does not allow preauth and provision";
                let needed = OperatorScope::TpmStation;
                self.permit(operator, &needed, call, why, exchange).await
            }
            None if self.station_auth == StationAuth::ApiKeyOnly => Ok(origin(exchange)),
            None => Err(Refusal::unauthenticated()),
        }
    }

    /// May the objects of a namespace be read and changed?
    async fn administrator(
        &self,
        operator: Option<Operator>,
        call: Call<'_>,
        namespace: &str,
        exchange: &Exchange,
    ) -> Result<Origin, Refusal> {
        let operator = operator.ok_or_else(Refusal::unauthenticated)?;
        let needed = OperatorScope::Tpm(Some(namespace.to_owned()));
        let why = "it does not reach this namespace";
        self.permit(operator, &needed, call, why, exchange).await
    }

    async fn permit(
        &self,
        operator: Operator,
        needed: &OperatorScope,
        call: Call<'_>,
        why: &str,
        exchange: &Exchange,
    ) -> Result<Origin, Refusal> {
        let origin = origin(exchange).by(operator.who.clone());
        let provisioning = &self.service.provisioning;
        let (action, target) = call.told();
        let permitted = provisioning.permit(&operator, needed, action, target, &origin);
        match permitted.await {
            Ok(()) => Ok(origin),
            Err(NotPermitted) => Err(Refusal::forbidden(why)),
        }
    }
}

impl Application for F5 {
    fn name(&self) -> &'static str {
        DialectName::F5.as_str()
    }

    fn claims(&self, path: &RequestPath) -> bool {
        Route::claims(path)
    }

    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<Response> {
        Box::pin(async move {
            let answered = self.answer(exchange).await;
            stamp(answered.unwrap_or_else(Refusal::into_response))
        })
    }

    fn refuse(&self, refusal: StackRefusal, _: RequestId) -> Response {
        stamp(Refusal::from(refusal).into_response())
    }
}

/// Keys and certificates are nothing for a cache.
fn stamp(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}
