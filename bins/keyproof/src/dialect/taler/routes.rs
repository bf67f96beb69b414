//! The operations of this dialect, one per line: at the root for the default instance, and below
//! `/instances/{instance}`.

use http::Method;
use keyproof_http::{BoxFuture, RequestPath};
use keyproof_service::otp_devices::{AnyToken, DEFAULT_INSTANCE, Reading, Writing};

use super::{
    Call, HandlerResult,
    errors::{Code, Refusal},
};
use crate::route_table::{Case, RouteTable, login_route, route};

/// The handler of an operation, and the required right.
#[derive(Debug)]
pub(super) enum Operation {
    /// Public: what this server is.
    Config,
    /// For the password or a refreshable token: a new token.
    IssueToken,
    /// For any token.
    AnyToken(fn(Call<AnyToken>) -> BoxFuture<HandlerResult>),
    /// For tokens that may read devices.
    Read(fn(Call<Reading>) -> BoxFuture<HandlerResult>),
    /// For tokens that may change devices.
    Write(fn(Call<Writing>) -> BoxFuture<HandlerResult>),
}

/// The limit of a login's body, in bytes, compressed or not.
const LOGIN: usize = 16 * 1024;

/// The limit of a device's body.
const DEVICE: usize = 128 * 1024;

#[rustfmt::skip]
pub(super) static ROUTES: RouteTable<Operation> = RouteTable {
    case: Case::Sensitive,
    preflight: true,
    routes: &[
        route(Method::GET, "/config", 0, Operation::Config),
        login_route(Method::POST, "/private/token", LOGIN, Operation::IssueToken),
        route(Method::DELETE, "/private/token", 0, Operation::AnyToken(|call| Box::pin(call.revoke_token()))),
        route(Method::GET, "/private/otp-devices", 0, Operation::Read(|call| Box::pin(call.list()))),
        route(Method::POST, "/private/otp-devices", DEVICE, Operation::Write(|call| Box::pin(call.add()))),
        route(Method::GET, "/private/otp-devices/{id}", 0, Operation::Read(|call| Box::pin(call.show()))),
        route(Method::PATCH, "/private/otp-devices/{id}", DEVICE, Operation::Write(|call| Box::pin(call.change()))),
        route(Method::DELETE, "/private/otp-devices/{id}", 0, Operation::Write(|call| Box::pin(call.remove()))),
    ],
};

/// Returns whether a path belongs to this dialect.
pub(super) fn claims(path: &RequestPath) -> bool {
    ["config", "instances", "private"]
        .iter()
        .any(|first| path.starts_with(&[*first]))
}

/// Returns the instance in a path, and the segments after it.
pub(super) fn split(path: &RequestPath) -> Result<(&str, Vec<&str>), Refusal> {
    let mut segments = path.segments().map_err(|error| {
        Refusal::from(Code::PathSegmentMalformed).with_detail(error.to_string())
    })?;
    let (instance, named_by) = match segments.as_slice() {
        // taler-php logs in below a base URL that already ends with the instance.
        ["instances", instance, "instances", same, ..] if instance == same => (*instance, 4),
        ["instances", instance, ..] => (*instance, 2),
        _ => (DEFAULT_INSTANCE, 0),
    };
    segments.drain(..named_by);
    Ok((instance, segments))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the instance, the template and the device of a path.
    fn named(path: &str) -> Result<(String, &'static str, String), Code> {
        let path = RequestPath::parse(path);
        let (instance, segments) = split(&path).map_err(|refusal| refusal.code())?;
        let resource = ROUTES.resource(&segments).ok_or(Code::EndpointUnknown)?;
        let id = resource.variable("id").unwrap_or_default();
        Ok((instance.to_owned(), resource.template(), id.to_owned()))
    }

    #[test]
    fn the_root_is_the_default_instance() {
        let of =
            |instance: &str, template, id: &str| Ok((instance.to_owned(), template, id.to_owned()));
        let device = "/private/otp-devices/{id}";
        assert_eq!(named("/config"), of("default", "/config", ""));
        assert_eq!(named("/instances/shop/config"), of("shop", "/config", ""));
        assert_eq!(named("/private/token"), of("default", "/private/token", ""));
        assert_eq!(
            named("/private/otp-devices"),
            of("default", "/private/otp-devices", "")
        );
        assert_eq!(
            named("/instances/a%2Fb/private/otp-devices/c%2Fd"),
            of("a/b", device, "c/d")
        );
        assert_eq!(
            named("/instances/shop/instances/sho%70/private/token"),
            of("shop", "/private/token", "")
        );
    }

    #[test]
    fn other_paths_are_none() {
        for unknown in [
            "/",
            "/config/",
            "/private",
            "/private/otp-devices/",
            "/private/orders",
            "/instances/a",
            // Instances do not nest, and are named twice at most.
            "/instances/a/instances/b/config",
            "/instances/a/instances/a/instances/a/config",
            "/instances/a/instances/a",
        ] {
            assert_eq!(named(unknown), Err(Code::EndpointUnknown), "{unknown}");
        }
        let malformed = named("/private/otp-devices/%zz");
        assert_eq!(malformed, Err(Code::PathSegmentMalformed));
    }

    #[test]
    fn no_line_is_hidden_by_another() {
        ROUTES.assert_each_line_is_reached();
    }
}
