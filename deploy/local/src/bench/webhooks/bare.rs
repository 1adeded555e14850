//! An HTTP client that has nothing else to do, to compare with. It is a process of its own, as the
//! workers are, and sends a message as they do: only once made and signed.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use event_store::random_id;
use events_schema::{
    TenantKey, Time,
    published::{Content, EventType, PublicEvent, source},
    webhook::Payload,
    webhook_signature::{Message, SigningKey, signature_header},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, header::CONTENT_TYPE};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinSet;

use crate::bench::program::Program;

type Http = Client<HttpConnector, Full<Bytes>>;

/// What a bare client sends.
#[derive(Args)]
pub(crate) struct Bare {
    /// Where the requests go.
    #[arg(long)]
    address: SocketAddr,
    /// Requests at once.
    #[arg(long)]
    concurrency: u32,
    /// Requests in all.
    #[arg(long)]
    requests: usize,
    /// Whether they show the object.
    #[arg(long)]
    full: bool,
}

impl Bare {
    pub(super) fn new(
        address: SocketAddr,
        concurrency: u32,
        requests: usize,
        payload: Payload,
    ) -> Self {
        Self {
            address,
            concurrency,
            requests,
            full: payload == Payload::Full,
        }
    }

    /// Starts a process that sends the requests.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) async fn start(&self) -> anyhow::Result<Program> {
        let (address, requests) = (self.address.to_string(), self.requests.to_string());
        let concurrency = self.concurrency.to_string();
        let mut arguments = vec![
            "bare-client",
            "--address",
            &address,
            "--concurrency",
            &concurrency,
            "--requests",
            &requests,
        ];
        if self.full {
            arguments.push("--full");
        }
        Program::start(&arguments, &[]).await
    }

    /// Calls `ready`, sends the requests, and waits for `stop`, which also ends it early.
    ///
    /// # Errors
    /// If the server does not accept a request.
    pub(crate) async fn send(
        self,
        ready: impl FnOnce(&str) -> anyhow::Result<()>,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let (headers, body) = message(self.full)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Http = Client::builder(TokioExecutor::new()).build(connector);
        let left = Arc::new(AtomicUsize::new(self.requests));
        ready("bare client")?;
        let mut asking = JoinSet::new();
        for _ in 0..self.concurrency {
            let request = (headers.clone(), body.clone());
            asking.spawn(ask(client.clone(), self.address, request, left.clone()));
        }
        let all = async {
            while let Some(asked) = asking.join_next().await {
                asked??;
            }
            anyhow::Ok(())
        };
        tokio::pin!(stop);
        tokio::select! {
            all = all => all?,
            () = &mut stop => return Ok(()),
        }
        stop.await;
        Ok(())
    }
}

/// Sends the same request again and again, as long as some are left.
async fn ask(
    client: Http,
    address: SocketAddr,
    (headers, body): (HeaderMap, Bytes),
    left: Arc<AtomicUsize>,
) -> anyhow::Result<()> {
    let take_one = |left: usize| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one)
        .is_ok()
    {
        let request = Request::post(format!("http://{address}/"));
        let mut request = request.body(Full::new(body.clone()))?;
        *request.headers_mut() = headers.clone();
        let answer = client.request(request).await?;
        ensure!(answer.status() == 200, "status {}", answer.status());
        answer.into_body().collect().await?;
    }
    Ok(())
}

/// Returns the headers and the body of a message as a webhook sends it.
fn message(is_full: bool) -> anyhow::Result<(HeaderMap, Bytes)> {
    let created = EventType::find("project.created").context("no such event")?;
    let (tenant, id) = (TenantKey(random_id()?), random_id()?);
    let now = Time::from(SystemTime::now());
    let example = PublicEvent::example(created, tenant, id, now);
    let (mut event, object) = example.context("the event has no example")?;
    event.is_test = false;
    let content = if is_full {
        Content::Full(Some(&object))
    } else {
        Content::Thin
    };
    let body = event.body(&source("http://127.0.0.1:9900", tenant), content)?;
    let timestamp = now.0.div_euclid(1000);
    let signed = Message {
        id: &event.id,
        timestamp,
        body: &body,
    };
    let signature = signature_header(&[SigningKey::hmac([7; 32])], &signed);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, "application/json".parse()?);
    headers.insert("user-agent", "ultimate-backend".parse()?);
    headers.insert("webhook-id", event.id.parse()?);
    headers.insert("webhook-timestamp", timestamp.to_string().parse()?);
    headers.insert("webhook-signature", signature.parse()?);
    Ok((headers, body.into()))
}
