//! What requests carry beside the message: headers of the customer, and access tokens.

use axum::http::StatusCode;
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{UPDATE_WEBHOOK, Webhook, in_tenant};
use crate::support::{Receiver, bad_input, create_project, input, text};

#[test]
fn headers_and_authentication_arrive_until_they_are_replaced() {
    in_tenant("headers", async |_, ada| {
        let receiver = Receiver::start().await;
        let settings = json!({
            "headers": [{ "name": "X-Room", "value": "engine" }],
            "auth": { "basic": { "username": "ada", "password": "hunter2" } },
        });
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], settings).await;
        webhook.test(&ada, "project.created").await;
        let received = receiver.nth(1).await;
        assert_eq!(received.header("x-room"), "engine");
        let basic = format!("Basic {}", BASE64.encode(b"ada:hunter2"));
        assert_eq!(received.header("authorization"), basic);

        let update = async |changes: Value| {
            let mut changes = changes;
            changes["id"] = json!(webhook.id);
            let updated = ada.data(UPDATE_WEBHOOK, input(changes)).await;
            let updated = updated["webhook"]["update"].clone();
            json!([updated["headerNames"], updated["auth"]])
        };
        let kept = update(json!({ "description": "Mine" })).await;
        assert_eq!(kept, json!([["x-room"], "BASIC"]));
        let api_key = json!({ "apiKey": { "header": "X-Key", "value": "abc" } });
        let replaced = update(json!({ "auth": api_key })).await;
        assert_eq!(replaced, json!([[], "API_KEY"]));
        webhook.test(&ada, "project.created").await;
        let received = receiver.nth(2).await;
        assert_eq!(received.header("x-key"), "abc");
        let gone = ["x-room", "authorization"];
        assert!(
            gone.iter()
                .all(|name| !received.headers.contains_key(*name))
        );
        assert_eq!(update(json!({ "headers": [] })).await, json!([[], "NONE"]));
    });
}

#[test]
fn credentials_do_not_follow_a_webhook_to_another_server() {
    in_tenant("moved", async |_, ada| {
        let (receiver, other) = (Receiver::start().await, Receiver::start().await);
        let settings = json!({ "auth": { "bearer": { "token": "hunter2" } } });
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], settings).await;
        let moved = json!({ "id": webhook.id, "url": other.url() });
        let refused = ada.error(UPDATE_WEBHOOK, input(moved.clone())).await;
        assert_eq!(refused, bad_input("url"));
        let mut without = moved;
        without["headers"] = json!([]);
        ada.data(UPDATE_WEBHOOK, input(without)).await;
        webhook.test(&ada, "project.created").await;
        let received = other.nth(1).await;
        assert!(!received.headers.contains_key("authorization"));
        assert!(receiver.received().is_empty());
    });
}

#[test]
fn an_access_token_is_asked_for_once_and_again_after_a_refusal() {
    in_tenant("oauth2", async |_, ada| {
        let (tokens, receiver) = (Receiver::start().await, Receiver::start().await);
        tokens.answer(
            StatusCode::OK,
            r#"{"access_token": "first", "expires_in": 3600}"#,
        );
        let oauth2 = json!({
            "tokenUrl": tokens.url(), "clientId": "ada", "clientSecret": "s3cret", "scope": "hooks"
        });
        let settings = json!({ "auth": { "oauth2": oauth2 } });
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], settings).await;
        for nth in 1..3 {
            create_project(&ada, "Rocket").await;
            let received = receiver.nth(nth).await;
            assert_eq!(received.header("authorization"), "Bearer first");
        }
        let asked = tokens.received();
        assert_eq!(asked.len(), 1);
        let pair = BASE64.encode(b"ada:s3cret");
        assert_eq!(asked[0].header("authorization"), format!("Basic {pair}"));
        assert_eq!(asked[0].body, "grant_type=client_credentials&scope=hooks");

        tokens.answer(StatusCode::OK, r#"{"access_token": "second"}"#);
        receiver.answer(StatusCode::UNAUTHORIZED, "");
        webhook.test(&ada, "project.created").await;
        receiver.nth(3).await;
        webhook.deliveries(&ada, 3).await;
        receiver.answer(StatusCode::OK, "");
        webhook.test(&ada, "project.created").await;
        let received = receiver.nth(4).await;
        assert_eq!(received.header("authorization"), "Bearer second");
    });
}

#[test]
fn without_an_access_token_nothing_is_sent() {
    in_tenant("no-token", async |_, ada| {
        let (tokens, receiver) = (Receiver::start().await, Receiver::start().await);
        tokens.answer(StatusCode::BAD_REQUEST, "s3cret");
        let oauth2 = json!({
            "tokenUrl": tokens.url(), "clientId": "ada", "clientSecret": "s3cret"
        });
        let settings = json!({ "auth": { "oauth2": oauth2 } });
        let webhook = Webhook::create(&ada, &receiver, &["project.*"], settings).await;
        webhook.test(&ada, "project.created").await;
        let attempts = webhook.deliveries(&ada, 1).await;
        let error = text(&attempts[0], "/error");
        assert_eq!(
            error,
            "no access token: the endpoint answered 400 Bad Request"
        );
        assert!(receiver.received().is_empty());
    });
}
