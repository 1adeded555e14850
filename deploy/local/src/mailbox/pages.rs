//! The HTTP side of the mailbox: a page for people, JSON for scripts and tests.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse},
    routing::{get, put},
};
use serde::Deserialize;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Mailbox, Message, is_refusal};

/// The page: it loads nothing from other sites.
const PAGE: &str = include_str!("mailbox.html");
/// The frame that shows a mail's HTML inherits this: no script runs, and nothing is loaded, so no
/// sender learns that the mail was read.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
                                 style-src 'unsafe-inline'; img-src data:; connect-src 'self'; \
                                 frame-src 'self'; base-uri 'none'; form-action 'none'; \
                                 frame-ancestors 'none'";
/// Longest wait for a mail, in seconds. A mail that is later than this does not come at all.
const MAX_WAIT: u64 = 60;

/// Which mails to answer.
#[derive(Deserialize)]
struct Search {
    /// The address of a recipient.
    to: Option<String>,
    /// A part of the text.
    containing: Option<String>,
    /// Seconds to wait until there is such a mail.
    #[serde(default)]
    wait: u64,
}

impl Search {
    fn matches(&self, message: &Message) -> bool {
        let is_recipient = |to| message.to.contains(to);
        let is_part = |part: &String| message.text.contains(part.as_str());
        self.to.as_ref().is_none_or(is_recipient) && self.containing.as_ref().is_none_or(is_part)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.wait.min(MAX_WAIT))
    }
}

#[derive(Deserialize)]
struct Refusal {
    code: u16,
}

impl Mailbox {
    /// Returns the routes. `GET /` is the page. `GET /messages` lists mails, oldest first; `?to=`
    /// and `?containing=` select some, and `?wait=` waits up to that many seconds for the first.
    /// `DELETE /messages` deletes them all. `PUT /refuse` with `{"code": 451}` refuses mail until
    /// `DELETE /refuse`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(page))
            .route("/messages", get(messages).delete(delete_messages))
            .route("/refuse", put(refuse).delete(accept))
            .with_state(self.clone())
    }

    /// Serves the page until `shutdown`.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve_pages(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        Ok(axum::serve(listener, self.router())
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await?)
    }
}

async fn page() -> impl IntoResponse {
    (
        [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::CACHE_CONTROL, "no-store"),
        ],
        Html(PAGE),
    )
}

async fn messages(
    State(mailbox): State<Mailbox>,
    Query(search): Query<Search>,
) -> impl IntoResponse {
    let found = mailbox
        .matching(|message| search.matches(message), search.deadline())
        .await;
    ([(header::CACHE_CONTROL, "no-store")], Json(found))
}

async fn delete_messages(State(mailbox): State<Mailbox>) -> StatusCode {
    let mut kept = mailbox.kept();
    kept.messages.clear();
    kept.bytes = 0;
    StatusCode::NO_CONTENT
}

async fn refuse(State(mailbox): State<Mailbox>, Json(refusal): Json<Refusal>) -> impl IntoResponse {
    if !is_refusal(&refusal.code) {
        return (StatusCode::BAD_REQUEST, "The code must be 400 to 599.\n");
    }
    mailbox.refuse(Some(refusal.code));
    (StatusCode::NO_CONTENT, "")
}

async fn accept(State(mailbox): State<Mailbox>) -> StatusCode {
    mailbox.refuse(None);
    StatusCode::NO_CONTENT
}
