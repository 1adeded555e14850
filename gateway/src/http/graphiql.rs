//! GraphiQL, a page to try queries on, in development. `graphiql/README.md` says where its files
//! come from.

use axum::{
    Router,
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

/// Allows our own scripts and styles and requests to this gateway, and nothing inline. So the search
/// dialog of the editor is less pretty. Fonts and images are embedded in the style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      font-src data:; img-src data:; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Returns the page. It is the same at every address, since its script reads the address.
pub(crate) fn page() -> Response {
    (
        [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, POLICY),
        ],
        include_str!("graphiql/index.html"),
    )
        .into_response()
}

/// Returns the routes of the files that the page loads.
pub(crate) fn files<S: Clone + Send + Sync + 'static>() -> Router<S> {
    [
        ("index.js", SCRIPT, include_str!("graphiql/index.js")),
        ("index.css", STYLE, include_str!("graphiql/index.css")),
        (
            "graphiql.min.js",
            SCRIPT,
            include_str!("graphiql/graphiql.min.js"),
        ),
        (
            "graphiql.min.css",
            STYLE,
            include_str!("graphiql/graphiql.min.css"),
        ),
        (
            "react.production.min.js",
            SCRIPT,
            include_str!("graphiql/react.production.min.js"),
        ),
        (
            "react-dom.production.min.js",
            SCRIPT,
            include_str!("graphiql/react-dom.production.min.js"),
        ),
    ]
    .into_iter()
    .fold(Router::new(), |router, (name, kind, text)| {
        router.route(
            &format!("/graphiql/{name}"),
            get(move || async move { ([(CONTENT_TYPE, kind)], text) }),
        )
    })
}
