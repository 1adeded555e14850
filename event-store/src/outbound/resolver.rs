//! Finds the addresses of a host name, and the texts of a name.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::Context as _;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{RData, Record},
};
use tokio::time::timeout;

use super::Failure;

/// How long a lookup may take, so that time is left for the connection.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a DNS server may take for an answer before it is asked again.
const QUERY_TIMEOUT: Duration = Duration::from_millis(1400);

/// Asks DNS. It blocks no thread, as the system's own function would while a server does not
/// answer.
pub struct Resolver(TokioResolver);

impl Resolver {
    /// Asks this server, or those of the system.
    ///
    /// # Errors
    /// If the system's configuration cannot be read.
    pub(super) fn new(server: Option<SocketAddr>) -> anyhow::Result<Self> {
        Self::build(server, None)
    }

    /// Asks this server, or those of the system, each time again.
    ///
    /// # Errors
    /// If the system's configuration cannot be read.
    pub fn forgetful(server: Option<SocketAddr>) -> anyhow::Result<Self> {
        Self::build(server, Some(0))
    }

    fn build(server: Option<SocketAddr>, kept: Option<u64>) -> anyhow::Result<Self> {
        let mut builder = match server {
            Some(server) => {
                let config = ResolverConfig::from_name_servers(vec![name_server(server)]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
            None => TokioResolver::builder_tokio().context("the DNS servers of the system")?,
        };
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = QUERY_TIMEOUT;
        options.attempts = 2;
        options.cache_size = kept.unwrap_or(options.cache_size);
        Ok(Self(builder.build().context("preparing DNS")?))
    }

    /// Returns the addresses of a name, those of IPv4 first.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        // With a dot at the end, the name is not looked up within the system's search domains,
        // which are internal.
        let absolute = format!("{}.", name.trim_end_matches('.'));
        let silent = || Failure::Dns("DNS does not answer".to_owned());
        let found = timeout(LOOKUP_TIMEOUT, self.0.lookup_ip(absolute)).await;
        let found = found.map_err(|_| silent())?.map_err(|error| {
            if error.is_no_records_found() {
                Failure::Dns("it has no address".to_owned())
            } else {
                silent()
            }
        })?;
        Ok(found.iter().collect())
    }

    /// Returns the texts that a name has; none if it does not exist.
    ///
    /// # Errors
    /// `Dns` if DNS does not answer within three seconds.
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, Failure> {
        let absolute = format!("{}.", name.trim_end_matches('.'));
        let silent = || Failure::Dns("DNS does not answer".to_owned());
        let found = timeout(LOOKUP_TIMEOUT, self.0.txt_lookup(absolute)).await;
        match found.map_err(|_| silent())? {
            Ok(found) => Ok(found.answers().iter().filter_map(text).collect()),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(_) => Err(silent()),
        }
    }
}

/// Joins the parts of a text, which have up to 255 bytes each.
fn text(record: &Record) -> Option<String> {
    let RData::TXT(text) = &record.data else {
        return None;
    };
    String::from_utf8(text.txt_data.concat()).ok()
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.to_vec())
}
