//! The pages that the links in mails lead to. They reflect nothing: their script reads the token
//! from the address.
//!
//! Nothing happens on GET, since mail scanners follow links. It takes a click.

use axum::{
    Router,
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::IntoResponse,
    routing::{MethodRouter, get},
};

/// Allows our own script and style and requests to this gateway, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Returns the routes of the pages and of the files that they load.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let reset_password = include_str!("pages/reset-password.html");
    Router::new()
        .route(
            "/account/verify",
            file(HTML, include_str!("pages/verify.html")),
        )
        .route("/account/reset-password", file(HTML, reset_password))
        .route(
            "/account/email-change",
            file(HTML, include_str!("pages/email-change.html")),
        )
        .route(
            "/account/email-undo",
            file(HTML, include_str!("pages/email-undo.html")),
        )
        .route("/account/keep", file(HTML, include_str!("pages/keep.html")))
        .route(
            "/invitation",
            file(HTML, include_str!("pages/invitation.html")),
        )
        .route(
            "/invitation/stop",
            file(HTML, include_str!("pages/stop-invitations.html")),
        )
        .route(
            "/account/page.js",
            file(SCRIPT, include_str!("pages/page.js")),
        )
        .route(
            "/account/page.css",
            file(STYLE, include_str!("pages/page.css")),
        )
}

fn file<S: Clone + Send + Sync + 'static>(
    kind: &'static str,
    text: &'static str,
) -> MethodRouter<S> {
    let headers = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY)];
    get(move || async move { (headers, text).into_response() })
}
