//! An HTTP client that has nothing else to do, to compare with.

use std::{net::SocketAddr, ops::Range, time::Duration, time::Instant};

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, header::CONTENT_TYPE};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinSet;

/// The body of a message without its object, about as long as a thin one.
const BODY: usize = 400;

type Http = Client<HttpConnector, Full<Bytes>>;

/// Returns how many requests in a second are answered, with so many at once. What comes in the time
/// of the warm-up does not count.
///
/// # Errors
/// If the server does not accept a request.
pub(super) async fn rate(
    address: SocketAddr,
    concurrency: u32,
    warm_up: Duration,
    counted: Duration,
) -> anyhow::Result<f64> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Http = Client::builder(TokioExecutor::new()).build(connector);
    let body = format!("{{\"subject\":\"\",\"data\":\"{}\"}}", "x".repeat(BODY));
    let begin = Instant::now() + warm_up;
    let mut clients = JoinSet::new();
    for _ in 0..concurrency {
        let body = Bytes::from(body.clone());
        clients.spawn(ask(client.clone(), address, body, begin..begin + counted));
    }
    let mut answered = 0;
    while let Some(client) = clients.join_next().await {
        answered += client??;
    }
    Ok(answered as f64 / counted.as_secs_f64())
}

/// Sends the same request again and again. Returns how many answers came within this time.
async fn ask(
    client: Http,
    address: SocketAddr,
    body: Bytes,
    counted: Range<Instant>,
) -> anyhow::Result<usize> {
    let mut answers = 0;
    loop {
        let request = Request::post(format!("http://{address}/"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.clone()))?;
        let answer = client.request(request).await?;
        ensure!(answer.status() == 200, "status {}", answer.status());
        answer.into_body().collect().await?;
        let now = Instant::now();
        if now >= counted.end {
            return Ok(answers);
        }
        answers += usize::from(now >= counted.start);
    }
}
