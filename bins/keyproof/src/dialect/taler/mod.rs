//! GNU Taler's merchant API, as far as OTP devices go: `config`, `private/token` and `private/otp-devices`.
//!
//! Every path stands at the root, for the default instance, and under `/instances/{instance}`. Refusals come in
//! this order: path, method, malformed `Authorization`, unknown instance, token, permission, device, body.

mod authorization;
mod body;
mod errors;
mod wire;

use std::sync::Arc;

use authorization::Credentials;
use body::Members;
use errors::{Code, Refusal};
use http::{HeaderName, HeaderValue, Method, header};
use keyproof_auth::Permission;
use keyproof_service::{
    Judging, Service,
    otp_devices::{DEFAULT_INSTANCE, Session},
};

use super::{DialectName, origin};
use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal,
};

/// The dialect.
pub struct Taler {
    service: Arc<Service>,
    inflating: Judging,
    currency: String,
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resource {
    Config,
    Device(String),
    Devices,
    Token,
}

/// A resource of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    instance: String,
    resource: Resource,
}

type Answered = Result<Response, Refusal>;

impl Taler {
    /// The dialect over these use cases, for a merchant of this currency.
    #[must_use]
    pub fn new(service: Arc<Service>, currency: String) -> Self {
        Self {
            inflating: service.judging.beside(),
            service,
            currency,
        }
    }

    async fn answer(&self, mut exchange: Exchange) -> Answered {
        let route = Route::of(exchange.path())?;
        exchange.matched(route.resource.template());
        // HEAD is GET whose answer's body is not sent, which the stack sees to.
        let method = match exchange.method().clone() {
            Method::HEAD => Method::GET,
            method => method,
        };
        let instance = &*route.instance;
        match (&method, &route.resource) {
            (&Method::OPTIONS, resource) => Ok(resource.preflight()),
            (&Method::GET, Resource::Config) => self.config(instance).await,
            (&Method::POST, Resource::Token) => self.issue_token(instance, &mut exchange).await,
            (&Method::DELETE, Resource::Token) => self.revoke_token(instance, &exchange).await,
            (&Method::GET, Resource::Devices) => self.list(instance, &exchange).await,
            (&Method::POST, Resource::Devices) => self.add(instance, &mut exchange).await,
            (&Method::GET, Resource::Device(id)) => self.show(instance, id, &exchange).await,
            (&Method::PATCH, Resource::Device(id)) => {
                self.change(instance, id, &mut exchange).await
            }
            (&Method::DELETE, Resource::Device(id)) => self.remove(instance, id, &exchange).await,
            (_, resource) => Err(Refusal::method(resource.allow())),
        }
    }

    async fn config(&self, instance: &str) -> Answered {
        let known = self.service.otp_devices.has_instance(instance).await;
        if known.map_err(Refusal::reading)? {
            Ok(wire::config(&self.currency))
        } else {
            Err(Code::InstanceUnknown.into())
        }
    }

    async fn issue_token(&self, instance: &str, exchange: &mut Exchange) -> Answered {
        let devices = &self.service.otp_devices;
        let origin = origin(exchange);
        let issuer = match Credentials::of(exchange)? {
            Credentials::Basic { name, password } => {
                devices.login(instance, &name, password, &origin).await?
            }
            other => devices.refresher(instance, other.bearer(), &origin).await?,
        };
        let request = wire::token_request(self.members(exchange, body::LOGIN).await?)?;
        let issued = devices.issue(&issuer, &request, &origin).await?;
        Ok(wire::issued_token(&issued))
    }

    async fn revoke_token(&self, instance: &str, exchange: &Exchange) -> Answered {
        let devices = &self.service.otp_devices;
        let (credentials, origin) = (Credentials::of(exchange)?, origin(exchange));
        let bearer = credentials.bearer();
        let session = devices.session(instance, bearer, None, &origin).await?;
        devices.revoke(&session, &origin).await?;
        Ok(wire::no_content())
    }

    async fn list(&self, instance: &str, exchange: &Exchange) -> Answered {
        let session = self
            .session(instance, Permission::OtpDevicesRead, exchange)
            .await?;
        let devices = self.service.otp_devices.devices(&session).await;
        Ok(wire::devices(&devices.map_err(Refusal::reading)?))
    }

    async fn add(&self, instance: &str, exchange: &mut Exchange) -> Answered {
        let session = self
            .session(instance, Permission::OtpDevicesWrite, exchange)
            .await?;
        let details = wire::device_details(self.members(exchange, body::DEVICE).await?)?;
        let devices = &self.service.otp_devices;
        devices
            .add_device(&session, &details, &origin(exchange))
            .await?;
        Ok(wire::no_content())
    }

    async fn show(&self, instance: &str, id: &str, exchange: &Exchange) -> Answered {
        let session = self
            .session(instance, Permission::OtpDevicesRead, exchange)
            .await?;
        let devices = &self.service.otp_devices;
        match wire::moment(exchange.query()) {
            Ok((at, price)) => {
                let view = devices.device(&session, id, at, price.as_ref()).await?;
                Ok(wire::device(&view))
            }
            Err(refusal) => {
                // A device that is not there comes before a query that is malformed.
                devices.find_device(&session, id).await?;
                Err(refusal)
            }
        }
    }

    async fn change(&self, instance: &str, id: &str, exchange: &mut Exchange) -> Answered {
        let session = self
            .session(instance, Permission::OtpDevicesWrite, exchange)
            .await?;
        let devices = &self.service.otp_devices;
        devices.find_device(&session, id).await?;
        let change = wire::device_change(self.members(exchange, body::DEVICE).await?)?;
        devices
            .change_device(&session, id, &change, &origin(exchange))
            .await?;
        Ok(wire::no_content())
    }

    async fn members(&self, exchange: &mut Exchange, needed: usize) -> Result<Members, Refusal> {
        body::members(exchange, needed, &self.inflating).await
    }

    async fn remove(&self, instance: &str, id: &str, exchange: &Exchange) -> Answered {
        let session = self
            .session(instance, Permission::OtpDevicesWrite, exchange)
            .await?;
        let devices = &self.service.otp_devices;
        devices
            .remove_device(&session, id, &origin(exchange))
            .await?;
        Ok(wire::no_content())
    }

    async fn session(
        &self,
        instance: &str,
        needed: Permission,
        exchange: &Exchange,
    ) -> Result<Session, Refusal> {
        let credentials = Credentials::of(exchange)?;
        let devices = &self.service.otp_devices;
        Ok(devices
            .session(
                instance,
                credentials.bearer(),
                Some(needed),
                &origin(exchange),
            )
            .await?)
    }
}

impl Application for Taler {
    fn name(&self) -> &'static str {
        DialectName::Taler.as_str()
    }

    fn claims(&self, path: &RequestPath) -> bool {
        ["config", "instances", "private"]
            .iter()
            .any(|first| path.starts_with(&[*first]))
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

impl Route {
    fn of(path: &RequestPath) -> Result<Self, Refusal> {
        let segments = path.segments().map_err(|error| {
            Refusal::from(Code::PathSegmentMalformed).with_detail(error.to_string())
        })?;
        let (instance, rest) = match segments.as_slice() {
            ["instances", instance, rest @ ..] => (*instance, rest),
            rest => (DEFAULT_INSTANCE, rest),
        };
        let resource = match rest {
            ["config"] => Resource::Config,
            ["private", "token"] => Resource::Token,
            ["private", "otp-devices"] => Resource::Devices,
            ["private", "otp-devices", id] if !id.is_empty() => Resource::Device((*id).to_owned()),
            _ => return Err(Code::EndpointUnknown.into()),
        };
        Ok(Self {
            instance: instance.to_owned(),
            resource,
        })
    }
}

impl Resource {
    const fn template(&self) -> &'static str {
        match self {
            Self::Config => "/config",
            Self::Device(_) => "/private/otp-devices/{id}",
            Self::Devices => "/private/otp-devices",
            Self::Token => "/private/token",
        }
    }

    const fn allow(&self) -> &'static str {
        match self {
            Self::Config => "GET, HEAD, OPTIONS",
            Self::Device(_) => "DELETE, GET, HEAD, OPTIONS, PATCH",
            Self::Devices => "GET, HEAD, OPTIONS, POST",
            Self::Token => "DELETE, OPTIONS, POST",
        }
    }

    /// Lets web pages of any origin call: they hold no cookie here that they could abuse.
    fn preflight(&self) -> Response {
        let mut response = wire::no_content();
        let headers = response.headers_mut();
        let allow = HeaderValue::from_static(self.allow());
        headers.insert(header::ALLOW, allow.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow);
        // The wildcard does not stand for Authorization (Fetch, section 4.9).
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("*, Authorization"),
        );
        headers.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("86400"),
        );
        response
    }
}

/// What every answer of this dialect carries.
fn stamp(mut response: Response) -> Response {
    const FIELDS: [(HeaderName, &str); 3] = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "*"),
        // Tokens and codes are nothing for a cache.
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in FIELDS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> Result<Route, Code> {
        Route::of(&RequestPath::parse(path)).map_err(|refusal| refusal.code())
    }

    #[test]
    fn the_root_is_the_default_instance() {
        let of = |instance: &str, resource| {
            Ok(Route {
                instance: instance.to_owned(),
                resource,
            })
        };
        assert_eq!(route("/config"), of("default", Resource::Config));
        assert_eq!(
            route("/instances/shop/config"),
            of("shop", Resource::Config)
        );
        assert_eq!(
            route("/instances/a%2Fb/private/otp-devices/c%2Fd"),
            of("a/b", Resource::Device("c/d".to_owned()))
        );
        // Instances do not nest.
        assert_eq!(
            route("/instances/a/instances/b/config"),
            Err(Code::EndpointUnknown)
        );
        for unknown in [
            "/",
            "/config/",
            "/private",
            "/private/otp-devices/",
            "/private/orders",
            "/instances/a",
        ] {
            assert_eq!(route(unknown), Err(Code::EndpointUnknown), "{unknown}");
        }
        assert_eq!(
            route("/private/otp-devices/%zz"),
            Err(Code::PathSegmentMalformed)
        );
    }
}
