//! Events of Stripe: `POST /webhooks/stripe`.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{self, DefaultBodyLimit, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use event_store::Trace;

use super::{Shared, fail, refuse};
use crate::{error::Error, use_cases::stripe_hook::Refusal};

/// Maximum bytes in the body of an event: ten times a subscription with its items.
const MAX_EVENT: usize = 256 * 1024;

/// Returns the route of events.
pub(super) fn routes() -> Router<Arc<Shared>> {
    let receive = post(receive).layer(DefaultBodyLimit::max(MAX_EVENT));
    Router::new().route("/webhooks/stripe", receive)
}

/// Answers 200 once the event is stored, now or before. Stripe sends it again for days if it gets
/// another status.
async fn receive(
    extract::State(shared): extract::State<Arc<Shared>>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Ok(body) = body else {
        let error = Error::request("The event is too large or broken. Send at most 262144 bytes.");
        return refuse(StatusCode::BAD_REQUEST, error);
    };
    let signature = headers.get("stripe-signature");
    let signature = signature.and_then(|value| value.to_str().ok());
    match shared.stripe_hooks.receive(signature, &body, trace).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(Refusal::NotSetUp) => refuse(StatusCode::NOT_FOUND, Error::NotFound),
        Err(Refusal::Unverified) => {
            let error = Error::request("The event is not signed by Stripe, or too old.");
            refuse(StatusCode::BAD_REQUEST, error)
        }
        Err(Refusal::Unavailable(cause)) => fail(StatusCode::SERVICE_UNAVAILABLE, cause, trace),
    }
}
