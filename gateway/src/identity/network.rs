//! The network of a client: the unit in which clients are counted.

use std::net::{IpAddr, Ipv6Addr};

use events_schema::{Id, Origin, secret::ServerKey};

/// The network that a request comes from: its address, or the first 64 bits of an IPv6 address,
/// since a client has all those addresses. `None` if it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(Option<IpAddr>);

impl Network {
    /// Returns the network of this origin.
    pub(crate) fn of(origin: &Origin) -> Self {
        let address = origin.address.as_ref().and_then(events_schema::Address::ip);
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => first_bits(address, 64),
        }))
    }

    /// Returns the network of 48 bits around an IPv6 network, since a site has all networks in it.
    /// `None` for IPv4.
    pub(crate) fn site(self) -> Option<Self> {
        match self.0? {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(Self(Some(first_bits(address, 48)))),
        }
    }

    /// Returns an id of the network that nobody can guess without the secret.
    pub(crate) fn id(self, secret: &ServerKey) -> Id {
        secret.id(&[b"network", self.text().as_bytes()])
    }

    /// Returns the network as text, such as `192.0.2.1`; empty if it is not known.
    pub(crate) fn text(self) -> String {
        self.0
            .map(|address| address.to_string())
            .unwrap_or_default()
    }
}

/// Returns an address with so many of its first bits and nothing else.
fn first_bits(address: Ipv6Addr, bits: u32) -> IpAddr {
    let rest = u128::BITS - bits;
    Ipv6Addr::from_bits(address.to_bits() >> rest << rest).into()
}

#[cfg(test)]
mod tests {
    use events_schema::{Address, Device};

    use super::*;

    fn network(address: &str) -> Network {
        Network::of(&Origin {
            address: Address::parse(address).ok(),
            device: Device::from_user_agent(""),
        })
    }

    #[test]
    fn the_networks_of_one_ipv6_site_share_its_first_48_bits() {
        let site = |address| network(address).site();
        assert_eq!(site("2001:db8:1:2::1"), site("2001:db8:1:ffff::1"));
        assert_ne!(site("2001:db8:1::1"), site("2001:db8:2::1"));
        assert_eq!(site("2001:db8:1:2::1").unwrap().text(), "2001:db8:1::");
        assert_eq!(site("6.6.6.6"), None);
        assert_eq!(site("::ffff:6.6.6.6"), None);
        assert_eq!(Network(None).site(), None);
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_client() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("6.6.6.6"), network("6.6.6.7"));
        assert_eq!(network("::ffff:6.6.6.6"), network("6.6.6.6"));
        assert_eq!(network("6.6.6.6").text(), "6.6.6.6");
    }
}
