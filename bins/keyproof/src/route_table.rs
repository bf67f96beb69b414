//! The operations of a contract or a site, a line each. Routing, `Allow`, HEAD and the names of routes in metrics follow from
//! the lines.

use http::Method;
use keyproof_http::Exchange;

/// The operations of a contract.
#[derive(Debug)]
pub struct RouteTable<O: 'static> {
    /// How the fixed segments of its paths compare.
    pub case: Case,
    /// Where several templates fit a path, the first is meant: `/user/mfa` stands above `/user/{id}`.
    pub routes: &'static [Route<O>],
}

/// One operation: a method under a path.
#[derive(Debug)]
pub struct Route<O> {
    /// The method. HEAD needs no line: it is GET whose answer's body the stack does not send.
    pub method: Method,
    /// The path as the contract writes it, `/private/otp-devices/{id}`: a variable is one segment that is not empty.
    pub template: &'static str,
    /// The longest body that it needs, in bytes; 0 if it reads none.
    pub body: usize,
    /// What the dialect does about it, and by what right.
    pub operation: O,
    /// Whether somebody has logged in once it is done.
    pub is_login: bool,
}

/// A line of a table.
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

/// A line of an operation by which somebody logs in.
pub const fn login_route<O>(
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
        is_login: true,
    }
}

/// The variables of a path: each one's name, and what stands for it.
pub type Variables = Vec<(&'static str, String)>;

/// How fixed segments compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `Certificates` is `certificates`, as far as ASCII goes.
    Insensitive,
    /// They are the same bytes.
    Sensitive,
}

/// What a path names.
#[derive(Debug)]
pub struct Resource<'p, O: 'static> {
    template: &'static str,
    /// The variables' names, and what stands for them.
    variables: Vec<(&'static str, &'p str)>,
    routes: &'static [Route<O>],
}

impl<O> RouteTable<O> {
    /// What a path names, by its decoded segments: behind whatever prefix the dialect has taken off.
    pub fn resource<'p>(&self, segments: &'p [&'p str]) -> Option<Resource<'p, O>> {
        self.first(segments, |segment| !segment.is_empty())
    }

    /// The same, where a variable may be empty: for a dialect that refuses such a path in words of its own.
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
    /// The template that fits: the route's name in logs and metrics.
    pub const fn template(&self) -> &'static str {
        self.template
    }

    /// What stands in the path for `{name}`, if the template has that.
    pub fn variable(&self, name: &str) -> Option<&'p str> {
        let mut variables = self.variables.iter();
        variables
            .find(|(word, _)| *word == name)
            .map(|(_, segment)| *segment)
    }

    /// What stands in the path for each variable, for whoever outlives the path.
    pub fn variables(&self) -> Variables {
        let variables = self.variables.iter();
        variables
            .map(|(word, segment)| (*word, (*segment).to_owned()))
            .collect()
    }

    /// The operation of this method, if there is one.
    pub fn route(&self, method: &Method) -> Option<&'static Route<O>> {
        let method = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        self.routes().find(|route| route.method == *method)
    }

    /// What a request asks for here, if its method is one of those that there are. Logs and metrics are told.
    pub fn asked(&self, exchange: &Exchange) -> Option<&'static Route<O>> {
        exchange.matched(self.template);
        let Some(route) = self.route(exchange.method()) else {
            exchange.lacks_method();
            return None;
        };
        if route.is_login {
            exchange.logs_in();
        }
        Some(route)
    }

    /// The methods that there are, as `Allow` lists them (RFC 9110, section 10.2.1): by name.
    pub fn allow(&self) -> String {
        let mut methods: Vec<_> = self.routes().map(|route| route.method.as_str()).collect();
        if methods.contains(&Method::GET.as_str()) {
            methods.push(Method::HEAD.as_str());
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

/// The segments of a template.
fn words(template: &str) -> impl Iterator<Item = &str> {
    template.strip_prefix('/').unwrap_or(template).split('/')
}

/// The name of a variable segment.
fn variable(word: &str) -> Option<&str> {
    word.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
impl<O> RouteTable<O> {
    /// Checks that no line is hidden by one above it.
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
            // It is the path above, which has no such method.
            (Method::PUT, &["things", "all"], None),
            (Method::HEAD, &["things", "all"], None),
            (Method::PUT, &["things", "a/b"], Some(3)),
            (Method::DELETE, &["things", "{id}"], Some(4)),
            (Method::GET, &["x", "of", "y"], Some(5)),
            // What is fixed, and how much, counts to the letter.
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
    }
}
