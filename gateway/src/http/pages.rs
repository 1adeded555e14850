//! The pages of an account: those that the links in mails lead to, the log-in, the settings of its
//! security, and the question before a log-in that another site has begun. They are files, and
//! reflect nothing: their scripts read the address and use the API.
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

/// The files, at their addresses.
const FILES: [(&str, &str, &str); 19] = [
    ("/account/verify", HTML, include_str!("pages/verify.html")),
    (
        "/account/reset-password",
        HTML,
        include_str!("pages/reset-password.html"),
    ),
    (
        "/account/email-change",
        HTML,
        include_str!("pages/email-change.html"),
    ),
    (
        "/account/email-undo",
        HTML,
        include_str!("pages/email-undo.html"),
    ),
    ("/account/keep", HTML, include_str!("pages/keep.html")),
    ("/invitation", HTML, include_str!("pages/invitation.html")),
    (
        "/invitation/stop",
        HTML,
        include_str!("pages/stop-invitations.html"),
    ),
    ("/account/login", HTML, include_str!("pages/login.html")),
    (
        "/account/security",
        HTML,
        include_str!("pages/security.html"),
    ),
    ("/account/page.js", SCRIPT, include_str!("pages/page.js")),
    (
        "/account/account.js",
        SCRIPT,
        include_str!("pages/account.js"),
    ),
    ("/account/login.js", SCRIPT, include_str!("pages/login.js")),
    ("/account/prove.js", SCRIPT, include_str!("pages/prove.js")),
    (
        "/account/security.js",
        SCRIPT,
        include_str!("pages/security.js"),
    ),
    (
        "/account/passkeys.js",
        SCRIPT,
        include_str!("pages/passkeys.js"),
    ),
    (
        "/account/places.js",
        SCRIPT,
        include_str!("pages/places.js"),
    ),
    (
        "/account/outcomes.js",
        SCRIPT,
        include_str!("pages/outcomes.js"),
    ),
    (
        "/account/second-factor.js",
        SCRIPT,
        include_str!("pages/second-factor.js"),
    ),
    ("/account/page.css", STYLE, include_str!("pages/page.css")),
];

/// Returns the routes of the pages and of the files that they load.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let add = |router: Router<S>, (path, kind, text)| router.route(path, file(kind, text));
    FILES.into_iter().fold(Router::new(), add)
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
