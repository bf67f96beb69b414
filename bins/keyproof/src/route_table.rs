//! The operations of a contract or a site, one per line. Routing, `Allow`, HEAD and the names of routes in metrics are
//! derived from them.

use http::Method;
use keyproof_http::Exchange;

/// The operations of a contract.
#[derive(Debug)]
pub struct RouteTable<O: 'static> {
    /// How the fixed segments of paths are compared.
    pub case: Case,
    /// Whether the dialect answers OPTIONS, the CORS preflight of web pages, for each path, before it calls
    /// [`Resource::asked`]. OPTIONS has no lines then, and `Allow` lists it.
    pub preflight: bool,
    /// If several templates match a path, the first applies: `/user/mfa` is listed before `/user/{id}`.
    pub routes: &'static [Route<O>],
}

/// An operation: a method on a path.
#[derive(Debug)]
pub struct Route<O> {
    /// The method. HEAD needs no line: it is GET, and the stack does not send the body.
    pub method: Method,
    /// The path as the contract writes it, `/private/otp-devices/{id}`. A variable matches one non-empty segment.
    pub template: &'static str,
    /// The longest body that it reads, in bytes; 0 for none.
    pub body: usize,
    /// The dialect's handler and permission.
    pub operation: O,
    /// Whether success means that somebody has logged in.
    pub is_login: bool,
}

/// Declares an operation.
pub const fn route<O>(
    method: Method,
    template: &'static str,
    body: usize,
    operation: O,
) -> Route<O> {
    Route {
        method,
        template,
        body,
        operation,
        is_login: false,
    }
}

/// Declares an operation that logs somebody in.
pub const fn login_route<O>(
    method: Method,
    template: &'static str,
    body: usize,
    operation: O,
) -> Route<O> {
    let mut route = route(method, template, body, operation);
    route.is_login = true;
    route
}

/// The variables of a path: their names and values.
pub type Variables = Vec<(&'static str, String)>;

/// How fixed segments are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// ASCII letters match in either case: `Certificates` is `certificates`.
    Insensitive,
    /// Byte by byte.
    Sensitive,
}

/// The resource of a path.
#[derive(Debug)]
pub struct Resource<'p, O: 'static> {
    template: &'static str,
    /// The variables' names and values.
    variables: Vec<(&'static str, &'p str)>,
    preflight: bool,
    routes: &'static [Route<O>],
}

impl<O> RouteTable<O> {
    /// Returns the resource of a path's decoded segments, without the dialect's prefix.
    pub fn resource<'p>(&self, segments: &'p [&'p str]) -> Option<Resource<'p, O>> {
        self.first(segments, |segment| !segment.is_empty())
    }

    /// The same, but a variable may be empty, for a dialect with its own refusal of such a path.
    pub fn resource_with_empty_variables<'p>(
        &self,
        segments: &'p [&'p str],
    ) -> Option<Resource<'p, O>> {
        self.first(segments, |_| true)
    }

    fn first<'p>(
        &self,
        segments: &'p [&'p str],
        is_variable: fn(&str) -> bool,
    ) -> Option<Resource<'p, O>> {
        let route = self
            .routes
            .iter()
            .find(|route| self.fits(route.template, segments, is_variable))?;
        let pairs = words(route.template).zip(segments);
        let variables = pairs.filter_map(|(word, segment)| Some((variable(word)?, *segment)));
        Some(Resource {
            template: route.template,
            variables: variables.collect(),
            preflight: self.preflight,
            routes: self.routes,
        })
    }

    fn fits(&self, template: &str, segments: &[&str], is_variable: fn(&str) -> bool) -> bool {
        let mut words = words(template);
        segments.iter().all(|segment| {
            words.next().is_some_and(|word| match self.case {
                _ if variable(word).is_some() => is_variable(segment),
                Case::Insensitive => word.eq_ignore_ascii_case(segment),
                Case::Sensitive => word == *segment,
            })
        }) && words.next().is_none()
    }
}

impl<'p, O> Resource<'p, O> {
    /// The matched template: the route's name in logs and metrics.
    pub const fn template(&self) -> &'static str {
        self.template
    }

    /// Returns the value of the variable `{name}`, if the template has it.
    pub fn variable(&self, name: &str) -> Option<&'p str> {
        let mut variables = self.variables.iter();
        variables
            .find(|(word, _)| *word == name)
            .map(|(_, segment)| *segment)
    }

    /// Returns all variables with owned values.
    pub fn variables(&self) -> Variables {
        let variables = self.variables.iter();
        variables
            .map(|(word, segment)| (*word, (*segment).to_owned()))
            .collect()
    }

    /// Returns the operation of this method, if there is one.
    pub fn route(&self, method: &Method) -> Option<&'static Route<O>> {
        let method = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        self.routes().find(|route| route.method == *method)
    }

    /// Returns the requested operation, if its method exists. Also reports the route to logs and metrics.
    pub fn asked(&self, exchange: &Exchange) -> Option<&'static Route<O>> {
        exchange.matched(self.template);
        let Some(route) = self.route(exchange.method()) else {
            exchange.mark_method_not_allowed(&self.allow());
            return None;
        };
        if route.is_login {
            exchange.mark_login();
        }
        Some(route)
    }

    /// Returns the methods for `Allow` (RFC 9110, section 10.2.1), sorted by name.
    pub fn allow(&self) -> String {
        let mut methods: Vec<_> = self.routes().map(|route| route.method.as_str()).collect();
        if methods.contains(&Method::GET.as_str()) {
            methods.push(Method::HEAD.as_str());
        }
        if self.preflight {
            methods.push(Method::OPTIONS.as_str());
        }
        methods.sort_unstable();
        methods.join(", ")
    }

    fn routes(&self) -> impl Iterator<Item = &'static Route<O>> {
        let template = self.template;
        self.routes
            .iter()
            .filter(move |route| route.template == template)
    }
}

/// Returns the segments of a template.
fn words(template: &str) -> impl Iterator<Item = &str> {
    template.strip_prefix('/').unwrap_or(template).split('/')
}

/// Returns the name of a variable segment.
fn variable(word: &str) -> Option<&str> {
    word.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
impl<O> RouteTable<O> {
    /// Checks that no line is hidden by an earlier one.
    pub(crate) fn assert_each_line_is_reached(&self) {
        for line in self.routes {
            let segments: Vec<_> = words(line.template)
                .map(|word| variable(word).unwrap_or(word))
                .collect();
            let resource = self.resource(&segments).unwrap();
            assert_eq!(resource.template(), line.template);
            let reached = resource.route(&line.method).unwrap();
            assert!(std::ptr::eq(reached, line), "{} twice", line.template);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn route(method: Method, template: &'static str, operation: u8) -> Route<u8> {
        super::route(method, template, 0, operation)
    }

    static TABLE: RouteTable<u8> = RouteTable {
        case: Case::Sensitive,
        preflight: false,
        routes: &[
            route(Method::POST, "/things", 0),
            route(Method::GET, "/things", 1),
            route(Method::POST, "/things/all", 2),
            route(Method::PUT, "/things/{id}", 3),
            route(Method::DELETE, "/things/{id}", 4),
            route(Method::GET, "/{kind}/of/{id}", 5),
        ],
    };

    #[test]
    fn a_path_and_a_method_name_one_operation() {
        let operation = |method: Method, segments: &[&str]| {
            let route = TABLE.resource(segments)?.route(&method)?;
            Some(route.operation)
        };
        for (method, segments, expected) in [
            (Method::POST, &["things"][..], Some(0)),
            (Method::GET, &["things"], Some(1)),
            (Method::HEAD, &["things"], Some(1)),
            (Method::DELETE, &["things"], None),
            (Method::POST, &["things", "all"], Some(2)),
            // It matches the path above, which does not have this method.
            (Method::PUT, &["things", "all"], None),
            (Method::HEAD, &["things", "all"], None),
            (Method::PUT, &["things", "a/b"], Some(3)),
            (Method::DELETE, &["things", "{id}"], Some(4)),
            (Method::GET, &["x", "of", "y"], Some(5)),
            // Fixed segments are compared exactly, and their number counts.
            (Method::GET, &["Things"], None),
            (Method::GET, &["things", ""], None),
            (Method::PUT, &["things", ""], None),
            (Method::GET, &["", "of", "y"], None),
            (Method::GET, &["x", "of"], None),
            (Method::GET, &["x", "of", "y", "z"], None),
            (Method::GET, &[], None),
        ] {
            assert_eq!(
                operation(method.clone(), segments),
                expected,
                "{segments:?}"
            );
        }
        TABLE.assert_each_line_is_reached();
        for segments in [&["things", ""][..], &["", "of", ""]] {
            let resource = TABLE.resource_with_empty_variables(segments).unwrap();
            assert_eq!(resource.variable("id"), Some(""));
        }
    }

    #[test]
    fn a_resource_knows_its_name_its_variables_and_its_methods() {
        let of = |segments: &'static [&'static str]| TABLE.resource(segments).unwrap();
        let things = of(&["things"]);
        assert_eq!(
            (things.template(), &*things.allow()),
            ("/things", "GET, HEAD, POST")
        );
        assert_eq!(things.variable("id"), None);
        let thing = of(&["things", "7"]);
        assert_eq!(
            (thing.template(), &*thing.allow()),
            ("/things/{id}", "DELETE, PUT")
        );
        assert_eq!(thing.variable("id"), Some("7"));
        let other = of(&["x", "of", "y"]);
        assert_eq!(
            (other.variable("kind"), other.variable("id")),
            (Some("x"), Some("y"))
        );
        assert_eq!(other.variable("of"), None);
        let with_preflight = RouteTable {
            case: Case::Sensitive,
            preflight: true,
            routes: TABLE.routes,
        };
        let things = with_preflight.resource(&["things"]).unwrap();
        assert_eq!(things.allow(), "GET, HEAD, OPTIONS, POST");
    }
}
