//! Addresses in the configuration, and an example in the error for an invalid one.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

/// Parses an address to listen on.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let form = "not an address and its port, such as 127.0.0.1:8080, 0.0.0.0:8443 or [::1]:8080";
    text.parse().map_err(|_| form.to_owned())
}

/// Parses a network, or an address as the network that has only this address.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let form = "not a network or address, such as 10.0.0.0/24, 192.0.2.7 or 2001:db8::/32";
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| form.to_owned())?,
    };
    match network {
        // Client addresses are compared as IPv4 if they are mapped, so such a network would match none.
        IpNet::V6(mapped) if mapped.addr().to_ipv4_mapped().is_some() => Err(format!(
            "{text} is a network of IPv4 addresses: write it as one, like 10.0.0.0/24"
        )),
        _ => Ok(network),
    }
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    parse_address(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    address(deserializer).map(Some)
}

/// Deserialises networks from a list, or from a text with commas between them, as variables have it.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    struct Networks;

    impl<'de> Visitor<'de> for Networks {
        type Value = Vec<IpNet>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of networks")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<IpNet>, E> {
            let texts = text.split(',').map(str::trim);
            let networks = texts.map(parse_network).collect::<Result<_, _>>();
            networks.map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<IpNet>, A::Error> {
            let mut networks = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                networks.push(parse_network(&text).map_err(A::Error::custom)?);
            }
            Ok(networks)
        }
    }

    deserializer.deserialize_any(Networks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_no_address_is_in_is_refused() {
        for text in ["10.0.0.0/24", "2001:db8::/32", "::/0", "::1/128", "::1"] {
            assert!(parse_network(text).is_ok(), "{text}");
        }
        let one = parse_network("192.0.2.7").unwrap();
        assert_eq!(one.to_string(), "192.0.2.7/32");
        for text in [
            "::ffff:10.0.0.0/104",
            "::ffff:192.0.2.7/128",
            "::ffff:192.0.2.7",
            "10.0.0.0/33",
            "proxy",
            "",
        ] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}
