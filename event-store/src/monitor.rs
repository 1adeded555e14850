//! What a supervisor asks a process over HTTP: whether it runs, whether it is ready, and its
//! metrics. It listens on an address of its own, which should not be public.

use std::{future::Future, net::SocketAddr};

use anyhow::Context as _;
use axum::{
    Json, Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// The content type of Prometheus text.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a process can do its work, with the state of each part.
pub trait Ready: Serialize + Send {
    /// Whether all parts are ready.
    fn is_ready(&self) -> bool;
}

/// The monitor of a process, with its address bound.
#[derive(Debug, Default)]
pub struct Monitor(Option<TcpListener>);

impl Monitor {
    /// Binds the address, if there is one.
    ///
    /// # Errors
    /// If it cannot listen on the address.
    pub async fn bind(address: Option<SocketAddr>) -> anyhow::Result<Self> {
        let Some(address) = address else {
            return Ok(Self(None));
        };
        let listener = TcpListener::bind(address).await;
        let listener =
            listener.with_context(|| format!("the monitor cannot listen on {address}"))?;
        Ok(Self(Some(listener)))
    }

    /// Returns the address that the system has chosen or confirmed.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.as_ref()?.local_addr().ok()
    }

    /// Answers `/livez`, `/readyz` and `/metrics` until `shutdown`. `check` finds out what is
    /// ready.
    pub fn start<R, F>(
        self,
        check: impl Fn() -> F + Clone + Send + Sync + 'static,
        shutdown: CancellationToken,
    ) where
        R: Ready,
        F: Future<Output = R> + Send,
    {
        let Some(listener) = self.0 else { return };
        let ready = move || async move { answer(check().await) };
        let routes = Router::new()
            .route("/livez", get(async || "ok"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics));
        tokio::spawn(shutdown.run_until_cancelled_owned(async move {
            let served = axum::serve(listener, routes).await;
            if let Err(error) = served {
                tracing::error!(%error, "the monitor has stopped");
            }
        }));
    }
}

/// Answers 200 if everything is ready, otherwise 503.
fn answer(ready: impl Ready) -> Response {
    let status = if ready.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(ready)).into_response()
}

async fn metrics() -> Response {
    match telemetry::prometheus_text() {
        Ok(text) => ([(CONTENT_TYPE, PROMETHEUS)], text).into_response(),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "metrics cannot be shown");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
