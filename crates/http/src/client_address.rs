//! The client's address of a request, including behind proxies.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks in `http.trusted_proxies`, whose `X-Forwarded-For`, `X-Forwarded-Proto` and `traceparent` are trusted.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Creates a set that trusts these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Returns the peer or, if the peer is a trusted proxy, the last hop of `X-Forwarded-For` that is not one.
    ///
    /// The search ends at a hop that is not an address, since everything before it is of unknown origin. Each hop is parsed
    /// separately: a client may send arbitrary bytes, which must not hide the hops that proxies append.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let mut hops = lines.flat_map(from_the_last);
        while self.trusts(client)
            && let Some(hop) = hops.next().and_then(address)
        {
            client = hop;
        }
        client
    }

    /// Returns whether a trusted proxy states that its client used TLS, in the last `X-Forwarded-Proto`, which is its own.
    pub(crate) fn says_https(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        if !self.trusts(peer.to_canonical()) {
            return false;
        }
        let last = headers.get_all(X_FORWARDED_PROTO).iter().next_back();
        let last = last.and_then(|line| from_the_last(line).next());
        last.is_some_and(|scheme| scheme.trim_ascii().eq_ignore_ascii_case(b"https"))
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Returns the members of a list in reverse order.
fn from_the_last(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().rsplit(|byte| *byte == b',')
}

/// Parses an address in any form that proxies write: bare or in brackets, with or without a port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let hop = str::from_utf8(hop).ok()?.trim();
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

    fn client<L: AsRef<[u8]>>(peer: &str, forwarded: &[L]) -> String {
        let proxies = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in forwarded {
            let line = HeaderValue::from_bytes(line.as_ref()).unwrap();
            headers.append(X_FORWARDED_FOR, line);
        }
        TrustedProxies::new(proxies.to_vec())
            .client(peer.parse().unwrap(), &headers)
            .to_string()
    }

    #[test]
    fn believes_only_trusted_proxies() {
        assert_eq!(client("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client::<&str>("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn only_a_trusted_proxy_says_that_its_client_spoke_tls() {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let says = |peer: &str, lines: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                let line = HeaderValue::from_bytes(line).unwrap();
                headers.append(X_FORWARDED_PROTO, line);
            }
            proxies.says_https(peer.parse().unwrap(), &headers)
        };
        assert!(says("10.0.0.1", &[b"https"]) && says("::ffff:10.0.0.1", &[b"http, HTTPS"]));
        assert!(says("10.0.0.1", &[b"\xe9, https"]));
        assert!(!says("192.0.2.1", &[b"https"]));
        let others: [&[&[u8]]; 6] = [
            &[],
            &[b"http"],
            &[b"https, http"],
            &[b"https", b"http"],
            &[b"https2"],
            &[b"https, \xe9"],
        ];
        for wrong in others {
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

    /// A client's forged values do not hide those of proxies after them.
    #[test]
    fn bytes_that_are_no_text_hide_no_hop_behind_them() {
        for forged in [
            &b"\xe9, 198.51.100.7"[..],
            b"\xff\xfe,198.51.100.7, 10.1.1.1",
        ] {
            assert_eq!(client("10.0.0.1", &[forged]), "198.51.100.7");
        }
        let lines = [&b"203.0.113.9, \xe9"[..], b"198.51.100.7"];
        assert_eq!(client("10.0.0.1", &lines), "198.51.100.7");
        // A hop that is not text is not an address.
        assert_eq!(client("10.0.0.1", &[b"198.51.100.7, \xe9"]), "10.0.0.1");
    }

    #[test]
    fn reads_every_spelling_of_an_address() {
        assert_eq!(client("::ffff:10.0.0.1", &["192.0.2.9:4711"]), "192.0.2.9");
        assert_eq!(client("fd00::1", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(client("fd00::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("fd00::1", &["::ffff:192.0.2.9"]), "192.0.2.9");
    }
}
