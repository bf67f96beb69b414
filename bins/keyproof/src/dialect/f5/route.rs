//! Paths, with and without the prefix of the published example.

use http::Method;

use super::errors::Refusal;
use keyproof_http::RequestPath;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Collection {
        namespace: String,
        of: Collection,
    },
    Object {
        namespace: String,
        of: Collection,
        name: String,
    },
    Preauth,
    Provision,
}

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collection {
    ApiKeys,
    Categories,
    Managers,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call<'a> {
    Create {
        namespace: &'a str,
        of: Collection,
    },
    Get {
        namespace: &'a str,
        of: Collection,
        name: &'a str,
    },
    List {
        namespace: &'a str,
        of: Collection,
    },
    Preauth,
    Provision,
    Replace {
        namespace: &'a str,
        of: Collection,
        name: &'a str,
    },
}

impl Call<'_> {
    /// What the audit trail calls it, and what it is asked of.
    pub(super) fn told(self) -> (&'static str, String) {
        macro_rules! of {
            ($of:expr, $verb:literal) => {
                match $of {
                    Collection::ApiKeys => concat!("tpm_api_key.", $verb),
                    Collection::Categories => concat!("tpm_category.", $verb),
                    Collection::Managers => concat!("tpm_manager.", $verb),
                }
            };
        }
        let (action, namespace, name) = match self {
            Self::Create { namespace, of } => (of!(of, "create"), namespace, ""),
            Self::Get {
                namespace,
                of,
                name,
            } => (of!(of, "get"), namespace, name),
            Self::List { namespace, of } => (of!(of, "list"), namespace, ""),
            Self::Preauth => return ("tpm.preauth", "station".to_owned()),
            Self::Provision => return ("tpm.provision", "station".to_owned()),
            Self::Replace {
                namespace,
                of,
                name,
            } => (of!(of, "replace"), namespace, name),
        };
        let (kind, _) = action.split_once('.').unwrap_or((action, ""));
        (action, format!("{kind}/{namespace}/{name}"))
    }
}

/// The path behind the prefix, which is `/api/v1/{domain_prefix}/{environment}/{region}/namespaces/{ns}` if there is one.
fn without_prefix<'a, 'b>(segments: &'b [&'a str]) -> &'b [&'a str] {
    match segments {
        ["api", "v1", _, _, _, "namespaces", _, rest @ ..] => rest,
        all => all,
    }
}

impl Route {
    pub(super) fn claims(path: &RequestPath) -> bool {
        matches!(without_prefix(&path.lossy_segments()), ["api", "tpm", ..])
    }

    pub(super) fn of(path: &RequestPath) -> Result<Self, Refusal> {
        let segments = path
            .segments()
            .map_err(|error| Refusal::invalid(error.to_string()))?;
        let unknown = || Refusal::not_found("there is nothing at this path");
        let collection = |name: &str| match name {
            "tpm_api_keys" => Ok(Collection::ApiKeys),
            "tpm_categorys" => Ok(Collection::Categories),
            "tpm_managers" => Ok(Collection::Managers),
            _ => Err(unknown()),
        };
        match without_prefix(&segments) {
            ["api", "tpm", "tpm", "preauth"] => Ok(Self::Preauth),
            ["api", "tpm", "tpm", "provision"] => Ok(Self::Provision),
            ["api", "tpm", "namespaces", namespace, of] => Ok(Self::Collection {
                namespace: (*namespace).to_owned(),
                of: collection(of)?,
            }),
            ["api", "tpm", "namespaces", namespace, of, name] if !name.is_empty() => {
                Ok(Self::Object {
                    namespace: (*namespace).to_owned(),
                    of: collection(of)?,
                    name: (*name).to_owned(),
                })
            }
            _ => Err(unknown()),
        }
    }

    pub(super) const fn template(&self) -> &'static str {
        match self {
            Self::Collection { of, .. } => match of {
                Collection::ApiKeys => "/api/tpm/namespaces/{namespace}/tpm_api_keys",
                Collection::Categories => "/api/tpm/namespaces/{namespace}/tpm_categorys",
                Collection::Managers => "/api/tpm/namespaces/{namespace}/tpm_managers",
            },
            Self::Object { of, .. } => match of {
                Collection::ApiKeys => "/api/tpm/namespaces/{namespace}/tpm_api_keys/{name}",
                Collection::Categories => "/api/tpm/namespaces/{namespace}/tpm_categorys/{name}",
                Collection::Managers => "/api/tpm/namespaces/{namespace}/tpm_managers/{name}",
            },
            Self::Preauth => "/api/tpm/tpm/preauth",
            Self::Provision => "/api/tpm/tpm/provision",
        }
    }

    pub(super) fn call(&self, method: &Method) -> Result<Call<'_>, Refusal> {
        match (self, method) {
            (Self::Preauth, &Method::POST) => Ok(Call::Preauth),
            (Self::Provision, &Method::POST) => Ok(Call::Provision),
            (Self::Collection { namespace, of }, &Method::GET) => {
                Ok(Call::List { namespace, of: *of })
            }
            (Self::Collection { namespace, of }, &Method::POST) => {
                Ok(Call::Create { namespace, of: *of })
            }
            (
                Self::Object {
                    namespace,
                    of,
                    name,
                },
                &Method::GET,
            ) => Ok(Call::Get {
                namespace,
                of: *of,
                name,
            }),
            (
                Self::Object {
                    namespace,
                    of,
                    name,
                },
                &Method::PUT,
            ) => Ok(Call::Replace {
                namespace,
                of: *of,
                name,
            }),
            (Self::Collection { .. }, _) => Err(Refusal::method("GET, HEAD, POST")),
            (Self::Object { .. }, _) => Err(Refusal::method("GET, HEAD, PUT")),
            (Self::Preauth | Self::Provision, _) => Err(Refusal::method("POST")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_for_routing_only() {
        let plain = [
            "/api/tpm/tpm/preauth",
            "/api/tpm/tpm/provision",
            "/api/tpm/namespaces/a/tpm_managers",
            "/api/tpm/namespaces/a/tpm_categorys/b",
            "/api/tpm/namespaces/a/tpm_api_keys/b%2Fc",
        ];
        for path in plain {
            let prefixed = format!("/api/v1/api/production/us-east-1/namespaces/default{path}");
            let (path, prefixed) = (RequestPath::parse(path), RequestPath::parse(&prefixed));
            assert!(Route::claims(&path) && Route::claims(&prefixed));
            assert_eq!(Route::of(&path), Route::of(&prefixed));
            assert!(Route::of(&path).is_ok());
        }
        for unknown in [
            "/api/tpm",
            "/api/tpm/tpm/attest",
            "/api/tpm/namespaces/a/tpm_categories",
            "/api/tpm/namespaces/a/tpm_managers/",
            "/api/tpm/namespaces/a/tpm_managers/b/c",
        ] {
            let path = RequestPath::parse(unknown);
            assert!(Route::claims(&path), "{unknown}");
            assert!(Route::of(&path).is_err(), "{unknown}");
        }
        for others in [
            "/api/v1/authenticate",
            "/api/v1/a/b/c/namespaces/d/e",
            "/api",
        ] {
            assert!(!Route::claims(&RequestPath::parse(others)), "{others}");
        }
    }
}
