//! The operations of this dialect, one per line. Paths may have the prefix of the published example.

use http::Method;
use keyproof_http::{BoxFuture, RequestPath};
use keyproof_service::{
    access::Prefetch,
    device_identity::{
        ApiKey, Category, DeviceIdentity, Manager, ObjectOperation, StationOperation,
    },
};

use super::{Asked, HandlerResult, Offered, StationCall, errors::Refusal};
use crate::route_table::{Case, Resource, RouteTable, route};

/// The handler of an operation, and its required caller.
#[derive(Debug)]
pub(super) enum Operation {
    /// On objects of one kind, for administrators of the namespace.
    Objects {
        act: ObjectOperation,
        answer: fn(Asked) -> BoxFuture<HandlerResult>,
        prefetch: fn(&str, &str) -> Prefetch,
    },
    /// Public: a category's CRL.
    RevocationList,
    /// For stations.
    Station(
        StationOperation,
        fn(StationCall) -> BoxFuture<HandlerResult>,
    ),
}

const fn objects<K: Offered>(act: ObjectOperation) -> Operation {
    Operation::Objects {
        act,
        answer: |asked| Box::pin(asked.answer::<K>()),
        prefetch: DeviceIdentity::prefetch::<K>,
    }
}

impl Operation {
    /// Returns the object that is prefetched with the token, if it is only read.
    pub(super) fn prefetch(&self, resource: &Resource<'_, Self>) -> Prefetch {
        let variable = |name| resource.variable(name).unwrap_or_default();
        match self {
            Self::Objects {
                act: ObjectOperation::Get,
                prefetch,
                ..
            } => prefetch(variable("namespace"), variable("name")),
            _ => Prefetch::default(),
        }
    }
}

/// The limit of a preauth's body, in bytes: an API key and four properties of a device, each of 1,024 characters that
/// are all escaped.
const PREAUTH: usize = 64 * 1024;

/// The limit of a provision's body: also three keys, a certificate and a certification request.
const PROVISION: usize = 256 * 1024;

/// The limit of a deletion's body: an optional name and namespace.
const DELETION: usize = 4 * 1024;

/// The limit of an activation's body: a ticket, which contains the device's properties, and a proof.
const ACTIVATE: usize = 128 * 1024;

/// The limit of an attestation's body: an event log of 512 KiB in Base64, a key, a quote, 48 PCR values and an
/// activation.
const ATTEST: usize = 1024 * 1024;

/// The limit of a nonce request's body: three names and a selection.
const NONCE: usize = 8 * 1024;

/// The limit of an object's body: a manager or a category may have hundreds of certificates.
const OBJECT: usize = 2 * 1024 * 1024;

macro_rules! objects {
    ($rest:literal) => {
        concat!("/api/tpm/namespaces/{namespace}/", $rest)
    };
}

/// The path of a category's CRL.
pub(super) const REVOCATION_LIST: &str = objects!("tpm_categorys/{name}/crl");

#[rustfmt::skip]
pub(super) static ROUTES: RouteTable<Operation> = RouteTable {
    case: Case::Sensitive,
    preflight: false,
    routes: &[
        route(Method::POST, "/api/tpm/tpm/activate", ACTIVATE, Operation::Station(StationOperation::Activate, |call| Box::pin(call.activate()))),
        route(Method::POST, "/api/tpm/tpm/attest", ATTEST, Operation::Station(StationOperation::Attest, |call| Box::pin(call.attest()))),
        route(Method::POST, "/api/tpm/tpm/attest/nonce", NONCE, Operation::Station(StationOperation::AttestNonce, |call| Box::pin(call.attestation_nonce()))),
        route(Method::POST, "/api/tpm/tpm/preauth", PREAUTH, Operation::Station(StationOperation::Preauth, |call| Box::pin(call.preauth()))),
        route(Method::POST, "/api/tpm/tpm/provision", PROVISION, Operation::Station(StationOperation::Provision, |call| Box::pin(call.provision()))),
        route(Method::GET, objects!("tpm_managers"), 0, objects::<Manager>(ObjectOperation::List)),
        route(Method::POST, objects!("tpm_managers"), OBJECT, objects::<Manager>(ObjectOperation::Create)),
        route(Method::GET, objects!("tpm_managers/{name}"), 0, objects::<Manager>(ObjectOperation::Get)),
        route(Method::PUT, objects!("tpm_managers/{name}"), OBJECT, objects::<Manager>(ObjectOperation::Replace)),
        route(Method::DELETE, objects!("tpm_managers/{name}"), DELETION, objects::<Manager>(ObjectOperation::Delete)),
        route(Method::GET, objects!("tpm_categorys"), 0, objects::<Category>(ObjectOperation::List)),
        route(Method::POST, objects!("tpm_categorys"), OBJECT, objects::<Category>(ObjectOperation::Create)),
        route(Method::GET, objects!("tpm_categorys/{name}"), 0, objects::<Category>(ObjectOperation::Get)),
        route(Method::PUT, objects!("tpm_categorys/{name}"), OBJECT, objects::<Category>(ObjectOperation::Replace)),
        route(Method::DELETE, objects!("tpm_categorys/{name}"), DELETION, objects::<Category>(ObjectOperation::Delete)),
        route(Method::GET, REVOCATION_LIST, 0, Operation::RevocationList),
        route(Method::GET, objects!("tpm_api_keys"), 0, objects::<ApiKey>(ObjectOperation::List)),
        route(Method::POST, objects!("tpm_api_keys"), OBJECT, objects::<ApiKey>(ObjectOperation::Create)),
        route(Method::GET, objects!("tpm_api_keys/{name}"), 0, objects::<ApiKey>(ObjectOperation::Get)),
        route(Method::PUT, objects!("tpm_api_keys/{name}"), OBJECT, objects::<ApiKey>(ObjectOperation::Replace)),
        route(Method::DELETE, objects!("tpm_api_keys/{name}"), DELETION, objects::<ApiKey>(ObjectOperation::Delete)),
    ],
};

/// Returns whether a path belongs to this dialect.
pub(super) fn claims(path: &RequestPath) -> bool {
    path.first() == Some("api")
        && matches!(without_prefix(&path.lossy_segments()), ["api", "tpm", ..])
}

/// Returns the segments of a path without the prefix.
pub(super) fn segments(path: &RequestPath) -> Result<Vec<&str>, Refusal> {
    let mut segments = path
        .segments()
        .map_err(|error| Refusal::invalid(error.to_string()))?;
    let prefix = segments.len() - without_prefix(&segments).len();
    segments.drain(..prefix);
    Ok(segments)
}

/// Removes the prefix `/api/v1/{domain_prefix}/{environment}/{region}/namespaces/{ns}`, if there is one.
fn without_prefix<'a, 'b>(segments: &'b [&'a str]) -> &'b [&'a str] {
    match segments {
        ["api", "v1", _, _, _, "namespaces", _, rest @ ..] => rest,
        all => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the template of a path, its namespace and its name.
    fn named(path: &str) -> Option<(&'static str, String, String)> {
        let path = RequestPath::parse(path);
        let segments = segments(&path).unwrap();
        let resource = ROUTES.resource(&segments)?;
        let variable = |name| resource.variable(name).unwrap_or_default().to_owned();
        Some((resource.template(), variable("namespace"), variable("name")))
    }

    #[test]
    fn the_prefix_is_for_routing_only() {
        for (path, template, namespace, name) in [
            ("/api/tpm/tpm/preauth", "/api/tpm/tpm/preauth", "", ""),
            ("/api/tpm/tpm/provision", "/api/tpm/tpm/provision", "", ""),
            (
                "/api/tpm/namespaces/a/tpm_managers",
                objects!("tpm_managers"),
                "a",
                "",
            ),
            (
                "/api/tpm/namespaces/a/tpm_categorys/b",
                objects!("tpm_categorys/{name}"),
                "a",
                "b",
            ),
            (
                "/api/tpm/namespaces/a/tpm_api_keys/b%2Fc",
                objects!("tpm_api_keys/{name}"),
                "a",
                "b/c",
            ),
        ] {
            let prefixed = format!("/api/v1/api/production/us-east-1/namespaces/default{path}");
            let expected = Some((template, namespace.to_owned(), name.to_owned()));
            for path in [path, &prefixed] {
                assert!(claims(&RequestPath::parse(path)), "{path}");
                assert_eq!(named(path), expected, "{path}");
            }
        }
        for unknown in [
            "/api/tpm",
            "/api/tpm/tpm/attest/",
            "/api/tpm/namespaces/a/tpm_categories",
            "/api/tpm/namespaces/a/tpm_managers/",
            "/api/tpm/namespaces/a/tpm_managers/b/c",
        ] {
            assert!(claims(&RequestPath::parse(unknown)), "{unknown}");
            assert_eq!(named(unknown), None, "{unknown}");
        }
        for others in [
            "/api/v1/authenticate",
            "/api/v1/a/b/c/namespaces/d/e",
            "/api",
        ] {
            assert!(!claims(&RequestPath::parse(others)), "{others}");
        }
    }

    #[test]
    fn each_path_allows_the_methods_of_its_lines() {
        ROUTES.assert_each_line_is_reached();
        for (path, allow) in [
            ("/api/tpm/tpm/preauth", "POST"),
            ("/api/tpm/namespaces/a/tpm_api_keys", "GET, HEAD, POST"),
            (
                "/api/tpm/namespaces/a/tpm_api_keys/b",
                "DELETE, GET, HEAD, PUT",
            ),
            ("/api/tpm/namespaces/a/tpm_categorys/b/crl", "GET, HEAD"),
        ] {
            let path = RequestPath::parse(path);
            let segments = segments(&path).unwrap();
            assert_eq!(ROUTES.resource(&segments).unwrap().allow(), allow);
        }
    }
}
