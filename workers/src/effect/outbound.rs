//! Requests to customers' servers. The customer chooses the URL and controls the server, so neither
//! is trusted: a request goes to allowed addresses only, and an answer costs bounded time and memory.
//!
//! This is hyper and not a larger client, since hyper bounds the header of an answer. It follows no
//! redirect, asks no proxy, keeps no cookie and decompresses nothing.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use event_store::outbound::Peer;
pub(crate) use event_store::outbound::{Connector, Failure, TimedBody, failure};
use events_schema::{Invalid, outbound::WebhookUrl, webhook::MAX_CONCURRENCY};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::Semaphore,
    time::{Instant as Deadline, timeout_at},
};
use tokio_rustls::rustls::RootCertStore;

pub(crate) use self::answer::retry_after;
use crate::config::OutboundOptions;

mod answer;

/// How long an exchange may take, from the lookup of the name to the last byte that is read.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest header of an answer, in bytes. Servers send a few hundred.
const MAX_HEADER: usize = 16 * 1024;
/// Connections that stay open for further requests, in total and to one server.
const MAX_KEPT: usize = 1_024;
const MAX_KEPT_PER_SERVER: usize = MAX_CONCURRENCY as usize;
/// How long an unused connection stays open. Servers commonly close one after a minute.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Headers that belong to the connection and not to the customer.
const OWN_HEADERS: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const USER_AGENT: HeaderValue = HeaderValue::from_static("ultimate-backend");

/// Sends requests to customers' servers.
#[derive(Clone)]
pub struct Outbound {
    client: Client<Connector, TimedBody>,
    /// A permit for each connection that may stay open.
    kept: Arc<Semaphore>,
}

/// A request to a customer's server.
pub struct Request {
    /// Where it goes.
    pub url: WebhookUrl,
    /// Its headers. Those of the connection, such as `host`, are replaced.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// When the exchange must have ended. It also ends after [`EXCHANGE_TIMEOUT`].
    pub until: Deadline,
}

/// What has become of a request.
#[derive(Debug)]
pub struct Reply {
    /// The answer, or why there is none.
    pub outcome: Result<Answer, Failure>,
    /// How long the exchange has taken.
    pub latency: Duration,
}

/// The answer of a customer's server. Its status counts, whatever becomes of its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status, such as 204. A redirect is an answer, too.
    pub status: StatusCode,
    /// The address of the server.
    pub address: SocketAddr,
    /// The beginning of the body, at most 4 KiB of it.
    pub text: String,
    /// How long the server wants no further request, as its `Retry-After` says.
    pub retry_after: Option<Duration>,
}

impl Outbound {
    /// Prepares a client. It trusts the certificate authorities that browsers trust.
    ///
    /// # Errors
    /// If the system's configuration of DNS cannot be read.
    pub fn new(options: &OutboundOptions) -> anyhow::Result<Self> {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self::with_roots(options, roots)
    }

    fn with_roots(options: &OutboundOptions, roots: RootCertStore) -> anyhow::Result<Self> {
        let kept = Arc::new(Semaphore::new(MAX_KEPT));
        let allowed = options.webhook.webhook_allow.clone();
        let connector = Connector::new(options.webhook_dns, allowed, roots, Arc::clone(&kept));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_FOR)
            .pool_max_idle_per_host(MAX_KEPT_PER_SERVER)
            .http1_max_buf_size(MAX_HEADER)
            .build(connector.context("preparing webhooks")?);
        Ok(Self { client, kept })
    }

    /// Sends a POST request and waits for the answer.
    pub async fn post(&self, request: Request) -> Reply {
        let begin = Instant::now();
        let outcome = self.exchange(request).await;
        Reply {
            outcome,
            latency: begin.elapsed(),
        }
    }

    async fn exchange(&self, request: Request) -> Result<Answer, Failure> {
        let begin = Deadline::now();
        let deadline = request.until.min(begin + EXCHANGE_TIMEOUT);
        let limit = whole_milliseconds(deadline.saturating_duration_since(begin));
        let sent = self.client.request(self.http_request(request, deadline)?);
        let response = timeout_at(deadline, sent).await;
        let response = response.map_err(|_| Failure::Timeout(limit))?;
        answer(response.map_err(|error| failure(&error))?, deadline).await
    }

    fn http_request(
        &self,
        request: Request,
        deadline: Deadline,
    ) -> Result<hyper::Request<TimedBody>, Failure> {
        let mut headers = request.headers;
        for name in OWN_HEADERS {
            headers.remove(name);
        }
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        if self.kept.available_permits() == 0 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let http = hyper::Request::builder()
            .method(Method::POST)
            .uri(request.url.as_str())
            .body(TimedBody::new(request.body, deadline));
        let mut http = http.map_err(|_| Failure::Blocked(Invalid("has no valid form")))?;
        *http.headers_mut() = headers;
        Ok(http)
    }
}

/// Rounds up, as the text of a failure shows the duration.
fn whole_milliseconds(duration: Duration) -> Duration {
    let milliseconds = duration.as_micros().div_ceil(1000);
    Duration::from_millis(milliseconds.try_into().unwrap_or(u64::MAX))
}

async fn answer(response: Response<Incoming>, deadline: Deadline) -> Result<Answer, Failure> {
    let (head, body) = response.into_parts();
    let peer = head.extensions.get::<Peer>();
    let no_peer = || Failure::Broken("the connection has no address".to_owned());
    Ok(Answer {
        status: head.status,
        address: peer.ok_or_else(no_peer)?.0,
        retry_after: retry_after(&head.headers, jiff::Timestamp::now()),
        text: answer::beginning(body, deadline).await,
    })
}

#[cfg(test)]
pub(crate) mod tests;
