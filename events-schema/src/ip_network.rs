//! Networks of IP addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Invalid;

/// A network such as `192.0.2.0/24` or `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct IpNetwork(IpNet);

impl IpNetwork {
    /// Parses a network, or an address, which is a network of one.
    ///
    /// # Errors
    /// If it is neither, has bits behind its prefix, or is an IPv4 address written as an IPv6 one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse::<IpNet>().or(address);
        network
            .ok()
            .filter(|network| *network == network.trunc())
            .filter(|network| network.addr() == network.addr().to_canonical())
            .map(Self)
            .ok_or(Invalid(
                "must be a network such as 192.0.2.0/24 or 2001:db8::/32, or an IP address",
            ))
    }

    /// Whether the address belongs to the network. An IPv4 address written as an IPv6 one is an
    /// IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl std::fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for IpNetwork {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<IpNetwork> for String {
    fn from(network: IpNetwork) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        let contains = |network: &str, address: &str| {
            let network = IpNetwork::parse(network).unwrap();
            network.contains(address.parse().unwrap())
        };
        for (network, address) in [
            ("192.0.2.0/24", "192.0.2.255"),
            ("192.0.2.0/24", "::ffff:192.0.2.1"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8::/32", "2001:db8:ffff::1"),
            ("0.0.0.0/0", "6.6.6.6"),
        ] {
            assert!(contains(network, address), "{network} {address}");
        }
        for (network, address) in [
            ("192.0.2.0/24", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.8"),
            ("2001:db8::/32", "2001:db9::1"),
            ("0.0.0.0/0", "2001:db8::1"),
            ("::/0", "6.6.6.6"),
        ] {
            assert!(!contains(network, address), "{network} {address}");
        }
    }

    #[test]
    fn a_network_has_one_spelling() {
        for (given, written) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:0db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(IpNetwork::parse(given).unwrap().to_string(), written);
        }
        for wrong in [
            "",
            "192.0.2.7/24",
            "192.0.2.0/33",
            "192.0.2.0/",
            "::ffff:192.0.2.0/120",
            "example.com",
            " 192.0.2.7",
        ] {
            assert!(IpNetwork::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
