//! The operations of this dialect, one per line. Literal segments come before numbers and names.

use http::Method;
use keyproof_http::{BoxFuture, RequestPath};
use keyproof_service::{
    Action,
    accounts::{Editor, Manager, Person, Session, TargetUser},
};

use super::{Call, HandlerResult, errors::Refusal, path::Variables, wire};
use crate::route_table::{Case, Resource, RouteTable, login_route, route};

/// The handler of an operation, and its required caller.
#[derive(Debug)]
pub(super) enum Operation {
    /// A person whose role may change what belongs to the organisation.
    ByEditor(Action, Answer<Editor>),
    /// A person who may manage the second factor that the path names.
    ByManager(Action, Answer<Manager>),
    /// A person who has logged in.
    ByPerson(Action, Answer<Person>),
    /// Any token.
    BySession(Answer<Session>),
    /// Public, whatever the `Authorization` header contains.
    Public(Answer<()>),
}

impl Operation {
    /// Returns whose second factor is prefetched with the session, if it is only read.
    pub(super) fn prefetch(&self, variables: &Variables) -> Option<TargetUser> {
        let shows = matches!(self, ByManager(Action::TrustedDeviceList, _));
        shows.then(|| variables.path_user.target_user())
    }
}

type Answer<W> = fn(Call<W>) -> BoxFuture<HandlerResult>;

use Operation::{ByEditor, ByManager, ByPerson, BySession, Public};

/// The limit of any body, in bytes: names, passwords, codes and descriptions.
const BODY: usize = 16 * 1024;

macro_rules! api {
    ($rest:literal) => {
        concat!("/api/v1", $rest)
    };
}

const USERS: &str = api!("/user");
const USER: &str = api!("/user/{name}");

/// `{id}` is a number, `{user}` a number or `my`, and `{name}` a number or a name.
#[rustfmt::skip]
pub(super) static ROUTES: RouteTable<Operation> = RouteTable {
    case: Case::Sensitive,
    preflight: false,
    routes: &[
        login_route(Method::POST, api!("/authenticate"), BODY, Public(|call| Box::pin(call.authenticate()))),
        route(Method::GET, "/keyproof/v1/jwks.json", 0, Public(|call| Box::pin(call.jwks()))),

        route(Method::POST, api!("/user/mfa"), BODY, ByPerson(Action::MfaKeyAdd, |call| Box::pin(call.enrol_key()))),
        route(Method::GET, api!("/user/mfa/status"), 0, BySession(|call| Box::pin(async move { call.of_keys(wire::key_statuses) }))),
        route(Method::GET, api!("/user/mfa/type"), 0, BySession(|call| Box::pin(async move { call.of_keys(wire::key_types) }))),
        route(Method::GET, api!("/user/mfa/trusted_device"), 0, ByManager(Action::TrustedDeviceList, |call| Box::pin(call.devices()))),
        route(Method::DELETE, api!("/user/mfa/trusted_device/{id}"), 0, ByManager(Action::TrustedDeviceRemove, |call| Box::pin(call.remove_device()))),
        route(Method::PATCH, api!("/user/mfa/{id}"), BODY, ByPerson(Action::MfaKeyActivate, |call| Box::pin(call.activate_key()))),
        route(Method::POST, api!("/user/my/mfa/recovery_codes"), BODY, ByPerson(Action::RecoveryCodesMake, |call| Box::pin(call.make_recovery_codes()))),
        route(Method::GET, api!("/user/{user}/mfa/trusted_device"), 0, ByManager(Action::TrustedDeviceList, |call| Box::pin(call.devices()))),
        route(Method::DELETE, api!("/user/{user}/mfa/trusted_device/{id}"), 0, ByManager(Action::TrustedDeviceRemove, |call| Box::pin(call.remove_device()))),
        route(Method::DELETE, api!("/user/{user}/mfa/{id}"), 0, ByManager(Action::MfaKeyRemove, |call| Box::pin(call.remove_key()))),

        route(Method::PATCH, api!("/user/password"), BODY, ByPerson(Action::UserSetPassword, |call| Box::pin(call.change_password()))),
        route(Method::GET, api!("/user/role"), 0, BySession(|_| Box::pin(async { Ok(wire::roles()) }))),
        route(Method::GET, api!("/user/status"), 0, BySession(|_| Box::pin(async { Ok(wire::user_statuses()) }))),
        route(Method::GET, USERS, 0, BySession(|call| Box::pin(call.users()))),
        route(Method::GET, USER, 0, BySession(|call| Box::pin(call.user()))),

        route(Method::GET, api!("/application_token"), 0, BySession(|call| Box::pin(call.application_tokens()))),
        route(Method::POST, api!("/application_token"), BODY, ByEditor(Action::ApplicationTokenAdd, |call| Box::pin(call.add_application_token()))),
        route(Method::PATCH, api!("/application_token/{id}"), BODY, ByPerson(Action::ApplicationTokenChange, |call| Box::pin(call.change_application_token()))),
    ],
};

/// Returns whether this resource needs no token, whatever the method.
pub(super) fn is_public(resource: &Resource<'_, Operation>) -> bool {
    let mut lines = ROUTES.routes.iter();
    lines.any(|line| line.template == resource.template() && matches!(line.operation, Public(_)))
}

/// Returns the refusal of an unsupported method: 404 for users, as changing them is not offered at all, and otherwise
/// 405.
pub(super) fn no_such_method(resource: &Resource<'_, Operation>) -> Refusal {
    match resource.template() {
        USER | USERS => Refusal::not_found(),
        _ => Refusal::method(),
    }
}

/// The segments of the only path outside `/api/v1`.
const KEY_SET: [&str; 3] = ["keyproof", "v1", "jwks.json"];

/// Returns whether a path belongs to this dialect.
pub(super) fn claims(path: &RequestPath) -> bool {
    path.starts_with(&["api", "v1"])
        || (path.starts_with(&KEY_SET) && path.lossy_segments().len() == KEY_SET.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::emnify::path::{Id, Named, PathUser, Variables};

    fn named(path: &str) -> Result<(&'static str, Variables), Refusal> {
        let path = RequestPath::parse(path);
        let segments = path.segments().unwrap();
        let resource = ROUTES.resource_with_empty_variables(&segments);
        let resource = resource.ok_or_else(Refusal::not_found)?;
        Ok((resource.template(), Variables::of(&resource)?))
    }

    fn id(number: &str) -> Id {
        let path = format!("/api/v1/application_token/{number}");
        named(&path).unwrap().1.id
    }

    #[test]
    fn words_come_before_numbers_and_names() {
        let none = Variables {
            path_user: PathUser::Me,
            id: Id::default(),
            named: Named::Number(Id::default()),
        };
        let numbered = |number| Variables {
            id: id(number),
            ..none.clone()
        };
        let of = |user, number| Variables {
            path_user: PathUser::User(id(user)),
            id: id(number),
            ..none.clone()
        };
        let user = |named| Variables {
            named,
            ..none.clone()
        };
        for (path, template, variables) in [
            ("user/mfa", "/user/mfa", none.clone()),
            ("user/mfa/status", "/user/mfa/status", none.clone()),
            ("user/mfa/type", "/user/mfa/type", none.clone()),
            ("user/mfa/44", "/user/mfa/{id}", numbered("44")),
            ("user/my/mfa/44.0", "/user/{user}/mfa/{id}", numbered("44")),
            ("user/7/mfa/44", "/user/{user}/mfa/{id}", of("7", "44")),
            (
                "user/mfa/trusted_device",
                "/user/mfa/trusted_device",
                none.clone(),
            ),
            (
                "user/my/mfa/trusted_device/3",
                "/user/{user}/mfa/trusted_device/{id}",
                numbered("3"),
            ),
            (
                "user/7.00/mfa/trusted_device",
                "/user/{user}/mfa/trusted_device",
                of("7", "0"),
            ),
            (
                "user/my/mfa/recovery_codes",
                "/user/my/mfa/recovery_codes",
                none.clone(),
            ),
            ("user/password", "/user/password", none.clone()),
            ("user/7", "/user/{name}", user(Named::Number(id("7")))),
            (
                "user/a%2Fb",
                "/user/{name}",
                user(Named::Name("a/b".to_owned())),
            ),
        ] {
            let found = named(&format!("/api/v1/{path}"));
            let (found, read) = found.unwrap();
            assert_eq!(found.strip_prefix("/api/v1"), Some(template), "{path}");
            assert_eq!(read, variables, "{path}");
        }
        for unknown in [
            "",
            "user/",
            "users",
            "User",
            "user/7/event",
            "authenticate/workspace",
            "user/7/mfa",
            "user//event",
        ] {
            let found = named(&format!("/api/v1/{unknown}"));
            assert_eq!(found, Err(Refusal::not_found()), "{unknown}");
        }
        // An empty segment is not a number. The first error is reported.
        for (path, text) in [
            ("user/mfa/", ""),
            ("user/my/mfa/", ""),
            ("user//mfa/1", ""),
            ("user//mfa/trusted_device", ""),
            ("user/mfa/trusted_device/", ""),
            ("user/x/mfa/", "x"),
            ("application_token/", ""),
        ] {
            let message = format!("Cannot parse parameter id as Long: For input string: {text:?}");
            let found = named(&format!("/api/v1/{path}"));
            assert_eq!(found, Err(Refusal::bad_request(message)), "{path}");
        }
    }

    #[test]
    fn each_path_allows_the_methods_of_its_lines() {
        ROUTES.assert_each_line_is_reached();
        for (path, allow) in [
            ("/api/v1/authenticate", Some("POST")),
            ("/keyproof/v1/jwks.json", Some("GET, HEAD")),
            ("/api/v1/user/mfa", Some("POST")),
            ("/api/v1/user/mfa/1", Some("PATCH")),
            ("/api/v1/user/my/mfa/1", Some("DELETE")),
            ("/api/v1/user/7/mfa/trusted_device", Some("GET, HEAD")),
            ("/api/v1/application_token", Some("GET, HEAD, POST")),
            ("/api/v1/application_token/1", Some("PATCH")),
            ("/api/v1/user", None),
            ("/api/v1/user/7", None),
        ] {
            let parsed = RequestPath::parse(path);
            let segments = parsed.segments().unwrap();
            let resource = ROUTES.resource(&segments).unwrap();
            let expected = match allow {
                Some(allow) => {
                    assert_eq!(resource.allow(), allow, "{path}");
                    Refusal::method()
                }
                None => Refusal::not_found(),
            };
            assert_eq!(no_such_method(&resource), expected, "{path}");
            let is_open = path.ends_with("authenticate") || path.ends_with("jwks.json");
            assert_eq!(is_public(&resource), is_open, "{path}");
        }
    }
}
