//! Carries requests to Stripe and reads its answers.
//!
//! This is hyper with the connector that webhooks have, and no larger client: it follows no redirect
//! and bounds the header of an answer. Its connector refuses plain HTTP to other machines, whatever
//! a name leads to.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use event_store::telemetry::{self, KeyValue};
use events_schema::IpNetwork;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{StripeError, StripeKey, StripeOptions, StripeUrl, pace::Pace, request::Request};
use crate::effect::outbound::{self, Connector, TimedBody};

/// The release of Stripe's API that we know.
const VERSION: HeaderValue = HeaderValue::from_static("2026-09-30.endive");
/// How long an exchange may take, from the lookup of the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest body of an answer, in bytes. A hundred subscriptions have about 300 KiB.
const MAX_BODY: usize = 1024 * 1024;
/// Longest header of an answer, in bytes.
const MAX_HEADER: usize = 16 * 1024;
/// Connections that stay open for further requests.
const MAX_KEPT: usize = 8;
/// How long an unused connection stays open.
const KEPT_FOR: Duration = Duration::from_secs(30);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const USER_AGENT: HeaderValue = HeaderValue::from_static("ultimate-backend");

static DURATION: LazyLock<telemetry::Histogram<f64>> = LazyLock::new(|| {
    let description = "Time of a request to Stripe; `result` is ok, declined, refused, key, \
                       rate_limited, unavailable or repeated.";
    telemetry::seconds("ub.stripe.duration", description)
});

/// Carries requests to Stripe, at a pace.
pub(super) struct Transport {
    client: Client<Connector, TimedBody>,
    url: StripeUrl,
    authorization: HeaderValue,
    pace: Pace,
}

impl Transport {
    /// # Errors
    /// If the key has illegal characters, or the system's configuration of DNS cannot be read.
    pub(super) fn new(options: &StripeOptions, key: &StripeKey) -> anyhow::Result<Self> {
        let this_machine = ["127.0.0.0/8", "::1"].map(IpNetwork::parse);
        let this_machine = this_machine.into_iter().collect::<Result<_, _>>()?;
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        let kept = Arc::new(Semaphore::new(MAX_KEPT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_FOR)
            .pool_max_idle_per_host(MAX_KEPT)
            .http1_max_buf_size(MAX_HEADER)
            .build(Connector::new(None, this_machine, roots, kept)?);
        Ok(Self {
            client,
            url: options.stripe_url.clone(),
            authorization: key.authorization()?,
            pace: Pace::new(options.rate()),
        })
    }

    /// Sends a request and decodes the answer.
    ///
    /// # Errors
    /// If Stripe refuses the request, or there is no answer that can be read.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        request: &Request,
        is_urgent: bool,
    ) -> Result<T, StripeError> {
        self.pace.turn(is_urgent).await?;
        let began = Instant::now();
        let answered = self.exchange(request).await;
        let answered = answered.and_then(|(status, headers, body)| read(status, &headers, &body));
        if let Err(StripeError::RateLimited(pause)) = &answered {
            self.pace.pause(*pause);
        }
        let result = answered.as_ref().err().map_or("ok", StripeError::name);
        DURATION.record(
            began.elapsed().as_secs_f64(),
            &[KeyValue::new("result", result)],
        );
        answered
    }

    async fn exchange(
        &self,
        request: &Request,
    ) -> Result<(StatusCode, HeaderMap, Bytes), StripeError> {
        let deadline = Instant::now() + TIMEOUT;
        let http = self.http_request(request, deadline)?;
        let exchange = async {
            let response = self.client.request(http).await;
            let response =
                response.map_err(|error| StripeError::unavailable(outbound::failure(&error)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await;
            let body = body.map_err(|error| broken(&*error))?;
            Ok((head.status, head.headers, body.to_bytes()))
        };
        let answered = timeout_at(deadline, exchange).await;
        answered.map_err(|_| StripeError::unavailable(format!("no answer within {TIMEOUT:?}")))?
    }

    fn http_request(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<hyper::Request<TimedBody>, StripeError> {
        let form = request.form();
        let (query, body) = if request.method == Method::POST {
            (None, form)
        } else {
            (Some(form), String::new())
        };
        let url = self.url.of(&request.path, query.as_deref());
        let mut http = hyper::Request::builder()
            .method(request.method.clone())
            .uri(url.as_str())
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, FORM)
            .header(header::USER_AGENT, USER_AGENT)
            .header(STRIPE_VERSION, VERSION);
        if let Some(key) = request.key {
            http = http.header(IDEMPOTENCY_KEY, key.to_string());
        }
        let http = http.body(TimedBody::new(Bytes::from(body), deadline));
        http.map_err(StripeError::unavailable)
    }
}

fn read<T: DeserializeOwned>(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<T, StripeError> {
    if status != StatusCode::OK {
        return Err(StripeError::of(status, headers, body));
    }
    // The text of the error could show a client secret.
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        StripeError::unavailable(format!("unexpected answer, line {line}, column {column}"))
    })
}

fn broken(error: &(dyn std::error::Error + Send + Sync + 'static)) -> StripeError {
    StripeError::unavailable(if error.is::<LengthLimitError>() {
        "the answer is too long"
    } else {
        "the answer breaks off"
    })
}
