//! How events reach the webhooks: signed, tried again, or as a test asks for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, header::CONTENT_TYPE};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ring::hmac;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::{account::Account, object::Object};

/// Time limit of an attempt.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Pauses before further attempts, in seconds. Stripe tries for three days.
const PAUSES: [u64; 4] = [1, 5, 30, 120];

/// What becomes of new events.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// They are sent at once.
    #[default]
    Send,
    /// They wait until a test delivers them.
    Hold,
    /// They are never sent. The API still lists them.
    Omit,
}

/// An event on its way to an endpoint.
#[derive(Clone)]
pub(super) struct Parcel {
    pub(super) event: String,
    pub(super) url: String,
    secret: String,
    body: String,
}

impl Parcel {
    /// Returns what these events send, in this order.
    pub(super) fn of(account: &Account, events: &[String]) -> Vec<Self> {
        let mut parcels = Vec::new();
        for event in events.iter().filter_map(|id| account.events.get(id)) {
            let endpoints = account.webhook_endpoints.values();
            for endpoint in endpoints.filter(|endpoint| endpoint.wants(&event.kind)) {
                parcels.push(Self {
                    event: event.id.clone(),
                    url: endpoint.url.clone(),
                    secret: endpoint.secret.clone(),
                    body: event.shown().to_string(),
                });
            }
        }
        parcels
    }

    /// Sends it, and again after a while if the endpoint does not take it.
    pub(super) async fn deliver(self) {
        for pause in PAUSES {
            if self.attempt().await.is_some_and(is_taken) {
                return;
            }
            sleep(Duration::from_secs(pause)).await;
        }
        if !self.attempt().await.is_some_and(is_taken) {
            tracing::warn!(event = self.event, url = self.url, "an event was not taken");
        }
    }

    /// Sends it once, and returns the status of the answer, if there is one.
    pub(super) async fn attempt(&self) -> Option<u16> {
        let client: Client<HttpConnector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header("user-agent", "Stripe/1.0 (development)")
            .header(
                "stripe-signature",
                signature(&self.secret, now(), &self.body),
            )
            .body(Full::from(self.body.clone()))
            .ok()?;
        let answer = timeout(ANSWER_LIMIT, client.request(request)).await;
        Some(answer.ok()?.ok()?.status().as_u16())
    }
}

fn is_taken(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Returns the value of `Stripe-Signature`.
pub(super) fn signature(secret: &str, timestamp: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    let signed = data_encoding::HEXLOWER.encode(signed.as_ref());
    format!("t={timestamp},v1={signed}")
}

/// Returns the time of this machine, in seconds since 1970.
pub(super) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// Brings texts into an order that follows from the seed.
pub(super) fn shuffle(texts: &mut [String], seed: u64) {
    let mut state = seed;
    for last in (1..texts.len()).rev() {
        // The generator of Knuth's MMIX; its upper bits are good enough for an order.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let random = usize::try_from(state >> 33).unwrap_or(0);
        texts.swap(last, random % (last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_every_text_and_depends_on_the_seed() {
        let texts: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        let shuffled = |seed| {
            let mut shuffled = texts.clone();
            shuffle(&mut shuffled, seed);
            shuffled
        };
        assert_ne!(shuffled(1), texts);
        assert_ne!(shuffled(1), shuffled(2));
        assert_eq!(shuffled(1), shuffled(1));
        let mut sorted = shuffled(1);
        sorted.sort_by_key(|text| text.parse::<u32>().unwrap());
        assert_eq!(sorted, texts);
    }
}
