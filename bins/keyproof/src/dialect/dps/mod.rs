//! The certificates of Azure's Device Provisioning Service: `Microsoft.Devices/provisioningServices/…/certificates`.
//!
//! Refusals come in this order: authentication, api-version, path, method, permission, existence, `If-Match`, body.
//! `docs/certificates.md` lists the codes.

mod errors;
mod routes;
pub mod settings;
mod version;
mod wire;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, header};
use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal, no_content,
    with_guard,
};
use keyproof_service::{
    Certificates, Service, StorageError,
    access::{Issuers, Prefetch},
    certificates::{Caller, Deletion, Precondition, ProvisioningService},
};

use super::DialectName;
use crate::request_origin::origin;
use errors::{Code, Refusal};
use routes::ROUTES;
use version::ApiVersion;
use wire::Style;

pub use wire::SubjectForm;

/// The dialect.
pub struct Dps {
    service: Arc<Service>,
    issuers: Issuers,
    subject: SubjectForm,
}

type HandlerResult = Result<Response, Refusal>;

impl Dps {
    async fn answer(&self, exchange: Exchange) -> HandlerResult {
        let segments = exchange.path().segments();
        let resource = segments.as_ref().map(|all| ROUTES.resource(all));
        let named = resource.as_ref().ok().and_then(Option::as_ref);
        let variable = |name| {
            let value = named.and_then(|resource| resource.variable(name));
            value.unwrap_or_default().to_owned()
        };
        let service = ProvisioningService {
            subscription: variable("subscription"),
            resource_group: variable("group"),
            name: variable("service"),
        };
        // Empty for the list of certificates.
        let name = variable("name");
        // A certificate that is only read is prefetched with the token. The token is checked before the path.
        let prefetch = match named.and_then(|resource| resource.route(exchange.method())) {
            Some(route) if route.operation.shows_certificate() => {
                Certificates::prefetch(&service, &name)
            }
            _ => Prefetch::default(),
        };
        let token = exchange.credentials("bearer").ok_or(Code::TokenMissing)?;
        let access = &self.service.access;
        let operator = access.authenticate_with_issuers(token, &self.issuers, prefetch);
        let operator = operator.await?;
        let style = Style {
            version: ApiVersion::of(exchange.query())?,
            subject: self.subject,
        };
        let resource = resource.map_err(|error| *error)?.ok_or(Code::PathUnknown)?;
        let route = resource.asked(&exchange).ok_or(Code::MethodNotAllowed)?;
        let act = route.operation.act;
        let (certificates, origin) = (&self.service.certificates, origin(&exchange));
        let permitted = certificates.permit(&operator, act, service, &name, &origin);
        let call = Call {
            caller: permitted.await?,
            name,
            style,
            precondition: wire::precondition(exchange.headers(), header::IF_MATCH),
            body: route.body,
            exchange,
            service: Arc::clone(&self.service),
        };
        (route.operation.answer)(call).await
    }
}

/// A permitted request whose head was validated.
struct Call {
    caller: Caller,
    /// The certificate's name, or empty.
    name: String,
    style: Style,
    /// `If-Match`.
    precondition: Precondition,
    /// The limit of the body, in bytes.
    body: usize,
    exchange: Exchange,
    service: Arc<Service>,
}

impl Call {
    async fn list(self) -> HandlerResult {
        let place = self.service.lists.take(&self.caller.party()).await;
        let place = place.map_err(StorageError::from)?;
        let views = self.service.certificates.list(&self.caller).await?;
        Ok(with_guard(wire::list(&views, self.style), place))
    }

    async fn get(self) -> HandlerResult {
        let certificates = &self.service.certificates;
        let view = certificates.get(&self.caller, &self.name, &self.precondition);
        let view = view.await?;
        let known = wire::precondition(self.exchange.headers(), header::IF_NONE_MATCH);
        if known.holds(view.version) {
            let mut unchanged = Response::default();
            *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(unchanged);
        }
        Ok(wire::certificate(&view, self.style))
    }

    async fn put(mut self) -> HandlerResult {
        let upload = wire::upload(&mut self.exchange, self.body).await;
        let certificates = &self.service.certificates;
        let view = certificates.put(&self.caller, &self.name, &self.precondition, upload);
        Ok(wire::certificate(&view.await?, self.style))
    }

    async fn delete(self) -> HandlerResult {
        let certificates = &self.service.certificates;
        let deletion = certificates.delete(&self.caller, &self.name, &self.precondition);
        Ok(match deletion.await? {
            Deletion::Absent => no_content(),
            Deletion::Deleted => Response::default(),
        })
    }

    async fn generate_code(self) -> HandlerResult {
        let certificates = &self.service.certificates;
        let issued = certificates.generate_code(&self.caller, &self.name, &self.precondition);
        Ok(wire::code(&issued.await?, self.style))
    }

    async fn verify(mut self) -> HandlerResult {
        let leaf = wire::leaf(&mut self.exchange, self.body).await;
        let certificates = &self.service.certificates;
        let verified = certificates.verify(&self.caller, &self.name, &self.precondition, leaf);
        Ok(wire::certificate(&verified.await?.certificate, self.style))
    }
}

const X_MS_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

const X_MS_CORRELATION_REQUEST_ID: HeaderName =
    HeaderName::from_static("x-ms-correlation-request-id");

impl Application for Dps {
    fn name(&self) -> &'static str {
        DialectName::Dps.as_str()
    }

    fn claims(&self, path: &RequestPath) -> bool {
        routes::claims(path)
    }

    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<Response> {
        Box::pin(async move {
            let request_id = exchange.request_id();
            let answered = self.answer(exchange).await;
            stamp(answered.unwrap_or_else(Refusal::into_response), request_id)
        })
    }

    fn refuse(&self, refusal: StackRefusal, request_id: RequestId) -> Response {
        stamp(Refusal::from(refusal).into_response(), request_id)
    }

    fn request_id_header(&self) -> HeaderName {
        X_MS_REQUEST_ID
    }
}

/// Adds the headers that every response of this dialect has besides its request id.
fn stamp(mut response: Response, request_id: RequestId) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        headers.insert(X_MS_CORRELATION_REQUEST_ID, value);
    }
    response
}
