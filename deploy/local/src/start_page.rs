//! The page at `/` of the gateway: where everything is, and commands to paste.

use axum::{
    Router,
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::{Html, IntoResponse},
    routing::get,
};

/// The page has a style and an empty icon, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Lists pages of the folder `docs`. A macro, since `include_str!` takes a literal.
macro_rules! pages {
    ($($name:literal)+) => {
        &[$((
            concat!("/docs/", $name),
            include_str!(concat!("../../../docs/", $name)),
        )),+]
    };
}

/// Pages of this repository, served as the text that they are.
const DOCS: &[(&str, &str)] = pages! {
    "add-an-area.md"
    "benchmarks.md"
    "configuration.md"
    "development-stripe.md"
    "identity-providers.md"
    "identity.md"
    "inbound-hooks.md"
    "operations.md"
    "payments.md"
    "plans.md"
    "reconciling.md"
    "security.md"
    "services.md"
    "sso.md"
    "support.md"
    "usage.md"
    "webhook-events.md"
    "webhook-security.md"
    "webhooks.md"
};
/// Pages of its top level, at the same places as there, so that links lead on.
const TOP: [(&str, &str); 2] = [
    ("/README.md", include_str!("../../../README.md")),
    ("/ARCHITECTURE.md", include_str!("../../../ARCHITECTURE.md")),
];

/// URLs of what runs beside the gateway, without a slash at the end.
pub(crate) struct Links<'a> {
    pub(crate) mailbox: &'a str,
    /// `None` if Stripe itself is used.
    pub(crate) stripe: Option<&'a str>,
    pub(crate) monitor: &'a str,
}

/// Stripe's own page in test mode.
const STRIPE: &str = "https://dashboard.stripe.com/test";

/// Returns the routes of the start page, which has these links and names `env_file`, and of the
/// pages about the project.
pub(crate) fn router(links: &Links, env_file: &str) -> Router {
    let page = include_str!("start_page.html")
        .replace("MAILBOX_URL", links.mailbox)
        .replace("STRIPE_URL", links.stripe.unwrap_or(STRIPE))
        .replace("MONITOR_URL", links.monitor)
        .replace("ENV_FILE", &escaped(env_file));
    let start = get(|| async move { ([(CONTENT_SECURITY_POLICY, POLICY)], Html(page)) });
    let pages = TOP.iter().chain(DOCS).copied();
    pages.fold(Router::new().route("/", start), |router, (path, text)| {
        router.route(path, get(move || async move { plain(text) }))
    })
}

fn plain(text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text)
}

/// Escapes a text for HTML: a folder may have any name.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_name_cannot_become_markup() {
        assert_eq!(escaped("/tmp/a&b<script>"), "/tmp/a&amp;b&lt;script>");
    }

    #[test]
    fn every_page_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
        for page in std::fs::read_dir(folder).unwrap() {
            let page = page.unwrap().file_name().into_string().unwrap();
            let path = format!("/docs/{page}");
            assert!(DOCS.iter().any(|(served, _)| *served == path), "{path}");
        }
    }
}
