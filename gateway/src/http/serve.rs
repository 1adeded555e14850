//! The HTTP/1.1 server: accepts connections, bounds them, and drains them at the end.
//!
//! `axum::serve` does not suffice: it never gives up on a client that sends its headers slowly, and
//! its draining has no end.

use std::{net::IpAddr, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a client may take to send its headers, or stay idle between two requests.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum bytes that are read ahead from a connection. This bounds its headers.
const MAX_BUFFER: usize = 64 * 1024;
/// Maximum connections at once, below the usual limit of 1,024 open files. More of them wait in the
/// kernel's queue.
const MAX_CONNECTIONS: usize = 900;
/// How long open requests may take at the end, within the 10 s that containers commonly get.
const DRAIN: Duration = Duration::from_secs(4);
/// The pause after a failed accept, which mostly means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Serves until `shutdown`. Then it accepts no more connections, and gives the open ones four
/// seconds to finish.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    let router = router.clone().layer(Extension(Peer(peer.ip())));
                    connections.spawn(converse(stream, router, shutdown.clone()));
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

async fn converse(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    // Answers are small and written whole: waiting to fill a packet only delays them.
    stream.set_nodelay(true).unwrap_or_default();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(MAX_BUFFER);
    let mut connection = std::pin::pin!(
        http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
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
