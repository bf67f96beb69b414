//! The certificates of Azure's Device Provisioning Service: `Microsoft.Devices/provisioningServices/…/certificates`.
//!
//! Refusals come in this order: authentication, api-version, path, method, permission, existence, `If-Match`, body. The
//! table of their codes stands at the head of `errors.rs`.

mod errors;
mod route;
mod version;
mod wire;

use std::sync::Arc;

use errors::Refusal;
use http::{HeaderName, HeaderValue, Method, header};
use keyproof_service::{
    Origin, Service, Who,
    access::{Issuers, Operator},
    certificates::{Caller, Certificates, Deletion, Precondition},
};
use route::{Call, Route};
use version::ApiVersion;
use wire::Style;

pub use wire::SubjectForm;

use super::{BoxFuture, Dialect, DialectName};
use crate::http::{Exchange, RequestId, RequestPath, Response, StackRefusal};

/// The dialect.
pub struct Dps {
    service: Arc<Service>,
    issuers: Issuers,
    subject: SubjectForm,
}

type Answered = Result<Response, Refusal>;

impl Dps {
    /// The dialect over these use cases, for keyproof's own tokens and those of these issuers.
    #[must_use]
    pub fn new(service: Arc<Service>, issuers: Issuers, subject: SubjectForm) -> Self {
        Self {
            service,
            issuers,
            subject,
        }
    }

    async fn answer(&self, mut exchange: Exchange) -> Answered {
        let operator = self.operator(&exchange).await?;
        let version = ApiVersion::of(exchange.query())?;
        let route = Route::of(exchange.path())?;
        exchange.matched(route.resource.template());
        // HEAD is GET whose answer's body is not sent, which the stack sees to.
        let method = match exchange.method().clone() {
            Method::HEAD => Method::GET,
            method => method,
        };
        let call = route.call(&method)?;
        let (act, name) = call.act();
        let certificates = &self.service.certificates;
        let (service, origin) = (route.service.clone(), origin(&exchange));
        let permitted = certificates.permit(&operator, act, service, name, &origin);
        let request = Request {
            certificates,
            caller: permitted.await?,
            style: Style {
                version,
                subject: self.subject,
            },
            precondition: wire::precondition(exchange.headers()),
        };
        match call {
            Call::Delete(name) => request.delete(name).await,
            Call::GenerateCode(name) => request.generate_code(name).await,
            Call::Get(name) => request.get(name).await,
            Call::List => request.list().await,
            Call::Put(name) => request.put(name, &mut exchange).await,
            Call::Verify(name) => request.verify(name, &mut exchange).await,
        }
    }

    async fn operator(&self, exchange: &Exchange) -> Result<Operator, Refusal> {
        let token = wire::bearer(exchange)?;
        let access = &self.service.access;
        Ok(access.authenticate_by(token, &self.issuers).await?)
    }
}

/// A request that may do what it asks for, as far as its head tells.
struct Request<'a> {
    certificates: &'a Certificates,
    caller: Caller,
    style: Style,
    precondition: Precondition,
}

impl Request<'_> {
    async fn list(&self) -> Answered {
        let views = self.certificates.list(&self.caller).await?;
        Ok(wire::list(&views, self.style))
    }

    async fn get(&self, name: &str) -> Answered {
        let view = self
            .certificates
            .get(&self.caller, name, &self.precondition);
        Ok(wire::certificate(&view.await?, self.style))
    }

    async fn put(&self, name: &str, exchange: &mut Exchange) -> Answered {
        let body = wire::put(exchange).await;
        let view = self
            .certificates
            .put(&self.caller, name, &self.precondition, body);
        Ok(wire::certificate(&view.await?, self.style))
    }

    async fn delete(&self, name: &str) -> Answered {
        let deletion = self
            .certificates
            .delete(&self.caller, name, &self.precondition);
        Ok(match deletion.await? {
            Deletion::Absent => wire::no_content(),
            Deletion::Deleted => wire::empty(),
        })
    }

    async fn generate_code(&self, name: &str) -> Answered {
        let issued = self
            .certificates
            .generate_code(&self.caller, name, &self.precondition);
        Ok(wire::code(&issued.await?, self.style))
    }

    async fn verify(&self, name: &str, exchange: &mut Exchange) -> Answered {
        let leaf = wire::leaf(exchange).await;
        let view = self
            .certificates
            .verify(&self.caller, name, &self.precondition, leaf);
        Ok(wire::certificate(&view.await?, self.style))
    }
}

const X_MS_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

const X_MS_CORRELATION_REQUEST_ID: HeaderName =
    HeaderName::from_static("x-ms-correlation-request-id");

impl Dialect for Dps {
    fn name(&self) -> &'static str {
        DialectName::Dps.as_str()
    }

    fn claims(&self, path: &RequestPath) -> bool {
        Route::claims(path)
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

/// What every answer of this dialect carries beside its request id.
fn stamp(mut response: Response, request_id: RequestId) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(value) = request_id.to_string().try_into() {
        headers.insert(X_MS_CORRELATION_REQUEST_ID, value);
    }
    response
}

fn origin(exchange: &Exchange) -> Origin {
    Origin {
        who: Who::Anonymous,
        request_id: Some(exchange.request_id().to_string()),
        address: Some(exchange.client()),
        applicant: exchange.applicant(),
    }
}
