//! The operations of this dialect, one per line. Fixed segments are compared case-insensitively, as in Azure Resource
//! Manager; the service compares the variable ones likewise.

use http::Method;
use keyproof_http::{BoxFuture, RequestPath};
use keyproof_service::Action;
use keyproof_x509::MAX_UPLOAD_LEN;

use super::{Call, HandlerResult};
use crate::route_table::{self, Case, Route, RouteTable};

/// The handler of an operation.
#[derive(Debug)]
pub(super) struct Operation {
    /// The action that needs permission.
    pub(super) act: Action,
    pub(super) answer: fn(Call) -> BoxFuture<HandlerResult>,
}

impl Operation {
    /// Returns whether it only returns the certificate of the path, which is then prefetched with the token.
    pub(super) fn shows_certificate(&self) -> bool {
        matches!(self.act, Action::CertificateGet)
    }
}

/// The limit of a body, in bytes: a certificate upload in which each line end is escaped.
const UPLOAD: usize = 2 * MAX_UPLOAD_LEN;

macro_rules! service {
    ($rest:literal) => {
        concat!(
            "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Devices",
            "/provisioningServices/{service}",
            $rest
        )
    };
}

#[rustfmt::skip]
pub(super) static ROUTES: RouteTable<Operation> = RouteTable {
    case: Case::Insensitive,
    preflight: false,
    routes: &[
        route(Method::GET, service!("/certificates"), Action::CertificateList, 0, |call| Box::pin(call.list())),
        route(Method::GET, service!("/certificates/{name}"), Action::CertificateGet, 0, |call| Box::pin(call.get())),
        route(Method::PUT, service!("/certificates/{name}"), Action::CertificatePut, UPLOAD, |call| Box::pin(call.put())),
        route(Method::DELETE, service!("/certificates/{name}"), Action::CertificateDelete, 0, |call| Box::pin(call.delete())),
        route(Method::POST, service!("/certificates/{name}/generateVerificationCode"), Action::CertificateGenerateCode, 0, |call| Box::pin(call.generate_code())),
        route(Method::POST, service!("/certificates/{name}/verify"), Action::CertificateVerify, UPLOAD, |call| Box::pin(call.verify())),
    ],
};

const fn route(
    method: Method,
    template: &'static str,
    act: Action,
    body: usize,
    answer: fn(Call) -> BoxFuture<HandlerResult>,
) -> Route<Operation> {
    route_table::route(method, template, body, Operation { act, answer })
}

/// Returns whether a path belongs to this dialect: all below `/subscriptions` do.
pub(super) fn claims(path: &RequestPath) -> bool {
    path.first()
        .is_some_and(|first| first.eq_ignore_ascii_case("subscriptions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str =
        "/subscriptions/S/resourceGroups/G/providers/Microsoft.Devices/provisioningServices/P";

    /// Returns the template that a path matches, and the name of its certificate.
    fn named(path: &str) -> Option<(&'static str, String)> {
        let path = RequestPath::parse(path);
        let segments = path.segments().unwrap();
        let resource = ROUTES.resource(&segments)?;
        let name = resource.variable("name").unwrap_or_default();
        Some((resource.template(), name.to_owned()))
    }

    #[test]
    fn fixed_segments_have_no_case_and_names_keep_theirs() {
        for (rest, template, name) in [
            ("/certificates", service!("/certificates"), ""),
            (
                "/CERTIFICATES/My%2FCert",
                service!("/certificates/{name}"),
                "My/Cert",
            ),
            (
                "/certificates/My%2FCert/VERIFY",
                service!("/certificates/{name}/verify"),
                "My/Cert",
            ),
            (
                "/certificates/My%2FCert/generateverificationcode",
                service!("/certificates/{name}/generateVerificationCode"),
                "My/Cert",
            ),
        ] {
            for service in [
                SERVICE.to_owned(),
                SERVICE.to_uppercase(),
                SERVICE.to_lowercase(),
            ] {
                let expected = Some((template, name.to_owned()));
                assert_eq!(named(&format!("{service}{rest}")), expected);
            }
        }
        let path = RequestPath::parse(&format!("{SERVICE}/certificates"));
        let segments = path.segments().unwrap();
        let resource = ROUTES.resource(&segments).unwrap();
        let variables = ["subscription", "group", "service"].map(|name| resource.variable(name));
        assert_eq!(variables, [Some("S"), Some("G"), Some("P")]);
    }

    #[test]
    fn other_paths_are_none() {
        for rest in [
            "",
            "/certificates/",
            "/certificates//verify",
            "/certificates/c/other",
            "/certificates/c/verify/",
            "/keys",
        ] {
            assert_eq!(named(&format!("{SERVICE}{rest}")), None, "{rest}");
        }
        for path in [
            "/subscriptions",
            "/subscriptions//resourceGroups/G/providers/Microsoft.Devices/provisioningServices/P/certificates",
            "/subscriptions/S/resourceGroups/G/providers/Microsoft.Devices/IotHubs/P/certificates",
        ] {
            assert_eq!(named(path), None, "{path}");
        }
    }

    #[test]
    fn each_path_allows_the_methods_of_its_lines() {
        ROUTES.assert_each_line_is_reached();
        for (rest, allow) in [
            ("/certificates", "GET, HEAD"),
            ("/certificates/c", "DELETE, GET, HEAD, PUT"),
            ("/certificates/c/generateVerificationCode", "POST"),
            ("/certificates/c/verify", "POST"),
        ] {
            let path = RequestPath::parse(&format!("{SERVICE}{rest}"));
            let segments = path.segments().unwrap();
            assert_eq!(ROUTES.resource(&segments).unwrap().allow(), allow, "{rest}");
        }
    }

    #[test]
    fn all_below_subscriptions_is_claimed() {
        for (path, claimed) in [
            ("/subscriptions", true),
            ("/SubscriptionS/%zz", true),
            ("/subscriptions2/x", false),
            ("/%zz", false),
            ("/", false),
        ] {
            assert_eq!(claims(&RequestPath::parse(path)), claimed, "{path}");
        }
    }
}
