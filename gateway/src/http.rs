//! HTTP: routes, and the headers of every answer. GraphQL requests are in `post.rs`, subscriptions
//! in `sockets.rs`.

mod graphiql;
mod inbound;
mod oauth;
mod observe;
pub(crate) mod pages;
pub(crate) mod post;
pub(crate) mod readiness;
pub(crate) mod serve;
pub(crate) mod sockets;
mod stripe;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use anyhow::anyhow;
use async_graphql::ServerError;
use axum::{
    Json, Router,
    extract::{self, DefaultBodyLimit},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{
            ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
            RETRY_AFTER, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use event_store::{Handling, Trace};
use events_schema::TRACEPARENT;
use futures_util::FutureExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    graphql::{Api, errors},
    http::{observe::Seen, readiness::Readiness, sockets::Sockets},
    identity::{Callers, cookie::Cookies, limits::Limits},
    use_cases::{
        inbound_source::Receiver, provider_login::ProviderLogins, stripe_hook::StripeHooks,
    },
};

/// Maximum bytes in the body of a request: several times a query of 2,000 tokens with its
/// variables.
const MAX_BODY: usize = 64 * 1024;
/// Time limit of a whole request, its body included. It is above the time limit of a command.
const TIME_LIMIT: Duration = Duration::from_secs(15);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JSON: &str = "application/json";

/// What the handlers use. All requests share one: a copy of its many parts for each would show in the
/// time of a read.
pub(crate) struct Shared {
    pub(crate) api: Api,
    pub(crate) callers: Callers,
    pub(crate) hooks: Receiver,
    pub(crate) stripe_hooks: StripeHooks,
    pub(crate) provider_logins: ProviderLogins,
    pub(crate) cookies: Cookies,
    pub(crate) limits: Limits,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) sockets: Sockets,
    pub(crate) is_production: bool,
    pub(crate) is_https: bool,
    /// Cancelled when the gateway stops.
    pub(crate) closing: CancellationToken,
}

/// Returns the routes of the gateway, outside production with those of `development`.
pub(crate) fn router(shared: Shared, development: Router) -> Router {
    let graphql = || get(try_queries).post(post::execute);
    let is_https = shared.is_https;
    let development = if shared.is_production {
        Router::new()
    } else {
        graphiql::files().merge(development)
    };
    Router::new()
        .route("/graphql", graphql())
        .route("/graph", graphql())
        .route("/t/{tenant}/graphql", graphql())
        .route("/graphql/ws", any(sockets::open))
        .route("/t/{tenant}/graphql/ws", any(sockets::open))
        .merge(inbound::routes())
        .merge(stripe::routes())
        .merge(oauth::routes())
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .merge(pages::routes())
        .merge(development.with_state(()))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, Error::NotFound) })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(is_https, around))
        .with_state(Arc::new(shared))
}

/// Gives each request an id and a time limit, logs it once, and adds the common headers to its
/// answer.
async fn around(
    extract::State(is_https): extract::State<bool>,
    mut request: extract::Request,
    next: Next,
) -> Response {
    let traceparent = request.headers().get(TRACEPARENT);
    let trace = Trace::of_request(traceparent.and_then(|value| value.to_str().ok()));
    let seen = Seen::of(&request);
    let (work, trace) = Handling::serve(trace, &seen);
    request.extensions_mut().insert(trace);
    let answer = async {
        let mut response = bounded(next.run(request), trace).await;
        add_headers(response.headers_mut(), trace, is_https);
        seen.answered(&mut response, &work);
        response
    };
    work.run(answer).await
}

/// Bounds the time of a request, and answers even if its handler panics.
async fn bounded(answer: impl Future<Output = Response>, trace: Trace) -> Response {
    match timeout(TIME_LIMIT, AssertUnwindSafe(answer).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => {
            let cause = anyhow!("a handler panicked");
            fail(StatusCode::INTERNAL_SERVER_ERROR, cause, trace)
        }
        Err(_elapsed) => {
            let cause = anyhow!("the request took longer than {TIME_LIMIT:?}");
            fail(StatusCode::SERVICE_UNAVAILABLE, cause, trace)
        }
    }
}

fn add_headers(headers: &mut HeaderMap, trace: Trace, https: bool) {
    // A trace id is always legal in a header.
    headers.extend(
        HeaderValue::try_from(trace.to_string())
            .ok()
            .map(|id| (REQUEST_ID, id)),
    );
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ));
    if https {
        headers.insert(
            STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
}

/// Answers a request that is refused before GraphQL sees it, in GraphQL's form.
pub(crate) fn refuse(status: StatusCode, error: Error) -> Response {
    let mut errors = [ServerError::from(error)];
    errors::finish(&mut errors, "", false);
    refusal(status, JSON, &errors)
}

/// Answers a request that failed by a fault of the server, and logs the cause.
fn fail(status: StatusCode, cause: anyhow::Error, trace: Trace) -> Response {
    fail_as(status, Error::Internal(cause), trace)
}

/// Answers a request with an error of the server, and logs its cause.
fn fail_as(status: StatusCode, error: Error, trace: Trace) -> Response {
    let mut errors = [ServerError::from(error)];
    errors::finish(&mut errors, &trace.to_string(), false);
    refusal(status, JSON, &errors)
}

/// Answers with errors only. Without an execution there is no `data`, not even null.
fn refusal(status: StatusCode, content_type: &'static str, errors: &[ServerError]) -> Response {
    let body = serde_json::json!({ "errors": errors }).to_string();
    let mut response = (status, [(CONTENT_TYPE, content_type)], body).into_response();
    add_retry_after(&mut response, errors);
    response
}

/// Tells HTTP clients how long to wait, if an error says so.
fn add_retry_after(response: &mut Response, errors: &[ServerError]) {
    if let Some(seconds) = errors.iter().filter_map(errors::retry_after).max() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
}

async fn ready(extract::State(shared): extract::State<Arc<Shared>>) -> impl IntoResponse {
    let ready = shared.readiness.check().await;
    (ready.status(), Json(ready))
}

/// Serves GraphiQL, except in production. Queries themselves are sent by POST only.
async fn try_queries(extract::State(shared): extract::State<Arc<Shared>>, uri: Uri) -> Response {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    let is_query = pairs.any(|pair| pair == "query" || pair.starts_with("query="));
    if shared.is_production || is_query {
        let error = Error::request("Send queries by POST.");
        let refusal = refuse(StatusCode::METHOD_NOT_ALLOWED, error);
        return ([(ALLOW, "POST")], refusal).into_response();
    }
    graphiql::page()
}
