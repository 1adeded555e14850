use std::{
    future::ready,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{Router, routing::post};
use event_store::WebhookOptions;
use events_schema::{Id, IpNetwork, outbound::WebhookUrl};
use serde_json::json;
use tokio::{net::TcpListener, time::sleep};

use super::*;
use crate::config::OutboundOptions;

const WEBHOOK: WebhookId = WebhookId(Id::from_bytes([1; 16]));

fn credentials(client_id: &str, client_secret: &str) -> OAuth2 {
    OAuth2 {
        token_url: WebhookUrl::parse("https://example.com/token").unwrap(),
        client_id: client_id.to_owned(),
        client_secret: client_secret.to_owned(),
        scope: Some("a b".to_owned()),
    }
}

fn tokens() -> Tokens {
    let options = OutboundOptions {
        webhook: WebhookOptions {
            webhook_allow: vec![IpNetwork::parse("127.0.0.1").unwrap()],
        },
        webhook_dns: None,
    };
    Tokens::new(Outbound::new(&options).unwrap())
}

/// A token endpoint that numbers its tokens.
struct Endpoint(OAuth2);

impl Endpoint {
    /// Starts an endpoint whose tokens end after so many seconds.
    async fn start(expires_in: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let given = Arc::new(AtomicUsize::new(0));
        let grant = move || {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            let token = json!({ "access_token": number.to_string(), "expires_in": expires_in });
            ready(token.to_string())
        };
        let app = Router::new().route("/token", post(grant));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self(OAuth2 {
            token_url: WebhookUrl::parse(&url).unwrap(),
            ..credentials("a", "b")
        })
    }

    async fn token(&self, tokens: &Tokens) -> String {
        let header = tokens.header(WEBHOOK, &self.0).await.unwrap();
        header.to_str().unwrap().to_owned()
    }
}

#[test]
fn the_client_is_encoded_as_in_a_form_before_base64() {
    let header = client(&credentials("a:b", "c d")).unwrap();
    let expected = format!("Basic {}", BASE64.encode(b"a%3Ab:c+d"));
    assert_eq!(header, expected);
}

#[test]
fn the_request_asks_for_client_credentials_and_a_scope() {
    let form = form(&credentials("a", "b"));
    assert_eq!(form, "grant_type=client_credentials&scope=a+b");
}

#[test]
fn a_token_is_used_until_shortly_before_its_end_and_an_hour_at_most() {
    for (expires_in, expected_secs) in [
        (Some(600), 570),
        (Some(u64::MAX), 3_570),
        (None, 270),
        (Some(30), 0),
        (Some(0), 0),
    ] {
        let expected = Duration::from_secs(expected_secs);
        assert_eq!(used_for(expires_in), expected, "{expires_in:?}");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_again_at_its_end() {
    let lasts = Duration::from_secs(1);
    let (endpoint, tokens) = (Endpoint::start(BEFORE_ITS_END + 1).await, tokens());
    let began = Instant::now();
    assert_eq!(endpoint.token(&tokens).await, "Bearer 1");
    while endpoint.token(&tokens).await == "Bearer 1" {
        assert!(began.elapsed() < 10 * lasts, "the token never ends");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() >= lasts, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_leaves_time_for_the_message() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", silent.local_addr().unwrap());
    let oauth2 = OAuth2 {
        token_url: WebhookUrl::parse(&url).unwrap(),
        ..credentials("a", "b")
    };
    let began = Instant::now();
    let failed = tokens().header(WEBHOOK, &oauth2).await;
    assert!(matches!(failed, Err(Failure::Token(_))), "{failed:?}");
    let took = began.elapsed();
    assert!(ASKED_WITHIN <= took && took < 2 * ASKED_WITHIN, "{took:?}");
}
