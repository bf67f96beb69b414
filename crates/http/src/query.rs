//! The query of a request, parsed leniently.

use form_urlencoded::parse;

/// The parameters of a query, in their order.
///
/// They are parsed in the form that HTML forms use (WHATWG URL, section 5.1): `+` is a space, a `%` that begins no escape
/// is literal, and bytes that are not UTF-8 become U+FFFD. Parsing never fails; a value may still be invalid.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Parses the part after the `?`.
    pub fn parse(raw: &str) -> Self {
        Self {
            parameters: parse(raw.as_bytes()).into_owned().collect(),
        }
    }

    /// Returns every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter()
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Returns the first value of a parameter.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Returns all parameters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// Contains only the names: values may be personal.
impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(key, _)| key))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_leniently_and_keeps_duplicates() {
        let query = Query::parse("price=EUR%3A1.23&a=1+2&a=%zz&flag&b=%FF");
        assert_eq!(query.first("price"), Some("EUR:1.23"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1 2", "%zz"]);
        assert_eq!(query.first("flag"), Some(""));
        assert_eq!(query.first("b"), Some("\u{FFFD}"));
        assert_eq!(query.first("none"), None);
        assert!(!format!("{query:?}").contains("EUR"));
    }
}
