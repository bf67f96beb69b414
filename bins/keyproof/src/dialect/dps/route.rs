//! Paths. Fixed segments are compared without regard to case, as Azure Resource Manager does; so are, in the service,
//! the variable ones.

use http::Method;
use keyproof_service::certificates::{Act, ProvisioningService};

use super::errors::{Code, Refusal};
use crate::http::RequestPath;

/// A path of this dialect: a provisioning service, and what of it is meant.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) service: ProvisioningService,
    pub(super) resource: Resource,
}

/// What a path names. Certificates by their name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Certificate(String),
    Certificates,
    GenerateCode(String),
    Verify(String),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call<'a> {
    Delete(&'a str),
    GenerateCode(&'a str),
    Get(&'a str),
    List,
    Put(&'a str),
    Verify(&'a str),
}

impl Route {
    /// Everything below `/subscriptions`.
    pub(super) fn claims(path: &RequestPath) -> bool {
        path.first().is_some_and(|first| is(first, "subscriptions"))
    }

    pub(super) fn of(path: &RequestPath) -> Result<Self, Refusal> {
        let segments = path
            .segments()
            .map_err(|error| Refusal::from(Code::PathMalformed).because(&error))?;
        let [
            subscriptions,
            subscription,
            groups,
            resource_group,
            providers,
            provider,
            services,
            name,
            certificates,
            rest @ ..,
        ] = segments.as_slice()
        else {
            return Err(Code::PathUnknown.into());
        };
        let fixed = [
            (subscriptions, "subscriptions"),
            (groups, "resourceGroups"),
            (providers, "providers"),
            (provider, "Microsoft.Devices"),
            (services, "provisioningServices"),
            (certificates, "certificates"),
        ];
        let named = [subscription, resource_group, name];
        if fixed.iter().any(|(segment, word)| !is(segment, word))
            || named.iter().any(|segment| segment.is_empty())
        {
            return Err(Code::PathUnknown.into());
        }
        let resource = match rest {
            [] => Resource::Certificates,
            [name] if !name.is_empty() => Resource::Certificate((*name).to_owned()),
            [name, action] if is(action, "generateVerificationCode") && !name.is_empty() => {
                Resource::GenerateCode((*name).to_owned())
            }
            [name, action] if is(action, "verify") && !name.is_empty() => {
                Resource::Verify((*name).to_owned())
            }
            _ => return Err(Code::PathUnknown.into()),
        };
        Ok(Self {
            service: ProvisioningService {
                subscription: (*subscription).to_owned(),
                resource_group: (*resource_group).to_owned(),
                name: (*name).to_owned(),
            },
            resource,
        })
    }

    pub(super) fn call(&self, method: &Method) -> Result<Call<'_>, Refusal> {
        match (&self.resource, method) {
            (Resource::Certificates, &Method::GET) => Ok(Call::List),
            (Resource::Certificate(name), &Method::GET) => Ok(Call::Get(name)),
            (Resource::Certificate(name), &Method::PUT) => Ok(Call::Put(name)),
            (Resource::Certificate(name), &Method::DELETE) => Ok(Call::Delete(name)),
            (Resource::GenerateCode(name), &Method::POST) => Ok(Call::GenerateCode(name)),
            (Resource::Verify(name), &Method::POST) => Ok(Call::Verify(name)),
            (resource, _) => Err(Refusal::method(resource.allow())),
        }
    }
}

impl<'a> Call<'a> {
    /// What it does, and to which certificate; to all of them if it names none.
    pub(super) const fn act(self) -> (Act, &'a str) {
        match self {
            Self::Delete(name) => (Act::Delete, name),
            Self::GenerateCode(name) => (Act::GenerateCode, name),
            Self::Get(name) => (Act::Get, name),
            Self::List => (Act::List, ""),
            Self::Put(name) => (Act::Put, name),
            Self::Verify(name) => (Act::Verify, name),
        }
    }
}

impl Resource {
    pub(super) const fn template(&self) -> &'static str {
        macro_rules! below {
            ($rest:literal) => {
                concat!(
                    "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Devices",
                    "/provisioningServices/{service}/certificates",
                    $rest
                )
            };
        }
        match self {
            Self::Certificate(_) => below!("/{name}"),
            Self::Certificates => below!(""),
            Self::GenerateCode(_) => below!("/{name}/generateVerificationCode"),
            Self::Verify(_) => below!("/{name}/verify"),
        }
    }

    const fn allow(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "DELETE, GET, HEAD, PUT",
            Self::Certificates => "GET, HEAD",
            Self::GenerateCode(_) | Self::Verify(_) => "POST",
        }
    }
}

fn is(segment: &str, word: &str) -> bool {
    segment.eq_ignore_ascii_case(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str =
        "/subscriptions/S/resourceGroups/G/providers/Microsoft.Devices/provisioningServices/P";

    fn route(path: &str) -> Result<Resource, Code> {
        Route::of(&RequestPath::parse(path))
            .map(|route| route.resource)
            .map_err(|refusal| refusal.code())
    }

    #[test]
    fn fixed_segments_have_no_case_and_names_keep_theirs() {
        let name = || "My/Cert".to_owned();
        for (rest, resource) in [
            ("/certificates", Resource::Certificates),
            ("/CERTIFICATES/My%2FCert", Resource::Certificate(name())),
            ("/certificates/My%2FCert/VERIFY", Resource::Verify(name())),
            (
                "/certificates/My%2FCert/generateverificationcode",
                Resource::GenerateCode(name()),
            ),
        ] {
            for service in [
                SERVICE.to_owned(),
                SERVICE.to_uppercase(),
                SERVICE.to_lowercase(),
            ] {
                assert_eq!(route(&format!("{service}{rest}")), Ok(resource.clone()));
            }
        }
        let route = Route::of(&RequestPath::parse(&format!("{SERVICE}/certificates"))).unwrap();
        assert_eq!(route.service.subscription, "S");
        assert_eq!(route.service.resource_group, "G");
        assert_eq!(route.service.name, "P");
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
            assert_eq!(
                route(&format!("{SERVICE}{rest}")),
                Err(Code::PathUnknown),
                "{rest}"
            );
        }
        for path in [
            "/subscriptions",
            "/subscriptions//resourceGroups/G/providers/Microsoft.Devices/provisioningServices/P/certificates",
            "/subscriptions/S/resourceGroups/G/providers/Microsoft.Devices/IotHubs/P/certificates",
        ] {
            assert_eq!(route(path), Err(Code::PathUnknown), "{path}");
        }
        assert_eq!(route("/subscriptions/%zz"), Err(Code::PathMalformed));
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
            assert_eq!(Route::claims(&RequestPath::parse(path)), claimed, "{path}");
        }
    }
}
