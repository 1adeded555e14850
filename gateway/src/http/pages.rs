//! The pages that the links in mails lead to. They reflect nothing: their script reads the token
//! from the address.
//!
//! Nothing happens on GET, since mail scanners follow links; it takes a click.

use axum::{
    Router,
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};

/// Own script and style, requests to this gateway, nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The pages and what they load.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(
            "/account/verify",
            file(
                "text/html; charset=utf-8",
                include_str!("pages/verify.html"),
            ),
        )
        .route(
            "/account/reset-password",
            file(
                "text/html; charset=utf-8",
                include_str!("pages/reset-password.html"),
            ),
        )
        .route(
            "/invitation",
            file(
                "text/html; charset=utf-8",
                include_str!("pages/invitation.html"),
            ),
        )
        .route(
            "/account/page.js",
            file(
                "text/javascript; charset=utf-8",
                include_str!("pages/page.js"),
            ),
        )
        .route(
            "/account/page.css",
            file("text/css; charset=utf-8", include_str!("pages/page.css")),
        )
}

fn file<S: Clone + Send + Sync + 'static>(
    kind: &'static str,
    text: &'static str,
) -> axum::routing::MethodRouter<S> {
    get(move || async move {
        (
            [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY)],
            text,
        )
            .into_response()
    })
}
