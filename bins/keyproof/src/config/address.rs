//! Addresses in the configuration, and an example in the error for an invalid one.

use std::{net::SocketAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error};

/// Parses an address to listen on.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let form = "not an address and its port, such as 127.0.0.1:8080, 0.0.0.0:8443 or [::1]:8080";
    parse(text, form)
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let form = "not a network, such as 10.0.0.0/24, 192.0.2.7/32 or 2001:db8::/32";
    let network: IpNet = parse(text, form)?;
    match network {
        // Client addresses are compared as IPv4 if they are mapped, so such a network would match none.
        IpNet::V6(mapped) if mapped.addr().to_ipv4_mapped().is_some() => Err(format!(
            "{text} is a network of IPv4 addresses: write it as one, like 10.0.0.0/24"
        )),
        _ => Ok(network),
    }
}

fn parse<T: FromStr>(text: &str, otherwise: &str) -> Result<T, String> {
    text.parse().map_err(|_| otherwise.to_owned())
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    parse_address(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    address(deserializer).map(Some)
}

pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let networks = texts.iter().map(|text| parse_network(text));
    networks.collect::<Result<_, _>>().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_no_address_is_in_is_refused() {
        for text in ["10.0.0.0/24", "2001:db8::/32", "::/0", "::1/128"] {
            assert!(parse_network(text).is_ok(), "{text}");
        }
        for text in ["::ffff:10.0.0.0/104", "::ffff:192.0.2.7/128", "10.0.0.0/33"] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}
