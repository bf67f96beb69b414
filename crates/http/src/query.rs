//! The query of a request, read leniently.

use form_urlencoded::parse;

/// The parameters of a query, in the order they came.
///
/// Read as HTML forms write them (WHATWG URL, section 5.1): `+` is a blank, a `%` that begins no escape stands
/// for itself, and bytes that are not UTF-8 become U+FFFD. No query is malformed; a value may be.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Reads what stands behind the `?`.
    pub fn parse(raw: &str) -> Self {
        Self {
            parameters: parse(raw.as_bytes()).into_owned().collect(),
        }
    }

    /// Every value given for a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter()
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// The first value given for a parameter.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// All parameters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// Names only: values may be personal.
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
