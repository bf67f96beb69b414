//! How a visitor is connected, and so whether secrets may be sent.

use std::net::IpAddr;

use http::header;
use keyproof_http::Exchange;

/// The kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connected {
    /// TLS: nobody can read it.
    Encrypted,
    /// Within this machine, without TLS.
    Loopback,
    /// Anything else: nobody can sign in.
    Exposed,
}

impl Connected {
    pub(super) fn of(exchange: &Exchange) -> Self {
        if exchange.is_encrypted() {
            return Self::Encrypted;
        }
        // A proxy on this machine is not a visitor, and any other name can be made to resolve to this machine.
        let host = exchange.header(&header::HOST).unwrap_or_default();
        if exchange.client_address().is_loopback() && is_loopback(host) {
            Self::Loopback
        } else {
            Self::Exposed
        }
    }

    pub(super) const fn is_encrypted(self) -> bool {
        matches!(self, Self::Encrypted)
    }
}

/// Whether a `Host` is a loopback name or address.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_few_names() {
        for ours in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:1",
            "127.8.8.8",
            "[::1]:8080",
        ] {
            assert!(is_loopback(ours), "{ours}");
        }
        for other in [
            "",
            "localhost.example",
            "192.0.2.1",
            "[2001:db8::1]",
            "example.org:80",
            "::1",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
