//! Whose request it is, behind proxies.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of `http.trusted_proxies`, whose `X-Forwarded-For`, `X-Forwarded-Proto` and `traceparent` are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// The peer, or the last hop of `X-Forwarded-For` that is not a trusted proxy when the peer is one.
    ///
    /// A hop that is no address ends the walk: what stands before it was written by nobody known.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let lines: Vec<&str> = headers
            .get_all(X_FORWARDED_FOR)
            .iter()
            .map(|line| line.to_str().unwrap_or_default())
            .collect();
        let mut hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
        while self.trusts(client)
            && let Some(hop) = hops.next().and_then(address)
        {
            client = hop;
        }
        client
    }

    /// Whether the peer is a trusted proxy that says that its client spoke TLS: by the last `X-Forwarded-Proto`, its own.
    pub(crate) fn says_https(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        if !self.trusts(peer.to_canonical()) {
            return false;
        }
        let last = headers.get_all(X_FORWARDED_PROTO).iter().next_back();
        let last = last.and_then(|line| line.to_str().ok()?.rsplit(',').next());
        last.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address as proxies write it: bare, in brackets, with or without a port.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(hop);
    bare.parse()
        .or_else(|_| {
            hop.parse()
                .map(|with_port: std::net::SocketAddr| with_port.ip())
        })
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let proxies = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        TrustedProxies::new(proxies.to_vec())
            .client(peer.parse().unwrap(), &headers)
            .to_string()
    }

    #[test]
    fn believes_only_trusted_proxies() {
        assert_eq!(client("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn only_a_trusted_proxy_says_that_its_client_spoke_tls() {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let says = |peer: &str, lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_PROTO, HeaderValue::from_static(line));
            }
            proxies.says_https(peer.parse().unwrap(), &headers)
        };
        assert!(says("10.0.0.1", &["https"]) && says("::ffff:10.0.0.1", &["http, HTTPS"]));
        assert!(!says("192.0.2.1", &["https"]));
        for wrong in [
            &[][..],
            &["http"],
            &["https, http"],
            &["https", "http"],
            &["https2"],
        ] {
            assert!(!says("10.0.0.1", wrong), "{wrong:?}");
        }
    }

    #[test]
    fn takes_the_last_untrusted_hop() {
        let spoofed = ["203.0.113.9, 198.51.100.7", "10.1.1.1,10.2.2.2"];
        assert_eq!(client("10.0.0.1", &spoofed), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["10.3.3.3"]), "10.3.3.3");
        assert_eq!(client("10.0.0.1", &["198.51.100.7, unknown"]), "10.0.0.1");
    }

    #[test]
    fn reads_every_spelling_of_an_address() {
        assert_eq!(client("::ffff:10.0.0.1", &["192.0.2.9:4711"]), "192.0.2.9");
        assert_eq!(client("fd00::1", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(client("fd00::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("fd00::1", &["::ffff:192.0.2.9"]), "192.0.2.9");
    }
}
