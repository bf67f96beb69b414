//! F5 Distributed Cloud's TPM API: managers, categories, API keys, preauth and provision. keyproof adds attestation.
//!
//! Refusals come in this order: authentication, path, method, permission, existence, body. The table of their codes is
//! `errors.rs`.

mod authorization;
mod body;
mod client_authorities;
mod errors;
mod public_url;
mod routes;
pub mod settings;
mod wire;

pub use body::provision_request;
pub use public_url::{PublicUrl, PublicUrlError};

use std::sync::Arc;

use http::{HeaderValue, Method, header};
use keyproof_http::{
    Application, BoxFuture, ClientAuthorities, Exchange, RequestId, RequestPath, Response,
    StackRefusal, no_content, with_guard,
};
use keyproof_service::{
    Service, StorageError,
    access::{Operator, Prefetch},
    device_identity::{
        Administrator, ApiKey, Category, CertificateNotAccepted, DeviceIdentity, Kind,
        LabelSelector, Manager, Metadata, ObjectOperation, Station, StationOperation,
    },
};
use keyproof_x509::Sha256Thumbprint;

use super::DialectName;
use crate::{request_origin::origin, route_table::Resource};
use authorization::token;
use client_authorities::CategoriesAuthorities;
use errors::Refusal;
use routes::{Operation, ROUTES};
use settings::StationAuth;
use wire::{Related, ResponseFormat};

/// The dialect.
pub struct F5 {
    service: Arc<Service>,
    station_auth: StationAuth,
    /// Whether the listener requests client certificates.
    client_certificates: bool,
}

/// The authentication of a request.
enum Authentication {
    Nothing,
    Operator(Operator),
    /// The client certificate of a category.
    Station(Station),
}

type HandlerResult = Result<Response, Refusal>;

impl F5 {
    async fn answer(self: Arc<Self>, exchange: Exchange) -> HandlerResult {
        let segments = routes::segments(exchange.path());
        let known = segments.as_deref().ok();
        let resource = known.and_then(|segments| ROUTES.resource(segments));
        // An object that is only read is prefetched with the token. The token is checked before the path.
        let prefetch = resource.as_ref().and_then(|resource| {
            let route = resource.route(exchange.method())?;
            Some(route.operation.prefetch(resource))
        });
        let operator = match &resource {
            Some(resource) if is_revocation_list(resource) => None,
            _ => self.operator(&exchange, prefetch).await?,
        };
        let is_stations = resource.as_ref().and_then(station_act).is_some();
        // A client certificate identifies stations only.
        let certificate = certificate(&exchange).filter(|_| is_stations);
        let shown = match (operator, certificate) {
            (Some(operator), _) => Authentication::Operator(operator),
            (None, Some(certificate)) => self.shown_by(certificate, &exchange).await?,
            (None, None) => Authentication::Nothing,
        };
        if matches!(shown, Authentication::Nothing) && !self.is_open(resource.as_ref()) {
            return Err(match certificate {
                Some(_) => Refusal::certificate_not_accepted(),
                None => Refusal::unauthenticated(),
            });
        }
        // An undecodable path is reported differently from an unknown one.
        if let Err(refusal) = &segments {
            return Err(refusal.clone());
        }
        let resource =
            resource.ok_or_else(|| Refusal::not_found("there is nothing at this path"))?;
        let route = resource.asked(&exchange).ok_or_else(Refusal::method)?;
        let variable = |name| resource.variable(name).unwrap_or_default().to_owned();
        let at = Place {
            namespace: variable("namespace"),
            name: variable("name"),
            body: route.body,
        };
        match route.operation {
            Operation::Objects { act, answer, .. } => {
                let Authentication::Operator(operator) = shown else {
                    return Err(Refusal::unauthenticated());
                };
                let asked = Asked {
                    f5: self,
                    operator,
                    act,
                    at,
                    exchange,
                };
                answer(asked).await
            }
            Operation::RevocationList => {
                let devices = &self.service.device_identity;
                let list = devices.revocation_list(&at.namespace, &at.name).await?;
                Ok(wire::revocation_list(list))
            }
            Operation::Station(act, answer) => {
                let station = self.station(shown, act, &exchange).await?;
                let call = StationCall {
                    f5: self,
                    station,
                    body: route.body,
                    exchange,
                };
                answer(call).await
            }
        }
    }

    /// Authenticates the operator's token, if one was sent. An invalid token is always an error.
    async fn operator(
        &self,
        exchange: &Exchange,
        prefetch: Option<Prefetch>,
    ) -> Result<Option<Operator>, Refusal> {
        let Some(token) = token(exchange)? else {
            return Ok(None);
        };
        let (access, prefetch) = (&self.service.access, prefetch.unwrap_or_default());
        Ok(Some(
            access.authenticate_with_prefetch(&token, prefetch).await?,
        ))
    }

    /// Returns whether the resource is accessible without a token.
    fn is_open(&self, resource: Option<&Resource<'_, Operation>>) -> bool {
        let Some(resource) = resource else {
            return false;
        };
        is_revocation_list(resource)
            || station_act(resource).is_some_and(|act| self.needs_no_token(act))
    }

    /// Returns whether the API key alone is enough. The body of such a call contains the key, or the ticket that a
    /// provision with the key returned.
    fn needs_no_token(&self, act: StationOperation) -> bool {
        let is_keyed = match act {
            StationOperation::Activate
            | StationOperation::Preauth
            | StationOperation::Provision => true,
            StationOperation::Attest | StationOperation::AttestNonce => false,
        };
        is_keyed && self.station_auth == StationAuth::ApiKeyOnly
    }

    /// Authenticates a client certificate.
    async fn shown_by(
        &self,
        certificate: Sha256Thumbprint,
        exchange: &Exchange,
    ) -> Result<Authentication, Refusal> {
        let devices = &self.service.device_identity;
        let origin = origin(exchange);
        match devices.station_with_certificate(certificate, &origin).await {
            Ok(station) => Ok(Authentication::Station(station)),
            Err(failure) => {
                let CertificateNotAccepted = failure.refusal()?;
                Ok(Authentication::Nothing)
            }
        }
    }

    async fn station(
        &self,
        shown: Authentication,
        act: StationOperation,
        exchange: &Exchange,
    ) -> Result<Station, Refusal> {
        let (origin, certificate) = (origin(exchange), certificate(exchange));
        match shown {
            Authentication::Operator(operator) => {
                let devices = &self.service.device_identity;
                let permitted = devices.permit_station(&operator, act, certificate, &origin);
                permitted.await.map_err(Refusal::from)
            }
            Authentication::Station(station) => Ok(station),
            Authentication::Nothing if self.needs_no_token(act) => {
                Ok(Station::with_api_key_only(origin, certificate))
            }
            Authentication::Nothing => Err(Refusal::unauthenticated()),
        }
    }
}

/// Returns whether the resource is a category's CRL, which is public whatever the `Authorization` header contains.
fn is_revocation_list(resource: &Resource<'_, Operation>) -> bool {
    let read = resource.route(&Method::GET).map(|route| &route.operation);
    matches!(read, Some(Operation::RevocationList))
}

/// Returns the station's action at this resource, if it has one.
fn station_act(resource: &Resource<'_, Operation>) -> Option<StationOperation> {
    match resource.route(&Method::POST)?.operation {
        Operation::Station(act, _) => Some(act),
        _ => None,
    }
}

/// Returns the client certificate of the request's connection.
fn certificate(exchange: &Exchange) -> Option<Sha256Thumbprint> {
    let shown = exchange.client_certificate()?;
    Some(Sha256Thumbprint::from(*shown.sha256()))
}

/// The object that a path names.
struct Place {
    namespace: String,
    /// The object's name, or empty.
    name: String,
    /// The limit of the body, in bytes.
    body: usize,
}

/// An operator's request about objects.
struct Asked {
    f5: Arc<F5>,
    operator: Operator,
    act: ObjectOperation,
    at: Place,
    exchange: Exchange,
}

impl Asked {
    /// Checks the permission, and answers the request for objects of one kind.
    async fn answer<K: Offered>(self) -> HandlerResult {
        let (devices, at) = (&self.f5.service.device_identity, &self.at);
        let origin = origin(&self.exchange);
        let permitted = devices.permit(&self.operator, self.act, &at.namespace, &at.name, &origin);
        let call = Call::<K> {
            administrator: permitted.await?,
            f5: self.f5,
            at: self.at,
            exchange: self.exchange,
        };
        match self.act {
            ObjectOperation::Create => K::create(call).await,
            ObjectOperation::Delete => call.delete().await,
            ObjectOperation::Get => call.get().await,
            ObjectOperation::List => call.list().await,
            ObjectOperation::Replace => K::replace(call).await,
        }
    }
}

/// A kind of object, with the handlers that create and replace one.
trait Offered: Kind + wire::Spec {
    fn create(call: Call<Self>) -> impl Future<Output = HandlerResult> + Send;

    fn replace(call: Call<Self>) -> impl Future<Output = HandlerResult> + Send;
}

/// A permitted request about objects whose head was validated.
struct Call<K> {
    f5: Arc<F5>,
    administrator: Administrator<K>,
    at: Place,
    exchange: Exchange,
}

impl<K: Offered> Call<K> {
    fn devices(&self) -> &DeviceIdentity {
        &self.f5.service.device_identity
    }

    async fn list(self) -> HandlerResult {
        let query = self.exchange.query();
        let filters = query.all("label_filter");
        let filter: Vec<&str> = filters.filter(|text| !text.trim().is_empty()).collect();
        let selector = LabelSelector::parse(&filter.join(","))
            .map_err(|error| Refusal::invalid(format!("label_filter: {error}")))?;
        // Any value counts: clients send the parameter without a value, or with the documentation's placeholder. There
        // are no status fields for report_status_fields.
        let full = query.first("report_fields").is_some();
        // An operator has one share, however many namespaces their scopes cover.
        let party = self.administrator.who().party();
        let place = self.f5.service.lists.take(&party).await;
        let place = place.map_err(StorageError::from)?;
        let objects = self.devices().list(&self.administrator, &selector).await?;
        Ok(with_guard(wire::list(&objects, full), place))
    }

    async fn get(self) -> HandlerResult {
        let devices = self.devices();
        let object = devices.find(&self.administrator, &self.at.name).await?;
        let asked = self.exchange.query().first("response_format");
        let format = ResponseFormat::parse(asked.unwrap_or_default())
            .ok_or_else(|| Refusal::invalid("response_format is not a known one"))?;
        let mut related = Related::default();
        match format {
            ResponseFormat::BrokenReferences => {
                related.disabled_referred = devices.disabled_referred(&object).await?;
            }
            ResponseFormat::ReferringObjects => {
                // All objects of the namespace are read for it.
                let party = self.administrator.who().party();
                let place = self.f5.service.lists.take(&party).await;
                let _place = place.map_err(StorageError::from)?;
                related.referring = devices.referring(&object).await?;
            }
            ResponseFormat::Default | ResponseFormat::ForCreate | ResponseFormat::ForReplace => {}
        }
        Ok(wire::object(&object, format, &related))
    }

    async fn delete(mut self) -> HandlerResult {
        let body = body::deletion(&mut self.exchange, &self.at).await;
        let devices = self.devices();
        devices
            .delete(&self.administrator, &self.at.name, body)
            .await?;
        Ok(wire::empty())
    }
}

impl Offered for Manager {
    async fn create(mut call: Call<Self>) -> HandlerResult {
        let (metadata, trusted) = body::new_manager(&mut call.exchange, &call.at).await?;
        let devices = call.devices();
        let manager = devices.create_manager(&call.administrator, metadata, trusted);
        Ok(wire::created(&manager.await?))
    }

    async fn replace(mut call: Call<Self>) -> HandlerResult {
        let trusted = body::trusted_makers(&mut call.exchange, &call.at).await;
        let devices = call.devices();
        let replaced = devices.replace_manager(&call.administrator, &call.at.name, trusted);
        replaced.await?;
        Ok(wire::empty())
    }
}

impl Offered for Category {
    async fn create(mut call: Call<Self>) -> HandlerResult {
        let new = body::new_category(&mut call.exchange, &call.at).await?;
        let issued = call.devices().create_category(&call.administrator, new);
        Ok(wire::issued_category(&issued.await?))
    }

    async fn replace(mut call: Call<Self>) -> HandlerResult {
        let change = body::category_change(&mut call.exchange, &call.at).await;
        let devices = call.devices();
        let replaced = devices.replace_category(&call.administrator, &call.at.name, change);
        replaced.await?;
        Ok(wire::empty())
    }
}

impl Offered for ApiKey {
    async fn create(mut call: Call<Self>) -> HandlerResult {
        let new = body::new_api_key(&mut call.exchange, &call.at).await?;
        let issued = call.devices().create_api_key(&call.administrator, new);
        let issued = issued.await.map_err(Refusal::new_api_key)?;
        if issued.object.spec.need_mtls && !call.f5.client_certificates {
            let Metadata {
                namespace, name, ..
            } = &issued.object.metadata;
            tracing::warn!(
                namespace,
                name,
                "this server refuses the new API key: it needs a client certificate, and none is requested \
                 (f5.client_certificates)"
            );
        }
        Ok(wire::issued_api_key(&issued))
    }

    async fn replace(mut call: Call<Self>) -> HandlerResult {
        let change = body::api_key_change(&mut call.exchange, &call.at).await;
        let devices = call.devices();
        let replaced = devices.replace_api_key(&call.administrator, &call.at.name, change);
        replaced.await?;
        Ok(wire::empty())
    }
}

/// A permitted station's request whose head was validated.
struct StationCall {
    f5: Arc<F5>,
    station: Station,
    /// The limit of the body, in bytes.
    body: usize,
    exchange: Exchange,
}

impl StationCall {
    fn devices(&self) -> &DeviceIdentity {
        &self.f5.service.device_identity
    }

    async fn activate(mut self) -> HandlerResult {
        let activation = body::activation(&mut self.exchange, self.body).await?;
        self.devices().activate(&self.station, &activation).await?;
        Ok(no_content())
    }

    async fn attest(mut self) -> HandlerResult {
        let (request, evidence) = body::attest(&mut self.exchange, self.body).await?;
        let report = self.devices().attest(&self.station, &request, evidence);
        Ok(wire::attested(&report.await?))
    }

    async fn attestation_nonce(mut self) -> HandlerResult {
        let request = body::nonce(&mut self.exchange, self.body).await?;
        let nonce = self.devices().attestation_nonce(&self.station, &request);
        Ok(wire::nonce(&nonce.await?))
    }

    async fn preauth(mut self) -> HandlerResult {
        let (api_key, device) = body::preauth(&mut self.exchange, self.body).await?;
        let verdict = self.devices().preauth(&self.station, &api_key, &device);
        Ok(wire::preauth(&verdict.await?))
    }

    async fn provision(mut self) -> HandlerResult {
        let request = body::provision(&mut self.exchange, self.body).await?;
        let provisioned = self.devices().provision(&self.station, request);
        Ok(wire::provisioned(&provisioned.await?))
    }
}

impl Application for F5 {
    fn name(&self) -> &'static str {
        DialectName::F5.as_str()
    }

    fn claims(&self, path: &RequestPath) -> bool {
        routes::claims(path)
    }

    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<Response> {
        Box::pin(async move {
            let answered = self.answer(exchange).await;
            stamp(answered.unwrap_or_else(Refusal::into_response))
        })
    }

    fn client_authorities(self: Arc<Self>) -> Option<Arc<dyn ClientAuthorities>> {
        let service = Arc::clone(&self.service);
        let asks = self.client_certificates;
        asks.then(|| Arc::new(CategoriesAuthorities::new(service)) as Arc<dyn ClientAuthorities>)
    }

    fn refuse(&self, refusal: StackRefusal, _: RequestId) -> Response {
        stamp(Refusal::from(refusal).into_response())
    }
}

/// Forbids caching: responses contain keys and certificates, and a CRL may be outdated at any time.
fn stamp(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}
