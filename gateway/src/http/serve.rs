//! The HTTP/1.1 server: accepts connections, bounds them, and drains them at the end. A connection
//! that becomes a socket still counts.
//!
//! `axum::serve` does not suffice: it never gives up on a client that sends its headers slowly, and
//! its draining has no end.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Extension, Router};
use event_store::program::raise_open_files;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

/// How long a client may take to send its headers, or stay idle between two requests.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may accept no byte of an answer, which takes memory meanwhile.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum bytes that are read ahead from a connection. This bounds its headers.
const MAX_BUFFER: usize = 64 * 1024;
/// Files that a gateway needs beside its connections, with a margin: those to NATS and MongoDB.
const OTHER_FILES: u64 = 124;
/// Maximum connections at once, if the limit of open files allows them. More of them wait in the
/// kernel's queue.
const MAX_CONNECTIONS: u64 = 20_000;
/// How long open requests may take at the end, within the 10 s that containers commonly get.
const DRAIN: Duration = Duration::from_secs(4);
/// The pause after a failed accept, which mostly means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The place that a connection takes. It is free again when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Place(
    #[allow(dead_code, reason = "it is held, not read")] Arc<OwnedSemaphorePermit>,
);

/// Raises this process's limit of open files as far as it may. Returns how many connections it may
/// have then.
pub(crate) fn max_connections() -> usize {
    let files = raise_open_files();
    let connections = files.saturating_sub(OTHER_FILES).min(MAX_CONNECTIONS);
    usize::try_from(connections).unwrap_or(1).max(1)
}

/// Serves at most so many connections at once, until `shutdown`. Then it accepts no more of them, and
/// gives the open ones four seconds to finish.
pub(crate) async fn serve(
    listener: TcpListener,
    max_connections: usize,
    router: Router,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&listener, &places) => match accepted {
                Ok((stream, peer, place)) => {
                    let router = router.clone().layer(Extension(Peer(peer.ip())));
                    let router = router.layer(Extension(place.clone()));
                    connections.spawn(converse(stream, place, router, shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "open requests were aborted"
        );
    }
}

/// Accepts a connection as soon as there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, Place)> {
    let place = places.clone().acquire_owned().await;
    let place = Place(Arc::new(place.map_err(io::Error::other)?));
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

async fn converse(stream: TcpStream, _place: Place, router: Router, shutdown: CancellationToken) {
    // Answers are small and written whole: waiting to fill a packet only delays them.
    stream.set_nodelay(true).unwrap_or_default();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(MAX_BUFFER);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let mut connection = std::pin::pin!(
        http.serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(router)
        )
        .with_upgrades()
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
