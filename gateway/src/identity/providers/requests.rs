//! Requests to providers. An operator names a provider, but its documents name further URLs, and
//! names lead to any address. So each request takes the connector that webhooks take.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use event_store::outbound::{Connector, Failure, TimedBody, failure};
use events_schema::{IpNetwork, outbound::WebhookUrl};
use http_body_util::{BodyExt as _, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use url::form_urlencoded;

use super::Refusal;

/// How long a provider may take for all that it is asked about one log-in. A request of a browser
/// ends after 15 seconds, and must still tell the person what has happened.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest body of an answer, in bytes. Sets of keys have some 10 KiB.
const MAX_BODY: usize = 256 * 1024;
/// Longest header of an answer, in bytes.
const MAX_HEADER: usize = 32 * 1024;
/// Connections to one provider that stay open for further requests.
const MAX_KEPT: usize = 8;
/// How long an unused connection stays open.
const KEPT_FOR: Duration = Duration::from_secs(30);
const USER_AGENT: &str = "ultimate-backend";
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Sends requests to providers. It follows no redirect.
#[derive(Clone)]
pub(super) struct Requests {
    client: Client<Connector, TimedBody>,
    allowed: Arc<[IpNetwork]>,
}

impl Requests {
    /// Prepares requests to public addresses by TLS, and to the allowed networks also without. Names
    /// are found by this DNS server, or by those of the system.
    ///
    /// # Errors
    /// If the system's configuration of DNS cannot be read.
    pub(super) fn new(
        dns: Option<std::net::SocketAddr>,
        allowed: Vec<IpNetwork>,
    ) -> anyhow::Result<Self> {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        let kept = Arc::new(Semaphore::new(MAX_KEPT));
        let connector = Connector::new(dns, allowed.clone(), roots, kept)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_FOR)
            .pool_max_idle_per_host(MAX_KEPT)
            .http1_max_buf_size(MAX_HEADER)
            .build(connector);
        Ok(Self {
            client,
            allowed: allowed.into(),
        })
    }

    /// Checks that requests, and browsers, may go to a URL that a provider names.
    ///
    /// # Errors
    /// `Untrusted` if they may not.
    pub(super) fn check(&self, url: &WebhookUrl) -> Result<(), Refusal> {
        let checked = url.check(&self.allowed);
        checked.map_err(|_| Refusal::Untrusted("it names a URL that is not public or not https"))
    }

    /// Reads a JSON document, with this `Authorization` if there is one.
    ///
    /// # Errors
    /// If there is no such document, or the provider does not answer before the deadline.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        url: &WebhookUrl,
        authorization: Option<&str>,
        deadline: Instant,
    ) -> Result<T, Refusal> {
        let request = builder(Method::GET, url, authorization);
        self.exchange(request, Bytes::new(), deadline).await
    }

    /// Posts a form, and reads a JSON document.
    ///
    /// # Errors
    /// If there is no such document, or the provider does not answer before the deadline.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        url: &WebhookUrl,
        authorization: Option<&str>,
        form: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<T, Refusal> {
        let request = builder(Method::POST, url, authorization).header(header::CONTENT_TYPE, FORM);
        self.exchange(request, encoded(form).into(), deadline).await
    }

    /// An exchange lasts from the lookup of the name to the last byte.
    async fn exchange<T: DeserializeOwned>(
        &self,
        request: hyper::http::request::Builder,
        body: Bytes,
        deadline: Instant,
    ) -> Result<T, Refusal> {
        let request = request.body(TimedBody::new(body, deadline));
        let request = request.map_err(|_| Refusal::Untrusted("a request has no valid form"))?;
        let (status, body) = in_time(deadline, self.send(request)).await??;
        if status.is_server_error() {
            return Err(Refusal::Away(Failure::Broken(status.to_string())));
        }
        if status != StatusCode::OK {
            return Err(Refusal::Refused(format!("{status}{}", error_of(&body))));
        }
        serde_json::from_slice(&body).map_err(|_| Refusal::Untrusted("it is no such JSON"))
    }

    async fn send(&self, request: Request<TimedBody>) -> Result<(StatusCode, Bytes), Refusal> {
        let response = self.client.request(request).await;
        let response = response.map_err(|error| Refusal::Away(failure(&error)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|_| Refusal::Untrusted("it is too long or breaks off"))?;
        Ok((head.status, body.to_bytes()))
    }
}

/// Returns the deadline of a provider that is asked from now on.
pub(super) fn deadline() -> Instant {
    Instant::now() + TIMEOUT
}

/// Waits for something until the deadline.
///
/// # Errors
/// `Away` if it takes longer.
pub(super) async fn in_time<T>(
    deadline: Instant,
    awaited: impl Future<Output = T>,
) -> Result<T, Refusal> {
    let ended = timeout_at(deadline, awaited).await;
    ended.map_err(|_| Refusal::Away(Failure::Timeout(TIMEOUT)))
}

fn encoded(form: &[(&str, &str)]) -> String {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(form).finish()
}

fn builder(
    method: Method,
    url: &WebhookUrl,
    authorization: Option<&str>,
) -> hyper::http::request::Builder {
    let request = Request::builder()
        .method(method)
        .uri(url.as_str())
        .header(header::ACCEPT, JSON)
        .header(header::USER_AGENT, USER_AGENT);
    match authorization {
        Some(authorization) => request.header(header::AUTHORIZATION, authorization),
        None => request,
    }
}

/// Returns the code of an error as OAuth has it, and nothing else that a provider may repeat.
fn error_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Answer {
        error: String,
    }
    let error = serde_json::from_slice::<Answer>(body).map(|answer| answer.error);
    error.map_or_else(|_| String::new(), |error| format!(", {}", code(&error)))
}

/// Returns a code of OAuth, such as `invalid_grant`; nothing if the text is no code.
pub(super) fn code(text: &str) -> &str {
    let is_code = |c: u8| c.is_ascii_lowercase() || c == b'_';
    if text.len() <= 64 && text.bytes().all(is_code) {
        text
    } else {
        ""
    }
}
