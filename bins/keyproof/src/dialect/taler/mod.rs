//! GNU Taler's merchant API for OTP devices: `config`, `private/token` and `private/otp-devices`.
//!
//! Each path exists at the root, for the default instance, and under `/instances/{instance}`. Refusals come in this
//! order: path, method, malformed `Authorization`, unknown instance, token, permission, device, body. `errors.rs` has
//! the table of their codes.

mod authorization;
mod body;
mod errors;
mod routes;
pub mod settings;
mod wire;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, header};
use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal, no_content,
    with_guard,
};
use keyproof_service::{
    CpuQueue, Service,
    otp_devices::{AnyToken, Caller, Issuer, OtpDevices, Reading, Right, Writing},
};

use super::DialectName;
use crate::request_origin::origin;
use authorization::Credentials;
use body::Members;
use errors::{Code, Refusal};
use routes::{Operation, ROUTES};

/// The dialect.
pub struct Taler {
    service: Arc<Service>,
    inflating: CpuQueue,
    currency: String,
}

type HandlerResult = Result<Response, Refusal>;

impl Taler {
    async fn answer(self: Arc<Self>, mut exchange: Exchange) -> HandlerResult {
        let (instance, segments) = routes::split(exchange.path())?;
        let resource = ROUTES.resource(&segments).ok_or(Code::EndpointUnknown)?;
        if exchange.method() == Method::OPTIONS {
            exchange.matched(resource.template());
            return Ok(wire::preflight(&resource.allow()));
        }
        let route = resource.asked(&exchange).ok_or(Code::MethodInvalid)?;
        let instance = instance.to_owned();
        let id = resource.variable("id").map(str::to_owned);
        let body = route.body;
        match route.operation {
            Operation::Config => self.config(&instance).await,
            // Boxed, as it is larger than the other futures.
            Operation::IssueToken => {
                Box::pin(self.issue_token(&instance, &mut exchange, body)).await
            }
            Operation::AnyToken(answer) => {
                let caller = self.permit(&instance, None, &exchange).await?;
                answer(Call::new(self, caller, id, body, exchange)).await
            }
            Operation::Read(answer) => {
                let caller = self.permit(&instance, id.as_deref(), &exchange).await?;
                answer(Call::new(self, caller, id, body, exchange)).await
            }
            Operation::Write(answer) => {
                let caller = self.permit(&instance, None, &exchange).await?;
                answer(Call::new(self, caller, id, body, exchange)).await
            }
        }
    }

    async fn permit<R: Right>(
        &self,
        instance: &str,
        device: Option<&str>,
        exchange: &Exchange,
    ) -> Result<Caller<R>, Refusal> {
        let (credentials, origin) = (Credentials::of(exchange)?, origin(exchange));
        let devices = &self.service.otp_devices;
        let caller = devices.permit(instance, credentials.bearer(), device, &origin);
        Ok(caller.await?)
    }

    async fn config(&self, instance: &str) -> HandlerResult {
        let known = self.service.otp_devices.has_instance(instance).await;
        if known.map_err(Refusal::reading)? {
            Ok(wire::config(&self.currency))
        } else {
            Err(Code::InstanceUnknown.into())
        }
    }

    async fn issue_token(
        &self,
        instance: &str,
        exchange: &mut Exchange,
        body: usize,
    ) -> HandlerResult {
        let devices = &self.service.otp_devices;
        let origin = origin(exchange);
        let issuer = match Credentials::of(exchange)? {
            Credentials::Basic { name, password } => {
                let issuer = devices.log_in(instance, &name, password, &origin);
                issuer.await?
            }
            other => {
                let caller = devices.permit(instance, other.bearer(), None, &origin);
                Issuer::from(caller.await?)
            }
        };
        let party = issuer.party();
        let members = body::members(exchange, body, &self.inflating, &party).await?;
        let request = wire::token_request(members)?;
        let issued = devices.issue(&issuer, &request).await?;
        Ok(wire::issued_token(&issued))
    }
}

/// A permitted request whose head was validated.
struct Call<R> {
    taler: Arc<Taler>,
    caller: Caller<R>,
    /// The device's id, or empty.
    id: String,
    /// The limit of the body, in bytes.
    body: usize,
    exchange: Exchange,
}

impl<R> Call<R> {
    fn new(
        taler: Arc<Taler>,
        caller: Caller<R>,
        id: Option<String>,
        body: usize,
        exchange: Exchange,
    ) -> Self {
        Self {
            taler,
            caller,
            id: id.unwrap_or_default(),
            body,
            exchange,
        }
    }

    fn devices(&self) -> &OtpDevices {
        &self.taler.service.otp_devices
    }

    async fn members(&mut self) -> Result<Members, Refusal> {
        let party = self.caller.party();
        let inflating = &self.taler.inflating;
        body::members(&mut self.exchange, self.body, inflating, &party).await
    }
}

impl Call<AnyToken> {
    async fn revoke_token(self) -> HandlerResult {
        self.devices().revoke(&self.caller).await?;
        Ok(no_content())
    }
}

impl Call<Reading> {
    async fn list(self) -> HandlerResult {
        let lists = &self.taler.service.lists;
        let place = lists.take(&self.caller.party()).await?;
        let devices = self.devices().devices(&self.caller).await;
        let answer = wire::devices(&devices.map_err(Refusal::reading)?);
        Ok(with_guard(answer, place))
    }

    async fn show(self) -> HandlerResult {
        let moment = wire::moment(self.exchange.query());
        let view = self.devices().device(&self.caller, moment)?;
        Ok(wire::device(&view))
    }
}

impl Call<Writing> {
    async fn add(mut self) -> HandlerResult {
        let details = wire::device_details(self.members().await?)?;
        self.devices().add_device(&self.caller, &details).await?;
        Ok(no_content())
    }

    async fn change(mut self) -> HandlerResult {
        let change = self.members().await.and_then(wire::device_change);
        let changed = self.devices().change_device(&self.caller, &self.id, change);
        changed.await?;
        Ok(no_content())
    }

    async fn remove(self) -> HandlerResult {
        let removed = self.devices().remove_device(&self.caller, &self.id);
        removed.await?;
        Ok(no_content())
    }
}

impl Application for Taler {
    fn name(&self) -> &'static str {
        DialectName::Taler.as_str()
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

    fn refuse(&self, refusal: StackRefusal, _: RequestId) -> Response {
        stamp(Refusal::from(refusal).into_response())
    }
}

/// Adds the headers that every response of this dialect has.
fn stamp(mut response: Response) -> Response {
    const FIELDS: [(HeaderName, &str); 3] = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "*"),
        // Responses contain tokens and codes.
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in FIELDS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
