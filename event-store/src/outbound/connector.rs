//! Opens connections. Each passes here, so no request goes to an address that was not checked.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use events_schema::{IpNetwork, outbound::check_address};
use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use tokio_util::either::Either;
use tower_service::Service;

use super::{Failure, resolver::Resolver, stream::Stream};

/// How long it may take to open a connection, with the lookup of the name and the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one of several addresses may take, so that another one is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);
/// Addresses of a name that are tried. A customer may list any number.
const MAX_ADDRESSES: usize = 3;

/// The address of a server, as an answer shows it.
#[derive(Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Opens connections for the client.
#[derive(Clone)]
pub struct Connector(Arc<Parts>);

struct Parts {
    resolver: Resolver,
    allowed: Vec<IpNetwork>,
    tls: TlsConnector,
    kept: Arc<Semaphore>,
}

impl Connector {
    /// Returns a connector that finds names by this DNS server, or by those of the system. It opens
    /// connections to public addresses with TLS, and to the allowed networks also without.
    ///
    /// # Errors
    /// If the system's configuration of DNS cannot be read.
    pub fn new(
        dns: Option<SocketAddr>,
        allowed: Vec<IpNetwork>,
        roots: RootCertStore,
        kept: Arc<Semaphore>,
    ) -> anyhow::Result<Self> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(Parts {
            resolver: Resolver::new(dns)?,
            allowed,
            tls: TlsConnector::from(Arc::new(tls)),
            kept,
        })))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let parts = Arc::clone(&self.0);
        Box::pin(async move {
            let stream = timeout(CONNECT_TIMEOUT, parts.connect(&uri)).await;
            stream.map_err(|_| Failure::ConnectTimeout(CONNECT_TIMEOUT))?
        })
    }
}

impl Parts {
    async fn connect(&self, uri: &Uri) -> Result<TokioIo<Stream>, Failure> {
        let is_https = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches([']', '.']);
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });

        let addresses = self.allowed_addresses(host, is_https).await?;
        let tcp = open(&addresses, port).await?;
        let peer = Peer(tcp.peer_addr().map_err(|error| refused(&error))?);
        let io = if is_https {
            Either::Left(Box::new(self.encrypt(host, tcp).await?))
        } else {
            Either::Right(tcp)
        };
        let kept = Arc::clone(&self.kept).try_acquire_owned().ok();
        Ok(TokioIo::new(Stream::new(io, peer, kept)))
    }

    /// Returns the addresses of a host if all of them are allowed. One that is not refuses the host:
    /// no honest name leads to public and private servers, and to choose the public ones would
    /// hide the fault.
    async fn allowed_addresses(&self, host: &str, is_https: bool) -> Result<Vec<IpAddr>, Failure> {
        let addresses = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.resolver.addresses(host).await?,
        };
        let mut checked = addresses.iter().map(|address| {
            let checked = check_address(*address, is_https, &self.allowed);
            checked.map_err(Failure::Blocked)
        });
        checked.try_for_each(|checked| checked)?;
        Ok(addresses)
    }

    async fn encrypt(&self, host: &str, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let failed = |error: String| Failure::Tls(error);
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| failed(error.to_string()))?;
        let encrypted = self.tls.connect(name, tcp).await;
        encrypted.map_err(|error| failed(error.to_string()))
    }
}

/// Connects to the first address that answers.
async fn open(addresses: &[IpAddr], port: u16) -> Result<TcpStream, Failure> {
    let mut failure = Failure::Connect("the host has no address".to_owned());
    for address in addresses.iter().take(MAX_ADDRESSES) {
        match timeout(ADDRESS_TIMEOUT, TcpStream::connect((*address, port))).await {
            Ok(Ok(tcp)) => {
                tcp.set_nodelay(true).map_err(|error| refused(&error))?;
                return Ok(tcp);
            }
            Ok(Err(error)) => failure = refused(&error),
            Err(_) => failure = Failure::ConnectTimeout(ADDRESS_TIMEOUT),
        }
    }
    Err(failure)
}

fn refused(error: &std::io::Error) -> Failure {
    Failure::Connect(error.kind().to_string())
}
