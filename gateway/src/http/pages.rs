//! The pages that the links in mails lead to, and the one that asks before a log-in. They reflect
//! nothing: their script reads the token from the address.
//!
//! Nothing happens on GET, since mail scanners follow links. It takes a click.

use axum::{
    Router,
    http::{
        StatusCode,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
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

/// Returns the page that asks a person whom another site has sent to log in. Its link leads to the
/// address that the page is at, and then comes from this site.
pub(crate) fn sent_by_other_site() -> Response {
    let headers = [(CONTENT_TYPE, HTML), (CONTENT_SECURITY_POLICY, POLICY)];
    let page = include_str!("pages/sent-by-other-site.html");
    (StatusCode::FORBIDDEN, headers, page).into_response()
}

fn file<S: Clone + Send + Sync + 'static>(
    kind: &'static str,
    text: &'static str,
) -> MethodRouter<S> {
    let headers = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY)];
    get(move || async move { (headers, text).into_response() })
}
