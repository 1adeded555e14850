//! Hooks of other services: `POST /in/<tenant>.<source>`.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{self, DefaultBodyLimit, Path, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::post,
};
use event_store::Trace;

use super::{Shared, fail, refuse, serve::Peer};
use crate::{error::Error, identity::RequestHead, use_cases::inbound_source::Delivery};

/// Maximum bytes in the body of a hook: ten times an issue of GitHub with a long text.
const MAX_HOOK: usize = 256 * 1024;

/// Returns the route of hooks.
pub(super) fn routes() -> Router<Arc<Shared>> {
    let receive = post(receive).layer(DefaultBodyLimit::max(MAX_HOOK));
    Router::new().route("/in/{address}", receive)
}

/// Answers 200 once the hook is stored, now or before. Any other status makes a provider send it
/// again.
async fn receive(
    extract::State(shared): extract::State<Arc<Shared>>,
    Extension(trace): Extension<Trace>,
    peer: Option<Extension<Peer>>,
    Path(address): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let error = Error::request("The hook is too large. Send at most 262144 bytes.");
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, error);
        }
        Err(_) => {
            let error = Error::request("The hook could not be read. Send it again.");
            return refuse(StatusCode::BAD_REQUEST, error);
        }
    };
    let head = RequestHead {
        headers,
        uri,
        peer: peer.map(|Extension(Peer(address))| address),
        trace,
    };
    let delivery = Delivery {
        address: &address,
        header: |name: &str| head.headers.get(name)?.to_str().ok(),
        body: &body,
        origin: shared.callers.origin(&head),
        trace,
    };
    match shared.hooks.receive(delivery).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => refusal(error, trace),
    }
}

fn refusal(error: Error, trace: Trace) -> Response {
    match error {
        Error::RateLimited { .. } => refuse(StatusCode::TOO_MANY_REQUESTS, error),
        Error::Unauthenticated(_)
        | Error::Forbidden
        | Error::StepUpRequired { .. }
        | Error::SecondFactorRequired
        | Error::SsoRequired { .. }
        | Error::NotFound
        | Error::BadUserInput { .. }
        | Error::Pending(_)
        | Error::PaymentsAway { .. }
        | Error::FeatureNotInPlan { .. }
        | Error::LimitReached { .. }
        | Error::SoleOwner { .. }
        | Error::PaymentRequired
        | Error::Rejected(_) => refuse(StatusCode::UNAUTHORIZED, error),
        Error::Unavailable(cause) | Error::ClientSecretLost(cause) | Error::Internal(cause) => {
            fail(StatusCode::SERVICE_UNAVAILABLE, cause, trace)
        }
    }
}
