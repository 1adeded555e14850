//! Where requests to customers' servers may go: public addresses, and the networks that the operator
//! permits. Nobody may use this system to reach the servers beside it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::{Invalid, IpNetwork};

/// Longest URL, in characters. Servers take no longer ones reliably.
const MAX_URL: usize = 2048;

/// IPv4 networks that are not public, or not for one receiver. IANA registers each for a special
/// purpose.
const SPECIAL_IPV4: [Ipv4Net; 14] = [
    ipv4([0, 0, 0, 0], 8),
    ipv4([10, 0, 0, 0], 8),
    ipv4([100, 64, 0, 0], 10),
    ipv4([127, 0, 0, 0], 8),
    ipv4([169, 254, 0, 0], 16),
    ipv4([172, 16, 0, 0], 12),
    ipv4([192, 0, 0, 0], 24),
    ipv4([192, 0, 2, 0], 24),
    ipv4([192, 88, 99, 0], 24),
    ipv4([192, 168, 0, 0], 16),
    ipv4([198, 18, 0, 0], 15),
    ipv4([198, 51, 100, 0], 24),
    ipv4([203, 0, 113, 0], 24),
    ipv4([224, 0, 0, 0], 3),
];

/// IPv6 addresses outside this network are local, or contain an IPv4 address that may be private.
const GLOBAL_IPV6: Ipv6Net = ipv6([0x2000, 0], 3);

/// Networks within the global one: protocol assignments with Teredo, documentation, and 6to4, which
/// contains an IPv4 address.
const SPECIAL_IPV6: [Ipv6Net; 4] = [
    ipv6([0x2001, 0], 23),
    ipv6([0x2001, 0xdb8], 32),
    ipv6([0x2002, 0], 16),
    ipv6([0x3fff, 0], 20),
];

const NOT_PUBLIC: Invalid = Invalid("must lead to public addresses only");
const NOT_ENCRYPTED: Invalid = Invalid("must begin with https://");

/// The URL of a customer's server, in the one spelling that all parsers of the WHATWG standard read
/// alike. At most 2,048 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct WebhookUrl(Url);

impl WebhookUrl {
    /// Parses an `https` or `http` URL. [`check`](Self::check) says whether requests may go there.
    ///
    /// # Errors
    /// If it is no such URL, is too long, or has a user, a password or a fragment. A fragment is
    /// refused and not dropped, since a server would never see it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const WRONG: Invalid = Invalid("must be a URL such as https://example.com/hooks");
        let url = Url::parse(text).map_err(|_| WRONG)?;
        if !matches!(url.scheme(), "https" | "http") || url.domain().is_some_and(|it| !is_name(it))
        {
            return Err(WRONG);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Invalid("must have no user and no password"));
        }
        if url.fragment().is_some() {
            return Err(Invalid("must have no fragment, which begins with #"));
        }
        if url.as_str().len() > MAX_URL {
            return Err(Invalid("must have at most 2048 characters"));
        }
        Ok(Self(url))
    }

    /// Returns the URL.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the host: a name or an address.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether another URL leads to the same server: scheme, host and port are equal.
    pub fn has_origin_of(&self, other: &Self) -> bool {
        self.0.origin() == other.0.origin()
    }

    /// Checks whether requests may go to this URL, as far as it tells. The addresses behind a host
    /// name are checked for each connection.
    ///
    /// # Errors
    /// If its address is not allowed, or it has no TLS where TLS is needed.
    pub fn check(&self, allowed: &[IpNetwork]) -> Result<(), Invalid> {
        let is_https = self.0.scheme() == "https";
        match self.0.host() {
            Some(Host::Ipv4(address)) => check_address(address.into(), is_https, allowed),
            Some(Host::Ipv6(address)) => check_address(address.into(), is_https, allowed),
            // The name may lead to an allowed network, where TLS is not needed.
            Some(Host::Domain(_)) if is_https || !allowed.is_empty() => Ok(()),
            Some(Host::Domain(_)) | None => Err(NOT_ENCRYPTED),
        }
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<WebhookUrl> for String {
    fn from(url: WebhookUrl) -> Self {
        url.0.into()
    }
}

/// Checks whether a request may go to this address. All addresses in `allowed` may be used, also
/// without TLS.
///
/// # Errors
/// If the address is neither allowed nor public, or is only public and has no TLS.
pub fn check_address(
    address: IpAddr,
    is_https: bool,
    allowed: &[IpNetwork],
) -> Result<(), Invalid> {
    if allowed.iter().any(|network| network.contains(address)) {
        Ok(())
    } else if !is_global_unicast(address) {
        Err(NOT_PUBLIC)
    } else if !is_https {
        Err(NOT_ENCRYPTED)
    } else {
        Ok(())
    }
}

/// Whether the address is of one receiver on the public internet. An IPv4 address that is written as
/// an IPv6 one is an IPv4 address.
pub fn is_global_unicast(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !SPECIAL_IPV4
            .iter()
            .any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_IPV6.contains(&address)
                && !SPECIAL_IPV6
                    .iter()
                    .any(|network| network.contains(&address))
        }
    }
}

/// The standard allows more characters in a name. DNS does not, nor do HTTP clients.
fn is_name(domain: &str) -> bool {
    let is_allowed = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
    domain.len() <= 253 && domain.bytes().all(is_allowed)
}

const fn ipv4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn ipv6([a, b]: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

#[cfg(test)]
mod tests;
