//! Addresses of pages whose names come from outside. They are in the query: a browser takes `.` and `..` out of paths,
//! however they are written.

use form_urlencoded::Serializer;

use super::Visit;
use crate::sites::refusal::Refusal;

/// These pairs as a query, in which nothing but escapes, hyphens, full stops and low lines is beside letters and digits.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = Serializer::new(String::new());
    let query = query.extend_pairs(pairs).finish();
    query.replace('+', "%20").replace('*', "%2A")
}

/// Where an operator shows their token again, and is sent on from.
pub(super) fn confirm(to: &str) -> String {
    format!("/console/confirm?{}", query(&[("to", to)]))
}

impl<W> Visit<W> {
    /// What the query has for a parameter, which is not empty.
    pub(super) fn asked(&self, parameter: &str) -> Result<String, Refusal> {
        let text = self.exchange.query().first(parameter);
        let text = text.filter(|text| !text.is_empty());
        text.map(ToOwned::to_owned).ok_or(Refusal::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_name_is_it_is_one_value_of_a_query() {
        let odd = "../a b&c=d#e?%2F*+\u{202e}\"<";
        let query = query(&[("id", odd), ("x", "")]);
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._%=&".contains(&b);
        assert!(query.bytes().all(is_plain), "{query}");
        let read: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        assert_eq!(read, [("id".into(), odd.into()), ("x".into(), "".into())]);
    }
}
